//! Eight processes on one server; they, it and its machine end at random under load.

use crate::own::Server;
use martlet_base::Clock;
use martlet_redis::RedisStore;
use martlet_store::conformance::crash::{Crew, again, kills, orders, say, work};
use martlet_store::{CellKey, Expect, LogId, Message, QueueName, Store, WriteBatch};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

const PROCESSES: usize = 8;

async fn open(url: &str) -> RedisStore {
    loop {
        // The server may be down just now.
        match RedisStore::builder(url).timeout(Duration::from_secs(3)).open().await {
            Ok(store) => return store,
            Err(_) => Clock::system().sleep(Duration::from_millis(50)).await,
        }
    }
}

/// In the parent's run this does nothing: the test below starts it in processes of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_does() {
    let Some((url, name)) = orders() else { return };
    work(Arc::new(open(&url).await), &name, say).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_appendfsync_always_no_promise_is_broken() {
    let Some(mut server) = Server::durable("always") else {
        return crate::skip("the crash tests need redis-server and a C compiler");
    };
    server.start().await;
    let url = server.url();
    let mut crew = Crew::start(PROCESSES, |n| again("crash::what_a_process_does", &url, n));
    let (mut clients, mut servers, mut machines, wanted) = (0, 0, 0, kills());
    while clients + servers + machines < wanted {
        for _ in 0..2 {
            clients += crew.kill_some();
            crew.listen(20);
            server.kill();
            servers += 1;
            server.start().await;
            clients += crew.kill_some();
            crew.listen(20);
            server.cut_power();
            machines += 1;
            server.start().await;
        }
        crew.stop();
        server.nobody_is_left().await;
        let store = open(&url).await;
        crew.witness.check(&store).await;
        store.close().await;
        if clients + servers + machines < wanted {
            crew.go_on(PROCESSES);
        }
    }
    let heard = crew.witness.heard();
    let words = format!(
        "{clients} clients and {servers} servers killed, power cut {machines} times, {heard} promises kept"
    );
    writeln!(std::io::stderr(), "{words}").unwrap();
    assert!(heard > 10 * wanted);
}

/// With `everysec`, a killed server loses what it had not handed to the kernel while the disk was busy, and a power cut what was not synced: the last moments,
/// each batch as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_appendfsync_everysec_the_last_moments_are_lost_as_whole_batches() {
    const ROUNDS: usize = 4;
    // Redis syncs once a second, and puts a write off for up to two while a sync is under way.
    const AT_MOST: Duration = Duration::from_secs(3);
    let (log, queue) = (LogId::new("run", "1").unwrap(), QueueName::new("q").unwrap());
    let clock = Clock::system();
    let rng = martlet_base::Rng::system();
    for round in 0..ROUNDS {
        let Some(mut server) = Server::durable("everysec") else {
            return crate::skip("the crash tests need redis-server and a C compiler");
        };
        server.start().await;
        let store = open(&server.url()).await;
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let (store, clock, log, queue) = (store.clone(), clock.clone(), log.clone(), queue.clone());
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    for n in 0.. {
                        let name = format!("{task}/{n}");
                        let batch = WriteBatch::new()
                            .put(CellKey::new(&name).unwrap(), Expect::Absent, "v")
                            .append(log.clone(), None, name.clone())
                            .enqueue(queue.clone(), Message::new(name.clone()));
                        let Ok(_) = store.commit(batch).await else { break };
                        told.push((name, clock.now()));
                    }
                    told
                })
            })
            .collect();
        clock.sleep(Duration::from_millis(1_200 + rng.below(1_500))).await;
        let cut = clock.now();
        let bytes = if round % 2 == 0 { server.cut_power() } else { server.kill() };
        store.close().await;
        let mut told = Vec::new();
        for task in tasks {
            told.extend(task.await.unwrap());
        }
        server.start().await;
        let store = open(&server.url()).await;
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        let records: BTreeSet<String> = store
            .read_log(&log, 1, usize::MAX)
            .await
            .unwrap()
            .iter()
            .map(|record| text(&record.body))
            .collect();
        let cells: BTreeSet<String> =
            store.scan("", None, 1 << 20).await.unwrap().iter().map(|(key, _)| key.to_string()).collect();
        let messages: BTreeSet<String> = store
            .peek(&queue, None, None, 1 << 20)
            .await
            .unwrap()
            .iter()
            .map(|item| text(&item.message.body))
            .collect();
        assert!(records == cells && cells == messages, "half of a batch");
        let lost: Vec<_> = told.iter().filter(|(name, _)| !cells.contains(name)).collect();
        let since = lost.iter().map(|(_, at)| cut.since(*at)).max().unwrap_or_default();
        let what = if round % 2 == 0 { "power cut" } else { "SIGKILL" };
        let words = format!(
            "everysec, {what}: {} of {} acknowledged commits lost ({bytes} bytes), those of the last {since:?}",
            lost.len(),
            told.len()
        );
        writeln!(std::io::stderr(), "{words}").unwrap();
        assert!(since <= AT_MOST, "{words}");
        store.close().await;
    }
}
