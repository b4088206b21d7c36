//! The connector: what Brevo's API is, and a typed client for its contacts. Facts marked (unconfirmed) were not checked
//! against the vendor's own service.

use http::HeaderName;
use martlet::core::{
    Call, Client, ClientBuilder, Credential, Descriptor, Idempotency, LimitSpec, Operation, Pager, Platform,
    Response, Result, Secret, Verdict,
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

#[derive(Debug)]
struct BrevoPlatform(Descriptor);

impl Platform for BrevoPlatform {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    /// The status says what happened; the envelope adds a code and a text, if it is one at all.
    fn classify(&self, _operation: &Operation, response: &Response) -> Verdict {
        let Verdict::Fault(mut fault) = Verdict::from_status(response.status()) else {
            return Verdict::Success;
        };
        if let Ok(Problem { code, message }) = serde_json::from_slice(response.body()) {
            fault = fault.code(code).message(message);
        }
        // There is no Retry-After; the seconds until the window ends are here (unconfirmed).
        let reset = response.header("x-sib-ratelimit-reset").and_then(|text| text.parse().ok());
        match reset.filter(|_| response.status() == 429) {
            Some(seconds) => Verdict::Fault(fault.retry_after(Duration::from_secs(seconds))),
            None => Verdict::Fault(fault),
        }
    }
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    message: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Contact {
    pub(crate) id: u64,
    pub(crate) email: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    contacts: Vec<Contact>,
    count: Option<u64>,
}

/// A client for one Brevo account.
#[derive(Clone, Debug)]
pub(crate) struct Brevo(pub(crate) Arc<Client>);

impl Brevo {
    /// A builder for the client that [`Brevo`] wraps; it needs a transport.
    pub(crate) fn builder(api_key: impl Into<Secret>) -> ClientBuilder {
        let descriptor =
            Descriptor::new("brevo", "https://api.brevo.com").expect("two constants, both valid");
        let limit = LimitSpec::new(LimitSpec::DEFAULT).window("secondly", 10, Duration::from_secs(1));
        Client::builder(BrevoPlatform(descriptor.version("v3").limit(limit).check(LIST)))
            .credentials(Credential::api_key(HeaderName::from_static("api-key"), api_key))
    }

    /// All contacts, so many a page.
    pub(crate) fn contacts(&self, per_page: u64) -> Pager<Contact> {
        let call = |offset, limit| Call::new(LIST).query("limit", limit).query("offset", offset);
        let read = |response: &Response| response.json().map(|page: Page| (page.contacts, page.count));
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
