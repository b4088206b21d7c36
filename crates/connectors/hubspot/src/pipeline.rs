//! Contacts as a source of records.

use crate::{Contact, ContactId, Direction, FilterOperator, HubSpot, SearchPage};
use async_trait::async_trait;
use martlet_base::Timestamp;
use martlet_core::{Error, ErrorKind, Result};
use martlet_pipeline::{Batch, Checkpoint, Completeness, Consent, Reader, Record, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

const STREAM: &str = "hubspot.contacts";
const OPT_OUT: &str = "hs_email_optout";
const MERGED: &str = "hs_merged_object_ids";

/// Reads contacts as records: all of them on the first run, what changed on the next ones.
///
/// A record's key is the contact's id; its fields are the properties that were asked for and have a value, as text. Its
/// consent comes from `hs_email_optout` (unconfirmed), which is always read: `Withdrawn` when it is "true", `Given` when
/// "false", `Unknown` without a value.
///
/// * **Full run**: the list, 100 contacts a page. An interrupted one goes on at its page.
/// * **Incremental run**: a search for `lastmodifieddate >= since - lookback` in the order of ids, where `since` is the time
///   at which the last complete run began. It moves only when the last page was read. Every page asks for ids greater than
///   the last one seen, so neither HubSpot's cap of 10,000 results nor a contact that moves out of the result while it is
///   read loses anybody.
/// * **Archived contacts** come last, as deletions, whenever an earlier run may have written them: on every run that was
///   given a checkpoint. HubSpot tells about them for 90 days; run more often than that, or reconcile.
///
/// Contacts that were merged into others disappear without being archived (unconfirmed). The survivor changes, and lists them
/// in `hs_merged_object_ids` (unconfirmed), which is always read: they come as deletions beside it. Whatever else a full run
/// does not meet any more is asked for by id before it is taken for gone.
#[derive(Clone, Debug)]
pub struct ContactSource {
    hubspot: HubSpot,
    properties: Vec<String>,
    lookback: Duration,
    full: bool,
}

impl ContactSource {
    /// Reads these properties of the account's contacts, by internal name. All names together should stay under 15,000 characters: on
    /// a full run they travel in the URL.
    #[must_use]
    pub fn new(hubspot: HubSpot, properties: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let properties = properties.into_iter().map(Into::into).collect();
        Self { hubspot, properties, lookback: Duration::from_secs(300), full: false }
    }

    /// How far an incremental run looks back before the start of the last one: for HubSpot's search, which finds a change
    /// only after some seconds, and for clocks that differ. 5 minutes unless said.
    #[must_use]
    pub const fn lookback(mut self, lookback: Duration) -> Self {
        self.lookback = lookback;
        self
    }

    /// Reads everything from the beginning, whatever the checkpoint says.
    #[must_use]
    pub const fn full(mut self, full: bool) -> Self {
        self.full = full;
        self
    }

    /// What is asked for: the properties of the record, the opt-out, and who was merged into it.
    fn asked(&self) -> Vec<String> {
        let mut names = self.properties.clone();
        for own in [OPT_OUT, MERGED] {
            if !names.iter().any(|name| name == own) {
                names.push(own.to_owned());
            }
        }
        names
    }
}

/// Where a run is. Its JSON form is stored in checkpoints: old forms must stay readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    v: u32,
    #[serde(flatten)]
    mode: Mode,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
enum Mode {
    /// In the middle of the list of everything. Times are milliseconds since 1970.
    Full { after: Option<String>, since: i64 },
    /// In the middle of what changed at `from` or later.
    Changes { from: i64, last_id: Option<String>, since: i64 },
    /// In the middle of the archived contacts.
    Archived { after: Option<String>, since: i64 },
    /// A run ended; the next one asks for what changed since.
    Idle { since: i64 },
}

impl Position {
    const VERSION: u32 = 1;

    fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let foreign = |what: &str| {
            Error::new(
                ErrorKind::InvalidRequest,
                format!("the checkpoint of {:?} is not one of {STREAM}: {what}", checkpoint.stream()),
            )
        };
        if checkpoint.stream() != STREAM {
            return Err(foreign("it belongs to another stream"));
        }
        let position: Self = serde_json::from_value(checkpoint.position().clone())
            .map_err(|e| foreign("its position cannot be read").with_source(e))?;
        if position.v != Self::VERSION {
            return Err(foreign(&format!("its version is {}", position.v)));
        }
        Ok(position)
    }
}

impl Mode {
    fn checkpoint(&self) -> Checkpoint {
        let position = serde_json::to_value(Position { v: Position::VERSION, mode: self.clone() })
            .expect("texts and numbers serialise as JSON");
        match self {
            Self::Idle { .. } => Checkpoint::complete(STREAM, position),
            _ => Checkpoint::new(STREAM, position),
        }
    }
}

#[async_trait]
impl Source for ContactSource {
    fn stream(&self) -> &str {
        STREAM
    }

    async fn open(&self, from: Option<&Checkpoint>) -> Result<Box<dyn Reader>> {
        let stored = from.map(Position::read).transpose()?.map(|position| position.mode);
        let now = self.hubspot.clock().wall().as_millis();
        let mode = match stored {
            Some(Mode::Idle { since }) if !self.full => {
                let from = Timestamp::from_millis(since) - self.lookback;
                Mode::Changes { from: from.as_millis(), last_id: None, since: now }
            }
            Some(mode) if !self.full => mode,
            _ => Mode::Full { after: None, since: now },
        };
        let completeness = match &mode {
            Mode::Full { after: None, .. } => Completeness::Full,
            _ => Completeness::Incremental,
        };
        // The archived ones matter only where something was written before.
        let archived = from.is_some();
        Ok(Box::new(ContactReader { source: self.clone(), mode, completeness, archived, total: None }))
    }

    async fn exists(&self, keys: &[String]) -> Result<Option<Vec<bool>>> {
        let ids: Vec<ContactId> = keys.iter().map(|key| ContactId::from(key.as_str())).collect();
        let mut there = std::collections::HashSet::new();
        for chunk in ids.chunks(crate::MAX_BATCH) {
            let found = self.hubspot.contacts().batch_read(chunk, ["hs_object_id"]).await?;
            there.extend(found.into_iter().map(|contact| contact.id));
        }
        Ok(Some(ids.iter().map(|id| there.contains(id)).collect()))
    }
}

#[derive(Debug)]
struct ContactReader {
    source: ContactSource,
    /// What the next page is.
    mode: Mode,
    completeness: Completeness,
    /// Whether the archived contacts are read at the end.
    archived: bool,
    total: Option<u64>,
}

#[async_trait]
impl Reader for ContactReader {
    async fn next(&mut self) -> Result<Option<Batch>> {
        // `mode` moves only after the page was read: a dropped future or an error loses nothing.
        let (records, next) = match &self.mode {
            Mode::Idle { .. } => return Ok(None),
            Mode::Full { after, since } => {
                let since = *since;
                if self.total.is_none() && after.is_none() {
                    self.total = Some(self.count().await?);
                }
                let (contacts, next) = self.list(after.as_deref(), false).await?;
                let next = match next {
                    Some(after) => Mode::Full { after: Some(after), since },
                    None => self.after_living(since),
                };
                (self.records(contacts), next)
            }
            Mode::Changes { from, last_id, since } => {
                let (from, since) = (*from, *since);
                let page = self.changes(from, last_id.as_deref()).await?;
                // The first page counts all of them; later ones only what is left.
                self.total.get_or_insert(page.total);
                let next = match (page.next, page.results.last()) {
                    (Some(_), Some(last)) => {
                        Mode::Changes { from, last_id: Some(last.id.to_string()), since }
                    }
                    _ => self.after_living(since),
                };
                (self.records(page.results), next)
            }
            Mode::Archived { after, since } => {
                let since = *since;
                let (contacts, next) = self.list(after.as_deref(), true).await?;
                let next = match next {
                    Some(after) => Mode::Archived { after: Some(after), since },
                    None => Mode::Idle { since },
                };
                (contacts.into_iter().map(|contact| Record::delete(contact.id.to_string())).collect(), next)
            }
        };
        let batch = Batch::new(records, next.checkpoint()).with_total(self.total);
        self.mode = next;
        Ok(Some(batch))
    }

    fn completeness(&self) -> Completeness {
        self.completeness
    }
}

impl ContactReader {
    /// What comes after all living contacts were read.
    fn after_living(&self, since: i64) -> Mode {
        if self.archived { Mode::Archived { after: None, since } } else { Mode::Idle { since } }
    }

    /// How many contacts there are: the list does not say, a search for everything does.
    async fn count(&self) -> Result<u64> {
        Ok(self.source.hubspot.contacts().search().limit(1).send().await?.total)
    }

    async fn list(&self, after: Option<&str>, archived: bool) -> Result<(Vec<Contact>, Option<String>)> {
        let list = self.source.hubspot.contacts().list();
        let list = if archived { list.archived(true) } else { list.properties(self.source.asked()) };
        list.page(after).await
    }

    async fn changes(&self, from: i64, last_id: Option<&str>) -> Result<SearchPage> {
        let hubspot = &self.source.hubspot;
        let mut search = hubspot
            .contacts()
            .search()
            .modified_since(Timestamp::from_millis(from))
            .sort("hs_object_id", Direction::Ascending)
            .properties(self.source.asked());
        if let Some(last) = last_id {
            search = search.filter("hs_object_id", FilterOperator::Gt, last);
        }
        let page = search.send().await?;
        // A filter that is not kept to would read the same contacts for ever, or end too soon.
        let number = |id: &str| id.parse::<u64>().ok();
        let advances =
            page.results.last().and_then(|last| number(last.id.as_str())) > last_id.and_then(number);
        if page.next.is_some() && !advances {
            let message =
                "the search has a next page, but its last contact has no greater id than the page before";
            return Err(Error::new(ErrorKind::Decode, message));
        }
        Ok(page)
    }

    fn records(&self, contacts: Vec<Contact>) -> Vec<Record> {
        let mut records = Vec::with_capacity(contacts.len());
        for contact in contacts {
            let merged = contact.properties.get(MERGED).and_then(Option::as_deref).unwrap_or_default();
            let gone =
                merged.split(';').map(str::trim).filter(|id| !id.is_empty() && *id != contact.id.as_str());
            let gone: Vec<Record> = gone.map(Record::delete).collect();
            records.push(self.record(contact));
            records.extend(gone);
        }
        records
    }

    fn record(&self, mut contact: Contact) -> Record {
        let consent = match contact.opted_out() {
            Some(true) => Consent::Withdrawn,
            Some(false) => Consent::Given,
            None => Consent::Unknown,
        };
        let mut fields = Map::new();
        for name in &self.source.properties {
            if let Some(Some(value)) = contact.properties.remove(name) {
                fields.insert(name.clone(), Value::String(value));
            }
        }
        Record::upsert(contact.id.to_string(), fields).with_consent(consent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_positions_keep_their_form() {
        let cases = [
            (
                Mode::Full { after: Some("501".into()), since: 1_700_000_000_000 },
                json!({"v": 1, "mode": "full", "after": "501", "since": 1_700_000_000_000_i64}),
            ),
            (
                Mode::Changes { from: 1, last_id: Some("77".into()), since: 2 },
                json!({"v": 1, "mode": "changes", "from": 1, "last_id": "77", "since": 2}),
            ),
            (
                Mode::Archived { after: None, since: 2 },
                json!({"v": 1, "mode": "archived", "after": null, "since": 2}),
            ),
            (Mode::Idle { since: 2 }, json!({"v": 1, "mode": "idle", "since": 2})),
        ];
        for (mode, form) in cases {
            let checkpoint = mode.checkpoint();
            assert_eq!(checkpoint.position(), &form);
            assert_eq!(checkpoint.is_complete(), matches!(mode, Mode::Idle { .. }));
            assert_eq!(Position::read(&checkpoint).unwrap().mode, mode);
        }
    }

    #[test]
    fn foreign_and_newer_checkpoints_are_refused() {
        for (stream, position) in [
            ("mailchimp.members", json!({"v": 1, "mode": "idle", "since": 2})),
            (STREAM, json!({"v": 2, "mode": "idle", "since": 2})),
            (STREAM, json!({"v": 1, "mode": "sideways", "since": 2})),
            (STREAM, json!("x")),
        ] {
            let error = Position::read(&Checkpoint::new(stream, position)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        }
    }
}
