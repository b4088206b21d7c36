//! What happens to contacts without a request: somebody works in HubSpot.

use super::State;
use martlet_base::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happened so far. It is stored.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct World {
    /// Starts that handled a request.
    pub(super) starts: u64,
    /// Draws of contacts: each one draws others.
    draws: u64,
    /// See [`Data::touch`](super::data::Data::touch).
    pub(super) touched: (u64, u64),
}

impl State {
    /// What happened since the last start.
    pub(super) fn between_runs(&mut self, now: u64) {
        if self.world.starts > 1 {
            self.delete(5, now);
            self.merge(3, now);
        }
    }

    /// Edits contacts: `loyalty_tier` and `last_order_value` get other values.
    pub(super) fn edit(&mut self, count: u64, now: u64) -> Vec<u64> {
        let (rng, ids) = self.draw(count);
        for &id in &ids {
            let Some(object) = self.data.get(id) else { continue };
            let cents = rng.below(90_000) + 10_000;
            let mut value = format!("{}.{:02}", cents / 100, cents % 100);
            if object.text("last_order_value").is_some_and(|old| old == value) {
                value.push('1');
            }
            let tier = if object.text("loyalty_tier").is_some_and(|old| old == "gold") {
                "platinum"
            } else {
                "gold"
            };
            let properties = BTreeMap::from([
                ("last_order_value".to_owned(), Some(value)),
                ("loyalty_tier".to_owned(), Some(tier.to_owned())),
            ]);
            // It can only fail over an address.
            if self.data.write(Some(id), &properties, now).is_ok() {
                self.dirty.contacts.insert(id);
                self.stats.edited += 1;
            }
        }
        ids
    }

    /// Deletes contacts: they lie in the recycle bin.
    pub(super) fn delete(&mut self, count: u64, now: u64) -> Vec<u64> {
        let (_, ids) = self.draw(count);
        for &id in &ids {
            if self.data.archive(id, now) {
                self.dirty.contacts.insert(id);
                self.stats.deleted += 1;
            }
        }
        ids
    }

    /// Merges contacts into others: the survivor and the one that is gone.
    pub(super) fn merge(&mut self, count: u64, now: u64) -> Vec<(u64, u64)> {
        let (_, ids) = self.draw(count.saturating_mul(2));
        let pairs: Vec<_> = ids.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        for &(survivor, loser) in &pairs {
            self.data.merge(survivor, loser, now);
            self.dirty.contacts.extend([survivor, loser]);
            self.stats.merged += 1;
        }
        pairs
    }

    /// Gives contacts one new date.
    pub(super) fn touch(&mut self, count: u64, now: u64) {
        let stored = self.data.touch(count, now);
        self.dirty.contacts.extend(stored);
        self.world.touched = self.data.touched();
        self.dirty.world = true;
    }

    /// Draws seeded contacts that live and have an address, each once; at most a tenth of all, so that an account does not
    /// run dry.
    fn draw(&mut self, count: u64) -> (Rng, Vec<u64>) {
        self.world.draws += 1;
        self.dirty.world = true;
        let rng = Rng::seeded(self.seed).stream(self.world.draws);
        let living = self.data.seeded_living();
        let count = count.min(living.div_ceil(10));
        let mut ids = Vec::new();
        // Most draws succeed; where hardly anybody is left, it gives up.
        for _ in 0..count * 20 {
            if ids.len() as u64 == count {
                break;
            }
            let id = self.data.id_at(rng.below(living));
            let fits =
                self.data.get(id).is_some_and(|object| object.is_living() && object.text("email").is_some());
            if fits && !ids.contains(&id) {
                ids.push(id);
            }
        }
        (rng, ids)
    }
}
