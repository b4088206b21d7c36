use super::{filter_time, listed, vendor_time};
use crate::{EmailActivity, Report, Unsubscribe, operations};
use martlet_base::Timestamp;
use martlet_core::{ApiClient, Call, Operation, Pager, Result};
use std::sync::Arc;

/// What became of the campaigns that were sent. Reports are addressed by the id of the campaign.
#[derive(Clone, Debug)]
pub struct Reports {
    api: Arc<dyn ApiClient>,
}

impl Reports {
    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// Lists them; with `since_send_time` only those of campaigns sent after it, cut to whole seconds.
    pub fn list(&self, since_send_time: Option<Timestamp>) -> Pager<Report> {
        let call = Call::new(operations::REPORTS_LIST)
            .query_opt("since_send_time", since_send_time.map(vendor_time));
        listed(&self.api, "reports", format!("sent={}", filter_time(since_send_time)), call)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is no such campaign, or it was not sent.
    pub async fn get(&self, campaign: &str) -> Result<Report> {
        let call = Self::call(operations::REPORTS_GET, campaign);
        self.api.execute(call.query("exclude_fields", "_links")).await?.json()
    }

    /// Lists what each recipient did; with `since` only what was done after it, cut to whole seconds.
    pub fn email_activity(&self, campaign: &str, since: Option<Timestamp>) -> Pager<EmailActivity> {
        let call =
            Self::call(operations::REPORT_ACTIVITY_LIST, campaign).query_opt("since", since.map(vendor_time));
        let filter = format!("campaign={campaign};since={}", filter_time(since));
        listed(&self.api, "emails", filter, call)
    }

    /// Lists who opted out by it.
    pub fn unsubscribed(&self, campaign: &str) -> Pager<Unsubscribe> {
        let call = Self::call(operations::REPORT_UNSUBSCRIBED_LIST, campaign);
        listed(&self.api, "unsubscribes", format!("campaign={campaign}"), call)
    }

    fn call(operation: Operation, campaign: &str) -> Call {
        Call::new(operation).path("campaign_id", campaign)
    }
}
