//! What reading a list item by item costs, beside loops by hand and beside `page-turner`, over one transport in this process.
//!
//! `cargo bench -p martlet-benches-extract --bench pager`. The subjects take turns, so that a busy moment of the machine meets
//! all of them; the median counts.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::Method;
use martlet_benches::Report;
use martlet_core::base::Clock;
use martlet_core::{
    ApiClient, BodyStream, Call, Client, Credential, Descriptor, Operation, Pager, SendContext, Transport,
    TransportError, WireRequest,
};
use page_turner::prelude::*;
use serde::Deserialize;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Pages of one list.
const PAGES: u64 = 200;
/// Records of a page.
const SIZES: [u64; 2] = [10, 100];
/// Every subject reads the list so often.
const ROUNDS: usize = 61;

const LIST: Operation = Operation::get("contacts.list", "/v1/contacts");

#[derive(Debug, Deserialize)]
struct Contact {
    id: u64,
    email: String,
    firstname: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    results: Vec<Contact>,
    next: Option<String>,
}

/// A platform with its answers ready.
#[derive(Clone, Debug)]
struct Ready(Arc<Vec<Bytes>>);

impl Ready {
    fn new(size: u64) -> Self {
        let page = |page: u64| {
            let contact = |id: u64| serde_json::json!({ "id": id, "email": format!("contact{id}@example.com"), "firstname": "Ada" });
            let results: Vec<_> = (page * size..(page + 1) * size).map(contact).collect();
            let next = (page + 1 < PAGES).then(|| (page + 1).to_string());
            Bytes::from(serde_json::json!({ "results": results, "next": next }).to_string())
        };
        Self(Arc::new((0..PAGES).map(page).collect()))
    }
}

#[async_trait]
impl Transport for Ready {
    async fn send(
        &self,
        request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let after =
            request.url.query_pairs().find_map(|(name, value)| (name == "after").then(|| value.parse()));
        let page: usize = after.and_then(Result::ok).unwrap_or(0);
        Ok(http::Response::new(BodyStream::whole(self.0[page].clone())))
    }
}

/// What a program writes that knows nothing but the transport: no retries, no limits, no credentials.
#[derive(Clone, Debug)]
struct ByHand {
    transport: Ready,
    base: Url,
}

impl ByHand {
    async fn page(&self, after: Option<&str>) -> Outcome<Page> {
        let mut url = self.base.clone();
        url.set_path(LIST.path());
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let request = WireRequest::new(Method::GET, url, http::HeaderMap::new(), Bytes::new());
        let cx = SendContext::new("acme", LIST.name(), Duration::from_secs(30));
        let mut body = self.transport.send(request, &cx).await?.into_body();
        let mut bytes = body.try_next().await?.unwrap_or_default();
        if let Some(more) = body.try_next().await? {
            bytes = [bytes, more].concat().into();
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    async fn read(&self) -> Outcome<u64> {
        let (mut sum, mut after) = (0, None);
        loop {
            let page = self.page(after.as_deref()).await?;
            sum += page.results.iter().map(worth).sum::<u64>();
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(sum),
            }
        }
    }
}

impl PageTurner<Option<String>> for ByHand {
    type PageItems = Vec<Contact>;
    type PageError = Box<dyn Error + Send + Sync>;

    async fn turn_page(&self, after: Option<String>) -> TurnedPageResult<Self, Option<String>> {
        let page = self.page(after.as_deref()).await?;
        Ok(match page.next {
            Some(next) => TurnedPage::next(page.results, Some(next)),
            None => TurnedPage::last(page.results),
        })
    }
}

async fn turn(by_hand: &ByHand) -> Outcome<u64> {
    let mut sum = 0;
    let mut items = std::pin::pin!(by_hand.pages(None).items());
    while let Some(contact) = items.try_next().await? {
        sum += worth(&contact);
    }
    Ok(sum)
}

/// Something that needs each record.
fn worth(contact: &Contact) -> u64 {
    contact.id + u64::from(contact.email.starts_with('c')) + u64::from(contact.firstname.is_some())
}

/// The client with all its layers, and a loop by hand around it.
async fn loop_over_client(client: &Client) -> Outcome<u64> {
    let (mut sum, mut after) = (0, None::<String>);
    loop {
        let page: Page =
            client.execute(Call::new(LIST).query_opt("after", after.as_deref())).await?.json()?;
        sum += page.results.iter().map(worth).sum::<u64>();
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(sum),
        }
    }
}

fn pager(client: &Arc<Client>) -> Pager<Contact> {
    let call = |after: Option<&str>| Call::new(LIST).query_opt("after", after);
    Pager::token(client.clone(), LIST, "", call, |response| {
        let page: Page = response.json()?;
        Ok((page.results, page.next))
    })
}

async fn by_item(client: &Arc<Client>) -> Outcome<u64> {
    let (mut pager, mut sum) = (pager(client), 0);
    while let Some(contact) = pager.try_next().await? {
        sum += worth(&contact);
    }
    Ok(sum)
}

async fn by_page(client: &Arc<Client>) -> Outcome<u64> {
    let (mut pages, mut sum) = (pager(client).pages(), 0);
    while let Some(page) = pages.next().await.transpose()? {
        sum += page.items.iter().map(worth).sum::<u64>();
    }
    Ok(sum)
}

type Run<'a> = Box<dyn Fn() -> Outcome<u64> + 'a>;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::new("pager");
    for size in SIZES {
        let transport = Ready::new(size);
        let by_hand = ByHand { transport: transport.clone(), base: "https://api.acme.example".parse()? };
        let acme = Descriptor::new("acme", "https://api.acme.example")?;
        let client =
            Client::builder(acme).transport(transport).credentials(Credential::bearer("token")).build()?;
        let client = Arc::new(client);
        let subjects: [(&'static str, Run<'_>); 5] = [
            ("by hand, transport alone", Box::new(|| runtime.block_on(by_hand.read()))),
            ("page-turner 1.0, transport alone", Box::new(|| runtime.block_on(turn(&by_hand)))),
            ("by hand, martlet's client", Box::new(|| runtime.block_on(loop_over_client(&client)))),
            ("martlet, Pager", Box::new(|| runtime.block_on(by_item(&client)))),
            ("martlet, Pages", Box::new(|| runtime.block_on(by_page(&client)))),
        ];
        let mut samples = vec![Vec::with_capacity(ROUNDS); subjects.len()];
        let expected = (subjects[0].1)()?;
        let clock = Clock::system();
        for round in 0..=ROUNDS {
            for ((name, run), samples) in subjects.iter().zip(&mut samples) {
                let began = clock.now();
                let mut sum = Ok(0);
                let counted = allocation_counter::measure(|| sum = run());
                let time = clock.now().since(began).as_secs_f64();
                if sum? != expected {
                    return Err(format!("{name} read something else").into());
                }
                // The first round warms up.
                if round > 0 {
                    samples.push((time, counted.count_total));
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "some ten thousand")]
        let records = (PAGES * size) as f64;
        let mut figures = |case: &str, unit, of: fn((f64, u64), f64) -> f64| {
            let values = subjects.iter().zip(&samples).map(|((name, _), samples)| {
                let mut values: Vec<f64> = samples.iter().map(|sample| of(*sample, records)).collect();
                values.sort_by(f64::total_cmp);
                (*name, values[values.len() / 2])
            });
            report.figures(&format!("{case}_{size}"), unit, &values.collect::<Vec<_>>());
        };
        figures("throughput", "records/s", |(time, _), records| records / time);
        #[expect(clippy::cast_precision_loss, reason = "some millions")]
        figures("allocations_per_record", "allocations", |(_, count), records| count as f64 / records);
    }
    report.write();
    Ok(())
}
