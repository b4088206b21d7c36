use http::Method;
use martlet_base::{ManualClock, Moment, Timestamp};
use martlet_core::resilience::RetryPolicy;
use martlet_mailchimp::Mailchimp;
use martlet_mailchimp::sim::{MailchimpSim, SeedMember, SimOptions};
use martlet_testkit::{SimReply, SimRequest, SimTime, SimTransport, Simulator as _};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const LIST: &str = "a1b2c3d4e5";
pub(crate) const KEY: &str = "simulated-us1";

/// A simulator and a client that talk in process, on a clock that nobody moves; therefore without retries.
pub(crate) fn simulated(seed: Vec<SeedMember>) -> (Arc<MailchimpSim>, Mailchimp) {
    let sim = Arc::new(MailchimpSim::new(SimOptions { seed_members: seed, ..SimOptions::default() }));
    let client = client_of(&sim, &ManualClock::new());
    (sim, client)
}

pub(crate) fn client_of(sim: &Arc<MailchimpSim>, clock: &ManualClock) -> Mailchimp {
    let transport = SimTransport::new(Arc::clone(sim) as Arc<_>, clock.clock());
    let builder = Mailchimp::builder().transport(transport).clock(clock.clock()).api_key(KEY);
    builder.retry(RetryPolicy::never()).build().unwrap()
}

/// One request as it comes from the wire, past the client.
pub(crate) fn ask(sim: &MailchimpSim, method: Method, path: &str, body: &Value) -> SimReply {
    ask_at(sim, method, path, body, Duration::ZERO)
}

pub(crate) fn ask_at(sim: &MailchimpSim, method: Method, path: &str, body: &Value, at: Duration) -> SimReply {
    let request = SimRequest::new(method, &format!("/3.0{path}"))
        .with_header("authorization", format!("Bearer {KEY}"))
        .with_body(body.to_string());
    sim.handle(&request, time(at))
}

pub(crate) fn time(at: Duration) -> SimTime {
    SimTime { moment: Moment::ZERO + at, wall: Timestamp::from_secs(1_700_000_000) + at }
}

pub(crate) fn body(reply: &SimReply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}
