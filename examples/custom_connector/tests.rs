//! The conformance suite: what the client is built with, what the platform answers, and how it tells a failure.

use crate::brevo::{ALL, Brevo, GET, LIST, UPSERT};
use martlet::{ApiClient, ErrorKind};
use martlet_testkit::conformance::connector::{PageSpec, Subject};
use serde_json::{Value, json};
use std::sync::Arc;

fn page(page: &PageSpec) -> Value {
    let contacts: Vec<_> = page.items.iter().map(|id| json!({ "id": id, "email": null })).collect();
    json!({ "contacts": contacts, "count": page.total })
}

fn brevo() -> Subject<Brevo> {
    Subject::new(
        ALL,
        |brevo: &Brevo| Arc::clone(&brevo.0) as Arc<dyn ApiClient>,
        |setup| {
            let builder = Brevo::builder(setup.secret()).shared_transport(setup.transport());
            let builder = builder.clock(setup.clock()).rng(setup.rng()).observer(setup.observer());
            builder.build().map(|client| Brevo(Arc::new(client)))
        },
    )
    .sample(GET, 200, json!({ "id": 42, "email": "ada@example.org", "listIds": [5] }), |brevo| async move {
        brevo.contact("ada@example.org").await
    })
    .sample(LIST, 200, json!({ "contacts": [{ "id": 42 }], "count": 1 }), |brevo| async move {
        brevo.contacts(50).collect().await
    })
    .sample(UPSERT, 204, json!(null), |brevo| async move {
        brevo.upsert("ada@example.org", json!({ "FIRSTNAME": "Ada" })).await
    })
    .failure(
        400,
        json!({ "code": "invalid_parameter", "message": "email is not valid" }),
        ErrorKind::Rejected,
    )
    .failure(401, json!({ "code": "unauthorized", "message": "Key not found" }), ErrorKind::Unauthenticated)
    .failure(404, json!({ "code": "document_not_found", "message": "no" }), ErrorKind::NotFound)
    .failure(429, json!(null), ErrorKind::RateLimited)
    .list(LIST, |brevo| brevo.contacts(2), page)
}

martlet_testkit::connector_conformance!(brevo);
martlet_testkit::paging_conformance!(brevo);
