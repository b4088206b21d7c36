//! The pipeline adapter: contacts become members of an audience.

mod consent;
mod destination;
mod mapping;

pub use destination::{AudienceDestination, AudienceOptions};
pub use mapping::{MemberMapping, MemberTransform};
