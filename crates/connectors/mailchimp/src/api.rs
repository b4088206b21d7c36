pub(crate) mod audiences;
#[cfg(feature = "batches")]
pub(crate) mod batches;
pub(crate) mod bulk;
pub(crate) mod campaigns;
pub(crate) mod members;
pub(crate) mod reports;
pub(crate) mod segments;
pub(crate) mod shops;

use martlet_base::Timestamp;
use martlet_core::{ApiClient, Call, Extent, Pager};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The largest page that the platform gives.
pub(crate) const MAX_PAGE: u64 = 1000;

/// A page of any list: only the name of the collection differs.
#[derive(Deserialize)]
struct Listed<T> {
    #[serde(
        alias = "lists",
        alias = "merge_fields",
        alias = "members",
        alias = "tags",
        alias = "segments",
        alias = "campaigns",
        alias = "reports",
        alias = "emails",
        alias = "unsubscribes",
        alias = "stores",
        alias = "customers",
        alias = "orders",
        alias = "products",
        alias = "batches"
    )]
    items: Vec<T>,
    /// On every page: where it is missing, nobody knows how far the list goes.
    total_items: u64,
}

/// Reads the list that `call` names, all of it; `collection` is what the platform calls the items, `filter` what tells the list
/// from others of the same operation.
fn listed<T: DeserializeOwned + Send + 'static>(
    api: &Arc<dyn ApiClient>,
    collection: &'static str,
    filter: impl Into<String>,
    call: Call,
) -> Pager<T> {
    let operation = *call.operation();
    Pager::offset(
        Arc::clone(api),
        operation,
        filter,
        MAX_PAGE,
        move |offset, count| {
            call.clone()
                .query("exclude_fields", format_args!("_links,{collection}._links"))
                .query("count", count)
                .query("offset", offset)
        },
        |response| response.json().map(|page: Listed<T>| (page.items, Extent::Items(page.total_items))),
    )
}

/// The platform's form: whole seconds and an offset in figures.
pub(crate) fn vendor_time(time: Timestamp) -> String {
    let text = Timestamp::from_secs(time.as_secs()).to_string();
    text.trim_end_matches('Z').to_owned() + "+00:00"
}

/// As part of a cursor's filter.
fn filter_time(time: Option<Timestamp>) -> String {
    time.map(vendor_time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_seconds_and_carry_an_offset() {
        let time = Timestamp::from_millis(1_445_434_896_999);
        assert_eq!(vendor_time(time), "2015-10-21T13:41:36+00:00");
    }
}
