#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod classify;
mod transport;

pub use transport::{ReqwestTransport, ReqwestTransportBuilder};
