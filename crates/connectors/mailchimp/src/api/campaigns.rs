use super::{filter_time, listed, vendor_time};
use crate::{Campaign, CampaignStatus, operations};
use martlet_base::Timestamp;
use martlet_core::{ApiClient, Call, Pager, Result};
use std::sync::Arc;

/// The campaigns of an account, to read.
#[derive(Clone, Debug)]
pub struct Campaigns {
    api: Arc<dyn ApiClient>,
}

impl Campaigns {
    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// Lists them, oldest first.
    pub fn list(&self) -> ListCampaigns {
        ListCampaigns {
            api: Arc::clone(&self.api),
            status: None,
            since_create_time: None,
            since_send_time: None,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is none.
    pub async fn get(&self, id: &str) -> Result<Campaign> {
        let call = Call::new(operations::CAMPAIGNS_GET).path("campaign_id", id);
        self.api.execute(call.query("exclude_fields", "_links")).await?.json()
    }
}

/// A listing of campaigns; [`pager`](Self::pager) begins it.
///
/// The platform has no filter for what changed: of a draft that is edited neither time moves.
#[derive(Clone, Debug)]
#[must_use]
pub struct ListCampaigns {
    api: Arc<dyn ApiClient>,
    status: Option<CampaignStatus>,
    since_create_time: Option<Timestamp>,
    since_send_time: Option<Timestamp>,
}

impl ListCampaigns {
    /// Only those in this state.
    pub fn status(mut self, status: CampaignStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Only those created after this time, cut to whole seconds (whether the bound itself is included is unconfirmed).
    pub const fn since_create_time(mut self, since: Timestamp) -> Self {
        self.since_create_time = Some(since);
        self
    }

    /// Only those sent after this time, as above.
    pub const fn since_send_time(mut self, since: Timestamp) -> Self {
        self.since_send_time = Some(since);
        self
    }

    /// Begins to read. Sorted by the time of creation (`sort_field`, unconfirmed), so that new ones come at the end and move
    /// nothing.
    pub fn pager(self) -> Pager<Campaign> {
        let filter = format!(
            "status={};created={};sent={}",
            self.status.as_ref().map_or("", CampaignStatus::as_str),
            filter_time(self.since_create_time),
            filter_time(self.since_send_time),
        );
        let call = Call::new(operations::CAMPAIGNS_LIST)
            .query("sort_field", "create_time")
            .query("sort_dir", "ASC")
            .query_opt("status", self.status)
            .query_opt("since_create_time", self.since_create_time.map(vendor_time))
            .query_opt("since_send_time", self.since_send_time.map(vendor_time));
        listed(&self.api, "campaigns", filter, call)
    }
}
