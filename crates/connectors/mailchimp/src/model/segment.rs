use super::lenient;
use serde::Deserialize;

/// A segment of an audience: some of its members.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Segment {
    /// Its number.
    pub id: u64,
    /// Its name; of a static one the tag.
    #[serde(default, deserialize_with = "lenient")]
    pub name: String,
    /// How many members it holds, as the platform last counted them.
    #[serde(default, deserialize_with = "lenient")]
    pub member_count: u64,
    /// By what members belong to it.
    #[serde(default, rename = "type", deserialize_with = "lenient")]
    pub kind: SegmentKind,
    /// When it was created, RFC 3339.
    #[serde(default, deserialize_with = "lenient")]
    pub created_at: String,
    /// When it last changed, RFC 3339.
    #[serde(default, deserialize_with = "lenient")]
    pub updated_at: String,
}

words! {
    /// By what members belong to a segment.
    SegmentKind {
        /// By conditions that the platform checks.
        Saved = "saved",
        /// By being put into it: a tag.
        Static = "static",
        /// By the platform's guess.
        Fuzzy = "fuzzy",
    }
}
