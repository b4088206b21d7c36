use crate::PostgresStore;
use martlet_base::Clock;
use martlet_store::{StoreError, StoreErrorKind};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use crate::listen::Connect;

/// How to reach the server: erases the type of the TLS connector.
pub(crate) trait Connector: Send + Sync {
    fn manager(&self, config: Config) -> deadpool_postgres::Manager;
    fn listener(&self, config: Config) -> Arc<dyn Connect>;
}

struct With<T>(T);

impl<T> Connector for With<T>
where
    T: tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket> + Clone + Sync + Send + 'static,
    T::Stream: Sync + Send,
    T::TlsConnect: Sync + Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<tokio_postgres::Socket>>::Future: Send,
{
    fn manager(&self, config: Config) -> deadpool_postgres::Manager {
        let recycling =
            deadpool_postgres::ManagerConfig { recycling_method: deadpool_postgres::RecyclingMethod::Fast };
        deadpool_postgres::Manager::from_config(config, self.0.clone(), recycling)
    }

    fn listener(&self, config: Config) -> Arc<dyn Connect> {
        Arc::new(crate::listen::Tls(config, self.0.clone()))
    }
}

/// What each session is told, whatever the role's defaults are.
///
/// Each statement of this crate looks rows up in an index made for it. On a table that grew since it was last analysed the
/// planner may believe that it is small, and read and sort all of it for each receive. A session behind a pooler is not ours to
/// change: there autovacuum's statistics have to do.
///
/// Statements that stand alone are made for READ COMMITTED: above it, whoever receives would fail whenever somebody else was quicker.
const SESSION: &str = "-c default_transaction_isolation=read\\ committed -c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c enable_hashjoin=off \
                     -c enable_mergejoin=off -c jit=off";

/// How long to wait for hosts that do not answer, where the URL says nothing about it: the next host gets its turn within `wait`, and a
/// machine that is gone without a word is given up after a minute, not after the system's two hours.
fn patience(config: &mut Config, wait: Duration) {
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(wait / u32::try_from(hosts + 1).unwrap_or(u32::MAX));
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(Duration::from_secs(30));
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(Duration::from_secs(10));
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(Duration::from_secs(60));
    }
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) schema: String,
    pub(crate) connections: usize,
    pub(crate) wait: Duration,
    pub(crate) pooler: bool,
    pub(crate) listen: Option<Config>,
    pub(crate) clock: Option<Clock>,
}

/// How to open a [`PostgresStore`]. Made by [`PostgresStore::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is opened"]
pub struct PostgresBuilder {
    settings: Settings,
    invalid: Option<String>,
}

impl fmt::Debug for PostgresBuilder {
    /// Without the configuration, which holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBuilder")
            .field("schema", &self.settings.schema)
            .field("connections", &self.settings.connections)
            .field("pooler", &self.settings.pooler)
            .finish_non_exhaustive()
    }
}

impl PostgresBuilder {
    pub(crate) fn new(url: &str) -> Self {
        let (config, invalid) = match url.parse::<Config>() {
            Ok(config) => (config, None),
            // Without its cause, which may quote a piece of a password that was not escaped.
            Err(error) => (Config::new(), Some(format!("the URL of the database: {error}"))),
        };
        Self { invalid, ..Self::from_config(config) }
    }

    pub(crate) fn from_config(config: Config) -> Self {
        let settings = Settings {
            config,
            connector: Arc::new(With(NoTls)),
            schema: "martlet".to_owned(),
            connections: 8,
            wait: Duration::from_secs(10),
            pooler: false,
            listen: None,
            clock: None,
        };
        Self { settings, invalid: None }
    }

    /// The schema that holds the tables; `martlet` unless said otherwise. It is created when it is missing. Stores with
    /// different schemas know nothing of each other.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.settings.schema = name.into();
        self
    }

    /// How many connections at most, one for listening apart; 8 unless said otherwise, at least 2.
    pub fn connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections.max(2);
        self
    }

    /// How long to wait for a connection; 10 s unless said otherwise. Then calls fail with
    /// [`Unavailable`](StoreErrorKind::Unavailable), and nothing was done. With several hosts in the URL each has its share of it, unless
    /// `connect_timeout` says otherwise.
    pub fn wait(mut self, timeout: Duration) -> Self {
        self.settings.wait = timeout;
        self
    }

    /// For a pooler in transaction mode, such as PgBouncer: statements are not prepared, and nothing rests on the session.
    /// A pooler does not pass notifications on, so whoever waits for a message looks again every quarter of a second, unless
    /// [`listen_directly`](Self::listen_directly) gives a way around it.
    pub fn pooler(mut self) -> Self {
        self.settings.pooler = true;
        self
    }

    /// Where to listen for notifications, when the database is otherwise reached through a [pooler](Self::pooler): one connection
    /// past it.
    pub fn listen_directly(mut self, config: Config) -> Self {
        self.settings.listen = Some(config);
        self
    }

    /// Lives by a simulated clock instead of the server's time. For tests: in production processes must agree on the time,
    /// and the server's is one for all.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = Some(clock);
        self
    }

    /// Encrypts connections with rustls, and insists on it (`sslmode=require`): the certificate is checked as `config` says, the name in it too.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn tls(mut self, config: rustls::ClientConfig) -> Self {
        self.settings.config.ssl_mode(SslMode::Require);
        self.settings.connector = Arc::new(With(tokio_postgres_rustls::MakeRustlsConnect::new(config)));
        self
    }

    /// Connects, creates or upgrades the tables, and starts the tasks of the store in the present tokio runtime. Other runtimes may use the
    /// store as long as this one runs: while it stands still (a `current_thread` runtime outside of `block_on`) they wait, and once it is
    /// gone commits fail with [`Unavailable`](martlet_store::StoreErrorKind::Unavailable).
    ///
    /// # Errors
    /// [`Invalid`](StoreErrorKind::Invalid): the URL or the name of the schema makes no sense.
    /// [`Unavailable`](StoreErrorKind::Unavailable): the server cannot be reached. [`NotFound`](StoreErrorKind::NotFound):
    /// there is no such database. [`Incompatible`](StoreErrorKind::Incompatible): a newer martlet was here.
    /// [`Unsupported`](StoreErrorKind::Unsupported): the database is not in UTF-8.
    pub async fn open(self) -> Result<PostgresStore, StoreError> {
        let Self { mut settings, invalid } = self;
        if let Some(words) = invalid {
            return Err(StoreError::new(StoreErrorKind::Invalid, words));
        }
        let name = &settings.schema;
        if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
            let detail = "a schema has a name of 1 to 63 bytes without control characters";
            return Err(StoreError::new(StoreErrorKind::Invalid, detail));
        }
        let wants_tls = settings.config.get_ssl_mode() == SslMode::Require;
        if wants_tls && !cfg!(feature = "rustls") {
            let detail = "sslmode=require needs the feature `rustls` and `PostgresBuilder::tls`";
            return Err(StoreError::new(StoreErrorKind::Invalid, detail));
        }
        for config in [Some(&mut settings.config), settings.listen.as_mut()].into_iter().flatten() {
            patience(config, settings.wait);
        }
        if settings.config.get_application_name().is_none() {
            settings.config.application_name("martlet");
        }
        if !settings.pooler {
            let given = settings.config.get_options().unwrap_or_default();
            let options = format!("{given} {SESSION}");
            settings.config.options(options.trim());
        }
        PostgresStore::start(settings).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_does_not_answer_leaves_time_for_the_next() {
        let mut config: Config = "postgres://a,b,c/x".parse().unwrap();
        patience(&mut config, Duration::from_secs(8));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(2)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(30));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(60)));
    }

    #[test]
    fn what_the_url_says_stands() {
        let url = "postgres://a/x?connect_timeout=7&keepalives_idle=90&keepalives_interval=5&keepalives_retries=9&tcp_user_timeout=8";
        let given: Config = url.parse().unwrap();
        let mut config = given.clone();
        patience(&mut config, Duration::from_secs(8));
        assert_eq!(config, given);
    }
}
