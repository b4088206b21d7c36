//! Contacts as a source: full and incremental runs, resumed ones, archived contacts.

use crate::kit::{Scripted, World};
use martlet_base::Timestamp;
use martlet_core::{ErrorKind, Layer, Next, Request, Response, Result};
use martlet_hubspot::sim::{SimOptions, archived_contacts, seed_contact};
use martlet_hubspot::{ContactInput, ContactSource, HubSpotPlan, operations};
use martlet_pipeline::{Batch, Checkpoint, Completeness, Consent, Op, Record, Source};
use serde_json::json;
use std::time::Duration;

const PROPERTIES: [&str; 5] = ["email", "firstname", "lastname", "loyalty_tier", "favorite_color"];

fn source(world: &World) -> ContactSource {
    ContactSource::new(world.hubspot.clone(), PROPERTIES)
}

/// Reads up to `most` batches.
async fn read(world: &World, source: &ContactSource, from: Option<&Checkpoint>, most: usize) -> Vec<Batch> {
    world
        .clock
        .drive(async {
            let mut reader = source.open(from).await.unwrap();
            let mut batches = Vec::new();
            while batches.len() < most
                && let Some(batch) = reader.next().await.unwrap()
            {
                batches.push(batch);
            }
            batches
        })
        .await
}

async fn run(world: &World, from: Option<&Checkpoint>) -> Vec<Batch> {
    read(world, &source(world), from, usize::MAX).await
}

fn keys(batches: &[Batch], op: Op) -> Vec<u64> {
    let records = batches.iter().flat_map(|batch| &batch.records);
    records.filter(|record| record.op == op).map(|record| record.key.parse().unwrap()).collect()
}

fn last(batches: &[Batch]) -> &Checkpoint {
    &batches.last().unwrap().checkpoint
}

fn living(count: u64) -> Vec<u64> {
    (0..count).map(|index| seed_contact(42, index, count).id).collect()
}

#[tokio::test]
async fn the_first_run_reads_everything_and_ends_complete() {
    let world = World::new(1_050);
    let batches = run(&world, None).await;
    assert_eq!(batches.len(), 11);
    assert_eq!(keys(&batches, Op::Upsert), living(1_050));
    assert!(keys(&batches, Op::Delete).is_empty(), "nothing was written yet that could be archived");
    assert!(batches.iter().all(|batch| batch.total == Some(1_050)));
    let complete: Vec<bool> = batches.iter().map(|batch| batch.checkpoint.is_complete()).collect();
    assert_eq!(complete, [vec![false; 10], vec![true]].concat());
    // The time at which it began, whatever it took.
    assert_eq!(last(&batches).position(), &json!({"v": 1, "mode": "idle", "since": 1_767_225_600_000_i64}));
    assert_eq!(world.sim.stats().violations, 0);
}

#[tokio::test]
async fn a_full_run_uses_the_quota_and_breaks_none() {
    for per_ten_seconds in [100, 190] {
        let options = SimOptions { contacts: 45_000, per_ten_seconds, ..SimOptions::default() };
        let world = World::with(options, |b| b.plan(HubSpotPlan::Custom { per_ten_seconds }));
        let batches = run(&world, None).await;
        assert_eq!(batches.len(), 450);
        let stats = world.sim.stats();
        assert_eq!(stats.violations, 0);
        assert!(stats.quota_use_ratio > 0.9, "{per_ten_seconds}: {stats:?}");
    }
}

#[tokio::test]
async fn records_have_the_properties_as_text_and_the_consent_of_the_opt_out() {
    let world = World::new(2_000);
    let batches = run(&world, None).await;
    let records: Vec<&Record> = batches.iter().flat_map(|batch| &batch.records).collect();
    let of = |consent| records.iter().filter(move |record| record.consent == consent).count();
    let opted_out = (0..2_000).filter(|index| seed_contact(42, *index, 2_000).opted_out).count();
    assert_eq!(of(Consent::Withdrawn), opted_out);
    assert!(of(Consent::Unknown) > 100 && of(Consent::Given) > 1_000);
    for (record, index) in records.iter().zip(0..) {
        assert_eq!(record.text("email"), seed_contact(42, index, 2_000).email.as_deref());
        assert!(record.fields.values().all(|value| value.as_str().is_some_and(|text| !text.is_empty())));
        assert!(record.fields.keys().all(|name| PROPERTIES.contains(&name.as_str())));
    }
}

#[tokio::test]
async fn a_run_right_after_a_complete_one_reads_no_living_contact() {
    let world = World::new(1_050);
    let first = run(&world, None).await;
    let second = run(&world, Some(last(&first))).await;
    assert!(keys(&second, Op::Upsert).is_empty());
    let archived: Vec<u64> = (1_050..1_056).map(|index| seed_contact(42, index, 1_050).id).collect();
    assert_eq!(keys(&second, Op::Delete), archived);
    assert!(last(&second).is_complete());
}

#[tokio::test]
async fn an_incremental_run_reads_what_changed_and_what_was_archived() {
    let world = World::new(1_050);
    let first = run(&world, None).await;
    world.clock.advance(Duration::from_secs(3_600));
    let contacts = world.hubspot.contacts();
    let changed = [ContactInput::new("brand.new@example.com").set("firstname", "New")];
    let outcome = world.clock.drive(contacts.batch_upsert("email", &changed)).await.unwrap();
    let new: u64 = outcome.ok[0].1.contact.id.as_str().parse().unwrap();
    world.clock.drive(contacts.archive(living(1_050)[500])).await.unwrap();
    let second = run(&world, Some(last(&first))).await;
    assert_eq!(keys(&second, Op::Upsert), [new]);
    assert!(keys(&second, Op::Delete).contains(&living(1_050)[500]));
    assert_eq!(second[0].total, Some(1));
    // The next one looks back over the change once more, for searches that lag behind.
    let third = run(&world, Some(last(&second))).await;
    assert_eq!(keys(&third, Op::Upsert), [new]);
    world.clock.advance(Duration::from_secs(301));
    let fourth = run(&world, Some(last(&third))).await;
    let fifth = run(&world, Some(last(&fourth))).await;
    assert!(keys(&fifth, Op::Upsert).is_empty());
}

#[tokio::test]
async fn a_change_during_the_full_run_is_read_by_the_next() {
    let world = World::new(1_050);
    let source = source(&world);
    let mut reader = source.open(None).await.unwrap();
    let mut batches = vec![world.clock.drive(reader.next()).await.unwrap().unwrap()];
    world.clock.advance(Duration::from_secs(1_000));
    // It was read already: the list will not give it again.
    let first = keys(&batches, Op::Upsert)[0];
    world.raw(
        "PATCH",
        &format!("/crm/v3/objects/contacts/{first}"),
        &json!({"properties": {"city": "Bern"}}),
    );
    while let Some(batch) = world.clock.drive(reader.next()).await.unwrap() {
        batches.push(batch);
    }
    let second = run(&world, Some(last(&batches))).await;
    assert_eq!(keys(&second, Op::Upsert), [first]);
}

#[tokio::test]
async fn twelve_thousand_contacts_with_one_date_are_read_once_each() {
    let world = World::new(60_000);
    let shared: Timestamp = "2025-05-15T00:00:00Z".parse().unwrap();
    let seeded: Vec<_> = (0..60_000).map(|index| seed_contact(42, index, 60_000)).collect();
    assert!(seeded.iter().filter(|c| c.modified == shared).count() > 11_500);
    let expected: Vec<u64> = seeded.iter().filter(|c| c.modified >= shared).map(|c| c.id).collect();
    assert!(expected.len() > 12_000);
    let position = json!({"v": 1, "mode": "idle", "since": (shared + Duration::from_secs(60)).as_millis()});
    let checkpoint = Checkpoint::complete("hubspot.contacts", position);
    let source = source(&world).lookback(Duration::from_secs(60));
    let batches = read(&world, &source, Some(&checkpoint), usize::MAX).await;
    assert_eq!(keys(&batches, Op::Upsert), expected);
    assert_eq!(batches[0].total, Some(expected.len() as u64));
    assert_eq!(world.sim.stats().violations, 0);
}

#[tokio::test]
async fn any_run_can_be_interrupted_after_any_batch() {
    let world =
        World::with(SimOptions { contacts: 650, per_ten_seconds: 100_000, ..SimOptions::default() }, |b| b);
    let archived = archived_contacts(650);
    let first = run(&world, None).await;
    world.clock.advance(Duration::from_secs(86_400));
    for id in living(650).into_iter().take(450) {
        world.raw(
            "PATCH",
            &format!("/crm/v3/objects/contacts/{id}"),
            &json!({"properties": {"city": "Bern"}}),
        );
    }
    for from in [None, Some(last(&first))] {
        let whole = read(&world, &source(&world), from, usize::MAX).await;
        for most in 1..whole.len() {
            let mut parts = read(&world, &source(&world), from, most).await;
            let middle: Checkpoint =
                serde_json::from_value(serde_json::to_value(last(&parts)).unwrap()).unwrap();
            assert!(!middle.is_complete());
            let since = middle.position()["since"].clone();
            world.clock.advance(Duration::from_secs(60));
            parts.extend(run(&world, Some(&middle)).await);
            assert_eq!(keys(&parts, Op::Upsert), keys(&whole, Op::Upsert), "{from:?} {most}");
            assert_eq!(keys(&parts, Op::Delete).len() as u64, archived, "resumed: archived ones are read");
            assert_eq!(last(&parts).position()["since"], since, "the start of the run, not of its rest");
            assert!(last(&parts).is_complete());
        }
    }
}

#[tokio::test]
async fn a_forced_full_run_reads_everything_again_and_the_archived_ones() {
    let world = World::new(350);
    let first = run(&world, None).await;
    let full = source(&world).full(true);
    let again = read(&world, &full, Some(last(&first)), usize::MAX).await;
    assert_eq!(keys(&again, Op::Upsert), living(350));
    assert_eq!(keys(&again, Op::Delete).len() as u64, archived_contacts(350));
}

#[tokio::test]
async fn a_reader_says_whether_it_reads_everything() {
    let world = World::new(250);
    let first = run(&world, None).await;
    let completeness = async |from: Option<&Checkpoint>, full| {
        source(&world).full(full).open(from).await.unwrap().completeness()
    };
    assert_eq!(completeness(None, false).await, Completeness::Full);
    assert_eq!(completeness(Some(last(&first)), true).await, Completeness::Full);
    assert_eq!(completeness(Some(last(&first)), false).await, Completeness::Incremental);
    // Its beginning was read by somebody else.
    assert_eq!(completeness(Some(&first[0].checkpoint), false).await, Completeness::Incremental);
}

#[tokio::test]
async fn a_foreign_checkpoint_is_refused() {
    let world = World::new(10);
    let foreign = Checkpoint::complete("mailchimp.members", json!({"v": 1, "mode": "idle", "since": 0}));
    let error = source(&world).open(Some(&foreign)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn a_search_that_goes_in_circles_ends_the_run() {
    let page = |ids: &[&str]| {
        let results: Vec<_> = ids.iter().map(|id| json!({"id": id, "properties": {}})).collect();
        json!({"total": 400, "results": results, "paging": {"next": {"after": "200"}}})
    };
    let idle = Checkpoint::complete("hubspot.contacts", json!({"v": 1, "mode": "idle", "since": 0}));
    for second in [&["7", "9"][..], &["3", "4"], &["9", "x"], &[]] {
        let scripted = Scripted::new();
        scripted.on(&operations::SEARCH).json(200, &page(&["8", "9"])).then_json(200, &page(second));
        let source = ContactSource::new(scripted.hubspot.clone(), PROPERTIES);
        let mut reader = source.open(Some(&idle)).await.unwrap();
        let first = scripted.clock.drive(reader.next()).await.unwrap().unwrap();
        assert_eq!(first.checkpoint.position()["last_id"], "9");
        let error = scripted.clock.drive(reader.next()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{second:?}");
        scripted.transport.verify();
    }
}

/// Makes every request take a few polls, so that there are places to give up at.
#[derive(Debug)]
struct Slow;

#[async_trait::async_trait]
impl Layer for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        tokio::task::yield_now().await;
        let response = next.run(request).await;
        tokio::task::yield_now().await;
        response
    }
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let options = SimOptions { contacts: 350, ..SimOptions::default() };
    let world = World::with(options, |builder| builder.attempt_layer(Slow));
    let mut reader = source(&world).open(None).await.unwrap();
    let (mut read, mut dropped, mut patience) = (Vec::new(), 0, 1);
    loop {
        // Given up at every possible place before it is let through.
        let next = poll_up_to(patience, reader.next()).await;
        match next {
            None => {
                dropped += 1;
                patience += 1;
                world.clock.advance(Duration::from_secs(1));
            }
            Some(batch) => {
                patience = 1;
                match batch.unwrap() {
                    Some(batch) => read.extend(keys(&[batch], Op::Upsert)),
                    None => break,
                }
            }
        }
        assert!(patience < 100);
    }
    assert!(dropped >= 8, "{dropped}");
    assert_eq!(read, living(350));
}

async fn poll_up_to<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    for _ in 0..times {
        let polled = future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        if let std::task::Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn existence_is_told_for_each_key_in_its_place() {
    let world = World::new(30);
    let known = seed_contact(42, 4, 30).id.to_string();
    let archived = seed_contact(42, 30, 30).id.to_string();
    let keys = ["999999999".to_owned(), known, archived];
    let there = world.clock.drive(source(&world).exists(&keys)).await.unwrap();
    assert_eq!(there, Some(vec![false, true, false]));
}

#[tokio::test]
async fn contacts_merged_into_another_come_as_deletions_beside_it() {
    let scripted = Scripted::new();
    scripted.on(&operations::SEARCH).then_json(200, &json!({"total": 1, "results": []}));
    let survivor = json!({"id": "9", "properties": {"email": "a@b.example", "hs_merged_object_ids": "7;8"}});
    scripted.on(&operations::LIST).then_json(200, &json!({"results": [survivor]}));
    let source = ContactSource::new(scripted.hubspot.clone(), ["email"]);
    let batch =
        scripted.clock.drive(async { source.open(None).await.unwrap().next().await.unwrap().unwrap() }).await;
    let seen: Vec<(Op, &str)> = batch.records.iter().map(|record| (record.op, record.key.as_str())).collect();
    assert_eq!(seen, [(Op::Upsert, "9"), (Op::Delete, "7"), (Op::Delete, "8")]);
}
