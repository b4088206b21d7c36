use crate::host::Host;
use crate::{SimRequest, Simulator, WireFault};
use async_trait::async_trait;
use futures_util::stream;
use http::{HeaderValue, header};
use martlet_base::{Clock, Delivery};
use martlet_core::{BodyStream, SendContext, Transport, TransportError, TransportErrorKind, WireRequest};
use martlet_store::Store;
use std::sync::Arc;
use tokio::sync::OnceCell;
use url::Position;

/// A simulator as a transport in process: no socket, so a [`ManualClock`](martlet_base::ManualClock) can drive it and a
/// simulated day runs in seconds.
///
/// Delays pass on the clock, and faults look as they do on the wire: a reset or a truncated body is
/// [`Interrupted`](TransportErrorKind::Interrupted) with [`Delivery::Unknown`], a stall never ends.
#[derive(Debug)]
pub struct SimTransport {
    simulator: Arc<dyn Simulator>,
    clock: Clock,
    store: Option<Arc<dyn Store>>,
    host: OnceCell<Host>,
}

impl SimTransport {
    /// Sends every request to `simulator`, whatever its host.
    #[must_use]
    pub fn new(simulator: Arc<dyn Simulator>, clock: Clock) -> Self {
        Self { simulator, clock, store: None, host: OnceCell::new() }
    }

    /// Keeps the simulator's state in `store`: restored before the first request, committed before each answer.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    async fn host(&self) -> Result<&Host, TransportError> {
        let start = || async {
            let host = Host::new(Arc::clone(&self.simulator), self.clock.clone(), self.store.clone());
            host.restore().await.map_err(|e| {
                let message = "the simulator's state cannot be restored";
                TransportError::new(TransportErrorKind::Connect, Delivery::NotSent, message).with_source(e)
            })?;
            Ok(host)
        };
        self.host.get_or_try_init(start).await
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn send(
        &self,
        request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let host = self.host().await?;
        let WireRequest { method, url, mut headers, body, .. } = request;
        let name = match (url.host_str(), url.port()) {
            (Some(name), Some(port)) => format!("{name}:{port}"),
            (name, _) => name.unwrap_or("").to_owned(),
        };
        if let Ok(name) = HeaderValue::try_from(name) {
            headers.insert(header::HOST, name);
        }
        let target = &url[Position::BeforePath..Position::AfterQuery];
        let request = SimRequest { headers, body, ..SimRequest::new(method, target) };
        let reply = host.answer(&request).await;
        let interrupted =
            |what| TransportError::new(TransportErrorKind::Interrupted, Delivery::Unknown, what);
        let body = match reply.fault {
            Some(WireFault::Reset) => return Err(interrupted("the connection was reset")),
            Some(WireFault::Stall) => std::future::pending().await,
            Some(WireFault::Truncate(bytes)) if bytes < reply.body.len() => {
                let cut = interrupted("the answer is shorter than promised");
                BodyStream::new(stream::iter([Ok(reply.body.slice(..bytes)), Err(cut)]))
            }
            _ => BodyStream::whole(reply.body),
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(reply.status).map_err(|_| {
            let message = format!("the simulator answered with the status {}", reply.status);
            TransportError::new(TransportErrorKind::Protocol, Delivery::Unknown, message)
        })?;
        *response.headers_mut() = reply.headers;
        Ok(response)
    }
}
