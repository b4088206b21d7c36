//! Two layers of one's own: one around the whole call, that keeps an audit log, and one around each attempt, that signs.
//!
//! The audit sees one call, however often it was tried; the signature is made anew for each attempt, after every wait, so that
//! its time is not stale. The platform is a script that fails once, and the clock is a manual one: the example takes no time.
//!
//! `cargo run --example custom_layer`
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use http::{HeaderName, HeaderValue};
use martlet::ManualClock;
use martlet::core::{ErrorKind, Layer, Next, Request, Response, Result};
use martlet::hubspot::operations;
use martlet::prelude::*;
use martlet_testkit::ScriptedTransport;
use serde_json::json;
use std::collections::HashSet;

/// Writes down what was asked and how it ended. A call layer: cache hits and calls that never left are there too.
#[derive(Debug)]
struct Audit;

#[async_trait::async_trait]
impl Layer for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        let operation = request.operation().name();
        let result = next.run(request).await;
        match &result {
            Ok(response) => println!("audit: {operation} answered {}", response.status().as_u16()),
            Err(error) => println!("audit: {operation} failed: {error}"),
        }
        result
    }
}

/// Adds a signature over the path and the time. An attempt layer.
#[derive(Debug)]
struct Signature {
    clock: Clock,
}

const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

#[async_trait::async_trait]
impl Layer for Signature {
    fn name(&self) -> &'static str {
        "signature"
    }

    async fn call(&self, mut request: Request, next: Next<'_>) -> Result<Response> {
        // A real one would be an HMAC with a key of the account's.
        let signature = format!("{};{}", self.clock.wall().as_millis(), request.url().path().len());
        let signature = HeaderValue::try_from(signature)
            .map_err(|e| Error::new(ErrorKind::Layer, "the signature fits no header").with_source(e))?;
        request.headers_mut().insert(SIGNATURE, signature);
        next.run(request).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manual = ManualClock::new();
    let platform = ScriptedTransport::new(manual.clock());
    platform.on(&operations::GET).reply(503).then_json(200, &json!({ "id": "7", "properties": {} }));

    let hubspot = HubSpot::builder()
        .transport(platform.clone())
        .clock(manual.clock())
        .access_token("pat-sim")
        .call_layer(Audit)
        .attempt_layer(Signature { clock: manual.clock() })
        .build()?;
    let (contact, meta) = manual.drive(hubspot.contacts().get("7").send_with_meta()).await?;
    println!("contact {}: contacts.get answered 200 after {} attempts", contact.id, meta.attempts);

    let requests = platform.requests();
    let signatures: HashSet<_> =
        requests.iter().filter_map(|request| request.header("x-signature")).collect();
    assert_eq!(signatures.len(), requests.len(), "each attempt has a signature of its own");
    println!("signatures that the platform saw: {}, all different", signatures.len());
    Ok(())
}
