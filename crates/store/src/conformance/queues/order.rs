//! Messages of one order key come one after another.

use super::{SECOND, VISIBILITY, body, name, poison};
use crate::conformance::Subject;
use crate::{Message, MessageId, MessageState, QueueItem, Write, WriteBatch};

/// One after another, however many are asked for.
pub async fn messages_of_one_key_come_one_after_another(subject: Subject) {
    for n in 0..4 {
        subject.enqueue(Message::new(n.to_string()).order_key("k")).await;
    }
    for n in 0..4 {
        let taken = subject.take(10).await;
        assert_eq!(taken.iter().map(body).collect::<Vec<_>>(), [n.to_string()]);
        assert_eq!(subject.take(10).await, [], "the next waits for this one");
        assert_eq!(subject.depth().await.blocked, 3 - n);
        subject.queue().ack(&taken[0].receipt).await.expect("ack");
    }
    assert_eq!(subject.depth().await.live(), 0);
}

/// Other keys, and messages without one, go on meanwhile.
pub async fn other_keys_go_on(subject: Subject) {
    for (body, order) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
        subject.enqueue(Message::new(body).order_key(order)).await;
    }
    subject.enqueue(Message::new("free1")).await;
    subject.enqueue(Message::new("free2")).await;
    let taken = subject.take(10).await;
    assert_eq!(taken.iter().map(body).collect::<Vec<_>>(), ["a1", "b1", "free1", "free2"]);
    subject.queue().ack(&taken[1].receipt).await.expect("ack");
    assert_eq!(subject.take(10).await.iter().map(body).collect::<Vec<_>>(), ["b2"]);
}

/// A message that is put back keeps its place: those behind it wait for its retry.
pub async fn a_retry_keeps_its_place_in_the_order(subject: Subject) {
    subject.enqueue(Message::new("1").order_key("k")).await;
    subject.enqueue(Message::new("2").order_key("k")).await;
    let received = subject.take_one().await;
    let at = subject.now().await + SECOND * 10;
    subject.queue().retry_at(&received.receipt, at, "503").await.expect("retry");
    assert_eq!(subject.take(10).await, []);
    subject.pass(SECOND * 10);
    assert_eq!(subject.drain().await, ["1", "2"]);
}

/// So does one whose visibility ran out.
pub async fn a_lapse_keeps_its_place_in_the_order(subject: Subject) {
    subject.enqueue(Message::new("1").order_key("k")).await;
    subject.enqueue(Message::new("2").order_key("k")).await;
    subject.take_one().await;
    subject.pass(VISIBILITY);
    assert_eq!(subject.drain().await, ["1", "2"]);
}

/// A dead letter does not hold up those behind it.
pub async fn a_buried_message_lets_the_next_go_on(subject: Subject) {
    subject.enqueue(Message::new("1").order_key("k")).await;
    subject.enqueue(Message::new("2").order_key("k")).await;
    let received = subject.take_one().await;
    subject.queue().bury(&received.receipt, poison()).await.expect("bury");
    assert_eq!(subject.drain().await, ["2"]);
}

/// Nor does a discarded one, at the head or behind it.
pub async fn a_discarded_message_lets_the_next_go_on(subject: Subject) {
    let mut ids = Vec::new();
    for n in 1..=4 {
        ids.push(subject.enqueue(Message::new(n.to_string()).order_key("k")).await);
    }
    for id in [ids[1], ids[0]] {
        let discard = Write::Discard { queue: name("q"), message: id, only_buried: false };
        let _ = subject.commit(WriteBatch::new().with(discard)).await.expect("discard");
    }
    assert_eq!(subject.drain().await, ["3", "4"]);
}

/// The first of a key that has to wait makes the others wait.
pub async fn a_delayed_message_holds_up_its_key(subject: Subject) {
    let at = subject.now().await + SECOND * 10;
    subject.enqueue(Message::new("1").order_key("k").not_before(at)).await;
    subject.enqueue(Message::new("2").order_key("k")).await;
    assert_eq!(subject.take(10).await, []);
    let depth = subject.depth().await;
    assert_eq!((depth.delayed, depth.blocked), (1, 1));
    subject.pass(SECOND * 10);
    assert_eq!(subject.drain().await, ["1", "2"]);
}

/// Within a key the order counts, not the priority.
pub async fn the_order_of_a_key_is_stronger_than_priority(subject: Subject) {
    subject.enqueue(Message::new("1").order_key("k")).await;
    subject.enqueue(Message::new("2").order_key("k").priority(9)).await;
    subject.enqueue(Message::new("free").priority(5)).await;
    assert_eq!(subject.drain().await, ["free", "1", "2"]);
}

/// A message that is copied stands behind those of its key that are there; a dead letter neither waits nor holds anybody up.
pub async fn a_restored_message_joins_its_key(subject: Subject) {
    let now = subject.now().await;
    let item = |body: &str| {
        let message = Message::new(body.to_owned()).order_key("k");
        QueueItem::new(MessageId::from_u64(1), message, MessageState::Ready, now)
    };
    let mut dead = item("dead");
    (dead.state, dead.buried) = (MessageState::Buried, Some(poison()));
    let restore = |item| WriteBatch::new().with(Write::Restore { queue: name("q"), item: Box::new(item) });
    let _ = subject.commit(restore(dead)).await.expect("restore");
    subject.enqueue(Message::new("1").order_key("k")).await;
    let _ = subject.commit(restore(item("2"))).await.expect("restore");
    let depth = subject.depth().await;
    assert_eq!((depth.ready, depth.blocked, depth.buried), (1, 1, 1));
    assert_eq!(subject.drain().await, ["1", "2"]);
}

/// The same key in another queue is another key.
pub async fn queues_do_not_share_order_keys(subject: Subject) {
    for queue in ["q", "other"] {
        let batch = WriteBatch::new().enqueue(name(queue), Message::new("m").order_key("k"));
        let _ = subject.commit(batch).await.expect("enqueue");
        assert_eq!(subject.store.receive(&name(queue), 1, VISIBILITY).await.expect("receive").len(), 1);
    }
}

/// A batch that acknowledges one message of a key and enqueues another keeps the order.
pub async fn a_batch_keeps_the_order_of_a_key(subject: Subject) {
    subject.enqueue(Message::new("1").order_key("k")).await;
    let received = subject.take_one().await;
    let batch = WriteBatch::new()
        .enqueue(name("q"), Message::new("2").order_key("k"))
        .ack(&received.receipt)
        .enqueue(name("q"), Message::new("3").order_key("k"));
    let _ = subject.commit(batch).await.expect("commit");
    assert_eq!(subject.depth().await.blocked, 1);
    assert_eq!(subject.drain().await, ["2", "3"]);
}
