//! To whom objects are assigned.

use crate::model::owner::Owner;
use crate::model::page;
use crate::operations::owners as operations;
use martlet_core::{ApiClient, Call, Pager};
use std::fmt;
use std::sync::Arc;

/// Reads the list of owners. From [`HubSpot::owners`](crate::HubSpot::owners).
///
/// [CRM API, owners](https://developers.hubspot.com/docs/api/crm/owners), version 3.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct ListOwners {
    api: Arc<dyn ApiClient>,
    email: Option<String>,
    archived: bool,
}

impl ListOwners {
    const LIMIT: u32 = 100;

    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api, email: None, archived: false }
    }

    /// Only the owner with this address.
    pub fn email(mut self, email: impl Into<String>) -> Self {
        self.email = Some(email.into());
        self
    }

    /// Those who have left instead.
    pub const fn archived(mut self, archived: bool) -> Self {
        self.archived = archived;
        self
    }

    /// Reads all of them, page by page.
    pub fn pager(self) -> Pager<Owner> {
        let filter =
            format!("archived={} email={}", self.archived, self.email.as_deref().unwrap_or_default());
        let api = Arc::clone(&self.api);
        let call = move |after: Option<&str>| {
            Call::new(operations::LIST)
                .query("limit", Self::LIMIT)
                .query_opt("after", after)
                .query_opt("email", self.email.as_deref())
                .query_opt("archived", self.archived.then_some("true"))
        };
        Pager::token(api, operations::LIST, filter, call, page::read)
    }
}

impl fmt::Debug for ListOwners {
    /// Without the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListOwners").field("archived", &self.archived).finish_non_exhaustive()
    }
}
