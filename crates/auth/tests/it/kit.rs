//! A platform that refuses what is expired or revoked, its token endpoint, and a store that fails on demand.

use async_trait::async_trait;
use http::StatusCode;
use martlet_auth::{OAuth2, OAuth2Config, OAuth2ConfigBuilder, TokenStore, Tokens};
use martlet_base::{Clock, ManualClock, Moment, Observer, Signal, Timestamp};
use martlet_core::{
    ApiClient as _, Call, Client, ClientBuilder, Descriptor, Error, Operation, Platform, Response, Transport,
};
use martlet_resilience::RetryPolicy;
use martlet_store::{
    Capabilities, Cell, CellKey, Cells, Committed, Fence, MemoryStore, Store, StoreError, StoreErrorKind,
    WriteBatch,
};
use martlet_testkit::{SimReply, SimRequest, SimTime, SimTransport, Simulator, WireFault};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub(crate) const THINGS: Operation = Operation::get("things.list", "/things");

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What the token endpoint does with the next request instead of answering it at once.
#[derive(Debug)]
pub(crate) enum Next {
    /// It answers this and does nothing.
    Say(SimReply),
    /// It refreshes, and the connection breaks before the answer.
    LoseAnswer,
}

#[derive(Debug, Default)]
pub(crate) struct Acme(Mutex<AcmeState>);

#[derive(Debug, Default)]
pub(crate) struct AcmeState {
    /// Seconds that an access token lives.
    pub(crate) life: u64,
    /// A refresh token is good once; using it twice revokes everything that came from it.
    pub(crate) rotates: bool,
    /// How long the endpoint takes.
    pub(crate) slow: Duration,
    /// How long the rest takes.
    pub(crate) slow_api: Duration,
    pub(crate) refresh_token: String,
    pub(crate) used: Vec<String>,
    pub(crate) revoked: bool,
    /// Refuses every access token.
    pub(crate) closed: bool,
    access: HashMap<String, Moment>,
    made: u32,
    pub(crate) next: VecDeque<Next>,
    pub(crate) token_requests: Vec<SimRequest>,
    pub(crate) refused: u32,
    pub(crate) served: u32,
    events: Arc<Mutex<Vec<&'static str>>>,
}

impl AcmeState {
    pub(crate) fn revoke_access(&mut self) {
        self.access.clear();
    }

    /// Accepts `token` until `end`.
    pub(crate) fn grant(&mut self, token: &str, end: Moment) {
        self.access.insert(token.to_owned(), end);
    }

    fn token(&mut self, request: &SimRequest, now: SimTime) -> SimReply {
        self.token_requests.push(request.clone());
        self.events.lock().unwrap().push("token");
        let lose = match self.next.pop_front() {
            Some(Next::Say(reply)) => return reply,
            Some(Next::LoseAnswer) => true,
            None => false,
        };
        let form: HashMap<String, String> = form(request);
        let token = &form["refresh_token"];
        if self.used.contains(token) {
            self.revoked = true;
            self.access.clear();
        }
        if self.revoked || *token != self.refresh_token {
            let body = json!({ "error": "invalid_grant", "error_description": format!("bad token {token}") });
            return SimReply::json(400, &body).after(self.slow);
        }
        self.made += 1;
        let access = format!("canary-access-{}", self.made);
        let mut body = json!({ "access_token": access, "token_type": "Bearer", "expires_in": self.life });
        if self.rotates {
            self.used
                .push(std::mem::replace(&mut self.refresh_token, format!("canary-refresh-{}", self.made)));
            body["refresh_token"] = json!(self.refresh_token);
        }
        // Counted from when the answer leaves.
        self.access.insert(access, now.moment + self.slow + secs(self.life));
        let reply = SimReply::json(200, &body).after(self.slow);
        if lose { reply.fault(WireFault::Reset) } else { reply }
    }

    fn things(&mut self, request: &SimRequest, now: SimTime) -> SimReply {
        let token =
            request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
        let good = self.access.get(token).is_some_and(|end| now.moment < *end);
        if !good || self.closed {
            self.refused += 1;
            return SimReply::status(401).after(self.slow_api);
        }
        self.served += 1;
        self.events.lock().unwrap().push("api");
        SimReply::json(200, &json!([]))
    }
}

pub(crate) fn form(request: &SimRequest) -> HashMap<String, String> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

impl Acme {
    pub(crate) fn lock(&self) -> MutexGuard<'_, AcmeState> {
        self.0.lock().unwrap()
    }
}

impl Simulator for Acme {
    fn name(&self) -> &'static str {
        "acme"
    }

    fn handle(&self, request: &SimRequest, now: SimTime) -> SimReply {
        let mut state = self.lock();
        match request.path.as_str() {
            "/token" => state.token(request, now),
            "/things" => state.things(request, now),
            _ => SimReply::status(404),
        }
    }
}

/// What happens to the next writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It is not applied, and says so.
    Refused,
    /// It is applied, and the answer is lost.
    AppliedInSecret,
    /// It is not applied, and nobody knows.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Flaky {
    inner: MemoryStore,
    clock: Clock,
    /// How long a lease takes before it is looked at.
    pub(crate) slow_lease: Mutex<Duration>,
    pub(crate) without_leases: Mutex<bool>,
    pub(crate) writes: Mutex<VecDeque<Write>>,
    events: Arc<Mutex<Vec<&'static str>>>,
}

#[async_trait]
impl Store for Flaky {
    async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
        let broken = || StoreError::new(StoreErrorKind::Unavailable, "the disk fell asleep");
        let next = self.writes.lock().unwrap().pop_front();
        match next {
            Some(Write::Refused) => return Err(StoreError::new(StoreErrorKind::Full, "no space left")),
            Some(Write::Lost) => return Err(broken()),
            _ => {}
        }
        let done = self.inner.commit(batch).await?;
        self.events.lock().unwrap().push("store");
        if next.is_some() { Err(broken()) } else { Ok(done) }
    }
    async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
        self.inner.get(keys).await
    }
    async fn scan(
        &self,
        p: &str,
        after: Option<&CellKey>,
        n: usize,
    ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
        self.inner.scan(p, after, n).await
    }
    async fn lease(&self, key: &CellKey, owner: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        if *self.without_leases.lock().unwrap() {
            return Err(StoreError::new(StoreErrorKind::Unsupported, "no leases"));
        }
        let slow = *self.slow_lease.lock().unwrap();
        if !slow.is_zero() {
            self.clock.sleep(slow).await;
        }
        self.inner.lease(key, owner, ttl).await
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.leases = !*self.without_leases.lock().unwrap();
        capabilities
    }
}

#[derive(Debug)]
struct AcmePlatform(Descriptor);

impl Platform for AcmePlatform {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

/// Everything that was ever signalled, as text.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Mutex<String>);

impl Observer for Heard {
    fn observe(&self, signal: &Signal<'_>) {
        *self.0.lock().unwrap() += &format!("{signal:?}\n");
    }
}

pub(crate) struct World {
    pub(crate) manual: ManualClock,
    pub(crate) clock: Clock,
    pub(crate) acme: Arc<Acme>,
    pub(crate) store: Arc<Flaky>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) events: Arc<Mutex<Vec<&'static str>>>,
    transport: Arc<dyn Transport>,
}

impl World {
    /// Tokens live half an hour and rotate; the account's first refresh token is stored.
    pub(crate) async fn new() -> Self {
        let world = Self::unconnected();
        assert!(world.tokens().seed(&Tokens::from_refresh_token("canary-refresh-0")).await.unwrap());
        world.events.lock().unwrap().clear();
        world
    }

    pub(crate) fn unconnected() -> Self {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let events = Arc::<Mutex<Vec<&'static str>>>::default();
        let acme = Arc::new(Acme(Mutex::new(AcmeState {
            life: 1_800,
            rotates: true,
            refresh_token: "canary-refresh-0".into(),
            events: Arc::clone(&events),
            ..AcmeState::default()
        })));
        let store = Flaky {
            inner: MemoryStore::new(clock.clone()),
            clock: clock.clone(),
            slow_lease: Mutex::default(),
            without_leases: Mutex::default(),
            writes: Mutex::default(),
            events: Arc::clone(&events),
        };
        let transport = Arc::new(SimTransport::new(Arc::clone(&acme) as Arc<dyn Simulator>, clock.clone()));
        Self { manual, clock, acme, store: Arc::new(store), heard: Arc::default(), events, transport }
    }

    pub(crate) fn tokens(&self) -> TokenStore {
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        TokenStore::new(Cells::new(store, "tokens/"), "acme/main").unwrap()
    }

    pub(crate) fn config() -> OAuth2ConfigBuilder {
        OAuth2Config::builder("https://login.acme.example/token", "app-1")
            .client_secret("canary-client-secret")
            .param("audience", "canary-param")
    }

    /// A client, as of a process of its own: what it shares with another one is the store.
    pub(crate) fn client(&self) -> Client {
        self.client_of(Self::config())
    }

    pub(crate) fn client_of(&self, config: OAuth2ConfigBuilder) -> Client {
        self.builder(config).retry(RetryPolicy::never()).build().unwrap()
    }

    pub(crate) fn builder(&self, config: OAuth2ConfigBuilder) -> ClientBuilder {
        let source = OAuth2::refresh(config.build().unwrap(), Arc::clone(&self.transport), self.tokens());
        assert!(!format!("{source:?}").contains("canary"));
        Client::builder(AcmePlatform(Descriptor::new("acme", "https://api.acme.example").unwrap()))
            .shared_transport(Arc::clone(&self.transport))
            .credentials(source)
            .clock(self.clock.clone())
            .observer(Arc::clone(&self.heard) as Arc<dyn Observer>)
    }

    pub(crate) async fn drive<F: Future>(&self, future: F) -> F::Output {
        self.manual.drive(future).await
    }

    pub(crate) fn refused(&self) -> u32 {
        self.acme.lock().refused
    }

    pub(crate) fn revoked(&self) -> bool {
        self.acme.lock().revoked
    }

    pub(crate) fn token_requests(&self) -> usize {
        self.acme.lock().token_requests.len()
    }

    /// The stored refresh token.
    pub(crate) async fn stored(&self) -> String {
        let (tokens, _) = self.tokens().load().await.unwrap().unwrap();
        tokens.refresh_token.unwrap().expose().to_owned()
    }
}

pub(crate) async fn get(client: &Client) -> Result<Response, Error> {
    let result = client.execute(Call::new(THINGS)).await;
    if let Err(error) = &result {
        // Row O10, in every test there is: no secret in any error.
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    result
}

pub(crate) async fn ok(client: &Client) {
    assert_eq!(get(client).await.unwrap().status(), StatusCode::OK);
}
