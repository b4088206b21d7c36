//! With whom a simulation begins.

use crate::MemberStatus;
use std::collections::BTreeMap;

/// Somebody who is in the audience from the beginning.
#[derive(Clone, Debug)]
pub struct SeedMember {
    /// The address.
    pub email: String,
    /// The state.
    pub status: MemberStatus,
    /// The merge fields by tag.
    pub merge_fields: BTreeMap<String, String>,
    /// The tags.
    pub tags: Vec<String>,
    /// Whether the API cannot subscribe this member again ("Member In Compliance State"), although others who opted out it can.
    pub compliance: bool,
}

impl SeedMember {
    /// A member without merge fields.
    #[must_use]
    pub fn new(email: impl Into<String>, status: MemberStatus) -> Self {
        Self {
            email: email.into(),
            status,
            merge_fields: BTreeMap::new(),
            tags: Vec::new(),
            compliance: false,
        }
    }

    /// With a merge field.
    #[must_use]
    pub fn merge_field(mut self, tag: impl Into<String>, value: impl Into<String>) -> Self {
        self.merge_fields.insert(tag.into(), value.into());
        self
    }

    /// With a tag.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>) -> Self {
        self.tags.push(name.into());
        self
    }

    /// One whom the API cannot subscribe again.
    #[must_use]
    pub const fn in_compliance_state(mut self) -> Self {
        self.compliance = true;
        self
    }
}
