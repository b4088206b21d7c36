//! What nearly every program needs: `use martlet::prelude::*;`

pub use martlet_base::{Clock, ConnectionId, Deadline, Delivery, Fault, Recovery, Timestamp};
pub use martlet_core::{ApiClient, Call, Credential, CredentialSource, Error, ErrorKind, Operation, Pager};

#[cfg(feature = "rustls")]
pub use martlet_reqwest::ReqwestTransport;

#[cfg(feature = "hubspot")]
pub use martlet_hubspot::{HubSpot, HubSpotPlan};

#[cfg(feature = "mailchimp")]
pub use martlet_mailchimp::Mailchimp;

#[cfg(feature = "pipeline")]
pub use martlet_pipeline::{Pipeline, ReconcileMode};

#[cfg(feature = "sqlite")]
pub use martlet_sqlite::SqliteStore;
#[cfg(feature = "sqlite")]
pub use martlet_store::Store;
