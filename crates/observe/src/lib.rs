#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod class;
mod json_log;
mod record;

pub use class::ErrorClass;
pub use json_log::{InvalidRunId, JsonLog};

/// The [JSON Schema](https://json-schema.org/draft/2020-12) (draft 2020-12) of a line that [`JsonLog`] writes:
/// `schema/log-record.schema.json` of this package. It knows every field and allows no other.
pub const LOG_RECORD_SCHEMA: &str = include_str!("../schema/log-record.schema.json");
