//! An effect, its acknowledgement and what follows from it, in one transaction.
//!
//! Orders come in through an inbox (say, from a webhook). For each one this program writes a row to **its own table**,
//! acknowledges the message, and enqueues a message to an outbox, from which it would be sent to a mailing platform. All
//! three are one commit: whenever the process is killed, either all of it happened or none, and the message comes again.
//! Half of the handlers here "crash" before their answer comes, and some messages make no sense at all.
//!
//! ```text
//! cargo run -p martlet-example-outbox                                         # on a file that is thrown away
//! cargo run -p martlet-example-outbox -- shop.db                              # on a file, by as many processes as you like
//! cargo run -p martlet-example-outbox --features postgres -- postgres://..    # on PostgreSQL, by a fleet
//! ```
//!
//! `sqlite.rs` and `postgres.rs` are what differs. Kill it and start it again: it goes on, and checks itself at the end.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use async_trait::async_trait;
use martlet_base::{Clock, Rng};
use martlet_store::{
    BuryKind, BuryReason, Message, Queue, QueueName, Received, Store, StoreError, StoreErrorKind, WriteBatch,
};
use serde::Deserialize;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The program's own tables, beside a store in the same database.
#[async_trait]
trait Shop: Send {
    fn store(&self) -> Arc<dyn Store>;

    async fn create_table(&mut self) -> Outcome;

    /// Adds the order and applies `batch`, both or neither. Whoever waits at `outbox` is woken.
    ///
    /// # Errors
    /// A [`StoreError`] when it is the store that refused.
    async fn place(&mut self, order: Order, batch: WriteBatch, outbox: &QueueName) -> Outcome;

    /// How many orders there are, and their cents.
    async fn totals(&mut self) -> Outcome<(i64, i64)>;
}

#[derive(Deserialize)]
struct Order {
    id: i64,
    email: String,
    cents: i64,
}

async fn open(place: &str) -> Outcome<Box<dyn Shop>> {
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres") {
        return Ok(Box::new(postgres::OnPostgres::open(place).await?));
    }
    Ok(Box::new(sqlite::OnSqlite::open(place).await?))
}

const ORDERS: i64 = 200;

/// One in fifty makes no sense.
const NONSENSE: i64 = ORDERS / 50;

/// Longer than a handler takes; a crashed one's message comes again after it.
const VISIBILITY: Duration = Duration::from_millis(100);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]
async fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.db").display().to_string();
    let mut shop = open(&std::env::args().nth(1).unwrap_or(file)).await?;
    shop.create_table().await?;
    let queue = |name: &str| QueueName::new(name).map(|name| Queue::new(shop.store(), name));
    let (inbox, outbox) = (queue("inbox")?, queue("outbox")?);

    orders_come_in(&inbox).await?;
    println!("{} messages in the inbox, each was sent twice", inbox.depth().await?.live());

    let (clock, rng) = (Clock::system(), Rng::system());
    let mut crashes = 0;
    while inbox.depth().await?.live() > 0 {
        let messages = tokio::select! {
            messages = inbox.next(16, VISIBILITY) => messages?,
            // Another process may have had the last ones.
            () = clock.sleep(VISIBILITY * 2) => continue,
        };
        for received in messages {
            if rng.below(4) == 0 {
                crashes += 1; // Before the commit: nothing happened.
                continue;
            }
            handle(&mut *shop, &outbox, received).await?;
            if rng.below(4) == 0 {
                crashes += 1; // After the commit: everything happened, and nobody was told.
            }
        }
    }

    let (orders, cents) = shop.totals().await?;
    let (sent, dead) = (outbox.depth().await?.ready, inbox.depth().await?.buried);
    println!(
        "{crashes} crashes; {orders} orders of {cents} cents in all, {sent} messages to send, {dead} dead letters"
    );
    let once = ORDERS - NONSENSE;
    let found = (orders, sent.cast_signed(), dead.cast_signed());
    assert_eq!(found, (once, once, NONSENSE), "each order once, wherever it crashed");
    Ok(())
}

/// What a webhook receiver does: each order arrives twice, and is taken once.
async fn orders_come_in(inbox: &Queue) -> Outcome {
    let mut webhooks = JoinSet::new();
    for id in (0..ORDERS).chain(0..ORDERS) {
        let body = match id % 50 {
            49 => "no order at all".to_owned(),
            _ => format!(r#"{{"id":{id},"email":"buyer{id}@example.com","cents":{}}}"#, 100 + id),
        };
        let inbox = inbox.clone();
        webhooks.spawn(async move { inbox.enqueue(Message::new(body).dedup(format!("order-{id}"))).await });
    }
    while let Some(enqueued) = webhooks.join_next().await {
        let _new_or_known = enqueued??;
    }
    Ok(())
}

/// One message: its effect, its acknowledgement and what follows, or its grave.
async fn handle(shop: &mut dyn Shop, outbox: &Queue, received: Received) -> Outcome {
    let order: Order = match serde_json::from_slice(&received.item.message.body) {
        Ok(order) => order,
        Err(error) => {
            // Trying again would not help: it is kept for a person to look at.
            let reason = BuryReason::new(BuryKind::Poison, format!("not an order: {error}"));
            let buried = shop.store().commit(WriteBatch::new().bury(&received.receipt, reason)).await;
            return unless_stale(buried.map(drop).map_err(Into::into));
        }
    };
    let thanks = Message::new(format!("thank {}", order.email)).order_key(order.email.clone());
    let batch = WriteBatch::new().ack(&received.receipt).enqueue(outbox.name().clone(), thanks);
    unless_stale(shop.place(order, batch, outbox.name()).await)
}

/// It took too long, and the message went to somebody else meanwhile: this attempt left no trace.
fn unless_stale(outcome: Outcome) -> Outcome {
    match outcome {
        Err(error) if error.downcast_ref().map(StoreError::kind) == Some(StoreErrorKind::StaleFence) => {
            Ok(())
        }
        other => other,
    }
}
