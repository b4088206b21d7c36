#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod canary;
mod cassette;
pub mod conformance;
mod disguise;
mod fault_plan;
mod host;
mod quota_use;
mod rate_window;
mod scripted;
mod serve;
mod sim;
mod sim_transport;

pub use canary::Canary;
pub use cassette::{Cassette, CassetteBuilder, CassetteError, CassetteMode, CassetteTransport, Drift};
pub use fault_plan::{FaultKind, FaultPlan, Faults};
pub use quota_use::QuotaUse;
pub use rate_window::{Arrival, RateWindow};
pub use scripted::{RecordedRequest, Script, ScriptedTransport};
pub use serve::SimServer;
pub use sim::{SimReply, SimRequest, SimTime, SimWrite, Simulator, WireFault};
pub use sim_transport::SimTransport;
