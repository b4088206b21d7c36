//! The cache, rule by rule: RFC 9111 for a private cache, RFC 5861, RFC 9211. The names begin with the row of the design.

use crate::support::{World, fails, ms, secs, together};
use http::{HeaderName, HeaderValue};
use martlet_base::Delivery;
use martlet_core::{
    ApiClient, CacheRule, Call, Client, Credential, ErrorKind, Idempotency, Layer, Next, Operation, Request,
    Response, Result, TransportErrorKind, resilience::RetryPolicy,
};
use martlet_testkit::Script;
use std::time::{Duration, SystemTime};

/// Only what the platform says.
const HTTP: Operation =
    Operation::get("things.list", "/v1/things").cacheable(CacheRule::new(Duration::ZERO, "things"));
/// A minute where it says nothing.
const MINUTE: Operation =
    Operation::get("things.list", "/v1/things").cacheable(CacheRule::new(secs(60), "things"));
/// Fields and the like, without jitter.
const REFERENCE: Operation = Operation::get("things.list", "/v1/things")
    .cacheable(CacheRule::reference_data(secs(60), "things").jitter(0));
const UPDATE: Operation = Operation::put("things.update", "/v1/things");
const CREATE: Operation = Operation::post("other.create", "/v1/other").idempotency(Idempotency::Unsafe);

fn number(result: &Result<Response>) -> (u64, bool) {
    let response = result.as_ref().unwrap();
    (response.json().unwrap(), response.meta().from_cache)
}

fn status(result: &Result<Response>) -> String {
    result.as_ref().unwrap().meta().cache.unwrap().to_string()
}

struct Case {
    world: World,
    client: Client,
    operation: Operation,
}

impl Case {
    /// `script` says what the platform answers. Nothing is retried, so that each failure is one.
    fn new(operation: Operation, script: impl FnOnce(Script) -> Script) -> Self {
        let world = World::new();
        script(world.transport.on(&operation));
        let client = world.builder().retry(RetryPolicy::never()).build().unwrap();
        Self { world, client, operation }
    }

    async fn call(&self, call: Call) -> Result<Response> {
        let result = self.world.execute(&self.client, call).await;
        self.settle().await;
        result
    }

    async fn get(&self) -> Result<Response> {
        self.call(Call::new(self.operation)).await
    }

    async fn with(&self, name: &'static str, value: &'static str) -> Result<Response> {
        let header = (HeaderName::from_static(name), HeaderValue::from_static(value));
        self.call(Call::new(self.operation).header(header.0, header.1)).await
    }

    /// What runs in the background gets on until it waits for time to pass.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn sent(&self) -> usize {
        self.world.transport.requests().len()
    }

    /// A header of the last request.
    fn last_sent(&self, name: &str) -> Option<String> {
        let requests = self.world.transport.requests();
        Some(requests.last()?.headers.get(name)?.to_str().unwrap().to_owned())
    }

    fn later(&self, time: Duration) {
        self.world.manual.advance(time);
    }

    fn date(&self, seconds_from_now: i64) -> String {
        let now = SystemTime::from(self.world.clock.wall());
        let distance = secs(seconds_from_now.unsigned_abs());
        httpdate::fmt_http_date(if seconds_from_now < 0 { now - distance } else { now + distance })
    }
}

#[tokio::test]
async fn hc1_the_platforms_word_goes_before_the_rules_time() {
    let case = Case::new(MINUTE, |s| {
        s.json(200, &1).header("cache-control", "max-age=10").json(200, &2).json(200, &3)
    });
    assert_eq!(number(&case.get().await), (1, false));
    case.later(ms(9_999));
    assert_eq!(number(&case.get().await), (1, true));
    case.later(ms(1));
    // It says nothing this time.
    assert_eq!(number(&case.get().await), (2, false));
    case.later(ms(59_999));
    assert_eq!(number(&case.get().await), (2, true));
    case.later(ms(1));
    assert_eq!(number(&case.get().await), (3, false));
}

#[tokio::test]
async fn hc2_vary_chooses_among_several_answers_of_one_url() {
    let answer = |s: Script, n: u64| {
        s.json(200, &n).header("cache-control", "max-age=60").header("vary", "Accept-Language")
    };
    let case = Case::new(HTTP, |s| (1..=3).fold(s, answer));
    for (language, expected) in [("de", (1, false)), ("fr", (2, false)), ("de", (1, true)), ("fr", (2, true))]
    {
        assert_eq!(number(&case.with("accept-language", language).await), expected, "{language}");
    }
    assert_eq!(status(&case.get().await), "martlet; fwd=vary-miss; ttl=60; stored");
    // What it does not name chooses nothing.
    assert_eq!(number(&case.with("x-other", "1").await), (3, true));
}

#[tokio::test]
async fn hc2_an_answer_that_varies_by_everything_is_not_kept() {
    let case = Case::new(HTTP, |s| {
        s.json(200, &1).header("cache-control", "max-age=60").header("vary", "*").json(200, &2)
    });
    assert_eq!(number(&case.get().await), (1, false));
    assert_eq!(number(&case.get().await), (2, false));
}

#[tokio::test]
async fn hc2_where_the_platform_is_silent_every_header_of_the_call_chooses() {
    let case = Case::new(MINUTE, |s| s.json(200, &1).json(200, &2).json(200, &3));
    for (tenant, expected) in [("a", (1, false)), ("b", (2, false)), ("a", (1, true)), ("b", (2, true))] {
        assert_eq!(number(&case.with("x-tenant", tenant).await), expected, "{tenant}");
    }
    assert_eq!(number(&case.get().await), (3, false));
    // Those of a trace are of no consequence.
    assert_eq!(number(&case.with("traceparent", "00-1-2-01").await), (3, true));
}

/// Puts a token of its own onto each call.
#[derive(Debug)]
struct Own(&'static str);

#[async_trait::async_trait]
impl Layer for Own {
    fn name(&self) -> &'static str {
        "own"
    }
    async fn call(&self, mut request: Request, next: Next<'_>) -> Result<Response> {
        let mut value = HeaderValue::from_static(self.0);
        value.set_sensitive(true);
        request.headers_mut().insert("x-user-token", value);
        next.run(request).await
    }
}

#[tokio::test]
async fn hc3_two_credentials_never_share_an_answer() {
    // The platform speaks of caching and forgets to say that the credential matters.
    let case = Case::new(HTTP, |s| {
        (1..=3).fold(s, |s, n: u64| s.json(200, &n).header("cache-control", "public, max-age=60"))
    });
    for (token, expected) in [("Bearer a", (1, false)), ("Bearer b", (2, false)), ("Bearer a", (1, true))] {
        assert_eq!(number(&case.with("authorization", token).await), expected, "{token}");
    }
    assert_eq!(number(&case.with("cookie", "session=1").await), (3, false));
}

#[tokio::test]
async fn hc3_two_clients_never_share_an_answer_even_of_one_account() {
    let case = Case::new(HTTP, |s| s.json(200, &1).header("cache-control", "max-age=60").times(2));
    let other = |token| {
        case.world.builder().credentials(Credential::bearer(token)).shared(case.client.shared_state())
    };
    assert_eq!(number(&case.get().await), (1, false));
    let other = other("other").build().unwrap();
    assert_eq!(number(&case.world.execute(&other, Call::new(HTTP)).await), (1, false));
}

#[tokio::test]
async fn hc3_what_a_call_layer_marks_as_secret_parts_answers() {
    let world = World::new();
    world
        .transport
        .on(&HTTP)
        .json(200, &1)
        .header("cache-control", "max-age=60")
        .header("vary", "x")
        .times(2);
    for token in ["a", "b"] {
        let client = world.builder().call_layer(Own(token)).build().unwrap();
        assert_eq!(number(&world.execute(&client, Call::new(HTTP)).await), (1, false));
        assert_eq!(number(&world.execute(&client, Call::new(HTTP)).await), (1, true));
    }
}

#[tokio::test]
async fn hc3_what_one_credential_was_answered_is_not_confirmed_to_another() {
    let case = Case::new(HTTP, |s| {
        let s = s.json(200, &1).header("cache-control", "max-age=60").header("etag", "\"a\"");
        s.json(200, &2).header("cache-control", "max-age=60").header("etag", "\"a\"")
    });
    number(&case.with("authorization", "Bearer a").await);
    assert_eq!(number(&case.with("authorization", "Bearer b").await), (2, false));
    assert_eq!(case.last_sent("if-none-match"), None);
}

#[tokio::test]
async fn s8_requests_under_way_are_not_shared_across_credentials() {
    let case = Case::new(HTTP, |s| s.json(200, &1).delay(ms(10)).times(2));
    let calls = ["Bearer a", "Bearer b", "Bearer a"];
    let calls = calls
        .map(|token| Call::new(HTTP).header(http::header::AUTHORIZATION, HeaderValue::from_static(token)));
    let results = together(&case.world, &case.client, calls).await;
    assert_eq!(results.len(), 3);
    assert_eq!(case.sent(), 2, "the two of one token share, the other does not join");
}

#[tokio::test]
async fn hc4_every_directive_of_an_answer_is_obeyed() {
    for (directives, kept) in [
        ("max-age=60", true),
        ("MAX-AGE=60", true),
        ("max-age=\"60\"", true),
        ("private, max-age=60", true),
        ("max-age=60, must-revalidate", true),
        ("max-age=99999999999999999999", true),
        ("no-store, must-understand, max-age=60", true),
        ("immutable", true),
        ("ext=\"no-store\", max-age=60", true),
        ("no-store, max-age=60", false),
        ("No-Store", false),
        ("max-age=60, NO-CACHE", false),
        ("s-maxage=60", false),
        ("public", false),
        ("max-age=0", false),
        ("max-age=60s", false),
        ("ext=\"max-age=60\"", false),
    ] {
        let case = Case::new(HTTP, |s| s.json(200, &1).header("cache-control", directives).times(2));
        case.get().await.unwrap();
        assert_eq!(number(&case.get().await).1, kept, "{directives}");
    }
}

#[tokio::test]
async fn hc4_a_field_that_no_cache_names_is_not_served_again() {
    let case = Case::new(HTTP, |s| {
        s.json(200, &1)
            .header("cache-control", "max-age=60, no-cache=\"x-token\"")
            .header("x-token", "t")
            .header("x-a", "b")
    });
    assert_eq!(case.get().await.unwrap().header("x-token"), Some("t"));
    let again = case.get().await.unwrap();
    assert_eq!((again.header("x-token"), again.header("x-a")), (None, Some("b")));
}

#[tokio::test]
async fn hc4_headers_of_the_connection_are_not_kept() {
    let case = Case::new(HTTP, |s| {
        s.json(200, &1)
            .header("cache-control", "max-age=60")
            .header("connection", "x-hop, close")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("set-cookie", "a=b")
    });
    case.get().await.unwrap();
    let again = case.get().await.unwrap();
    for gone in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(again.header(gone), None, "{gone}");
    }
    assert_eq!(again.header("set-cookie"), Some("a=b"));
}

#[tokio::test]
async fn hc4_what_a_call_asks_of_the_cache_is_done() {
    let case = Case::new(HTTP, |s| {
        (1..=9).fold(s, |s, n: u64| s.json(200, &n).header("cache-control", "max-age=60"))
    });
    number(&case.get().await);
    case.later(secs(30));
    assert_eq!(number(&case.with("cache-control", "max-age=30").await), (1, true));
    assert_eq!(number(&case.with("cache-control", "min-fresh=30").await), (1, true));
    let young = case.with("cache-control", "max-age=29").await;
    assert_eq!(
        (number(&young), status(&young).as_str()),
        ((2, false), "martlet; fwd=request; ttl=60; stored")
    );
    assert_eq!(number(&case.with("cache-control", "min-fresh=61").await), (3, false));
    assert_eq!(number(&case.with("cache-control", "no-cache").await), (4, false));
    assert_eq!(number(&case.with("pragma", "no-cache").await), (5, false));
    let outside = case.with("cache-control", "no-store").await;
    assert_eq!((number(&outside), status(&outside).as_str()), ((6, false), "martlet; fwd=bypass"));
    assert_eq!(number(&case.get().await), (5, true));
    case.later(secs(70));
    assert_eq!(number(&case.with("cache-control", "max-stale=10").await), (5, true));
    assert_eq!(number(&case.with("cache-control", "max-stale=9").await), (7, false));
}

#[tokio::test]
async fn hc4_a_part_is_neither_served_nor_kept() {
    let case = Case::new(HTTP, |s| {
        let s = s
            .json(200, &1)
            .header("cache-control", "max-age=60")
            .json(206, &2)
            .header("cache-control", "max-age=60");
        s.json(206, &3).header("cache-control", "max-age=60").json(200, &4)
    });
    number(&case.get().await);
    assert_eq!(number(&case.with("range", "bytes=0-0").await), (2, false));
    assert_eq!(number(&case.get().await), (1, true));
    let call = || Call::new(HTTP).query("part", 1);
    assert_eq!(number(&case.call(call()).await), (3, false));
    assert_eq!(number(&case.call(call()).await), (4, false));
}

#[tokio::test]
async fn hc5_dates_are_read_in_their_three_forms_and_anything_else_is_expired() {
    for (expires, kept) in [
        ("Sat, 06 Nov 2094 08:49:37 GMT", true),
        ("Wednesday, 06-Nov-69 08:49:37 GMT", true),
        ("Sat Nov  6 08:49:37 2094", true),
        ("Sun, 06 Nov 1994 08:49:37 GMT", false),
        ("Sat, 06 Nov 2094 08:49:37 +0000", false),
        ("2094-11-06T08:49:37Z", false),
        ("0", false),
        ("-1", false),
        ("", false),
    ] {
        let case = Case::new(HTTP, |s| s.json(200, &1).header("expires", expires).times(2));
        case.get().await.unwrap();
        assert_eq!(number(&case.get().await).1, kept, "{expires:?}");
    }
}

#[tokio::test]
async fn hc5_an_answer_is_as_old_as_its_age_or_its_date_says() {
    let case = Case::new(HTTP, |s| {
        s.json(200, &1).header("cache-control", "max-age=60").header("age", 50).json(200, &2)
    });
    number(&case.get().await);
    case.later(ms(9_500));
    let hit = case.get().await;
    assert_eq!((number(&hit), hit.unwrap().header("age")), ((1, true), Some("59")));
    case.later(ms(500));
    assert_eq!(number(&case.get().await), (2, false));

    // Who knows how old that is?
    let case = Case::new(HTTP, |s| {
        s.json(200, &1).header("cache-control", "max-age=60").header("age", "0, 0").json(200, &2)
    });
    number(&case.get().await);
    assert_eq!(number(&case.get().await), (2, false));

    let case = Case::new(HTTP, |s| s);
    let old = case.date(-61);
    case.world
        .transport
        .on(&HTTP)
        .json(200, &1)
        .header("cache-control", "max-age=60")
        .header("date", &old)
        .times(2);
    number(&case.get().await);
    assert_eq!(number(&case.get().await), (1, false), "it was on its way for longer than it is fresh");
}

#[tokio::test]
async fn hc6_nothing_is_guessed_from_the_time_of_the_last_change() {
    let case = Case::new(HTTP, |s| s);
    let long_ago = case.date(-10_000_000);
    case.world.transport.on(&HTTP).json(200, &1).header("last-modified", &long_ago).json(200, &2);
    assert_eq!(number(&case.get().await), (1, false));
    assert_eq!(number(&case.get().await), (2, false));
    assert_eq!(case.last_sent("if-modified-since"), Some(long_ago.clone()));
    // Unless the rule says so: a tenth of the time since then.
    const GUESS: Operation = Operation::get("things.list", "/v1/things")
        .cacheable(CacheRule::new(Duration::ZERO, "things").heuristic(10));
    let case = Case::new(GUESS, |s| s.json(200, &1).header("last-modified", long_ago));
    let first = case.get().await.unwrap().meta().cache.unwrap();
    assert_eq!(first.ttl, Some(1_000_000));
    assert_eq!(number(&case.get().await), (1, true));
}

#[tokio::test]
async fn hc7_stale_while_revalidate_serves_old_and_refreshes_once() {
    let case = Case::new(HTTP, |s| {
        let s = s.json(200, &1).header("cache-control", "max-age=10, stale-while-revalidate=5");
        s.json(200, &2).delay(secs(1)).header("cache-control", "max-age=10")
    });
    number(&case.get().await);
    case.later(secs(12));
    let results = together(&case.world, &case.client, (0..8).map(|_| Call::new(HTTP))).await;
    for result in &results {
        assert_eq!(number(result), (1, true));
        let response = result.as_ref().unwrap();
        assert_eq!((response.meta().elapsed, response.meta().attempts), (Duration::ZERO, 0));
        assert_eq!(status(result), "martlet; hit; ttl=-2");
    }
    case.settle().await;
    assert_eq!(case.sent(), 2, "one renewal for all");
    case.world.run(case.world.clock.sleep(secs(1))).await;
    assert_eq!(number(&case.get().await), (2, true));
}

#[tokio::test]
async fn hc7_after_the_window_callers_wait() {
    let case = Case::new(HTTP, |s| {
        s.json(200, &1)
            .header("cache-control", "max-age=10, stale-while-revalidate=5")
            .json(200, &2)
            .delay(secs(1))
    });
    number(&case.get().await);
    case.later(secs(15));
    let result = case.get().await;
    assert_eq!((number(&result), result.unwrap().meta().elapsed), ((2, false), secs(1)));
}

#[tokio::test]
async fn hc7_what_must_be_revalidated_is_not_served_stale() {
    for also in ["must-revalidate", "no-cache"] {
        let directives = format!("max-age=10, stale-while-revalidate=60, stale-if-error=60, {also}");
        let case = Case::new(REFERENCE, |s| {
            s.json(200, &1).header("cache-control", directives).json(200, &2).reply(503)
        });
        number(&case.get().await);
        case.later(secs(11));
        assert_eq!(number(&case.get().await), (2, false), "{also}");
    }
}

#[tokio::test]
async fn hc7_a_renewal_has_a_time_of_its_own_and_ends_when_its_caller_is_gone() {
    let case = Case::new(REFERENCE, |s| s.json(200, &1).json(200, &2).delay(secs(20)));
    number(&case.get().await);
    case.later(secs(61));
    // This caller has a second, and is served at once.
    assert_eq!(number(&case.call(Call::new(REFERENCE).timeout(secs(1))).await), (1, true));
    case.world.run(case.world.clock.sleep(secs(20))).await;
    assert_eq!(number(&case.get().await), (2, true));
}

#[tokio::test]
async fn hc7_a_renewal_that_fails_is_not_tried_by_every_caller() {
    let case = Case::new(REFERENCE, |s| s.json(200, &1).reply(503).json(200, &2));
    number(&case.get().await);
    case.later(secs(61));
    for _ in 0..10 {
        assert_eq!(number(&case.get().await), (1, true));
        assert_eq!(case.sent(), 2);
    }
    case.later(secs(5));
    assert_eq!(number(&case.get().await), (1, true));
    assert_eq!(number(&case.get().await), (2, true));
}

#[tokio::test]
async fn hc7_an_answer_that_a_write_made_stale_is_not_served_stale() {
    let case = Case::new(REFERENCE, |s| s.json(200, &1).json(200, &2).reply(503));
    number(&case.get().await);
    case.client.invalidate("things");
    assert_eq!(number(&case.get().await), (2, false));
    case.client.invalidate("things");
    assert_eq!(fails(case.get().await).kind(), ErrorKind::Server);
}

#[tokio::test]
async fn hc8_stale_if_error_stands_in_for_what_another_try_may_mend() {
    let lost = |s: Script| s.fail(TransportErrorKind::Connect, Delivery::NotSent);
    type Failure = fn(Script) -> Script;
    let failures: [(&str, Failure, bool); 7] = [
        ("fwd=stale; fwd-status=503; ttl=-31", |s| s.reply(503), true),
        ("fwd=stale; fwd-status=500; ttl=-31", |s| s.reply(500), true),
        ("fwd=stale; fwd-status=429; ttl=-31", |s| s.reply(429).header("retry-after", 60), true),
        ("fwd=stale; ttl=-31", |s| s.fail(TransportErrorKind::Timeout, Delivery::Unknown), true),
        ("", |s| s.reply(501), false),
        ("", |s| s.reply(403), false),
        ("", |s| s.reply(404), false),
    ];
    for (text, fail, stands_in) in failures {
        let case = Case::new(HTTP, |s| {
            fail(s.json(200, &1).header("cache-control", "max-age=60, stale-if-error=60"))
        });
        number(&case.get().await);
        case.later(secs(91));
        let result = case.get().await;
        if stands_in {
            assert_eq!((number(&result), status(&result)), ((1, true), format!("martlet; {text}")));
            let response = result.unwrap();
            assert_eq!((response.meta().attempts, response.header("warning")), (1, None));
        } else {
            fails(result);
        }
    }
    // At the end of its window it is an error again.
    let case =
        Case::new(HTTP, |s| lost(s.json(200, &1).header("cache-control", "max-age=60, stale-if-error=60")));
    number(&case.get().await);
    case.later(secs(120));
    assert_eq!(fails(case.get().await).kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn hc8_stale_if_error_never_stands_in_for_what_must_be_revalidated() {
    // The bug of http-cache: there it is served exactly when it must not be.
    for (also, stands_in) in [("must-revalidate", false), ("no-cache", false), ("private", true)] {
        let directives = format!("max-age=10, stale-if-error=60, {also}");
        let case = Case::new(HTTP, |s| {
            s.json(200, &1).header("cache-control", directives).header("etag", "\"a\"").reply(503)
        });
        number(&case.get().await);
        case.later(secs(11));
        assert_eq!(case.get().await.is_ok(), stands_in, "{also}");
    }
}

#[tokio::test]
async fn hc8_a_caller_without_time_left_gets_the_stale_answer() {
    let case =
        Case::new(HTTP, |s| s.json(200, &1).header("cache-control", "max-age=10, stale-if-error=60").stall());
    number(&case.get().await);
    case.later(secs(11));
    let result = case.call(Call::new(HTTP).timeout(secs(3))).await;
    assert_eq!((number(&result), result.unwrap().meta().elapsed), ((1, true), secs(3)));
}

#[tokio::test]
async fn hc8_during_an_outage_nobody_waits_for_what_failed_just_now() {
    let case = Case::new(HTTP, |s| {
        let s = s.json(200, &1).header("cache-control", "max-age=10, stale-if-error=600");
        s.reply(503).delay(secs(2)).json(200, &2).delay(secs(2))
    });
    number(&case.get().await);
    case.later(secs(11));
    let waited = |result: Result<Response>| (number(&result).0, result.unwrap().meta().elapsed);
    assert_eq!(waited(case.get().await), (1, secs(2)));
    assert_eq!(waited(case.get().await), (1, Duration::ZERO));
    case.later(secs(5));
    assert_eq!(waited(case.get().await), (2, secs(2)));
}

#[tokio::test]
async fn hc9_an_old_answer_is_confirmed_without_its_body() {
    let case = Case::new(HTTP, |s| {
        let s = s
            .json(200, &1)
            .header("cache-control", "max-age=10")
            .header("etag", "\"a\"")
            .header("x-a", "old");
        let s = s.header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT").header("x-b", "old");
        s.reply(304).header("etag", "\"a\"").header("cache-control", "max-age=20").header("x-a", "new")
    });
    number(&case.get().await);
    case.later(secs(10));
    let confirmed = case.get().await;
    assert_eq!(case.last_sent("if-none-match").as_deref(), Some("\"a\""));
    assert_eq!(case.last_sent("if-modified-since").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(number(&confirmed), (1, true));
    assert_eq!(status(&confirmed), "martlet; fwd=stale; fwd-status=304; ttl=20; stored");
    let confirmed = confirmed.unwrap();
    assert_eq!((confirmed.status().as_u16(), confirmed.meta().attempts), (200, 1));
    case.later(ms(19_999));
    let hit = case.get().await.unwrap();
    assert_eq!((hit.header("x-a"), hit.header("x-b")), (Some("new"), Some("old")));
    assert_eq!(hit.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn hc9_a_confirmation_of_another_answer_is_not_taken() {
    let case = Case::new(HTTP, |s| {
        let s = s.json(200, &1).header("cache-control", "max-age=10").header("etag", "\"a\"");
        s.reply(304).header("etag", "\"b\"").json(200, &2)
    });
    number(&case.get().await);
    case.later(secs(10));
    assert_eq!(number(&case.get().await), (2, false));
    assert_eq!((case.sent(), case.last_sent("if-none-match")), (3, None));
}

#[tokio::test]
async fn hc9_a_304_chooses_among_the_answers_of_a_url() {
    let case = Case::new(HTTP, |s| {
        let variant = |s: Script, n: u64, tag: &str| {
            s.json(200, &n).header("cache-control", "max-age=60").header("vary", "x-kind").header("etag", tag)
        };
        let s = variant(variant(s, 1, "\"a\""), 2, "W/\"b\"");
        s.reply(304).header("etag", "W/\"b\"").header("cache-control", "max-age=60").header("vary", "x-kind")
    });
    number(&case.with("x-kind", "a").await);
    number(&case.with("x-kind", "b").await);
    let third = case.with("x-kind", "c").await;
    assert_eq!(case.last_sent("if-none-match").as_deref(), Some("W/\"b\", \"a\""));
    assert_eq!(number(&third), (2, true));
    assert_eq!(number(&case.with("x-kind", "c").await), (2, true));
    assert_eq!(number(&case.with("x-kind", "a").await), (1, true));
}

#[tokio::test]
async fn hc9_a_caller_with_a_condition_of_its_own_gets_its_304() {
    let case = Case::new(HTTP, |s| {
        let s = s.json(200, &1).header("cache-control", "max-age=10").header("etag", "\"a\"").reply(304);
        s.json(200, &2)
    });
    number(&case.get().await);
    // From the cache,
    let response = case.with("if-none-match", "\"x\", W/\"a\"").await.unwrap();
    assert_eq!((response.status().as_u16(), response.body().len()), (304, 0));
    assert_eq!(number(&case.with("if-none-match", "\"x\"").await), (1, true));
    case.later(secs(10));
    // and from the platform, which nobody else gets, and which does not harm what is kept.
    let response = case.with("if-none-match", "\"z\"").await.unwrap();
    assert_eq!(response.status().as_u16(), 304);
    assert_eq!(number(&case.get().await), (2, false));
    assert_eq!(case.last_sent("if-none-match").as_deref(), Some("\"a\""));
}

#[tokio::test]
async fn hc9_a_safe_post_is_asked_for_without_conditions() {
    const SEARCH: Operation = Operation::post("things.search", "/v1/search")
        .idempotency(Idempotency::Safe)
        .cacheable(CacheRule::new(secs(60), "things"));
    let case = Case::new(SEARCH, |s| s.json(200, &1).header("etag", "\"a\"").times(2));
    number(&case.get().await);
    case.later(secs(60));
    assert_eq!(number(&case.get().await), (1, false));
    assert_eq!(case.last_sent("if-none-match"), None);
}

#[tokio::test]
async fn hc10_a_write_makes_the_answer_of_its_url_stale() {
    let case = Case::new(HTTP, |s| {
        (1..=4).fold(s, |s, n: u64| s.json(200, &n).header("cache-control", "max-age=60"))
    });
    case.world
        .transport
        .on(&UPDATE)
        .reply(422)
        .reply(204)
        .fail(TransportErrorKind::Interrupted, Delivery::Unknown);
    number(&case.get().await);
    fails(case.call(Call::new(UPDATE)).await);
    assert_eq!(number(&case.get().await), (1, true), "it was refused");
    case.call(Call::new(UPDATE)).await.unwrap();
    assert_eq!(number(&case.get().await), (2, false));
    fails(case.call(Call::new(UPDATE)).await);
    assert_eq!(number(&case.get().await), (3, false), "it may have been applied");
    // Nobody waits for the end of this one.
    case.world.transport.on(&UPDATE).stall();
    let limit = martlet_base::Deadline::after(case.world.clock.now(), secs(1));
    let dropped = case.world.clock.within(limit, case.client.execute(Call::new(UPDATE)));
    assert!(case.world.run(dropped).await.is_none());
    assert_eq!(number(&case.get().await), (4, false));
}

#[tokio::test]
async fn hc10_a_write_makes_stale_what_its_answer_names_at_the_same_origin() {
    for (name, target, stale) in [
        ("location", "/v1/things", true),
        ("location", "https://api.acme.example/v1/things#part", true),
        ("content-location", "things", true),
        ("location", "https://other.example/v1/things", false),
        ("location", "http://api.acme.example/v1/things", false),
        ("x-location", "/v1/things", false),
    ] {
        let case = Case::new(HTTP, |s| s.json(200, &1).header("cache-control", "max-age=60").times(2));
        case.world.transport.on(&CREATE).reply(201).header(name, target);
        number(&case.get().await);
        case.call(Call::new(CREATE)).await.unwrap();
        assert_eq!(!number(&case.get().await).1, stale, "{name}: {target}");
    }
}

#[tokio::test]
async fn hc10_a_read_that_a_write_to_its_url_overtakes_is_not_kept() {
    let case = Case::new(HTTP, |s| {
        s.json(200, &1).header("cache-control", "max-age=60").delay(ms(10)).json(200, &2)
    });
    case.world.transport.on(&UPDATE).reply(204).delay(ms(5));
    let results = together(&case.world, &case.client, [Call::new(HTTP), Call::new(UPDATE)]).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(number(&case.get().await), (2, false));
}

#[tokio::test]
async fn hc11_a_truncated_body_is_never_kept() {
    // It breaks off,
    let case = Case::new(REFERENCE, |s| s.json(200, &12_345).cut(3).json(200, &2));
    fails(case.get().await);
    assert_eq!(number(&case.get().await), (2, false));
    // or ends without a word before the length that was announced.
    let case = Case::new(REFERENCE, |s| s.json(200, &12).header("content-length", 5).json(200, &2));
    assert_eq!(number(&case.get().await), (12, false));
    assert_eq!(number(&case.get().await), (2, false));
}

#[tokio::test]
async fn hc11_what_would_take_too_much_of_the_cache_is_not_kept() {
    let world = World::new();
    let large = "x".repeat(9_000);
    world.transport.on(&REFERENCE).json(200, &large).times(3).json(200, &"small");
    let build = |bytes| world.builder().cache_bytes(bytes).build().unwrap();
    let call = || Call::new(REFERENCE);
    let client = build(64_000);
    world.execute(&client, call()).await.unwrap();
    let again = world.execute(&client, call()).await;
    assert_eq!(status(&again), "martlet; fwd=uri-miss; ttl=60");
    let client = build(128_000);
    assert_eq!(status(&world.execute(&client, call()).await), "martlet; fwd=uri-miss; ttl=60; stored");
    assert!(world.execute(&client, call()).await.unwrap().meta().from_cache);
    // Nothing at all.
    let client = build(0);
    assert_eq!(status(&world.execute(&client, call()).await), "martlet; fwd=uri-miss; ttl=60");
}

#[tokio::test]
async fn hc12_an_answer_to_an_authenticated_call_is_kept() {
    // A shared cache must not; this one is nobody else's.
    let case = Case::new(HTTP, |s| s.json(200, &1).header("cache-control", "max-age=60"));
    number(&case.get().await);
    assert_eq!(case.last_sent("authorization").as_deref(), Some("Bearer token"));
    assert_eq!(number(&case.get().await), (1, true));
}

#[tokio::test]
async fn hc13_those_who_wait_get_the_answer_also_when_it_is_not_kept() {
    let world = World::new();
    world.transport.on(&REFERENCE).json(200, &1).delay(ms(10));
    let client = world.builder().cache_bytes(0).build().unwrap();
    for result in together(&world, &client, (0..5).map(|_| Call::new(REFERENCE))).await {
        assert_eq!(number(&result), (1, false));
    }
}

#[tokio::test]
async fn hc13_callers_that_wait_say_that_they_shared() {
    let case = Case::new(REFERENCE, |s| s.json(200, &1).delay(ms(10)));
    let results = together(&case.world, &case.client, (0..5).map(|_| Call::new(REFERENCE))).await;
    let collapsed = results.iter().filter(|result| status(result).ends_with("; collapsed")).count();
    assert_eq!((case.sent(), collapsed), (1, 4));
}

#[tokio::test]
async fn s2_the_one_who_began_a_request_may_go_and_the_others_get_its_answer() {
    let case = Case::new(REFERENCE, |s| s.json(200, &1).delay(secs(2)));
    let first = tokio::spawn({
        let client = case.client.clone();
        async move { client.execute(Call::new(REFERENCE)).await }
    });
    case.settle().await;
    let second = tokio::spawn({
        let client = case.client.clone();
        async move { client.execute(Call::new(REFERENCE)).await }
    });
    case.settle().await;
    first.abort();
    assert_eq!(number(&case.world.run(second).await.unwrap()), (1, false));
    assert_eq!(case.sent(), 1);
}

#[tokio::test]
async fn s3_a_request_that_nobody_waits_for_ends() {
    let case = Case::new(REFERENCE, |s| s.stall().json(200, &2));
    let only = tokio::spawn({
        let client = case.client.clone();
        async move { client.execute(Call::new(REFERENCE)).await }
    });
    case.settle().await;
    only.abort();
    case.settle().await;
    assert_eq!(number(&case.get().await), (2, false));
    assert_eq!(status(&case.get().await), "martlet; hit; ttl=60");
}

#[tokio::test]
async fn s7_what_was_asked_for_earlier_does_not_replace_what_is_newer() {
    let case = Case::new(REFERENCE, |s| s.json(200, &1).delay(ms(20)).json(200, &2));
    // The second begins later, ends earlier, and saw the platform later.
    let slow = tokio::spawn({
        let client = case.client.clone();
        async move { client.execute(Call::new(REFERENCE)).await }
    });
    case.settle().await;
    case.later(ms(1));
    assert_eq!(number(&case.call(Call::new(REFERENCE).fresh()).await), (2, false));
    let slow = case.world.run(slow).await.unwrap();
    assert_eq!((number(&slow), status(&slow).as_str()), ((1, false), "martlet; fwd=uri-miss; ttl=60"));
    assert_eq!(number(&case.get().await), (2, true));
}

#[tokio::test]
async fn s7_who_wants_a_new_answer_joins_no_request_that_began_before() {
    for call in [
        Call::new(REFERENCE).fresh(),
        Call::new(REFERENCE).header(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ] {
        let case = Case::new(REFERENCE, |s| s.json(200, &1).delay(ms(10)).json(200, &2).delay(ms(10)));
        let results = together(&case.world, &case.client, [Call::new(REFERENCE), call]).await;
        assert_eq!(number(&results[0]).0 + number(&results[1]).0, 3);
    }
}

#[tokio::test]
async fn hc14_that_there_is_no_such_thing_is_remembered_for_a_short_time() {
    let case = Case::new(REFERENCE, |s| s.reply(404).header("x-request-id", "r-1").json(200, &1));
    let first = fails(case.get().await);
    case.later(ms(29_999));
    let second = fails(case.get().await);
    assert_eq!((first.kind(), first.attempts()), (ErrorKind::NotFound, 1));
    assert_eq!((second.kind(), second.attempts(), second.status()), (ErrorKind::NotFound, 0, Some(404)));
    assert_eq!(case.sent(), 1);
    case.later(ms(1));
    assert_eq!(number(&case.get().await), (1, false));
}

#[tokio::test]
async fn hc14_what_is_created_is_found_at_once_and_what_is_gone_is_not_served() {
    let case = Case::new(REFERENCE, |s| s.reply(404).json(200, &1).reply(410).reply(503));
    fails(case.get().await);
    case.client.invalidate("things");
    assert_eq!(number(&case.get().await), (1, false));
    case.client.invalidate("things");
    assert_eq!(fails(case.get().await).status(), Some(410));
    case.later(secs(30));
    assert_eq!(fails(case.get().await).status(), Some(503), "not the answer from before it was gone");
}

#[tokio::test]
async fn hc14_other_refusals_are_not_remembered() {
    let case = Case::new(REFERENCE, |s| s.reply(403).reply(400).json(200, &1));
    for expected in [ErrorKind::Forbidden, ErrorKind::Rejected] {
        assert_eq!(fails(case.get().await).kind(), expected);
    }
    assert_eq!(number(&case.get().await), (1, false));
}

#[tokio::test]
async fn reference_data_that_was_read_together_does_not_get_old_together() {
    const SPREAD: Operation = Operation::get("things.list", "/v1/things")
        .cacheable(CacheRule::reference_data(secs(1_000), "things"));
    let case = Case::new(SPREAD, |s| s.json(200, &1).forever());
    let mut lives = Vec::new();
    for n in 0..300 {
        let result = case.call(Call::new(SPREAD).query("n", n)).await;
        lives.push(result.unwrap().meta().cache.unwrap().ttl.unwrap());
    }
    lives.sort_unstable();
    assert!((900..=910).contains(&lives[0]) && (1_090..=1_100).contains(&lives[299]), "{lives:?}");
}

#[tokio::test]
async fn a_rule_that_ignores_headers_keeps_what_they_forbid_and_still_asks_by_etag() {
    const OWN: Operation = Operation::get("things.list", "/v1/things")
        .cacheable(CacheRule::reference_data(secs(60), "things").jitter(0).ignoring_headers());
    let case = Case::new(OWN, |s| {
        let s = s.json(200, &1).header("cache-control", "no-cache, no-store, max-age=0, must-revalidate");
        s.header("etag", "\"a\"").header("expires", "0").reply(304).header("etag", "\"a\"")
    });
    number(&case.get().await);
    case.later(secs(59));
    assert_eq!(number(&case.get().await), (1, true));
    case.later(secs(700));
    let result = case.get().await;
    assert_eq!(
        (number(&result), status(&result).as_str()),
        ((1, true), "martlet; fwd=stale; fwd-status=304; ttl=60; stored")
    );
}

#[tokio::test]
async fn an_operation_without_a_rule_has_no_status() {
    const PLAIN: Operation = Operation::get("things.list", "/v1/things");
    let case = Case::new(PLAIN, |s| s.json(200, &1).header("cache-control", "max-age=60").times(2));
    case.get().await.unwrap();
    let second = case.get().await.unwrap();
    assert_eq!((second.meta().cache, second.meta().from_cache), (None, false));
}
