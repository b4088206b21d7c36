//! Each way of paging: what is asked for, and when it ends.

use super::{Items, queries};
use crate::support::{LIST, World};
use martlet_core::{Call, Client, ErrorKind, Extent, Pager, Response, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn items(body: &Value) -> Items {
    body["items"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
}

pub(super) fn by_number(client: &Client, first: u64, size: u64) -> Pager<u64> {
    let call = |page, size| Call::new(LIST).query("page", page).query("size", size);
    Pager::page_number(Arc::new(client.clone()), LIST, "", first, size, call, |response| {
        let body: Value = response.json()?;
        let extent = match (body["total"].as_u64(), body["pages"].as_u64(), body["more"].as_bool()) {
            (Some(items), ..) => Extent::Items(items),
            (_, Some(pages), _) => Extent::Pages(pages),
            (.., Some(more)) => Extent::More(more),
            _ => Extent::Unsaid,
        };
        Ok((items(&body), extent))
    })
}

pub(super) fn by_url(client: &Client) -> Pager<u64> {
    let first = Call::new(LIST).query("limit", 2).header("x-view".parse().unwrap(), "all".parse().unwrap());
    Pager::next_url(Arc::new(client.clone()), first, "limit=2", |response| {
        let body: Value = response.json()?;
        Ok((items(&body), body["next"].as_str().map(str::to_owned)))
    })
}

pub(super) fn by_link(client: &Client) -> Pager<u64> {
    let read = |response: &Response| -> Result<Items> { Ok(items(&response.json()?)) };
    Pager::link(Arc::new(client.clone()), Call::new(LIST).query("limit", 2), "limit=2", read)
}

pub(super) fn by_key(client: &Client) -> Pager<u64> {
    let call = |last: Option<&str>| Call::new(LIST).query_opt("after_id", last);
    let read = |response: &Response| {
        let body: Value = response.json()?;
        Ok((items(&body), body["more"].as_bool().unwrap()))
    };
    Pager::keyset(Arc::new(client.clone()), LIST, "", call, read, u64::to_string)
}

pub(super) fn answering(pages: &[Value]) -> (World, Client) {
    let world = World::new();
    pages.iter().fold(world.transport.on(&LIST), |script, page| script.json(200, page));
    let client = world.client();
    (world, client)
}

#[tokio::test]
async fn numbers_end_where_the_platform_says_and_else_with_a_short_page() {
    let page = |items: &[u64], extent: (&str, Value)| json!({ "items": items, extent.0: extent.1 });
    let unsaid = ("x", json!(0));
    for (first, pages, numbers) in [
        (0, vec![page(&[1, 2], unsaid.clone()), page(&[3], unsaid.clone())], vec![0, 1]),
        (1, vec![page(&[1, 2], unsaid.clone()), page(&[], unsaid.clone())], vec![1, 2]),
        (1, vec![page(&[1, 2], ("total", json!(3))), page(&[3], ("total", json!(3)))], vec![1, 2]),
        (0, vec![page(&[1, 2], ("total", json!(2)))], vec![0]),
        (0, vec![page(&[], ("pages", json!(0)))], vec![0]),
        // A short or empty page in the middle: the platform says that there are more.
        (
            1,
            vec![
                page(&[1], ("pages", json!(3))),
                page(&[], ("pages", json!(3))),
                page(&[2], ("pages", json!(3))),
            ],
            vec![1, 2, 3],
        ),
        (
            1,
            vec![
                page(&[1], ("more", json!(true))),
                page(&[], ("more", json!(true))),
                page(&[2, 3], ("more", json!(false))),
            ],
            vec![1, 2, 3],
        ),
    ] {
        let (world, client) = answering(&pages);
        let all = by_number(&client, first, 2).collect().await.unwrap();
        let told: Items = pages.iter().flat_map(items).collect();
        assert_eq!(all, told, "{pages:?}");
        let asked: Vec<_> = numbers.iter().map(|n| format!("page={n}&size=2")).collect();
        assert_eq!(queries(&world), asked, "{pages:?}");
        world.transport.verify();
    }
}

#[tokio::test]
async fn offsets_go_on_where_the_platform_says_that_there_are_more() {
    let page = |items: &[u64], more: bool| json!({ "items": items, "more": more });
    let (world, client) =
        answering(&[page(&[1, 2], true), page(&[], true), page(&[3], true), page(&[4, 5], false)]);
    let call = |offset, _| Call::new(LIST).query("offset", offset);
    let pager = Pager::offset(Arc::new(client), LIST, "", 2, call, |response| {
        let body: Value = response.json()?;
        Ok((items(&body), Extent::More(body["more"].as_bool().unwrap())))
    });
    assert_eq!(pager.collect().await.unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(queries(&world), ["offset=0", "offset=2", "offset=4", "offset=5"]);
}

#[tokio::test]
async fn a_url_is_followed_as_the_platform_wrote_it() {
    for (next, asked) in [
        (
            "https://api.acme.example/v1/things?page%5Bcursor%5D=a%2Fb&limit=2",
            "/v1/things?page%5Bcursor%5D=a%2Fb&limit=2",
        ),
        ("https://api.acme.example:443/v1/things?c=1#x", "/v1/things?c=1"),
        ("//api.acme.example/v1/things?c=1", "/v1/things?c=1"),
        ("/v2/query/01g-2000", "/v2/query/01g-2000"),
        ("?c=1", "/v1/things?c=1"),
        ("things?c=1", "/v1/things?c=1"),
        (" /v1/things?c=1 ", "/v1/things?c=1"),
    ] {
        let (world, client) = answering(&[
            json!({ "items": [1, 2], "next": next }),
            json!({ "items": [], "next": "/v1/last" }),
            json!({ "items": [3], "next": "" }),
        ]);
        assert_eq!(by_url(&client).collect().await.unwrap(), [1, 2, 3], "{next}");
        let requests = world.transport.requests();
        let paths: Vec<_> = requests.iter().map(|r| &r.url[url::Position::BeforePath..]).collect();
        assert_eq!(paths, ["/v1/things?limit=2", asked, "/v1/last"], "{next}");
        for request in &requests {
            assert_eq!(request.header("x-view"), Some("all"), "{next}");
            assert_eq!(request.header("authorization"), Some("Bearer token"), "{next}");
        }
    }
}

#[tokio::test]
async fn a_link_header_leads_to_the_next_page_and_its_absence_ends_the_list() {
    let world = World::new();
    world
        .transport
        .on(&LIST)
        .json(200, &json!({ "items": [1, 2] }))
        .header("link", r#"</v1/things?limit=2>; rel="first", <https://api.acme.example/v1/things?page_info=x>; rel="next""#)
        .json(200, &json!({ "items": [] }))
        .header("link", "<?page_info=y>; rel=next")
        .json(200, &json!({ "items": [3] }))
        .header("link", "</v1/things?page_info=x>; rel=\"previous\"");
    assert_eq!(by_link(&world.client()).collect().await.unwrap(), [1, 2, 3]);
    assert_eq!(queries(&world), ["limit=2", "page_info=x", "page_info=y"]);
}

#[tokio::test]
async fn a_keyset_goes_on_behind_the_last_item() {
    let (world, client) = answering(&[
        json!({ "items": [7, 9], "more": true }),
        json!({ "items": [12], "more": true }),
        json!({ "items": [13], "more": false }),
    ]);
    assert_eq!(by_key(&client).collect().await.unwrap(), [7, 9, 12, 13]);
    assert_eq!(queries(&world), ["", "after_id=9", "after_id=12"]);
    let (_world, client) = answering(&[json!({ "items": [], "more": false })]);
    assert!(by_key(&client).collect().await.unwrap().is_empty());
}

/// Its platform documents `"next": null` for the last page.
#[derive(Deserialize)]
struct Nullable {
    items: Items,
    #[serde(deserialize_with = "Option::deserialize")]
    next: Option<String>,
}

fn nullable(response: &Response) -> Result<(Items, Option<String>)> {
    response.json().map(|page: Nullable| (page.items, page.next))
}

/// Its platform documents that only an empty page ends the list.
fn until_empty(response: &Response) -> Result<(Items, Option<String>)> {
    let body: Value = response.json()?;
    match (items(&body), body["next"].as_str().map(str::to_owned)) {
        (items, None) if !items.is_empty() => Err(response.error(ErrorKind::Decode, "items and no next")),
        page => Ok(page),
    }
}

#[tokio::test]
async fn a_next_that_is_documented_to_be_there_and_is_not_is_an_error_and_not_the_end() {
    type Read = fn(&Response) -> Result<(Items, Option<String>)>;
    let first = json!({ "items": [1, 2], "next": "a" });
    let renamed = json!({ "items": [3, 4], "next_token": "b" });
    let ways: [(Read, Value, &str); 2] = [
        (nullable, json!({ "items": [3], "next": null }), "no field `next`"),
        (until_empty, json!({ "items": [], "next": null }), "items and no next"),
    ];
    for (read, last, told) in ways {
        let list = |client: &Client| {
            let call = |after: Option<&str>| Call::new(LIST).query_opt("after", after);
            Pager::token(Arc::new(client.clone()), LIST, "", call, read)
        };
        let (_world, client) = answering(&[first.clone(), last]);
        list(&client).collect().await.unwrap();

        let (_world, client) = answering(&[first.clone(), renamed.clone()]);
        let mut pager = list(&client);
        assert_eq!((pager.try_next().await.unwrap(), pager.try_next().await.unwrap()), (Some(1), Some(2)));
        let error = pager.try_next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains(told), "{error}");
        assert!(pager.cursor().is_some(), "it can be read on when it is mended");
    }
}
