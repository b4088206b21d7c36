//! The password of the server is in nothing that is printed.

use martlet_redis::RedisStore;
use martlet_testkit::Canary;
use std::time::Duration;

#[tokio::test]
async fn a_password_is_in_no_builder_and_no_error() {
    let canary = Canary::new("password");
    let password = canary.text();
    for (what, url) in [
        ("a closed port", format!("redis://martlet:{password}@127.0.0.1:1/")),
        ("a port that is none", format!("redis://martlet:{password}@127.0.0.1:port/")),
        ("a database that is none", format!("redis://martlet:{password}@127.0.0.1:1/{password}")),
        ("an option that is none", format!("redis://:{password}@127.0.0.1:1/?protocol={password}")),
        ("a URL of something else", format!("http://martlet:{password}@127.0.0.1:1/")),
        ("a text", format!("martlet:{password}")),
    ] {
        let builder = RedisStore::builder(&url).timeout(Duration::from_secs(2));
        canary.absent_from_debug(&format!("a builder with {what}"), &builder);
        #[cfg(feature = "cluster")]
        {
            let error = builder.clone().cluster([&url]).open().await.unwrap_err();
            canary.absent_from_error(&format!("the error of a cluster and {what}"), &error);
        }
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
    match RedisStore::open(&format!("{scheme}://nobody:{}@{host}", canary.text())).await {
        Ok(store) => canary.absent_from_debug("a store", &store),
        Err(error) => canary.absent_from_error("the server's refusal", &error),
    }
}
