use std::borrow::Cow;

/// A setting that cannot work. It names the setting and says what would work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ConfigError {
    field: &'static str,
    reason: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { field, reason: reason.into() }
    }

    /// The setting, by the name of the builder's method.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// `Ok` when `good` holds, else the error.
pub(crate) fn check(good: bool, field: &'static str, reason: &'static str) -> Result<(), ConfigError> {
    if good { Ok(()) } else { Err(ConfigError::new(field, reason)) }
}

/// Reads and writes a builder as its fields, and runs its `check` on what was read.
#[cfg(feature = "serde")]
macro_rules! checked_on_load {
    ($builder:ident) => {
        impl serde::Serialize for $builder {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $builder {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let read = Self::deserialize(deserializer)?;
                read.check().map_err(serde::de::Error::custom)?;
                Ok(read)
            }
        }
    };
}
#[cfg(feature = "serde")]
pub(crate) use checked_on_load;

/// Durations in configuration files: `"250ms"`, `"1.5s"`, `"5m"`, `"24h"`, `"7d"`.
#[cfg(feature = "serde")]
pub(crate) mod duration {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::borrow::Cow;
    use std::time::Duration;

    const UNITS: [(&str, f64); 7] = [
        // `ms` before `s`, and both before `m`: the first that fits wins.
        ("ns", 1e-9),
        ("us", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3_600.0),
        ("d", 86_400.0),
    ];

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let nanos = value.as_nanos();
        let text = match nanos {
            n if n % 1_000_000_000 == 0 => format!("{}s", n / 1_000_000_000),
            n if n % 1_000_000 == 0 => format!("{}ms", n / 1_000_000),
            n => format!("{n}ns"),
        };
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        parse(&text)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no duration such as \"250ms\" or \"5m\"")))
    }

    fn parse(text: &str) -> Option<Duration> {
        let (number, unit) = UNITS.iter().find_map(|(unit, secs)| Some((text.strip_suffix(unit)?, secs)))?;
        let number = number.trim_end();
        if let Ok(whole) = number.parse::<u64>()
            && *unit >= 1.0
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "60, 3,600 or 86,400"
            )]
            return whole.checked_mul(*unit as u64).map(Duration::from_secs);
        }
        if let (Ok(nanos), "ns") = (number.parse::<u64>(), &text[number.len()..]) {
            return Some(Duration::from_nanos(nanos));
        }
        let number = number.parse::<f64>().ok().filter(|n| n.is_finite())?;
        Duration::try_from_secs_f64(number * unit).ok()
    }
}
