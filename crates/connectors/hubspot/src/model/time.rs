//! Dates: ISO 8601 in most answers, milliseconds since 1970 as text or number in others.

use martlet_base::Timestamp;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Millis(i64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

/// A date in any of the forms that HubSpot writes; `None` when it is none of them.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| text.parse().ok().map(Timestamp::from_millis))
}

/// For `#[serde(deserialize_with)]`: an unreadable date is no reason to lose the contact it stands in.
pub(crate) fn tolerant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(match Option::<Raw>::deserialize(deserializer)? {
        Some(Raw::Millis(millis)) => Some(Timestamp::from_millis(millis)),
        Some(Raw::Text(text)) => parse(&text),
        Some(Raw::Other(_)) | None => None,
    })
}
