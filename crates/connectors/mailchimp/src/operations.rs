//! The operations of this crate, with the facts that never change.
//!
//! Paths and verbs are those of the vendor's [API reference](https://mailchimp.com/developer/marketing/api/).

use martlet_core::{Idempotency, Operation};

/// Says that the platform is there and the credential works.
pub const PING: Operation = Operation::get("ping.get", "/{version}/ping");

/// Lists the audiences of the account.
pub const AUDIENCES_LIST: Operation = Operation::get("audiences.list", "/{version}/lists");

/// Reads one audience.
pub const AUDIENCES_GET: Operation = Operation::get("audiences.get", "/{version}/lists/{list_id}");

/// Lists the merge fields (custom fields) of an audience.
pub const MERGE_FIELDS_LIST: Operation =
    Operation::get("merge_fields.list", "/{version}/lists/{list_id}/merge-fields");

/// Creates a merge field. Unsafe: whether the platform refuses a second one of the same tag is unconfirmed.
pub const MERGE_FIELDS_CREATE: Operation =
    Operation::post("merge_fields.create", "/{version}/lists/{list_id}/merge-fields")
        .idempotency(Idempotency::Unsafe);

/// Lists the members of an audience.
pub const MEMBERS_LIST: Operation = Operation::get("members.list", "/{version}/lists/{list_id}/members");

/// Reads one member.
pub const MEMBERS_GET: Operation =
    Operation::get("members.get", "/{version}/lists/{list_id}/members/{subscriber_hash}");

/// Creates a member or brings it up to date.
pub const MEMBERS_UPSERT: Operation =
    Operation::put("members.upsert", "/{version}/lists/{list_id}/members/{subscriber_hash}");

/// Archives a member.
pub const MEMBERS_ARCHIVE: Operation =
    Operation::delete("members.archive", "/{version}/lists/{list_id}/members/{subscriber_hash}");

/// Creates up to 500 members, or brings them up to date. Sent twice it has the effect of once; without `update_existing` the
/// second answer reports the members of the first as existing.
pub const MEMBERS_BULK: Operation =
    Operation::post("members.bulk", "/{version}/lists/{list_id}").idempotency(Idempotency::Idempotent);

/// All of them.
pub const ALL: &[Operation] = &[
    PING,
    AUDIENCES_LIST,
    AUDIENCES_GET,
    MERGE_FIELDS_LIST,
    MERGE_FIELDS_CREATE,
    MEMBERS_LIST,
    MEMBERS_GET,
    MEMBERS_UPSERT,
    MEMBERS_ARCHIVE,
    MEMBERS_BULK,
];
