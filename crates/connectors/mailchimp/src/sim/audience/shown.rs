//! Members as answers show them.

use super::fields::merge_value;
use super::{Audience, Stored, time};
use crate::SubscriberHash;
use crate::sim::fields::View;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// A member as answers show it, without its fields being copied: a page of a thousand is written in a few milliseconds.
pub(in crate::sim) struct Shown<'s> {
    pub(super) audience: &'s Audience,
    pub(super) hash: SubscriberHash,
    pub(super) member: &'s Stored,
    pub(super) see: &'s View<'s>,
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
