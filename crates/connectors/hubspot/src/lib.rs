#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod client;
mod model;
pub mod operations;
#[cfg(feature = "pipeline")]
#[cfg_attr(docsrs, doc(cfg(feature = "pipeline")))]
mod pipeline;
mod platform;
#[cfg(feature = "sim")]
#[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
pub mod sim;

pub use api::associations::{Associations, MAX_ASSOCIATIONS};
pub use api::bulk::{MAX_BATCH, UpsertWriter};
pub use api::contacts::{ContactWriter, Contacts, GetContact, ListContacts, SearchContacts};
pub use api::events::{Events, MAX_EVENTS};
pub use api::lists::Lists;
pub use api::objects::{GetObject, ListObjects, Objects};
pub use api::owners::ListOwners;
pub use api::properties::Properties;
pub use api::search::{Direction, FilterOperator, SEARCH_CAP, SearchObjects};
pub use api::subscriptions::Subscriptions;
pub use client::{HubSpot, HubSpotBuilder, HubSpotPlan};
pub use model::association::{Association, AssociationType};
pub use model::contact::{Contact, ContactId, ContactInput, ContactKind, Upserted};
pub use model::event::EventOccurrence;
pub use model::list::{List, ListMember, MembershipChange};
pub use model::object::{
    CrmObject, ObjectId, ObjectType, PropertyValues, SearchPage, UpsertInput, UpsertedObject,
};
pub use model::owner::{Owner, Team};
pub use model::plain::{Company, CompanyId, CompanyInput, CompanyKind, Deal, DealId, DealInput, DealKind};
pub use model::property::{NewProperty, Property, PropertyOption};
pub use model::subscription::{LegalBasis, SubscriptionState, SubscriptionStatus};
#[cfg(feature = "pipeline")]
#[cfg_attr(docsrs, doc(cfg(feature = "pipeline")))]
pub use pipeline::ContactSource;
pub use platform::HubSpotPlatform;
