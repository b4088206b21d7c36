use super::lenient::{id, id_or_none, or_default};
use super::time;
use martlet_base::Timestamp;
use serde::Deserialize;

/// A person (or a queue) to whom objects are assigned: the property `hubspot_owner_id` of an object holds its id. Unknown
/// fields of the answer are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Owner {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// The person's address; queues have none.
    #[serde(default)]
    pub email: Option<String>,
    /// The person's first name.
    #[serde(default)]
    pub first_name: Option<String>,
    /// The person's last name.
    #[serde(default)]
    pub last_name: Option<String>,
    /// The id of the person's user; none of an archived owner.
    #[serde(default, deserialize_with = "id_or_none")]
    pub user_id: Option<String>,
    /// The teams the person is in.
    #[serde(default, deserialize_with = "or_default")]
    pub teams: Vec<Team>,
    /// When it was created.
    #[serde(default, deserialize_with = "time::tolerant")]
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    #[serde(default, deserialize_with = "time::tolerant")]
    pub updated_at: Option<Timestamp>,
    /// Whether the person has left.
    #[serde(default, deserialize_with = "or_default")]
    pub archived: bool,
}

/// A team of users.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Team {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Whether it is the owner's main team.
    #[serde(default, deserialize_with = "or_default")]
    pub primary: bool,
}
