//! An effect, its acknowledgement and what follows from it, in one transaction.
//!
//! Orders come in through an inbox (say, from a webhook). For each one this program writes a row to **its own table**,
//! acknowledges the message, and enqueues a message to an outbox, from which it would be sent to a mailing platform. All
//! three are one commit: whenever the process is killed, either all of it happened or none, and the message comes again.
//! Half of the handlers here "crash" before their answer comes, and some messages make no sense at all.
//!
//! `cargo run -p martlet-example-outbox`

use martlet_base::Rng;
use martlet_sqlite::rusqlite::{self, Connection, params};
use martlet_sqlite::{CommitWithError, SqliteStore};
use martlet_store::{
    BuryKind, BuryReason, Message, Queue, QueueName, Received, Store, StoreErrorKind, WriteBatch,
};
use serde::Deserialize;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

const ORDERS: u64 = 200;

/// Longer than a handler takes; a crashed one's message comes again after it.
const VISIBILITY: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Order {
    id: i64,
    email: String,
    cents: i64,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("shop.db")).await?;
    let create = |conn: &Connection| {
        conn.execute_batch(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, email TEXT NOT NULL, cents INTEGER NOT NULL)",
        )
    };
    store.commit_with(WriteBatch::new(), create).await?;

    let queue = |name: &str| QueueName::new(name).map(|name| Queue::new(Arc::new(store.clone()), name));
    let (inbox, outbox) = (queue("inbox")?, queue("outbox")?);

    // What a webhook receiver does: each order arrives twice, and is taken once.
    for id in 0..ORDERS {
        let body = match id % 50 {
            49 => "no order at all".to_owned(),
            _ => format!(r#"{{"id":{id},"email":"buyer{id}@example.com","cents":{}}}"#, 100 + id),
        };
        for _ in 0..2 {
            inbox.enqueue(Message::new(body.clone()).dedup(format!("order-{id}"))).await?;
        }
    }
    println!("{} messages in the inbox, each was sent twice", inbox.depth().await?.ready);

    let rng = Rng::system();
    let mut crashes = 0;
    while inbox.depth().await?.live() > 0 {
        for received in inbox.next(16, VISIBILITY).await? {
            let batch = WriteBatch::new().ack(&received.receipt);
            if rng.below(4) == 0 {
                crashes += 1; // Before the commit: nothing happened.
                continue;
            }
            handle(&store, &outbox, received, batch).await?;
            if rng.below(4) == 0 {
                crashes += 1; // After the commit: everything happened, and nobody was told.
            }
        }
    }

    let totals = |conn: &Connection| {
        conn.query_row("SELECT count(*), sum(cents) FROM orders", [], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, i64>(1)?))
        })
    };
    let (_, (rows, cents)) = store.commit_with(WriteBatch::new(), totals).await?;
    let (sent, dead) = (outbox.depth().await?, inbox.depth().await?.buried);
    println!(
        "{crashes} crashes; {rows} orders of {cents} cents in all, {} messages to send, {dead} dead letters",
        sent.ready
    );
    assert_eq!((rows, sent.ready, dead), (ORDERS - 4, ORDERS - 4, 4), "each order once, wherever it crashed");
    store.close().await;
    Ok(())
}

/// One message: its effect, its acknowledgement and what follows, or its grave.
async fn handle(
    store: &SqliteStore,
    outbox: &Queue,
    received: Received,
    batch: WriteBatch,
) -> Result<(), Box<dyn Error>> {
    let order: Order = match serde_json::from_slice(&received.item.message.body) {
        Ok(order) => order,
        Err(error) => {
            // Trying again would not help: it is kept for a person to look at.
            let reason = BuryReason::new(BuryKind::Poison, format!("not an order: {error}"));
            store.commit(WriteBatch::new().bury(&received.receipt, reason)).await?;
            return Ok(());
        }
    };
    let welcome = Message::new(format!("thank {}", order.email)).order_key(order.email.clone());
    let batch = batch.enqueue(outbox.name().clone(), welcome);
    let own = move |conn: &Connection| -> rusqlite::Result<usize> {
        let Order { id, email, cents } = order;
        conn.execute("INSERT INTO orders VALUES (?1, ?2, ?3)", params![id, email, cents])
    };
    match store.commit_with(batch, own).await {
        Ok(_) => Ok(()),
        // The message went to somebody else meanwhile: this attempt left no trace.
        Err(CommitWithError::Store(error)) if error.kind() == StoreErrorKind::StaleFence => Ok(()),
        Err(error) => Err(error.into()),
    }
}
