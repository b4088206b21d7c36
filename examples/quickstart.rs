//! The smallest useful program: read the contacts that changed lately, within the account's quota.
//!
//! `cargo run --example quickstart` reads from a simulated HubSpot that it starts on loopback; with HUBSPOT_TOKEN in the
//! environment it reads yours.
#![expect(clippy::print_stdout, reason = "an example prints what it reads")]

use martlet::prelude::*;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut hubspot = HubSpot::builder().transport(ReqwestTransport::new()?).plan(HubSpotPlan::Free);
    let (since, _simulator) = match std::env::var("HUBSPOT_TOKEN") {
        Ok(token) => {
            hubspot = hubspot.access_token(token);
            (Clock::system().wall() - Duration::from_secs(86_400), None)
        }
        Err(_) => {
            let simulator = simulator().await?;
            hubspot = hubspot.base_url(simulator.url()).access_token("pat-sim");
            (Timestamp::UNIX_EPOCH, Some(simulator))
        }
    };
    let hubspot = hubspot.build()?;

    let mut contacts = hubspot.contacts().search().modified_since(since).properties(["email"]).pager();
    while let Some(contact) = contacts.try_next().await? {
        println!("{} {}", contact.id, contact.email().unwrap_or("(no address)"));
    }
    Ok(())
}

/// A HubSpot of our own with 250 contacts. Leave this out in a program that has a real one.
async fn simulator() -> std::io::Result<martlet_testkit::SimServer> {
    let options = martlet_hubspot::sim::SimOptions { contacts: 250, ..Default::default() };
    let simulator = std::sync::Arc::new(martlet_hubspot::sim::HubSpotSim::new(options));
    martlet_testkit::SimServer::start(simulator, ([127, 0, 0, 1], 0).into(), Clock::system(), None).await
}
