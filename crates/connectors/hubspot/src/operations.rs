//! The endpoints this crate knows, as [`Operation`]s: what they are called in logs and metrics, and whether they may be
//! sent again. Use them with [`HubSpot::client`](crate::HubSpot::client) for what the typed API does not cover.

use martlet_core::{Idempotency, Operation};

/// The quota bucket that searches take from beside the default one.
pub const SEARCH_BUCKET: &str = "search";

/// One page of contacts, in the order of their ids.
pub const LIST: Operation = Operation::get("contacts.list", "/crm/{version}/objects/contacts");

/// One contact by id, or by a unique property (`idProperty`).
pub const GET: Operation = Operation::get("contacts.get", "/crm/{version}/objects/contacts/{id}");

/// One page of the contacts that match a filter. A POST that changes nothing.
pub const SEARCH: Operation = Operation::post("contacts.search", "/crm/{version}/objects/contacts/search")
    .idempotency(Idempotency::Safe)
    .quota(SEARCH_BUCKET);

/// Up to 100 contacts by id. A POST that changes nothing.
pub const BATCH_READ: Operation =
    Operation::post("contacts.batch_read", "/crm/{version}/objects/contacts/batch/read")
        .idempotency(Idempotency::Safe);

/// Creates or updates up to 100 contacts, each found by a unique property: sent twice it has the effect of once.
pub const BATCH_UPSERT: Operation =
    Operation::post("contacts.batch_upsert", "/crm/{version}/objects/contacts/batch/upsert")
        .idempotency(Idempotency::Idempotent);

/// Moves one contact to the recycle bin.
pub const ARCHIVE: Operation = Operation::delete("contacts.archive", "/crm/{version}/objects/contacts/{id}");

/// Moves up to 100 contacts to the recycle bin; ids that are there already are no error.
pub const BATCH_ARCHIVE: Operation =
    Operation::post("contacts.batch_archive", "/crm/{version}/objects/contacts/batch/archive")
        .idempotency(Idempotency::Idempotent);

/// All of them.
pub const ALL: &[Operation] = &[LIST, GET, SEARCH, BATCH_READ, BATCH_UPSERT, ARCHIVE, BATCH_ARCHIVE];
