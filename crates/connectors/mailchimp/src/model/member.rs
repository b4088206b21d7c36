use super::lenient;
use crate::SubscriberHash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;

/// The state of a member. A value this crate does not know is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberStatus {
    /// Agreed to be written to.
    Subscribed,
    /// Opted out.
    Unsubscribed,
    /// The address bounced; the platform will not write to it again.
    Cleaned,
    /// Was asked to confirm and has not.
    Pending,
    /// A customer who never subscribed.
    Transactional,
    /// Archived: no longer shown, kept by the platform.
    Archived,
    /// Another one, by the platform's name.
    Other(String),
}

impl MemberStatus {
    /// The platform's name for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Cleaned => "cleaned",
            Self::Pending => "pending",
            Self::Transactional => "transactional",
            Self::Archived => "archived",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for MemberStatus {
    fn from(name: &str) -> Self {
        match name {
            "subscribed" => Self::Subscribed,
            "unsubscribed" => Self::Unsubscribed,
            "cleaned" => Self::Cleaned,
            "pending" => Self::Pending,
            "transactional" => Self::Transactional,
            "archived" => Self::Archived,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Default for MemberStatus {
    /// What is assumed of a member whose status was left out of the answer: nothing.
    fn default() -> Self {
        Self::Other(String::new())
    }
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MemberStatus {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MemberStatus {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(d)?.as_str().into())
    }
}

/// A member of an audience. Fields that were not [asked for](crate::ListMembers::fields) are empty.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Member {
    /// The [hash](SubscriberHash) by which it is addressed, as the platform gave it.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// Its address, in the case in which it was given.
    #[serde(deserialize_with = "lenient")]
    pub email_address: String,
    /// Its state.
    #[serde(deserialize_with = "lenient")]
    pub status: MemberStatus,
    /// Its custom fields by tag. Nothing is `""`, and an address is an object.
    #[serde(deserialize_with = "lenient")]
    pub merge_fields: Map<String, Value>,
    /// When it last changed, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub last_changed: String,
    /// When it confirmed its subscription, RFC 3339; empty when it did not.
    #[serde(deserialize_with = "lenient")]
    pub timestamp_opt: String,
}

impl Member {
    /// The hash by which it is addressed; `None` when the platform's answer holds none.
    #[must_use]
    pub fn hash(&self) -> Option<SubscriberHash> {
        self.id.parse().ok()
    }

    /// A custom field as text, numbers included; `None` when it is absent, empty, or an object.
    #[must_use]
    pub fn merge_text(&self, tag: &str) -> Option<String> {
        match self.merge_fields.get(tag)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

impl fmt::Debug for Member {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

/// What [`upsert`](crate::Members::upsert) shall make of a member.
#[derive(Clone, Serialize)]
#[must_use]
pub struct MemberUpsert {
    status_if_new: MemberStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<MemberStatus>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    merge_fields: Map<String, Value>,
}

impl MemberUpsert {
    /// One that gets `status_if_new` if it is new, and keeps its status otherwise.
    pub fn new(status_if_new: MemberStatus) -> Self {
        Self { status_if_new, status: None, merge_fields: Map::new() }
    }

    /// Sets the status also of a member who is there.
    ///
    /// **Consent:** `Subscribed` resubscribes people who opted out. Nothing in this crate does so unless it is told to.
    pub fn status(mut self, status: MemberStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets a custom field; `""` empties it. Fields that are not named are left alone.
    pub fn merge_field(mut self, tag: impl Into<String>, value: impl Into<Value>) -> Self {
        self.merge_fields.insert(tag.into(), value.into());
        self
    }

    /// Sets custom fields.
    pub fn merge_fields(mut self, fields: impl IntoIterator<Item = (String, Value)>) -> Self {
        self.merge_fields.extend(fields);
        self
    }
}

impl fmt::Debug for MemberUpsert {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberUpsert")
            .field("status_if_new", &self.status_if_new)
            .field("status", &self.status)
            .field("merge_fields", &self.merge_fields.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// One member of a bulk request: an address and what [`MemberUpsert`] says.
///
/// **Consent:** it sends `status_if_new` and no `status` unless it is given one, so that nobody who opted out is resubscribed.
/// That the bulk endpoint takes members without `status` is unconfirmed: the vendor's published types (npm
/// `@types/mailchimp__mailchimp_marketing` 3.0.22) declare it as required there. Should the platform refuse, it refuses each
/// member with an error of its own: loudly, and nobody's status changes.
#[derive(Clone, Debug, Serialize)]
#[must_use]
pub struct BulkMember {
    email_address: Address,
    #[serde(flatten)]
    member: MemberUpsert,
}

/// An address that does not show in `Debug`.
#[derive(Clone, Serialize)]
#[serde(transparent)]
struct Address(String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(address)")
    }
}

impl BulkMember {
    /// The member with this address.
    pub fn new(email: impl Into<String>, member: MemberUpsert) -> Self {
        Self { email_address: Address(email.into()), member }
    }

    /// Its address.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.email_address.0
    }

    /// About how many bytes it takes in a request.
    pub(crate) fn size(&self) -> usize {
        // Quotes, commas and the two statuses; escapes are left out: an estimate is enough.
        let fields = self.member.merge_fields.iter();
        let fields: usize =
            fields.map(|(tag, value)| tag.len() + 6 + value.as_str().map_or(32, str::len)).sum();
        100 + self.email_address.0.len() + fields
    }
}

/// What the platform answers for a member that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberReceipt {
    /// The hash by which it is addressed.
    pub hash: SubscriberHash,
    /// Its status now.
    pub status: MemberStatus,
    /// Whether it was new.
    pub created: bool,
}

impl MemberReceipt {
    pub(crate) const fn new(hash: SubscriberHash, status: MemberStatus, created: bool) -> Self {
        Self { hash, status, created }
    }
}
