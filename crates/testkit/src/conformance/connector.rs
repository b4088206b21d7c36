//! What every connector promises, as tests.
//!
//! Say how a client is built, which operations there are, what each answers and how the platform tells a failure:
//!
//! ```
//! # use martlet_core::{ApiClient, Call, Client, ClientBuilder, Credential, Descriptor, Operation, Platform, Result};
//! # use std::sync::Arc;
//! # #[derive(Debug)] struct AcmePlatform(Descriptor);
//! # impl Platform for AcmePlatform { fn descriptor(&self) -> &Descriptor { &self.0 } }
//! # mod operations {
//! #     use martlet_core::Operation;
//! #     pub(super) const GET: Operation = Operation::get("contacts.get", "/v1/contacts/{id}");
//! #     pub(super) const ALL: &[Operation] = &[GET];
//! # }
//! # #[derive(Clone, Debug)] struct Acme(Client);
//! # #[derive(serde::Deserialize)] struct Contact { #[allow(dead_code, reason = "an example")] id: u64 }
//! # impl Acme {
//! #     fn builder() -> ClientBuilder {
//! #         Client::builder(AcmePlatform(Descriptor::new("acme", "https://api.acme.example").unwrap()))
//! #     }
//! #     fn client(&self) -> Arc<dyn ApiClient> { Arc::new(self.0.clone()) }
//! #     async fn contact(&self, id: u64) -> Result<Contact> {
//! #         self.0.execute(Call::new(operations::GET).path("id", id)).await?.json()
//! #     }
//! # }
//! use martlet_core::ErrorKind;
//! use martlet_testkit::conformance::connector::Subject;
//! use serde_json::json;
//!
//! fn acme() -> Subject<Acme> {
//!     Subject::new(operations::ALL, Acme::client, |setup| {
//!         let builder = Acme::builder().shared_transport(setup.transport()).clock(setup.clock());
//!         let builder = builder.observer(setup.observer()).rng(setup.rng());
//!         builder.credentials(Credential::bearer(setup.secret())).build().map(Acme)
//!     })
//!     .sample(operations::GET, 200, json!({ "id": 7 }), |acme| async move { acme.contact(7).await })
//!     .failure(404, json!({ "error": "no such contact" }), ErrorKind::NotFound)
//! }
//!
//! martlet_testkit::connector_conformance!(acme);
//! # fn main() {}
//! ```
//!
//! A connector with lists names them with [`Subject::list`] and adds [`paging_conformance!`](crate::paging_conformance).

mod calls;
mod failures;
mod operations;
mod paging;
mod sharing;
mod world;

pub use calls::*;
pub use failures::*;
pub use operations::*;
pub use paging::*;
pub use sharing::*;

use super::wire::Answer;
use crate::RecordedRequest;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use martlet_base::{Clock, Observer, Rng, Signal};
use martlet_core::{
    ApiClient, Call, Credential, CredentialError, CredentialSource, Cursor, ErrorKind, IdempotencyKey,
    IssueContext, Issued, Operation, Pager, Result, Transport, Verb,
};
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use world::World;

/// What a client under test is built with. Hand all of it to the connector's builder, and change nothing else: the suite
/// tests the defaults.
#[derive(Clone, Debug)]
pub struct Setup {
    transport: Arc<dyn Transport>,
    clock: Clock,
    signals: Arc<Signals>,
}

impl Setup {
    /// The secret that the suite looks for wherever it does not belong. Part of a key is fine: Mailchimp's is
    /// `format!("{}-us1", setup.secret())`.
    #[must_use]
    pub fn secret(&self) -> String {
        SECRET.to_owned()
    }

    /// For the builder's `shared_transport`.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport)
    }

    /// For the builder's `clock`.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// For the builder's `observer`.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.signals) as Arc<dyn Observer>
    }

    /// For the builder's `rng`: the same pauses in every run.
    #[must_use]
    pub fn rng(&self) -> Rng {
        Rng::seeded(7)
    }
}

const SECRET: &str = "c4n4ry5ecret0123456789abcdef";

/// Keeps what the signals print, and what they tell of quotas.
#[derive(Debug, Default)]
struct Signals {
    text: Mutex<String>,
    /// Bucket and window.
    unmatched: Mutex<Vec<(String, String)>>,
}

impl Signals {
    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The windows, by bucket and name, that were told of and nobody counts.
    fn unmatched(&self) -> Vec<(String, String)> {
        self.unmatched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Signals {
    fn observe(&self, signal: &Signal<'_>) {
        if let Signal::QuotaUnmatched { bucket, window, .. } = signal {
            let mut unmatched = self.unmatched.lock().unwrap_or_else(PoisonError::into_inner);
            unmatched.push(((*bucket).to_owned(), (*window).to_owned()));
        }
        self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{signal:?}\n"));
    }
}

/// A source of tokens for [`Subject::renewing`]: each is another one, and none expires by itself.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<AtomicUsize>);

impl Tokens {
    fn issued(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl CredentialSource for Tokens {
    async fn issue(&self, _cx: &IssueContext) -> Result<Issued, CredentialError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        Ok(Issued::lasting(Credential::bearer(format!("{SECRET}-{number}"))))
    }
}

/// What a client must be to be tested: cheap to clone, printable, usable from any task.
pub trait Tested: Clone + fmt::Debug + Send + Sync + 'static {}

impl<C: Clone + fmt::Debug + Send + Sync + 'static> Tested for C {}

type Build<C, X = ()> = Arc<dyn Fn(&Setup, X) -> Result<C> + Send + Sync>;
type Run<C> = Arc<dyn Fn(C) -> BoxFuture<'static, Result<()>> + Send + Sync>;
type Api<C> = Arc<dyn Fn(&C) -> Arc<dyn ApiClient> + Send + Sync>;
type Open<C> = Arc<dyn Fn(&C) -> Box<dyn Reading> + Send + Sync>;

#[derive(Clone)]
struct Sample<C> {
    operation: Operation,
    status: u16,
    answer: Value,
    run: Run<C>,
}

impl<C> Sample<C> {
    fn answer(&self) -> Answer {
        Answer::json(self.status, &self.answer)
    }
}

#[derive(Clone)]
struct Failure {
    status: u16,
    body: Value,
    kind: ErrorKind,
}

#[derive(Clone)]
struct List<C> {
    operation: Operation,
    open: Open<C>,
    page: Arc<dyn Fn(&PageSpec) -> Value + Send + Sync>,
    tokens: bool,
}

/// The page that the suite wants to see as the platform would write it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PageSpec {
    /// The items' numbers; make ids of them. They ascend.
    pub items: Vec<u64>,
    /// What the platform hands out for the next page; `None` on the last. Lists that count do not need it, and those that follow
    /// URLs make one of it.
    pub next: Option<String>,
    /// How many items there are in all pages.
    pub total: u64,
}

/// A pager, whatever its items are.
#[async_trait]
trait Reading: Send {
    async fn next(&mut self) -> Option<Result<String>>;
    fn cursor(&self) -> Option<Cursor>;
    fn resume(self: Box<Self>, cursor: &Cursor) -> Result<Box<dyn Reading>>;
}

#[async_trait]
impl<T: Send + fmt::Debug + 'static> Reading for Pager<T> {
    async fn next(&mut self) -> Option<Result<String>> {
        Self::next(self).await.map(|item| item.map(|item| format!("{item:?}")))
    }

    fn cursor(&self) -> Option<Cursor> {
        Self::cursor(self)
    }

    fn resume(self: Box<Self>, cursor: &Cursor) -> Result<Box<dyn Reading>> {
        Ok(Box::new(self.resume_from(cursor)?))
    }
}

/// A connector under test: how to build it, what it offers, and what its platform answers.
#[must_use]
pub struct Subject<C> {
    operations: Vec<Operation>,
    api: Api<C>,
    build: Build<C>,
    renewing: Option<Build<C, Tokens>>,
    samples: Vec<Sample<C>>,
    failures: Vec<Failure>,
    lists: Vec<List<C>>,
    quota_headers: Vec<(&'static str, &'static str)>,
    uncounted: Vec<&'static str>,
}

impl<C: Tested> Subject<C> {
    /// A connector with these operations. `api` takes the [`ApiClient`] out of a client, `build` makes a client of what the
    /// suite gives.
    pub fn new(
        operations: &[Operation],
        api: impl Fn(&C) -> Arc<dyn ApiClient> + Send + Sync + 'static,
        build: impl Fn(&Setup) -> Result<C> + Send + Sync + 'static,
    ) -> Self {
        Self {
            operations: operations.to_vec(),
            api: Arc::new(api),
            build: Arc::new(move |setup, ()| build(setup)),
            renewing: None,
            samples: Vec::new(),
            failures: Vec::new(),
            lists: Vec::new(),
            quota_headers: Vec::new(),
            uncounted: Vec::new(),
        }
    }

    /// How a client is built that gets its credential from a source, for platforms whose tokens expire.
    pub fn renewing(mut self, build: impl Fn(&Setup, Tokens) -> Result<C> + Send + Sync + 'static) -> Self {
        self.renewing = Some(Arc::new(build));
        self
    }

    /// One use of `operation` by the typed API that makes exactly one request, and what the platform answers to it
    /// (`json!(null)`: an empty body). An operation without one is called bare, by its path and an empty body: then its
    /// failures are tested and how its answer is read is not.
    pub fn sample<T, F>(
        mut self,
        operation: Operation,
        status: u16,
        answer: Value,
        run: impl Fn(C) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: 'static,
    {
        let run: Run<C> = Arc::new(move |client| run(client).map(|result| result.map(drop)).boxed());
        self.samples.push(Sample { operation, status, answer, run });
        self
    }

    /// A failure in the platform's own words (`json!(null)`: an empty body), and what it is to be taken for.
    pub fn failure(mut self, status: u16, body: Value, kind: ErrorKind) -> Self {
        self.failures.push(Failure { status, body, kind });
        self
    }

    /// A header by which the platform tells what is left of a quota, as its documentation shows it. Needed only where the platform's
    /// own names stand in it ([`Dialect::RateLimit`](martlet_core::quota_headers::Dialect::RateLimit)), or where
    /// [`Platform::quota`](martlet_core::Platform::quota) reads it: the suite writes the other
    /// [dialects](martlet_core::quota_headers::Dialect) by itself.
    pub fn quota_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.quota_headers.push((name, value));
        self
    }

    /// A window of which the platform tells what is left, and which no limit counts on purpose: a day's quota, say, that is left to the
    /// platform.
    pub fn uncounted(mut self, window: &'static str) -> Self {
        self.uncounted.push(window);
        self
    }

    /// A list: how it is opened, **with two items a page**, and how the platform writes a page.
    pub fn list<T: Send + fmt::Debug + 'static>(
        mut self,
        operation: Operation,
        open: impl Fn(&C) -> Pager<T> + Send + Sync + 'static,
        page: impl Fn(&PageSpec) -> Value + Send + Sync + 'static,
    ) -> Self {
        let open: Open<C> = Arc::new(move |client| Box::new(open(client)));
        self.lists.push(List { operation, open, page: Arc::new(page), tokens: false });
        self
    }

    /// The same for a list that sends back, in the query or the JSON body, the token that the page before handed out.
    pub fn token_list<T: Send + fmt::Debug + 'static>(
        self,
        operation: Operation,
        open: impl Fn(&C) -> Pager<T> + Send + Sync + 'static,
        page: impl Fn(&PageSpec) -> Value + Send + Sync + 'static,
    ) -> Self {
        let mut this = self.list(operation, open, page);
        this.lists.last_mut().expect("one was added").tokens = true;
        this
    }

    fn world(&self, answer: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static) -> World<C> {
        World::new(self, Duration::ZERO, 0, answer)
    }

    /// The subject's samples, and a bare call of each operation that has none.
    fn samples(&self) -> Vec<Sample<C>> {
        let named =
            |operation: &&Operation| self.samples.iter().any(|s| s.operation.name() == operation.name());
        let bare = self.operations.iter().filter(|operation| !named(operation)).map(|operation| {
            let (operation, api) = (*operation, Arc::clone(&self.api));
            let run: Run<C> = Arc::new(move |client| {
                let api = api(&client);
                async move { api.execute(bare_call(operation)).await.map(drop) }.boxed()
            });
            Sample { operation, status: 204, answer: Value::Null, run }
        });
        self.samples.iter().cloned().chain(bare).collect()
    }

    /// What the samples answer, by operation.
    fn answers(&self) -> impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static + use<C> {
        let samples = self.samples();
        let answers: Vec<_> = samples.iter().map(|s| (s.operation.name(), s.answer())).collect();
        move |request| {
            let found = answers.iter().find(|(name, _)| *name == request.operation);
            found.map_or_else(|| Answer::new(404, ""), |(_, answer)| answer.clone())
        }
    }
}

/// A call with something in each part of the path.
fn bare_call(operation: Operation) -> Call {
    let mut call = Call::new(operation);
    let parts = operation.path().split('{').skip(1).filter_map(|part| part.split_once('}'));
    for (part, _) in parts.filter(|(part, _)| *part != "version") {
        call = call.path(part, "7");
    }
    if operation.is_key_required() {
        call = call.idempotency_key(IdempotencyKey::new("conformance").expect("a valid key"));
    }
    match operation.verb() {
        Verb::Get | Verb::Delete => call,
        _ => call.json(&serde_json::json!({})),
    }
}

impl<C> fmt::Debug for Subject<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.operations.iter().map(Operation::name);
        f.debug_struct("Subject").field("operations", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// Makes tests of all cases of [`conformance::connector`](mod@crate::conformance::connector) that every connector must pass. The argument
/// is the name of a function that returns a fresh [`Subject`](crate::conformance::connector::Subject). The crate needs tokio
/// with `rt` and `macros` as a dev-dependency.
#[macro_export]
macro_rules! connector_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { connector_conformance, connector, $make:
            the_platform_is_described,
            operations_have_names_of_their_own,
            paths_are_well_formed,
            every_operation_says_whether_it_may_be_repeated,
            buckets_and_tags_are_not_misspelt,
            samples_are_of_the_table,
            samples_make_one_request_and_read_its_answer,
            requests_carry_the_standard_headers,
            the_credential_is_marked_and_in_no_path,
            a_lost_answer_is_asked_for_again_only_where_that_is_safe,
            what_was_never_sent_is_sent_again,
            all_attempts_are_the_same_request_under_one_key,
            every_error_status_is_told_whatever_its_body,
            documented_failures_have_their_kind,
            a_page_that_is_no_json_is_no_success,
            a_pause_that_is_asked_for_is_kept,
            no_secret_is_printed,
            what_is_new_in_answers_does_no_harm,
            fifty_calls_renew_a_refused_token_once,
            no_quota_is_exceeded,
            no_quota_that_is_told_goes_uncounted,
            no_more_requests_are_under_way_than_allowed,
            a_dropped_call_leaks_nothing,
        }
    };
}

/// Makes tests of the cases of [`conformance::connector`](mod@crate::conformance::connector) about lists; see
/// [`connector_conformance!`](crate::connector_conformance). The subject must name a list at least.
#[macro_export]
macro_rules! paging_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { paging_conformance, connector, $make:
            a_list_is_read_to_its_end,
            a_list_goes_on_from_every_cursor,
            tokens_travel_unharmed,
            an_empty_page_is_no_end,
            a_list_that_repeats_itself_ends,
            a_page_that_is_none_is_no_end,
            a_page_without_its_next_is_no_end,
            a_page_that_failed_is_read_again,
            a_dropped_page_is_read_again,
            a_cursor_of_another_list_is_refused,
        }
    };
}
