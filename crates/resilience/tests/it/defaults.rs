//! Defaults are promises: a change shows up here and belongs into the changelog.

use martlet_resilience::{Backoff, Breaker, Limits, RetryBudget, RetryPolicy};
use std::time::Duration;

#[test]
fn the_presets_of_retry_are_pinned() {
    insta::assert_debug_snapshot!(RetryPolicy::default(), @r#"
    RetryPolicy(
        Inner {
            backoff: Backoff {
                base: 1s,
                factor: 4.0,
                max_delay: 60s,
                jitter: Bounded(
                    0.25,
                ),
            },
            throttled: None,
            max_retries: 3,
            server_hint: Floor {
                cap: 300s,
            },
            min_useful: 0ns,
            long_poll: false,
            budget: None,
        },
    )
    "#);
    let explained =
        [RetryPolicy::seed(), RetryPolicy::fast_transient(), RetryPolicy::never()].map(|p| p.explain());
    let first_lines: Vec<_> = explained.iter().filter_map(|text| text.lines().next()).collect();
    insta::assert_debug_snapshot!(first_lines, @r#"
    [
        "3 retries after 1s, 4s, 16s (jitter 25 %); a server may order up to 300s",
        "3 retries after 50ms, 100ms, 200ms (jitter 25 %); a server may order up to 300s",
        "no retries",
    ]
    "#);
    insta::assert_snapshot!(RetryPolicy::aws_standard().explain(), @r"
    2 retries after 50ms, 100ms (full jitter); a server may add up to 5s
    retry        plain     at least      at most  latest start
        1         50ms          0ns         50ms          50ms
        2        100ms          0ns        100ms         150ms
    throttled: retry        plain     at least      at most  latest start
        1           1s          0ns           1s            1s
        2           2s          0ns           2s            3s
    ");
    let budget = format!("{:?}", RetryBudget::standard());
    insta::assert_snapshot!(budget, @"RetryBudget { capacity: 500, retry_cost: 14, throttled_cost: 5, first_success: 1, refill_per_second: 10.0, fraction: None, .. }");
    assert_eq!(RetryPolicy::seed(), RetryPolicy::builder().build().unwrap());
}

#[test]
fn the_default_backoff_is_pinned() {
    insta::assert_debug_snapshot!(Backoff::exponential(Duration::from_secs(2), 3.0).build().unwrap(), @r#"
    Backoff {
        base: 2s,
        factor: 3.0,
        max_delay: 60s,
        jitter: Bounded(
            0.25,
        ),
    }
    "#);
}

#[test]
fn the_default_breaker_is_pinned() {
    insta::assert_debug_snapshot!(Breaker::builder("name").build().unwrap().options(), @r#"
    BreakerOptions {
        name: "name",
        window: Time {
            length: 30s,
            buckets: 10,
        },
        failure_rate: 0.5,
        min_calls: 20,
        consecutive_failures: Some(
            10,
        ),
        slow_call: None,
        open_for: 5s,
        max_open_for: 300s,
        jitter: Bounded(
            0.1,
        ),
        probes: 3,
        half_open_timeout: 30s,
    }
    "#);
}

#[test]
fn the_default_limits_are_pinned() {
    insta::assert_debug_snapshot!(Limits::builder(), @r#"
    LimitsBuilder {
        rules: [],
        concurrency: None,
        max_queue: 1024,
        overflow: RejectNew,
        ageing: 30s,
        share: 1.0,
        spread: None,
    }
    "#);
}
