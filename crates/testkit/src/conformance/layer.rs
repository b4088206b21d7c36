//! What a layer that only looks or adds must not break, as tests. A layer that answers by itself or refuses calls on purpose
//! is another matter.
//!
//! ```
//! # use martlet_core::{Layer, Next, Request, Response, Result};
//! # #[derive(Debug)] struct Audit;
//! # #[async_trait::async_trait]
//! # impl Layer for Audit {
//! #     fn name(&self) -> &'static str { "audit" }
//! #     async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> { next.run(request).await }
//! # }
//! use martlet_testkit::conformance::layer::Subject;
//!
//! fn audit() -> Subject {
//!     Subject::new(|builder| builder.call_layer(Audit))
//! }
//!
//! martlet_testkit::layer_conformance!(audit);
//! # fn main() {}
//! ```

use super::wire::{Answer, Wire};
use crate::RecordedRequest;
use futures_util::future::join_all;
use martlet_base::{Delivery, ManualClock, Rng};
use martlet_core::{
    ApiClient as _, Call, Client, ClientBuilder, Credential, Descriptor, ErrorKind, Idempotency, Operation,
    Platform, TransportErrorKind,
};
use std::fmt;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

const READ: Operation = Operation::get("things.get", "/things/{id}");
const WRITE: Operation = Operation::post("things.create", "/things").idempotency(Idempotency::Unsafe);

#[derive(Debug)]
struct Plain(Descriptor);

impl Platform for Plain {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

type Add = Box<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>;

/// A layer under test: how it is added to a client.
pub struct Subject(Add);

impl Subject {
    /// `add` puts the layer where it belongs, with `call_layer` or `attempt_layer`.
    pub fn new(add: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static) -> Self {
        Self(Box::new(add))
    }

    fn client(
        &self,
        yields: usize,
        answer: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
    ) -> (ManualClock, Wire, Client) {
        let manual = ManualClock::new();
        let wire = Wire::new(manual.clock(), Duration::ZERO, yields, answer);
        let descriptor = Descriptor::new("plain", "https://api.plain.example").expect("two valid constants");
        let builder = Client::builder(Plain(descriptor))
            .transport(wire.clone())
            .clock(manual.clock())
            .rng(Rng::seeded(7))
            .credentials(Credential::bearer("token"));
        let client = (self.0)(builder).build().expect("the client is built with the layer");
        (manual, wire, client)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(..)")
    }
}

/// A call makes one request; method, path, body and credential arrive, and the answer comes back as it is.
pub async fn requests_and_answers_pass(subject: Subject) {
    let (manual, wire, client) = subject.client(0, |_| Answer::new(201, "an answer"));
    let call = Call::new(WRITE).body("a body".to_owned());
    let answer = manual.drive(client.execute(call)).await.expect("a success stays a success");
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (201, &b"an answer"[..]));
    assert_eq!(answer.meta().attempts, 1);
    let requests = wire.requests();
    assert_eq!(requests.len(), 1, "a call became other than one request");
    assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("POST", "/things"));
    assert_eq!(requests[0].body, "a body");
    assert_eq!(requests[0].header("authorization"), Some("Bearer token"), "the credential was changed");
}

/// A failure keeps its kind, and what is known about the request's fate: retries depend on it.
pub async fn failures_keep_kind_and_fate(subject: Subject) {
    for (status, kind) in
        [(404, ErrorKind::NotFound), (401, ErrorKind::Unauthenticated), (500, ErrorKind::Server)]
    {
        let (manual, wire, client) = subject.client(0, move |_| Answer::new(status, ""));
        let error =
            manual.drive(client.execute(Call::new(WRITE))).await.expect_err("a failure stays a failure");
        assert_eq!((error.kind(), error.status()), (kind, Some(status)), "{error}");
        assert_eq!(wire.requests().len(), 1, "what may not be repeated was repeated");
    }
    let lost = |_: &RecordedRequest| Answer::failure(TransportErrorKind::Interrupted, Delivery::Unknown);
    let (manual, _, client) = subject.client(0, lost);
    let error = manual.drive(client.execute(Call::new(WRITE))).await.expect_err("a failure stays a failure");
    assert_eq!(error.delivery(), Delivery::Unknown, "a lost answer may have been applied: {error}");
}

/// What may be repeated is, under the layer as without it.
pub async fn retries_go_on(subject: Subject) {
    let (manual, wire, client) =
        subject.client(0, |request| Answer::new(if request.attempt < 3 { 503 } else { 200 }, ""));
    let answer =
        manual.drive(client.execute(Call::new(READ).path("id", 7))).await.expect("the third succeeds");
    assert_eq!((answer.meta().attempts, wire.requests().len()), (3, 3));
}

/// Fifty calls at once are under way at once: the layer does not hold a lock over the rest of the call.
pub async fn calls_do_not_wait_for_one_another(subject: Subject) {
    let (manual, wire, client) = subject.client(5, |_| Answer::new(200, ""));
    let calls = (0..50).map(|id| client.execute(Call::new(READ).path("id", id)));
    for answer in manual.drive(join_all(calls)).await {
        answer.expect("a call succeeds");
    }
    assert_eq!(wire.most_at_once(), 50, "calls waited for one another");
}

/// A call that is dropped at any await ends its exchange and leaves the next one alone.
pub async fn a_dropped_call_leaks_nothing(subject: Subject) {
    let (manual, wire, client) = subject.client(3, |_| Answer::new(200, ""));
    for polls in 0..40 {
        {
            let mut call = pin!(client.execute(Call::new(READ).path("id", 7)));
            for _ in 0..polls {
                if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(wire.under_way(), 0, "a call dropped after {polls} polls left its exchange open");
    }
    let call = Call::new(READ).path("id", 7);
    manual.drive(client.execute(call)).await.expect("after dropped calls the next one succeeds");
}

/// Makes tests of the cases of [`conformance::layer`](mod@crate::conformance::layer). The argument is the name of a function
/// that returns a fresh [`Subject`](crate::conformance::layer::Subject). The crate needs tokio with `rt` and `macros` as a
/// dev-dependency.
#[macro_export]
macro_rules! layer_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { layer_conformance, layer, $make:
            requests_and_answers_pass,
            failures_keep_kind_and_fate,
            retries_go_on,
            calls_do_not_wait_for_one_another,
            a_dropped_call_leaks_nothing,
        }
    };
}
