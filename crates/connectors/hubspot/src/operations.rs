//! The endpoints this crate knows, as [`Operation`]s: what they are called in logs and metrics, and whether they may be
//! sent again. Use them with [`HubSpot::client`](crate::HubSpot::client) for what the typed API does not cover.
//!
//! The ones at the top are those of [`contacts`]; the other objects have the same in modules of their own.

use martlet_core::{CacheRule, Idempotency, Operation};
use std::time::Duration;

/// The quota bucket that searches take from beside the default one.
pub const SEARCH_BUCKET: &str = "search";

/// The endpoints of one type of CRM objects.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ObjectOperations {
    /// One page, in the order of ids.
    pub list: Operation,
    /// One object.
    pub get: Operation,
    /// One page of what matches a filter.
    pub search: Operation,
    /// A new object.
    pub create: Operation,
    /// Changes to one object.
    pub update: Operation,
    /// Up to 100 objects by id.
    pub batch_read: Operation,
    /// Up to 100 objects, created or updated.
    pub batch_upsert: Operation,
    /// One object into the recycle bin.
    pub archive: Operation,
    /// Up to 100 objects into the recycle bin.
    pub batch_archive: Operation,
}

macro_rules! object_operations {
    ($type:ident, $about:literal) => {
        #[doc = $about]
        pub mod $type {
            use super::{Idempotency, ObjectOperations, Operation, SEARCH_BUCKET};

            macro_rules! name {
                ($verb:literal) => {
                    concat!(stringify!($type), ".", $verb)
                };
            }
            macro_rules! path {
                ($rest:literal) => {
                    concat!("/crm/{version}/objects/", stringify!($type), $rest)
                };
            }

            /// One page of them, in the order of their ids.
            pub const LIST: Operation = Operation::get(name!("list"), path!(""));

            /// One of them by id, or by a unique property (`idProperty`).
            pub const GET: Operation = Operation::get(name!("get"), path!("/{id}"));

            /// One page of those that match a filter. A POST that changes nothing.
            pub const SEARCH: Operation = Operation::post(name!("search"), path!("/search"))
                .idempotency(Idempotency::Safe)
                .quota(SEARCH_BUCKET);

            /// A new one. Sent twice it makes two, unless a property that must be unique forbids it.
            pub const CREATE: Operation =
                Operation::post(name!("create"), path!("")).idempotency(Idempotency::Unsafe);

            /// Sets and clears properties of one of them: sent twice it has the effect of once.
            pub const UPDATE: Operation =
                Operation::patch(name!("update"), path!("/{id}")).idempotency(Idempotency::Idempotent);

            /// Up to 100 of them by id. A POST that changes nothing.
            pub const BATCH_READ: Operation =
                Operation::post(name!("batch_read"), path!("/batch/read")).idempotency(Idempotency::Safe);

            /// Creates or updates up to 100 of them, each found by a unique property: sent twice it has the effect of once.
            pub const BATCH_UPSERT: Operation =
                Operation::post(name!("batch_upsert"), path!("/batch/upsert"))
                    .idempotency(Idempotency::Idempotent);

            /// Moves one of them to the recycle bin.
            pub const ARCHIVE: Operation = Operation::delete(name!("archive"), path!("/{id}"));

            /// Moves up to 100 of them to the recycle bin; ids that are there already are no error.
            pub const BATCH_ARCHIVE: Operation =
                Operation::post(name!("batch_archive"), path!("/batch/archive"))
                    .idempotency(Idempotency::Idempotent);

            /// All of them by name.
            pub const OBJECTS: ObjectOperations = ObjectOperations {
                list: LIST,
                get: GET,
                search: SEARCH,
                create: CREATE,
                update: UPDATE,
                batch_read: BATCH_READ,
                batch_upsert: BATCH_UPSERT,
                archive: ARCHIVE,
                batch_archive: BATCH_ARCHIVE,
            };

            /// All of them.
            pub const ALL: &[Operation] =
                &[LIST, GET, SEARCH, CREATE, UPDATE, BATCH_READ, BATCH_UPSERT, ARCHIVE, BATCH_ARCHIVE];
        }
    };
}

object_operations!(contacts, "Contacts.");
object_operations!(companies, "Companies.");
object_operations!(deals, "Deals.");

pub use contacts::{ARCHIVE, BATCH_ARCHIVE, BATCH_READ, BATCH_UPSERT, CREATE, GET, LIST, SEARCH, UPDATE};

/// Reference data. What the platform says about caching is unconfirmed; it is not made to be asked for each record.
const fn reference(tag: &'static str) -> CacheRule {
    CacheRule::reference_data(Duration::from_secs(300), tag).ignoring_headers()
}

/// The definitions of the properties of objects: reference data.
pub mod properties {
    use super::{Idempotency, Operation, reference};

    /// The cache tag of definitions, of all types of objects: a new property makes them stale.
    pub const TAG: &str = "hubspot-properties";

    /// All properties of a type of objects. Reference data, until one is created here.
    pub const LIST: Operation =
        Operation::get("properties.list", "/crm/{version}/properties/{objectType}").cacheable(reference(TAG));

    /// One property of a type of objects. Reference data as well.
    pub const GET: Operation =
        Operation::get("properties.get", "/crm/{version}/properties/{objectType}/{name}")
            .cacheable(reference(TAG));

    /// A new property. Sent twice it fails the second time: nothing tells whether it was there before.
    pub const CREATE: Operation =
        Operation::post("properties.create", "/crm/{version}/properties/{objectType}")
            .idempotency(Idempotency::Unsafe)
            .invalidates(TAG);

    /// All of them.
    pub const ALL: &[Operation] = &[LIST, GET, CREATE];
}

/// The people to whom objects are assigned.
pub mod owners {
    use super::Operation;

    /// One page of them.
    pub const LIST: Operation = Operation::get("owners.list", "/crm/{version}/owners");

    /// All of them.
    pub const ALL: &[Operation] = &[LIST];
}

/// Which objects belong together. Version 4: older ones do not tell the labels.
pub mod associations {
    use super::{Idempotency, Operation};

    /// What up to 1,000 objects are associated with. A POST that changes nothing.
    pub const BATCH_READ: Operation =
        Operation::post("associations.batch_read", "/crm/v4/associations/{from}/{to}/batch/read")
            .idempotency(Idempotency::Safe);

    /// All of them.
    pub const ALL: &[Operation] = &[BATCH_READ];
}

/// Lists of objects, and who is on them.
pub mod lists {
    use super::{Idempotency, Operation, reference};

    /// The cache tag of lists, without who is on them.
    pub const TAG: &str = "hubspot-lists";

    /// Lists by a part of their name. A POST that changes nothing.
    pub const SEARCH: Operation =
        Operation::post("lists.search", "/crm/{version}/lists/search").idempotency(Idempotency::Safe);

    /// One list. Reference data.
    pub const GET: Operation =
        Operation::get("lists.get", "/crm/{version}/lists/{listId}").cacheable(reference(TAG));

    /// One page of the objects on a list.
    pub const MEMBERSHIPS: Operation =
        Operation::get("lists.memberships", "/crm/{version}/lists/{listId}/memberships");

    /// Puts objects on a list; those that are on it already stay.
    pub const ADD: Operation = Operation::put("lists.add", "/crm/{version}/lists/{listId}/memberships/add");

    /// Takes objects off a list; those that are not on it are no error.
    pub const REMOVE: Operation =
        Operation::put("lists.remove", "/crm/{version}/lists/{listId}/memberships/remove");

    /// All of them.
    pub const ALL: &[Operation] = &[SEARCH, GET, MEMBERSHIPS, ADD, REMOVE];
}

/// What people let the account send them. Version 4.
pub mod subscriptions {
    use super::{Idempotency, Operation};

    /// All of a person's subscriptions.
    pub const GET: Operation =
        Operation::get("subscriptions.get", "/communication-preferences/v4/statuses/{subscriber}");

    /// Ends a subscription: sent twice it has the effect of once.
    pub const UNSUBSCRIBE: Operation =
        Operation::post("subscriptions.unsubscribe", "/communication-preferences/v4/statuses/{subscriber}")
            .idempotency(Idempotency::Idempotent);

    /// Begins a subscription. Never sent again when the fate of the first sending is unknown: by then the person may have
    /// ended it, and the second sending would begin it against their will.
    pub const SUBSCRIBE: Operation =
        Operation::post("subscriptions.subscribe", "/communication-preferences/v4/statuses/{subscriber}")
            .idempotency(Idempotency::Unsafe);

    /// All of them.
    pub const ALL: &[Operation] = &[GET, UNSUBSCRIBE, SUBSCRIBE];
}

/// Occurrences of the account's own events.
pub mod events {
    use super::{Idempotency, Operation};

    /// One occurrence. Sent twice it may count twice: whether HubSpot looks at its `uuid` is unconfirmed.
    pub const SEND: Operation =
        Operation::post("events.send", "/events/{version}/send").idempotency(Idempotency::Unsafe);

    /// Up to 500 occurrences. The same.
    pub const SEND_BATCH: Operation =
        Operation::post("events.send_batch", "/events/{version}/send/batch").idempotency(Idempotency::Unsafe);

    /// All of them.
    pub const ALL: &[Operation] = &[SEND, SEND_BATCH];
}

/// All endpoints, of everything.
pub const ALL: &[Operation] = &joined::<COUNT>();

const PARTS: &[&[Operation]] = &[
    contacts::ALL,
    companies::ALL,
    deals::ALL,
    properties::ALL,
    owners::ALL,
    associations::ALL,
    lists::ALL,
    subscriptions::ALL,
    events::ALL,
];

const COUNT: usize = {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

const fn joined<const N: usize>() -> [Operation; N] {
    let mut all = [contacts::LIST; N];
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut place = 0;
        while place < PARTS[part].len() {
            all[count] = PARTS[part][place];
            count += 1;
            place += 1;
        }
        part += 1;
    }
    all
}
