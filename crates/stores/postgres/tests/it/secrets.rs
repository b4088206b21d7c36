//! The password of the database is in nothing that is printed.

use martlet_postgres::PostgresStore;
use martlet_testkit::Canary;

#[tokio::test]
async fn a_password_is_in_no_builder_and_no_error() {
    let canary = Canary::new("password");
    let password = canary.text();
    for (what, url) in [
        ("a closed port", format!("postgres://martlet:{password}@127.0.0.1:1/martlet?connect_timeout=2")),
        ("a port that is none", format!("postgres://martlet:{password}@127.0.0.1:port/martlet")),
        (
            "an option that is none",
            format!("postgres://martlet:{password}@127.0.0.1/martlet?nothing={password}"),
        ),
        (
            "a value that is none",
            format!("postgres://martlet:{password}@127.0.0.1/martlet?sslmode={password}"),
        ),
        ("words", format!("host=127.0.0.1 port=1 user=martlet password={password} connect_timeout=2")),
        ("words that make no sense", format!("host=127.0.0.1 password='{password}")),
        ("a URL of something else", format!("mysql://martlet:{password}@127.0.0.1/martlet")),
        (
            "TLS that is not there",
            format!("postgres://martlet:{password}@127.0.0.1:1/martlet?sslmode=require"),
        ),
    ] {
        let builder = PostgresStore::builder(&url);
        canary.absent_from_debug(&format!("a builder with {what}"), &builder);
        let error = builder.open().await.unwrap_err();
        canary.absent_from_error(&format!("the error of {what}"), &error);
    }
}

/// The server's own words, when it refuses the password.
#[tokio::test]
async fn a_refused_password_is_not_quoted() {
    let Some(url) = crate::url() else { return };
    let canary = Canary::new("password");
    let (scheme, host) = url.split_once("://").unwrap();
    let host = host.rsplit('@').next().unwrap();
    match PostgresStore::open(&format!("{scheme}://nobody_at_all:{}@{host}", canary.text())).await {
        Ok(store) => canary.absent_from_debug("a store", &store),
        Err(error) => canary.absent_from_error("the server's refusal", &error),
    }
}
