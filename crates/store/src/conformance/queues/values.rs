//! Bodies and keys: none, huge, in any script, and what is refused.

use super::{VISIBILITY, body, name};
use crate::conformance::Subject;
use crate::{MAX_LABEL_BYTES, MAX_VALUE_BYTES, Message, Outcome, StoreErrorKind, WriteBatch};
use bytes::Bytes;

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

/// So are names of queues, whatever is in them.
pub async fn names_in_any_script_are_told_apart(subject: Subject) {
    let longest = "é".repeat(64);
    let mut names =
        ["é", "e\u{301}", "I", "i", "ı", "q ", "q", "q:items", "q:", "👩‍👧", "%", "'; --", "{q}", &longest];
    for queue in names {
        let batch =
            WriteBatch::new().enqueue(name(queue), Message::new(queue.to_owned()).dedup("d").order_key("k"));
        assert!(
            matches!(subject.commit(batch).await.expect("enqueue").outcome(0), Outcome::Enqueued(_)),
            "{queue}"
        );
    }
    names.sort_unstable();
    assert_eq!(subject.store.queues(None, 100).await.expect("queues"), names.map(name));
    for queue in names {
        let taken = subject.store.receive(&name(queue), 10, VISIBILITY).await.expect("receive");
        assert_eq!(taken.iter().map(body).collect::<Vec<_>>(), [queue]);
        let _ = subject.commit(WriteBatch::new().ack(&taken[0].receipt)).await.expect("ack");
    }
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
