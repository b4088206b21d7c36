use super::lenient;
use martlet_core::Patch;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The id of an audience: ten letters and digits such as `a1b2c3d4e5`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AudienceId(String);

impl AudienceId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AudienceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for AudienceId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl From<String> for AudienceId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl From<&Self> for AudienceId {
    fn from(id: &Self) -> Self {
        id.clone()
    }
}

/// An audience (a "list" in the API).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Audience {
    /// Its id.
    pub id: AudienceId,
    /// Its name.
    #[serde(default, deserialize_with = "lenient")]
    pub name: String,
    /// Its figures.
    #[serde(default, deserialize_with = "lenient")]
    pub stats: AudienceStats,
}

/// The figures of an audience, as the platform last counted them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AudienceStats {
    /// Subscribed members.
    #[serde(deserialize_with = "lenient")]
    pub member_count: u64,
    /// Members who opted out.
    #[serde(deserialize_with = "lenient")]
    pub unsubscribe_count: u64,
    /// Members whose address bounced.
    #[serde(deserialize_with = "lenient")]
    pub cleaned_count: u64,
}

/// A merge field: a custom field of an audience's members.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct MergeField {
    /// Its number within the audience.
    pub merge_id: u64,
    /// The name by which members carry it, `FNAME`: at most 10 characters (unconfirmed).
    pub tag: String,
    /// Its label.
    #[serde(default, deserialize_with = "lenient")]
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: MergeFieldType,
    /// Whether members cannot be without it.
    #[serde(default, deserialize_with = "lenient")]
    pub required: bool,
    /// What members have who were not given a value.
    #[serde(default, deserialize_with = "lenient")]
    pub default_value: String,
    /// Whether it shows on the audience's sign-up form.
    #[serde(default, deserialize_with = "lenient")]
    pub public: bool,
}

/// What changes in a merge field; what is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[must_use]
pub struct MergeFieldUpdate {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<bool>,
    #[serde(skip_serializing_if = "Patch::is_absent", serialize_with = "Patch::clear_with_empty_text")]
    default_value: Patch<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<bool>,
}

impl MergeFieldUpdate {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another label.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether members cannot be without it.
    pub const fn required(mut self, yes: bool) -> Self {
        self.required = Some(yes);
        self
    }

    /// What members have who were not given a value; [`Patch::Clear`] is nothing (sent as `""`; unconfirmed).
    pub fn default_value(mut self, value: impl Into<Patch<String>>) -> Self {
        self.default_value = value.into();
        self
    }

    /// Whether it shows on the audience's sign-up form.
    pub const fn public(mut self, yes: bool) -> Self {
        self.public = Some(yes);
        self
    }
}

words! {
    /// What a merge field holds.
    MergeFieldType {
        /// A line of text, up to 255 bytes (unconfirmed).
        Text = "text",
        /// A number.
        Number = "number",
        /// A postal address: an object, or `""`.
        Address = "address",
        /// A telephone number.
        Phone = "phone",
        /// A date.
        Date = "date",
        /// An address on the web.
        Url = "url",
    }
}
