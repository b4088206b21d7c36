use crate::support::{KEY, LIST, client_of, time};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt as _;
use http::Method;
use martlet_base::{Delivery, ManualClock, Timestamp};
use martlet_core::{BulkOutcome, Error, ErrorKind, TransportErrorKind};
use martlet_mailchimp::sim::{MailchimpSim, SimOptions};
use martlet_mailchimp::{
    Batch, BatchOperation, BatchResult, BatchStatus, Batches, MAX_BATCH, Mailchimp, Member, MemberStatus,
    MemberUpsert, TagChanges, operations,
};
use martlet_store::MemoryStore;
use martlet_testkit::{ScriptedTransport, SimReply, SimRequest, SimTransport, Simulator as _};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tar::{EntryType, Header};
use url::Url;

const HOUR: Duration = Duration::from_secs(3600);
const ID: &str = "8b2428d747";

fn upsert(email: &str) -> BatchOperation {
    BatchOperation::upsert_member(LIST, email, MemberUpsert::new(MemberStatus::Subscribed))
}

/// One that exists, one that is nonsense, a tag, one whose answer is of no use, and one that nobody knows.
fn mixed() -> Vec<BatchOperation> {
    vec![
        upsert("zoe@example.org"),
        upsert("non@sense").id("row-2"),
        BatchOperation::change_tags(LIST, "zoe@example.org", TagChanges::new().give("vip")),
        BatchOperation::get(format!("/lists/{LIST}/members")).param("count", "1"),
        BatchOperation::archive_member(LIST, "nobody@example.org"),
    ]
}

fn simulated(options: SimOptions) -> (Arc<MailchimpSim>, ManualClock, Mailchimp) {
    let sim = Arc::new(MailchimpSim::new(options));
    let clock = ManualClock::starting_at(Timestamp::from_secs(1_700_000_000));
    let mailchimp = client_of(&sim, &clock);
    (sim, clock, mailchimp)
}

struct Scripted {
    clock: ManualClock,
    transport: ScriptedTransport,
    batches: Batches,
}

fn scripted() -> Scripted {
    let clock = ManualClock::new();
    let transport = ScriptedTransport::new(clock.clock());
    let builder = Mailchimp::builder().transport(transport.clone()).clock(clock.clock());
    let batches = builder.api_key("s3cr3t-us20").build().unwrap().batches().max_unpacked(1 << 20);
    Scripted { clock, transport, batches }
}

fn finished() -> Value {
    serde_json::from_str(include_str!("../../fixtures/batch.json")).unwrap()
}

fn result(id: impl Into<Value>, status: u16) -> Value {
    json!({ "status_code": status, "operation_id": id.into(), "response": "{}" })
}

fn packed(files: &[(EntryType, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (kind, text) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, "results.json", text.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn archive_of(results: &Value) -> Vec<u8> {
    packed(&[(EntryType::Regular, serde_json::to_vec(results).unwrap())])
}

/// What becomes of three operations whose results are in this archive.
async fn outcome_of(archive: Vec<u8>) -> Result<BulkOutcome<BatchResult>, Error> {
    let Scripted { transport, batches, .. } = scripted();
    transport.on(&operations::BATCHES_GET).json(200, &finished());
    transport.on(&operations::BATCH_RESULTS).reply(200).body(archive);
    let three = ["a@example.org", "b@example.org", "c@example.org"].map(upsert);
    batches.outcome(ID, &three).await
}

#[tokio::test]
async fn a_batch_is_submitted_awaited_and_mapped_back() {
    let (sim, clock, mailchimp) = simulated(SimOptions::default());
    let batches = mailchimp.batches();
    let mut operations = mixed();
    operations.extend((0..995).map(|n| upsert(&format!("{n}@example.org"))));
    let batch = batches.submit(&operations).await.unwrap();
    assert_eq!((&batch.status, batch.total_operations), (&BatchStatus::Pending, 1_000));
    let early = batches.outcome(&batch.id, &operations).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Conflict, "{early}");

    let batch = clock.drive(batches.wait(&batch.id, HOUR)).await.unwrap();
    assert_eq!((batch.finished_operations, batch.errored_operations), (1_000, 2));
    let outcome = batches.outcome(&batch.id, &operations).await.unwrap();
    let failed: Vec<_> =
        outcome.failed.iter().map(|(place, e)| (*place, e.kind(), e.code().unwrap())).collect();
    let expected =
        [(1, ErrorKind::Rejected, "Invalid Resource"), (4, ErrorKind::NotFound, "Resource Not Found")];
    assert_eq!(failed, expected);
    assert!(!outcome.failed[0].1.to_string().contains("non@"), "{}", outcome.failed[0].1);
    assert_eq!(outcome.failed[0].1.operation(), Some("batches.create"));
    let ok: Vec<usize> = outcome.ok.iter().map(|(place, _)| *place).collect();
    assert_eq!(ok, [vec![0, 2, 3], (5..1_000).collect()].concat());
    let zoe: Member = outcome.ok[0].1.json().unwrap();
    assert_eq!(zoe.email_address, "zoe@example.org");
    assert_eq!((outcome.ok[1].1.status, &*outcome.ok[1].1.body), (204, ""));
    let tags = mailchimp.audience(LIST).members().tags("zoe@example.org").collect().await.unwrap();
    assert_eq!(tags[0].name, "vip");

    let results = batches.results(&batch.id).await.unwrap();
    assert_eq!((&*results[0].operation_id, &*results[1].operation_id), ("0", "row-2"));
    let stats = sim.stats();
    assert_eq!((stats.members, stats.leaked), (996, 0), "no credential went to the storage");
    assert!(!format!("{operations:?} {results:?} {batch:?}").contains("example"));
}

#[tokio::test]
async fn batches_are_listed_and_deleted() {
    let (_, clock, mailchimp) = simulated(SimOptions::default());
    let batches = mailchimp.batches();
    let first = batches.submit(&mixed()).await.unwrap();
    clock.advance(Duration::from_secs(10));
    let second = batches.submit(&mixed()).await.unwrap();
    let all = batches.list().collect().await.unwrap();
    assert_eq!(all.iter().map(Batch::is_finished).collect::<Vec<_>>(), [true, false]);
    batches.delete(&first.id).await.unwrap();
    assert_eq!(batches.list().collect().await.unwrap()[0].id, second.id);
    for error in [batches.get(&first.id).await.map(drop), batches.delete(&first.id).await] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn looking_gets_slower_and_ends_with_patience() {
    let batch_time = Duration::from_secs(100);
    let (sim, clock, mailchimp) = simulated(SimOptions { batch_time, ..SimOptions::default() });
    let batches = mailchimp.batches();
    let id = batches.submit(&mixed()).await.unwrap().id;
    let (start, before) = (clock.clock().now(), sim.stats().requests);
    let error = clock.drive(batches.wait(&id, Duration::from_secs(5))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.message().contains("pending"), "{error}");
    assert_eq!(clock.clock().now().since(start), Duration::from_secs(5));
    assert_eq!(sim.stats().requests - before, 4, "after 0, 1, 3 and 5 s");

    let (start, before) = (clock.clock().now(), sim.stats().requests);
    clock.drive(batches.wait(&id, HOUR)).await.unwrap();
    assert_eq!(clock.clock().now().since(start), Duration::from_secs(121));
    assert_eq!(sim.stats().requests - before, 9, "after 0, 1, 3, 7, 15, 31, 61, 91 and 121 s");
}

#[tokio::test]
async fn a_wait_that_is_dropped_leaves_nothing() {
    let (_, clock, mailchimp) = simulated(SimOptions::default());
    let batches = mailchimp.batches();
    let id = batches.submit(&mixed()).await.unwrap().id;
    let mut wait = Box::pin(batches.wait(&id, HOUR));
    assert!((&mut wait).now_or_never().is_none());
    assert_eq!(clock.sleepers(), 1);
    drop(wait);
    assert_eq!(clock.sleepers(), 0);
}

#[tokio::test]
async fn what_is_sent_is_what_the_platform_documents() {
    let Scripted { transport, batches, .. } = scripted();
    transport.on(&operations::BATCHES_CREATE).json(200, &json!({ "id": ID, "status": "pending" }));
    batches.submit(&mixed()[..4]).await.unwrap();
    let request = &transport.requests()[0];
    let mut sent: Value = request.json();
    let body: Value = serde_json::from_str(sent["operations"][0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({ "email_address": "zoe@example.org", "status_if_new": "subscribed" }));
    let zoe = format!("/lists/{LIST}/members/{}", martlet_mailchimp::SubscriberHash::of("zoe@example.org"));
    let ids: Vec<_> = (0..4).map(|place| sent["operations"][place]["operation_id"].clone()).collect();
    assert_eq!(ids, ["0", "row-2", "2", "3"]);
    assert_eq!(
        (&sent["operations"][0]["method"], &sent["operations"][0]["path"]),
        (&json!("PUT"), &json!(zoe))
    );
    let get = json!({
        "method": "GET", "path": format!("/lists/{LIST}/members"), "params": { "count": "1" }, "operation_id": "3",
    });
    assert_eq!((sent["operations"][3].take(), request.url.path()), (get, "/3.0/batches"));
}

#[tokio::test]
async fn the_results_are_fetched_from_the_very_address_and_without_the_key() {
    let Scripted { clock, transport, batches } = scripted();
    transport.on(&operations::BATCHES_GET).json(200, &finished());
    let results = json!([result("0", 200), result("2", 400), result("1", 200)]);
    transport.on(&operations::BATCH_RESULTS).reply(503).then(200).body(archive_of(&results));
    let three = ["a@example.org", "b@example.org", "c@example.org"].map(upsert);
    let outcome = clock.drive(batches.outcome(ID, &three)).await.unwrap();
    assert_eq!(outcome.ok.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((outcome.failed[0].0, outcome.failed[0].1.status()), (2, Some(400)));
    let requests = transport.requests();
    assert!(requests[0].header("authorization").is_some());
    assert_eq!(requests.len(), 3, "a storage that stumbles is asked again");
    for request in &requests[1..] {
        assert_eq!(request.url.as_str(), finished()["response_body_url"]);
        let told = format!("{:?}", request.headers);
        assert!(request.header("authorization").is_none() && !told.contains("s3cr3t"), "{told}");
    }
}

#[tokio::test]
async fn an_address_that_expired_on_the_way_is_asked_for_once_more() {
    let Scripted { transport, batches, .. } = scripted();
    transport.on(&operations::BATCHES_GET).json(200, &finished()).times(4);
    let results = archive_of(&json!([result("0", 200)]));
    transport.on(&operations::BATCH_RESULTS).reply(403).then(200).body(results).then(403).then(404);
    assert_eq!(batches.results(ID).await.unwrap().len(), 1);
    assert_eq!(batches.results(ID).await.unwrap_err().kind(), ErrorKind::NotFound);
    transport.verify();
}

#[tokio::test]
async fn an_address_that_is_not_safe_is_not_used_and_not_quoted() {
    for address in [
        "",
        "storage",
        "http://storage.example/s3cr3t",
        "ftp://storage.example/s3cr3t",
        "https://s3cr3t:s3cr3t@storage.example/x",
        "file:///s3cr3t",
    ] {
        let Scripted { transport, batches, .. } = scripted();
        let mut batch = finished();
        batch["response_body_url"] = address.into();
        transport.on(&operations::BATCHES_GET).json(200, &batch);
        let error = batches.results(ID).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{address}");
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
        assert_eq!(transport.requests().len(), 1, "{address}");
    }
}

#[tokio::test]
async fn results_that_do_not_add_up_are_an_error_and_not_a_success() {
    let (a, b, c) = (result("0", 200), result("1", 200), result("2", 200));
    let honest = outcome_of(archive_of(&json!([c, b, a]))).await.unwrap();
    assert_eq!((honest.ok.len(), honest.failed.len(), honest.ok[0].0), (3, 0, 0));
    let lies = [
        ("one is left out", json!([a, b])),
        ("all are left out", json!([])),
        ("one comes twice", json!([a, b, b])),
        ("one comes twice beside all", json!([a, b, c, c])),
        ("one that was not submitted", json!([a, b, c, result("3", 200)])),
        ("one without an id", json!([a, b, result(Value::Null, 200)])),
        ("a status that is none", json!([a, b, result("2", 7)])),
        ("a number for a text", json!([a, b, result(2, 200)])),
        ("no list", json!({ "status_code": 200 })),
    ];
    for (lie, results) in lies {
        let error = outcome_of(archive_of(&results)).await.expect_err(lie);
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Decode, Delivery::Processed), "{lie}");
    }
}

#[tokio::test]
async fn a_damaged_archive_is_an_error_wherever_it_is_cut_or_changed() {
    let good = archive_of(&json!([result("0", 200), result("1", 200), result("2", 200)]));
    for length in 0..good.len() {
        let error = outcome_of(good[..length].to_vec()).await.expect_err("cut");
        assert_eq!(error.kind(), ErrorKind::Decode, "cut at {length}");
    }
    // Behind the head of gzip, most of which means nothing.
    for place in 10..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        let error = outcome_of(bad).await.expect_err("changed");
        assert_eq!(error.kind(), ErrorKind::Decode, "changed at {place}");
    }
    let error = outcome_of(b"zoe@example.org".to_vec()).await.unwrap_err();
    assert!(error.message().contains("damaged"), "{error}");
    let quoted = json!([{ "status_code": "zoe@example.org", "operation_id": "0" }]);
    let error = outcome_of(archive_of(&quoted)).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("zoe@"), "{error:?}");
}

#[tokio::test]
async fn an_archive_that_swells_is_refused_before_it_fills_the_memory() {
    let many = json!([{ "status_code": 200, "operation_id": "0", "response": " ".repeat(2 << 20) }]);
    let swollen = archive_of(&many);
    assert!(swollen.len() < 16 << 10, "{}", swollen.len());
    let filler = packed(&[(EntryType::Directory, vec![0; 2 << 20])]);
    let long_name = packed(&[(EntryType::GNULongName, vec![b'x'; 2 << 20])]);
    for (trap, archive) in [("a file", swollen), ("a folder", filler), ("a name", long_name)] {
        let error = outcome_of(archive).await.expect_err(trap);
        assert_eq!(error.kind(), ErrorKind::Decode, "{trap}");
        assert!(error.message().contains("larger than 1048576 bytes"), "{trap}: {error}");
    }
    // A head that promises more than comes, up to more than there can be.
    for size in [1_000, 1 << 40, u64::MAX >> 1] {
        let mut header = Header::new_gnu();
        header.set_path("results.json").unwrap();
        header.set_size(size);
        header.set_cksum();
        let mut text = GzEncoder::new(Vec::new(), Compression::default());
        std::io::Write::write_all(&mut text, header.as_bytes()).unwrap();
        std::io::Write::write_all(&mut text, b"[]").unwrap();
        let error = outcome_of(text.finish().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{size}: {error}");
    }
    // What may stand for any number of zeros is passed over.
    let sparse = packed(&[(EntryType::GNUSparse, b"[]".to_vec())]);
    assert_eq!(outcome_of(sparse).await.unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn what_cannot_be_accounted_for_is_not_submitted() {
    let Scripted { transport, batches, .. } = scripted();
    let many: Vec<_> = (0..=MAX_BATCH).map(|n| upsert(&format!("{n}@example.org"))).collect();
    let twice = [upsert("a@example.org").id("1"), upsert("b@example.org")];
    let mut broken = vec![vec![], many, twice.to_vec()];
    let paths = [
        "",
        "/",
        "lists",
        "//lists",
        "/lists/",
        "/lists/../x",
        "/lists?count=1",
        "/lists#",
        "/a b",
        "/\u{e9}",
    ];
    broken.extend(paths.map(|path| vec![BatchOperation::get(path)]));
    for operations in broken {
        let error = batches.submit(&operations).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert_eq!(batches.outcome(ID, &operations).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    }
    assert!(transport.requests().is_empty());
}

#[tokio::test]
async fn a_batch_whose_fate_is_unknown_is_not_submitted_again() {
    let Scripted { clock, transport, batches } = scripted();
    transport.on(&operations::BATCHES_CREATE).fail(TransportErrorKind::Interrupted, Delivery::Unknown);
    let error = clock.drive(batches.submit(&mixed())).await.unwrap_err();
    assert_eq!((error.delivery(), transport.requests().len()), (Delivery::Unknown, 1));
}

#[tokio::test]
async fn a_batch_outlives_a_restart_of_the_simulator() {
    let clock = ManualClock::starting_at(Timestamp::from_secs(1_700_000_000));
    let store = Arc::new(MemoryStore::new(clock.clock()));
    let connect = || {
        let sim = Arc::new(MailchimpSim::new(SimOptions::default()));
        let transport = SimTransport::new(sim, clock.clock()).with_store(store.clone());
        Mailchimp::builder().transport(transport).clock(clock.clock()).api_key(KEY).build().unwrap().batches()
    };
    let id = connect().submit(&mixed()).await.unwrap().id;
    let again = connect();
    clock.drive(again.wait(&id, HOUR)).await.unwrap();
    assert_eq!(again.outcome(&id, &mixed()).await.unwrap().ok.len(), 3);
}

fn ask(sim: &MailchimpSim, method: Method, url: &str, body: &Value, key: bool) -> SimReply {
    let url = Url::parse(url).unwrap();
    let target = &url[url::Position::BeforePath..];
    let request =
        SimRequest::new(method, target).with_header("host", url.authority()).with_body(body.to_string());
    let authorization = format!("Bearer {KEY}");
    sim.handle(
        &if key { request.with_header("authorization", authorization) } else { request },
        time(Duration::ZERO),
    )
}

#[test]
fn the_simulated_storage_takes_no_credential_and_its_addresses_expire() {
    let sim = MailchimpSim::new(SimOptions { batch_time: Duration::ZERO, ..SimOptions::default() });
    let operations = json!([{ "method": "GET", "path": "/ping" }, { "method": "GET", "path": "/batches" }]);
    let submit = json!({ "operations": operations });
    let reply = ask(&sim, Method::POST, "http://127.0.0.1:8080/3.0/batches", &submit, true);
    let batch: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&batch["finished_operations"], &batch["errored_operations"]), (&json!(2), &json!(1)));
    let address = batch["response_body_url"].as_str().unwrap();
    assert!(address.starts_with("http://127.0.0.1:8080/"), "{address}");
    assert_eq!(ask(&sim, Method::GET, address, &Value::Null, false).status, 200);
    let get = |address: &str, key| ask(&sim, Method::GET, address, &Value::Null, key).status;
    assert_eq!((get(address, true), sim.stats().leaked), (400, 1));
    assert_eq!(get(&address.replace("expires=17", "expires=16"), false), 403);
    assert_eq!(get(&address.replace("signature=a", "signature=b"), false), 403);
    assert_eq!(get(&address.replace("0000000001", "0000000002"), false), 404);
    let many: Vec<_> = (0..=1_000).map(|_| json!({ "method": "GET", "path": "/ping" })).collect();
    let many = json!({ "operations": many });
    assert_eq!(ask(&sim, Method::POST, "http://127.0.0.1:8080/3.0/batches", &many, true).status, 400);
}
