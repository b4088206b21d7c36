#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod sim;

pub use sim::{SimReply, SimRequest, SimTime, SimWrite, Simulator, WireFault};
