use crate::RedisStore;
use martlet_base::Clock;
use martlet_store::{StoreError, StoreErrorKind};
use std::fmt;
use std::time::Duration;

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) replicas: Option<(usize, Duration)>,
    pub(crate) clock: Option<Clock>,
    /// Other nodes of the cluster.
    #[cfg(feature = "cluster")]
    pub(crate) cluster: Option<Vec<String>>,
}

/// How to open a [`RedisStore`]. Made by [`RedisStore::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is opened"]
pub struct RedisBuilder(Settings);

impl fmt::Debug for RedisBuilder {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

impl RedisBuilder {
    pub(crate) fn new(url: &str) -> Self {
        Self(Settings {
            url: url.to_owned(),
            prefix: "martlet".to_owned(),
            timeout: Duration::from_secs(10),
            replicas: None,
            clock: None,
            #[cfg(feature = "cluster")]
            cluster: None,
        })
    }

    /// What all keys begin with, in braces; `martlet` unless said otherwise. In a cluster it decides which node has the store: all of a
    /// store lies in one slot, so spread load by several stores. 1 to 64 bytes without braces and control characters.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.prefix = prefix.into();
        self
    }

    /// How long to wait for a connection or an answer; 10 s unless said otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }

    /// Waits after each group of commits until so many replicas have it (`WAIT`), `timeout` at most; after that the commits of the
    /// group fail with [`Unavailable`](StoreErrorKind::Unavailable) and an unknown fate. Narrows what a fail-over can lose; Redis
    /// does not promise that the replica that takes over is one of those.
    pub fn replicas(mut self, count: usize, timeout: Duration) -> Self {
        self.0.replicas = Some((count, timeout));
        self
    }

    /// Speaks to a cluster, of which the URL names one node and `more` (URLs too) others to begin with when that one is away. The rest is asked of them.
    /// All of the store lies on the node that has the slot of its [prefix](Self::prefix); when the slot moves, or the node's replica
    /// takes over, calls wait for up to two seconds for the new one, and then fail with [`Unavailable`](StoreErrorKind::Unavailable).
    #[cfg(feature = "cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cluster")))]
    pub fn cluster<S: Into<String>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.0.cluster = Some(more.into_iter().map(Into::into).collect());
        self
    }

    /// Lives by a simulated clock instead of the server's time. For tests: in production processes must agree on the time,
    /// and the server's is one for all.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.0.clock = Some(clock);
        self
    }

    /// Connects and starts the tasks of the store in the present tokio runtime. Other runtimes may use the
    /// store as long as this one runs: while it stands still (a `current_thread` runtime outside of `block_on`) they wait, and once it is
    /// gone calls fail with [`Unavailable`](martlet_store::StoreErrorKind::Unavailable).
    ///
    /// # Errors
    /// [`Invalid`](StoreErrorKind::Invalid): the URL or the prefix makes no sense.
    /// [`Unavailable`](StoreErrorKind::Unavailable): the server cannot be reached.
    /// [`Unsupported`](StoreErrorKind::Unsupported): it evicts keys when its memory is full, which loses state: set
    /// `maxmemory-policy noeviction`.
    pub async fn open(self) -> Result<RedisStore, StoreError> {
        let prefix = &self.0.prefix;
        let bad = |letter: char| letter.is_control() || matches!(letter, '{' | '}');
        if prefix.is_empty() || prefix.len() > 64 || prefix.chars().any(bad) {
            let detail = "a prefix has 1 to 64 bytes without braces and control characters";
            return Err(StoreError::new(StoreErrorKind::Invalid, detail));
        }
        RedisStore::start(self.0).await
    }
}
