//! What holds when one batch touches several shapes.

mod upkeep;

pub use upkeep::*;

use super::{Subject, key, poll_and_drop, until_whole};
use crate::{
    BuryKind, BuryReason, Expect, Fence, LogId, Message, Outcome, QueueName, Received, Record,
    StoreErrorKind, Version, WriteBatch,
};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("the suite uses valid names")
}

fn log() -> LogId {
    LogId::new("run", "1").expect("the suite uses valid names")
}

impl Subject {
    async fn one(&self, name: &str) -> Received {
        let batch = WriteBatch::new().enqueue(queue(name), Message::new("m"));
        let _ = self.commit(batch).await.expect("enqueue");
        self.store.receive(&queue(name), 1, MINUTE).await.expect("receive").remove(0)
    }

    /// Cells, records, and the depths of the two queues.
    async fn everything(&self) -> (Vec<String>, Vec<Record>, [u64; 2]) {
        let names = self.names("", 100).await;
        let records = self.store.read_log(&log(), 1, 100).await.expect("read");
        let mut depths = [0; 2];
        for (depth, name) in depths.iter_mut().zip(["inbox", "outbox"]) {
            *depth = self.store.depth(&queue(name)).await.expect("depth").total();
        }
        (names, records, depths)
    }
}

/// Acknowledge, move the checkpoint, note it and send what follows: all of it at once.
pub async fn an_acknowledgement_and_what_follows_go_together(subject: Subject) {
    let received = subject.one("inbox").await;
    let batch = WriteBatch::new()
        .ack(&received.receipt)
        .put(key("checkpoint"), Expect::Absent, "1")
        .append(log(), None, "done")
        .enqueue(queue("outbox"), Message::new("next"));
    let committed = subject.commit(batch).await.expect("all of it");
    assert_eq!(committed.outcome(0), Outcome::Done);
    assert_eq!(committed.outcome(2), Outcome::Appended(1));
    assert!(matches!(committed.outcome(3), Outcome::Enqueued(_)));
    let (names, records, depths) = subject.everything().await;
    assert_eq!((names, records.len(), depths), (vec!["checkpoint".to_owned()], 1, [0, 1]));
    assert_eq!(subject.read("checkpoint").await.expect("written").version, committed.version());
}

/// Whichever write is refused, and wherever it stands, nothing of the batch is there.
pub async fn any_refused_write_undoes_every_shape(subject: Subject) {
    let received = subject.one("inbox").await;
    let stale = crate::Receipt::new(queue("inbox"), received.item.id, received.receipt.delivery() + 1);
    let fence = Fence::new(key("job"), 1);
    let before = subject.everything().await;
    for (n, kind) in [
        StoreErrorKind::Conflict,
        StoreErrorKind::StaleFence,
        StoreErrorKind::StaleFence,
        StoreErrorKind::StaleFence,
    ]
    .into_iter()
    .enumerate()
    {
        for first in [true, false] {
            let bad = WriteBatch::new();
            let bad = match n {
                0 => bad.put(key("c"), Version::from_u64(99), "v"),
                1 => bad.ack(&stale),
                2 => bad.append(log(), Some(&fence), "r"),
                _ => bad.fenced(&fence),
            };
            let good = WriteBatch::new()
                .put(key("a"), Expect::Any, "v")
                .append(log(), None, "r")
                .enqueue(queue("outbox"), Message::new("m").dedup("d"))
                .ack(&received.receipt);
            let (index, batch): (usize, WriteBatch) = if first {
                (0, bad.into_writes().into_iter().chain(good.into_writes()).collect())
            } else {
                (4, good.into_writes().into_iter().chain(bad.into_writes()).collect())
            };
            let error = subject.commit(batch).await.expect_err("one write is bad");
            assert_eq!((error.kind(), error.write_index()), (kind, Some(index)), "{error}");
            assert_eq!(subject.everything().await, before);
        }
    }
    // The receipt and the dedup key are as good as before.
    let batch =
        WriteBatch::new().ack(&received.receipt).enqueue(queue("outbox"), Message::new("m").dedup("d"));
    let committed = subject.commit(batch).await.expect("nothing was used up");
    assert!(matches!(committed.outcome(1), Outcome::Enqueued(_)));
}

/// A compare-and-set that is lost keeps the message in flight, to be settled otherwise.
pub async fn a_lost_compare_and_set_leaves_the_message_in_flight(subject: Subject) {
    let received = subject.one("inbox").await;
    let batch = WriteBatch::new().put(key("c"), Version::from_u64(5), "v").ack(&received.receipt);
    assert!(subject.commit(batch).await.expect_err("no such version").is_conflict());
    assert_eq!(subject.store.depth(&queue("inbox")).await.expect("depth").in_flight, 1);
    let reason = BuryReason::new(BuryKind::Refused, "lost");
    let _ = subject.commit(WriteBatch::new().bury(&received.receipt, reason)).await.expect("still ours");
    assert_eq!(subject.store.depth(&queue("inbox")).await.expect("depth").buried, 1);
}

/// A duplicate does not refuse its batch: the rest is done.
pub async fn a_duplicate_lets_its_batch_pass(subject: Subject) {
    let once = |cell: &str| {
        WriteBatch::new().enqueue(queue("outbox"), Message::new("m").dedup("d")).put(
            key(cell),
            Expect::Absent,
            "v",
        )
    };
    let Outcome::Enqueued(id) = subject.commit(once("a")).await.expect("first").outcome(0) else {
        panic!("not enqueued")
    };
    assert_eq!(subject.commit(once("b")).await.expect("second").outcome(0), Outcome::Duplicate(id));
    assert_eq!(subject.names("", 10).await, ["a", "b"]);
    assert_eq!(subject.store.depth(&queue("outbox")).await.expect("depth").total(), 1);
}

/// The fence of a lease guards messages like everything else.
pub async fn a_fence_guards_an_acknowledgement(subject: Subject) {
    let received = subject.one("inbox").await;
    let old = subject.store.lease(&key("job"), "a", MINUTE).await.expect("lease").expect("free");
    let _ = subject.store.lease(&key("job"), "a", Duration::ZERO).await.expect("release");
    let new = subject.store.lease(&key("job"), "b", MINUTE).await.expect("lease").expect("free");
    let ack = |fence: &Fence| WriteBatch::new().fenced(fence).ack(&received.receipt);
    let error = subject.commit(ack(&old)).await.expect_err("b took over");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::StaleFence, Some(0)));
    let _ = subject.commit(ack(&new)).await.expect("the holder");
}

/// Many batches at once, each over all shapes: each is whole.
pub async fn batches_over_all_shapes_at_once_are_each_whole(subject: Subject) {
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = std::sync::Arc::clone(&subject.store);
            let mut batch = WriteBatch::new()
                .put(key(&format!("k{n:02}")), Expect::Absent, "v")
                .append(log(), None, n.to_string())
                .enqueue(queue("outbox"), Message::new(n.to_string()).order_key((n % 4).to_string()));
            if n % 3 == 0 {
                batch = batch.check(key("missing"), Version::from_u64(1));
            }
            tokio::spawn(async move { store.commit(batch).await.is_ok() })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.expect("the task did not panic"), n % 3 != 0);
    }
    let (names, records, depths) = subject.everything().await;
    assert_eq!((names.len(), records.len(), depths[1]), (42, 42, 42));
    let bodies: std::collections::BTreeSet<String> =
        records.iter().map(|record| format!("k{:0>2}", String::from_utf8_lossy(&record.body))).collect();
    assert!(names.iter().eq(&bodies), "{names:?} {bodies:?}");
}

/// A batch over all shapes whose future is dropped at any point is there as a whole or not at all.
pub async fn a_dropped_batch_is_whole_in_every_shape(subject: Subject) {
    for round in 0..30 {
        let name = |shape: &str| format!("{shape}{round:02}");
        let received = subject.one(&name("inbox")).await;
        let log = LogId::new("run", &name("log")).expect("the suite uses valid names");
        let batch = WriteBatch::new()
            .ack(&received.receipt)
            .put(key(&name("cell")), Expect::Absent, "v")
            .append(log.clone(), None, "r")
            .enqueue(queue(&name("outbox")), Message::new("m").dedup("d"));
        poll_and_drop(subject.commit(batch), round % 5).await;
        let look = async || {
            let depth = async |queue_of: &str| {
                subject.store.depth(&queue(&name(queue_of))).await.expect("depth").total()
            };
            let records = subject.store.read_log(&log, 1, 10).await.expect("read").len() as u64;
            let cell = u64::from(subject.read(&name("cell")).await.is_some());
            (cell, records, depth("outbox").await, depth("inbox").await)
        };
        let (nothing, whole) = ((0, 0, 0, 1), (1, 1, 1, 0));
        let seen = until_whole(look, |seen| [nothing, whole].contains(seen)).await;
        assert!([nothing, whole].contains(&seen), "half of a batch: {seen:?}");
        assert!(round % 5 != 0 || seen == nothing, "a commit that never began was applied");
    }
}
