use super::lenient;
use crate::SubscriberHash;
use martlet_core::Patch;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

words! {
    /// The state of a member. A value this crate does not know is kept.
    MemberStatus {
        /// Agreed to be written to.
        Subscribed = "subscribed",
        /// Opted out.
        Unsubscribed = "unsubscribed",
        /// The address bounced; the platform will not write to it again.
        Cleaned = "cleaned",
        /// Was asked to confirm and has not.
        Pending = "pending",
        /// A customer who never subscribed.
        Transactional = "transactional",
        /// Archived: no longer shown, kept by the platform.
        Archived = "archived",
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
    /// Its tags; without the times at which they were given.
    #[serde(deserialize_with = "lenient")]
    pub tags: Vec<MemberTag>,
}

/// A tag of a member. At Mailchimp a tag is a [static segment](crate::SegmentKind::Static) of the audience.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MemberTag {
    /// Its number within the audience, which is that of the segment (unconfirmed).
    #[serde(deserialize_with = "lenient")]
    pub id: u64,
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// When the member got it, RFC 3339; empty in a [`Member`].
    #[serde(deserialize_with = "lenient")]
    pub date_added: String,
}

/// Which tags [`change_tags`](crate::Members::change_tags) gives a member and takes from it. The last word about a name holds;
/// tags that are not named stay as they are.
///
/// ```
/// use martlet_mailchimp::TagChanges;
///
/// let changes = TagChanges::new().give("customer").take("lead");
/// assert!(!changes.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[must_use]
pub struct TagChanges {
    tags: Vec<TagChange>,
    is_syncing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct TagChange {
    name: String,
    status: &'static str,
}

impl TagChanges {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the tag; one that the audience does not have is created.
    pub fn give(self, name: impl Into<String>) -> Self {
        self.set(name.into(), "active")
    }

    /// Takes the tag away.
    pub fn take(self, name: impl Into<String>) -> Self {
        self.set(name.into(), "inactive")
    }

    /// Starts no automations of the account that wait for these tags (`is_syncing`; unconfirmed).
    pub const fn without_automations(mut self) -> Self {
        self.is_syncing = true;
        self
    }

    /// Whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    fn set(mut self, name: String, status: &'static str) -> Self {
        self.tags.retain(|tag| tag.name != name);
        self.tags.push(TagChange { name, status });
        self
    }
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

    /// Does with a custom field what the patch says: empties it with `""`, or leaves it alone when it is
    /// [`Absent`](Patch::Absent).
    pub fn patch_merge_field(self, tag: impl Into<String>, patch: Patch<impl Into<Value>>) -> Self {
        match patch {
            Patch::Absent => self,
            Patch::Clear => self.merge_field(tag, ""),
            Patch::Set(value) => self.merge_field(tag, value),
        }
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
