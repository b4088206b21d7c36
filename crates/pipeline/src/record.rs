use crate::Checkpoint;
use serde_json::{Map, Value};
use std::fmt;
use twox_hash::XxHash3_128;

/// What a record asks the destination to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Create it or bring it up to date.
    Upsert,
    /// It is gone at the source.
    Delete,
}

/// Whether the person behind a record agreed to be written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Consent {
    /// The source does not say.
    #[default]
    Unknown,
    /// Agreed.
    Given,
    /// Opted out, bounced or complained. It wins over every other statement.
    Withdrawn,
}

/// One thing that moves: a contact, an order, an event.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// What to do.
    pub op: Op,
    /// Its identity at the source, stable over its life.
    pub key: String,
    /// Whether the person agreed. It is not part of the [content hash](Record::content_hash): the destination may know better.
    pub consent: Consent,
    /// Its content, by field.
    pub fields: Map<String, Value>,
}

impl fmt::Debug for Record {
    /// The names of the fields, not their values: they are personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("op", &self.op)
            .field("key", &self.key)
            .field("consent", &self.consent)
            .field("fields", &self.fields.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl Record {
    /// A record to create or bring up to date.
    #[must_use]
    pub fn upsert(key: impl Into<String>, fields: Map<String, Value>) -> Self {
        Self { op: Op::Upsert, key: key.into(), consent: Consent::Unknown, fields }
    }

    /// A record that is gone.
    #[must_use]
    pub fn delete(key: impl Into<String>) -> Self {
        Self { op: Op::Delete, key: key.into(), consent: Consent::Unknown, fields: Map::new() }
    }

    /// With the person's consent.
    #[must_use]
    pub const fn with_consent(mut self, consent: Consent) -> Self {
        self.consent = consent;
        self
    }

    /// A field as text; `None` when it is absent, null or not text.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// The hash of its fields in canonical form: members in the order of their names, null and empty text left out (the two
    /// sides of a sync rarely agree on which of the three "nothing" is). Key, op and consent are not part of it.
    #[must_use]
    pub fn content_hash(&self) -> ContentHash {
        let mut hasher = Canonical(XxHash3_128::with_seed(0));
        hasher.object(&self.fields);
        ContentHash(hasher.0.finish_128())
    }
}

/// A 128-bit hash of content: XXH3, stable across versions and platforms. Not for security.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ContentHash(u128);

impl ContentHash {
    /// From the number.
    #[must_use]
    pub const fn from_u128(hash: u128) -> Self {
        Self(hash)
    }

    /// The number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Feeds a hasher with values in one canonical form. Every piece is tagged and ends by length or mark, so that no two contents
/// give the same bytes (`"a","bc"` and `"ab","c"`).
struct Canonical(XxHash3_128);

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

impl Canonical {
    fn text(&mut self, tag: u8, text: &str) {
        self.0.write(&[tag]);
        self.0.write(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.write(text.as_bytes());
    }

    fn object(&mut self, fields: &Map<String, Value>) {
        // serde_json's map may keep the order of insertion (feature `preserve_order`), so it is sorted here.
        let mut members: Vec<_> = fields.iter().filter(|(_, value)| !is_nothing(value)).collect();
        members.sort_unstable_by_key(|(name, _)| name.as_str());
        self.0.write(b"{");
        for (name, value) in members {
            self.text(b'k', name);
            self.value(value);
        }
        self.0.write(b"}");
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.write(b"n"),
            Value::Bool(yes) => self.0.write(if *yes { b"t" } else { b"f" }),
            Value::Number(number) => self.text(b'#', &number.to_string()),
            Value::String(text) => self.text(b's', text),
            Value::Array(items) => {
                self.0.write(b"[");
                items.iter().for_each(|item| self.value(item));
                self.0.write(b"]");
            }
            Value::Object(fields) => self.object(fields),
        }
    }
}

/// Records that were read together, and where reading goes on once they are committed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Batch {
    /// The records, in the order of the source.
    pub records: Vec<Record>,
    /// Where the source resumes after these.
    pub checkpoint: Checkpoint,
    /// How many records the source expects to deliver in this run, if it knows.
    pub total: Option<u64>,
}

impl Batch {
    /// A batch.
    #[must_use]
    pub const fn new(records: Vec<Record>, checkpoint: Checkpoint) -> Self {
        Self { records, checkpoint, total: None }
    }

    /// With the number of records expected in this run.
    #[must_use]
    pub const fn with_total(mut self, total: Option<u64>) -> Self {
        self.total = total;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hash(value: Value) -> ContentHash {
        let Value::Object(fields) = value else { unreachable!("the tests give objects") };
        Record::upsert("1", fields).content_hash()
    }

    #[test]
    fn the_order_of_fields_and_the_kind_of_nothing_do_not_matter() {
        let plain = hash(json!({"a": "1", "b": "2"}));
        assert_eq!(plain, hash(json!({"b": "2", "a": "1"})));
        assert_eq!(plain, hash(json!({"b": "2", "a": "1", "c": null, "d": ""})));
    }

    #[test]
    fn contents_that_join_to_the_same_text_differ() {
        assert_ne!(hash(json!({"a": "b", "c": "d"})), hash(json!({"a": "bc", "c": "d"})));
        assert_ne!(hash(json!({"a": ["b", "c"]})), hash(json!({"a": ["bc"]})));
        assert_ne!(hash(json!({"a": "1"})), hash(json!({"a": 1})));
        assert_ne!(hash(json!({"a": {"b": "c"}})), hash(json!({"a": "b", "b": "c"})));
    }

    #[test]
    fn the_hash_is_stable_across_versions() {
        // Stored in users' state files: a change here makes every record look changed once.
        assert_eq!(
            hash(json!({"FNAME": "Zoë", "n": 3, "ok": true})).to_string(),
            "99d949b0b5f0d72373f81288f0c070a9"
        );
    }
}
