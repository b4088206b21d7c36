use crate::Record;
use std::fmt;

/// Turns a source's record into what the destination takes. Pure: no clock, no I/O; the same record gives the same result.
pub trait Transform: fmt::Debug + Send + Sync {
    /// Its name and version, `hubspot-contact-to-member@1`. A change of the mapping changes it, and with it every record is
    /// looked at anew.
    fn id(&self) -> &str;

    /// Maps one record. Records that ask for deletion do not come here.
    fn apply(&self, record: Record) -> Transformed;
}

/// What became of a record in a transform.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Transformed {
    /// It goes on.
    Keep(Record),
    /// It has no place at the destination; the reason is a stable name, `no_address`.
    Skip {
        /// The record's key.
        key: String,
        /// Why.
        reason: &'static str,
    },
}
