//! The suite that every backend must pass: plain async functions, one per promise of [`Store`].
//!
//! One macro for each shape makes ordinary tests of them:
//!
//! ```
//! use martlet_base::ManualClock;
//! use martlet_store::{MemoryStore, conformance::Subject};
//! use std::sync::Arc;
//!
//! async fn memory() -> Subject {
//!     let manual = ManualClock::new();
//!     let store = MemoryStore::new(manual.clock());
//!     Subject::simulated(Arc::new(store), manual)
//! }
//!
//! martlet_store::cells_conformance!(memory);
//! martlet_store::leases_conformance!(memory);
//! martlet_store::logs_conformance!(memory);
//! martlet_store::queues_conformance!(memory);
//! martlet_store::batches_conformance!(memory);
//! martlet_store::model_conformance!(memory);
//! # fn main() {}
//! ```
//!
//! A case panics with a message when its promise is broken. Cases run in a multi-threaded tokio runtime and each wants
//! an empty store.

pub mod batches;
pub mod cells;
pub mod crash;
pub mod leases;
pub mod logs;
pub mod model;
pub mod queues;

use crate::{Cell, CellKey, Committed, Store, StoreError, WriteBatch};
use martlet_base::ManualClock;
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
    /// The clock, if it can be set back.
    manual: Option<ManualClock>,
    /// Dropped after the store: a temporary folder, a server.
    keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// An empty store; `pass` lets its clock go on by at least so much (moves a manual clock, or waits).
    pub fn new(store: Arc<dyn Store>, pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self { store, pass: Box::new(pass), manual: None, keep: Vec::new() }
    }

    /// An empty store that lives by the clock of `manual`, which the suite moves, and sets back.
    pub fn simulated(store: Arc<dyn Store>, manual: ManualClock) -> Self {
        let clock = manual.clone();
        Self { manual: Some(manual), ..Self::new(store, move |by| clock.advance(by)) }
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

    /// Sets the wall clock back, if it is a simulated one.
    fn step_back(&self, by: Duration) -> bool {
        let Some(manual) = &self.manual else { return false };
        manual.set_wall(manual.clock().wall() - by);
        true
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

/// What a maker of subjects may return: a [`Subject`], or `None` where there is no server to test and the maker has said so
/// (a line with SKIPPED on stderr).
pub trait MaybeSubject {
    /// The subject, if there is one.
    fn subject(self) -> Option<Subject>;
}

impl MaybeSubject for Subject {
    fn subject(self) -> Option<Subject> {
        Some(self)
    }
}

impl MaybeSubject for Option<Subject> {
    fn subject(self) -> Option<Subject> {
        self
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
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Looks again until it sees a whole: a commit whose future was dropped may still be applied, also between two reads. Returns the
/// last look, which is half of something when it stays so.
async fn until_whole<T>(look: impl AsyncFn() -> T, is_whole: impl Fn(&T) -> bool) -> T {
    for _ in 0..100 {
        let seen = look().await;
        if is_whole(&seen) {
            return seen;
        }
        crash::pause().await;
    }
    look().await
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
            a_clock_that_goes_back_does_no_harm,
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
            a_lease_may_be_for_ever,
            an_expired_lease_goes_to_the_next_with_a_higher_fence,
            a_released_lease_is_free_at_once,
            a_stale_fence_writes_nothing,
            leases_and_cells_do_not_mix,
            of_many_who_ask_one_gets_it,
            a_bad_owner_is_refused,
            owners_in_any_script_are_told_apart,
            a_clock_that_goes_back_gives_no_second_holder,
            a_dropped_request_makes_no_second_holder,
        }
    };
}

/// Makes tests of the cases of [`conformance::logs`](crate::conformance::logs); see
/// [`cells_conformance!`](crate::cells_conformance).
#[macro_export]
macro_rules! logs_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { logs, $make:
            what_is_appended_is_read,
            a_batch_appends_in_its_order,
            logs_do_not_mix,
            a_log_is_read_from_anywhere,
            a_log_that_does_not_exist_is_empty,
            a_kind_that_is_no_name_has_no_logs,
            a_refused_append_leaves_no_gap,
            an_append_with_a_stale_fence_is_refused,
            a_stale_fence_undoes_the_other_appends_of_its_batch,
            a_sealed_log_takes_no_more,
            a_seal_is_set_once,
            a_seal_with_a_stale_fence_is_refused,
            the_last_record_and_the_seal_go_together,
            open_logs_come_in_pages,
            open_logs_resume_behind_any_log,
            logs_are_listed,
            a_deleted_log_begins_anew,
            a_log_is_replaced_in_one_batch,
            empty_and_huge_records_survive,
            logs_in_any_script_are_told_apart,
            a_record_over_the_cap_is_refused_beforehand,
            a_given_time_is_kept,
            many_writers_of_one_log_leave_no_gap,
            refused_appends_among_others_leave_no_gap,
            a_dropped_append_is_whole_or_nothing,
            a_thousand_records_go_in_one_batch,
            a_clock_that_goes_back_leaves_no_gap,
        }
    };
}

/// Makes tests of the cases of [`conformance::queues`](crate::conformance::queues); see
/// [`cells_conformance!`](crate::cells_conformance).
#[macro_export]
macro_rules! queues_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { queues, $make:
            what_is_enqueued_is_received,
            a_queue_that_does_not_exist_is_empty,
            messages_come_in_the_order_of_arrival,
            numbers_grow,
            no_more_is_received_than_asked_for,
            a_received_message_is_hidden,
            an_unsettled_message_comes_again,
            an_acknowledged_message_never_comes_again,
            priority_comes_first,
            a_late_message_of_high_priority_overtakes,
            not_before_hides_until_its_time,
            a_not_before_in_the_past_is_now,
            delayed_messages_join_in_their_order,
            a_duplicate_is_not_enqueued,
            a_dedup_key_outlives_its_message,
            a_dedup_key_is_forgotten_after_its_window,
            an_empty_dedup_window_remembers_nothing,
            queues_do_not_share_dedup_keys,
            a_batch_sees_its_own_dedup_keys,
            a_refused_batch_remembers_no_key,
            of_many_duplicates_at_once_one_is_enqueued,
            messages_of_one_key_come_one_after_another,
            other_keys_go_on,
            a_retry_keeps_its_place_in_the_order,
            a_lapse_keeps_its_place_in_the_order,
            a_buried_message_lets_the_next_go_on,
            a_discarded_message_lets_the_next_go_on,
            a_delayed_message_holds_up_its_key,
            the_order_of_a_key_is_stronger_than_priority,
            a_restored_message_joins_its_key,
            queues_do_not_share_order_keys,
            a_batch_keeps_the_order_of_a_key,
            a_heartbeat_moves_the_end_of_the_visibility,
            a_late_heartbeat_counts_while_nobody_took_over,
            a_stale_receipt_settles_nothing,
            a_late_acknowledgement_counts_while_nobody_took_over,
            a_receipt_is_good_for_one_settlement,
            a_batch_that_settles_twice_is_refused,
            a_forged_receipt_is_refused,
            a_retry_comes_at_its_time,
            a_retry_in_the_past_is_at_once,
            a_buried_message_is_kept,
            every_reason_is_told,
            a_lapse_is_in_the_history,
            the_history_keeps_the_last,
            details_become_one_short_line,
            a_message_is_edited,
            a_message_in_flight_is_not_edited,
            an_edit_ends_the_right_of_a_late_receiver,
            a_dead_letter_is_replayed,
            a_living_message_is_not_replayed,
            a_replayed_message_joins_its_key,
            a_replay_has_a_rate,
            a_dry_run_moves_nothing,
            a_replay_is_filtered_and_limited,
            a_message_is_discarded,
            dead_letters_are_discarded_by_a_filter,
            a_message_that_was_replayed_meanwhile_is_not_discarded,
            the_depth_counts_every_state,
            the_oldest_is_told,
            the_totals_grow_with_what_is_done,
            a_look_takes_nothing,
            queues_are_listed,
            queues_do_not_mix,
            empty_and_huge_bodies_survive,
            keys_in_any_script_are_told_apart,
            names_in_any_script_are_told_apart,
            a_body_over_the_cap_is_refused_beforehand,
            bad_keys_are_refused_beforehand,
            a_ready_queue_does_not_wait,
            an_enqueue_wakes_who_waits,
            the_time_of_a_message_wakes_who_waits,
            the_end_of_a_message_wakes_who_waits_for_the_next,
            many_receivers_never_share_a_message,
            senders_and_receivers_at_once_keep_the_order_of_keys,
            a_dropped_receive_loses_nothing,
            a_dropped_settlement_is_whole_or_nothing,
            a_thousand_messages_go_in_one_batch,
            a_visibility_of_zero_hides_nothing,
            everything_may_be_taken_for_ever,
            a_restored_message_is_as_it_was,
            a_restored_message_in_flight_is_ready,
            a_count_of_deliveries_does_not_run_over,
            a_clock_that_goes_back_does_no_harm,
        }
    };
}

/// Makes tests of the cases of [`conformance::batches`](crate::conformance::batches); see
/// [`cells_conformance!`](crate::cells_conformance).
#[macro_export]
macro_rules! batches_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { batches, $make:
            an_acknowledgement_and_what_follows_go_together,
            any_refused_write_undoes_every_shape,
            a_lost_compare_and_set_leaves_the_message_in_flight,
            a_duplicate_lets_its_batch_pass,
            a_fence_guards_an_acknowledgement,
            batches_over_all_shapes_at_once_are_each_whole,
            a_dropped_batch_is_whole_in_every_shape,
            what_is_old_goes_and_the_rest_stays,
            a_person_is_erased_from_every_shape,
            what_a_cipher_seals_lies_sealed,
        }
    };
}

/// Makes a test of [`conformance::model`](crate::conformance::model); see
/// [`cells_conformance!`](crate::cells_conformance).
#[macro_export]
macro_rules! model_conformance {
    ($make:ident) => {
        mod model {
            use super::$make as make_subject;
            use $crate::conformance::model::{random_operations, steps};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn random_operations_agree_with_the_memory_store() {
                random_operations(make_subject, steps(), 42).await;
            }
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
                    let subject = $crate::conformance::MaybeSubject::subject(make_subject().await);
                    if let Some(subject) = subject {
                        $crate::conformance::$suite::$case(subject).await;
                    }
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    async fn memory() -> Subject {
        let manual = ManualClock::new();
        let store = MemoryStore::new(manual.clock());
        Subject::simulated(Arc::new(store), manual)
    }

    crate::cells_conformance!(memory);
    crate::leases_conformance!(memory);
    crate::logs_conformance!(memory);
    crate::queues_conformance!(memory);
    crate::batches_conformance!(memory);
    crate::model_conformance!(memory);
}
