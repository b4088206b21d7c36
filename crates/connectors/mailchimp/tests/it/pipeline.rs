use crate::support::{LIST, simulated};
use martlet_core::ErrorKind;
use martlet_mailchimp::sim::SeedMember;
use martlet_mailchimp::{
    AudienceDestination, AudienceOptions, Mailchimp, MemberMapping, MemberStatus, MemberTransform,
};
use martlet_pipeline::{
    Consent, ContentHash, Deletion, Destination, Record, Transform, Transformed, WriteOutcome,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const TAGS: [(&str, &str); 3] = [("firstname", "FNAME"), ("lastname", "LNAME"), ("city", "CITY")];

fn mapping() -> MemberMapping {
    MemberMapping::new("email", TAGS).unwrap()
}

fn destination(mailchimp: &Mailchimp, options: AudienceOptions) -> AudienceDestination {
    AudienceDestination::new(mailchimp, LIST, mapping(), options)
}

fn contact(key: &str, email: &str, consent: Consent, more: Value) -> Record {
    let mut fields: Map<String, Value> = Map::new();
    fields.insert("email".into(), email.into());
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    let contact = Record::upsert(key, fields).with_consent(consent);
    match MemberTransform::new(mapping()).apply(contact) {
        Transformed::Keep(member) => member,
        other => panic!("it has an address, and yet {other:?}"),
    }
}

fn hashes(records: &[Record]) -> BTreeMap<String, ContentHash> {
    records.iter().map(|record| (record.key.clone(), record.content_hash())).collect()
}

async fn read_back(destination: &AudienceDestination) -> Vec<Record> {
    let mut pages = destination.read_back().await.unwrap();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        all.extend(page);
    }
    all
}

fn short(outcome: &WriteOutcome) -> String {
    match outcome {
        WriteOutcome::Written => "written".into(),
        WriteOutcome::Deleted => "deleted".into(),
        WriteOutcome::Skipped(reason) => (*reason).into(),
        WriteOutcome::Rejected(error) => format!("rejected {}", error.code().unwrap_or("-")),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_read_back_hashes_like_what_was_written() {
    let (sim, mailchimp) = simulated(vec![]);
    let destination = destination(&mailchimp, AudienceOptions::default());
    destination.prepare().await.unwrap();
    assert_eq!(destination.missing_fields(), ["CITY", "HSID"]);
    let names = [
        "Zoë",
        "Жанна",
        "李小龍",
        "عبد الله",
        "נֹעַם",
        "ประยุทธ์",
        "🦊 Fox",
        "O'Neil \"Q\" \\",
        "e\u{301}",
        "A",
        "",
    ];
    let mut records: Vec<Record> = names.iter().enumerate().map(|(n, name)| {
        let more = json!({ "firstname": name, "lastname": if n % 2 == 0 { Value::Null } else { json!(name) }, "city": "Köln " });
        contact(&format!("{}", 500 + n), &format!("Person.{n}@Example.org"), Consent::Given, more)
    }).collect();
    let outcomes = destination.write(&records).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Written)), "{outcomes:?}");
    assert_eq!(hashes(&read_back(&destination).await), hashes(&records));

    // A field that becomes empty is emptied there, and not left as it was.
    records[0] = contact("500", "person.0@example.org", Consent::Given, json!({ "city": "" }));
    destination.write(&records[..1]).await.unwrap();
    assert_eq!(hashes(&read_back(&destination).await), hashes(&records));
    assert_eq!(sim.stats().members, names.len() as u64);
}

#[tokio::test]
async fn nobody_is_resubscribed_unless_on_demand() {
    let statuses =
        ["absent", "subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived"];
    for consent in [Consent::Given, Consent::Unknown, Consent::Withdrawn] {
        for resubscribe in [false, true] {
            for status in statuses {
                let seed = match status {
                    "absent" => vec![],
                    _ => vec![SeedMember::new("zoe@example.org", status.into()).merge_field("FNAME", "old")],
                };
                let (sim, mailchimp) = simulated(seed);
                let destination =
                    destination(&mailchimp, AudienceOptions::default().resubscribe(resubscribe));
                destination.prepare().await.unwrap();
                let before = sim.stats().requests;
                let record = contact("1", "Zoe@example.org", consent, json!({ "firstname": "new" }));
                let outcome = short(&destination.write(&[record]).await.unwrap()[0]);
                let requests = sim.stats().requests - before;
                let (there, name) = match mailchimp.audience(LIST).members().get("zoe@example.org").await {
                    Ok(member) => (member.status.as_str().to_owned(), member.merge_text("FNAME").unwrap()),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::NotFound);
                        ("absent".to_owned(), String::new())
                    }
                };
                let expected = match (consent, status) {
                    (Consent::Withdrawn, "absent") => ("opted_out", "absent", "", 1),
                    (Consent::Withdrawn, "archived") => ("opted_out", "archived", "old", 1),
                    (Consent::Withdrawn, "unsubscribed" | "cleaned") => ("opted_out", status, "old", 0),
                    (Consent::Withdrawn, _) => ("written", "unsubscribed", "new", 2),
                    (_, "unsubscribed") if resubscribe => ("written", "subscribed", "new", 1),
                    (_, "unsubscribed" | "cleaned") => ("opted_out_at_destination", status, "old", 0),
                    (_, "absent" | "archived") => ("written", "subscribed", "new", 1),
                    _ => ("written", status, "new", 1),
                };
                let case = format!("{consent:?} at the source, {status} there, resubscribe {resubscribe}");
                assert_eq!((outcome.as_str(), there.as_str(), name.as_str(), requests), expected, "{case}");
                let on_demand = expected.1 == "subscribed" && status == "unsubscribed";
                assert_eq!(sim.stats().resubscribed, u64::from(on_demand), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn an_opt_out_holds_for_every_record_with_the_address() {
    let (sim, mailchimp) = simulated(vec![]);
    let destination = destination(&mailchimp, AudienceOptions::default().resubscribe(true));
    destination.prepare().await.unwrap();
    let records = [
        contact("1", "zoe@example.org", Consent::Given, Value::Null),
        contact("2", "Zoe@Example.org", Consent::Withdrawn, Value::Null),
        contact("3", "amy@example.org", Consent::Given, Value::Null),
        contact("4", "AMY@example.org", Consent::Given, Value::Null),
    ];
    let outcomes = destination.write(&records).await.unwrap();
    let outcomes: Vec<_> = outcomes.iter().map(short).collect();
    assert_eq!(outcomes, ["opted_out", "opted_out", "written", "rejected DUPLICATE_ADDRESS"]);
    // Nor in a later write of the run.
    assert_eq!(short(&destination.write(&records[..1]).await.unwrap()[0]), "opted_out");
    assert_eq!((sim.stats().members, sim.stats().subscribed), (1, 1));
}

#[tokio::test]
async fn who_opts_out_during_the_run_stays_out() {
    let (sim, mailchimp) = simulated(vec![SeedMember::new("zoe@example.org", MemberStatus::Subscribed)]);
    let destination = destination(&mailchimp, AudienceOptions::default());
    destination.prepare().await.unwrap();
    let out =
        martlet_mailchimp::MemberUpsert::new(MemberStatus::Unsubscribed).status(MemberStatus::Unsubscribed);
    mailchimp.audience(LIST).members().upsert("zoe@example.org", out).await.unwrap();
    let record = contact("1", "zoe@example.org", Consent::Given, Value::Null);
    for _ in 0..2 {
        let outcome = destination.write(std::slice::from_ref(&record)).await.unwrap();
        assert_eq!(short(&outcome[0]), "opted_out_at_destination");
    }
    assert_eq!((sim.stats().unsubscribed, sim.stats().resubscribed), (1, 0));
}

#[tokio::test]
async fn what_the_platform_refuses_is_one_records_trouble() {
    let seed = SeedMember::new("amy@example.org", MemberStatus::Unsubscribed).in_compliance_state();
    let (sim, mailchimp) = simulated(vec![seed]);
    let destination = destination(&mailchimp, AudienceOptions::default().resubscribe(true));
    destination.prepare().await.unwrap();
    let records = [
        contact("1", "zoe@example.org", Consent::Given, Value::Null),
        contact("2", "no-address", Consent::Given, Value::Null),
        contact("3", "amy@example.org", Consent::Given, Value::Null),
        contact("4", "joe@example.org", Consent::Given, json!({ "firstname": "x".repeat(300) })),
    ];
    let outcomes = destination.write(&records).await.unwrap();
    let texts: Vec<_> = outcomes.iter().map(short).collect();
    let expected = [
        "written",
        "rejected ERROR_GENERIC",
        "rejected Member In Compliance State",
        "rejected ERROR_GENERIC",
    ];
    assert_eq!(texts, expected);
    for (record, outcome) in records.iter().zip(&outcomes) {
        if let WriteOutcome::Rejected(error) = outcome {
            assert!(!format!("{error} {error:?}").contains(record.text("email_address").unwrap()), "{error}");
        }
    }
    assert_eq!((sim.stats().subscribed, sim.stats().resubscribed), (1, 0));
}

#[tokio::test]
async fn a_deletion_keeps_opt_outs_and_spares_what_belongs_to_another_key() {
    let ours = |email: &str, status: &str| SeedMember::new(email, status.into()).merge_field("HSID", "1");
    let seed = vec![
        ours("subscribed@example.org", "subscribed"),
        ours("unsubscribed@example.org", "unsubscribed"),
        ours("cleaned@example.org", "cleaned"),
        ours("pending@example.org", "pending"),
        ours("archived@example.org", "archived"),
        SeedMember::new("other@example.org", MemberStatus::Subscribed).merge_field("HSID", "2"),
    ];
    let (sim, mailchimp) = simulated(seed);
    let destination = destination(&mailchimp, AudienceOptions::default());
    destination.prepare().await.unwrap();
    let addresses = ["subscribed", "unsubscribed", "cleaned", "pending", "archived", "other", "absent"]
        .map(|n| format!("{n}@example.org"));
    let deletions: Vec<Deletion> = addresses
        .iter()
        .map(|address| {
            let record = contact("1", address, Consent::Given, Value::Null);
            Deletion { key: "1".into(), target: destination.target(&record) }
        })
        .collect();
    let outcomes = destination.delete(&deletions).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Deleted)), "{outcomes:?}");
    let members = mailchimp.audience(LIST).members();
    let status = async |address: &str| members.get(address).await.unwrap().status.to_string();
    assert_eq!(status(&addresses[0]).await, "archived");
    assert_eq!(status(&addresses[1]).await, "unsubscribed");
    assert_eq!(status(&addresses[2]).await, "cleaned");
    assert_eq!(status(&addresses[5]).await, "subscribed");
    let back = read_back(&destination).await;
    assert_eq!(back.iter().map(|record| record.key.as_str()).collect::<Vec<_>>(), ["2"]);

    // Whoever opted out and was deleted at the source is not subscribed when the contact comes back.
    destination.prepare().await.unwrap();
    let back = contact("9", &addresses[1], Consent::Given, Value::Null);
    assert_eq!(short(&destination.write(&[back]).await.unwrap()[0]), "opted_out_at_destination");
    assert_eq!(sim.stats().resubscribed, 0);
}

#[tokio::test]
async fn a_dry_run_only_looks() {
    let (sim, mailchimp) = simulated(vec![]);
    let destination = destination(&mailchimp, AudienceOptions::default().dry_run(true));
    destination.prepare().await.unwrap();
    assert_eq!(destination.missing_fields(), ["CITY", "HSID"]);
    let fields = mailchimp.audience(LIST).merge_fields().collect().await.unwrap();
    assert!(fields.iter().all(|field| field.tag != "HSID"));
    let record = contact("1", "zoe@example.org", Consent::Given, Value::Null);
    assert!(destination.write(&[record]).await.is_err());
    assert!(destination.delete(&[Deletion { key: "1".into(), target: "x".into() }]).await.is_err());
    assert_eq!(sim.stats().members, 0);
}

#[tokio::test]
async fn a_missing_audience_is_named_and_an_unprepared_one_is_not_written_to() {
    let (_sim, mailchimp) = simulated(vec![]);
    let absent = AudienceDestination::new(&mailchimp, "ffffffffff", mapping(), AudienceOptions::default());
    let error = absent.prepare().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "audience ffffffffff does not exist"));
    let record = contact("1", "zoe@example.org", Consent::Given, Value::Null);
    let destination = destination(&mailchimp, AudienceOptions::default());
    assert_eq!(destination.write(&[record]).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
}
