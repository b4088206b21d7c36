use super::{MAX_PAGE, listed, vendor_time};
use crate::{
    AudienceId, BulkMember, BulkOptions, Member, MemberReceipt, MemberStatus, MemberTag, MemberUpsert,
    MemberWriter, SubscriberHash, TagChanges, operations,
};
use martlet_base::Timestamp;
use martlet_core::{ApiClient, BulkOutcome, Call, Extent, Pager, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The members of an audience.
#[derive(Clone, Debug)]
pub struct Members {
    pub(super) api: Arc<dyn ApiClient>,
    pub(super) list: AudienceId,
}

impl Members {
    pub(crate) fn new(api: Arc<dyn ApiClient>, list: AudienceId) -> Self {
        Self { api, list }
    }

    /// Lists them; without a [status](ListMembers::status) all of them, archived ones included.
    pub fn list(&self) -> ListMembers {
        ListMembers {
            members: self.clone(),
            status: None,
            since_last_changed: None,
            fields: None,
            count: MAX_PAGE,
            sort: MemberSort::OptIn,
        }
    }

    /// Reads one, by address or hash.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when it was never there or was deleted for good; archived members are
    /// found.
    pub async fn get(&self, member: impl Into<SubscriberHash>) -> Result<Member> {
        let call = self.one(operations::MEMBERS_GET, member.into()).query("exclude_fields", "_links");
        self.api.execute(call).await?.json()
    }

    /// Creates the member with this address, or brings it up to date.
    ///
    /// # Errors
    /// [`Rejected`](martlet_core::ErrorKind::Rejected) with the vendor's title as
    /// [`code`](martlet_core::Error::code): `Member In Compliance State` (opted out in a way that the API cannot undo),
    /// `Forgotten Email Not Subscribed`, `Invalid Resource`; [`Conflict`](martlet_core::ErrorKind::Conflict) for
    /// `Member Exists` (the address belongs to another member).
    pub async fn upsert(&self, email: &str, member: MemberUpsert) -> Result<Member> {
        let call = self
            .one(operations::MEMBERS_UPSERT, SubscriberHash::of(email))
            .json(&BulkMember::new(email, member));
        self.api.execute(call).await?.json()
    }

    /// Archives a member, by address or hash: it is no longer shown or written to, and can come back.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when it is not there; [`Rejected`](martlet_core::ErrorKind::Rejected)
    /// (405) when it bounced, is pending, or is archived.
    pub async fn archive(&self, member: impl Into<SubscriberHash>) -> Result<()> {
        self.api.execute(self.one(operations::MEMBERS_ARCHIVE, member.into())).await.map(drop)
    }

    /// Lists the tags of a member, by address or hash.
    pub fn tags(&self, member: impl Into<SubscriberHash>) -> Pager<MemberTag> {
        let hash = member.into();
        let filter = format!("list={};member={hash}", self.list);
        listed(&self.api, "tags", filter, self.one(operations::MEMBER_TAGS_LIST, hash))
    }

    /// Gives a member tags and takes some away. Nothing is sent when `changes` is empty.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when the member is not there.
    pub async fn change_tags(&self, member: impl Into<SubscriberHash>, changes: TagChanges) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let call = self.one(operations::MEMBER_TAGS_CHANGE, member.into()).json(&changes);
        self.api.execute(call).await.map(drop)
    }

    /// Creates up to [`MAX_BULK`](crate::MAX_BULK) members in one request, or brings them up to date, and tells each one's fate
    /// in the order of `members`.
    ///
    /// # Errors
    /// When the request failed as a whole; [`InvalidRequest`](martlet_core::ErrorKind::InvalidRequest) before anything is sent
    /// when there are too many members or an address comes twice; [`Decode`](martlet_core::ErrorKind::Decode) when the answer
    /// does not account for each member exactly once: then no member may be taken for applied.
    pub async fn bulk(
        &self,
        members: &[BulkMember],
        options: BulkOptions,
    ) -> Result<BulkOutcome<MemberReceipt>> {
        super::bulk::write(self, members, options).await
    }

    /// A writer for [`martlet_core::Bulk`].
    #[must_use]
    pub fn writer(&self, options: BulkOptions) -> MemberWriter {
        MemberWriter::new(self.clone(), options)
    }

    fn one(&self, operation: martlet_core::Operation, member: SubscriberHash) -> Call {
        Call::new(operation).path("list_id", &self.list).path("subscriber_hash", member)
    }
}

/// In which order members are listed. Paging goes by offset, so what moves in the order while it is read is read twice or
/// not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MemberSort {
    /// By the time of opting in, oldest first: new members come at the end, and a change moves nobody. Only members who leave
    /// (archived, deleted, or out of the status asked for) shift the rest.
    #[default]
    OptIn,
    /// By the time of the last change, latest first: for reading what changed. A member who changes meanwhile shifts the
    /// rest so that some come twice, and is itself found by the next reading with
    /// [`since_last_changed`](ListMembers::since_last_changed).
    LastChanged,
}

/// A listing of members; [`pager`](Self::pager) begins it.
#[derive(Clone, Debug)]
#[must_use]
pub struct ListMembers {
    members: Members,
    status: Option<MemberStatus>,
    since_last_changed: Option<Timestamp>,
    fields: Option<String>,
    count: u64,
    sort: MemberSort,
}

#[derive(Deserialize)]
struct MemberPage {
    members: Vec<Member>,
    total_items: u64,
}

impl ListMembers {
    /// Only those with this status.
    pub fn status(mut self, status: MemberStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Only those who changed at or after this time; it is cut to whole seconds, the platform's own unit.
    pub const fn since_last_changed(mut self, since: Timestamp) -> Self {
        self.since_last_changed = Some(since);
        self
    }

    /// Only these fields of each member, such as `id`, `status` or `merge_fields`; dots lead into objects. All but `_links`
    /// unless said.
    pub fn fields<'f>(mut self, fields: impl IntoIterator<Item = &'f str>) -> Self {
        let mut list = String::from("total_items");
        for field in fields {
            list.push_str(",members.");
            list.push_str(field);
        }
        self.fields = Some(list);
        self
    }

    /// How many come in one page; 1000 unless said, which is the most.
    pub fn count(mut self, count: u64) -> Self {
        self.count = count.clamp(1, MAX_PAGE);
        self
    }

    /// In which order.
    pub const fn sort(mut self, sort: MemberSort) -> Self {
        self.sort = sort;
        self
    }

    /// Begins to read.
    pub fn pager(self) -> Pager<Member> {
        let filter = format!(
            "list={};status={};since={};fields={};count={};sort={:?}",
            self.members.list,
            self.status.as_ref().map_or("", MemberStatus::as_str),
            self.since_last_changed.map(|t| t.to_string()).unwrap_or_default(),
            self.fields.as_deref().unwrap_or(""),
            self.count,
            self.sort,
        );
        Pager::offset(
            Arc::clone(&self.members.api),
            operations::MEMBERS_LIST,
            filter,
            self.count,
            move |offset, count| self.call(offset, count),
            |response| {
                response.json().map(|page: MemberPage| (page.members, Extent::Items(page.total_items)))
            },
        )
    }

    fn call(&self, offset: u64, count: u64) -> Call {
        let (field, direction) = match self.sort {
            MemberSort::OptIn => ("timestamp_opt", "ASC"),
            MemberSort::LastChanged => ("last_changed", "DESC"),
        };
        let call = Call::new(operations::MEMBERS_LIST)
            .path("list_id", &self.members.list)
            .query("count", count)
            .query("offset", offset)
            .query("sort_field", field)
            .query("sort_dir", direction)
            .query_opt("status", self.status.as_ref())
            .query_opt("since_last_changed", self.since_last_changed.map(vendor_time));
        match &self.fields {
            Some(fields) => call.query("fields", fields),
            None => call.query("exclude_fields", "_links,members._links"),
        }
    }
}
