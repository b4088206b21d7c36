use super::lenient::{id, or_default};
use super::time;
use martlet_base::Timestamp;
use serde::{Deserialize, Deserializer};

/// A list of objects. Unknown fields of the answer are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct List {
    /// Its id.
    #[serde(rename = "listId", deserialize_with = "id")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// What is on it: `0-1` for contacts, `0-2` for companies, `0-3` for deals (unconfirmed), or a type of the account's own.
    #[serde(default, deserialize_with = "or_default")]
    pub object_type_id: String,
    /// Who puts objects on it: people and programs (`MANUAL`), HubSpot by a filter (`DYNAMIC`), or HubSpot once and people
    /// since (`SNAPSHOT`).
    #[serde(default, deserialize_with = "or_default")]
    pub processing_type: String,
    /// When it was created.
    #[serde(default, deserialize_with = "time::tolerant")]
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    #[serde(default, deserialize_with = "time::tolerant")]
    pub updated_at: Option<Timestamp>,
}

impl List {
    /// Whether objects can be put on it and taken off it by [`Lists::add`](crate::Lists::add) and its like: not when HubSpot
    /// keeps it by a filter.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        matches!(self.processing_type.as_str(), "MANUAL" | "SNAPSHOT")
    }
}

/// An object on a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ListMember {
    /// The object's id; of which type the list tells.
    #[serde(deserialize_with = "id")]
    pub record_id: String,
    /// Since when it is on the list.
    #[serde(default, rename = "membershipTimestamp", deserialize_with = "time::tolerant")]
    pub since: Option<Timestamp>,
}

/// What became of objects that were put on a list or taken off it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct MembershipChange {
    /// Ids of those that are on it now and were not before. HubSpot spells it with one more `s`.
    #[serde(default, rename = "recordsIdsAdded", alias = "recordIdsAdded", deserialize_with = "ids")]
    pub added: Vec<String>,
    /// Ids of those that were taken off it.
    #[serde(default, rename = "recordIdsRemoved", alias = "recordsIdsRemoved", deserialize_with = "ids")]
    pub removed: Vec<String>,
    /// Ids that HubSpot does not know.
    #[serde(default, rename = "recordIdsMissing", alias = "recordsIdsMissing", deserialize_with = "ids")]
    pub missing: Vec<String>,
}

fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Id(#[serde(deserialize_with = "id")] String);
    let ids: Option<Vec<Id>> = Option::deserialize(deserializer)?;
    Ok(ids.unwrap_or_default().into_iter().map(|Id(id)| id).collect())
}
