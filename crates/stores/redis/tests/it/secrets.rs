//! The password of the server is in nothing that is printed.

use martlet_redis::{RedisBuilder, RedisStore};
use martlet_testkit::Canary;
use std::time::Duration;

fn builder(url: &str) -> RedisBuilder {
    RedisStore::builder(url).timeout(Duration::from_secs(2))
}

#[tokio::test]
async fn a_password_is_in_no_builder_and_no_error() {
    let canary = Canary::new("password");
    let urls = [
        ("a closed port", "redis://martlet:{}@127.0.0.1:1/"),
        ("a port that is none", "redis://martlet:{}@127.0.0.1:port/"),
        ("a database that is none", "redis://martlet:{}@127.0.0.1:1/{}"),
        ("an option that is none", "redis://:{}@127.0.0.1:1/?protocol={}"),
        ("a URL of something else", "http://martlet:{}@127.0.0.1:1/"),
        ("a text", "martlet:{}"),
    ];
    canary.absent_from_opening(&urls, builder, RedisBuilder::open).await;
    #[cfg(feature = "cluster")]
    canary.absent_from_opening(&urls, |url| builder(url).cluster([url]), RedisBuilder::open).await;
}

/// The server's own words, when it refuses the password.
#[tokio::test]
async fn a_refused_password_is_not_quoted() {
    let Some(url) = crate::url() else { return };
    let (scheme, host) = url.split_once("://").unwrap();
    let url = format!("{scheme}://nobody:{{}}@{}", host.rsplit('@').next().unwrap());
    Canary::new("password")
        .absent_from_opening(&[("a user who is none", &url)], builder, RedisBuilder::open)
        .await;
}
