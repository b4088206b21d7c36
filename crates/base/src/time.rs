//! Points in time: [`Moment`] on a monotonic clock, [`Timestamp`] on the calendar.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// A point on a monotonic clock: nanoseconds since that clock's origin.
///
/// Use it for intervals, deadlines and waits. It says nothing about the calendar, survives no restart, and
/// moments of two clocks must not be mixed. It fits an atomic `u64`. Arithmetic saturates: a moment never wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// The last moment that can be written (584 years after the origin): "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point on the calendar in UTC: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Use it for what is stored, sent to a platform or shown. Its text form is
/// [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339): parsing accepts any offset and any number of fraction digits
/// (digits beyond the sixth are cut off), printing gives `Z` and as many digits as the value needs (0, 3 or 6).
///
/// ```
/// use martlet_base::Timestamp;
///
/// let t: Timestamp = "2015-10-21T15:41:36+02:00".parse()?;
/// assert_eq!(t.to_string(), "2015-10-21T13:41:36Z");
/// assert_eq!(t.as_millis(), 1_445_434_896_000);
/// # Ok::<(), martlet_base::InvalidTimestamp>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const MICROS_PER_SEC: i64 = 1_000_000;
const SECS_PER_DAY: i64 = 86_400;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// `secs` seconds after the Unix epoch; saturates at the ends of the range (about 290,000 years).
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(MICROS_PER_SEC))
    }

    /// `millis` milliseconds after the Unix epoch; saturates.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SEC)
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this timestamp; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(if micros < 0 { 0 } else { micros.unsigned_abs() })
    }
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(micros(rhs)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(micros(rhs)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(t: SystemTime) -> Self {
        match t.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(micros(after)),
            Err(before) => Self(micros(before.duration()).saturating_neg()),
        }
    }
}

impl From<Timestamp> for SystemTime {
    /// Saturates at the Unix epoch's side that the platform's `SystemTime` cannot hold.
    fn from(t: Timestamp) -> Self {
        let d = Duration::from_micros(t.0.unsigned_abs());
        let moved = if t.0 < 0 { Self::UNIX_EPOCH.checked_sub(d) } else { Self::UNIX_EPOCH.checked_add(d) };
        moved.unwrap_or(Self::UNIX_EPOCH)
    }
}

// Days <-> civil date, proleptic Gregorian calendar: Howard Hinnant, "chrono-compatible low-level date algorithms",
// https://howardhinnant.github.io/date_algorithms.html
fn days_from_civil(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (m + if m > 2 { -3 } else { 9 }) + 2) / 5 + d - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

fn civil_from_days(z: i64) -> (i64, i64, i64) {
    let z = z + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(m <= 2), m, d)
}

fn days_in_month(y: i64, m: i64) -> i64 {
    match m {
        2 if (y % 4 == 0 && y % 100 != 0) || y % 400 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.as_secs();
        let micros = self.0.rem_euclid(MICROS_PER_SEC);
        let (y, mo, d) = civil_from_days(secs.div_euclid(SECS_PER_DAY));
        let s = secs.rem_euclid(SECS_PER_DAY);
        write!(f, "{y:04}-{mo:02}-{d:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)?;
        match micros {
            0 => {}
            us if us % 1_000 == 0 => write!(f, ".{:03}", us / 1_000)?,
            us => write!(f, ".{us:06}")?,
        }
        f.write_str("Z")
    }
}

/// The text is not an RFC 3339 date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidTimestamp;

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an RFC 3339 timestamp such as 2015-10-21T15:41:36Z")
    }
}

impl std::error::Error for InvalidTimestamp {}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        parse_rfc3339(text.as_bytes()).ok_or(InvalidTimestamp)
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

fn parse_rfc3339(b: &[u8]) -> Option<Timestamp> {
    let (head, rest) = b.split_at_checked(19)?;
    let sep_ok = head[4] == b'-'
        && head[7] == b'-'
        && matches!(head[10], b'T' | b't' | b' ')
        && head[13] == b':'
        && head[16] == b':';
    if !sep_ok {
        return None;
    }
    let (y, mo, d) = (number(&head[0..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (h, mi, s) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..19])?);
    // A leap second (:60) is the last moment that this scale can name in that minute.
    let date_ok = (1..=12).contains(&mo) && (1..=days_in_month(y, mo)).contains(&d);
    if !date_ok || h > 23 || mi > 59 || s > 60 {
        return None;
    }
    let (micros, rest) = match rest.split_first() {
        Some((b'.', frac)) => {
            let digits = frac.iter().take_while(|c| c.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            let kept = digits.min(6);
            let scale = 10i64.pow(u32::try_from(6 - kept).ok()?);
            (number(&frac[..kept])? * scale, &frac[digits..])
        }
        _ => (0, rest),
    };
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), tail @ ..] => {
            let (oh, om) = match tail {
                [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => (number(&[*h1, *h2])?, number(&[*m1, *m2])?),
                _ => return None,
            };
            if oh > 23 || om > 59 {
                return None;
            }
            (oh * 3600 + om * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let secs = days_from_civil(y, mo, d) * SECS_PER_DAY + h * 3600 + mi * 60 + s.min(59) - offset;
    Some(Timestamp(secs * MICROS_PER_SEC + micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_dates_parse_and_print() {
        for (text, micros, printed) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2000-02-29T12:00:00.5Z", 951_825_600_500_000, "2000-02-29T12:00:00.500Z"),
            ("2022-02-14T21:36:07.649Z", 1_644_874_567_649_000, "2022-02-14T21:36:07.649Z"),
            ("1969-12-31T23:59:59.999999Z", -1, "1969-12-31T23:59:59.999999Z"),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000, "9999-12-31T23:59:59Z"),
            ("2021-11-23T22:51:56+0000", 1_637_707_916_000_000, "2021-11-23T22:51:56Z"),
        ] {
            let t: Timestamp = text.parse().unwrap();
            assert_eq!(t.as_micros(), micros, "{text}");
            assert_eq!(t.to_string(), printed);
        }
    }

    #[test]
    fn bad_text_is_refused() {
        for text in [
            "",
            "2015-10-21",
            "2015-13-01T00:00:00Z",
            "2015-02-29T00:00:00Z",
            "2015-02-28T24:00:00Z",
            "2015-02-28T00:00:00",
            "2015-02-28T00:00:00.Z",
            "2015-02-28T00:00:00+99:00",
            "２０15-02-28T00:00:00Z",
            "+015-02-28T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn moments_saturate() {
        assert_eq!(Moment::MAX + Duration::from_secs(1), Moment::MAX);
        assert_eq!(Moment::ZERO - Duration::from_secs(1), Moment::ZERO);
        assert_eq!(Moment::ZERO.since(Moment::MAX), Duration::ZERO);
        assert_eq!(Moment::ZERO + Duration::MAX, Moment::MAX);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(micros in -62_135_596_800_000_000i64..253_402_300_799_999_999) {
            let t = Timestamp::from_micros(micros);
            prop_assert_eq!(t.to_string().parse::<Timestamp>(), Ok(t));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Timestamp>();
        }

        #[test]
        fn system_time_round_trips(micros in 0i64..253_402_300_799_999_999) {
            let t = Timestamp::from_micros(micros);
            prop_assert_eq!(Timestamp::from(SystemTime::from(t)), t);
        }
    }
}
