//! The client: built-in layers around a transport, for one connection of one platform.

mod builder;
mod cache;
mod engine;
mod idempotency;
mod limits;
mod quota_journal;
mod store_quota;
mod trace;

pub use builder::ClientBuilder;
pub(crate) use engine::Core;
pub use store_quota::StoreQuota;

use crate::{Call, Error, ErrorKind, Platform, Response, Result};
use async_trait::async_trait;
use martlet_base::{Clock, ConnectionId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The core client trait: what connectors hand out, and what pagers, bulks and pipelines are written against.
///
/// [`Client`] implements it with all the middleware. Implement it for a test double, or to put something between.
#[async_trait]
pub trait ApiClient: fmt::Debug + Send + Sync {
    /// The facts of the platform it talks to.
    fn platform(&self) -> &dyn Platform;

    /// The account it talks for.
    fn connection(&self) -> &ConnectionId;

    /// Makes the call: waits for quota, retries, authenticates, and returns the answer of a success.
    ///
    /// Cancel safe in that nothing leaks: permits, quota places and probes are given back. But a request that has left may
    /// be applied although nobody hears of it.
    ///
    /// # Errors
    /// [`Error`]: what happened, whether it may have been applied, and what to do.
    async fn execute(&self, call: Call) -> Result<Response>;

    /// Stores what has to survive a clean stop, such as how full the quota windows are. Calls made afterwards are fine; call it
    /// again after them. Without it a program that starts again has to take the windows for full.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] when it could not be stored.
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Makes the platform's cheap check call, to see whether the credential works.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); [`ErrorKind::InvalidRequest`] when the platform has no such operation.
    async fn check(&self) -> Result<CheckReport> {
        let Some(operation) = self.platform().descriptor().check_operation() else {
            return Err(Error::new(ErrorKind::InvalidRequest, "the platform names no check operation"));
        };
        let response = self.execute(Call::new(*operation).fresh()).await?;
        Ok(CheckReport { elapsed: response.meta().elapsed, attempts: response.meta().attempts })
    }
}

/// The outcome of a [`check`](ApiClient::check) that succeeded.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CheckReport {
    /// From the start of the call to its end.
    pub elapsed: Duration,
    /// Attempts made.
    pub attempts: u32,
}

/// A client for one connection of one platform. Cheap to clone; clones share everything.
///
/// ```
/// # use martlet_core::{Client, Credential, Descriptor, Error, Platform, Transport};
/// # #[derive(Debug)] struct Acme(Descriptor);
/// # impl Platform for Acme { fn descriptor(&self) -> &Descriptor { &self.0 } }
/// # fn build(transport: impl Transport + 'static) -> Result<Client, Error> {
/// let client = Client::builder(Acme(Descriptor::new("acme", "https://api.acme.example")?))
///     .transport(transport)
///     .credentials(Credential::bearer("token"))
///     .build()?;
/// # Ok(client) }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Core>);

impl Client {
    /// A builder for a client of `platform`.
    pub fn builder(platform: impl Platform + 'static) -> ClientBuilder {
        ClientBuilder::new(Arc::new(platform))
    }

    /// The names of all layers, outermost first. The order of the built-in ones is fixed.
    #[must_use]
    pub fn layers(&self) -> Vec<&'static str> {
        self.0.layers()
    }

    /// What two clients of one account must share: give it to the other one's builder.
    #[must_use]
    pub fn shared_state(&self) -> SharedState {
        self.0.shared.clone()
    }

    /// A builder for a client of another origin, such as the storage from which a platform hands out results. It begins with
    /// this client's connection, transport, clock, randomness, observers, retry policy, timeouts and largest answer, and with
    /// **none** of its credentials, layers, limits and cached answers.
    pub fn builder_elsewhere(&self, platform: impl Platform + 'static) -> ClientBuilder {
        ClientBuilder::elsewhere(&self.0, Arc::new(platform))
    }

    /// The clock it lives by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Makes cached answers of `tag` stale.
    pub fn invalidate(&self, tag: &'static str) {
        self.0.cache.invalidate(tag);
    }
}

#[async_trait]
impl ApiClient for Client {
    fn platform(&self) -> &dyn Platform {
        &*self.0.platform
    }

    fn connection(&self) -> &ConnectionId {
        &self.0.connection
    }

    async fn execute(&self, call: Call) -> Result<Response> {
        self.0.call(call).await
    }

    async fn close(&self) -> Result<()> {
        match &self.0.shared.0.journal {
            Some(journal) => journal.close(&self.0).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("platform", &self.0.platform.descriptor().id())
            .field("connection", &self.0.connection)
            .field("base_url", &self.0.base_url.as_str())
            .finish_non_exhaustive()
    }
}

/// Quota, circuit breaker and credential of one account. Clients that share it act as one towards the platform.
#[derive(Clone)]
pub struct SharedState(Arc<engine::Shared>);

impl SharedState {
    /// How full each quota window is: bucket, window, limit, places taken.
    #[must_use]
    pub fn quota_use(&self, clock: &Clock) -> Vec<(&'static str, String, u32, u32)> {
        self.0.limits.usage(clock.now())
    }
}

impl SharedState {
    /// The circuit breaker, for an operator: a cloneable handle.
    #[must_use]
    pub fn breaker(&self) -> &martlet_resilience::Breaker {
        &self.0.breaker
    }

    /// What the account's retries are paid from.
    #[must_use]
    pub fn retry_budget(&self) -> &martlet_resilience::RetryBudget {
        &self.0.budget
    }
}

impl fmt::Debug for SharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedState")
            .field("breaker", &self.0.breaker)
            .field("retry_budget", &self.0.budget)
            .finish_non_exhaustive()
    }
}
