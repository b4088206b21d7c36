//! A simulated Mailchimp: one account with one audience.
//!
//! It enforces what the real one does as far as the facts go (page sizes, 500 members in a bulk request, ten connections,
//! problem details, who cannot be subscribed again), and counts what a well-behaved client never causes: `violations` (more than
//! ten requests at once) and `resubscribed` (somebody who opted out or bounced became subscribed).
//! What is not known about the real platform is marked "unconfirmed".

mod audience;
mod fields;
mod http;

pub use audience::SeedMember;

use audience::Audience;
use martlet_base::Moment;
use martlet_testkit::{SimReply, SimRequest, SimTime, Simulator};
use serde::Serialize;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a simulator is made of. Every field has a default.
#[derive(Clone)]
pub struct SimOptions {
    /// The key it takes, as Basic password or bearer token: `simulated-us1`.
    pub api_key: String,
    /// The id of its audience: `a1b2c3d4e5`.
    pub list_id: String,
    /// The name of its audience.
    pub list_name: String,
    /// Who is in it.
    pub seed_members: Vec<SeedMember>,
    /// How many requests it takes at once: 10. Requests overlap by their [`delay`](Self::delay), so without one they never do.
    pub connections: usize,
    /// How long each answer takes.
    pub delay: Duration,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            api_key: "simulated-us1".into(),
            list_id: "a1b2c3d4e5".into(),
            list_name: "Newsletter".into(),
            seed_members: Vec::new(),
            connections: 10,
            delay: Duration::ZERO,
        }
    }
}

impl fmt::Debug for SimOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimOptions")
            .field("list_id", &self.list_id)
            .field("list_name", &self.list_name)
            .field("seed_members", &self.seed_members.len())
            .field("connections", &self.connections)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

/// What a simulator counted since it began, and who is in its audience now. `GET /_sim/stats` gives it as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SimStats {
    /// Requests, those for these figures left out.
    pub requests: u64,
    /// Requests that were refused because too many were under way.
    pub violations: u64,
    /// How often somebody who had opted out or bounced became subscribed or pending, also by way of the archive.
    pub resubscribed: u64,
    /// Members that are not archived.
    pub members: u64,
    /// Of them, subscribed.
    pub subscribed: u64,
    /// Of them, opted out.
    pub unsubscribed: u64,
    /// Of them, bounced.
    pub cleaned: u64,
    /// Archived members.
    pub archived: u64,
}

/// The simulator. Give it to a `martlet_testkit::SimServer` (loopback) or `SimTransport` (in process).
pub struct MailchimpSim {
    options: SimOptions,
    state: Mutex<State>,
}

struct State {
    audience: Audience,
    /// When the answers that are under way will have left: at most as many as there are connections.
    under_way: Vec<Moment>,
    requests: u64,
    violations: u64,
}

impl MailchimpSim {
    /// A simulator with these options.
    #[must_use]
    pub fn new(mut options: SimOptions) -> Self {
        let seed = std::mem::take(&mut options.seed_members);
        let audience = Audience::new(&options.list_id, &options.list_name, seed);
        let state = State { audience, under_way: Vec::new(), requests: 0, violations: 0 };
        Self { options, state: Mutex::new(state) }
    }

    /// What it counted so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        let state = self.lock();
        SimStats { requests: state.requests, violations: state.violations, ..state.audience.stats() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulator for MailchimpSim {
    fn name(&self) -> &'static str {
        "mailchimp"
    }

    fn handle(&self, request: &SimRequest, now: SimTime) -> SimReply {
        if request.path == "/_sim/stats" {
            return SimReply::json(200, &self.stats());
        }
        let mut state = self.lock();
        state.requests += 1;
        let id = state.requests;
        state.under_way.retain(|end| *end > now.moment);
        let reply = if state.under_way.len() >= self.options.connections {
            state.violations += 1;
            http::too_many(id)
        } else {
            state.under_way.push(now.moment + self.options.delay);
            http::answer(&mut state.audience, &self.options.api_key, request, now, id)
        };
        reply.after(self.options.delay)
    }

    fn restore(&self, key: &str, value: &[u8]) {
        self.lock().audience.restore(key, value);
    }
}

impl fmt::Debug for MailchimpSim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailchimpSim").field("options", &self.options).field("stats", &self.stats()).finish()
    }
}
