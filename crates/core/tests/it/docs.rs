//! Pages of the book against the code. They lie beside the crates, so a packaged crate has none to compare.

use crate::support::World;
use async_trait::async_trait;
use http::StatusCode;
use martlet_core::{Error, ErrorKind, Layer, Next, Request, Response, Result, VendorFault};
use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the table whose head begins with `first`, cell by cell.
fn table(page: &str, first: &str) -> Vec<Vec<String>> {
    let head = format!("| {first} |");
    let rows = page.lines().skip_while(|line| !line.starts_with(&head)).skip(2);
    let rows: Vec<_> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "no table `{first}`");
    rows
}

fn bare(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[derive(Debug)]
struct Yours(&'static str);

#[async_trait]
impl Layer for Yours {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        next.run(request).await
    }
}

#[test]
fn the_page_of_layers_has_them_all_in_their_order() {
    let call = Yours("your call layers");
    let client = World::new().builder().call_layer(call).attempt_layer(Yours("your attempt layers")).build();
    let rows = table(&read("docs/layers.md"), "layer");
    let names: Vec<_> = rows.iter().map(|row| bare(&row[0])).collect();
    assert_eq!(names, client.unwrap().layers());
    // Per call up to Retry, per attempt inside.
    let inside = names.iter().position(|name| *name == "retry").unwrap();
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row[1], if place <= inside { "once per call" } else { "each attempt" }, "{}", row[0]);
    }
}

/// Doc text as the page says it: links without their address, the paragraph "What to do" apart.
fn what_to_do(doc: &str) -> (String, String) {
    let mut text = String::new();
    let mut rest = doc;
    while let Some((before, link)) = rest.split_once('[') {
        let (label, after) = link.split_once("](").expect("a bracket begins a link");
        text.extend([before, label]);
        rest = after.split_once(')').expect("a link ends").1;
    }
    text.push_str(rest);
    let (what, todo) = text.split_once("**What to do:**").expect("each kind says what to do");
    (what.trim().to_owned(), todo.trim().to_owned())
}

#[test]
fn the_page_of_errors_says_of_each_kind_what_the_code_says() {
    use ErrorKind::*;
    let all = [
        Config,
        InvalidRequest,
        Connect,
        Timeout,
        Interrupted,
        RateLimited,
        QuotaExhausted,
        Unauthenticated,
        Forbidden,
        NotFound,
        Conflict,
        Rejected,
        Server,
        Decode,
        CircuitOpen,
        Overloaded,
        DeadlineExceeded,
        Credential,
        Store,
        Layer,
    ];
    let code = read("crates/core/src/error.rs");
    let (body, _) = code.split_once("pub enum ErrorKind {").unwrap().1.split_once("\n}").unwrap();
    let (mut declared, mut doc) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("///") {
            Some(text) => doc.push(text.trim()),
            None => {
                declared.push((line.trim_end_matches(','), what_to_do(&std::mem::take(&mut doc).join(" "))))
            }
        }
    }
    let rows = table(&read("docs/errors.md"), "kind");
    assert_eq!((declared.len(), rows.len()), (all.len(), all.len()));
    for ((kind, (name, (what, todo))), row) in all.into_iter().zip(declared).zip(rows) {
        assert_eq!(format!("{kind:?}"), name);
        let usual = Error::new(kind, "");
        let (delivery, recovery) = (usual.delivery().as_str(), usual.recovery().as_str());
        let said: Vec<_> = row.iter().map(|cell| cell.as_str()).collect();
        let code = [name, kind.as_str(), delivery, recovery].map(|text| format!("`{text}`"));
        let phrase = kind.to_string();
        assert_eq!(said, [&code[0], &code[1], &*phrase, &code[2], &code[3], &what, &todo]);
    }
}

#[test]
fn the_page_of_errors_maps_each_status_as_the_code_does() {
    let rows = table(&read("docs/errors.md"), "status");
    let page = |status: u16| {
        let exact = rows.iter().find(|row| row[0].split(", ").any(|s| s == status.to_string()));
        let class = format!("{}xx", status / 100);
        let row = exact.or_else(|| rows.iter().find(|row| row[0].contains(&class)));
        row.map(|row| bare(&row[1]).to_owned()).unwrap_or_default()
    };
    for status in (100..200).chain(300..304).chain(305..600) {
        let kind = VendorFault::from_status(StatusCode::from_u16(status).unwrap()).kind;
        assert_eq!(page(status), format!("{kind:?}"), "{status}");
    }
}
