//! Settings in configuration files.

use martlet_base::{ManualClock, Moment};
use martlet_resilience::{
    AdaptiveBuilder, AdaptiveConcurrency, Backoff, Breaker, BreakerOptions, Hedge, HedgeBuilder, Jitter,
    LimitsConfig, RetryBudget, RetryPolicy, SlowCall, ThrottleBuilder,
};
use serde_json::json;
use std::time::Duration;

#[test]
fn what_is_missing_is_the_default() {
    let policy: RetryPolicy = serde_json::from_value(json!({})).unwrap();
    assert_eq!(policy, RetryPolicy::seed());
    let breaker: BreakerOptions = serde_json::from_value(json!({ "name": "n" })).unwrap();
    assert_eq!(&breaker, Breaker::builder("n").build().unwrap().options());
    assert_eq!(breaker.build().unwrap().name(), "n");
}

#[test]
fn what_is_written_is_read_again() {
    let backoff =
        Backoff::exponential(Duration::from_micros(1_500), 2.0).jitter(Jitter::Full).build().unwrap();
    let policy = RetryPolicy::builder()
        .backoff(backoff.clone())
        .throttled_backoff(backoff)
        .max_retries(7)
        .build()
        .unwrap();
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<RetryPolicy>(&text).unwrap(), policy, "{text}");
    let slow = SlowCall::Over(Duration::from_secs(2));
    let breaker = Breaker::builder("b").count_window(50).slow_call(slow, 0.5).build().unwrap();
    let text = serde_json::to_string(breaker.options()).unwrap();
    assert_eq!(&serde_json::from_str::<BreakerOptions>(&text).unwrap(), breaker.options(), "{text}");
    let budget = RetryPolicy::builder().budget(RetryBudget::standard()).build().unwrap();
    let read: RetryPolicy = serde_json::from_value(serde_json::to_value(&budget).unwrap()).unwrap();
    assert_eq!(format!("{:?}", read.budget()), format!("{:?}", budget.budget()));
}

#[test]
fn durations_are_read_in_every_unit_and_nonsense_is_refused() {
    for (text, millis) in [
        ("250ms", 250),
        ("1.5s", 1_500),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("2 s", 2_000),
        ("3000000ns", 3),
    ] {
        let read: Backoff =
            serde_json::from_value(json!({ "base": text, "factor": 2.0, "max_delay": "7d" })).unwrap();
        assert_eq!(read.delay_without_jitter(0), Duration::from_millis(millis), "{text}");
    }
    for text in ["", "5", "s", "-1s", "NaNs", "1e99d", "5 weeks", "99999999999999999999d"] {
        let read = serde_json::from_value::<Backoff>(json!({ "base": text, "factor": 2.0 }));
        assert!(read.unwrap_err().to_string().contains("no duration"), "{text}");
    }
}

#[test]
fn settings_are_checked_when_they_are_read_and_none_is_ignored() {
    // tower-resilience #370: a setting that was accepted and never used.
    let error = |value| serde_json::from_value::<BreakerOptions>(value).unwrap_err().to_string();
    assert_eq!(
        error(json!({ "name": "n", "failure_rate": 0.0 })),
        "failure_rate: must be above 0, at most 1"
    );
    assert!(error(json!({ "name": "n", "failure_ratio": 0.5 })).contains("unknown field `failure_ratio`"));
    let error = |value| serde_json::from_value::<RetryPolicy>(value).unwrap_err().to_string();
    assert!(error(json!({ "backoff": { "base": "0s", "factor": 2.0 } })).contains("base"));
    assert!(error(json!({ "max_retries": 10_001 })).contains("max_retries"));
    assert!(error(json!({ "budget": { "retry_cost": 0 } })).contains("retry_cost"));
    assert!(error(json!({ "budget": { "tokens_per_second": 1 } })).contains("unknown field"));
}

#[test]
fn limits_in_a_file_are_checked_when_they_are_read() {
    let read = |value| serde_json::from_value::<LimitsConfig>(value);
    let config = read(json!({
        "windows": [
            { "name": "fast", "limit": 100, "per": "10s" },
            { "name": "pace", "limit": 5, "per": "1s", "burst": 2 },
            { "name": "daily", "limit": 1000, "calendar": "day", "utc_offset_secs": -18000 },
        ],
        "concurrency": 10, "overflow": "shed_lowest", "share": 0.5,
    }))
    .unwrap();
    assert_eq!(
        serde_json::from_value::<LimitsConfig>(serde_json::to_value(&config).unwrap()).unwrap(),
        config
    );
    let limits = config.build(&ManualClock::new().clock()).unwrap();
    let windows: Vec<_> =
        limits.snapshot(Moment::ZERO).iter().map(|w| (w.name.to_string(), w.limit)).collect();
    assert_eq!(windows, [("fast".to_owned(), 50), ("pace".to_owned(), 2), ("daily".to_owned(), 500)]);
    let error = |value| read(value).unwrap_err().to_string();
    assert!(error(json!({ "windows": [{ "name": "w", "limit": 0, "per": "1s" }] })).contains("limit"));
    assert!(error(json!({ "windows": [{ "name": "w", "limit": 1 }] })).contains("needs `per`"));
    assert!(
        error(json!({ "windows": [{ "name": "w", "limit": 1, "calendar": "day", "burst": 1 }] }))
            .contains("needs")
    );
    assert!(error(json!({ "concurency": 1 })).contains("unknown field"));
    assert!(error(json!({ "share": 0.0 })).contains("share"));
}

#[test]
fn the_other_builders_are_checked_when_they_are_read_too() {
    let hedge: HedgeBuilder = serde_json::from_value(json!({ "percentile": 0.9, "window": "5m" })).unwrap();
    assert_eq!(hedge, Hedge::builder().percentile(0.9).window(Duration::from_secs(300)));
    assert_eq!(serde_json::from_value::<HedgeBuilder>(serde_json::to_value(hedge).unwrap()).unwrap(), hedge);
    let adaptive: AdaptiveBuilder = serde_json::from_value(json!({ "max": 50 })).unwrap();
    assert_eq!(adaptive, AdaptiveConcurrency::builder().between(1, 50));
    let throttle: ThrottleBuilder = serde_json::from_value(json!({ "k": 3.0 })).unwrap();
    throttle.build().unwrap();
    for error in [
        serde_json::from_value::<HedgeBuilder>(json!({ "percentile": 1.0 })).unwrap_err(),
        serde_json::from_value::<AdaptiveBuilder>(json!({ "start": 500 })).unwrap_err(),
        serde_json::from_value::<ThrottleBuilder>(json!({ "k": 0.5 })).unwrap_err(),
        serde_json::from_value::<ThrottleBuilder>(json!({ "kk": 2.0 })).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("must be") || text.contains("unknown field"), "{text}");
    }
}
