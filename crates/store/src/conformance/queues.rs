//! What every store with queues promises.

use super::{Subject, key, poll_and_drop};
use crate::{
    BuryKind, BuryReason, DeliveryEnd, Depth, MAX_HISTORY, MAX_LABEL_BYTES, MAX_VALUE_BYTES, Message,
    MessageId, MessageState, Outcome, Queue, QueueItem, QueueName, Receipt, Received, ReplayOptions,
    StoreErrorKind, Version, Write, WriteBatch,
};
use bytes::Bytes;
use martlet_base::Timestamp;
use std::collections::HashSet;
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

/// A message comes out as it went in.
pub async fn what_is_enqueued_is_received(subject: Subject) {
    let before = subject.now().await;
    let message = Message::new("body").dedup_for("d", SECOND * 9).order_key("k").priority(3);
    let id = subject.enqueue(message.clone()).await;
    let received = subject.take_one().await;
    assert_eq!((received.item.id, &received.item.message), (id, &message));
    assert_eq!((received.item.state, received.item.deliveries), (MessageState::InFlight, 1));
    assert!(received.item.enqueued >= before && received.item.history.is_empty());
    assert_eq!(received.receipt.queue(), &name("q"));
    assert_eq!(received.receipt.message(), id);
    assert!(received.visible_again >= before + VISIBILITY);
    assert_eq!(received.item.visible_at, received.visible_again);
}

/// A queue that nobody enqueued to is empty in every respect.
pub async fn a_queue_that_does_not_exist_is_empty(subject: Subject) {
    assert_eq!(subject.take(10).await, []);
    assert_eq!(subject.all().await, []);
    assert_eq!(subject.depth().await, Depth::default());
    assert_eq!(subject.store.queues(None, 10).await.expect("queues"), []);
}

/// First in, first out.
pub async fn messages_come_in_the_order_of_arrival(subject: Subject) {
    let bodies: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for body in &bodies {
        subject.enqueue(Message::new(body.clone())).await;
    }
    let taken = subject.take(7).await;
    assert_eq!(taken.iter().map(body).collect::<Vec<_>>(), bodies[..7]);
    assert_eq!(subject.drain().await, bodies[7..]);
}

/// A later message has a higher number, across commits and queues.
pub async fn numbers_grow(subject: Subject) {
    let mut last = MessageId::from_u64(0);
    for n in 0..10 {
        let queue = name(if n % 2 == 0 { "q" } else { "other" });
        let batch = WriteBatch::new()
            .enqueue(queue.clone(), Message::new("1"))
            .enqueue(queue.clone(), Message::new("2"));
        let committed = subject.commit(batch).await.expect("enqueue");
        for index in 0..2 {
            let Outcome::Enqueued(id) = committed.outcome(index) else { panic!("not enqueued") };
            assert!(id > last, "{id} after {last}");
            last = id;
        }
        let taken = subject.store.receive(&queue, 2, VISIBILITY).await.expect("receive");
        for received in taken {
            let _ = subject.commit(WriteBatch::new().ack(&received.receipt)).await.expect("ack");
        }
    }
}

/// At most as many as asked for, none included.
pub async fn no_more_is_received_than_asked_for(subject: Subject) {
    for n in 0..5 {
        subject.enqueue(Message::new(n.to_string())).await;
    }
    assert_eq!(subject.take(0).await, []);
    assert_eq!(subject.take(2).await.len(), 2);
    assert_eq!(subject.take(100).await.len(), 3);
    assert_eq!(subject.take(100).await, []);
}

/// What one received, nobody else gets while it is visible to them alone.
pub async fn a_received_message_is_hidden(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    assert_eq!(subject.take(1).await, []);
    subject.pass(VISIBILITY / 2);
    assert_eq!(subject.take(1).await, []);
    subject.queue().ack(&received.receipt).await.expect("ack");
}

/// A message that is not settled comes again, with a new receipt and a higher count.
pub async fn an_unsettled_message_comes_again(subject: Subject) {
    let id = subject.enqueue(Message::new("1")).await;
    let first = subject.take_one().await;
    subject.pass(VISIBILITY);
    let second = subject.take_one().await;
    assert_eq!((second.item.id, second.item.deliveries), (id, 2));
    assert_ne!(first.receipt, second.receipt);
    assert!(second.receipt.delivery() > first.receipt.delivery());
}

/// Acknowledged is gone for good.
pub async fn an_acknowledged_message_never_comes_again(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    subject.queue().ack(&received.receipt).await.expect("ack");
    subject.pass(VISIBILITY * 2);
    assert_eq!(subject.take(1).await, []);
    assert_eq!(subject.all().await, []);
}

/// Higher first; those of equal priority in the order of arrival; negative ones last.
pub async fn priority_comes_first(subject: Subject) {
    for (n, priority) in [0, 5, -5, 5, i16::MAX, i16::MIN, 0].into_iter().enumerate() {
        subject.enqueue(Message::new(n.to_string()).priority(priority)).await;
    }
    assert_eq!(subject.take(3).await.iter().map(body).collect::<Vec<_>>(), ["4", "1", "3"]);
    assert_eq!(subject.drain().await, ["0", "6", "2", "5"]);
}

/// A message of high priority that comes late overtakes what waits, but not what was received.
pub async fn a_late_message_of_high_priority_overtakes(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    subject.enqueue(Message::new("2")).await;
    let first = subject.take_one().await;
    subject.enqueue(Message::new("urgent").priority(1)).await;
    assert_eq!(body(&first), "1");
    assert_eq!(subject.drain().await, ["urgent", "2"]);
}

/// Hidden until its time, to the microsecond.
pub async fn not_before_hides_until_its_time(subject: Subject) {
    let at = subject.now().await + SECOND * 10;
    subject.enqueue(Message::new("later").not_before(at)).await;
    subject.enqueue(Message::new("now")).await;
    assert_eq!(subject.drain().await, ["now"]);
    assert_eq!((subject.depth().await.delayed, subject.depth().await.ready), (1, 0));
    subject.pass(SECOND * 10);
    assert_eq!((subject.depth().await.delayed, subject.depth().await.ready), (0, 1));
    assert_eq!(subject.drain().await, ["later"]);
}

/// A time that has passed means now.
pub async fn a_not_before_in_the_past_is_now(subject: Subject) {
    for (n, at) in
        [Timestamp::UNIX_EPOCH, Timestamp::from_secs(-1), subject.now().await].into_iter().enumerate()
    {
        subject.enqueue(Message::new(n.to_string()).not_before(at)).await;
    }
    assert_eq!(subject.drain().await, ["0", "1", "2"]);
}

/// When their time has come, delayed messages are received by priority and number, not by their time.
pub async fn delayed_messages_join_in_their_order(subject: Subject) {
    let now = subject.now().await;
    subject.enqueue(Message::new("1").not_before(now + SECOND * 5)).await;
    subject.enqueue(Message::new("2").not_before(now + SECOND * 2)).await;
    subject.enqueue(Message::new("3").not_before(now + SECOND * 9).priority(1)).await;
    subject.enqueue(Message::new("4")).await;
    subject.pass(SECOND * 10);
    assert_eq!(subject.drain().await, ["3", "1", "2", "4"]);
}

/// The second message with the same key is told the number of the first and not enqueued.
pub async fn a_duplicate_is_not_enqueued(subject: Subject) {
    let id = subject.enqueue(Message::new("1").dedup("d")).await;
    let again = subject.queue().enqueue(Message::new("2").dedup("d")).await.expect("enqueue");
    assert_eq!(again, Outcome::Duplicate(id));
    subject.enqueue(Message::new("3").dedup("other")).await;
    subject.enqueue(Message::new("4")).await;
    subject.enqueue(Message::new("5")).await;
    assert_eq!(subject.drain().await, ["1", "3", "4", "5"]);
}

/// The key is remembered when the message is long done: it is kept apart from the body.
pub async fn a_dedup_key_outlives_its_message(subject: Subject) {
    let id = subject.enqueue(Message::new("1").dedup("d")).await;
    assert_eq!(subject.drain().await, ["1"]);
    let again = subject.queue().enqueue(Message::new("2").dedup("d")).await.expect("enqueue");
    assert_eq!(again, Outcome::Duplicate(id));
    assert_eq!(subject.all().await, []);
}

/// At the end of its window a key is forgotten, to the microsecond, whatever became of the message.
pub async fn a_dedup_key_is_forgotten_after_its_window(subject: Subject) {
    let first = subject.enqueue(Message::new("1").dedup_for("d", SECOND * 10)).await;
    subject.pass(SECOND * 5);
    let again =
        subject.queue().enqueue(Message::new("2").dedup_for("d", SECOND * 10)).await.expect("enqueue");
    assert_eq!(again, Outcome::Duplicate(first));
    // The refused one did not make the window longer.
    subject.pass(SECOND * 5);
    let second = subject.enqueue(Message::new("3").dedup_for("d", SECOND * 10)).await;
    let again = subject.queue().enqueue(Message::new("4").dedup("d")).await.expect("enqueue");
    assert_eq!(again, Outcome::Duplicate(second));
    assert_eq!(subject.drain().await, ["1", "3"]);
}

/// A window of zero remembers nothing.
pub async fn an_empty_dedup_window_remembers_nothing(subject: Subject) {
    for body in ["1", "2"] {
        subject.enqueue(Message::new(body).dedup_for("d", Duration::ZERO)).await;
    }
    assert_eq!(subject.drain().await, ["1", "2"]);
}

/// Each queue remembers for itself.
pub async fn queues_do_not_share_dedup_keys(subject: Subject) {
    for queue in ["q", "other"] {
        let batch = WriteBatch::new().enqueue(name(queue), Message::new("m").dedup("d"));
        let outcome = subject.commit(batch).await.expect("enqueue").outcome(0);
        assert!(matches!(outcome, Outcome::Enqueued(_)), "{outcome:?}");
    }
}

/// Twins in one batch: the first is enqueued.
pub async fn a_batch_sees_its_own_dedup_keys(subject: Subject) {
    let batch = WriteBatch::new()
        .enqueue(name("q"), Message::new("1").dedup("d"))
        .enqueue(name("q"), Message::new("2").dedup("d"));
    let committed = subject.commit(batch).await.expect("enqueue");
    let Outcome::Enqueued(id) = committed.outcome(0) else { panic!("not enqueued") };
    assert_eq!(committed.outcome(1), Outcome::Duplicate(id));
    assert_eq!(subject.drain().await, ["1"]);
}

/// A batch that is refused leaves no key behind, and keeps the one that was there.
pub async fn a_refused_batch_remembers_no_key(subject: Subject) {
    let refused = WriteBatch::new()
        .enqueue(name("q"), Message::new("1").dedup("d"))
        .check(key("missing"), Version::from_u64(1));
    let _ = subject.commit(refused.clone()).await.expect_err("the check does not hold");
    subject.enqueue(Message::new("2").dedup("d")).await;
    assert_eq!(subject.drain().await, ["2"]);
}

/// 64 tasks enqueue the same key at once; one message is there.
pub async fn of_many_duplicates_at_once_one_is_enqueued(subject: Subject) {
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let queue = subject.queue();
            tokio::spawn(async move { queue.enqueue(Message::new(n.to_string()).dedup("d")).await })
        })
        .collect();
    let mut enqueued = HashSet::new();
    let mut first = 0;
    for task in tasks {
        match task.await.expect("the task did not panic").expect("enqueue works") {
            Outcome::Enqueued(id) => {
                first += 1;
                enqueued.insert(id);
            }
            Outcome::Duplicate(id) => drop(enqueued.insert(id)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((first, enqueued.len(), subject.drain().await.len()), (1, 1, 1));
}

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
        let discard = Write::Discard { queue: name("q"), message: id };
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

/// A heartbeat moves the end of the visibility, in both directions.
pub async fn a_heartbeat_moves_the_end_of_the_visibility(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    subject.pass(VISIBILITY / 2);
    subject.queue().heartbeat(&received.receipt, VISIBILITY).await.expect("ours");
    subject.pass(VISIBILITY * 3 / 4);
    assert_eq!(subject.take(1).await, [], "it was prolonged");
    subject.queue().heartbeat(&received.receipt, SECOND).await.expect("ours");
    subject.pass(SECOND);
    let again = subject.take_one().await;
    assert_eq!(again.item.deliveries, 2);
}

/// A late heartbeat saves a message that nobody else took yet.
pub async fn a_late_heartbeat_counts_while_nobody_took_over(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    subject.pass(VISIBILITY * 2);
    assert_eq!(subject.depth().await.ready, 1);
    subject.queue().heartbeat(&received.receipt, VISIBILITY).await.expect("nobody took over");
    assert_eq!(subject.take(1).await, []);
    subject.queue().ack(&received.receipt).await.expect("still ours");
}

/// Whoever was too slow cannot settle what went to somebody else, in any way.
pub async fn a_stale_receipt_settles_nothing(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let old = subject.take_one().await;
    subject.pass(VISIBILITY);
    let new = subject.take_one().await;
    let at = subject.now().await;
    for batch in [
        WriteBatch::new().ack(&old.receipt),
        WriteBatch::new().retry_at(&old.receipt, at),
        WriteBatch::new().bury(&old.receipt, poison()),
        WriteBatch::new().heartbeat(&old.receipt, VISIBILITY),
    ] {
        let error = subject.commit(batch).await.expect_err("it went to somebody else");
        assert_eq!(
            (error.kind(), error.write_index(), error.write_key()),
            (StoreErrorKind::StaleFence, Some(0), Some("q")),
            "{error}"
        );
    }
    subject.queue().ack(&new.receipt).await.expect("the present holder");
}

/// A late acknowledgement counts as long as nobody else received the message.
pub async fn a_late_acknowledgement_counts_while_nobody_took_over(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    subject.enqueue(Message::new("2")).await;
    let first = subject.take(2).await;
    subject.pass(VISIBILITY * 2);
    // Somebody looks, and takes the other one.
    let other = subject.take_one().await;
    assert_eq!(body(&other), "1");
    subject.queue().ack(&first[1].receipt).await.expect("nobody took this one");
    let error = subject.queue().ack(&first[0].receipt).await.expect_err("somebody took this one");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
}

/// A message is settled once.
pub async fn a_receipt_is_good_for_one_settlement(subject: Subject) {
    for settle in 0..3 {
        subject.enqueue(Message::new("1")).await;
        let received = subject.take_one().await;
        let receipt = &received.receipt;
        let at = subject.now().await + SECOND * 3600;
        let batch = match settle {
            0 => WriteBatch::new().ack(receipt),
            1 => WriteBatch::new().retry_at(receipt, at),
            _ => WriteBatch::new().bury(receipt, poison()),
        };
        let _ = subject.commit(batch).await.expect("ours");
        for batch in [
            WriteBatch::new().ack(receipt),
            WriteBatch::new().retry_at(receipt, at),
            WriteBatch::new().bury(receipt, poison()),
            WriteBatch::new().heartbeat(receipt, SECOND),
        ] {
            let error = subject.commit(batch).await.expect_err("it was settled");
            assert_eq!(error.kind(), StoreErrorKind::StaleFence);
        }
    }
}

/// Twice in one batch is refused as a whole.
pub async fn a_batch_that_settles_twice_is_refused(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    let error = subject
        .commit(WriteBatch::new().ack(&received.receipt).ack(&received.receipt))
        .await
        .expect_err("the first write settled it");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::StaleFence, Some(1)));
    assert_eq!(subject.depth().await.in_flight, 1);
}

/// A receipt that nobody gave out is stale.
pub async fn a_forged_receipt_is_refused(subject: Subject) {
    let id = subject.enqueue(Message::new("1")).await;
    let other = Receipt::new(name("nowhere"), id, 1);
    for receipt in [
        Receipt::new(name("q"), id, 0),
        Receipt::new(name("q"), id, 1),
        Receipt::new(name("q"), MessageId::from_u64(id.as_u64() + 1), 1),
        other,
    ] {
        let error = subject.queue().ack(&receipt).await.expect_err("never given");
        assert_eq!(error.kind(), StoreErrorKind::StaleFence, "{receipt:?}");
    }
    let received = subject.take_one().await;
    let elsewhere = Receipt::new(name("other"), id, received.receipt.delivery());
    let error = subject.queue().ack(&elsewhere).await.expect_err("not of that queue");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
}

/// Put back until a time, it comes then, with its history.
pub async fn a_retry_comes_at_its_time(subject: Subject) {
    let id = subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    let at = subject.now().await + SECOND * 10;
    subject.queue().retry_at(&received.receipt, at, "503 from the platform").await.expect("retry");
    assert_eq!(subject.take(1).await, []);
    let item = subject.item(id).await.expect("it is there");
    assert_eq!((item.state, item.visible_at, item.deliveries), (MessageState::Delayed, at, 1));
    subject.pass(SECOND * 10);
    let again = subject.take_one().await;
    assert_eq!(again.item.deliveries, 2);
    let past = &again.item.history[..];
    assert_eq!(past.len(), 1);
    assert_eq!((past[0].end, past[0].detail.as_str()), (DeliveryEnd::Retried, "503 from the platform"));
    assert!(past[0].received <= past[0].ended && past[0].ended < at);
}

/// A retry in the past is at once.
pub async fn a_retry_in_the_past_is_at_once(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    subject.queue().retry_at(&received.receipt, Timestamp::UNIX_EPOCH, "").await.expect("retry");
    assert_eq!(subject.take_one().await.item.deliveries, 2);
}

/// A dead letter keeps its body, its reason and its history, and is not received any more.
pub async fn a_buried_message_is_kept(subject: Subject) {
    let id = subject.enqueue(Message::new("1").priority(2).order_key("k")).await;
    let received = subject.take_one().await;
    let reason = BuryReason::new(BuryKind::Refused, "409: no such contact");
    subject.queue().bury(&received.receipt, reason.clone()).await.expect("bury");
    subject.pass(VISIBILITY * 10);
    assert_eq!(subject.take(1).await, []);
    let item = subject.item(id).await.expect("it is kept");
    assert_eq!((item.state, item.deliveries, &item.buried), (MessageState::Buried, 1, &Some(reason)));
    assert_eq!((&*item.message.body, item.message.priority), (&b"1"[..], 2));
    let past = item.history.last().expect("how it ended");
    assert_eq!((past.end, past.detail.as_str()), (DeliveryEnd::Buried, "409: no such contact"));
    assert_eq!(subject.depth().await.buried, 1);
}

/// Every kind of reason survives.
pub async fn every_reason_is_told(subject: Subject) {
    for kind in BuryKind::ALL {
        let id = subject.enqueue(Message::new("1")).await;
        let received = subject.take_one().await;
        let reason = BuryReason::new(kind, format!("{kind:?}: ünïcode ✓"));
        subject.queue().bury(&received.receipt, reason.clone()).await.expect("bury");
        assert_eq!(subject.item(id).await.expect("kept").buried, Some(reason));
    }
}

/// A message that makes its receivers die is told by its history.
pub async fn a_lapse_is_in_the_history(subject: Subject) {
    subject.enqueue(Message::new("poison")).await;
    for n in 0..3 {
        let received = subject.take_one().await;
        assert_eq!(received.item.deliveries, n + 1);
        let ends: Vec<_> = received.item.history.iter().map(|past| past.end).collect();
        assert_eq!(ends, vec![DeliveryEnd::Lapsed; n as usize]);
        if let Some(last) = received.item.history.last() {
            assert_eq!(last.ended.since(last.received), VISIBILITY);
        }
        subject.pass(VISIBILITY);
    }
}

/// The history is bounded and keeps the last.
pub async fn the_history_keeps_the_last(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    for n in 0..MAX_HISTORY + 3 {
        let received = subject.take_one().await;
        let details: Vec<_> = received.item.history.iter().map(|past| past.detail.as_str()).collect();
        let expected: Vec<_> = (n.saturating_sub(MAX_HISTORY)..n).map(|n| n.to_string()).collect();
        assert_eq!(details, expected);
        let at = subject.now().await;
        subject.queue().retry_at(&received.receipt, at, n.to_string()).await.expect("retry");
    }
}

/// Details come from elsewhere: they become one line of a bounded length.
pub async fn details_become_one_short_line(subject: Subject) {
    let id = subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    let long = format!("a\nb\0c\u{85}{}", "é".repeat(400));
    let at = subject.now().await;
    subject.queue().retry_at(&received.receipt, at, long.clone()).await.expect("retry");
    let received = subject.take_one().await;
    subject.queue().bury(&received.receipt, BuryReason::new(BuryKind::Poison, long)).await.expect("bury");
    let item = subject.item(id).await.expect("kept");
    for detail in [&item.history[0].detail, &item.buried.expect("buried").detail] {
        assert!(detail.starts_with("a b c ") && detail.len() <= MAX_LABEL_BYTES, "{detail}");
    }
}

/// A waiting, a delayed and a buried message get another body.
pub async fn a_message_is_edited(subject: Subject) {
    let now = subject.now().await;
    let dead = subject.enqueue(Message::new("dead")).await;
    let received = subject.take_one().await;
    subject.queue().bury(&received.receipt, poison()).await.expect("bury");
    let ready = subject.enqueue(Message::new("ready")).await;
    let delayed = subject.enqueue(Message::new("delayed").not_before(now + SECOND * 60)).await;
    for id in [dead, ready, delayed] {
        let before = subject.item(id).await.expect("there");
        subject.queue().edit(id, "mended").await.expect("not in flight");
        let after = subject.item(id).await.expect("there");
        assert_eq!(after.message.body, "mended");
        assert_eq!((after.state, after.visible_at), (before.state, before.visible_at));
        assert_eq!((after.history, after.buried), (before.history, before.buried));
    }
    assert_eq!(subject.drain().await, ["mended"]);
}

/// What somebody works on is not edited, nor what is not there.
pub async fn a_message_in_flight_is_not_edited(subject: Subject) {
    let id = subject.enqueue(Message::new("1")).await;
    subject.take_one().await;
    for id in [id, MessageId::from_u64(id.as_u64() + 1)] {
        let error = subject.queue().edit(id, "2").await.expect_err("in flight, or not there");
        assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error}");
    }
    let batch = WriteBatch::new().with(Write::Edit { queue: name("other"), message: id, body: "x".into() });
    assert!(subject.commit(batch).await.expect_err("another queue's").is_conflict());
    assert_eq!(subject.item(id).await.expect("there").message.body, "1");
}

/// Whoever let a message lapse cannot acknowledge what was edited meanwhile.
pub async fn an_edit_ends_the_right_of_a_late_receiver(subject: Subject) {
    let id = subject.enqueue(Message::new("1")).await;
    let late = subject.take_one().await;
    subject.pass(VISIBILITY);
    subject.queue().edit(id, "2").await.expect("it lapsed");
    let error = subject.queue().ack(&late.receipt).await.expect_err("it was edited");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
    let again = subject.take_one().await;
    assert_eq!((body(&again), again.item.deliveries), ("2", 2));
    assert_eq!(again.item.history.len(), 1, "the lapse is told once");
}

/// A replayed dead letter is received like a new message; its history is kept.
pub async fn a_dead_letter_is_replayed(subject: Subject) {
    let id = subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    subject.queue().bury(&received.receipt, poison()).await.expect("bury");
    let moved = subject.queue().replay(ReplayOptions::default(), |_| true).await.expect("replay");
    assert_eq!((moved.seen, moved.moved, moved.gone), (1, 1, 0));
    let again = subject.take_one().await;
    assert_eq!((again.item.id, again.item.deliveries, &again.item.buried), (id, 1, &None));
    assert_eq!(again.item.history.len(), 1);
    assert_ne!(again.receipt, received.receipt, "an old receipt does not come back");
    let error = subject.queue().ack(&received.receipt).await.expect_err("an old receipt");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
}

/// Only dead letters are replayed.
pub async fn a_living_message_is_not_replayed(subject: Subject) {
    let at = subject.now().await;
    let replay = |id| WriteBatch::new().with(Write::Replay { queue: name("q"), message: id, at });
    let id = subject.enqueue(Message::new("1")).await;
    assert!(subject.commit(replay(id)).await.expect_err("it is ready").is_conflict());
    subject.take_one().await;
    assert!(subject.commit(replay(id)).await.expect_err("it is in flight").is_conflict());
    let missing = MessageId::from_u64(id.as_u64() + 1);
    assert!(subject.commit(replay(missing)).await.expect_err("not there").is_conflict());
}

/// A replayed message waits for the one of its key that is under way, and goes before the others.
pub async fn a_replayed_message_joins_its_key(subject: Subject) {
    for n in 1..=3 {
        subject.enqueue(Message::new(n.to_string()).order_key("k")).await;
    }
    let first = subject.take_one().await;
    subject.queue().bury(&first.receipt, poison()).await.expect("bury");
    let second = subject.take_one().await;
    assert_eq!(body(&second), "2");
    subject.queue().replay(ReplayOptions::default(), |_| true).await.expect("replay");
    assert_eq!(subject.take(10).await, [], "2 is under way");
    subject.queue().ack(&second.receipt).await.expect("ack");
    assert_eq!(subject.drain().await, ["1", "3"]);
}

/// A rate spreads what is replayed over time.
pub async fn a_replay_has_a_rate(subject: Subject) {
    for n in 0..10 {
        subject.enqueue(Message::new(n.to_string())).await;
    }
    for received in subject.take(10).await {
        subject.queue().bury(&received.receipt, poison()).await.expect("bury");
    }
    let before = subject.now().await;
    let moved =
        subject.queue().replay(ReplayOptions::default().per_second(2), |_| true).await.expect("replay");
    assert_eq!(moved.moved, 10);
    assert!(moved.until.expect("some were moved") >= before + SECOND * 9 / 2);
    let depth = subject.depth().await;
    assert!(depth.ready <= 2 && depth.delayed >= 8, "{depth:?}");
    subject.pass(SECOND);
    assert!(subject.depth().await.ready >= 2);
    subject.pass(SECOND * 5);
    assert_eq!(subject.depth().await.ready, 10);
}

/// A dry run tells and moves nothing.
pub async fn a_dry_run_moves_nothing(subject: Subject) {
    for n in 0..3 {
        subject.enqueue(Message::new(n.to_string())).await;
    }
    for received in subject.take(3).await {
        subject.queue().bury(&received.receipt, poison()).await.expect("bury");
    }
    let before = subject.all().await;
    let matches = |item: &QueueItem| item.message.body != "1";
    let moved = subject.queue().replay(ReplayOptions::default().dry_run(), matches).await.expect("look");
    assert_eq!((moved.seen, moved.moved), (3, 2));
    assert_eq!(subject.all().await, before);
}

/// A filter and a limit choose what is replayed, the oldest first.
pub async fn a_replay_is_filtered_and_limited(subject: Subject) {
    for n in 0..600 {
        let order = WriteBatch::new().enqueue(name("q"), Message::new((n % 3).to_string()));
        let _ = subject.commit(order).await.expect("enqueue");
    }
    let taken = subject.take(600).await;
    let batch =
        taken.iter().fold(WriteBatch::new(), |batch, received| batch.bury(&received.receipt, poison()));
    let _ = subject.commit(batch).await.expect("bury");
    let options = ReplayOptions::default().limit(5);
    let moved = subject.queue().replay(options, |item| item.message.body == "2").await.expect("replay");
    assert_eq!(moved.moved, 5);
    let ids: Vec<_> = subject.take(10).await.into_iter().map(|received| received.item.id).collect();
    let expected: Vec<_> = [2, 5, 8, 11, 14].map(|n| taken[n].item.id).into();
    assert_eq!(ids, expected);
    let moved = subject.queue().replay(ReplayOptions::default(), |_| true).await.expect("replay");
    assert_eq!(moved.moved, 595, "more than one page");
}

/// Discarded is gone.
pub async fn a_message_is_discarded(subject: Subject) {
    let discard = |id| WriteBatch::new().with(Write::Discard { queue: name("q"), message: id });
    let id = subject.enqueue(Message::new("1")).await;
    subject.enqueue(Message::new("2")).await;
    let _ = subject.commit(discard(id)).await.expect("it is ready");
    assert!(subject.commit(discard(id)).await.expect_err("not there").is_conflict());
    let received = subject.take_one().await;
    assert_eq!(body(&received), "2");
    assert!(subject.commit(discard(received.item.id)).await.expect_err("in flight").is_conflict());
    subject.pass(VISIBILITY);
    let _ = subject.commit(discard(received.item.id)).await.expect("it lapsed");
    assert_eq!(subject.all().await, []);
}

/// Dead letters are discarded by a filter; living messages stay.
pub async fn dead_letters_are_discarded_by_a_filter(subject: Subject) {
    for n in 0..4 {
        subject.enqueue(Message::new(n.to_string())).await;
    }
    for received in subject.take(3).await {
        subject.queue().bury(&received.receipt, poison()).await.expect("bury");
    }
    let moved = subject.queue().discard(|item| item.message.body != "1").await.expect("discard");
    assert_eq!(moved.moved, 2);
    let left: Vec<Bytes> = subject.all().await.into_iter().map(|item| item.message.body).collect();
    assert_eq!(left, ["1", "3"]);
}

/// Every state is counted.
pub async fn the_depth_counts_every_state(subject: Subject) {
    let now = subject.now().await;
    for (body, order) in [("head", Some("k")), ("behind", Some("k")), ("bury", None), ("ready", None)] {
        let mut message = Message::new(body);
        message.order_key = order.map(str::to_owned);
        subject.enqueue(message).await;
    }
    subject.enqueue(Message::new("later").not_before(now + SECOND * 60)).await;
    let taken = subject.take(2).await;
    assert_eq!(taken.iter().map(body).collect::<Vec<_>>(), ["head", "bury"]);
    subject.queue().bury(&taken[1].receipt, poison()).await.expect("bury");
    let depth = subject.depth().await;
    assert_eq!(
        (depth.ready, depth.delayed, depth.in_flight, depth.blocked, depth.buried),
        (1, 1, 1, 1, 1),
        "{depth:?}"
    );
    assert_eq!((depth.live(), depth.total()), (4, 5));
    for (state, bodies) in [
        (MessageState::InFlight, "head"),
        (MessageState::Blocked, "behind"),
        (MessageState::Buried, "bury"),
        (MessageState::Ready, "ready"),
        (MessageState::Delayed, "later"),
    ] {
        let found = subject.queue().peek(Some(state), None, 10).await.expect("peek");
        assert_eq!(found.iter().map(|item| &*item.message.body).collect::<Vec<_>>(), [bodies.as_bytes()]);
        assert_eq!(found[0].state, state);
    }
}

/// The age of the oldest message that is not done.
pub async fn the_oldest_is_told(subject: Subject) {
    assert_eq!(subject.depth().await.oldest, None);
    let mut times = Vec::new();
    for priority in [0, 9, 0] {
        let id = subject.enqueue(Message::new("m").priority(priority)).await;
        times.push(subject.item(id).await.expect("there").enqueued);
        subject.pass(SECOND);
    }
    assert_eq!(subject.depth().await.oldest, Some(times[0]));
    let urgent = subject.take_one().await;
    assert_eq!(subject.depth().await.oldest, Some(times[0]));
    let first = subject.take_one().await;
    assert_eq!(subject.depth().await.oldest, Some(times[0]), "in flight is not done");
    subject.queue().bury(&first.receipt, poison()).await.expect("bury");
    assert_eq!(subject.depth().await.oldest, Some(times[1]), "a dead letter does not age");
    subject.queue().ack(&urgent.receipt).await.expect("ack");
    assert_eq!(subject.depth().await.oldest, Some(times[2]));
    subject.drain().await;
    assert_eq!(subject.depth().await.oldest, None);
}

/// Two looks tell the throughput.
pub async fn the_totals_grow_with_what_is_done(subject: Subject) {
    for n in 0..5 {
        subject.enqueue(Message::new(n.to_string()).dedup(n.to_string())).await;
    }
    let duplicate = subject.queue().enqueue(Message::new("x").dedup("0")).await.expect("enqueue");
    assert!(matches!(duplicate, Outcome::Duplicate(_)));
    let taken = subject.take(3).await;
    subject.queue().ack(&taken[0].receipt).await.expect("ack");
    subject.queue().bury(&taken[1].receipt, poison()).await.expect("bury");
    let depth = subject.depth().await;
    assert_eq!((depth.enqueued, depth.acked), (5, 1));
    let refused = WriteBatch::new()
        .enqueue(name("q"), Message::new("no"))
        .ack(&taken[2].receipt)
        .check(key("missing"), Version::from_u64(1));
    let _ = subject.commit(refused).await.expect_err("the check does not hold");
    assert_eq!(subject.depth().await, depth, "a refused batch counts nothing");
}

/// Pages of any size join, and looking takes nothing.
pub async fn a_look_takes_nothing(subject: Subject) {
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(subject.enqueue(Message::new(n.to_string()).priority(n)).await);
    }
    for page in [1, 3, 10, 11] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let items = subject.queue().peek(Some(MessageState::Ready), after, page).await.expect("peek");
            let is_last = items.len() < page;
            found.extend(items.iter().map(|item| item.id));
            after = found.last().copied();
            if is_last {
                break;
            }
        }
        assert_eq!(found, ids, "pages of {page}");
    }
    assert_eq!(subject.queue().peek(None, None, 0).await.expect("peek"), []);
    assert_eq!(subject.queue().peek(None, Some(ids[9]), 10).await.expect("peek"), []);
    assert_eq!(subject.depth().await.ready, 10);
}

/// Queues that ever held a message are listed by name.
pub async fn queues_are_listed(subject: Subject) {
    for queue in ["b", "a", "日本", "c"] {
        let _ =
            subject.commit(WriteBatch::new().enqueue(name(queue), Message::new("m"))).await.expect("enqueue");
    }
    let refused = WriteBatch::new()
        .enqueue(name("never"), Message::new("m"))
        .check(key("missing"), Version::from_u64(1));
    let _ = subject.commit(refused).await.expect_err("the check does not hold");
    let taken = subject.store.receive(&name("a"), 1, VISIBILITY).await.expect("receive");
    let _ = subject.commit(WriteBatch::new().ack(&taken[0].receipt)).await.expect("ack");
    let all = subject.store.queues(None, 10).await.expect("queues");
    assert_eq!(all, ["a", "b", "c", "日本"].map(name));
    assert_eq!(subject.store.queues(Some(&name("b")), 1).await.expect("queues"), [name("c")]);
    assert_eq!(subject.store.queues(Some(&name("bb")), 10).await.expect("queues"), ["c", "日本"].map(name));
}

/// Each queue has its own messages.
pub async fn queues_do_not_mix(subject: Subject) {
    for queue in ["q", "Q", "q ", "ｑ"] {
        let batch = WriteBatch::new().enqueue(name(queue), Message::new(queue.to_owned()));
        let _ = subject.commit(batch).await.expect("enqueue");
    }
    for queue in ["q", "Q", "q ", "ｑ"] {
        let taken = subject.store.receive(&name(queue), 10, VISIBILITY).await.expect("receive");
        assert_eq!(taken.iter().map(body).collect::<Vec<_>>(), [queue]);
    }
}

/// Bodies are bytes: none, all 256 of them, a mebibyte.
pub async fn empty_and_huge_bodies_survive(subject: Subject) {
    let all: Vec<u8> = (0..=255).collect();
    let huge = all.repeat(4096);
    for body in [Vec::new(), huge.clone(), all.clone()] {
        subject.enqueue(Message::new(body)).await;
    }
    let taken = subject.take(10).await;
    assert_eq!(taken[0].item.message.body, Bytes::new());
    assert!(taken[1].item.message.body == huge, "the mebibyte differs");
    assert_eq!(taken[2].item.message.body, all);
}

/// Keys are text in any script, told apart by their bytes.
pub async fn keys_in_any_script_are_told_apart(subject: Subject) {
    let longest = "é".repeat(256);
    let keys = ["é", "e\u{301}", "I", "i", "ı", "a ", "a", "👩‍👧", "%", "'; --", "{}", &longest];
    for key in keys {
        subject.enqueue(Message::new(key.to_owned()).dedup(key).order_key(key)).await;
    }
    assert_eq!(subject.take(100).await.iter().map(body).collect::<Vec<_>>(), keys);
}

/// A body over the cap is refused with its batch.
pub async fn a_body_over_the_cap_is_refused_beforehand(subject: Subject) {
    let batch = WriteBatch::new()
        .enqueue(name("q"), Message::new("1"))
        .enqueue(name("q"), Message::new(vec![0; MAX_VALUE_BYTES + 1]));
    let error = subject.commit(batch).await.expect_err("too large");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::TooLarge, Some(1)));
    let id = subject.enqueue(Message::new("1")).await;
    let error = subject.queue().edit(id, vec![0; MAX_VALUE_BYTES + 1]).await.expect_err("too large");
    assert_eq!(error.kind(), StoreErrorKind::TooLarge);
    assert_eq!(subject.drain().await, ["1"]);
}

/// Keys that are empty, too long or hold control characters are refused beforehand.
pub async fn bad_keys_are_refused_beforehand(subject: Subject) {
    for key in ["", "a\0b", "a\nb", &"x".repeat(MAX_LABEL_BYTES + 1)] {
        for message in [Message::new("m").dedup(key), Message::new("m").order_key(key)] {
            let error = subject.queue().enqueue(message).await.expect_err("a bad key");
            assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}");
        }
    }
    assert_eq!(subject.all().await, []);
}

/// With something to receive, nobody waits.
pub async fn a_ready_queue_does_not_wait(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    subject.store.ready(&name("q")).await.expect("ready");
    let taken = subject.queue().next(10, VISIBILITY).await.expect("next");
    assert_eq!(taken.len(), 1);
}

/// Whoever waits is woken by a message.
pub async fn an_enqueue_wakes_who_waits(subject: Subject) {
    for _ in 0..5 {
        let queue = subject.queue();
        let waiter = tokio::spawn(async move { queue.next(1, VISIBILITY).await });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(!waiter.is_finished());
        subject.enqueue(Message::new("wake up")).await;
        let taken = waiter.await.expect("the task did not panic").expect("next");
        assert_eq!(body(&taken[0]), "wake up");
        subject.queue().ack(&taken[0].receipt).await.expect("ack");
    }
}

/// Whoever waits is woken when the time of a message has come.
pub async fn the_time_of_a_message_wakes_who_waits(subject: Subject) {
    let at = subject.now().await + SECOND;
    subject.enqueue(Message::new("later").not_before(at)).await;
    let queue = subject.queue();
    let waiter = tokio::spawn(async move { queue.next(1, VISIBILITY).await });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    while !waiter.is_finished() {
        subject.pass(SECOND);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(body(&waiter.await.expect("the task did not panic").expect("next")[0]), "later");
}

/// Whoever waits is woken when the message before is done.
pub async fn the_end_of_a_message_wakes_who_waits_for_the_next(subject: Subject) {
    subject.enqueue(Message::new("1").order_key("k")).await;
    subject.enqueue(Message::new("2").order_key("k")).await;
    let first = subject.take_one().await;
    let queue = subject.queue();
    let waiter = tokio::spawn(async move { queue.next(1, VISIBILITY).await });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!waiter.is_finished());
    subject.queue().ack(&first.receipt).await.expect("ack");
    assert_eq!(body(&waiter.await.expect("the task did not panic").expect("next")[0]), "2");
}

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
    // A receive that is answered comes after all that were sent before it.
    subject.take(1).await;
    subject.pass(VISIBILITY);
    let bodies = subject.take(100).await.iter().map(|received| body(received).to_owned()).collect::<Vec<_>>();
    assert_eq!(bodies, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// An enqueue or acknowledgement whose future is dropped at any point is whole or nothing.
pub async fn a_dropped_settlement_is_whole_or_nothing(subject: Subject) {
    for round in 0..40 {
        let Depth { enqueued, .. } = subject.depth().await;
        let batch = WriteBatch::new()
            .enqueue(name("q"), Message::new("1").order_key("k").dedup(format!("{round}/1")))
            .enqueue(name("q"), Message::new("2").order_key("k").dedup(format!("{round}/2")));
        poll_and_drop(subject.commit(batch), round % 5).await;
        let _ = subject
            .commit(WriteBatch::new().put(key("barrier"), crate::Expect::Any, "v"))
            .await
            .expect("put");
        let depth = subject.depth().await;
        assert!([enqueued, enqueued + 2].contains(&depth.enqueued), "half of a batch: {depth:?}");
        let acked = depth.acked;
        if let Some(received) = subject.take(1).await.first() {
            poll_and_drop(subject.commit(WriteBatch::new().ack(&received.receipt)), round % 4).await;
            let _ = subject
                .commit(WriteBatch::new().put(key("barrier"), crate::Expect::Any, "v"))
                .await
                .expect("put");
            let depth = subject.depth().await;
            assert_eq!(depth.acked + depth.live(), depth.enqueued);
            let settled = subject.queue().ack(&received.receipt).await.is_err();
            assert_eq!(settled, depth.acked == acked + 1);
        }
    }
    assert_eq!(subject.depth().await.buried, 0);
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

/// A visibility of zero hides nothing: whoever asks next gets it, and the one before is stale.
pub async fn a_visibility_of_zero_hides_nothing(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let first = subject.queue().receive(1, Duration::ZERO).await.expect("receive").remove(0);
    let second = subject.take_one().await;
    let error = subject.queue().ack(&first.receipt).await.expect_err("somebody took over");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
    subject.queue().ack(&second.receipt).await.expect("ack");
}

/// A message that is copied keeps its age, its count, its history and its grave.
pub async fn a_restored_message_is_as_it_was(subject: Subject) {
    let now = subject.now().await;
    let message = Message::new("old").order_key("k").priority(4).dedup_for("d", SECOND * 3600);
    let mut item = QueueItem::new(MessageId::from_u64(77), message, MessageState::Delayed, now - SECOND * 60);
    item.visible_at = now + SECOND * 5;
    item.deliveries = 2;
    item.history =
        vec![crate::PastDelivery::new(now - SECOND * 50, now - SECOND * 40, DeliveryEnd::Retried, "x")];
    let mut dead = item.clone();
    dead.state = MessageState::Buried;
    dead.message.dedup = None;
    dead.buried = Some(poison());
    let mut ids = Vec::new();
    for item in [&item, &dead] {
        let write = Write::Restore { queue: name("q"), item: Box::new(item.clone()) };
        match subject.commit(WriteBatch::new().with(write)).await.expect("restore").outcome(0) {
            Outcome::Enqueued(id) => ids.push(id),
            other => panic!("{other:?}"),
        }
    }
    for (id, before) in ids.iter().zip([&item, &dead]) {
        let after = subject.item(*id).await.expect("restored");
        assert_eq!(QueueItem { id: before.id, ..after }, *before);
    }
    let duplicate = subject.queue().enqueue(Message::new("new").dedup("d")).await.expect("enqueue");
    assert_eq!(duplicate, Outcome::Duplicate(ids[0]));
    subject.pass(SECOND * 5);
    let received = subject.take_one().await;
    assert_eq!((received.item.id, received.item.deliveries), (ids[0], 3));
}

/// A message that was in flight where it was copied from can be received at once.
pub async fn a_restored_message_in_flight_is_ready(subject: Subject) {
    let now = subject.now().await;
    let mut item = QueueItem::new(MessageId::from_u64(1), Message::new("m"), MessageState::InFlight, now);
    item.visible_at = now + SECOND * 3600;
    let write = Write::Restore { queue: name("q"), item: Box::new(item) };
    let _ = subject.commit(WriteBatch::new().with(write)).await.expect("restore");
    assert_eq!(body(&subject.take_one().await), "m");
}

/// A clock that is set back makes nobody receive what another one has, and numbers go on growing.
pub async fn a_clock_that_goes_back_does_no_harm(subject: Subject) {
    let first = subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    let sequence = {
        let log = crate::LogId::new("k", "1").expect("valid");
        let batch = WriteBatch::new().append(log, None, "1");
        if subject.store.capabilities().logs {
            let _ = subject.commit(batch.clone()).await.expect("append");
        }
        batch
    };
    let fence = subject.store.lease(&key("job"), "a", SECOND).await.expect("lease").expect("free");
    if !subject.step_back(SECOND * 3600) {
        return;
    }
    assert_eq!(subject.take(1).await, [], "it is in flight");
    let second = subject.enqueue(Message::new("2")).await;
    assert!(second > first);
    assert_eq!(body(&subject.take_one().await), "2");
    subject.queue().ack(&received.receipt).await.expect("still ours");
    if subject.store.capabilities().logs {
        assert_eq!(subject.commit(sequence).await.expect("append").outcome(0), Outcome::Appended(2));
    }
    let again = subject.store.lease(&key("job"), "a", SECOND).await.expect("lease").expect("still ours");
    assert!(again.token() >= fence.token());
    let _ = subject.commit(WriteBatch::new().fenced(&again)).await.expect("the latest");
}
