use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

/// What an update does with one field: leaves it alone, empties it, or sets it.
///
/// `Option` cannot say all three, and a platform takes "not there" for something else than `null`. As a member of a struct
/// that is sent:
///
/// ```
/// use martlet_core::Patch;
/// use serde::Serialize;
///
/// #[derive(Debug, Default, Serialize)]
/// struct Update {
///     #[serde(skip_serializing_if = "Patch::is_absent")]
///     name: Patch<String>,
///     #[serde(skip_serializing_if = "Patch::is_absent")]
///     phone: Patch<String>,
///     /// This platform empties it with "" and ignores null.
///     #[serde(skip_serializing_if = "Patch::is_absent", serialize_with = "Patch::clear_with_empty_text")]
///     city: Patch<String>,
/// }
///
/// let update = Update { name: "Ada".into(), city: Patch::Clear, ..Update::default() };
/// assert_eq!(serde_json::to_string(&update)?, r#"{"name":"Ada","city":""}"#);
/// let update = Update { phone: Patch::Clear, ..Update::default() };
/// assert_eq!(serde_json::to_string(&update)?, r#"{"phone":null}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// Read with `#[serde(default)]`, a missing member is [`Absent`](Self::Absent) and `null` is [`Clear`](Self::Clear).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth thing to do with a field")]
pub enum Patch<T> {
    /// Not sent: the field stays as it is.
    #[default]
    Absent,
    /// Emptied: sent as `null`, or as what the platform takes for it.
    Clear,
    /// Set to this.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether the field is left alone: for `skip_serializing_if`.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Set to the value, or emptied where there is none.
    #[must_use]
    pub fn set_or_clear(value: Option<T>) -> Self {
        value.map_or(Self::Clear, Self::Set)
    }

    /// Set to the value, or left alone where there is none.
    #[must_use]
    pub fn set_or_absent(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Set)
    }

    /// The same with another value.
    #[must_use]
    pub fn map<U>(self, value: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Absent => Patch::Absent,
            Self::Clear => Patch::Clear,
            Self::Set(own) => Patch::Set(value(own)),
        }
    }

    /// For `serialize_with`, where a platform empties a field with `""`.
    ///
    /// # Errors
    /// As [`serialize`](Serialize::serialize).
    pub fn clear_with_empty_text<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize,
    {
        match self {
            Self::Clear => serializer.serialize_str(""),
            other => other.serialize(serializer),
        }
    }
}

impl<T> From<T> for Patch<T> {
    fn from(value: T) -> Self {
        Self::Set(value)
    }
}

impl From<&str> for Patch<String> {
    fn from(text: &str) -> Self {
        Self::Set(text.to_owned())
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    /// # Errors
    /// [`Absent`](Patch::Absent) does not serialise: as `null` it would empty what was to stay, so the `skip_serializing_if`
    /// that was forgotten shows at the first call.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => Err(ser::Error::custom(
                "a Patch that is absent needs `#[serde(skip_serializing_if = \"Patch::is_absent\")]`",
            )),
            Self::Clear => serializer.serialize_none(),
            Self::Set(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::set_or_clear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Update {
        #[serde(skip_serializing_if = "Patch::is_absent")]
        name: Patch<String>,
        #[serde(skip_serializing_if = "Patch::is_absent", serialize_with = "Patch::clear_with_empty_text")]
        score: Patch<u32>,
    }

    #[test]
    fn what_is_absent_is_not_sent_and_what_is_cleared_is() {
        for (update, sent) in [
            (Update::default(), json!({})),
            (Update { name: Patch::Clear, score: Patch::Clear }, json!({ "name": null, "score": "" })),
            (Update { name: "Ada".into(), score: 7.into() }, json!({ "name": "Ada", "score": 7 })),
            (Update { name: String::new().into(), score: Patch::Absent }, json!({ "name": "" })),
        ] {
            assert_eq!(serde_json::to_value(&update).unwrap(), sent);
        }
    }

    #[test]
    fn missing_and_null_are_read_as_two_things() {
        for (sent, update) in [
            (json!({}), Update::default()),
            (json!({ "name": null, "score": null }), Update { name: Patch::Clear, score: Patch::Clear }),
            (json!({ "name": "Ada", "score": 7 }), Update { name: "Ada".into(), score: 7.into() }),
        ] {
            assert_eq!(serde_json::from_value::<Update>(sent).unwrap(), update);
        }
    }

    #[test]
    fn a_forgotten_skip_is_an_error_and_not_a_null() {
        #[derive(Serialize)]
        struct Forgotten {
            name: Patch<String>,
        }
        let error = serde_json::to_string(&Forgotten { name: Patch::Absent }).unwrap_err();
        assert!(error.to_string().contains("Patch::is_absent"), "{error}");
    }

    #[test]
    fn an_option_says_one_of_two_things() {
        assert_eq!(Patch::set_or_clear(Some(1)), Patch::Set(1));
        assert_eq!(Patch::<u8>::set_or_clear(None), Patch::Clear);
        assert_eq!(Patch::<u8>::set_or_absent(None), Patch::Absent);
        assert_eq!(Patch::from(1).map(|n| n + 1), Patch::Set(2));
        assert_eq!(Patch::<u8>::Clear.map(|n| n + 1), Patch::Clear);
    }
}
