//! What other projects do with the same messages; each command prints a rate, in messages a second.
//!
//! ```text
//! peers apalis-push FILE WRITERS SECONDS    enqueue one by one, so many writers at once
//! peers apalis-work FILE SECONDS            a worker takes 64 at a time and acknowledges them
//! peers install-pgmq URL                    the functions of pgmq, from its own package; prints 0
//! ```

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqliteStorage};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// As text: it is stored as JSON.
fn body() -> String {
    "7".repeat(1_498)
}

#[tokio::main]
async fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rate = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["apalis-push", file, writers, seconds] => push(file, writers.parse()?, seconds.parse()?).await?,
        ["apalis-work", file, seconds] => work(file, seconds.parse()?).await?,
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

async fn push(file: &str, writers: usize, seconds: f64) -> Outcome<f64> {
    let pool = open(file).await?;
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let mut storage = SqliteStorage::<String>::new(&pool);
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

async fn work(file: &str, seconds: f64) -> Outcome<f64> {
    let pool = open(file).await?;
    let mut storage = SqliteStorage::<String>::new(&pool).with_config(Config::default().batch_size(64));
    let count = (seconds * 80_000.0) as usize;
    for _ in 0..count.div_ceil(500) {
        storage.push_bulk(vec![body(); 500]).await.map_err(|error| format!("{error:?}"))?;
    }
    let done = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&done);
    let worker = WorkerBuilder::new(format!("bench-{}", std::process::id())).backend(storage).build(
        move |_: String| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok::<(), BoxDynError>(()) }
        },
    );
    let started = Instant::now();
    let _ = tokio::time::timeout(Duration::from_secs_f64(seconds), worker.run()).await;
    Ok(done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}
