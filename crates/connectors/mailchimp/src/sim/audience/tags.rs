//! Tags, each of which is a static segment.

use super::refusal::NOT_VALIDATED;
use super::{Audience, Refusal, time};
use crate::SubscriberHash;
use martlet_base::Timestamp;
use martlet_testkit::SimWrite;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A static segment, which is what a tag is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::sim) struct Segment {
    pub(in crate::sim) id: u32,
    pub(in crate::sim) name: String,
    pub(in crate::sim) created: i64,
}

/// What a change of tags asks for.
#[derive(Debug, Deserialize)]
pub(in crate::sim) struct TagsBody {
    tags: Vec<TagBody>,
}

#[derive(Debug, Deserialize)]
struct TagBody {
    name: String,
    status: String,
}

impl Audience {
    pub(in crate::sim) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment with this number.
    pub(in crate::sim) fn segment(&self, id: &str) -> Result<&Segment, Refusal> {
        let found = self.segments.iter().find(|segment| segment.id.to_string() == id);
        found.ok_or_else(Refusal::not_found)
    }

    /// How many are in a segment who can be written to.
    pub(in crate::sim) fn segment_size(&self, id: u32) -> usize {
        self.members.iter().filter(|member| member.is_in(id)).count()
    }

    /// The number of a tag, which is created when it is new: then it is to be stored.
    pub(super) fn tag(&mut self, name: &str, now: i64) -> (u32, Option<SimWrite>) {
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
    pub(in crate::sim) fn tags_of(&self, hash: SubscriberHash) -> Result<Vec<Value>, Refusal> {
        let member = self.find(hash).ok_or_else(Refusal::not_found)?;
        let show = |(id, since): &(u32, i64)| {
            let name = self.segments.iter().find(|segment| segment.id == *id).map(|found| &found.name);
            json!({ "id": id, "name": name, "date_added": time(*since) })
        };
        Ok(member.tags.iter().map(show).collect())
    }

    /// Gives a member tags and takes some away. Its `last_changed` stays (unconfirmed).
    pub(in crate::sim) fn change_tags(
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
}
