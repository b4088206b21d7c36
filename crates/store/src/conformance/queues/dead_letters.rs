//! What was given up is kept, with its history, to be looked at, mended and brought back.

use super::{SECOND, VISIBILITY, body, name, poison};
use crate::conformance::Subject;
use crate::{
    BuryKind, BuryReason, DeliveryEnd, MAX_HISTORY, MAX_LABEL_BYTES, Message, MessageId, MessageState,
    Outcome, QueueItem, ReplayOptions, StoreErrorKind, Write, WriteBatch,
};
use bytes::Bytes;

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
    let discard =
        |message| WriteBatch::new().with(Write::Discard { queue: name("q"), message, only_buried: false });
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

/// One that was replayed since somebody looked at it is no dead letter any more: what removes dead letters leaves it alone.
pub async fn a_message_that_was_replayed_meanwhile_is_not_discarded(subject: Subject) {
    let id = subject.enqueue(Message::new("1")).await;
    subject.queue().bury(&subject.take_one().await.receipt, poison()).await.expect("bury");
    let discard =
        |message| WriteBatch::new().with(Write::Discard { queue: name("q"), message, only_buried: true });
    subject.queue().replay(ReplayOptions::default(), |_| true).await.expect("replay");
    for late in [false, true] {
        if late {
            subject.take_one().await;
            subject.pass(VISIBILITY);
        }
        let error = subject.commit(discard(id)).await.expect_err("it lives");
        assert!(error.is_conflict() && error.to_string().contains("expected a buried one"), "{error}");
    }
    let received = subject.take_one().await;
    subject.queue().bury(&received.receipt, poison()).await.expect("bury");
    let _ = subject.commit(discard(id)).await.expect("it is a dead letter");
    assert_eq!(subject.all().await, []);
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

/// A count of deliveries that is as high as it can be stays there.
pub async fn a_count_of_deliveries_does_not_run_over(subject: Subject) {
    let now = subject.now().await;
    let mut item = QueueItem::new(MessageId::from_u64(1), Message::new("m"), MessageState::Ready, now);
    item.deliveries = u32::MAX;
    let write = Write::Restore { queue: name("q"), item: Box::new(item) };
    let _ = subject.commit(WriteBatch::new().with(write)).await.expect("restore");
    assert_eq!(subject.take_one().await.item.deliveries, u32::MAX);
    assert_eq!(subject.all().await[0].deliveries, u32::MAX);
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
