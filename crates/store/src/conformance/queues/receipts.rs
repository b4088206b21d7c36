//! Who may settle a message, and how.

use super::{SECOND, VISIBILITY, body, name, poison};
use crate::conformance::Subject;
use crate::{DeliveryEnd, Message, MessageId, MessageState, Receipt, StoreErrorKind, WriteBatch};
use martlet_base::Timestamp;

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
