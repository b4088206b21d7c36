use crate::support::{Acme, World, descriptor, secs};
use async_trait::async_trait;
use http::HeaderName;
use martlet_core::{
    Client, ClientBuilder, Credential, Descriptor, ErrorKind, Layer, LimitSpec, Next, Request, Response,
    Result,
};
use martlet_resilience::Breaker;
use std::time::Duration;

#[derive(Debug)]
struct Named(&'static str);

#[async_trait]
impl Layer for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn call(&self, request: Request, next: Next<'_>) -> Result<Response> {
        next.run(request).await
    }
}

#[track_caller]
fn refused(builder: ClientBuilder, kind: ErrorKind, word: &str) {
    let error = builder.build().map(|client| client.layers()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(word) && text.starts_with("acme client.build: "), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn what_cannot_work_is_found_when_it_is_built_and_the_message_names_it() {
    let world = World::new();
    let new = || world.builder();
    let config = |builder, word| refused(builder, ErrorKind::Config, word);
    config(Client::builder(Acme(descriptor())), "no transport");
    config(new().base_url("api.acme.example"), "base_url is not a URL");
    config(new().base_url("http://api.acme.example"), "plain http");
    config(new().base_url("http://127.0.0.1.example"), "plain http");
    config(new().base_url("ftp://api.acme.example"), "scheme ftp");
    config(new().base_url("https://u:s3cret@api.acme.example"), "user, password");
    config(new().base_url("https://api.acme.example?key=s3cret"), "query");
    config(new().base_url("https://api.acme.example#s3cret"), "fragment");
    config(new().attempt_timeout(Duration::ZERO), "timeout of zero");
    config(new().total_timeout(Duration::ZERO), "timeout of zero");
    config(new().attempt_timeout(secs(10)).total_timeout(secs(9)), "attempt_timeout (10s) is longer");
    config(new().call_layer(Named("a")).attempt_layer(Named("a")), "two layers are called \"a\"");
    config(new().call_layer(Named("retry")), "two layers are called \"retry\"");
    config(new().limit(LimitSpec::new("x").window("w", 0, secs(1))), "limits");
    config(new().limit(LimitSpec::new("x").concurrency(0)), "limits");
    config(new().breaker(Breaker::builder("acme").probes(0)), "breaker");
    config(new().user_agent("a\nb"), "user_agent");
    for token in ["", "s3cret\nline", "s3cret\0"] {
        refused(new().credentials(Credential::bearer(token)), ErrorKind::Credential, "header cannot carry");
    }
    let key = Credential::api_key(HeaderName::from_static("api-key"), "s3cret\r\nx: y");
    refused(new().credentials(key), ErrorKind::Credential, "header cannot carry");
    refused(new().credentials(Credential::basic("u", "")), ErrorKind::Credential, "empty");
}

#[test]
fn loopback_may_be_plain_http_and_slots_come_in_any_order() {
    let world = World::new();
    for url in ["http://127.0.0.1:1", "http://localhost", "http://[::1]:8080/x", "https://eu.acme.example"] {
        world.builder().base_url("ftp://overridden").base_url(url).build().unwrap();
    }
    // The platform's own attempt timeout bends to a shorter total.
    world.builder().total_timeout(secs(5)).build().unwrap();
}

#[test]
fn a_platform_is_described_properly() {
    for id in ["", "Acme", "a b", "a/b"] {
        assert_eq!(Descriptor::new(id, "https://x.example").unwrap_err().kind(), ErrorKind::Config, "{id:?}");
    }
    assert_eq!(Descriptor::new("acme", "nowhere").unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn the_defaults_are_pinned() {
    let builder = Client::builder(Acme(descriptor()));
    insta::assert_snapshot!(format!("{builder:#?}"), @r#"
    ClientBuilder {
        platform: "acme",
        connection: ConnectionId(default),
        total_timeout: 300s,
        attempt_timeout: None,
        retry: "3 retries after 1s, 4s, 16s (jitter 25 %); a server may order up to 300s",
        limits: [],
        max_body: 67108864,
        cache_bytes: 16777216,
        call_layers: [],
        attempt_layers: [],
        ..
    }
    "#);
    assert_eq!(descriptor().get_attempt_timeout(), secs(60));
}

#[test]
fn every_public_handle_can_go_to_another_thread() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Client>();
    check::<ClientBuilder>();
    check::<martlet_core::Error>();
    check::<martlet_core::Call>();
    check::<martlet_core::SharedState>();
    check::<martlet_core::Response>();
    check::<martlet_core::Request>();
    check::<martlet_core::Cursor>();
    fn send<T: Send>() {}
    send::<martlet_core::Pager<u8>>();
    send::<martlet_core::Bulk<u8, u8>>();
    send::<martlet_core::BodyStream>();
    assert_eq!((size_of::<martlet_core::Error>(), size_of::<Request>(), size_of::<Response>()), (8, 8, 8));
}
