//! What every store with queues promises, by theme.

mod at_once;
mod dead_letters;
mod dedup;
mod delivery;
mod looks;
mod order;
mod receipts;
mod values;
mod waking;

pub use at_once::*;
pub use dead_letters::*;
pub use dedup::*;
pub use delivery::*;
pub use looks::*;
pub use order::*;
pub use receipts::*;
pub use values::*;
pub use waking::*;

use super::Subject;
use crate::{
    BuryKind, BuryReason, Depth, Message, MessageId, Outcome, Queue, QueueItem, QueueName, Received,
};
use martlet_base::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const VISIBILITY: Duration = Duration::from_secs(30);

fn name(name: &str) -> QueueName {
    QueueName::new(name).expect("the suite uses valid names")
}

fn poison() -> BuryReason {
    BuryReason::new(BuryKind::Poison, "no sense in it")
}

fn body(received: &Received) -> &str {
    str::from_utf8(&received.item.message.body).expect("the suite enqueues text")
}

impl Subject {
    fn queue(&self) -> Queue {
        Queue::new(Arc::clone(&self.store), name("q"))
    }

    async fn enqueue(&self, message: Message) -> MessageId {
        match self.queue().enqueue(message).await.expect("enqueue works") {
            Outcome::Enqueued(id) => id,
            other => panic!("an enqueue was answered with {other:?}"),
        }
    }

    async fn take(&self, max: usize) -> Vec<Received> {
        self.queue().receive(max, VISIBILITY).await.expect("receive works")
    }

    async fn take_one(&self) -> Received {
        let mut taken = self.take(1).await;
        assert_eq!(taken.len(), 1, "one message was expected");
        taken.remove(0)
    }

    /// Receives and acknowledges until nothing comes: the bodies in their order.
    async fn drain(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let taken = self.take(1).await;
            let Some(received) = taken.first() else { return bodies };
            bodies.push(body(received).to_owned());
            self.queue().ack(&received.receipt).await.expect("ack works");
        }
    }

    async fn depth(&self) -> Depth {
        self.queue().depth().await.expect("depth works")
    }

    async fn all(&self) -> Vec<QueueItem> {
        self.queue().peek(None, None, 10_000).await.expect("peek works")
    }

    async fn item(&self, id: MessageId) -> Option<QueueItem> {
        self.all().await.into_iter().find(|item| item.id == id)
    }

    async fn now(&self) -> Timestamp {
        self.store.now().await.expect("now works")
    }
}
