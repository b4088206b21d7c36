use super::{CredentialError, CredentialSource, IssueContext, Issued};
use crate::client::Core;
use crate::{Authenticator, Credential, Error, ErrorKind, Result, WireRequest};
use http::{HeaderName, HeaderValue};
use martlet_base::{Deadline, Moment, Recovery, Rng, Signal};
use martlet_resilience::SingleFlight;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a failure is remembered, so that a broken token endpoint is not asked by every call.
const FAILURE_KEPT: Duration = Duration::from_secs(3);

/// The present credential of one connection. Fresh: serve it. Inside the refresh window: serve it and renew in the
/// background. Expired: wait, one renewal for all.
pub(crate) struct CredentialCache {
    source: Arc<dyn CredentialSource>,
    /// A source without I/O needs no cache at all.
    fixed: Option<Arc<Current>>,
    state: Arc<Mutex<State>>,
    renewal: SingleFlight<(), Result<Arc<Current>, CredentialError>>,
}

type Renewal = Pin<Box<dyn Future<Output = Result<Arc<Current>, CredentialError>> + Send>>;

#[derive(Default)]
struct State {
    current: Option<Arc<Current>>,
    /// Counts renewals, failed ones too: a 401 says which credential it was about.
    version: u64,
    refused: bool,
    failed: Option<(Moment, CredentialError)>,
}

pub(crate) struct Current {
    pub(crate) credential: Credential,
    /// Made once, not for each attempt.
    header: Result<Option<(HeaderName, HeaderValue)>>,
    pub(crate) version: u64,
    refresh_at: Moment,
    expires: Moment,
}

impl State {
    fn usable(&self, now: Moment) -> Option<&Arc<Current>> {
        self.current.as_ref().filter(|current| now < current.expires)
    }

    fn failed_lately(&self, now: Moment) -> Option<&CredentialError> {
        self.failed.as_ref().filter(|(until, _)| now < *until).map(|(_, error)| error)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Current {
    fn new(issued: Issued, version: u64, now: Moment, rng: &Rng) -> Self {
        let (refresh_at, expires) = match issued.expires {
            None => (Moment::MAX, Moment::MAX),
            Some(expires) => {
                // Row O2: the last tenth of its life, at least a minute, but never more than half of it.
                let life = expires.since(now);
                let window = (life / 10).max(Duration::from_secs(60)).min(life / 2);
                // Give or take a fifth, so that clients which began together do not all ask at once.
                let window = window.mul_f64(0.8 + 0.4 * rng.next_f64());
                (expires - window, expires)
            }
        };
        let header = issued.credential.header();
        Self { credential: issued.credential, header, version, refresh_at, expires }
    }

    /// Puts the credential onto `request`: as `authenticator` says, or into its usual header.
    pub(crate) fn apply(
        &self,
        authenticator: Option<&dyn Authenticator>,
        request: &mut WireRequest,
    ) -> Result<()> {
        if let Some(authenticator) = authenticator {
            return authenticator.apply(&self.credential, request);
        }
        if let Some((name, value)) = self.header.as_ref().map_err(Error::clone)? {
            request.headers.insert(name.clone(), value.clone());
        }
        Ok(())
    }
}

impl CredentialCache {
    pub(crate) fn new(source: Arc<dyn CredentialSource>) -> Self {
        let fixed = source.fixed().map(|credential| {
            Arc::new(Current::new(Issued::lasting(credential.clone()), 0, Moment::ZERO, &Rng::system()))
        });
        Self { source, fixed, state: Arc::default(), renewal: SingleFlight::new() }
    }

    /// A credential that is good now.
    pub(crate) async fn get(&self, core: &Core, deadline: Deadline) -> Result<Arc<Current>> {
        if let Some(fixed) = &self.fixed {
            return Ok(Arc::clone(fixed));
        }
        let now = core.clock.now();
        let (present, known) = {
            let state = lock(&self.state);
            let failed = state.failed_lately(now);
            let present = match (state.usable(now), failed) {
                (Some(current), _) => {
                    let due = current.refresh_at <= now && failed.is_none();
                    Some((Arc::clone(current), due))
                }
                (None, Some(error)) => return Err(failure(error)),
                (None, None) => None,
            };
            (present, state.version)
        };
        match present {
            Some((current, false)) => Ok(current),
            Some((current, true)) => {
                // Nobody waits for this one: the old credential is still good.
                let (renewal, make) = (self.renewal.clone(), self.renew(core, known));
                tokio::spawn(async move { renewal.run_detached((), make).await });
                Ok(current)
            }
            None => {
                let renewal = self.renewal.run_detached((), self.renew(core, known));
                match core.clock.within(deadline, renewal).await {
                    Some(Ok(Ok(current))) => Ok(current),
                    Some(Ok(Err(error))) => Err(failure(&error)),
                    Some(Err(_)) => Err(Error::new(ErrorKind::Credential, "the credential source panicked")),
                    None => {
                        Err(Error::new(ErrorKind::DeadlineExceeded, "no credential was obtained in time"))
                    }
                }
            }
        }
    }

    /// The platform refused the credential of `version` (401). Whether another one can be had.
    pub(crate) fn refuse(&self, version: Option<u64>) -> bool {
        if !self.source.renewable() {
            return false;
        }
        let mut state = lock(&self.state);
        // A later one is there already: somebody else's 401 was about the same credential.
        if state.current.as_ref().map(|current| current.version) == version {
            state.current = None;
            state.refused = true;
        }
        true
    }

    fn renew(&self, core: &Core, known: u64) -> impl FnOnce() -> Renewal + Send + 'static {
        let (source, state) = (Arc::clone(&self.source), Arc::clone(&self.state));
        let (clock, observers, rng) = (core.clock.clone(), core.observers.clone(), core.rng.clone());
        let platform = Arc::clone(core.platform.descriptor().id());
        let connection = core.connection.clone();
        move || {
            Box::pin(async move {
                let started = clock.now();
                let refused = {
                    let state = lock(&state);
                    // Another renewal ended between the caller's look at the state and the start of this one.
                    if state.version != known {
                        if let Some(current) = state.usable(started) {
                            return Ok(Arc::clone(current));
                        }
                        if let Some(error) = state.failed_lately(started) {
                            return Err(error.clone());
                        }
                    }
                    state.refused
                };
                let cx = IssueContext { connection, clock: clock.clone(), refused };
                let issued = source.issue(&cx).await;
                let now = clock.now();
                let ok = issued.is_ok();
                observers
                    .emit(|| Signal::credential_issued(&platform, &cx.connection, ok, now.since(started)));
                let mut state = lock(&state);
                state.version += 1;
                match issued {
                    Ok(issued) => {
                        let current = Arc::new(Current::new(issued, state.version, now, &rng));
                        (state.refused, state.failed) = (false, None);
                        state.current = Some(Arc::clone(&current));
                        Ok(current)
                    }
                    Err(error) => {
                        state.failed = Some((now + FAILURE_KEPT, error.clone()));
                        Err(error)
                    }
                }
            })
        }
    }
}

fn failure(error: &CredentialError) -> Error {
    // The source's word on whether trying again later may help; the call itself is not retried for it.
    let recovery = match error.recovery() {
        Recovery::Transient | Recovery::Throttled => Recovery::Transient,
        _ => Recovery::Fatal,
    };
    Error::new(ErrorKind::Credential, error.to_string()).with_recovery(recovery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o2_the_refresh_window_is_a_tenth_of_the_life_or_a_minute_and_spread_by_a_fifth() {
        let rng = Rng::seeded(2);
        for (life, window) in [(3_600, 360.0), (300, 60.0), (40, 20.0)] {
            let mut windows: Vec<f64> = (0..1_000)
                .map(|_| {
                    let end = Moment::ZERO + Duration::from_secs(life);
                    let issued = Issued::until(Credential::bearer("t"), end);
                    let current = Current::new(issued, 1, Moment::ZERO, &rng);
                    assert_eq!(current.expires, end);
                    end.since(current.refresh_at).as_secs_f64() / window
                })
                .collect();
            windows.sort_by(f64::total_cmp);
            let (first, last) = (windows[0], windows[999]);
            assert!(
                (0.799..0.81).contains(&first) && (1.19..1.201).contains(&last),
                "{life}: {first} to {last}"
            );
        }
    }
}
