//! What is taken out of an exchange before it is kept, and what is left out of comparisons.

use super::tape::{self, Body, Headers, Request, Values};
use http::HeaderMap;
use martlet_core::WireRequest;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use url::Url;

const REDACTED: &str = "REDACTED";
const IGNORED: &str = "IGNORED";
const BOUNDARY: &str = "BOUNDARY";
const ADDRESS: &str = "redacted@example.invalid";

/// Shorter values are not remembered as secrets: they would be found by chance.
const MEMORABLE: usize = 8;

/// Parts of names, without their punctuation, that tell a secret.
const TELLING: [&str; 13] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "signature",
    "credential",
    "authorization",
    "privatekey",
    "assertion",
    "cookie",
    "codeverifier",
];

/// Whole names that tell one.
const NAMES: [&str; 6] = ["sig", "auth", "jwt", "session", "sessionid", "otp"];

/// Ends of names that only sound so.
const HARMLESS: [&str; 8] = [
    "tokentype",
    "tokentypehint",
    "tokenuse",
    "pagetoken",
    "nexttoken",
    "synctoken",
    "continuationtoken",
    "signaturemethod",
];

/// Headers that change by themselves, or say how the bytes travelled.
const VOLATILE: [&str; 27] = [
    "accept-encoding",
    "age",
    "alt-svc",
    "baggage",
    "cf-cache-status",
    "cf-ray",
    "connection",
    "content-length",
    "date",
    "expires",
    "host",
    "idempotency-key",
    "keep-alive",
    "nel",
    "report-to",
    "reporting-endpoints",
    "server",
    "server-timing",
    "strict-transport-security",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
    "via",
    "x-envoy-upstream-service-time",
    "x-request-id",
    "x-runtime",
];

type Replace = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

#[derive(Clone, Default)]
pub(super) struct Rules {
    redacted: BTreeSet<String>,
    kept: BTreeSet<String>,
    ignored: BTreeSet<String>,
    replace: Vec<Replace>,
    emails: bool,
    any_host: bool,
}

/// Without punctuation and case: `X-Api-Key`, `api_key` and `apiKey` have the same end.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Where a name stands: some are secrets in one place only.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Header,
    Query,
    Form,
    Json,
}

impl Rules {
    pub(super) fn redact(&mut self, name: &str) {
        self.redacted.insert(plain(name));
    }

    pub(super) fn keep(&mut self, name: &str) {
        self.kept.insert(plain(name));
    }

    pub(super) fn ignore(&mut self, name: &str) {
        self.ignored.insert(plain(name));
    }

    pub(super) fn redact_with(&mut self, replace: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
        self.replace.push(Arc::new(replace));
    }

    pub(super) const fn redact_emails(&mut self) {
        self.emails = true;
    }

    pub(super) const fn hides_emails(&self) -> bool {
        self.emails
    }

    pub(super) const fn ignore_host(&mut self) {
        self.any_host = true;
    }

    fn is_secret(&self, name: &str, place: Place) -> bool {
        let name = plain(name);
        if self.redacted.contains(&name) {
            return true;
        }
        if self.kept.contains(&name) || HARMLESS.iter().any(|end| name.ends_with(end)) {
            return false;
        }
        let here = match place {
            // `ocp-apim-subscription-key` and its like.
            Place::Header => name.ends_with("key"),
            Place::Query => name == "key",
            Place::Form => name == "key" || name == "code",
            Place::Json => false,
        };
        here || NAMES.contains(&&*name) || TELLING.iter().any(|part| name.contains(part))
    }

    /// A request as it is kept and compared.
    pub(super) fn request(&self, request: &WireRequest, secrets: &mut Vec<String>) -> Request {
        let boundary = boundary(&request.headers);
        let mut headers = self.headers(&request.headers, secrets);
        let mut bytes = request.body.to_vec();
        if let Some(boundary) = &boundary {
            if let Some(Values::One(text)) = headers.get_mut("content-type") {
                *text = text.replace(boundary.as_str(), BOUNDARY);
            }
            bytes = replaced(&bytes, boundary.as_bytes(), BOUNDARY.as_bytes());
        }
        self.ignoring(Request {
            method: request.method.to_string(),
            url: self.url(&request.url, secrets),
            headers,
            body: self.body(&bytes, &request.headers, secrets),
        })
    }

    /// Without what this test ignores. Of a recorded request too: the rules may be younger.
    pub(super) fn ignoring(&self, mut request: Request) -> Request {
        request.headers.retain(|name, _| !self.ignored.contains(&plain(name)));
        let (path, query) = match request.url.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (request.url.clone(), None),
        };
        if let Some(query) = query {
            let pairs = url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| {
                let value = if self.ignored.contains(&plain(&name)) { IGNORED.into() } else { value };
                (name.into_owned(), value.into_owned())
            });
            request.url = format!("{path}?{}", query_text(pairs.collect()));
        }
        if self.any_host
            && let Ok(url) = Url::parse(&request.url)
        {
            request.url = url[url::Position::BeforePath..].to_owned();
        }
        self.ignoring_in(request.body.as_mut());
        request
    }

    fn ignoring_in(&self, body: Option<&mut Body>) {
        match body {
            Some(Body::Json(value)) => self.ignoring_members(value),
            Some(Body::Form(pairs)) => {
                for (_, value) in pairs.iter_mut().filter(|(name, _)| self.ignored.contains(&plain(name))) {
                    IGNORED.clone_into(value);
                }
            }
            Some(Body::Gzip(body)) => self.ignoring_in(Some(body)),
            _ => {}
        }
    }

    fn ignoring_members(&self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if self.ignored.contains(&plain(name)) {
                        *value = IGNORED.into();
                    } else {
                        self.ignoring_members(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.ignoring_members(item)),
            _ => {}
        }
    }

    fn url(&self, url: &Url, secrets: &mut Vec<String>) -> String {
        let mut url = url.clone();
        if let Some(password) = url.password() {
            remember(password, secrets);
        }
        // These fail for URLs without a host only, and those have neither.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.set_fragment(None);
        let decoded =
            |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = url.path().split('/').map(str::to_owned).collect();
        let parts: Vec<String> = parts
            .into_iter()
            .map(|part| {
                let text = decoded(&part);
                let clean = self.text(&text, secrets);
                if clean == text { part } else { clean }
            })
            .collect();
        url.set_path(&parts.join("/"));
        if url.query().is_some() {
            let pairs: Vec<_> = url.query_pairs().into_owned().collect();
            url.set_query(Some(&query_text(self.pairs(pairs, Place::Query, secrets))));
        }
        url.into()
    }

    fn pairs(
        &self,
        pairs: Vec<(String, String)>,
        place: Place,
        secrets: &mut Vec<String>,
    ) -> Vec<(String, String)> {
        let clean = |(name, value): (String, String)| {
            let value = if self.is_secret(&name, place) {
                remember(&value, secrets);
                REDACTED.to_owned()
            } else {
                self.text(&value, secrets)
            };
            (name, value)
        };
        pairs.into_iter().map(clean).collect()
    }

    pub(super) fn headers(&self, headers: &HeaderMap, secrets: &mut Vec<String>) -> Headers {
        let mut kept = Headers::new();
        for (name, value) in headers {
            let name = name.as_str();
            if VOLATILE.contains(&name) {
                continue;
            }
            let text = String::from_utf8_lossy(value.as_bytes());
            let text = if value.is_sensitive() || self.is_secret(name, Place::Header) {
                remember_header(&text, secrets);
                REDACTED.to_owned()
            } else {
                self.text(&text, secrets)
            };
            match kept.get_mut(name) {
                Some(values) => values.push(text),
                None => drop(kept.insert(name.to_owned(), Values::One(text))),
            }
        }
        kept
    }

    pub(super) fn body(&self, bytes: &[u8], headers: &HeaderMap, secrets: &mut Vec<String>) -> Option<Body> {
        Some(self.clean(Body::of(bytes, headers)?, secrets))
    }

    fn clean(&self, body: Body, secrets: &mut Vec<String>) -> Body {
        match body {
            Body::Json(mut value) => {
                self.members(&mut value, secrets);
                Body::Json(tape::sorted(value))
            }
            Body::Form(pairs) => Body::Form(self.pairs(pairs, Place::Form, secrets)),
            Body::Text(text) => {
                let lines = text.split_inclusive('\n').map(|line| {
                    let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
                    self.text(line, secrets) + end
                });
                Body::Text(lines.collect())
            }
            Body::Base64(lines) => Body::Base64(lines),
            Body::Gzip(body) => Body::Gzip(Box::new(self.clean(*body, secrets))),
        }
    }

    fn members(&self, value: &mut Value, secrets: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, mut value) in std::mem::take(members) {
                    if self.is_secret(&name, Place::Json) {
                        // A number of tokens is no token.
                        let counts = plain(&name).contains("token") && !self.redacted.contains(&plain(&name));
                        hide(&mut value, !counts, secrets);
                    } else {
                        self.members(&mut value, secrets);
                    }
                    members.insert(self.text(&name, secrets), value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.members(item, secrets)),
            Value::String(text) => *text = self.text(text, secrets),
            _ => {}
        }
    }

    /// A text without the secrets that stand in it: in JSON, behind a telling name, behind `Bearer`.
    pub(super) fn text(&self, text: &str, secrets: &mut Vec<String>) -> String {
        let mut text = text.to_owned();
        for replace in &self.replace {
            text = replace(&text).unwrap_or(text);
        }
        if text.starts_with(['{', '['])
            && let Ok(value) = serde_json::from_str::<Value>(&text)
        {
            let mut clean = value.clone();
            self.members(&mut clean, secrets);
            return if clean == value { text } else { tape::sorted(clean).to_string() };
        }
        if text.contains('=') {
            text = self.assignments(&text, secrets);
        }
        text = schemes(&text, secrets);
        if self.emails && text.contains('@') {
            text = without_addresses(&text);
        }
        text
    }

    /// Replaces the value of `name=value` for names that tell, as in a URL inside of an answer.
    fn assignments(&self, text: &str, secrets: &mut Vec<String>) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('=') {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            let name = rest[..at].rsplit(|c| !is_name(c)).next().unwrap_or_default();
            clean.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            let length =
                rest.find(|c: char| c.is_whitespace() || "&;\"'<>#,)".contains(c)).unwrap_or(rest.len());
            if length > 0 && !name.is_empty() && self.is_secret(name, Place::Query) {
                let value = percent_encoding::percent_decode_str(&rest[..length]).decode_utf8_lossy();
                remember(&value, secrets);
                clean.push_str(REDACTED);
                rest = &rest[length..];
            }
        }
        clean.push_str(rest);
        clean
    }
}

/// In the order of names: the order of a query means nothing.
fn query_text(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    let value = text.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    Some(value.trim_matches('"').to_owned()).filter(|boundary| !boundary.is_empty())
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        if let Some(after) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = after;
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}

fn remember(secret: &str, secrets: &mut Vec<String>) {
    if secret.len() >= MEMORABLE && secret != REDACTED && !secrets.iter().any(|known| known == secret) {
        secrets.push(secret.to_owned());
    }
}

/// A header whole, and its parts: `Bearer x`, `Basic` of a name and a password, `name=value; Path=/`.
fn remember_header(text: &str, secrets: &mut Vec<String>) {
    remember(text, secrets);
    if let Some((scheme, value)) = text.split_once(' ')
        && !scheme.ends_with(';')
    {
        remember(value, secrets);
        if scheme.eq_ignore_ascii_case("basic") {
            remember_basic(value, secrets);
        }
    }
    if let Some((_, value)) = text.split(';').next().and_then(|cookie| cookie.split_once('=')) {
        remember(value, secrets);
    }
}

fn remember_basic(value: &str, secrets: &mut Vec<String>) {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(value).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((_, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) {
        remember(password, secrets);
    }
}

/// Replaces all texts in `value`, and numbers by 0 where they are no counts.
fn hide(value: &mut Value, numbers: bool, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            remember(text, secrets);
            REDACTED.clone_into(text);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, numbers, secrets)),
        Value::Object(members) => members.values_mut().for_each(|value| hide(value, numbers, secrets)),
        Value::Number(number) if numbers => *number = 0.into(),
        _ => {}
    }
}

/// Replaces what follows `Bearer` and `Basic`.
fn schemes(text: &str, secrets: &mut Vec<String>) -> String {
    let mut text = text.to_owned();
    for scheme in ["Bearer ", "bearer ", "Basic ", "basic "] {
        let mut from = 0;
        while let Some(at) = text[from..].find(scheme) {
            let start = from + at + scheme.len();
            let is_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=:".contains(c);
            let length = text[start..].find(|c| !is_token(c)).unwrap_or(text.len() - start);
            let value = text[start..start + length].to_owned();
            // "Basic plan" is no secret.
            if length >= MEMORABLE && value != REDACTED && value.bytes().any(|b| !b.is_ascii_lowercase()) {
                remember(&value, secrets);
                text.replace_range(start..start + length, REDACTED);
            }
            from = start;
        }
    }
    text
}

fn without_addresses(text: &str) -> String {
    let local = |c: char| c.is_alphanumeric() || "._%+-'".contains(c);
    let domain = |c: char| c.is_alphanumeric() || ".-".contains(c);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let start = rest[..at].char_indices().rev().take_while(|(_, c)| local(*c)).last();
        let after = &rest[at + 1..];
        let end = after.find(|c| !domain(c)).unwrap_or(after.len());
        let host = after[..end].trim_end_matches(['.', '-']);
        match start {
            Some((start, _)) if host.contains('.') && !is_reserved(host) => {
                clean.push_str(&rest[..start]);
                clean.push_str(ADDRESS);
            }
            _ => clean.push_str(&rest[..at + 1 + host.len()]),
        }
        rest = &rest[at + 1 + host.len()..];
    }
    clean.push_str(rest);
    clean
}

/// A domain that nobody can have.
fn is_reserved(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    ["example.com", "example.net", "example.org", "example", "test", "invalid", "localhost"]
        .iter()
        .any(|end| host.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// Whether an address is in what cannot be cleaned.
pub(super) fn holds_address(text: &str) -> bool {
    without_addresses(text) != text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rules: &Rules, text: &str) -> String {
        rules.text(text, &mut Vec::new())
    }

    #[test]
    fn names_tell_secrets_whatever_their_punctuation() {
        let rules = Rules::default();
        for name in ["access_token", "refreshToken", "X-Api-Key", "client-secret", "Set-Cookie", "sig"] {
            assert!(rules.is_secret(name, Place::Header), "{name}");
        }
        for name in ["token_type", "token_use", "nextPageToken", "content-type", "email", "design"] {
            assert!(!rules.is_secret(name, Place::Json), "{name}");
        }
        assert!(rules.is_secret("key", Place::Query) && !rules.is_secret("key", Place::Json));
    }

    #[test]
    fn a_name_may_be_added_and_kept() {
        let mut rules = Rules::default();
        rules.redact("ssn");
        rules.keep("download_token");
        assert!(rules.is_secret("SSN", Place::Json) && !rules.is_secret("download_token", Place::Query));
    }

    #[test]
    fn urls_and_schemes_inside_of_texts_are_cleaned() {
        let rules = Rules::default();
        assert_eq!(
            text(&rules, "see https://s.example/a?X-Amz-Signature=ab%2Fcd&part=1 and Bearer abc.DEF-123!"),
            "see https://s.example/a?X-Amz-Signature=REDACTED&part=1 and Bearer REDACTED!"
        );
        assert_eq!(text(&rules, "Basic functionality, 1 = 2"), "Basic functionality, 1 = 2");
    }

    #[test]
    fn json_in_a_string_is_cleaned_and_otherwise_left_as_it_is() {
        let rules = Rules::default();
        assert_eq!(text(&rules, "{ \"b\": 1,  \"a\": 2 }"), "{ \"b\": 1,  \"a\": 2 }");
        assert_eq!(text(&rules, "{ \"b\": 1, \"api_key\": \"x\" }"), "{\"api_key\":\"REDACTED\",\"b\":1}");
    }

    #[test]
    fn addresses_go_but_those_of_examples_stay() {
        let mut rules = Rules::default();
        assert_eq!(text(&rules, "zoë@firm.fr"), "zoë@firm.fr");
        rules.redact_emails();
        assert_eq!(
            text(&rules, "<zoë@firm.fr>, a.b+c@mail.firm.co.uk. x@example.org @home a@b"),
            format!("<{ADDRESS}>, {ADDRESS}. x@example.org @home a@b")
        );
    }
}
