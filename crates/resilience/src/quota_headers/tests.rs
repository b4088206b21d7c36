use super::*;
use proptest::prelude::*;

const WALL: Timestamp = Timestamp::from_secs(1_637_707_320);

fn read(dialect: Dialect, headers: &[(&str, &str)]) -> Reading {
    let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    dialect.read(&header, WALL)
}

/// Name, limit, remaining, reset in seconds, span in seconds.
type Row<'a> = (&'a str, Option<u32>, Option<u32>, Option<u64>, Option<u64>);

fn rows(reading: &Reading) -> Vec<Row<'_>> {
    let secs = |d: Option<Duration>| d.map(|d| d.as_secs());
    reading
        .windows
        .iter()
        .map(|w| (w.name.as_str(), w.limit, w.remaining, secs(w.reset), secs(w.per)))
        .collect()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn l8_the_examples_of_the_draft() {
    let policy = |text| read(Dialect::RateLimit, &[("ratelimit-policy", text)]);
    assert_eq!(
        rows(&policy(r#""burst";q=100;w=60,"daily";q=1000;w=86400"#)),
        [("burst", Some(100), None, None, Some(60)), ("daily", Some(1000), None, None, Some(86400))]
    );
    assert_eq!(rows(&policy(r#""permin";q=50;w=60,"perhr";q=1000;w=3600"#)).len(), 2);
    let bytes = policy(r#""peruser";q=65535;qu="content-bytes";w=10;pk=:cHsdsRa894==:"#);
    // Not canonical base64: such a field is ignored, or read; never half of it.
    assert!(bytes.windows.is_empty() || bytes.windows[0].unit.as_deref() == Some("content-bytes"));
    let state = |text| read(Dialect::RateLimit, &[("ratelimit", text)]);
    assert_eq!(rows(&state(r#""default";r=50;t=30"#)), [("default", None, Some(50), Some(30), None)]);
    let partitioned = state(r#""default";r=999;pk=:dHJpYWwxMjEzMjM=:"#);
    assert_eq!(partitioned.windows[0].partition.as_deref(), Some(&b"trial121323"[..]));
    assert_eq!(
        rows(&state(r#""problemPolicy";r=0;t=10"#)),
        [("problemPolicy", None, Some(0), Some(10), None)]
    );
}

#[test]
fn l8_retry_after_wins_over_ratelimit() {
    let wall = "2019-08-05T09:27:00Z".parse().unwrap();
    let headers = [("ratelimit", r#""default";r=0;t=500"#), ("retry-after", "Mon, 05 Aug 2019 09:27:05 GMT")];
    let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    let reading = Dialect::RateLimit.read(&header, wall);
    assert_eq!(reading.pause, Some(secs(5)));
    let limits = Limits::builder().window("default", 10, secs(60)).build().unwrap();
    limits.observe(&reading, Moment::ZERO);
    assert_eq!(limits.try_acquire(1, Moment::ZERO).unwrap_err().at, Some(Moment::ZERO + secs(5)));
}

#[test]
fn l8_what_is_malformed_is_ignored_field_by_field() {
    for text in [
        "",
        "default;r",
        r#""default""#,
        r#""default";r=-1"#,
        r#""default";r=1.5"#,
        r#"("a" "b");r=1"#,
        "r=1;t=2",
        r#""default";r="1""#,
        r#""default";r=1;t=5 garbage"#,
        r#""default";r=99999999999999999999"#,
        "\u{7f}",
    ] {
        assert_eq!(read(Dialect::RateLimit, &[("ratelimit", text)]), Reading::default(), "{text}");
    }
    let half = read(
        Dialect::RateLimit,
        &[("ratelimit", "!"), ("ratelimit-policy", r#""a";q=1;w=0, "b";w=1, "c";q=2"#)],
    );
    assert_eq!(rows(&half), [("a", Some(1), None, None, None), ("c", Some(2), None, None, None)]);
    let both = read(Dialect::RateLimit, &[("ratelimit", r#""a";r=1;t=-5"#)]);
    assert_eq!(rows(&both), [("a", None, Some(1), None, None)]);
}

#[test]
fn l8_a_window_that_is_nearly_spent_and_resets_in_ten_hours_stops_nobody() {
    let limits = Limits::builder().window("daily", 100, secs(86_400)).build().unwrap();
    limits.observe(&read(Dialect::RateLimit, &[("ratelimit", r#""daily";r=1;t=36400"#)]), Moment::ZERO);
    limits.try_acquire(1, Moment::ZERO).unwrap().cancel();
    assert!(limits.try_acquire(2, Moment::ZERO).is_err());
}

#[test]
fn l8_what_a_header_says_to_be_left_never_raises_what_we_have() {
    let limits = Limits::builder().window("w", 3, secs(60)).build().unwrap();
    (0..3).for_each(|_| limits.try_acquire(1, Moment::ZERO).unwrap().finish(Moment::ZERO));
    let reading = read(
        Dialect::RateLimitOld,
        &[("ratelimit-limit", "3"), ("ratelimit-remaining", "3"), ("ratelimit-reset", "60")],
    );
    limits.observe(&reading, Moment::ZERO);
    assert!(limits.try_acquire(1, Moment::ZERO).is_err());
}

#[test]
fn l8_the_old_drafts() {
    let old = |limit| {
        read(
            Dialect::RateLimitOld,
            &[("ratelimit-limit", limit), ("ratelimit-remaining", "7"), ("ratelimit-reset", "9")],
        )
    };
    assert_eq!(rows(&old("10")), [("", Some(10), Some(7), Some(9), None)]);
    assert_eq!(rows(&old("10, 10;w=60, 1000;w=3600")), [("", Some(10), Some(7), Some(9), Some(60))]);
    assert_eq!(rows(&old("-3")), [("", None, Some(7), Some(9), None)]);
    // Klaviyo on a 429: the fields are replaced by Retry-After.
    assert_eq!(
        read(Dialect::RateLimitOld, &[("retry-after", "2")]),
        Reading { pause: Some(secs(2)), windows: vec![] }
    );
}

#[test]
fn l9_a_reset_is_read_as_the_dialect_says_and_clamped_to_a_day() {
    let at = |unit, text| {
        read(Dialect::XRateLimit(unit), &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", text)])
            .windows[0]
            .reset
    };
    use ResetUnit::{DeltaMillis, DeltaSeconds, EpochMillis, EpochSeconds};
    for (unit, text, expected) in [
        (DeltaSeconds, "21", Some(secs(21))),
        (DeltaSeconds, "2.5", Some(secs(3))),
        (DeltaMillis, "2500", Some(Duration::from_millis(2_500))),
        (EpochSeconds, "1637707380", Some(secs(60))),
        (EpochMillis, "1637707380500", Some(Duration::from_millis(60_500))),
        (EpochSeconds, "1", Some(Duration::ZERO)),
        // The Unix clock read as a delta would be half a century.
        (DeltaSeconds, "1637707380", Some(secs(86_400))),
        (EpochSeconds, "99999999999999999999", Some(secs(86_400))),
        (DeltaSeconds, "-1", None),
        (DeltaSeconds, "", None),
        (DeltaSeconds, "soon", None),
    ] {
        assert_eq!(at(unit, text), expected, "{unit:?} {text}");
    }
}

#[test]
fn l8_hubspot_says_ten_seconds_and_a_day() {
    let reading = read(
        Dialect::HubSpot,
        &[
            ("x-hubspot-ratelimit-daily", "250000"),
            ("x-hubspot-ratelimit-daily-remaining", "249000"),
            ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
            ("x-hubspot-ratelimit-max", "100"),
            ("x-hubspot-ratelimit-remaining", "98"),
            ("x-hubspot-ratelimit-secondly", "10"),
        ],
    );
    assert_eq!(
        rows(&reading),
        [
            ("ten_secondly", Some(100), Some(98), None, Some(10)),
            ("daily", Some(250_000), Some(249_000), None, Some(86_400))
        ]
    );
    // The windows are found by their spans, whatever they are called here.
    let limits = Limits::builder()
        .window("fast", 100, secs(10))
        .window("slow", 250_000, secs(86_400))
        .build()
        .unwrap();
    limits.observe(&reading, Moment::ZERO);
    let used: Vec<_> = limits.snapshot(Moment::ZERO).iter().map(|w| w.used).collect();
    assert_eq!(used, [2, 1_000]);
    assert!(read(Dialect::HubSpot, &[]).windows.is_empty(), "the search says nothing");
}

#[test]
fn l8_each_vendor_is_read_as_it_writes() {
    let braze = read(
        Dialect::XRateLimit(ResetUnit::EpochSeconds),
        &[
            ("x-ratelimit-limit", "50000"),
            ("x-ratelimit-remaining", "5"),
            ("x-ratelimit-reset", "1637707380"),
        ],
    );
    assert_eq!(rows(&braze), [("", Some(50_000), Some(5), Some(60), None)]);
    let sendgrid = read(
        Dialect::XRateLimit(ResetUnit::DeltaSeconds),
        &[("x-ratelimit-limit", "600"), ("x-ratelimit-remaining", "599"), ("x-ratelimit-reset", "21")],
    );
    assert_eq!(rows(&sendgrid), [("", Some(600), Some(599), Some(21), None)]);
    let brevo = read(
        Dialect::Brevo,
        &[
            ("x-sib-ratelimit-limit", "100"),
            ("x-sib-ratelimit-remaining", "0"),
            ("x-sib-ratelimit-reset", "60"),
        ],
    );
    assert_eq!(rows(&brevo), [("", Some(100), Some(0), Some(60), None)]);
    let pipedrive = read(
        Dialect::Pipedrive,
        &[
            ("x-ratelimit-limit", "20"),
            ("x-ratelimit-remaining", "19"),
            ("x-ratelimit-reset", "2"),
            ("x-daily-requests-left", "9"),
        ],
    );
    assert_eq!(
        rows(&pipedrive),
        [("burst", Some(20), Some(19), Some(2), None), ("daily", None, Some(9), None, Some(86_400))]
    );
    let salesforce = read(
        Dialect::Salesforce,
        &[("sforce-limit-info", "api-usage=695/15000; per-app-api-usage=17/250(appName=x)")],
    );
    assert_eq!(rows(&salesforce), [("daily", Some(15_000), Some(14_305), None, Some(86_400))]);
    let shopify =
        read(Dialect::ShopifyRest, &[("x-shopify-shop-api-call-limit", "32/40"), ("retry-after", "2.0")]);
    assert_eq!(
        (rows(&shopify), shopify.pause),
        (vec![("bucket", Some(40), Some(8), None, None)], Some(secs(2)))
    );
    assert!(read(Dialect::RetryAfter, &[("ratelimit-remaining", "0")]).windows.is_empty());
}

#[test]
fn l8_meta_says_percentages_and_minutes() {
    let usage = r#"{"123":[{"type":"ads_insights","call_count":32,"total_cputime":3,"total_time":97.5,"estimated_time_to_regain_access":7}]}"#;
    let reading = read(
        Dialect::Meta,
        &[("x-business-use-case-usage", usage), ("x-app-usage", r#"{"call_count":100}"#)],
    );
    assert_eq!(
        rows(&reading),
        [("ads_insights", Some(100), Some(2), None, None), ("app", Some(100), Some(0), None, None)]
    );
    assert_eq!(reading.pause, Some(secs(420)));
    let account = read(
        Dialect::Meta,
        &[("x-ad-account-usage", r#"{"acc_id_util_pct":9.67,"reset_time_duration":100}"#)],
    );
    assert_eq!(rows(&account), [("ad_account", Some(100), Some(90), Some(100), None)]);
    // Percentages are not requests: no window of ours is touched.
    let limits = Limits::builder().window("w", 10, secs(60)).build().unwrap();
    limits.observe(&account, Moment::ZERO);
    assert_eq!(limits.snapshot(Moment::ZERO)[0].used, 0);
}

#[test]
fn l8_shopify_says_what_a_query_cost_in_the_body() {
    let body = serde_json::json!({"errors": [{"extensions": {"code": "THROTTLED"}}], "extensions": {"cost": {
        "requestedQueryCost": 300, "actualQueryCost": null,
        "throttleStatus": {"maximumAvailable": 1000.0, "currentlyAvailable": 100, "restoreRate": 50.0}}}});
    let reading = shopify_cost(&body);
    assert_eq!(rows(&reading), [("points", Some(1_000), Some(100), Some(18), None)]);
    assert_eq!(reading.pause, Some(secs(4)));
    assert_eq!(shopify_cost(&serde_json::json!({"data": 1})), Reading::default());
}

const ALL: [Dialect; 10] = [
    Dialect::RetryAfter,
    Dialect::RateLimit,
    Dialect::RateLimitOld,
    Dialect::XRateLimit(ResetUnit::EpochMillis),
    Dialect::HubSpot,
    Dialect::Brevo,
    Dialect::Pipedrive,
    Dialect::Salesforce,
    Dialect::ShopifyRest,
    Dialect::Meta,
];

proptest! {
    #[test]
    fn no_text_panics_in_any_dialect(text in "[\\PC\"=;,:0-9/{}-]{0,60}", now: i64) {
        for dialect in ALL {
            let header = |_: &str| Some(text.as_str());
            let reading = dialect.read(&header, Timestamp::from_micros(now));
            Limits::builder().window("w", 5, secs(60)).build().unwrap().observe(&reading, Moment::ZERO);
        }
    }
}

#[test]
fn l8_each_of_the_22_platforms_has_its_dialect() {
    use Dialect::{
        Brevo, HubSpot, Meta, Pipedrive, RateLimitOld, RetryAfter, Salesforce, ShopifyRest, XRateLimit,
    };
    use ResetUnit::{DeltaSeconds, EpochSeconds};
    let triple = |prefix: &str, reset: &str| {
        [("limit", "10"), ("remaining", "4"), ("reset", reset)]
            .map(|(field, value)| (format!("{prefix}{field}"), value.to_owned()))
            .to_vec()
    };
    let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let epoch = "1637707330";
    let usage = r#"{"1":[{"type":"ads_management","call_count":60,"total_cputime":3,"total_time":7}]}"#;
    let says = |left: u32| Some(left);
    // Each with an answer of its kind and what that leaves; nothing where the platform sends nothing.
    let platforms = [
        ("activecampaign", RateLimitOld, triple("ratelimit-", "1"), says(4)),
        ("braze", XRateLimit(EpochSeconds), triple("x-ratelimit-", epoch), says(4)),
        ("brevo", Brevo, triple("x-sib-ratelimit-", "9"), says(4)),
        ("customerio", RetryAfter, vec![], None),
        ("ga4", RetryAfter, vec![], None),
        ("google-ads", RetryAfter, vec![], None),
        ("hubspot", HubSpot, one("x-hubspot-ratelimit-remaining", "4"), says(4)),
        ("intercom", XRateLimit(EpochSeconds), triple("x-ratelimit-", epoch), says(4)),
        ("iterable", RetryAfter, vec![], None),
        ("klaviyo", RateLimitOld, triple("ratelimit-", "30"), says(4)),
        ("linkedin-ads", RetryAfter, vec![], None),
        ("mailchimp", RetryAfter, vec![], None),
        ("marketo", RetryAfter, vec![], None),
        ("meta", Meta, one("x-business-use-case-usage", usage), says(40)),
        ("pipedrive", Pipedrive, triple("x-ratelimit-", "2"), says(4)),
        ("salesforce", Salesforce, one("sforce-limit-info", "api-usage=695/15000"), says(14_305)),
        ("segment", XRateLimit(EpochSeconds), triple("x-ratelimit-", epoch), says(4)),
        ("sendgrid", XRateLimit(DeltaSeconds), triple("x-ratelimit-", "21"), says(4)),
        ("shopify", ShopifyRest, one("x-shopify-shop-api-call-limit", "32/40"), says(8)),
        ("stripe", RetryAfter, one("stripe-rate-limited-reason", "global-rate"), None),
        ("tiktok-ads", RetryAfter, vec![], None),
        ("twilio", RetryAfter, one("twilio-concurrent-requests", "3"), None),
    ];
    assert_eq!(platforms.len(), 22);
    for (platform, dialect, headers, left) in platforms {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let reading = read(dialect, &headers);
        assert_eq!(reading.windows.first().and_then(|w| w.remaining), left, "{platform}");
        // Whatever the dialect, an order to wait is one.
        assert_eq!(read(dialect, &[("retry-after", "7")]).pause, Some(secs(7)), "{platform}");
    }
}

#[test]
fn l8_google_says_in_the_body_what_is_left_and_how_long_to_wait() {
    let ga4 = serde_json::json!({ "propertyQuota": {
        "tokensPerDay": { "consumed": 1, "remaining": 199_999 },
        "tokensPerHour": { "consumed": 1, "remaining": 39_999 },
        "concurrentRequests": { "consumed": 0, "remaining": 10 },
        "serverErrorsPerProjectPerHour": { "remaining": 10 },
    } });
    assert_eq!(
        rows(&ga4_quota(&ga4)),
        [
            ("tokensPerDay", None, Some(199_999), None, Some(86_400)),
            ("tokensPerHour", None, Some(39_999), None, Some(3_600)),
            ("concurrentRequests", None, Some(10), None, None),
        ]
    );
    let ads = |delay: &str| {
        let details =
            |delay: &str| serde_json::json!({ "details": { "quotaErrorDetails": { "retryDelay": delay } } });
        let errors = serde_json::json!([{ "errors": [details("2s"), details(delay), {}] }]);
        google_ads_pause(
            &serde_json::json!({ "error": { "status": "RESOURCE_EXHAUSTED", "details": errors } }),
        )
        .pause
    };
    assert_eq!(ads("30s"), Some(secs(30)));
    assert_eq!(ads("2.5s"), Some(Duration::from_millis(2_500)));
    for nonsense in ["", "s", "-1s", "NaNs", "1e999s", "30"] {
        assert_eq!(ads(nonsense), Some(secs(2)), "{nonsense}");
    }
    for nonsense in [serde_json::json!(null), serde_json::json!({ "error": { "details": 5 } })] {
        assert_eq!((ga4_quota(&nonsense), google_ads_pause(&nonsense)), Default::default());
    }
}
