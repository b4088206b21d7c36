//! The members: who they are, and by which rules that changes.

use super::fields::merge_value;
use super::refusal::{NOT_VALIDATED, check_address, member_exists};
use super::{Audience, COUNTS, MOVED, Refusal, Shown};
use crate::sim::fields::View;
use crate::{MemberStatus, SubscriberHash};
use martlet_base::Timestamp;
use martlet_testkit::SimWrite;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A member as it is kept and stored: short names, because there may be 200,000.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    /// The order of creation.
    #[serde(rename = "n")]
    pub(super) seq: u64,
    #[serde(rename = "e")]
    pub(super) email: Box<str>,
    #[serde(rename = "s")]
    pub(super) status: MemberStatus,
    /// Merge field by number; an object as its JSON text.
    #[serde(rename = "m")]
    pub(super) merge: Vec<(u16, Box<str>)>,
    /// Tags by the number of their segment, and since when.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<(u32, i64)>,
    /// Seconds since the Unix epoch; 0 when it never opted in.
    #[serde(rename = "o")]
    pub(super) opt_in: i64,
    #[serde(rename = "c")]
    pub(super) changed: i64,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) compliance: bool,
    /// Whether it had opted out or bounced when it was archived.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) archived_closed: bool,
    /// Deleted for good.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) forgotten: bool,
}

impl Stored {
    pub(super) fn has_tag(&self, id: u32) -> bool {
        self.tags.iter().any(|(tag, _)| *tag == id)
    }

    /// Whether it is in a segment: those who cannot be written to are left out (unconfirmed).
    pub(super) fn is_in(&self, segment: u32) -> bool {
        let away = matches!(self.status, MemberStatus::Archived | MemberStatus::Transactional);
        !self.forgotten && !away && !is_closed(&self.status) && self.has_tag(segment)
    }
}

/// What a write asks for.
#[derive(Debug, Default, Deserialize)]
pub(in crate::sim) struct MemberBody {
    #[serde(default)]
    pub(in crate::sim) email_address: Option<String>,
    #[serde(default)]
    pub(in crate::sim) status: Option<String>,
    #[serde(default)]
    pub(in crate::sim) status_if_new: Option<String>,
    #[serde(default)]
    pub(in crate::sim) merge_fields: Map<String, Value>,
}

/// Which members to list.
#[derive(Debug, Default)]
pub(in crate::sim) struct Listing {
    pub(in crate::sim) status: Option<String>,
    /// Only those in this segment who can be written to.
    pub(in crate::sim) segment: Option<u32>,
    pub(in crate::sim) since_last_changed: Option<Timestamp>,
    pub(in crate::sim) by_change: bool,
    pub(in crate::sim) descending: bool,
    pub(in crate::sim) offset: usize,
    pub(in crate::sim) count: usize,
}

impl Audience {
    pub(super) fn find(&self, hash: SubscriberHash) -> Option<&Stored> {
        let place = *self.places.get(&hash)?;
        Some(&self.members[place as usize]).filter(|member| !member.forgotten)
    }

    /// A member, archived ones included.
    pub(in crate::sim) fn member<'s>(
        &'s self,
        hash: SubscriberHash,
        see: &'s View<'s>,
    ) -> Result<Shown<'s>, Refusal> {
        let member = self.find(hash).ok_or_else(Refusal::not_found)?;
        Ok(Shown { audience: self, hash, member, see })
    }

    /// A page, and how many there are in all.
    pub(in crate::sim) fn list<'s>(
        &'s self,
        listing: &Listing,
        see: &'s View<'s>,
    ) -> (Vec<Shown<'s>>, usize) {
        let since = listing.since_last_changed.map(Timestamp::as_secs);
        let mut chosen: Vec<(i64, u64, &Stored)> = self
            .members
            .iter()
            .filter(|member| !member.forgotten)
            .filter(|member| listing.status.as_ref().is_none_or(|status| member.status.as_str() == status))
            .filter(|member| listing.segment.is_none_or(|id| member.is_in(id)))
            .filter(|member| since.is_none_or(|since| member.changed >= since))
            .map(|member| {
                (if listing.by_change { member.changed } else { member.opt_in }, member.seq, member)
            })
            .collect();
        // By sequence where the times are equal: the same question gives the same order.
        chosen.sort_by_key(|(time, seq, _)| (*time, *seq));
        if listing.descending {
            chosen.reverse();
        }
        let page = chosen.iter().skip(listing.offset).take(listing.count);
        let page = page.map(|(_, _, member)| {
            let hash = SubscriberHash::of(&member.email);
            Shown { audience: self, hash, member, see }
        });
        (page.collect(), chosen.len())
    }

    /// Creates or changes the member under `hash`, and tells whether it is new. `hash` is that of the address unless the
    /// address shall change.
    pub(in crate::sim) fn write(
        &mut self,
        hash: SubscriberHash,
        body: &MemberBody,
        now: Timestamp,
    ) -> Result<(bool, SubscriberHash, Vec<SimWrite>), Refusal> {
        let merge = self.merge_of(&body.merge_fields)?;
        if let Some(email) = body.email_address.as_deref() {
            check_address(email)?;
        }
        // An archived member counts as new when it comes back (unconfirmed).
        let known = self.find(hash).filter(|member| member.status != MemberStatus::Archived).cloned();
        let counts = self.counts;
        let (created, mut member) = match known.clone() {
            Some(member) => (false, member),
            None => (true, self.fresh(hash, body, now)?),
        };
        let was_closed = if created { member.archived_closed } else { is_closed(&member.status) };
        let wanted = body.status.as_deref().or(body.status_if_new.as_deref().filter(|_| created));
        if created && wanted.is_none() {
            return Err(
                Refusal::invalid(NOT_VALIDATED).field("status_if_new", "This value should not be blank.")
            );
        }
        if let Some(wanted) = wanted.map(MemberStatus::from) {
            self.set_status(&mut member, wanted, was_closed, now)?;
        }
        let mut at = hash;
        if let Some(email) = body.email_address.as_deref() {
            at = SubscriberHash::of(email);
            if at != hash && self.find(at).is_some() {
                return Err(member_exists(email));
            }
            member.email = email.into();
        }
        for (id, value) in merge {
            member.merge.retain(|(known, _)| *known != id);
            if !value.is_empty() {
                member.merge.push((id, value.into()));
            }
        }
        if let Some(known) = known {
            self.count_upsert(&known, &member);
        }
        member.changed = now.as_secs();
        let mut writes = vec![SimWrite::put(format!("{}/{at}", self.id), json_of(&member))];
        if self.counts != counts {
            let value = serde_json::to_vec(&self.counts).expect("numbers serialise");
            writes.push(SimWrite::put(format!("{}/{COUNTS}", self.id), value));
        }
        if at != hash {
            self.unlink(hash);
            writes.push(SimWrite::put(format!("{}/{hash}", self.id), MOVED));
        }
        self.put(at, member);
        Ok((created, at, writes))
    }

    fn count_upsert(&mut self, before: &Stored, after: &Stored) {
        let content = |member: &Stored| {
            let mut merge = member.merge.clone();
            merge.sort_unstable();
            (member.email.clone(), member.status.clone(), merge)
        };
        if content(before) == content(after) {
            self.repeats += 1;
        } else if self.field(&self.key_field).is_some_and(|field| merge_value(before, field).is_some()) {
            self.counts.rewrites += 1;
        }
    }

    /// A member that is not there, or only in the archive.
    fn fresh(&self, hash: SubscriberHash, body: &MemberBody, now: Timestamp) -> Result<Stored, Refusal> {
        let Some(email) = body.email_address.as_deref() else { return Err(Refusal::not_found()) };
        let place = self.places.get(&hash);
        let before = place.map(|place| &self.members[*place as usize]);
        if before.is_some_and(|before| before.forgotten) {
            let detail = format!(
                "{email} was permanently deleted and cannot be re-imported. The contact must re-subscribe to get \
                 back on the list."
            );
            return Err(Refusal::new(400, "Forgotten Email Not Subscribed", detail));
        }
        Ok(Stored {
            seq: before.map_or(self.members.len() as u64, |before| before.seq),
            email: email.into(),
            status: MemberStatus::Archived,
            merge: before.map(|before| before.merge.clone()).unwrap_or_default(),
            tags: before.map(|before| before.tags.clone()).unwrap_or_default(),
            opt_in: now.as_secs(),
            changed: now.as_secs(),
            compliance: before.is_some_and(|before| before.compliance),
            archived_closed: before.is_some_and(|before| before.archived_closed),
            forgotten: false,
        })
    }

    fn set_status(
        &mut self,
        member: &mut Stored,
        wanted: MemberStatus,
        was_closed: bool,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if matches!(wanted, MemberStatus::Other(_) | MemberStatus::Archived) {
            return Err(Refusal::invalid(NOT_VALIDATED)
                .field("status", "The value you selected is not a valid choice."));
        }
        let opens = matches!(wanted, MemberStatus::Subscribed | MemberStatus::Pending);
        if opens && was_closed {
            if member.status == MemberStatus::Cleaned || member.compliance {
                let detail = format!(
                    "{} is already a list member in compliance state due to unsubscribe, bounce, or compliance \
                     review and cannot be subscribed.",
                    member.email
                );
                return Err(Refusal::new(400, "Member In Compliance State", detail));
            }
            self.counts.resubscribed += 1;
        }
        if wanted == MemberStatus::Subscribed && member.status != MemberStatus::Subscribed {
            member.opt_in = now.as_secs();
        }
        member.archived_closed = false;
        member.status = wanted;
        Ok(())
    }

    /// Archives a member.
    pub(in crate::sim) fn archive(
        &mut self,
        hash: SubscriberHash,
        now: Timestamp,
    ) -> Result<SimWrite, Refusal> {
        let mut member = self.find(hash).ok_or_else(Refusal::not_found)?.clone();
        if matches!(member.status, MemberStatus::Cleaned | MemberStatus::Pending | MemberStatus::Archived) {
            let detail = "This list member cannot be removed. Can not archive a contact that is bounced, pending or \
                          archived";
            return Err(Refusal::new(405, "Method Not Allowed", detail));
        }
        member.archived_closed = is_closed(&member.status);
        member.status = MemberStatus::Archived;
        member.changed = now.as_secs();
        Ok(self.replace(hash, member))
    }

    /// Deletes a member for good.
    pub(in crate::sim) fn forget(
        &mut self,
        hash: SubscriberHash,
        now: Timestamp,
    ) -> Result<SimWrite, Refusal> {
        let mut member = self.find(hash).ok_or_else(Refusal::not_found)?.clone();
        member.forgotten = true;
        (member.merge, member.tags) = (Vec::new(), Vec::new());
        member.changed = now.as_secs();
        Ok(self.replace(hash, member))
    }

    pub(super) fn replace(&mut self, hash: SubscriberHash, member: Stored) -> SimWrite {
        let write = SimWrite::put(format!("{}/{hash}", self.id), json_of(&member));
        self.put(hash, member);
        write
    }

    /// Whether somebody is there who is not archived.
    pub(in crate::sim) fn is_present(&self, hash: SubscriberHash) -> bool {
        self.find(hash).is_some_and(|member| member.status != MemberStatus::Archived)
    }
}

fn is_closed(status: &MemberStatus) -> bool {
    matches!(status, MemberStatus::Unsubscribed | MemberStatus::Cleaned)
}

fn json_of(member: &Stored) -> Vec<u8> {
    serde_json::to_vec(member).expect("a member serialises")
}
