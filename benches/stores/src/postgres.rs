//! PostgreSQL: ours, a batcher by hand, and pgmq's SQL.

use crate::batcher::Batcher;
use crate::rounds::{Rates, tasks};
use crate::work::{AT_ONCE, CONSUMERS, fill, receive_and_ack};
use crate::{BODY, Options, Outcome, body, cpu, peers};
use bytes::Bytes;
use martlet_base::Clock;
use martlet_benches::Report;
use martlet_postgres::PostgresStore;
use martlet_postgres::tokio_postgres::{self, Client, NoTls, Statement};
use martlet_store::{Message, QueueName, Store, WriteBatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const WAITERS: usize = 64;

const HAND: &str = "by hand (unnest)";
const OURS: &str = "martlet-postgres";
const PGMQ: &str = "pgmq (send_batch, read, delete)";

pub(crate) async fn run(url: &str, options: &Options, report: &mut Report) -> Outcome {
    let client = connect(url).await?;
    let mut settings = Vec::new();
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        let row = client.query_one(&format!("SHOW {name}"), &[]).await?;
        settings.push(format!("{name}={}", row.get::<_, String>(0)));
    }
    // Only when it is on this machine: elsewhere such a number means another process, or none.
    let local = url.contains("@127.0.0.1") || url.contains("@localhost");
    let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let server = if local { u32::try_from(backend).ok().and_then(cpu::parent) } else { None };
    println!("\nPostgreSQL, {}, messages of {BODY} bytes", settings.join(" "));
    let clean = "DROP SCHEMA IF EXISTS bench CASCADE; DROP SCHEMA IF EXISTS bench_hand CASCADE; \
                 DROP SCHEMA IF EXISTS pgmq CASCADE";
    client.batch_execute(clean).await?;
    let hand = by_hand(url).await?;
    let store = PostgresStore::builder(url).schema("bench").open().await?;
    let pgmq = match &options.peers {
        Some(program) => {
            peers::ask(program, &["install-pgmq".as_ref(), url.as_ref()])?;
            Some(Arc::new(Pgmq::open(url).await?))
        }
        None => None,
    };
    enqueue(&hand, &store, pgmq.as_ref(), server, options, report).await?;
    receive(&store, pgmq.as_ref(), server, options, report).await?;
    store.close().await;
    client.batch_execute(clean).await?;
    Ok(())
}

async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn enqueue(
    hand: &Batcher,
    store: &PostgresStore,
    pgmq: Option<&Arc<Pgmq>>,
    server: Option<u32>,
    options: &Options,
    report: &mut Report,
) -> Outcome {
    let mut rates = Rates::new(options.seconds, &[HAND, OURS, PGMQ], server);
    let pgmq = pgmq.map(|pgmq| pgmq.batcher());
    let queue = QueueName::new("inbox")?;
    for _ in 0..options.rounds {
        rates.round(HAND, hand.fill(WAITERS, options.seconds)).await?;
        if let Some(pgmq) = &pgmq {
            rates.round(PGMQ, pgmq.fill(WAITERS, options.seconds)).await?;
        }
        let (store, queue, body) = (store.clone(), queue.clone(), body());
        let once = move || {
            let (store, batch) =
                (store.clone(), WriteBatch::new().enqueue(queue.clone(), Message::new(body.clone())));
            async move { Ok(store.commit(batch).await.map(|_| 1)?) }
        };
        rates.round(OURS, tasks(WAITERS, options.seconds, once)).await?;
    }
    rates.tell("postgres: enqueue, 64 waiters", report);
    Ok(())
}

async fn receive(
    store: &PostgresStore,
    pgmq: Option<&Arc<Pgmq>>,
    server: Option<u32>,
    options: &Options,
    report: &mut Report,
) -> Outcome {
    let mut rates = Rates::new(options.seconds, &[OURS, PGMQ], server);
    let queue = QueueName::new("work")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number of batches")]
    let batches = (options.seconds * 160.0) as usize;
    for _ in 0..options.rounds {
        fill(store, &queue, batches).await?;
        rates.round(OURS, receive_and_ack(store, &queue, CONSUMERS, options.seconds)).await?;
        let Some(pgmq) = pgmq.cloned() else { continue };
        for _ in 0..batches {
            pgmq.send(&vec![body(); 500]).await?;
        }
        let once = move || {
            let pgmq = Arc::clone(&pgmq);
            async move { pgmq.read_and_delete().await }
        };
        rates.round(PGMQ, tasks(CONSUMERS, options.seconds, once)).await?;
    }
    rates.tell("postgres: receive(64) and acknowledge, 4 consumers", report);
    Ok(())
}

/// A table as simple as can be that still is a queue: with the index that finds the next message.
async fn by_hand(url: &str) -> Outcome<Batcher> {
    let client = connect(url).await?;
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
    let statement = Arc::new((client, insert));
    Ok(Batcher::start(move |bodies| {
        let statement = Arc::clone(&statement);
        async move {
            let times = vec![Clock::system().wall().as_micros(); bodies.len()];
            let bodies: Vec<&[u8]> = bodies.iter().map(|body| &**body).collect();
            let (client, insert) = &*statement;
            client.query(insert, &[&times, &bodies]).await?;
            Ok(())
        }
    }))
}

/// The functions of pgmq in plain SQL, which its own package has installed.
struct Pgmq {
    clients: Vec<(Client, [Statement; 3])>,
    next: AtomicUsize,
}

impl Pgmq {
    async fn open(url: &str) -> Outcome<Self> {
        connect(url).await?.batch_execute("SELECT pgmq.create('bench')").await?;
        let mut clients = Vec::new();
        for _ in 0..CONSUMERS {
            let client = connect(url).await?;
            let send = client.prepare("SELECT * FROM pgmq.send_batch('bench', $1::text[]::jsonb[])").await?;
            let read = client.prepare("SELECT msg_id, message::text FROM pgmq.read('bench', 60, $1)").await?;
            let delete = client.prepare("SELECT * FROM pgmq.delete('bench', $1::bigint[])").await?;
            clients.push((client, [send, read, delete]));
        }
        Ok(Self { clients, next: AtomicUsize::new(0) })
    }

    fn batcher(self: &Arc<Self>) -> Batcher {
        let pgmq = Arc::clone(self);
        Batcher::start(move |bodies| {
            let pgmq = Arc::clone(&pgmq);
            async move { pgmq.send(&bodies).await }
        })
    }

    /// Each in turn, so that consumers do not wait for each other.
    fn client(&self) -> &(Client, [Statement; 3]) {
        &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }

    /// As text in JSON, which pgmq asks for.
    async fn send(&self, bodies: &[Bytes]) -> Outcome {
        let (client, [send, ..]) = self.client();
        let json: Vec<String> = bodies.iter().map(|body| format!("\"{}\"", "7".repeat(body.len()))).collect();
        client.query(send, &[&json]).await?;
        Ok(())
    }

    async fn read_and_delete(&self) -> Outcome<usize> {
        let (client, [_, read, delete]) = self.client();
        let rows = client.query(read, &[&i32::try_from(AT_ONCE)?]).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        client.query(delete, &[&ids]).await?;
        Ok(ids.len())
    }
}
