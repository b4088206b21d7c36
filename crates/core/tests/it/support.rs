use async_trait::async_trait;
use martlet_base::{Clock, ManualClock, Observer, Rng, Signal};
use martlet_core::{
    ApiClient, Call, Client, ClientBuilder, Credential, CredentialError, CredentialSource, Descriptor, Error,
    Idempotency, IssueContext, Issued, LimitSpec, Operation, Platform, QuotaUpdate, Response, Result,
};
use martlet_testkit::ScriptedTransport;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const GET: Operation = Operation::get("things.get", "/v1/things/{id}");
pub(crate) const LIST: Operation = Operation::get("things.list", "/v1/things");
pub(crate) const CREATE: Operation =
    Operation::post("things.create", "/v1/things").idempotency(Idempotency::Unsafe);

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A platform with the default rules. `x-block: search 7` orders a pause of 7 s for the bucket `search`.
#[derive(Debug)]
pub(crate) struct Acme(pub(crate) Descriptor);

impl Platform for Acme {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn quota(&self, _operation: &Operation, response: &Response) -> Vec<QuotaUpdate> {
        let Some((bucket, pause)) = response.header("x-block").and_then(|v| v.split_once(' ')) else {
            return Vec::new();
        };
        let bucket = if bucket == "search" { "search" } else { LimitSpec::DEFAULT };
        vec![QuotaUpdate::new(bucket, "second").blocked_for(secs(pause.parse().unwrap()))]
    }
}

pub(crate) fn descriptor() -> Descriptor {
    Descriptor::new("acme", "https://api.acme.example").unwrap()
}

/// What was observed, as text.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<String>>);

impl Observer for Recorder {
    fn observe(&self, signal: &Signal<'_>) {
        self.0.lock().unwrap().push(format!("{signal:?}"));
    }
}

impl Recorder {
    /// The signals whose text begins so.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|text| text.starts_with(name)).cloned().collect()
    }
}

/// A clock, a script, and what was observed.
pub(crate) struct World {
    pub(crate) manual: ManualClock,
    pub(crate) clock: Clock,
    pub(crate) transport: ScriptedTransport,
    pub(crate) seen: Arc<Recorder>,
}

impl World {
    pub(crate) fn new() -> Self {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let transport = ScriptedTransport::new(clock.clone());
        Self { manual, clock, transport, seen: Arc::default() }
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        self.builder_for(descriptor())
    }

    pub(crate) fn builder_for(&self, descriptor: Descriptor) -> ClientBuilder {
        Client::builder(Acme(descriptor))
            .transport(self.transport.clone())
            .credentials(Credential::bearer("token"))
            .clock(self.clock.clone())
            .rng(Rng::seeded(1))
            .observer(self.seen.clone())
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
        self.manual.drive(future).await
    }

    pub(crate) async fn execute(&self, client: &Client, call: Call) -> Result<Response> {
        self.run(client.execute(call)).await
    }

    /// Milliseconds between the requests sent so far.
    pub(crate) fn pauses(&self) -> Vec<u64> {
        let at: Vec<_> = self.transport.requests().iter().map(|r| r.at).collect();
        at.windows(2).map(|pair| u64::try_from(pair[1].since(pair[0]).as_millis()).unwrap()).collect()
    }
}

/// Makes the calls at once and returns their results in order.
pub(crate) async fn together(
    world: &World,
    client: &Client,
    calls: impl IntoIterator<Item = Call>,
) -> Vec<Result<Response>> {
    let calls = calls.into_iter().map(|call| {
        let client = client.clone();
        tokio::spawn(async move { client.execute(call).await })
    });
    let calls: Vec<_> = calls.collect();
    world
        .run(async {
            let mut results = Vec::new();
            for call in calls {
                results.push(call.await.unwrap());
            }
            results
        })
        .await
}

/// A source that gives tokens `token-1`, `token-2`, ... as its script says.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    script: Mutex<VecDeque<Step>>,
    issued: Mutex<Vec<bool>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A token that lives so long, after so long.
    Issue {
        life: Duration,
        takes: Duration,
    },
    Fail {
        error: CredentialError,
        takes: Duration,
    },
}

impl Tokens {
    pub(crate) fn new(script: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }

    /// For each time it was asked, whether the last token had been refused.
    pub(crate) fn issued(&self) -> Vec<bool> {
        self.issued.lock().unwrap().clone()
    }
}

#[derive(Debug)]
pub(crate) struct Shared(pub(crate) Arc<Tokens>);

#[async_trait]
impl CredentialSource for Shared {
    async fn issue(&self, cx: &IssueContext) -> Result<Issued, CredentialError> {
        let number = {
            let mut issued = self.0.issued.lock().unwrap();
            issued.push(cx.refused);
            issued.len()
        };
        let step = self.0.script.lock().unwrap().pop_front().expect("asked more often than expected");
        match step {
            Step::Issue { life, takes } => {
                cx.clock.sleep(takes).await;
                let token = Credential::bearer(format!("token-{number}"));
                Ok(Issued::until(token, cx.clock.now() + life))
            }
            Step::Fail { error, takes } => {
                cx.clock.sleep(takes).await;
                Err(error)
            }
        }
    }
}

#[track_caller]
pub(crate) fn fails(result: Result<Response>) -> Error {
    result.map(|response| response.status()).unwrap_err()
}
