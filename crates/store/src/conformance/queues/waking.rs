//! Who waits is woken.

use super::{SECOND, VISIBILITY, body, name};
use crate::Message;
use crate::conformance::Subject;

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
