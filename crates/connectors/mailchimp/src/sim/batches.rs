//! Batches: their operations are done at once, and the results shown when their time has come.

use super::World;
use super::account::page;
use super::audience::{Refusal, time};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method};
use martlet_base::Timestamp;
use martlet_testkit::{SimReply, SimRequest, SimWrite};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const MAX_OPERATIONS: usize = 1000;
const MAX_OPEN: usize = 500;
/// How long an address of results is good.
const GOOD_FOR: i64 = 600;
/// Results in one file of an archive.
const FILE: usize = 400;
/// Where results are, unless the simulator is on loopback.
const STORAGE: &str = "https://batch-results.example";
/// Under this prefix batches are stored.
const PREFIX: &str = "batches/";

#[derive(Debug)]
pub(super) struct Batches {
    takes: Duration,
    batches: Vec<Batch>,
    /// Requests for results that carried a credential.
    pub(super) leaked: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    id: String,
    /// Seconds since the Unix epoch.
    submitted: i64,
    results: Vec<Done>,
    #[serde(default)]
    deleted: bool,
}

/// A result as an archive shows it.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    status_code: u16,
    operation_id: Option<String>,
    response: String,
}

#[derive(Debug, Deserialize)]
struct Body {
    operations: Vec<Operation>,
}

#[derive(Debug, Deserialize)]
struct Operation {
    method: String,
    path: String,
    #[serde(default)]
    params: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    operation_id: Option<String>,
}

impl Batches {
    pub(super) const fn new(takes: Duration) -> Self {
        Self { takes, batches: Vec::new(), leaked: 0 }
    }

    /// Takes back a batch; `None` when this is none.
    pub(super) fn restore(&mut self, key: &str, value: &[u8]) -> Option<()> {
        let id = key.strip_prefix(PREFIX)?;
        self.batches.retain(|batch| batch.id != id);
        self.batches.extend(serde_json::from_slice::<Batch>(value).ok());
        Some(())
    }

    fn find(&self, id: &str) -> Result<&Batch, Refusal> {
        let found = self.batches.iter().find(|batch| batch.id == id && !batch.deleted);
        found.ok_or_else(Refusal::not_found)
    }

    fn status(&self, batch: &Batch, now: Timestamp) -> &'static str {
        let age = now.since(Timestamp::from_secs(batch.submitted));
        match age {
            _ if age >= self.takes => "finished",
            _ if age * 4 < self.takes => "pending",
            _ if age * 4 < self.takes * 3 => "started",
            _ => "finalizing",
        }
    }

    fn show(&self, batch: &Batch, origin: &str, now: Timestamp) -> Value {
        let status = self.status(batch, now);
        let finished = status == "finished";
        let done = if finished { batch.results.len() } else { 0 };
        let errors = batch.results.iter().take(done).filter(|done| done.status_code >= 300).count();
        let until = now.as_secs() + GOOD_FOR;
        json!({
            "id": batch.id, "status": status, "total_operations": batch.results.len(),
            "finished_operations": done, "errored_operations": errors,
            "submitted_at": time(batch.submitted),
            "completed_at": if finished { time(batch.submitted + self.takes.as_secs() as i64) } else { String::new() },
            "response_body_url": match finished {
                true => format!("{origin}/_batches/{}.tar.gz?expires={until}&signature=a%2Fb%3D", batch.id),
                false => String::new(),
            },
            "_links": [],
        })
    }

    /// What the storage answers, if the request is for it: no credential may be sent along, and addresses expire.
    pub(super) fn archive(&mut self, request: &SimRequest, now: Timestamp) -> Option<SimReply> {
        let id = request.path.strip_prefix("/_batches/")?.strip_suffix(".tar.gz")?;
        if request.headers.contains_key(http::header::AUTHORIZATION) {
            self.leaked += 1;
            return Some(SimReply::status(400));
        }
        let expires = request.param("expires").and_then(|expires| expires.parse::<i64>().ok());
        if request.param("signature") != Some("a/b=") || expires.is_none_or(|expires| now.as_secs() > expires)
        {
            return Some(SimReply::status(403));
        }
        let Ok(batch) = self.find(id) else { return Some(SimReply::status(404)) };
        let mut reply = SimReply::status(200).header("content-type", "application/x-gzip");
        reply.body = pack(batch).into();
        Some(reply)
    }
}

/// Answers a request about batches; `path` is what follows `batches`.
pub(super) fn route(
    world: &mut World,
    request: &SimRequest,
    path: &[&str],
    now: Timestamp,
) -> Result<SimReply, Refusal> {
    let host = request.header("host").unwrap_or_default();
    let origin = match host.starts_with("127.0.0.1") || host.starts_with("localhost") {
        true => format!("http://{host}"),
        false => STORAGE.to_owned(),
    };
    let batches = &mut world.batches;
    match (&request.method, path) {
        (&Method::GET, []) => {
            let shown = batches.batches.iter().filter(|batch| !batch.deleted);
            let shown = shown.map(|batch| batches.show(batch, &origin, now));
            Ok(SimReply::json(200, &page(request, "batches", shown)?))
        }
        (&Method::GET, [id]) => Ok(SimReply::json(200, &batches.show(batches.find(id)?, &origin, now))),
        (&Method::DELETE, [id]) => {
            batches.find(id)?;
            let place = batches.batches.iter().position(|batch| batch.id == *id);
            let batch = &mut batches.batches[place.ok_or_else(Refusal::not_found)?];
            (batch.deleted, batch.results) = (true, Vec::new());
            Ok(SimReply::status(204).store([stored(batch)]))
        }
        (&Method::POST, []) => {
            let Body { operations } = super::http::body(request)?;
            if operations.is_empty() || operations.len() > MAX_OPERATIONS {
                return Err(Refusal::value("operations"));
            }
            let open = batches.batches.iter().filter(|batch| batches.status(batch, now) != "finished");
            if open.count() >= MAX_OPEN {
                let detail = "You have more than 500 pending batches.";
                return Err(Refusal::new(429, "Too Many Requests", detail));
            }
            let id = format!("{:010x}", batches.batches.len() + 1);
            let mut writes = Vec::new();
            let results = operations.into_iter().map(|operation| done(world, operation, now, &mut writes));
            let batch = Batch { id, submitted: now.as_secs(), results: results.collect(), deleted: false };
            writes.push(stored(&batch));
            let shown = world.batches.show(&batch, &origin, now);
            world.batches.batches.push(batch);
            Ok(SimReply::json(200, &shown).store(writes))
        }
        _ => Err(Refusal::not_found()),
    }
}

/// Does one operation as if it were a request.
fn done(world: &mut World, operation: Operation, now: Timestamp, writes: &mut Vec<SimWrite>) -> Done {
    let request = SimRequest {
        method: operation.method.parse().unwrap_or_default(),
        path: format!("/3.0{}", operation.path),
        query: operation.params.into_iter().collect(),
        headers: HeaderMap::new(),
        body: operation.body.unwrap_or_default().into(),
    };
    let reply = match request.segments().get(1).map(String::as_str) {
        Some("batches") => Err(Refusal::not_found()),
        _ => super::http::route(world, &request, now, None),
    };
    let reply = reply.unwrap_or_else(|refusal| super::http::problem(&refusal, 0));
    writes.extend(reply.writes);
    let response = String::from_utf8_lossy(&reply.body).into_owned();
    Done { status_code: reply.status, operation_id: operation.operation_id, response }
}

fn stored(batch: &Batch) -> SimWrite {
    let value = serde_json::to_vec(batch).expect("a batch serialises");
    SimWrite::put(format!("{PREFIX}{}", batch.id), value)
}

/// The archive of a batch: a folder, and files with some results each.
fn pack(batch: &Batch) -> Vec<u8> {
    const SOUND: &str = "writing to memory does not fail";
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut folder = tar::Header::new_gnu();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_mode(0o755);
    folder.set_size(0);
    archive.append_data(&mut folder, "results/", std::io::empty()).expect(SOUND);
    for (number, results) in batch.results.chunks(FILE).enumerate() {
        let text = serde_json::to_vec(results).expect("results serialise");
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, format!("results/{number}.json"), text.as_slice()).expect(SOUND);
    }
    archive.into_inner().and_then(GzEncoder::finish).expect(SOUND)
}
