//! The connection: to a server, or to whichever node of a cluster has the slot of the store.

use crate::builder::Settings;
use crate::error::from_redis;
use martlet_store::StoreError;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};
use std::time::Duration;

#[derive(Clone)]
pub(crate) enum Conn {
    Server(ConnectionManager),
    #[cfg(feature = "cluster")]
    Cluster(cluster::ClusterConn),
}

impl Conn {
    pub(crate) async fn open(client: &redis::Client, settings: &Settings) -> Result<Self, StoreError> {
        let failed = |error: RedisError| from_redis("cannot connect", &error).not_applied();
        #[cfg(feature = "cluster")]
        if let Some(more) = &settings.cluster {
            let nodes = std::iter::once(&settings.url).chain(more).cloned();
            let builder = redis::cluster::ClusterClient::builder(nodes)
                .connection_timeout(settings.timeout)
                .response_timeout(settings.timeout)
                // A write that was sent may have been done: only what was refused is tried again, below.
                .retries(0);
            let client = builder.build().map_err(|error| crate::error::invalid_url(&error))?;
            let conn = client.get_async_connection().await.map_err(failed)?;
            return Ok(Self::Cluster(cluster::ClusterConn::new(conn, &settings.prefix)));
        }
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(3)
            .set_max_delay(Duration::from_secs(1))
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout));
        ConnectionManager::new_with_config(client.clone(), config).await.map(Self::Server).map_err(failed)
    }
}

impl ConnectionLike for Conn {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(conn) => conn.req_packed_command(cmd),
            #[cfg(feature = "cluster")]
            Self::Cluster(conn) => Box::pin(conn.command(cmd)),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipe: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(conn) => conn.req_packed_commands(pipe, offset, count),
            #[cfg(feature = "cluster")]
            Self::Cluster(conn) => Box::pin(conn.pipeline(pipe, offset, count)),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(conn) => conn.get_db(),
            // A cluster has only that one.
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => 0,
        }
    }
}

#[cfg(feature = "cluster")]
mod cluster {
    use martlet_base::Clock;
    use redis::cluster_async::ClusterConnection;
    use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
    use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
    use std::time::Duration;

    /// How often what was refused is tried again, and how long to wait before: a slot has moved, or is moving.
    const TRIES: usize = 40;
    const PAUSE: Duration = Duration::from_millis(50);

    #[derive(Clone)]
    pub(crate) struct ClusterConn {
        conn: ClusterConnection,
        tag: String,
        /// Everything goes where the store is, what names no key too: the time is that server's.
        to: SingleNodeRoutingInfo,
    }

    impl ClusterConn {
        pub(super) fn new(conn: ClusterConnection, prefix: &str) -> Self {
            let to =
                SingleNodeRoutingInfo::SpecificNode(Route::new(slot(prefix.as_bytes()), SlotAddr::Master));
            Self { conn, tag: format!("{{{prefix}}}"), to }
        }

        pub(super) async fn command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
            for _ in 1..TRIES {
                let to = RoutingInfo::SingleNode(self.to.clone());
                match self.conn.route_command(cmd.clone(), to).await {
                    Err(error) if is_elsewhere(&error) => Clock::system().sleep(PAUSE).await,
                    other => return other,
                }
            }
            self.conn.route_command(cmd.clone(), RoutingInfo::SingleNode(self.to.clone())).await
        }

        pub(super) async fn pipeline(
            &mut self,
            pipe: &Pipeline,
            offset: usize,
            count: usize,
        ) -> RedisResult<Vec<Value>> {
            for _ in 1..TRIES {
                match self.conn.route_pipeline(pipe.clone(), offset, count, self.to.clone()).await {
                    Err(error) if is_elsewhere(&error) => {
                        Clock::system().sleep(PAUSE).await;
                        // The client learns where a slot went from the answer to a single command, and not from a
                        // transaction.
                        let mut probe = redis::cmd("EXISTS");
                        probe.arg(&self.tag);
                        let to = RoutingInfo::SingleNode(self.to.clone());
                        let _ = self.conn.route_command(probe, to).await;
                    }
                    other => return other,
                }
            }
            self.conn.route_pipeline(pipe.clone(), offset, count, self.to.clone()).await
        }
    }

    /// Whether a node refused it because it does not have the slot, or no node has it just now. Nothing was done.
    fn is_elsewhere(error: &RedisError) -> bool {
        use ServerErrorKind::{Ask, ClusterDown, ExecAbort, MasterDown, Moved, ReadOnly, TryAgain};
        match error.kind() {
            ErrorKind::Server(Moved | Ask | TryAgain | ClusterDown | MasterDown | ReadOnly | ExecAbort) => {
                true
            }
            kind => kind == ErrorKind::ClusterConnectionNotFound,
        }
    }

    /// The slot of a hash tag: CRC-16/XMODEM, modulo the number of slots (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).
    fn slot(tag: &[u8]) -> u16 {
        let step = |crc: u16, byte: &u8| {
            (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ (0x1021 * (crc >> 15)))
        };
        tag.iter().fold(0, step) % 16_384
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn slots_are_those_of_the_specification() {
            // `CLUSTER KEYSLOT` of Redis 7.0.15; the first is the check value of the specification, 0x31c3.
            for (tag, expected) in [("123456789", 12_739), ("martlet", 14_063), ("a", 15_495), ("é", 10_180)]
            {
                assert_eq!(slot(tag.as_bytes()), expected, "{tag}");
            }
        }
    }
}
