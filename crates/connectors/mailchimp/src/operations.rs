//! The operations of this crate, with the facts that never change.
//!
//! Paths and verbs are those of the vendor's [API reference](https://mailchimp.com/developer/marketing/api/).

use martlet_core::{CacheRule, Idempotency, Operation};
use std::time::Duration;

/// What cached merge fields are known by; see `martlet_core::Client::invalidate`.
pub const MERGE_FIELDS_TAG: &str = "merge_fields";

/// What the platform says about caching is unconfirmed; it is not made to be asked for each record.
const REFERENCE: CacheRule =
    CacheRule::reference_data(Duration::from_secs(300), MERGE_FIELDS_TAG).ignoring_headers();

/// Says that the platform is there and the credential works.
pub const PING: Operation = Operation::get("ping.get", "/{version}/ping");

/// Lists the audiences of the account.
pub const AUDIENCES_LIST: Operation = Operation::get("audiences.list", "/{version}/lists");

/// Reads one audience.
pub const AUDIENCES_GET: Operation = Operation::get("audiences.get", "/{version}/lists/{list_id}");

/// Lists the merge fields (custom fields) of an audience. Reference data, until one is changed here.
pub const MERGE_FIELDS_LIST: Operation =
    Operation::get("merge_fields.list", "/{version}/lists/{list_id}/merge-fields").cacheable(REFERENCE);

/// Reads one merge field.
pub const MERGE_FIELDS_GET: Operation =
    Operation::get("merge_fields.get", "/{version}/lists/{list_id}/merge-fields/{merge_id}");

/// Creates a merge field. Unsafe: whether the platform refuses a second one of the same tag is unconfirmed.
pub const MERGE_FIELDS_CREATE: Operation =
    Operation::post("merge_fields.create", "/{version}/lists/{list_id}/merge-fields")
        .idempotency(Idempotency::Unsafe)
        .invalidates(MERGE_FIELDS_TAG);

/// Changes a merge field. It sets values, so twice is once.
pub const MERGE_FIELDS_UPDATE: Operation =
    Operation::patch("merge_fields.update", "/{version}/lists/{list_id}/merge-fields/{merge_id}")
        .idempotency(Idempotency::Idempotent)
        .invalidates(MERGE_FIELDS_TAG);

/// Deletes a merge field.
pub const MERGE_FIELDS_DELETE: Operation =
    Operation::delete("merge_fields.delete", "/{version}/lists/{list_id}/merge-fields/{merge_id}")
        .invalidates(MERGE_FIELDS_TAG);

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

/// Lists the tags of a member.
pub const MEMBER_TAGS_LIST: Operation =
    Operation::get("member_tags.list", "/{version}/lists/{list_id}/members/{subscriber_hash}/tags");

/// Gives a member tags and takes some away: each is said to be there or not, so twice is once.
pub const MEMBER_TAGS_CHANGE: Operation =
    Operation::post("member_tags.change", "/{version}/lists/{list_id}/members/{subscriber_hash}/tags")
        .idempotency(Idempotency::Idempotent);

/// Lists the segments of an audience.
pub const SEGMENTS_LIST: Operation = Operation::get("segments.list", "/{version}/lists/{list_id}/segments");

/// Reads one segment.
pub const SEGMENTS_GET: Operation =
    Operation::get("segments.get", "/{version}/lists/{list_id}/segments/{segment_id}");

/// Lists the members of a segment.
pub const SEGMENT_MEMBERS_LIST: Operation =
    Operation::get("segment_members.list", "/{version}/lists/{list_id}/segments/{segment_id}/members");

/// Lists the campaigns of the account.
pub const CAMPAIGNS_LIST: Operation = Operation::get("campaigns.list", "/{version}/campaigns");

/// Reads one campaign.
pub const CAMPAIGNS_GET: Operation = Operation::get("campaigns.get", "/{version}/campaigns/{campaign_id}");

/// Lists the reports of campaigns.
pub const REPORTS_LIST: Operation = Operation::get("reports.list", "/{version}/reports");

/// Reads the report of one campaign.
pub const REPORTS_GET: Operation = Operation::get("reports.get", "/{version}/reports/{campaign_id}");

/// Lists what each recipient of a campaign did.
pub const REPORT_ACTIVITY_LIST: Operation =
    Operation::get("report_activity.list", "/{version}/reports/{campaign_id}/email-activity");

/// Lists who opted out by a campaign.
pub const REPORT_UNSUBSCRIBED_LIST: Operation =
    Operation::get("report_unsubscribed.list", "/{version}/reports/{campaign_id}/unsubscribed");

/// Lists the shops of the account.
pub const SHOPS_LIST: Operation = Operation::get("shops.list", "/{version}/ecommerce/stores");

/// Reads one shop.
pub const SHOPS_GET: Operation = Operation::get("shops.get", "/{version}/ecommerce/stores/{store_id}");

/// Lists the customers of a shop.
pub const SHOP_CUSTOMERS_LIST: Operation =
    Operation::get("shop_customers.list", "/{version}/ecommerce/stores/{store_id}/customers");

/// Lists the orders of a shop.
pub const SHOP_ORDERS_LIST: Operation =
    Operation::get("shop_orders.list", "/{version}/ecommerce/stores/{store_id}/orders");

/// Lists the products of a shop.
pub const SHOP_PRODUCTS_LIST: Operation =
    Operation::get("shop_products.list", "/{version}/ecommerce/stores/{store_id}/products");

/// Lists the batches of the account.
pub const BATCHES_LIST: Operation = Operation::get("batches.list", "/{version}/batches");

/// Begins a batch. Unsafe: sent twice it is done twice.
pub const BATCHES_CREATE: Operation =
    Operation::post("batches.create", "/{version}/batches").idempotency(Idempotency::Unsafe);

/// Reads how far a batch is.
pub const BATCHES_GET: Operation = Operation::get("batches.get", "/{version}/batches/{batch_id}");

/// Deletes a batch, or stops it.
pub const BATCHES_DELETE: Operation = Operation::delete("batches.delete", "/{version}/batches/{batch_id}");

/// Fetches the archive of a batch's results, from the address that the platform gave. It is on another host and goes there
/// without a credential, so it is not among [`ALL`].
pub const BATCH_RESULTS: Operation = Operation::get("batch_results.get", "/");

/// All of them that the API has.
pub const ALL: &[Operation] = &[
    PING,
    AUDIENCES_LIST,
    AUDIENCES_GET,
    MERGE_FIELDS_LIST,
    MERGE_FIELDS_GET,
    MERGE_FIELDS_CREATE,
    MERGE_FIELDS_UPDATE,
    MERGE_FIELDS_DELETE,
    MEMBERS_LIST,
    MEMBERS_GET,
    MEMBERS_UPSERT,
    MEMBERS_ARCHIVE,
    MEMBERS_BULK,
    MEMBER_TAGS_LIST,
    MEMBER_TAGS_CHANGE,
    SEGMENTS_LIST,
    SEGMENTS_GET,
    SEGMENT_MEMBERS_LIST,
    CAMPAIGNS_LIST,
    CAMPAIGNS_GET,
    REPORTS_LIST,
    REPORTS_GET,
    REPORT_ACTIVITY_LIST,
    REPORT_UNSUBSCRIBED_LIST,
    SHOPS_LIST,
    SHOPS_GET,
    SHOP_CUSTOMERS_LIST,
    SHOP_ORDERS_LIST,
    SHOP_PRODUCTS_LIST,
    BATCHES_LIST,
    BATCHES_CREATE,
    BATCHES_GET,
    BATCHES_DELETE,
];
