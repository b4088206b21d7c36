//! The key is in nothing that is printed, whatever the platform says, and in no cassette.

use crate::support::LIST;
use martlet_base::{ManualClock, Timestamp};
use martlet_mailchimp::sim::{MailchimpSim, SimOptions};
use martlet_mailchimp::{
    BatchOperation, BulkMember, BulkOptions, Mailchimp, MemberStatus, MemberUpsert, operations,
};
use martlet_testkit::{Canary, CassetteMode, CassetteTransport, ScriptedTransport, SimTransport};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_key_that_mailchimp_quotes_is_in_no_error() {
    let canary = Canary::new("key");
    let key = format!("{}-us1", canary.text());
    let said = format!("The API key {key} is no good");
    for status in [400, 401, 403, 404, 405, 429, 500] {
        let problem = json!({ "title": said, "status": status, "detail": said, "instance": "i-1",
            "errors": [{ "field": said, "message": said }] });
        let clock = ManualClock::new();
        let transport = ScriptedTransport::new(clock.clock());
        for operation in [&operations::MEMBERS_GET, &operations::AUDIENCES_LIST, &operations::MEMBERS_BULK] {
            transport.on(operation).json(status, &problem).forever();
        }
        let builder = Mailchimp::builder().transport(transport).clock(clock.clock()).api_key(key.clone());
        canary.absent_from_debug("the builder", &builder);
        let mailchimp = builder.build().unwrap();
        canary.absent_from_debug("the client", &mailchimp);
        let members = mailchimp.audience(LIST).members();
        canary.absent_from_debug("an endpoint", &members);
        let error = clock.drive(members.get("ada@example.org")).await.unwrap_err();
        canary.absent_from_error(&format!("the error of get at {status}"), &error);
        let error = clock.drive(mailchimp.audiences().list().collect()).await.unwrap_err();
        canary.absent_from_error(&format!("the error of a list at {status}"), &error);
        let ada = BulkMember::new("ada@example.org", MemberUpsert::new(MemberStatus::Subscribed));
        let error = clock.drive(members.bulk(&[ada], BulkOptions::update_existing())).await.unwrap_err();
        canary.absent_from_error(&format!("the error of bulk at {status}"), &error);
    }
    // A key without its data centre, and one of which a host cannot be made.
    for key in
        [canary.text().to_owned(), format!("{}-us1/evil", canary.text()), format!("{}-\n", canary.text())]
    {
        let builder = Mailchimp::builder().transport(ScriptedTransport::new(ManualClock::new().clock()));
        if let Err(error) = builder.api_key(key).build() {
            canary.absent_from_error("a key that is refused", &error);
        }
    }
    let builder = Mailchimp::builder().access_token(canary.text(), "us1");
    canary.absent_from_debug("a builder with a token", &builder);
}

fn mailchimp(cassette: &CassetteTransport, clock: &ManualClock, key: &str) -> Mailchimp {
    let builder = Mailchimp::builder().transport(cassette.clone()).clock(clock.clock());
    builder.api_key(format!("{key}-us1")).build().unwrap()
}

fn cassette(
    path: &Path,
    mode: CassetteMode,
    sim: Arc<MailchimpSim>,
    clock: &ManualClock,
) -> CassetteTransport {
    let builder = CassetteTransport::builder(path).mode(mode);
    builder.through(SimTransport::new(sim, clock.clock())).open().unwrap()
}

/// A batch, from its submission to the archive with its results, which lies on another host.
async fn batch(mailchimp: &Mailchimp, clock: &ManualClock) -> Vec<u16> {
    let upsert =
        |email: &str| BatchOperation::upsert_member(LIST, email, MemberUpsert::new(MemberStatus::Subscribed));
    let batches = mailchimp.batches();
    let operations = [upsert("zoe@example.org").id("a"), upsert("non@sense").id("b")];
    let batch = clock.drive(batches.submit(&operations)).await.unwrap();
    clock.drive(batches.wait(&batch.id, Duration::from_secs(3600))).await.unwrap();
    let results = clock.drive(batches.results(&batch.id)).await.unwrap();
    results.iter().map(|result| result.status).collect()
}

#[tokio::test]
async fn a_batch_with_its_archive_is_recorded_without_the_key_and_plays() {
    let canary = Canary::new("key");
    let key = format!("{}-us1", canary.text());
    let sim = Arc::new(MailchimpSim::new(SimOptions { api_key: key, ..SimOptions::default() }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("batch.json");
    let start = || ManualClock::starting_at(Timestamp::from_secs(1_700_000_000));

    let clock = start();
    let recording = cassette(&path, CassetteMode::Record, Arc::clone(&sim), &clock);
    let recorded = batch(&mailchimp(&recording, &clock, canary.text()), &clock).await;
    assert_eq!(recorded.len(), 2);
    recording.finish().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    canary.absent_from("the cassette", &text);
    assert!(text.contains("\"base64\": [") && text.contains("batch_results.get"), "{text}");

    let clock = start();
    let replay = cassette(&path, CassetteMode::Replay, sim, &clock);
    assert_eq!(batch(&mailchimp(&replay, &clock, "another-key-of-ci"), &clock).await, recorded);
    replay.finish().unwrap();
}
