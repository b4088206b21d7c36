//! How answers changed in shape: members that are gone, types, words of an enumeration.

use super::tape::{Body, Interaction, Request, Tape};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How the answers of a server differ from the ones on a cassette, in their shape.
///
/// All answers to an operation with one status count as samples of one shape: what not every recorded sample had may be
/// absent. Values do not matter, but words where only a few are possible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    breaking: Vec<String>,
    notices: Vec<String>,
}

impl Drift {
    /// What a program that was written for the recorded answers may trip over: a member that is gone, another type,
    /// another status, no JSON any more.
    #[must_use]
    pub fn breaking(&self) -> &[String] {
        &self.breaking
    }

    /// What should do no harm: a new member, a new word of an enumeration, a member that was always null, requests that
    /// have no counterpart.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Whether nothing changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.breaking.is_empty() && self.notices.is_empty()
    }
}

impl fmt::Display for Drift {
    /// A line for each change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let breaking = self.breaking.iter().map(|line| format!("breaking: {line}"));
        let notices = self.notices.iter().map(|line| format!("notice: {line}"));
        let lines: Vec<String> = breaking.chain(notices).collect();
        f.write_str(&if lines.is_empty() { "nothing changed".to_owned() } else { lines.join("\n") })
    }
}

pub(super) fn compare(recorded: &Tape, fresh: &Tape) -> Drift {
    let mut drift = Drift::default();
    pair(&recorded.interactions, &fresh.interactions, &mut drift);
    let (before, after) = (shapes(&recorded.interactions), shapes(&fresh.interactions));
    for ((operation, status), before) in &before {
        if let Some(after) = after.get(&(*operation, *status)) {
            compare_shapes(&format!("{operation}, {status}: $"), before, after, &mut drift);
        }
    }
    drift
}

/// Each recorded interaction and the same request of today, or one to the same address: statuses and kinds of bodies.
fn pair(recorded: &[Interaction], fresh: &[Interaction], drift: &mut Drift) {
    let mut taken = vec![false; fresh.len()];
    for before in recorded {
        let free = |taken: &[bool], same: &dyn Fn(&Request) -> bool| {
            (0..fresh.len()).find(|at| !taken[*at] && same(&fresh[*at].request))
        };
        let found = free(&taken, &|request| *request == before.request)
            .or_else(|| free(&taken, &|request| address(request) == address(&before.request)));
        let Some(at) = found else {
            drift.notices.push(format!("{} was recorded and not sent", before.title()));
            continue;
        };
        taken[at] = true;
        compare_pair(before, &fresh[at], drift);
    }
    for (after, _) in fresh.iter().zip(taken).filter(|(_, taken)| !taken) {
        drift.notices.push(format!("{} was sent and not recorded", after.title()));
    }
}

fn address(request: &Request) -> (&str, &str) {
    (&request.method, request.url.split('?').next().unwrap_or_default())
}

fn compare_pair(before: &Interaction, after: &Interaction, drift: &mut Drift) {
    let outcome = |interaction: &Interaction| match (&interaction.response, &interaction.error) {
        (Some(response), _) => format!("status {}", response.status),
        (None, Some(_)) => "no answer but a failure".to_owned(),
        (None, None) => "no answer in time".to_owned(),
    };
    let (was, is) = (outcome(before), outcome(after));
    if was != is {
        drift.breaking.push(format!("{}: recorded {was}, now {is}", after.title()));
        return;
    }
    let kind = |interaction: &Interaction| {
        interaction.response.as_ref().and_then(|r| r.body.as_ref()).map_or("empty", Body::kind)
    };
    if kind(before) != kind(after) {
        let (was, is) = (kind(before), kind(after));
        drift.breaking.push(format!("{}: the body was {was} and is {is}", after.title()));
    }
}

/// The shapes of JSON answers, by operation and status.
fn shapes(interactions: &[Interaction]) -> BTreeMap<(&str, u16), Shape> {
    let mut shapes: BTreeMap<(&str, u16), Shape> = BTreeMap::new();
    for interaction in interactions {
        let Some(response) = &interaction.response else { continue };
        if let Some(value) = response.body.as_ref().and_then(Body::json) {
            shapes.entry((&interaction.operation, response.status)).or_default().add(value);
        }
    }
    shapes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Null,
    Bool,
    Integer,
    Number,
    Text,
    Array,
    Object,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// What was seen at one place.
#[derive(Debug, Default)]
struct Shape {
    seen: usize,
    objects: usize,
    types: BTreeSet<Type>,
    members: BTreeMap<String, Shape>,
    /// Of an array, or of an object whose names are numbers: a table by id.
    items: Option<Box<Shape>>,
    words: BTreeSet<String>,
}

impl Shape {
    fn add(&mut self, value: &Value) {
        self.seen += 1;
        self.types.insert(match value {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Number(number) if number.is_f64() => Type::Number,
            Value::Number(_) => Type::Integer,
            Value::String(_) => Type::Text,
            Value::Array(_) => Type::Array,
            Value::Object(_) => Type::Object,
        });
        match value {
            Value::String(word) => drop(self.words.insert(word.clone())),
            Value::Array(items) => items.iter().for_each(|item| self.items.get_or_insert_default().add(item)),
            Value::Object(members) if is_table(members) => {
                members.values().for_each(|item| self.items.get_or_insert_default().add(item));
            }
            Value::Object(members) => {
                self.objects += 1;
                for (name, value) in members {
                    self.members.entry(name.clone()).or_default().add(value);
                }
            }
            _ => {}
        }
    }

    fn types(&self) -> String {
        self.types.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ")
    }
}

fn is_table(members: &serde_json::Map<String, Value>) -> bool {
    !members.is_empty() && members.keys().all(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn compare_shapes(place: &str, before: &Shape, after: &Shape, drift: &mut Drift) {
    for kind in after.types.difference(&before.types) {
        if *kind == Type::Integer && before.types.contains(&Type::Number) {
            continue;
        }
        let was_null = before.types.iter().all(|kind| *kind == Type::Null);
        let changes = if was_null { &mut drift.notices } else { &mut drift.breaking };
        changes.push(format!("{place} was {} and is {}", before.types(), kind.name()));
    }
    for (name, was) in &before.members {
        let seen = after.members.get(name).map_or(0, |is| is.seen);
        if was.seen == before.objects && seen < after.objects {
            let missing = after.objects - seen;
            drift.breaking.push(format!("{place}.{name} is missing in {missing} of {}", after.objects));
        }
        if let Some(is) = after.members.get(name) {
            compare_shapes(&format!("{place}.{name}"), was, is, drift);
        }
    }
    for (name, is) in after.members.iter().filter(|(name, _)| !before.members.contains_key(*name)) {
        if before.objects > 0 {
            drift.notices.push(format!("{place}.{name} is new: {}", is.types()));
        }
    }
    if let (Some(was), Some(is)) = (&before.items, &after.items) {
        compare_shapes(&format!("{place}[]"), was, is, drift);
    }
    if is_enumeration(place, &before.words) && after.words.iter().all(|word| is_word(word)) {
        for word in after.words.difference(&before.words) {
            drift.notices.push(format!("{place} has a new word: {word:?}"));
        }
    }
}

/// Whether the strings of a place look like the words of an enumeration, by its name or by how they are written.
fn is_enumeration(place: &str, words: &BTreeSet<String>) -> bool {
    const NAMES: [&str; 9] =
        ["status", "type", "state", "category", "kind", "level", "role", "mode", "visibility"];
    let name = place.rsplit('.').next().unwrap_or_default().trim_end_matches("[]").to_ascii_lowercase();
    let named = NAMES.iter().any(|end| name.ends_with(end));
    let shouted =
        words.iter().all(|word| word.len() > 2 && !word.bytes().any(|byte| byte.is_ascii_lowercase()));
    !words.is_empty() && words.iter().all(|word| is_word(word)) && (named || shouted)
}

fn is_word(text: &str) -> bool {
    text.len() <= 40
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}
