//! `Cache-Control`, as [RFC 9111](https://www.rfc-editor.org/rfc/rfc9111#section-5.2) has it: names in any case, quoted strings,
//! numbers of any length. Beside it the other fields that a judgement needs.

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// What a number that does not fit means: section 1.2.2.
const MOST_SECONDS: u64 = 1 << 31;

/// The directives of a request or an answer that mean something to a private cache.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    /// Whether there is any `Cache-Control` at all.
    pub(super) present: bool,
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    /// Of `no-cache="..."`: fields that must not be used again without asking.
    pub(super) no_cache_fields: Vec<HeaderName>,
    pub(super) must_revalidate: bool,
    pub(super) must_understand: bool,
    pub(super) immutable: bool,
    pub(super) public: bool,
    /// `Some(0)` when it is there and no number.
    pub(super) max_age: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    /// Without a value: of any age.
    pub(super) max_stale: Option<u64>,
    pub(super) stale_while_revalidate: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
}

impl Directives {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        // No header, the usual case, costs two look-ups.
        for value in headers.get_all(CACHE_CONTROL) {
            all.present = true;
            // Octets beyond ASCII can stand in quoted strings only, and none of ours has one.
            let text = String::from_utf8_lossy(value.as_bytes());
            for directive in split(&text) {
                all.add(directive);
            }
        }
        if !all.present {
            let asks = |value: &http::HeaderValue| {
                value.to_str().is_ok_and(|text| split(text).any(|d| d.eq_ignore_ascii_case("no-cache")))
            };
            all.no_cache = headers.get_all(PRAGMA).iter().any(asks);
        }
        all
    }

    fn add(&mut self, directive: &str) {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (directive, None),
        };
        // The first one of a kind counts: section 4.2.1.
        let number = |known: Option<u64>| known.or_else(|| Some(value.and_then(seconds).unwrap_or(0)));
        match name.to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => match value.map(unquoted) {
                None => self.no_cache = true,
                Some(fields) => {
                    let names = fields.split(',').filter_map(|name| name.trim().parse().ok());
                    self.no_cache_fields.extend(names);
                }
            },
            "must-revalidate" => self.must_revalidate = true,
            "must-understand" => self.must_understand = true,
            "immutable" => self.immutable = true,
            "public" => self.public = true,
            "max-age" => self.max_age = number(self.max_age),
            "min-fresh" => self.min_fresh = number(self.min_fresh),
            "max-stale" => {
                self.max_stale = self.max_stale.or(Some(value.and_then(seconds).unwrap_or(MOST_SECONDS)));
            }
            "stale-while-revalidate" => self.stale_while_revalidate = number(self.stale_while_revalidate),
            "stale-if-error" => self.stale_if_error = number(self.stale_if_error),
            _ => {}
        }
    }

    /// Whether an answer says by itself how long it may be used.
    pub(super) const fn says_how_long(&self) -> bool {
        self.no_store || self.no_cache || self.immutable || self.max_age.is_some()
    }
}

/// The members of a comma-separated list; a comma inside a quoted string separates nothing.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let separates = c == ',' && !quoted;
        (quoted, escaped) = match c {
            _ if escaped => (quoted, false),
            '\\' if quoted => (true, true),
            '"' => (!quoted, false),
            _ => (quoted, false),
        };
        separates
    })
    .map(str::trim)
    .filter(|member| !member.is_empty())
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// `delta-seconds`, also when it is quoted.
fn seconds(value: &str) -> Option<u64> {
    digits(unquoted(value))
}

/// Digits and nothing else.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().map_or(MOST_SECONDS, |number: u64| number.min(MOST_SECONDS)))
}

/// The `Age` of an answer, zero where there is none; `None` where it cannot be read. Several ages are no age: which one is right?
/// Section 5.1 would take the first, and ignore what is no number; section 4.2.1 encourages to take both for old.
pub(super) fn age(headers: &HeaderMap) -> Option<Duration> {
    let mut all = headers.get_all(http::header::AGE).iter();
    let Some(first) = all.next() else { return Some(Duration::ZERO) };
    let seconds = digits(first.to_str().ok()?.trim())?;
    all.next().is_none().then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn directives(values: &[&str]) -> Directives {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, value.parse().unwrap());
        }
        Directives::of(&headers)
    }

    #[test]
    fn hc4_names_are_read_in_any_case_and_across_lines() {
        let read = directives(&["No-Store, MAX-AGE=5", "Must-Revalidate,,must-understand , IMMUTABLE"]);
        assert!(read.no_store && read.must_revalidate && read.must_understand && read.immutable);
        assert_eq!(read.max_age, Some(5));
        assert!(!read.no_cache && !read.public);
    }

    #[test]
    fn hc4_a_comma_inside_a_quoted_string_separates_nothing() {
        let read = directives(&[r#"ext="a, no-store, \", max-age=9", max-age=60, stale-if-error="7""#]);
        assert!(!read.no_store);
        assert_eq!((read.max_age, read.stale_if_error), (Some(60), Some(7)));
    }

    #[test]
    fn hc4_no_cache_with_fields_is_about_these_fields() {
        let read = directives(&[r#"no-cache="Set-Cookie, X-Token", max-age=60"#]);
        assert!(!read.no_cache);
        assert_eq!(read.no_cache_fields, ["set-cookie", "x-token"]);
    }

    #[test]
    fn hc4_a_number_that_does_not_fit_is_the_largest_and_none_is_zero() {
        for (text, expected) in [
            ("max-age=99999999999999999999999999", MOST_SECONDS),
            ("max-age=4294967296", MOST_SECONDS),
            ("max-age=007", 7),
            ("max-age=-1", 0),
            ("max-age=1.5", 0),
            ("max-age='60'", 0),
            ("max-age=6 0", 0),
            ("max-age", 0),
            ("max-age=60, max-age=1", 60),
        ] {
            assert_eq!(directives(&[text]).max_age, Some(expected), "{text}");
        }
    }

    #[test]
    fn pragma_counts_where_there_is_no_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert(PRAGMA, HeaderValue::from_static("x, No-Cache"));
        assert!(Directives::of(&headers).no_cache);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!Directives::of(&headers).no_cache);
    }

    #[test]
    fn an_age_that_cannot_be_read_is_none() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(http::header::AGE, value.parse().unwrap());
            }
            age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(read(&[]), Some(0));
        assert_eq!(read(&["7200"]), Some(7_200));
        assert_eq!(read(&["99999999999999999999"]), Some(1 << 31));
        for none in [&["7200,0"][..], &["0", "0"], &["-5"], &["7200.0"], &["5s"], &[""]] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(CACHE_CONTROL, value.clone());
                headers.insert(http::header::AGE, value);
                let _ = (Directives::of(&headers), age(&headers));
            }
        }
    }
}
