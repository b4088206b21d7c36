//! What other projects do with the same messages; each command prints a rate, in messages a second.
//!
//! ```text
//! peers apalis-push FILE WRITERS SECONDS    enqueue one by one, so many writers at once
//! peers apalis-work FILE SECONDS            a worker takes 64 at a time and acknowledges them
//! peers redis-push URL WRITERS SECONDS      the same with apalis-redis
//! peers redis-work URL SECONDS
//! peers install-pgmq URL                    the functions of pgmq, from its own package; prints 0
//! ```

use apalis::prelude::*;
use apalis_redis::RedisStorage;
use apalis_sqlite::{SqliteConnectOptions, SqlitePool, SqliteStorage};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// As text: it is stored as JSON.
fn body() -> String {
    "7".repeat(1_498)
}

/// What a worker on this storage gets done in so many seconds. The bounds of its type would be longer than it is.
macro_rules! work {
    ($storage:expr, $seconds:expr) => {{
        let done = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&done);
        let name = format!("bench-{}", std::process::id());
        let worker = WorkerBuilder::new(name).backend($storage).build(move |_: String| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok::<(), BoxDynError>(()) }
        });
        let (started, seconds): (_, f64) = (Instant::now(), $seconds);
        let ended = tokio::time::timeout(Duration::from_secs_f64(seconds), worker.run()).await;
        if let Ok(Err(error)) = ended {
            return Err(format!("{error:?}").into());
        }
        done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
    }};
}

#[tokio::main]
async fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rate = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["apalis-push", file, writers, seconds] => {
            let pool = open(file).await?;
            let storages = (0..writers.parse()?).map(|_| SqliteStorage::<String>::new(&pool));
            push(storages, seconds.parse()?).await?
        }
        ["apalis-work", file, seconds] => {
            let config = apalis_sqlite::Config::default().batch_size(64);
            let mut storage = SqliteStorage::<String>::new(&open(file).await?).with_config(config);
            fill(&mut storage, more_than_done_in(seconds.parse()?)).await?;
            work!(storage, seconds.parse()?)
        }
        ["redis-push", url, writers, seconds] => {
            let conn = apalis_redis::connect(url).await?;
            let storages = (0..writers.parse()?).map(|_| RedisStorage::<String>::new(conn.clone()));
            push(storages, seconds.parse()?).await?
        }
        ["redis-work", url, seconds] => {
            let config = apalis_redis::Config::default().queue("work").batch_size(64);
            let mut storage =
                RedisStorage::<String>::new(apalis_redis::connect(url).await?).with_config(config);
            // With some 8,000 or more apalis-redis 1.0.0 fails: "too many results to unpack".
            fill(&mut storage, more_than_done_in(seconds.parse()?).min(7_000)).await?;
            work!(storage, seconds.parse()?)
        }
        ["install-pgmq", url] => {
            // It insists on a password, also where none is asked for.
            let url = if url.contains("postgres@") {
                url.replace("postgres@", "postgres:none@")
            } else {
                url.to_owned()
            };
            pgmq::PGMQueueExt::new(url, 1).await?.install_sql_from_embedded().await?;
            0.0
        }
        _ => return Err("see the top of main.rs".into()),
    };
    println!("{rate}");
    Ok(())
}

/// As safe as ours: `SqliteStorage::setup` itself would turn syncing off for one connection of the pool.
async fn open(file: &str) -> Outcome<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .pragma("journal_mode", "WAL")
        .pragma("synchronous", "FULL")
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePool::connect_with(options).await?;
    SqliteStorage::migrations().run(&pool).await?;
    Ok(pool)
}

async fn push<S, K>(storages: impl Iterator<Item = S>, seconds: f64) -> Outcome<f64>
where
    S: TaskSink<String, K, Error: std::fmt::Debug> + Send + 'static,
{
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> = storages
        .map(|mut storage| {
            tokio::spawn(async move {
                let mut count = 0_u64;
                while Instant::now() < until {
                    storage.push(body()).await.map_err(|error| format!("{error:?}"))?;
                    count += 1;
                }
                Outcome::Ok(count)
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await??;
    }
    Ok(total as f64 / started.elapsed().as_secs_f64())
}

/// More messages than a worker gets done.
fn more_than_done_in(seconds: f64) -> usize {
    (seconds * 80_000.0) as usize
}

async fn fill<S, K>(storage: &mut S, count: usize) -> Outcome
where
    S: TaskSink<String, K, Error: std::fmt::Debug>,
{
    for _ in 0..count.div_ceil(500) {
        storage.push_bulk(vec![body(); 500]).await.map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}
