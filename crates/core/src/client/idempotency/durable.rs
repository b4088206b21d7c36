//! Keys that are written down before the first byte leaves, so that a call that was interrupted can be made again without a
//! second effect.

use super::invalid;
use crate::client::Core;
use crate::{Error, ErrorKind, IdempotencyKey, Request, Response, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use martlet_base::{Delivery, Timestamp};
use martlet_store::{CellKey, Expect, Store, StoreError, Version, WriteBatch};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// The keys of one client.
#[derive(Debug)]
pub(crate) struct DurableKeys {
    store: Arc<dyn Store>,
    /// How long the platform remembers a key.
    valid_for: Duration,
}

/// What is written down about a key. It outlives the platform's memory, so that a replay that comes too late is noticed.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    fingerprint: String,
    /// Microseconds of the store's clock.
    claimed: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    done: Option<Done>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Done {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    body: String,
}

/// The right to send.
#[derive(Debug)]
pub(crate) struct Claim {
    cell: CellKey,
    version: Version,
    record: Record,
}

pub(crate) enum Claimed {
    /// It was done before: this was the answer.
    Done(Response),
    Send(Claim),
}

const KEPT_AFTER: Duration = Duration::from_secs(90 * 86_400);
/// A larger answer is not written down; the platform is asked again, and replays it.
const LARGEST_BODY: usize = 256 << 10;

impl DurableKeys {
    pub(crate) fn new(store: Arc<dyn Store>, valid_for: Duration) -> Self {
        Self { store, valid_for }
    }

    /// Writes the key down, or finds what became of it.
    pub(crate) async fn claim(&self, request: &Request, key: &IdempotencyKey) -> Result<Claimed> {
        let context = request.context();
        let name =
            hex(&[context.connection.as_str(), context.operation.name(), key.as_str()].map(str::as_bytes));
        let cell = CellKey::new(&format!("idempotency/{}/{name}", context.platform))
            .map_err(|e| invalid(&format!("the idempotency key has no place in the store: {e}")))?;
        let body = request.body().bytes();
        let fingerprint = match &context.fingerprint {
            Some(stable) => hex(&[stable]),
            None => hex(&[request.url().as_str().as_bytes(), &body]),
        };
        loop {
            let now = self.store.now().await.map_err(failed)?;
            let found = self.store.get(std::slice::from_ref(&cell)).await.map_err(failed)?.pop().flatten();
            let expect = match &found {
                None => Expect::Absent,
                Some(found) => {
                    let record: Record = serde_json::from_slice(&found.value).map_err(|e| {
                        Error::new(
                            ErrorKind::Config,
                            "what the store holds under an idempotency key is not ours",
                        )
                        .with_source(e)
                    })?;
                    if record.fingerprint != fingerprint {
                        return Err(invalid("the idempotency key was used for another payload before")
                            .with_code("idempotency_key_reuse"));
                    }
                    let margin = (self.valid_for / 10).min(Duration::from_secs(3_600));
                    let expires =
                        Timestamp::from_micros(record.claimed) + self.valid_for.saturating_sub(margin);
                    match (now >= expires, record.done) {
                        (true, _) if !context.reexecute => {
                            let message = "the platform may have forgotten the idempotency key; sending it could have a second effect";
                            return Err(invalid(message).with_code("idempotency_key_expired"));
                        }
                        (false, Some(done)) => return Ok(Claimed::Done(replay(done, request)?)),
                        // Never finished, as far as is known: the same key again.
                        (false, None) => {
                            let record = Record { fingerprint, claimed: record.claimed, done: None };
                            return Ok(Claimed::Send(Claim { cell, version: found.version, record }));
                        }
                        (true, _) => found.version.into(),
                    }
                }
            };
            let record = Record { fingerprint: fingerprint.clone(), claimed: now.as_micros(), done: None };
            match self.write(&cell, expect, &record).await {
                Ok(version) => return Ok(Claimed::Send(Claim { cell, version, record })),
                // Somebody else was faster: look at what they wrote.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Writes down how it ended. What surely had no effect frees the key.
    pub(crate) async fn settle(&self, claim: Claim, result: &Result<Response>, sensitive: bool) {
        let Claim { cell, version, mut record } = claim;
        // What is lost here is not lost: the record says "not finished", the key is sent again, and the platform replays.
        let _ = match result {
            Ok(response) => {
                let body = std::str::from_utf8(response.body()).ok().filter(|b| b.len() <= LARGEST_BODY);
                let Some(body) = body.filter(|_| !sensitive) else { return };
                record.done = Some(Done {
                    status: response.status().as_u16(),
                    content_type: response.header("content-type").map(str::to_owned),
                    body: body.to_owned(),
                });
                self.write(&cell, version.into(), &record).await.map(drop)
            }
            Err(error)
                if !error.delivery().may_have_been_applied() && error.delivery() != Delivery::Processed =>
            {
                self.store.commit(WriteBatch::new().delete(cell, version)).await.map(drop)
            }
            // Refused by its content: a corrected payload may come under the same key.
            Err(error) if error.kind() == ErrorKind::Rejected => {
                self.store.commit(WriteBatch::new().delete(cell, version)).await.map(drop)
            }
            Err(_) => Ok(()),
        };
    }

    async fn write(&self, cell: &CellKey, expect: Expect, record: &Record) -> Result<Version, StoreError> {
        let json = serde_json::to_vec(record).expect("a record is plain data");
        let kept = Timestamp::from_micros(record.claimed) + self.valid_for.saturating_add(KEPT_AFTER);
        let batch = WriteBatch::new().put_expiring(cell.clone(), expect, json, kept);
        self.store.commit(batch).await.map(|committed| committed.version())
    }
}

fn replay(done: Done, request: &Request) -> Result<Response> {
    let status = StatusCode::from_u16(done.status)
        .map_err(|e| Error::new(ErrorKind::Config, "a stored answer has no valid status").with_source(e))?;
    let mut headers = HeaderMap::new();
    if let Some(value) = done.content_type.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    let mut response = Response::new(status, headers, Bytes::from(done.body), Arc::clone(request.context()));
    response.meta_mut().from_cache = true;
    Ok(response)
}

fn failed(error: StoreError) -> Error {
    Error::new(ErrorKind::Store, "the store of the idempotency keys did not answer; nothing was sent")
        .with_delivery(Delivery::NotSent)
        .with_source(error)
}

/// SHA-256 of the parts, each with its length.
fn hex(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Core {
    /// The call under a key that is written down first.
    pub(crate) async fn durably(
        self: &Arc<Self>,
        keys: &DurableKeys,
        request: Request,
        key: &IdempotencyKey,
    ) -> Result<Response> {
        let sensitive = request.operation().is_sensitive();
        let claim = match keys.claim(&request, key).await? {
            Claimed::Done(response) => return Ok(response),
            Claimed::Send(claim) => claim,
        };
        let result = self.attempts(request).await;
        keys.settle(claim, &result, sensitive).await;
        result
    }
}
