//! Which recorded interaction answers a request, and how the nearest differs.

use super::redact::Rules;
use super::tape::{Body, Request, Tape};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Differences that are told of one request.
const TOLD: usize = 12;

/// The requests of a tape, as they are compared. (The rules may be younger than the recording.)
pub(super) fn index(rules: &Rules, tape: &Tape) -> Vec<Value> {
    tape.interactions.iter().map(|i| comparable(&rules.ignoring(i.request.clone()))).collect()
}

/// The first interaction that was not played and has the same request. `recorded` is the [`index`] of `tape`.
///
/// # Errors
/// How the request differs from the nearest one.
pub(super) fn find(
    tape: &Tape,
    recorded: &[Value],
    played: &[bool],
    sent: &Request,
) -> Result<usize, String> {
    let sent = comparable(sent);
    let same: Vec<usize> = (0..recorded.len()).filter(|at| recorded[*at] == sent).collect();
    if let Some(at) = same.iter().find(|at| !played[**at]) {
        return Ok(*at);
    }
    if !same.is_empty() {
        return Err(format!("it was recorded {} times and is sent once more", same.len()));
    }
    let nearest = (0..recorded.len())
        .map(|at| (at, differences(&recorded[at], &sent)))
        .min_by_key(|(at, differences)| (distance(&recorded[*at], &sent) + differences.len(), played[*at]));
    Err(match nearest {
        None => "nothing was recorded".to_owned(),
        Some((at, differences)) => {
            let title = tape.interactions[at].title();
            let more = differences.len().saturating_sub(TOLD);
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            let told: Vec<String> =
                differences.into_iter().take(TOLD).map(|line| format!("  {line}")).collect();
            format!("the nearest is number {}, {title}:\n{}{more}", at + 1, told.join("\n"))
        }
    })
}

/// Another method or path weighs more than anything else.
fn distance(recorded: &Value, sent: &Value) -> usize {
    ["method", "path"].iter().filter(|part| recorded[**part] != sent[**part]).count() * 100
}

/// The request as JSON: equal when the requests are, with a name for every part that may differ.
fn comparable(request: &Request) -> Value {
    let mut parts = Map::new();
    parts.insert("method".to_owned(), request.method.clone().into());
    let (address, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
    let path =
        address.find("://").map_or(0, |at| address[at + 3..].find('/').map_or(address.len(), |n| at + 3 + n));
    parts.insert("host".to_owned(), address[..path].into());
    parts.insert("path".to_owned(), address[path..].into());
    parts.insert("query".to_owned(), pairs(url::form_urlencoded::parse(query.as_bytes()).into_owned()));
    parts.insert("headers".to_owned(), serde_json::to_value(&request.headers).expect("texts serialise"));
    let body = match &request.body {
        Some(Body::Form(form)) => pairs(form.iter().cloned()),
        body => serde_json::to_value(body).expect("a body serialises"),
    };
    parts.insert("body".to_owned(), body);
    Value::Object(parts)
}

/// The values by name: the order of different names means nothing.
fn pairs(pairs: impl Iterator<Item = (String, String)>) -> Value {
    let mut all = Map::new();
    for (name, value) in pairs {
        let values = all.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        values.as_array_mut().expect("only arrays were put in").push(value.into());
    }
    Value::Object(all)
}

/// `query.limit: recorded ["2"], sent ["3"]`, for each place.
fn differences(recorded: &Value, sent: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    differ(String::new(), recorded, sent, &mut lines);
    lines
}

fn differ(place: String, recorded: &Value, sent: &Value, lines: &mut Vec<String>) {
    match (recorded, sent) {
        _ if recorded == sent => {}
        (Value::Object(recorded), Value::Object(sent)) => {
            let names: BTreeSet<&String> = recorded.keys().chain(sent.keys()).collect();
            for name in names {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                match (recorded.get(name), sent.get(name)) {
                    (Some(recorded), Some(sent)) => differ(place, recorded, sent, lines),
                    (Some(recorded), None) => {
                        lines.push(format!("{place}: recorded {}, not sent", short(recorded)))
                    }
                    (None, Some(sent)) => lines.push(format!("{place}: not recorded, sent {}", short(sent))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(recorded), Value::Array(sent)) if recorded.len() == sent.len() => {
            for (at, (recorded, sent)) in recorded.iter().zip(sent).enumerate() {
                differ(format!("{place}[{at}]"), recorded, sent, lines);
            }
        }
        _ => lines.push(format!("{place}: recorded {}, sent {}", short(recorded), short(sent))),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}.. ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}
