//! TLS with certificates of a test's own, at a server that insists on it.

use crate::cluster::Cluster;
use martlet_postgres::PostgresStore;
use martlet_store::{CellKey, Expect, Store, StoreErrorKind, WriteBatch};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use std::sync::Arc;
use std::time::Duration;

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        let key = KeyPair::generate().unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key, in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// What trusts this authority and nobody else, and checks names.
    fn trusted(&self) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_known_by_its_certificate_and_nothing_goes_in_plain() {
    let Some(mut cluster) = Cluster::new() else {
        return crate::skip("the test of TLS needs PostgreSQL's programs in /usr/lib/postgresql");
    };
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let (certificate, key) = (cluster.write("server.crt", &certificate), cluster.write("server.key", &key));
    // The harness itself looks in plain whether the server is up.
    let hba = "hostnossl template1 postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 trust\n";
    let hba = cluster.write("hba", hba);
    cluster.options = vec![
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.display()),
        format!("ssl_key_file={}", key.display()),
        format!("hba_file={}", hba.display()),
    ];
    cluster.database = "template1";
    cluster.start().await;
    let builder = |host: &str, more: &str| {
        let url = format!(
            "postgres://postgres@{host}:{}/postgres?hostaddr=127.0.0.1&connect_timeout=5{more}",
            cluster.port()
        );
        PostgresStore::builder(&url).wait(Duration::from_secs(5))
    };

    // Known, by its name too: the store works, and hears of messages over TLS.
    let store = builder("localhost", "").tls(authority.trusted()).open().await.unwrap();
    let batch = WriteBatch::new().put(CellKey::new("k").unwrap(), Expect::Absent, "v");
    let _ = store.commit(batch).await.unwrap();
    assert_eq!(store.scan("", None, 10).await.unwrap().len(), 1);
    store.close().await;

    let refused = [
        ("another authority", builder("localhost", "").tls(Authority::new().trusted()), "certificate"),
        ("another name", builder("db.example.com", "").tls(authority.trusted()), "certificate"),
        // It is the server that refuses it.
        ("no TLS at all", builder("localhost", ""), "encryption"),
    ];
    for (what, builder, word) in refused {
        let error = builder.open().await.unwrap_err();
        let words = error.to_string();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{what}: {words}");
        assert!(words.to_lowercase().contains(word), "{what}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tls_is_demanded_a_plain_server_is_refused() {
    let Some(url) = crate::url() else { return };
    let error = PostgresStore::builder(&url).tls(Authority::new().trusted()).open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("TLS"), "{error}");
    // Demanded in the URL, with nothing to do it by: not even a connection is made.
    let error = PostgresStore::builder(&format!("{url}?sslmode=require")).open().await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}
