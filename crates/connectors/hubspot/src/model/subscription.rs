use super::lenient::{id, or_default};
use super::time;
use martlet_base::Timestamp;
use serde::{Deserialize, Serialize};

/// What a person lets the account send, of one kind of e-mail. Unknown fields of the answer are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SubscriptionStatus {
    /// The kind of e-mail, by the id of its definition.
    #[serde(deserialize_with = "id")]
    pub subscription_id: String,
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub subscription_name: String,
    /// Whether it may be sent.
    #[serde(rename = "status")]
    pub state: SubscriptionState,
    /// Why it may, as HubSpot writes it.
    #[serde(default)]
    pub legal_basis: Option<String>,
    /// The same in words.
    #[serde(default)]
    pub legal_basis_explanation: Option<String>,
    /// Where the status comes from.
    #[serde(default)]
    pub source: Option<String>,
    /// When it was last changed.
    #[serde(default, rename = "timestamp", deserialize_with = "time::tolerant")]
    pub changed_at: Option<Timestamp>,
}

/// Whether a person lets the account send something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum SubscriptionState {
    /// Yes.
    Subscribed,
    /// No: the person said so, or somebody for them.
    Unsubscribed,
    /// Nobody said anything.
    NotSpecified,
    /// Something that this version does not know. It is no consent.
    #[serde(other)]
    Unknown,
}

impl SubscriptionState {
    /// Whether it may be sent: only what is known to be a yes is one.
    #[must_use]
    pub fn is_subscribed(self) -> bool {
        self == Self::Subscribed
    }
}

/// On what ground a person is written to, in the words of the GDPR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum LegalBasis {
    /// The person asked about the product.
    LegitimateInterestPql,
    /// The person is a customer.
    LegitimateInterestClient,
    /// A contract asks for it.
    PerformanceOfContract,
    /// The person agreed, and was told to what.
    ConsentWithNotice,
    /// The GDPR does not apply.
    NonGdpr,
    /// The person agreed that the data is kept.
    ProcessAndStore,
    /// Another legitimate interest.
    LegitimateInterestOther,
}
