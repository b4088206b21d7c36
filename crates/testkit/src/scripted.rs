//! A transport that answers as a test says, and fails the test that sends something else.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use martlet_base::{Clock, Delivery, Moment};
use martlet_core::{
    BodyStream, Operation, SendContext, Transport, TransportError, TransportErrorKind, WireRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use url::Url;

/// A transport that plays a script for each operation, and records what was sent. Cheap to clone: give a clone to the
/// client and keep one to look at.
///
/// A request that no script expects gets an error that names the operation, and fails the test: when the last clone is
/// dropped, or at [`verify`](Self::verify), which also finds answers that nobody fetched.
#[derive(Clone)]
pub struct ScriptedTransport(Arc<Inner>);

struct Inner {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    scripts: HashMap<&'static str, VecDeque<Step>>,
    requests: Vec<RecordedRequest>,
    unexpected: Vec<String>,
}

#[derive(Clone)]
struct Step {
    /// `None`: for ever.
    left: Option<u32>,
    delay: Duration,
    action: Action,
}

#[derive(Clone)]
enum Action {
    Reply { status: StatusCode, headers: HeaderMap, body: Bytes, cut: Option<usize> },
    Fail(TransportErrorKind, Delivery),
    Stall,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&mut self) -> Result<(), String> {
        if self.unexpected.is_empty() {
            return Ok(());
        }
        // Told once: the drop need not panic again.
        Err(format!(
            "requests that the script does not expect: {}",
            std::mem::take(&mut self.unexpected).join("; ")
        ))
    }
}

impl ScriptedTransport {
    /// A transport that expects nothing yet. Delays pass on `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, state: Mutex::default() }))
    }

    /// What requests of `operation` get, in order; a second script of the same operation goes on where the first ends.
    pub fn on(&self, operation: &Operation) -> Script {
        Script { transport: self.clone(), operation: operation.name() }
    }

    /// What was sent so far, in order, unexpected requests included.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.0.lock().requests.clone()
    }

    /// Checks that everything expected was sent and nothing else.
    ///
    /// # Panics
    /// When it was not: this is an assertion.
    #[track_caller]
    pub fn verify(&self) {
        let mut state = self.0.lock();
        if let Err(text) = state.check() {
            drop(state);
            panic!("{text}");
        }
        let waiting = |step: &Step| step.left.unwrap_or(0);
        let mut left: Vec<String> = state
            .scripts
            .iter()
            .map(|(operation, steps)| (operation, steps.iter().map(waiting).sum::<u32>()))
            .filter(|(_, count)| *count > 0)
            .map(|(operation, count)| format!("{count} of {operation}"))
            .collect();
        drop(state);
        left.sort();
        assert!(left.is_empty(), "answers that nobody fetched: {}", left.join(", "));
    }

    fn take(&self, request: RecordedRequest) -> Result<Step, TransportError> {
        let mut state = self.0.lock();
        let operation = request.operation;
        let script = state.scripts.get_mut(operation);
        let known = script.is_some();
        let step = script.and_then(|steps| {
            let step = steps.front_mut()?;
            let taken = step.clone();
            if let Some(left) = &mut step.left {
                *left -= 1;
                if *left == 0 {
                    steps.pop_front();
                }
            }
            Some(taken)
        });
        let what = format!("{operation} ({} {})", request.method, request.url.path());
        state.requests.push(request);
        step.ok_or_else(|| {
            let why = if known { "its script has ended" } else { "it has no script" };
            let text = format!("{what}: {why}");
            state.unexpected.push(text.clone());
            TransportError::new(
                TransportErrorKind::InvalidRequest,
                Delivery::NotSent,
                format!("the test did not expect {text}"),
            )
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let checked = self.lock().check();
        if let Err(text) = checked
            && !std::thread::panicking()
        {
            panic!("{text}");
        }
    }
}

impl fmt::Debug for ScriptedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedTransport")
            .field("requests", &self.0.lock().requests.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for ScriptedTransport {
    async fn send(
        &self,
        request: WireRequest,
        cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let WireRequest { method, url, headers, body, .. } = request;
        let (operation, attempt, at) = (cx.operation, cx.attempt, self.0.clock.now());
        let step = self.take(RecordedRequest { operation, attempt, at, method, url, headers, body })?;
        if !step.delay.is_zero() {
            self.0.clock.sleep(step.delay).await;
        }
        match step.action {
            Action::Stall => std::future::pending().await,
            Action::Fail(kind, delivery) => Err(TransportError::new(kind, delivery, "as the script says")),
            Action::Reply { status, headers, body, cut } => {
                let body = match cut {
                    None => BodyStream::whole(body),
                    Some(bytes) => BodyStream::new(stream::iter([
                        Ok(body.slice(..bytes.min(body.len()))),
                        Err(TransportError::new(
                            TransportErrorKind::Interrupted,
                            Delivery::Unknown,
                            "the body breaks off, as the script says",
                        )),
                    ])),
                };
                let mut response = http::Response::new(body);
                (*response.status_mut(), *response.headers_mut()) = (status, headers);
                Ok(response)
            }
        }
    }
}

/// The script of one operation, while it is written. Each answer is played once unless [`times`](Self::times) or
/// [`forever`](Self::forever) says otherwise.
///
/// Methods that say something about an answer panic when there is none yet, or when it is none that could have it.
#[derive(Debug)]
pub struct Script {
    transport: ScriptedTransport,
    operation: &'static str,
}

#[expect(clippy::return_self_not_must_use, reason = "each step is in force when its method returns")]
impl Script {
    fn step(self, action: Action) -> Self {
        let step = Step { left: Some(1), delay: Duration::ZERO, action };
        self.transport.0.lock().scripts.entry(self.operation).or_default().push_back(step);
        self
    }

    #[track_caller]
    fn last(self, change: impl FnOnce(&mut Step)) -> Self {
        let mut state = self.transport.0.lock();
        let step = state.scripts.get_mut(self.operation).and_then(VecDeque::back_mut);
        change(step.expect("say first what is replied"));
        drop(state);
        self
    }

    #[track_caller]
    fn last_reply(self, change: impl FnOnce(&mut HeaderMap, &mut Bytes, &mut Option<usize>)) -> Self {
        self.last(|step| match &mut step.action {
            Action::Reply { headers, body, cut, .. } => change(headers, body, cut),
            _ => panic!("what does not reply has no headers and no body"),
        })
    }

    /// Then an empty answer.
    ///
    /// # Panics
    /// When `status` is none of 100 to 999.
    #[track_caller]
    pub fn reply(self, status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status is between 100 and 999");
        self.step(Action::Reply { status, headers: HeaderMap::new(), body: Bytes::new(), cut: None })
    }

    /// Then an answer of JSON.
    ///
    /// # Panics
    /// When `status` is none, or `value` does not serialise.
    #[track_caller]
    pub fn json(self, status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("the answer of a script serialises");
        self.reply(status).body(body).header("content-type", "application/json")
    }

    /// The same as [`reply`](Self::reply), to read well after another.
    #[track_caller]
    pub fn then(self, status: u16) -> Self {
        self.reply(status)
    }

    /// The same as [`json`](Self::json), to read well after another.
    #[track_caller]
    pub fn then_json(self, status: u16, value: &impl Serialize) -> Self {
        self.json(status, value)
    }

    /// Then no answer but a failure of the transport.
    pub fn fail(self, kind: TransportErrorKind, delivery: Delivery) -> Self {
        self.step(Action::Fail(kind, delivery))
    }

    /// Then nothing, ever: the attempt's timeout has to end it.
    pub fn stall(self) -> Self {
        self.step(Action::Stall)
    }

    /// The last answer so many times.
    #[track_caller]
    pub fn times(self, times: u32) -> Self {
        assert!(times > 0, "an answer that is never given: leave it out");
        self.last(|step| step.left = Some(times))
    }

    /// The last answer from then on for every request.
    #[track_caller]
    pub fn forever(self) -> Self {
        self.last(|step| step.left = None)
    }

    /// A header of the last answer.
    #[track_caller]
    pub fn header(self, name: &'static str, value: impl fmt::Display) -> Self {
        let value = HeaderValue::try_from(value.to_string()).expect("the header of a script is valid");
        self.last_reply(|headers, _, _| {
            headers.insert(HeaderName::from_static(name), value);
        })
    }

    /// The body of the last answer.
    #[track_caller]
    pub fn body(self, bytes: impl Into<Bytes>) -> Self {
        self.last_reply(|_, body, _| *body = bytes.into())
    }

    /// The body of the last answer breaks off after so many bytes.
    #[track_caller]
    pub fn cut(self, bytes: usize) -> Self {
        self.last_reply(|_, _, cut| *cut = Some(bytes))
    }

    /// The last answer, or failure, comes so much later.
    #[track_caller]
    pub fn delay(self, delay: Duration) -> Self {
        self.last(|step| step.delay = delay)
    }
}

/// A request as it was sent.
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The operation's name.
    pub operation: &'static str,
    /// 1 for the first attempt of its call.
    pub attempt: u32,
    /// When it was sent.
    pub at: Moment,
    /// The method.
    pub method: Method,
    /// The full URL.
    pub url: Url,
    /// All headers, credential included.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl RecordedRequest {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is something else: this is an assertion.
    #[must_use]
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the request's body is JSON")
    }
}

impl fmt::Debug for RecordedRequest {
    /// Without query, headers and body: a test that fails shall not print a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedRequest")
            .field("operation", &self.operation)
            .field("attempt", &self.attempt)
            .field("at", &self.at)
            .field("method", &self.method)
            .field("path", &self.url.path())
            .finish_non_exhaustive()
    }
}
