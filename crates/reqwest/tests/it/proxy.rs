//! Proxies: a forwarder of HTTP and a SOCKS 5 server, on loopback.

use crate::server::{Close, Server, Step};
use crate::{OK, assert_failed, exchange, request};
use martlet_base::Delivery;
use martlet_core::{ErrorKind, TransportErrorKind};
use martlet_reqwest::{Proxy, ReqwestTransport, ReqwestTransportBuilder};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PASSWORD: &str = "canary-5f1c%41:@/";
/// `sync:` and the password, in base64.
const BASIC: &str = "Basic c3luYzpjYW5hcnktNWYxYyU0MTpALw==";

/// Speaks HTTP and SOCKS 5, notes what it was asked for, and wants [`PASSWORD`] if told so.
pub(crate) struct Forwarder {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Forwarder {
    pub(crate) async fn start(guarded: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that hangs up ends its own task only.
                tokio::spawn(serve(stream, guarded, Arc::clone(&notes)));
            }
        });
        Self { addr, asked }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.addr)
    }

    pub(crate) fn http(&self) -> Proxy {
        Proxy::new(self.url("http"))
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn socks(&self) -> Proxy {
        Proxy::new(self.url("socks5h"))
    }

    /// First lines of HTTP requests, `SOCKS host`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut client: TcpStream, guarded: bool, asked: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut first = [0];
    client.peek(&mut first).await?;
    if first == [5] {
        return serve_socks(client, guarded, asked).await;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap();
    asked.lock().unwrap().push(line.to_owned());
    if guarded && !head.to_lowercase().contains(&format!("proxy-authorization: {BASIC}\r\n").to_lowercase()) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(refusal).await;
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let mut server = if method == "CONNECT" {
        let server = TcpStream::connect(target).await?;
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
        server
    } else {
        let url: url::Url = target.parse().unwrap();
        let mut server = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).await?;
        let path = &url[url::Position::BeforePath..];
        server.write_all(head.replacen(target, path, 1).as_bytes()).await?;
        server
    };
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// RFC 1928 and 1929, as far as a client with a user name goes.
async fn serve_socks(
    mut client: TcpStream,
    guarded: bool,
    asked: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let methods = { [client.read_u8().await?, client.read_u8().await?][1] };
    client.read_exact(&mut vec![0; methods.into()]).await?;
    let text = async |client: &mut TcpStream| {
        let mut text = vec![0; client.read_u8().await?.into()];
        client.read_exact(&mut text).await?;
        std::io::Result::Ok(String::from_utf8(text).unwrap())
    };
    if guarded {
        client.write_all(&[5, 2]).await?;
        client.read_u8().await?;
        let who = (text(&mut client).await?, text(&mut client).await?);
        let known = who == ("sync".to_owned(), PASSWORD.to_owned());
        client.write_all(&[1, u8::from(!known)]).await?;
        if !known {
            return Ok(());
        }
    } else {
        client.write_all(&[5, 0]).await?;
    }
    let mut command = [0; 4];
    client.read_exact(&mut command).await?;
    let host = match command[3] {
        1 => std::net::Ipv4Addr::from(client.read_u32().await?).to_string(),
        _ => text(&mut client).await?,
    };
    let port = client.read_u16().await?;
    asked.lock().unwrap().push(format!("SOCKS {host}"));
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

fn builder() -> ReqwestTransportBuilder {
    ReqwestTransport::builder()
}

async fn platform() -> Server {
    Server::start([Step::Answer(OK.into(), Close::No)]).await
}

#[tokio::test]
async fn plain_requests_are_forwarded_by_the_proxy() {
    let (platform, proxy) = (platform().await, Forwarder::start(false).await);
    let transport = builder().proxy(proxy.http()).build().unwrap();
    let answer = exchange(&transport, request("http", platform.addr())).await.unwrap();
    assert_eq!(answer.body, b"ok");
    assert_eq!(proxy.asked().len(), 1);
    assert!(
        proxy.asked()[0].starts_with(&format!("POST http://{}/v1/", platform.addr())),
        "{:?}",
        proxy.asked()
    );
}

#[tokio::test]
async fn the_proxys_credential_reaches_the_proxy_as_it_was_given() {
    for url_too in [false, true] {
        let (platform, proxy) = (platform().await, Forwarder::start(true).await);
        let url = if url_too { format!("http://old:old@{}", proxy.addr) } else { proxy.url("http") };
        let through = Proxy::new(url).basic_auth("sync", PASSWORD);
        let transport = builder().proxy(through).build().unwrap();
        let answer = exchange(&transport, request("http", platform.addr())).await;
        assert_eq!(answer.unwrap().body, b"ok", "in the URL too: {url_too}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_the_credential_is_named_and_nothing_was_sent() {
    // Refused in the answer to a plain request, and to the request for a tunnel.
    let schemes: &[&str] = if cfg!(feature = "rustls") { &["http", "https"] } else { &["http"] };
    for scheme in schemes {
        for through in [None, Some("canary-5f1c-wrong")] {
            let (platform, proxy) = (platform().await, Forwarder::start(true).await);
            let through = match through {
                Some(password) => proxy.http().basic_auth("sync", password),
                None => proxy.http(),
            };
            let transport = builder().proxy(through).build().unwrap();
            let result = exchange(&transport, request(scheme, platform.addr())).await;
            let text = assert_failed(result, TransportErrorKind::Connect, Delivery::NotSent);
            assert!(text.contains("proxy") && text.contains("407"), "{scheme}: {text}");
            assert_eq!((proxy.asked().len(), platform.connections()), (1, 0), "{scheme}: asked once");
        }
    }
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn socks_proxies_connect_with_and_without_a_password() {
    for guarded in [false, true] {
        let (platform, proxy) = (platform().await, Forwarder::start(guarded).await);
        let mut through = proxy.socks();
        if guarded {
            through = through.basic_auth("sync", PASSWORD);
        }
        let transport = builder().proxy(through).build().unwrap();
        let mut named = request("http", platform.addr());
        named.url.set_host(Some("acme.invalid")).unwrap();
        assert_eq!(exchange(&transport, named).await.unwrap().body, b"ok");
        assert_eq!(proxy.asked(), ["SOCKS acme.invalid"], "the proxy resolves the name");
    }
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_socks_proxy_that_refuses_is_a_failure_to_connect() {
    let (platform, proxy) = (platform().await, Forwarder::start(true).await);
    let through = proxy.socks().basic_auth("sync", "canary-5f1c-wrong");
    let transport = builder().proxy(through).build().unwrap();
    let result = exchange(&transport, request("http", platform.addr())).await;
    assert_failed(result, TransportErrorKind::Connect, Delivery::NotSent);
    assert_eq!(platform.connections(), 0);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_a_failure_to_connect_and_never_passed_by() {
    let platform = platform().await;
    let gone = Server::start([]).await.stop().await;
    let schemes: &[&str] = if cfg!(feature = "rustls") { &["http", "socks5", "socks4"] } else { &["http"] };
    for scheme in schemes {
        let transport = builder().proxy(Proxy::new(format!("{scheme}://{gone}"))).build().unwrap();
        let result = exchange(&transport, request("http", platform.addr())).await;
        assert_failed(result, TransportErrorKind::Connect, Delivery::NotSent);
    }
    assert_eq!(platform.connections(), 0);
}

#[tokio::test]
async fn hosts_of_the_bypass_list_are_reached_directly() {
    let proxy = Forwarder::start(false).await;
    for (bypass, goes_through) in
        [("127.0.0.1", false), ("10.0.0.0/8, 127.0.0.0/8", false), ("acme.example", true), ("", true)]
    {
        let platform = platform().await;
        let before = proxy.asked().len();
        let transport = builder().proxy(proxy.http().bypass(bypass)).build().unwrap();
        exchange(&transport, request("http", platform.addr())).await.unwrap();
        assert_eq!(proxy.asked().len() > before, goes_through, "{bypass:?}");
    }
}

#[tokio::test]
async fn no_proxy_takes_a_proxy_back() {
    let (platform, proxy) = (platform().await, Forwarder::start(false).await);
    let transport = builder().proxy(proxy.http()).no_proxy().build().unwrap();
    exchange(&transport, request("http", platform.addr())).await.unwrap();
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn a_url_that_cannot_be_used_is_refused_when_building_and_not_quoted() {
    for url in [
        "canary-5f1c",
        "canary-5f1c:3128",
        "ftp://canary-5f1c@proxy.example",
        "socks6://user:canary-5f1c@proxy.example",
        "http://user:canary-5f1c@",
        "http://user:canary-5f1c@proxy.example:70000",
        "socks5://",
    ] {
        let through = Proxy::new(url);
        assert!(!format!("{through:?}").contains("canary-5f1c@"), "{through:?}");
        let error = builder().proxy(through).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}: {error}");
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(text.contains("the proxy") && !text.contains("canary"), "{url}: {text}");
        }
    }
}

#[test]
fn debug_shows_where_the_proxy_is_and_no_credential() {
    let through =
        Proxy::new("http://canary-a:canary-b@proxy.example:3128").basic_auth("canary-c", "canary-d");
    let text = format!("{:?} {through:?}", builder().proxy(through.clone()));
    assert!(text.contains("proxy.example") && text.contains("3128") && !text.contains("canary"), "{text}");
}
