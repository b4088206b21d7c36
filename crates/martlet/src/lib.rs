#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use martlet_base::{
    Clock, ConnectionId, Deadline, Delivery, Fault, ManualClock, Recovery, Rng, Timestamp,
};
#[doc(inline)]
pub use martlet_core::{ApiClient, Call, Client, Credential, Error, ErrorKind, Operation, Pager, Result};

#[doc(inline)]
pub use martlet_base as base;
#[doc(inline)]
pub use martlet_core as core;
#[doc(inline)]
pub use martlet_resilience as resilience;
#[doc(inline)]
pub use martlet_store as store;

#[cfg(feature = "auth")]
#[cfg_attr(docsrs, doc(cfg(feature = "auth")))]
#[doc(inline)]
pub use martlet_auth as auth;
#[cfg(feature = "hubspot")]
#[cfg_attr(docsrs, doc(cfg(feature = "hubspot")))]
#[doc(inline)]
pub use martlet_hubspot as hubspot;
#[cfg(feature = "mailchimp")]
#[cfg_attr(docsrs, doc(cfg(feature = "mailchimp")))]
#[doc(inline)]
pub use martlet_mailchimp as mailchimp;
#[cfg(feature = "observe")]
#[cfg_attr(docsrs, doc(cfg(feature = "observe")))]
#[doc(inline)]
pub use martlet_observe as observe;
#[cfg(feature = "pipeline")]
#[cfg_attr(docsrs, doc(cfg(feature = "pipeline")))]
#[doc(inline)]
pub use martlet_pipeline as pipeline;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
#[doc(inline)]
pub use martlet_sqlite as sqlite;
#[cfg(feature = "webhooks")]
#[cfg_attr(docsrs, doc(cfg(feature = "webhooks")))]
#[doc(inline)]
pub use martlet_webhooks as webhooks;

/// The transport on reqwest: what most programs give to a client's builder.
#[cfg(feature = "rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
#[doc(inline)]
pub use martlet_reqwest::ReqwestTransport;

pub mod prelude;
