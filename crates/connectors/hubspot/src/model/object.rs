//! What all CRM objects have in common. Contacts, companies and deals have one shape; types tell them apart.

use super::time;
use crate::operations::ObjectOperations;
use martlet_base::Timestamp;
use martlet_core::Patch;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A type of CRM objects. It exists for the types alone: an id of a company is no id of a contact.
///
/// Implemented by [`ContactKind`](crate::ContactKind), [`CompanyKind`](crate::CompanyKind) and
/// [`DealKind`](crate::DealKind); nobody else can implement it.
pub trait ObjectType:
    sealed::Sealed + Copy + fmt::Debug + Eq + Ord + Hash + Send + Sync + Sized + 'static
{
    /// Its name in paths, such as `contacts`.
    const NAME: &'static str;

    /// The property that holds the date of the last change.
    const MODIFIED: &'static str;

    /// Its endpoints.
    const OPERATIONS: &'static ObjectOperations;

    /// What a batch of upserts tells of one.
    type Upserted: fmt::Debug + Send + 'static;

    /// Puts it together.
    fn upserted(object: CrmObject<Self>, created: bool) -> Self::Upserted;
}

/// The id of an object (`hs_object_id`): digits, unique within a portal and type, ascending with the time of creation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct ObjectId<T>(String, #[serde(skip)] PhantomData<T>);

impl<T> ObjectId<T> {
    /// Wraps an id.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into(), PhantomData)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: ObjectType> fmt::Debug for ObjectId<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", T::NAME, self.0)
    }
}

impl<T> fmt::Display for ObjectId<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T> From<&str> for ObjectId<T> {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl<T> From<String> for ObjectId<T> {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl<T> From<u64> for ObjectId<T> {
    fn from(id: u64) -> Self {
        Self::new(id.to_string())
    }
}

/// A CRM object, with the properties that were asked for. Unknown fields of the answer are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(bound = "")]
#[non_exhaustive]
pub struct CrmObject<T: ObjectType> {
    /// Its id.
    pub id: ObjectId<T>,
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

impl<T: ObjectType> CrmObject<T> {
    /// The value of a property; `None` when it was not asked for or has none.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_deref()
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

/// Values to write to an object. A property that is not named keeps its value, one that is [set](Self::set) gets another, and
/// one that is [cleared](Self::clear) has none any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PropertyValues(BTreeMap<String, String>);

impl PropertyValues {
    /// Nothing to write yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a property.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Takes a property's value away.
    #[must_use]
    pub fn clear(self, name: impl Into<String>) -> Self {
        // An empty text is how HubSpot is told so; null is ignored (unconfirmed).
        self.set(name, "")
    }

    /// Does with a property what the patch says; [`Absent`](Patch::Absent) leaves it out.
    #[must_use]
    pub fn patch(self, name: impl Into<String>, patch: impl Into<Patch<String>>) -> Self {
        match patch.into() {
            Patch::Absent => self,
            Patch::Clear => self.clear(name),
            Patch::Set(value) => self.set(name, value),
        }
    }

    /// Whether nothing is set or cleared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What to write about one object that is found by a unique property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpsertInput<T> {
    pub(crate) id: String,
    pub(crate) properties: PropertyValues,
    object: PhantomData<T>,
}

impl<T> UpsertInput<T> {
    /// The object whose unique property has the value `id`: a contact's e-mail address when the batch goes by `email`.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), properties: PropertyValues::new(), object: PhantomData }
    }

    /// Sets a property. Properties that are not named keep their value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties = self.properties.set(name, value);
        self
    }

    /// Takes a property's value away.
    #[must_use]
    pub fn clear(mut self, name: impl Into<String>) -> Self {
        self.properties = self.properties.clear(name);
        self
    }

    /// Does with a property what the patch says; [`Absent`](Patch::Absent) leaves it out.
    #[must_use]
    pub fn patch(mut self, name: impl Into<String>, patch: impl Into<Patch<String>>) -> Self {
        self.properties = self.properties.patch(name, patch);
        self
    }

    /// The value by which it is found.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What HubSpot answers for an object that was written. Contacts have [`Upserted`](crate::Upserted).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpsertedObject<T: ObjectType> {
    /// The object as it is now.
    pub object: CrmObject<T>,
    /// Whether it was created by this request.
    pub created: bool,
}

/// One page of a search.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SearchPage<T: ObjectType = crate::ContactKind> {
    /// How many objects match in all pages.
    pub total: u64,
    /// The objects of this page.
    pub results: Vec<CrmObject<T>>,
    /// What to give to [`after`](crate::SearchObjects::after) for the next page; `None` at the end.
    pub next: Option<String>,
}
