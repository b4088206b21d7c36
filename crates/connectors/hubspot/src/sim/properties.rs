//! What properties objects have: the built-in ones, and those that the account defined.

use super::data::Data;
use super::reply::Failure;
use super::{Handled, body};
use http::Method;
use martlet_testkit::{SimReply, SimRequest, SimWrite};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A property that was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Definition {
    pub(super) name: String,
    label: String,
    #[serde(rename = "type")]
    kind: String,
    field_type: String,
    group_name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    options: Vec<Value>,
    #[serde(default)]
    pub(super) has_unique_value: bool,
}

const TYPES: [&str; 6] = ["string", "number", "date", "datetime", "enumeration", "bool"];

impl Definition {
    pub(super) fn static_kind(&self) -> &'static str {
        TYPES.into_iter().find(|known| *known == self.kind).unwrap_or("string")
    }
}

pub(super) fn answer(data: &mut Data, request: &SimRequest, rest: &[&str]) -> Handled {
    match (&request.method, rest) {
        (&Method::GET, []) => Ok(SimReply::json(200, &json!({ "results": all(data) }))),
        (&Method::GET, [name]) => {
            let found = all(data).into_iter().find(|property| property["name"] == *name);
            Ok(SimReply::json(200, &found.ok_or_else(Failure::not_found)?))
        }
        (&Method::POST, []) => create(data, body(request)?),
        _ => Err(Failure::new(405, "METHOD_NOT_ALLOWED", "HTTP 405 Method Not Allowed")),
    }
}

fn create(data: &mut Data, definition: Definition) -> Handled {
    let name = definition.name.clone();
    if data.kind_of(&name).is_some() {
        let message = format!("A property named '{name}' already exists.");
        return Err(Failure::new(409, "CONFLICT", message));
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Failure::invalid(format!("Invalid property name '{name}'")));
    }
    if !TYPES.contains(&definition.kind.as_str()) {
        return Err(Failure::invalid(format!("Invalid property type '{}'", definition.kind)));
    }
    if definition.group_name != data.kind().group {
        return Err(Failure::invalid(format!(
            "The property group '{}' does not exist",
            definition.group_name
        )));
    }
    let key = format!("{}/property/{name}", data.kind().name);
    let stored = serde_json::to_vec(&definition).expect("texts serialise as JSON");
    let reply = SimReply::json(201, &shown(&definition)).store([SimWrite::put(key, stored)]);
    data.define(definition);
    Ok(reply)
}

fn shown(definition: &Definition) -> Value {
    let mut shown = serde_json::to_value(definition).expect("texts serialise as JSON");
    shown["hidden"] = false.into();
    shown["archived"] = false.into();
    shown["hubspotDefined"] = false.into();
    shown
}

fn all(data: &Data) -> Vec<Value> {
    let kind = data.kind();
    let built_in = kind.properties.iter().map(|(name, label, kind_of, field)| {
        json!({"name": name, "label": label, "type": kind_of, "fieldType": field, "groupName": kind.group,
               "description": "", "options": [], "hidden": false, "hubspotDefined": true})
    });
    built_in.chain(data.definitions().iter().map(shown)).collect()
}
