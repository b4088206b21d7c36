//! A client of a simulator in process, on a clock that runs by itself.

use martlet_base::ManualClock;
use martlet_hubspot::sim::{HubSpotSim, SimOptions};
use martlet_hubspot::{HubSpot, HubSpotBuilder};
use martlet_testkit::SimTransport;
use std::sync::Arc;

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) sim: Arc<HubSpotSim>,
    pub(crate) hubspot: HubSpot,
}

impl World {
    pub(crate) fn new(contacts: u64) -> Self {
        Self::with(SimOptions { contacts, ..SimOptions::default() }, |builder| builder)
    }

    pub(crate) fn with(options: SimOptions, change: impl FnOnce(HubSpotBuilder) -> HubSpotBuilder) -> Self {
        let clock = ManualClock::new();
        let token = options.token.clone();
        let sim = Arc::new(HubSpotSim::new(options));
        let transport = SimTransport::new(sim.clone(), clock.clock());
        let builder = HubSpot::builder().transport(transport).clock(clock.clock()).access_token(token);
        let hubspot = change(builder).build().unwrap();
        Self { clock, sim, hubspot }
    }
}
