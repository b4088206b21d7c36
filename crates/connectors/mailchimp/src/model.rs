pub(crate) mod audience;
pub(crate) mod hash;
pub(crate) mod member;

use serde::{Deserialize, Deserializer};

/// Takes a field that the platform leaves out or sends as null for its default: it means "nothing" by both.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}
