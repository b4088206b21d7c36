use super::lenient;
use serde::Deserialize;

/// A campaign: a mailing and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Campaign {
    /// Its id.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// What it is, by the platform's name: `regular`, `plaintext`, `rss`, `variate`.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: String,
    /// Its state.
    #[serde(deserialize_with = "lenient")]
    pub status: CampaignStatus,
    /// When it was created, RFC 3339.
    #[serde(deserialize_with = "lenient")]
    pub create_time: String,
    /// When it was sent or will be, RFC 3339; empty when neither.
    #[serde(deserialize_with = "lenient")]
    pub send_time: String,
    /// How many mails went out.
    #[serde(deserialize_with = "lenient")]
    pub emails_sent: u64,
    /// To whom it goes.
    #[serde(deserialize_with = "lenient")]
    pub recipients: CampaignRecipients,
    /// What it says of itself.
    #[serde(deserialize_with = "lenient")]
    pub settings: CampaignSettings,
}

/// To whom a campaign goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CampaignRecipients {
    /// The audience; empty when none was chosen yet.
    #[serde(deserialize_with = "lenient")]
    pub list_id: String,
    /// The audience's name.
    #[serde(deserialize_with = "lenient")]
    pub list_name: String,
    /// How many members that were.
    #[serde(deserialize_with = "lenient")]
    pub recipient_count: u64,
}

/// What a campaign says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CampaignSettings {
    /// The name of the campaign.
    #[serde(deserialize_with = "lenient")]
    pub title: String,
    /// The subject of its mails.
    #[serde(deserialize_with = "lenient")]
    pub subject_line: String,
    /// Who they are from, by name.
    #[serde(deserialize_with = "lenient")]
    pub from_name: String,
    /// To which address answers go.
    #[serde(deserialize_with = "lenient")]
    pub reply_to: String,
}

words! {
    /// The state of a campaign.
    CampaignStatus {
        /// A draft.
        Save = "save",
        /// Halted.
        Paused = "paused",
        /// To be sent at its time.
        Schedule = "schedule",
        /// On its way.
        Sending = "sending",
        /// Sent.
        Sent = "sent",
    }
}
