//! A simulated HubSpot: seeded objects, the real limits, the real shape of answers and errors. Feature `sim`.
//!
//! Serve it on loopback with [`martlet_testkit::SimServer`], or use it in process with [`martlet_testkit::SimTransport`].
//!
//! * For `contacts`, `companies` and `deals`: `GET|POST /crm/v3/objects/{type}`,
//!   `GET|PATCH|DELETE /crm/v3/objects/{type}/{id}`, `POST /crm/v3/objects/{type}/search`,
//!   `POST /crm/v3/objects/{type}/batch/{read|create|update|upsert|archive}`, `GET|POST /crm/v3/properties/{type}`,
//!   `GET /crm/v3/properties/{type}/{name}`.
//! * `GET /crm/v3/owners`, `POST /crm/v4/associations/{from}/{to}/batch/read`, `POST /crm/v3/lists/search`,
//!   `GET /crm/v3/lists/{id}`, `GET /crm/v3/lists/{id}/memberships`, `PUT /crm/v3/lists/{id}/memberships/{add|remove}`,
//!   `GET|POST /communication-preferences/v4/statuses/{email}`, `POST /events/v3/send`, `POST /events/v3/send/batch`.
//! * `POST /oauth/v3/token` and `/oauth/2026-03/token`, until 2027-02-16 also `/oauth/v1/token`, when [`SimOptions::oauth`] is set: the
//!   refresh-token grant, outside the limits.
//! * `GET /_sim/stats`: what it counted, as JSON ([`SimStats`]), without a token and outside every limit.
//! * `POST /_sim/{edit|delete|merge|touch}?contacts=5`, `POST /_sim/{revoke|repair|spend-day}`: what the methods of
//!   [`HubSpotSim`] with these names do.
//!
//! It makes no trouble unless asked: [`SimOptions::with_trouble`], or a
//! [`FaultPlan`](martlet_testkit::FaultPlan) of your own.
//!
//! The seed gives names in many scripts, contacts without an address, with one that only HubSpot accepts, opted-out and
//! archived ones, and thousands that share one `lastmodifieddate`; see [`seed_contact`].

mod account;
mod data;
mod oauth;
mod objects;
mod options;
mod properties;
mod reply;
mod search;
mod seed;
mod world;

pub use options::{SimOAuth, SimOptions, SimStats, default_faults};
pub use seed::{SeedContact, archived_contacts, seed_contact};

use account::Account;
use data::{COMPANIES, CONTACTS, DEALS, Data, Stored};
use http::Method;
use martlet_base::Timestamp;
use martlet_testkit::{
    Arrival, FaultKind, Faults, QuotaUse, RateWindow, SimReply, SimRequest, SimTime, SimWrite, Simulator,
};
use oauth::{Access, Grant};
use objects::Objects;
use reply::Failure;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use world::World;

/// A simulated HubSpot account. See the [module](self).
pub struct HubSpotSim {
    options: SimOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seed: u64,
    /// The contacts.
    data: Data,
    companies: Data,
    deals: Data,
    /// How many of these three there were at first.
    counts: [u64; 3],
    /// Everything else.
    account: Account,
    /// Everything but searches.
    ten_secondly: RateWindow,
    /// Searches.
    secondly: RateWindow,
    window: Duration,
    /// The present reading of the list.
    reading: QuotaUse,
    stats: SimStats,
    day: Day,
    faults: Faults,
    grant: Grant,
    world: World,
    /// Whether this start handled a request.
    started: bool,
    /// Pages of the list that were given out.
    pages: u64,
    dirty: Dirty,
}

/// The quota of a day.
#[derive(Clone, Copy, Debug, Default)]
struct Day {
    /// Days since 1970, UTC.
    number: i64,
    used: u32,
    /// Somebody else used up the rest.
    spent: bool,
}

/// What has to be stored with the next reply.
#[derive(Debug, Default)]
struct Dirty {
    contacts: BTreeSet<u64>,
    world: bool,
    grant: bool,
}

/// Requests a day of the free plan: what answers tell when no other number is set.
const DAILY: u32 = 250_000;
const DAY: i64 = 86_400;
/// Under these keys its own state is stored; contacts have their ids.
const WORLD: &str = "world";
const GRANT: &str = "oauth";

/// 2027-02-16, when HubSpot removes version 1 of the token endpoint.
const OAUTH_V1_ENDS: Timestamp = Timestamp::from_secs(1_802_736_000);
const ACCOUNT: &str = "account";

impl HubSpotSim {
    /// An account as `options` say.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        let state = State {
            seed: options.seed,
            data: Data::new(&CONTACTS, options.seed, options.contacts, options.one_date, options.search_lag),
            companies: Data::filled(&COMPANIES, options.seed, options.companies, options.search_lag),
            deals: Data::filled(&DEALS, options.seed, options.deals, options.search_lag),
            counts: [options.contacts, options.companies, options.deals],
            account: Account::default(),
            ten_secondly: RateWindow::new(options.per_ten_seconds, options.window),
            secondly: RateWindow::new(options.search_per_second, Duration::from_secs(1)),
            window: options.window,
            reading: QuotaUse::new(options.per_ten_seconds, options.window),
            stats: SimStats::default(),
            day: Day::default(),
            faults: Faults::new(&options.faults),
            grant: options.oauth.as_ref().map(Grant::new).unwrap_or_default(),
            world: World::default(),
            started: false,
            pages: 0,
            dirty: Dirty::default(),
        };
        Self { options, state: Mutex::new(state) }
    }

    /// What it was set up with.
    #[must_use]
    pub fn options(&self) -> &SimOptions {
        &self.options
    }

    /// What it counted so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.lock().stats()
    }

    /// Somebody edits `count` seeded contacts at `now`: `loyalty_tier`, `last_order_value` and the date change. The ids.
    ///
    /// This and the other changes of the simulated world draw contacts by the seed, others each time, and at most a tenth of
    /// all at once. They are stored with the next reply.
    pub fn edit(&self, count: u64, now: Timestamp) -> Vec<u64> {
        self.lock().edit(count, millis(now))
    }

    /// Somebody deletes `count` contacts: `archived=true` lists them. The ids.
    pub fn delete(&self, count: u64, now: Timestamp) -> Vec<u64> {
        self.lock().delete(count, millis(now))
    }

    /// Somebody merges `count` contacts into others: the survivor, which changes, and the one that nothing finds any more.
    /// The survivor's property `hs_merged_object_ids` names it (unconfirmed).
    pub fn merge(&self, count: u64, now: Timestamp) -> Vec<(u64, u64)> {
        self.lock().merge(count, millis(now))
    }

    /// HubSpot itself touches the first `count` contacts, as its own bulk updates do: all get one `lastmodifieddate`, and
    /// nothing else changes. Not even the search lags.
    pub fn touch(&self, count: u64, now: Timestamp) {
        self.lock().touch(count, millis(now));
    }

    /// The account's owner takes the OAuth grant back: its access tokens end, and refreshes are refused.
    pub fn revoke(&self) {
        self.lock().set_revoked(true);
    }

    /// The account's owner grants access again: the same refresh token is good.
    pub fn repair(&self) {
        self.lock().set_revoked(false);
    }

    /// Somebody else uses up what is left of the quota of the day that `now` is in.
    pub fn spend_day(&self, now: Timestamp) {
        let mut state = self.lock();
        state.turn_day(now);
        state.day.spent = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What somebody outside asks of the simulated world.
    fn control(&self, state: &mut State, request: &SimRequest, what: &[&str], now: SimTime) -> SimReply {
        let count = request.param("contacts").map_or(Some(1), |text| text.parse::<u64>().ok());
        let (Some(count), at) = (count, millis(now.wall)) else { return SimReply::status(400) };
        let done = |ids: Value| SimReply::json(200, &json!({ "contacts": ids }));
        match (&request.method, what) {
            (&Method::GET, ["stats"]) => SimReply::json(200, &state.stats()),
            (&Method::POST, ["edit"]) => done(state.edit(count, at).into()),
            (&Method::POST, ["delete"]) => done(state.delete(count, at).into()),
            (&Method::POST, ["merge"]) => done(json!(state.merge(count, at))),
            (&Method::POST, ["touch"]) => {
                state.touch(count, at);
                SimReply::status(204)
            }
            (&Method::POST, [what @ ("revoke" | "repair")]) => {
                state.set_revoked(*what == "revoke");
                SimReply::status(204)
            }
            (&Method::POST, ["spend-day"]) => {
                state.turn_day(now.wall);
                state.day.spent = true;
                SimReply::status(204)
            }
            _ => SimReply::status(404),
        }
    }

    /// A request to HubSpot.
    fn answer(&self, state: &mut State, request: &SimRequest, parts: &[&str], now: SimTime) -> SimReply {
        let options = &self.options;
        state.stats.requests += 1;
        let correlation = correlation(options.seed, state.stats.requests);
        if options.outages.iter().any(|(from, until)| (*from..*until).contains(&now.wall)) {
            state.stats.during_outage += 1;
            let kind = match state.stats.during_outage % 2 {
                1 => FaultKind::Unavailable,
                _ => FaultKind::ResetBefore,
            };
            return kind.reply().expect("both look the same everywhere");
        }
        if !state.started {
            state.started = true;
            if options.between_runs {
                state.world.starts += 1;
                state.dirty.world = true;
                let before = options.search_lag + Duration::from_secs(1);
                state.between_runs(millis(now.wall - before));
            }
        }
        if let (["oauth", version, "token"], Some(oauth)) = (parts, &options.oauth)
            && request.method == Method::POST
        {
            return match *version {
                "v3" | "2026-03" => state.token(oauth, request, now, &correlation),
                "v1" if now.wall < OAUTH_V1_ENDS => state.token(oauth, request, now, &correlation),
                _ => Failure::not_found().reply(&correlation),
            };
        }
        let issued = match self.access(state, request, now) {
            Ok(issued) => issued,
            Err(failure) => return failure.reply(&correlation),
        };
        let class = class_of(request, parts);
        let is_search = class == "search";
        let window = if is_search { &mut state.secondly } else { &mut state.ten_secondly };
        let arrival = window.arrive(now.moment);
        let is_page = class == "list" && request.param("archived") != Some("true");
        if is_page && arrival.admitted {
            state.note_reading(request, now);
        }
        let reply = if !arrival.admitted {
            too_many(if is_search { "SECONDLY" } else { "TEN_SECONDLY_ROLLING" }, &correlation)
        } else if !state.take_of_day(options.per_day, now.wall) {
            state.stats.refused_by_day += 1;
            too_many("DAILY", &correlation)
        } else {
            let fault = state.faults.meet(class, request, |kind| match kind {
                FaultKind::TokenExpired => issued,
                FaultKind::MemberRejected | FaultKind::Forbidden => false,
                _ => true,
            });
            match fault {
                Some(kind) if kind.is_instead() => {
                    if let Some(reply) = kind.reply() {
                        // Not from HubSpot itself: a proxy knows nothing of quotas.
                        return reply;
                    }
                    state.fault(kind, now, &correlation)
                }
                _ => {
                    if is_page {
                        state.live_edits(options, millis(now.wall));
                    }
                    let reply = state.route(request, parts, millis(now.wall));
                    let reply = reply.unwrap_or_else(|failure| failure.reply(&correlation));
                    match fault {
                        Some(kind) => kind.spoil(reply),
                        None => reply,
                    }
                }
            }
        };
        let per_day = options.per_day.unwrap_or(DAILY);
        state
            .quota_headers(reply, is_search, arrival, per_day)
            .header("x-hubspot-correlation-id", correlation)
    }

    /// Whether the request comes with an access token that was given out here, and not with the fixed one.
    fn access(&self, state: &State, request: &SimRequest, now: SimTime) -> Result<bool, Failure> {
        let header = request.header("authorization").unwrap_or_default();
        let token = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let token = token.map_or("", |(_, token)| token.trim());
        if token == self.options.token && !token.is_empty() {
            return Ok(false);
        }
        match state.grant.access(token, now.wall) {
            Access::Good => Ok(true),
            Access::Expired => Err(expired()),
            Access::Unknown => {
                let message = "Authentication credentials not found. This API supports OAuth 2.0 authentication and you \
                               can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview";
                Err(Failure::new(401, "INVALID_AUTHENTICATION", message))
            }
        }
    }
}

/// The category is unconfirmed.
fn expired() -> Failure {
    Failure::new(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired.")
}

/// What the fault plan calls it.
fn class_of(request: &SimRequest, parts: &[&str]) -> &'static str {
    match parts {
        ["crm", "v3", "objects", "contacts"] if request.method == Method::GET => "list",
        ["crm", "v3", "objects", _, "search"] => "search",
        ["crm", "v3", "objects", _, "batch", ..] => "batch",
        _ => "object",
    }
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or_default()
}

impl fmt::Debug for HubSpotSim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubSpotSim").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Simulator for HubSpotSim {
    fn name(&self) -> &'static str {
        "hubspot"
    }

    fn handle(&self, request: &SimRequest, now: SimTime) -> SimReply {
        let parts = request.segments();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let mut state = self.lock();
        let reply = match parts.as_slice() {
            ["_sim", what @ ..] => self.control(&mut state, request, what, now),
            parts => self.answer(&mut state, request, parts, now),
        };
        let writes = state.dirty_writes();
        reply.store(writes)
    }

    fn restore(&self, key: &str, value: &[u8]) {
        // What cannot be read was not written by this simulator; the seed is as good.
        let mut state = self.lock();
        match key {
            WORLD => {
                if let Ok(world) = serde_json::from_slice::<World>(value) {
                    state.data.set_touched(world.touched);
                    state.world = world;
                }
            }
            GRANT => {
                if let Ok(grant) = serde_json::from_slice(value) {
                    state.grant = grant;
                }
            }
            ACCOUNT => {
                if let Ok(account) = serde_json::from_slice(value) {
                    state.account = account;
                }
            }
            _ => {
                // Contacts were the first, and have bare ids.
                let (kind, key) = key.split_once('/').unwrap_or((CONTACTS.name, key));
                let Some(data) = state.all_data().find(|data| data.kind().name == kind) else { return };
                if let (Ok(id), Ok(stored)) = (key.parse(), serde_json::from_slice::<Stored>(value)) {
                    data.put(id, stored);
                } else if let (Some(_), Ok(definition)) =
                    (key.strip_prefix("property/"), serde_json::from_slice(value))
                {
                    data.define(definition);
                }
            }
        }
    }
}

/// Looks like a UUID, and is the same in every run.
fn correlation(seed: u64, request: u64) -> String {
    format!("{:08x}-0000-4000-8000-{request:012x}", seed & 0xffff_ffff)
}

type Handled = Result<SimReply, Failure>;

fn body<T: serde::de::DeserializeOwned>(request: &SimRequest) -> Result<T, Failure> {
    request.json().ok_or_else(|| {
        Failure::invalid("Invalid input JSON: the body cannot be read as what is expected here")
    })
}

impl State {
    fn stats(&self) -> SimStats {
        let mut stats = self.stats.clone();
        stats.violations = self.ten_secondly.violations() + self.secondly.violations();
        stats.quota_use_ratio = self.reading.ratio();
        stats.faults = self.faults.counts();
        stats.injected_delay_seconds = self.faults.delay().as_secs_f64();
        stats
    }

    fn note_reading(&mut self, request: &SimRequest, now: SimTime) {
        if request.param("after").is_none() {
            self.reading = QuotaUse::new(self.ten_secondly.limit(), self.window);
        }
        self.reading.arrive(now.moment);
    }

    fn turn_day(&mut self, now: Timestamp) {
        let number = now.as_secs().div_euclid(DAY);
        if self.day.number != number {
            self.day = Day { number, ..Day::default() };
        }
    }

    /// Whether the day has room for one more.
    fn take_of_day(&mut self, per_day: Option<u32>, now: Timestamp) -> bool {
        self.turn_day(now);
        let room = !self.day.spent && per_day.is_none_or(|per_day| self.day.used < per_day);
        self.day.used += u32::from(room);
        room
    }

    fn set_revoked(&mut self, revoked: bool) {
        self.grant.set_revoked(revoked);
        self.dirty.grant = true;
    }

    fn token(&mut self, oauth: &SimOAuth, request: &SimRequest, now: SimTime, correlation: &str) -> SimReply {
        let common = |kind: FaultKind| kind.reply().is_some() || !kind.is_instead();
        let fault =
            self.faults.meet("token", request, |kind| kind != FaultKind::MemberRejected && common(kind));
        if let Some(reply) = fault.and_then(FaultKind::reply) {
            return reply;
        }
        let reply = self.grant.answer(oauth, self.seed, request, now.wall, correlation);
        let granted = reply.status == 200;
        self.stats.refreshes += u64::from(granted);
        self.stats.refused_refreshes += u64::from(!granted);
        self.dirty.grant |= granted;
        match fault {
            Some(kind) => kind.spoil(reply),
            None => reply,
        }
    }

    /// The faults that HubSpot words in its own way.
    fn fault(&mut self, kind: FaultKind, now: SimTime, correlation: &str) -> SimReply {
        if kind == FaultKind::TokenExpired {
            self.grant.expire();
            self.dirty.grant = true;
            return expired().reply(correlation);
        }
        // Both order a pause of the same length: by the header, or by the name of the policy.
        self.reading.pause(now.moment, now.moment + FaultKind::RETRY_AFTER);
        match kind {
            FaultKind::RateLimited => too_many("SECONDLY", correlation),
            _ => too_many("TEN_SECONDLY_ROLLING", correlation)
                .header("retry-after", FaultKind::RETRY_AFTER.as_secs()),
        }
    }

    /// The share of the edits that belongs to this page.
    fn live_edits(&mut self, options: &SimOptions, now: u64) {
        let pages = options.contacts.div_ceil(100).max(1);
        let due = |page: u64| options.live_edits * page.min(pages) / pages;
        let count = due(self.pages + 1) - due(self.pages);
        self.pages += 1;
        if count > 0 {
            self.edit(count, now);
        }
    }

    fn dirty_writes(&mut self) -> Vec<SimWrite> {
        let dirty = std::mem::take(&mut self.dirty);
        let json = |value: Result<Vec<u8>, _>| value.expect("texts and numbers serialise as JSON");
        let mut writes: Vec<_> = dirty.contacts.into_iter().map(|id| self.stored(id)).collect();
        if dirty.world {
            writes.push(SimWrite::put(WORLD, json(serde_json::to_vec(&self.world))));
        }
        if dirty.grant {
            writes.push(SimWrite::put(GRANT, json(serde_json::to_vec(&self.grant))));
        }
        writes
    }

    fn quota_headers(&self, reply: SimReply, is_search: bool, arrival: Arrival, per_day: u32) -> SimReply {
        let left = if self.day.spent { 0 } else { per_day.saturating_sub(self.day.used) };
        let reply = reply
            .header("x-hubspot-ratelimit-daily", per_day)
            .header("x-hubspot-ratelimit-daily-remaining", left);
        if is_search {
            // Searches tell of the day alone.
            return reply;
        }
        let limit = self.ten_secondly.limit();
        reply
            .header("x-hubspot-ratelimit-interval-milliseconds", self.window.as_millis())
            .header("x-hubspot-ratelimit-max", limit)
            .header("x-hubspot-ratelimit-remaining", limit.saturating_sub(arrival.in_window))
    }

    fn route(&mut self, request: &SimRequest, parts: &[&str], now: u64) -> Handled {
        let Self { data: contacts, companies, deals, account, stats, .. } = self;
        match parts {
            ["crm", "v3", area @ ("objects" | "properties"), kind, rest @ ..] => {
                let data = [contacts, companies, deals].into_iter().find(|data| data.kind().name == *kind);
                let data = data.ok_or_else(Failure::not_found)?;
                match *area {
                    "properties" => properties::answer(data, request, rest),
                    _ => Objects { data, stats }.answer(request, rest, now),
                }
            }
            ["crm", "v3", "owners"] => account::owners(request),
            ["crm", "v3", "lists", rest @ ..] => account.lists(request, rest, contacts, companies, now),
            ["crm", "v4", "associations", from, to, "batch", "read"] if request.method == Method::POST => {
                let all = [&*contacts, companies, deals].into_iter().zip(self.counts);
                let find = |kind: &str| all.clone().find(|(data, _)| data.kind().name == kind);
                match (find(from), find(to)) {
                    (Some(from), Some(to)) => {
                        account::associations(self.seed, from, to, &body(request)?, now)
                    }
                    _ => Err(Failure::not_found()),
                }
            }
            ["communication-preferences", "v4", "statuses", email] => {
                account.statuses(request, email, contacts, now)
            }
            ["events", "v3", rest @ ..] => account::events(request, rest, stats),
            _ => Err(Failure::not_found()),
        }
    }

    fn all_data(&mut self) -> impl Iterator<Item = &mut Data> {
        [&mut self.data, &mut self.companies, &mut self.deals].into_iter()
    }

    fn stored(&self, id: u64) -> SimWrite {
        self.data.stored_write(id)
    }
}

/// A 429. HubSpot sends no `Retry-After` with it, mostly.
fn too_many(policy: &str, correlation: &str) -> SimReply {
    SimReply::json(
        429,
        &json!({
            "status": "error",
            "message": format!("You have reached your {} limit.", policy.to_lowercase()),
            "errorType": "RATE_LIMIT",
            "correlationId": correlation,
            "policyName": policy,
            "category": "RATE_LIMITS",
        }),
    )
}
