use super::listed;
use crate::{AudienceId, Member, Segment, SegmentKind, operations};
use martlet_core::{ApiClient, Call, Operation, Pager, Result};
use std::sync::Arc;

/// The segments of an audience.
#[derive(Clone, Debug)]
pub struct Segments {
    api: Arc<dyn ApiClient>,
    list: AudienceId,
}

impl Segments {
    pub(crate) fn new(api: Arc<dyn ApiClient>, list: AudienceId) -> Self {
        Self { api, list }
    }

    /// Lists them all, static ones (tags) included.
    pub fn list(&self) -> Pager<Segment> {
        let filter = format!("list={}", self.list);
        listed(&self.api, "segments", filter, self.call(operations::SEGMENTS_LIST))
    }

    /// Lists those of one kind.
    pub fn list_of(&self, kind: &SegmentKind) -> Pager<Segment> {
        let filter = format!("list={};type={kind}", self.list);
        listed(&self.api, "segments", filter, self.call(operations::SEGMENTS_LIST).query("type", kind))
    }

    /// Reads one, by its number.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is none.
    pub async fn get(&self, segment: u64) -> Result<Segment> {
        let call = self.call(operations::SEGMENTS_GET).path("segment_id", segment);
        self.api.execute(call.query("exclude_fields", "_links")).await?.json()
    }

    /// Lists the members of one, by its number. Paging goes by offset: members who leave it meanwhile shift the rest.
    pub fn members(&self, segment: u64) -> Pager<Member> {
        let filter = format!("list={};segment={segment}", self.list);
        let call = self.call(operations::SEGMENT_MEMBERS_LIST).path("segment_id", segment);
        listed(&self.api, "members", filter, call)
    }

    fn call(&self, operation: Operation) -> Call {
        Call::new(operation).path("list_id", &self.list)
    }
}
