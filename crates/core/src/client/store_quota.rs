//! Quota that several processes share, in a store.

use martlet_base::Timestamp;
use martlet_resilience::{Lease, QuotaStore, QuotaStoreDown, Reservation, ReserveFuture};
use martlet_store::{CellKey, Expect, Store, StoreError, WriteBatch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Keeps the places of a [`SharedWindow`](martlet_resilience::SharedWindow) in a [`Store`]: one cell per window, changed by
/// compare-and-set, by the store's own clock.
///
/// ```
/// # use martlet_core::{StoreQuota, resilience::SharedWindow, store::MemoryStore, base::Clock};
/// # use std::{sync::Arc, time::Duration};
/// let store = Arc::new(MemoryStore::new(Clock::system()));
/// let window = SharedWindow::builder("hubspot/account-7/daily", "worker-1", 250_000, Duration::from_secs(86_400))
///     .build(Arc::new(StoreQuota::new(store)))?;
/// # Ok::<(), martlet_core::resilience::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StoreQuota {
    store: Arc<dyn Store>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Books {
    /// Places by the time they come back, in microseconds, in order.
    taken: Vec<(i64, u32)>,
    /// When each member was here last.
    members: BTreeMap<String, i64>,
}

/// More entries than this are counted together, each as late as the latest of them: never too early.
const MOST_ENTRIES: usize = 1_024;

impl StoreQuota {
    /// Windows in `store`, under keys that begin with `shared-quota/`: the quota journal's begin with `quota/`, and hold something else.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    async fn take(&self, ask: &Reservation) -> Result<Lease, StoreError> {
        let cell = CellKey::new(&format!("shared-quota/{}", ask.key))?;
        loop {
            let now = self.store.now().await?;
            let found = self.store.get(std::slice::from_ref(&cell)).await?.pop().flatten();
            let expect = found.as_ref().map_or(Expect::Absent, |found| found.version.into());
            // Books that cannot be read are begun anew: the next hold makes them right again.
            let mut books: Books =
                found.and_then(|found| serde_json::from_slice(&found.value).ok()).unwrap_or_default();
            let lease = books.reserve(ask, now);
            let json = serde_json::to_vec(&books).expect("books are plain data");
            let expires = now + ask.hold.saturating_mul(2);
            match self.store.commit(WriteBatch::new().put_expiring(cell.clone(), expect, json, expires)).await
            {
                Ok(_) => return Ok(lease),
                // Somebody else took places in between: the whole makes progress.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Books {
    fn reserve(&mut self, ask: &Reservation, now: Timestamp) -> Lease {
        let (now_us, back) = (now.as_micros(), (now + ask.hold).as_micros());
        self.taken.retain(|(back, _)| *back > now_us);
        self.put(back, ask.used_elsewhere);
        let used = self.taken.iter().fold(0u32, |sum, (_, n)| sum.saturating_add(*n));
        let free = ask.limit.saturating_sub(used);
        let granted = if free < ask.least { 0 } else { ask.want.min(free) };
        let mut missing = ask.least.saturating_sub(free);
        let retry_in = self.taken.iter().find_map(|(back, n)| {
            missing = missing.saturating_sub(*n);
            (missing == 0).then(|| Duration::from_micros(back.abs_diff(now_us)))
        });
        self.put(back, granted);
        self.members.insert(ask.member.to_string(), now_us);
        let oldest = (now - ask.hold).as_micros();
        self.members.retain(|_, seen| *seen > oldest);
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        Lease { granted, retry_in: retry_in.filter(|_| granted == 0), members }
    }

    fn put(&mut self, back: i64, places: u32) {
        if places == 0 {
            return;
        }
        match self.taken.last_mut() {
            Some((last, n)) if *last >= back => *n = n.saturating_add(places),
            _ => self.taken.push((back, places)),
        }
        if self.taken.len() > MOST_ENTRIES {
            let merged = self.taken.chunks(2).map(|pair| {
                let places = pair.iter().fold(0u32, |sum, (_, n)| sum.saturating_add(*n));
                (pair.last().map_or(0, |(back, _)| *back), places)
            });
            self.taken = merged.collect();
        }
    }
}

impl QuotaStore for StoreQuota {
    fn reserve<'a>(&'a self, ask: &'a Reservation) -> ReserveFuture<'a> {
        Box::pin(async move { self.take(ask).await.map_err(|error| QuotaStoreDown(error.to_string())) })
    }
}
