use super::time;
use martlet_base::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The id of a contact (`hs_object_id`): digits, unique within a portal, ascending with the time of creation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContactId(String);

impl ContactId {
    /// Wraps an id.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ContactId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for ContactId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl From<u64> for ContactId {
    fn from(id: u64) -> Self {
        Self(id.to_string())
    }
}

/// A contact, with the properties that were asked for. Unknown fields of the answer are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Contact {
    /// Its id.
    pub id: ContactId,
    /// Its properties by internal name, the portal's own ones included. HubSpot sends every value as text, numbers and
    /// booleans too; `None` is a property without a value.
    #[serde(default, deserialize_with = "properties")]
    pub properties: BTreeMap<String, Option<String>>,
    /// When it was created.
    #[serde(default, rename = "createdAt", deserialize_with = "time::tolerant")]
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    #[serde(default, rename = "updatedAt", deserialize_with = "time::tolerant")]
    pub updated_at: Option<Timestamp>,
    /// Whether it is in the recycle bin.
    #[serde(default)]
    pub archived: bool,
    /// When it was put there.
    #[serde(default, rename = "archivedAt", deserialize_with = "time::tolerant")]
    pub archived_at: Option<Timestamp>,
}

impl Contact {
    /// The value of a property; `None` when it was not asked for or has none.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_deref()
    }

    /// The property `email`.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.property("email").filter(|email| !email.is_empty())
    }

    /// Whether the person opted out of all marketing e-mail, from the property `hs_email_optout` (unconfirmed): `None`
    /// when it was not asked for or says nothing.
    #[must_use]
    pub fn opted_out(&self) -> Option<bool> {
        match self.property("hs_email_optout")? {
            text if text.eq_ignore_ascii_case("true") => Some(true),
            text if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
}

/// Values are documented to be text or null; a number or boolean that slips through is kept as its text.
fn properties<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Option<String>>, D::Error> {
    let raw = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    let text = |value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Ok(raw.into_iter().map(|(name, value)| (name, text(value))).collect())
}

/// What to write about one contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactInput {
    pub(crate) id: String,
    pub(crate) properties: BTreeMap<String, String>,
}

impl ContactInput {
    /// A contact whose unique property has the value `id`: its e-mail address when the batch goes by `email`.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), properties: BTreeMap::new() }
    }

    /// Sets a property. Properties that are not named keep their value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Takes a property's value away.
    #[must_use]
    pub fn clear(self, name: impl Into<String>) -> Self {
        // An empty text is how HubSpot is told so; null is ignored (unconfirmed).
        self.set(name, "")
    }

    /// The value by which it is found.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What HubSpot answers for a contact that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upserted {
    /// The contact as it is now.
    pub contact: Contact,
    /// Whether it was created by this request.
    pub created: bool,
}

/// One page of a search.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SearchPage {
    /// How many contacts match in all pages.
    pub total: u64,
    /// The contacts of this page.
    pub results: Vec<Contact>,
    /// What to give to [`after`](crate::SearchContacts::after) for the next page; `None` at the end.
    pub next: Option<String>,
}

/// A page as HubSpot writes it, of lists and searches.
#[derive(Deserialize)]
pub(crate) struct RawPage {
    #[serde(default)]
    pub(crate) total: Option<u64>,
    pub(crate) results: Vec<Contact>,
    #[serde(default)]
    paging: Option<RawPaging>,
}

#[derive(Deserialize)]
struct RawPaging {
    #[serde(default)]
    next: Option<RawNext>,
}

#[derive(Deserialize)]
struct RawNext {
    #[serde(default)]
    after: Option<String>,
}

impl RawPage {
    pub(crate) fn next(&mut self) -> Option<String> {
        self.paging.take()?.next?.after.filter(|after| !after.is_empty())
    }
}
