//! One breaker, one set of limits, for each of many.

use crate::{Breaker, Gcra, Limits, lock};
use martlet_base::Moment;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One value per key, made when it is first asked for, for a bounded number of keys. Cheap to clone; clones are one registry.
///
/// When it is full, the value that was not asked for the longest time makes room, if nobody would miss it: a [`Breaker`] that
/// is closed, [`Limits`] that have all their places back. What is in use, what is open and what is spent stays: forgetting
/// it would grant a second quota. Key by all that shares a fate, such as (platform, account, host).
///
/// A value is a cheap handle: keep it, and the map is not asked again.
///
/// ```
/// use martlet_base::Moment;
/// use martlet_resilience::{Breaker, Registry};
///
/// let breakers: Registry<(String, String), Breaker> = Registry::new(1_000);
/// let key = ("hubspot".to_owned(), "account-7".to_owned());
/// let breaker = breakers.get(&key, Moment::ZERO, |(platform, _)| Breaker::builder(platform).build())??;
/// assert_eq!(breaker.name(), "hubspot");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Registry<K, V>(Arc<Mutex<Entries<K, V>>>);

struct Entries<K, V> {
    capacity: usize,
    next_use: u64,
    map: HashMap<K, Entry<V>>,
    /// The keys by a use that was theirs: the last one as long as nothing had to make room since.
    order: BTreeMap<u64, K>,
}

struct Entry<V> {
    value: V,
    /// Its place in the order.
    placed: u64,
    used: u64,
    used_at: Moment,
}

/// The registry is full and every value in it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {capacity} places are taken by values that matter: make the registry larger")]
#[non_exhaustive]
pub struct RegistryFull {
    /// How many values it holds.
    pub capacity: usize,
}

/// What a [`Registry`] keeps.
pub trait Resident: Clone {
    /// Whether nothing is lost when it is forgotten and made anew. Only the registry holds it then.
    fn can_leave(&self, now: Moment) -> bool;
}

impl Resident for Breaker {
    fn can_leave(&self, _now: Moment) -> bool {
        self.is_idle()
    }
}

impl Resident for Arc<Gcra> {
    fn can_leave(&self, now: Moment) -> bool {
        Self::strong_count(self) == 1 && self.used(now) == 0
    }
}

impl Resident for Limits {
    fn can_leave(&self, now: Moment) -> bool {
        self.is_idle(now)
    }
}

/// So many of the oldest are looked at for one that may leave.
const LOOKED_AT: usize = 64;

impl<K: Eq + Hash + Clone, V: Resident> Registry<K, V> {
    /// For at most `capacity` keys.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(Entries {
            capacity: capacity.max(1),
            next_use: 0,
            map: HashMap::new(),
            order: BTreeMap::new(),
        })))
    }

    /// The value of `key`; `make` makes it if there is none yet. What `make` refuses is not kept.
    ///
    /// # Errors
    /// [`RegistryFull`]; inside, whatever `make` says.
    pub fn get<E>(
        &self,
        key: &K,
        now: Moment,
        make: impl FnOnce(&K) -> Result<V, E>,
    ) -> Result<Result<V, E>, RegistryFull> {
        let mut entries = lock(&self.0);
        let used = entries.next_use;
        entries.next_use += 1;
        if let Some(entry) = entries.map.get_mut(key) {
            (entry.used, entry.used_at) = (used, now);
            return Ok(Ok(entry.value.clone()));
        }
        entries.make_room(now)?;
        let value = match make(key) {
            Ok(value) => value,
            Err(refused) => return Ok(Err(refused)),
        };
        entries.order.insert(used, key.clone());
        entries.map.insert(key.clone(), Entry { value: value.clone(), placed: used, used, used_at: now });
        Ok(Ok(value))
    }

    /// Forgets the values that were not asked for since `idle` and that nobody would miss. Returns how many.
    pub fn evict_idle(&self, idle: Duration, now: Moment) -> usize {
        let mut entries = lock(&self.0);
        let leaving: Vec<u64> = entries
            .map
            .values()
            .filter(|e| now.since(e.used_at) >= idle && e.value.can_leave(now))
            .map(|e| e.placed)
            .collect();
        leaving.iter().for_each(|placed| entries.remove(*placed));
        leaving.len()
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.0).map.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash, V: Resident> Entries<K, V> {
    fn make_room(&mut self, now: Moment) -> Result<(), RegistryFull> {
        if self.map.len() < self.capacity {
            return Ok(());
        }
        let (mut looked_at, mut after) = (0, 0);
        while looked_at < LOOKED_AT
            && let Some((&placed, key)) = self.order.range(after..).next()
        {
            let entry = self.map.get_mut(key).expect("what has a place is in the map");
            if entry.used != placed {
                // It was used since: now is the time to put it where it belongs.
                entry.placed = entry.used;
                let used = entry.used;
                let key = self.order.remove(&placed).expect("it was found there just now");
                self.order.insert(used, key);
                continue;
            }
            if entry.value.can_leave(now) {
                self.remove(placed);
                return Ok(());
            }
            (looked_at, after) = (looked_at + 1, placed + 1);
        }
        Err(RegistryFull { capacity: self.capacity })
    }

    fn remove(&mut self, placed: u64) {
        if let Some(key) = self.order.remove(&placed) {
            self.map.remove(&key);
        }
    }
}

impl<K, V> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for Registry<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = lock(&self.0);
        f.debug_struct("Registry")
            .field("len", &entries.map.len())
            .field("capacity", &entries.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(not(martlet_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigError, Verdict};

    const ZERO: Moment = Moment::ZERO;

    fn make(key: &u32) -> Result<Breaker, ConfigError> {
        Breaker::builder(&key.to_string()).consecutive_failures(1).build()
    }

    fn limits(_: &u32) -> Result<Limits, ConfigError> {
        Limits::builder().window("w", 10, Duration::from_secs(10)).build()
    }

    #[test]
    fn b18_the_least_recently_used_breaker_that_is_closed_makes_room() {
        let registry = Registry::new(3);
        let get = |key| registry.get(&key, ZERO, make).unwrap().unwrap();
        get(1).try_acquire(ZERO).unwrap().record(Verdict::Failure, ZERO);
        _ = (get(2), get(3), get(2));
        get(4);
        assert_eq!(registry.len(), 3);
        assert!(get(1).peek(ZERO).is_err(), "it is open, and was kept");
        assert!(lock(&registry.0).map.contains_key(&2) && !lock(&registry.0).map.contains_key(&3));
    }

    #[test]
    fn b18_the_one_that_leaves_is_always_the_one_not_asked_for_the_longest() {
        let registry = Registry::new(5);
        let rng = martlet_base::Rng::seeded(18);
        let mut model: Vec<u32> = Vec::new();
        for _ in 0..5_000 {
            let key = u32::try_from(rng.below(9)).unwrap();
            model.retain(|k| *k != key);
            model.push(key);
            if model.len() > 5 {
                model.remove(0);
            }
            registry.get(&key, ZERO, make).unwrap().unwrap();
            let entries = lock(&registry.0);
            assert!(entries.map.len() == model.len() && model.iter().all(|k| entries.map.contains_key(k)));
            assert_eq!(entries.order.len(), entries.map.len());
        }
    }

    #[test]
    fn b18_a_handle_in_use_keeps_its_breaker_and_a_full_registry_says_so() {
        let registry = Registry::new(2);
        let handles: Vec<_> = (0..2).map(|key| registry.get(&key, ZERO, make).unwrap().unwrap()).collect();
        assert_eq!(registry.get(&9, ZERO, make).unwrap_err(), RegistryFull { capacity: 2 });
        drop(handles);
        assert!(registry.get(&9, ZERO, make).is_ok());
    }

    #[test]
    fn l14_evicting_never_grants_a_spent_window_again() {
        // governor #171: keys that stay for ever, or are forgotten while spent.
        let registry = Registry::new(1);
        let at = |secs| ZERO + Duration::from_secs(secs);
        let first = registry.get(&1, at(0), limits).unwrap().unwrap();
        first.try_acquire(10, at(0)).unwrap().finish(at(0));
        drop(first);
        assert!(registry.get(&2, at(9), limits).is_err());
        assert_eq!(registry.evict_idle(Duration::ZERO, at(9)), 0);
        let again = registry.get(&1, at(9), limits).unwrap().unwrap();
        assert!(again.try_acquire(1, at(9)).is_err());
        drop(again);
        assert_eq!(registry.evict_idle(Duration::from_secs(2), at(10)), 0, "asked for a second ago");
        assert!(registry.get(&2, at(10), limits).is_ok());
    }
}
