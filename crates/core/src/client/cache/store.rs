//! Where answers are kept: in memory, bounded by bytes. Losing them costs a request.

use super::policy::Terms;
use crate::{Body, CacheRule, Error, Request, Response, Verb};
use bytes::Bytes;
use http::HeaderMap;
use martlet_base::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use url::Url;

/// So many answers of one URL, for requests with different headers, are kept; beyond that the oldest is forgotten.
const VARIANTS: usize = 16;

/// What an entry costs beside its texts: the structures around them.
const OVERHEAD: usize = 512;

/// What a request is about. The account is not in it: a cache belongs to one.
pub(super) type Key = Arc<KeyParts>;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyParts {
    verb: Verb,
    url: String,
    body: Bytes,
}

pub(super) fn key_of(request: &Request) -> Key {
    let url = request.url().as_str().to_owned();
    Arc::new(KeyParts { verb: request.operation().verb(), url, body: request.body().bytes() })
}

/// The key of a plain GET of `url`: what a write to that URL makes stale.
pub(super) fn key_of_get(url: &Url) -> Key {
    Arc::new(KeyParts { verb: Verb::Get, url: url.as_str().to_owned(), body: Body::empty().bytes() })
}

pub(super) struct Entry {
    pub(super) what: Kept,
    pub(super) rule: CacheRule,
    /// Of its tag, when its request left.
    pub(super) generation: u64,
    /// When that was.
    asked: Moment,
    pub(super) terms: Terms,
    /// After a failure to renew it, nobody tries before this.
    held_off: AtomicU64,
}

pub(super) enum Kept {
    Answer(Response),
    /// There is no such thing.
    Missing(Error),
}

impl Entry {
    pub(super) const fn new(
        what: Kept,
        rule: CacheRule,
        generation: u64,
        asked: Moment,
        terms: Terms,
    ) -> Self {
        Self { what, rule, generation, asked, terms, held_off: AtomicU64::new(0) }
    }

    /// The headers of an answer.
    pub(super) fn headers(&self) -> Option<&HeaderMap> {
        match &self.what {
            Kept::Answer(response) => Some(response.headers()),
            Kept::Missing(_) => None,
        }
    }

    pub(super) fn hold_off(&self, until: Moment) {
        self.held_off.store(until.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn is_held_off(&self, now: Moment) -> bool {
        now.as_nanos() < self.held_off.load(Ordering::Relaxed)
    }

    fn size(&self) -> usize {
        let content = match &self.what {
            Kept::Answer(response) => {
                let headers = response.headers().iter();
                let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
                response.body().len() + headers
            }
            Kept::Missing(error) => error.message().len(),
        };
        content + self.terms.selection.size() + OVERHEAD
    }
}

/// The answers of one key, the newest first.
pub(super) type Variants = Arc<[Arc<Entry>]>;

pub(super) struct Store {
    entries: moka::sync::Cache<Key, Variants>,
    /// What is larger than an eighth of the whole is not kept: it would throw out too much.
    largest: usize,
}

impl Store {
    pub(super) fn new(max_bytes: u64) -> Self {
        let weigh = |key: &Key, variants: &Variants| {
            let size =
                key.url.len() + key.body.len() + variants.iter().map(|entry| entry.size()).sum::<usize>();
            u32::try_from(size).unwrap_or(u32::MAX)
        };
        Self {
            entries: moka::sync::Cache::builder().max_capacity(max_bytes).weigher(weigh).build(),
            largest: usize::try_from(max_bytes / 8).unwrap_or(usize::MAX),
        }
    }

    /// All that is kept for a key.
    pub(super) fn get(&self, key: &Key) -> Option<Variants> {
        self.entries.get(key)
    }

    /// Whether a body may be kept at all.
    pub(super) const fn takes(&self, body: usize) -> bool {
        body <= self.largest
    }

    /// Keeps an entry, in place of the one for the same headers unless that was asked for later. Whether it does.
    pub(super) fn put(&self, key: Key, request: &HeaderMap, entry: Entry) -> bool {
        if entry.size() + key.url.len() + key.body.len() > self.largest {
            self.forget(&key, request);
            return false;
        }
        let entry = Arc::new(entry);
        let mut newest = true;
        self.entries.entry(key).and_upsert_with(|old| {
            let old = old.map(moka::Entry::into_value);
            let (same, others): (Vec<_>, Vec<_>) =
                old.iter().flat_map(|old| old.iter()).partition(|old| old.terms.selection.matches(request));
            let later = same.into_iter().find(|old| old.rule == entry.rule && old.asked > entry.asked);
            newest = later.is_none();
            std::iter::once(later.unwrap_or(&entry)).chain(others).take(VARIANTS).cloned().collect()
        });
        newest
    }

    /// Forgets what is kept for a request with these headers.
    pub(super) fn forget(&self, key: &Key, request: &HeaderMap) {
        let Some(variants) = self.get(key) else { return };
        let others: Variants =
            variants.iter().filter(|old| !old.terms.selection.matches(request)).cloned().collect();
        if others.is_empty() {
            self.entries.invalidate(key);
        } else {
            self.entries.insert(Arc::clone(key), others);
        }
    }

    /// Forgets all that is kept for a key.
    pub(super) fn forget_all(&self, key: &Key) {
        self.entries.invalidate(key);
    }
}
