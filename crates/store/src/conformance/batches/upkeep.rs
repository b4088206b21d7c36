//! What is old, what belongs to one person, and what nobody else may read, in all shapes.

use super::{MINUTE, queue};
use crate::conformance::{Subject, key};
use crate::{
    BuryKind, BuryReason, Cipher, CipherError, EncryptedStore, Erasure, Expect, LogId, Message, Removed,
    Retention, Store, WriteBatch,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn log(kind: &str, id: &str) -> LogId {
    LogId::new(kind, id).expect("the suite uses valid names")
}

impl Subject {
    async fn done(&self, batch: WriteBatch) {
        let _ = self.commit(batch).await.expect("commit works");
    }

    async fn bury_all(&self, name: &str) {
        for received in self.store.receive(&queue(name), 100, MINUTE).await.expect("receive works") {
            let reason = BuryReason::new(BuryKind::Poison, "no");
            self.done(WriteBatch::new().bury(&received.receipt, reason)).await;
        }
    }
}

/// Sealed logs and dead letters go by their age; what is open, alive, younger or of another kind stays.
pub async fn what_is_old_goes_and_the_rest_stays(subject: Subject) {
    let send = |name: &str| WriteBatch::new().enqueue(queue(name), Message::new("m"));
    let seal = |kind: &str, id: &str| WriteBatch::new().seal(log(kind, id), None);
    for (kind, id) in [("saga", "old"), ("saga", "new"), ("saga", "open"), ("other", "old")] {
        subject.done(WriteBatch::new().append(log(kind, id), None, "r")).await;
    }
    subject.done(seal("saga", "old")).await;
    subject.done(seal("other", "old")).await;
    for name in ["inbox", "outbox"] {
        subject.done(send(name)).await;
        subject.bury_all(name).await;
    }
    subject.pass(DAY);
    subject.done(seal("saga", "new")).await;
    subject.done(send("inbox")).await;
    subject.bury_all("inbox").await;
    subject.done(send("inbox")).await;

    let rules =
        Retention::new().sealed_logs("saga", DAY).dead_letters(DAY).dead_letters_of(queue("outbox"), DAY * 2);
    let removed = rules.apply(&*subject.store).await.expect("retention works");
    assert_eq!(removed, Removed { logs: 1, messages: 1, ..Removed::default() });
    let left = subject.store.logs(None, 10).await.expect("logs works");
    let left: Vec<_> = left.iter().map(|log| log.id.to_string()).collect();
    assert_eq!(left, ["other:old", "saga:new", "saga:open"]);
    assert_eq!(subject.store.depth(&queue("inbox")).await.expect("depth works").total(), 2);
    subject.pass(DAY);
    assert_eq!(rules.apply(&*subject.store).await.expect("retention works").messages, 2);
}

/// Cells, logs, messages and dead letters of one person are erased, and nothing of somebody whose key begins alike.
pub async fn a_person_is_erased_from_every_shape(subject: Subject) {
    let batch = WriteBatch::new()
        .put(key("contact/7/token"), Expect::Any, "v")
        .put(key("contact/70/token"), Expect::Any, "v")
        .append(log("saga", "contact-7"), None, "r")
        .append(log("saga", "contact-70"), None, "r")
        .enqueue(queue("dead"), Message::new("a letter of a@example.com").order_key("contact-7"))
        .enqueue(queue("inbox"), Message::new("1").order_key("contact-7"))
        .enqueue(queue("inbox"), Message::new("2").order_key("contact-7"))
        .enqueue(queue("inbox"), Message::new("a@example.com"))
        .enqueue(queue("outbox"), Message::new("b@example.com").order_key("contact-70"));
    subject.done(batch).await;
    subject.bury_all("dead").await;
    let in_flight = subject.store.receive(&queue("inbox"), 1, MINUTE).await.expect("receive works").remove(0);
    let erasure = Erasure::new()
        .cells("contact/7/")
        .logs("contact-7")
        .order_key("contact-7")
        .messages(|_, item| item.message.body.starts_with(b"a@"));
    let removed = erasure.apply(&*subject.store).await.expect("erasure works");
    assert_eq!(removed, Removed { cells: 1, logs: 1, messages: 3, in_flight: 1 });
    subject.done(WriteBatch::new().bury(&in_flight.receipt, BuryReason::new(BuryKind::Poison, "no"))).await;
    let removed = erasure.apply(&*subject.store).await.expect("erasure works");
    assert_eq!(removed, Removed { messages: 1, ..Removed::default() });
    for (name, left) in [("inbox", 0), ("dead", 0), ("outbox", 1)] {
        assert_eq!(subject.store.depth(&queue(name)).await.expect("depth works").total(), left, "{name}");
    }
    assert_eq!(subject.names("", 10).await, ["contact/70/token"]);
    assert_eq!(subject.store.logs(None, 10).await.expect("logs works").len(), 1);
}

/// Turns the bits: enough to see whether something was sealed.
#[derive(Debug)]
struct Turned;

impl Cipher for Turned {
    fn seal(&self, _: &str, plain: &[u8]) -> Result<Bytes, CipherError> {
        Ok(plain.iter().map(|byte| !byte).collect())
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Result<Bytes, CipherError> {
        self.seal(place, sealed)
    }
}

/// What goes through a cipher lies sealed in every shape, dead letters included, and comes out again.
pub async fn what_a_cipher_seals_lies_sealed(subject: Subject) {
    const SECRET: &str = "secret of a@example.com";
    let store = EncryptedStore::new(Arc::clone(&subject.store), Arc::new(Turned));
    let batch = WriteBatch::new()
        .put(key("c"), Expect::Any, SECRET)
        .append(log("kind", "1"), None, SECRET)
        .enqueue(queue("inbox"), Message::new(SECRET))
        .enqueue(queue("dead"), Message::new(SECRET));
    let _ = store.commit(batch).await.expect("commit works");
    subject.bury_all("dead").await;
    let bodies = async |store: &dyn Store| {
        let mut bodies =
            vec![store.get(&[key("c")]).await.expect("get works")[0].clone().expect("put").value];
        bodies.push(store.read_log(&log("kind", "1"), 1, 1).await.expect("read_log works")[0].body.clone());
        for name in ["inbox", "dead"] {
            bodies.push(
                store.peek(&queue(name), None, None, 1).await.expect("peek works")[0].message.body.clone(),
            );
        }
        bodies
    };
    assert!(
        bodies(&*subject.store).await.iter().all(|body| body.iter().map(|byte| !byte).eq(SECRET.bytes()))
    );
    assert!(bodies(&store).await.iter().all(|body| body == SECRET));
}
