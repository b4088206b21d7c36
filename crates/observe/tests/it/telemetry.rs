//! `docs/telemetry.md` and the README against the code: names must be the same, in both directions.

use crate::kit::{kind, log, signals};
use martlet_base::Observer;
use martlet_observe::{ErrorClass, LOG_RECORD_SCHEMA};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A file of the repository; its tests run there.
fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names in backticks.
fn names(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
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

fn page() -> String {
    read("docs/telemetry.md")
}

/// Each event's fields, as they are in the lines of [`signals`].
fn emitted() -> BTreeMap<String, BTreeSet<String>> {
    let (log, page, _) = log();
    signals().iter().for_each(|signal| log.observe(signal));
    let mut events = BTreeMap::<_, BTreeSet<_>>::new();
    for line in page.lines() {
        let fields = line.as_object().unwrap().keys().cloned();
        events.entry(line["event"].as_str().unwrap().to_owned()).or_default().extend(fields);
    }
    events
}

fn schema_fields() -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(LOG_RECORD_SCHEMA).unwrap();
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_signals_of_the_page_are_those_of_the_code_part_by_part() {
    let code = read("crates/base/src/signal.rs");
    let (_, body) = code.split_once("pub enum Signal<'a> {").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let mut declared: Vec<(String, Vec<String>)> = Vec::new();
    for line in body.lines().filter(|line| !line.trim_start().starts_with(['/', '#'])) {
        if let Some(name) = line.strip_suffix(" {") {
            declared.push((name.trim().to_owned(), Vec::new()));
        } else if let Some((part, _)) = line.split_once(": ") {
            declared.last_mut().unwrap().1.push(part.trim().to_owned());
        }
    }
    assert!(declared.len() >= 10, "{declared:?}");
    let listed: Vec<_> =
        table(&page(), "signal").iter().map(|row| (names(&row[0])[0].clone(), names(&row[2]))).collect();
    assert_eq!(listed, declared);

    // What is logged, and that the tests know every kind.
    let logged = |name: &str| signals().iter().map(kind).find(|(known, _)| *known == name).unwrap().1;
    for row in table(&page(), "signal") {
        assert_eq!(!names(&row[3]).is_empty(), logged(&names(&row[0])[0]), "{row:?}");
    }
}

#[test]
fn the_events_of_the_page_are_those_of_the_lines_and_of_the_schema() {
    let emitted: BTreeSet<_> = emitted().into_keys().collect();
    let page = page();
    let of_signals: BTreeSet<_> = table(&page, "signal").iter().flat_map(|row| names(&row[3])).collect();
    let of_levels: BTreeSet<_> = table(&page, "event").iter().flat_map(|row| names(&row[0])).collect();
    let schema: Value = serde_json::from_str(LOG_RECORD_SCHEMA).unwrap();
    let of_schema = schema["properties"]["event"]["enum"].as_array().unwrap();
    let of_schema: BTreeSet<_> = of_schema.iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    assert_eq!(of_signals, emitted);
    assert_eq!(of_levels, emitted);
    assert_eq!(of_schema, emitted);
}

#[test]
fn the_levels_of_the_page_are_those_of_the_lines() {
    let (log, lines, _) = log();
    signals().iter().for_each(|signal| log.observe(signal));
    let mut levels = BTreeMap::<_, BTreeSet<_>>::new();
    for line in lines.lines() {
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        levels.entry(text("event")).or_default().insert(text("level"));
    }
    // The signals of these tests have no throttled stage.
    levels.get_mut("stage_finished").unwrap().insert("warn".to_owned());
    let listed: BTreeMap<_, BTreeSet<_>> = table(&page(), "event")
        .iter()
        .map(|row| (names(&row[0])[0].clone(), names(&row[1]).into_iter().collect()))
        .collect();
    assert_eq!(listed, levels);
}

#[test]
fn the_fields_of_the_page_are_those_of_the_lines_event_by_event() {
    let emitted = emitted();
    let (mut listed, mut all) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeSet::new());
    for row in table(&page(), "field") {
        let field = names(&row[0])[0].clone();
        let events: Vec<_> = match row[1].as_str() {
            "all" => emitted.keys().cloned().collect(),
            events => names(events),
        };
        for event in events {
            listed.entry(event).or_default().insert(field.clone());
        }
        all.insert(field);
    }
    assert_eq!(listed, emitted);
    assert_eq!(all, schema_fields());
}

#[test]
fn the_readme_names_every_field_and_no_other() {
    let readme = include_str!("../../README.md");
    let listed: BTreeSet<_> = table(readme, "field").iter().flat_map(|row| names(&row[0])).collect();
    let emitted: BTreeSet<_> = emitted().into_values().flatten().collect();
    assert_eq!(listed, emitted);
}

#[test]
fn the_line_in_the_readme_is_one_that_the_log_writes() {
    let readme = include_str!("../../README.md");
    let (_, line) = readme.split_once("```json\n").unwrap();
    let line = line.split_once("```").unwrap().0.replace("\n ", "");
    crate::kit::valid(line.trim());
}

#[test]
fn the_classes_of_the_page_are_those_of_the_code() {
    let (mut seen, page) = (BTreeSet::new(), page());
    for row in table(&page, "class") {
        let class = &names(&row[0])[0];
        seen.insert(class.clone());
        for error_type in names(&row[2]) {
            assert_eq!(ErrorClass::of(&error_type).as_str(), class, "{error_type}");
        }
    }
    assert_eq!(seen, ["config", "system", "transient"].map(str::to_owned).into());
    // The same rows are in the documentation of the type.
    let code = read("crates/observe/src/class.rs").replace("/// ", "");
    assert_eq!(table(&code, "class"), table(&page, "class"));
}
