//! Lists, searches, single objects and batches of one type of objects.

use super::data::{Data, Object, iso};
use super::options::SimStats;
use super::reply::Failure;
use super::search::SearchRequest;
use super::{Handled, body};
use http::Method;
use martlet_testkit::{SimReply, SimRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

#[derive(Deserialize)]
struct Batch {
    inputs: Vec<Input>,
    #[serde(default)]
    properties: Vec<String>,
    #[serde(default, rename = "idProperty")]
    id_property: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(default)]
    id: String,
    #[serde(default)]
    id_property: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, Option<String>>,
    #[serde(default)]
    object_write_trace_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Create,
    Update,
    Upsert,
}

/// Answers requests for the objects of one type.
pub(super) struct Objects<'s> {
    pub(super) data: &'s mut Data,
    pub(super) stats: &'s mut SimStats,
}

impl Objects<'_> {
    pub(super) fn answer(&mut self, request: &SimRequest, rest: &[&str], now: u64) -> Handled {
        match (&request.method, rest) {
            (&Method::GET, []) => self.list(request),
            (&Method::POST, []) => self.create(&body(request)?, now),
            (&Method::POST, ["search"]) => self.search(&body(request)?, now),
            (&Method::POST, ["batch", "read"]) => self.batch_read(&body(request)?, now),
            (&Method::POST, ["batch", "create"]) => self.batch_write(Write::Create, &body(request)?, now),
            (&Method::POST, ["batch", "update"]) => self.batch_write(Write::Update, &body(request)?, now),
            (&Method::POST, ["batch", "upsert"]) => self.batch_write(Write::Upsert, &body(request)?, now),
            (&Method::POST, ["batch", "archive"]) => self.batch_archive(&body(request)?, now),
            (&Method::GET, [id]) => self.get(request, id),
            (&Method::PATCH, [id]) => self.update(request, id, &body(request)?, now),
            (&Method::DELETE, [id]) => self.archive_one(id, now),
            _ => Err(Failure::new(405, "METHOD_NOT_ALLOWED", "HTTP 405 Method Not Allowed")),
        }
    }

    fn names_of<'a>(&self, properties: &'a BTreeMap<String, Option<String>>) -> Vec<&'a str> {
        self.data.kind().shown.iter().copied().chain(properties.keys().map(String::as_str)).collect()
    }

    fn list(&mut self, request: &SimRequest) -> Handled {
        let limit: usize = match request.param("limit") {
            None => 10,
            Some(text) => text.parse().ok().filter(|limit| (1..=100).contains(limit)).ok_or_else(|| {
                Failure::invalid(format!("Invalid limit {text}: it must be between 1 and 100"))
            })?,
        };
        let after: u64 = match request.param("after") {
            None | Some("") => 0,
            Some(text) => {
                text.parse().map_err(|_| Failure::invalid(format!("Invalid paging cursor {text}")))?
            }
        };
        let names = asked(request);
        let mut page: Vec<Object<'_>> = if request.param("archived") == Some("true") {
            self.data.archived_after(after)
        } else {
            self.data.living_after(after).take(limit + 1).collect()
        };
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(Object::id);
        let results: Vec<_> = page.iter().map(|object| Shown::new(self.data, object, &names)).collect();
        let answer = Page { total: None, results: &results, paging: next.map(Paging::new) };
        let reply = SimReply::json(200, &answer);
        self.stats.listed += results.len() as u64;
        Ok(reply)
    }

    fn search(&mut self, request: &SearchRequest, now: u64) -> Handled {
        self.stats.searches += 1;
        let found = request.run(self.data, now)?;
        let names: Vec<&str> = request.properties.iter().map(String::as_str).collect();
        let results: Vec<_> =
            found.objects.iter().map(|object| Shown::new(self.data, object, &names)).collect();
        let answer =
            Page { total: Some(found.total), results: &results, paging: found.next.map(Paging::new) };
        Ok(SimReply::json(200, &answer))
    }

    fn get(&self, request: &SimRequest, id: &str) -> Handled {
        let by = request.param("idProperty").unwrap_or_default();
        let object = if request.param("archived") == Some("true") {
            id.parse().ok().and_then(|id| self.data.get(id)).filter(|object| object.archived().is_some())
        } else {
            self.data.find(id, by)?
        };
        let object = object.ok_or_else(Failure::not_found)?;
        Ok(SimReply::json(200, &Shown::new(self.data, &object, &asked(request))))
    }

    fn create(&mut self, input: &Input, now: u64) -> Handled {
        let id = self.write(Write::Create, input, "", now)?.0;
        Ok(self.shown(201, id, &input.properties))
    }

    fn update(&mut self, request: &SimRequest, id: &str, input: &Input, now: u64) -> Handled {
        let by = request.param("idProperty").unwrap_or_default();
        let id = self.data.find(id, by)?.ok_or_else(Failure::not_found)?.id();
        self.data.write(Some(id), &input.properties, now)?;
        self.stats.written += 1;
        Ok(self.shown(200, id, &input.properties))
    }

    fn archive_one(&mut self, id: &str, now: u64) -> Handled {
        let id = id.parse().map_err(|_| Failure::not_found())?;
        self.data.get(id).ok_or_else(Failure::not_found)?;
        let done = self.data.archive(id, now);
        self.stats.written += u64::from(done);
        Ok(SimReply::status(204).store(done.then(|| self.data.stored_write(id))))
    }

    fn batch_archive(&mut self, batch: &Batch, now: u64) -> Handled {
        check_batch(batch)?;
        let ids: Vec<u64> = batch.inputs.iter().filter_map(|input| input.id.parse().ok()).collect();
        let done: Vec<u64> = ids.into_iter().filter(|&id| self.data.archive(id, now)).collect();
        self.stats.written += done.len() as u64;
        Ok(SimReply::status(204).store(done.into_iter().map(|id| self.data.stored_write(id))))
    }

    fn batch_read(&self, batch: &Batch, now: u64) -> Handled {
        check_batch(batch)?;
        let by = batch.id_property.as_deref().unwrap_or_default();
        let names: Vec<&str> = batch.properties.iter().map(String::as_str).collect();
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in &batch.inputs {
            match self.data.find(&input.id, by)? {
                Some(object) => results.push(to_value(&Shown::new(self.data, &object, &names))),
                None => errors.push(
                    Failure::new(
                        404,
                        "OBJECT_NOT_FOUND",
                        "Could not get some CONTACT objects, they may be deleted",
                    )
                    .with_context("ids", &input.id),
                ),
            }
        }
        Ok(batch_reply(200, results, &errors, now))
    }

    fn batch_write(&mut self, write: Write, batch: &Batch, now: u64) -> Handled {
        check_batch(batch)?;
        if write != Write::Create {
            let mut seen = HashSet::new();
            if let Some(twice) = batch.inputs.iter().find(|input| !seen.insert(input.id.to_lowercase())) {
                return Err(Failure::invalid(format!(
                    "Duplicate IDs found in batch input: [{}]. IDs must be unique",
                    twice.id
                )));
            }
        }
        let (mut results, mut errors, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for input in &batch.inputs {
            let by = input.id_property.as_deref().unwrap_or_default();
            match self.write(write, input, by, now) {
                Ok((id, created)) => {
                    written.push(id);
                    if let Some(object) = self.data.get(id) {
                        let mut shown =
                            to_value(&Shown::new(self.data, &object, &self.names_of(&input.properties)));
                        if write == Write::Upsert {
                            shown["new"] = created.into();
                        }
                        if let Some(trace) = &input.object_write_trace_id {
                            shown["objectWriteTraceId"] = trace.as_str().into();
                        }
                        results.push(shown);
                    }
                }
                Err(failure) => errors.push(match &input.object_write_trace_id {
                    Some(trace) => failure.with_context("objectWriteTraceId", trace),
                    None => failure,
                }),
            }
        }
        // The order of results is not that of the inputs.
        results.reverse();
        let status = if write == Write::Create { 201 } else { 200 };
        let writes: Vec<_> = written.into_iter().map(|id| self.data.stored_write(id)).collect();
        Ok(batch_reply(status, results, &errors, now).store(writes))
    }

    /// The id of the contact, and whether it is new.
    fn write(&mut self, write: Write, input: &Input, by: &str, now: u64) -> Result<(u64, bool), Failure> {
        let known = match write {
            Write::Create => None,
            Write::Update | Write::Upsert => self.data.find(&input.id, by)?.map(|object| object.id()),
        };
        let mut properties = Cow::Borrowed(&input.properties);
        match (write, known) {
            (Write::Update, None) => return Err(Failure::not_found()),
            (Write::Upsert, None) if matches!(by, "" | "hs_object_id") => {
                return Err(Failure::invalid("an object can only be created by a unique property"));
            }
            (Write::Upsert, None) => {
                properties.to_mut().insert(by.to_owned(), Some(input.id.clone()));
            }
            _ => {}
        }
        let id = self.data.write(known, &properties, now)?;
        self.stats.written += 1;
        Ok((id, known.is_none()))
    }

    fn shown(&self, status: u16, id: u64, properties: &BTreeMap<String, Option<String>>) -> SimReply {
        let object = self.data.get(id).expect("it was just written");
        SimReply::json(status, &Shown::new(self.data, &object, &self.names_of(properties)))
            .store([self.data.stored_write(id)])
    }
}

fn check_batch(batch: &Batch) -> Result<(), Failure> {
    match batch.inputs.len() {
        0 => Err(Failure::invalid("inputs must not be empty")),
        1..=100 => Ok(()),
        count => Err(Failure::invalid(format!("The batch has {count} inputs, the maximum is 100"))),
    }
}

pub(super) fn batch_reply(status: u16, results: Vec<Value>, errors: &[Failure], now: u64) -> SimReply {
    let mut answer =
        json!({"status": "COMPLETE", "results": results, "startedAt": iso(now), "completedAt": iso(now)});
    if errors.is_empty() {
        return SimReply::json(status, &answer);
    }
    answer["numErrors"] = errors.len().into();
    answer["errors"] = errors.iter().map(Failure::in_batch).collect();
    SimReply::json(207, &answer)
}

/// The properties that a query names: repeated, or with commas.
fn asked(request: &SimRequest) -> Vec<&str> {
    let given = request.query.iter().filter(|(name, _)| name == "properties");
    given.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn to_value(shown: &Shown<'_>) -> Value {
    serde_json::to_value(shown).expect("texts and numbers serialise as JSON")
}

/// A page in HubSpot's form.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    results: &'a [Shown<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    paging: Option<Paging>,
}

#[derive(Serialize)]
pub(super) struct Paging {
    next: Next,
}

#[derive(Serialize)]
struct Next {
    after: String,
}

impl Paging {
    pub(super) fn new(after: impl fmt::Display) -> Self {
        Self { next: Next { after: after.to_string() } }
    }
}

/// An object in HubSpot's form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: String,
    properties: BTreeMap<&'a str, Option<Cow<'a, str>>>,
    created_at: String,
    updated_at: String,
    archived: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    archived_at: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(data: &Data, object: &'a Object<'a>, names: &[&'a str]) -> Self {
        let kind = data.kind();
        let names = if names.is_empty() { kind.shown } else { names };
        // These three in any case.
        let always = ["createdate", "hs_object_id", kind.modified];
        let known = names.iter().copied().chain(always).filter(|name| data.kind_of(name).is_some());
        Self {
            id: object.id().to_string(),
            properties: known.map(|name| (name, object.text(name))).collect(),
            created_at: iso(object.created()),
            updated_at: iso(object.modified()),
            archived: object.archived().is_some(),
            archived_at: object.archived().map(iso),
        }
    }
}
