//! The audience of the simulator: who is in it, and the rules by which that changes.

use super::SimStats;
use super::fields::View;
use crate::{MemberStatus, SubscriberHash};
use martlet_base::Timestamp;
use martlet_testkit::SimWrite;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

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

/// A member as it is kept and stored: short names, because there may be 200,000.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    /// The order of creation.
    #[serde(rename = "n")]
    seq: u64,
    #[serde(rename = "e")]
    email: Box<str>,
    #[serde(rename = "s")]
    status: MemberStatus,
    /// Merge field by number; an object as its JSON text.
    #[serde(rename = "m")]
    merge: Vec<(u16, Box<str>)>,
    /// Tags by the number of their segment, and since when.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<(u32, i64)>,
    /// Seconds since the Unix epoch; 0 when it never opted in.
    #[serde(rename = "o")]
    opt_in: i64,
    #[serde(rename = "c")]
    changed: i64,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    compliance: bool,
    /// Whether it had opted out or bounced when it was archived.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    archived_closed: bool,
    /// Deleted for good.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    forgotten: bool,
}

impl Stored {
    fn has_tag(&self, id: u32) -> bool {
        self.tags.iter().any(|(tag, _)| *tag == id)
    }

    /// Whether it is in a segment: those who cannot be written to are left out (unconfirmed).
    fn is_in(&self, segment: u32) -> bool {
        let away = matches!(self.status, MemberStatus::Archived | MemberStatus::Transactional);
        !self.forgotten && !away && !is_closed(&self.status) && self.has_tag(segment)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Field {
    pub(super) tag: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) merge_id: u16,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    pub(super) public: bool,
    #[serde(default)]
    pub(super) default_value: String,
}

/// What changes in a merge field.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FieldBody {
    name: Option<String>,
    required: Option<bool>,
    public: Option<bool>,
    default_value: Option<String>,
}

/// A static segment, which is what a tag is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) created: i64,
}

/// What a change of tags asks for.
#[derive(Debug, Deserialize)]
pub(super) struct TagsBody {
    tags: Vec<TagBody>,
}

#[derive(Debug, Deserialize)]
struct TagBody {
    name: String,
    status: String,
}

/// A refusal in the words of the platform.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) title: &'static str,
    pub(super) detail: String,
    pub(super) errors: Vec<(String, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), errors: Vec::new() }
    }

    pub(super) fn field(mut self, field: &str, message: &str) -> Self {
        self.errors.push((field.to_owned(), message.to_owned()));
        self
    }

    /// A parameter that cannot have this value.
    pub(super) fn value(field: &str) -> Self {
        Self::invalid(NOT_VALIDATED).field(field, "This value is not valid.")
    }

    fn invalid(detail: impl Into<String>) -> Self {
        Self::new(400, "Invalid Resource", detail)
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "Resource Not Found", "The requested resource could not be found.")
    }
}

/// What a write asks for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MemberBody {
    #[serde(default)]
    pub(super) email_address: Option<String>,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) status_if_new: Option<String>,
    #[serde(default)]
    pub(super) merge_fields: Map<String, Value>,
}

/// Which members to list.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) status: Option<String>,
    /// Only those in this segment who can be written to.
    pub(super) segment: Option<u32>,
    pub(super) since_last_changed: Option<Timestamp>,
    pub(super) by_change: bool,
    pub(super) descending: bool,
    pub(super) offset: usize,
    pub(super) count: usize,
}

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
const TEXT_MAX: usize = 255;
const NOT_VALIDATED: &str = "The resource submitted could not be validated.";
const INVALID_FIELDS: &str = "Your merge fields were invalid.";

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

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn field(&self, tag: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.tag == tag)
    }

    fn add_field(&mut self, tag: &str, name: &str, kind: &str) -> Field {
        self.last_field = self.last_field.saturating_add(1);
        let field = Field {
            tag: tag.to_owned(),
            name: name.to_owned(),
            kind: kind.to_owned(),
            merge_id: self.last_field,
            required: false,
            public: false,
            default_value: String::new(),
        };
        self.fields.push(field.clone());
        field
    }

    /// Creates a merge field.
    pub(super) fn create_field(
        &mut self,
        tag: &str,
        name: &str,
        kind: &str,
    ) -> Result<(Field, SimWrite), Refusal> {
        if name.is_empty() || kind.is_empty() {
            return Err(Refusal::invalid(NOT_VALIDATED).field("name", "This value should not be blank."));
        }
        if tag.is_empty() || tag.len() > 10 || tag == "EMAIL" {
            return Err(Refusal::invalid(INVALID_FIELDS).field("tag", "A tag has at most 10 characters"));
        }
        if self.field(tag).is_some() {
            let detail = format!("A Merge Field with the tag \"{tag}\" already exists for this list.");
            return Err(Refusal::new(400, "Invalid Resource", detail));
        }
        let field = self.add_field(tag, name, kind);
        let write = self.field_write(field.merge_id, &field);
        Ok((field, write))
    }

    fn field_write(&self, merge_id: u16, value: &impl Serialize) -> SimWrite {
        let value = serde_json::to_vec(value).expect("a field serialises");
        SimWrite::put(format!("{}/field.{merge_id:05}", self.id), value)
    }

    fn field_place(&self, merge_id: &str) -> Result<usize, Refusal> {
        let place = self.fields.iter().position(|field| field.merge_id.to_string() == merge_id);
        place.ok_or_else(Refusal::not_found)
    }

    /// The merge field with this number.
    pub(super) fn field_by_id(&self, merge_id: &str) -> Result<&Field, Refusal> {
        Ok(&self.fields[self.field_place(merge_id)?])
    }

    /// Changes a merge field.
    pub(super) fn update_field(
        &mut self,
        merge_id: &str,
        body: FieldBody,
    ) -> Result<(Field, SimWrite), Refusal> {
        let place = self.field_place(merge_id)?;
        let field = &mut self.fields[place];
        if body.name.as_deref() == Some("") {
            return Err(Refusal::invalid(NOT_VALIDATED).field("name", "This value should not be blank."));
        }
        let FieldBody { name, required, public, default_value } = body;
        field.name = name.unwrap_or_else(|| field.name.clone());
        field.required = required.unwrap_or(field.required);
        field.public = public.unwrap_or(field.public);
        field.default_value = default_value.unwrap_or_else(|| field.default_value.clone());
        let field = field.clone();
        let write = self.field_write(field.merge_id, &field);
        Ok((field, write))
    }

    /// Deletes a merge field. What members have in it is never shown again, because its number does not come again.
    pub(super) fn delete_field(&mut self, merge_id: &str) -> Result<SimWrite, Refusal> {
        let place = self.field_place(merge_id)?;
        let field = self.fields.remove(place);
        Ok(self.field_write(field.merge_id, &()))
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment with this number.
    pub(super) fn segment(&self, id: &str) -> Result<&Segment, Refusal> {
        let found = self.segments.iter().find(|segment| segment.id.to_string() == id);
        found.ok_or_else(Refusal::not_found)
    }

    /// How many are in a segment who can be written to.
    pub(super) fn segment_size(&self, id: u32) -> usize {
        self.members.iter().filter(|member| member.is_in(id)).count()
    }

    /// The number of a tag, which is created when it is new: then it is to be stored.
    fn tag(&mut self, name: &str, now: i64) -> (u32, Option<SimWrite>) {
        if let Some(known) = self.segments.iter().find(|segment| segment.name == name) {
            return (known.id, None);
        }
        let id = u32::try_from(self.segments.len() + 1).unwrap_or(u32::MAX);
        let segment = Segment { id, name: name.to_owned(), created: now };
        let value = serde_json::to_vec(&segment).expect("a segment serialises");
        self.segments.push(segment);
        (id, Some(SimWrite::put(format!("{}/segment.{id:05}", self.id), value)))
    }

    /// The tags of a member: number, name and since when.
    pub(super) fn tags_of(&self, hash: SubscriberHash) -> Result<Vec<Value>, Refusal> {
        let member = self.find(hash).ok_or_else(Refusal::not_found)?;
        let show = |(id, since): &(u32, i64)| {
            let name = self.segments.iter().find(|segment| segment.id == *id).map(|found| &found.name);
            json!({ "id": id, "name": name, "date_added": time(*since) })
        };
        Ok(member.tags.iter().map(show).collect())
    }

    /// Gives a member tags and takes some away. Its `last_changed` stays (unconfirmed).
    pub(super) fn change_tags(
        &mut self,
        hash: SubscriberHash,
        body: &TagsBody,
        now: Timestamp,
    ) -> Result<Vec<SimWrite>, Refusal> {
        let mut member = self.find(hash).ok_or_else(Refusal::not_found)?.clone();
        if body.tags.iter().any(|tag| tag.name.is_empty()) {
            return Err(Refusal::invalid(NOT_VALIDATED).field("tags", "A tag needs a name."));
        }
        if body.tags.iter().any(|tag| !matches!(tag.status.as_str(), "active" | "inactive")) {
            return Err(Refusal::value("tags"));
        }
        let mut writes = Vec::new();
        for tag in &body.tags {
            let known = self.segments.iter().any(|segment| segment.name == tag.name);
            if tag.status == "inactive" && !known {
                continue;
            }
            let (id, write) = self.tag(&tag.name, now.as_secs());
            writes.extend(write);
            match (tag.status.as_str(), member.tags.iter().position(|(has, _)| *has == id)) {
                ("active", None) => member.tags.push((id, now.as_secs())),
                ("inactive", Some(place)) => drop(member.tags.remove(place)),
                _ => {}
            }
        }
        writes.push(self.replace(hash, member));
        Ok(writes)
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

    fn find(&self, hash: SubscriberHash) -> Option<&Stored> {
        let place = *self.places.get(&hash)?;
        Some(&self.members[place as usize]).filter(|member| !member.forgotten)
    }

    /// A member, archived ones included.
    pub(super) fn member<'s>(
        &'s self,
        hash: SubscriberHash,
        see: &'s View<'s>,
    ) -> Result<Shown<'s>, Refusal> {
        let member = self.find(hash).ok_or_else(Refusal::not_found)?;
        Ok(Shown { audience: self, hash, member, see })
    }

    /// A page, and how many there are in all.
    pub(super) fn list<'s>(&'s self, listing: &Listing, see: &'s View<'s>) -> (Vec<Shown<'s>>, usize) {
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
    pub(super) fn write(
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

    fn merge_of(&self, fields: &Map<String, Value>) -> Result<Vec<(u16, String)>, Refusal> {
        let invalid = |tag: &str, message: &str| Err(Refusal::invalid(INVALID_FIELDS).field(tag, message));
        let mut out = Vec::with_capacity(fields.len());
        for (tag, value) in fields {
            let Some(field) = self.field(tag) else {
                return invalid(tag, "There is no such merge field in this list");
            };
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            match field.kind.as_str() {
                "number" if !text.is_empty() && text.parse::<f64>().is_err() => {
                    return invalid(tag, "Please enter a number");
                }
                "address" if !text.is_empty() && !value.is_object() => {
                    return invalid(tag, "Please enter a complete address");
                }
                "address" => {}
                _ if text.len() > TEXT_MAX => {
                    return invalid(tag, "Please enter a value of at most 255 characters");
                }
                _ => {}
            }
            out.push((field.merge_id, text));
        }
        Ok(out)
    }

    /// Archives a member.
    pub(super) fn archive(&mut self, hash: SubscriberHash, now: Timestamp) -> Result<SimWrite, Refusal> {
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
    pub(super) fn forget(&mut self, hash: SubscriberHash, now: Timestamp) -> Result<SimWrite, Refusal> {
        let mut member = self.find(hash).ok_or_else(Refusal::not_found)?.clone();
        member.forgotten = true;
        (member.merge, member.tags) = (Vec::new(), Vec::new());
        member.changed = now.as_secs();
        Ok(self.replace(hash, member))
    }

    fn replace(&mut self, hash: SubscriberHash, member: Stored) -> SimWrite {
        let write = SimWrite::put(format!("{}/{hash}", self.id), json_of(&member));
        self.put(hash, member);
        write
    }

    /// Whether somebody is there who is not archived.
    pub(super) fn is_present(&self, hash: SubscriberHash) -> bool {
        self.find(hash).is_some_and(|member| member.status != MemberStatus::Archived)
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

pub(super) fn member_exists(email: &str) -> Refusal {
    let detail = format!("{email} is already a list member. Use PUT to insert or update list members.");
    Refusal::new(400, "Member Exists", detail)
}

fn is_closed(status: &MemberStatus) -> bool {
    matches!(status, MemberStatus::Unsubscribed | MemberStatus::Cleaned)
}

/// A member as answers show it, without its fields being copied: a page of a thousand is written in a few milliseconds.
pub(super) struct Shown<'s> {
    audience: &'s Audience,
    hash: SubscriberHash,
    member: &'s Stored,
    see: &'s View<'s>,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { audience, hash, member, see } = self;
        let id = hash.to_string();
        let text =
            |tag: &str| audience.field(tag).and_then(|field| merge_value(member, field)).unwrap_or_default();
        let mut out = Out { map: serializer.serialize_map(None)?, see };
        out.put("id", || &id)?;
        out.put("email_address", || &member.email)?;
        out.put("unique_email_id", || &id[..10])?;
        out.put("contact_id", || format!("{:032x}", member.seq))?;
        out.put("full_name", || format!("{} {}", text("FNAME"), text("LNAME")).trim().to_owned())?;
        out.put("web_id", || 400_000_000 + member.seq)?;
        out.put("email_type", || "html")?;
        out.put("status", || &member.status)?;
        out.put("merge_fields", || MergeFields(audience, member))?;
        out.put("stats", || json!({ "avg_open_rate": 0, "avg_click_rate": 0 }))?;
        out.put("timestamp_opt", || if member.opt_in == 0 { String::new() } else { time(member.opt_in) })?;
        out.put("member_rating", || 2)?;
        out.put("last_changed", || time(member.changed))?;
        out.put("language", || "")?;
        out.put("vip", || false)?;
        out.put("list_id", || &audience.id)?;
        out.put("tags_count", || member.tags.len())?;
        out.put("tags", || {
            let segments = audience.segments.iter().filter(|segment| member.has_tag(segment.id));
            segments.map(|segment| json!({ "id": segment.id, "name": segment.name })).collect::<Vec<_>>()
        })?;
        out.put("_links", || {
            let href = format!("https://us1.api.mailchimp.com/3.0/lists/{}/members/{id}", audience.id);
            json!([{ "rel": "self", "href": href, "method": "GET" }])
        })?;
        out.map.end()
    }
}

/// Writes the fields that were asked for.
struct Out<'o, M> {
    map: M,
    see: &'o View<'o>,
}

impl<M: SerializeMap> Out<'_, M> {
    fn put<T: Serialize>(&mut self, name: &str, value: impl FnOnce() -> T) -> Result<(), M::Error> {
        if self.see.wants(name) { self.map.serialize_entry(name, &value()) } else { Ok(()) }
    }
}

struct MergeFields<'s>(&'s Audience, &'s Stored);

impl Serialize for MergeFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(audience, member) = self;
        let mut map = serializer.serialize_map(Some(audience.fields.len()))?;
        for field in &audience.fields {
            let text = merge_value(member, field).unwrap_or_default();
            match field.kind.as_str() {
                "number" | "address" if !text.is_empty() => {
                    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
                    map.serialize_entry(&field.tag, &value)?;
                }
                _ => map.serialize_entry(&field.tag, text)?,
            }
        }
        map.end()
    }
}

fn merge_value<'m>(member: &'m Stored, field: &Field) -> Option<&'m str> {
    member.merge.iter().find(|(id, _)| *id == field.merge_id).map(|(_, value)| &**value)
}

fn json_of(member: &Stored) -> Vec<u8> {
    serde_json::to_vec(member).expect("a member serialises")
}

pub(super) fn check_address(email: &str) -> Result<(), Refusal> {
    let good = email.split_once('@').is_some_and(|(local, domain)| {
        let labels = domain.split('.');
        !local.is_empty() && labels.clone().count() > 1 && labels.clone().all(|label| !label.is_empty())
    });
    if good && email.matches('@').count() == 1 && !email.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Ok(());
    }
    let detail = format!("{email} looks fake or invalid, please enter a real email address.");
    Err(Refusal::invalid(detail))
}

pub(super) fn time(secs: i64) -> String {
    Timestamp::from_secs(secs).to_string().trim_end_matches('Z').to_owned() + "+00:00"
}
