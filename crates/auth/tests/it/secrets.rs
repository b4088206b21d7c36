//! Secrets of OAuth2 are in nothing that is printed, and at rest where it is documented.

use crate::kit::THINGS;
use async_trait::async_trait;
use martlet_auth::{OAuth2, OAuth2Config, Seal, SealError, TokenStore, Tokens};
use martlet_base::{Delivery, ManualClock};
use martlet_core::{
    ApiClient as _, BodyStream, Call, Client, Descriptor, SendContext, Transport, TransportError,
    TransportErrorKind, WireRequest,
};
use martlet_store::{Cells, MemoryStore, Store};
use martlet_testkit::Canary;
use std::sync::Arc;

#[test]
fn a_secret_is_in_no_configuration_and_no_tokens() {
    let canary = Canary::new("secret");
    let builder = OAuth2Config::builder("https://login.acme.example/token", "app-1")
        .client_secret(canary.text())
        .param("assertion", canary.text());
    canary.absent_from_debug("a builder", &builder);
    canary.absent_from_debug("a configuration", &builder.build().unwrap());
    canary.absent_from_debug("tokens", &Tokens::new(canary.text(), canary.text()));
    for url in [
        format!("https://user:{}@login.acme.example/token", canary.text()),
        format!("http://login.acme.example/{}", canary.text()),
        format!("no url {}", canary.text()),
        format!("https://login.acme.example/token?key={}", canary.text()),
    ] {
        let builder = OAuth2Config::builder(&url, "app-1");
        canary.absent_from_debug("a builder with a bad URL", &builder);
        match builder.build() {
            Ok(config) => canary.absent_from_debug("a configuration with a secret in its URL", &config),
            Err(error) => canary.absent_from_error("a refused URL", &error),
        }
    }
}

/// An endpoint that repeats in its answer all that it was told, as some do in an error.
#[derive(Debug)]
struct Echo(u16);

#[async_trait]
impl Transport for Echo {
    async fn send(
        &self,
        request: WireRequest,
        _cx: &SendContext,
    ) -> Result<http::Response<BodyStream>, TransportError> {
        if self.0 == 0 {
            let kind = TransportErrorKind::Connect;
            return Err(TransportError::new(kind, Delivery::NotSent, "refused"));
        }
        let told = String::from_utf8_lossy(&request.body);
        let answer = serde_json::json!({ "error": told, "error_description": told, "error_uri": told, "message": told });
        let body = if self.0 == 200 { request.body.to_vec() } else { answer.to_string().into_bytes() };
        let mut response = http::Response::new(BodyStream::whole(body.into()));
        *response.status_mut() = http::StatusCode::from_u16(self.0).unwrap();
        Ok(response)
    }
}

#[tokio::test]
async fn a_secret_that_the_token_endpoint_repeats_is_in_no_error() {
    let canary = Canary::new("secret");
    for status in [0, 200, 302, 400, 401, 403, 404, 429, 500, 503] {
        let clock = ManualClock::new();
        let store = Arc::new(MemoryStore::new(clock.clock())) as Arc<dyn Store>;
        let tokens = TokenStore::new(Cells::new(store, "tokens/"), "acme/main").unwrap();
        tokens.seed(&Tokens::from_refresh_token(canary.text())).await.unwrap();
        let config = OAuth2Config::builder("https://login.acme.example/token", "app-1")
            .client_secret(canary.text())
            .build()
            .unwrap();
        let source = OAuth2::refresh(config, Arc::new(Echo(status)), tokens);
        canary.absent_from_debug("a source", &source);
        let platform = Descriptor::new("acme", "https://api.acme.example").unwrap();
        let client = Client::builder(platform)
            .transport(Echo(status))
            .credentials(source)
            .clock(clock.clock())
            .build()
            .unwrap();
        canary.absent_from_debug("a client", &client);
        let error = clock.drive(client.execute(Call::new(THINGS))).await.unwrap_err();
        canary.absent_from_error(&format!("the error of a token endpoint that answers {status}"), &error);
    }
}

/// No cipher at all, but enough to see what passes through it.
#[derive(Debug)]
struct Turned;

impl Seal for Turned {
    fn name(&self) -> &str {
        "turned"
    }

    fn seal(&self, _cell: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.iter().map(|byte| !byte).collect())
    }

    fn open(&self, _cell: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(sealed.iter().map(|byte| !byte).collect())
    }
}

#[tokio::test]
async fn tokens_lie_in_the_clear_unless_they_are_sealed() {
    let canary = Canary::new("token");
    for sealed in [false, true] {
        let store = Arc::new(MemoryStore::new(ManualClock::new().clock()));
        let tokens =
            TokenStore::new(Cells::new(Arc::clone(&store) as Arc<dyn Store>, "tokens/"), "acme/main")
                .unwrap();
        let tokens = if sealed { tokens.with_seal(Turned) } else { tokens };
        tokens.seed(&Tokens::new(canary.text(), canary.text())).await.unwrap();
        canary.absent_from_debug("a token store", &tokens);
        canary.absent_from_debug("the store below", &store);
        let cells = store.scan("tokens/", None, 10).await.unwrap();
        assert_eq!(cells.len(), 1);
        canary.absent_from_debug("its cells", &cells);
        assert_eq!(canary.is_in(&cells[0].1.value), !sealed, "as docs/security.md says");
    }
}
