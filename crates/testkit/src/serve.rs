//! A simulator on loopback: HTTP/1.1 on a real socket, with faults on the real wire.

use crate::host::Host;
use crate::{SimReply, SimRequest, Simulator, WireFault};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use martlet_base::Clock;
use martlet_store::Store;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A simulator served on a TCP address. It stops when it is dropped, and closes its connections as a killed process does.
///
/// It needs a tokio runtime, real time on the wire, and a clock that agrees with it: for a
/// [`ManualClock`](martlet_base::ManualClock) use a [`SimTransport`](crate::SimTransport).
pub struct SimServer {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl SimServer {
    /// Serves `simulator` on `addr` (port 0: a free one). What it stored under `sim/<name>/` is restored before the first
    /// request; what a reply stores is committed before the answer leaves. When that fails the answer is a 500, and the write goes
    /// with the next commit: the simulator itself has made it already.
    ///
    /// # Errors
    /// The address cannot be bound, or the store cannot be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(
        simulator: Arc<dyn Simulator>,
        addr: SocketAddr,
        clock: Clock,
        store: Option<Arc<dyn Store>>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let host = Arc::new(Host::new(simulator, clock, store));
        host.restore().await.map_err(io::Error::other)?;
        Ok(Self { addr: listener.local_addr()?, task: tokio::spawn(accept(listener, host)) })
    }

    /// Its address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address as a base URL: `http://127.0.0.1:8080`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops it, and returns when its port is free. Requests that are under way end without an answer.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // The only outcome is "aborted", which is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for SimServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for SimServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimServer").field("addr", &self.addr).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, host: Arc<Host>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it small answers wait for the peer's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, Arc::clone(&host)));
            }
            // Out of file descriptors, mostly: it passes when a connection closes.
            Err(_) => host.clock.sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, host: Arc<Host>) {
    let wire = Arc::new(Wire::default());
    let io = TokioIo::new(FaultyIo { stream, wire: Arc::clone(&wire) });
    let service = service_fn(move |request| respond(request, Arc::clone(&host), Arc::clone(&wire)));
    // An error here is a peer that went away, or a fault that was asked for.
    let _ = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(io, service)
        .await;
}

async fn respond(
    request: http::Request<Incoming>,
    host: Arc<Host>,
    wire: Arc<Wire>,
) -> Result<http::Response<ReplyBody>, Fault> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Fault)?.to_bytes();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let request = SimRequest { headers: head.headers, body, ..SimRequest::new(head.method, target) };
    let SimReply { status, headers, body, fault, .. } = host.answer(&request).await;
    let cut = match fault {
        None => None,
        Some(WireFault::Truncate(bytes)) => Some(bytes).filter(|bytes| *bytes < body.len()),
        Some(WireFault::Stall) => std::future::pending().await,
        Some(WireFault::Reset) => {
            wire.set(Wire::RESET);
            return Err(Fault);
        }
    };
    let length = body.len() as u64;
    let body = ReplyBody { bytes: Some(cut.map_or(body.clone(), |n| body.slice(..n))), length, cut, wire };
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(status).map_err(|_| Fault)?;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Ends the connection. Its text reaches nobody.
#[derive(Debug, thiserror::Error)]
#[error("a fault on the wire")]
struct Fault;

/// What the service and the body ask of the connection they are on.
#[derive(Debug, Default)]
struct Wire(AtomicU8);

impl Wire {
    /// Close with RST instead of FIN.
    const RESET: u8 = 1;
    /// Tell when everything handed out so far has left.
    const FLUSH: u8 = 2;
    /// It has left.
    const FLUSHED: u8 = 3;

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Relaxed);
    }

    fn is(&self, state: u8) -> bool {
        self.0.load(Ordering::Relaxed) == state
    }
}

/// An answer's body; with `cut` set it promises `length` bytes and breaks off after those it has.
struct ReplyBody {
    bytes: Option<Bytes>,
    length: u64,
    cut: Option<usize>,
    wire: Arc<Wire>,
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(bytes) = self.bytes.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.cut.is_none() {
            return Poll::Ready(None);
        }
        // hyper drops what it has buffered when a body fails, so the failure waits until that has left; the flush that
        // follows on Pending wakes this task.
        if self.wire.is(Wire::FLUSHED) {
            return Poll::Ready(Some(Err(Fault)));
        }
        self.wire.set(Wire::FLUSH);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.bytes.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// A socket that can be told to reset, and that tells when it was flushed.
struct FaultyIo {
    stream: TcpStream,
    wire: Arc<Wire>,
}

impl Drop for FaultyIo {
    fn drop(&mut self) {
        if self.wire.is(Wire::RESET) {
            // It fails on a socket that is broken already.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for FaultyIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for FaultyIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is(Wire::FLUSH) {
            self.wire.set(Wire::FLUSHED);
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is(Wire::RESET) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
