use crate::endpoint::{EndpointFailure, Exchange, Granted};
use crate::tokens::same;
use crate::{OAuth2Config, TokenStore, Tokens};
use async_trait::async_trait;
use martlet_base::{Clock, Deadline, Fault as _, Moment, Recovery, Rng};
use martlet_core::{Credential, CredentialError, CredentialSource, IssueContext, Issued, Secret, Transport};
use martlet_resilience::{Decision, Failure, Repeat, Retry};
use martlet_store::{StoreError, Version};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The grants of OAuth2 as credential sources.
#[derive(Debug)]
pub enum OAuth2 {}

impl OAuth2 {
    /// The refresh-token grant ([RFC 6749, 6](https://www.rfc-editor.org/rfc/rfc6749#section-6)) over `transport`, with the
    /// account's tokens in `tokens`.
    #[must_use]
    pub fn refresh(
        config: OAuth2Config,
        transport: Arc<dyn Transport>,
        tokens: TokenStore,
    ) -> RefreshTokenSource {
        RefreshTokenSource { config, transport, tokens, rng: Rng::system(), state: Mutex::default() }
    }
}

/// The lease outlives one attempt by this much: time for the store to answer.
const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// How often to look whether another process is done refreshing.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A refusal for good is remembered for so long: the endpoint is not asked by every call, and yet an account that is
/// repaired at the platform recovers by itself.
const QUARANTINE: Duration = Duration::from_secs(60);

/// Access tokens by the refresh-token grant. Made by [`OAuth2::refresh`]; give it to a client's builder.
///
/// Each time the client asks (before a token ends, or when it was refused), it
/// 1. takes what the store has, when another process put newer tokens there;
/// 2. takes a lease in the store, so that one process refreshes, and looks again;
/// 3. exchanges the refresh token, retrying failures that pass within [`OAuth2Config::time_limit`];
/// 4. stores the new tokens, if the cell is still as it was, **before** anybody gets them.
///
/// `invalid_grant`: it looks into the store once more, and when nobody else has rotated the refresh token it fails for good:
/// the account has to be connected anew ([`TokenStore::replace`]). For a minute the endpoint is not asked again.
///
/// When the new tokens cannot be stored, nobody gets them; they are kept in memory, and the next call tries to store them
/// instead of using the old refresh token again. If the process ends first, the account may have to be connected anew.
///
/// One source belongs to one client: clients of one account in one process share
/// [`shared_state`](martlet_core::Client::shared_state), or each have a source on the same cell.
///
/// **Cancel safety**: the client runs it on a task of its own. Dropped at the wrong time, it loses a rotated refresh token;
/// its lease ends by itself.
pub struct RefreshTokenSource {
    config: OAuth2Config,
    transport: Arc<dyn Transport>,
    tokens: TokenStore,
    rng: Rng,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The version of the tokens that the client has: to be asked again means that they are due or refused.
    issued: Option<Version>,
    /// Tokens that were granted and could not be stored in place of that version.
    unsaved: Option<(Version, Granted)>,
    /// Until when the endpoint is not asked with the tokens of that version, and why.
    quarantine: Option<(Version, Moment, CredentialError)>,
    /// An answer to the refresh token of that version was lost.
    lost: Option<Version>,
}

impl RefreshTokenSource {
    /// With this randomness for the pauses between retries; the system's unless said.
    #[must_use]
    pub fn with_rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, message: impl fmt::Display, recovery: Recovery) -> CredentialError {
        CredentialError::new(format!("{}: {message}", self.tokens.key()), recovery)
    }

    fn store_error(&self, error: &StoreError) -> CredentialError {
        self.error(error, error.recovery())
    }

    async fn load(&self) -> Result<(Tokens, Version), CredentialError> {
        self.tokens.load().await.map_err(|error| self.store_error(&error))?.ok_or_else(|| {
            self.error("no tokens are stored; connect the account (TokenStore::seed)", Recovery::Fatal)
        })
    }

    /// The stored tokens, when they are good and not the ones that the client has.
    fn news(&self, tokens: &Tokens, version: Version, clock: &Clock) -> Option<Issued> {
        let mut state = self.state();
        let token = tokens.access_token.as_ref().filter(|_| state.issued != Some(version))?;
        let credential = Credential::Bearer(token.clone());
        let issued = match tokens.expires {
            None => Issued::lasting(credential),
            Some(end) if clock.wall() < end => Issued::until(credential, clock.moment_at(end)),
            Some(_) => return None,
        };
        *state = State { issued: Some(version), ..State::default() };
        Some(issued)
    }

    /// Step 2: the lease as a name that holds it, or tokens that somebody else fetched meanwhile.
    async fn lease(&self, clock: &Clock) -> Result<Leased, CredentialError> {
        // Not from `self.rng`: two processes with one seed must not be one owner.
        let owner = uuid::Builder::from_random_bytes(Rng::system().bytes16()).into_uuid().to_string();
        let ttl = self.config.attempt_timeout + LEASE_MARGIN;
        let patience = Deadline::after(clock.now(), self.config.time_limit() + ttl);
        loop {
            let (tokens, version) = self.load().await?;
            if let Some(issued) = self.news(&tokens, version, clock) {
                return Ok(Leased::Elsewhere(issued));
            }
            if !self.tokens.has_leases() {
                return Ok(Leased::Ours(owner));
            }
            match self.tokens.lease(&owner, ttl).await {
                Ok(Some(_)) => return Ok(Leased::Ours(owner)),
                Ok(None) if patience.has_passed(clock.now()) => {
                    return Err(
                        self.error("another process is refreshing and does not end", Recovery::Transient)
                    );
                }
                Ok(None) => clock.sleep(LOOK_AGAIN.mul_f64(0.75 + self.rng.next_f64() / 2.0)).await,
                Err(error) => return Err(self.store_error(&error)),
            }
        }
    }

    /// Steps 2 (the second look) to 4, under the lease of `owner`.
    async fn refresh(&self, clock: &Clock, owner: &str) -> Result<Issued, CredentialError> {
        let mut refused: Option<(Tokens, Version, EndpointFailure)> = None;
        // A second round when the store has another refresh token than the one that was refused, or when tokens that had
        // waited to be stored have ended meanwhile.
        for _ in 0..2 {
            let (tokens, version) = self.load().await?;
            if let Some(issued) = self.news(&tokens, version, clock) {
                return Ok(issued);
            }
            if let Some((used, _, _)) = &refused
                && same(used.refresh_token.as_ref(), tokens.refresh_token.as_ref())
            {
                break;
            }
            if let Some(granted) = self.take_unsaved(version) {
                let issued = self.publish(version, granted, clock).await?;
                if issued.expires.is_none_or(|end| clock.now() < end) {
                    return Ok(issued);
                }
                continue;
            }
            self.check_quarantine(version, clock.now())?;
            let Some(refresh_token) = &tokens.refresh_token else {
                let message = "the access token is no good any more and there is no refresh token; connect the account \
                               anew, with offline access (TokenStore::replace)";
                return Err(self.error(message, Recovery::Fatal));
            };
            match self.exchange(&tokens, refresh_token, version, clock, owner).await? {
                Ok(granted) => return self.publish(version, granted, clock).await,
                Err(failure) if failure.invalid_grant => refused = Some((tokens, version, failure)),
                Err(failure) => return Err(self.refusal(version, &failure, "", clock.now())),
            }
        }
        let Some((_, version, failure)) = refused else {
            return Err(self.error("the tokens end as fast as they are stored", Recovery::Transient));
        };
        let advice = if self.state().lost == Some(version) {
            "; an earlier answer was lost, and with it perhaps the next refresh token: connect the account anew \
             (TokenStore::replace)"
        } else {
            "; connect the account anew (TokenStore::replace)"
        };
        Err(self.refusal(version, &failure, advice, clock.now()))
    }

    /// Step 3: the exchange with its retries. The outer error is the store's or the lease's.
    async fn exchange(
        &self,
        tokens: &Tokens,
        refresh_token: &Secret,
        version: Version,
        clock: &Clock,
        owner: &str,
    ) -> Result<Result<Granted, EndpointFailure>, CredentialError> {
        let deadline = Deadline::after(clock.now(), self.config.time_limit());
        // A refresh token whose answer was lost may be used up. It is tried again all the same: without its answer it is all
        // there is, and many servers bear it.
        let mut retry = Retry::new(&self.config.retry, Repeat::Safe, deadline);
        loop {
            let exchange = Exchange {
                config: &self.config,
                transport: &*self.transport,
                clock,
                old: tokens,
                refresh_token,
                attempt: retry.attempts() + 1,
                timeout: self.config.attempt_timeout,
                arrived: OnceLock::new(),
            };
            let failure = match exchange.run().await {
                Ok(granted) => return Ok(Ok(granted)),
                Err(failure) => failure,
            };
            let lost = failure.delivery.may_have_been_applied() && failure.recovery != Recovery::Fatal;
            if lost {
                self.state().lost = Some(version);
            }
            let now = clock.now();
            let fact = Failure::new(failure.delivery, failure.recovery).not_before(failure.not_before);
            let Decision::RetryAt(at) = retry.after_failure(fact, now, &self.rng) else {
                return Ok(Err(failure));
            };
            let ttl = at.since(now) + self.config.attempt_timeout + LEASE_MARGIN;
            if self.tokens.has_leases()
                && self.tokens.lease(owner, ttl).await.map_err(|error| self.store_error(&error))?.is_none()
            {
                return Err(self.error("another process took over refreshing", Recovery::Transient));
            }
            clock.sleep_until(at).await;
        }
    }

    /// Step 4: stores what was granted in place of `base`, then gives it out.
    async fn publish(
        &self,
        base: Version,
        granted: Granted,
        clock: &Clock,
    ) -> Result<Issued, CredentialError> {
        let written = match self.tokens.compare_and_swap(base, &granted.tokens).await {
            Ok(version) => version,
            Err(error) if error.is_conflict() => {
                // Somebody connected the account anew, or refreshed without asking for the lease: theirs is what everybody
                // else uses. Or it is ours, written by an earlier try that seemed to fail.
                let (stored, version) = self.load().await?;
                return self.news(&stored, version, clock).ok_or_else(|| {
                    self.error("the stored tokens changed while they were refreshed", Recovery::Transient)
                });
            }
            Err(error) => {
                self.state().unsaved = Some((base, granted));
                let message = format!(
                    "the tokens were refreshed but not stored, so nobody gets them; they are kept in memory, and storing \
                     them is tried again at the next call: {error}"
                );
                return Err(self.error(message, error.recovery()));
            }
        };
        *self.state() = State { issued: Some(written), ..State::default() };
        let Some(token) = granted.tokens.access_token else {
            return Err(self.error("the answer held no access token", Recovery::Fatal));
        };
        let credential = Credential::Bearer(token);
        Ok(granted.expires.map_or_else(
            || Issued::lasting(credential.clone()),
            |end| Issued::until(credential.clone(), end),
        ))
    }

    fn take_unsaved(&self, version: Version) -> Option<Granted> {
        // Those of another version are out of date: somebody else wrote.
        self.state().unsaved.take().filter(|(base, _)| *base == version).map(|(_, granted)| granted)
    }

    fn check_quarantine(&self, version: Version, now: Moment) -> Result<(), CredentialError> {
        match &self.state().quarantine {
            Some((of, until, error)) if *of == version && now < *until => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn refusal(
        &self,
        version: Version,
        failure: &EndpointFailure,
        advice: &str,
        now: Moment,
    ) -> CredentialError {
        let error = self.error(format_args!("{failure}{advice}"), failure.recovery);
        if failure.recovery == Recovery::Fatal {
            self.state().quarantine = Some((version, now + QUARANTINE, error.clone()));
        }
        error
    }
}

enum Leased {
    Ours(String),
    Elsewhere(Issued),
}

#[async_trait]
impl CredentialSource for RefreshTokenSource {
    async fn issue(&self, cx: &IssueContext) -> Result<Issued, CredentialError> {
        let owner = match self.lease(&cx.clock).await? {
            Leased::Elsewhere(issued) => return Ok(issued),
            Leased::Ours(owner) => owner,
        };
        let result = self.refresh(&cx.clock, &owner).await;
        if self.tokens.has_leases() {
            // One that cannot be given back ends by itself.
            let _ = self.tokens.lease(&owner, Duration::ZERO).await;
        }
        result
    }
}

impl fmt::Debug for RefreshTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokenSource")
            .field("config", &self.config)
            .field("tokens", &self.tokens.key())
            .finish_non_exhaustive()
    }
}
