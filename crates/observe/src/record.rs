//! One line: the fields, and how each signal fills them.

use crate::ErrorClass;
use martlet_base::{BreakerState, CallIds, CallOutcome, Clock, Signal, Timestamp};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// The longest text of a field, in characters.
const MAX_TEXT: usize = 200;

/// The fields in the order in which they are written. An absent fact is left out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Record<'a> {
    ts: String,
    level: &'static str,
    event: &'static str,
    pub(crate) run_id: &'a str,
    #[serde(flatten)]
    facts: Facts<'a>,
}

macro_rules! facts {
    ($($name:ident : $ty:ty),+ $(,)?) => {
        #[derive(Debug, Default, Serialize)]
        struct Facts<'a> {
            $(#[serde(skip_serializing_if = "Option::is_none")] $name: Option<$ty>,)+
        }
    };
}

facts! {
    request_id: String,
    vendor_request_id: Cow<'a, str>,
    trace_id: String,
    span_id: String,
    idempotency_key_hash: String,
    platform: Cow<'a, str>,
    connection: Cow<'a, str>,
    operation: Cow<'a, str>,
    pipeline: Cow<'a, str>,
    stage: &'static str,
    stream: Cow<'a, str>,
    destination: Cow<'a, str>,
    transform: Cow<'a, str>,
    started_at: String,
    ended_at: String,
    duration_ms: u64,
    queued_ms: u64,
    rate_limit_wait_ms: u64,
    records_in: u64,
    records_out: u64,
    records_rejected: u64,
    bytes_in: u64,
    bytes_out: u64,
    pages: u64,
    outcome: &'static str,
    http_status: u16,
    vendor_code: Cow<'a, str>,
    error_type: Cow<'a, str>,
    error_class: &'static str,
    delivery: &'static str,
    attempt: u32,
    will_retry: bool,
    retry_at: String,
    quota_bucket: Cow<'a, str>,
    quota_window: Cow<'a, str>,
    breaker: Cow<'a, str>,
    breaker_from: &'static str,
    breaker_to: &'static str,
}

impl<'a> Record<'a> {
    /// The line for `signal`, or nothing when it is not logged.
    pub(crate) fn new(signal: &Signal<'a>, run_id: &'a str, clock: &Clock) -> Option<Self> {
        let now = clock.wall();
        let (level, event, facts) = match *signal {
            Signal::CallFinished {
                platform,
                operation,
                connection,
                ids,
                outcome,
                status,
                error_kind,
                code,
                request_id,
                retry_at,
                attempts,
                bytes_out,
                bytes_in,
                elapsed,
                quota_wait,
                queued,
                pages,
                ..
            } => {
                let facts = Facts {
                    vendor_request_id: request_id.map(clean),
                    platform: Some(clean(platform)),
                    connection: Some(clean(connection.as_str())),
                    operation: Some(clean(operation)),
                    queued_ms: queued.map(millis),
                    rate_limit_wait_ms: Some(millis(quota_wait)),
                    bytes_in: Some(bytes_in),
                    bytes_out: Some(bytes_out),
                    pages,
                    outcome: Some(outcome.as_str()),
                    http_status: status,
                    vendor_code: code.map(clean),
                    attempt: Some(attempts),
                    will_retry: error_kind.map(|_| false),
                    retry_at: retry_at.map(rfc3339),
                    ..Facts::over(elapsed, now).failed(error_kind).of(ids)
                };
                (level(outcome), "call_finished", facts)
            }
            Signal::StageFinished {
                pipeline,
                stream,
                destination,
                transform,
                stage,
                outcome,
                error_kind,
                records_in,
                records_out,
                records_rejected,
                pages,
                elapsed,
                ..
            } => {
                let facts = Facts {
                    pipeline: Some(clean(pipeline)),
                    stage: Some(stage),
                    stream: Some(clean(stream)),
                    destination: Some(clean(destination)),
                    transform: Some(clean(transform)),
                    records_in: Some(records_in),
                    records_out: Some(records_out),
                    records_rejected: Some(records_rejected),
                    pages,
                    outcome: Some(outcome.as_str()),
                    ..Facts::over(elapsed, now).failed(error_kind)
                };
                (level(outcome), "stage_finished", facts)
            }
            Signal::RetryScheduled {
                platform,
                operation,
                connection,
                ids,
                attempt,
                delay,
                error_kind,
                delivery,
                ..
            } => {
                let facts = Facts {
                    platform: Some(clean(platform)),
                    connection: Some(clean(connection.as_str())),
                    operation: Some(clean(operation)),
                    delivery: Some(delivery.as_str()),
                    attempt: Some(attempt),
                    will_retry: Some(true),
                    retry_at: Some(rfc3339(now + delay)),
                    ..Facts::default().failed(Some(error_kind)).of(ids)
                };
                ("warn", "retry_scheduled", facts)
            }
            Signal::QuotaBlocked { platform, connection, until, .. } => {
                let facts = Facts {
                    platform: Some(clean(platform)),
                    connection: Some(clean(connection.as_str())),
                    retry_at: Some(rfc3339(until)),
                    ..Facts::default()
                };
                ("warn", "quota_blocked", facts)
            }
            Signal::QuotaUnmatched { platform, connection, bucket, window, .. } => {
                let facts = Facts {
                    platform: Some(clean(platform)),
                    connection: Some(clean(connection.as_str())),
                    quota_bucket: Some(clean(bucket)),
                    quota_window: Some(clean(window)),
                    ..Facts::default()
                };
                ("info", "quota_unmatched", facts)
            }
            Signal::BreakerChanged { name, from, to, .. } => {
                let facts = Facts {
                    breaker: Some(clean(name)),
                    breaker_from: Some(from.as_str()),
                    breaker_to: Some(to.as_str()),
                    ..Facts::default()
                };
                (if to == BreakerState::Open { "warn" } else { "info" }, "breaker_changed", facts)
            }
            Signal::CredentialIssued { platform, connection, ok, elapsed, .. } => {
                let outcome = if ok { CallOutcome::Ok } else { CallOutcome::Error };
                let facts = Facts {
                    platform: Some(clean(platform)),
                    connection: Some(clean(connection.as_str())),
                    outcome: Some(outcome.as_str()),
                    ..Facts::over(elapsed, now)
                };
                (level(outcome), "credential_issued", facts)
            }
            // Attempts, waits, cache lookups and moved records are many and small: they are for metrics.
            _ => return None,
        };
        Some(Self { ts: rfc3339(now), level, event, run_id, facts })
    }
}

impl<'a> Facts<'a> {
    fn over(elapsed: Duration, ended: Timestamp) -> Self {
        Self {
            started_at: Some(rfc3339(ended - elapsed)),
            ended_at: Some(rfc3339(ended)),
            duration_ms: Some(millis(elapsed)),
            ..Self::default()
        }
    }

    fn failed(mut self, error_kind: Option<&'a str>) -> Self {
        self.error_class = error_kind.map(|kind| ErrorClass::of(kind).as_str());
        self.error_type = error_kind.map(clean);
        self
    }

    fn of(mut self, call: CallIds) -> Self {
        self.request_id = call.id.map(|id| id.to_string());
        self.trace_id = call.trace.map(|trace| format!("{:032x}", trace.trace_id()));
        self.span_id = call.trace.map(|trace| format!("{:016x}", trace.span_id()));
        self.idempotency_key_hash = call.idempotency_key_hash.map(|hash| format!("{hash:016x}"));
        self
    }
}

const fn level(outcome: CallOutcome) -> &'static str {
    match outcome {
        CallOutcome::Error => "error",
        CallOutcome::Throttled => "warn",
        _ => "info",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 with exactly three fraction digits. Years that it cannot write become the nearest it can.
fn rfc3339(at: Timestamp) -> String {
    const FIRST: i64 = -62_167_219_200_000; // 0000-01-01T00:00:00.000Z
    const LAST: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z
    let mut text = Timestamp::from_millis(at.as_millis().clamp(FIRST, LAST)).to_string();
    // `Timestamp` leaves a zero fraction out.
    if !text.contains('.') {
        text.truncate(text.len() - 1);
        text.push_str(".000Z");
    }
    text
}

/// Text of others made safe for one line that people read: no control characters, nothing that reorders it or looks like
/// a line's end, at most 200 characters.
fn clean(text: &str) -> Cow<'_, str> {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    // Bytes are at least as many as characters.
    if text.len() <= MAX_TEXT && !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut chars = text.chars().map(|c| if bad(c) { ' ' } else { c });
    let mut out: String = chars.by_ref().take(MAX_TEXT).collect();
    if chars.next().is_some() {
        out.pop();
        out.push('…');
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_always_has_three_fraction_digits_and_four_year_digits() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_500_000, "1970-01-01T00:00:01.500Z"),
            (1_234_567, "1970-01-01T00:00:01.234Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Timestamp::from_micros(micros)), text);
        }
    }

    #[test]
    fn text_is_cleaned_and_cut_and_left_alone_when_it_is_good() {
        assert!(matches!(clean("contacts.list é"), Cow::Borrowed("contacts.list é")));
        assert_eq!(clean("a\r\nb\u{1b}[31m\u{202e}c\u{2028}d"), "a  b [31m c d");
        assert_eq!(clean(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(clean(&"é".repeat(201)), format!("{}…", "é".repeat(199)));
    }

    #[test]
    fn a_duration_that_fits_no_number_is_the_largest() {
        assert_eq!(millis(Duration::MAX), u64::MAX);
        assert_eq!(millis(Duration::from_micros(1_999)), 1);
    }
}
