use super::MAX_PAGE;
use crate::{Audience, AudienceId, Members, MergeField, MergeFieldType, operations};
use martlet_core::{ApiClient, Call, Pager, Result};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The audiences of an account.
#[derive(Clone, Debug)]
pub struct Audiences {
    api: Arc<dyn ApiClient>,
}

#[derive(Deserialize)]
struct AudiencePage {
    lists: Vec<Audience>,
    total_items: Option<u64>,
}

#[derive(Deserialize)]
struct MergeFieldPage {
    merge_fields: Vec<MergeField>,
    total_items: Option<u64>,
}

impl Audiences {
    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// Lists them all.
    pub fn list(&self) -> Pager<Audience> {
        Pager::offset(
            Arc::clone(&self.api),
            operations::AUDIENCES_LIST,
            "",
            MAX_PAGE,
            |offset, count| {
                Call::new(operations::AUDIENCES_LIST)
                    .query("exclude_fields", "_links,lists._links")
                    .query("count", count)
                    .query("offset", offset)
            },
            |response| response.json().map(|page: AudiencePage| (page.lists, page.total_items)),
        )
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
        let call =
            Call::new(operations::AUDIENCES_GET).path("list_id", &self.id).query("exclude_fields", "_links");
        self.api.execute(call).await?.json()
    }

    /// Lists its merge fields. The address is not among them.
    pub fn merge_fields(&self) -> Pager<MergeField> {
        let id = self.id.clone();
        Pager::offset(
            Arc::clone(&self.api),
            operations::MERGE_FIELDS_LIST,
            format!("list={}", self.id),
            MAX_PAGE,
            move |offset, count| {
                Call::new(operations::MERGE_FIELDS_LIST)
                    .path("list_id", &id)
                    .query("exclude_fields", "_links,merge_fields._links")
                    .query("count", count)
                    .query("offset", offset)
            },
            |response| response.json().map(|page: MergeFieldPage| (page.merge_fields, page.total_items)),
        )
    }

    /// Creates an optional merge field: `tag` is the name by which members carry it (at most 10 characters, unconfirmed),
    /// `name` its label.
    ///
    /// # Errors
    /// [`Rejected`](martlet_core::ErrorKind::Rejected) when the tag is taken or not allowed. It is not repeated when its fate
    /// is unknown; look with [`merge_fields`](Self::merge_fields) before calling it again.
    pub async fn create_merge_field(
        &self,
        tag: &str,
        name: &str,
        kind: MergeFieldType,
    ) -> Result<MergeField> {
        let body = json!({ "tag": tag, "name": name, "type": kind, "required": false, "public": false });
        let call = Call::new(operations::MERGE_FIELDS_CREATE).path("list_id", &self.id).json(&body);
        self.api.execute(call).await?.json()
    }
}
