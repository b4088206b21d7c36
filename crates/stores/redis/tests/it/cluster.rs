//! What a cluster does to a store: its slot goes to another node, in order and by the end of the one that had it.

use crate::own::{Server, is_installed};
use martlet_base::{Clock, Fault};
use martlet_redis::{RedisBuilder, RedisStore};
use martlet_store::{LogId, Message, Outcome, QueueName, Store, StoreErrorKind, WriteBatch};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Three nodes, and a replica of each.
struct Cluster(Vec<Server>);

impl Cluster {
    async fn start() -> Option<Self> {
        if !is_installed() {
            crate::skip("the tests of clusters need redis-server");
            return None;
        }
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let mut node = Server::node();
            node.start().await;
            nodes.push(node);
        }
        let status = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())))
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let cluster = Self(nodes);
        for node in &cluster.0 {
            wait_until(async || ask(&node.url(), &["CLUSTER", "INFO"]).await.contains("cluster_state:ok"))
                .await;
        }
        // Each replica has what its primary has.
        let all_are_up = async || {
            let mut up = 0;
            for node in &cluster.0 {
                let words = ask(&node.url(), &["INFO", "replication"]).await;
                up += usize::from(words.contains("state=online") || words.contains("master_link_status:up"));
            }
            up == cluster.0.len()
        };
        wait_until(all_are_up).await;
        Some(cluster)
    }

    fn store(&self, prefix: &str) -> RedisBuilder {
        RedisStore::builder(&self.0[0].url())
            .cluster(self.0[1..].iter().map(Server::url))
            .prefix(prefix)
            .timeout(Duration::from_secs(2))
    }

    /// The indexes of the node that has the slot of this store, and of its replica, when they agree about it.
    async fn owner(&self, prefix: &str) -> (usize, usize) {
        for _ in 0..200 {
            if let Some(found) = self.look_for_owner(prefix).await {
                return found;
            }
            Clock::system().sleep(Duration::from_millis(50)).await;
        }
        panic!("no node has the slot and a replica");
    }

    async fn look_for_owner(&self, prefix: &str) -> Option<(usize, usize)> {
        let key = format!("{{{prefix}}}:numbers");
        for (index, node) in self.0.iter().enumerate() {
            let client = redis::Client::open(node.url()).unwrap();
            let mut conn = client.get_multiplexed_async_connection().await.unwrap();
            if redis::cmd("EXISTS").arg(&key).query_async::<i64>(&mut conn).await.is_ok() {
                let id = ask(&node.url(), &["CLUSTER", "MYID"]).await;
                let replicas: Vec<String> =
                    redis::cmd("CLUSTER").arg("REPLICAS").arg(id).query_async(&mut conn).await.unwrap();
                let port = |node: &Server| format!(":{}@", node.port());
                let replica = self
                    .0
                    .iter()
                    .position(|node| replicas.first().is_some_and(|first| first.contains(&port(node))));
                return Some((index, replica?));
            }
        }
        None
    }
}

async fn ask(url: &str, words: &[&str]) -> String {
    let client = redis::Client::open(url).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let mut cmd = redis::cmd(words[0]);
    cmd.arg(&words[1..]);
    cmd.query_async(&mut conn).await.unwrap()
}

async fn wait_until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        Clock::system().sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain");
}

fn log() -> LogId {
    LogId::new("kind", "1").unwrap()
}

/// Appends a number until `end`, and returns those that were acknowledged with their places, and how often the store was away.
async fn append_until(store: &RedisStore, mut end: impl AsyncFnMut() -> bool) -> (Vec<(u64, String)>, usize) {
    let (mut told, mut away) = (Vec::new(), 0);
    for n in 0.. {
        if end().await {
            break;
        }
        let record = n.to_string();
        match store.commit(WriteBatch::new().append(log(), None, record.clone())).await {
            Ok(committed) => match committed.outcome(0) {
                Outcome::Appended(place) => told.push((place, record)),
                other => panic!("{other:?}"),
            },
            Err(error) => {
                assert_eq!(
                    error.kind(),
                    StoreErrorKind::Unavailable,
                    "{error} {}",
                    error.delivery().as_str()
                );
                away += 1;
            }
        }
    }
    (told, away)
}

/// What was acknowledged is there, in its place, and nothing is missing before it.
async fn check(store: &RedisStore, told: &[(u64, String)]) {
    let records = store.read_log(&log(), 1, 1 << 20).await.unwrap();
    assert!(records.iter().map(|record| record.sequence).eq(1..=records.len() as u64), "a gap");
    for (place, record) in told {
        let found = records.get(*place as usize - 1).map(|found| &found.body[..]);
        assert_eq!(found, Some(record.as_bytes()), "at the place {place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_follows_its_slot_to_another_node() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let prefix = crate::prefix("slot");

    // In order: the replica takes over when it has everything.
    let store = cluster.store(&prefix).open().await.unwrap();
    let (owner, replica) = cluster.owner(&prefix).await;
    let replica_url = cluster.0[replica].url();
    let mut steps = 0_u32;
    let end = async || {
        steps += 1;
        if steps == 20 {
            assert_eq!(ask(&replica_url, &["CLUSTER", "FAILOVER"]).await, "OK");
        }
        steps > 20
            && steps.is_multiple_of(20)
            && ask(&replica_url, &["INFO", "replication"]).await.contains("role:master")
    };
    let (told, away) = append_until(&store, end).await;
    assert_eq!(away, 0, "the store was away when its slot moved in order");
    check(&store, &told).await;
    assert_eq!(cluster.owner(&prefix).await, (replica, owner));
    store.close().await;

    // By force: the node that has it now is killed. Its only replica had acknowledged each commit.
    let store = cluster.store(&prefix).replicas(1, Duration::from_secs(5)).open().await.unwrap();
    let (owner_url, mut steps) = (cluster.0[owner].url(), 0);
    let victim = &mut cluster.0[replica];
    let end = async || {
        steps += 1;
        if steps == 20 {
            victim.kill();
        }
        steps > 20 && ask(&owner_url, &["INFO", "replication"]).await.contains("role:master")
    };
    let (told, away) = append_until(&store, end).await;
    assert!(told.len() >= 19 && away > 0, "{} commits, {away} times away", told.len());
    store.close().await;
    let store = cluster.store(&prefix).open().await.unwrap();
    check(&store, &told).await;
    let _ = store.commit(WriteBatch::new().append(log(), None, "at the end")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_too_few_replicas_have_is_not_acknowledged() {
    let Some(mut server) = Server::new(&[]) else {
        return crate::skip("the tests of replicas need redis-server");
    };
    server.start().await;
    let open = async |timeout| {
        RedisStore::builder(&server.url()).replicas(1, timeout).open().await.expect("it is there")
    };
    let (store, queue) = (open(Duration::from_millis(100)).await, QueueName::new("q").unwrap());
    let errors = [
        store.commit(WriteBatch::new().append(log(), None, "1")).await.unwrap_err(),
        store.commit(WriteBatch::new().enqueue(queue.clone(), Message::new("m"))).await.unwrap_err(),
        store.receive(&queue, 1, Duration::from_secs(60)).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(
            (error.kind(), error.delivery().as_str()),
            (StoreErrorKind::Unavailable, "unknown"),
            "{error}"
        );
    }
    let port = server.port().to_string();
    let mut replica = Server::new(&["--replicaof", "127.0.0.1", &port]).unwrap();
    replica.start().await;
    wait_until(async || ask(&server.url(), &["INFO", "replication"]).await.contains("state=online")).await;
    let store = open(Duration::from_secs(9)).await;
    let committed = store.commit(WriteBatch::new().append(log(), None, "2")).await.unwrap();
    assert_eq!(committed.outcome(0), Outcome::Appended(2), "the first was applied all the same");
}
