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

pub use api::bulk::{ContactWriter, MAX_BATCH};
pub use api::contacts::{Contacts, GetContact, ListContacts};
pub use api::search::{Direction, FilterOperator, SEARCH_CAP, SearchContacts};
pub use client::{HubSpot, HubSpotBuilder, HubSpotPlan};
pub use model::contact::{Contact, ContactId, ContactInput, SearchPage, Upserted};
#[cfg(feature = "pipeline")]
#[cfg_attr(docsrs, doc(cfg(feature = "pipeline")))]
pub use pipeline::ContactSource;
pub use platform::HubSpotPlatform;
