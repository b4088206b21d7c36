//! Pages of the book against the code. They lie beside the crates, so a packaged crate has none to compare.

use crate::support::World;
use async_trait::async_trait;
use http::StatusCode;
use martlet_core::{Error, ErrorKind, Layer, Next, Request, Response, Result, VendorFault};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
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

/// Everything that ends so below `folder`.
fn files(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, end, found);
        } else if path.to_str().is_some_and(|path| path.ends_with(end)) {
            found.push(path);
        }
    }
}

#[test]
fn the_lines_of_the_page_for_three_in_the_morning_are_written_by_the_code() {
    // What other libraries say, as it was seen.
    let foreign = [
        "client error (Connect)",
        "tcp connect error",
        "Connection refused",
        "os error",
        "database is locked",
        "file is not a database",
        "cannot execute nextval() in a read-only transaction",
        "error connecting to server: database does not allow writes",
    ];
    let mut sources = Vec::new();
    files(&root().join("crates"), ".rs", &mut sources);
    files(&root().join("examples"), ".rs", &mut sources);
    sources.retain(|path| !path.ends_with("tests/it/docs.rs"));
    let code: Vec<String> = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for row in table(&read("docs/running-in-production.md"), "line") {
        // The parts between what differs each time: marks, numbers, `..`, what is quoted in full apart.
        let line = row[0].split('`').nth(1).unwrap();
        let own = foreign.iter().fold(line.to_owned(), |line, text| line.replace(text, ":"));
        let own = own.replace("..", ":");
        for part in
            own.split(|c: char| c.is_ascii_digit() || matches!(c, ':' | ';' | '"' | '(' | ')' | '/' | ','))
        {
            // `hubspot contacts.search`: the second is a name in the code.
            let operation = part
                .split_once(' ')
                .map(|(_, name)| name)
                .filter(|name| name.contains('.') && !name.contains(' '));
            let part = operation.unwrap_or(part).trim().trim_end_matches('.');
            let known = part.len() < 8 || code.iter().any(|text| text.contains(part));
            assert!(known, "no code says {part:?}, from {line:?}");
        }
    }
}

#[test]
fn every_crate_is_in_the_readme_the_changelog_and_the_page_of_architecture() {
    let mut manifests = Vec::new();
    files(&root().join("crates"), "Cargo.toml", &mut manifests);
    let (readme, changelog) = (read("README.md"), read("CHANGELOG.md"));
    let architecture = read("docs/architecture.md");
    for manifest in manifests {
        let text = fs::read_to_string(&manifest).unwrap();
        if text.contains("publish = false") {
            continue;
        }
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).unwrap();
        for (page, text) in [("README", &readme), ("CHANGELOG", &changelog), ("architecture", &architecture)]
        {
            assert!(text.contains(&format!("`{name}`")), "{name} is missing in {page}");
        }
    }
}

/// The anchors of a page's titles, as GitHub and mdBook make them.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let prose: String = text.split("```").step_by(2).collect();
    let titles = prose.lines().filter(|line| line.starts_with('#'));
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    titles
        .map(|title| {
            title.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>()
        })
        .map(|title| title.replace(' ', "-"))
        .collect()
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let book = root().join("docs").canonicalize().unwrap();
    let mut pages = Vec::new();
    files(&book, ".md", &mut pages);
    pages.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|page| root().join(page)));
    let mut followed = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        // What stands in a block of code is no link.
        let prose: String = text.split("```").step_by(2).collect();
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            let target = target.canonicalize();
            let target = target.unwrap_or_else(|_| panic!("{} links to {link}", page.display()));
            // A reader of the book has nothing else.
            let inside = target.starts_with(&book) || !page.starts_with(&book);
            assert!(inside, "{} links out of the book, to {link}", page.display());
            let titled = anchor.is_empty() || anchors(&target).iter().any(|title| title == anchor);
            assert!(titled, "{} links to {link}, and there is no such title", page.display());
            followed += 1;
        }
    }
    assert!(followed > 80, "{followed}");
}
