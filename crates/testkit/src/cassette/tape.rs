//! The file: `{"martlet_cassette": 1, "interactions": [..]}`, made to be read and compared line by line.

use super::CassetteError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue};
use martlet_base::Delivery;
use martlet_core::{TransportError, TransportErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

const VERSION: u64 = 1;

/// What a compressed body may become.
const MAX_INFLATED: u64 = 64 << 20;

/// Characters of base64 in a line.
const LINE: usize = 100;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tape {
    martlet_cassette: u64,
    pub(super) interactions: Vec<Interaction>,
}

/// An exchange. Without a response and an error nobody waited for its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interaction {
    pub(super) operation: String,
    pub(super) request: Request,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<Response>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: Headers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<Body>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Response {
    pub(super) status: u16,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: Headers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<Body>,
    /// What broke the body off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) broken: Option<Failure>,
    /// The program did not wait for the rest of the body.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unread: bool,
}

pub(super) type Headers = BTreeMap<String, Values>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Values {
    One(String),
    Many(Vec<String>),
}

impl Values {
    pub(super) fn push(&mut self, value: String) {
        match self {
            Self::One(first) => *self = Self::Many(vec![std::mem::take(first), value]),
            Self::Many(all) => all.push(value),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &String> {
        match self {
            Self::One(value) => std::slice::from_ref(value).iter(),
            Self::Many(all) => all.iter(),
        }
    }
}

/// `None` when a name or value is none: somebody edited the file.
pub(super) fn header_map(headers: &Headers) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, values) in headers {
        let name = HeaderName::try_from(name).ok()?;
        for value in values.iter() {
            map.append(name.clone(), HeaderValue::try_from(value).ok()?);
        }
    }
    Some(map)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Body {
    Json(Value),
    Form(Vec<(String, String)>),
    Text(String),
    /// Lines of base64.
    Base64(Vec<String>),
    /// Compressed on the wire, by its content encoding.
    Gzip(Box<Body>),
}

impl Body {
    /// The body as what it is; `None` for none.
    pub(super) fn of(bytes: &[u8], headers: &HeaderMap) -> Option<Self> {
        let header = |name: HeaderName| {
            headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_ascii_lowercase()
        };
        if bytes.is_empty() {
            return None;
        }
        if header(http::header::CONTENT_ENCODING) == "gzip"
            && let Some(inflated) = inflate(bytes)
        {
            return Some(Self::Gzip(Box::new(Self::plain(&inflated, &header(http::header::CONTENT_TYPE)))));
        }
        Some(Self::plain(bytes, &header(http::header::CONTENT_TYPE)))
    }

    fn plain(bytes: &[u8], content_type: &str) -> Self {
        if content_type.starts_with("application/x-www-form-urlencoded") {
            return Self::Form(url::form_urlencoded::parse(bytes).into_owned().collect());
        }
        if let Ok(value) = serde_json::from_slice::<Value>(bytes)
            && (value.is_object() || value.is_array() || content_type.contains("json"))
        {
            return Self::Json(value);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::binary(bytes),
        }
    }

    fn binary(bytes: &[u8]) -> Self {
        let text = STANDARD.encode(bytes);
        let lines = (0..text.len()).step_by(LINE).map(|at| text[at..text.len().min(at + LINE)].to_owned());
        Self::Base64(lines.collect())
    }

    /// The body as it goes onto the wire.
    ///
    /// # Errors
    /// What is wrong with it: somebody edited the file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Json(value) => Ok(value.to_string().into_bytes()),
            Self::Form(pairs) => {
                Ok(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into())
            }
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Base64(lines) => STANDARD.decode(lines.concat()).map_err(|e| format!("bad base64: {e}")),
            Self::Gzip(body) => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder
                    .write_all(&body.bytes()?)
                    .and_then(|()| encoder.finish())
                    .map_err(|e| format!("a body that cannot be compressed: {e}"))
            }
        }
    }

    /// `json`, `text` and so on.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "JSON",
            Self::Form(_) => "a form",
            Self::Text(_) => "a text",
            Self::Base64(_) => "binary",
            Self::Gzip(body) => body.kind(),
        }
    }

    pub(super) fn json(&self) -> Option<&Value> {
        match self {
            Self::Json(value) => Some(value),
            Self::Gzip(body) => body.json(),
            _ => None,
        }
    }
}

/// What is in compressed bytes; `None` when they are none, or become too many.
pub(super) fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return None;
    }
    let mut inflated = Vec::new();
    MultiGzDecoder::new(bytes).take(MAX_INFLATED).read_to_end(&mut inflated).ok()?;
    (inflated.len() as u64 != MAX_INFLATED).then_some(inflated)
}

/// A failure of the transport.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    kind: Kind,
    delivery: Fate,
    message: String,
}

macro_rules! mirror {
    ($name:ident of $type:ident: $($variant:ident),+; else $other:ident) => {
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum $name {
            $($variant,)+
        }

        impl From<$type> for $name {
            fn from(value: $type) -> Self {
                match value {
                    $($type::$variant => Self::$variant,)+
                    _ => Self::$other,
                }
            }
        }

        impl From<$name> for $type {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => Self::$variant,)+
                }
            }
        }
    };
}

mirror!(Kind of TransportErrorKind: Connect, Timeout, Interrupted, Protocol, InvalidRequest; else Protocol);
mirror!(Fate of Delivery: NotSent, Rejected, Unknown, Processed; else Unknown);

impl Failure {
    pub(super) fn of(error: &TransportError, message: String) -> Self {
        Self { kind: error.kind().into(), delivery: error.delivery().into(), message }
    }

    pub(super) fn error(self) -> TransportError {
        TransportError::new(self.kind.into(), self.delivery.into(), self.message)
    }
}

impl Interaction {
    pub(super) fn begun(operation: &str, request: Request) -> Self {
        Self { operation: operation.to_owned(), request, response: None, error: None }
    }

    /// `GET https://api.example/things (things.list)`.
    pub(super) fn title(&self) -> String {
        format!("{} {} ({})", self.request.method, self.request.url, self.operation)
    }
}

impl Tape {
    pub(super) const fn of(interactions: Vec<Interaction>) -> Self {
        Self { martlet_cassette: VERSION, interactions }
    }

    pub(super) fn load(path: &Path) -> Result<Self, CassetteError> {
        let text = fs::read_to_string(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CassetteError::Missing { path: path.to_owned(), command: command() },
            _ => CassetteError::Io { path: path.to_owned(), source },
        })?;
        let format = |reason: String| CassetteError::Format { path: path.to_owned(), reason };
        let value: Value = serde_json::from_str(&text).map_err(|e| format(e.to_string()))?;
        match value.get("martlet_cassette").and_then(Value::as_u64) {
            None => Err(format("it has no \"martlet_cassette\": 1".to_owned())),
            Some(found) if found > VERSION => {
                Err(CassetteError::Version { path: path.to_owned(), found, known: VERSION })
            }
            // From the text again: it knows lines.
            Some(_) => serde_json::from_str(&text).map_err(|e| format(e.to_string())),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("texts, numbers and JSON serialise");
        text.push('\n');
        text
    }

    /// All of it or nothing.
    pub(super) fn save(&self, path: &Path) -> Result<(), CassetteError> {
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&beside, self.text())?;
            fs::rename(&beside, path)
        };
        write().map_err(|source| {
            // It may not even be there.
            let _ = fs::remove_file(&beside);
            CassetteError::Io { path: path.to_owned(), source }
        })
    }
}

/// What records the cassettes of the running test, as far as its thread tells the name.
fn command() -> String {
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").unwrap_or_default();
    format!("{}=record cargo test {test}", super::VARIABLE).trim_end().to_owned()
}

/// With the members of objects in order: with serde_json's feature `preserve_order`, somewhere in the tree, they have the
/// platform's.
pub(super) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}
