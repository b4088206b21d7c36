//! What is asked of each of our stores alike.

use crate::rounds::tasks;
use crate::{Outcome, body};
use martlet_store::{Message, QueueName, Received, Store, WriteBatch};
use std::time::Duration;

/// So many consumers: while one waits for the disk, others work.
pub(crate) const CONSUMERS: usize = 4;
/// So many messages each of them takes.
pub(crate) const AT_ONCE: usize = 64;

/// Enqueues so many batches of 500 messages.
pub(crate) async fn fill(store: &impl Store, queue: &QueueName, batches: usize) -> Outcome {
    for _ in 0..batches {
        let batch =
            (0..500).fold(WriteBatch::new(), |batch, _| batch.enqueue(queue.clone(), Message::new(body())));
        let _ = store.commit(batch).await?;
    }
    Ok(())
}

/// Messages a second that `consumers` take and acknowledge.
pub(crate) async fn receive_and_ack<S>(
    store: &S,
    queue: &QueueName,
    consumers: usize,
    seconds: f64,
) -> Outcome<f64>
where
    S: Store + Clone + 'static,
{
    let (store, queue) = (store.clone(), queue.clone());
    let once = move || {
        let (store, queue) = (store.clone(), queue.clone());
        async move {
            let received = store.receive(&queue, AT_ONCE, Duration::from_secs(60)).await?;
            let ack = |batch: WriteBatch, one: &Received| batch.ack(&one.receipt);
            let _ = store.commit(received.iter().fold(WriteBatch::new(), ack)).await?;
            Ok(received.len())
        }
    };
    tasks(consumers, seconds, once).await
}
