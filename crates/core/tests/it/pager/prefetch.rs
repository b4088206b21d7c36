//! Pages that are read before they are asked for.

use super::{by_token, queries, world};
use crate::support::{LIST, World, secs};
use martlet_core::{ApiClient as _, Call, Client, ErrorKind, LimitSpec, Pager, Position};
use serde_json::json;
use std::sync::Arc;

const PAGES: &[(&[u64], Option<&str>)] =
    &[(&[1, 2], Some("a")), (&[], Some("b")), (&[3], Some("c")), (&[4], Some("d")), (&[5], None)];

/// Lets the task that reads ahead do what it can.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn so_many_pages_are_read_ahead_and_no_more() {
    for ahead in [1, 2, 3] {
        let (world, client) = world(PAGES);
        let mut pager = by_token(&client, "").prefetch(ahead);
        settle().await;
        assert!(queries(&world).is_empty(), "nothing is read before the first item is asked for");
        let mut seen = vec![pager.next().await.unwrap().unwrap()];
        settle().await;
        assert_eq!(queries(&world).len(), 1 + ahead);
        let at = pager.cursor().unwrap();
        assert_eq!(at.position(), &Position::Start, "the cursor is where the reader is");
        while let Some(item) = pager.try_next().await.unwrap() {
            seen.push(item);
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        assert_eq!(queries(&world), ["", "after=a", "after=b", "after=c", "after=d"]);
        assert_eq!(pager.cursor(), None);
        drop(pager);
        world.transport.verify();
    }
}

#[tokio::test]
async fn the_next_page_arrives_while_the_one_before_is_handled() {
    let world = World::new();
    let page = |items: &[u64], next: Option<&str>| json!({ "items": items, "next": next });
    let script = world.transport.on(&LIST).json(200, &page(&[1], Some("a"))).delay(secs(4));
    script.json(200, &page(&[2], Some("b"))).delay(secs(4)).json(200, &page(&[3], None)).delay(secs(4));
    let client = world.client();
    let started = world.clock.now();
    world
        .run(async {
            let mut pager = by_token(&client, "").prefetch(1);
            while pager.try_next().await.unwrap().is_some() {
                world.clock.sleep(secs(4)).await;
            }
        })
        .await;
    // 4 s for the first page, then 4 s a page instead of 8.
    assert_eq!(world.clock.now().since(started), secs(16));
}

#[tokio::test]
async fn an_error_comes_after_the_items_before_it_and_reading_goes_on_from_there() {
    let world = World::new();
    let page = |items: &[u64], next: Option<&str>| json!({ "items": items, "next": next });
    let script = world.transport.on(&LIST).json(200, &page(&[1, 2], Some("a"))).reply(403);
    script.json(200, &page(&[3], None));
    let mut pager = by_token(&world.client(), "").prefetch(8);
    assert_eq!(pager.next().await.unwrap().unwrap(), 1);
    settle().await;
    assert_eq!(pager.next().await.unwrap().unwrap(), 2);
    assert_eq!(pager.next().await.unwrap().unwrap_err().kind(), ErrorKind::Forbidden);
    assert!(pager.next().await.is_none());
    let cursor = pager.cursor().unwrap();
    assert_eq!(cursor.position(), &Position::Token("a".into()));
    assert_eq!(pager.resume_from(&cursor).unwrap().collect().await.unwrap(), [3]);
}

#[tokio::test]
async fn a_circle_is_found_ahead_too() {
    let (world, client) = world(&[(&[1], Some("a")), (&[2], Some("b")), (&[3], Some("a"))]);
    let pager = by_token(&client, "").prefetch(64);
    assert_eq!(pager.collect().await.unwrap_err().kind(), ErrorKind::Decode);
    world.transport.verify();
}

#[tokio::test]
async fn dropping_the_pager_ends_what_reads_ahead_and_gives_back_what_it_held() {
    let world = World::new();
    world
        .transport
        .on(&LIST)
        .json(200, &json!({ "items": [1], "next": "a" }))
        .stall()
        .times(1)
        .then_json(200, &json!({}));
    let one_at_a_time = LimitSpec::new(LimitSpec::DEFAULT).concurrency(1);
    let client = world.builder().limit(one_at_a_time).build().unwrap();
    let mut pager = by_token(&client, "").prefetch(1);
    assert_eq!(pager.next().await.unwrap().unwrap(), 1);
    settle().await;
    assert_eq!(queries(&world).len(), 2, "the second page is under way");
    drop(pager);
    settle().await;
    // Its place is free again, without time going on, in which the call would have ended by itself.
    let answer = futures_util::FutureExt::now_or_never(client.execute(Call::new(LIST)));
    assert!(answer.expect("the place is free").is_ok());
    assert_eq!(queries(&world).len(), 3);
}

#[tokio::test]
async fn a_dropped_next_loses_no_page_that_was_read_ahead() {
    let (_world, client) = world(PAGES);
    let mut pager = by_token(&client, "").prefetch(2);
    let mut seen = Vec::new();
    loop {
        // Dropped at its first await, if it has one.
        let next = futures_util::FutureExt::now_or_never(std::pin::pin!(pager.next()));
        match next {
            Some(Some(item)) => seen.push(item.unwrap()),
            Some(None) => break,
            None => tokio::task::yield_now().await,
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

fn panicking(client: &Client) -> Pager<u64> {
    let call = |_: Option<&str>| Call::new(LIST);
    Pager::token(Arc::new(client.clone()), LIST, "", call, |_| panic!("a reader with a mistake"))
}

#[tokio::test]
#[should_panic(expected = "a reader with a mistake")]
async fn a_panic_ahead_is_no_end_of_the_list() {
    let (_world, client) = world(&[(&[1], None), (&[1], None)]);
    let _ = panicking(&client).prefetch(1).collect().await;
}

#[test]
fn outside_a_runtime_pages_are_read_as_they_are_needed() {
    let (world, client) = world(PAGES);
    let mut pager = by_token(&client, "").prefetch(3);
    let next = futures_util::FutureExt::now_or_never(pager.next());
    assert_eq!(next.unwrap().unwrap().unwrap(), 1);
    assert_eq!(queries(&world).len(), 1);
    drop(pager);
    let rest = futures_util::FutureExt::now_or_never(by_token(&client, "b").pages().next());
    assert!(rest.unwrap().unwrap().unwrap().items.is_empty(), "the script goes on where it was");
}
