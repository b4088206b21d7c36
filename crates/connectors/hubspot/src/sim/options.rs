//! What a simulator is made of, and what it counts.

use martlet_base::Timestamp;
use martlet_testkit::{FaultKind, FaultPlan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a [`HubSpotSim`](super::HubSpotSim) is set up.
#[derive(Clone, PartialEq, Eq)]
pub struct SimOptions {
    /// Living contacts; another half a percent is archived.
    pub contacts: u64,
    /// Companies.
    pub companies: u64,
    /// Deals.
    pub deals: u64,
    /// The seed of all of them.
    pub seed: u64,
    /// Requests in any [`window`](Self::window), searches apart.
    pub per_ten_seconds: u32,
    /// The span of that limit: 10 s at HubSpot. Tests that cannot wait make it shorter.
    pub window: Duration,
    /// Searches in any second.
    pub search_per_second: u32,
    /// Requests a day, midnight to midnight UTC; more are answered with a 429 of the policy `DAILY`. `None`: answers tell of
    /// 250,000, and nothing is refused.
    pub per_day: Option<u32>,
    /// The access token that is always accepted.
    pub token: String,
    /// The OAuth app whose access tokens are accepted too; `None`: there is no token endpoint.
    pub oauth: Option<SimOAuth>,
    /// What goes wrong. Classes: `list` (the list of contacts), `search`, `batch`, `object` (everything else), `token`.
    pub faults: FaultPlan,
    /// From when to when, the end left out, every request is answered with a 503 or a reset, by turns.
    pub outages: Vec<(Timestamp, Timestamp)>,
    /// How long after a change the search still sees the contact as it was before. The list shows it at once.
    pub search_lag: Duration,
    /// Whether more than 60 % of the contacts share one `lastmodifieddate` (12,000 of 20,000), instead of 20 %.
    pub one_date: bool,
    /// So many contacts are [edited](super::HubSpotSim::edit) while the list is read for the first time, a few at each page.
    pub live_edits: u64,
    /// Whether at each start but the first (as far as the store knows) 5 contacts are deleted and 3 are merged into others. It
    /// happens when the first request comes, and is dated back so far that the search already knows.
    pub between_runs: bool,
}

impl Default for SimOptions {
    /// 1,000 contacts, 50 companies and 50 deals of seed 42, the limits of the free plan, the token `pat-sim`, and no trouble of any kind.
    fn default() -> Self {
        Self {
            contacts: 1_000,
            companies: 50,
            deals: 50,
            seed: 42,
            per_ten_seconds: 100,
            window: Duration::from_secs(10),
            search_per_second: 5,
            per_day: None,
            token: "pat-sim".into(),
            oauth: None,
            faults: FaultPlan::none(),
            outages: Vec::new(),
            search_lag: Duration::ZERO,
            one_date: false,
            live_edits: 0,
            between_runs: false,
        }
    }
}

impl SimOptions {
    /// With all the trouble that HubSpot makes: [`default_faults`] for these contacts and this seed, a search that lags 2 s,
    /// most contacts with one date, and changes between runs. Give `contacts` and `seed` their values before.
    #[must_use]
    pub fn with_trouble(mut self) -> Self {
        self.faults = default_faults(self.seed, self.contacts);
        self.search_lag = Duration::from_secs(2);
        self.one_date = true;
        self.between_runs = true;
        self
    }
}

impl fmt::Debug for SimOptions {
    /// Without the tokens: they may be real ones by mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimOptions")
            .field("contacts", &self.contacts)
            .field("companies", &self.companies)
            .field("deals", &self.deals)
            .field("seed", &self.seed)
            .field("per_ten_seconds", &self.per_ten_seconds)
            .field("window", &self.window)
            .field("search_per_second", &self.search_per_second)
            .field("per_day", &self.per_day)
            .field("oauth", &self.oauth)
            .field("faults", &self.faults)
            .field("outages", &self.outages)
            .field("search_lag", &self.search_lag)
            .field("one_date", &self.one_date)
            .field("live_edits", &self.live_edits)
            .field("between_runs", &self.between_runs)
            .finish_non_exhaustive()
    }
}

/// The faults that a run over so many contacts meets by default, the ones at the beginning of this list first where there are
/// too few pages for all: at the list, in a long run in its first half, 429 (`TEN_SECONDLY_ROLLING`) with `Retry-After`, a reset before the request was handled,
/// an access token that ends before its time, 502, a body cut half way, 429 (`SECONDLY`) without `Retry-After`, 503 with it, and
/// a slow answer. 6.8 s of delay in all.
pub fn default_faults(seed: u64, contacts: u64) -> FaultPlan {
    let list = [
        FaultKind::RateLimitedRetryAfter,
        FaultKind::ResetBefore,
        FaultKind::TokenExpired,
        FaultKind::BadGateway,
        FaultKind::CutBody,
        FaultKind::RateLimited,
        FaultKind::UnavailableRetryAfter,
        FaultKind::Slow,
    ];
    // Within the first window of 100 requests: pages are read one after the other, so each pause later on would count as quota
    // that was not used, although nobody could have used it.
    FaultPlan::none().spread(seed, "list", contacts.div_ceil(100).min(90), &list)
}

/// An OAuth app and the one account that granted it access: what the token endpoints answer to.
#[derive(Clone, PartialEq, Eq)]
pub struct SimOAuth {
    /// The app's id.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: String,
    /// The refresh token that the account's owner gave out.
    pub refresh_token: String,
    /// How long an access token lives: 30 minutes at HubSpot.
    pub access_ttl: Duration,
    /// Whether each refresh gives out a new refresh token and the one before it is refused from then on. HubSpot's stay the
    /// same; many platforms' do not.
    pub rotate: bool,
}

impl SimOAuth {
    /// An app whose tokens live for 30 minutes, and whose refresh token stays.
    #[must_use]
    pub fn new(
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        refresh_token: impl Into<String>,
    ) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            refresh_token: refresh_token.into(),
            access_ttl: Duration::from_secs(1800),
            rotate: false,
        }
    }
}

impl fmt::Debug for SimOAuth {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimOAuth")
            .field("client_id", &self.client_id)
            .field("access_ttl", &self.access_ttl)
            .field("rotate", &self.rotate)
            .finish_non_exhaustive()
    }
}

/// What a simulator counted: the JSON of `GET /_sim/stats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SimStats {
    /// All requests but those under `/_sim`.
    pub requests: u64,
    /// Requests beyond a window, answered with 429. Those of the fault plan, of a spent day and of an outage are not among them.
    pub violations: u64,
    /// How much of the limit the last reading of the list used: once a second from the end of its first window on, the requests
    /// of the last window over the limit, averaged; 1 when it was shorter. A reading begins with a request for the first page.
    /// Pauses that a 429 of the fault plan ordered are left out.
    pub quota_use_ratio: f64,
    /// Objects given out by lists.
    pub listed: u64,
    /// Searches.
    pub searches: u64,
    /// Objects created, changed or archived by requests.
    pub written: u64,
    /// Occurrences of events that were taken.
    pub events: u64,
    /// How often each kind of fault was met, by [`FaultKind::name`].
    pub faults: BTreeMap<String, u64>,
    /// How long these faults keep a client that retries after 1 s, or after the ordered pause: [`FaultKind::delay`], summed.
    pub injected_delay_seconds: f64,
    /// Requests refused because the day's quota was spent.
    pub refused_by_day: u64,
    /// Requests that came during an outage.
    pub during_outage: u64,
    /// Access tokens given out.
    pub refreshes: u64,
    /// Refreshes refused.
    pub refused_refreshes: u64,
    /// Contacts edited by the simulated world.
    pub edited: u64,
    /// Contacts deleted by the simulated world.
    pub deleted: u64,
    /// Contacts merged into others by the simulated world.
    pub merged: u64,
}
