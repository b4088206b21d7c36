//! Clients of a simulator in process and of a script, on clocks that run by themselves.

use martlet_base::{ManualClock, Moment, Timestamp};
use martlet_core::Operation;
use martlet_hubspot::sim::{HubSpotSim, SimOptions};
use martlet_hubspot::{HubSpot, HubSpotBuilder};
use martlet_testkit::{Script, ScriptedTransport, SimReply, SimRequest, SimTime, SimTransport, Simulator};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

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

    /// One request as it comes from the wire, past the client.
    pub(crate) fn raw(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let reply = self.raw_reply(method, path, body);
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    pub(crate) fn raw_reply(&self, method: &str, path: &str, body: &Value) -> SimReply {
        raw_reply(&self.sim, method, path, body, "pat-sim", self.clock.clock().now())
    }
}

pub(crate) fn raw_reply(
    sim: &HubSpotSim,
    method: &str,
    path: &str,
    body: &Value,
    token: &str,
    now: Moment,
) -> SimReply {
    let request = SimRequest::new(method.parse().unwrap(), path)
        .with_header("authorization", format!("Bearer {token}"))
        .with_body(body.to_string());
    let wall = Timestamp::from_secs(1_767_225_600) + now.since(Moment::ZERO);
    sim.handle(&request, SimTime { moment: now, wall })
}

/// A client whose answers are written down.
pub(crate) struct Scripted {
    pub(crate) clock: ManualClock,
    pub(crate) transport: ScriptedTransport,
    pub(crate) hubspot: HubSpot,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new();
        let transport = ScriptedTransport::new(clock.clock());
        let hubspot = HubSpot::builder()
            .transport(transport.clone())
            .clock(clock.clock())
            .access_token("pat-secret-token")
            .build()
            .unwrap();
        Self { clock, transport, hubspot }
    }

    pub(crate) fn on(&self, operation: &Operation) -> Script {
        self.transport.on(operation)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.clock().now().since(Moment::ZERO)
    }
}
