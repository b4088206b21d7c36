#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod auth;
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

pub use api::audiences::{AudienceApi, Audiences};
#[cfg(feature = "batches")]
#[cfg_attr(docsrs, doc(cfg(feature = "batches")))]
pub use api::batches::{Batches, MAX_BATCH};
pub use api::bulk::{BulkOptions, MAX_BULK, MemberWriter};
pub use api::campaigns::{Campaigns, ListCampaigns};
pub use api::members::{ListMembers, MemberSort, Members};
pub use api::reports::Reports;
pub use api::segments::Segments;
pub use api::shops::{ShopApi, Shops};
pub use client::{Mailchimp, MailchimpBuilder};
pub use model::audience::{
    Audience, AudienceId, AudienceStats, MergeField, MergeFieldType, MergeFieldUpdate,
};
#[cfg(feature = "batches")]
#[cfg_attr(docsrs, doc(cfg(feature = "batches")))]
pub use model::batch::{Batch, BatchOperation, BatchResult, BatchStatus};
pub use model::campaign::{Campaign, CampaignRecipients, CampaignSettings, CampaignStatus};
pub use model::hash::{InvalidHash, SubscriberHash};
pub use model::member::{
    BulkMember, Member, MemberReceipt, MemberStatus, MemberTag, MemberUpsert, TagChanges,
};
pub use model::report::{Activity, Bounces, Clicks, EmailActivity, Opens, Report, Unsubscribe};
pub use model::segment::{Segment, SegmentKind};
pub use model::shop::{Customer, Order, OrderLine, Product, ProductVariant, Shop};
#[cfg(feature = "pipeline")]
#[cfg_attr(docsrs, doc(cfg(feature = "pipeline")))]
pub use pipeline::{AudienceDestination, AudienceOptions, MemberMapping, MemberTransform};
pub use platform::MailchimpPlatform;
