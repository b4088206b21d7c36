//! A secret in the forms in which it may come to light.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Disguises of fewer characters would be found by chance.
const SHORTEST: usize = 6;

/// A secret as it is, in JSON, percent-encoded, in hexadecimal, and in base64 at each place that it can have among other bytes.
pub(crate) fn disguises(secret: &str) -> Vec<Vec<u8>> {
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

pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
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
