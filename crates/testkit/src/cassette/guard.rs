//! The last look before a cassette is written: no known secret in any part, in no disguise.

use super::redact;
use super::tape::{self, Body, Interaction, Tape};
use crate::disguise::{contains, disguises};
use serde::Serialize;

/// What must not be kept, and where it stands; `None` when there is nothing. With `emails`, an address in a compressed body too:
/// it cannot be replaced there.
pub(super) fn find(tape: &Tape, secrets: &[String], emails: bool) -> Option<String> {
    let needles: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| disguises(secret)).collect();
    let found = |bytes: &[u8]| needles.iter().any(|needle| contains(bytes, needle));
    for (at, interaction) in tape.interactions.iter().enumerate() {
        for (part, texts) in parts(interaction) {
            if texts.iter().any(|text| found(text)) {
                return Some(format!(
                    "a secret in {part} of interaction {} ({})",
                    at + 1,
                    interaction.operation
                ));
            }
        }
        let bodies =
            [interaction.request.body.as_ref(), interaction.response.as_ref().and_then(|r| r.body.as_ref())];
        let inflated = bodies.into_iter().flatten().filter_map(compressed);
        if emails && inflated.into_iter().any(|bytes| redact::holds_address(&String::from_utf8_lossy(&bytes)))
        {
            let place = format!("interaction {} ({})", at + 1, interaction.operation);
            return Some(format!("an e-mail address in a compressed body of {place}"));
        }
    }
    None
}

/// The text without the secrets as they are.
pub(super) fn without(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "REDACTED"))
}

/// What to look through, by the part of the interaction.
fn parts(interaction: &Interaction) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let request = &interaction.request;
    let mut parts = vec![
        ("the URL", vec![request.url.clone().into_bytes()]),
        ("the headers of the request", vec![json(&request.headers)]),
        ("the body of the request", request.body.as_ref().map(body).unwrap_or_default()),
    ];
    if let Some(response) = &interaction.response {
        parts.push(("the headers of the answer", vec![json(&response.headers)]));
        parts.push(("the body of the answer", response.body.as_ref().map(body).unwrap_or_default()));
        parts.push(("the failure of the body", vec![json(&response.broken)]));
    }
    parts.push(("the failure", vec![json(&interaction.error)]));
    parts
}

/// A body as the file shows it, its bytes, and what is compressed in them.
fn body(body: &Body) -> Vec<Vec<u8>> {
    let mut texts = vec![json(body)];
    if let Body::Gzip(inner) = body {
        texts.extend(self::body(inner));
    } else {
        texts.extend(body.bytes());
        texts.extend(compressed(body));
    }
    texts
}

/// What is in a body that was kept as bytes and is compressed, as an archive.
fn compressed(body: &Body) -> Option<Vec<u8>> {
    match body {
        Body::Base64(_) => tape::inflate(&body.bytes().ok()?),
        _ => None,
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("parts of a tape serialise")
}
