//! Many at once, and who is cancelled.

use super::{VISIBILITY, body, name};
use crate::conformance::{Subject, poll_and_drop, until_whole};
use crate::{Message, Outcome, Queue, WriteBatch};
use std::collections::HashSet;
use std::sync::Arc;

/// 16 receivers of 300 messages: each message goes to one of them.
pub async fn many_receivers_never_share_a_message(subject: Subject) {
    let batch =
        (0..300).fold(WriteBatch::new(), |batch, n| batch.enqueue(name("q"), Message::new(n.to_string())));
    let _ = subject.commit(batch).await.expect("enqueue");
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let queue = subject.queue();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                loop {
                    let taken = queue.receive(1 + n % 7, VISIBILITY).await.expect("receive");
                    if taken.is_empty() {
                        return ids;
                    }
                    for received in taken {
                        assert_eq!(received.item.deliveries, 1);
                        queue.ack(&received.receipt).await.expect("ours alone");
                        ids.push(received.item.id);
                    }
                }
            })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.extend(task.await.expect("the task did not panic"));
    }
    let count = ids.len();
    assert_eq!((count, ids.into_iter().collect::<HashSet<_>>().len()), (300, 300));
    assert_eq!(subject.depth().await.acked, 300);
}

/// Senders and receivers at once, with order keys: everything once, each key in order.
pub async fn senders_and_receivers_at_once_keep_the_order_of_keys(subject: Subject) {
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let queue = subject.queue();
            tokio::spawn(async move {
                for n in 0..20 {
                    let message = Message::new(format!("{sender}/{n:02}")).order_key(format!("k{sender}"));
                    queue.enqueue(message).await.expect("enqueue");
                }
            })
        })
        .collect();
    let done = Arc::new(std::sync::Mutex::new(Vec::new()));
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let (queue, done) = (subject.queue(), Arc::clone(&done));
            tokio::spawn(async move {
                while queue.depth().await.expect("depth").acked < 80 {
                    for received in queue.receive(3, VISIBILITY).await.expect("receive") {
                        done.lock().expect("no panic").push(body(&received).to_owned());
                        queue.ack(&received.receipt).await.expect("ours alone");
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in senders.into_iter().chain(receivers) {
        task.await.expect("the task did not panic");
    }
    let done = std::mem::take(&mut *done.lock().expect("no panic"));
    assert_eq!(done.len(), 80);
    for sender in 0..4 {
        let of_one: Vec<_> = done.iter().filter(|body| body.starts_with(&format!("{sender}/"))).collect();
        assert!(of_one.is_sorted() && of_one.len() == 20, "{of_one:?}");
    }
}

/// A receive whose future is dropped at any point loses nothing: what it took comes again.
pub async fn a_dropped_receive_loses_nothing(subject: Subject) {
    for n in 0..20 {
        subject.enqueue(Message::new(n.to_string())).await;
    }
    for round in 0..30 {
        poll_and_drop(subject.queue().receive(1, VISIBILITY), round % 6).await;
        poll_and_drop(subject.store.ready(&name("q")), round % 4).await;
        poll_and_drop(subject.queue().depth(), round % 4).await;
    }
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    // One that was dropped may still take something: then that comes a little later.
    let look = async || {
        subject.pass(VISIBILITY);
        subject.take(100).await.iter().map(|received| body(received).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(until_whole(look, |bodies| *bodies == expected).await, expected);
}

/// An enqueue or acknowledgement whose future is dropped at any point is whole or nothing.
pub async fn a_dropped_settlement_is_whole_or_nothing(subject: Subject) {
    for round in 0..40 {
        let queue = Queue::new(Arc::clone(&subject.store), name(&format!("q{round}")));
        let message = |body: &str| Message::new(body.to_owned()).order_key("k").dedup(body);
        let batch = WriteBatch::new()
            .enqueue(queue.name().clone(), message("1"))
            .enqueue(queue.name().clone(), message("2"));
        poll_and_drop(subject.commit(batch), round % 5).await;
        let depth = queue.depth().await.expect("depth works");
        assert!([0, 2].contains(&depth.enqueued), "half of a batch: {depth:?}");
        assert!(round % 5 != 0 || depth.enqueued == 0, "a commit that never began was applied");
        let taken = queue.receive(1, VISIBILITY).await.expect("receive works");
        if let Some(received) = taken.first() {
            poll_and_drop(subject.commit(WriteBatch::new().ack(&received.receipt)), round % 4).await;
            // Either this one counts or the one that was dropped, and not both.
            let is_late = queue.ack(&received.receipt).await.is_err();
            assert!(round % 4 != 0 || !is_late, "a commit that never began was applied");
            let depth = queue.depth().await.expect("depth works");
            assert_eq!((depth.acked, depth.live(), depth.buried), (1, 1, 0));
        }
    }
}

/// A large batch of messages, and one of acknowledgements.
pub async fn a_thousand_messages_go_in_one_batch(subject: Subject) {
    let batch =
        (0..1_000).fold(WriteBatch::new(), |batch, n| batch.enqueue(name("q"), Message::new(n.to_string())));
    let committed = subject.commit(batch).await.expect("enqueue");
    assert!(matches!(committed.outcome(999), Outcome::Enqueued(_)));
    let taken = subject.take(1_000).await;
    assert_eq!(
        taken.iter().map(body).collect::<Vec<_>>(),
        (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    let batch = taken.iter().fold(WriteBatch::new(), |batch, received| batch.ack(&received.receipt));
    let _ = subject.commit(batch).await.expect("ack");
    assert_eq!(subject.depth().await.acked, 1_000);
}
