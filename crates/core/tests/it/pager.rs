mod prefetch;
mod strategies;
mod traps;

use crate::support::{LIST, World};
use futures_util::StreamExt as _;
use martlet_core::{ApiClient, Call, Client, Cursor, ErrorKind, Pager, Position, Result};
use serde_json::{Value, json};
use std::sync::Arc;

type Items = Vec<u64>;

fn by_token(client: &Client, filter: &str) -> Pager<u64> {
    let client: Arc<dyn ApiClient> = Arc::new(client.clone());
    Pager::token(
        client,
        LIST,
        filter,
        |after| Call::new(LIST).query_opt("after", after),
        |response| {
            let body: Value = response.json()?;
            let items = body["items"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
            Ok((items, body["next"].as_str().map(str::to_owned)))
        },
    )
}

fn by_offset(client: &Client, limit: u64) -> Pager<u64> {
    Pager::offset(
        Arc::new(client.clone()),
        LIST,
        "",
        limit,
        |offset, limit| Call::new(LIST).query("offset", offset).query("limit", limit),
        |response| {
            let body: Value = response.json()?;
            let items = body["items"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
            Ok((items, body["total"].as_u64()))
        },
    )
}

/// Pages as `(items, next)`.
fn world(pages: &[(&[u64], Option<&str>)]) -> (World, Client) {
    let world = World::new();
    let script = world.transport.on(&LIST);
    pages
        .iter()
        .fold(script, |script, (items, next)| script.json(200, &json!({ "items": items, "next": next })));
    let client = world.client();
    (world, client)
}

fn queries(world: &World) -> Vec<String> {
    world.transport.requests().iter().map(|r| r.url.query().unwrap_or("").to_owned()).collect()
}

#[tokio::test]
async fn tokens_lead_from_page_to_page_and_an_empty_page_does_not_end_the_list() {
    let (world, client) = world(&[(&[1, 2], Some("a&b")), (&[], Some("c")), (&[3], None)]);
    let mut pager = by_token(&client, "");
    assert_eq!(pager.next().await.unwrap().unwrap(), 1);
    assert_eq!(queries(&world), [""], "no page is read before it is needed");
    let rest: Items = pager.by_ref().map(Result::unwrap).collect().await;
    assert_eq!(rest, [2, 3]);
    assert_eq!(queries(&world), ["", "after=a%26b", "after=c"]);
    assert_eq!(pager.cursor(), None);
    assert!(pager.next().await.is_none());
}

#[tokio::test]
async fn offsets_end_with_a_short_page_unless_the_total_says_more() {
    let page = |items: &[u64], total: Option<u64>| json!({ "items": items, "total": total });
    for (pages, expected) in [
        (vec![page(&[1, 2], None), page(&[3], None)], vec!["offset=0&limit=2", "offset=2&limit=2"]),
        (vec![page(&[1, 2], None), page(&[], None)], vec!["offset=0&limit=2", "offset=2&limit=2"]),
        // Shorter than asked in the middle of the list.
        (vec![page(&[1], Some(3)), page(&[2, 3], Some(3))], vec!["offset=0&limit=2", "offset=1&limit=2"]),
        (vec![page(&[1, 2], Some(2))], vec!["offset=0&limit=2"]),
    ] {
        let world = World::new();
        pages.iter().fold(world.transport.on(&LIST), |script, page| script.json(200, page));
        by_offset(&world.client(), 2).collect().await.unwrap();
        assert_eq!(queries(&world), expected, "{pages:?}");
        world.transport.verify();
    }
}

#[tokio::test]
async fn the_cursor_points_at_the_page_being_drained_until_its_last_item_is_out() {
    let (_world, client) = world(&[(&[1, 2], Some("a")), (&[3, 4], Some("b")), (&[5], None)]);
    let mut pager = by_token(&client, "");
    let at = |pager: &Pager<u64>| pager.cursor().map(|c| c.position().clone());
    let token = |t: &str| Some(Position::Token(t.to_owned()));
    assert_eq!(at(&pager), Some(Position::Start));
    let mut seen = Vec::new();
    while let Some(item) = pager.try_next().await.unwrap() {
        seen.push((item, at(&pager)));
    }
    assert_eq!(
        seen,
        [(1, Some(Position::Start)), (2, token("a")), (3, token("a")), (4, token("b")), (5, None)]
    );
}

#[tokio::test]
async fn a_cursor_survives_as_json_and_resumes_where_it_points() {
    let (world, client) = world(&[(&[1, 2], Some("a")), (&[3, 4], Some("b")), (&[3, 4], None)]);
    let mut pager = by_token(&client, "active");
    for _ in 0..3 {
        pager.next().await.unwrap().unwrap();
    }
    let stored = serde_json::to_string(&pager.cursor().unwrap()).unwrap();
    insta::assert_snapshot!(stored, @r#"{"v":1,"list":"acme things.list","filter":"active","at":{"token":"a"}}"#);
    let cursor: Cursor = serde_json::from_str(&stored).unwrap();
    let rest = by_token(&client, "active").resume_from(&cursor).unwrap().collect().await.unwrap();
    assert_eq!(rest, [3, 4], "the page that was not drained is read again");
    assert_eq!(queries(&world), ["", "after=a", "after=a"]);
    for (position, json) in [
        (Position::Start, r#""start""#),
        (Position::Offset(7), r#"{"offset":7}"#),
        (Position::Page(3), r#"{"page":3}"#),
        (Position::Url("/t?after=a".into()), r#"{"url":"/t?after=a"}"#),
        (Position::Key("501".into()), r#"{"key":"501"}"#),
    ] {
        assert_eq!(serde_json::to_string(&position).unwrap(), json);
    }
}

#[tokio::test]
async fn the_cursor_of_another_list_is_refused() {
    let world = World::new();
    let client = world.client();
    let own = serde_json::to_value(by_token(&client, "active").cursor().unwrap()).unwrap();
    for (field, value) in [
        ("list", json!("acme others.list")),
        ("list", json!("other things.list")),
        ("filter", json!("archived")),
        ("v", json!(2)),
    ] {
        let mut foreign = own.clone();
        foreign[field] = value;
        let cursor: Cursor = serde_json::from_value(foreign).unwrap();
        let error = by_token(&client, "active").resume_from(&cursor).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{field}");
    }
    assert!(world.transport.requests().is_empty());
}

#[tokio::test]
async fn an_error_is_told_once_then_the_list_ends_and_its_cursor_still_works() {
    let world = World::new();
    let page = |items: &[u64], next: Option<&str>| json!({ "items": items, "next": next });
    world.transport.on(&LIST).json(200, &page(&[1], Some("a"))).reply(403).json(200, &page(&[2], None));
    let client = world.client();
    let mut pager = by_token(&client, "");
    assert_eq!(pager.next().await.unwrap().unwrap(), 1);
    assert_eq!(pager.next().await.unwrap().unwrap_err().kind(), ErrorKind::Forbidden);
    for _ in 0..3 {
        assert!(pager.next().await.is_none());
    }
    let cursor = pager.cursor().unwrap();
    // The very same pager goes on.
    let mut pager = pager.resume_from(&cursor).unwrap();
    assert_eq!(pager.next().await.unwrap().unwrap(), 2);
    assert!(pager.next().await.is_none());
    assert_eq!(queries(&world), ["", "after=a", "after=a"]);
}

#[tokio::test]
async fn a_dropped_next_loses_nothing() {
    let world = World::new();
    let page = json!({ "items": [1, 2], "next": null });
    world.transport.on(&LIST).json(200, &page).delay(std::time::Duration::from_secs(5));
    let client = world.client();
    let mut pager = by_token(&client, "");
    for _ in 0..3 {
        let next = std::pin::pin!(pager.next());
        assert!(futures_util::FutureExt::now_or_never(next).is_none());
    }
    assert_eq!(world.run(pager.collect()).await.unwrap(), [1, 2]);
    assert_eq!(world.transport.requests().len(), 1);
}

#[tokio::test]
async fn whole_pages_can_be_taken_and_a_page_begun_is_read_again() {
    let (world, client) = world(&[(&[1, 2], Some("a")), (&[1, 2], Some("a")), (&[3], None)]);
    let mut pager = by_token(&client, "");
    pager.next().await.unwrap().unwrap();
    let mut pages = pager.pages();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        all.push(page.unwrap().items);
    }
    assert_eq!(all, [vec![1, 2], vec![3]]);
    assert_eq!(queries(&world), ["", "", "after=a"]);
    assert_eq!(pages.cursor(), None);
}
