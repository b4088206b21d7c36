use crate::Proxy;
use crate::classify::{classify, proxy_refused};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Method, StatusCode, header};
#[cfg(feature = "rustls")]
use martlet_core::Secret;
use martlet_core::{BodyStream, Error, ErrorKind, SendContext, Transport, TransportError, WireRequest};
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Sends requests with reqwest. Cheap to clone; clones share one pool of connections, so make one and give it to every
/// client.
///
/// It must be used inside a tokio runtime. A dropped [`send`](Transport::send) closes its connection.
#[derive(Clone)]
pub struct ReqwestTransport(reqwest::Client);

impl ReqwestTransport {
    /// A transport with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when TLS cannot be set up.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A builder.
    pub const fn builder() -> ReqwestTransportBuilder {
        ReqwestTransportBuilder {
            connect_timeout: Duration::from_secs(10),
            idle_per_host: usize::MAX,
            idle_timeout: Duration::from_secs(90),
            tcp_nodelay: true,
            proxy: Route::Environment,
            #[cfg(feature = "rustls")]
            tls: Tls { roots: Vec::new(), only_given: false, identity: None },
        }
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(
        &self,
        request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        let WireRequest { method, url, headers, body, .. } = request;
        let forwarded = url.scheme() == "http";
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        if !body.is_empty() {
            *request.body_mut() = Some(body.into());
        } else if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
            // RFC 9110, 8.6: these say that they carry nothing; hyper leaves it out, and some servers answer 411.
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut answer = self.0.execute(request).await.map_err(|e| classify(&e))?;
        let (status, version) = (answer.status(), answer.version());
        // The platform is no proxy: whoever asks for a proxy's credential stands before it, and has forwarded nothing. In a
        // tunnel the same refusal is an error of connecting.
        if forwarded && status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(proxy_refused());
        }
        let headers = std::mem::take(answer.headers_mut());
        let mut response = http::Response::new(body_of(answer).await);
        (*response.status_mut(), *response.version_mut(), *response.headers_mut()) =
            (status, version, headers);
        Ok(response)
    }
}

/// The answer's body. A small one has often come with the head: then it needs no stream.
async fn body_of(mut answer: reqwest::Response) -> BodyStream {
    let chunk = {
        let mut chunk = pin!(answer.chunk());
        poll_fn(|cx| Poll::Ready(chunk.as_mut().poll(cx))).await
    };
    let first = match chunk {
        Poll::Pending => None,
        Poll::Ready(Ok(None)) => return BodyStream::whole(Bytes::new()),
        Poll::Ready(Ok(Some(all))) if answer.content_length() == Some(0) => return BodyStream::whole(all),
        Poll::Ready(Ok(Some(first))) => Some(Ok(first)),
        Poll::Ready(Err(error)) => Some(Err(error)),
    };
    let chunks = stream::iter(first).chain(answer.bytes_stream());
    BodyStream::new(chunks.map_err(|e| classify(&e)))
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestTransport")
    }
}

/// Builds a [`ReqwestTransport`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct ReqwestTransportBuilder {
    connect_timeout: Duration,
    idle_per_host: usize,
    idle_timeout: Duration,
    tcp_nodelay: bool,
    proxy: Route,
    #[cfg(feature = "rustls")]
    tls: Tls,
}

#[derive(Clone, Debug)]
enum Route {
    Environment,
    Direct,
    Through(Proxy),
}

#[cfg(feature = "rustls")]
#[derive(Clone)]
struct Tls {
    roots: Vec<Vec<u8>>,
    only_given: bool,
    identity: Option<Secret>,
}

#[cfg(feature = "rustls")]
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("roots", &self.roots.len())
            .field("only_given", &self.only_given)
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl ReqwestTransportBuilder {
    /// How long a connection may take to be made, TLS and a proxy's tunnel included; 10 s unless said. What takes longer was
    /// not sent.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many idle connections are kept for each host; no limit unless said. 0 keeps none.
    pub const fn pool_max_idle_per_host(mut self, connections: usize) -> Self {
        self.idle_per_host = connections;
        self
    }

    /// How long an idle connection is kept; 90 s unless said.
    pub const fn pool_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Whether small packets leave at once (`TCP_NODELAY`); true unless said.
    pub const fn tcp_nodelay(mut self, at_once: bool) -> Self {
        self.tcp_nodelay = at_once;
        self
    }

    /// Sends all requests through `proxy`, whatever the environment's proxy variables say, `NO_PROXY` included: hosts beside it
    /// are those of [`Proxy::bypass`]. Of this and [`no_proxy`](Self::no_proxy) the last wins.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Route::Through(proxy);
        self
    }

    /// Sends all requests directly, whatever the environment's proxy variables say.
    pub fn no_proxy(mut self) -> Self {
        self.proxy = Route::Direct;
        self
    }

    /// Trusts these certificate authorities beside the system's: those of a company's proxy, or of a server under test. One
    /// certificate in DER, or any number in PEM. It adds to what was given before.
    #[cfg(feature = "rustls")]
    pub fn root_certificates(mut self, certificates: impl Into<Vec<u8>>) -> Self {
        self.tls.roots.push(certificates.into());
        self
    }

    /// Trusts no certificate authority but those of [`root_certificates`](Self::root_certificates).
    #[cfg(feature = "rustls")]
    pub const fn only_given_roots(mut self) -> Self {
        self.tls.only_given = true;
        self
    }

    /// Shows servers that ask for it a certificate: in PEM, the certificate with its chain and its private key (PKCS 8, PKCS 1 or
    /// SEC 1), in any order.
    #[cfg(feature = "rustls")]
    pub fn client_identity(mut self, pem: impl Into<Secret>) -> Self {
        self.tls.identity = Some(pem.into());
        self
    }

    /// Builds the transport. No I/O but reading the system's certificates.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the proxy's URL, a certificate or the identity cannot be used, or TLS cannot be set up.
    pub fn build(self) -> Result<ReqwestTransport, Error> {
        let failed = |what: String| Error::new(ErrorKind::Config, format!("the transport: {what}"));
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .pool_max_idle_per_host(self.idle_per_host)
            .pool_idle_timeout(self.idle_timeout)
            .tcp_nodelay(self.tcp_nodelay);
        client = match &self.proxy {
            Route::Environment => client,
            Route::Direct => client.no_proxy(),
            Route::Through(proxy) => {
                client.proxy(proxy.build().map_err(|what| failed(format!("the proxy: {what}")))?)
            }
        };
        #[cfg(feature = "rustls")]
        {
            client = self.tls.apply(client).map_err(failed)?;
        }
        client.build().map(ReqwestTransport).map_err(|e| failed(classify(&e).to_string()))
    }
}

#[cfg(feature = "rustls")]
impl Tls {
    fn apply(self, mut client: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, String> {
        let mut roots = Vec::new();
        for bytes in &self.roots {
            let pem = bytes.windows(PEM.len()).any(|window| window == PEM);
            let read = if pem {
                reqwest::Certificate::from_pem_bundle(bytes)
            } else {
                reqwest::Certificate::from_der(bytes).map(|one| vec![one])
            };
            roots.extend(read.map_err(|_| "a root certificate is neither PEM nor DER")?);
        }
        client = if self.only_given { client.tls_certs_only(roots) } else { client.tls_certs_merge(roots) };
        if let Some(pem) = self.identity {
            // What it cannot read it quotes.
            let identity = reqwest::Identity::from_pem(pem.expose().as_bytes())
                .map_err(|_| "the identity is not a certificate and a private key in PEM")?;
            client = client.identity(identity);
        }
        Ok(client)
    }
}

#[cfg(feature = "rustls")]
const PEM: &[u8] = b"-----BEGIN";
