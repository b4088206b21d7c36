//! The suite that every backend must pass: plain async functions, one per promise of [`Store`].
//!
//! [`cells_conformance!`](crate::cells_conformance) and [`leases_conformance!`](crate::leases_conformance) make
//! ordinary tests of them:
//!
//! ```
//! use martlet_base::ManualClock;
//! use martlet_store::{MemoryStore, conformance::Subject};
//! use std::sync::Arc;
//!
//! async fn memory() -> Subject {
//!     let manual = ManualClock::new();
//!     let store = MemoryStore::new(manual.clock());
//!     Subject::new(Arc::new(store), move |by| manual.advance(by))
//! }
//!
//! martlet_store::cells_conformance!(memory);
//! martlet_store::leases_conformance!(memory);
//! # fn main() {}
//! ```
//!
//! A case panics with a message when its promise is broken. Cases run in a multi-threaded tokio runtime and each wants
//! an empty store.

pub mod cells;
pub mod leases;

use crate::{Cell, CellKey, Committed, Store, StoreError, WriteBatch};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

/// A store under test, and the means to let its time pass.
pub struct Subject {
    store: Arc<dyn Store>,
    pass: Box<dyn Fn(Duration) + Send + Sync>,
    /// Dropped after the store: a temporary folder, a server.
    keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// An empty store; `pass` lets its clock go on by at least so much (moves a manual clock, or waits).
    pub fn new(store: Arc<dyn Store>, pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self { store, pass: Box::new(pass), keep: Vec::new() }
    }

    /// Keeps `guard` alive as long as the store.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self.keep.push(Box::new(guard));
        self
    }

    fn pass(&self, by: Duration) {
        (self.pass)(by);
    }

    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        self.store.commit(batch).await
    }

    /// The cell under `name`, which must be readable.
    async fn read(&self, name: &str) -> Option<Cell> {
        let cells = self.store.get(&[key(name)]).await.expect("get works");
        assert_eq!(cells.len(), 1, "one answer per key");
        cells.into_iter().next().flatten()
    }

    /// All keys with `prefix`, page by page.
    async fn names(&self, prefix: &str, page: usize) -> Vec<String> {
        let (mut names, mut after): (Vec<String>, Option<CellKey>) = (Vec::new(), None);
        loop {
            let found = self.store.scan(prefix, after.as_ref(), page).await.expect("scan works");
            assert!(found.len() <= page, "a page of at most {page} had {}", found.len());
            let is_last = found.len() < page;
            for (key, _) in found {
                assert!(after.as_ref().is_none_or(|after| *after < key), "{key} is not behind {after:?}");
                names.push(key.to_string());
                after = Some(key);
            }
            if is_last {
                return names;
            }
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("store", &self.store)
            .field("guards", &self.keep.len())
            .finish_non_exhaustive()
    }
}

fn key(name: &str) -> CellKey {
    CellKey::new(name).expect("the suite uses valid keys")
}

/// Polls `future` `times` times, letting other tasks run in between, then drops it.
async fn poll_and_drop<F: Future>(future: F, times: usize) {
    let mut future = pin!(future);
    for _ in 0..times {
        let mut cx = Context::from_waker(Waker::noop());
        if future.as_mut().poll(&mut cx).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Makes tests of the cases of [`conformance::cells`](crate::conformance::cells). The argument is the name of an async function
/// that returns a fresh [`Subject`](crate::conformance::Subject). The crate needs tokio with `rt-multi-thread` and
/// `macros` as a dev-dependency.
#[macro_export]
macro_rules! cells_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { cells, $make:
            what_is_put_is_read,
            an_empty_batch_succeeds,
            versions_grow_and_never_come_back,
            only_the_expected_version_is_replaced,
            absent_means_nobody_was_here,
            a_delete_obeys_its_expectation,
            a_check_guards_and_writes_nothing,
            cells_come_in_the_order_of_the_keys,
            a_refused_batch_leaves_no_trace_and_names_the_write,
            a_later_write_of_a_batch_sees_the_earlier,
            a_cell_is_gone_when_it_expires,
            a_cell_that_expired_before_it_was_written_is_absent,
            a_new_value_has_its_own_expiry,
            scans_go_by_the_bytes_of_keys,
            scans_resume_behind_any_key,
            a_prefix_is_no_pattern,
            empty_and_huge_values_survive,
            keys_in_any_script_are_told_apart,
            a_value_over_the_cap_is_refused_beforehand,
            missing_shapes_are_refused_beforehand,
            sixty_four_writers_of_one_cell_lose_nothing,
            a_lost_compare_and_set_undoes_nobody_else,
            a_dropped_commit_is_whole_or_nothing,
            a_thousand_cells_go_in_one_batch,
            random_operations_agree_with_the_memory_store,
        }
    };
}

/// Makes tests of the cases of [`conformance::leases`](crate::conformance::leases); see
/// [`cells_conformance!`](crate::cells_conformance).
#[macro_export]
macro_rules! leases_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { leases, $make:
            one_owner_at_a_time,
            an_expired_lease_goes_to_the_next_with_a_higher_fence,
            a_released_lease_is_free_at_once,
            a_stale_fence_writes_nothing,
            leases_and_cells_do_not_mix,
            of_many_who_ask_one_gets_it,
            a_bad_owner_is_refused,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($suite:ident, $make:ident: $($case:ident,)+) => {
        mod $suite {
            use super::$make as make_subject;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $crate::conformance::$suite::$case(make_subject().await).await;
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;
    use martlet_base::ManualClock;

    async fn memory() -> Subject {
        let manual = ManualClock::new();
        let store = MemoryStore::new(manual.clock());
        Subject::new(Arc::new(store), move |by| manual.advance(by))
    }

    crate::cells_conformance!(memory);
    crate::leases_conformance!(memory);
}
