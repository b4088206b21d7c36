use crate::support::{LIST, client_of};
use martlet_base::{ManualClock, Timestamp};
use martlet_core::ErrorKind;
use martlet_mailchimp::sim::{MailchimpSim, SeedCampaign, SeedMember, SeedShop, SimOptions};
use martlet_mailchimp::{
    CampaignStatus, Mailchimp, MemberStatus, SegmentKind, SubscriberHash, TagChanges, operations,
};
use martlet_testkit::ScriptedTransport;
use serde_json::Value;
use std::sync::Arc;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + seconds)
}

fn account(options: SimOptions) -> (Arc<MailchimpSim>, Mailchimp) {
    let sim = Arc::new(MailchimpSim::new(options));
    let client = client_of(&sim, &ManualClock::starting_at(at(0)));
    (sim, client)
}

/// A client that gets what a fixture holds.
fn told(operation: &martlet_core::Operation, answer: &Value) -> (ScriptedTransport, Mailchimp) {
    let clock = ManualClock::new();
    let transport = ScriptedTransport::new(clock.clock());
    transport.on(operation).json(200, answer);
    let builder = Mailchimp::builder().transport(transport.clone()).clock(clock.clock());
    (transport, builder.api_key("s3cr3t-us20").build().unwrap())
}

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn tags_are_given_taken_and_are_segments() {
    let seed = ["a", "b", "c"].map(|n| SeedMember::new(format!("{n}@example.org"), MemberStatus::Subscribed));
    let closed = SeedMember::new("out@example.org", MemberStatus::Unsubscribed).tag("lead");
    let seed_members = seed.into_iter().map(|member| member.tag("lead")).chain([closed]).collect();
    let (_, mailchimp) = account(SimOptions { seed_members, ..SimOptions::default() });
    let audience = mailchimp.audience(LIST);
    let members = audience.members();
    let names = async |email: &str| {
        let tags = members.tags(email).collect().await.unwrap();
        tags.into_iter().map(|tag| tag.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("a@example.org").await, "lead");
    let changes = TagChanges::new().give("vip").take("lead").take("never heard of");
    for _ in 0..2 {
        members.change_tags("A@example.org", changes.clone()).await.unwrap();
        assert_eq!(names("a@example.org").await, "vip", "twice is once");
    }
    let tag = &members.tags("a@example.org").collect().await.unwrap()[0];
    assert_eq!(tag.date_added, "2023-11-14T22:13:20+00:00");
    let member = members.get("a@example.org").await.unwrap();
    assert_eq!((member.tags.len(), member.tags[0].id, &*member.tags[0].name), (1, tag.id, "vip"));
    let missing = members.change_tags("nobody@example.org", changes).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);

    let segments = audience.segments();
    let all = segments.list().collect().await.unwrap();
    let sizes: Vec<_> = all.iter().map(|segment| (&*segment.name, segment.member_count)).collect();
    assert_eq!(sizes, [("lead", 2), ("vip", 1)]);
    assert_eq!(segments.list_of(&SegmentKind::Static).collect().await.unwrap(), all);
    assert_eq!(segments.list_of(&SegmentKind::Saved).collect().await.unwrap(), []);
    assert_eq!(segments.get(all[1].id).await.unwrap(), all[1]);
    assert_eq!(segments.get(99).await.unwrap_err().kind(), ErrorKind::NotFound);
    let leads = segments.members(all[0].id).collect().await.unwrap();
    let emails: Vec<_> = leads.iter().map(|member| &*member.email_address).collect();
    assert_eq!(emails, ["b@example.org", "c@example.org"]);
}

#[tokio::test]
async fn a_change_of_tags_says_only_what_changes_and_the_last_word_holds() {
    let clock = ManualClock::new();
    let transport = ScriptedTransport::new(clock.clock());
    transport.on(&operations::MEMBER_TAGS_CHANGE).reply(503).then_json(204, &Value::Null);
    let builder = Mailchimp::builder().transport(transport.clone()).clock(clock.clock());
    let members = builder.api_key("s3cr3t-us20").build().unwrap().audience(LIST).members();
    members.change_tags("a@example.org", TagChanges::new()).await.unwrap();
    assert!(transport.requests().is_empty(), "nothing to say, nothing sent");
    let changes = TagChanges::new().give("x").take("y").take("x").without_automations();
    clock.drive(members.change_tags("a@example.org", changes)).await.unwrap();
    let requests = transport.requests();
    assert_eq!(requests.len(), 2, "idempotent, so it is sent again");
    let sent: Value = serde_json::from_slice(&requests[1].body).unwrap();
    let tags = serde_json::json!([
        { "name": "y", "status": "inactive" }, { "name": "x", "status": "inactive" },
    ]);
    assert_eq!((&sent["tags"], &sent["is_syncing"]), (&tags, &Value::Bool(true)));
    let hash = SubscriberHash::of("a@example.org");
    assert_eq!(requests[1].url.path(), format!("/3.0/lists/{LIST}/members/{hash}/tags"));
}

#[tokio::test]
async fn segments_keep_what_this_crate_does_not_know() {
    let (_, mailchimp) =
        told(&operations::SEGMENTS_LIST, &fixture(include_str!("../../fixtures/segment.json")));
    let all = mailchimp.audience(LIST).segments().list().collect().await.unwrap();
    assert_eq!(all[0].kind, SegmentKind::Static);
    assert_eq!((all[1].kind.as_str(), all[1].member_count, &*all[1].updated_at), ("lookalike", 0, ""));
}

#[tokio::test]
async fn campaigns_are_read_and_filtered() {
    let campaigns = (0..2_500).map(|n| SeedCampaign::new(format!("c{n}"), "t", at(n)));
    let campaigns = campaigns.map(|c| c.sent(at(10_000), ["a@example.org"])).take(2_499);
    let draft = SeedCampaign::new("draft", "t", at(5_000));
    let campaigns = campaigns.chain([draft]).collect();
    let (sim, mailchimp) = account(SimOptions { campaigns, ..SimOptions::default() });
    let list = || mailchimp.campaigns().list();
    assert_eq!(list().pager().collect().await.unwrap().len(), 2_500);
    assert_eq!(sim.stats().requests, 3, "a thousand at a time");
    let drafts = list().status(CampaignStatus::Save).pager().collect().await.unwrap();
    assert_eq!((drafts.len(), &*drafts[0].id, &*drafts[0].send_time), (1, "draft", ""));
    let sent = list().since_send_time(at(9_999)).pager().collect().await.unwrap();
    assert_eq!((sent.len(), sent[0].emails_sent), (2_499, 1));
    assert_eq!(list().since_send_time(at(10_000)).pager().collect().await.unwrap().len(), 0);
    assert_eq!(list().since_create_time(at(2_497)).pager().collect().await.unwrap().len(), 2);
    assert_eq!(mailchimp.campaigns().get("c7").await.unwrap().create_time, "2023-11-14T22:13:27+00:00");
    assert_eq!(mailchimp.campaigns().get("none").await.unwrap_err().kind(), ErrorKind::NotFound);

    let mut pager = list().pager();
    pager.next().await.unwrap().unwrap();
    let cursor = pager.cursor().unwrap();
    assert!(list().pager().resume_from(&cursor).is_ok());
    assert!(list().status(CampaignStatus::Sent).pager().resume_from(&cursor).is_err());
    assert!(list().since_send_time(at(0)).pager().resume_from(&cursor).is_err());
    assert!(list().since_create_time(at(0)).pager().resume_from(&cursor).is_err());
}

#[tokio::test]
async fn campaigns_keep_what_this_crate_does_not_know() {
    let answer = fixture(include_str!("../../fixtures/campaign.json"));
    let (transport, mailchimp) = told(&operations::CAMPAIGNS_LIST, &answer);
    let all = mailchimp.campaigns().list().since_create_time(at(0)).pager().collect().await.unwrap();
    assert_eq!((&all[0].status, &*all[0].settings.subject_line), (&CampaignStatus::Sent, "Spring"));
    assert_eq!((&*all[0].recipients.list_id, all[0].recipients.recipient_count), (LIST, 3));
    assert_eq!((all[1].status.as_str(), &*all[1].kind, all[1].emails_sent), ("canceling", "variate", 0));
    let asked: Vec<_> = transport.requests()[0].url.query_pairs().into_owned().collect();
    let since = ("since_create_time".to_owned(), "2023-11-14T22:13:20+00:00".to_owned());
    let without = ("exclude_fields".to_owned(), "_links,campaigns._links".to_owned());
    assert!(asked.contains(&since) && asked.contains(&without), "{asked:?}");
}

#[tokio::test]
async fn reports_tell_what_became_of_a_campaign() {
    let sent = SeedCampaign::new("c1", "Spring", at(0))
        .sent(at(10), ["a@example.org", "b@example.org"])
        .activity("a@example.org", "open", at(20))
        .activity("a@example.org", "open", at(21))
        .activity("a@example.org", "click", at(30))
        .unsubscribed("b@example.org", at(40));
    let campaigns = vec![sent, SeedCampaign::new("draft", "t", at(0))];
    let (_, mailchimp) = account(SimOptions { campaigns, ..SimOptions::default() });
    let reports = mailchimp.reports();
    let report = reports.get("c1").await.unwrap();
    assert_eq!((report.emails_sent, report.unsubscribed), (2, 1));
    assert_eq!((report.opens.opens_total, report.opens.unique_opens), (2, 1));
    assert_eq!(report.clicks.clicks_total, 1);
    assert_eq!(reports.list(None).collect().await.unwrap(), [report]);
    assert!(reports.list(Some(at(10))).collect().await.unwrap().is_empty());
    for missing in ["draft", "none"] {
        assert_eq!(reports.get(missing).await.unwrap_err().kind(), ErrorKind::NotFound, "{missing}");
    }

    let actions = |one: &martlet_mailchimp::EmailActivity| {
        one.activity.iter().map(|activity| activity.action.clone()).collect::<Vec<_>>().join(" ")
    };
    let all = reports.email_activity("c1", None).collect().await.unwrap();
    assert_eq!(all.iter().map(actions).collect::<Vec<_>>(), ["open open click", ""]);
    assert_eq!(all[0].hash(), Some(SubscriberHash::of("a@example.org")));
    let late = reports.email_activity("c1", Some(at(21))).collect().await.unwrap();
    assert_eq!(late.iter().map(actions).collect::<Vec<_>>(), ["click"]);
    let out = reports.unsubscribed("c1").collect().await.unwrap();
    assert_eq!((out.len(), out[0].hash()), (1, Some(SubscriberHash::of("b@example.org"))));
    assert!(!format!("{all:?} {out:?}").contains("example.org"));
}

#[tokio::test]
async fn reports_are_read_as_documented() {
    let answers = fixture(include_str!("../../fixtures/report.json"));
    let (_, mailchimp) = told(&operations::REPORTS_GET, &answers["report"]);
    let report = mailchimp.reports().get("42694e9e57").await.unwrap();
    assert_eq!((report.bounces.soft_bounces, report.clicks.unique_subscriber_clicks), (2, 1));
    assert!(
        (report.opens.open_rate - 2.0 / 3.0).abs() < 1e-6 && (report.clicks.click_rate - 0.5).abs() < 1e-9
    );
    let (_, mailchimp) = told(&operations::REPORT_ACTIVITY_LIST, &answers["email-activity"]);
    let all = mailchimp.reports().email_activity("42694e9e57", None).collect().await.unwrap();
    assert_eq!((&*all[0].activity[1].url, all[1].activity.len()), ("https://example.org/?u=1", 0));
    assert!(!format!("{all:?}").contains("192.0.2"));
    let (_, mailchimp) = told(&operations::REPORT_UNSUBSCRIBED_LIST, &answers["unsubscribed"]);
    let out = mailchimp.reports().unsubscribed("42694e9e57").collect().await.unwrap();
    assert_eq!((&*out[0].reason, &*out[0].list_id), ("NORMAL: none given", LIST));
}

#[tokio::test]
async fn shops_are_read() {
    let shop = (0..1_200).fold(SeedShop::new("main", "Rock shop"), |shop, n| {
        shop.order(&format!("o{n}"), "c1", f64::from(n) / 4.0)
    });
    let shop = shop.customer("c1", "a@example.org").product("p1", "Rock", 6.25);
    let shops = vec![shop, SeedShop::new("other", "Empty")];
    let (_, mailchimp) = account(SimOptions { shops, ..SimOptions::default() });
    let names: Vec<_> =
        mailchimp.shops().list().collect().await.unwrap().into_iter().map(|shop| shop.name).collect();
    assert_eq!(names, ["Rock shop", "Empty"]);
    let shop = mailchimp.shop("main");
    assert_eq!(shop.get().await.unwrap().list_id, LIST);
    assert_eq!(mailchimp.shop("none").get().await.unwrap_err().kind(), ErrorKind::NotFound);
    let mut orders = shop.orders();
    for _ in 0..1_100 {
        orders.next().await.unwrap().unwrap();
    }
    let cursor = orders.cursor().unwrap();
    let rest = shop.orders().resume_from(&cursor).unwrap().collect().await.unwrap();
    assert_eq!((rest.len(), &*rest[199].id), (200, "o1199"), "the page that was begun is read again");
    assert!((rest[199].order_total - 299.75).abs() < 1e-9);
    assert!(mailchimp.shop("other").orders().resume_from(&cursor).is_err());
    assert!(mailchimp.shop("other").orders().collect().await.unwrap().is_empty());
    assert_eq!(shop.customers().collect().await.unwrap()[0].email_address, "a@example.org");
    assert_eq!(shop.products().collect().await.unwrap()[0].variants.len(), 1);
}

#[tokio::test]
async fn shops_are_read_as_documented() {
    let answers = fixture(include_str!("../../fixtures/shop.json"));
    let (_, mailchimp) = told(&operations::SHOPS_GET, &answers["shop"]);
    let shop = mailchimp.shop("main").get().await.unwrap();
    assert_eq!((&*shop.currency_code, &*shop.domain), ("EUR", "shop.example.org"));
    let (_, mailchimp) = told(&operations::SHOP_ORDERS_LIST, &answers["orders"]);
    let order = mailchimp.shop("main").orders().collect().await.unwrap().remove(0);
    assert_eq!((&*order.customer.first_name, &*order.fulfillment_status), ("Urist", ""));
    assert_eq!((order.lines[0].quantity, &*order.lines[0].product_id), (2, "p-1"));
    assert!((order.tax_total - 2.0).abs() < 1e-9);
    assert!(!format!("{order:?}").contains("Urist"));
    let (_, mailchimp) = told(&operations::SHOP_PRODUCTS_LIST, &answers["products"]);
    let product = mailchimp.shop("main").products().collect().await.unwrap().remove(0);
    assert_eq!((&*product.kind, product.variants[0].inventory_quantity), ("Stone", -1));
}

#[tokio::test]
async fn a_list_without_its_collection_is_no_empty_list() {
    let (_, mailchimp) = told(&operations::SHOPS_LIST, &serde_json::json!({ "total_items": 0 }));
    assert_eq!(mailchimp.shops().list().collect().await.unwrap_err().kind(), ErrorKind::Decode);
}
