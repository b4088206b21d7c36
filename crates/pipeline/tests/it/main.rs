#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Pipelines over a source and a destination that are plain memory: what is tested here is the pipeline's own bookkeeping.
//! Real platforms and a real database meet it in the main example's tests.

mod fake;
mod secrets;

use fake::{Sink, Table, run_to_end};
use martlet_base::{ManualClock, Observer, Signal};
use martlet_core::ErrorKind;
use martlet_pipeline::{Consent, Outcome, Pipeline, PipelineError, ReconcileMode};
use martlet_store::{MemoryStore, Store};
use std::sync::{Arc, Mutex};

struct World {
    manual: ManualClock,
    table: Table,
    sink: Sink,
    store: Arc<dyn Store>,
}

impl World {
    fn new(records: usize) -> Self {
        let manual = ManualClock::new();
        let store = Arc::new(MemoryStore::new(manual.clock()));
        Self { table: Table::with(records), sink: Sink::new(manual.clock()), store, manual }
    }

    fn builder(&self) -> martlet_pipeline::PipelineBuilder {
        Pipeline::builder("test")
            .source(self.table.clone())
            .transform(fake::Plain("plain@1"))
            .destination(self.sink.clone())
            .store(Arc::clone(&self.store))
            .clock(self.manual.clock())
    }

    fn pipeline(&self) -> Pipeline {
        self.builder().build().unwrap()
    }

    async fn run(&self) -> martlet_pipeline::RunReport {
        run_to_end(&self.manual, &self.pipeline()).await.unwrap()
    }

    async fn reconcile(&self, mode: ReconcileMode) -> martlet_pipeline::ReconcileReport {
        self.pipeline().reconcile(mode).await.unwrap()
    }
}

#[tokio::test]
async fn the_first_run_moves_everything_and_the_second_nothing() {
    let world = World::new(1_234);
    let first = world.run().await;
    assert!(matches!(first.outcome, Outcome::Complete));
    assert_eq!((first.counts.read, first.counts.written, world.sink.len()), (1_234, 1_234, 1_234));
    let sent = world.sink.sent();
    let second = world.run().await;
    assert_eq!((second.counts.written, second.counts.unchanged), (0, 1_234));
    assert_eq!(world.sink.sent(), sent);
}

/// Of each stage that ended: its name, the transform, and the pages that it read.
#[derive(Debug, Default)]
struct Stages(Mutex<Vec<(&'static str, String, Option<u64>)>>);

impl Observer for Stages {
    fn observe(&self, signal: &Signal<'_>) {
        if let Signal::StageFinished { stage, transform, pages, .. } = *signal {
            self.0.lock().unwrap().push((stage, transform.to_owned(), pages));
        }
    }
}

#[tokio::test]
async fn each_stage_names_the_transform_and_those_that_read_count_their_pages() {
    let world = World::new(250);
    let stages = Arc::new(Stages::default());
    let pipeline = world.builder().observer(stages.clone()).build().unwrap();
    run_to_end(&world.manual, &pipeline).await.unwrap();
    pipeline.reconcile(ReconcileMode::State).await.unwrap();
    // Pages of 100 records.
    let expected = [("extract", Some(3)), ("write", None), ("run", Some(3)), ("reconcile", None)];
    let seen = stages.0.lock().unwrap();
    assert_eq!(*seen, expected.map(|(stage, pages)| (stage, "plain@1".to_owned(), pages)));
}

#[tokio::test]
async fn only_what_changed_is_sent() {
    let world = World::new(500);
    world.run().await;
    world.table.set("7", "name", "new");
    world.table.consent("8", Consent::Withdrawn);
    let report = world.run().await;
    assert_eq!((report.counts.written, report.counts.unchanged), (2, 498));
    assert_eq!(world.sink.field("t7", "name").as_deref(), Some("new"));
}

#[tokio::test]
async fn requests_are_as_large_as_the_destination_takes_and_never_larger() {
    let world = World::new(1_234);
    world.run().await;
    let sizes = world.sink.request_sizes();
    assert!(sizes.iter().all(|n| *n <= 50), "{sizes:?}");
    assert_eq!(sizes.len(), 1_234usize.div_ceil(50), "{sizes:?}");
}

#[tokio::test]
async fn the_checkpoint_is_the_end_of_the_finished_prefix() {
    let world = World::new(300);
    // The first request hangs for ever; later ones succeed. Then the process "dies": the run is dropped.
    world.sink.hang_on("0");
    let pipeline = world.pipeline();
    let soon = martlet_base::Deadline::after(world.manual.clock().now(), std::time::Duration::from_secs(60));
    let clock = world.manual.clock();
    assert!(world.manual.drive(clock.within(soon, pipeline.run())).await.is_none());
    assert!(world.sink.len() >= 50, "other requests went through");
    world.sink.behave();
    let report = world.run().await;
    assert!(!report.resumed, "nothing before the hanging request was finished, so nothing may be skipped");
    assert_eq!(report.counts.read, 300);
    assert_eq!(world.sink.len(), 300);
}

#[tokio::test]
async fn a_run_that_failed_in_the_middle_goes_on_from_there() {
    let world = World::new(1_000);
    world.table.fail_after(600);
    let failed = run_to_end(&world.manual, &world.pipeline()).await.unwrap_err();
    assert!(matches!(&failed.error, PipelineError::Source(e) if e.kind() == ErrorKind::Server));
    let done = failed.report.counts;
    assert_eq!(done.read, done.settled());
    world.table.heal();
    let report = world.run().await;
    assert!(report.resumed);
    assert!(report.counts.read < 1_000, "{:?}", report.counts);
    assert_eq!(world.sink.len(), 1_000);
    assert!(world.reconcile(ReconcileMode::State).await.is_reconciled());
}

#[tokio::test]
async fn a_spent_quota_is_a_pause_and_not_a_failure() {
    let world = World::new(1_000);
    world.table.exhaust_after(600);
    let report = world.run().await;
    assert!(
        matches!(report.outcome, Outcome::QuotaExhausted { resumes_at: Some(_) }),
        "{:?}",
        report.outcome
    );
    world.table.heal();
    assert!(world.run().await.resumed);
    assert_eq!(world.sink.len(), 1_000);
}

#[tokio::test]
async fn a_request_that_fails_as_a_whole_writes_nothing_down() {
    let world = World::new(100);
    world.sink.fail_on("60");
    let failed = run_to_end(&world.manual, &world.pipeline()).await.unwrap_err();
    assert!(matches!(failed.error, PipelineError::Destination(_)));
    assert_eq!(failed.report.counts.written, 50);
    world.sink.behave();
    let report = world.run().await;
    assert_eq!(report.counts.written, 50);
    assert_eq!(world.sink.len(), 100);
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way_and_keeps_it() {
    let world = World::new(1_000);
    let clock = world.manual.clock();
    world.sink.take(std::time::Duration::from_secs(1));
    let pipeline = world.pipeline();
    let stop = clock.sleep(std::time::Duration::from_millis(2_500));
    let report = world.manual.drive(pipeline.run_until(stop)).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Stopped));
    assert!(report.counts.written > 0 && report.counts.written < 1_000, "{:?}", report.counts);
    assert_eq!(world.sink.len() as u64, report.counts.written, "everything sent was settled");
    let rest = world.run().await;
    assert!(rest.resumed);
    assert_eq!(rest.counts.written + report.counts.written, 1_000);
}

#[tokio::test]
async fn refused_records_become_dead_letters_and_leave_when_they_are_taken() {
    let world = World::new(100);
    world.sink.refuse("5");
    let report = world.run().await;
    assert_eq!((report.counts.written, report.counts.rejected), (99, 1));
    let letters = world.pipeline().dead_letters().await.unwrap();
    assert_eq!((letters[0].key.as_str(), letters[0].reason.as_str()), ("5", "the sink does not like it"));
    assert!(world.reconcile(ReconcileMode::Source).await.is_reconciled(), "a dead letter is not missing");

    let again = world.run().await;
    assert_eq!(again.skipped.get("rejected_before"), Some(&1), "the same content is not tried again");
    world.sink.behave();
    world.table.set("5", "name", "better");
    assert_eq!(world.run().await.counts.written, 1);
    assert!(world.pipeline().dead_letters().await.unwrap().is_empty());
}

#[tokio::test]
async fn dead_letters_keep_the_record_and_can_be_sent_again() {
    let world = World::new(100);
    world.sink.refuse("5");
    world.run().await;
    let letters = world.pipeline().dead_letters().await.unwrap();
    assert_eq!(letters[0].fields["name"], "name 5");
    assert!(!format!("{letters:?}").contains("name 5"), "Debug must not show the record");

    let still = world.manual.drive(world.pipeline().replay_dead_letters()).await.unwrap();
    assert_eq!((still.written, still.rejected), (0, 1));
    world.sink.behave();
    let taken = world.manual.drive(world.pipeline().replay_dead_letters()).await.unwrap();
    assert_eq!((taken.written, taken.rejected), (1, 0));
    assert!(world.sink.has("t5") && world.pipeline().dead_letters().await.unwrap().is_empty());
    assert!(world.reconcile(ReconcileMode::Source).await.is_reconciled());
    assert_eq!(world.run().await.counts.written, 0, "the next run knows it");
}

#[tokio::test]
async fn only_the_records_that_failed_are_sent_again() {
    let world = World::new(100);
    world.sink.defer("5");
    let report = world.run().await;
    assert_eq!((report.counts.written, report.counts.rejected), (99, 1));
    assert_eq!(world.sink.sent(), 102, "two more tries for one record");
    assert_eq!(world.pipeline().dead_letters().await.unwrap()[0].reason, "not now");
}

#[tokio::test]
async fn what_a_full_run_no_longer_meets_is_deleted_once_the_source_confirms_it() {
    let world = World::new(300);
    world.run().await;
    world.table.vanish("7");
    world.table.hide("8");
    let report = world.run().await;
    assert_eq!((report.counts.deleted, report.vanished), (1, 1));
    assert!(!world.sink.has("t7") && world.sink.has("t8"));
    assert!(world.reconcile(ReconcileMode::State).await.is_reconciled());
}

#[tokio::test]
async fn nothing_is_deleted_for_being_absent_when_the_source_cannot_tell() {
    let world = World::new(300);
    world.run().await;
    world.table.vanish("7");
    world.table.cannot_tell();
    let report = world.run().await;
    assert_eq!((report.counts.deleted, report.vanished), (0, 1));
    assert!(world.sink.has("t7"));
}

#[tokio::test]
async fn an_absent_record_whose_key_is_hidden_by_its_hash_is_left_and_counted() {
    let world = World::new(20);
    let long = "x".repeat(2_000);
    world.table.add(&long, "value");
    world.run().await;
    world.table.hide(&long);
    let report = world.run().await;
    assert_eq!((report.counts.deleted, report.vanished), (0, 1));
    assert!(world.sink.has(&format!("t{long}")));
}

#[tokio::test]
async fn half_a_list_is_not_taken_for_a_mass_deletion() {
    let world = World::new(300);
    world.run().await;
    (0..20).for_each(|n| world.table.vanish(&n.to_string()));
    let failed = run_to_end(&world.manual, &world.pipeline()).await.unwrap_err();
    assert!(
        matches!(failed.error, PipelineError::SuspiciousDeletes { gone: 20, known: 300 }),
        "{:?}",
        failed.error
    );
    assert_eq!(world.sink.len(), 300);
    let sure = world.builder().max_delete_ratio(0.1).build().unwrap();
    assert_eq!(run_to_end(&world.manual, &sure).await.unwrap().counts.deleted, 20);
}

#[tokio::test]
async fn a_changed_identity_moves_the_record_and_leaves_no_orphan() {
    let world = World::new(10);
    world.run().await;
    world.table.set("3", "target", "elsewhere");
    world.run().await;
    assert!(world.sink.has("elsewhere") && !world.sink.has("t3"));
    assert_eq!(world.sink.len(), 10);
}

#[tokio::test]
async fn records_that_are_gone_or_lose_their_place_are_deleted_if_they_were_written() {
    let world = World::new(10);
    world.run().await;
    world.table.delete("4");
    world.table.delete("unknown");
    world.table.set("5", "skip", "yes");
    let report = world.run().await;
    assert_eq!((report.counts.deleted, report.counts.skipped), (2, 1));
    assert!(!world.sink.has("t4") && !world.sink.has("t5"));
    assert!(world.reconcile(ReconcileMode::State).await.is_reconciled());
    assert_eq!(world.run().await.counts.deleted, 0);
}

#[tokio::test]
async fn the_same_key_twice_in_one_batch_ends_with_the_later_content() {
    let world = World::new(20);
    world.table.repeat("3", "name", "later");
    let report = world.run().await;
    assert_eq!(report.counts.read, 21);
    assert_eq!(world.sink.field("t3", "name").as_deref(), Some("later"));
    assert!(world.reconcile(ReconcileMode::State).await.is_reconciled());
}

#[tokio::test]
async fn a_dry_run_writes_nothing_anywhere() {
    let world = World::new(100);
    let pipeline = world.builder().dry_run(true).build().unwrap();
    let report = run_to_end(&world.manual, &pipeline).await.unwrap();
    assert!(report.dry_run);
    assert_eq!((report.counts.written, world.sink.len()), (100, 0));
    assert!(world.store.scan("", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_mapping_looks_at_every_record_anew() {
    let world = World::new(50);
    world.table.incremental();
    world.run().await;
    assert_eq!(world.run().await.counts.read, 0, "nothing changed");
    let other = world.builder().transform(fake::Plain("plain@2")).build().unwrap();
    assert_eq!(run_to_end(&world.manual, &other).await.unwrap().counts.read, 50);
}

#[tokio::test]
async fn reconciliation_names_what_differs() {
    let world = World::new(100);
    world.run().await;
    world.sink.drop_record("t1");
    world.sink.set_field("t2", "name", "edited by hand");
    world.sink.plant("t999", "999");
    for mode in [ReconcileMode::State, ReconcileMode::Source] {
        let report = world.reconcile(mode).await;
        assert_eq!(
            (report.expected.count, report.actual.count),
            (100, 100),
            "the counts alone would not tell"
        );
        assert_eq!(
            (&report.missing[..], &report.changed[..], &report.extra[..]),
            (&["1".to_owned()][..], &["2".to_owned()][..], &["999".to_owned()][..])
        );
        assert_ne!(report.expected.checksum, report.actual.checksum);
    }
}

#[tokio::test]
async fn reconciling_with_the_source_finds_what_the_pipeline_never_saw() {
    let world = World::new(10);
    world.run().await;
    world.table.add("new", "never synced");
    assert!(world.reconcile(ReconcileMode::State).await.is_reconciled());
    assert_eq!(world.reconcile(ReconcileMode::Source).await.missing, ["new"]);
}

#[tokio::test]
async fn strange_keys_are_only_keys() {
    let world = World::new(0);
    for key in ["", "a\nb", "#", &"x".repeat(2_000), "ключ/…"] {
        world.table.add(key, "value");
    }
    assert_eq!(world.run().await.counts.written, 5);
    assert_eq!(world.run().await.counts.unchanged, 5);
    assert!(world.reconcile(ReconcileMode::State).await.is_reconciled());
    world.sink.set_field(&format!("t{}", "x".repeat(2_000)), "name", "edited");
    assert_eq!(world.reconcile(ReconcileMode::State).await.changed.len(), 1);
}

#[tokio::test]
async fn state_that_cannot_be_understood_is_refused_and_not_reset() {
    let world = World::new(10);
    world.run().await;
    let key = martlet_store::CellKey::new("pipeline/test/checkpoint").unwrap();
    let newer =
        r#"{"checkpoint":{"v":9,"stream":"table","position":0,"complete":true},"transform":"plain@1"}"#;
    for bad in [newer, "not json", &newer.replace("table", "other").replace('9', "1")] {
        let batch =
            martlet_store::WriteBatch::new().put(key.clone(), martlet_store::Expect::Any, bad.to_owned());
        world.store.commit(batch).await.unwrap();
        let failed = run_to_end(&world.manual, &world.pipeline()).await.unwrap_err();
        assert!(matches!(failed.error, PipelineError::State(_)), "{bad}");
    }
}

#[tokio::test]
async fn a_part_that_panics_is_an_error_and_loses_nothing() {
    let world = World::new(100);
    world.sink.panic_on("60");
    let failed = run_to_end(&world.manual, &world.pipeline()).await.unwrap_err();
    assert!(matches!(failed.error, PipelineError::Panicked("the destination")));
    world.sink.behave();
    world.table.panic_after(50);
    world.table.add("x", "y");
    let failed = run_to_end(&world.manual, &world.pipeline()).await.unwrap_err();
    assert!(matches!(failed.error, PipelineError::Panicked("the source")), "{:?}", failed.error);
    world.table.heal();
    world.run().await;
    assert_eq!(world.sink.len(), 101);
}

#[tokio::test]
async fn reading_ahead_is_bounded() {
    let world = World::new(5_000);
    world.sink.take(std::time::Duration::from_secs(10));
    let pipeline = world.builder().read_ahead(2).build().unwrap();
    run_to_end(&world.manual, &pipeline).await.unwrap();
    let most = world.table.most_unsettled(&world.sink);
    assert!(most <= 50 * 4 + 100 * 4, "{most} records were in memory at once");
}

#[test]
fn a_pipeline_with_a_missing_or_foolish_part_is_not_built() {
    let world = World::new(1);
    let text = |builder: martlet_pipeline::PipelineBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(text(Pipeline::builder("x")), "pipeline \"x\" has no destination");
    assert!(text(world.builder().read_ahead(0)).contains("read_ahead"));
    let named = Pipeline::builder("a/b").source(world.table.clone());
    assert!(text(named).contains("a/b"));
}
