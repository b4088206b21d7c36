//! Lists, and the traps in them: empty pages, repeated pages, odd tokens, broken pages, cursors kept overnight.

use super::{Answer, List, PageSpec, Reading, Subject, Tested, World};
use crate::RecordedRequest;
use martlet_core::{Cursor, ErrorKind, Result};
use serde_json::Value;
use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

const TOTAL: u64 = 5;

/// What the first page hands out for the second, and so on: characters that do not survive without encoding.
const TOKENS: [&str; 3] = ["0", "b/2+&=%?#ü \"'", "c==3"];

/// Three pages: 101 and 102, 103 and 104, 105.
fn pages() -> Vec<PageSpec> {
    let page = |items: &[u64], next: Option<usize>| PageSpec {
        items: items.to_vec(),
        next: next.map(|n| TOKENS[n].to_owned()),
        total: TOTAL,
    };
    vec![page(&[101, 102], Some(1)), page(&[103, 104], Some(2)), page(&[105], None)]
}

/// Answers the n-th request with the n-th page, from `first` on.
fn in_order<C>(
    list: &List<C>,
    pages: &[PageSpec],
    first: usize,
) -> impl Fn(&RecordedRequest) -> Answer + use<C> {
    let bodies: Vec<Value> = pages.iter().map(|page| (list.page)(page)).collect();
    let next = AtomicUsize::new(first);
    move |_| match bodies.get(next.fetch_add(1, Ordering::SeqCst)) {
        Some(body) => Answer::json(200, body),
        None => Answer::new(418, ""),
    }
}

async fn drain<C: Tested>(world: &World<C>, reading: &mut Box<dyn Reading>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    while let Some(item) = world.drive(reading.next()).await {
        all.push(item?);
        assert!(all.len() < 100, "the list does not end");
    }
    Ok(all)
}

/// All items, in order.
async fn whole<C: Tested>(subject: &Subject<C>, list: &List<C>) -> Vec<String> {
    let world = subject.world(in_order(list, &pages(), 0));
    let mut reading = (list.open)(&world.client);
    let name = list.operation.name();
    let all = drain(&world, &mut reading).await.unwrap_or_else(|e| panic!("{name} is not read: {e}"));
    assert_eq!(u64::try_from(all.len()), Ok(TOTAL), "{name}: other than the five items of three pages");
    all
}

fn lists<C: Tested>(subject: &Subject<C>) -> &[List<C>] {
    assert!(!subject.lists.is_empty(), "name the lists with Subject::list or Subject::token_list");
    &subject.lists
}

/// Three pages are five items and three requests, and then the list ends: also when it is asked again.
pub async fn a_list_is_read_to_its_end<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject) {
        let name = list.operation.name();
        let world = subject.world(in_order(list, &pages(), 0));
        let mut reading = (list.open)(&world.client);
        let all = drain(&world, &mut reading).await.unwrap_or_else(|e| panic!("{name} is not read: {e}"));
        assert_eq!(u64::try_from(all.len()), Ok(TOTAL), "{name}: other than the five items of three pages");
        let mut told: Vec<_> = all.clone();
        told.dedup();
        assert_eq!(
            told.len(),
            all.len(),
            "{name}: an item comes twice, or its Debug does not tell items apart"
        );
        assert!(world.drive(reading.next()).await.is_none(), "{name} goes on after its end");
        assert!(reading.cursor().is_none(), "{name} has a cursor at its end");
        let requests = world.wire.requests();
        assert_eq!(requests.len(), 3, "{name}: one request a page");
        assert!(
            requests.iter().all(|request| request.operation == name),
            "{name}: another operation was used"
        );
        for (n, request) in requests.iter().enumerate().skip(1) {
            let before = &requests[n - 1];
            let same = request.url == before.url && request.body == before.body;
            assert!(!same, "{name}: page {} was asked for as the one before it", n + 1);
        }
    }
}

/// A cursor that was stored as text after any item, and read by another process, loses nothing and repeats one page at most.
pub async fn a_list_goes_on_from_every_cursor<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject) {
        let (name, all) = (list.operation.name(), whole(&subject, list).await);
        for read in 0..all.len() {
            let world = subject.world(in_order(list, &pages(), 0));
            let mut reading = (list.open)(&world.client);
            for _ in 0..read {
                world.drive(reading.next()).await.expect("an item").expect("an item");
            }
            let cursor = reading.cursor().expect("a list that is not at its end has a cursor");
            let text = serde_json::to_string(&cursor).expect("a cursor serialises");
            let cursor: Cursor = serde_json::from_str(&text).expect("a cursor is read again");
            // Two items a page: the page under way begins at an even place, and a page that was drained is done.
            let page = read / 2;
            let world = subject.world(in_order(list, &pages(), page));
            let mut rest = (list.open)(&world.client).resume(&cursor).expect("the list's own cursor");
            let rest = drain(&world, &mut rest).await.unwrap_or_else(|e| panic!("{name} after {text}: {e}"));
            assert_eq!(rest, all[page * 2..], "{name} after {read} items, from {text}");
        }
    }
}

/// What the platform handed out comes back to it letter by letter, whatever the letters are.
pub async fn tokens_travel_unharmed<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject).iter().filter(|list| list.tokens) {
        let name = list.operation.name();
        let world = subject.world(in_order(list, &pages(), 0));
        drain(&world, &mut (list.open)(&world.client)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        for (request, token) in world.wire.requests().iter().zip(TOKENS).skip(1) {
            let in_query = request.url.query_pairs().any(|(_, value)| value == token);
            let in_body = serde_json::from_slice(&request.body).is_ok_and(|body: Value| holds(&body, token));
            assert!(in_query || in_body, "{name} does not send the token {token:?} back as it was");
        }
    }
}

fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(members) => members.values().any(|member| holds(member, text)),
        _ => false,
    }
}

/// A page without items that has a next one: platforms filter after they page. Lists with tokens go on behind it.
pub async fn an_empty_page_is_no_end<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject).iter().filter(|list| list.tokens) {
        let (name, all) = (list.operation.name(), whole(&subject, list).await);
        let mut pages = pages();
        pages[1].items.clear();
        let world = subject.world(in_order(list, &pages, 0));
        let read = drain(&world, &mut (list.open)(&world.client)).await;
        let read = read.unwrap_or_else(|e| panic!("{name} fails at an empty page: {e}"));
        assert_eq!(read, [&all[..2], &all[4..]].concat(), "{name} ends at an empty page");
    }
}

/// A platform that gives the same page for ever does not keep a program busy for ever, and no page is asked for twice.
pub async fn a_list_that_repeats_itself_ends<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject) {
        let name = list.operation.name();
        let body = (list.page)(&pages()[0]);
        let world = subject.world(move |_| Answer::json(200, &body));
        let mut reading = (list.open)(&world.client);
        let mut items = 0;
        while let Some(Ok(_)) = world.drive(reading.next()).await {
            items += 1;
            assert!(items < 20, "{name} reads the same page again and again");
        }
        let asked: Vec<_> = world.wire.requests().into_iter().map(|r| (r.url, r.body)).collect();
        let again = (1..asked.len()).find(|n| asked[..*n].contains(&asked[*n]));
        // Of tokens, one repetition is what tells.
        assert!(list.tokens || again.is_none(), "{name} asks for the same page again and again");
    }
}

/// An answer of 200 that is no page is an error: taken for the end, it would lose the rest without a word.
pub async fn a_page_that_is_none_is_no_end<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject) {
        let name = list.operation.name();
        for body in ["{}", "[]", "null", "", "<html></html>", "{\"message\":\"busy\"}"] {
            let pages = in_order(list, &pages(), 0);
            let asked = AtomicUsize::new(0);
            let world = subject.world(move |request| match asked.fetch_add(1, Ordering::SeqCst) {
                0 => pages(request),
                _ => Answer::new(200, body),
            });
            let mut reading = (list.open)(&world.client);
            let error = drain(&world, &mut reading).await;
            let Err(error) = error else { panic!("{name} takes {body:?} for the end of the list") };
            assert_eq!(error.kind(), ErrorKind::Decode, "{name}, {body:?}: {error}");
            assert!(world.drive(reading.next()).await.is_none(), "{name}: an error is told once");
        }
    }
}

/// A page with items that lost the member which says where the next one is, or how far the list goes. Where the platform's last page
/// has that member too (`"next": null`, `"has_more": false`, a total), its absence is an error, or the list goes on in spite of it: a
/// list that ends there loses the rest without a word. Where the last page leaves the member out, its absence is the end by itself:
/// nobody could tell. Which of the two it is, the pages that the subject writes say; what the list does, the test prints.
pub async fn a_page_without_its_next_is_no_end<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject) {
        let (name, all) = (list.operation.name(), whole(&subject, list).await);
        let first = pages().remove(0);
        let total = u64::try_from(first.items.len()).expect("a page is short");
        let last = PageSpec { next: None, total, ..first.clone() };
        for (path, last_page) in members_that_tell(&(list.page)(&first), &(list.page)(&last)) {
            let lost = path.join(".");
            let does = match without(&subject, list, &path).await {
                Ok(read) if read == all => "goes on",
                Ok(_) if last_page == LastPage::LeavesItOut => {
                    "ends, as it does where the platform's last page leaves it out"
                }
                Ok(_) if last_page == LastPage::HasIt => panic!(
                    "{name} takes a page without {lost} for the last one, but the last one has it too: make its absence an error, an \
                     Option with #[serde(deserialize_with = \"Option::deserialize\")]. If the platform leaves it out at the end, let \
                     the subject's page leave it out too"
                ),
                Ok(_) => panic!(
                    "{name} takes a page without {lost} for the last one, but the last one has nothing of {}: make the absence of a \
                     part of it an error",
                    path[0]
                ),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Decode, "{name} without {lost}: {error}");
                    "fails"
                }
            };
            say(&format!("{name}: at a page that has no {lost} the list {does}"));
        }
    }
}

/// What is read when the first page lost a member.
async fn without<C: Tested>(subject: &Subject<C>, list: &List<C>, path: &[String]) -> Result<Vec<String>> {
    let mut first = (list.page)(&pages()[0]);
    let (member, objects) = path.split_last().expect("a path has a name");
    let object = objects.iter().fold(&mut first, |object, name| &mut object[name.as_str()]);
    object.as_object_mut().and_then(|members| members.remove(member)).expect("the path leads to a member");
    let rest = in_order(list, &pages(), 1);
    let asked = AtomicUsize::new(0);
    let world = subject.world(move |request| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::json(200, &first),
        _ => rest(request),
    });
    drain(&world, &mut (list.open)(&world.client)).await
}

#[expect(clippy::print_stdout, reason = "a test prints what it found; `cargo test -- --nocapture` shows it")]
fn say(text: &str) {
    println!("{text}");
}

/// What the last page does with a member that the others have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastPage {
    /// Has it too, with another value.
    HasIt,
    /// Leaves it out.
    LeavesItOut,
    /// Leaves the whole object out that it is part of.
    LeavesMoreOut,
}

/// The members of `page` that the last one, with the same items, has not or has with another value.
fn members_that_tell(page: &Value, last: &Value) -> Vec<(Vec<String>, LastPage)> {
    let (Value::Object(members), Some(last)) = (page, last.as_object()) else { return Vec::new() };
    let mut all = Vec::new();
    for (name, value) in members {
        let found = match (value, last.get(name)) {
            (_, Some(same)) if same == value => continue,
            (Value::Object(_), Some(below @ Value::Object(_))) => members_that_tell(value, below),
            (Value::Object(_), None) => parts(value),
            (_, Some(_)) => vec![(Vec::new(), LastPage::HasIt)],
            (_, None) => vec![(Vec::new(), LastPage::LeavesItOut)],
        };
        all.extend(under(name, found));
    }
    all
}

/// The members of an object that the last page has nothing of, however deep.
fn parts(value: &Value) -> Vec<(Vec<String>, LastPage)> {
    match value {
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| under(name, parts(value))).collect()
        }
        _ => vec![(Vec::new(), LastPage::LeavesMoreOut)],
    }
}

fn under(name: &str, paths: Vec<(Vec<String>, LastPage)>) -> impl Iterator<Item = (Vec<String>, LastPage)> {
    paths.into_iter().map(move |(mut path, last_page)| {
        path.insert(0, name.to_owned());
        (path, last_page)
    })
}

/// When a page fails, the error comes after the items before it, and the cursor that is kept reads on from that page.
pub async fn a_page_that_failed_is_read_again<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject) {
        let (name, all) = (list.operation.name(), whole(&subject, list).await);
        let first = in_order(list, &pages(), 0);
        let asked = AtomicUsize::new(0);
        let world = subject.world(move |request| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => first(request),
            _ => Answer::new(400, ""),
        });
        let mut reading = (list.open)(&world.client);
        for item in &all[..2] {
            let read = world.drive(reading.next()).await.expect("an item");
            assert_eq!(&read.expect("the first page is good"), item, "{name}");
        }
        let failed = world.drive(reading.next()).await.expect("an error is no end");
        failed.expect_err("the second page fails");
        let cursor = reading.cursor().expect("after an error there is a cursor");
        let world = subject.world(in_order(list, &pages(), 1));
        let mut rest = (list.open)(&world.client).resume(&cursor).expect("the list's own cursor");
        let rest = drain(&world, &mut rest).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(rest, all[2..], "{name}");
    }
}

/// A `next()` that is dropped at any await, and called again, loses and repeats nothing.
pub async fn a_dropped_page_is_read_again<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject) {
        let (name, all) = (list.operation.name(), whole(&subject, list).await);
        for polls in 0..40 {
            let world = World::new(&subject, std::time::Duration::ZERO, 3, in_order(list, &pages(), 0));
            let mut reading = (list.open)(&world.client);
            let mut read = Vec::new();
            // Dropped once, at this await; what was ready before counts.
            let mut first = None;
            {
                let mut next = pin!(reading.next());
                for _ in 0..polls {
                    let polled = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    match polled {
                        Poll::Ready(item) => {
                            first = item;
                            break;
                        }
                        Poll::Pending => tokio::task::yield_now().await,
                    }
                }
            }
            if let Some(item) = first {
                read.push(item.unwrap_or_else(|e| panic!("{name}: {e}")));
            }
            read.extend(drain(&world, &mut reading).await.unwrap_or_else(|e| panic!("{name}: {e}")));
            assert_eq!(read, all, "{name}, dropped after {polls} polls");
        }
    }
}

/// A cursor of another list, or of the same list with another filter, is refused: it would skip or repeat without a word.
pub async fn a_cursor_of_another_list_is_refused<C: Tested>(subject: Subject<C>) {
    for list in lists(&subject) {
        let name = list.operation.name();
        let world = subject.world(|_| Answer::new(418, ""));
        let own = (list.open)(&world.client).cursor().expect("a list begins with a cursor");
        let open = || (list.open)(&world.client);
        open().resume(&own).unwrap_or_else(|e| panic!("{name} refuses its own cursor: {e}"));
        let own = serde_json::to_value(&own).expect("a cursor serialises");
        for (member, value) in [("list", "another list.list"), ("filter", "another filter")] {
            let mut foreign = own.clone();
            foreign[member] = value.into();
            let foreign: Cursor = serde_json::from_value(foreign).expect("a cursor is read");
            let Err(error) = open().resume(&foreign) else { panic!("{name} takes a cursor of {value}") };
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{name}: {error}");
        }
        assert!(world.wire.requests().is_empty(), "{name} sends something before it is read");
    }
}
