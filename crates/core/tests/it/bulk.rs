use crate::support::secs;
use async_trait::async_trait;
use martlet_base::{Clock, ManualClock};
use martlet_core::{Bulk, BulkLimits, BulkOutcome, BulkWriter, Error, ErrorKind, Result};
use std::sync::{Arc, Mutex};

/// Takes texts, 4 at a time and 10 bytes; `fail` makes so many requests fail.
#[derive(Debug, Default)]
struct Texts {
    sent: Mutex<Vec<Vec<String>>>,
    fail: Mutex<u32>,
}

#[async_trait]
impl BulkWriter for Texts {
    type Item = String;
    type Receipt = usize;

    fn limits(&self) -> BulkLimits {
        BulkLimits::items(4).max_bytes(10).max_age(secs(5))
    }

    fn size(&self, item: &String) -> usize {
        item.len()
    }

    async fn write(&self, items: &[String]) -> Result<BulkOutcome<usize>> {
        {
            let mut fail = self.fail.lock().unwrap();
            if *fail > 0 {
                *fail -= 1;
                return Err(Error::new(ErrorKind::Server, "down"));
            }
        }
        self.sent.lock().unwrap().push(items.to_vec());
        let (ok, bad): (Vec<_>, Vec<_>) = items.iter().enumerate().partition(|(_, item)| *item != "bad");
        let error = || Error::new(ErrorKind::Rejected, "bad");
        Ok(BulkOutcome::new(
            ok.into_iter().map(|(i, item)| (i, item.len())).collect(),
            bad.into_iter().map(|(i, _)| (i, error())).collect(),
        ))
    }
}

fn new(clock: Clock) -> (Arc<Texts>, Bulk<String, usize>) {
    let texts = Arc::new(Texts::default());
    let bulk = Bulk::new(texts.clone() as Arc<dyn BulkWriter<Item = String, Receipt = usize>>, clock);
    (texts, bulk)
}

fn sent(texts: &Texts) -> Vec<String> {
    texts.sent.lock().unwrap().iter().map(|items| items.join(" ")).collect()
}

async fn push_all(bulk: &mut Bulk<String, usize>, items: &[&str]) {
    for item in items {
        bulk.push((*item).to_owned()).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_is_bounded_by_count_and_by_bytes() {
    let (texts, mut bulk) = new(Clock::system());
    push_all(&mut bulk, &["a", "b", "c", "d", "e"]).await;
    assert_eq!(sent(&texts), ["a b c d"]);
    assert_eq!(bulk.pending(), ["e"]);
    push_all(&mut bulk, &["12345", "6789x", "y"]).await;
    assert_eq!(sent(&texts)[1..], ["e 12345"]);
    let (items, outcome) = bulk.flush().await.unwrap().unwrap();
    assert_eq!(items, ["6789x", "y"]);
    assert_eq!(outcome.ok, [(0, 5), (1, 1)]);
    assert!(outcome.is_complete() && bulk.flush().await.unwrap().is_none());
    // Exactly full.
    push_all(&mut bulk, &["12345", "67890"]).await;
    assert!(bulk.pending().is_empty());
}

#[tokio::test]
async fn a_record_that_is_too_large_by_itself_goes_alone() {
    let (texts, mut bulk) = new(Clock::system());
    push_all(&mut bulk, &["a", "0123456789abcdef"]).await;
    assert_eq!(sent(&texts), ["a"], "the ones before it go first");
    push_all(&mut bulk, &["b"]).await;
    assert_eq!(sent(&texts), ["a", "0123456789abcdef"]);
    assert_eq!(bulk.pending(), ["b"]);
    let (texts, mut bulk) = new(Clock::system());
    push_all(&mut bulk, &["0123456789abcdef"]).await;
    assert_eq!(sent(&texts), ["0123456789abcdef"]);
}

#[tokio::test]
async fn the_oldest_record_does_not_wait_longer_than_its_age() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let (texts, mut bulk) = new(clock.clone());
    assert_eq!(bulk.due(), None);
    push_all(&mut bulk, &["a"]).await;
    assert_eq!(bulk.due(), Some(clock.now() + secs(5)));
    manual.advance(secs(4));
    push_all(&mut bulk, &["b"]).await;
    assert!(sent(&texts).is_empty());
    manual.advance(secs(1));
    push_all(&mut bulk, &["c"]).await;
    assert_eq!(sent(&texts), ["a b c"]);
    assert_eq!(bulk.due(), None);
}

#[tokio::test]
async fn partial_success_is_no_error_and_names_the_records() {
    let (_, mut bulk) = new(Clock::system());
    push_all(&mut bulk, &["a", "bad"]).await;
    let (items, outcome) = bulk.flush().await.unwrap().unwrap();
    assert_eq!((items.len(), outcome.failed[0].0, outcome.ok.len()), (2, 1, 1));
    assert!(!outcome.is_complete());
}

#[tokio::test]
async fn a_failed_request_keeps_its_records_and_no_later_one_is_too_large() {
    let (texts, mut bulk) = new(Clock::system());
    *texts.fail.lock().unwrap() = 3;
    push_all(&mut bulk, &["a", "b", "c"]).await;
    for item in ["d", "12345", "67890"] {
        assert_eq!(bulk.push(item.to_owned()).await.unwrap_err().kind(), ErrorKind::Server);
    }
    assert_eq!(bulk.pending(), ["a", "b", "c", "d", "12345", "67890"]);
    while bulk.flush().await.unwrap().is_some() {}
    assert_eq!(sent(&texts), ["a b c d", "12345 67890"]);
    // By bytes too: what did not go with the others stays behind them.
    let (texts, mut bulk) = new(Clock::system());
    *texts.fail.lock().unwrap() = 1;
    push_all(&mut bulk, &["12345"]).await;
    bulk.push("123456".to_owned()).await.unwrap_err();
    while bulk.flush().await.unwrap().is_some() {}
    assert_eq!(sent(&texts), ["12345", "123456"]);
}

#[tokio::test]
async fn limits_can_be_made_smaller_and_not_larger() {
    for (limits, expected) in
        [(BulkLimits::items(2), vec!["a b", "c d"]), (BulkLimits::items(100), vec!["a b c d"])]
    {
        let (texts, bulk) = new(Clock::system());
        push_all(&mut bulk.with_limits(limits), &["a", "b", "c", "d"]).await;
        assert_eq!(sent(&texts), expected);
    }
    let (texts, bulk) = new(Clock::system());
    push_all(&mut bulk.with_limits(BulkLimits::items(0)), &["a", "b"]).await;
    assert_eq!(sent(&texts), ["a", "b"], "none at a time is one at a time");
}
