//! PostgreSQL: ours, and a batcher by hand.

use crate::{BODY, Outcome, Stopwatch};
use martlet_postgres::PostgresStore;
use martlet_postgres::tokio_postgres::{self, NoTls};
use martlet_store::{Message, QueueName, Received, Store, WriteBatch};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const WAITERS: usize = 64;

pub(crate) async fn run(url: &str, seconds: u64) -> Outcome {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let show = |row: tokio_postgres::Row| -> String { row.get(0) };
    let mut settings = Vec::new();
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        settings.push(format!("{name}={}", show(client.query_one(&format!("SHOW {name}"), &[]).await?)));
    }
    println!("\nPostgreSQL, {}, messages of {BODY} bytes, {WAITERS} waiters", settings.join(" "));
    client
        .batch_execute("DROP SCHEMA IF EXISTS bench CASCADE; DROP SCHEMA IF EXISTS bench_hand CASCADE")
        .await?;
    let hand = by_hand(url, seconds).await?;
    let ours = ours(url, seconds).await?;
    println!("  enqueue by hand (unnest)                   {hand:>9.0} /s");
    println!("  enqueue                                    {ours:>9.0} /s   {:.2} of it", ours / hand);
    let rate = receive_and_ack(url, seconds).await?;
    println!("  receive(64) and acknowledge                {rate:>9.0} /s");
    client.batch_execute("DROP SCHEMA bench CASCADE; DROP SCHEMA bench_hand CASCADE").await?;
    Ok(())
}

async fn wait_for(tasks: Vec<tokio::task::JoinHandle<Outcome<u64>>>, watch: &Stopwatch) -> Outcome<f64> {
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(watch.rate(count))
}

async fn ours(url: &str, seconds: u64) -> Outcome<f64> {
    let store = PostgresStore::builder(url).schema("bench").open().await?;
    let watch = Stopwatch::start(seconds);
    let tasks = (0..WAITERS)
        .map(|_| {
            let (store, watch) = (store.clone(), watch.clone());
            tokio::spawn(async move {
                let (queue, body, mut count) =
                    (QueueName::new("inbox")?, bytes::Bytes::from(vec![7; BODY]), 0);
                while watch.is_running() {
                    let batch = WriteBatch::new().enqueue(queue.clone(), Message::new(body.clone()));
                    store.commit(batch).await?;
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    let rate = wait_for(tasks, &watch).await?;
    store.close().await;
    Ok(rate)
}

/// One task that takes whatever waits into one statement and answers each waiter.
async fn by_hand(url: &str, seconds: u64) -> Outcome<f64> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client
        .batch_execute(
            "CREATE SCHEMA bench_hand; CREATE TABLE bench_hand.message (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
             queue bigint NOT NULL, priority smallint NOT NULL, state smallint NOT NULL, visible_at bigint NOT NULL, \
             enqueued bigint NOT NULL, body bytea NOT NULL); \
             CREATE INDEX ready ON bench_hand.message (queue, priority DESC, id) WHERE state = 0",
        )
        .await?;
    let insert = client
        .prepare(
            "INSERT INTO bench_hand.message (queue, priority, state, visible_at, enqueued, body) \
             SELECT 1, 0, 0, t, t, b FROM unnest($1::bigint[], $2::bytea[]) x (t, b) RETURNING id",
        )
        .await?;
    type Waiter = (bytes::Bytes, oneshot::Sender<i64>);
    let (send, mut jobs) = mpsc::unbounded_channel::<Waiter>();
    let batcher = tokio::spawn(async move {
        let clock = martlet_base::Clock::system();
        while let Some(first) = jobs.recv().await {
            let mut group = vec![first];
            while group.len() < 256 {
                let Ok(one) = jobs.try_recv() else { break };
                group.push(one);
            }
            let times = vec![clock.wall().as_micros(); group.len()];
            let bodies: Vec<&[u8]> = group.iter().map(|(body, _)| &**body).collect();
            let ids = client.query(&insert, &[&times, &bodies]).await?;
            for ((_, reply), id) in group.into_iter().zip(ids) {
                let _ = reply.send(id.get(0));
            }
        }
        Outcome::Ok(())
    });
    let watch = Stopwatch::start(seconds);
    let tasks = (0..WAITERS)
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
                Ok(count)
            })
        })
        .collect();
    let rate = wait_for(tasks, &watch).await?;
    drop(send);
    batcher.await??;
    Ok(rate)
}

async fn receive_and_ack(url: &str, seconds: u64) -> Outcome<f64> {
    let store = PostgresStore::builder(url).schema("bench").open().await?;
    let queue = QueueName::new("work")?;
    let body = bytes::Bytes::from(vec![7; BODY]);
    for _ in 0..200 {
        let batch = (0..500)
            .fold(WriteBatch::new(), |batch, _| batch.enqueue(queue.clone(), Message::new(body.clone())));
        store.commit(batch).await?;
    }
    let watch = Stopwatch::start(seconds);
    let tasks = (0..4)
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
                    let ack = |batch: WriteBatch, one: &Received| batch.ack(&one.receipt);
                    store.commit(received.iter().fold(WriteBatch::new(), ack)).await?;
                }
                Ok(count)
            })
        })
        .collect();
    let rate = wait_for(tasks, &watch).await?;
    store.close().await;
    Ok(rate)
}
