//! What every transport promises, as tests: it sends once, changes nothing, and says of each failure whether the request can
//! have arrived.
//!
//! ```
//! use martlet_testkit::conformance::transport::Subject;
//! # use martlet_base::Clock;
//! # use martlet_testkit::SimTransport;
//! # use std::sync::Arc;
//!
//! fn mine() -> Subject {
//!     // A transport on sockets: Subject::http(MyTransport::new())
//!     Subject::in_process(|simulator| Arc::new(SimTransport::new(simulator, Clock::system())))
//! }
//!
//! martlet_testkit::transport_conformance!(mine);
//! # fn main() {}
//! ```
//!
//! Over sockets the other side is a [`SimServer`] on loopback, with real faults on the wire.

use crate::{SimReply, SimRequest, SimServer, SimTime, Simulator, WireFault};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use martlet_base::{Clock, Deadline, Delivery};
use martlet_core::{SendContext, Transport, TransportError, TransportErrorKind, WireRequest};
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

const CANARY: &str = "c4n4ry-in-the-request";

/// A transport under test.
pub struct Subject(Kind);

enum Kind {
    Http(Arc<dyn Transport>),
    InProcess(Make),
}

type Make = Box<dyn Fn(Arc<dyn Simulator>) -> Arc<dyn Transport> + Send + Sync>;

impl Subject {
    /// A transport that connects to the host of the URL, plain http on loopback included.
    pub fn http(transport: impl Transport + 'static) -> Self {
        Self(Kind::Http(Arc::new(transport)))
    }

    /// A transport that hands requests to a simulator in the same process.
    pub fn in_process(
        make: impl Fn(Arc<dyn Simulator>) -> Arc<dyn Transport> + Send + Sync + 'static,
    ) -> Self {
        Self(Kind::InProcess(Box::new(make)))
    }

    async fn peer(&self) -> Peer {
        let echo = Arc::new(Echo::default());
        let (transport, url, server) = match &self.0 {
            Kind::InProcess(make) => (make(echo.clone()), "http://127.0.0.1:1".to_owned(), None),
            Kind::Http(transport) => {
                let address = ([127, 0, 0, 1], 0).into();
                let server = SimServer::start(echo.clone(), address, Clock::system(), None).await;
                let server = server.expect("a server on loopback");
                (Arc::clone(transport), server.url(), Some(server))
            }
        };
        Peer { transport, url: Url::parse(&url).expect("the address of a server"), echo, server }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(..)")
    }
}

/// The other side: `/status/{n}`, `/reset`, `/cut`, `/stall`, `/large`; everything else gets its own body back.
#[derive(Default)]
struct Echo(Mutex<Vec<SimRequest>>);

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo")
    }
}

impl Echo {
    fn requests(&self) -> Vec<SimRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn large() -> Bytes {
    (0..1_000_003u32).map(|n| u8::try_from(n % 251).unwrap_or_default()).collect::<Vec<u8>>().into()
}

impl Simulator for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn handle(&self, request: &SimRequest, _now: SimTime) -> SimReply {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let segments = request.segments();
        let mut reply = SimReply::status(200);
        reply.body = request.body.clone();
        match segments.first().map(String::as_str) {
            Some("status") => {
                let status = segments.get(1).and_then(|text| text.parse().ok()).unwrap_or(500);
                SimReply::status(status).header("location", "/elsewhere").header("retry-after", 0)
            }
            Some("reset") => reply.fault(WireFault::Reset),
            Some("cut") => {
                reply.body = Bytes::from_static(b"only the first half of this");
                reply.fault(WireFault::Truncate(9))
            }
            Some("stall") => reply.fault(WireFault::Stall),
            Some("large") => {
                reply.body = large();
                reply
            }
            _ => reply.header("x-answer", "yes").header("set-cookie", "session=1"),
        }
    }
}

struct Peer {
    transport: Arc<dyn Transport>,
    url: Url,
    echo: Arc<Echo>,
    server: Option<SimServer>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Peer {
    fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> WireRequest {
        let url = self.url.join(path).expect("the suite's own paths");
        let mut headers = HeaderMap::new();
        let credential = format!("Bearer {CANARY}");
        let mut credential = HeaderValue::try_from(credential).expect("a valid header");
        credential.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, credential);
        headers.insert(HeaderName::from_static("x-own"), HeaderValue::from_static("a, b;c=\"d\""));
        WireRequest::new(method, url, headers, body.into())
    }

    async fn send(&self, request: WireRequest) -> Result<Answer, TransportError> {
        let cx = SendContext::new("conformance", "echo.send", Duration::from_secs(20));
        let (head, body) = self.transport.send(request, &cx).await?.into_parts();
        let chunks: Vec<Bytes> = body.try_collect().await?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: chunks.concat() })
    }

    async fn post(&self, path: &str) -> Result<Answer, TransportError> {
        self.send(self.request(Method::POST, path, "{}")).await
    }
}

/// Method, path, query, headers and body arrive as they were given, and no cookie, referer or body type of the transport's.
pub async fn a_request_arrives_as_it_was_given(subject: Subject) {
    let peer = subject.peer().await;
    let path = "/a%20b/%2F..%2F/%C3%A9?q=x%26y&empty=&q=2";
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let body = if method == Method::GET { Bytes::new() } else { Bytes::from_static(b"{\"\xc3\xa9\":1}") };
        peer.send(peer.request(method.clone(), path, body.clone())).await.expect("an echo answers");
        let sent = peer.echo.requests().pop().expect("the request arrived");
        assert_eq!((&sent.method, sent.path.as_str()), (&method, "/a%20b/%2F..%2F/%C3%A9"));
        let query: Vec<_> = sent.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(query, [("q", "x&y"), ("empty", ""), ("q", "2")], "{method}: the query was changed");
        assert_eq!(sent.body, body, "{method}: the body was changed");
        assert_eq!(sent.header("x-own"), Some("a, b;c=\"d\""), "{method}: a header was changed");
        assert_eq!(sent.header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
        for unasked in ["cookie", "referer", "accept-encoding", "content-type", "user-agent"] {
            assert_eq!(sent.header(unasked), None, "{method}: {unasked} was added");
        }
    }
}

/// Status, headers and a megabyte of bytes come back as they were sent.
pub async fn an_answer_comes_back_as_it_was_sent(subject: Subject) {
    let peer = subject.peer().await;
    let answer = peer.post("/echo").await.expect("an echo answers");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    assert_eq!(answer.headers.get("x-answer").map(HeaderValue::as_bytes), Some(&b"yes"[..]));
    let answer = peer.post("/large").await.expect("a large body is read");
    assert!(answer.body == large(), "a large body was changed");
}

/// Redirects, 429 and 503 are answers: nothing is followed and nothing is sent again.
pub async fn every_status_is_an_answer(subject: Subject) {
    let peer = subject.peer().await;
    for (sent, status) in (1..).zip([204, 301, 302, 307, 308, 400, 401, 404, 429, 500, 502, 503]) {
        let answer = peer.post(&format!("/status/{status}")).await.expect("a status is an answer");
        assert_eq!(answer.status, status);
        assert_eq!(peer.echo.requests().len(), sent, "{status}: other than one request");
    }
}

/// What a platform sets as a cookie is not sent back: it could tie two accounts together.
pub async fn cookies_are_not_kept(subject: Subject) {
    let peer = subject.peer().await;
    for _ in 0..2 {
        peer.post("/echo").await.expect("an echo answers");
    }
    assert!(
        peer.echo.requests().iter().all(|request| request.header("cookie").is_none()),
        "a cookie was sent"
    );
}

/// A connection that breaks after the request has arrived: interrupted, of unknown fate, and not sent again.
pub async fn a_broken_exchange_is_of_unknown_fate_and_sent_once(subject: Subject) {
    let peer = subject.peer().await;
    for (sent, path) in (1..).zip(["/reset", "/cut"]) {
        let Err(error) = peer.post(path).await else { panic!("{path} is no whole answer") };
        assert_eq!(error.kind(), TransportErrorKind::Interrupted, "{path}: {error}");
        assert_eq!(error.delivery(), Delivery::Unknown, "{path}: the request had arrived");
        assert_eq!(peer.echo.requests().len(), sent, "{path}: sent again");
    }
    peer.post("/echo").await.expect("after broken exchanges the next one is whole");
}

/// Neither the text nor the `Debug` of a failure, nor what it comes from, holds the URL, the credential or the body.
pub async fn failures_do_not_quote_the_request(subject: Subject) {
    let peer = subject.peer().await;
    for path in ["/reset", "/cut"] {
        let path = format!("{path}/{CANARY}?key={CANARY}");
        let request = peer.request(Method::POST, &path, format!("{{\"x\":\"{CANARY}\"}}"));
        assert!(!format!("{request:?}").contains(CANARY), "the request prints itself");
        let Err(error) = peer.send(request).await else { panic!("{path} is no whole answer") };
        let mut cause: Option<&dyn StdError> = Some(&error);
        while let Some(error) = cause {
            let text = format!("{error} {error:?}");
            assert!(!text.contains(CANARY), "a failure quotes the request: {text}");
            cause = error.source();
        }
    }
    assert!(!format!("{:?}", peer.transport).contains(CANARY), "the transport prints requests");
}

/// Dropping the future of a server that never answers ends the exchange, and the next one is not held up by it.
pub async fn a_dropped_exchange_holds_nothing_up(subject: Subject) {
    let peer = subject.peer().await;
    let clock = Clock::system();
    for _ in 0..3 {
        let limit = Deadline::after(clock.now(), Duration::from_millis(50));
        assert!(
            clock.within(limit, peer.post("/stall")).await.is_none(),
            "a server that stalls does not answer"
        );
    }
    let answer = peer.post("/echo").await.expect("after dropped exchanges the next one is whole");
    assert_eq!(answer.body, b"{}");
}

/// Fifty exchanges at once each get their own answer.
pub async fn exchanges_do_not_mix(subject: Subject) {
    let peer = subject.peer().await;
    let one = |n: usize| {
        let request = peer.request(Method::POST, "/echo", format!("{n}"));
        let peer = &peer;
        async move { (n, peer.send(request).await) }
    };
    for (n, answer) in join_all((0..50).map(one)).await {
        assert_eq!(answer.expect("an echo answers").body, n.to_string().into_bytes());
    }
}

/// A server that is gone: no connection, and certainly nothing sent. (In process there is nothing to be gone.)
pub async fn a_refused_connection_sent_nothing(subject: Subject) {
    let mut peer = subject.peer().await;
    if peer.server.take().is_none() {
        return;
    }
    // The listener closes when its task has ended.
    Clock::system().sleep(Duration::from_millis(50)).await;
    let Err(error) = peer.post("/echo").await else { panic!("nobody can have answered") };
    assert_eq!((error.kind(), error.delivery()), (TransportErrorKind::Connect, Delivery::NotSent), "{error}");
}

/// Makes tests of the cases of [`conformance::transport`](mod@crate::conformance::transport). The argument is the name of a
/// function that returns a fresh [`Subject`](crate::conformance::transport::Subject). The crate needs tokio with `rt`,
/// `macros`, `net` and `time` as a dev-dependency.
#[macro_export]
macro_rules! transport_conformance {
    ($make:ident) => {
        $crate::__conformance_cases! { transport_conformance, transport, $make:
            a_request_arrives_as_it_was_given,
            an_answer_comes_back_as_it_was_sent,
            every_status_is_an_answer,
            cookies_are_not_kept,
            a_broken_exchange_is_of_unknown_fate_and_sent_once,
            failures_do_not_quote_the_request,
            a_dropped_exchange_holds_nothing_up,
            exchanges_do_not_mix,
            a_refused_connection_sent_nothing,
        }
    };
}
