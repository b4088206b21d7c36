//! The suite for layers, tested in both places, and with a layer that holds a lock and one that swallows failures.

use http::StatusCode;
use martlet_core::{Layer, Next, Request, Response, Result};
use martlet_testkit::conformance::layer::{self, Subject};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    Locks,
    Swallows,
}

#[derive(Debug)]
struct Audit(Flaw, tokio::sync::Mutex<u32>);

#[async_trait::async_trait]
impl Layer for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        let context = request.context().clone();
        let _held = if self.0 == Flaw::Locks { Some(self.1.lock().await) } else { None };
        let answer = next.run(request).await;
        if self.0 == Flaw::Swallows && answer.is_err() {
            return Ok(Response::new(StatusCode::OK, http::HeaderMap::new(), bytes::Bytes::new(), context));
        }
        answer
    }
}

fn audit(flaw: Flaw) -> Audit {
    Audit(flaw, tokio::sync::Mutex::new(0))
}

fn around_calls() -> Subject {
    Subject::new(|builder| builder.call_layer(audit(Flaw::None)))
}

mod around_attempts {
    use super::{Flaw, Subject, audit};

    fn around_attempts() -> Subject {
        Subject::new(|builder| builder.attempt_layer(audit(Flaw::None)))
    }

    martlet_testkit::layer_conformance!(around_attempts);
}

martlet_testkit::layer_conformance!(around_calls);

#[tokio::test]
#[should_panic(expected = "calls waited for one another")]
async fn a_layer_with_a_lock_is_found() {
    let subject = Subject::new(|builder| builder.call_layer(audit(Flaw::Locks)));
    layer::calls_do_not_wait_for_one_another(subject).await;
}

#[tokio::test]
#[should_panic(expected = "a failure stays a failure")]
async fn a_layer_that_swallows_failures_is_found() {
    let subject = Subject::new(|builder| builder.call_layer(audit(Flaw::Swallows)));
    layer::failures_keep_kind_and_fate(subject).await;
}
