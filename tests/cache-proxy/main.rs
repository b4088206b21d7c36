//! A reverse proxy whose requests are calls of a martlet client, so that a suite for HTTP caches can judge the client's cache:
//! `martlet-cache-proxy ORIGIN` listens on a free port of the loopback interface and prints its address.

#![expect(clippy::print_stdout, reason = "its address is what it prints")]

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request as Incoming, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming as IncomingBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use martlet_core::resilience::RetryPolicy;
use martlet_core::{
    ApiClient as _, CacheRule, Call, Client, Descriptor, Idempotency, Layer, Next, Operation, Platform,
    Request, Response, Result, Verb, Verdict,
};
use martlet_reqwest::ReqwestTransport;
use std::io::Write as _;
use std::time::Duration;

/// What the origin says about caching, and what RFC 9111 guesses where it says nothing.
const RULE: CacheRule = CacheRule::new(Duration::ZERO, "everything").heuristic(10);

/// An origin whose every answer is one.
#[derive(Debug)]
struct Origin(Descriptor);

impl Platform for Origin {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn classify(&self, _operation: &Operation, _response: &Response) -> Verdict {
        Verdict::Success
    }
}

tokio::task_local! {
    /// The target and the headers of the request that is being forwarded.
    static FORWARDED: (String, HeaderMap);
}

/// Makes a call the request that came in.
#[derive(Debug)]
struct Forward;

#[async_trait::async_trait]
impl Layer for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    async fn call(&self, mut request: Request, next: Next<'_>) -> Result<Response> {
        FORWARDED.with(|(target, headers)| {
            if let Ok(url) = request.url().join(target) {
                *request.url_mut() = url;
            }
            request.headers_mut().clone_from(headers);
        });
        next.run(request).await
    }
}

fn operation(method: &Method) -> Option<Operation> {
    let verb = match *method {
        Method::GET => Verb::Get,
        Method::POST => Verb::Post,
        Method::PUT => Verb::Put,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => return None,
    };
    let operation = Operation::custom(verb, "any.any", "/").cacheable(RULE);
    Some(if verb == Verb::Get { operation } else { operation.idempotency(Idempotency::Unsafe) })
}

async fn forward(client: Client, request: Incoming<IncomingBody>) -> http::Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let empty = |status| {
        let mut response = http::Response::new(Full::default());
        *response.status_mut() = status;
        response
    };
    let Ok(body) = body.collect().await else { return empty(StatusCode::BAD_REQUEST) };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let mut headers = parts.headers;
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    // The client has no operation for it, so it is none of the cache's business either.
    let Some(operation) = operation(&parts.method) else { return empty(StatusCode::NOT_IMPLEMENTED) };
    let call = Call::new(operation).body(body.to_bytes());
    let Ok(answer) = FORWARDED.scope((target, headers), client.execute(call)).await else {
        return empty(StatusCode::BAD_GATEWAY);
    };
    let mut response = empty(answer.status());
    *response.headers_mut() = answer.headers().clone();
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    if let Some(status) = answer.meta().cache
        && let Ok(status) = HeaderValue::try_from(status.to_string())
    {
        response.headers_mut().insert("cache-status", status);
    }
    *response.body_mut() = Full::new(answer.body().clone());
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let origin = std::env::args().nth(1).ok_or("martlet-cache-proxy ORIGIN")?;
    let client = Client::builder(Origin(Descriptor::new("origin", &origin)?))
        .transport(ReqwestTransport::new()?)
        .call_layer(Forward)
        .retry(RetryPolicy::never())
        .cache_bytes(256 << 20)
        .build()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (stream, _peer) = listener.accept().await?;
        let client = client.clone();
        let service = service_fn(move |request| {
            let client = client.clone();
            async move { Ok::<_, std::convert::Infallible>(forward(client, request).await) }
        });
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
