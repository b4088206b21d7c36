use super::lenient;
use crate::{AudienceId, BulkMember, MemberUpsert, SubscriberHash, TagChanges};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One operation of a batch: a request of this API, which the platform makes by itself.
///
/// ```
/// use martlet_mailchimp::{BatchOperation, MemberStatus, MemberUpsert};
/// use serde_json::json;
///
/// let upsert = MemberUpsert::new(MemberStatus::Subscribed);
/// let upsert = BatchOperation::upsert_member("a1b2c3d4e5", "zoe@example.org", upsert).id("row-17");
/// let note = BatchOperation::post("/lists/a1b2c3d4e5/members/62eeb292278cc15f5817cb78f7790b08/notes")
///     .json(&json!({ "note": "called" }));
/// ```
#[derive(Clone, Serialize)]
#[must_use]
pub struct BatchOperation {
    method: &'static str,
    path: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    params: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operation_id: Option<String>,
}

impl BatchOperation {
    /// A GET of `path`, which begins with `/` and leaves out the version: `/lists/a1b2c3d4e5/members`.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path.into())
    }

    /// A POST.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new("POST", path.into())
    }

    /// A PUT.
    pub fn put(path: impl Into<String>) -> Self {
        Self::new("PUT", path.into())
    }

    /// A PATCH.
    pub fn patch(path: impl Into<String>) -> Self {
        Self::new("PATCH", path.into())
    }

    /// A DELETE.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path.into())
    }

    /// What [`Members::upsert`](crate::Members::upsert) does.
    pub fn upsert_member(list: impl Into<AudienceId>, email: &str, member: MemberUpsert) -> Self {
        let path = member_path(&list.into(), SubscriberHash::of(email));
        Self::put(path).serialized(&BulkMember::new(email, member))
    }

    /// What [`Members::archive`](crate::Members::archive) does.
    pub fn archive_member(list: impl Into<AudienceId>, member: impl Into<SubscriberHash>) -> Self {
        Self::delete(member_path(&list.into(), member.into()))
    }

    /// What [`Members::change_tags`](crate::Members::change_tags) does.
    pub fn change_tags(
        list: impl Into<AudienceId>,
        member: impl Into<SubscriberHash>,
        changes: TagChanges,
    ) -> Self {
        Self::post(member_path(&list.into(), member.into()) + "/tags").serialized(&changes)
    }

    fn new(method: &'static str, path: String) -> Self {
        Self { method, path, params: BTreeMap::new(), body: None, operation_id: None }
    }

    fn serialized(mut self, body: &impl Serialize) -> Self {
        self.body = Some(serde_json::to_string(body).expect("text, numbers and maps by text serialise"));
        self
    }

    /// With a query parameter.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// With a body.
    pub fn json(self, body: &Value) -> Self {
        self.serialized(body)
    }

    /// By what its result is told from others, unique within the batch: a key of yours, when results are to be understood
    /// without the list that was submitted. Its place in the batch (`0`, `1`...) unless said.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.operation_id = Some(id.into());
        self
    }

    /// Whether the path can be sent: it becomes part of a URL at the platform.
    pub(crate) fn has_good_path(&self) -> bool {
        let good = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\'))
        };
        self.path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(good))
    }
}

fn member_path(list: &AudienceId, member: SubscriberHash) -> String {
    format!("/lists/{list}/members/{member}")
}

impl fmt::Debug for BatchOperation {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchOperation")
            .field("method", &self.method)
            .field("operation_id", &self.operation_id)
            .finish_non_exhaustive()
    }
}

/// A batch and how far it is.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Batch {
    /// Its id.
    pub id: String,
    /// How far it is.
    #[serde(default, deserialize_with = "lenient")]
    pub status: BatchStatus,
    /// How many operations it holds.
    #[serde(default, deserialize_with = "lenient")]
    pub total_operations: u64,
    /// How many are done.
    #[serde(default, deserialize_with = "lenient")]
    pub finished_operations: u64,
    /// How many of them failed.
    #[serde(default, deserialize_with = "lenient")]
    pub errored_operations: u64,
    /// When it was begun, RFC 3339.
    #[serde(default, deserialize_with = "lenient")]
    pub submitted_at: String,
    /// When it was finished, RFC 3339; empty when it is not.
    #[serde(default, deserialize_with = "lenient")]
    pub completed_at: String,
    /// Where the results are, for some minutes, for whoever knows the address.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) response_body_url: String,
}

impl Batch {
    /// Whether there are results.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.status == BatchStatus::Finished
    }
}

impl fmt::Debug for Batch {
    /// Without the address of the results, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("total_operations", &self.total_operations)
            .field("finished_operations", &self.finished_operations)
            .field("errored_operations", &self.errored_operations)
            .finish_non_exhaustive()
    }
}

words! {
    /// How far a batch is.
    BatchStatus {
        /// Not begun.
        Pending = "pending",
        /// Its operations are being taken apart.
        Preprocessing = "preprocessing",
        /// Under way.
        Started = "started",
        /// Its results are being put together.
        Finalizing = "finalizing",
        /// Done: there are results.
        Finished = "finished",
    }
}

/// What the platform answered to one operation of a batch.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct BatchResult {
    /// By what it is told from others: [`BatchOperation::id`]. Empty when the platform gave none.
    #[serde(default, deserialize_with = "lenient")]
    pub operation_id: String,
    /// The HTTP status.
    #[serde(rename = "status_code")]
    pub status: u16,
    /// The body as it is: JSON, or empty.
    #[serde(default, rename = "response", deserialize_with = "lenient")]
    pub body: String,
}

impl BatchResult {
    /// The body as a value: that of an upsert is a [`Member`](crate::Member). `None` when it is none.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.body).ok()
    }
}

impl fmt::Debug for BatchResult {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchResult")
            .field("operation_id", &self.operation_id)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
