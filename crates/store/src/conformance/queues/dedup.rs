//! A message is enqueued once.

use super::{SECOND, name};
use crate::conformance::{Subject, key};
use crate::{Message, Outcome, Version, WriteBatch};
use std::collections::HashSet;
use std::time::Duration;

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
