//! The audience of the simulator: who is in it, and the rules by which that changes.

mod fields;
mod members;
mod refusal;
mod seed;
mod shown;
mod tags;

pub(super) use fields::{Field, FieldBody};
pub(super) use members::{Listing, MemberBody};
pub(super) use refusal::{Refusal, check_address, member_exists};
pub use seed::SeedMember;
pub(super) use shown::Shown;
pub(super) use tags::{Segment, TagsBody};

use super::SimStats;
use crate::{MemberStatus, SubscriberHash};
use fields::merge_value;
use martlet_base::Timestamp;
use members::Stored;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

#[derive(Debug)]
pub(super) struct Audience {
    pub(super) id: String,
    pub(super) name: String,
    fields: Vec<Field>,
    /// The number of the last merge field that was created: none comes twice.
    last_field: u16,
    segments: Vec<Segment>,
    members: Vec<Stored>,
    places: HashMap<SubscriberHash, u32>,
    /// The tag of the merge field that holds the source's key.
    key_field: String,
    counts: Counts,
    repeats: u64,
}

/// What never happens with a good client. It is stored, so that a restart does not hide it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    resubscribed: u64,
    rewrites: u64,
}

/// Since when the members are there with whom it begins. A fixed past: the same seed gives the same audience.
const SEEDED: i64 = 1_600_000_000;

/// Under this name the counts are stored.
const COUNTS: &str = "counts";

/// What is stored under the hash of an address that was given up.
const MOVED: &[u8] = b"null";

impl Audience {
    pub(super) fn new(id: &str, name: &str, key_field: &str, seed: Vec<SeedMember>) -> Self {
        let defaults = [
            ("ADDRESS", "Address", "address"),
            ("BIRTHDAY", "Birthday", "birthday"),
            ("FNAME", "First Name", "text"),
            ("LNAME", "Last Name", "text"),
            ("PHONE", "Phone Number", "phone"),
        ];
        let mut audience = Self {
            id: id.to_owned(),
            name: name.to_owned(),
            fields: Vec::new(),
            last_field: 0,
            segments: Vec::new(),
            members: Vec::with_capacity(seed.len()),
            places: HashMap::with_capacity(seed.len()),
            key_field: key_field.to_owned(),
            counts: Counts::default(),
            repeats: 0,
        };
        for (tag, name, kind) in defaults {
            audience.add_field(tag, name, kind);
        }
        for member in seed {
            for tag in member.merge_fields.keys() {
                if audience.field(tag).is_none() {
                    audience.add_field(tag, tag, "text");
                }
            }
            let tags = member.tags.iter().map(|tag| (audience.tag(tag, SEEDED).0, SEEDED)).collect();
            let merge = member
                .merge_fields
                .iter()
                .filter_map(|(tag, value)| Some((audience.field(tag)?.merge_id, value.as_str().into())));
            let opted_in = !matches!(member.status, MemberStatus::Pending | MemberStatus::Transactional);
            let stored = Stored {
                seq: audience.members.len() as u64,
                merge: merge.collect(),
                tags,
                email: member.email.into(),
                status: member.status,
                opt_in: if opted_in { SEEDED } else { 0 },
                changed: SEEDED,
                compliance: member.compliance,
                archived_closed: false,
                forgotten: false,
            };
            audience.put(SubscriberHash::of(&stored.email), stored);
        }
        audience
    }

    fn put(&mut self, hash: SubscriberHash, stored: Stored) -> usize {
        if let Some(&place) = self.places.get(&hash) {
            self.members[place as usize] = stored;
            return place as usize;
        }
        let place = self.members.len();
        self.places.insert(hash, u32::try_from(place).expect("a simulated audience fits in memory"));
        self.members.push(stored);
        place
    }

    /// Takes back what was stored.
    pub(super) fn restore(&mut self, key: &str, value: &[u8]) {
        let Some((list, name)) = key.split_once('/') else { return };
        if list != self.id {
            return;
        }
        if name == COUNTS {
            self.counts = serde_json::from_slice(value).unwrap_or_default();
            return;
        }
        match name.parse::<SubscriberHash>() {
            Ok(hash) if value == MOVED => self.unlink(hash),
            Ok(hash) => {
                if let Ok(stored) = serde_json::from_slice(value) {
                    self.put(hash, stored);
                }
            }
            Err(_) => self.restore_part(name, value),
        }
    }

    /// Takes back a merge field, its end, or a segment.
    fn restore_part(&mut self, name: &str, value: &[u8]) {
        if let Some(id) = name.strip_prefix("field.").and_then(|id| id.parse::<u16>().ok()) {
            self.last_field = self.last_field.max(id);
            let field = serde_json::from_slice::<Option<Field>>(value).ok().flatten();
            let place = self.fields.iter().position(|field| field.merge_id == id);
            match (place, field) {
                (Some(place), Some(field)) => self.fields[place] = field,
                (Some(place), None) => drop(self.fields.remove(place)),
                // A seed may have made it in the meantime, under another number.
                (None, field) => self.fields.extend(field.filter(|field| self.field(&field.tag).is_none())),
            }
        } else if let Ok(segment) = serde_json::from_slice::<Segment>(value) {
            match self.segments.iter_mut().find(|known| known.id == segment.id) {
                Some(known) => *known = segment,
                None => self.segments.push(segment),
            }
        }
    }

    /// Nobody is under this hash any more: the address changed.
    fn unlink(&mut self, hash: SubscriberHash) {
        if let Some(place) = self.places.remove(&hash) {
            self.members[place as usize].forgotten = true;
        }
    }

    pub(super) fn stats(&self) -> SimStats {
        let mut stats = SimStats {
            resubscribed: self.counts.resubscribed,
            rewrites: self.counts.rewrites,
            repeats: self.repeats,
            ..SimStats::default()
        };
        let (key, mut keys) = (self.field(&self.key_field), HashSet::new());
        for member in self.members.iter().filter(|member| !member.forgotten) {
            stats.members += 1;
            if member.status != MemberStatus::Archived
                && let Some(key) = key.and_then(|field| merge_value(member, field))
            {
                stats.duplicates += u64::from(!keys.insert(key));
            }
            match member.status {
                MemberStatus::Subscribed => stats.subscribed += 1,
                MemberStatus::Unsubscribed => stats.unsubscribed += 1,
                MemberStatus::Cleaned => stats.cleaned += 1,
                MemberStatus::Archived => {
                    stats.archived += 1;
                    stats.members -= 1;
                }
                _ => {}
            }
        }
        stats
    }
}

pub(super) fn time(secs: i64) -> String {
    crate::api::vendor_time(Timestamp::from_secs(secs))
}
