//! What people let the account send them.

use crate::model::error::Envelope;
use crate::model::subscription::{LegalBasis, SubscriptionStatus};
use crate::operations::subscriptions as operations;
use martlet_core::{ApiClient, Call, ErrorKind, Operation, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The subscriptions of people to kinds of e-mail. From [`HubSpot::subscriptions`](crate::HubSpot::subscriptions).
///
/// [Subscriptions API](https://developers.hubspot.com/docs/api/marketing-api/subscriptions-preferences), version 4.
#[derive(Clone)]
pub struct Subscriptions {
    api: Arc<dyn ApiClient>,
}

const CHANNEL: &str = "EMAIL";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    channel: &'static str,
    status_state: &'static str,
    /// Digits, which HubSpot wants as a number.
    subscription_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_basis: Option<LegalBasis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_basis_explanation: Option<&'a str>,
}

#[derive(Deserialize)]
struct Answer {
    /// Never left out: an answer without it must not be taken for "none".
    results: Vec<SubscriptionStatus>,
    #[serde(default)]
    errors: Vec<Envelope>,
}

impl Subscriptions {
    pub(crate) const fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// What a person, by e-mail address, lets the account send: one status for each kind of e-mail.
    ///
    /// # Errors
    /// What kept it from being read. Nothing that fails here may be taken for a consent.
    pub async fn get(&self, email: &str) -> Result<Vec<SubscriptionStatus>> {
        let call = Call::new(operations::GET).path("subscriber", email).query("channel", CHANNEL);
        self.answer(call).await.map(|(statuses, _)| statuses)
    }

    /// Ends a subscription. Doing so twice is no error.
    ///
    /// # Errors
    /// What kept it from being done.
    pub async fn unsubscribe(&self, email: &str, subscription_id: u64) -> Result<SubscriptionStatus> {
        let change = Change {
            channel: CHANNEL,
            status_state: "UNSUBSCRIBED",
            subscription_id,
            legal_basis: None,
            legal_basis_explanation: None,
        };
        self.change(operations::UNSUBSCRIBE, email, &change).await
    }

    /// Begins a subscription, **also of a person who ended it before**: call it only for what the person said, and when
    /// they said it. `explanation` tells how you know, in words that the person would recognise.
    ///
    /// It is **not sent again** when the fate of the request is unknown: the person may have ended it meanwhile. Read the
    /// status before you decide.
    ///
    /// # Errors
    /// What kept it from being done.
    pub async fn subscribe(
        &self,
        email: &str,
        subscription_id: u64,
        basis: LegalBasis,
        explanation: &str,
    ) -> Result<SubscriptionStatus> {
        let change = Change {
            channel: CHANNEL,
            status_state: "SUBSCRIBED",
            subscription_id,
            legal_basis: Some(basis),
            legal_basis_explanation: Some(explanation),
        };
        self.change(operations::SUBSCRIBE, email, &change).await
    }

    async fn change(
        &self,
        operation: Operation,
        email: &str,
        change: &Change<'_>,
    ) -> Result<SubscriptionStatus> {
        let call = Call::new(operation).path("subscriber", email).json(change);
        let (statuses, response) = self.answer(call).await?;
        let id = change.subscription_id.to_string();
        let status = statuses.into_iter().find(|status| status.subscription_id == id);
        status.ok_or_else(|| {
            response
                .error(ErrorKind::Decode, format!("HubSpot's answer says nothing about subscription {id}"))
        })
    }

    async fn answer(&self, call: Call) -> Result<(Vec<SubscriptionStatus>, martlet_core::Response)> {
        let response = self.api.execute(call).await?;
        let answer: Answer = response.json()?;
        match answer.errors.first() {
            Some(envelope) => Err(response.error(envelope.kind(), envelope.text())),
            None => Ok((answer.results, response)),
        }
    }
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscriptions").field(&self.api).finish()
    }
}
