use super::cache::CacheSlot;
use super::engine::{Shared, TraceContextFn};
use super::idempotency::DurableKeys;
use super::limits::LimitsSlot;
use super::quota_journal::QuotaJournal;
use super::{Client, Core, SharedState};
use crate::credential::CredentialCache;
use crate::{
    Authenticator, Credential, CredentialSource, Error, ErrorKind, Layer, LimitSpec, Platform, Result,
    Transport,
};
use http::{HeaderMap, HeaderValue, header};
use martlet_base::{Clock, ConnectionId, Observer, Observers, Rng, TraceContext};
use martlet_resilience::{Breaker, BreakerBuilder, Hedge, RetryBudget, RetryPolicy, SharedWindow};
use martlet_store::Store;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// Builds a [`Client`]. Slots: the last value given wins, the order of the calls does not matter, and everything is checked
/// in [`build`](Self::build).
#[must_use = "a builder does nothing until build() is called"]
pub struct ClientBuilder {
    platform: Arc<dyn Platform>,
    transport: Option<Arc<dyn Transport>>,
    credentials: Arc<dyn CredentialSource>,
    authenticator: Option<Arc<dyn Authenticator>>,
    connection: ConnectionId,
    base_url: Option<String>,
    clock: Clock,
    rng: Rng,
    observers: Observers,
    user_agent: Option<String>,
    call_layers: Vec<Arc<dyn Layer>>,
    attempt_layers: Vec<Arc<dyn Layer>>,
    limits: Vec<LimitSpec>,
    breaker: Option<BreakerBuilder>,
    retry: RetryPolicy,
    budget: Option<RetryBudget>,
    total_timeout: Duration,
    attempt_timeout: Option<Duration>,
    max_body: usize,
    cache_bytes: u64,
    shared: Option<SharedState>,
    quota_journal: Option<Arc<dyn Store>>,
    hedge: Option<Hedge>,
    durable_keys: Option<(Arc<dyn Store>, Duration)>,
    quota_share: f64,
    headers_timeout: Option<Duration>,
    body_idle_timeout: Option<Duration>,
    shared_windows: Vec<(&'static str, SharedWindow)>,
    trace_context: Option<TraceContextFn>,
}

const BUILT_IN: [&str; 12] = [
    "trace_call",
    "deadline",
    "cache",
    "idempotency",
    "retry",
    "limits",
    "auth",
    "breaker",
    "classify",
    "trace_attempt",
    "attempt_timeout",
    "transport",
];

impl ClientBuilder {
    pub(super) fn new(platform: Arc<dyn Platform>) -> Self {
        Self {
            platform,
            transport: None,
            credentials: Arc::new(Credential::None),
            authenticator: None,
            connection: ConnectionId::default(),
            base_url: None,
            clock: Clock::system(),
            rng: Rng::system(),
            observers: Observers::none(),
            user_agent: None,
            call_layers: Vec::new(),
            attempt_layers: Vec::new(),
            limits: Vec::new(),
            breaker: None,
            retry: RetryPolicy::seed(),
            budget: None,
            total_timeout: Duration::from_secs(300),
            attempt_timeout: None,
            max_body: 64 << 20,
            cache_bytes: 16 << 20,
            shared: None,
            quota_journal: None,
            hedge: None,
            durable_keys: None,
            quota_share: 1.0,
            headers_timeout: None,
            body_idle_timeout: None,
            shared_windows: Vec::new(),
            trace_context: None,
        }
    }

    pub(super) fn elsewhere(core: &Core, platform: Arc<dyn Platform>) -> Self {
        Self {
            connection: core.connection.clone(),
            transport: Some(Arc::clone(&core.transport)),
            clock: core.clock.clone(),
            rng: core.rng.clone(),
            observers: core.observers.clone(),
            trace_context: core.trace_context.clone(),
            retry: core.retry.clone(),
            total_timeout: core.total_timeout,
            attempt_timeout: Some(core.attempt_timeout),
            max_body: core.max_body,
            ..Self::new(platform)
        }
    }

    /// What sends the attempts. Required.
    pub fn transport(self, transport: impl Transport + 'static) -> Self {
        self.shared_transport(Arc::new(transport))
    }

    /// What sends the attempts, shared with other clients: one connection pool for all.
    pub fn shared_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Where credentials come from: a [`Credential`], or a source of tokens that expire.
    pub fn credentials(mut self, source: impl CredentialSource) -> Self {
        self.credentials = Arc::new(source);
        self
    }

    /// How a credential is put onto a request; into its usual header unless said.
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// The account this client talks for; [`ConnectionId::default`] unless said.
    pub fn connection(mut self, connection: ConnectionId) -> Self {
        self.connection = connection;
        self
    }

    /// Another address than the platform's: a simulator, a proxy, a sandbox. Plain http is refused except on loopback.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The clock to live by; the system's unless said.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The randomness for jitter and keys; the system's unless said.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    /// Adds an observer of signals.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers = self.observers.with(observer);
        self
    }

    /// Asks `current` at the start of each call for the trace that it belongs to, so that [signals](martlet_base::CallIds) and the
    /// log name it: the present span's of the `tracing` or OpenTelemetry crates, say. It is asked only when somebody
    /// observes, and not for a call that has a header `traceparent` of its own: that one counts. Be quick.
    ///
    /// The platform is told nothing of it; a call's own header `traceparent` is sent like any other.
    ///
    /// ```
    /// # fn build(builder: martlet_core::ClientBuilder) -> martlet_core::ClientBuilder {
    /// use martlet_core::base::TraceContext;
    ///
    /// tokio::task_local! { static TRACE: TraceContext; }
    /// // With OpenTelemetry: the ids of `Context::current().span().span_context()`.
    /// builder.trace_context(|| TRACE.try_get().ok())
    /// # }
    /// ```
    pub fn trace_context(
        mut self,
        current: impl Fn() -> Option<TraceContext> + Send + Sync + 'static,
    ) -> Self {
        self.trace_context = Some(Arc::new(current));
        self
    }

    /// The name and version of the application, put before martlet's own in `User-Agent`: `acme-sync/1.4`.
    pub fn user_agent(mut self, application: impl Into<String>) -> Self {
        self.user_agent = Some(application.into());
        self
    }

    /// Adds a layer around the whole call, inside those added before.
    pub fn call_layer(mut self, layer: impl Layer) -> Self {
        self.call_layers.push(Arc::new(layer));
        self
    }

    /// Adds a layer around each attempt, inside those added before.
    pub fn attempt_layer(mut self, layer: impl Layer) -> Self {
        self.attempt_layers.push(Arc::new(layer));
        self
    }

    /// Another quota bucket than the platform's of that name: the limits of this account's plan.
    pub fn limit(mut self, limit: LimitSpec) -> Self {
        self.limits.retain(|known| known.bucket() != limit.bucket());
        self.limits.push(limit);
        self
    }

    /// Another circuit breaker than the default one.
    pub fn breaker(mut self, breaker: BreakerBuilder) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// How often to retry and how long to pause; [`RetryPolicy::seed`] unless said.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// What retries are paid from; the policy's budget, else [`RetryBudget::standard`], unless said. It belongs to what
    /// clients of one account [share](Self::shared), so that an outage of one account leaves the others their retries.
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// The time a whole call may take, waits and retries included; 300 s unless said.
    pub const fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// The time one attempt may take, from sending to the end of the body; the platform's unless said.
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// The largest answer that is read, in bytes; 64 MiB unless said.
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// How much the cache may hold, in bytes; 16 MiB unless said. With 0 nothing is kept.
    pub const fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Shares quota, breaker and credential with another client of the same account; this builder's own limits, breaker and
    /// credentials are then not used.
    pub fn shared(mut self, state: SharedState) -> Self {
        self.shared = Some(state);
        self
    }

    /// Remembers in `store` how full the quota windows are: the time of the last request is stored at most once a second,
    /// before the request leaves. After an unclean stop the windows of up to two minutes count as full until they have passed;
    /// after [`close`](crate::ApiClient::close) only what was taken counts.
    pub fn quota_journal(mut self, store: Arc<dyn Store>) -> Self {
        self.quota_journal = Some(store);
        self
    }

    /// Sends a second copy of a request that takes unusually long, where that can do no harm: operations that are
    /// [`Safe`](crate::Idempotency::Safe) or [`Keyed`](crate::Idempotency::Keyed). Copies are paid for from the retry budget
    /// and take places of the quota. Off unless said.
    pub fn hedge(mut self, hedge: Hedge) -> Self {
        self.hedge = Some(hedge);
        self
    }

    /// Writes the key of every [`Keyed`](crate::Idempotency::Keyed) call into `store` before its first byte leaves, and its
    /// answer afterwards: a call that is made again after a crash, under the same key, has no second effect. Only keys that
    /// can be found again are accepted, such as [`IdempotencyKey::derived`](crate::IdempotencyKey::derived).
    ///
    /// `valid_for` is how long the platform remembers a key (24 hours at Stripe). A call made again later is refused, because
    /// it would take effect a second time, unless it says
    /// [`allow_reexecution`](crate::Call::allow_reexecution).
    pub fn durable_keys(mut self, store: Arc<dyn Store>, valid_for: Duration) -> Self {
        self.durable_keys = Some((store, valid_for));
        self
    }

    /// The time from sending an attempt to the head of its answer, within the attempt's; no limit of its own unless said.
    pub const fn headers_timeout(mut self, timeout: Duration) -> Self {
        self.headers_timeout = Some(timeout);
        self
    }

    /// The longest time that an answer's body may stand still, within the attempt's; no limit of its own unless said.
    pub const fn body_idle_timeout(mut self, timeout: Duration) -> Self {
        self.body_idle_timeout = Some(timeout);
        self
    }

    /// Takes at most this share of every quota window, and leaves the rest to other programs; 1 unless said.
    pub const fn quota_share(mut self, share: f64) -> Self {
        self.quota_share = share;
        self
    }

    /// A window of `bucket` that several processes share, beside those of this process.
    pub fn shared_window(mut self, bucket: &'static str, window: SharedWindow) -> Self {
        self.shared_windows.push((bucket, window));
        self
    }

    /// Checks everything and builds the client. No I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that names the setting and what is wrong with it.
    pub fn build(self) -> Result<Client> {
        let descriptor = self.platform.descriptor();
        let named = |error: Error| error.with_operation(descriptor.id(), "client.build");
        let config = |message: String| named(Error::new(ErrorKind::Config, message));
        let transport = self.transport.clone().ok_or_else(|| config("no transport was given".into()))?;
        let base_url = match &self.base_url {
            None => descriptor.base_url().clone(),
            Some(url) => Url::parse(url).map_err(|e| config(format!("base_url is not a URL: {e}")))?,
        };
        check_base_url(&base_url).map_err(config)?;
        let attempt_timeout = self.attempt_timeout.unwrap_or_else(|| {
            // Only what was asked for can be contradictory: the platform's default bends to the total.
            descriptor.get_attempt_timeout().min(self.total_timeout)
        });
        let zero = |timeout: Option<Duration>| timeout.is_some_and(|t| t.is_zero());
        if zero(self.headers_timeout)
            || zero(self.body_idle_timeout)
            || attempt_timeout.is_zero()
            || self.total_timeout.is_zero()
        {
            return Err(config("a timeout of zero lets nothing through".into()));
        }
        if attempt_timeout > self.total_timeout {
            let (attempt, total) = (attempt_timeout, self.total_timeout);
            return Err(config(format!(
                "attempt_timeout ({attempt:?}) is longer than total_timeout ({total:?})"
            )));
        }
        if descriptor.reads_quota_in_vain() {
            let message = "the platform has quota_headers and no window to count them in: give it a limit() with a window";
            return Err(config(message.into()));
        }
        check_names(self.call_layers.iter().chain(&self.attempt_layers)).map_err(config)?;
        let shared = match self.shared {
            Some(shared) => shared,
            None => {
                if let Some(fixed) = self.credentials.fixed() {
                    fixed.header().map_err(named)?;
                }
                let mut limits: Vec<LimitSpec> = descriptor.limits().to_vec();
                for own in self.limits {
                    limits.retain(|known| known.bucket() != own.bucket());
                    limits.push(own);
                }
                let breaker = self.breaker.unwrap_or_else(|| {
                    Breaker::builder(descriptor.id()).call_timeout(attempt_timeout).rng(self.rng.stream(1))
                });
                let budget = self.budget.or_else(|| self.retry.budget().cloned());
                SharedState(Arc::new(Shared {
                    journal: self
                        .quota_journal
                        .map(|store| QuotaJournal::new(store, descriptor.id(), self.connection.as_str()))
                        .transpose()
                        .map_err(named)?,
                    limits: LimitsSlot::new(&limits, self.quota_share, &self.rng, self.shared_windows)
                        .map_err(|e| config(format!("limits: {e}")))?,
                    breaker: breaker.build().map_err(|e| config(format!("breaker: {e}")))?,
                    budget: budget.unwrap_or_else(RetryBudget::standard),
                    credentials: CredentialCache::new(self.credentials),
                }))
            }
        };
        let own_agent = concat!("martlet/", env!("CARGO_PKG_VERSION"));
        let agent = match &self.user_agent {
            Some(application) => format!("{application} {own_agent}"),
            None => own_agent.to_owned(),
        };
        let agent = HeaderValue::try_from(agent)
            .map_err(|_| config("user_agent has characters that a header cannot carry".into()))?;
        let mut headers = HeaderMap::with_capacity(descriptor.headers().len() + 4);
        headers.insert(header::USER_AGENT, agent);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in descriptor.headers() {
            // `extend` would add a second value.
            headers.insert(name, value.clone());
        }
        Ok(Client(Arc::new(Core {
            connection: self.connection,
            base_url,
            transport,
            authenticator: self.authenticator,
            clock: self.clock,
            observers: self.observers,
            ids: self.rng.stream(3),
            trace_context: self.trace_context,
            rng: self.rng,
            headers,
            call_layers: self.call_layers,
            attempt_layers: self.attempt_layers,
            cache: CacheSlot::new(self.cache_bytes),
            retry: self.retry,
            hedge: self.hedge,
            headers_timeout: self.headers_timeout,
            body_idle_timeout: self.body_idle_timeout,
            durable_keys: self.durable_keys.map(|(store, valid_for)| DurableKeys::new(store, valid_for)),
            total_timeout: self.total_timeout,
            attempt_timeout,
            max_body: self.max_body,
            shared,
            platform: self.platform,
        })))
    }
}

/// A credential must not travel in the clear, and the base must not swallow what calls add to it.
fn check_base_url(url: &Url) -> Result<(), String> {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err("base_url has no host".into()),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => {
            return Err(
                "base_url is plain http: credentials would travel in the clear (allowed on loopback only)"
                    .into(),
            );
        }
        other => return Err(format!("base_url has the scheme {other}, not https")),
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(
            "base_url holds user, password, query or fragment; give credentials with credentials()".into()
        );
    }
    Ok(())
}

fn check_names<'a>(layers: impl Iterator<Item = &'a Arc<dyn Layer>>) -> Result<(), String> {
    let mut seen: Vec<&str> = BUILT_IN.to_vec();
    for layer in layers {
        if seen.contains(&layer.name()) {
            return Err(format!("two layers are called {:?}", layer.name()));
        }
        seen.push(layer.name());
    }
    Ok(())
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |layers: &[Arc<dyn Layer>]| layers.iter().map(|layer| layer.name()).collect::<Vec<_>>();
        f.debug_struct("ClientBuilder")
            .field("platform", self.platform.descriptor().id())
            .field("connection", &self.connection)
            .field("total_timeout", &self.total_timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("retry", &self.retry.explain().lines().next().unwrap_or_default())
            .field("limits", &self.limits)
            .field("max_body", &self.max_body)
            .field("cache_bytes", &self.cache_bytes)
            .field("call_layers", &names(&self.call_layers))
            .field("attempt_layers", &names(&self.attempt_layers))
            .finish_non_exhaustive()
    }
}

/// Gives a connector's own builder all the methods of [`ClientBuilder`], forwarded to its field:
/// `martlet_core::forward_client_builder!(inner);` inside the `impl` block. With `inner, except base_url` the connector
/// writes that method itself, because its addresses need care.
#[macro_export]
macro_rules! forward_client_builder {
    ($inner:ident) => {
        $crate::forward_client_builder!($inner, except base_url);

        /// Another address than the platform's: a simulator, a proxy, a sandbox. Plain http is refused except on loopback.
        #[must_use]
        pub fn base_url(mut self, url: impl Into<String>) -> Self {
            self.$inner = self.$inner.base_url(url);
            self
        }
    };
    ($inner:ident, except base_url) => {
        /// What sends the attempts. Required.
        #[must_use]
        pub fn transport(mut self, transport: impl $crate::Transport + 'static) -> Self {
            self.$inner = self.$inner.transport(transport);
            self
        }

        /// What sends the attempts, shared with other clients: one connection pool for all.
        #[must_use]
        pub fn shared_transport(mut self, transport: std::sync::Arc<dyn $crate::Transport>) -> Self {
            self.$inner = self.$inner.shared_transport(transport);
            self
        }

        /// The account this client talks for.
        #[must_use]
        pub fn connection(mut self, connection: $crate::base::ConnectionId) -> Self {
            self.$inner = self.$inner.connection(connection);
            self
        }

        /// The clock to live by; the system's unless said.
        #[must_use]
        pub fn clock(mut self, clock: $crate::base::Clock) -> Self {
            self.$inner = self.$inner.clock(clock);
            self
        }

        /// The randomness for jitter and keys; the system's unless said.
        #[must_use]
        pub fn rng(mut self, rng: $crate::base::Rng) -> Self {
            self.$inner = self.$inner.rng(rng);
            self
        }

        /// Adds an observer of signals.
        #[must_use]
        pub fn observer(mut self, observer: std::sync::Arc<dyn $crate::base::Observer>) -> Self {
            self.$inner = self.$inner.observer(observer);
            self
        }

        /// Asks `current` at the start of each call for the trace that it belongs to, so that signals and the log name it. Only
        /// when somebody observes, and not for a call that has a header `traceparent` of its own.
        #[must_use]
        pub fn trace_context(
            mut self,
            current: impl Fn() -> Option<$crate::base::TraceContext> + Send + Sync + 'static,
        ) -> Self {
            self.$inner = self.$inner.trace_context(current);
            self
        }

        /// The name and version of the application, put before martlet's own in `User-Agent`.
        #[must_use]
        pub fn user_agent(mut self, application: impl Into<String>) -> Self {
            self.$inner = self.$inner.user_agent(application);
            self
        }

        /// Adds a layer around the whole call, inside those added before.
        #[must_use]
        pub fn call_layer(mut self, layer: impl $crate::Layer) -> Self {
            self.$inner = self.$inner.call_layer(layer);
            self
        }

        /// Adds a layer around each attempt, inside those added before.
        #[must_use]
        pub fn attempt_layer(mut self, layer: impl $crate::Layer) -> Self {
            self.$inner = self.$inner.attempt_layer(layer);
            self
        }

        /// Another quota bucket than the platform's of that name.
        #[must_use]
        pub fn limit(mut self, limit: $crate::LimitSpec) -> Self {
            self.$inner = self.$inner.limit(limit);
            self
        }

        /// Another circuit breaker than the default one.
        #[must_use]
        pub fn breaker(mut self, breaker: $crate::resilience::BreakerBuilder) -> Self {
            self.$inner = self.$inner.breaker(breaker);
            self
        }

        /// How often to retry and how long to pause.
        #[must_use]
        pub fn retry(mut self, policy: $crate::resilience::RetryPolicy) -> Self {
            self.$inner = self.$inner.retry(policy);
            self
        }

        /// What retries are paid from.
        #[must_use]
        pub fn retry_budget(mut self, budget: $crate::resilience::RetryBudget) -> Self {
            self.$inner = self.$inner.retry_budget(budget);
            self
        }

        /// Sends a second copy of a request that takes unusually long, where that can do no harm.
        #[must_use]
        pub fn hedge(mut self, hedge: $crate::resilience::Hedge) -> Self {
            self.$inner = self.$inner.hedge(hedge);
            self
        }

        /// Writes the key of every call that has one into `store` before its first byte leaves.
        #[must_use]
        pub fn durable_keys(
            mut self,
            store: std::sync::Arc<dyn $crate::store::Store>,
            valid_for: std::time::Duration,
        ) -> Self {
            self.$inner = self.$inner.durable_keys(store, valid_for);
            self
        }

        /// The time from sending an attempt to the head of its answer.
        #[must_use]
        pub fn headers_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.$inner = self.$inner.headers_timeout(timeout);
            self
        }

        /// The longest time that an answer's body may stand still.
        #[must_use]
        pub fn body_idle_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.$inner = self.$inner.body_idle_timeout(timeout);
            self
        }

        /// Takes at most this share of every quota window.
        #[must_use]
        pub fn quota_share(mut self, share: f64) -> Self {
            self.$inner = self.$inner.quota_share(share);
            self
        }

        /// A window of `bucket` that several processes share, beside those of this process.
        #[must_use]
        pub fn shared_window(mut self, bucket: &'static str, window: $crate::resilience::SharedWindow) -> Self {
            self.$inner = self.$inner.shared_window(bucket, window);
            self
        }

        /// The time a whole call may take, waits and retries included.
        #[must_use]
        pub fn total_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.$inner = self.$inner.total_timeout(timeout);
            self
        }

        /// The time one attempt may take, from sending to the end of the body.
        #[must_use]
        pub fn attempt_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.$inner = self.$inner.attempt_timeout(timeout);
            self
        }

        /// The largest answer that is read, in bytes.
        #[must_use]
        pub fn max_body(mut self, bytes: usize) -> Self {
            self.$inner = self.$inner.max_body(bytes);
            self
        }

        /// How much the cache may hold, in bytes.
        #[must_use]
        pub fn cache_bytes(mut self, bytes: u64) -> Self {
            self.$inner = self.$inner.cache_bytes(bytes);
            self
        }

        /// Remembers in `store` how full the quota windows are, so that a program that crashed and starts again breaks no quota.
        #[must_use]
        pub fn quota_journal(mut self, store: std::sync::Arc<dyn $crate::store::Store>) -> Self {
            self.$inner = self.$inner.quota_journal(store);
            self
        }

        /// Shares quota, breaker and credential with another client of the same account.
        #[must_use]
        pub fn shared(mut self, state: $crate::SharedState) -> Self {
            self.$inner = self.$inner.shared(state);
            self
        }
    };
}
