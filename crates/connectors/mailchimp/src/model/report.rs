use super::lenient;
use crate::SubscriberHash;
use serde::Deserialize;
use std::fmt;

/// What became of a campaign that was sent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Report {
    /// The campaign's id.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// The campaign's name.
    #[serde(deserialize_with = "lenient")]
    pub campaign_title: String,
    /// The audience.
    #[serde(deserialize_with = "lenient")]
    pub list_id: String,
    /// The subject of its mails.
    #[serde(deserialize_with = "lenient")]
    pub subject_line: String,
    /// How many mails went out.
    #[serde(deserialize_with = "lenient")]
    pub emails_sent: u64,
    /// How many recipients reported it as spam.
    #[serde(deserialize_with = "lenient")]
    pub abuse_reports: u64,
    /// How many opted out by it.
    #[serde(deserialize_with = "lenient")]
    pub unsubscribed: u64,
    /// When it was sent, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub send_time: String,
    /// What could not be delivered.
    #[serde(deserialize_with = "lenient")]
    pub bounces: Bounces,
    /// How it was opened.
    #[serde(deserialize_with = "lenient")]
    pub opens: Opens,
    /// What was clicked.
    #[serde(deserialize_with = "lenient")]
    pub clicks: Clicks,
}

/// What could not be delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Bounces {
    /// For good.
    #[serde(deserialize_with = "lenient")]
    pub hard_bounces: u64,
    /// For now.
    #[serde(deserialize_with = "lenient")]
    pub soft_bounces: u64,
    /// Because the address is none.
    #[serde(deserialize_with = "lenient")]
    pub syntax_errors: u64,
}

/// How a campaign was opened.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Opens {
    /// How often.
    #[serde(deserialize_with = "lenient")]
    pub opens_total: u64,
    /// By how many.
    #[serde(deserialize_with = "lenient")]
    pub unique_opens: u64,
    /// Unique opens by delivered mails, 0 to 1.
    #[serde(deserialize_with = "lenient")]
    pub open_rate: f64,
}

/// What was clicked in a campaign.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Clicks {
    /// How often.
    #[serde(deserialize_with = "lenient")]
    pub clicks_total: u64,
    /// How often, each link once a recipient.
    #[serde(deserialize_with = "lenient")]
    pub unique_clicks: u64,
    /// By how many recipients.
    #[serde(deserialize_with = "lenient")]
    pub unique_subscriber_clicks: u64,
    /// Unique clicks by delivered mails, 0 to 1.
    #[serde(deserialize_with = "lenient")]
    pub click_rate: f64,
}

/// What one recipient did with a campaign.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EmailActivity {
    /// The recipient's [hash](SubscriberHash), as the platform gave it.
    #[serde(deserialize_with = "lenient")]
    pub email_id: String,
    /// The recipient's address.
    #[serde(deserialize_with = "lenient")]
    pub email_address: String,
    /// What was done, in order; empty when nothing was.
    #[serde(deserialize_with = "lenient")]
    pub activity: Vec<Activity>,
}

impl EmailActivity {
    /// The hash by which the recipient is addressed; `None` when the platform's answer holds none.
    #[must_use]
    pub fn hash(&self) -> Option<SubscriberHash> {
        self.email_id.parse().ok()
    }
}

impl fmt::Debug for EmailActivity {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<_> = self.activity.iter().map(|activity| &activity.action).collect();
        f.debug_struct("EmailActivity")
            .field("email_id", &self.email_id)
            .field("activity", &actions)
            .finish_non_exhaustive()
    }
}

/// One thing that a recipient did.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Activity {
    /// What, by the platform's name: `open`, `click`, `bounce`.
    #[serde(deserialize_with = "lenient")]
    pub action: String,
    /// When, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub timestamp: String,
    /// Of a click: where it led. It may hold what identifies a person.
    #[serde(deserialize_with = "lenient")]
    pub url: String,
    /// From where.
    #[serde(deserialize_with = "lenient")]
    pub ip: String,
}

impl fmt::Debug for Activity {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, timestamp, .. } = self;
        f.debug_struct("Activity")
            .field("action", action)
            .field("timestamp", timestamp)
            .finish_non_exhaustive()
    }
}

/// Somebody who opted out by a campaign.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Unsubscribe {
    /// The member's [hash](SubscriberHash), as the platform gave it.
    #[serde(deserialize_with = "lenient")]
    pub email_id: String,
    /// The member's address.
    #[serde(deserialize_with = "lenient")]
    pub email_address: String,
    /// When, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub timestamp: String,
    /// What was given as reason, in the platform's words.
    #[serde(deserialize_with = "lenient")]
    pub reason: String,
    /// The audience that was left.
    #[serde(deserialize_with = "lenient")]
    pub list_id: String,
}

impl Unsubscribe {
    /// The hash by which the member is addressed; `None` when the platform's answer holds none.
    #[must_use]
    pub fn hash(&self) -> Option<SubscriberHash> {
        self.email_id.parse().ok()
    }
}

impl fmt::Debug for Unsubscribe {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsubscribe")
            .field("email_id", &self.email_id)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}
