//! A day in the life of a sync, in virtual time: both platforms in process, one manual clock, and everything that a day brings.
//!
//! Nightly full run, an incremental run each quarter of an hour, contacts that are edited, deleted and merged all day, an outage
//! of 40 minutes, a revoked grant that is repaired after 10 minutes, and a daily quota that is spent at 18:00.

use martlet::auth::{AuthStyle, OAuth2, OAuth2Config, TokenStore, Tokens};
use martlet::core::Transport;
use martlet::hubspot::ContactSource;
use martlet::mailchimp::{
    AudienceDestination, AudienceOptions, MemberMapping, MemberStatus, MemberTransform,
};
use martlet::pipeline::{Outcome, Pipeline, PipelineError, ReconcileMode};
use martlet::prelude::*;
use martlet::store::{Cells, MemoryStore};
use martlet::{ManualClock, Rng};
use martlet_hubspot::sim::{HubSpotSim, SimOAuth, SimOptions, seed_contact};
use martlet_mailchimp::sim::{MailchimpSim, SeedMember, SimOptions as MailchimpOptions};
use martlet_testkit::SimTransport;
use std::sync::Arc;
use std::time::Duration;

const CONTACTS: u64 = 5_000;

const AUDIENCE: &str = "a1b2c3d4e5";

fn at(hour: i64, minute: i64) -> Timestamp {
    // 2026-03-10, a Tuesday.
    Timestamp::from_secs(1_773_100_800 + hour * 3_600 + minute * 60)
}

struct Day {
    manual: ManualClock,
    store: Arc<dyn Store>,
    hubspot_sim: Arc<HubSpotSim>,
    mailchimp_sim: Arc<MailchimpSim>,
    hubspot: HubSpot,
    mailchimp: Mailchimp,
}

impl Day {
    async fn new() -> Self {
        let manual = ManualClock::starting_at(at(0, 0));
        let clock = manual.clock();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let hubspot_sim = Arc::new(HubSpotSim::new(SimOptions {
            contacts: CONTACTS,
            per_day: Some(250_000),
            oauth: Some(SimOAuth { rotate: true, ..SimOAuth::new("id", "secret", "refresh") }),
            outages: vec![(at(10, 5), at(10, 45))],
            search_lag: Duration::from_secs(2),
            ..SimOptions::default()
        }));
        let opted_out = (0..CONTACTS).step_by(50).filter_map(|index| {
            let contact = seed_contact(42, index, CONTACTS);
            Some(SeedMember::new(contact.email?, MemberStatus::Unsubscribed))
        });
        let mailchimp_sim = Arc::new(MailchimpSim::new(MailchimpOptions {
            api_key: "key-us1".into(),
            list_id: AUDIENCE.into(),
            seed_members: opted_out.collect(),
            delay: Duration::from_millis(40),
            ..MailchimpOptions::default()
        }));
        let transport: Arc<dyn Transport> = Arc::new(SimTransport::new(hubspot_sim.clone(), clock.clone()));
        let config = OAuth2Config::builder("https://api.hubapi.com/oauth/v3/token", "id")
            .client_secret("secret")
            .auth_style(AuthStyle::RequestBody)
            .build()
            .unwrap();
        let tokens = TokenStore::new(Cells::new(Arc::clone(&store), "tokens/"), "hubspot").unwrap();
        tokens.seed(&Tokens::from_refresh_token("refresh")).await.unwrap();
        let hubspot = HubSpot::builder()
            .shared_transport(Arc::clone(&transport))
            .credentials(OAuth2::refresh(config, transport, tokens).with_rng(Rng::seeded(1)))
            .quota_journal(Arc::clone(&store))
            .clock(clock.clone())
            .rng(Rng::seeded(2))
            .build()
            .unwrap();
        let mailchimp = Mailchimp::builder()
            .transport(SimTransport::new(mailchimp_sim.clone(), clock.clone()))
            .api_key("key-us1")
            .clock(clock)
            .rng(Rng::seeded(3))
            .build()
            .unwrap();
        Self { manual, store, hubspot_sim, mailchimp_sim, hubspot, mailchimp }
    }

    fn pipeline(&self, full: bool) -> Pipeline {
        let fields = [("firstname", "FNAME"), ("lastname", "LNAME"), ("loyalty_tier", "TIER")];
        let mapping = MemberMapping::new("email", fields).unwrap();
        let properties = ["email", "firstname", "lastname", "loyalty_tier"];
        let audience =
            AudienceDestination::new(&self.mailchimp, AUDIENCE, mapping.clone(), AudienceOptions::default());
        Pipeline::builder("contacts")
            .source(ContactSource::new(self.hubspot.clone(), properties).full(full))
            .transform(MemberTransform::new(mapping))
            .destination(audience)
            .store(Arc::clone(&self.store))
            .clock(self.manual.clock())
            .build()
            .unwrap()
    }

    /// One run, as a line that tells how it went.
    async fn run(&self, full: bool) -> String {
        let started = self.manual.clock().wall();
        let result = self.manual.drive(self.pipeline(full).run()).await;
        let how = match result {
            Ok(report) => {
                let c = report.counts;
                let outcome = match report.outcome {
                    Outcome::Complete => "complete".to_owned(),
                    Outcome::QuotaExhausted { resumes_at } => {
                        format!("quota spent, resumes at {}", resumes_at.unwrap())
                    }
                    other => format!("{other:?}"),
                };
                let resumed = if report.resumed { ", resumed" } else { "" };
                format!("{outcome}: read {} written {} deleted {}{resumed}", c.read, c.written, c.deleted)
            }
            Err(failed) => match &failed.error {
                PipelineError::Source(e) => format!("failed: {}", e.kind().as_str()),
                other => format!("failed: {other:?}"),
            },
        };
        format!("{started} {how}")
    }

    async fn live(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for quarter in 0..96 {
            let time = at(0, quarter * 15);
            let now = self.manual.clock().wall();
            self.manual.advance(time.since(now));
            if time == at(14, 0) {
                self.hubspot_sim.revoke();
            }
            if time == at(18, 0) {
                self.hubspot_sim.spend_day(time);
            }
            lines.push(self.run(quarter == 0).await);
            // The repair comes between two runs, ten minutes after the revocation.
            if time == at(14, 0) {
                self.manual.advance(at(14, 10).since(self.manual.clock().wall()));
                self.hubspot_sim.repair();
            }
            let now = self.manual.clock().wall();
            self.hubspot_sim.edit(7, now);
            if quarter % 8 == 3 {
                self.hubspot_sim.delete(2, now);
                self.hubspot_sim.merge(1, now);
            }
        }
        // The next night: the quota is full again, and the full run meets what nobody reported.
        let now = self.manual.clock().wall();
        self.manual.advance(at(24, 0).since(now));
        lines.push(self.run(true).await);
        lines
    }
}

async fn day() -> Vec<String> {
    let day = Day::new().await;
    let mut lines = day.live().await;
    let sides = day.manual.drive(day.pipeline(false).reconcile(ReconcileMode::Source)).await.unwrap();
    assert!(
        sides.is_reconciled(),
        "missing {:?} extra {:?} changed {:?}",
        sides.missing,
        sides.extra,
        sides.changed
    );
    assert_eq!(sides.expected, sides.actual);
    let (hubspot, mailchimp) = (day.hubspot_sim.stats(), day.mailchimp_sim.stats());
    assert_eq!((hubspot.violations, mailchimp.violations, mailchimp.resubscribed), (0, 0, 0));
    assert!(
        hubspot.during_outage > 0 && hubspot.refused_by_day > 0 && hubspot.refused_refreshes > 0,
        "{hubspot:?}"
    );
    // An outage is not hammered: a run or two of retries, then the breaker; nor is a spent quota or a revoked grant.
    assert!(hubspot.during_outage <= 15, "{hubspot:?}");
    assert!(hubspot.refused_by_day <= 24 && hubspot.refused_refreshes <= 3, "{hubspot:?}");
    lines.push(format!("{:032x} {hubspot:?}", sides.actual.checksum));
    lines
}

#[tokio::test]
async fn a_day_with_an_outage_a_revoked_grant_and_a_spent_quota_ends_reconciled_twice_alike() {
    let first = day().await;
    assert_eq!(first, day().await, "the same day twice");

    let of = |from: Timestamp, until: Timestamp| {
        let (from, until) = (from.to_string(), until.to_string());
        first
            .iter()
            .filter(move |line| line.as_str() >= from.as_str() && line.as_str() < until.as_str())
            .cloned()
    };
    let all = |from, until, what: &str| {
        let lines: Vec<String> = of(from, until).collect();
        assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(what)), "{what}: {lines:#?}");
    };
    all(at(0, 0), at(0, 1), "complete: read 5000");
    all(at(0, 15), at(10, 0), "complete");
    all(at(10, 15), at(10, 45), "failed: ");
    all(at(10, 45), at(14, 0), "complete");
    all(at(14, 0), at(14, 15), "failed: credential");
    all(at(14, 15), at(18, 0), "complete");
    all(at(18, 0), at(24, 0), "quota spent, resumes at");
    all(at(24, 0), at(25, 0), "complete: read 49");
}
