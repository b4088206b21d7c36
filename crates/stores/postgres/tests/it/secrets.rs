//! The password of the database is in nothing that is printed.

use martlet_postgres::{PostgresBuilder, PostgresStore};
use martlet_testkit::Canary;

#[tokio::test]
async fn a_password_is_in_no_builder_and_no_error() {
    let urls = [
        ("a closed port", "postgres://martlet:{}@127.0.0.1:1/martlet?connect_timeout=2"),
        ("a port that is none", "postgres://martlet:{}@127.0.0.1:port/martlet"),
        ("an option that is none", "postgres://martlet:{}@127.0.0.1/martlet?nothing={}"),
        ("a value that is none", "postgres://martlet:{}@127.0.0.1/martlet?sslmode={}"),
        ("words", "host=127.0.0.1 port=1 user=martlet password={} connect_timeout=2"),
        ("words that make no sense", "host=127.0.0.1 password='{}"),
        ("a URL of something else", "mysql://martlet:{}@127.0.0.1/martlet"),
        ("TLS that is not there", "postgres://martlet:{}@127.0.0.1:1/martlet?sslmode=require"),
        ("two hosts", "postgres://martlet:{}@127.0.0.1:1,127.0.0.1:2/martlet?connect_timeout=2"),
    ];
    Canary::new("password").absent_from_opening(&urls, PostgresStore::builder, PostgresBuilder::open).await;
}

/// The server's own words, when it refuses the password.
#[tokio::test]
async fn a_refused_password_is_not_quoted() {
    let Some(url) = crate::url() else { return };
    let (scheme, host) = url.split_once("://").unwrap();
    let url = format!("{scheme}://nobody_at_all:{{}}@{}", host.rsplit('@').next().unwrap());
    let urls = [("a user who is none", &*url)];
    Canary::new("password").absent_from_opening(&urls, PostgresStore::builder, PostgresBuilder::open).await;
}
