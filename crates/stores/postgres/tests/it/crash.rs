//! Eight processes on one server with everything on that makes it safe; they, and it, are killed at random under load.

use crate::cluster::Cluster;
use martlet_base::Clock;
use martlet_postgres::PostgresStore;
use martlet_store::Store;
use martlet_store::conformance::crash::{Crew, kills, work};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const URL: &str = "MARTLET_POSTGRES_CRASH_URL";
const NAME: &str = "MARTLET_POSTGRES_CRASH_NAME";
const PROCESSES: usize = 8;

/// In the parent's run this does nothing: the test below starts it in processes of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_does() {
    let (Ok(url), Ok(name)) = (std::env::var(URL), std::env::var(NAME)) else { return };
    let real = Clock::system();
    let store = loop {
        // The server may be down just now.
        match PostgresStore::builder(&url).connections(4).wait(Duration::from_secs(3)).open().await {
            Ok(store) => break store,
            Err(_) => real.sleep(Duration::from_millis(50)).await,
        }
    };
    work(Arc::new(store), &name, |line| {
        let mut out = std::io::stdout().lock();
        if writeln!(out, "witness: {line} .").is_err() {
            std::process::exit(1);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_and_servers_break_no_promise() {
    let Some(mut cluster) = Cluster::new() else {
        return crate::skip("the crash test needs PostgreSQL's programs in /usr/lib/postgresql");
    };
    cluster.start().await;
    PostgresStore::open(&cluster.url()).await.unwrap().close().await;
    let url = cluster.url();
    let spawn = move |n: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::what_a_process_does", "--nocapture", "--test-threads=1"])
            .env(URL, &url)
            .env(NAME, format!("p{n}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut crew = Crew::start(PROCESSES, spawn);
    let (mut clients, mut servers, wanted) = (0, 0, kills());
    while clients + servers < wanted {
        for _ in 0..4 {
            clients += crew.kill_some();
            crew.listen(20);
            cluster.signal("-KILL");
            servers += 1;
            cluster.start().await;
        }
        crew.stop();
        cluster.nobody_is_left().await;
        let store = PostgresStore::open(&cluster.url()).await.unwrap();
        crew.witness.check(&store as &dyn Store).await;
        store.close().await;
        if clients + servers < wanted {
            crew.go_on(PROCESSES);
        }
    }
    let heard = crew.witness.heard();
    writeln!(std::io::stderr(), "{clients} clients and {servers} servers killed, {heard} promises kept")
        .unwrap();
    assert!(heard > 10 * wanted);
    drop(crew);
    assert!(Path::new(&cluster.data()).is_dir());
}
