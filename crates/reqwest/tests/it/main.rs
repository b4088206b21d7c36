//! The transport against a server that misbehaves on a raw socket.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy sees only test functions as tests")]

mod conformance;
mod proxy;
mod server;
#[cfg(feature = "rustls")]
mod tls;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderMap, HeaderValue, Method, header};
use martlet_base::{Clock, Deadline, Delivery};
use martlet_core::{SendContext, Transport, TransportError, TransportErrorKind, WireRequest};
use martlet_reqwest::ReqwestTransport;
use server::{Close, Server, Step};
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::time::Duration;

const CANARY: &str = "canary-5f1c";

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn transport() -> ReqwestTransport {
    ReqwestTransport::builder().connect_timeout(Duration::from_secs(2)).build().unwrap()
}

/// A POST whose URL, credential and body are secret.
fn request(scheme: &str, addr: SocketAddr) -> WireRequest {
    let url = format!("{scheme}://{addr}/v1/{CANARY}?key={CANARY}").parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {CANARY}")).unwrap());
    WireRequest::new(Method::POST, url, headers, Bytes::from(format!("{{\"secret\":\"{CANARY}\"}}")))
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn exchange(transport: &ReqwestTransport, request: WireRequest) -> Result<Answer, TransportError> {
    let cx = SendContext::new("acme", "things.create", Duration::from_secs(5));
    let (head, body) = transport.send(request, &cx).await?.into_parts();
    let body = body
        .try_fold(Vec::new(), async |mut all, bytes| {
            all.extend(bytes);
            Ok(all)
        })
        .await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

async fn post(server: &Server) -> Result<Answer, TransportError> {
    exchange(&transport(), request("http", server.addr())).await
}

/// Checks the class, and that no secret is in any text of it.
#[track_caller]
fn assert_failed(
    result: Result<Answer, TransportError>,
    kind: TransportErrorKind,
    delivery: Delivery,
) -> String {
    let error = result.map(|answer| answer.status).unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (kind, delivery), "{error:?}");
    let mut cause: Option<&dyn StdError> = Some(&error);
    while let Some(error) = cause {
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(CANARY) && !text.contains("://"), "{text}");
        }
        cause = error.source();
    }
    error.to_string()
}

#[tokio::test]
async fn a_request_arrives_as_it_was_given_and_the_answer_comes_back() {
    let server = Server::start([Step::Answer(
        b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\nx-request-id: 7\r\n\r\nhello".into(),
        Close::No,
    )])
    .await;
    let answer = post(&server).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (201, &b"hello"[..]));
    assert_eq!(answer.headers["x-request-id"], "7");
    let sent = server.requests().remove(0).to_lowercase();
    assert!(sent.starts_with("post /v1/canary-5f1c?key=canary-5f1c http/1.1\r\n"), "{sent}");
    assert!(sent.contains("authorization: bearer canary-5f1c\r\n"), "{sent}");
    assert!(sent.ends_with("\r\n\r\n{\"secret\":\"canary-5f1c\"}"), "{sent}");
    for unasked in ["cookie", "referer", "accept-encoding", "user-agent"] {
        assert!(!sent.contains(unasked), "{sent}");
    }
}

#[tokio::test]
async fn a_post_without_a_body_says_so() {
    let server = Server::start([Step::Answer(OK.into(), Close::No)]).await;
    let mut empty = request("http", server.addr());
    empty.body = Bytes::new();
    exchange(&transport(), empty).await.unwrap();
    // Some servers answer 411 otherwise.
    assert!(server.requests()[0].contains("content-length: 0"), "{:?}", server.requests());
}

#[tokio::test]
async fn a_refused_connection_was_not_sent() {
    let free = Server::start([]).await.stop().await;
    let text = assert_failed(
        exchange(&transport(), request("http", free)).await,
        TransportErrorKind::Connect,
        Delivery::NotSent,
    );
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_was_not_sent() {
    let mut unknown = request("http", ([127, 0, 0, 1], 9).into());
    unknown.url.set_host(Some("martlet.invalid")).unwrap();
    let result = exchange(&transport(), unknown).await;
    assert_failed(result, TransportErrorKind::Connect, Delivery::NotSent);
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_failed_handshake_was_not_sent() {
    let server = Server::start([Step::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n".into(), Close::Fin)]).await;
    let result = exchange(&transport(), request("https", server.addr())).await;
    assert_failed(result, TransportErrorKind::Connect, Delivery::NotSent);
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_handshake_that_never_ends_runs_into_the_connect_timeout() {
    let server = Server::start([Step::Stall]).await;
    let transport = ReqwestTransport::builder().connect_timeout(Duration::from_millis(100)).build().unwrap();
    let result = exchange(&transport, request("https", server.addr())).await;
    assert_failed(result, TransportErrorKind::Connect, Delivery::NotSent);
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_leaves_the_fate_unknown() {
    for step in [
        Step::CloseBeforeReading(Close::Reset),
        Step::CloseBeforeReading(Close::Fin),
        Step::Answer(b"".into(), Close::Reset),
        Step::Answer(b"".into(), Close::Fin),
        Step::Answer(b"HTTP/1.1 200 OK\r\ncontent-le".into(), Close::Fin),
        Step::Answer(b"HTTP/1.1 200 OK\r\ncontent-le".into(), Close::Reset),
    ] {
        let name = format!("{step:?}");
        let server = Server::start([step]).await;
        let text = assert_failed(post(&server).await, TransportErrorKind::Interrupted, Delivery::Unknown);
        assert_eq!(server.connections(), 1, "{name}: sent once ({text})");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_the_fate_unknown() {
    for (bytes, close) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"[..], Close::Fin),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", Close::Reset),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", Close::Fin),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", Close::Fin),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe", Close::Fin),
    ] {
        let server = Server::start([Step::Answer(bytes.into(), close)]).await;
        assert_failed(post(&server).await, TransportErrorKind::Interrupted, Delivery::Unknown);
    }
}

#[tokio::test]
async fn bytes_beyond_the_promised_length_are_not_part_of_this_or_the_next_answer() {
    let long =
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let server =
        Server::start([Step::Answer(long.into(), Close::No), Step::Answer(OK.into(), Close::No)]).await;
    let transport = transport();
    for _ in 0..2 {
        let answer = exchange(&transport, request("http", server.addr())).await.unwrap();
        assert_eq!(answer.body, b"ok");
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error_of_unknown_fate() {
    let huge = [b"HTTP/1.1 200 OK\r\nx: ", &vec![b'x'; 1 << 20][..], b"\r\n\r\n"].concat();
    for bytes in [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(),
        b"HTTP/1.1 twohundred OK\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n".to_vec(),
        huge,
    ] {
        let server = Server::start([Step::Answer(bytes, Close::No)]).await;
        assert_failed(post(&server).await, TransportErrorKind::Protocol, Delivery::Unknown);
    }
}

#[tokio::test]
async fn a_stalled_server_is_left_when_the_future_is_dropped() {
    let server = Server::start([Step::Stall]).await;
    let clock = Clock::system();
    let limit = Deadline::after(clock.now(), Duration::from_millis(100));
    assert!(clock.within(limit, post(&server)).await.is_none());
    server.closed_by_client().await;
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let target = Server::start([Step::Answer(OK.into(), Close::No)]).await;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", target.addr());
    let server = Server::start([Step::Answer(redirect.into(), Close::No)]).await;
    assert_eq!(post(&server).await.unwrap().status, 302);
    assert_eq!((server.requests().len(), target.connections()), (1, 0));
}

#[tokio::test]
async fn an_answer_of_http_1_0_ends_with_its_connection() {
    let server = Server::start([Step::Answer(b"HTTP/1.0 200 OK\r\n\r\nold".into(), Close::Fin)]).await;
    assert_eq!(post(&server).await.unwrap().body, b"old");
}

#[tokio::test]
async fn a_503_is_not_retried() {
    let bytes = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start([Step::Answer(bytes.into(), Close::No)]).await;
    assert_eq!(post(&server).await.unwrap().status, 503);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let answers = (0..5).map(|_| Step::Answer(OK.into(), Close::No));
    let server = Server::start(answers).await;
    let transport = transport();
    for _ in 0..5 {
        exchange(&transport, request("http", server.addr())).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 5));
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_never_sends_a_post_twice() {
    // 30 rounds, closing sooner or later after the answer: before, while and after the next request leaves.
    let (mut fresh, mut failed) = (0, 0);
    for round in 0..30u64 {
        let pause = Duration::from_micros(round * 40);
        let close = if round % 2 == 0 { Close::Fin } else { Close::Reset };
        let server = Server::start([
            Step::AnswerThenClose(OK.into(), pause, close),
            Step::Answer(OK.into(), Close::No),
        ])
        .await;
        let (transport, clock) = (transport(), Clock::system());
        exchange(&transport, request("http", server.addr())).await.unwrap();
        clock.sleep(Duration::from_micros(600)).await;
        match exchange(&transport, request("http", server.addr())).await {
            Ok(answer) => {
                assert_eq!(answer.body, b"ok");
                fresh += 1;
            }
            Err(error) => {
                assert_failed(Err(error), TransportErrorKind::Interrupted, Delivery::Unknown);
                failed += 1;
            }
        }
        assert!(server.requests().len() <= 2, "sent twice in round {round}");
    }
    assert!(fresh > 0, "{fresh} on a new connection, {failed} of unknown fate");
}

#[test]
fn it_is_send_sync_and_shows_nothing() {
    fn check<T: Send + Sync + Clone>(_: &T) {}
    let transport = transport();
    check(&transport);
    assert_eq!(format!("{transport:?}"), "ReqwestTransport");
}
