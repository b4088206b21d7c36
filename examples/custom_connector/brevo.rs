//! The connector: what Brevo's API is, and a typed client for its contacts. Facts marked (unconfirmed) were not checked
//! against the vendor's own service.

use http::HeaderName;
use martlet::core::{
    Call, Client, ClientBuilder, Credential, Descriptor, Extent, Idempotency, LimitSpec, Operation, Pager,
    Response, Result, Secret, quota_headers::Dialect,
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const LIST: Operation = Operation::get("contacts.list", "/{version}/contacts");
pub(crate) const GET: Operation = Operation::get("contacts.get", "/{version}/contacts/{identifier}");
/// With `updateEnabled` it creates or updates (unconfirmed): sent twice it has the effect of once.
pub(crate) const UPSERT: Operation =
    Operation::post("contacts.upsert", "/{version}/contacts").idempotency(Idempotency::Idempotent);
#[cfg(test)]
pub(crate) const ALL: &[Operation] = &[LIST, GET, UPSERT];

#[derive(Debug, Deserialize)]
pub(crate) struct Contact {
    pub(crate) id: u64,
    pub(crate) email: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    contacts: Vec<Contact>,
    /// All that there are, on every page (unconfirmed): an answer without it is an error, not the last page.
    count: u64,
}

/// A client for one Brevo account.
#[derive(Clone, Debug)]
pub(crate) struct Brevo(pub(crate) Arc<Client>);

impl Brevo {
    /// A builder for the client that [`Brevo`] wraps; it needs a transport.
    pub(crate) fn builder(api_key: impl Into<Secret>) -> ClientBuilder {
        let brevo = Descriptor::new("brevo", "https://api.brevo.com").expect("two constants, both valid");
        let brevo = brevo
            .version("v3")
            .limit(LimitSpec::new(LimitSpec::DEFAULT).window("secondly", 10, Duration::from_secs(1)))
            .quota_headers(Dialect::Brevo)
            .error_body("/code", "/message")
            .check(LIST);
        Client::builder(brevo).credentials(Credential::api_key(HeaderName::from_static("api-key"), api_key))
    }

    /// All contacts, so many a page.
    pub(crate) fn contacts(&self, per_page: u64) -> Pager<Contact> {
        let call = |offset, limit| Call::new(LIST).query("limit", limit).query("offset", offset);
        let read = |response: &Response| {
            response.json().map(|page: Page| (page.contacts, Extent::Items(page.count)))
        };
        Pager::offset(self.0.clone(), LIST, format!("limit={per_page}"), per_page, call, read)
    }

    /// One contact, by its id or address.
    #[cfg_attr(not(test), expect(dead_code, reason = "the example only writes and lists"))]
    pub(crate) async fn contact(&self, identifier: &str) -> Result<Contact> {
        self.execute(Call::new(GET).path("identifier", identifier)).await?.json()
    }

    /// Creates the contact with this address, or sets its attributes.
    pub(crate) async fn upsert(&self, email: &str, attributes: serde_json::Value) -> Result<()> {
        let body = json!({ "email": email, "attributes": attributes, "updateEnabled": true });
        self.execute(Call::new(UPSERT).json(&body)).await.map(drop)
    }

    async fn execute(&self, call: Call) -> Result<Response> {
        martlet::ApiClient::execute(&*self.0, call).await
    }
}
