use http::HeaderMap;
use martlet_base::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::extract::{form, hex};
use crate::verify::Method;
use crate::{Coverage, Field, Part, Verified, Verifier};

/// Where a provider puts the identity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dedup {
    /// A header: one for the whole delivery.
    Header(&'static str),
    /// In the JSON body. `each` points to the events, `*` standing for every element of an array; `ids` are pointers
    /// from there, joined with `:`.
    Json {
        /// Pointer to the events.
        each: &'static str,
        /// Pointers from an event to the parts of its identity.
        ids: &'static [&'static str],
    },
    /// Form fields, joined with `:`.
    Form(&'static [&'static str]),
    /// The text of each XML element of this name.
    Element(&'static str),
    /// JSON in a form field.
    FormJson {
        /// The form field.
        field: &'static str,
        /// Pointer to the events.
        each: &'static str,
        /// Pointers from an event to the parts of its identity.
        ids: &'static [&'static str],
    },
}

/// What tells an event that was delivered before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DedupKey {
    /// Unique per provider and endpoint.
    pub key: String,
    /// How far to trust it.
    pub quality: DedupQuality,
}

/// How far to trust a [`DedupKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DedupQuality {
    /// The provider's own identity of the event, and the signature covers it.
    Strong,
    /// The provider's own identity, but not signed: it recognises honest retries, and whoever replays a recorded request can
    /// change it.
    Unsigned,
    /// The provider gives none: the hash of the body and the time of signing. Retries that differ in a byte are not
    /// recognised, and equal events count as one: remember it for minutes, not days.
    Weak,
}

impl Verifier {
    /// One key for each event of the delivery, or one for the whole of it; never none.
    ///
    /// Parses the body where the identity is in there, so it costs more than verification; call it when you store.
    #[must_use]
    pub fn dedup_keys<T: AsRef<[u8]>>(&self, verified: &Verified<T>, headers: &HeaderMap) -> Vec<DedupKey> {
        let body = verified.get().as_ref();
        let found = self.dedup.iter().find_map(|dedup| {
            let quality = if self.signs(dedup, verified.coverage()) {
                DedupQuality::Strong
            } else {
                DedupQuality::Unsigned
            };
            let keys = keys(dedup, body, headers)?;
            Some(keys.into_iter().map(|key| DedupKey { key, quality }).collect::<Vec<_>>())
        });
        found.unwrap_or_else(|| {
            vec![DedupKey { key: hash(body, verified.signed_at()), quality: DedupQuality::Weak }]
        })
    }

    fn signs(&self, dedup: &Dedup, coverage: Coverage) -> bool {
        let field = match dedup {
            Dedup::Header(name) => Field::header(*name),
            _ if coverage != Coverage::NotBody => return true,
            Dedup::Json { each: "", ids: [pointer] } => Field::Json((*pointer).into()),
            Dedup::Form([name]) => Field::Form((*name).into()),
            _ => return false,
        };
        let Method::Recipes(recipes) = &self.method else { return false };
        let signed = Part::Field(field);
        recipes.iter().any(|one| one.recipe.message.contains(&signed))
    }
}

/// `None` unless every event has its identity: half a set of keys would let the rest through unseen.
fn keys(dedup: &Dedup, body: &[u8], headers: &HeaderMap) -> Option<Vec<String>> {
    let found = match dedup {
        Dedup::Header(name) => vec![std::str::from_utf8(headers.get(*name)?.as_bytes()).ok()?.to_owned()],
        Dedup::Json { each, ids } => events(&serde_json::from_slice(body).ok()?, each, ids)?,
        Dedup::Form(names) => {
            let fields = form(body);
            let value = |name: &&str| {
                let (_, value) = fields.iter().rev().find(|(key, _)| **key == *name.as_bytes())?;
                String::from_utf8(value.to_vec()).ok()
            };
            vec![names.iter().map(value).collect::<Option<Vec<_>>>()?.join(":")]
        }
        Dedup::Element(name) => elements(std::str::from_utf8(body).ok()?, name),
        Dedup::FormJson { field, each, ids } => {
            let fields = form(body);
            let (_, json) = fields.iter().find(|(key, _)| **key == *field.as_bytes())?;
            events(&serde_json::from_slice(json).ok()?, each, ids)?
        }
    };
    (!found.is_empty() && found.iter().all(|key| !key.is_empty())).then_some(found)
}

fn elements(xml: &str, name: &str) -> Vec<String> {
    let open = format!("<{name}>");
    xml.split(&open).skip(1).map(|rest| rest.split('<').next().unwrap_or_default().to_owned()).collect()
}

fn events(json: &Value, each: &str, ids: &[&str]) -> Option<Vec<String>> {
    let mut events = vec![json];
    for step in each.split('/').skip(1) {
        events = match step {
            "*" => {
                let arrays = events.into_iter().map(Value::as_array).collect::<Option<Vec<_>>>()?;
                arrays.into_iter().flatten().collect()
            }
            name => events.into_iter().map(|event| event.get(name)).collect::<Option<_>>()?,
        };
    }
    events.into_iter().map(|event| identity(event, ids)).collect()
}

fn identity(event: &Value, ids: &[&str]) -> Option<String> {
    let part = |pointer: &&str| match event.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Some(ids.iter().map(part).collect::<Option<Vec<_>>>()?.join(":"))
}

fn hash(body: &[u8], signed_at: Option<Timestamp>) -> String {
    let mut hash = Sha256::new_with_prefix(body);
    if let Some(time) = signed_at {
        hash.update(time.as_micros().to_be_bytes());
    }
    hex(&hash.finalize())
}
