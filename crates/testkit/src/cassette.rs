//! Recorded exchanges with a real server, played again without one.

mod drift;
mod error;
mod guard;
mod matching;
mod redact;
mod tape;

pub use drift::Drift;
pub use error::CassetteError;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use martlet_base::Delivery;
use martlet_core::{BodyStream, SendContext, Transport, TransportError, TransportErrorKind, WireRequest};
use redact::Rules;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tape::{Body, Failure, Interaction, Response, Tape};

/// The variable of the environment that [`CassetteMode::from_env`] reads.
const VARIABLE: &str = "MARTLET_CASSETTES";

/// A replayed body comes in chunks of this size, so that who reads a stream reads one.
const CHUNK: usize = 16 << 10;

/// What a [`CassetteTransport`] does with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CassetteMode {
    /// Answers from the file. Nothing is sent, and a missing file is an error: what CI does.
    #[default]
    Replay,
    /// Sends everything, and writes the file at [`finish`](CassetteTransport::finish), over one that is there.
    Record,
    /// Sends everything, writes nothing, and compares the answers with the file at [`finish`](CassetteTransport::finish).
    Verify,
}

impl CassetteMode {
    /// What `MARTLET_CASSETTES` says: `record`, `verify` or `replay`; [`Replay`](Self::Replay) without it.
    ///
    /// # Errors
    /// [`CassetteError::Mode`] when it says something else: a typing error must not pass for a replay.
    pub fn from_env() -> Result<Self, CassetteError> {
        Self::parse(&std::env::var(VARIABLE).unwrap_or_default())
    }

    fn parse(text: &str) -> Result<Self, CassetteError> {
        match text {
            "" | "replay" => Ok(Self::Replay),
            "record" => Ok(Self::Record),
            "verify" => Ok(Self::Verify),
            other => Err(CassetteError::Mode { variable: VARIABLE, value: other.to_owned() }),
        }
    }
}

/// A cassette as it lies in its file: to compare two of them. To play one, use a [`CassetteTransport`].
#[derive(Clone, Debug, PartialEq)]
pub struct Cassette(Tape);

impl Cassette {
    /// Reads a cassette.
    ///
    /// # Errors
    /// [`Missing`](CassetteError::Missing), [`Io`](CassetteError::Io), [`Format`](CassetteError::Format) or
    /// [`Version`](CassetteError::Version).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CassetteError> {
        Tape::load(path.as_ref()).map(Self)
    }

    /// How the answers in `fresh` differ from the ones in this one in shape, not in values.
    #[must_use]
    pub fn check_drift(&self, fresh: &Self) -> Drift {
        drift::compare(&self.0, &fresh.0)
    }
}

/// A transport that records the exchanges of another one into a file, and plays them again without it. Cheap to clone: give
/// a clone to the client and keep one for [`finish`](Self::finish).
///
/// ```no_run
/// # use martlet_core::{Client, Transport};
/// # async fn my_test(client: Client) -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
/// use martlet_testkit::{CassetteMode, CassetteTransport};
/// # async fn test(
/// #     my_client: impl Fn(CassetteTransport) -> Client,
/// #     real_transport: impl Transport + 'static,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
///
/// let cassette = CassetteTransport::builder("tests/cassettes/contacts.json")
///     .mode(CassetteMode::from_env()?) // replay, unless MARTLET_CASSETTES says `record` or `verify`
///     .through(real_transport)
///     .open()?;
/// my_test(my_client(cassette.clone())).await?;
/// cassette.finish()?;
/// # Ok(()) }
/// ```
///
/// **Replay.** A request is answered by the first interaction that is not played yet and has the same method, URL (the order
/// of query parameters does not matter), headers and body (JSON by value, forms by pairs). One that has none gets a
/// [`CassetteError::Unexpected`] with the nearest one and the differences, as the source of a
/// [`TransportErrorKind::InvalidRequest`]; `finish` fails with it too, and with [`CassetteError::NotPlayed`] when
/// interactions are left. Headers that change by themselves (`user-agent`, `host`, `content-length`, `idempotency-key`,
/// trace headers and their like) are neither recorded nor compared, and the boundary of a multipart body is replaced; more
/// is left out with [`ignore`](CassetteBuilder::ignore).
///
/// **What is recorded.** Statuses, headers and bodies: JSON as JSON, forms as pairs, text as text, gzip by its content where
/// it is the body's encoding, all else in base64. Failures of the transport and bodies that break off come back as
/// failures; an exchange that was dropped hangs again. Neither times nor pauses are kept: what is recorded twice is the same
/// file. JSON loses its spaces, the order of its members, and digits beyond 64 bits.
///
/// **Redaction** happens before anything is kept. Replaced by `REDACTED` are the values of headers that are marked as
/// sensitive; of headers, query parameters, form fields and JSON members whose names tell (`authorization`, `cookie`,
/// anything with `token`, `secret`, `password`, `api_key`, `signature`; not `next_page_token` and `token_type`), also inside
/// of texts and of JSON in strings; and what follows `Bearer` and `Basic`. Every value that was replaced is remembered, with
/// what [`secret`](CassetteBuilder::secret) was given: when one of them stands anywhere else in the cassette (as it is, in
/// base64, percent-encoded, in hexadecimal, or inside of a compressed body), [`finish`](Self::finish) refuses to write it
/// and says where it is.
#[derive(Clone)]
pub struct CassetteTransport(Arc<Inner>);

struct Inner {
    path: PathBuf,
    mode: CassetteMode,
    rules: Rules,
    through: Option<Box<dyn Transport>>,
    /// What the file holds; empty when recording.
    tape: Tape,
    index: Vec<serde_json::Value>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Replay: which interactions of the tape were played.
    played: Vec<bool>,
    unexpected: Vec<String>,
    /// Record and verify: what happened, in the order in which it began.
    fresh: Vec<Interaction>,
    /// What was redacted, and what must not occur.
    secrets: Vec<String>,
}

/// How a [`CassetteTransport`] is opened.
#[must_use]
pub struct CassetteBuilder {
    path: PathBuf,
    mode: CassetteMode,
    rules: Rules,
    secrets: Vec<String>,
    through: Option<Box<dyn Transport>>,
}

impl fmt::Debug for CassetteBuilder {
    /// Without the secrets that it knows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassetteBuilder")
            .field("path", &self.path)
            .field("mode", &self.mode)
            .field("through", &self.through)
            .finish_non_exhaustive()
    }
}

impl CassetteBuilder {
    /// What to do with requests; [`Replay`](CassetteMode::Replay) unless said.
    pub const fn mode(mut self, mode: CassetteMode) -> Self {
        self.mode = mode;
        self
    }

    /// What sends the requests that are recorded or verified. A replay does not touch it.
    pub fn through(mut self, transport: impl Transport + 'static) -> Self {
        self.through = Some(Box::new(transport));
        self
    }

    /// A text that must not get into the cassette. It is not replaced, but nothing is written when it occurs.
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.extend(Some(secret.into()).filter(|secret| !secret.is_empty()));
        self
    }

    /// Replaces the values of a header, query parameter, form field or JSON member of this name.
    pub fn redact(mut self, name: &str) -> Self {
        self.rules.redact(name);
        self
    }

    /// Keeps the values of this name, although it sounds like a secret.
    pub fn keep(mut self, name: &str) -> Self {
        self.rules.keep(name);
        self
    }

    /// Replaces e-mail addresses by `redacted@example.invalid`, but not those of the domains that are reserved for examples
    /// ([RFC 2606](https://www.rfc-editor.org/rfc/rfc2606)): record with such ones where answers are matched by address. A
    /// digest of an address, as in Mailchimp's paths, is not known for one.
    pub const fn redact_emails(mut self) -> Self {
        self.rules.redact_emails();
        self
    }

    /// Replaces what `replace` returns for a text: a value of a header or of the query, a part of the path, a string or the
    /// name of a member in JSON, a line of a text. `None` leaves it.
    pub fn redact_with(mut self, replace: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.rules.redact_with(replace);
        self
    }

    /// Leaves a header, query parameter, form field or JSON member of a **request** out of the comparison: times, ids.
    pub fn ignore(mut self, name: &str) -> Self {
        self.rules.ignore(name);
        self
    }

    /// Leaves scheme, host and port out of the comparison: for servers on a port that is free.
    pub const fn ignore_host(mut self) -> Self {
        self.rules.ignore_host();
        self
    }

    /// Opens it. A replay and a verification read the file now; a recording writes it at
    /// [`finish`](CassetteTransport::finish).
    ///
    /// # Errors
    /// As [`Cassette::load`]; [`CassetteError::NoTransport`] when there is nothing to record or verify through.
    pub fn open(self) -> Result<CassetteTransport, CassetteError> {
        let Self { path, mode, rules, secrets, through } = self;
        if mode != CassetteMode::Replay && through.is_none() {
            return Err(CassetteError::NoTransport);
        }
        let tape = match mode {
            CassetteMode::Record => Tape::of(Vec::new()),
            _ => Tape::load(&path)?,
        };
        let index = matching::index(&rules, &tape);
        let played = vec![false; index.len()];
        let state = Mutex::new(State { played, secrets, ..State::default() });
        Ok(CassetteTransport(Arc::new(Inner { path, mode, rules, through, tape, index, state })))
    }
}

impl CassetteTransport {
    /// Begins with the path of the file. By convention `tests/cassettes/<what>.json`: tests run in the folder of their crate.
    pub fn builder(path: impl Into<PathBuf>) -> CassetteBuilder {
        CassetteBuilder {
            path: path.into(),
            mode: CassetteMode::default(),
            rules: Rules::default(),
            secrets: Vec::new(),
            through: None,
        }
    }

    /// Ends the test: writes what was recorded, checks that all was played, or compares. The answer is what changed without
    /// harm; it is empty unless this was a verification.
    ///
    /// A recording that is never finished is not written. The file is complete or not there: it is written beside its place
    /// and renamed.
    ///
    /// # Errors
    /// Record: [`Secret`](CassetteError::Secret), [`Io`](CassetteError::Io). Replay: [`Unexpected`](CassetteError::Unexpected),
    /// [`NotPlayed`](CassetteError::NotPlayed). Verify: [`Drift`](CassetteError::Drift).
    pub fn finish(&self) -> Result<Drift, CassetteError> {
        let state = self.0.lock();
        match self.0.mode {
            CassetteMode::Replay => self.0.all_was_played(&state).map(|()| Drift::default()),
            CassetteMode::Record => {
                let tape = Tape::of(state.fresh.clone());
                if let Some(place) = guard::find(&tape, &state.secrets, self.0.rules.hides_emails()) {
                    return Err(CassetteError::Secret { path: self.0.path.clone(), place });
                }
                tape.save(&self.0.path).map(|()| Drift::default())
            }
            CassetteMode::Verify => {
                let drift = drift::compare(&self.0.tape, &Tape::of(state.fresh.clone()));
                if drift.breaking().is_empty() { Ok(drift) } else { Err(CassetteError::Drift(drift)) }
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_was_played(&self, state: &State) -> Result<(), CassetteError> {
        let path = self.path.clone();
        if !state.unexpected.is_empty() {
            return Err(CassetteError::Unexpected { path, report: state.unexpected.join("\n") });
        }
        let left = self.tape.interactions.iter().zip(&state.played).enumerate();
        let left: Vec<String> = left
            .filter(|(_, (_, played))| !**played)
            .map(|(at, (interaction, _))| format!("number {}: {}", at + 1, interaction.title()))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(CassetteError::NotPlayed { path, report: left.join("\n") })
    }

    fn replay(&self, request: &WireRequest, cx: &SendContext) -> Result<Option<Interaction>, TransportError> {
        let mut state = self.lock();
        let State { played, unexpected, secrets, .. } = &mut *state;
        let sent = self.rules.request(request, secrets);
        match matching::find(&self.tape, &self.index, played, &sent) {
            Ok(at) => {
                played[at] = true;
                let found = self.tape.interactions[at].clone();
                Ok(Some(found).filter(|found| found.response.is_some() || found.error.is_some()))
            }
            Err(report) => {
                let title = Interaction::begun(cx.operation, sent).title();
                let report = guard::without(&format!("{title}: {report}"), secrets);
                unexpected.push(report.clone());
                let source = CassetteError::Unexpected { path: self.path.clone(), report };
                let message = "the cassette has no such request (the source says how it differs)";
                Err(TransportError::new(TransportErrorKind::InvalidRequest, Delivery::NotSent, message)
                    .with_source(source))
            }
        }
    }

    fn begin(&self, request: &WireRequest, cx: &SendContext) -> usize {
        let mut state = self.lock();
        let State { fresh, secrets, .. } = &mut *state;
        fresh.push(Interaction::begun(cx.operation, self.rules.request(request, secrets)));
        fresh.len() - 1
    }

    fn failed(&self, at: usize, error: &TransportError) {
        let mut state = self.lock();
        let State { fresh, secrets, .. } = &mut *state;
        fresh[at].error = Some(self.failure(error, secrets));
    }

    fn failure(&self, error: &TransportError, secrets: &mut Vec<String>) -> Failure {
        Failure::of(error, self.rules.text(&error.to_string(), secrets))
    }

    fn answered(&self, at: usize, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.lock();
        let State { fresh, secrets, .. } = &mut *state;
        let headers = self.rules.headers(headers, secrets);
        // Until its end was seen, the body is one that the program did not wait for.
        fresh[at].response =
            Some(Response { status: status.as_u16(), headers, body: None, broken: None, unread: true });
    }

    fn read(&self, at: usize, headers: &HeaderMap, body: &[u8], end: &End<'_>) {
        let mut state = self.lock();
        let State { fresh, secrets, .. } = &mut *state;
        let body = self.rules.body(body, headers, secrets);
        let broken = match end {
            End::Broken(error) => Some(self.failure(error, secrets)),
            _ => None,
        };
        let response = fresh[at].response.as_mut().expect("the head was recorded before the body");
        (response.body, response.broken, response.unread) = (body, broken, matches!(end, End::Dropped));
    }
}

/// How a body ended.
enum End<'a> {
    Whole,
    Broken(&'a TransportError),
    Dropped,
}

/// A body that is recorded while it passes.
struct Tee {
    inner: Arc<Inner>,
    at: usize,
    headers: HeaderMap,
    body: BodyStream,
    read: Vec<u8>,
    ended: bool,
}

impl Tee {
    fn end(&mut self, end: &End<'_>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.inner.read(self.at, &self.headers, &self.read, end);
        }
    }
}

impl Stream for Tee {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.body.poll_next_unpin(cx);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => self.read.extend_from_slice(chunk),
            Poll::Ready(Some(Err(error))) => self.end(&End::Broken(error)),
            Poll::Ready(None) => self.end(&End::Whole),
            Poll::Pending => {}
        }
        polled
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.end(&End::Dropped);
    }
}

#[async_trait]
impl Transport for CassetteTransport {
    async fn send(
        &self,
        request: WireRequest,
        cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let inner = &self.0;
        let Some(through) = inner.through.as_ref().filter(|_| inner.mode != CassetteMode::Replay) else {
            return match inner.replay(&request, cx)? {
                Some(Interaction { error: Some(failure), .. }) => Err(failure.error()),
                Some(Interaction { response: Some(response), .. }) => played(response),
                // The program did not wait for an answer when it was recorded.
                _ => std::future::pending().await,
            };
        };
        let at = inner.begin(&request, cx);
        let response = through.send(request, cx).await.inspect_err(|error| inner.failed(at, error))?;
        let (head, body) = response.into_parts();
        inner.answered(at, head.status, &head.headers);
        let (inner, headers) = (Arc::clone(inner), head.headers.clone());
        let tee = Tee { inner, at, headers, body, read: Vec::new(), ended: false };
        Ok(http::Response::from_parts(head, BodyStream::new(tee)))
    }
}

fn played(response: Response) -> Result<http::Response<BodyStream>, TransportError> {
    let Response { status, headers, body, broken, unread } = response;
    let invalid = |what: &str| {
        let message = format!("the cassette has an answer with {what}");
        TransportError::new(TransportErrorKind::Protocol, Delivery::Unknown, message)
    };
    let bytes = body.as_ref().map(Body::bytes).transpose().map_err(|what| invalid(&what))?;
    let bytes = Bytes::from(bytes.unwrap_or_default());
    let chunks: Vec<_> =
        (0..bytes.len()).step_by(CHUNK).map(|at| bytes.slice(at..bytes.len().min(at + CHUNK))).collect();
    let chunks = stream::iter(chunks.into_iter().map(Ok).chain(broken.map(|failure| Err(failure.error()))));
    let body =
        if unread { BodyStream::new(chunks.chain(stream::pending())) } else { BodyStream::new(chunks) };
    let mut answer = http::Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).map_err(|_| invalid("a status that is none"))?;
    *answer.headers_mut() = tape::header_map(&headers).ok_or_else(|| invalid("a header that is none"))?;
    Ok(answer)
}

impl fmt::Debug for CassetteTransport {
    /// Without what it recorded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassetteTransport")
            .field("path", &self.0.path)
            .field("mode", &self.0.mode)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_one_of_three_words() {
        assert_eq!(CassetteMode::parse("").unwrap(), CassetteMode::Replay);
        assert_eq!(CassetteMode::parse("record").unwrap(), CassetteMode::Record);
        assert_eq!(CassetteMode::parse("verify").unwrap(), CassetteMode::Verify);
        let error = CassetteMode::parse("recrod").unwrap_err().to_string();
        assert!(error.contains("MARTLET_CASSETTES") && error.contains("recrod"), "{error}");
    }
}
