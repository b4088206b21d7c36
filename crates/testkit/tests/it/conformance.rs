//! The suite for connectors, tested: one that keeps every promise passes, and each that breaks one is found.

use http::{HeaderName, HeaderValue};
use martlet_core::{
    ApiClient, Call, Client, Credential, CredentialSource, Descriptor, ErrorKind, Idempotency, KeyStyle,
    LimitSpec, Operation, Pager, Platform, Response, Result, VendorFault, Verdict,
};
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

#[derive(Clone)]
struct Acme {
    client: Client,
    flaw: Flaw,
    token: String,
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
    next: Option<String>,
}

impl Acme {
    fn new(setup: &Setup, flaw: Flaw, credentials: impl CredentialSource) -> Result<Self> {
        let mut facts = Descriptor::new("acme", "https://api.acme.example")?
            .version("v2")
            .check(LIST)
            .header(HeaderName::from_static("acme-version"), HeaderValue::from_static("2026-01"))
            .limit(
                LimitSpec::new(LimitSpec::DEFAULT)
                    .window("secondly", 20, Duration::from_secs(1))
                    .concurrency(4),
            );
        if flaw != Flaw::NoLimit {
            facts = facts.limit(LimitSpec::new("reads").window("reads", 5, Duration::from_secs(2)));
        }
        let mut builder = Client::builder(AcmePlatform { facts, flaw });
        if flaw == Flaw::Greedy {
            builder = builder.limit(LimitSpec::new(LimitSpec::DEFAULT)).limit(LimitSpec::new("reads"));
        }
        let client = builder
            .shared_transport(setup.transport())
            .clock(setup.clock())
            .rng(setup.rng())
            .observer(setup.observer())
            .credentials(credentials)
            .build()?;
        Ok(Self { client, flaw, token: setup.secret() })
    }

    fn api(&self) -> Arc<dyn ApiClient> {
        Arc::new(self.client.clone())
    }

    async fn get(self, id: u64) -> Result<u64> {
        if self.flaw == Flaw::Detached {
            let client = self.client.clone();
            let call = async move { client.execute(Call::new(GET).path("id", id)).await };
            return tokio::spawn(call).await.unwrap().map(|_| 7);
        }
        let response = self.client.execute(Call::new(GET).path("id", id)).await?;
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

    fn list(&self) -> Pager<Thing> {
        let flaw = self.flaw;
        let call = move |token: Option<&str>| match (token, flaw) {
            (Some(token), Flaw::RawToken) => Call::new(LIST).query("after", token.replace(' ', "+")),
            (token, _) => Call::new(LIST).query("limit", 2).query_opt("after", token),
        };
        Pager::token(self.api(), LIST, "all", call, move |response| {
            if flaw == Flaw::SilentEnd {
                let page: Page = response.json().unwrap_or(Page { things: Vec::new(), next: None });
                return Ok((page.things, page.next));
            }
            let page: Page = response.json()?;
            let next = page.next.filter(|_| flaw != Flaw::StopsWhenEmpty || !page.things.is_empty());
            Ok((page.things, next))
        })
    }

    fn search(&self) -> Pager<Thing> {
        Pager::offset(
            self.api(),
            SEARCH,
            "all",
            2,
            |offset, limit| Call::new(SEARCH).json(&json!({ "offset": offset, "limit": limit })),
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
        .sample(PAY, 201, json!({ "id": 8 }), |acme| async move {
            acme.client.execute(Call::new(PAY).json(&json!({ "amount": 1 }))).await?.json::<Thing>()
        })
        .failure(422, json!({ "code": "already_paid" }), ErrorKind::Conflict)
        .failure(500, json!(null), ErrorKind::Server)
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
async fn a_check_outside_the_table_is_found() {
    connector::the_platform_is_described(with_table(&[GET])).await;
}

#[tokio::test]
#[should_panic(expected = "add a Subject::sample for things.search, mails.send")]
async fn an_operation_without_a_sample_is_found() {
    connector::every_operation_has_a_sample(subject(Flaw::None)).await;
}
