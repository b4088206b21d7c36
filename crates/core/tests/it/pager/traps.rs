//! What platforms do to programs that trust them: pages that repeat, circles, URLs that lead elsewhere, cursors of old.

use super::strategies::{answering, by_key, by_link, by_number, by_url};
use super::{by_offset, by_token, queries, world};
use crate::support::{LIST, Shared, Step, Tokens, World, secs};
use martlet_core::{Client, Cursor, ErrorKind, Pager, Position};
use serde_json::{Value, json};

#[tokio::test]
async fn a_page_that_leads_to_itself_is_an_error() {
    let (world, client) = world(&[(&[1], Some("a")), (&[2], Some("a"))]);
    let mut pager = by_token(&client, "");
    assert_eq!(pager.next().await.unwrap().unwrap(), 1);
    let error = pager.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(pager.next().await.is_none());
    assert_eq!(queries(&world).len(), 2);
}

/// The error that ends it, and how many items came before.
async fn fails(mut pager: Pager<u64>) -> (usize, ErrorKind, String) {
    let mut items = 0;
    loop {
        match pager.next().await.expect("it ends with an error") {
            Ok(_) => items += 1,
            Err(error) => {
                assert!(pager.next().await.is_none(), "an error is told once");
                assert!(pager.cursor().is_some(), "an error is no end");
                return (items, error.kind(), error.to_string());
            }
        }
    }
}

#[tokio::test]
async fn a_circle_of_pages_is_an_error_whatever_its_length() {
    for length in 1..12_usize {
        for way_in in 0..5 {
            let pages: Vec<_> = (0..way_in + length).collect();
            let world = World::new();
            let script = world.transport.on(&LIST);
            // Long enough for three rounds; afterwards the script would fail the test.
            let walked = pages.iter().chain(pages[way_in..].iter().cycle()).take(way_in + 3 * length + 8);
            let next = |page: usize| if page + 1 == way_in + length { way_in } else { page + 1 };
            walked.fold(script, |script, page| {
                script.json(200, &json!({ "items": [page], "next": next(*page).to_string() }))
            });
            let (items, kind, text) = fails(by_token(&world.client(), "")).await;
            assert_eq!(kind, ErrorKind::Decode);
            assert!(text.contains("does not advance"), "{text}");
            assert!(items >= way_in + length - 1, "nothing is lost before it is sure");
        }
    }
}

#[tokio::test]
async fn an_empty_page_before_all_counted_items_have_come_is_an_error() {
    let pages = [json!({ "items": [1, 2], "total": 5 }), json!({ "items": [], "total": 5 })];
    for by in [|client: &Client| by_offset(client, 2), |client: &Client| by_number(client, 1, 2)] {
        let (_world, client) = answering(&pages);
        let (items, kind, text) = fails(by(&client)).await;
        assert_eq!((items, kind), (2, ErrorKind::Decode));
        assert!(text.contains("a page behind 2 items is empty, and the list has 5 of them"), "{text}");
    }
    // What was deleted while the list was read is not counted any more.
    let (_world, client) =
        answering(&[json!({ "items": [1, 2], "total": 3 }), json!({ "items": [], "total": 2 })]);
    assert_eq!(by_offset(&client, 2).collect().await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_full_page_that_comes_again_and_again_is_an_error_also_without_a_total() {
    let page = json!({ "items": [1, 2] });
    let again = |times: u32| {
        let world = World::new();
        world.transport.on(&LIST).json(200, &page).times(times);
        world.client()
    };
    for pager in [by_offset(&again(2), 2), by_number(&again(2), 1, 2)] {
        let (items, kind, text) = fails(pager).await;
        assert_eq!((items, kind), (2, ErrorKind::Decode), "the page before it was good");
        assert!(text.contains("the one before it came again"), "{text}");
    }
    // The same values in other pages are no repetition, and neither are they where the total ends the list.
    let (_world, client) = answering(&[
        json!({ "items": [5, 5] }),
        json!({ "items": [5, 5, 5] }),
        json!({ "items": [5, 5] }),
        json!({ "items": [] }),
    ]);
    assert_eq!(by_offset(&client, 2).collect().await.unwrap().len(), 7);
    let same = json!({ "items": [5, 5], "total": 4 });
    let (_world, client) = answering(&[same.clone(), same]);
    assert_eq!(by_offset(&client, 2).collect().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_page_that_is_read_again_on_purpose_is_no_repetition() {
    let (_world, client) =
        answering(&[json!({ "items": [1, 2] }), json!({ "items": [1, 2] }), json!({ "items": [3] })]);
    let mut pager = by_offset(&client, 2);
    pager.next().await.unwrap().unwrap();
    let cursor = pager.cursor().unwrap();
    assert_eq!(pager.resume_from(&cursor).unwrap().collect().await.unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn a_keyset_that_goes_nowhere_is_an_error() {
    for last in [json!({ "items": [], "more": true }), json!({ "items": [8, 9], "more": true })] {
        let (_world, client) = answering(&[json!({ "items": [8, 9], "more": true }), last]);
        let (items, kind, text) = fails(by_key(&client)).await;
        assert_eq!((items, kind), (2, ErrorKind::Decode));
        assert!(text.contains("does not advance"), "{text}");
    }
}

const ELSEWHERE: [&str; 9] = [
    "https://evil.example/v1/things?c=1",
    "//evil.example/v1/things?c=1",
    "http://api.acme.example/v1/things?c=1",
    "https://api.acme.example:8443/v1/things?c=1",
    "https://api.acme.example.evil.example/v1/things",
    "https://api.acme.example@evil.example/v1/things",
    "\\\\evil.example\\v1\\things",
    "https://user:password@api.acme.example/v1/things",
    "file:///etc/passwd",
];

#[tokio::test]
async fn a_next_page_on_another_origin_is_refused_and_nothing_is_sent() {
    for next in ELSEWHERE {
        let (world, client) = answering(&[json!({ "items": [1, 2], "next": next })]);
        let (items, kind, text) = fails(by_url(&client)).await;
        assert_eq!((items, kind), (2, ErrorKind::InvalidRequest), "{next}: {text}");
        assert!(!text.contains("password") && !text.contains("things?"), "{text}");

        let world_of_links = World::new();
        let link = format!("<{next}>; rel=next");
        world_of_links.transport.on(&LIST).json(200, &json!({ "items": [1, 2] })).header("link", link);
        let (items, kind, _) = fails(by_link(&world_of_links.client())).await;
        assert_eq!((items, kind), (2, ErrorKind::InvalidRequest), "{next}");
        for world in [world, world_of_links] {
            assert_eq!(world.transport.requests().len(), 1, "{next}");
        }
    }
    let (_world, client) = answering(&[json!({ "items": [1, 2], "next": "https://[" })]);
    assert_eq!(fails(by_url(&client)).await.1, ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn it_is_refused_before_a_credential_is_made() {
    let world = World::new();
    let tokens = Tokens::new([Step::Issue { life: secs(60), takes: secs(0) }]);
    let client = world.builder().credentials(Shared(tokens.clone())).build().unwrap();
    for next in ELSEWHERE {
        let mut stored = serde_json::to_value(by_url(&client).cursor().unwrap()).unwrap();
        stored["at"] = json!({ "url": next });
        let cursor: Cursor = serde_json::from_value(stored).unwrap();
        let (items, kind, _) = fails(by_url(&client).resume_from(&cursor).unwrap()).await;
        assert_eq!((items, kind), (0, ErrorKind::InvalidRequest), "{next}");
    }
    assert!(tokens.issued().is_empty());
    assert!(world.transport.requests().is_empty());
}

#[tokio::test]
async fn a_link_header_that_cannot_be_read_is_an_error_and_not_the_end() {
    let world = World::new();
    world.transport.on(&LIST).json(200, &json!({ "items": [1] })).header("link", "</v1/things?c=1; rel=next");
    let (items, kind, text) = fails(by_link(&world.client())).await;
    assert_eq!((items, kind), (0, ErrorKind::Decode));
    assert!(text.contains("Link header"), "{text}");
}

#[tokio::test]
async fn a_cursor_from_another_way_of_paging_is_refused() {
    let world = World::new();
    let client = world.client();
    let kinds: [(&str, Value); 5] = [
        ("token", json!("a")),
        ("offset", json!(4)),
        ("page", json!(2)),
        ("url", json!("/v1/things?c=1")),
        ("key", json!("7")),
    ];
    type Open = fn(&Client) -> Pager<u64>;
    let lists: [(&str, Open); 6] = [
        ("token", |client| by_token(client, "")),
        ("offset", |client| by_offset(client, 2)),
        ("page", |client| by_number(client, 1, 2)),
        ("url", by_url),
        ("url", by_link),
        ("key", by_key),
    ];
    for (own, open) in lists {
        let mut stored = serde_json::to_value(open(&client).cursor().unwrap()).unwrap();
        for (kind, value) in &kinds {
            stored["at"] = json!({ *kind: value });
            let cursor: Cursor = serde_json::from_value(stored.clone()).unwrap();
            let resumed = open(&client).resume_from(&cursor);
            assert_eq!(resumed.is_ok(), own == *kind, "{kind} for {own}");
            if let Err(error) = resumed {
                assert_eq!(error.kind(), ErrorKind::InvalidRequest);
                assert!(error.to_string().contains("another way"), "{error}");
            }
        }
        // What was stored before the first page was read is good for any.
        let _ = open(&client).resume_from(&open(&client).cursor().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn what_a_url_carries_is_not_printed() {
    let next = "/v1/things?access_token=s3cret";
    let (_world, client) = answering(&[json!({ "items": [1], "next": next })]);
    let mut pager = by_url(&client);
    pager.next().await.unwrap().unwrap();
    let cursor = pager.cursor().unwrap();
    assert_eq!(cursor.position(), &Position::Url(next.to_owned()));
    let printed = format!("{pager:?} {cursor:?}") + &format!("{:?}", pager.pages());
    assert!(printed.contains("/v1/things") && !printed.contains("s3cret"), "{printed}");
}

#[tokio::test]
async fn every_strategy_goes_on_from_a_stored_cursor() {
    let page = |items: [u64; 2], next: &str| json!({ "items": items, "next": next, "more": true });
    type Open = fn(&Client) -> Pager<u64>;
    let lists: [(Open, &str); 4] = [
        (|client| by_number(client, 1, 2), "page=2&size=2"),
        (|client| by_offset(client, 2), "offset=2&limit=2"),
        (by_url, "c=1"),
        (by_key, "after_id=2"),
    ];
    for (open, asked) in lists {
        let (world, client) = answering(&[page([1, 2], "?c=1"), page([3, 4], "?c=2")]);
        let mut pager = open(&client);
        for _ in 0..3 {
            pager.next().await.unwrap().unwrap();
        }
        let stored = serde_json::to_string(&pager.cursor().unwrap()).unwrap();
        drop((pager, world));
        let last = json!({ "items": [3], "next": null, "more": false });
        let (world, client) = answering(&[last]);
        let cursor = serde_json::from_str(&stored).unwrap();
        assert_eq!(open(&client).resume_from(&cursor).unwrap().collect().await.unwrap(), [3], "{stored}");
        assert_eq!(queries(&world), [asked], "{stored}");
    }
}
