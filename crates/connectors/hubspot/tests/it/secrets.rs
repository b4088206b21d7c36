//! The token is in nothing that is printed, whatever the platform says, and in no cassette.

use martlet_auth::{AuthStyle, OAuth2, OAuth2Config, TokenStore, Tokens};
use martlet_base::{Clock, ManualClock};
use martlet_core::{ErrorKind, Transport};
use martlet_hubspot::sim::{HubSpotSim, SimOAuth, SimOptions};
use martlet_hubspot::{ContactInput, HubSpot, operations};
use martlet_reqwest::ReqwestTransport;
use martlet_store::{Cells, MemoryStore};
use martlet_testkit::{Canary, CassetteMode, CassetteTransport, ScriptedTransport, SimServer};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

#[tokio::test]
async fn a_token_that_hubspot_quotes_is_in_no_error() {
    let canary = Canary::new("token");
    let said = format!("The access token {} is expired", canary.text());
    for (status, category) in [
        (200, "INVALID_AUTHENTICATION"),
        (207, "MISSING_SCOPES"),
        (400, "VALIDATION_ERROR"),
        (401, "EXPIRED_AUTHENTICATION"),
        (403, "MISSING_SCOPES"),
        (404, "OBJECT_NOT_FOUND"),
        (409, "CONFLICT"),
        (429, "RATE_LIMITS"),
        (500, "INTERNAL_ERROR"),
        (530, "UNKNOWN"),
    ] {
        let error = json!({ "status": "error", "message": said, "category": category, "correlationId": "c-1",
            "errors": [{ "message": said, "context": { "requiredScopes": [said] } }] });
        let several = json!({ "status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error] });
        let clock = ManualClock::new();
        let transport = ScriptedTransport::new(clock.clock());
        for operation in [&operations::GET, &operations::BATCH_UPSERT, &operations::associations::BATCH_READ]
        {
            transport.on(operation).json(status, if status == 207 { &several } else { &error }).forever();
        }
        let builder =
            HubSpot::builder().transport(transport).clock(clock.clock()).access_token(canary.text());
        canary.absent_from_debug("the builder", &builder);
        let hubspot = builder.build().unwrap();
        canary.absent_from_debug("the client", &hubspot);
        let place = |what: &str| format!("{what} at {status}");
        if let Err(error) = clock.drive(hubspot.contacts().get("7").send()).await {
            canary.absent_from_error(&place("the error of get"), &error);
        }
        let ada = ContactInput::new("ada@example.com");
        match clock.drive(hubspot.contacts().batch_upsert("email", &[ada])).await {
            Ok(outcome) => canary.absent_from_debug(&place("the outcome of a batch"), &outcome),
            Err(error) => canary.absent_from_error(&place("the error of a batch"), &error),
        }
        let companies = hubspot.associations::<martlet_hubspot::ContactKind, martlet_hubspot::CompanyKind>();
        let error = clock.drive(companies.of(&["7".into()])).await.unwrap_err();
        canary.absent_from_error(&place("the error of associations"), &error);
    }
}

/// Refreshes its token, reads and writes; all through the same transport.
async fn session(transport: Arc<dyn Transport>, url: &str, secrets: &[Canary; 2]) -> (usize, ErrorKind) {
    let clock = Clock::system();
    let cells = Cells::new(Arc::new(MemoryStore::new(clock)), "t/");
    let tokens = TokenStore::new(cells, "hubspot").unwrap();
    tokens.seed(&Tokens::from_refresh_token(secrets[1].text())).await.unwrap();
    let config = OAuth2Config::builder(format!("{url}/oauth/v3/token"), "app")
        .client_secret(secrets[0].text())
        .auth_style(AuthStyle::RequestBody)
        .build()
        .unwrap();
    let hubspot = HubSpot::builder()
        .base_url(url)
        .shared_transport(Arc::clone(&transport))
        .credentials(OAuth2::refresh(config, transport, tokens))
        .build()
        .unwrap();
    let contacts = hubspot.contacts().list().limit(10).pager().collect().await.unwrap();
    let ada = ContactInput::new("ada@example.com").set("firstname", "Ada");
    hubspot.contacts().batch_upsert("email", &[ada]).await.unwrap();
    let missing = hubspot.contacts().get("1").send().await.unwrap_err();
    (contacts.len(), missing.kind())
}

fn open(path: &Path, mode: CassetteMode) -> CassetteTransport {
    let builder = CassetteTransport::builder(path).mode(mode).ignore_host();
    builder.through(ReqwestTransport::new().unwrap()).open().unwrap()
}

#[tokio::test]
async fn a_cassette_of_a_session_with_oauth_has_no_token_and_plays() {
    let secrets = [Canary::new("client"), Canary::new("refresh")];
    let oauth = SimOAuth::new("app", secrets[0].text(), secrets[1].text());
    let options = SimOptions { contacts: 25, oauth: Some(oauth), ..SimOptions::default() };
    let sim = Arc::new(HubSpotSim::new(options));
    let addr = "127.0.0.1:0".parse().unwrap();
    let server = SimServer::start(sim, addr, Clock::system(), None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session.json");

    let cassette = open(&path, CassetteMode::Record);
    let recorded = session(Arc::new(cassette.clone()), &server.url(), &secrets).await;
    assert_eq!(recorded, (25, ErrorKind::NotFound));
    cassette.finish().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for secret in &secrets {
        secret.absent_from("the cassette", &text);
    }
    assert!(text.contains("\"access_token\": \"REDACTED\"") && text.contains("\"refresh_token\""), "{text}");

    // The platform is as it was: the shapes are the same. (What was written is there now.)
    let cassette = open(&path, CassetteMode::Verify);
    session(Arc::new(cassette.clone()), &server.url(), &secrets).await;
    cassette.finish().unwrap();

    // And it is not needed any more, nor are its secrets.
    server.shutdown().await;
    let cassette = open(&path, CassetteMode::Replay);
    let others = [Canary::new("other"), Canary::new("another")];
    assert_eq!(session(Arc::new(cassette.clone()), "http://127.0.0.1:1", &others).await, recorded);
    cassette.finish().unwrap();
}
