//! No row of the specification and no mistake of others loses its test silently.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The families of rows that this crate and the client on top of it keep: `R1` to `R15`, and so on.
const ROWS: [(char, u32); 9] =
    [('r', 15), ('c', 4), ('b', 19), ('l', 15), ('a', 9), ('q', 7), ('t', 3), ('h', 5), ('s', 9)];

/// The names of the test functions below `folder`.
fn tests_of(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_of(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                marked |= line.starts_with("#[") && line.contains("test]");
                // Inside `proptest!` and `loom` modules the attribute stands there, too.
                let name = line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next());
                let is_function = line.starts_with("fn ") || line.starts_with("async fn ");
                if let Some(name) = name.filter(|_| is_function)
                    && std::mem::take(&mut marked)
                {
                    found.insert(name.to_owned());
                }
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
fn all_tests() -> Option<BTreeSet<String>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let core = here.join("../core");
    if !core.is_dir() {
        println!("SKIPPED: the sources of martlet-core are not here");
        return None;
    }
    let mut found = BTreeSet::new();
    for folder in [here.join("src"), here.join("tests"), core.join("src"), core.join("tests")] {
        tests_of(&folder, &mut found);
    }
    Some(found)
}

#[test]
fn every_row_has_a_test_that_names_it() {
    let Some(tests) = all_tests() else { return };
    // `b1_b2_opens_at...` names two rows.
    let named: BTreeSet<&str> = tests
        .iter()
        .flat_map(|test| {
            test.split('_').take_while(|part| {
                part.len() > 1 && part.starts_with(|c: char| c.is_ascii_lowercase()) && {
                    part[1..].bytes().all(|b| b.is_ascii_digit())
                }
            })
        })
        .collect();
    let rows = ROWS.iter().flat_map(|(family, last)| (1..=*last).map(move |row| format!("{family}{row}")));
    let idempotency = (1..=11).map(|row| format!("i{row}"));
    let missing: Vec<_> = rows.chain(idempotency).filter(|row| !named.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
}

#[test]
fn every_mistake_of_others_has_a_test_that_exists() {
    let Some(tests) = all_tests() else { return };
    let page = include_str!("../../docs/pitfalls.md");
    let rows: Vec<_> = page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| where")).collect();
    assert!(rows.len() > 60, "{}", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, ours] = cells[..] else { panic!("three columns: {row}") };
        let names: Vec<_> =
            ours.split('`').skip(1).step_by(2).filter(|code| code.matches('_').count() > 2).collect();
        for name in &names {
            assert!(tests.contains(*name), "there is no test {name}");
        }
        assert!(!names.is_empty() || ours.starts_with("by construction"), "{row}");
    }
}
