//! A source and a destination in memory, with switches for what can go wrong.

#![expect(clippy::unwrap_used, reason = "a test double may panic: that fails the test")]

use martlet_base::{Clock, ManualClock, Timestamp};
use martlet_core::{Error, ErrorKind, Result};
use martlet_pipeline::{
    Batch, Checkpoint, Completeness, Consent, Deletion, Destination, Pipeline, ReadBack, Reader, Record,
    RunFailed, RunReport, Source, Transform, Transformed, WriteOutcome, async_trait,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) async fn run_to_end(
    manual: &ManualClock,
    pipeline: &Pipeline,
) -> std::result::Result<RunReport, RunFailed> {
    manual.drive(pipeline.run()).await
}

const PAGE: usize = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Trouble {
    #[default]
    None,
    Fail(usize),
    Exhaust(usize),
    Panic(usize),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Arc<Mutex<TableState>>);

#[derive(Debug, Default)]
struct TableState {
    records: Vec<Record>,
    trouble: Trouble,
    incremental: bool,
    hidden: Vec<String>,
    mute: bool,
    /// When how many records had been read.
    reads: Vec<(usize, usize)>,
}

fn fields(name: &str) -> Map<String, Value> {
    let Value::Object(fields) = json!({ "name": name }) else { unreachable!() };
    fields
}

impl Table {
    pub(crate) fn with(records: usize) -> Self {
        let table = Self::default();
        for n in 0..records {
            table.add(&n.to_string(), &format!("name {n}"));
        }
        table
    }

    pub(crate) fn add(&self, key: &str, name: &str) {
        self.0.lock().unwrap().records.push(Record::upsert(key, fields(name)));
    }

    pub(crate) fn repeat(&self, key: &str, field: &str, value: &str) {
        let mut state = self.0.lock().unwrap();
        let mut copy = state.records.iter().find(|r| r.key == key).unwrap().clone();
        copy.fields.insert(field.into(), value.into());
        state.records.push(copy);
    }

    fn edit(&self, key: &str, change: impl FnOnce(&mut Record)) {
        change(self.0.lock().unwrap().records.iter_mut().find(|r| r.key == key).unwrap());
    }

    pub(crate) fn set(&self, key: &str, field: &str, value: &str) {
        self.edit(key, |r| drop(r.fields.insert(field.into(), value.into())));
    }

    pub(crate) fn consent(&self, key: &str, consent: Consent) {
        self.edit(key, |r| r.consent = consent);
    }

    pub(crate) fn delete(&self, key: &str) {
        let mut state = self.0.lock().unwrap();
        state.records.retain(|r| r.key != key);
        state.records.push(Record::delete(key));
    }

    /// Takes a record away without a word.
    pub(crate) fn vanish(&self, key: &str) {
        self.0.lock().unwrap().records.retain(|r| r.key != key);
    }

    /// Leaves a record out of the list although it is there.
    pub(crate) fn hide(&self, key: &str) {
        self.vanish(key);
        self.0.lock().unwrap().hidden.push(key.into());
    }

    pub(crate) fn cannot_tell(&self) {
        self.0.lock().unwrap().mute = true;
    }

    pub(crate) fn incremental(&self) {
        self.0.lock().unwrap().incremental = true;
    }

    fn trouble(&self, trouble: Trouble) {
        self.0.lock().unwrap().trouble = trouble;
    }

    pub(crate) fn fail_after(&self, records: usize) {
        self.trouble(Trouble::Fail(records));
    }

    pub(crate) fn exhaust_after(&self, records: usize) {
        self.trouble(Trouble::Exhaust(records));
    }

    pub(crate) fn panic_after(&self, records: usize) {
        self.trouble(Trouble::Panic(records));
    }

    pub(crate) fn heal(&self) {
        self.trouble(Trouble::None);
    }

    /// The most records that were read and not yet at the sink, over the whole run.
    pub(crate) fn most_unsettled(&self, sink: &Sink) -> usize {
        let arrivals = sink.arrivals();
        let reads = &self.0.lock().unwrap().reads;
        let arrived_by =
            |tick: usize| arrivals.iter().filter(|(at, _)| *at <= tick).map(|(_, n)| n).sum::<usize>();
        reads.iter().map(|(tick, read)| read.saturating_sub(arrived_by(*tick))).max().unwrap_or(0)
    }
}

/// One order of events over source and sink.
static TICK: AtomicUsize = AtomicUsize::new(0);

fn tick() -> usize {
    TICK.fetch_add(1, Ordering::SeqCst)
}

#[async_trait]
impl Source for Table {
    fn stream(&self) -> &str {
        "table"
    }

    async fn open(&self, from: Option<&Checkpoint>) -> Result<Box<dyn Reader>> {
        let state = self.0.lock().unwrap();
        let at = match from {
            Some(c) if c.is_complete() && state.incremental => state.records.len(),
            Some(c) if !c.is_complete() => usize::try_from(c.position().as_u64().unwrap()).unwrap(),
            _ => 0,
        };
        let completeness = if at > 0 { Completeness::Incremental } else { Completeness::Full };
        Ok(Box::new(TableReader { table: self.clone(), at, done: false, completeness }))
    }

    async fn exists(&self, keys: &[String]) -> Result<Option<Vec<bool>>> {
        let state = self.0.lock().unwrap();
        let there = |key: &String| state.hidden.contains(key) || state.records.iter().any(|r| r.key == *key);
        Ok((!state.mute).then(|| keys.iter().map(there).collect()))
    }
}

#[derive(Debug)]
struct TableReader {
    table: Table,
    at: usize,
    done: bool,
    completeness: Completeness,
}

#[async_trait]
impl Reader for TableReader {
    async fn next(&mut self) -> Result<Option<Batch>> {
        tokio::task::yield_now().await;
        let mut state = self.table.0.lock().unwrap();
        if self.done {
            return Ok(None);
        }
        match state.trouble {
            Trouble::Fail(n) if self.at >= n => {
                return Err(Error::new(ErrorKind::Server, "the table is down"));
            }
            Trouble::Exhaust(n) if self.at >= n => {
                let error = Error::new(ErrorKind::QuotaExhausted, "enough for today");
                return Err(error.with_retry_at(Timestamp::from_secs(1)));
            }
            Trouble::Panic(n) if self.at >= n => {
                drop(state);
                panic!("the table falls over")
            }
            _ => {}
        }
        let page: Vec<Record> = state.records.iter().skip(self.at).take(PAGE).cloned().collect();
        self.at += page.len();
        self.done = self.at == state.records.len();
        state.reads.push((tick(), self.at));
        let position = json!(self.at);
        let checkpoint = if self.done {
            Checkpoint::complete("table", position)
        } else {
            Checkpoint::new("table", position)
        };
        Ok(Some(Batch::new(page, checkpoint).with_total(Some(state.records.len() as u64))))
    }

    fn completeness(&self) -> Completeness {
        self.completeness
    }
}

#[derive(Debug)]
pub(crate) struct Plain(pub(crate) &'static str);

impl Transform for Plain {
    fn id(&self) -> &str {
        self.0
    }

    fn apply(&self, record: Record) -> Transformed {
        if record.text("skip").is_some() {
            return Transformed::Skip { key: record.key, reason: "asked_for" };
        }
        Transformed::Keep(record)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sink(Arc<Mutex<SinkState>>, Clock);

#[derive(Debug, Default)]
struct SinkState {
    records: BTreeMap<String, Record>,
    requests: Vec<usize>,
    arrivals: Vec<(usize, usize)>,
    behaviour: Option<(String, Behaviour)>,
    takes: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Refuse,
    Defer,
    Fail,
    Hang,
    Panic,
}

impl Sink {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Arc::default(), clock)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().records.len()
    }

    pub(crate) fn has(&self, target: &str) -> bool {
        self.0.lock().unwrap().records.contains_key(target)
    }

    pub(crate) fn field(&self, target: &str, field: &str) -> Option<String> {
        self.0.lock().unwrap().records.get(target)?.text(field).map(str::to_owned)
    }

    pub(crate) fn set_field(&self, target: &str, field: &str, value: &str) {
        let mut state = self.0.lock().unwrap();
        state.records.get_mut(target).unwrap().fields.insert(field.into(), value.into());
    }

    pub(crate) fn drop_record(&self, target: &str) {
        self.0.lock().unwrap().records.remove(target).unwrap();
    }

    pub(crate) fn plant(&self, target: &str, key: &str) {
        self.0.lock().unwrap().records.insert(target.into(), Record::upsert(key, fields("planted")));
    }

    pub(crate) fn sent(&self) -> usize {
        self.request_sizes().iter().sum()
    }

    pub(crate) fn request_sizes(&self) -> Vec<usize> {
        self.0.lock().unwrap().requests.clone()
    }

    fn arrivals(&self) -> Vec<(usize, usize)> {
        self.0.lock().unwrap().arrivals.clone()
    }

    pub(crate) fn take(&self, duration: Duration) {
        self.0.lock().unwrap().takes = duration;
    }

    fn when(&self, key: &str, behaviour: Behaviour) {
        self.0.lock().unwrap().behaviour = Some((key.into(), behaviour));
    }

    pub(crate) fn refuse(&self, key: &str) {
        self.when(key, Behaviour::Refuse);
    }

    /// Refuses for the moment; says that trying again may help.
    pub(crate) fn defer(&self, key: &str) {
        self.when(key, Behaviour::Defer);
    }

    pub(crate) fn fail_on(&self, key: &str) {
        self.when(key, Behaviour::Fail);
    }

    pub(crate) fn hang_on(&self, key: &str) {
        self.when(key, Behaviour::Hang);
    }

    pub(crate) fn panic_on(&self, key: &str) {
        self.when(key, Behaviour::Panic);
    }

    pub(crate) fn behave(&self) {
        self.0.lock().unwrap().behaviour = None;
    }
}

#[async_trait]
impl Destination for Sink {
    fn name(&self) -> &str {
        "sink"
    }

    fn max_batch(&self) -> usize {
        50
    }

    fn target(&self, record: &Record) -> String {
        record.text("target").map_or_else(|| format!("t{}", record.key), str::to_owned)
    }

    async fn write(&self, records: &[Record]) -> Result<Vec<WriteOutcome>> {
        let (behaviour, takes) = {
            let mut state = self.0.lock().unwrap();
            state.requests.push(records.len());
            let hit = state.behaviour.clone().filter(|(key, _)| records.iter().any(|r| r.key == *key));
            (hit, state.takes)
        };
        self.1.sleep(takes).await;
        match behaviour.as_ref().map(|(_, b)| *b) {
            Some(Behaviour::Fail) => return Err(Error::new(ErrorKind::Server, "the sink is down")),
            Some(Behaviour::Hang) => std::future::pending::<()>().await,
            Some(Behaviour::Panic) => panic!("the sink falls over"),
            _ => {}
        }
        let mut state = self.0.lock().unwrap();
        state.arrivals.push((tick(), records.len()));
        Ok(records
            .iter()
            .map(|record| {
                if matches!(&behaviour, Some((key, Behaviour::Refuse)) if *key == record.key) {
                    return WriteOutcome::Rejected(Error::new(
                        ErrorKind::Rejected,
                        "the sink does not like it",
                    ));
                }
                if matches!(&behaviour, Some((key, Behaviour::Defer)) if *key == record.key) {
                    let error = Error::new(ErrorKind::Conflict, "not now");
                    return WriteOutcome::Rejected(error.with_recovery(martlet_base::Recovery::Transient));
                }
                state.records.insert(self.target(record), record.clone());
                WriteOutcome::Written
            })
            .collect())
    }

    async fn delete(&self, deletions: &[Deletion]) -> Result<Vec<WriteOutcome>> {
        let mut state = self.0.lock().unwrap();
        Ok(deletions
            .iter()
            .map(|deletion| {
                if state.records.get(&deletion.target).is_some_and(|r| r.key == deletion.key) {
                    state.records.remove(&deletion.target);
                }
                WriteOutcome::Deleted
            })
            .collect())
    }

    async fn read_back(&self) -> Result<Box<dyn ReadBack>> {
        let all: Vec<Record> = self.0.lock().unwrap().records.values().cloned().collect();
        Ok(Box::new(Pages(all.chunks(30).map(<[Record]>::to_vec).collect())))
    }
}

#[derive(Debug)]
struct Pages(std::collections::VecDeque<Vec<Record>>);

#[async_trait]
impl ReadBack for Pages {
    async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        Ok(self.0.pop_front())
    }
}
