//! Merge fields, and what members have in them.

use super::refusal::{INVALID_FIELDS, NOT_VALIDATED};
use super::{Audience, Refusal, Stored};
use martlet_testkit::SimWrite;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::sim) struct Field {
    pub(in crate::sim) tag: String,
    pub(in crate::sim) name: String,
    #[serde(rename = "type")]
    pub(in crate::sim) kind: String,
    pub(in crate::sim) merge_id: u16,
    #[serde(default)]
    pub(in crate::sim) required: bool,
    #[serde(default)]
    pub(in crate::sim) public: bool,
    #[serde(default)]
    pub(in crate::sim) default_value: String,
}

/// What changes in a merge field.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::sim) struct FieldBody {
    name: Option<String>,
    required: Option<bool>,
    public: Option<bool>,
    default_value: Option<String>,
}

const TEXT_MAX: usize = 255;

impl Audience {
    pub(in crate::sim) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(in crate::sim) fn field(&self, tag: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.tag == tag)
    }

    pub(super) fn add_field(&mut self, tag: &str, name: &str, kind: &str) -> Field {
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
    pub(in crate::sim) fn create_field(
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
    pub(in crate::sim) fn field_by_id(&self, merge_id: &str) -> Result<&Field, Refusal> {
        Ok(&self.fields[self.field_place(merge_id)?])
    }

    /// Changes a merge field.
    pub(in crate::sim) fn update_field(
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
    pub(in crate::sim) fn delete_field(&mut self, merge_id: &str) -> Result<SimWrite, Refusal> {
        let place = self.field_place(merge_id)?;
        let field = self.fields.remove(place);
        Ok(self.field_write(field.merge_id, &()))
    }

    pub(super) fn merge_of(&self, fields: &Map<String, Value>) -> Result<Vec<(u16, String)>, Refusal> {
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
}

pub(super) fn merge_value<'m>(member: &'m Stored, field: &Field) -> Option<&'m str> {
    member.merge.iter().find(|(id, _)| *id == field.merge_id).map(|(_, value)| &**value)
}
