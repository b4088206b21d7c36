//! A simulated HubSpot: seeded contacts, the real limits, the real shape of answers and errors. Feature `sim`.
//!
//! Serve it on loopback with [`martlet_testkit::SimServer`], or use it in process with [`martlet_testkit::SimTransport`].
//!
//! * `GET|POST /crm/v3/objects/contacts`, `GET|PATCH|DELETE /crm/v3/objects/contacts/{id}`,
//!   `POST /crm/v3/objects/contacts/search`, `POST /crm/v3/objects/contacts/batch/{read|create|update|upsert|archive}`,
//!   `GET /crm/v3/properties/contacts`.
//! * `GET /_sim/stats`: what it counted, as JSON, without a token and outside every limit.
//!
//! The seed gives names in many scripts, contacts without an address, with one that only HubSpot accepts, opted-out and
//! archived ones, and thousands that share one `lastmodifieddate`; see [`seed_contact`].

mod data;
mod reply;
mod search;
mod seed;

pub use seed::{SeedContact, archived_contacts, seed_contact};

use data::{Data, Object, PROPERTIES, Stored, iso};
use http::Method;
use martlet_testkit::{Arrival, QuotaUse, RateWindow, SimReply, SimRequest, SimTime, SimWrite, Simulator};
use reply::Failure;
use search::SearchRequest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What HubSpot gives when no property is asked for.
const DEFAULT_PROPERTIES: [&str; 6] =
    ["createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"];
/// What it gives in any case.
const ALWAYS: [&str; 3] = ["createdate", "hs_object_id", "lastmodifieddate"];

/// How a [`HubSpotSim`] is set up.
#[derive(Clone, PartialEq, Eq)]
pub struct SimOptions {
    /// Living contacts; another half a percent is archived.
    pub contacts: u64,
    /// The seed of all of them.
    pub seed: u64,
    /// Requests in any ten seconds, searches apart.
    pub per_ten_seconds: u32,
    /// Searches in any second.
    pub search_per_second: u32,
    /// The access token that is accepted.
    pub token: String,
}

impl Default for SimOptions {
    /// 1,000 contacts of seed 42, the limits of the free plan, the token `pat-sim`.
    fn default() -> Self {
        Self {
            contacts: 1_000,
            seed: 42,
            per_ten_seconds: 100,
            search_per_second: 5,
            token: "pat-sim".into(),
        }
    }
}

impl fmt::Debug for SimOptions {
    /// Without the token: it may be a real one by mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimOptions")
            .field("contacts", &self.contacts)
            .field("seed", &self.seed)
            .field("per_ten_seconds", &self.per_ten_seconds)
            .field("search_per_second", &self.search_per_second)
            .finish_non_exhaustive()
    }
}

/// What a simulator counted: the JSON of `GET /_sim/stats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SimStats {
    /// All requests but those for these numbers.
    pub requests: u64,
    /// Requests answered with 429: arrivals beyond a window.
    pub violations: u64,
    /// How much of the ten-second limit the last reading of the list used: once a second from its tenth second on, the requests
    /// of the last ten seconds over the limit, averaged; 1 when it was shorter. A reading begins with a request for the first
    /// page.
    pub quota_use_ratio: f64,
    /// Contacts given out by lists.
    pub listed: u64,
    /// Searches.
    pub searches: u64,
    /// Contacts created, changed or archived.
    pub written: u64,
}

/// A simulated HubSpot account. See the [module](self).
pub struct HubSpotSim {
    options: SimOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    data: Data,
    /// Everything but searches.
    ten_secondly: RateWindow,
    /// Searches.
    secondly: RateWindow,
    /// The present reading of the list.
    reading: QuotaUse,
    stats: SimStats,
    daily: u32,
}

/// Requests a day of the free plan. It is told in headers and never enforced: no test runs that long.
const DAILY: u32 = 250_000;
const TEN_SECONDS: Duration = Duration::from_secs(10);

impl HubSpotSim {
    /// An account as `options` say.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        let state = State {
            data: Data::new(options.seed, options.contacts),
            ten_secondly: RateWindow::new(options.per_ten_seconds, TEN_SECONDS),
            secondly: RateWindow::new(options.search_per_second, Duration::from_secs(1)),
            reading: QuotaUse::new(options.per_ten_seconds, TEN_SECONDS),
            stats: SimStats::default(),
            daily: 0,
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn authorized(&self, request: &SimRequest) -> bool {
        let header = request.header("authorization").unwrap_or_default();
        header.split_once(' ').is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && token.trim() == self.options.token
        })
    }
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
        if parts == ["_sim", "stats"] {
            return SimReply::json(200, &state.stats());
        }
        state.stats.requests += 1;
        let correlation = correlation(self.options.seed, state.stats.requests);
        if !self.authorized(request) {
            let message = "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can \
                           find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview";
            return Failure::new(401, "INVALID_AUTHENTICATION", message).reply(&correlation);
        }
        let is_search = parts.last() == Some(&"search");
        let window = if is_search { &mut state.secondly } else { &mut state.ten_secondly };
        let arrival = window.arrive(now.moment);
        let reply = if arrival.admitted {
            state.daily += 1;
            let millis = u64::try_from(now.wall.as_millis()).unwrap_or_default();
            if parts == ["crm", "v3", "objects", "contacts"] && request.method == Method::GET {
                state.note_reading(request, now);
            }
            state.route(request, &parts, millis).unwrap_or_else(|failure| failure.reply(&correlation))
        } else {
            too_many(is_search, &correlation)
        };
        state.quota_headers(reply, is_search, arrival).header("x-hubspot-correlation-id", correlation)
    }

    fn restore(&self, key: &str, value: &[u8]) {
        // What cannot be read was not written by this simulator; the seed is as good.
        if let (Ok(id), Ok(stored)) = (key.parse(), serde_json::from_slice::<Stored>(value)) {
            self.lock().data.put(id, stored);
        }
    }
}

/// Looks like a UUID, and is the same in every run.
fn correlation(seed: u64, request: u64) -> String {
    format!("{:08x}-0000-4000-8000-{request:012x}", seed & 0xffff_ffff)
}

#[derive(Deserialize)]
struct Batch {
    inputs: Vec<Input>,
    #[serde(default)]
    properties: Vec<String>,
    #[serde(default, rename = "idProperty")]
    id_property: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(default)]
    id: String,
    #[serde(default)]
    id_property: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, Option<String>>,
    #[serde(default)]
    object_write_trace_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Create,
    Update,
    Upsert,
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
        stats
    }

    fn note_reading(&mut self, request: &SimRequest, now: SimTime) {
        if request.param("archived") == Some("true") {
            return;
        }
        if request.param("after").is_none() {
            self.reading = QuotaUse::new(self.ten_secondly.limit(), TEN_SECONDS);
        }
        self.reading.arrive(now.moment);
    }

    fn quota_headers(&self, reply: SimReply, is_search: bool, arrival: Arrival) -> SimReply {
        let reply = reply
            .header("x-hubspot-ratelimit-daily", DAILY)
            .header("x-hubspot-ratelimit-daily-remaining", DAILY.saturating_sub(self.daily));
        if is_search {
            // Searches tell of the day alone.
            return reply;
        }
        let limit = self.ten_secondly.limit();
        reply
            .header("x-hubspot-ratelimit-interval-milliseconds", TEN_SECONDS.as_millis())
            .header("x-hubspot-ratelimit-max", limit)
            .header("x-hubspot-ratelimit-remaining", limit.saturating_sub(arrival.in_window))
    }

    fn route(&mut self, request: &SimRequest, parts: &[&str], now: u64) -> Handled {
        match (&request.method, parts) {
            (&Method::GET, ["crm", "v3", "properties", "contacts"]) => Ok(properties()),
            (method, ["crm", "v3", "objects", "contacts", rest @ ..]) => match (method, rest) {
                (&Method::GET, []) => self.list(request),
                (&Method::POST, []) => self.create(&body(request)?, now),
                (&Method::POST, ["search"]) => self.search(&body(request)?),
                (&Method::POST, ["batch", "read"]) => self.batch_read(&body(request)?, now),
                (&Method::POST, ["batch", "create"]) => self.batch_write(Write::Create, &body(request)?, now),
                (&Method::POST, ["batch", "update"]) => self.batch_write(Write::Update, &body(request)?, now),
                (&Method::POST, ["batch", "upsert"]) => self.batch_write(Write::Upsert, &body(request)?, now),
                (&Method::POST, ["batch", "archive"]) => self.batch_archive(&body(request)?, now),
                (&Method::GET, [id]) => self.get(request, id),
                (&Method::PATCH, [id]) => self.update(request, id, &body(request)?, now),
                (&Method::DELETE, [id]) => self.archive_one(id, now),
                _ => Err(Failure::new(405, "METHOD_NOT_ALLOWED", "HTTP 405 Method Not Allowed")),
            },
            _ => Err(Failure::not_found()),
        }
    }

    fn list(&mut self, request: &SimRequest) -> Handled {
        let limit: usize = match request.param("limit") {
            None => 10,
            Some(text) => text.parse().ok().filter(|limit| (1..=100).contains(limit)).ok_or_else(|| {
                Failure::invalid(format!("Invalid limit {text}: it must be between 1 and 100"))
            })?,
        };
        let after: u64 = match request.param("after") {
            None | Some("") => 0,
            Some(text) => {
                text.parse().map_err(|_| Failure::invalid(format!("Invalid paging cursor {text}")))?
            }
        };
        let names = asked(request);
        let mut page: Vec<Object<'_>> = if request.param("archived") == Some("true") {
            self.data.archived_after(after)
        } else {
            self.data.living_after(after).take(limit + 1).collect()
        };
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(Object::id);
        let results: Vec<_> = page.iter().map(|object| Shown::new(object, &names)).collect();
        let answer = Page { total: None, results: &results, paging: next.map(Paging::new) };
        let reply = SimReply::json(200, &answer);
        self.stats.listed += results.len() as u64;
        Ok(reply)
    }

    fn search(&mut self, request: &SearchRequest) -> Handled {
        self.stats.searches += 1;
        let found = request.run(&self.data)?;
        let names: Vec<&str> = request.properties.iter().map(String::as_str).collect();
        let results: Vec<_> = found.objects.iter().map(|object| Shown::new(object, &names)).collect();
        let answer =
            Page { total: Some(found.total), results: &results, paging: found.next.map(Paging::new) };
        Ok(SimReply::json(200, &answer))
    }

    fn get(&self, request: &SimRequest, id: &str) -> Handled {
        let by = request.param("idProperty").unwrap_or_default();
        let object = if request.param("archived") == Some("true") {
            id.parse().ok().and_then(|id| self.data.get(id)).filter(|object| object.archived().is_some())
        } else {
            self.data.find(id, by)?
        };
        let object = object.ok_or_else(Failure::not_found)?;
        Ok(SimReply::json(200, &Shown::new(&object, &asked(request))))
    }

    fn create(&mut self, input: &Input, now: u64) -> Handled {
        let id = self.write(Write::Create, input, "", now)?.0;
        Ok(self.shown(201, id, &input.properties))
    }

    fn update(&mut self, request: &SimRequest, id: &str, input: &Input, now: u64) -> Handled {
        let by = request.param("idProperty").unwrap_or_default();
        let id = self.data.find(id, by)?.ok_or_else(Failure::not_found)?.id();
        self.data.write(Some(id), &input.properties, now)?;
        self.stats.written += 1;
        Ok(self.shown(200, id, &input.properties))
    }

    fn archive_one(&mut self, id: &str, now: u64) -> Handled {
        let id = id.parse().map_err(|_| Failure::not_found())?;
        self.data.get(id).ok_or_else(Failure::not_found)?;
        let done = self.data.archive(id, now);
        self.stats.written += u64::from(done);
        Ok(SimReply::status(204).store(done.then(|| self.stored(id))))
    }

    fn batch_archive(&mut self, batch: &Batch, now: u64) -> Handled {
        check_batch(batch)?;
        let ids: Vec<u64> = batch.inputs.iter().filter_map(|input| input.id.parse().ok()).collect();
        let done: Vec<u64> = ids.into_iter().filter(|&id| self.data.archive(id, now)).collect();
        self.stats.written += done.len() as u64;
        Ok(SimReply::status(204).store(done.into_iter().map(|id| self.stored(id))))
    }

    fn batch_read(&self, batch: &Batch, now: u64) -> Handled {
        check_batch(batch)?;
        let by = batch.id_property.as_deref().unwrap_or_default();
        let names: Vec<&str> = batch.properties.iter().map(String::as_str).collect();
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in &batch.inputs {
            match self.data.find(&input.id, by)? {
                Some(object) => results.push(to_value(&Shown::new(&object, &names))),
                None => errors.push(
                    Failure::new(
                        404,
                        "OBJECT_NOT_FOUND",
                        "Could not get some CONTACT objects, they may be deleted",
                    )
                    .with_context("ids", &input.id),
                ),
            }
        }
        Ok(batch_reply(200, results, &errors, now))
    }

    fn batch_write(&mut self, write: Write, batch: &Batch, now: u64) -> Handled {
        check_batch(batch)?;
        if write != Write::Create {
            let mut seen = HashSet::new();
            if let Some(twice) = batch.inputs.iter().find(|input| !seen.insert(input.id.to_lowercase())) {
                return Err(Failure::invalid(format!(
                    "Duplicate IDs found in batch input: [{}]. IDs must be unique",
                    twice.id
                )));
            }
        }
        let (mut results, mut errors, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for input in &batch.inputs {
            let by = input.id_property.as_deref().unwrap_or_default();
            match self.write(write, input, by, now) {
                Ok((id, created)) => {
                    written.push(id);
                    if let Some(object) = self.data.get(id) {
                        let mut shown = to_value(&Shown::new(&object, &names_of(&input.properties)));
                        if write == Write::Upsert {
                            shown["new"] = created.into();
                        }
                        if let Some(trace) = &input.object_write_trace_id {
                            shown["objectWriteTraceId"] = trace.as_str().into();
                        }
                        results.push(shown);
                    }
                }
                Err(failure) => errors.push(match &input.object_write_trace_id {
                    Some(trace) => failure.with_context("objectWriteTraceId", trace),
                    None => failure,
                }),
            }
        }
        // The order of results is not that of the inputs.
        results.reverse();
        let status = if write == Write::Create { 201 } else { 200 };
        let writes: Vec<_> = written.into_iter().map(|id| self.stored(id)).collect();
        Ok(batch_reply(status, results, &errors, now).store(writes))
    }

    /// The id of the contact, and whether it is new.
    fn write(&mut self, write: Write, input: &Input, by: &str, now: u64) -> Result<(u64, bool), Failure> {
        let known = match write {
            Write::Create => None,
            Write::Update | Write::Upsert => self.data.find(&input.id, by)?.map(|object| object.id()),
        };
        let mut properties = Cow::Borrowed(&input.properties);
        match (write, known) {
            (Write::Update, None) => return Err(Failure::not_found()),
            (Write::Upsert, None) if by != "email" => {
                return Err(Failure::invalid("a contact can only be created by a unique property"));
            }
            (Write::Upsert, None) => {
                properties.to_mut().insert(by.to_owned(), Some(input.id.clone()));
            }
            _ => {}
        }
        let id = self.data.write(known, &properties, now)?;
        self.stats.written += 1;
        Ok((id, known.is_none()))
    }

    fn shown(&self, status: u16, id: u64, properties: &BTreeMap<String, Option<String>>) -> SimReply {
        let object = self.data.get(id).expect("it was just written");
        SimReply::json(status, &Shown::new(&object, &names_of(properties))).store([self.stored(id)])
    }

    fn stored(&self, id: u64) -> SimWrite {
        let stored = self.data.stored(id).expect("it was just written");
        SimWrite::put(
            id.to_string(),
            serde_json::to_vec(stored).expect("texts and numbers serialise as JSON"),
        )
    }
}

/// A 429. HubSpot sends no `Retry-After` with it.
fn too_many(is_search: bool, correlation: &str) -> SimReply {
    let policy = if is_search { "SECONDLY" } else { "TEN_SECONDLY_ROLLING" };
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

fn check_batch(batch: &Batch) -> Result<(), Failure> {
    match batch.inputs.len() {
        0 => Err(Failure::invalid("inputs must not be empty")),
        1..=100 => Ok(()),
        count => Err(Failure::invalid(format!("The batch has {count} inputs, the maximum is 100"))),
    }
}

fn batch_reply(status: u16, results: Vec<Value>, errors: &[Failure], now: u64) -> SimReply {
    let mut answer =
        json!({"status": "COMPLETE", "results": results, "startedAt": iso(now), "completedAt": iso(now)});
    if errors.is_empty() {
        return SimReply::json(status, &answer);
    }
    answer["numErrors"] = errors.len().into();
    answer["errors"] = errors.iter().map(Failure::in_batch).collect();
    SimReply::json(207, &answer)
}

fn properties() -> SimReply {
    let results: Vec<Value> = PROPERTIES
        .iter()
        .map(|(name, label, kind, field)| {
            json!({"name": name, "label": label, "type": kind, "fieldType": field, "groupName": "contactinformation",
                   "description": "", "options": [], "hidden": false})
        })
        .collect();
    SimReply::json(200, &json!({ "results": results }))
}

/// The properties that a query names: repeated, or with commas.
fn asked(request: &SimRequest) -> Vec<&str> {
    let given = request.query.iter().filter(|(name, _)| name == "properties");
    given.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn names_of(properties: &BTreeMap<String, Option<String>>) -> Vec<&str> {
    DEFAULT_PROPERTIES.into_iter().chain(properties.keys().map(String::as_str)).collect()
}

fn to_value(shown: &Shown<'_>) -> Value {
    serde_json::to_value(shown).expect("texts and numbers serialise as JSON")
}

/// A page in HubSpot's form.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    results: &'a [Shown<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    paging: Option<Paging>,
}

#[derive(Serialize)]
struct Paging {
    next: Next,
}

#[derive(Serialize)]
struct Next {
    after: String,
}

impl Paging {
    fn new(after: impl fmt::Display) -> Self {
        Self { next: Next { after: after.to_string() } }
    }
}

/// A contact in HubSpot's form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: String,
    properties: BTreeMap<&'a str, Option<Cow<'a, str>>>,
    created_at: String,
    updated_at: String,
    archived: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    archived_at: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(object: &'a Object<'a>, names: &[&'a str]) -> Self {
        let names = if names.is_empty() { &DEFAULT_PROPERTIES[..] } else { names };
        let known = names.iter().copied().chain(ALWAYS).filter(|name| data::kind_of(name).is_some());
        Self {
            id: object.id().to_string(),
            properties: known.map(|name| (name, object.text(name))).collect(),
            created_at: iso(object.created()),
            updated_at: iso(object.modified()),
            archived: object.archived().is_some(),
            archived_at: object.archived().map(iso),
        }
    }
}
