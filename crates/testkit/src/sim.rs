//! The simulator kit: a platform as one sans-I/O function, served on loopback or used as a transport in process.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use martlet_base::{Moment, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;

/// A simulated platform. It does no I/O and takes no time: the same seed and the same requests at the same times give the
/// same replies, on loopback and in process.
///
/// It is called by many tasks at once and guards its state by itself.
pub trait Simulator: fmt::Debug + Send + Sync + 'static {
    /// Its name, `hubspot`: the prefix of what it stores.
    fn name(&self) -> &'static str;

    /// Handles a request that arrived at `now`.
    fn handle(&self, request: &SimRequest, now: SimTime) -> SimReply;

    /// Takes back a value that an earlier reply asked to store, before the first request.
    fn restore(&self, key: &str, value: &[u8]) {
        let _ = (key, value);
    }
}

/// When a request arrived, on both scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimTime {
    /// For windows and ages.
    pub moment: Moment,
    /// For dates in answers.
    pub wall: Timestamp,
}

/// A request as a simulator sees it.
#[derive(Clone, Debug)]
pub struct SimRequest {
    /// The method.
    pub method: Method,
    /// The path, still percent-encoded, without the query.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl SimRequest {
    /// One without headers and body, for tests of a simulator by itself. `target` is the path and, behind a `?`, the query, both
    /// percent-encoded.
    #[must_use]
    pub fn new(method: Method, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method,
            path: path.to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        let value = HeaderValue::try_from(value.to_string()).expect("a test's own headers are valid");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// With a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The first value of a query parameter.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The body as JSON; `None` when it is none.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body's pairs, when it is `application/x-www-form-urlencoded`.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The parts of the path, percent-decoded, empty ones left out.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        self.path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect()
    }
}

/// What a simulator answers, and what shall be stored before the answer leaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SimReply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long the answer takes.
    pub delay: Duration,
    /// What goes wrong on the wire.
    pub fault: Option<WireFault>,
    /// What is committed to the simulator's store before the answer leaves.
    pub writes: Vec<SimWrite>,
}

impl SimReply {
    /// An empty answer.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
            fault: None,
            writes: Vec::new(),
        }
    }

    /// An answer of JSON; the content type is `application/json;charset=utf-8`.
    #[must_use]
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let mut reply = Self::status(status);
        reply.body = serde_json::to_vec(body).expect("a simulator's own answers serialise").into();
        reply.header("content-type", "application/json;charset=utf-8")
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        let value = HeaderValue::try_from(value.to_string()).expect("a simulator's own headers are valid");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Late by `delay`.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// With something going wrong on the wire.
    #[must_use]
    pub const fn fault(mut self, fault: WireFault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// With values to store before it leaves.
    #[must_use]
    pub fn store(mut self, writes: impl IntoIterator<Item = SimWrite>) -> Self {
        self.writes.extend(writes);
        self
    }
}

/// A value to store, or a key to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimWrite {
    /// The key within the simulator.
    pub key: String,
    /// The value; `None` deletes.
    pub value: Option<Bytes>,
}

impl SimWrite {
    /// Stores `value`.
    #[must_use]
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// Forgets `key`.
    #[must_use]
    pub fn delete(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// What can go wrong between the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireFault {
    /// The connection is reset and no byte of an answer is sent. (Whether the request was handled is the simulator's
    /// business: it returns the writes or not.)
    Reset,
    /// The head and so many bytes of the body are sent, then the connection closes.
    Truncate(usize),
    /// The connection stays open and nothing is ever sent.
    Stall,
}
