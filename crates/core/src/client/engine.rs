//! A request's life. The built-in layers are fused into two functions, [`Core::call`] and [`Core::attempt`], that call
//! the slots in their fixed order; only users' layers are `dyn`. See `docs/adr/0002-built-in-layers-are-fused.md`.

use super::SharedState;
use super::cache::CacheSlot;
use super::idempotency::{self, DurableKeys};
use super::limits::LimitsSlot;
use super::quota_journal::QuotaJournal;
use super::trace::CallTrace;
use crate::credential::CredentialCache;
use crate::layer::{Layer, Next, Phase};
use crate::request::with_room;
use crate::{
    Authenticator, Call, CallContext, Error, ErrorKind, Idempotency, Operation, Platform, Request, Response,
    Result, SendContext, Transport, TransportError, TransportErrorKind, VendorFault, Verdict, WireRequest,
};
use bytes::{Bytes, BytesMut};
use futures_core::Stream as _;
use http::{HeaderMap, header};
use martlet_base::{
    BreakerState, CallIds, Clock, ConnectionId, Deadline, Delivery, Moment, Observers, Recovery, Rng, Signal,
    TraceContext, UuidV7,
};
use martlet_resilience::{
    Breaker, BreakerOpen, Decision, Failure, FailureClass, Hedge, Repeat, Report, Retry, RetryBudget,
    RetryPolicy, StopReason, hint::parse_retry_after,
};
use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The trace that a call belongs to which begins now.
pub(super) type TraceContextFn = Arc<dyn Fn() -> Option<TraceContext> + Send + Sync>;

/// Everything a client is made of.
pub(crate) struct Core {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) connection: ConnectionId,
    pub(super) base_url: Url,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) observers: Observers,
    pub(super) headers: HeaderMap,
    pub(super) call_layers: Vec<Arc<dyn Layer>>,
    pub(super) attempt_layers: Vec<Arc<dyn Layer>>,
    pub(super) cache: CacheSlot,
    pub(super) retry: RetryPolicy,
    pub(super) hedge: Option<Hedge>,
    pub(super) durable_keys: Option<DurableKeys>,
    pub(super) total_timeout: Duration,
    pub(super) attempt_timeout: Duration,
    pub(super) headers_timeout: Option<Duration>,
    pub(super) body_idle_timeout: Option<Duration>,
    pub(super) max_body: usize,
    /// Draws the ids of calls.
    pub(super) ids: Rng,
    pub(super) trace_context: Option<TraceContextFn>,
    pub(super) shared: SharedState,
}

/// What two clients of one account share.
pub(crate) struct Shared {
    pub(super) journal: Option<QuotaJournal>,
    pub(crate) limits: LimitsSlot,
    pub(crate) breaker: Breaker,
    pub(crate) budget: RetryBudget,
    pub(crate) credentials: CredentialCache,
}

impl Core {
    pub(super) fn layers(&self) -> Vec<&'static str> {
        let names = |layers: &[Arc<dyn Layer>]| layers.iter().map(|layer| layer.name()).collect::<Vec<_>>();
        let mut all = vec!["trace_call", "deadline"];
        all.extend(names(&self.call_layers));
        all.extend(["cache", "idempotency", "retry", "limits"]);
        all.extend(names(&self.attempt_layers));
        all.extend(["auth", "breaker", "classify", "trace_attempt", "attempt_timeout", "transport"]);
        all
    }

    /// The call, once: trace, deadline, users' per-call layers, then the rest.
    pub(crate) async fn call(self: &Arc<Self>, call: Call) -> Result<Response> {
        let (context, request) = self.begin(call);
        let mut trace = CallTrace::start(self, &context);
        let result = match request {
            Err(error) => Err(error),
            Ok(request) if self.call_layers.is_empty() => self.call_rest(request).await,
            Ok(request) => {
                // The built-in slots watch the deadline by themselves; a user's layer need not.
                let next = Next { rest: &self.call_layers, core: self, phase: Phase::Call };
                match self.clock.within(context.deadline, next.start(request)).await {
                    Some(result) => result,
                    None => Err(Error::new(ErrorKind::DeadlineExceeded, "a user's layer took too long")
                        .with_delivery(if context.effort.attempts() > 0 {
                            Delivery::Unknown
                        } else {
                            Delivery::NotSent
                        })),
                }
            }
        };
        trace.finish(result)
    }

    /// What is known about a call from its beginning, and its request or what is wrong with it. A function of its own, so that
    /// the future holds no parts of the call.
    fn begin(&self, mut call: Call) -> (Arc<CallContext>, Result<Request>) {
        let started = self.clock.now();
        let total = call.timeout.unwrap_or(self.total_timeout);
        let url = call.url(&self.base_url, &*self.platform);
        let mut headers = with_room(&self.headers);
        call.put_headers(&mut headers);
        let ids = if self.observers.is_empty() { CallIds::default() } else { self.ids(&headers) };
        let context = Arc::new(CallContext {
            platform: Arc::clone(self.platform.descriptor().id()),
            connection: self.connection.clone(),
            operation: call.operation,
            deadline: call.deadline.earlier(Deadline::after(started, total)),
            started,
            key: call.key,
            fresh: call.fresh,
            priority: call.priority,
            fingerprint: call.fingerprint,
            reexecute: call.reexecute,
            pages: call.pages,
            ids,
            effort: crate::request::Effort::default(),
        });
        let request = url.map(|url| Request::new(url, headers, call.body, Arc::clone(&context)));
        (context, request)
    }

    /// What observers are told to tell the call from others.
    fn ids(&self, headers: &HeaderMap) -> CallIds {
        let mut ids = CallIds::default();
        ids.id = Some(UuidV7::new(self.clock.wall(), &self.ids));
        let given = headers.get("traceparent").and_then(|value| value.to_str().ok());
        ids.trace = match given {
            Some(value) => TraceContext::from_traceparent(value),
            None => self.trace_context.as_ref().and_then(|current| current()),
        };
        ids
    }

    /// The call after users' per-call layers: cache, idempotency, retry.
    pub(crate) async fn call_rest(self: &Arc<Self>, request: Request) -> Result<Response> {
        self.cache.serve(self, request).await
    }

    /// The call after the cache: one key for all attempts, then these.
    pub(super) async fn uncached(self: &Arc<Self>, mut request: Request) -> Result<Response> {
        let key = idempotency::apply(&mut request, &self.rng, self.durable_keys.is_some())?;
        if let Some(key) = key.as_ref().filter(|_| !self.observers.is_empty()) {
            request.context().effort.set_key_hash(key.short_hash());
        }
        match (&self.durable_keys, key) {
            (Some(keys), Some(key)) => self.durably(keys, request, &key).await,
            _ => self.attempts(request).await,
        }
    }

    /// Attempts until one of them is final.
    pub(crate) async fn attempts(self: &Arc<Self>, request: Request) -> Result<Response> {
        let context = Arc::clone(request.context());
        let operation = &context.operation;
        let mut retry =
            Retry::new(&self.retry, repeat(operation), context.deadline).with_budget(&self.shared.0.budget);
        let mut may_have_been_applied = false;
        loop {
            let attempt = context.effort.attempts() + 1;
            retry.begin_attempt();
            let mut stale = Stale { core: self, context: &context };
            let result = match &self.hedge {
                Some(hedge) if may_hedge(operation) => {
                    Box::pin(self.hedged(hedge, &request, attempt, &mut may_have_been_applied)).await
                }
                _ => self.attempt(Cow::Borrowed(&request), attempt).await,
            };
            let error = match result {
                Ok(response) => {
                    retry.succeeded();
                    return Ok(response);
                }
                Err(error) => error,
            };
            // An earlier attempt of unknown fate is not undone by a later one that was not sent.
            may_have_been_applied |= error.delivery() == Delivery::Unknown;
            if error.delivery() != Delivery::Unknown && error.kind() != ErrorKind::Decode {
                stale.nothing_changed();
            }
            drop(stale);
            if error.kind() == ErrorKind::Credential {
                // A source retries by itself; retries around retries would multiply what a token endpoint in trouble gets.
                return Err(settle(error, None, may_have_been_applied));
            }
            let now = self.clock.now();
            let mut failure = Failure::new(error.delivery(), error.recovery());
            if let Some(at) = error.not_before() {
                failure = failure.not_before(at);
            }
            match retry.after_failure(failure, now, &self.rng) {
                Decision::RetryAt(at) => {
                    self.observers.emit(|| {
                        Signal::retry_scheduled(
                            &context.platform,
                            operation.name(),
                            &context.connection,
                            context.ids(),
                            attempt,
                            at.since(now),
                            error.kind().as_str(),
                            error.delivery(),
                        )
                    });
                    self.clock.sleep_until(at).await;
                }
                Decision::Reauthenticate if self.shared.0.credentials.refuse(error.credential_version()) => {}
                Decision::Reauthenticate => return Err(settle(error, None, may_have_been_applied)),
                Decision::Stop(reason) => {
                    return Err(settle(error, Some((reason, &self.clock)), may_have_been_applied));
                }
            }
        }
    }

    /// One attempt and, when it takes too long, a copy beside it.
    async fn hedged(
        self: &Arc<Self>,
        hedge: &Hedge,
        request: &Request,
        attempt: u32,
        copy_may_have_been_applied: &mut bool,
    ) -> Result<Response> {
        let one = |number| {
            let request = match number {
                1 => Cow::Borrowed(request),
                _ => Cow::Owned(request.beside()),
            };
            self.attempt(request, attempt.saturating_add(number - 1))
        };
        hedge.run(Some(&self.shared.0.budget), &self.clock, one).await.map_err(|failed| {
            *copy_may_have_been_applied |=
                failed.copy.is_some_and(|error: Error| error.delivery() == Delivery::Unknown);
            failed.primary
        })
    }

    /// One attempt: limits, users' per-attempt layers, then the rest.
    async fn attempt(self: &Arc<Self>, request: Cow<'_, Request>, attempt: u32) -> Result<Response> {
        let context = Arc::clone(request.context());
        let shared = &*self.shared.0;
        context.effort.set_sent(false);
        // An open circuit is refused before it takes or waits for anything.
        shared.breaker.peek(self.clock.now()).map_err(|open| self.circuit_open(&open))?;
        if let Some(journal) = &shared.journal {
            journal.open(self).await?;
        }
        let permits = shared.limits.acquire(self, &context).await?;
        if let Some(journal) = &shared.journal {
            journal.note(self).await?;
        }
        let result = if self.attempt_layers.is_empty() {
            self.attempt_rest(request, attempt).await
        } else {
            let next = Next { rest: &self.attempt_layers, core: self, phase: Phase::Attempt };
            match self.clock.within(context.deadline, next.start(request.for_attempt(attempt))).await {
                Some(result) => result,
                None => Err(Error::new(ErrorKind::DeadlineExceeded, "a user's layer took too long")),
            }
        };
        match result {
            Err(error) if !context.effort.sent() => Err(error),
            // A user's layer that gave up on the exchange cannot know that nothing was sent.
            Err(error) if error.delivery() == Delivery::NotSent => {
                Err(error.with_delivery(Delivery::Unknown))
            }
            Err(error) if error.delivery() == Delivery::Unknown && error.status().is_none() => Err(error),
            answered => {
                permits.answered();
                answered
            }
        }
    }

    /// The attempt after users' per-attempt layers: auth, breaker, exchange, classify.
    pub(crate) async fn attempt_rest(
        self: &Arc<Self>,
        request: Cow<'_, Request>,
        attempt: u32,
    ) -> Result<Response> {
        let context = Arc::clone(request.context());
        let shared = &*self.shared.0;

        let credential = shared.credentials.get(self, context.deadline).await?;
        if !same_origin(request.url(), &self.base_url) {
            let message = "the URL is on another origin than the platform's; no credential is sent there";
            return Err(Error::new(ErrorKind::InvalidRequest, message));
        }
        let mut wire = Request::into_wire(request);
        credential.apply(self.authenticator.as_deref(), &mut wire)?;

        let sent = self.clock.now();
        let left = context.deadline.remaining(sent).unwrap_or(Duration::MAX);
        if left.is_zero() || left < self.retry.min_useful() {
            return Err(Error::new(ErrorKind::DeadlineExceeded, "no time was left to send it"));
        }
        let permit = shared.breaker.try_acquire(sent).map_err(|open| self.circuit_open(&open))?;
        if let Some((from, to)) = permit.transition() {
            self.breaker_changed(from, to);
        }
        let timeout = self.attempt_timeout.min(left);
        context.effort.begin_exchange(sent.since(context.started));
        let result = self.exchange(wire, &context, attempt, timeout).await;
        if result.as_ref().is_err_and(|error| error.delivery() == Delivery::NotSent) {
            context.effort.set_sent(false);
        }
        let now = self.clock.now();
        let result = match result {
            Ok(mut response) => {
                response.set_credential(Arc::clone(&credential));
                self.classify(response, now)
            }
            Err(error) => Err(error),
        };
        let cut_short = timeout < self.attempt_timeout;
        if let Some((from, to)) = permit.record(self.health(&result, cut_short, now), now) {
            self.breaker_changed(from, to);
        }
        self.observers.emit(|| {
            let (status, error) = match &result {
                Ok(response) => (Some(response.status().as_u16()), None),
                Err(error) => (error.status(), Some(error)),
            };
            Signal::attempt_finished(
                &context.platform,
                context.operation.name(),
                &context.connection,
                context.ids(),
                attempt,
                status,
                error.map(|error| error.kind().as_str()),
                error.map(Error::delivery),
                now.since(sent),
            )
        });
        result.map_err(|error| error.with_credential_version(credential.version))
    }

    /// Sends and reads the answer to its end, in the attempt's time.
    async fn exchange(
        &self,
        wire: WireRequest,
        context: &Arc<CallContext>,
        attempt: u32,
        timeout: Duration,
    ) -> Result<Response> {
        let cx = SendContext {
            platform: Arc::clone(&context.platform),
            operation: context.operation.name(),
            attempt,
            timeout,
        };
        let limit = Deadline::after(self.clock.now(), timeout);
        context.effort.add_bytes_out(wire.body.len());
        let send = self.transport.send(wire, &cx);
        let exchange = pin!(async {
            let head_by =
                self.headers_timeout.map_or(Deadline::NONE, |t| Deadline::after(self.clock.now(), t));
            let answer = self.clock.within(head_by, send).await;
            let (head, body) = answer.ok_or(ExchangeError::NoHead)??.into_parts();
            Ok((head, self.read(body).await?))
        });
        match self.clock.within(limit, exchange).await {
            Some(Ok((head, body))) => {
                context.effort.add_bytes_in(body.len());
                let mut response = Response::new(head.status, head.headers, body, Arc::clone(context));
                let id = self.platform.request_id(&response).map(str::to_owned);
                response.meta_mut().request_id = id;
                Ok(response)
            }
            Some(Err(ExchangeError::Transport(error))) => Err(transport_error(error)),
            Some(Err(ExchangeError::TooLarge)) => {
                let message = format!("the answer is larger than {} bytes", self.max_body);
                Err(Error::new(ErrorKind::Decode, message))
            }
            Some(Err(ExchangeError::NoHead)) => {
                let limit = self.headers_timeout.unwrap_or_default();
                Err(Error::new(ErrorKind::Timeout, format!("no head of an answer within {limit:?}")))
            }
            Some(Err(ExchangeError::IdleBody)) => {
                let limit = self.body_idle_timeout.unwrap_or_default();
                Err(Error::new(ErrorKind::Timeout, format!("the answer's body stood still for {limit:?}")))
            }
            None => Err(Error::new(ErrorKind::Timeout, format!("no complete answer within {timeout:?}"))),
        }
    }

    /// Reads a body to its end. A whole one is not copied.
    async fn read(&self, mut body: crate::BodyStream) -> Result<Bytes, ExchangeError> {
        let max = self.max_body;
        let mut next = async || {
            let idle =
                self.body_idle_timeout.map_or(Deadline::NONE, |t| Deadline::after(self.clock.now(), t));
            let chunk = self.clock.within(idle, poll_fn(|cx| Pin::new(&mut body).poll_next(cx))).await;
            Ok::<_, ExchangeError>(chunk.ok_or(ExchangeError::IdleBody)?.transpose()?)
        };
        let Some(first) = next().await? else { return Ok(Bytes::new()) };
        if first.len() > max {
            return Err(ExchangeError::TooLarge);
        }
        let Some(second) = next().await? else { return Ok(first) };
        let mut all = BytesMut::from(first);
        let mut chunk = Some(second);
        while let Some(bytes) = chunk {
            if all.len() + bytes.len() > max {
                return Err(ExchangeError::TooLarge);
            }
            all.extend_from_slice(&bytes);
            chunk = next().await?;
        }
        Ok(all.freeze())
    }

    /// What the platform says the answer means; its limits learn from it, whatever it is.
    fn classify(&self, mut response: Response, now: Moment) -> Result<Response> {
        let context = Arc::clone(response.context());
        let operation = &context.operation;
        let mut updates = self.platform.descriptor().read_quota(operation, &response, &self.clock);
        updates.extend(self.platform.quota(operation, &response));
        let verdict = self.platform.classify(operation, &response);
        let (error, pause) = match verdict {
            Verdict::Success => (None, None),
            Verdict::Fault(fault) => {
                let hint = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
                let hint = hint.and_then(|v| parse_retry_after(v, self.clock.wall()));
                // Retry-After wins over what the platform derives from other headers.
                let pause = hint.or(fault.retry_after);
                (Some(self.vendor_error(&response, fault, pause, now)), pause)
            }
        };
        let throttled = error.as_ref().is_some_and(|e| e.kind() == ErrorKind::RateLimited);
        self.shared.0.limits.learn(self, operation, &updates, pause.filter(|_| throttled), now);
        response.meta_mut().quota = updates;
        match error {
            None => Ok(response),
            Some(error) => Err(error),
        }
    }

    fn vendor_error(
        &self,
        response: &Response,
        fault: VendorFault,
        pause: Option<Duration>,
        now: Moment,
    ) -> Error {
        let mut error = response.error(fault.kind, &fault.message);
        if let Some(code) = fault.code {
            error = error.with_code(response.without_secret(&code));
        }
        if let Some(delivery) = fault.delivery {
            error = error.with_delivery(delivery);
        }
        if let Some(recovery) = fault.recovery {
            error = error.with_recovery(recovery);
        }
        if matches!(response.context().operation.get_idempotency(), Idempotency::Keyed(_)) {
            error = keyed(error, response, fault.recovery.is_some());
        }
        if let Some(pause) = pause {
            error = error.with_not_before(now + pause).with_retry_at(self.clock.wall() + pause);
        }
        if let Some(at) = fault.retry_at {
            error = error.with_not_before(self.clock.moment_at(at)).with_retry_at(at);
        }
        error
    }

    fn circuit_open(&self, open: &BreakerOpen) -> Error {
        Error::new(ErrorKind::CircuitOpen, format!("the platform has been failing (breaker {})", open.name))
            .with_not_before(open.retry_at)
            .with_retry_at(self.clock.wall_at(open.retry_at))
    }

    /// What the attempt says about the platform's health.
    fn health(&self, result: &Result<Response>, cut_short: bool, now: Moment) -> Report {
        let Err(error) = result else { return martlet_resilience::Verdict::Success.into() };
        let class = match error.kind() {
            ErrorKind::Connect => FailureClass::Connect,
            // Our own impatience is no sign of it.
            ErrorKind::Timeout if !cut_short => FailureClass::Timeout,
            ErrorKind::Interrupted => FailureClass::Interrupted,
            // A server error that says "will never work" (501) tells nothing about health.
            ErrorKind::Server if error.recovery() != Recovery::Fatal => FailureClass::Server,
            _ => return martlet_resilience::Verdict::Neutral.into(),
        };
        Report::failure(class).retry_after(error.not_before().map(|at| at.since(now)))
    }

    fn breaker_changed(&self, from: BreakerState, to: BreakerState) {
        let name = self.platform.descriptor().id();
        self.observers.emit(|| Signal::breaker_changed(name, from, to));
    }
}

/// Makes the operation's cache tag stale when an attempt ends that has or may have been applied, a dropped one included.
struct Stale<'a> {
    core: &'a Core,
    context: &'a CallContext,
}

impl Stale<'_> {
    fn nothing_changed(&mut self) {
        self.context.effort.set_sent(false);
    }
}

impl Drop for Stale<'_> {
    fn drop(&mut self) {
        if let Some(tag) = self.context.operation.get_invalidates()
            && self.context.effort.sent()
        {
            self.core.cache.invalidate(tag);
        }
    }
}

/// Whether the URLs have one [origin](Url::origin), found without making copies of their hosts. Both are `http` or `https`, or
/// else they have none.
fn same_origin(a: &Url, b: &Url) -> bool {
    let port = Url::port_or_known_default;
    a.has_host() && a.scheme() == b.scheme() && a.host() == b.host() && port(a) == port(b)
}

/// Reads, and writes that the platform recognises by a key: a copy has no second effect.
const fn may_hedge(operation: &Operation) -> bool {
    matches!(operation.get_idempotency(), Idempotency::Safe | Idempotency::Keyed(_))
}

const fn repeat(operation: &Operation) -> Repeat {
    match operation.get_idempotency() {
        Idempotency::Safe | Idempotency::Idempotent | Idempotency::Keyed(_) => Repeat::Safe,
        Idempotency::Unspecified | Idempotency::Unsafe => Repeat::Unsafe,
    }
}

/// What a failure of a call with an idempotency key means beyond its status.
fn keyed(error: Error, response: &Response, recovery_is_known: bool) -> Error {
    let replayed = response.header("idempotent-replayed").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    match error.kind() {
        // The platform keeps it and will say it again to this key, a server error too.
        _ if replayed => {
            let error = error.with_recovery(Recovery::Fatal);
            if error.code().is_none() { error.with_code("replayed_failure") } else { error }
        }
        // The first request with the key is still being worked on.
        ErrorKind::Conflict if response.status() == 409 && !recovery_is_known => {
            error.with_recovery(Recovery::Transient).with_delivery(Delivery::Rejected)
        }
        _ => error,
    }
}

/// The last error of a call, as the caller gets it.
fn settle(error: Error, stopped: Option<(StopReason, &Clock)>, may_have_been_applied: bool) -> Error {
    let mut error = error;
    match stopped {
        Some((
            StopReason::RetriesExhausted | StopReason::BudgetExhausted | StopReason::DeadlineTooClose,
            _,
        )) => {
            error = error.with_exhausted();
            if matches!(stopped, Some((StopReason::BudgetExhausted, _))) {
                error = error.with_budget_exhausted();
            }
        }
        Some((StopReason::RetryLater { at }, clock)) if error.retry_at().is_none() => {
            error = error.with_retry_at(clock.wall_at(at));
        }
        _ => {}
    }
    if may_have_been_applied && !error.delivery().may_have_been_applied() {
        error = error.with_delivery(Delivery::Unknown);
    }
    error
}

enum ExchangeError {
    Transport(TransportError),
    TooLarge,
    /// The head did not come in time.
    NoHead,
    /// The body stood still.
    IdleBody,
}

impl From<TransportError> for ExchangeError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

fn transport_error(error: TransportError) -> Error {
    let kind = match error.kind() {
        TransportErrorKind::Connect => ErrorKind::Connect,
        TransportErrorKind::Timeout => ErrorKind::Timeout,
        TransportErrorKind::Interrupted | TransportErrorKind::Protocol => ErrorKind::Interrupted,
        TransportErrorKind::InvalidRequest => ErrorKind::InvalidRequest,
    };
    let delivery = error.delivery();
    let (message, source) = error.into_parts();
    let error = Error::new(kind, message).with_delivery(delivery);
    match source {
        Some(source) => error.with_boxed_source(source),
        None => error,
    }
}
