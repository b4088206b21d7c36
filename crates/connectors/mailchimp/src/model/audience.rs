use super::lenient;
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
}

/// What a merge field holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum MergeFieldType {
    /// A line of text, up to 255 bytes (unconfirmed).
    Text,
    /// A number.
    Number,
    /// A postal address: an object, or `""`.
    Address,
    /// A telephone number.
    Phone,
    /// A date.
    Date,
    /// An address on the web.
    Url,
    /// One that this crate does not know, by the platform's name.
    Other(String),
}

impl MergeFieldType {
    /// The platform's name for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Address => "address",
            Self::Phone => "phone",
            Self::Date => "date",
            Self::Url => "url",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for MergeFieldType {
    fn from(name: String) -> Self {
        match name.as_str() {
            "text" => Self::Text,
            "number" => Self::Number,
            "address" => Self::Address,
            "phone" => Self::Phone,
            "date" => Self::Date,
            "url" => Self::Url,
            _ => Self::Other(name),
        }
    }
}

impl From<MergeFieldType> for String {
    fn from(kind: MergeFieldType) -> Self {
        kind.as_str().to_owned()
    }
}
