//! SQLite: ours, one commit per row, a group commit by hand, and apalis.

use crate::rounds::{Rates, tasks};
use crate::work::{CONSUMERS, fill, receive_and_ack};
use crate::{BODY, Options, Outcome, body, millis, peers};
use bytes::Bytes;
use martlet_base::Clock;
use martlet_benches::Report;
use martlet_sqlite::SqliteStore;
use martlet_sqlite::rusqlite::{Connection, params};
use martlet_store::{Message, QueueName, Store, WriteBatch};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

const OURS: &str = "martlet-sqlite";
const ROW: &str = "by hand (one commit per row)";
const GROUP: &str = "by hand (group commit)";
const APALIS: &str = "apalis-sqlite";

pub(crate) async fn run(options: &Options, report: &mut Report) -> Outcome {
    println!("\nSQLite, synchronous=FULL, messages of {BODY} bytes");
    for writers in [1, 16, 64, 256] {
        enqueue(writers, options, report).await?;
    }
    receive(options, report).await?;
    latency(options, report).await
}

fn queue() -> Outcome<QueueName> {
    Ok(QueueName::new("inbox")?)
}

async fn enqueue(writers: usize, options: &Options, report: &mut Report) -> Outcome {
    let mut rates = Rates::new(options.seconds, &[ROW, GROUP, OURS, APALIS], None);
    let path = |name: &str| options.folder.join(format!("{name}-{writers}.db"));
    let store = SqliteStore::open(path("ours")).await?;
    let hand = GroupCommit::start(&path("hand"))?;
    for round in 0..options.rounds {
        let single = path(&format!("single-{round}"));
        rates.round(ROW, async { one_per_row(&single, options.seconds) }).await?;
        let (group, payload) = (hand.clone(), body());
        let once = move || {
            let (group, body) = (group.clone(), payload.clone());
            async move { group.enqueue(body).await }
        };
        rates.round(GROUP, tasks(writers, options.seconds, once)).await?;
        let (store, queue, payload) = (store.clone(), queue()?, body());
        let once = move || {
            let (store, batch) =
                (store.clone(), WriteBatch::new().enqueue(queue.clone(), Message::new(payload.clone())));
            async move { Ok(store.commit(batch).await.map(|_| 1)?) }
        };
        rates.round(OURS, tasks(writers, options.seconds, once)).await?;
        if let Some(program) = &options.peers {
            let (writers, seconds) = (writers.to_string(), options.seconds.to_string());
            let path = path("apalis");
            let args = ["apalis-push".as_ref(), path.as_os_str(), writers.as_ref(), seconds.as_ref()];
            rates.round(APALIS, async { peers::ask(program, &args) }).await?;
        }
    }
    store.close().await;
    rates.tell(&format!("sqlite: enqueue, {writers} writers"), report);
    Ok(())
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

fn one_per_row(path: &Path, seconds: f64) -> Outcome<f64> {
    let conn = table(path)?;
    let (clock, body, mut count) = (Clock::system(), body(), 0_u32);
    let started = clock.now();
    while clock.now().since(started).as_secs_f64() < seconds {
        conn.prepare_cached(INSERT)?.execute(params![clock.wall().as_micros(), &*body])?;
        count += 1;
    }
    Ok(f64::from(count) / clock.now().since(started).as_secs_f64())
}

/// One thread that takes whatever waits into one transaction and answers each waiter.
#[derive(Clone)]
struct GroupCommit(mpsc::Sender<(Bytes, oneshot::Sender<i64>)>);

impl GroupCommit {
    fn start(path: &Path) -> Outcome<Self> {
        let conn = table(path)?;
        let (send, jobs) = mpsc::channel::<(Bytes, oneshot::Sender<i64>)>();
        std::thread::spawn(move || -> Outcome {
            let clock = Clock::system();
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
        Ok(Self(send))
    }

    async fn enqueue(&self, body: Bytes) -> Outcome<usize> {
        let (reply, answer) = oneshot::channel();
        self.0.send((body, reply))?;
        answer.await?;
        Ok(1)
    }
}

async fn receive(options: &Options, report: &mut Report) -> Outcome {
    let mut rates = Rates::new(options.seconds, &[OURS, APALIS], None);
    let store = SqliteStore::open(options.folder.join("receive.db")).await?;
    let queue = queue()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number of batches")]
    let batches = (options.seconds * 160.0) as usize;
    for _ in 0..options.rounds {
        fill(&store, &queue, batches).await?;
        rates.round(OURS, receive_and_ack(&store, &queue, CONSUMERS, options.seconds)).await?;
        if let Some(program) = &options.peers {
            let (path, seconds) = (options.folder.join("apalis-work.db"), options.seconds.to_string());
            let args = ["apalis-work".as_ref(), path.as_os_str(), seconds.as_ref()];
            rates.round(APALIS, async { peers::ask(program, &args) }).await?;
        }
    }
    store.close().await;
    rates.tell("sqlite: receive(64) and acknowledge, 4 consumers", report);
    Ok(())
}

/// One writer that does not wait for others, while the log is folded in beside it.
async fn latency(options: &Options, report: &mut Report) -> Outcome {
    let store = SqliteStore::open(options.folder.join("latency.db")).await?;
    let (queue, body, clock) = (queue()?, body(), Clock::system());
    #[expect(clippy::cast_precision_loss, reason = "a small number of rounds")]
    let until = clock.now() + Duration::from_secs_f64(options.seconds * options.rounds as f64);
    let mut times = Vec::new();
    while clock.now() < until {
        let before = clock.now();
        let batch = WriteBatch::new().enqueue(queue.clone(), Message::new(body.clone()));
        let _ = store.commit(batch).await?;
        times.push(clock.now().since(before));
    }
    times.sort();
    store.close().await;
    println!();
    for (case, at) in
        [("p50", times.len() / 2), ("p99", times.len() * 99 / 100), ("longest", times.len() - 1)]
    {
        report.figures(&format!("sqlite: one writer, {case}"), "ms", &[(OURS, millis(times[at]))]);
    }
    Ok(())
}
