//! Answers of safe operations that say how long they are good for. moka bounds the size; freshness is ours.

use super::Core;
use crate::{CacheRule, CallContext, Error, ErrorKind, Idempotency, Request, Response, Result};
use bytes::Bytes;
use martlet_base::{Moment, Signal};
use martlet_resilience::{FlightError, SingleFlight};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Operation, URL and body. A cached answer belongs to one client, and a client to one connection: two accounts never
/// share an entry.
type Key = (&'static str, String, Bytes);

pub(super) struct CacheSlot {
    entries: moka::sync::Cache<Key, Entry>,
    flights: SingleFlight<(Key, u64), Result<Response>>,
    /// How often each tag was made stale.
    tags: Mutex<HashMap<&'static str, u64>>,
}

#[derive(Clone)]
struct Entry {
    response: Response,
    expires: Moment,
    generation: u64,
}

impl CacheSlot {
    pub(super) fn new(max_bytes: u64) -> Self {
        let weigh = |key: &Key, entry: &Entry| {
            u32::try_from(key.1.len() + key.2.len() + entry.response.body().len() + 512).unwrap_or(u32::MAX)
        };
        Self {
            entries: moka::sync::Cache::builder().max_capacity(max_bytes).weigher(weigh).build(),
            flights: SingleFlight::new(),
            tags: Mutex::new(HashMap::new()),
        }
    }

    pub(super) fn invalidate(&self, tag: &'static str) {
        *self.tags.lock().unwrap_or_else(PoisonError::into_inner).entry(tag).or_default() += 1;
    }

    fn generation(&self, tag: &'static str) -> u64 {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(tag).copied().unwrap_or_default()
    }

    pub(super) async fn serve(&self, core: &Arc<Core>, request: Request) -> Result<Response> {
        let context = Arc::clone(request.context());
        let (CacheRule::For { ttl, tag }, Idempotency::Safe) =
            (context.operation.get_cache(), context.operation.get_idempotency())
        else {
            return core.uncached(request).await;
        };
        let key = (context.operation.name(), request.url().as_str().to_owned(), request.body().bytes());
        // Read before the request leaves: a write that comes between makes this answer stale at once.
        let generation = self.generation(tag);
        let found = if context.fresh { None } else { self.fresh(core, &key, generation) };
        core.observers
            .emit(|| Signal::cache_lookup(&context.platform, context.operation.name(), found.is_some()));
        if let Some(entry) = found {
            return Ok(from_cache(entry));
        }
        if context.fresh {
            // It must see the platform as it is after this moment, so it joins no request that began before.
            let response = core.uncached(request).await?;
            self.keep(core, key, &response, generation, ttl);
            return Ok(response);
        }
        loop {
            let mut leads = false;
            let flight = || {
                leads = true;
                let (core, key, request) = (Arc::clone(core), key.clone(), request.clone());
                async move {
                    // Another flight may have landed between the look into the cache and the start of this one.
                    if let Some(response) = core.cache.fresh(&core, &key, generation) {
                        return Ok(from_cache(response));
                    }
                    let attempts = Arc::clone(request.context());
                    let attempts = || attempts.effort.attempts();
                    let mut response = core
                        .uncached(request)
                        .await
                        .map_err(|error| error.with_effort(attempts(), Duration::ZERO))?;
                    response.meta_mut().attempts = attempts();
                    core.cache.keep(&core, key, &response, generation, ttl);
                    Ok(response)
                }
            };
            let shared = self.flights.run((key.clone(), generation), flight);
            return match core.clock.within(context.deadline, shared).await {
                // The one who began it had less time than this call has.
                Some(Ok(Err(error)))
                    if !leads
                        && matches!(error.kind(), ErrorKind::Timeout | ErrorKind::DeadlineExceeded)
                        && !context.deadline.has_passed(core.clock.now()) =>
                {
                    continue;
                }
                Some(Ok(result)) => result,
                Some(Err(FlightError::Panicked)) => Err(Error::new(
                    ErrorKind::Layer,
                    "the request that this call shared with others panicked",
                )),
                Some(Err(_)) => Err(Error::new(ErrorKind::Interrupted, "the shared request was stopped")),
                None => Err(waited_too_long(&context)),
            };
        }
    }

    fn fresh(&self, core: &Core, key: &Key, generation: u64) -> Option<Response> {
        let entry = self.entries.get(key)?;
        (entry.generation == generation && core.clock.now() < entry.expires).then_some(entry.response)
    }

    fn keep(&self, core: &Core, key: Key, response: &Response, generation: u64, ttl: Duration) {
        let expires = core.clock.now() + ttl;
        self.entries.insert(key, Entry { response: response.clone(), expires, generation });
    }
}

fn waited_too_long(context: &CallContext) -> Error {
    // Cacheable operations are safe, so nothing was applied whatever became of the request.
    Error::new(ErrorKind::DeadlineExceeded, "the request that this call shares with others takes too long")
        .with_operation(&context.platform, context.operation.name())
}

fn from_cache(mut response: Response) -> Response {
    let meta = response.meta_mut();
    meta.from_cache = true;
    meta.attempts = 0;
    meta.quota.clear();
    response
}
