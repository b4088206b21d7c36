use martlet_base::ManualClock;
use martlet_core::resilience::RetryPolicy;
use martlet_mailchimp::Mailchimp;
use martlet_mailchimp::sim::{MailchimpSim, SeedMember, SimOptions};
use martlet_testkit::SimTransport;
use std::sync::Arc;

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
