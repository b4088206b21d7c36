use crate::{
    Associations, CompanyKind, Contacts, DealKind, Events, HubSpotPlatform, ListOwners, Lists, ObjectType,
    Objects, Properties, Subscriptions,
};
use martlet_core::{
    ApiClient, CheckReport, Client, ClientBuilder, Credential, CredentialSource, LimitSpec, Result, Secret,
    SharedState,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The plan of the account, for its limit of requests per ten seconds and app
/// ([HubSpot's usage guidelines](https://developers.hubspot.com/docs/guides/apps/api-usage/usage-details)).
///
/// Beside it there is a limit per day, which this crate does not count ahead: every answer tells what is left
/// ([`ResponseMeta::quota`](martlet_core::ResponseMeta::quota)), and a spent one is
/// [`QuotaExhausted`](martlet_core::ErrorKind::QuotaExhausted). Searches are limited to 5 per second and account in every
/// plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HubSpotPlan {
    /// Free and Starter, private app: 100 per ten seconds, 250,000 a day.
    #[default]
    Free,
    /// Professional, private app: 190 per ten seconds, 650,000 a day.
    Professional,
    /// Enterprise, private app: 190 per ten seconds, 1,000,000 a day.
    Enterprise,
    /// With the API limit increase: 250 per ten seconds, another 1,000,000 a day for each pack.
    ApiIncrease,
    /// A public app with OAuth: 110 per ten seconds for each account that installed it, no daily limit.
    OAuthApp,
    /// Another limit, in case HubSpot changed it or the account is shared with other programs.
    Custom {
        /// Requests per ten seconds.
        per_ten_seconds: u32,
    },
}

impl HubSpotPlan {
    /// Requests per ten seconds.
    #[must_use]
    pub const fn per_ten_seconds(self) -> u32 {
        match self {
            Self::Free => 100,
            Self::Professional | Self::Enterprise => 190,
            Self::ApiIncrease => 250,
            Self::OAuthApp => 110,
            Self::Custom { per_ten_seconds } => per_ten_seconds,
        }
    }

    pub(crate) fn limit(self) -> LimitSpec {
        LimitSpec::new(LimitSpec::DEFAULT).window(
            "ten_secondly",
            self.per_ten_seconds(),
            Duration::from_secs(10),
        )
    }
}

/// A client for one HubSpot account. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct HubSpot {
    client: Client,
    api: Arc<dyn ApiClient>,
}

impl HubSpot {
    /// A builder. It needs a transport and an access token.
    pub fn builder() -> HubSpotBuilder {
        HubSpotBuilder { inner: Client::builder(HubSpotPlatform::new()) }
    }

    /// The contacts.
    #[must_use]
    pub fn contacts(&self) -> Contacts {
        Contacts::new(Arc::clone(&self.api))
    }

    /// The companies.
    #[must_use]
    pub fn companies(&self) -> Objects<CompanyKind> {
        Objects::new(Arc::clone(&self.api))
    }

    /// The deals.
    #[must_use]
    pub fn deals(&self) -> Objects<DealKind> {
        Objects::new(Arc::clone(&self.api))
    }

    /// What properties a type of objects has: `contacts`, `companies`, `deals`, or the account's own type such as
    /// `2-3465404`.
    #[must_use]
    pub fn properties(&self, object_type: impl Into<String>) -> Properties {
        Properties::new(Arc::clone(&self.api), object_type.into())
    }

    /// The owners: to whom objects are assigned.
    pub fn owners(&self) -> ListOwners {
        ListOwners::new(Arc::clone(&self.api))
    }

    /// Which objects of type `T` those of type `F` are associated with:
    /// `hubspot.associations::<ContactKind, CompanyKind>()`.
    #[must_use]
    pub fn associations<F: ObjectType, T: ObjectType>(&self) -> Associations<F, T> {
        Associations::new(Arc::clone(&self.api))
    }

    /// The lists, and who is on them.
    #[must_use]
    pub fn lists(&self) -> Lists {
        Lists::new(Arc::clone(&self.api))
    }

    /// What people let the account send them.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        Subscriptions::new(Arc::clone(&self.api))
    }

    /// Occurrences of the account's own events.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(Arc::clone(&self.api))
    }

    /// Makes a cheap call (one page of contacts) to see whether the token works and may read contacts.
    ///
    /// # Errors
    /// [`Unauthenticated`](martlet_core::ErrorKind::Unauthenticated) for a bad token,
    /// [`Forbidden`](martlet_core::ErrorKind::Forbidden) for one without the scope `crm.objects.contacts.read`, or what kept
    /// the call from being made.
    pub async fn check(&self) -> Result<CheckReport> {
        self.api.check().await
    }

    /// The client underneath, for endpoints that have no typed method yet: they get the same limits, retries and errors.
    #[must_use]
    pub fn client(&self) -> Arc<dyn ApiClient> {
        Arc::clone(&self.api)
    }

    /// What a second client of the same account must share with this one: give it to that builder's `shared`.
    #[must_use]
    pub fn shared_state(&self) -> SharedState {
        self.client.shared_state()
    }

    #[cfg(feature = "pipeline")]
    pub(crate) fn clock(&self) -> &martlet_base::Clock {
        self.client.clock()
    }
}

impl fmt::Debug for HubSpot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HubSpot").field(&self.client).finish()
    }
}

/// Builds a [`HubSpot`]. Slots: the last value given wins, and everything is checked in [`build`](Self::build).
#[must_use = "a builder does nothing until build() is called"]
#[derive(Debug)]
pub struct HubSpotBuilder {
    inner: ClientBuilder,
}

impl HubSpotBuilder {
    martlet_core::forward_client_builder!(inner);

    /// The access token of a private app, or an OAuth access token that somebody else renews. The same slot as
    /// [`credentials`](Self::credentials).
    pub fn access_token(self, token: impl Into<Secret>) -> Self {
        self.credentials(Credential::bearer(token))
    }

    /// Where access tokens come from.
    pub fn credentials(mut self, source: impl CredentialSource) -> Self {
        self.inner = self.inner.credentials(source);
        self
    }

    /// The plan of the account; [`HubSpotPlan::Free`] unless said. The same slot as `limit` for the default bucket.
    pub fn plan(mut self, plan: HubSpotPlan) -> Self {
        self.inner = self.inner.limit(plan.limit());
        self
    }

    /// Checks everything and builds the client. No I/O.
    ///
    /// # Errors
    /// [`Config`](martlet_core::ErrorKind::Config) that names the setting and what is wrong with it.
    pub fn build(self) -> Result<HubSpot> {
        let client = self.inner.build()?;
        Ok(HubSpot { api: Arc::new(client.clone()), client })
    }
}
