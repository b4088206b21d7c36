use crate::{CallIds, ConnectionId, Delivery, Timestamp};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallOutcome {
    /// The platform did what was asked.
    Ok,
    /// It failed.
    Error,
    /// It failed because the platform or this side asked for fewer calls.
    Throttled,
    /// The caller stopped waiting: the future was dropped.
    Cancelled,
}

impl CallOutcome {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Throttled => "throttled",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// A few probes pass, to see whether the other side is back.
    HalfOpen,
}

impl BreakerState {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A telemetry fact. The vocabulary is closed: every crate of the family says what it has to say in these words.
///
/// Signals borrow from the code that emits them and are built only when somebody listens. They never hold secrets,
/// bodies or personal data. Platform and operation names are bounded and safe as metric labels; request ids are not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Signal<'a> {
    /// A call came to its end: answered, failed or dropped.
    #[non_exhaustive]
    CallFinished {
        /// The platform's id, `hubspot`.
        platform: &'a str,
        /// The operation, `contacts.list`.
        operation: &'a str,
        /// The account.
        connection: &'a ConnectionId,
        /// Which call.
        ids: CallIds,
        /// How it ended.
        outcome: CallOutcome,
        /// The last HTTP status, if one was received.
        status: Option<u16>,
        /// The stable name of the error's kind, when it failed.
        error_kind: Option<&'a str>,
        /// The vendor's own code, when it failed with one.
        code: Option<&'a str>,
        /// The vendor's request id, if it sent one.
        request_id: Option<&'a str>,
        /// When trying again may succeed, if it failed and that is known.
        retry_at: Option<Timestamp>,
        /// Attempts made.
        attempts: u32,
        /// The size of the request's body in bytes.
        bytes_out: u64,
        /// The size of the answer's body in bytes.
        bytes_in: u64,
        /// From the call's start to its end, waits included.
        elapsed: Duration,
        /// Time spent waiting for quota and concurrency.
        quota_wait: Duration,
        /// From the call's start until its first request left, everything that it waited for included: quota, another call's answer, a
        /// credential, users' layers. `None` when none left.
        queued: Option<Duration>,
        /// When the call reads a page of a list: so many pages of it were read, this one included.
        pages: Option<u64>,
    },
    /// One HTTP exchange came to its end.
    #[non_exhaustive]
    AttemptFinished {
        /// The platform's id.
        platform: &'a str,
        /// The operation.
        operation: &'a str,
        /// The account.
        connection: &'a ConnectionId,
        /// Which call.
        ids: CallIds,
        /// 1 for the first.
        attempt: u32,
        /// The HTTP status, if one was received.
        status: Option<u16>,
        /// The stable name of the error's kind, when it failed.
        error_kind: Option<&'a str>,
        /// What is known about its fate, when it failed.
        delivery: Option<Delivery>,
        /// From sending to the end of the body.
        elapsed: Duration,
    },
    /// Another attempt will be made.
    #[non_exhaustive]
    RetryScheduled {
        /// The platform's id.
        platform: &'a str,
        /// The operation.
        operation: &'a str,
        /// The account.
        connection: &'a ConnectionId,
        /// Which call.
        ids: CallIds,
        /// The attempt that failed, 1 for the first.
        attempt: u32,
        /// The pause before the next.
        delay: Duration,
        /// The stable name of the error's kind.
        error_kind: &'a str,
        /// What is known about the failed attempt's fate: [`Delivery::Unknown`] means that it may have been applied and is
        /// repeated because that is safe.
        delivery: Delivery,
    },
    /// A call waited for a place in its quota.
    #[non_exhaustive]
    QuotaWaited {
        /// The platform's id.
        platform: &'a str,
        /// The account.
        connection: &'a ConnectionId,
        /// How long.
        waited: Duration,
    },
    /// The platform ordered a pause (429 with `Retry-After`, a spent bucket).
    #[non_exhaustive]
    QuotaBlocked {
        /// The platform's id.
        platform: &'a str,
        /// The account.
        connection: &'a ConnectionId,
        /// Until when.
        until: Timestamp,
    },
    /// An answer told what is left of a quota window, and the client has no limit for such a window: what is told limits nothing.
    /// Once for each window of an account.
    #[non_exhaustive]
    QuotaUnmatched {
        /// The platform's id.
        platform: &'a str,
        /// The account.
        connection: &'a ConnectionId,
        /// The bucket that it was told of.
        bucket: &'a str,
        /// The window, by the platform's or the dialect's name; `""` when it has none.
        window: &'a str,
    },
    /// A circuit breaker changed its state.
    #[non_exhaustive]
    BreakerChanged {
        /// Which breaker.
        name: &'a str,
        /// Before.
        from: BreakerState,
        /// After.
        to: BreakerState,
    },
    /// A call looked into the cache.
    #[non_exhaustive]
    CacheLookup {
        /// The platform's id.
        platform: &'a str,
        /// The operation.
        operation: &'a str,
        /// Whether the answer was there and fresh.
        hit: bool,
    },
    /// A new credential was obtained, or could not be.
    #[non_exhaustive]
    CredentialIssued {
        /// The platform's id.
        platform: &'a str,
        /// The account.
        connection: &'a ConnectionId,
        /// Whether there is a new one.
        ok: bool,
        /// How long it took.
        elapsed: Duration,
    },
    /// A stage of a pipeline moved records on.
    #[non_exhaustive]
    RecordsMoved {
        /// The stream, `contacts`.
        stream: &'a str,
        /// The stage: `extracted`, `transformed`, `rejected`, `committed`, `unchanged` or `deleted`.
        stage: &'static str,
        /// How many.
        records: u64,
    },
    /// A stage of a pipeline's run came to its end.
    #[non_exhaustive]
    StageFinished {
        /// The pipeline's name.
        pipeline: &'a str,
        /// The stream, `hubspot.contacts`.
        stream: &'a str,
        /// The destination, `mailchimp.members`.
        destination: &'a str,
        /// The transform, with its version: `hubspot-contact-to-member@1`.
        transform: &'a str,
        /// The stage: `prepare`, `extract`, `write`, `reconcile` or `run`.
        stage: &'static str,
        /// How it ended.
        outcome: CallOutcome,
        /// The stable name of the error's kind, when it failed.
        error_kind: Option<&'a str>,
        /// Records that went in.
        records_in: u64,
        /// Records that came out.
        records_out: u64,
        /// Records that were refused.
        records_rejected: u64,
        /// Pages read from the source (batches), in the stages that read it.
        pages: Option<u64>,
        /// From its start to its end.
        elapsed: Duration,
    },
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $variant:ident { $($field:ident : $ty:ty),+ $(,)? })+) => {
        impl<'a> Signal<'a> {
            $(
                $(#[$doc])*
                #[must_use]
                #[expect(clippy::too_many_arguments, reason = "a fact has as many parts as it has")]
                #[allow(unfulfilled_lint_expectations, reason = "the small ones do not need it")]
                pub const fn $name($($field: $ty),+) -> Self {
                    Self::$variant { $($field),+ }
                }
            )+
        }
    };
}

constructors! {
    /// Builds [`Signal::CallFinished`].
    call_finished => CallFinished { platform: &'a str, operation: &'a str, connection: &'a ConnectionId, ids: CallIds, outcome: CallOutcome, status: Option<u16>, error_kind: Option<&'a str>, code: Option<&'a str>, request_id: Option<&'a str>, retry_at: Option<Timestamp>, attempts: u32, bytes_out: u64, bytes_in: u64, elapsed: Duration, quota_wait: Duration, queued: Option<Duration>, pages: Option<u64> }
    /// Builds [`Signal::AttemptFinished`].
    attempt_finished => AttemptFinished { platform: &'a str, operation: &'a str, connection: &'a ConnectionId, ids: CallIds, attempt: u32, status: Option<u16>, error_kind: Option<&'a str>, delivery: Option<Delivery>, elapsed: Duration }
    /// Builds [`Signal::RetryScheduled`].
    retry_scheduled => RetryScheduled { platform: &'a str, operation: &'a str, connection: &'a ConnectionId, ids: CallIds, attempt: u32, delay: Duration, error_kind: &'a str, delivery: Delivery }
    /// Builds [`Signal::QuotaWaited`].
    quota_waited => QuotaWaited { platform: &'a str, connection: &'a ConnectionId, waited: Duration }
    /// Builds [`Signal::QuotaBlocked`].
    quota_blocked => QuotaBlocked { platform: &'a str, connection: &'a ConnectionId, until: Timestamp }
    /// Builds [`Signal::QuotaUnmatched`].
    quota_unmatched => QuotaUnmatched { platform: &'a str, connection: &'a ConnectionId, bucket: &'a str, window: &'a str }
    /// Builds [`Signal::BreakerChanged`].
    breaker_changed => BreakerChanged { name: &'a str, from: BreakerState, to: BreakerState }
    /// Builds [`Signal::CacheLookup`].
    cache_lookup => CacheLookup { platform: &'a str, operation: &'a str, hit: bool }
    /// Builds [`Signal::CredentialIssued`].
    credential_issued => CredentialIssued { platform: &'a str, connection: &'a ConnectionId, ok: bool, elapsed: Duration }
    /// Builds [`Signal::RecordsMoved`].
    records_moved => RecordsMoved { stream: &'a str, stage: &'static str, records: u64 }
    /// Builds [`Signal::StageFinished`].
    stage_finished => StageFinished { pipeline: &'a str, stream: &'a str, destination: &'a str, transform: &'a str, stage: &'static str, outcome: CallOutcome, error_kind: Option<&'a str>, records_in: u64, records_out: u64, records_rejected: u64, pages: Option<u64>, elapsed: Duration }
}

/// Receives signals. Called inline on the hot path: be quick, never block, never panic.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Takes one signal.
    fn observe(&self, signal: &Signal<'_>);
}

/// The observers of a client, none by default. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observers(Option<Arc<[Arc<dyn Observer>]>>);

impl Observers {
    /// Nobody listens.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// These plus `observer`.
    #[must_use]
    pub fn with(&self, observer: Arc<dyn Observer>) -> Self {
        let present = self.0.iter().flat_map(|all| all.iter().cloned());
        Self(Some(present.chain([observer]).collect()))
    }

    /// Whether nobody listens.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Builds the signal and hands it to every observer; builds nothing when nobody listens.
    pub fn emit<'a>(&self, signal: impl FnOnce() -> Signal<'a>) {
        if let Some(all) = &self.0 {
            let signal = signal();
            all.iter().for_each(|observer| observer.observe(&signal));
        }
    }
}

/// Forwards signals to [`tracing`] as events of target `martlet`, one event per signal.
///
/// Failures and breaker changes are warnings, retries and pauses are `info`, the rest is `debug`.
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver;

#[cfg(feature = "tracing")]
impl Observer for TracingObserver {
    fn observe(&self, signal: &Signal<'_>) {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let call_id = |ids: &CallIds| ids.id.map(tracing::field::display);
        let trace_id =
            |ids: &CallIds| ids.trace.map(|t| tracing::field::display(format!("{:032x}", t.trace_id())));
        match signal {
            Signal::CallFinished {
                platform,
                operation,
                connection,
                ids,
                outcome,
                status,
                error_kind,
                code,
                request_id,
                retry_at,
                attempts,
                bytes_out,
                bytes_in,
                elapsed,
                quota_wait,
                queued,
                pages,
            } => {
                let retry_at = retry_at.map(|at| at.to_string());
                let retry_at = retry_at.as_deref();
                macro_rules! event {
                    ($level:ident) => {
                        tracing::$level!(
                            target: "martlet", platform, operation, connection = connection.as_str(),
                            call_id = call_id(ids), trace_id = trace_id(ids),
                            outcome = outcome.as_str(), status, error_kind, code, request_id, retry_at, attempts,
                            bytes_out, bytes_in,
                            elapsed_ms = ms(*elapsed), quota_wait_ms = ms(*quota_wait), queued_ms = queued.map(ms), pages,
                            "call finished"
                        )
                    };
                }
                if matches!(outcome, CallOutcome::Ok) { event!(debug) } else { event!(warn) }
            }
            Signal::AttemptFinished {
                platform,
                operation,
                connection,
                ids,
                attempt,
                status,
                error_kind,
                delivery,
                elapsed,
            } => {
                tracing::debug!(
                    target: "martlet", platform, operation, connection = connection.as_str(),
                    call_id = call_id(ids), trace_id = trace_id(ids), attempt, status,
                    error_kind, delivery = delivery.map(Delivery::as_str), elapsed_ms = ms(*elapsed), "attempt finished"
                );
            }
            Signal::RetryScheduled {
                platform,
                operation,
                connection,
                ids,
                attempt,
                delay,
                error_kind,
                delivery,
            } => {
                tracing::info!(
                    target: "martlet", platform, operation, connection = connection.as_str(),
                    call_id = call_id(ids), trace_id = trace_id(ids), attempt,
                    delay_ms = ms(*delay), error_kind, delivery = delivery.as_str(), "retry scheduled"
                )
            }
            Signal::QuotaWaited { platform, connection, waited } => tracing::debug!(
                target: "martlet", platform, connection = connection.as_str(), waited_ms = ms(*waited), "waited for quota"
            ),
            Signal::QuotaBlocked { platform, connection, until } => tracing::info!(
                target: "martlet", platform, connection = connection.as_str(), until = %until, "platform ordered a pause"
            ),
            Signal::QuotaUnmatched { platform, connection, bucket, window } => tracing::info!(
                target: "martlet", platform, connection = connection.as_str(), bucket, window,
                "told of a quota window that no limit counts"
            ),
            Signal::BreakerChanged { name, from, to } => tracing::warn!(
                target: "martlet", breaker = name, from = from.as_str(), to = to.as_str(), "breaker changed"
            ),
            Signal::CacheLookup { platform, operation, hit } => {
                tracing::debug!(target: "martlet", platform, operation, hit, "cache lookup");
            }
            Signal::CredentialIssued { platform, connection, ok, elapsed } => tracing::info!(
                target: "martlet", platform, connection = connection.as_str(), ok, elapsed_ms = ms(*elapsed),
                "credential issued"
            ),
            Signal::RecordsMoved { stream, stage, records } => {
                tracing::debug!(target: "martlet", stream, stage, records, "records moved");
            }
            Signal::StageFinished {
                pipeline,
                stream,
                destination,
                transform,
                stage,
                outcome,
                error_kind,
                records_in,
                records_out,
                records_rejected,
                pages,
                elapsed,
            } => tracing::info!(
                target: "martlet", pipeline, stream, destination, transform, stage, outcome = outcome.as_str(), error_kind,
                records_in, records_out, records_rejected, pages, elapsed_ms = ms(*elapsed), "stage finished"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<String>>);
    impl Observer for Recorder {
        fn observe(&self, signal: &Signal<'_>) {
            self.0.lock().unwrap().push(format!("{signal:?}"));
        }
    }

    #[test]
    fn nothing_is_built_when_nobody_listens() {
        Observers::none().emit(|| unreachable!("built a signal for nobody"));
    }

    #[test]
    fn every_observer_gets_every_signal() {
        let (a, b) = (Arc::new(Recorder::default()), Arc::new(Recorder::default()));
        let observers = Observers::none().with(a.clone()).with(b.clone());
        observers.emit(|| Signal::cache_lookup("hubspot", "contacts.get", true));
        for r in [a, b] {
            assert_eq!(r.0.lock().unwrap().len(), 1);
        }
    }
}
