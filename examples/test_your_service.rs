//! Testing one's own service without a network and without waiting: the service gets its client and its clock from outside,
//! the test gives it a simulated HubSpot in process and a clock that jumps from one wait to the next, or answers that were
//! recorded.
//!
//! `cargo test --example test_your_service` runs the tests; `cargo run --example test_your_service` shows how much time
//! passed for the service and how little for you.
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use martlet::ManualClock;
use martlet::prelude::*;
use martlet_hubspot::sim::{HubSpotSim, SimOptions};
use martlet_testkit::{FaultKind, FaultPlan, SimTransport};
use std::sync::Arc;

// The service: knows nothing of tests.

/// What it finds out about an account.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    contacts: usize,
    without_address: usize,
}

/// Counts the contacts that nobody can write to.
async fn report(hubspot: &HubSpot) -> Result<Report, Error> {
    let mut report = Report { contacts: 0, without_address: 0 };
    let mut contacts = hubspot.contacts().list().properties(["email"]).limit(50).pager();
    while let Some(contact) = contacts.try_next().await? {
        report.contacts += 1;
        report.without_address += usize::from(contact.email().is_none());
    }
    Ok(report)
}

// The test: a world in which the service lives.

struct World {
    manual: ManualClock,
    simulator: Arc<HubSpotSim>,
    hubspot: HubSpot,
}

impl World {
    /// An account with so many contacts, and trouble of these kinds among the first five pages.
    fn new(contacts: u64, trouble: &[FaultKind]) -> Result<Self, Error> {
        let manual = ManualClock::new();
        let faults = FaultPlan::none().spread(42, "list", 5, trouble);
        let simulator = Arc::new(HubSpotSim::new(SimOptions { contacts, faults, ..SimOptions::default() }));
        let hubspot = Self::client(&simulator, &manual, "pat-sim")?;
        Ok(Self { manual, simulator, hubspot })
    }

    fn client(simulator: &Arc<HubSpotSim>, manual: &ManualClock, token: &str) -> Result<HubSpot, Error> {
        let transport = SimTransport::new(simulator.clone(), manual.clock());
        HubSpot::builder().transport(transport).clock(manual.clock()).access_token(token).build()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let world = World::new(300, &[FaultKind::BadGateway, FaultKind::ResetAfter])?;
    let before = world.manual.clock().now();
    let report = world.manual.drive(report(&world.hubspot)).await?;
    let passed = world.manual.clock().now().since(before);
    println!("{} contacts, {} without an address", report.contacts, report.without_address);
    println!("{passed:?} passed for the service, with {} requests", world.simulator.stats().requests);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_testkit::{CassetteMode, CassetteTransport};

    #[tokio::test]
    async fn an_outage_changes_nothing_in_the_report() {
        let calm = World::new(300, &[]).unwrap();
        let calm = calm.manual.drive(report(&calm.hubspot)).await.unwrap();
        let trouble = [FaultKind::BadGateway, FaultKind::CutBody, FaultKind::ResetAfter];
        let rough = World::new(300, &trouble).unwrap();
        assert_eq!(rough.manual.drive(report(&rough.hubspot)).await.unwrap(), calm);
        assert_eq!(calm.contacts, 300);
        assert!(rough.manual.clock().now().as_nanos() > 2_000_000_000, "three retries take their time");
    }

    #[tokio::test]
    async fn a_wrong_token_is_an_error_that_says_so_without_quoting_it() {
        let World { manual, simulator, .. } = World::new(10, &[]).unwrap();
        let stranger = World::client(&simulator, &manual, "pat-of-somebody-else").unwrap();
        let error = manual.drive(report(&stranger)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(!format!("{error} {error:?}").contains("somebody-else"));
    }

    /// Real answers, played again: here they are the simulator's, in your project the platform's, through a
    /// `ReqwestTransport` and with your token. `MARTLET_CASSETTES=record cargo test --example test_your_service` writes the
    /// file, `=verify` says how the platform's answers differ from it by now.
    #[tokio::test]
    async fn recorded_answers_make_the_report_that_they_made() {
        let World { manual, simulator, .. } = World::new(3, &[]).unwrap();
        let cassette = CassetteTransport::builder("cassettes/report.json")
            .mode(CassetteMode::from_env().unwrap())
            .through(SimTransport::new(simulator, manual.clock()))
            .secret("pat-sim")
            .open()
            .unwrap();
        let hubspot = HubSpot::builder().transport(cassette.clone()).clock(manual.clock());
        let hubspot = hubspot.access_token("pat-sim").build().unwrap();
        let report = manual.drive(report(&hubspot)).await.unwrap();
        assert_eq!(report, Report { contacts: 3, without_address: 1 });
        cassette.finish().unwrap();
    }
}
