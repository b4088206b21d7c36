//! TLS: whom a transport trusts, and whom it shows itself as.

use crate::proxy::Forwarder;
use crate::{Answer, assert_failed, exchange, request};
use martlet_base::Delivery;
use martlet_core::{ErrorKind, TransportError, TransportErrorKind};
use martlet_reqwest::{ReqwestTransport, ReqwestTransportBuilder};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};

/// A certificate authority of our own.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        let key = KeyPair::generate().unwrap();
        // Authorities of one name are told apart by their signatures only.
        params.distinguished_name.push(DnType::CommonName, format!("{:?}", &key.public_key_raw()[1..9]));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The certificate and the key of a client, in one PEM.
    fn identity(&self) -> String {
        let (certificate, key) = self.issue("sync", ExtendedKeyUsagePurpose::ClientAuth);
        certificate.pem() + &key.serialize_pem()
    }
}

/// A platform whose certificate for `name` is from `authority`; with `clients` it serves only those that show one from there.
/// Its answer's body is `ok`.
async fn platform(authority: &Authority, name: &str, clients: Option<&Authority>) -> SocketAddr {
    let (certificate, key) = authority.issue(name, ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = match clients {
        None => config.unwrap().with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.certificate.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.unwrap().with_client_cert_verifier(verifier)
        }
    };
    let key = key.serialize_der().try_into().unwrap();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"}") && stream.read_buf(&mut head).await.is_ok_and(|n| n > 0) {}
                let _ = stream.write_all(crate::OK).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    addr
}

fn builder() -> ReqwestTransportBuilder {
    ReqwestTransport::builder()
}

async fn ask(builder: ReqwestTransportBuilder, platform: SocketAddr) -> Result<Answer, TransportError> {
    exchange(&builder.build().unwrap(), request("https", platform)).await
}

#[track_caller]
fn assert_tls_failed(result: Result<Answer, TransportError>, why: &str) {
    let text = assert_failed(result, TransportErrorKind::Connect, Delivery::NotSent);
    assert!(text.contains("TLS: ") && text.contains(why), "{text}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_a_tls_error_and_nothing_was_sent() {
    let ours = Authority::new();
    let platform = platform(&ours, "127.0.0.1", None).await;
    assert_tls_failed(ask(builder(), platform).await, "UnknownIssuer");
    let other = Authority::new();
    assert_tls_failed(ask(builder().root_certificates(other.pem()), platform).await, "UnknownIssuer");
}

#[tokio::test]
async fn its_root_certificate_is_all_that_is_needed() {
    let (ours, other) = (Authority::new(), Authority::new());
    let platform = platform(&ours, "127.0.0.1", None).await;
    let der = ours.certificate.der().to_vec();
    let bundle = format!("# two of them\n{}{}", other.pem(), ours.pem());
    for (name, builder) in [
        ("PEM", builder().root_certificates(ours.pem())),
        ("DER", builder().root_certificates(der)),
        ("a bundle", builder().root_certificates(bundle)),
        ("one after another", builder().root_certificates(ours.pem()).root_certificates(other.pem())),
        ("it alone", builder().root_certificates(ours.pem()).only_given_roots()),
    ] {
        let answer = ask(builder, platform).await;
        assert_eq!(answer.unwrap_or_else(|e| panic!("{name}: {e}")).body, b"ok");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_a_tls_error() {
    let ours = Authority::new();
    let platform = platform(&ours, "acme.example", None).await;
    assert_tls_failed(ask(builder().root_certificates(ours.pem()), platform).await, "not valid for name");
}

#[tokio::test]
async fn with_only_the_given_roots_and_none_given_nobody_is_trusted() {
    let platform = platform(&Authority::new(), "127.0.0.1", None).await;
    assert_tls_failed(ask(builder().only_given_roots(), platform).await, "UnknownIssuer");
}

#[tokio::test]
async fn through_a_proxy_tls_is_with_the_platform() {
    let ours = Authority::new();
    let platform = platform(&ours, "127.0.0.1", None).await;
    let proxy = Forwarder::start(false).await;
    for through in [proxy.http(), proxy.socks()] {
        let builder = builder().proxy(through);
        assert_tls_failed(ask(builder.clone(), platform).await, "UnknownIssuer");
        let answer = ask(builder.root_certificates(ours.pem()), platform).await.unwrap();
        assert_eq!(answer.body, b"ok");
    }
    let (tunnel, socks) = (format!("CONNECT {platform} HTTP/1.1"), format!("SOCKS {}", platform.ip()));
    assert_eq!(proxy.asked(), [tunnel.clone(), tunnel, socks.clone(), socks]);
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_the_identity() {
    let (ours, other) = (Authority::new(), Authority::new());
    let platform = platform(&ours, "127.0.0.1", Some(&ours)).await;
    let trusting = builder().root_certificates(ours.pem());
    let answer = ask(trusting.clone().client_identity(ours.identity()), platform).await.unwrap();
    assert_eq!(answer.body, b"ok");
    // In TLS 1.3 the server refuses after the client has begun to send.
    for refused in [trusting.clone(), trusting.client_identity(other.identity())] {
        let error = ask(refused, platform).await.map(|answer| answer.status).unwrap_err();
        assert!(error.to_string().contains("TLS: "), "{error}");
    }
}

#[test]
fn what_is_no_certificate_is_refused_when_building_and_not_quoted() {
    let identity = Authority::new().identity();
    let end = identity.find("-----BEGIN PRIVATE").unwrap();
    for builder in [
        builder().root_certificates("canary"),
        builder().root_certificates(*b"canary \xff"),
        builder().root_certificates(Vec::new()),
        builder().root_certificates("-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n"),
        builder().client_identity("canary"),
        builder().client_identity(&identity[..end]),
        builder().client_identity(&identity[end..]),
    ] {
        for builder in [builder.clone(), builder.only_given_roots()] {
            let error = builder.build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        }
    }
}

#[test]
fn debug_shows_no_key() {
    let identity = Authority::new().identity();
    let text = format!("{:?}", builder().client_identity(identity.clone()).root_certificates(identity));
    assert!(
        !text.contains("BEGIN") && text.contains("roots: 1") && text.contains("identity: true"),
        "{text}"
    );
}
