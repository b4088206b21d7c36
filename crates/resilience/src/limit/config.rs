//! Limits in configuration files.

use super::{Calendar, Limits, LimitsBuilder, Overflow};
use crate::ConfigError;
use crate::config::duration;
use martlet_base::{Clock, ManualClock};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings of [`Limits`] as they stand in a file; checked when they are read, and what is unknown is an error.
///
/// ```
/// use martlet_resilience::LimitsConfig;
///
/// let config: LimitsConfig = serde_json::from_str(r#"{
///     "windows": [
///         { "name": "ten_secondly", "limit": 100, "per": "10s" },
///         { "name": "daily", "limit": 250000, "calendar": "day", "utc_offset_secs": 3600 },
///         { "name": "own_pace", "limit": 5, "per": "1s", "burst": 2 }
///     ],
///     "concurrency": 10
/// }"#)?;
/// let limits = config.build(&martlet_base::Clock::system())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "File", try_from = "File")]
pub struct LimitsConfig(File);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    windows: Vec<WindowFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    max_queue: usize,
    overflow: Overflow,
    #[serde(with = "duration")]
    ageing: Duration,
    share: f64,
}

/// With `per` a strict window, with `burst` too a smooth one, with `calendar` one that is full again at its boundaries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowFile {
    name: String,
    limit: u32,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    per: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendar: Option<Calendar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    utc_offset_secs: Option<i32>,
}

mod optional {
    use super::{Duration, duration};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Text(#[serde(with = "duration")] Duration);

    #[expect(clippy::ref_option, reason = "serde hands it over like this")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Text).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            windows: Vec::new(),
            concurrency: None,
            max_queue: 1_024,
            overflow: Overflow::RejectNew,
            ageing: Duration::from_secs(30),
            share: 1.0,
        }
    }
}

impl File {
    fn builder(&self, clock: &Clock) -> Result<LimitsBuilder, ConfigError> {
        let mut builder = Limits::builder()
            .max_queue(self.max_queue)
            .overflow(self.overflow)
            .ageing(self.ageing)
            .share(self.share);
        if let Some(cap) = self.concurrency {
            builder = builder.concurrency(cap);
        }
        for w in &self.windows {
            builder = match (w.per, w.burst, w.calendar, w.utc_offset_secs) {
                (Some(per), None, None, None) => builder.window(&w.name, w.limit, per),
                (Some(per), Some(burst), None, None) => builder.smooth(&w.name, w.limit, per, burst),
                (None, None, Some(calendar), offset) => {
                    builder.calendar(&w.name, w.limit, calendar, offset.unwrap_or(0), clock)
                }
                _ => {
                    let reason =
                        "needs `per`, `per` and `burst`, or `calendar` and perhaps `utc_offset_secs`";
                    return Err(ConfigError::new("windows", reason));
                }
            };
        }
        Ok(builder)
    }
}

impl LimitsConfig {
    /// A builder with these settings; `clock` tells where the calendar stands.
    #[expect(clippy::missing_panics_doc, reason = "it was checked when it was read")]
    pub fn builder(&self, clock: &Clock) -> LimitsBuilder {
        self.0.builder(clock).expect("it was checked when it was read")
    }

    /// Limits with these settings.
    ///
    /// # Errors
    /// None that were not found when they were read.
    pub fn build(&self, clock: &Clock) -> Result<Limits, ConfigError> {
        self.builder(clock).build()
    }
}

impl From<LimitsConfig> for File {
    fn from(config: LimitsConfig) -> Self {
        config.0
    }
}

impl TryFrom<File> for LimitsConfig {
    type Error = ConfigError;
    fn try_from(file: File) -> Result<Self, ConfigError> {
        file.builder(&ManualClock::new().clock())?.build()?;
        Ok(Self(file))
    }
}
