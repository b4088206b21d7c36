//! The quota across restarts: a second client over the same store is the program that starts again.

use crate::support::{GET, World, descriptor, ms, secs, together};
use martlet_core::{ApiClient as _, Call, Client, ErrorKind, LimitSpec};
use martlet_store::{CellKey, Expect, MemoryStore, Store, WriteBatch};
use martlet_testkit::RateWindow;
use std::sync::Arc;

fn get() -> Call {
    Call::new(GET).path("id", 1)
}

fn start(world: &World, store: &Arc<dyn Store>) -> Client {
    let limit =
        LimitSpec::new(LimitSpec::DEFAULT).window("ten", 100, secs(10)).window("day", 50_000, secs(86_400));
    world.builder_for(descriptor().limit(limit)).quota_journal(Arc::clone(store)).build().unwrap()
}

fn world() -> (World, Arc<dyn Store>) {
    let world = World::new();
    world.transport.on(&GET).reply(200).delay(ms(5)).forever();
    let store = Arc::new(MemoryStore::new(world.manual.clock()));
    (world, store)
}

fn violations(world: &World) -> u64 {
    let mut window = RateWindow::new(100, secs(10));
    for request in world.transport.requests() {
        window.arrive(request.at);
    }
    window.violations()
}

#[tokio::test]
async fn after_an_unclean_stop_the_windows_count_as_full_until_they_have_passed() {
    let (world, store) = world();
    // Killed at any time of a run: nothing says good-bye.
    for pause in [0, 300, 900, 1_700, 4_000] {
        let client = start(&world, &store);
        together(&world, &client, (0..60).map(|_| get())).await;
        world.manual.advance(ms(pause));
        together(&world, &client, (0..20).map(|_| get())).await;
        drop(client);
    }
    assert_eq!(violations(&world), 0);
    // And no longer than that: five starts, each at most a window and a second.
    assert!(world.clock.now().since(martlet_base::Moment::ZERO) < secs(5 * 11 + 10));
}

#[tokio::test]
async fn after_a_clean_stop_only_what_was_taken_counts() {
    let (world, store) = world();
    let client = start(&world, &store);
    together(&world, &client, (0..60).map(|_| get())).await;
    client.close().await.unwrap();
    let before = world.clock.now();
    let client = start(&world, &store);
    together(&world, &client, (0..40).map(|_| get())).await;
    assert!(world.clock.now().since(before) < secs(1), "40 places were free");
    together(&world, &client, (0..40).map(|_| get())).await;
    assert!(world.clock.now().since(before) > secs(9), "and no more");
    assert_eq!(violations(&world), 0);
}

#[tokio::test]
async fn a_call_after_close_is_remembered_again() {
    let (world, store) = world();
    let client = start(&world, &store);
    together(&world, &client, [get()]).await;
    client.close().await.unwrap();
    together(&world, &client, (0..99).map(|_| get())).await;
    drop(client);
    let before = world.clock.now();
    let client = start(&world, &store);
    together(&world, &client, [get()]).await;
    assert!(world.clock.now().since(before) >= secs(10));
    assert_eq!(violations(&world), 0);
}

#[tokio::test]
async fn the_store_is_written_at_most_once_a_second() {
    let (world, store) = world();
    let client = start(&world, &store);
    together(&world, &client, (0..1_000).map(|_| get())).await;
    // Versions count commits: 1,000 calls at 100 in 10 s take 90 s.
    let key = CellKey::new("quota/acme/default").unwrap();
    let version = store.get(&[key]).await.unwrap().remove(0).unwrap().version.as_u64();
    assert!((9..=92).contains(&version), "{version} writes");
}

#[tokio::test]
async fn a_damaged_or_newer_record_is_refused_and_nothing_is_sent() {
    for value in ["garbage", r#"{"v":2,"at_micros":5}"#] {
        let (world, store) = world();
        let key = CellKey::new("quota/acme/default").unwrap();
        store.commit(WriteBatch::new().put(key, Expect::Any, value)).await.unwrap();
        let client = start(&world, &store);
        let error = world.execute(&client, get()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(world.transport.requests().is_empty());
    }
}
