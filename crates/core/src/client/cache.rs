//! Answers of safe operations that have a cache rule.
//!
//! `policy` judges (no I/O), `store` keeps (bounded by bytes), this slot serves: hits, one request for callers that ask for the
//! same at the same time, renewal in the background, stale answers in place of errors, and what writes make stale.

mod control;
mod policy;
mod store;

use self::control::Directives;
use self::policy::{Exchange, Terms, Use};
use self::store::{Entry, Kept, Key, Store, Variants, key_of, key_of_get};
use super::Core;
use crate::{
    CacheForward, CacheRule, CacheStatus, CallContext, Error, ErrorKind, Idempotency, Request, Response,
    Result,
};
use bytes::Bytes;
use http::header::{AGE, CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use martlet_base::{Deadline, Delivery, Moment, Recovery, Signal};
use martlet_resilience::{FlightError, SingleFlight};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use url::Url;

/// After a failed renewal a stale answer is served for so long without another try.
const HOLD_OFF: Duration = Duration::from_secs(5);

pub(super) struct CacheSlot {
    store: Store,
    flights: SingleFlight<Flight, Result<Response>>,
    /// How often each tag was made stale.
    tags: Mutex<HashMap<&'static str, u64>>,
    /// Reads under way, and whether a write to their URL overtook them.
    reads: Mutex<HashMap<Key, Read>>,
    /// Whether there ever was a read: before it, writes have nothing to make stale.
    used: AtomicBool,
}

/// Requests that are one: about the same, by the same rule, with the same headers, since the same write.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Flight {
    key: Key,
    rule: CacheRule,
    generation: u64,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Default)]
struct Read {
    readers: u32,
    overtaken: bool,
}

/// What the cache has for a request.
struct Found {
    /// All of the key that the rule may use.
    variants: Variants,
    /// The one for this request's headers.
    entry: Option<Arc<Entry>>,
    verdict: Use,
    /// Why it does not do.
    reason: CacheForward,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CacheSlot {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            store: Store::new(max_bytes),
            flights: SingleFlight::new(),
            tags: Mutex::default(),
            reads: Mutex::default(),
            used: AtomicBool::new(false),
        }
    }

    pub(super) fn invalidate(&self, tag: &'static str) {
        *lock(&self.tags).entry(tag).or_default() += 1;
    }

    fn generation(&self, tag: &'static str) -> u64 {
        lock(&self.tags).get(tag).copied().unwrap_or_default()
    }

    pub(super) async fn serve(&self, core: &Arc<Core>, request: Request) -> Result<Response> {
        let operation = request.operation();
        let safe = operation.get_idempotency() == Idempotency::Safe;
        match operation.get_cache() {
            // Boxed: a call that has no rule must not carry the state of one that has.
            Some(rule) if safe => Box::pin(self.read(core, request, rule)).await,
            _ if !safe && self.used.load(Ordering::Relaxed) => Box::pin(self.write(core, request)).await,
            _ => core.uncached(request).await,
        }
    }

    async fn read(&self, core: &Arc<Core>, request: Request, rule: CacheRule) -> Result<Response> {
        let context = Arc::clone(request.context());
        let asked = Directives::of(request.headers());
        self.used.store(true, Ordering::Relaxed);
        if asked.no_store || policy::keeps_out(request.headers()) {
            let mut response = core.uncached(request).await?;
            let status = CacheStatus { forward: Some(CacheForward::Bypass), ..CacheStatus::default() };
            response.meta_mut().cache = Some(status);
            return Ok(response);
        }
        let flight = Flight {
            key: key_of(&request),
            rule,
            // Read before the request leaves: a write that comes between makes this answer stale at once.
            generation: self.generation(rule.tag()),
            headers: policy::choosing(request.headers(), None),
        };
        let now = core.clock.now();
        let found = if context.fresh {
            Found::nothing(CacheForward::Request)
        } else {
            self.find(&flight, &request, &asked, now)
        };
        let serves = |entry: &Arc<Entry>| {
            found.verdict != Use::AfterRevalidation
                || entry.is_held_off(now)
                    && entry.generation == flight.generation
                    && entry.terms.stands_in(now, &asked)
        };
        let hit = found.entry.as_ref().filter(|entry| serves(entry));
        core.observers
            .emit(|| Signal::cache_lookup(&context.platform, context.operation.name(), hit.is_some()));
        if let Some(entry) = hit {
            if found.verdict == Use::WhileRevalidating && !entry.is_held_off(now) {
                self.renew_in_background(core, &flight, &found, &request);
            }
            let status = CacheStatus { ttl: Some(entry.terms.ttl(now)), ..CacheStatus::default() };
            return served(entry, now, &request, status);
        }
        let alone = context.fresh || asked.no_cache || policy::is_conditional(request.headers());
        if alone && hit.is_none() {
            // It must see the platform as it is after this moment, so it joins no request that began before; or it asks for
            // what is no answer to others.
            return renew(Arc::clone(core), request, flight, found).await;
        }
        let (entry, generation) = (found.entry.clone(), flight.generation);
        let result = self.share(core, &request, flight, found).await;
        let Some(entry) = entry.filter(|entry| entry.generation == generation) else { return result };
        let now = core.clock.now();
        match failure(&result) {
            Some(status) if entry.terms.stands_in(now, &asked) => {
                let status = CacheStatus {
                    forward: Some(CacheForward::Stale),
                    forward_status: status,
                    ttl: Some(entry.terms.ttl(now)),
                    ..CacheStatus::default()
                };
                let mut stale = served(&entry, now, &request, status)?;
                stale.meta_mut().attempts = match &result {
                    Ok(response) => response.meta().attempts,
                    Err(error) => error.attempts(),
                };
                Ok(stale)
            }
            _ => result,
        }
    }

    /// What there is for a request, and what it is good for now.
    fn find(&self, flight: &Flight, request: &Request, asked: &Directives, now: Moment) -> Found {
        let Some(mut variants) = self.store.get(&flight.key) else {
            return Found::nothing(CacheForward::UriMiss);
        };
        if variants.iter().any(|entry| entry.rule != flight.rule) {
            variants = variants.iter().filter(|entry| entry.rule == flight.rule).cloned().collect();
        }
        let entry = variants.iter().find(|entry| entry.terms.selection.matches(request.headers())).cloned();
        let (verdict, reason) = match &entry {
            None => (Use::AfterRevalidation, CacheForward::VaryMiss),
            Some(entry) if entry.generation != flight.generation => {
                (Use::AfterRevalidation, CacheForward::Stale)
            }
            Some(entry) => {
                let verdict = entry.terms.usable(now, asked);
                let fresh = entry.terms.ttl(now) > 0;
                (verdict, if fresh { CacheForward::Request } else { CacheForward::Stale })
            }
        };
        Found { variants, entry, verdict, reason }
    }

    /// One request for all who ask for the same at the same time.
    async fn share(
        &self,
        core: &Arc<Core>,
        request: &Request,
        flight: Flight,
        found: Found,
    ) -> Result<Response> {
        let context = request.context();
        let found = Arc::new(found);
        loop {
            let mut leads = false;
            let make = || {
                leads = true;
                let (core, request, flight) = (Arc::clone(core), request.clone(), flight.clone());
                let found = Arc::clone(&found);
                async move {
                    // Another flight may have landed between the look into the cache and the start of this one.
                    let (asked, now) = (Directives::of(request.headers()), core.clock.now());
                    let again = core.cache.find(&flight, &request, &asked, now);
                    if let (Some(entry), Use::Fresh) = (&again.entry, again.verdict) {
                        let status =
                            CacheStatus { ttl: Some(entry.terms.ttl(now)), ..CacheStatus::default() };
                        return served(entry, now, &request, status);
                    }
                    drop(again);
                    renew(core, request, flight, found.again()).await
                }
            };
            let shared = self.flights.run(flight.clone(), make);
            return match core.clock.within(context.deadline, shared).await {
                // The one who began it had less time than this call has.
                Some(Ok(Err(error)))
                    if !leads
                        && matches!(error.kind(), ErrorKind::Timeout | ErrorKind::DeadlineExceeded)
                        && !context.deadline.has_passed(core.clock.now()) =>
                {
                    continue;
                }
                Some(Ok(mut result)) => {
                    if let Ok(response) = &mut result {
                        response.set_context(Arc::clone(context));
                        if let Some(status) = &mut response.meta_mut().cache {
                            status.collapsed = !leads;
                        }
                    }
                    result
                }
                Some(Err(FlightError::Panicked)) => Err(Error::new(
                    ErrorKind::Layer,
                    "the request that this call shared with others panicked",
                )),
                Some(Err(_)) => Err(Error::new(ErrorKind::Interrupted, "the shared request was stopped")),
                None => Err(waited_too_long(context)),
            };
        }
    }

    /// Starts what nobody waits for, unless it is under way. It has a call's whole time, whatever this caller's is.
    fn renew_in_background(&self, core: &Arc<Core>, flight: &Flight, found: &Found, request: &Request) {
        self.flights.start(flight.clone(), || {
            let now = core.clock.now();
            let request = request.in_background(now, Deadline::after(now, core.total_timeout));
            renew(Arc::clone(core), request, flight.clone(), found.again())
        });
    }

    /// A write: what is kept for its URL, and for those that its answer names, is forgotten.
    async fn write(&self, core: &Arc<Core>, request: Request) -> Result<Response> {
        let url = request.url().clone();
        // Also when nobody waits for its end.
        let mut change = Change { slot: self, url: &url, harmless: false };
        let result = core.uncached(request).await;
        match &result {
            // Where the platform calls a refusal an answer.
            Ok(response) if response.status().as_u16() >= 400 => change.harmless = true,
            Ok(response) => {
                // One of another origin has nothing kept: no request goes there.
                let named = |name| url.join(response.headers().get(name)?.to_str().ok()?).ok();
                let named = [LOCATION, CONTENT_LOCATION].into_iter().filter_map(named);
                named.for_each(|url| self.forget(&url));
            }
            Err(error) => {
                change.harmless = error.delivery() != Delivery::Unknown && error.kind() != ErrorKind::Decode;
            }
        }
        result
    }

    fn forget(&self, url: &Url) {
        let mut url = url.clone();
        url.set_fragment(None);
        let key = key_of_get(&url);
        if let Some(read) = lock(&self.reads).get_mut(&key) {
            read.overtaken = true;
        }
        self.store.forget_all(&key);
    }
}

impl Found {
    fn nothing(reason: CacheForward) -> Self {
        Self { variants: Arc::new([]), entry: None, verdict: Use::AfterRevalidation, reason }
    }

    fn again(&self) -> Self {
        Self { variants: Arc::clone(&self.variants), entry: self.entry.clone(), ..*self }
    }
}

/// Asks the platform, with conditions where that can save a body, and keeps what it says.
async fn renew(core: Arc<Core>, request: Request, flight: Flight, found: Found) -> Result<Response> {
    let slot = &core.cache;
    let reading = Reading::begin(slot, &flight.key, core.clock.now());
    let context = Arc::clone(request.context());

    // The one for these headers or, where there is none, any that has a name the platform can confirm.
    let asked: Vec<&Arc<Entry>> = match &found.entry {
        Some(entry) => vec![entry],
        None => found
            .variants
            .iter()
            .filter(|old| old.terms.selection.is_of_the_same(request.headers()))
            .collect(),
    };
    let may_ask =
        request.operation().verb() == crate::Verb::Get && !policy::is_conditional(request.headers());
    let asked: Vec<_> = asked.into_iter().filter(|entry| may_ask && entry.headers().is_some()).collect();
    let headers = || asked.iter().filter_map(|entry| entry.headers());
    let conditions = policy::conditions(headers());
    let mut conditional = request.clone();
    conditional.headers_mut().extend(conditions.iter().cloned());

    let mut result = core.uncached(conditional).await;
    let mut confirmed = None;
    if let Ok(response) = &result
        && response.status() == StatusCode::NOT_MODIFIED
        && !conditions.is_empty()
    {
        confirmed = policy::confirmed(headers(), response.headers()).map(|n| asked[n]);
        if confirmed.is_none() {
            // It is about an answer that is not here.
            result = core.uncached(request.clone()).await;
        }
    }
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            let error = error.with_effort(context.effort.attempts(), Duration::ZERO);
            if error.kind() == ErrorKind::NotFound {
                let terms = policy::missing(&flight.rule, request.headers(), core.clock.now());
                reading.keep(&request, &flight, terms.map(|terms| (Kept::Missing(error.clone()), terms)));
            } else if is_mendable(&error)
                && let Some(entry) = &found.entry
            {
                entry.hold_off(core.clock.now() + HOLD_OFF);
            }
            return Err(error);
        }
    };
    response.meta_mut().attempts = context.effort.attempts();
    let mut status = CacheStatus { forward: Some(found.reason), ..CacheStatus::default() };
    if let Some(entry) = confirmed
        && let Kept::Answer(stored) = &entry.what
    {
        status.forward_status = Some(response.status().as_u16());
        let headers = policy::updated(stored.headers(), response.headers());
        let mut same = Response::new(stored.status(), headers, stored.body().clone(), Arc::clone(&context));
        *same.meta_mut() = response.meta().clone();
        same.meta_mut().from_cache = true;
        response = same;
    } else if is_outage(response.status())
        && let Some(entry) = &found.entry
    {
        entry.hold_off(core.clock.now() + HOLD_OFF);
        response.meta_mut().cache = Some(status);
        return Ok(response);
    }
    let length = response.body().len();
    let keepable = policy::is_complete(response.headers(), length) && slot.store.takes(length);
    let terms = exchange(&core, &request, &flight.rule, response.status(), response.headers()).judge();
    status.ttl = terms.as_ref().map(|terms| terms.ttl(terms.arrived));
    // A 304 to the caller's own condition says nothing about what is kept.
    if response.status() != StatusCode::NOT_MODIFIED {
        let kept = terms.filter(|_| keepable).map(|terms| {
            let headers = policy::kept(response.headers().clone());
            // A copy: what came may be a corner of a large buffer, which it would keep alive.
            let body = Bytes::copy_from_slice(response.body());
            let mut kept = Response::new(response.status(), headers, body, context);
            kept.meta_mut().request_id.clone_from(&response.meta().request_id);
            (Kept::Answer(kept), terms)
        });
        status.stored = reading.keep(&request, &flight, kept);
    }
    response.meta_mut().cache = Some(status);
    Ok(response)
}

fn exchange<'a>(
    core: &Core,
    request: &'a Request,
    rule: &'a CacheRule,
    status: StatusCode,
    answer: &'a HeaderMap,
) -> Exchange<'a> {
    Exchange {
        rule,
        verb: request.operation().verb(),
        request: request.headers(),
        status,
        answer,
        now: core.clock.now(),
        wall: core.clock.wall().into(),
        chance: core.rng.next_f64(),
    }
}

/// What is kept, as an answer to this request.
fn served(entry: &Entry, now: Moment, request: &Request, status: CacheStatus) -> Result<Response> {
    let stored = match &entry.what {
        Kept::Answer(stored) => stored,
        Kept::Missing(error) => return Err(error.clone().with_effort(0, Duration::ZERO)),
    };
    let context = Arc::clone(request.context());
    let mut response = if policy::caller_has_it(request.headers(), stored.headers()) {
        let headers = policy::not_modified(stored.headers());
        Response::new(StatusCode::NOT_MODIFIED, headers, Bytes::new(), context)
    } else {
        let headers = stored.headers().clone();
        Response::new(stored.status(), headers, stored.body().clone(), context)
    };
    response.headers_mut().insert(AGE, entry.terms.age(now).as_secs().into());
    let meta = response.meta_mut();
    meta.request_id.clone_from(&stored.meta().request_id);
    meta.from_cache = true;
    meta.cache = Some(status);
    Ok(response)
}

/// Whether an answer may stand in for what went wrong, and the status that the platform gave.
fn failure(result: &Result<Response>) -> Option<Option<u16>> {
    match result {
        Ok(response) if is_outage(response.status()) => Some(Some(response.status().as_u16())),
        Err(error) if is_mendable(error) => Some(error.status()),
        _ => None,
    }
}

/// Server errors by [RFC 5861](https://www.rfc-editor.org/rfc/rfc5861#section-4), where the platform calls one an answer.
fn is_outage(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504)
}

/// Whether another try may succeed.
fn is_mendable(error: &Error) -> bool {
    matches!(error.recovery(), Recovery::Transient | Recovery::Throttled | Recovery::Refused)
}

/// A read under way.
struct Reading<'a> {
    slot: &'a CacheSlot,
    key: &'a Key,
    began: Moment,
}

impl<'a> Reading<'a> {
    fn begin(slot: &'a CacheSlot, key: &'a Key, began: Moment) -> Self {
        lock(&slot.reads).entry(Arc::clone(key)).or_default().readers += 1;
        Self { slot, key, began }
    }

    /// Keeps what was read in place of what there was for these headers; nothing, when a write overtook it. Whether it did.
    fn keep(&self, request: &Request, flight: &Flight, kept: Option<(Kept, Terms)>) -> bool {
        // Held until it is kept: a write either sees this read, or finds what it kept.
        let reads = lock(&self.slot.reads);
        let overtaken = reads.get(self.key).is_some_and(|read| read.overtaken);
        match kept.filter(|_| !overtaken) {
            Some((what, terms)) => {
                let entry = Entry::new(what, flight.rule, flight.generation, self.began, terms);
                self.slot.store.put(Arc::clone(self.key), request.headers(), entry)
            }
            None => {
                self.slot.store.forget(self.key, request.headers());
                false
            }
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut reads = lock(&self.slot.reads);
        if let Some(read) = reads.get_mut(self.key) {
            read.readers -= 1;
            if read.readers == 0 {
                reads.remove(self.key);
            }
        }
    }
}

/// Makes what is kept for a URL go when a write to it ends that has or may have been applied, a dropped one included.
struct Change<'a> {
    slot: &'a CacheSlot,
    url: &'a Url,
    harmless: bool,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if !self.harmless {
            self.slot.forget(self.url);
        }
    }
}

fn waited_too_long(context: &CallContext) -> Error {
    // Cacheable operations are safe, so nothing was applied whatever became of the request.
    Error::new(ErrorKind::DeadlineExceeded, "the request that this call shares with others takes too long")
        .with_operation(&context.platform, context.operation.name())
}
