//! What a server says about when to come back.

use martlet_base::Timestamp;
use std::time::Duration;

/// Reads the value of a `Retry-After` field ([RFC 9110, 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#field.retry-after)):
/// a number of seconds, or a date in any of the three forms of HTTP. `wall_now` is the present time on the calendar.
///
/// The answer is never too short: a fraction of a second is rounded up, a number too large to hold is as long as can be
/// held. A date that has passed is zero. Seconds with a fraction (`2.0`, which some platforms send) are accepted too.
/// `None`: it is something else, and has to be ignored.
///
/// ```
/// use martlet_base::Timestamp;
/// use martlet_resilience::hint::parse_retry_after;
/// use std::time::Duration;
///
/// let now: Timestamp = "2015-10-21T07:27:30.5Z".parse()?;
/// assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
/// assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(30)));
/// assert_eq!(parse_retry_after("soon", now), None);
/// # Ok::<(), martlet_base::InvalidTimestamp>(())
/// ```
#[must_use]
pub fn parse_retry_after(value: &str, wall_now: Timestamp) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if value.starts_with(|c: char| c.is_ascii_digit()) {
        return seconds(value);
    }
    let date = Timestamp::from(httpdate::parse_http_date(value).ok()?);
    let left = date.since(wall_now);
    // A date has whole seconds: 0.3 s before it is not yet time.
    Some(if left.subsec_nanos() == 0 { left } else { Duration::from_secs(left.as_secs().saturating_add(1)) })
}

fn seconds(value: &str) -> Option<Duration> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // Only digits: what does not parse is too large.
    let whole = whole.parse().unwrap_or(u64::MAX);
    let up = u64::from(fraction.bytes().any(|b| b != b'0'));
    Some(Duration::from_secs(whole.saturating_add(up)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(now: &str, value: &str) -> Option<u64> {
        parse_retry_after(value, now.parse().unwrap()).map(|d| {
            assert_eq!(d.subsec_nanos(), 0);
            d.as_secs()
        })
    }

    #[test]
    fn r5_seconds_of_any_size_are_read_and_nonsense_is_ignored() {
        for (value, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7\t", Some(7)),
            ("007", Some(7)),
            ("2.0", Some(2)),
            ("1.2", Some(2)),
            ("2147483648", Some(1 << 31)),
            ("9223372036854775808", Some(1 << 63)),
            ("18446744073709551616", Some(u64::MAX)),
            ("18446744073709551615.5", Some(u64::MAX)),
            ("-1", None),
            ("+1", None),
            ("1e9", None),
            ("1.", None),
            (".5", None),
            ("1.2.3", None),
            ("7, 7", None),
            ("", None),
            ("tomorrow", None),
        ] {
            assert_eq!(at("2026-01-01T00:00:00Z", value), expected, "{value:?}");
        }
    }

    #[test]
    fn r5_all_three_forms_of_a_date_are_read_and_rounded_up() {
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(at("1994-11-06T08:49:30Z", date), Some(7));
            // kubescape/kubevuln #637: less than a second ahead is not zero.
            assert_eq!(at("1994-11-06T08:49:36.9Z", date), Some(1));
            assert_eq!(at("1994-11-06T08:49:37Z", date), Some(0));
            assert_eq!(at("2026-01-01T00:00:00Z", date), Some(0), "a past date");
        }
        assert!(at("2026-01-01T00:00:00Z", "Fri, 31 Dec 9999 23:59:59 GMT").unwrap() > 7_000 * 365 * 86_400);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", now: i64) {
            let _ = parse_retry_after(&text, Timestamp::from_micros(now));
        }
    }
}
