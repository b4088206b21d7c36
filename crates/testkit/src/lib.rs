#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod host;
mod serve;
mod sim;
mod sim_transport;

pub use serve::SimServer;
pub use sim::{SimReply, SimRequest, SimTime, SimWrite, Simulator, WireFault};
pub use sim_transport::SimTransport;
