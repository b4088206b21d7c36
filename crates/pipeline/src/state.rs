//! What a pipeline remembers: one cell per record, one for the checkpoint, one per dead letter.

use crate::{Checkpoint, Consent, ContentHash, PipelineError, Record, WriteOutcome};
use bytes::Bytes;
use martlet_base::Timestamp;
use martlet_store::{CellKey, Cells, Expect, Store, WriteBatch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The cells of one pipeline.
#[derive(Clone, Debug)]
pub(crate) struct State {
    store: Arc<dyn Store>,
    cells: Cells,
}

/// What is known about a record since it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) status: Status,
    pub(crate) consent: Consent,
    pub(crate) content: ContentHash,
    pub(crate) target: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Written,
    Skipped,
    Rejected,
}

impl Known {
    const VERSION: u8 = 1;
    const HEAD: usize = 19;

    fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(Self::HEAD + self.target.len());
        let status = match self.status {
            Status::Written => 0,
            Status::Skipped => 1,
            Status::Rejected => 2,
        };
        bytes.extend([Self::VERSION, status, consent_byte(self.consent)]);
        bytes.extend(self.content.as_u128().to_be_bytes());
        bytes.extend(self.target.as_bytes());
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, target) = bytes.split_at_checked(Self::HEAD)?;
        let [Self::VERSION, status, consent, content @ ..] = head else { return None };
        Some(Self {
            status: match status {
                0 => Status::Written,
                1 => Status::Skipped,
                2 => Status::Rejected,
                _ => return None,
            },
            consent: consent_from(*consent)?,
            content: ContentHash::from_u128(u128::from_be_bytes(content.try_into().ok()?)),
            target: String::from_utf8(target.to_vec()).ok()?,
        })
    }
}

/// The stored checkpoint, and what it was made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) checkpoint: Checkpoint,
    /// Records mapped by another transform are looked at anew.
    pub(crate) transform: String,
}

/// A record that the destination did not take, with the vendor's reason. It holds the record itself, which may be personal
/// data: it is removed when the record is taken later, or when it is gone at the source.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The record's identity at the source.
    pub key: String,
    /// The vendor's code, if it gave one.
    pub code: Option<String>,
    /// The vendor's reason.
    pub reason: String,
    /// When it was refused last, in microseconds since the Unix epoch.
    pub at_micros: i64,
    /// The record as it was sent.
    pub fields: Map<String, Value>,
    consent: u8,
}

impl DeadLetter {
    fn new(record: &Record, error: &martlet_core::Error, at: Timestamp) -> Self {
        Self {
            key: record.key.clone(),
            code: error.code().map(str::to_owned),
            reason: error.message().to_owned(),
            at_micros: at.as_micros(),
            fields: record.fields.clone(),
            consent: consent_byte(record.consent),
        }
    }

    /// The record, to be sent again.
    pub(crate) fn record(&self) -> Option<Record> {
        Some(Record::upsert(self.key.clone(), self.fields.clone()).with_consent(consent_from(self.consent)?))
    }
}

impl fmt::Debug for DeadLetter {
    /// Without the record: it may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("key", &self.key)
            .field("code", &self.code)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

const fn consent_byte(consent: Consent) -> u8 {
    match consent {
        Consent::Unknown => 0,
        Consent::Given => 1,
        Consent::Withdrawn => 2,
    }
}

const fn consent_from(byte: u8) -> Option<Consent> {
    Some(match byte {
        0 => Consent::Unknown,
        1 => Consent::Given,
        2 => Consent::Withdrawn,
        _ => return None,
    })
}

const RECORD: &str = "record/";
const DEAD: &str = "dead/";
const CHECKPOINT: &str = "checkpoint";

impl State {
    pub(crate) fn new(store: Arc<dyn Store>, pipeline: &str) -> Self {
        let cells = Cells::new(Arc::clone(&store), &format!("pipeline/{pipeline}/"));
        Self { store, cells }
    }

    fn key(&self, kind: &str, key: &str) -> Result<CellKey, PipelineError> {
        Ok(self.cells.key(&format!("{kind}{}", cell_name(key)))?)
    }

    pub(crate) async fn load(&self, stream: &str) -> Result<Option<Saved>, PipelineError> {
        let Some(cell) = self.cells.get(CHECKPOINT).await? else { return Ok(None) };
        let saved: Saved = serde_json::from_slice(&cell.value)
            .map_err(|_| PipelineError::State("the checkpoint is not one of this version".into()))?;
        if saved.checkpoint.version() > Checkpoint::VERSION {
            return Err(PipelineError::State("the checkpoint was written by a newer version".into()));
        }
        if saved.checkpoint.stream() != stream {
            let other = saved.checkpoint.stream();
            return Err(PipelineError::State(format!("the checkpoint belongs to {other}, not to {stream}")));
        }
        Ok(Some(saved))
    }

    pub(crate) async fn known(&self, keys: &[&str]) -> Result<Vec<Option<Known>>, PipelineError> {
        let cells = keys.iter().map(|key| self.key(RECORD, key)).collect::<Result<Vec<_>, _>>()?;
        let found = self.store.get(&cells).await?;
        found
            .into_iter()
            .map(|cell| {
                let Some(cell) = cell else { return Ok(None) };
                let known = Known::decode(&cell.value);
                known
                    .map(Some)
                    .ok_or_else(|| PipelineError::State("a record's state is damaged or newer".into()))
            })
            .collect()
    }

    /// Whether any record is known.
    pub(crate) async fn is_empty(&self) -> Result<bool, PipelineError> {
        Ok(self.page(RECORD).await?.is_empty())
    }

    /// Shows every record, by [`cell_name`] and in the order of the names, a page in memory at a time.
    pub(crate) async fn each(&self, mut show: impl FnMut(String, Known)) -> Result<(), PipelineError> {
        let mut after = RECORD.to_owned();
        loop {
            let page = self.page(&after).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = format!("{RECORD}{last}");
            page.into_iter().for_each(|(name, known)| show(name, known));
        }
    }

    async fn page(&self, after: &str) -> Result<Vec<(String, Known)>, PipelineError> {
        let mut out = Vec::new();
        for (name, cell) in self.cells.scan(Some(after), 1000).await? {
            let Some(key) = name.strip_prefix(RECORD) else { break };
            let known = Known::decode(&cell.value)
                .ok_or_else(|| PipelineError::State("a record's state is damaged or newer".into()))?;
            out.push((key.to_owned(), known));
        }
        Ok(out)
    }

    pub(crate) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, PipelineError> {
        let mut all = Vec::new();
        let mut after = DEAD.to_owned();
        loop {
            let page = self.cells.scan(Some(&after), 1000).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = last.clone();
            for (name, cell) in &page {
                if !name.starts_with(DEAD) {
                    return Ok(all);
                }
                let letter = serde_json::from_slice(&cell.value)
                    .map_err(|_| PipelineError::State("a dead letter is damaged or newer".into()))?;
                all.push(letter);
            }
        }
    }

    pub(crate) async fn commit(&self, changes: Changes) -> Result<(), PipelineError> {
        if !changes.0.is_empty() {
            self.store.commit(changes.0).await?;
        }
        Ok(())
    }
}

/// The name of a record's cell. Keys are data of the source: one that is too long or has a control character must not stop
/// the run for good, so it goes by its hash. A name that is such a hash is its own name.
pub(crate) fn cell_name(key: &str) -> Cow<'_, str> {
    let plain =
        !key.is_empty() && key.len() <= 256 && !key.starts_with('#') && !key.chars().any(char::is_control);
    if plain || is_hash(key) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(format!("#{:032x}", twox_hash::XxHash3_128::oneshot(key.as_bytes())))
}

/// Whether a cell's name hides the key: the source cannot be asked about it.
pub(crate) fn is_hash(name: &str) -> bool {
    name.strip_prefix('#').is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// 64 bits that stand for a key in a set of keys seen: a collision could hide one key among 2^32.
pub(crate) fn short_hash(key: &str) -> u64 {
    let hash = twox_hash::XxHash3_128::oneshot(cell_name(key).as_bytes());
    u64::try_from(hash & u128::from(u64::MAX)).unwrap_or_default()
}

/// What is to be remembered, in one commit.
#[derive(Debug, Default)]
pub(crate) struct Changes(WriteBatch);

impl Changes {
    fn remember(&mut self, state: &State, key: &str, known: &Known) -> Result<(), PipelineError> {
        let cell = state.key(RECORD, key)?;
        self.0 = std::mem::take(&mut self.0).put(cell, Expect::Any, known.encode());
        Ok(())
    }

    pub(crate) fn forget(&mut self, state: &State, key: &str) -> Result<(), PipelineError> {
        let cell = state.key(RECORD, key)?;
        self.0 = std::mem::take(&mut self.0).delete(cell, Expect::Any);
        Ok(())
    }

    /// What became of `record`: what is known of it from now on, and whether it is a dead letter (`was_dead`: before).
    pub(crate) fn settle(
        &mut self,
        state: &State,
        record: &Record,
        target: String,
        outcome: &WriteOutcome,
        was_dead: bool,
        now: Timestamp,
    ) -> Result<(), PipelineError> {
        let status = match outcome {
            WriteOutcome::Written | WriteOutcome::Deleted => Status::Written,
            WriteOutcome::Skipped(_) => Status::Skipped,
            WriteOutcome::Rejected(error) => {
                self.bury(state, record, error, now)?;
                Status::Rejected
            }
        };
        if was_dead && status != Status::Rejected {
            self.unbury(state, &record.key)?;
        }
        let known = Known { status, consent: record.consent, content: record.content_hash(), target };
        self.remember(state, &record.key, &known)
    }

    fn bury(
        &mut self,
        state: &State,
        record: &Record,
        error: &martlet_core::Error,
        at: Timestamp,
    ) -> Result<(), PipelineError> {
        let letter = DeadLetter::new(record, error, at);
        let value = serde_json::to_vec(&letter).expect("texts and numbers always serialise");
        self.0 = std::mem::take(&mut self.0).put(state.key(DEAD, &record.key)?, Expect::Any, value);
        Ok(())
    }

    pub(crate) fn unbury(&mut self, state: &State, key: &str) -> Result<(), PipelineError> {
        self.0 = std::mem::take(&mut self.0).delete(state.key(DEAD, key)?, Expect::Any);
        Ok(())
    }

    pub(crate) fn checkpoint(&mut self, state: &State, saved: &Saved) -> Result<(), PipelineError> {
        let value = serde_json::to_vec(saved).expect("a checkpoint always serialises");
        self.0 = std::mem::take(&mut self.0).put(state.cells.key(CHECKPOINT)?, Expect::Any, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known {
            status: Status::Rejected,
            consent: Consent::Given,
            content: ContentHash::from_u128(0x0102),
            target: "ab".into(),
        }
    }

    #[test]
    fn the_stored_form_of_a_record_is_pinned() {
        // Lives in users' state files: it may only change together with its version byte.
        let bytes = known().encode();
        assert_eq!(&bytes[..], b"\x01\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02ab");
        assert_eq!(Known::decode(&bytes), Some(known()));
    }

    #[test]
    fn damaged_or_newer_state_is_not_taken_for_something_else() {
        let good = known().encode();
        for bad in
            [&b""[..], &good[..10], &[2u8; 30], &[1u8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(Known::decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_stored_form_of_a_checkpoint_is_pinned() {
        let checkpoint = Checkpoint::new("s", serde_json::json!({"after": "5"}));
        let saved = Saved { checkpoint, transform: "t@1".into() };
        let text = serde_json::to_string(&saved).unwrap();
        assert_eq!(
            text,
            r#"{"checkpoint":{"v":1,"stream":"s","position":{"after":"5"},"complete":false},"transform":"t@1"}"#
        );
    }
}
