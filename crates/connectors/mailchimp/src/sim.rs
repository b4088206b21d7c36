//! A simulated Mailchimp: one account with one audience, and campaigns and shops to read.
//!
//! It enforces what the real one does as far as the facts go (page sizes, 500 members in a bulk request, ten connections,
//! problem details, who cannot be subscribed again), and counts what a well-behaved client never causes: `violations` (more than
//! ten requests at once) and `resubscribed` (somebody who opted out or bounced became subscribed).
//! What is not known about the real platform is marked "unconfirmed". `GET /_sim/stats` tells what was counted ([`SimStats`]).
//!
//! It makes no trouble unless asked: see [`default_faults`] and [`SimOptions::outages`].

mod account;
mod audience;
#[cfg(feature = "batches")]
mod batches;
mod fields;
mod http;

pub use account::{SeedCampaign, SeedShop};
pub use audience::SeedMember;

use account::Account;
use audience::Audience;
use martlet_base::{Moment, Timestamp};
use martlet_testkit::{FaultKind, FaultPlan, Faults, SimReply, SimRequest, SimTime, SimWrite, Simulator};
use serde::Serialize;
use std::collections::BTreeMap;
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
    /// Its campaigns, with what became of them. They only can be read.
    pub campaigns: Vec<SeedCampaign>,
    /// Its shops. They only can be read.
    pub shops: Vec<SeedShop>,
    /// How long a batch takes (feature `batches`): 10 s. Its operations are done at once, its results come late.
    pub batch_time: Duration,
    /// How many requests it takes at once: 10. Requests overlap by their [`delay`](Self::delay), so without one they never do.
    pub connections: usize,
    /// How long each answer takes.
    pub delay: Duration,
    /// What goes wrong. Classes: `write` (bulk requests), `read` (GET), `single` (everything else).
    pub faults: FaultPlan,
    /// From when to when, the end left out, every request is answered with a 503 or a reset, by turns.
    pub outages: Vec<(Timestamp, Timestamp)>,
    /// The merge field by which [`SimStats::rewrites`] and [`SimStats::duplicates`] know members: `HSID`.
    pub key_field: String,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            api_key: "simulated-us1".into(),
            list_id: "a1b2c3d4e5".into(),
            list_name: "Newsletter".into(),
            seed_members: Vec::new(),
            campaigns: Vec::new(),
            shops: Vec::new(),
            batch_time: Duration::from_secs(10),
            connections: 10,
            delay: Duration::ZERO,
            faults: FaultPlan::none(),
            outages: Vec::new(),
            key_field: "HSID".into(),
        }
    }
}

/// The faults that a run over so many contacts meets by default, the first ones of each list first where there are too few
/// requests for all: at bulk requests (500 members each), a member that is refused without a reason, a reset after the
/// request was handled, a body cut half way, and 503; at GETs (one for about 33 contacts), 429 without headers, 500, 403
/// without a body, and a slow answer. 6.8 s of delay in all.
///
/// One member at most is refused in the life of a store; sent again it is taken.
pub fn default_faults(seed: u64, contacts: u64) -> FaultPlan {
    let write =
        [FaultKind::MemberRejected, FaultKind::ResetAfter, FaultKind::CutBody, FaultKind::Unavailable];
    let read = [FaultKind::RateLimited, FaultKind::InternalError, FaultKind::Forbidden, FaultKind::Slow];
    FaultPlan::none().spread(seed, "write", contacts.div_ceil(500), &write).spread(
        seed,
        "read",
        contacts.div_ceil(33),
        &read,
    )
}

impl fmt::Debug for SimOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimOptions")
            .field("list_id", &self.list_id)
            .field("list_name", &self.list_name)
            .field("seed_members", &self.seed_members.len())
            .field("campaigns", &self.campaigns.len())
            .field("shops", &self.shops.len())
            .field("batch_time", &self.batch_time)
            .field("connections", &self.connections)
            .field("delay", &self.delay)
            .field("faults", &self.faults)
            .field("outages", &self.outages)
            .field("key_field", &self.key_field)
            .finish_non_exhaustive()
    }
}

/// What a simulator counted since it began, and who is in its audience now. `GET /_sim/stats` gives it as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SimStats {
    /// Requests, those for these figures left out.
    pub requests: u64,
    /// Requests that were refused because too many were under way. Those of the fault plan are not among them.
    pub violations: u64,
    /// How often somebody who had opted out or bounced became subscribed or pending, also by way of the archive. Over the
    /// life of the store.
    pub resubscribed: u64,
    /// Upserts that changed a member whose [key](SimOptions::key_field) was not empty: none as long as the source is the
    /// same. Over the life of the store.
    pub rewrites: u64,
    /// Upserts that changed nothing: repetitions. Since it began.
    pub repeats: u64,
    /// Members, archived ones left out, whose key another one has before them.
    pub duplicates: u64,
    /// How often each kind of fault was met, by [`FaultKind::name`].
    pub faults: BTreeMap<String, u64>,
    /// How long these faults keep a client that retries after 1 s, or after the ordered pause: [`FaultKind::delay`], summed.
    pub injected_delay_seconds: f64,
    /// Requests that came during an outage.
    pub during_outage: u64,
    /// Requests to the storage of results that carried a credential, which belongs to the API alone (feature `batches`).
    pub leaked: u64,
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

/// Everything that requests read and change.
struct World {
    audience: Audience,
    account: Account,
    #[cfg(feature = "batches")]
    batches: batches::Batches,
}

struct State {
    world: World,
    /// When the answers that are under way will have left: at most as many as there are connections.
    under_way: Vec<Moment>,
    requests: u64,
    violations: u64,
    during_outage: u64,
    faults: Faults,
}

/// Under this key it is stored that a member was refused without a reason.
const REJECTED: &str = "rejected";

impl MailchimpSim {
    /// A simulator with these options.
    #[must_use]
    pub fn new(mut options: SimOptions) -> Self {
        let seed = std::mem::take(&mut options.seed_members);
        let audience = Audience::new(&options.list_id, &options.list_name, &options.key_field, seed);
        let account = Account {
            campaigns: std::mem::take(&mut options.campaigns),
            shops: std::mem::take(&mut options.shops),
        };
        let state = State {
            world: World {
                audience,
                account,
                #[cfg(feature = "batches")]
                batches: batches::Batches::new(options.batch_time),
            },
            under_way: Vec::new(),
            requests: 0,
            violations: 0,
            during_outage: 0,
            faults: Faults::new(&options.faults),
        };
        Self { options, state: Mutex::new(state) }
    }

    /// What it counted so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        let state = self.lock();
        SimStats {
            requests: state.requests,
            violations: state.violations,
            during_outage: state.during_outage,
            #[cfg(feature = "batches")]
            leaked: state.world.batches.leaked,
            faults: state.faults.counts(),
            injected_delay_seconds: state.faults.delay().as_secs_f64(),
            ..state.world.audience.stats()
        }
    }

    /// What a request gets that is within the limit, and how long that keeps a connection.
    fn answer(&self, state: &mut State, request: &SimRequest, now: SimTime, id: u64) -> SimReply {
        let key = &self.options.api_key;
        if !http::is_authorized(request, key) {
            return http::unauthorized(id);
        }
        let class = http::class_of(request);
        let fault = state.faults.meet(class, request, |kind| match kind {
            FaultKind::MemberRejected => class == "write" && http::rejected_of(request).is_some(),
            // Keys do not end by themselves.
            FaultKind::TokenExpired => false,
            _ => true,
        });
        let reject = fault.filter(|kind| *kind == FaultKind::MemberRejected).and(http::rejected_of(request));
        match fault {
            Some(kind) if kind.is_instead() => kind.reply().unwrap_or_else(|| http::refuse(kind, id)),
            _ => {
                let mut reply = http::answer(&mut state.world, request, now, id, reject);
                if let Some(hash) = reject {
                    let list = &self.options.list_id;
                    reply = reply.store([SimWrite::put(format!("{list}/{REJECTED}"), hash.to_string())]);
                }
                match fault {
                    Some(kind) => kind.spoil(reply),
                    None => reply,
                }
            }
        }
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
        // The storage is no part of the API: it has no limit, and no outage.
        #[cfg(feature = "batches")]
        if let Some(reply) = state.world.batches.archive(request, now.wall) {
            return reply;
        }
        state.requests += 1;
        let id = state.requests;
        if self.options.outages.iter().any(|(from, until)| (*from..*until).contains(&now.wall)) {
            state.during_outage += 1;
            let kind = match state.during_outage % 2 {
                1 => FaultKind::Unavailable,
                _ => FaultKind::ResetBefore,
            };
            return kind.reply().expect("both look the same everywhere");
        }
        state.under_way.retain(|end| *end > now.moment);
        if state.under_way.len() >= self.options.connections {
            state.violations += 1;
            return http::too_many(id).after(self.options.delay);
        }
        let reply = self.answer(&mut state, request, now, id);
        let delay = reply.delay + self.options.delay;
        state.under_way.push(now.moment + delay);
        reply.after(delay)
    }

    fn restore(&self, key: &str, value: &[u8]) {
        let mut state = self.lock();
        if key.split_once('/') == Some((&self.options.list_id, REJECTED)) {
            state.faults.cancel(FaultKind::MemberRejected);
            return;
        }
        #[cfg(feature = "batches")]
        if state.world.batches.restore(key, value).is_some() {
            return;
        }
        state.world.audience.restore(key, value);
    }
}

impl fmt::Debug for MailchimpSim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailchimpSim").field("options", &self.options).field("stats", &self.stats()).finish()
    }
}
