//! Every way of paging against a platform on loopback that pages so, and that does what platforms do: it repeats pages, leads in
//! circles or elsewhere, and changes while it is read.

use martlet::base::Clock;
use martlet::core::{
    ApiClient, Call, Client, Credential, Cursor, Descriptor, ErrorKind, Extent, Operation, Pager, Response,
    Result,
};
use martlet::prelude::ReqwestTransport;
use martlet_testkit::{SimReply, SimRequest, SimServer, SimTime, Simulator};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const LIST: Operation = Operation::get("things.list", "/v1/{way}/things");
/// Things a page.
const SIZE: u64 = 4;

/// What the platform does to those who read it.
#[derive(Clone, Debug, Default, PartialEq)]
enum Trap {
    #[default]
    None,
    /// Whatever is asked for, the second page comes.
    Repeats,
    /// Behind the third page the first one follows again.
    Circle,
    /// The next page is on this server.
    Elsewhere(String),
    /// The second page forgets to say where the next one is.
    Forgets,
    /// Before each page but the first, something that was read already is deleted and something new is added behind.
    Changes,
}

/// Things 10, 20, .. 250, in the order of their numbers.
#[derive(Debug)]
struct Acme {
    trap: Trap,
    things: Mutex<BTreeSet<u64>>,
    requests: AtomicU64,
    tokens: Mutex<Vec<String>>,
}

impl Acme {
    fn new(trap: Trap) -> Arc<Self> {
        let things = Mutex::new((1..=25).map(|n| n * 10).collect());
        Arc::new(Self { trap, things, requests: AtomicU64::new(0), tokens: Mutex::default() })
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// The things there are now.
    fn left(&self) -> Vec<u64> {
        self.things.lock().unwrap().iter().copied().collect()
    }
}

impl Simulator for Acme {
    fn name(&self) -> &'static str {
        "acme"
    }

    fn handle(&self, request: &SimRequest, _now: SimTime) -> SimReply {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        self.tokens.lock().unwrap().extend(request.header("authorization").map(str::to_owned));
        let mut things = self.things.lock().unwrap();
        if self.trap == Trap::Changes && number > 0 {
            things.pop_first();
            things.insert(1_000 + number);
        }
        let all: Vec<u64> = things.iter().copied().collect();
        let total = u64::try_from(all.len()).unwrap();
        let param = |name: &str| request.param(name).and_then(|v| v.parse::<u64>().ok());

        // Where the page begins, by whatever was sent.
        let behind = |key: u64| u64::try_from(all.iter().filter(|id| **id <= key).count()).unwrap();
        let mut begin = match (param("offset"), param("page"), param("after_id"), request.param("c")) {
            (Some(offset), ..) => offset,
            (_, Some(page), ..) => (page - 1) * SIZE,
            (_, _, Some(key), _) => behind(key),
            (.., Some(c)) => c.trim_start_matches("at/").parse().unwrap(),
            _ => 0,
        };
        if self.trap == Trap::Repeats && number > 1 {
            begin = SIZE;
        }
        let page: Vec<u64> = all
            .iter()
            .skip(usize::try_from(begin).unwrap())
            .take(usize::try_from(SIZE).unwrap())
            .copied()
            .collect();
        let end = begin + u64::try_from(page.len()).unwrap();
        let more = end < total;

        let end = if self.trap == Trap::Circle && number >= 2 { SIZE } else { end };
        let forgets = self.trap == Trap::Forgets && number == 1;
        let origin = match &self.trap {
            Trap::Elsewhere(origin) => origin.clone(),
            _ => format!("http://{}", request.header("host").unwrap()),
        };
        let next = (more && !forgets).then(|| format!("{origin}{}?c=at%2F{end}", request.path));
        let mut body = json!({ "things": page });
        match request.segments()[1].as_str() {
            "token" if !forgets => body["next"] = json!(more.then(|| format!("at/{end}"))),
            "url" if !forgets => body["links"] = json!({ "next": next }),
            "keyset" if !forgets => body["has_more"] = json!(more),
            "pages" if !forgets => body["pages"] = json!(total.div_ceil(SIZE)),
            _ => {}
        }
        let reply = SimReply::json(200, &body);
        match next {
            Some(next) if request.path.contains("/link/") => {
                reply.header("link", format!("<{}>; rel=\"first\", <{next}>; rel=\"next\"", request.path))
            }
            _ => reply,
        }
    }
}

type Way = fn(Arc<dyn ApiClient>) -> Pager<u64>;

const WAYS: [(&str, Way); 7] = [
    ("token", |api| {
        let call = |after: Option<&str>| list("token").query_opt("c", after);
        Pager::token(api, LIST, "", call, |response| {
            Ok((things(response)?, text(&member(response, "next")?)))
        })
    }),
    ("offset", |api| {
        let call = |offset, limit| list("offset").query("offset", offset).query("limit", limit);
        Pager::offset(api, LIST, "", SIZE, call, |response| Ok((things(response)?, None)))
    }),
    ("number", |api| {
        let call = |page, size| list("number").query("page", page).query("size", size);
        Pager::page_number(api, LIST, "", 1, SIZE, call, |response| Ok((things(response)?, Extent::Unsaid)))
    }),
    ("pages", |api| {
        let call = |page, size| list("pages").query("page", page).query("size", size);
        Pager::page_number(api, LIST, "", 1, SIZE, call, |response| {
            let pages = member(response, "pages")?.as_u64().unwrap();
            Ok((things(response)?, Extent::Pages(pages)))
        })
    }),
    ("link", |api| Pager::link(api, list("link"), "", things)),
    ("url", |api| {
        Pager::next_url(api, list("url"), "", |response| {
            Ok((things(response)?, text(&member(response, "links")?["next"])))
        })
    }),
    ("keyset", |api| {
        let call = |last: Option<&str>| list("keyset").query_opt("after_id", last);
        let read =
            |response: &Response| Ok((things(response)?, member(response, "has_more")?.as_bool().unwrap()));
        Pager::keyset(api, LIST, "", call, read, u64::to_string)
    }),
];

fn list(way: &'static str) -> Call {
    Call::new(LIST).path("way", way)
}

fn things(response: &Response) -> Result<Vec<u64>> {
    let body: Value = response.json()?;
    Ok(body["things"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect())
}

/// A member that must be there: to forget it is not to say that the list ends.
fn member(response: &Response, name: &str) -> Result<Value> {
    let body: Value = response.json()?;
    let missing = || response.error(ErrorKind::Decode, format!("the page has no member {name:?}"));
    body.get(name).cloned().ok_or_else(missing)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

async fn serve(acme: &Arc<Acme>) -> SimServer {
    let address = ([127, 0, 0, 1], 0).into();
    SimServer::start(Arc::clone(acme) as _, address, Clock::system(), None).await.unwrap()
}

fn client(server: &SimServer) -> Arc<Client> {
    let acme = Descriptor::new("acme", "https://api.acme.example").unwrap();
    let builder = Client::builder(acme).transport(ReqwestTransport::new().unwrap());
    Arc::new(builder.base_url(server.url()).credentials(Credential::bearer("s3cret")).build().unwrap())
}

/// What was read, and the error that ended it.
async fn drain(mut pager: Pager<u64>) -> (Vec<u64>, Option<(ErrorKind, String)>) {
    let mut all = Vec::new();
    while let Some(item) = pager.next().await {
        match item {
            Ok(item) => all.push(item),
            Err(error) => {
                assert!(pager.next().await.is_none(), "an error is told once");
                return (all, Some((error.kind(), error.to_string())));
            }
        }
        assert!(all.len() < 500, "it goes on for ever");
    }
    (all, None)
}

#[tokio::test]
async fn every_way_of_paging_reads_a_list_to_its_end_and_on_from_any_cursor() {
    for (way, open) in WAYS {
        for ahead in [0, 2] {
            let acme = Acme::new(Trap::None);
            let server = serve(&acme).await;
            let client = client(&server);
            let (all, error) = drain(open(client.clone()).prefetch(ahead)).await;
            assert_eq!((all, error), (acme.left(), None), "{way}");
            assert_eq!(acme.requests(), 7, "{way}: one request a page");

            // Stopped somewhere, the cursor stored as text, and on by another program.
            for read in [0, 1, 3, 4, 5, 13, 24] {
                let mut pager = open(client.clone()).prefetch(ahead);
                for _ in 0..read {
                    pager.next().await.unwrap().unwrap();
                }
                let stored = serde_json::to_string(&pager.cursor().unwrap()).unwrap();
                drop(pager);
                let cursor: Cursor = serde_json::from_str(&stored).unwrap();
                let (rest, error) = drain(open(client.clone()).resume_from(&cursor).unwrap()).await;
                assert_eq!((rest, error), (acme.left()[read / 4 * 4..].to_vec(), None), "{way}, {stored}");
            }
        }
    }
}

#[tokio::test]
async fn a_platform_that_repeats_a_page_or_leads_in_a_circle_keeps_nobody_busy() {
    for trap in [Trap::Repeats, Trap::Circle] {
        for (way, open) in WAYS {
            // Those who count are not led.
            if trap == Trap::Circle && ["offset", "number", "pages", "keyset"].contains(&way) {
                continue;
            }
            let acme = Acme::new(trap.clone());
            let server = serve(&acme).await;
            let (all, error) = drain(open(client(&server))).await;
            if way == "pages" {
                // The number of pages ends it.
                assert_eq!((acme.requests(), error), (7, None));
                continue;
            }
            let (kind, text) = error.unwrap_or_else(|| panic!("{way} takes {trap:?} for the end"));
            assert_eq!(kind, ErrorKind::Decode, "{way}: {text}");
            assert!(text.contains("does not advance"), "{way}: {text}");
            assert!(acme.requests() <= 8, "{way} made {} requests", acme.requests());
            assert_eq!(all[..8], acme.left()[..8], "{way}: what came before is good");
        }
    }
}

#[tokio::test]
async fn no_credential_goes_to_another_server() {
    let evil = Acme::new(Trap::None);
    let elsewhere = serve(&evil).await;
    for (way, open) in WAYS.into_iter().filter(|(way, _)| ["url", "link"].contains(way)) {
        let acme = Acme::new(Trap::Elsewhere(elsewhere.url()));
        let server = serve(&acme).await;
        let (all, error) = drain(open(client(&server))).await;
        assert_eq!((all.len(), error.unwrap().0), (4, ErrorKind::InvalidRequest), "{way}");
        assert_eq!(*acme.tokens.lock().unwrap(), ["Bearer s3cret"], "{way}");
    }
    assert_eq!(evil.requests(), 0);
}

#[tokio::test]
async fn a_page_that_forgets_its_next_is_no_end_where_the_platform_always_says_it() {
    for (way, open) in WAYS {
        let acme = Acme::new(Trap::Forgets);
        let server = serve(&acme).await;
        let (all, error) = drain(open(client(&server))).await;
        match way {
            // Nobody said where the next page is, or that there is one.
            "offset" | "number" => assert_eq!((all.len(), error), (25, None), "{way}"),
            // A `Link` header that is not there is how a last page looks.
            "link" => assert_eq!((all.len(), error), (8, None)),
            _ => assert_eq!((all.len(), error.unwrap().0), (4, ErrorKind::Decode), "{way}"),
        }
    }
}

#[tokio::test]
async fn a_keyset_neither_skips_nor_repeats_when_things_come_and_go() {
    let read = async |way: &str| {
        let acme = Acme::new(Trap::Changes);
        let server = serve(&acme).await;
        let (_, open) = WAYS.into_iter().find(|(name, _)| *name == way).unwrap();
        let (all, error) = drain(open(client(&server))).await;
        assert_eq!(error, None);
        let unique: BTreeSet<_> = all.iter().copied().collect();
        assert_eq!(unique.len(), all.len(), "{way}: nothing comes twice");
        // What was there the whole time and was not read.
        acme.left().into_iter().filter(|id| *id <= 250 && !unique.contains(id)).collect::<Vec<_>>()
    };
    assert!(read("keyset").await.is_empty());
    assert!(!read("offset").await.is_empty(), "what counting costs");
}
