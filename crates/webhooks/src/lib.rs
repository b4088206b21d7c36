#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod dedup;
mod error;
mod extract;
mod handshake;
mod key;
pub mod providers;
mod recipe;
mod request;
mod sign;
mod url;
mod verified;
mod verify;

pub use dedup::{Dedup, DedupKey, DedupQuality};
pub use error::{ConfigError, VerifyError};
pub use handshake::{Handshake, HandshakeReply};
pub use key::{Key, KeyRing};
pub use providers::{Evidence, Provider, Scheme};
pub use recipe::{Algorithm, Encoding, Field, KeyFormat, Part, Recipe, Require, Stamp, Text, Unit, UrlForm};
pub use request::{Incoming, PublicUrl};
pub use sign::{Outgoing, SignError, Signed, Signer};
#[cfg(feature = "gzip")]
pub use verified::DecompressError;
pub use verified::{Coverage, Strength, Verified};
pub use verify::{Credential, DEFAULT_MAX_BODY, Tolerance, Verifier};
