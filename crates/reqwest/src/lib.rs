#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod classify;
mod proxy;
mod transport;

pub use proxy::Proxy;
pub use transport::{ReqwestTransport, ReqwestTransportBuilder};
