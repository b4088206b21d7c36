use crate::support::{KEY, LIST, client_of, simulated};
use martlet_base::{Delivery, ManualClock, Recovery, Timestamp};
use martlet_core::{Bulk, Error, ErrorKind, Idempotency, Patch};
use martlet_mailchimp::sim::SeedMember;
use martlet_mailchimp::{
    BulkMember, BulkOptions, MAX_BULK, Mailchimp, Member, MemberSort, MemberStatus, MemberUpsert,
    MergeFieldType, MergeFieldUpdate, SubscriberHash, operations,
};
use martlet_testkit::ScriptedTransport;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

struct Scripted {
    clock: ManualClock,
    transport: ScriptedTransport,
    mailchimp: Mailchimp,
}

fn scripted() -> Scripted {
    let clock = ManualClock::new();
    let transport = ScriptedTransport::new(clock.clock());
    let mailchimp =
        Mailchimp::builder().transport(transport.clone()).clock(clock.clock()).api_key("s3cr3t-us20").build();
    Scripted { clock, transport, mailchimp: mailchimp.unwrap() }
}

fn new_member(email: &str) -> BulkMember {
    BulkMember::new(email, MemberUpsert::new(MemberStatus::Subscribed))
}

#[test]
fn every_operation_says_whether_it_may_be_repeated_and_has_a_name_of_its_own() {
    let names: HashSet<&str> = operations::ALL.iter().map(|operation| operation.name()).collect();
    assert_eq!(names.len(), operations::ALL.len());
    for operation in operations::ALL {
        assert_ne!(operation.get_idempotency(), Idempotency::Unspecified, "{}", operation.name());
        assert!(operation.path().starts_with("/{version}/"), "{}", operation.name());
    }
}

#[tokio::test]
async fn the_key_names_the_host_and_travels_as_basic_password() {
    let Scripted { transport, mailchimp, .. } = scripted();
    transport.on(&operations::PING).json(200, &json!({ "health_status": "Everything's Chimpy!" }));
    mailchimp.check().await.unwrap();
    let request = &transport.requests()[0];
    assert_eq!(request.url.as_str(), "https://us20.api.mailchimp.com/3.0/ping");
    // base64 of "martlet:s3cr3t-us20"
    assert_eq!(request.headers["authorization"], "Basic bWFydGxldDpzM2NyM3QtdXMyMA==");
}

#[tokio::test]
async fn a_token_travels_as_bearer_and_the_version_of_a_base_url_does_not_matter() {
    for base in [
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080/",
        "http://127.0.0.1:8080/3.0",
        "http://127.0.0.1:8080/3.0/",
    ] {
        let transport = ScriptedTransport::new(ManualClock::new().clock());
        transport.on(&operations::PING).json(200, &json!({}));
        let builder =
            Mailchimp::builder().transport(transport.clone()).access_token("t0ken", "us6").base_url(base);
        builder.build().unwrap().check().await.unwrap();
        let request = &transport.requests()[0];
        assert_eq!(request.url.as_str(), "http://127.0.0.1:8080/3.0/ping", "{base}");
        assert_eq!(request.headers["authorization"], "Bearer t0ken");
    }
}

#[test]
fn a_builder_says_what_is_missing_and_keeps_secrets() {
    let builder = || Mailchimp::builder().transport(ScriptedTransport::new(ManualClock::new().clock()));
    for (broken, what) in [
        (builder(), "neither an api_key"),
        (builder().api_key("s3cr3t"), "data centre"),
        (builder().access_token("s3cr3t", "https://evil.example"), "data centre"),
        (builder().api_key("s3cr3t-us1").base_url("http://mailchimp.example"), "plain http"),
        (Mailchimp::builder().api_key("s3cr3t-us1"), "transport"),
    ] {
        assert!(!format!("{broken:?}").contains("s3cr3t"));
        let error = broken.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = format!("{error} {error:?}");
        assert!(text.contains(what) && text.contains("mailchimp") && !text.contains("s3cr3t"), "{text}");
    }
    let mailchimp = builder().api_key("s3cr3t-us1").build().unwrap();
    assert!(!format!("{mailchimp:?} {:?}", mailchimp.audience(LIST).members()).contains("s3cr3t"));
}

#[tokio::test]
async fn problem_details_become_errors_by_their_title() {
    let problems: Vec<Value> = serde_json::from_str(include_str!("../../fixtures/problems.json")).unwrap();
    for problem in problems {
        let Scripted { clock, transport, mailchimp } = scripted();
        let (status, body) = (problem["status"].as_u64().unwrap(), &problem["body"]);
        transport.on(&operations::MEMBERS_GET).json(u16::try_from(status).unwrap(), body).forever();
        let members = mailchimp.audience(LIST).members();
        let error = clock.drive(members.get("zoe@example.org")).await.unwrap_err();
        assert_eq!(format!("{:?}", error.kind()), problem["kind"], "{error}");
        assert_eq!(error.code(), body["title"].as_str());
        assert_eq!(error.request_id(), body["instance"].as_str());
        assert_eq!(error.status().map(u64::from), Some(status));
        assert!(!error.to_string().contains("zoe@example.org"), "{error}");
        if let Some(errors) = body["errors"].as_array() {
            assert_eq!(
                error.message(),
                "Your merge fields were invalid. [LTV: Please enter a number] [and more]"
            );
            assert_eq!(errors.len(), 2);
        }
    }
}

#[tokio::test]
async fn a_403_without_the_envelope_is_a_limit_and_html_is_no_trouble() {
    let Scripted { clock, transport, mailchimp } = scripted();
    let html = "<html><title>Access Denied</title></html>";
    transport.on(&operations::PING).reply(403).body(html).then_json(200, &json!({}));
    let report = clock.drive(mailchimp.check()).await.unwrap();
    assert_eq!(report.attempts, 2, "it is retried like a 429");

    let members = mailchimp.audience(LIST).members();
    transport.on(&operations::MEMBERS_UPSERT).reply(403).forever();
    let upsert = MemberUpsert::new(MemberStatus::Subscribed);
    let error = clock.drive(members.upsert("a@example.org", upsert)).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::RateLimited, Delivery::Rejected));
    assert_eq!(error.recovery(), Recovery::Throttled);

    transport.on(&operations::MEMBERS_GET).reply(502).body(html).forever();
    let error = clock.drive(members.get("a@example.org")).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "Bad Gateway"));
    assert_eq!(error.request_id(), None);
}

#[test]
fn a_member_keeps_what_this_crate_does_not_know() {
    let member: Member = serde_json::from_str(include_str!("../../fixtures/member.json")).unwrap();
    assert_eq!(member.status, MemberStatus::Other("reconfirming".into()));
    assert_eq!(member.hash(), Some(SubscriberHash::of(&member.email_address)));
    let texts = ["FNAME", "LNAME", "LTV", "ADDRESS", "NONE"].map(|tag| member.merge_text(tag));
    assert_eq!(texts, [Some("Urist".into()), None, Some("12.5".into()), None, None]);
    assert_eq!(member.merge_fields["ADDRESS"]["city"], "Boatmurdered");
    assert!(!format!("{member:?}").contains("Urist"));
    let nothing: Member = serde_json::from_str(r#"{"id":null,"status":null,"merge_fields":null}"#).unwrap();
    assert_eq!(nothing, Member::default());
    assert!(serde_json::from_str::<Member>(r#"{"id":7}"#).is_err());
}

async fn bulk_of(answer: &Value, emails: &[&str]) -> Result<(Vec<usize>, Vec<(usize, Error)>), Error> {
    let Scripted { transport, mailchimp, .. } = scripted();
    transport.on(&operations::MEMBERS_BULK).json(200, answer);
    let members: Vec<BulkMember> = emails.iter().map(|email| new_member(email)).collect();
    let outcome = mailchimp.audience(LIST).members().bulk(&members, BulkOptions::update_existing()).await?;
    Ok((outcome.ok.iter().map(|(place, _)| *place).collect(), outcome.failed))
}

#[tokio::test]
async fn a_bulk_answer_is_mapped_back_by_address() {
    let answer: Value = serde_json::from_str(include_str!("../../fixtures/bulk.json")).unwrap();
    let emails = ["there@example.org", "nonsense", "OLD@example.org", "new@example.org"];
    let (ok, failed) = bulk_of(&answer, &emails).await.unwrap();
    assert_eq!(ok, [2, 3]);
    let facts: Vec<_> =
        failed.iter().map(|(place, error)| (*place, error.kind(), error.code().unwrap())).collect();
    assert_eq!(
        facts,
        [(0, ErrorKind::Conflict, "ERROR_CONTACT_EXISTS"), (1, ErrorKind::Rejected, "ERROR_GENERIC")]
    );
    assert_eq!(failed[1].1.message(), "(address) looks fake or invalid, please enter a real email address.");
    assert!(!failed[0].1.message().to_lowercase().contains("there@"), "{}", failed[0].1);
}

#[tokio::test]
async fn a_bulk_answer_that_does_not_add_up_is_an_error_and_not_a_success() {
    let member = |email: &str| json!({ "id": "x", "email_address": email, "status": "subscribed" });
    let error = |email: &str| json!({ "email_address": email, "error": "no", "error_code": "ERROR_GENERIC" });
    let (a, b) = ("a@example.org", "b@example.org");
    let lies = [
        ("a member is left out", json!([member(a)]), json!([]), json!([])),
        ("all are left out", json!([]), json!([]), json!([])),
        (
            "an error for an address that was not sent",
            json!([member(a), member(b)]),
            json!([]),
            json!([error("c@example.org")]),
        ),
        (
            "a member that was not sent",
            json!([member(a), member("c@example.org")]),
            json!([]),
            json!([error(b)]),
        ),
        ("applied and refused at once", json!([member(a), member(b)]), json!([]), json!([error(a)])),
        ("new and updated at once", json!([member(a), member(b)]), json!([member(a)]), json!([])),
    ];
    for (lie, new, updated, errors) in lies {
        let answer = json!({ "new_members": new, "updated_members": updated, "errors": errors });
        let error = bulk_of(&answer, &[a, b]).await.expect_err(lie);
        assert_eq!(error.kind(), ErrorKind::Decode, "{lie}");
        assert_eq!(error.delivery(), Delivery::Processed, "{lie}");
    }
    let honest = json!({ "new_members": [member(a)], "updated_members": [], "errors": [error(b)] });
    assert_eq!(bulk_of(&honest, &[a, b]).await.unwrap().0, [0]);
    let incomplete = json!({ "new_members": [member(a)] });
    assert_eq!(bulk_of(&incomplete, &[a]).await.unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn what_cannot_be_accounted_for_is_not_sent() {
    let Scripted { transport, mailchimp, .. } = scripted();
    let members = mailchimp.audience(LIST).members();
    let bulk = async |items: &[BulkMember]| members.bulk(items, BulkOptions::update_existing()).await;
    let twice = [new_member("Ä@example.org"), new_member("x@example.org"), new_member("ä@example.org")];
    assert_eq!(bulk(&twice).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    let many: Vec<_> = (0..=MAX_BULK).map(|n| new_member(&format!("{n}@example.org"))).collect();
    assert_eq!(bulk(&many).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    assert!(bulk(&[]).await.unwrap().ok.is_empty());
    assert!(transport.requests().is_empty());
}

#[tokio::test]
async fn a_merge_field_is_set_emptied_or_left_alone() {
    let (_, mailchimp) = simulated(vec![]);
    let members = mailchimp.audience(LIST).members();
    let new = || MemberUpsert::new(MemberStatus::Subscribed);
    let first = new().merge_field("FNAME", "Ada").merge_field("LNAME", "King").merge_field("PHONE", "1");
    members.upsert("ada@example.org", first).await.unwrap();
    let changes = new()
        .patch_merge_field("FNAME", Patch::Set("Augusta"))
        .patch_merge_field("LNAME", Patch::<&str>::Clear)
        .patch_merge_field("PHONE", Patch::<&str>::Absent);
    let ada = members.upsert("ada@example.org", changes).await.unwrap();
    assert_eq!(ada.merge_text("FNAME").as_deref(), Some("Augusta"));
    assert_eq!((ada.merge_text("LNAME"), &ada.merge_fields["LNAME"]), (None, &json!("")));
    assert_eq!(ada.merge_text("PHONE").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_bulk_request_carries_no_status_unless_asked() {
    let Scripted { transport, mailchimp, .. } = scripted();
    let member = |email: &str| json!({ "id": "x", "email_address": email, "status": "subscribed" });
    let answer = json!({ "new_members": [member("a@example.org"), member("b@example.org")], "updated_members": [], "errors": [] });
    transport.on(&operations::MEMBERS_BULK).json(200, &answer);
    let asked =
        MemberUpsert::new(MemberStatus::Pending).status(MemberStatus::Unsubscribed).merge_field("FNAME", "B");
    let items = [new_member("a@example.org"), BulkMember::new("b@example.org", asked)];
    mailchimp.audience(LIST).members().bulk(&items, BulkOptions::update_existing()).await.unwrap();
    let request = &transport.requests()[0];
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = json!({
        "members": [
            { "email_address": "a@example.org", "status_if_new": "subscribed" },
            { "email_address": "b@example.org", "status_if_new": "pending", "status": "unsubscribed",
              "merge_fields": { "FNAME": "B" } },
        ],
        "update_existing": true, "sync_tags": false,
    });
    assert_eq!((sent, request.url.path()), (expected, "/3.0/lists/a1b2c3d4e5"));
    assert!(!format!("{items:?}").contains("example.org"));
}

#[tokio::test]
async fn a_collector_fills_requests_of_500() {
    let (sim, mailchimp) = simulated(vec![]);
    let writer = mailchimp.audience(LIST).members().writer(BulkOptions::update_existing());
    let mut bulk = Bulk::new(Arc::new(writer), ManualClock::new().clock());
    let mut sizes = Vec::new();
    for n in 0..1_200 {
        sizes.extend(
            bulk.push(new_member(&format!("{n}@example.org"))).await.unwrap().map(|(_, o)| o.ok.len()),
        );
    }
    sizes.extend(bulk.flush().await.unwrap().map(|(_, outcome)| outcome.ok.len()));
    assert_eq!((sizes, sim.stats().members, sim.stats().requests), (vec![500, 500, 200], 1_200, 3));
}

#[tokio::test]
async fn members_are_written_read_and_archived() {
    let (_, mailchimp) = simulated(vec![]);
    let audience = mailchimp.audience(LIST);
    let field = audience.create_merge_field("LTV", "Lifetime value", MergeFieldType::Number).await.unwrap();
    assert_eq!((field.tag.as_str(), &field.kind), ("LTV", &MergeFieldType::Number));
    let error = audience.create_merge_field("LTV", "Again", MergeFieldType::Text).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);

    let members = audience.members();
    let upsert = MemberUpsert::new(MemberStatus::Pending).merge_field("FNAME", "Åsa").merge_field("LTV", 3);
    let written = members.upsert("ÅSA@Example.org", upsert).await.unwrap();
    assert_eq!(written.hash(), Some(SubscriberHash::of("åsa@example.org")));
    let again = MemberUpsert::new(MemberStatus::Subscribed).merge_field("LTV", "no number");
    let error = members.upsert("ÅSA@Example.org", again).await.unwrap_err();
    assert_eq!(error.message(), "Your merge fields were invalid. [LTV: Please enter a number]");
    let unknown = MemberUpsert::new(MemberStatus::Subscribed).merge_field("NOPE", "x");
    assert_eq!(members.upsert("ÅSA@Example.org", unknown).await.unwrap_err().kind(), ErrorKind::Rejected);

    for id in ["åsa@example.org", "ÅSA@EXAMPLE.ORG", written.id.as_str()] {
        let member = members.get(id).await.unwrap();
        assert_eq!(
            (member.email_address.as_str(), &member.status),
            ("ÅSA@Example.org", &MemberStatus::Pending)
        );
        assert_eq!(member.merge_text("LTV").as_deref(), Some("3"));
    }
    assert_eq!(members.archive("åsa@example.org").await.unwrap_err().status(), Some(405), "pending");
    members
        .upsert("ÅSA@Example.org", MemberUpsert::new(MemberStatus::Pending).status(MemberStatus::Subscribed))
        .await
        .unwrap();
    members.archive(SubscriberHash::of("åsa@example.org")).await.unwrap();
    assert_eq!(members.get("åsa@example.org").await.unwrap().status, MemberStatus::Archived);
    assert_eq!(members.archive("nobody@example.org").await.unwrap_err().kind(), ErrorKind::NotFound);

    let audiences = mailchimp.audiences().list().collect().await.unwrap();
    assert_eq!((audiences.len(), audiences[0].name.as_str()), (1, "Newsletter"));
    assert_eq!(audience.get().await.unwrap().stats.member_count, 0);
    assert_eq!(mailchimp.audience("0").get().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn merge_fields_are_kept_until_one_changes() {
    let (sim, mailchimp) = simulated(vec![]);
    let audience = mailchimp.audience(LIST);
    let requests = || sim.stats().requests;
    let labels = async || {
        let fields = audience.merge_fields().collect().await.unwrap();
        fields.into_iter().map(|field| field.name).collect::<Vec<_>>().join(",")
    };
    let all = labels().await;
    assert_eq!((labels().await, requests()), (all.clone(), 1), "from the cache");
    assert_eq!((audience.merge_fields_fresh().collect().await.unwrap().len(), requests()), (5, 2));

    let field = audience.create_merge_field("LTV", "Value", MergeFieldType::Number).await.unwrap();
    assert_eq!(labels().await, format!("{all},Value"));
    let update = MergeFieldUpdate::new().name("Lifetime value").public(true).default_value("0");
    let changed = audience.update_merge_field(field.merge_id, update).await.unwrap();
    assert_eq!((&*changed.tag, changed.public, &*changed.default_value), ("LTV", true, "0"));
    assert_eq!(labels().await, format!("{all},Lifetime value"));
    assert_eq!(audience.get_merge_field(field.merge_id).await.unwrap(), changed);
    let required = MergeFieldUpdate::new().required(true).default_value(Patch::Absent);
    let required = audience.update_merge_field(field.merge_id, required).await.unwrap();
    assert_eq!((required.required, &*required.default_value), (true, "0"), "what is not named stays");
    let cleared = MergeFieldUpdate::new().default_value(Patch::Clear);
    let cleared = audience.update_merge_field(field.merge_id, cleared).await.unwrap();
    assert_eq!((cleared.required, &*cleared.default_value), (true, ""));

    audience.delete_merge_field(field.merge_id).await.unwrap();
    assert_eq!(labels().await, all);
    let again = audience.create_merge_field("LTV", "Value", MergeFieldType::Number).await.unwrap();
    assert_ne!(again.merge_id, field.merge_id);
    for error in [
        audience.get_merge_field(field.merge_id).await.map(drop),
        audience.update_merge_field(field.merge_id, MergeFieldUpdate::new()).await.map(drop),
        audience.delete_merge_field(field.merge_id).await,
    ] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn members_who_join_or_change_while_the_list_is_read_move_nobody() {
    let seed = (0..250).map(|n| SeedMember::new(format!("{n}@example.org"), MemberStatus::Subscribed));
    let (_, mailchimp) = simulated(seed.collect());
    let members = mailchimp.audience(LIST).members();
    let mut pages = members.list().count(100).fields(["email_address"]).pager().pages();
    let (mut seen, mut joined) = (Vec::new(), 0);
    while let Some(page) = pages.next().await {
        seen.extend(page.unwrap().items.into_iter().map(|member| member.email_address));
        if joined < 5 {
            joined += 1;
            let upsert = MemberUpsert::new(MemberStatus::Subscribed).merge_field("FNAME", "x");
            members.upsert(&format!("joined-{joined}@example.org"), upsert.clone()).await.unwrap();
            members.upsert("7@example.org", upsert.clone()).await.unwrap();
            members.upsert("249@example.org", upsert).await.unwrap();
        }
    }
    let distinct: HashSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "nobody comes twice");
    assert!((0..250).all(|n| distinct.contains(&format!("{n}@example.org"))), "nobody is left out");
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_cut_to_what_was_asked() {
    let clock = ManualClock::starting_at(Timestamp::from_secs(1_700_000_000));
    let (sim, _) = simulated(vec![
        SeedMember::new("a@example.org", MemberStatus::Subscribed),
        SeedMember::new("b@example.org", MemberStatus::Cleaned),
        SeedMember::new("c@example.org", MemberStatus::Subscribed),
    ]);
    let members = client_of(&sim, &clock).audience(LIST).members();
    members.upsert("a@example.org", MemberUpsert::new(MemberStatus::Subscribed)).await.unwrap();
    let emails = async |list: martlet_mailchimp::ListMembers| {
        let all = list.pager().collect().await.unwrap();
        all.iter().map(|member| member.email_address[..1].to_owned()).collect::<String>()
    };
    assert_eq!(emails(members.list()).await, "abc");
    assert_eq!(emails(members.list().sort(MemberSort::LastChanged)).await.chars().next(), Some('a'));
    assert_eq!(emails(members.list().status(MemberStatus::Cleaned)).await, "b");
    assert_eq!(emails(members.list().since_last_changed(Timestamp::from_secs(1_700_000_000))).await, "a");
    assert_eq!(emails(members.list().since_last_changed(Timestamp::from_secs(1_700_000_001))).await, "");
    let bare = members.list().fields(["id"]).pager().collect().await.unwrap();
    assert!(bare.iter().all(|member| member.email_address.is_empty() && member.hash().is_some()));
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let seed = (0..30).map(|n| SeedMember::new(format!("{n}@example.org"), MemberStatus::Subscribed));
    let (_, mailchimp) = simulated(seed.collect());
    let list = || mailchimp.audience(LIST).members().list().count(10);
    let mut pager = list().pager();
    for _ in 0..15 {
        pager.next().await.unwrap().unwrap();
    }
    let cursor = pager.cursor().unwrap();
    let rest = list().pager().resume_from(&cursor).unwrap().collect().await.unwrap();
    assert_eq!(rest.len(), 20);
    assert!(list().status(MemberStatus::Cleaned).pager().resume_from(&cursor).is_err());
    assert!(mailchimp.audience("other").members().list().count(10).pager().resume_from(&cursor).is_err());
}

#[tokio::test]
async fn a_wrong_key_is_refused_in_one_line() {
    let (sim, _) = simulated(vec![]);
    let transport = martlet_testkit::SimTransport::new(sim, ManualClock::new().clock());
    let builder = Mailchimp::builder().transport(transport).clock(ManualClock::new().clock());
    let error = builder.api_key("wr0ng-us1").build().unwrap().check().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unauthenticated, Some("API Key Invalid")));
    assert!(!error.to_string().contains('\n') && !error.to_string().contains("wr0ng"));
    assert_ne!(KEY, "wr0ng-us1");
}
