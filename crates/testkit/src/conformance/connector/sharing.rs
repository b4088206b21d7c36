//! What the calls of one account share: the credential, the quota, the places.

use super::calls::is_cached;
use super::{Answer, Sample, Subject, Tested, World};
use crate::RateWindow;
use futures_util::future::join_all;
use martlet_core::{ErrorKind, LimitSpec, Result};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

/// Fifty calls at once whose token is refused: the source is asked for one more, and all succeed. Where the credential
/// cannot be renewed ([`Subject::renewing`] was not given) each call fails after one request.
pub async fn fifty_calls_renew_a_refused_token_once<C: Tested>(subject: Subject<C>) {
    let samples = subject.samples();
    let sample = samples.iter().find(|sample| !is_cached(sample)).expect("an operation that is not cached");
    let fifty = |world: &World<C>| join_all((0..50).map(|_| (sample.run)(world.client.clone())));
    let Some(build) = subject.renewing.clone() else {
        let world = subject.world(|_| Answer::new(401, ""));
        for result in world.drive(fifty(&world)).await {
            let error = result.expect_err("a 401 is no success");
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        }
        assert_eq!(world.wire.count(), 50, "a credential that cannot be renewed was tried again");
        return;
    };
    let answer = sample.answer();
    let old = format!("{}-1", super::SECRET);
    let world = World::build(
        &subject,
        Duration::from_millis(50),
        0,
        move |request| {
            let stale = request.headers.values().any(|value| value.as_bytes().ends_with(old.as_bytes()));
            if stale { Answer::new(401, "") } else { answer.clone() }
        },
        |setup, tokens| build(setup, tokens),
    );
    for result in world.drive(fifty(&world)).await {
        result.expect("a call with a renewed token succeeds");
    }
    assert_eq!(world.tokens.issued(), 2, "one token at first and one more for all fifty");
}

/// Windows longer than this would take too many calls.
const LONGEST: Duration = Duration::from_secs(60);
const MOST: u32 = 400;

/// More calls at once than each window takes: they all succeed, later, and the platform counts no violation.
pub async fn no_quota_is_exceeded<C: Tested>(subject: Subject<C>) {
    for (sample, bucket) in buckets(&subject) {
        for &(window, limit, per) in bucket.windows() {
            if limit > MOST || per > LONGEST {
                continue;
            }
            let name = format!("{} in {}/{window}", sample.operation.name(), bucket.bucket());
            let world = subject.world(subject.answers());
            let calls = (0..limit * 2 + 1).map(|_| (sample.run)(world.client.clone()));
            let results: Vec<Result<()>> = world.drive(join_all(calls)).await;
            for result in results {
                result.unwrap_or_else(|e| panic!("{name}: a call did not wait for quota: {e}"));
            }
            let mut counted = RateWindow::new(limit, per);
            for request in world.wire.requests() {
                counted.arrive(request.at);
            }
            assert_eq!(counted.violations(), 0, "{name}: more than {limit} in {per:?}");
        }
    }
}

/// What is left of a window, as each dialect writes it. Names that only a platform knows are `default`.
const TOLD: [(&str, &str); 21] = [
    ("ratelimit-policy", "\"default\";q=1000"),
    ("ratelimit", "\"default\";r=999;t=1"),
    ("ratelimit-limit", "1000"),
    ("ratelimit-remaining", "999"),
    ("ratelimit-reset", "1"),
    ("x-ratelimit-limit", "1000"),
    ("x-ratelimit-remaining", "999"),
    ("x-ratelimit-reset", "1"),
    ("x-daily-requests-left", "999"),
    ("x-hubspot-ratelimit-max", "1000"),
    ("x-hubspot-ratelimit-remaining", "999"),
    ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
    ("x-hubspot-ratelimit-daily", "1000"),
    ("x-hubspot-ratelimit-daily-remaining", "999"),
    ("x-sib-ratelimit-limit", "1000"),
    ("x-sib-ratelimit-remaining", "999"),
    ("x-sib-ratelimit-reset", "1"),
    ("sforce-limit-info", "api-usage=1/1000"),
    ("x-shopify-shop-api-call-limit", "1/1000"),
    ("x-app-usage", "{\"call_count\":1,\"total_time\":1,\"total_cputime\":1}"),
    ("x-business-use-case-usage", "{\"1\":[{\"call_count\":1,\"total_time\":1,\"total_cputime\":1}]}"),
];

/// Whatever the platform tells of its quota is counted by a window of the operation's bucket or of the default one, or the subject says
/// that it is [uncounted](Subject::uncounted): a window whose name is misspelt would be limited by nothing but its own count.
pub async fn no_quota_that_is_told_goes_uncounted<C: Tested>(subject: Subject<C>) {
    let answers = subject.answers();
    let told: Vec<_> = TOLD.into_iter().chain(subject.quota_headers.iter().copied()).collect();
    let world = subject.world(move |request| {
        told.iter().fold(answers(request), |answer, (name, value)| answer.header(name, value))
    });
    for sample in &subject.samples() {
        let name = sample.operation.name();
        world
            .run(sample)
            .await
            .unwrap_or_else(|e| panic!("{name} does not take an answer that tells of a quota: {e}"));
        for (bucket, window) in world.signals.unmatched() {
            assert!(
                subject.uncounted.contains(&&*window),
                "{name}: the platform tells what is left of the window {window:?}, and no limit counts it: give a window of the \
                 bucket {bucket} that name, or say .uncounted({window:?}) if that is meant"
            );
        }
    }
}

/// A sample for each bucket of the platform that an operation takes from.
fn buckets<C: Tested>(subject: &Subject<C>) -> Vec<(Sample<C>, LimitSpec)> {
    let samples = subject.samples();
    let world = subject.world(subject.answers());
    let limits = world.api.platform().descriptor().limits().to_vec();
    let of = |bucket: LimitSpec| {
        let sample =
            samples.iter().filter(|sample| !is_cached(sample)).find(|sample| match bucket.bucket() {
                LimitSpec::DEFAULT => sample.operation.get_quota().is_none(),
                name => sample.operation.get_quota() == Some(name),
            });
        Some((sample?.clone(), bucket))
    };
    limits.into_iter().filter_map(of).collect()
}

/// Three times more calls at once than the platform takes: no more than that are ever under way, and all succeed.
pub async fn no_more_requests_are_under_way_than_allowed<C: Tested>(subject: Subject<C>) {
    for (sample, bucket) in buckets(&subject) {
        let Some(cap) = bucket.get_concurrency() else { continue };
        let world = World::new(&subject, Duration::from_millis(500), 0, subject.answers());
        let calls = (0..cap * 3).map(|_| (sample.run)(world.client.clone()));
        for result in world.drive(join_all(calls)).await {
            result.unwrap_or_else(|e| panic!("{}: {e}", sample.operation.name()));
        }
        let most = world.wire.most_at_once();
        assert!(most <= usize::try_from(cap).unwrap_or(usize::MAX), "{most} of {cap} were under way at once");
    }
}

/// Calls that are dropped at every await give back what they took: nothing stays under way, and as many calls as the
/// platform takes at once still get through.
pub async fn a_dropped_call_leaks_nothing<C: Tested>(subject: Subject<C>) {
    for sample in &subject.samples() {
        let name = sample.operation.name();
        let world = World::new(&subject, Duration::ZERO, 3, subject.answers());
        let mut ended = false;
        // First with time between the calls, so that none waits for quota, then all at one moment, so that most do.
        for (pause, polls) in [60, 0].into_iter().flat_map(|pause| (0..40).map(move |polls| (pause, polls))) {
            world.manual.advance(Duration::from_secs(pause));
            {
                let mut call = pin!((sample.run)(world.client.clone()));
                for _ in 0..polls {
                    if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                        ended = true;
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            // What is read into the cache is read for all who want it, and goes on.
            let open = if is_cached(sample) { 0 } else { world.wire.under_way() };
            assert_eq!(open, 0, "{name}: a call dropped after {polls} polls left its exchange open");
        }
        assert!(ended, "{name}: no call came to its end in 40 polls, so not every await was seen");
        let limits = world.api.platform().descriptor().limits().to_vec();
        let places = limits.iter().filter_map(LimitSpec::get_concurrency).min().unwrap_or(10);
        let calls = (0..places * 2).map(|_| (sample.run)(world.client.clone()));
        for result in world.drive(join_all(calls)).await {
            result.unwrap_or_else(|e| panic!("{name}: after dropped calls another one fails: {e}"));
        }
        assert_eq!(world.wire.under_way(), 0, "{name}");
    }
}
