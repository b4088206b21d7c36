use crate::{Body, Error, ErrorKind, Operation, Platform, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use martlet_base::{ConnectionId, Deadline};
use martlet_resilience::Priority;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use url::Url;

/// RFC 3986 `unreserved`: everything else in a path part is percent-encoded, `/` and `..` included.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One logical use of an operation: what connectors build and [`ApiClient::execute`](crate::ApiClient::execute) takes.
///
/// Nothing is checked until it is executed; a mistake (a path part that is missing, a body that does not serialise) is
/// then an [`ErrorKind::InvalidRequest`] and nothing is sent.
///
/// ```
/// use martlet_core::{Call, Operation};
///
/// const GET: Operation = Operation::get("contacts.get", "/crm/{version}/objects/contacts/{id}");
/// let call = Call::new(GET).path("id", "501").query("properties", "email,firstname");
/// ```
#[derive(Clone)]
#[must_use = "a call does nothing until it is executed"]
pub struct Call {
    pub(crate) operation: Operation,
    path: Vec<(&'static str, String)>,
    query: Vec<(Cow<'static, str>, String)>,
    follow: Option<String>,
    headers: HeaderMap,
    content_type: Option<HeaderValue>,
    pub(crate) body: Body,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Deadline,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) fresh: bool,
    pub(crate) priority: Priority,
    pub(crate) fingerprint: Option<Vec<u8>>,
    pub(crate) reexecute: bool,
    /// So many pages of its list were read, this one included.
    pub(crate) pages: Option<u64>,
    problem: Option<Error>,
}

impl Call {
    /// A call of `operation` without parts.
    pub fn new(operation: Operation) -> Self {
        Self {
            operation,
            path: Vec::new(),
            query: Vec::new(),
            follow: None,
            headers: HeaderMap::new(),
            content_type: None,
            body: Body::empty(),
            timeout: None,
            deadline: Deadline::NONE,
            key: None,
            fresh: false,
            priority: Priority::Delivery,
            fingerprint: None,
            reexecute: false,
            pages: None,
            problem: None,
        }
    }

    /// The operation.
    #[must_use]
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Fills the part `{name}` of the path. The value is percent-encoded as a single segment.
    pub fn path(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.path.push((name, value.to_string()));
        self
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        self.query.push((name.into(), value.to_string()));
        self
    }

    /// Adds a query parameter if there is a value.
    pub fn query_opt(self, name: impl Into<Cow<'static, str>>, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Goes where the platform said, instead of to the operation's path: the URL of a next page, or of a job's state. A reference
    /// without scheme or path is taken relative to the operation's own URL
    /// ([RFC 3986, section 5](https://www.rfc-editor.org/rfc/rfc3986#section-5)); query parameters given otherwise are
    /// left out. Method, headers and body stay.
    ///
    /// Another scheme, host or port than the platform's, or a user in the URL, is an [`ErrorKind::InvalidRequest`] before a
    /// credential is attached and anything is sent. (A platform behind a proxy that gives `http` instead of `https` is refused
    /// for it, too: follow path and query alone.)
    pub fn follow(mut self, reference: impl Into<String>) -> Self {
        self.follow = Some(reference.into());
        self
    }

    /// Sets a header. Credentials do not belong here: they are applied by the client, at each attempt.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if name == CONTENT_TYPE {
            self.content_type = Some(value);
        } else {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sends `value` as JSON.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => {
                self.content_type = Some(HeaderValue::from_static("application/json"));
                self.body = bytes.into();
            }
            Err(e) => {
                self.problem = Some(
                    Error::new(ErrorKind::InvalidRequest, "the body does not serialise as JSON")
                        .with_source(e),
                );
            }
        }
        self
    }

    /// Sends `body`; set `Content-Type` with [`header`](Self::header).
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The time the whole call may take, waits and retries included, instead of the client's.
    pub const fn timeout(mut self, total: Duration) -> Self {
        self.timeout = Some(total);
        self
    }

    /// The moment after which nobody waits for the answer, if it is earlier than the timeout's.
    pub const fn deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        self
    }

    /// The idempotency key to send, for operations that take one. Without it each call makes its own.
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.key = Some(key);
        self
    }

    /// What identifies the payload under its idempotency key, when the body holds fields that change from one sending to the
    /// next (a timestamp): only the stable ones. Method, URL and body unless said. Used with
    /// [durable keys](crate::ClientBuilder::durable_keys) only.
    pub fn fingerprint(mut self, stable: impl Into<Vec<u8>>) -> Self {
        self.fingerprint = Some(stable.into());
        self
    }

    /// Sends it although its idempotency key has grown older than the platform remembers: it may take effect a second time.
    pub const fn allow_reexecution(mut self) -> Self {
        self.reexecute = true;
        self
    }

    /// How urgent it is where calls wait for quota; [`Priority::Delivery`] unless said.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Does not read from the cache; the answer still refreshes it. It joins no request that began before.
    pub const fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// Puts the call's headers over those that every request has.
    pub(crate) fn put_headers(&mut self, headers: &mut HeaderMap) {
        if let Some(value) = self.content_type.take() {
            headers.insert(CONTENT_TYPE, value);
        }
        if !self.headers.is_empty() {
            headers.extend(std::mem::take(&mut self.headers));
        }
    }

    /// The URL below `base`, or what is wrong with the call.
    pub(crate) fn url(&self, base: &Url, platform: &dyn Platform) -> Result<Url> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let version = platform.descriptor().api_version();
        let mut url = base.clone();
        let values: usize = self.path.iter().map(|(_, value)| value.len()).sum();
        let base = base.path().trim_end_matches('/');
        let mut path =
            String::with_capacity(base.len() + self.operation.path().len() + values + version.len());
        path.push_str(base);
        let mut used = 0;
        let mut rest = self.operation.path();
        while let Some((before, tail)) = rest.split_once('{') {
            path.push_str(before);
            let Some((name, after)) = tail.split_once('}') else {
                return Err(invalid(format!("unclosed brace in the path {}", self.operation.path())));
            };
            let given = self.path.iter().find(|(n, _)| *n == name);
            used += usize::from(given.is_some());
            match given {
                Some((_, value)) if value.is_empty() || value == "." || value == ".." => {
                    return Err(invalid(format!("path part {name:?} cannot be {value:?}")));
                }
                Some((_, value)) => path.extend(utf8_percent_encode(value, PATH_PART)),
                None if name == "version" => path.push_str(version),
                None => return Err(invalid(format!("path part {name:?} is missing"))),
            }
            rest = after;
        }
        path.push_str(rest);
        if used != self.path.len() {
            return Err(invalid(format!(
                "a path part was given that {} does not have",
                self.operation.path()
            )));
        }
        url.set_path(&path);
        if let Some(reference) = &self.follow {
            return follow(&url, reference);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(self.query.iter().map(|(n, v)| (n.as_ref(), v.as_str())));
        }
        Ok(url)
    }
}

/// The URL that `reference` means on the page at `from`, if it is of the same origin.
fn follow(from: &Url, reference: &str) -> Result<Url> {
    let mut url = from
        .join(reference)
        .map_err(|e| invalid(format!("what the platform gave to follow is no URL: {e}")))?;
    let (theirs, ours) = (url.origin(), from.origin());
    if theirs != ours {
        return Err(invalid(format!(
            "the URL to follow is on another origin ({}) than the platform's ({}); no credential is sent there",
            theirs.ascii_serialization(),
            ours.ascii_serialization()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the URL to follow has a user in it".into()));
    }
    url.set_fragment(None);
    Ok(url)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

impl fmt::Debug for Call {
    /// Without values: they may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("operation", &self.operation.name())
            .field("path", &self.path.iter().map(|(n, _)| *n).collect::<Vec<_>>())
            .field("query", &self.query.iter().map(|(n, _)| n.as_ref()).collect::<Vec<_>>())
            .field("body", &self.body)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A key by which a platform recognises a repeated request. 1 to 255 visible ASCII characters.
///
/// The same key with another payload is an error at most platforms, so one key belongs to one call.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// Checks and wraps a key of the caller's: best derived from a business id, so that it can be found again after a
    /// crash.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it is empty, longer than 255, or not visible ASCII.
    pub fn new(key: &str) -> Result<Self> {
        // A double quote or backslash would need escaping in a structured header; no platform asks for them.
        let good = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if key.is_empty() || key.len() > 255 || !key.bytes().all(good) {
            return Err(invalid(
                "an idempotency key is 1 to 255 visible ASCII characters without quotes".into(),
            ));
        }
        Ok(Self(key.into()))
    }

    /// A UUID (version 8, from SHA-256) that is the same for the same arguments, so that it can be found again after a crash.
    /// `stable` is what makes the payload: only fields that are the same each time it is sent.
    ///
    /// ```
    /// use martlet_core::{IdempotencyKey, base::ConnectionId};
    ///
    /// let key = |amount: &str| {
    ///     IdempotencyKey::derived(&ConnectionId::default(), "payments.create", "order-17", [amount, "EUR"])
    /// };
    /// assert_eq!(key("10.00"), key("10.00"));
    /// assert_ne!(key("10.00"), key("12.00"));
    /// ```
    #[must_use]
    pub fn derived<'a>(
        connection: &ConnectionId,
        operation: &str,
        business_id: &str,
        stable: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            // With its length, so that no two lists of parts are one text.
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        };
        [connection.as_str(), operation, business_id].into_iter().for_each(&mut part);
        stable.into_iter().for_each(&mut part);
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string().into())
    }

    /// A random UUID (version 4).
    #[must_use]
    pub fn random(rng: &martlet_base::Rng) -> Self {
        Self(uuid::Builder::from_random_bytes(rng.bytes16()).into_uuid().to_string().into())
    }

    /// The first 64 bits of its SHA-256: names the key where the key itself has no place.
    pub(crate) fn short_hash(&self) -> u64 {
        let digest = Sha256::digest(self.as_str());
        digest[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({})", self.0)
    }
}
