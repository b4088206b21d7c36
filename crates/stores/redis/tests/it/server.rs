//! What is Redis' own: quotas, several stores, the server's time, memory, being woken.

use martlet_base::{Clock, ManualClock};
use martlet_redis::RedisStore;
use martlet_store::{
    BuryKind, BuryReason, Cell, CellKey, Cells, DeliveryEnd, Expect, LogId, MAX_HISTORY, Message, Outcome,
    Queue, QueueName, Store, StoreErrorKind, Write, WriteBatch,
};
use std::sync::Arc;
use std::time::Duration;

fn key(name: &str) -> CellKey {
    CellKey::new(name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_shared_and_never_exceeded() {
    let Some(url) = crate::url() else { return };
    let prefix = crate::prefix("quota");
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let store = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
        for _ in 0..8 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                let mut granted = 0;
                for _ in 0..10 {
                    let quota = store.take("hubspot/acme", 3, 100, Duration::from_secs(60)).await.unwrap();
                    assert!(quota.left <= 100 && quota.resets_in <= Duration::from_secs(60), "{quota:?}");
                    granted += u32::from(quota.granted) * 3;
                }
                granted
            }));
        }
    }
    let mut granted = 0;
    for task in tasks {
        granted += task.await.unwrap();
    }
    assert_eq!(granted, 99);
    let store = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
    assert!(
        store.take("hubspot/acme", 1, 100, Duration::from_secs(60)).await.unwrap().granted,
        "one is left"
    );
    assert!(!store.take("hubspot/acme", 1, 100, Duration::from_secs(60)).await.unwrap().granted);
    assert!(store.take("hubspot/other", 100, 100, Duration::from_millis(50)).await.unwrap().granted);
    Clock::system().sleep(Duration::from_millis(80)).await;
    assert!(
        store.take("hubspot/other", 1, 100, Duration::from_secs(1)).await.unwrap().granted,
        "a new window"
    );
    let error = store.take("", 1, 1, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_write_the_same_keys_lose_nothing() {
    let Some(url) = crate::url() else { return };
    let prefix = crate::prefix("two");
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let store = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
        for _ in 0..4 {
            let (cells, store) = (Cells::new(Arc::new(store.clone()), ""), store.clone());
            tasks.push(tokio::spawn(async move {
                for _ in 0..10 {
                    let add = |cell: Option<&Cell>| {
                        let text = cell.map_or("0", |cell| str::from_utf8(&cell.value).unwrap());
                        (text.parse::<u32>().unwrap() + 1).to_string().into()
                    };
                    cells.update("counter", add).await.unwrap();
                    let message = Message::new("m").order_key("k");
                    let batch = WriteBatch::new().enqueue(QueueName::new("q").unwrap(), message);
                    let _ = store.commit(batch).await.unwrap();
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let store = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
    assert_eq!(store.get(&[key("counter")]).await.unwrap()[0].as_ref().unwrap().value, "160");
    let depth = store.depth(&QueueName::new("q").unwrap()).await.unwrap();
    assert_eq!((depth.ready, depth.blocked), (1, 159));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_another_process_wakes_who_waits() {
    let Some(url) = crate::url() else { return };
    let prefix = crate::prefix("wake");
    // Two stores are as good as two processes: they share nothing in memory.
    let here = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
    let there = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
    let name = QueueName::new("q").unwrap();
    let queue = Queue::new(Arc::new(here), name.clone());
    let clock = Clock::system();
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let waiting = queue.clone();
        let waiter = tokio::spawn(async move { waiting.next(1, Duration::from_secs(60)).await.unwrap() });
        clock.sleep(Duration::from_millis(150)).await;
        let before = clock.now();
        let _ = there.commit(WriteBatch::new().enqueue(name.clone(), Message::new("m"))).await.unwrap();
        assert_eq!(waiter.await.unwrap().len(), 1);
        quickest = quickest.min(clock.now().since(before));
    }
    assert!(
        quickest < Duration::from_millis(200),
        "{quickest:?}: found by looking again, not by being woken"
    );
}

#[tokio::test]
async fn cells_expire_by_the_servers_time() {
    let Some(url) = crate::url() else { return };
    let store = RedisStore::builder(&url).prefix(crate::prefix("time")).open().await.unwrap();
    let soon = store.now().await.unwrap() + Duration::from_millis(100);
    let batch = WriteBatch::new().put_expiring(key("a"), Expect::Any, "v", soon);
    let _ = store.commit(batch).await.unwrap();
    assert!(store.get(&[key("a")]).await.unwrap()[0].is_some());
    Clock::system().sleep(Duration::from_millis(150)).await;
    assert_eq!(store.get(&[key("a")]).await.unwrap(), [None]);
    let _ = store.commit(WriteBatch::new().put(key("a"), Expect::Absent, "v")).await.unwrap();
}

#[tokio::test]
async fn what_has_expired_is_removed_from_memory() {
    let Some(url) = crate::url() else { return };
    let prefix = crate::prefix("sweep");
    let store = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
    let soon = store.now().await.unwrap() + Duration::from_millis(1);
    let queue = QueueName::new("q").unwrap();
    for n in 0..20 {
        let batch = WriteBatch::new()
            .put_expiring(key(&n.to_string()), Expect::Any, "v", soon)
            .enqueue(queue.clone(), Message::new("m").dedup_for(n.to_string(), Duration::from_millis(1)));
        let _ = store.commit(batch).await.unwrap();
    }
    let mut conn = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let clock = Clock::system();
    let before = clock.now();
    loop {
        let mut pipe = redis::pipe();
        pipe.cmd("HLEN").arg(format!("{{{prefix}}}:cells"));
        pipe.cmd("HLEN").arg(format!("{{{prefix}}}:queue:q:dedup"));
        let left: (u32, u32) = pipe.query_async(&mut conn).await.unwrap();
        if left == (0, 0) {
            return;
        }
        assert!(clock.now().since(before) < Duration::from_secs(30), "{left:?} are left");
        let _ = store.commit(WriteBatch::new().delete(key("x"), Expect::Any)).await.unwrap();
        let _ = store
            .commit(WriteBatch::new().enqueue(QueueName::new("other").unwrap(), Message::new("m")))
            .await
            .unwrap();
        clock.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn removing_keeps_up_with_what_expires_in_any_number_of_queues() {
    let Some(url) = crate::url() else { return };
    let prefix = crate::prefix("keep-up");
    let store = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
    let past = store.now().await.unwrap();
    let moment = Duration::from_micros(1);
    for n in 0..10 {
        let batch = (0..1_000).fold(WriteBatch::new(), |batch, m| {
            batch.put_expiring(key(&format!("{n}/{m}")), Expect::Any, "v", past)
        });
        let _ = store.commit(batch).await.unwrap();
    }
    let last = QueueName::new("q999").unwrap();
    for n in 0..300 {
        let queue = QueueName::new(&format!("q{n:03}")).unwrap();
        let _ = store.commit(WriteBatch::new().enqueue(queue, Message::new("m"))).await.unwrap();
    }
    let batch = WriteBatch::new().enqueue(last, Message::new("m").dedup_for("d", moment));
    let _ = store.commit(batch).await.unwrap();
    let mut conn = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let clock = Clock::system();
    let before = clock.now();
    loop {
        let mut pipe = redis::pipe();
        pipe.cmd("HLEN").arg(format!("{{{prefix}}}:cells"));
        pipe.cmd("HLEN").arg(format!("{{{prefix}}}:queue:q999:dedup"));
        let left: (u32, u32) = pipe.query_async(&mut conn).await.unwrap();
        if left == (0, 0) {
            return;
        }
        // At a fixed rate of 256 a second the cells alone would take 40.
        assert!(clock.now().since(before) < Duration::from_secs(25), "{left:?} are left");
        let _ = store.commit(WriteBatch::new().delete(key("x"), Expect::Any)).await.unwrap();
        clock.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_the_wait_for_a_message() {
    let Some(url) = crate::url() else { return };
    let store = RedisStore::builder(&url).prefix(crate::prefix("close")).open().await.unwrap();
    let waiting = store.clone();
    let queue = QueueName::new("q").unwrap();
    let waiter = tokio::spawn(async move { waiting.ready(&queue).await });
    let clock = Clock::system();
    clock.sleep(Duration::from_millis(200)).await;
    let before = clock.now();
    store.close().await;
    let _ = waiter.await.unwrap();
    let waited = clock.now().since(before);
    assert!(waited < Duration::from_millis(500), "{waited:?}: it found out by looking again");
}

#[tokio::test]
async fn a_server_that_is_not_there_and_a_bad_prefix_are_told() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let url = format!("redis://:secret@127.0.0.1:{port}");
    let builder = RedisStore::builder(&url).timeout(Duration::from_millis(500));
    assert!(!format!("{builder:?}").contains("secret"));
    let error = builder.open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(!error.to_string().contains("secret"));
    for prefix in ["", "a{b}", "a\nb"] {
        let error = RedisStore::builder(&url).prefix(prefix).open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_append_to_one_log_leave_no_gap() {
    let Some(url) = crate::url() else { return };
    let prefix = crate::prefix("logs");
    let log = LogId::new("kind", "1").unwrap();
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let store = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
        for task in 0..4 {
            let (store, log) = (store.clone(), log.clone());
            tasks.push(tokio::spawn(async move {
                let mut places = Vec::new();
                for n in 0..10 {
                    let record = format!("{writer}/{task}/{n}");
                    let batch = WriteBatch::new().append(log.clone(), None, record.clone());
                    match store.commit(batch).await.unwrap().outcome(0) {
                        Outcome::Appended(place) => places.push((place, record)),
                        other => panic!("{other:?}"),
                    }
                }
                places
            }));
        }
    }
    let mut told = Vec::new();
    for task in tasks {
        told.extend(task.await.unwrap());
    }
    told.sort();
    let store = RedisStore::builder(&url).prefix(&prefix).open().await.unwrap();
    let records = store.read_log(&log, 1, 1_000).await.unwrap();
    let found: Vec<_> = records
        .into_iter()
        .map(|record| (record.sequence, String::from_utf8(record.body.to_vec()).unwrap()))
        .collect();
    assert_eq!(found, told);
    assert!(found.iter().map(|(place, _)| *place).eq(1..=160));
}

#[tokio::test]
async fn a_batch_of_any_length_is_one_script() {
    let Some(url) = crate::url() else { return };
    let store = RedisStore::builder(&url).prefix(crate::prefix("long")).open().await.unwrap();
    let queue = QueueName::new("q").unwrap();
    let batch =
        (0..50_000).fold(WriteBatch::new(), |batch, _| batch.enqueue(queue.clone(), Message::new("m")));
    let _ = store.commit(batch).await.unwrap();
    assert_eq!(store.depth(&queue).await.unwrap().ready, 50_000);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let Some(url) = crate::url() else { return };
    let store = RedisStore::builder(&url).prefix(crate::prefix("closed")).open().await.unwrap();
    store.close().await;
    store.close().await;
    assert_eq!(store.get(&[]).await.unwrap_err().kind(), StoreErrorKind::Closed);
    let error = store.commit(WriteBatch::new()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_share_a_queue_deliver_each_message_once() {
    const EACH: usize = 60;
    let Some(url) = crate::url() else { return };
    let (prefix, queue) = (crate::prefix("shared"), QueueName::new("q").unwrap());
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(RedisStore::builder(&url).prefix(&prefix).open().await.unwrap());
    }
    let mut tasks = Vec::new();
    for store in &stores {
        for task in 0..4 {
            let (store, queue) = (store.clone(), queue.clone());
            tasks.push(tokio::spawn(async move {
                let mut mine = 0;
                for n in 0..EACH {
                    // Each is sent by all stores, and one of them is the first; some have an order key, which the script leaves alone.
                    let mut message = Message::new(format!("{task}/{n}")).dedup(format!("{task}/{n}"));
                    if n % 5 == 0 {
                        message = message.order_key("k");
                    }
                    let done = store.commit(WriteBatch::new().enqueue(queue.clone(), message)).await.unwrap();
                    mine += usize::from(matches!(done.outcome(0), Outcome::Enqueued(_)));
                }
                mine
            }));
        }
    }
    let mut enqueued = 0;
    for task in tasks {
        enqueued += task.await.unwrap();
    }
    assert_eq!(enqueued, 4 * EACH);
    let mut tasks = Vec::new();
    for store in &stores {
        for _ in 0..2 {
            let (store, queue) = (store.clone(), queue.clone());
            tasks.push(tokio::spawn(async move {
                let mut bodies = Vec::new();
                loop {
                    let depth = store.depth(&queue).await.unwrap();
                    if depth.ready + depth.in_flight + depth.blocked == 0 {
                        break;
                    }
                    let received = store.receive(&queue, 7, Duration::from_secs(600)).await.unwrap();
                    let batch = received.iter().fold(WriteBatch::new(), |batch, one| batch.ack(&one.receipt));
                    let _ = store.commit(batch).await.unwrap();
                    bodies.extend(
                        received.iter().map(|one| String::from_utf8(one.item.message.body.to_vec()).unwrap()),
                    );
                }
                bodies
            }));
        }
    }
    let mut bodies = Vec::new();
    for task in tasks {
        bodies.extend(task.await.unwrap());
    }
    bodies.sort();
    let mut expected: Vec<_> =
        (0..4).flat_map(|task| (0..EACH).map(move |n| format!("{task}/{n}"))).collect();
    expected.sort();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn of_messages_that_lapse_again_and_again_the_last_deliveries_are_remembered() {
    let Some(url) = crate::url() else { return };
    let manual = ManualClock::new();
    let builder = RedisStore::builder(&url).prefix(crate::prefix("lapse")).clock(manual.clock());
    let (store, queue) = (builder.open().await.unwrap(), QueueName::new("q").unwrap());
    let _ = store.commit(WriteBatch::new().enqueue(queue.clone(), Message::new("m"))).await.unwrap();
    let mut times = Vec::new();
    for n in 0..MAX_HISTORY + 4 {
        let received = store.receive(&queue, 1, Duration::from_secs(1)).await.unwrap();
        let history = &received[0].item.history;
        let found: Vec<_> = history.iter().map(|past| (past.received, past.ended)).collect();
        assert_eq!(found, times[n.saturating_sub(MAX_HISTORY)..], "after {n}");
        assert!(history.iter().all(|past| past.end == DeliveryEnd::Lapsed));
        let now = store.now().await.unwrap();
        times.push((now, now + Duration::from_secs(1)));
        if n == MAX_HISTORY {
            // What a write brings together is one history.
            let batch = WriteBatch::new().with(Write::Heartbeat {
                receipt: received[0].receipt.clone(),
                visibility: Duration::from_secs(1),
            });
            let _ = store.commit(batch).await.unwrap();
        }
        manual.advance(Duration::from_secs(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_order_key_that_several_stores_begin_at_once_one_message_is_offered() {
    const KEYS: u64 = 40;
    let Some(url) = crate::url() else { return };
    let (prefix, queue) = (crate::prefix("begin"), QueueName::new("q").unwrap());
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(RedisStore::builder(&url).prefix(&prefix).open().await.unwrap());
    }
    for n in 0..KEYS {
        let commits = stores.iter().map(|store| {
            let message = Message::new("m").order_key(n.to_string());
            store.commit(WriteBatch::new().enqueue(queue.clone(), message))
        });
        for committed in futures_util::future::join_all(commits).await {
            assert!(matches!(committed.unwrap().outcome(0), Outcome::Enqueued(_)));
        }
    }
    let depth = stores[0].depth(&queue).await.unwrap();
    assert_eq!((depth.ready, depth.blocked), (KEYS, 3 * KEYS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_stores_that_settle_one_delivery_one_does() {
    let Some(url) = crate::url() else { return };
    let (prefix, queue) = (crate::prefix("settle"), QueueName::new("q").unwrap());
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(RedisStore::builder(&url).prefix(&prefix).open().await.unwrap());
    }
    for n in 0..40 {
        let mut message = Message::new("m");
        // Half of them are for the script that acknowledges.
        message.order_key = (n % 2 == 0).then(|| n.to_string());
        let _ = stores[0].commit(WriteBatch::new().enqueue(queue.clone(), message)).await.unwrap();
        let received = stores[0].receive(&queue, 1, Duration::from_secs(600)).await.unwrap();
        let settled = stores.iter().enumerate().map(|(index, store)| {
            let receipt = received[0].receipt.clone();
            let write = if index < 2 {
                Write::Ack { receipt }
            } else {
                Write::Bury { receipt, reason: BuryReason::new(BuryKind::Poison, "bad") }
            };
            store.commit(WriteBatch::new().with(write))
        });
        let settled = futures_util::future::join_all(settled).await;
        assert_eq!(settled.iter().filter(|settled| settled.is_ok()).count(), 1, "{n}: {settled:?}");
    }
    let depth = stores[0].depth(&queue).await.unwrap();
    assert_eq!((depth.ready, depth.in_flight, depth.acked + depth.buried), (0, 0, 40));
}
