use crate::{Member, MemberStatus};
use martlet_core::{Error, ErrorKind, Result};
use martlet_pipeline::{Consent, Record, Transform, Transformed};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// The field of a mapped record that holds the address.
pub(crate) const EMAIL: &str = "email_address";

/// How the properties of a contact become the fields of a member: given to the transform and to the destination, so that
/// both mean the same.
///
/// A mapped record is flat text: `email_address`, the merge fields by tag, and the source's key under a tag of its own
/// (`HSID` unless said), by which reading back finds what was written. Values are trimmed, empty ones left out.
///
/// ```
/// use martlet_mailchimp::MemberMapping;
///
/// let mapping = MemberMapping::new("email", [("firstname", "FNAME"), ("lastname", "LNAME")])?;
/// # Ok::<(), martlet_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemberMapping(Arc<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    email: String,
    /// Property and tag.
    fields: Vec<(String, String)>,
    key_tag: String,
}

impl MemberMapping {
    /// Takes the address from the property `email`, and fills each merge field from its property.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) when a tag is not 1 to 10 characters out of `A-Z 0-9 _` (that 10 is the most is
    /// unconfirmed), is `EMAIL`, or comes twice.
    pub fn new<P: Into<String>, T: Into<String>>(
        email: impl Into<String>,
        fields: impl IntoIterator<Item = (P, T)>,
    ) -> Result<Self> {
        let fields = fields.into_iter().map(|(property, tag)| (property.into(), tag.into())).collect();
        Self::checked(Parts { email: email.into(), fields, key_tag: "HSID".into() })
    }

    /// Keeps the source's key in another merge field than `HSID`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn key_tag(self, tag: impl Into<String>) -> Result<Self> {
        Self::checked(Parts { key_tag: tag.into(), ..Arc::unwrap_or_clone(self.0) })
    }

    fn checked(parts: Parts) -> Result<Self> {
        let mut seen = HashSet::from(["EMAIL"]);
        for tag in parts.fields.iter().map(|(_, tag)| tag).chain([&parts.key_tag]) {
            let good = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
            let bad = |why: &str| Err(Error::new(ErrorKind::Config, format!("merge field {tag:?}: {why}")));
            if tag.is_empty() || tag.len() > 10 || !tag.bytes().all(good) {
                return bad("a tag is 1 to 10 characters out of A-Z 0-9 _");
            }
            if !seen.insert(tag) {
                return bad("the tag is taken");
            }
        }
        Ok(Self(Arc::new(parts)))
    }

    /// Tag and label of each merge field that the audience must have.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.0.fields.iter().map(|(property, tag)| (tag.as_str(), property.as_str()));
        own.chain([(self.0.key_tag.as_str(), "Source key")])
    }

    /// The merge fields of a mapped record; what it does not have is emptied.
    pub(crate) fn merge_fields(&self, record: &Record) -> impl Iterator<Item = (String, Value)> {
        self.tags().map(|(tag, _)| {
            let value = record.fields.get(tag).filter(|value| !value.is_null());
            (tag.to_owned(), value.cloned().unwrap_or_else(|| "".into()))
        })
    }

    /// The source's key in a member, if a pipeline wrote it.
    pub(crate) fn key_of(&self, member: &Member) -> Option<String> {
        member.merge_text(&self.0.key_tag)
    }

    /// The record that was mapped to this member.
    pub(crate) fn record_of(&self, member: Member) -> Option<Record> {
        let key = self.key_of(&member)?;
        let texts = self.tags().filter_map(|(tag, _)| Some((tag.to_owned(), member.merge_text(tag)?.into())));
        let mut fields: Map<String, Value> = texts.collect();
        let consent = match member.status {
            MemberStatus::Subscribed => Consent::Given,
            MemberStatus::Unsubscribed | MemberStatus::Cleaned => Consent::Withdrawn,
            _ => Consent::Unknown,
        };
        fields.insert(EMAIL.to_owned(), member.email_address.into());
        Some(Record::upsert(key, fields).with_consent(consent))
    }
}

/// Maps contacts to members by a [`MemberMapping`]. Contacts without an address are skipped as `no_address`.
///
/// A value longer than a merge field takes (255 bytes, unconfirmed) is not cut: the platform refuses the member, and the
/// record becomes a dead letter that says so.
#[derive(Clone, Debug)]
pub struct MemberTransform {
    mapping: MemberMapping,
    id: String,
}

impl MemberTransform {
    /// By this mapping.
    #[must_use]
    pub fn new(mapping: MemberMapping) -> Self {
        let Parts { email, fields, key_tag } = &*mapping.0;
        let own = fields.iter().map(|(property, tag)| (tag.clone(), Value::from(property.as_str())));
        let rules =
            own.chain([(EMAIL.into(), email.as_str().into()), ("key".into(), key_tag.as_str().into())]);
        let hash = Record::upsert("", rules.collect()).content_hash().to_string();
        // Another mapping is another transform, so that every record is looked at anew.
        let id = format!("contact-to-member@1-{}", hash.get(..8).unwrap_or_default());
        Self { mapping, id }
    }
}

impl Transform for MemberTransform {
    fn id(&self) -> &str {
        &self.id
    }

    fn apply(&self, record: Record) -> Transformed {
        let rules = &*self.mapping.0;
        let Some(email) = text(record.fields.get(&rules.email)) else {
            return Transformed::Skip { key: record.key, reason: "no_address" };
        };
        let mut fields = Map::new();
        for (property, tag) in &rules.fields {
            if let Some(value) = text(record.fields.get(property)) {
                fields.insert(tag.clone(), value.into());
            }
        }
        fields.insert(rules.key_tag.clone(), record.key.as_str().into());
        fields.insert(EMAIL.to_owned(), email.into());
        Transformed::Keep(Record::upsert(record.key, fields).with_consent(record.consent))
    }
}

/// A property as a merge field carries it; `None` when there is nothing in it.
fn text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::Null => return None,
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mapping() -> MemberMapping {
        MemberMapping::new("email", [("firstname", "FNAME"), ("lastname", "LNAME")]).unwrap()
    }

    fn contact(fields: Value) -> Record {
        let Value::Object(fields) = fields else { unreachable!("the tests give objects") };
        Record::upsert("501", fields).with_consent(Consent::Given)
    }

    #[test]
    fn a_contact_becomes_flat_text_with_its_key_and_consent() {
        let contact =
            contact(json!({"email": " Zoe@x.example ", "firstname": "Zoë ", "lastname": "  ", "other": "x"}));
        let Transformed::Keep(member) = MemberTransform::new(mapping()).apply(contact) else {
            panic!("it has an address")
        };
        let expected = json!({"email_address": "Zoe@x.example", "FNAME": "Zoë", "HSID": "501"});
        assert_eq!(Value::Object(member.fields), expected);
        assert_eq!((member.key.as_str(), member.consent), ("501", Consent::Given));
    }

    #[test]
    fn without_an_address_there_is_no_member() {
        for fields in [json!({}), json!({"email": null}), json!({"email": " \t"})] {
            let skipped = Transformed::Skip { key: "501".into(), reason: "no_address" };
            assert_eq!(MemberTransform::new(mapping()).apply(contact(fields)), skipped);
        }
    }

    #[test]
    fn another_mapping_is_another_transform() {
        let other = MemberMapping::new("email", [("firstname", "FNAME"), ("nickname", "LNAME")]).unwrap();
        let id = |mapping| MemberTransform::new(mapping).id().to_owned();
        assert!(id(mapping()).starts_with("contact-to-member@1"));
        assert_eq!(id(mapping()), id(mapping()));
        assert_ne!(id(mapping()), id(other));
        assert_ne!(id(mapping()), id(mapping().key_tag("SRC").unwrap()));
    }

    #[test]
    fn bad_tags_are_refused() {
        for tag in ["", "fname", "ELEVENCHARS", "É", "EMAIL", "HSID"] {
            assert!(MemberMapping::new("email", [("x", tag)]).is_err(), "{tag}");
        }
        assert!(MemberMapping::new("email", [("x", "A"), ("y", "A")]).is_err());
        assert!(mapping().key_tag("FNAME").is_err());
        assert!(mapping().key_tag("SRC").is_ok());
    }
}
