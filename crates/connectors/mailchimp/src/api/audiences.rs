use super::listed;
use crate::{
    Audience, AudienceId, Members, MergeField, MergeFieldType, MergeFieldUpdate, Segments, operations,
};
use martlet_core::{ApiClient, Call, Operation, Pager, Result};
use serde_json::json;
use std::sync::Arc;

/// The audiences of an account.
#[derive(Clone, Debug)]
pub struct Audiences {
    api: Arc<dyn ApiClient>,
}

impl Audiences {
    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// Lists them all.
    pub fn list(&self) -> Pager<Audience> {
        listed(&self.api, "lists", "", Call::new(operations::AUDIENCES_LIST))
    }
}

/// One audience.
#[derive(Clone, Debug)]
pub struct AudienceApi {
    api: Arc<dyn ApiClient>,
    id: AudienceId,
}

impl AudienceApi {
    pub(crate) fn new(api: Arc<dyn ApiClient>, id: AudienceId) -> Self {
        Self { api, id }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &AudienceId {
        &self.id
    }

    /// Its members.
    #[must_use]
    pub fn members(&self) -> Members {
        Members::new(Arc::clone(&self.api), self.id.clone())
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is no such audience.
    pub async fn get(&self) -> Result<Audience> {
        let call = self.call(operations::AUDIENCES_GET).query("exclude_fields", "_links");
        self.api.execute(call).await?.json()
    }

    /// Lists its merge fields. The address is not among them. They are
    /// [reference data](martlet_core::CacheRule::reference_data): answers are fresh for five minutes, or until a change through
    /// the same client, and are renewed in the background after that.
    pub fn merge_fields(&self) -> Pager<MergeField> {
        self.list_merge_fields(self.call(operations::MERGE_FIELDS_LIST))
    }

    /// As [`merge_fields`](Self::merge_fields), but as they are now: nothing is taken from the cache.
    pub fn merge_fields_fresh(&self) -> Pager<MergeField> {
        self.list_merge_fields(self.call(operations::MERGE_FIELDS_LIST).fresh())
    }

    fn list_merge_fields(&self, call: Call) -> Pager<MergeField> {
        listed(&self.api, "merge_fields", format!("list={}", self.id), call)
    }

    /// Reads a merge field, by its number.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is none.
    pub async fn get_merge_field(&self, merge_id: u64) -> Result<MergeField> {
        let call = self.call(operations::MERGE_FIELDS_GET).path("merge_id", merge_id);
        self.api.execute(call.query("exclude_fields", "_links")).await?.json()
    }

    /// Creates an optional merge field: `tag` is the name by which members carry it (at most 10 characters, unconfirmed),
    /// `name` its label.
    ///
    /// # Errors
    /// [`Rejected`](martlet_core::ErrorKind::Rejected) when the tag is taken or not allowed. It is not repeated when its fate
    /// is unknown; look with [`merge_fields_fresh`](Self::merge_fields_fresh) before calling it again.
    pub async fn create_merge_field(
        &self,
        tag: &str,
        name: &str,
        kind: MergeFieldType,
    ) -> Result<MergeField> {
        let body = json!({ "tag": tag, "name": name, "type": kind, "required": false, "public": false });
        self.api.execute(self.call(operations::MERGE_FIELDS_CREATE).json(&body)).await?.json()
    }

    /// Changes a merge field, by its number. Its type cannot change.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is none.
    pub async fn update_merge_field(&self, merge_id: u64, update: MergeFieldUpdate) -> Result<MergeField> {
        let call = self.call(operations::MERGE_FIELDS_UPDATE).path("merge_id", merge_id);
        self.api.execute(call.json(&update)).await?.json()
    }

    /// Deletes a merge field, by its number, **with what the members have in it**.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is none, also when a first try whose answer was lost deleted
    /// it.
    pub async fn delete_merge_field(&self, merge_id: u64) -> Result<()> {
        let call = self.call(operations::MERGE_FIELDS_DELETE).path("merge_id", merge_id);
        self.api.execute(call).await.map(drop)
    }

    /// Its segments, tags among them.
    #[must_use]
    pub fn segments(&self) -> Segments {
        Segments::new(Arc::clone(&self.api), self.id.clone())
    }

    fn call(&self, operation: Operation) -> Call {
        Call::new(operation).path("list_id", &self.id)
    }
}
