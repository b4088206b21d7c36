//! What a queue tells about itself, and that queues are apart.

use super::{SECOND, VISIBILITY, body, name, poison};
use crate::conformance::{Subject, key};
use crate::{Message, MessageState, Outcome, Version, WriteBatch};

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
