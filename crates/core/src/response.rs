use crate::credential::Current;
use crate::{CacheStatus, CallContext, Error, ErrorKind, QuotaUpdate, Result};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An answer that was read to its end.
#[derive(Clone)]
pub struct Response(Box<Parts>);

#[derive(Clone)]
struct Parts {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    context: Arc<CallContext>,
    meta: ResponseMeta,
    /// What it was asked with: must not be in an error about it.
    credential: Option<Arc<Current>>,
}

/// How an answer came about.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ResponseMeta {
    /// The vendor's request id, if it sent one.
    pub request_id: Option<String>,
    /// Attempts made; 0 when it came from the cache without asking.
    pub attempts: u32,
    /// From the start of the call to its end, waits included.
    pub elapsed: Duration,
    /// Time spent waiting for quota and concurrency, in all attempts.
    pub quota_wait: Duration,
    /// What the platform said about the account's quota.
    pub quota: Vec<QuotaUpdate>,
    /// Whether its body came from the cache: a hit, one that the platform confirmed, or a stale one in place of an error.
    pub from_cache: bool,
    /// What the cache did; `None` where the operation has no [rule](crate::CacheRule) or a layer answered.
    pub cache: Option<CacheStatus>,
}

impl Response {
    /// An answer that did not come from a transport: for users' layers that answer by themselves, and for tests.
    #[must_use]
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes, context: Arc<CallContext>) -> Self {
        Self(Box::new(Parts {
            status,
            headers,
            body,
            context,
            meta: ResponseMeta::default(),
            credential: None,
        }))
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// A header as text, if it is there and readable.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The target of its first link of the relation `rel`, such as `next`, out of the `Link` headers
    /// ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288)), as it stands there: give it to
    /// [`Call::follow`](crate::Call::follow). `None` when there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when a `Link` header cannot be read.
    pub fn link(&self, rel: &str) -> Result<Option<String>> {
        crate::pager::find_link(&self.0.headers, rel)
            .map_err(|what| self.error(ErrorKind::Decode, format!("the Link header cannot be read: {what}")))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The body decoded as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`]: the request was applied, but the answer is not what was expected. The error names the place of the
    /// trouble and a field that is missing, never a value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.0.body).map_err(|e| {
            let missing =
                missing_field(&e.to_string()).map(|name| format!("no field `{name}`, ")).unwrap_or_default();
            let (line, column) = (e.line(), e.column());
            let message =
                format!("the body is not the documented JSON ({missing}line {line}, column {column})");
            self.error(ErrorKind::Decode, message).with_source(Redacted(e.classify()))
        })
    }

    /// An error about this answer, with operation, status, request id and attempts filled in. The credential that the
    /// platform was asked with is taken out of `message`: some quote it.
    #[must_use]
    pub fn error(&self, kind: ErrorKind, message: impl AsRef<str>) -> Error {
        let error = Error::new(kind, self.without_secret(message.as_ref()))
            .with_operation(&self.0.context.platform, self.0.context.operation.name())
            .with_status(self.0.status.as_u16())
            .with_effort(self.0.meta.attempts, self.0.meta.elapsed);
        match &self.0.meta.request_id {
            Some(id) => error.with_request_id(id),
            None => error,
        }
    }

    /// How it came about.
    #[must_use]
    pub fn meta(&self) -> &ResponseMeta {
        &self.0.meta
    }

    pub(crate) fn meta_mut(&mut self) -> &mut ResponseMeta {
        &mut self.0.meta
    }

    pub(crate) fn set_credential(&mut self, credential: Arc<Current>) {
        self.0.credential = Some(credential);
    }

    pub(crate) fn without_secret<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.credential.as_ref().map_or(text.into(), |current| current.credential.hidden_in(text))
    }

    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.headers
    }

    pub(crate) fn set_context(&mut self, context: Arc<CallContext>) {
        self.0.context = context;
    }

    /// What is known about the call it answers.
    #[must_use]
    pub fn context(&self) -> &Arc<CallContext> {
        &self.0.context
    }
}

/// serde's message quotes the value it choked on, which may be personal data; the category does not.
#[derive(Debug, thiserror::Error)]
#[error("JSON {0:?} error")]
struct Redacted(serde_json::error::Category);

/// The field that serde misses. Its name is the model's own, unlike what its other errors quote.
fn missing_field(error: &str) -> Option<&str> {
    let (name, _) = error.strip_prefix("missing field `")?.split_once('`')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (name.len() <= 64 && name.bytes().all(plain)).then_some(name)
}

impl fmt::Debug for Response {
    /// Without headers and body: they may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("operation", &self.0.context.operation.name())
            .field("status", &self.0.status)
            .field("body", &format_args!("{} bytes", self.0.body.len()))
            .field("meta", &self.0.meta)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::missing_field;

    #[test]
    fn only_a_field_that_is_missing_is_named() {
        assert_eq!(missing_field("missing field `paging.next` at line 1 column 2"), Some("paging.next"));
        for other in [
            "invalid type: string \"ada@example.com\", expected u64 at line 1 column 2",
            "unknown variant `ada@example.com`, expected `a` at line 1 column 2",
            "missing field `ada@example.com`",
            "missing field `",
        ] {
            assert_eq!(missing_field(other), None, "{other}");
        }
    }
}
