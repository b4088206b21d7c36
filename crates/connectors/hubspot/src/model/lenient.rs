//! For `#[serde(deserialize_with)]`: what other forms of a value are taken for.

use serde::{Deserialize, Deserializer};

/// Null is as good as nothing.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
