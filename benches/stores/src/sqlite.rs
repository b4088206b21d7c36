//! SQLite: ours, one commit per row, and a group commit by hand.

use crate::{BODY, Outcome, Stopwatch, millis};
use martlet_sqlite::SqliteStore;
use martlet_sqlite::rusqlite::{Connection, params};
use martlet_store::{Message, QueueName, Store, WriteBatch};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

pub(crate) async fn run(folder: &Path, seconds: u64) -> Outcome {
    println!("\nSQLite, synchronous=FULL, messages of {BODY} bytes");
    let single = one_per_row(&folder.join("single.db"), seconds)?;
    println!("  one commit per row, by hand                {single:>9.0} /s");
    for writers in [1, 16, 64, 256] {
        let ours = ours(&folder.join(format!("ours-{writers}.db")), writers, seconds).await?;
        let hand = by_hand(&folder.join(format!("hand-{writers}.db")), writers, seconds).await?;
        println!(
            "  enqueue, {writers:>3} writers                       {ours:>9.0} /s   {:>5.1} x one per row; group commit by hand {hand:.0} /s: {:.2}",
            ours / single,
            ours / hand
        );
    }
    let (rate, left) = receive_and_ack(&folder.join("receive.db"), seconds).await?;
    println!("  receive(64) and acknowledge                {rate:>9.0} /s   ({left} were left)");
    latency(&folder.join("latency.db"), seconds).await
}

fn queue() -> Outcome<QueueName> {
    Ok(QueueName::new("inbox")?)
}

async fn ours(path: &Path, writers: usize, seconds: u64) -> Outcome<f64> {
    let store = SqliteStore::open(path).await?;
    let watch = Stopwatch::start(seconds);
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (store, watch) = (store.clone(), watch.clone());
            tokio::spawn(async move {
                let (queue, body, mut count) = (queue()?, bytes::Bytes::from(vec![7; BODY]), 0);
                while watch.is_running() {
                    let batch = WriteBatch::new().enqueue(queue.clone(), Message::new(body.clone()));
                    store.commit(batch).await?;
                    count += 1;
                }
                Outcome::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    let rate = watch.rate(count);
    store.close().await;
    Ok(rate)
}

/// A table as simple as can be that still is a queue: with the index that finds the next message.
fn table(path: &Path) -> Outcome<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.execute_batch(
        "CREATE TABLE message (id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, \
         state INTEGER NOT NULL, visible_at INTEGER NOT NULL, enqueued INTEGER NOT NULL, body BLOB NOT NULL) STRICT; \
         CREATE INDEX ready ON message (queue, priority DESC, id) WHERE state = 0",
    )?;
    Ok(conn)
}

const INSERT: &str =
    "INSERT INTO message (queue, priority, state, visible_at, enqueued, body) VALUES (1, 0, 0, ?1, ?1, ?2)";

fn one_per_row(path: &Path, seconds: u64) -> Outcome<f64> {
    let conn = table(path)?;
    let (body, mut count) = (vec![7_u8; BODY], 0);
    let watch = Stopwatch::start(seconds);
    while watch.is_running() {
        conn.prepare_cached(INSERT)?.execute(params![watch.clock.wall().as_micros(), body])?;
        count += 1;
    }
    Ok(watch.rate(count))
}

type Waiter = (bytes::Bytes, oneshot::Sender<i64>);

/// One thread that takes whatever waits into one transaction and answers each waiter.
async fn by_hand(path: &Path, writers: usize, seconds: u64) -> Outcome<f64> {
    let conn = table(path)?;
    let (send, jobs) = mpsc::channel::<Waiter>();
    let thread = std::thread::spawn(move || -> Outcome {
        let clock = martlet_base::Clock::system();
        while let Ok(first) = jobs.recv() {
            let mut answers = Vec::new();
            conn.execute_batch("BEGIN IMMEDIATE")?;
            for (body, reply) in std::iter::once(first).chain(jobs.try_iter().take(255)) {
                let now = clock.wall().as_micros();
                conn.prepare_cached(INSERT)?.execute(params![now, &*body])?;
                answers.push((reply, conn.last_insert_rowid()));
            }
            conn.execute_batch("COMMIT")?;
            for (reply, id) in answers {
                let _ = reply.send(id);
            }
        }
        Ok(())
    });
    let watch = Stopwatch::start(seconds);
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (send, watch) = (send.clone(), watch.clone());
            tokio::spawn(async move {
                let (body, mut count) = (bytes::Bytes::from(vec![7; BODY]), 0);
                while watch.is_running() {
                    let (reply, answer) = oneshot::channel();
                    send.send((body.clone(), reply))?;
                    answer.await?;
                    count += 1;
                }
                Outcome::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    let rate = watch.rate(count);
    drop(send);
    thread.join().map_err(|_| "the thread by hand panicked")??;
    Ok(rate)
}

async fn receive_and_ack(path: &Path, seconds: u64) -> Outcome<(f64, u64)> {
    let store = SqliteStore::open(path).await?;
    let (queue, body) = (queue()?, bytes::Bytes::from(vec![7; BODY]));
    for _ in 0..300 {
        let batch = (0..500)
            .fold(WriteBatch::new(), |batch, _| batch.enqueue(queue.clone(), Message::new(body.clone())));
        store.commit(batch).await?;
    }
    let watch = Stopwatch::start(seconds);
    // Four consumers: while one waits for the disk, others work.
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (store, watch, queue) = (store.clone(), watch.clone(), queue.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while watch.is_running() {
                    let received = store.receive(&queue, 64, Duration::from_secs(60)).await?;
                    if received.is_empty() {
                        break;
                    }
                    count += received.len() as u64;
                    let ack = |batch: WriteBatch, one: &martlet_store::Received| batch.ack(&one.receipt);
                    store.commit(received.iter().fold(WriteBatch::new(), ack)).await?;
                }
                Outcome::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    let rate = watch.rate(count);
    let left = store.depth(&queue).await?.total();
    store.close().await;
    Ok((rate, left))
}

/// One writer that does not wait for others, while the log is folded in beside it.
async fn latency(path: &Path, seconds: u64) -> Outcome {
    let store = SqliteStore::open(path).await?;
    let (queue, body) = (queue()?, bytes::Bytes::from(vec![7; BODY]));
    let watch = Stopwatch::start(seconds);
    let mut times = Vec::new();
    while watch.is_running() {
        let before = watch.clock.now();
        let batch = WriteBatch::new().enqueue(queue.clone(), Message::new(body.clone()));
        store.commit(batch).await?;
        times.push(watch.clock.now().since(before));
    }
    times.sort();
    let at = |percent: usize| millis(times[times.len() * percent / 100]);
    println!(
        "  one writer: {} commits, p50 {:.3} ms, p99 {:.3} ms, longest {:.1} ms",
        times.len(),
        at(50),
        at(99),
        millis(times[times.len() - 1])
    );
    store.close().await;
    Ok(())
}
