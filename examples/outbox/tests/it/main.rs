//! Processes of this program that are killed and started again: each order has its effect once all the same. The program
//! looks at that itself before it ends.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use martlet_base::{Clock, Rng};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 8;

fn start(place: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_martlet-example-outbox"))
        .arg(place)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(process: Child) {
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Two processes share the place in each round.
async fn kill_and_go_on(place: &str) {
    let (clock, rng) = (Clock::system(), Rng::system());
    let mut killed = 0;
    for _ in 0..ROUNDS {
        let processes = [start(place), start(place)];
        clock.sleep(Duration::from_millis(rng.below(200))).await;
        for mut process in processes {
            if process.try_wait().unwrap().is_some() {
                end(process);
            } else {
                process.kill().unwrap();
                process.wait().unwrap();
                killed += 1;
            }
        }
    }
    assert!(killed >= ROUNDS, "only {killed} were killed");
    for process in [start(place), start(place)] {
        end(process);
    }
}

#[tokio::test]
async fn on_a_file_killed_processes_lose_and_repeat_nothing() {
    let folder = tempfile::tempdir().unwrap();
    kill_and_go_on(folder.path().join("shop.db").to_str().unwrap()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn on_postgres_killed_processes_lose_and_repeat_nothing() {
    use martlet_postgres::tokio_postgres::{NoTls, connect};
    use std::io::Write;

    let url = std::env::var("MARTLET_TEST_POSTGRES_URL").unwrap_or_default();
    if url.is_empty() {
        let line = "SKIPPED the outbox on PostgreSQL: MARTLET_TEST_POSTGRES_URL is not set (`cargo xtask test` starts a server)\n";
        return std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    // The example keeps to the usual schemas, so it gets a database of its own.
    let (client, connection) = connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let name = format!("outbox_{:016x}", Rng::system().next_u64());
    client
        .batch_execute(&format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))
        .await
        .unwrap();
    let more = if url.contains('?') { '&' } else { '?' };
    kill_and_go_on(&format!("{url}{more}dbname={name}")).await;
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}
