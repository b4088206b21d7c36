//! The suite for connectors, tested: one that keeps every promise passes, and each that breaks one is found.

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use martlet_base::Clock;
use martlet_core::quota_headers::Dialect;
use martlet_core::resilience::RetryPolicy;
use martlet_core::{
    ApiClient, Call, Client, Credential, CredentialSource, Descriptor, ErrorKind, Idempotency,
    IdempotencyKey, KeyStyle, LimitSpec, Operation, Pager, Platform, Response, Result, VendorFault, Verdict,
};
use martlet_core::{BodyStream, SendContext, Transport, TransportError, WireRequest};
use martlet_testkit::conformance::connector::{self, PageSpec, Setup, Subject};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const GET: Operation = Operation::get("things.get", "/{version}/things/{id}").quota("reads");
const LIST: Operation = Operation::get("things.list", "/{version}/things");
const SEARCH: Operation =
    Operation::post("things.search", "/{version}/things/search").idempotency(Idempotency::Safe);
const PAY: Operation = Operation::post("payments.create", "/{version}/payments")
    .idempotency(Idempotency::Keyed(KeyStyle::Header("idempotency-key")));
const MAIL: Operation = Operation::post("mails.send", "/{version}/mails").idempotency(Idempotency::Unsafe);
const ALL: &[Operation] = &[GET, LIST, SEARCH, PAY, MAIL];

/// What is wrong with a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Takes every 4xx for a success.
    NoErrors,
    /// Takes any answer for an empty list.
    SilentEnd,
    /// Glues the token into the query by hand.
    RawToken,
    /// Ends at an empty page.
    StopsWhenEmpty,
    /// Quotes what it could not decode.
    Quotes,
    /// Prints its token.
    Prints,
    /// Refuses members that it does not know.
    Strict,
    /// A cap without a limit behind it.
    NoLimit,
    /// Asks twice where once is enough.
    TwoCalls,
    /// Ignores the platform's limits.
    Greedy,
    /// Goes on with a call that was dropped.
    Detached,
    /// Trusts that an error has a body.
    Panics,
    /// Speaks another version of the API than the platform's facts say.
    OtherVersion,
    /// Sends the token a second time, in a header of its own.
    Unmarked,
    /// Sends what must not be repeated again by itself.
    OwnRetry,
    /// Tries nothing again.
    NoRetry,
    /// Comes back before the platform wants it to.
    Impatient,
    /// Pays everything under one key.
    OneKey,
    /// Does not look at what was answered.
    Deaf,
    /// Makes a client for each call.
    ClientPerCall,
    /// Reads one page.
    OnePage,
    /// Has a filter that no second pager has.
    OddFilter,
    /// Asks for the first page for ever.
    NoOffset,
    /// Sends a page's request to another endpoint.
    OtherEndpoint,
    /// Takes a page that lost its `next` for the last one.
    LenientPage,
    /// Waits by the system's clock.
    OwnClock,
    /// Names its windows other than what its platform tells of them.
    OwnNames,
    /// Sends its signals nowhere.
    Unobserved,
    /// Sleeps in real time before it calls.
    Sleeps,
}

#[derive(Debug)]
struct AcmePlatform {
    facts: Descriptor,
    flaw: Flaw,
}

impl Platform for AcmePlatform {
    fn descriptor(&self) -> &Descriptor {
        &self.facts
    }

    fn classify(&self, _operation: &Operation, response: &Response) -> Verdict {
        if self.flaw == Flaw::Panics && !response.status().is_success() {
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            return Verdict::Fault(VendorFault::new(ErrorKind::Rejected, body["message"].as_str().unwrap()));
        }
        if self.flaw == Flaw::NoErrors && response.status().is_client_error() {
            return Verdict::Success;
        }
        match Verdict::from_status(response.status()) {
            Verdict::Fault(fault) => Verdict::Fault(
                match serde_json::from_slice::<Value>(response.body())
                    .ok()
                    .as_ref()
                    .and_then(|b| b["code"].as_str())
                {
                    Some("already_paid") => {
                        VendorFault::new(ErrorKind::Conflict, "paid").code("already_paid")
                    }
                    _ => fault,
                },
            ),
            success => success,
        }
    }
}

/// Hides from the client what the platform asks for.
#[derive(Debug)]
struct Impatient(Arc<dyn Transport>);

#[async_trait]
impl Transport for Impatient {
    async fn send(
        &self,
        request: WireRequest,
        cx: &SendContext,
    ) -> std::result::Result<http::Response<BodyStream>, TransportError> {
        let mut response = self.0.send(request, cx).await?;
        response.headers_mut().remove("retry-after");
        Ok(response)
    }
}

#[derive(Clone)]
struct Acme {
    client: Client,
    flaw: Flaw,
    token: String,
    /// For [`Flaw::ClientPerCall`].
    again: Option<Arc<dyn Fn() -> Client + Send + Sync>>,
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = if self.flaw == Flaw::Prints { &self.token } else { ".." };
        f.debug_struct("Acme").field("client", &self.client).field("token", &token).finish()
    }
}

#[derive(Debug, Deserialize)]
struct Thing {
    #[allow(dead_code, reason = "told apart by Debug")]
    id: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictThing {
    #[allow(dead_code, reason = "only decoded")]
    id: u64,
}

#[derive(Deserialize)]
struct Page {
    things: Vec<Thing>,
    #[serde(deserialize_with = "Option::deserialize")]
    next: Option<String>,
}

/// As it is written without thinking.
#[derive(Deserialize)]
struct LenientPage {
    things: Vec<Thing>,
    next: Option<String>,
}

impl Acme {
    fn new(setup: &Setup, flaw: Flaw, credentials: impl CredentialSource + Clone) -> Result<Self> {
        let client = Self::client(setup, flaw, credentials.clone())?;
        let given = setup.clone();
        let again = move || Self::client(&given, flaw, credentials.clone()).unwrap();
        let again: Option<Arc<dyn Fn() -> Client + Send + Sync>> =
            if flaw == Flaw::ClientPerCall { Some(Arc::new(again)) } else { None };
        Ok(Self { client, flaw, token: setup.secret(), again })
    }

    fn client(setup: &Setup, flaw: Flaw, credentials: impl CredentialSource) -> Result<Client> {
        let mut facts = Descriptor::new("acme", "https://api.acme.example")?
            .version("v2")
            .check(LIST)
            .header(HeaderName::from_static("acme-version"), HeaderValue::from_static("2026-01"))
            .limit(
                LimitSpec::new(LimitSpec::DEFAULT)
                    .window("secondly", 20, Duration::from_secs(1))
                    .concurrency(4),
            );
        let dialect = match flaw {
            Flaw::OwnNames => Dialect::Pipedrive,
            _ => Dialect::RateLimit,
        };
        facts = facts.quota_headers(dialect);
        if flaw != Flaw::NoLimit {
            facts = facts.limit(LimitSpec::new("reads").window("reads", 5, Duration::from_secs(2)));
        }
        let mut builder = Client::builder(AcmePlatform { facts, flaw });
        if flaw == Flaw::Greedy {
            builder = builder.limit(LimitSpec::new(LimitSpec::DEFAULT)).limit(LimitSpec::new("reads"));
        }
        if flaw == Flaw::NoRetry {
            builder = builder.retry(RetryPolicy::builder().max_retries(0).build().unwrap());
        }
        let transport: Arc<dyn Transport> =
            if flaw == Flaw::Impatient { Arc::new(Impatient(setup.transport())) } else { setup.transport() };
        if flaw != Flaw::OwnClock {
            builder = builder.clock(setup.clock());
        }
        if flaw != Flaw::Unobserved {
            builder = builder.observer(setup.observer());
        }
        builder.shared_transport(transport).rng(setup.rng()).credentials(credentials).build()
    }

    fn api(&self) -> Arc<dyn ApiClient> {
        Arc::new(self.client.clone())
    }

    async fn get(self, id: u64) -> Result<u64> {
        if self.flaw == Flaw::Sleeps {
            Clock::system().sleep(Duration::from_secs(3600)).await;
        }
        if self.flaw == Flaw::Detached {
            let client = self.client.clone();
            let call = async move { client.execute(Call::new(GET).path("id", id)).await };
            return tokio::spawn(call).await.unwrap().map(|_| 7);
        }
        let call = Call::new(GET).path("id", id);
        let call = match self.flaw {
            Flaw::OtherVersion => {
                call.header(HeaderName::from_static("acme-version"), HeaderValue::from_static("2020-01"))
            }
            Flaw::Unmarked => {
                let token = HeaderValue::try_from(self.token.as_str()).unwrap();
                call.header(HeaderName::from_static("x-token"), token)
            }
            _ => call,
        };
        let client = self.again.as_ref().map_or_else(|| self.client.clone(), |again| again());
        let response = client.execute(call).await?;
        if self.flaw == Flaw::Deaf {
            return Ok(id);
        }
        if self.flaw == Flaw::TwoCalls {
            self.client.execute(Call::new(GET).path("id", id)).await?;
        }
        if self.flaw == Flaw::Strict {
            return response.json::<StrictThing>().map(|thing| thing.id);
        }
        if self.flaw == Flaw::Quotes {
            return serde_json::from_slice::<Thing>(response.body())
                .map(|thing| thing.id)
                .map_err(|_| response.error(ErrorKind::Decode, String::from_utf8_lossy(response.body())));
        }
        response.json::<Thing>().map(|thing| thing.id)
    }

    async fn pay(self) -> Result<Thing> {
        let mut call = Call::new(PAY).json(&json!({ "amount": 1 }));
        if self.flaw == Flaw::OneKey {
            call = call.idempotency_key(IdempotencyKey::new("the-key")?);
        }
        self.client.execute(call).await?.json()
    }

    async fn mail(self) -> Result<Response> {
        let mail = || self.client.execute(Call::new(MAIL).json(&json!({ "to": 7 })));
        match mail().await {
            Err(_) if self.flaw == Flaw::OwnRetry => mail().await,
            result => result,
        }
    }

    fn list(&self) -> Pager<Thing> {
        let flaw = self.flaw;
        let call = move |token: Option<&str>| match (token, flaw) {
            (Some(token), Flaw::RawToken) => Call::new(LIST).query("after", token.replace(' ', "+")),
            (token, _) => Call::new(LIST).query("limit", 2).query_opt("after", token),
        };
        let filter =
            if flaw == Flaw::OddFilter { format!("{:p}", Box::leak(Box::new(0))) } else { "all".to_owned() };
        Pager::token(self.api(), LIST, filter, call, move |response| {
            if flaw == Flaw::OnePage {
                return response.json().map(|page: Page| (page.things, None));
            }
            if flaw == Flaw::SilentEnd {
                let page: Page = response.json().unwrap_or(Page { things: Vec::new(), next: None });
                return Ok((page.things, page.next));
            }
            if flaw == Flaw::LenientPage {
                return response.json().map(|page: LenientPage| (page.things, page.next));
            }
            let page: Page = response.json()?;
            let next = page.next.filter(|_| flaw != Flaw::StopsWhenEmpty || !page.things.is_empty());
            Ok((page.things, next))
        })
    }

    fn search(&self) -> Pager<Thing> {
        let flaw = self.flaw;
        Pager::offset(
            self.api(),
            SEARCH,
            "all",
            2,
            move |offset, limit| {
                let offset = if flaw == Flaw::NoOffset { 0 } else { offset };
                let operation = if flaw == Flaw::OtherEndpoint { MAIL } else { SEARCH };
                Call::new(operation).json(&json!({ "offset": offset, "limit": limit }))
            },
            |response| response.json().map(|page: Page| (page.things, None)),
        )
    }
}

fn page(page: &PageSpec) -> Value {
    let things: Vec<_> = page.items.iter().map(|id| json!({ "id": id })).collect();
    json!({ "things": things, "next": page.next })
}

fn subject(flaw: Flaw) -> Subject<Acme> {
    Subject::new(ALL, Acme::api, move |setup| Acme::new(setup, flaw, Credential::bearer(setup.secret())))
        .renewing(move |setup, tokens| Acme::new(setup, flaw, tokens))
        .sample(GET, 200, json!({ "id": 7 }), |acme| acme.get(7))
        .sample(LIST, 200, json!({ "things": [{ "id": 1 }], "next": null }), |acme| async move {
            acme.list().collect().await
        })
        .sample(PAY, 201, json!({ "id": 8 }), Acme::pay)
        .sample(MAIL, 202, json!(null), Acme::mail)
        .failure(422, json!({ "code": "already_paid" }), ErrorKind::Conflict)
        .failure(500, json!(null), ErrorKind::Server)
        .quota_header("ratelimit", "\"secondly\";r=19, \"yearly\";r=7")
        .quota_header("ratelimit-policy", "\"secondly\";q=20;w=1")
        .uncounted("yearly")
        .token_list(LIST, Acme::list, page)
        .list(SEARCH, Acme::search, page)
}

fn acme() -> Subject<Acme> {
    subject(Flaw::None)
}

martlet_testkit::connector_conformance!(acme);
martlet_testkit::paging_conformance!(acme);

/// A key, instead of tokens that can be renewed; and no samples but one.
fn keyed() -> Subject<Acme> {
    Subject::new(ALL, Acme::api, move |setup| {
        let header = HeaderName::from_static("x-api-key");
        Acme::new(setup, Flaw::None, Credential::api_key(header, setup.secret()))
    })
    .sample(GET, 200, json!({ "id": 7 }), |acme| acme.get(7))
    .failure(404, json!(null), ErrorKind::NotFound)
    .quota_header("ratelimit", "\"reads\";r=4")
    .quota_header("ratelimit-policy", "\"reads\";q=5;w=2")
}

mod with_a_key {
    use super::keyed;
    martlet_testkit::connector_conformance!(keyed);
}

macro_rules! found {
    ($($test:ident: $flaw:ident, $case:ident, $said:literal;)+) => {
        $(
            #[tokio::test]
            #[should_panic(expected = $said)]
            async fn $test() {
                connector::$case(subject(Flaw::$flaw)).await;
            }
        )+
    };
}

found! {
    an_error_taken_for_success_is_found: NoErrors, every_error_status_is_told_whatever_its_body, "400 with \"\" is taken for";
    a_classify_that_panics_is_found: Panics, every_error_status_is_told_whatever_its_body, "unwrap";
    a_list_that_ends_without_a_word_is_found: SilentEnd, a_page_that_is_none_is_no_end, "for the end of the list";
    a_token_glued_by_hand_is_found: RawToken, tokens_travel_unharmed, "does not send the token";
    a_list_that_ends_at_an_empty_page_is_found: StopsWhenEmpty, an_empty_page_is_no_end, "ends at an empty page";
    a_quoted_answer_is_found: Quotes, no_secret_is_printed, "quotes an answer";
    a_printed_token_is_found: Prints, no_secret_is_printed, "prints its credential";
    a_strict_model_is_found: Strict, what_is_new_in_answers_does_no_harm, "new members";
    a_bucket_without_limit_is_found: NoLimit, buckets_and_tags_are_not_misspelt, "has no limit";
    a_broken_quota_is_found: Greedy, no_quota_is_exceeded, "more than";
    too_many_at_once_are_found: Greedy, no_more_requests_are_under_way_than_allowed, "were under way at once";
    a_call_that_outlives_its_drop_is_found: Detached, a_dropped_call_leaks_nothing, "left its exchange open";
    a_second_version_is_found: OtherVersion, requests_carry_the_standard_headers, "changes the platform's acme-version";
    a_token_beside_the_credential_is_found: Unmarked, the_credential_is_marked_and_in_no_path, "holds the credential and is not marked";
    a_retry_of_what_is_unsafe_is_found: OwnRetry, a_lost_answer_is_asked_for_again_only_where_that_is_safe, "left: (2, Unknown)";
    a_lost_answer_that_is_not_asked_for_again_is_found: NoRetry, a_lost_answer_is_asked_for_again_only_where_that_is_safe, "may be repeated and was not";
    a_request_that_is_not_sent_again_is_found: NoRetry, what_was_never_sent_is_sent_again, "was not tried again";
    one_key_for_everything_is_found: OneKey, all_attempts_are_the_same_request_under_one_key, "uses one key for two calls";
    an_answer_that_nobody_looks_at_is_found: Deaf, a_page_that_is_no_json_is_no_success, "for its answer";
    a_429_that_ends_the_call_is_found: NoRetry, a_pause_that_is_asked_for_is_kept, "does not outlast a 429";
    a_pause_that_is_cut_short_is_found: Impatient, a_pause_that_is_asked_for_is_kept, "was told to wait 7 s and waited";
    a_token_for_each_call_is_found: ClientPerCall, fifty_calls_renew_a_refused_token_once, "one token at first and one more";
    a_list_of_one_page_is_found: OnePage, a_list_is_read_to_its_end, "other than the five items";
    a_page_of_another_endpoint_is_found: OtherEndpoint, a_list_is_read_to_its_end, "another operation was used";
    a_filter_that_changes_is_found: OddFilter, a_list_goes_on_from_every_cursor, "the list's own cursor";
    a_filter_that_changes_is_found_after_a_failure: OddFilter, a_page_that_failed_is_read_again, "the list's own cursor";
    a_cursor_that_fits_nowhere_is_found: OddFilter, a_cursor_of_another_list_is_refused, "refuses its own cursor";
    a_list_that_stands_still_is_found: NoOffset, a_list_that_repeats_itself_ends, "asks for the same page again and again";
    a_page_that_lost_its_next_is_found: LenientPage, a_page_without_its_next_is_no_end, "things.list takes a page without next for the last one, but the last one has it too";
    a_window_that_nobody_counts_is_found: OwnNames, no_quota_that_is_told_goes_uncounted, "window \"burst\", and no limit counts it";
    a_client_without_the_clock_is_found: OwnClock, a_pause_that_is_asked_for_is_kept, "add .clock(setup.clock())";
    a_client_without_the_observer_is_found: Unobserved, no_secret_is_printed, "add .observer(setup.observer())";
    a_client_that_sleeps_in_real_time_is_found: Sleeps, samples_make_one_request_and_read_its_answer, "something waits by another clock";
    a_call_that_is_two_is_found: TwoCalls, samples_make_one_request_and_read_its_answer, "other than one request";
}

fn with_table(operations: &'static [Operation]) -> Subject<Acme> {
    Subject::new(operations, Acme::api, |setup| {
        Acme::new(setup, Flaw::None, Credential::bearer(setup.secret()))
    })
}

#[tokio::test]
#[should_panic(expected = "does not say whether it may be sent twice")]
async fn an_undeclared_post_is_found() {
    const UNDECLARED: &[Operation] = &[LIST, Operation::post("things.create", "/{version}/things")];
    connector::every_operation_says_whether_it_may_be_repeated(with_table(UNDECLARED)).await;
}

#[tokio::test]
#[should_panic(expected = "two operations are called things.list")]
async fn two_of_a_name_are_found() {
    connector::operations_have_names_of_their_own(with_table(&[LIST, LIST])).await;
}

#[tokio::test]
#[should_panic(expected = "do not match")]
async fn a_crippled_path_is_found() {
    const CRIPPLED: &[Operation] = &[Operation::get("things.get", "/things/{id")];
    connector::paths_are_well_formed(with_table(CRIPPLED)).await;
}

#[tokio::test]
#[should_panic(expected = "is not in the table")]
async fn a_sample_outside_the_table_is_found() {
    let subject = with_table(&[LIST]).sample(GET, 200, json!({ "id": 7 }), |acme| acme.get(7));
    connector::samples_are_of_the_table(subject).await;
}

#[tokio::test]
#[should_panic(expected = "NotFound")]
async fn a_failure_of_another_kind_is_found() {
    let subject = subject(Flaw::None).failure(404, json!(null), ErrorKind::Conflict);
    connector::documented_failures_have_their_kind(subject).await;
}

/// Pages as other platforms write them; the list ends wherever it finds no token.
fn ending_by(page: fn(&PageSpec) -> Value, token: &'static str) -> Subject<Acme> {
    with_table(ALL).token_list(
        LIST,
        move |acme| {
            let call = |token: Option<&str>| Call::new(LIST).query_opt("after", token);
            Pager::token(acme.api(), LIST, "", call, move |response| {
                let page: Value = response.json()?;
                let things: Vec<Thing> = serde_json::from_value(page["things"].clone()).unwrap();
                Ok((things, page.pointer(token).and_then(Value::as_str).map(str::to_owned)))
            })
        },
        page,
    )
}

fn paged(page: &PageSpec, paging: Value) -> Value {
    let mut body = json!({ "things": page.items.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>() });
    if page.next.is_some() {
        body["paging"] = paging;
    }
    body
}

#[tokio::test]
async fn a_list_may_end_where_its_platform_leaves_the_next_out() {
    let page: fn(&PageSpec) -> Value = |page| paged(page, json!(page.next));
    connector::a_page_without_its_next_is_no_end(ending_by(page, "/paging")).await;
}

#[tokio::test]
#[should_panic(
    expected = "without paging.next.after for the last one, but the last one has nothing of paging"
)]
async fn a_list_that_ends_at_half_a_paging_object_is_found() {
    let page: fn(&PageSpec) -> Value = |page| paged(page, json!({ "next": { "after": page.next } }));
    connector::a_page_without_its_next_is_no_end(ending_by(page, "/paging/next/after")).await;
}

#[tokio::test]
#[should_panic(expected = "is not in the table")]
async fn a_check_outside_the_table_is_found() {
    connector::the_platform_is_described(with_table(&[GET])).await;
}

#[tokio::test]
#[should_panic(expected = "add a Subject::sample for things.search")]
async fn an_operation_without_a_sample_is_found() {
    connector::every_operation_has_a_sample(subject(Flaw::None)).await;
}
