#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod bulk;
mod cache;
mod call;
mod client;
mod credential;
mod error;
#[cfg(doctest)]
mod forbidden;
mod layer;
mod operation;
mod pager;
mod patch;
mod platform;
mod request;
mod response;
pub mod spill;
mod transport;

pub use body::Body;
pub use bulk::{Bulk, BulkLimits, BulkOutcome, BulkWriter};
pub use cache::{CacheForward, CacheRule, CacheStatus};
pub use call::{Call, IdempotencyKey};
pub use client::{ApiClient, CheckReport, Client, ClientBuilder, SharedState, StoreQuota};
pub use credential::{
    Authenticator, Credential, CredentialError, CredentialSource, HeaderAuthenticator, IssueContext, Issued,
    Secret,
};
pub use error::{Error, ErrorKind, Result};
pub use layer::{Layer, Next};
pub use operation::{Idempotency, KeyStyle, Operation, Verb};
pub use pager::{Cursor, Extent, Page, Pager, Pages, Paging, Position};
pub use patch::Patch;
pub use platform::{Descriptor, LimitSpec, Platform, QuotaUpdate, VendorFault, Verdict};
pub use request::{CallContext, Request};
pub use response::{Response, ResponseMeta};
pub use transport::{BodyStream, SendContext, Transport, TransportError, TransportErrorKind, WireRequest};

/// How platforms tell the rest of a quota: what [`Descriptor::quota_headers`] takes.
pub use martlet_resilience::quota_headers;

/// What other crates of the family need from below, so that a connector depends on this crate alone.
pub use martlet_base as base;
pub use martlet_resilience as resilience;
pub use martlet_store as store;
