use crate::support::{Acme, CREATE, GET, World, fails, secs};
use async_trait::async_trait;
use http::{HeaderValue, header};
use martlet_base::{Clock, Deadline, Delivery};
use martlet_core::{Call, Descriptor, Error, ErrorKind, Layer, Next, Request, Response, Result};
use std::sync::{Arc, Mutex};

/// Writes down when it is entered and left, and marks the request.
#[derive(Debug)]
struct Note(&'static str, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Layer for Note {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn call(&self, mut request: Request, next: Next<'_>) -> Result<Response> {
        let note = |what: &str| self.1.lock().unwrap().push(format!("{what}{}", self.0));
        note("+");
        request.headers_mut().append("x-note", HeaderValue::from_static(self.0));
        let result = next.run(request).await;
        note("-");
        result
    }
}

#[test]
fn the_order_is_pinned() {
    let world = World::new();
    insta::assert_snapshot!(world.client().layers().join("\n"), @r"
    trace_call
    deadline
    cache
    idempotency
    retry
    limits
    auth
    breaker
    classify
    trace_attempt
    attempt_timeout
    transport
    ");
    let notes = Arc::default();
    let client = world
        .builder()
        .attempt_layer(Note("a1", Arc::clone(&notes)))
        .call_layer(Note("c1", Arc::clone(&notes)))
        .call_layer(Note("c2", Arc::clone(&notes)))
        .attempt_layer(Note("a2", notes))
        .build()
        .unwrap();
    insta::assert_snapshot!(client.layers().join(" "), @"trace_call deadline c1 c2 cache idempotency retry limits a1 a2 auth breaker classify trace_attempt attempt_timeout transport");
}

#[tokio::test]
async fn call_layers_run_once_and_attempt_layers_each_time_the_first_added_outermost() {
    let world = World::new();
    world.transport.on(&GET).reply(503).then(200);
    let notes = Arc::<Mutex<Vec<String>>>::default();
    let client = world
        .builder()
        .call_layer(Note("c1", Arc::clone(&notes)))
        .call_layer(Note("c2", Arc::clone(&notes)))
        .attempt_layer(Note("a1", Arc::clone(&notes)))
        .attempt_layer(Note("a2", Arc::clone(&notes)))
        .build()
        .unwrap();
    world.execute(&client, Call::new(GET).path("id", 1)).await.unwrap();
    assert_eq!(notes.lock().unwrap().join(" "), "+c1 +c2 +a1 +a2 -a2 -a1 +a1 +a2 -a2 -a1 -c2 -c1");
    // What an attempt layer changes does not leak into the next attempt.
    for request in world.transport.requests() {
        let notes: Vec<_> = request.headers.get_all("x-note").iter().collect();
        assert_eq!(notes, ["c1", "c2", "a1", "a2"]);
    }
}

/// Gives up on what is inside after a second.
#[derive(Debug)]
struct Impatient(Clock);

#[async_trait]
impl Layer for Impatient {
    fn name(&self) -> &'static str {
        "impatient"
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        let limit = Deadline::after(self.0.now(), secs(1));
        let result = self.0.within(limit, next.run(request)).await;
        result.unwrap_or_else(|| Err(Error::new(ErrorKind::Layer, "no patience")))
    }
}

#[tokio::test]
async fn a_layer_that_gives_up_on_an_exchange_cannot_claim_that_nothing_was_sent() {
    let world = World::new();
    world.transport.on(&CREATE).stall();
    let client = world.builder().attempt_layer(Impatient(world.clock.clone())).build().unwrap();
    let error = fails(world.execute(&client, Call::new(CREATE)).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Layer, Delivery::Unknown));
}

/// Never answers.
#[derive(Debug)]
struct Asleep;

#[async_trait]
impl Layer for Asleep {
    fn name(&self) -> &'static str {
        "asleep"
    }

    async fn call(&self, _request: Request, _next: Next<'_>) -> Result<Response> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_call_layer_that_never_answers_ends_with_the_deadline() {
    let world = World::new();
    let client = world.builder().call_layer(Asleep).build().unwrap();
    let error = fails(world.execute(&client, Call::new(CREATE)).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::DeadlineExceeded, Delivery::NotSent));
    assert_eq!(error.elapsed(), secs(300));
}

#[tokio::test]
async fn an_attempt_layer_that_never_answers_ends_with_the_deadline_too() {
    let world = World::new();
    let client = world.builder().attempt_layer(Asleep).build().unwrap();
    let error = fails(world.execute(&client, Call::new(CREATE)).await);
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::DeadlineExceeded, Delivery::NotSent));
}

/// Sends the request elsewhere.
#[derive(Debug)]
struct Elsewhere(&'static str);

#[async_trait]
impl Layer for Elsewhere {
    fn name(&self) -> &'static str {
        "elsewhere"
    }

    async fn call(&self, mut request: Request, next: Next<'_>) -> Result<Response> {
        *request.url_mut() = self.0.parse().unwrap();
        next.run(request).await
    }
}

#[tokio::test]
async fn no_credential_goes_to_another_origin() {
    for url in [
        "https://evil.example/v1/things",
        "http://api.acme.example/v1/things",
        "https://api.acme.example:8443/v1/things",
    ] {
        let world = World::new();
        let client = world.builder().attempt_layer(Elsewhere(url)).build().unwrap();
        let error = fails(world.execute(&client, Call::new(CREATE)).await);
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::InvalidRequest, Delivery::NotSent), "{url}");
        assert!(world.transport.requests().is_empty());
    }
    let world = World::new();
    world.transport.on(&CREATE).reply(200);
    let client = world.builder().call_layer(Elsewhere("https://api.acme.example/other?x=1")).build().unwrap();
    world.execute(&client, Call::new(CREATE)).await.unwrap();
    let request = world.transport.requests().remove(0);
    assert_eq!(request.url.as_str(), "https://api.acme.example/other?x=1");
    assert!(request.headers[header::AUTHORIZATION].is_sensitive());
}

#[tokio::test]
async fn a_client_of_another_origin_has_the_clock_and_transport_but_neither_credential_nor_layers() {
    let world = World::new();
    world.transport.on(&CREATE).reply(429).header("retry-after", 7).then(200);
    let notes = Arc::default();
    let client = world.builder().call_layer(Note("mine", Arc::clone(&notes))).build().unwrap();
    let storage = Acme(Descriptor::new("storage", "https://storage.example").unwrap());
    let storage = client.builder_elsewhere(storage).build().unwrap();
    world.execute(&storage, Call::new(CREATE)).await.unwrap();
    let requests = world.transport.requests();
    assert_eq!(requests.len(), 2, "retried, on the world's clock");
    for request in requests {
        assert_eq!(request.url.as_str(), "https://storage.example/v1/things");
        assert!(!request.headers.contains_key(header::AUTHORIZATION));
        assert!(!request.headers.contains_key("x-note"));
    }
    assert!(notes.lock().unwrap().is_empty());
    assert!(!storage.layers().contains(&"mine"));
}
