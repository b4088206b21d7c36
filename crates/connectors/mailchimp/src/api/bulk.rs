use crate::platform::without_addresses;
use crate::{BulkMember, MemberReceipt, MemberStatus, Members, SubscriberHash, operations};
use async_trait::async_trait;
use martlet_core::{BulkLimits, BulkOutcome, BulkWriter, Call, Error, ErrorKind, Response, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How many members one bulk request may hold
/// ([reference](https://mailchimp.com/developer/marketing/api/lists/batch-subscribe-or-unsubscribe/)).
pub const MAX_BULK: usize = 500;

/// How a bulk request treats members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct BulkOptions {
    update_existing: bool,
    sync_tags: bool,
}

impl BulkOptions {
    /// Members who are there already are refused, each with an error of its own.
    pub const fn create_only() -> Self {
        Self { update_existing: false, sync_tags: false }
    }

    /// Members who are there already are brought up to date.
    pub const fn update_existing() -> Self {
        Self { update_existing: true, sync_tags: false }
    }

    /// Whether tags that a member is not sent with are removed from it.
    pub const fn sync_tags(mut self, yes: bool) -> Self {
        self.sync_tags = yes;
        self
    }
}

#[derive(Serialize)]
struct Body<'a> {
    members: &'a [BulkMember],
    update_existing: bool,
    sync_tags: bool,
}

/// Of the members only what is needed: with all their fields the answer is about a megabyte.
#[derive(Deserialize)]
struct Answer {
    new_members: Vec<Applied>,
    updated_members: Vec<Applied>,
    errors: Vec<Refused>,
}

#[derive(Deserialize)]
struct Applied {
    email_address: String,
    #[serde(default)]
    status: MemberStatus,
}

#[derive(Deserialize)]
struct Refused {
    email_address: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_code: Option<String>,
    #[serde(default)]
    field: Option<String>,
}

pub(super) async fn write(
    members: &Members,
    items: &[BulkMember],
    options: BulkOptions,
) -> Result<BulkOutcome<MemberReceipt>> {
    let invalid = |message: String| {
        let platform = members.api.platform().descriptor().id();
        Error::new(ErrorKind::InvalidRequest, message)
            .with_operation(platform, operations::MEMBERS_BULK.name())
    };
    if items.is_empty() {
        return Ok(BulkOutcome::default());
    }
    if items.len() > MAX_BULK {
        return Err(invalid(format!("{} members in one request; the most is {MAX_BULK}", items.len())));
    }
    let mut places = Places::default();
    for (place, item) in items.iter().enumerate() {
        if let Some(first) = places.insert(item.email(), place) {
            return Err(invalid(format!("members {first} and {place} of the request have the same address")));
        }
    }
    let BulkOptions { update_existing, sync_tags } = options;
    let call = Call::new(operations::MEMBERS_BULK).path("list_id", &members.list).json(&Body {
        members: items,
        update_existing,
        sync_tags,
    });
    let response = members.api.execute(call).await?;
    let answer: Answer = response.json()?;
    settle(items, places, answer, &response)
}

/// Where each address is in the request, by the address as the platform compares it.
#[derive(Default)]
struct Places(HashMap<String, usize>);

impl Places {
    fn insert(&mut self, email: &str, place: usize) -> Option<usize> {
        self.0.insert(email.to_lowercase(), place)
    }

    /// Each place is taken once: an address that was not sent, or comes a second time, has none.
    fn take(&mut self, email: &str) -> Option<usize> {
        self.0.remove(&email.to_lowercase())
    }
}

/// Accounts for each member exactly once, or fails.
fn settle(
    items: &[BulkMember],
    mut places: Places,
    answer: Answer,
    response: &Response,
) -> Result<BulkOutcome<MemberReceipt>> {
    let stray = |what: &str| {
        response.error(ErrorKind::Decode, format!("{what} for an address that was not sent, or twice"))
    };
    let (mut ok, mut failed) = (Vec::with_capacity(items.len()), Vec::new());
    let new = answer.new_members.into_iter().map(|applied| (applied, true));
    for (applied, created) in new.chain(answer.updated_members.into_iter().map(|applied| (applied, false))) {
        let place = places.take(&applied.email_address).ok_or_else(|| stray("a member"))?;
        // Ours, not the answer's `id`: the address was just found to be the same.
        let hash = SubscriberHash::of(items[place].email());
        ok.push((place, MemberReceipt::new(hash, applied.status, created)));
    }
    for refused in answer.errors {
        let place = places.take(&refused.email_address).ok_or_else(|| stray("an error"))?;
        failed.push((place, refused.into_error(items[place].email(), response)));
    }
    let unaccounted = places.0.len();
    if unaccounted > 0 {
        let message = format!("the answer says nothing about {unaccounted} of {} members", items.len());
        return Err(response.error(ErrorKind::Decode, message));
    }
    ok.sort_unstable_by_key(|(place, _)| *place);
    failed.sort_unstable_by_key(|(place, _)| *place);
    Ok(BulkOutcome::new(ok, failed))
}

impl Refused {
    fn into_error(self, email: &str, response: &Response) -> Error {
        let code = self.error_code.unwrap_or_default();
        let kind = match code.as_str() {
            "ERROR_CONTACT_EXISTS" => ErrorKind::Conflict,
            _ => ErrorKind::Rejected,
        };
        let text = self.error.unwrap_or_default();
        let mut text = match email {
            "" => text,
            _ => text.replace(email, "(address)").replace(&self.email_address, "(address)"),
        };
        text = without_addresses(&text);
        if let Some(field) = self.field.filter(|field| !field.is_empty()) {
            text.push_str(&format!(" [{field}]"));
        }
        let error = response.error(kind, text);
        if code.is_empty() { error } else { error.with_code(code) }
    }
}

/// Writes members in bulk: give it to [`martlet_core::Bulk`].
#[derive(Clone, Debug)]
pub struct MemberWriter {
    members: Members,
    options: BulkOptions,
}

impl MemberWriter {
    pub(super) const fn new(members: Members, options: BulkOptions) -> Self {
        Self { members, options }
    }
}

#[async_trait]
impl BulkWriter for MemberWriter {
    type Item = BulkMember;
    type Receipt = MemberReceipt;

    fn limits(&self) -> BulkLimits {
        BulkLimits::items(MAX_BULK)
    }

    fn size(&self, item: &BulkMember) -> usize {
        item.size()
    }

    async fn write(&self, items: &[BulkMember]) -> Result<BulkOutcome<MemberReceipt>> {
        self.members.bulk(items, self.options).await
    }
}
