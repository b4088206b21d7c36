//! What is enqueued is received: in which order, when, and how often.

use super::{SECOND, VISIBILITY, body, name};
use crate::conformance::Subject;
use crate::{Depth, Message, MessageId, MessageState, Outcome, StoreErrorKind, WriteBatch};
use martlet_base::Timestamp;
use std::time::Duration;

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

/// A visibility of zero hides nothing: whoever asks next gets it, and the one before is stale.
pub async fn a_visibility_of_zero_hides_nothing(subject: Subject) {
    subject.enqueue(Message::new("1")).await;
    let first = subject.queue().receive(1, Duration::ZERO).await.expect("receive").remove(0);
    let second = subject.take_one().await;
    let error = subject.queue().ack(&first.receipt).await.expect_err("somebody took over");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
    subject.queue().ack(&second.receipt).await.expect("ack");
}

/// All of a queue can be taken, and for ever.
pub async fn everything_may_be_taken_for_ever(subject: Subject) {
    for body in ["1", "2"] {
        subject.enqueue(Message::new(body)).await;
    }
    let taken = subject.queue().receive(usize::MAX, Duration::MAX).await.expect("receive");
    assert_eq!(taken.iter().map(body).collect::<Vec<_>>(), ["1", "2"]);
    subject.pass(VISIBILITY * 10);
    assert_eq!(subject.take(1).await, []);
    assert_eq!((subject.depth().await.in_flight, subject.all().await[0].state), (2, MessageState::InFlight));
    subject.queue().heartbeat(&taken[0].receipt, Duration::MAX).await.expect("heartbeat");
    let far = Timestamp::from_micros(i64::MAX);
    subject.queue().retry_at(&taken[0].receipt, far, "").await.expect("retry");
    subject.queue().ack(&taken[1].receipt).await.expect("ack");
    assert_eq!(subject.item(taken[0].item.id).await.map(|item| item.state), Some(MessageState::Delayed));
}

/// A clock that is set back makes nobody receive what another one has, and numbers go on growing.
pub async fn a_clock_that_goes_back_does_no_harm(subject: Subject) {
    let first = subject.enqueue(Message::new("1")).await;
    let received = subject.take_one().await;
    if !subject.step_back(SECOND * 3600) {
        return;
    }
    assert_eq!(subject.take(1).await, [], "it is in flight");
    let second = subject.enqueue(Message::new("2")).await;
    assert!(second > first);
    assert_eq!(body(&subject.take_one().await), "2");
    subject.queue().ack(&received.receipt).await.expect("still ours");
}
