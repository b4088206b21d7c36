//! Facts that do not change by accident.

use crate::kit::Scripted;
use martlet_core::{ErrorKind, Idempotency, LimitSpec, Platform};
use martlet_hubspot::sim::{HubSpotSim, SimOptions};
use martlet_hubspot::{HubSpot, HubSpotPlan, HubSpotPlatform, operations};
use martlet_testkit::SimTransport;
use std::collections::HashSet;
use std::sync::Arc;

#[test]
fn every_operation_says_whether_it_may_be_sent_again() {
    let mut names = HashSet::new();
    for operation in operations::ALL {
        assert_ne!(operation.get_idempotency(), Idempotency::Unspecified, "{}", operation.name());
        assert!(names.insert(operation.name()));
        // The version is pinned in one place; these two families exist in version 4 only.
        let fixed = ["/crm/v4/associations/", "/communication-preferences/v4/"];
        let pinned = ["/crm/{version}/", "/events/{version}/"];
        assert!(pinned.iter().chain(&fixed).any(|start| operation.path().starts_with(start)));
    }
    assert_eq!(operations::SEARCH.get_idempotency(), Idempotency::Safe);
    // These must never be sent again by themselves.
    let unsafe_ones: Vec<_> = operations::ALL
        .iter()
        .filter(|operation| operation.get_idempotency() == Idempotency::Unsafe)
        .map(martlet_core::Operation::name)
        .collect();
    assert_eq!(
        unsafe_ones,
        [
            "contacts.create",
            "companies.create",
            "deals.create",
            "properties.create",
            "subscriptions.subscribe",
            "events.send",
            "events.send_batch"
        ]
    );
}

#[test]
fn the_limits_of_the_plans_are_these() {
    use HubSpotPlan as Plan;
    let plans = [Plan::Free, Plan::Professional, Plan::Enterprise, Plan::ApiIncrease, Plan::OAuthApp];
    let limits: Vec<_> = plans.iter().map(|plan| (format!("{plan:?}"), plan.per_ten_seconds())).collect();
    insta::assert_debug_snapshot!(limits.iter().map(|(p, n)| format!("{p} {n}")).collect::<Vec<_>>(), @r#"
    [
        "Free 100",
        "Professional 190",
        "Enterprise 190",
        "ApiIncrease 250",
        "OAuthApp 110",
    ]
    "#);
    assert_eq!(HubSpotPlan::default(), HubSpotPlan::Free);
}

#[test]
fn the_platform_is_described_so() {
    let platform = HubSpotPlatform::new();
    let descriptor = platform.descriptor();
    let limits: Vec<String> = descriptor
        .limits()
        .iter()
        .flat_map(|limit| {
            limit.windows().iter().map(|w| format!("{} {} {} {:?}", limit.bucket(), w.0, w.1, w.2))
        })
        .collect();
    assert_eq!(limits, ["default ten_secondly 100 10s", "search secondly 5 1s"]);
    assert_eq!((descriptor.api_version(), descriptor.base_url().as_str()), ("v3", "https://api.hubapi.com/"));
    assert_eq!(descriptor.check_operation(), Some(&operations::LIST));
}

#[test]
fn a_secret_is_in_no_debug_text() {
    let scripted = Scripted::new();
    let builder = HubSpot::builder().transport(scripted.transport.clone()).access_token("pat-secret-token");
    let sim = HubSpotSim::new(SimOptions { token: "pat-secret-token".into(), ..SimOptions::default() });
    let contacts = scripted.hubspot.contacts();
    for text in [
        format!("{builder:?}"),
        format!("{:?}", builder.build().unwrap()),
        format!("{:?}", scripted.hubspot),
        format!("{contacts:?}"),
        format!("{:?}", contacts.get_by_email("ada@example.com")),
        format!(
            "{:?}",
            contacts.search().filter("email", martlet_hubspot::FilterOperator::Eq, "ada@example.com")
        ),
        format!("{sim:?} {:?}", sim.options()),
    ] {
        assert!(!text.contains("secret-token") && !text.contains("ada@"), "{text}");
    }
}

#[test]
fn a_builder_without_what_it_needs_says_so() {
    let error = HubSpot::builder().access_token("t").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let built = |change: fn(martlet_hubspot::HubSpotBuilder) -> martlet_hubspot::HubSpotBuilder| {
        change(HubSpot::builder().transport(Scripted::new().transport.clone()).access_token("t")).build()
    };
    assert!(built(|b| b.plan(HubSpotPlan::Custom { per_ten_seconds: 0 })).is_err());
    assert!(built(|b| b.base_url("http://hubspot.example")).is_err());
    let error = built(|b| b.access_token("two\nlines")).unwrap_err();
    assert!(!error.to_string().contains("lines"));
    assert!(built(|b| b.limit(LimitSpec::new(LimitSpec::DEFAULT))).is_ok());
}

#[tokio::test]
async fn a_check_tells_a_good_token_from_a_bad_one() {
    let sim = Arc::new(HubSpotSim::new(SimOptions::default()));
    let clock = martlet_base::ManualClock::new();
    let with = |token: &str| {
        let transport = SimTransport::new(sim.clone(), clock.clock());
        HubSpot::builder().transport(transport).clock(clock.clock()).access_token(token).build().unwrap()
    };
    assert_eq!(clock.drive(with("pat-sim").check()).await.unwrap().attempts, 1);
    let error = clock.drive(with("pat-other").check()).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Unauthenticated, 1));
    assert_eq!(with("pat-sim").client().platform().descriptor().id().as_ref(), "hubspot");
}
