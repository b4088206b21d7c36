//! Reads values out of requests that nobody has verified yet: no panic, no guess, every byte counts.

use std::borrow::Cow;
use std::cell::OnceCell;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use serde_json::Value;
use smallvec::{SmallVec, smallvec};

use crate::{Encoding, Field, Incoming, Text, VerifyError};

/// More signatures than any provider sends while it rotates keys. Each may cost a public-key operation.
pub(crate) const MAX_CANDIDATES: usize = 16;

/// A request with what was parsed of its body.
pub(crate) struct Extract<'a> {
    pub(crate) request: Incoming<'a>,
    json: OnceCell<Option<Value>>,
    form: OnceCell<Vec<(Bytes<'a>, Bytes<'a>)>>,
}

pub(crate) type Bytes<'a> = Cow<'a, [u8]>;

impl<'a> Extract<'a> {
    pub(crate) fn new(request: Incoming<'a>) -> Self {
        Self { request, json: OnceCell::new(), form: OnceCell::new() }
    }

    pub(crate) fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_slice(self.request.body).ok()).as_ref()
    }

    pub(crate) fn form(&self) -> &[(Bytes<'a>, Bytes<'a>)] {
        self.form.get_or_init(|| form(self.request.body))
    }

    /// The one value at a place.
    pub(crate) fn one(&self, field: &Field) -> Result<Bytes<'a>, VerifyError> {
        match field {
            Field::Header(name) => header(self.request.headers, name).map(Cow::Borrowed),
            Field::KeyValue { .. } | Field::Tagged { .. } => {
                match all(self.request.headers, field)?.as_slice() {
                    [one] => Ok(Cow::Borrowed(*one)),
                    _ => Err(malformed(field, "there exactly once")),
                }
            }
            Field::Json(pointer) => match self.json().and_then(|json| json.pointer(pointer)) {
                Some(Value::String(text)) => Ok(Cow::Owned(text.clone().into_bytes())),
                Some(Value::Number(number)) => Ok(Cow::Owned(number.to_string().into_bytes())),
                Some(_) => Err(malformed(field, "a string or number")),
                None => Err(missing(field)),
            },
            Field::Form(name) => {
                let last = self.form().iter().rev().find(|(key, _)| **key == *name.as_bytes());
                last.map(|(_, value)| value.clone()).ok_or_else(|| missing(field))
            }
        }
    }
}

/// All values of a header that may list several.
#[inline]
pub(crate) fn all<'r>(headers: &'r HeaderMap, field: &Field) -> Result<Values<'r>, VerifyError> {
    let named = |list: &'r [u8], between: char, equals: u8, wanted: &Text| -> Values<'r> {
        list.split(|b| char::from(*b) == between)
            .filter_map(|item| split_once(item, equals))
            .filter_map(|(name, value)| (name == wanted.as_bytes()).then_some(value))
            .take(MAX_CANDIDATES + 1)
            .collect()
    };
    let found = match field {
        Field::KeyValue { header: list, delimiter, name } => {
            named(header(headers, list)?, *delimiter, b'=', name)
        }
        Field::Tagged { header: list, tag } => named(header(headers, list)?, ' ', b',', tag),
        Field::Header(name) => smallvec![header(headers, name)?],
        Field::Json(_) | Field::Form(_) => Values::new(),
    };
    if found.len() > MAX_CANDIDATES {
        return Err(malformed(field, "a list of at most 16 signatures"));
    }
    Ok(found)
}

/// One or two signatures are what there is: no need to ask the allocator.
pub(crate) type Values<'a> = SmallVec<[&'a [u8]; 2]>;

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|b| *b == at)?;
    Some((&text[..position], &text[position + 1..]))
}

pub(crate) fn missing(what: &Field) -> VerifyError {
    VerifyError::Missing { what: what.to_string() }
}

pub(crate) fn malformed(what: &Field, expected: &'static str) -> VerifyError {
    VerifyError::Malformed { what: what.to_string(), expected }
}

/// A header that is there once. Where it is there twice, the handler might read the other one.
#[inline]
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a [u8], VerifyError> {
    let what = || format!("header {name}");
    // A request has few headers: looking at each costs less than hashing a name that is not lower case yet.
    let mut all = headers.iter().filter(|(other, _)| other.as_str().eq_ignore_ascii_case(name));
    let (_, first) = all.next().ok_or_else(|| VerifyError::Missing { what: what() })?;
    match all.next() {
        None => Ok(first.as_bytes()),
        Some(_) => Err(VerifyError::Malformed { what: what(), expected: "there exactly once" }),
    }
}

/// Decodes strictly: one signature has one spelling. `None` is a signature that cannot match.
pub(crate) fn decode(encoding: Encoding, text: &[u8]) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => unhex(text),
        Encoding::Base64 => STANDARD.decode(text).ok(),
        Encoding::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
    }
}

/// Writes into a buffer that is long enough, and says how much.
#[inline]
pub(crate) fn encode_into(encoding: Encoding, bytes: &[u8], out: &mut [u8]) -> usize {
    let fits = "the caller's buffer holds the longest tag";
    match encoding {
        Encoding::Hex => {
            for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            }
            bytes.len() * 2
        }
        Encoding::Base64 => STANDARD.encode_slice(bytes, out).expect(fits),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode_slice(bytes, out).expect(fits),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(crate) fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|digit| char::from(HEX[usize::from(digit)])).collect()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Lower case alone.
pub(crate) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let pairs = text.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// The byte that `%xy` at the start of `text` stands for.
pub(crate) fn escape(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => {
            Some(digit(high.to_ascii_lowercase())? << 4 | digit(low.to_ascii_lowercase())?)
        }
        _ => None,
    }
}

/// `application/x-www-form-urlencoded` into bytes: a lossy decoding into text would let two bodies have one signature.
pub(crate) fn form(text: &[u8]) -> Vec<(Bytes<'_>, Bytes<'_>)> {
    text.split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = split_once(pair, b'=').unwrap_or((pair, b""));
            (unescape(key), unescape(value))
        })
        .collect()
}

pub(crate) fn unescape(text: &[u8]) -> Bytes<'_> {
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if let Some(byte) = escape(rest) {
            out.push(byte);
            rest = &rest[3..];
        } else {
            out.push(if *first == b'+' { b' ' } else { *first });
            rest = tail;
        }
    }
    Cow::Owned(out)
}

pub(crate) fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_decode_as_browsers_write_them() {
        let fields: Vec<(String, String)> = form(b"a=1+2&b%5B%5D=%C3%AB&&c&d=e=f&g=%4&h=%zz")
            .into_iter()
            .map(|(k, v)| (String::from_utf8(k.into()).unwrap(), String::from_utf8(v.into()).unwrap()))
            .collect();
        let expected = [("a", "1 2"), ("b[]", "ë"), ("c", ""), ("d", "e=f"), ("g", "%4"), ("h", "%zz")];
        assert_eq!(fields, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_signature_has_one_spelling() {
        assert_eq!(decode(Encoding::Hex, b"0aff"), Some(vec![10, 255]));
        for wrong in ["0AFF", "0af", "0x0a", "0g", " 0a"] {
            assert_eq!(decode(Encoding::Hex, wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(decode(Encoding::Base64, b"AAA="), Some(vec![0, 0]));
        for wrong in ["AAA", "AAB=", "AA A=", "AAA=\n", "AA=="] {
            // `AAB=` has bits set that no byte holds; `AA==` is one byte.
            assert_ne!(decode(Encoding::Base64, wrong.as_bytes()), Some(vec![0, 0]), "{wrong}");
        }
        assert_eq!(decode(Encoding::Base64Url, b"-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(decode(Encoding::Base64Url, b"+/8"), None);
    }

    proptest! {
        #[test]
        fn every_encoding_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                let text = encode(encoding, &bytes);
                prop_assert_eq!(decode(encoding, text.as_bytes()), Some(bytes.clone()));
                let mut buffer = [0; 200];
                let length = encode_into(encoding, &bytes, &mut buffer);
                prop_assert_eq!(&buffer[..length], text.as_bytes());
            }
        }

        #[test]
        fn no_form_panics_and_plain_ones_stay_borrowed(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            for (key, value) in form(&text) {
                let plain = !text.contains(&b'%') && !text.contains(&b'+');
                prop_assert!(!plain || matches!((key, value), (Cow::Borrowed(_), Cow::Borrowed(_))));
            }
        }
    }
}
