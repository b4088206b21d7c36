#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod endpoint;
#[cfg(doctest)]
mod forbidden;
mod refresh;
mod seal;
mod store;
mod tokens;

pub use config::{AuthStyle, OAuth2Config, OAuth2ConfigBuilder};
pub use refresh::{OAuth2, RefreshTokenSource};
pub use seal::{NoSeal, Seal, SealError};
pub use store::TokenStore;
pub use tokens::Tokens;
