//! The last look before a cassette is written: no known secret in any part, in no disguise.

use super::redact;
use super::tape::{self, Body, Interaction, Tape};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

/// Disguises of fewer characters would be found by chance.
const SHORTEST: usize = 6;

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

/// A secret as it is, in JSON, percent-encoded, in hexadecimal, and in base64 at each place that it can have among other bytes.
fn disguises(secret: &str) -> Vec<Vec<u8>> {
    let escaped = serde_json::to_string(secret).expect("a text serialises");
    let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        secret.to_owned(),
        escaped[1..escaped.len() - 1].to_owned(),
        lower_escapes(&percent),
        percent,
        lower_escapes(&form),
        form,
        hex.to_uppercase(),
        hex,
    ];
    for before in 0..3 {
        let bytes = [&[0; 3][..before], secret.as_bytes()].concat();
        // The characters that depend on nothing but the secret.
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            all.extend(text.get(from..to).filter(|text| text.len() >= SHORTEST).map(str::to_owned));
        }
    }
    all.sort();
    all.dedup();
    all.into_iter().map(String::into_bytes).collect()
}

/// `%2F` as `%2f`.
fn lower_escapes(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (escape, rest) = part.split_at(part.len().min(2));
        text + "%" + &escape.to_ascii_lowercase() + rest
    })
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    // Compared where the first byte is: bodies are large and secrets are many.
    let Some((first, rest)) = needle.split_first() else { return false };
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if bytes[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_in_every_disguise() {
        let secret = "s3cr\"et/Ünd+more";
        let known = |text: &str| disguises(secret).iter().any(|needle| contains(text.as_bytes(), needle));
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "!", "!!"] {
                let text = format!("{before}{secret}{after}");
                assert!(known(&STANDARD_NO_PAD.encode(&text)), "base64 of {text}");
                assert!(known(&URL_SAFE_NO_PAD.encode(&text)), "base64 of {text}");
            }
        }
        assert!(known(&format!("a={secret}")));
        assert!(known(&serde_json::to_string(secret).unwrap()));
        assert!(known("x?t=s3cr%22et%2F%C3%9Cnd%2Bmore&y"));
        assert!(known("x?t=s3cr%22et%2f%c3%9cnd%2bmore&y"));
        assert!(!known("s3cr et und more"));
    }
}
