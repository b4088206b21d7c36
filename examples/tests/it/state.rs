//! State that programs keep for years: what version 0.1 wrote is read by this one, and this one writes the same.
//!
//! `tests/golden/state-VERSION.tsv` is a whole store as that version left it: key, expiry in microseconds (or `-`), value. A file
//! is written once, when its version is released, and never again: `MARTLET_GOLDEN=write` makes the one that is not there.

use martlet::auth::{TokenStore, Tokens};
use martlet::core::{
    ApiClient, Call, Client, Credential, Descriptor, Error, ErrorKind, Idempotency, IdempotencyKey, KeyStyle,
    LimitSpec, Operation, Result, StoreQuota, TransportErrorKind,
};
use martlet::pipeline::{
    Batch, Checkpoint, Completeness, Consent, Deletion, Destination, Pipeline, ReadBack, Reader, Record,
    RunReport, Source, Transform, Transformed, WriteOutcome, async_trait,
};
use martlet::resilience::{RetryPolicy, SharedWindow};
use martlet::sqlite::SqliteStore;
use martlet::store::{CellKey, Cells, Expect, MemoryStore, Store, WriteBatch};
use martlet::{ConnectionId, Delivery, ManualClock, Rng, Timestamp};
use martlet_testkit::ScriptedTransport;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const VERSION: &str = "0.1";
const DAY: Duration = Duration::from_secs(86_400);
const PAY: Operation =
    Operation::post("pay", "/v1/pay").idempotency(Idempotency::Keyed(KeyStyle::Header("idempotency-key")));

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A program with everything that martlet can remember, over one store.
struct Program {
    manual: ManualClock,
    store: Arc<dyn Store>,
    transport: ScriptedTransport,
}

impl Program {
    /// Begun `later` than the state was written.
    fn new(later: Duration) -> Self {
        let manual = ManualClock::starting_at(Timestamp::from_secs(1_800_000_000) + later);
        let store = Arc::new(MemoryStore::new(manual.clock()));
        let transport = ScriptedTransport::new(manual.clock());
        Self { manual, store, transport }
    }

    fn tokens(&self) -> TokenStore {
        TokenStore::new(Cells::new(Arc::clone(&self.store), "tokens/"), "acme/1").unwrap()
    }

    fn client(&self) -> Client {
        let limits = LimitSpec::new(LimitSpec::DEFAULT).window("minute", 100, Duration::from_secs(60));
        let window = SharedWindow::builder("acme/daily", "program-1", 1_000, DAY);
        let window = window.build(Arc::new(StoreQuota::new(Arc::clone(&self.store)))).unwrap();
        Client::builder(Descriptor::new("acme", "https://api.acme.example").unwrap().limit(limits))
            .transport(self.transport.clone())
            .credentials(Credential::None)
            .clock(self.manual.clock())
            .rng(Rng::seeded(1))
            .retry(RetryPolicy::never())
            .durable_keys(Arc::clone(&self.store), DAY)
            .quota_journal(Arc::clone(&self.store))
            .shared_window(LimitSpec::DEFAULT, window)
            .build()
            .unwrap()
    }

    async fn pay(&self, client: &Client, id: &str) -> Result<String> {
        let key = IdempotencyKey::derived(&ConnectionId::default(), "pay", id, []);
        let call = Call::new(PAY).json(&json!({ "amount": 5 })).idempotency_key(key);
        self.manual.drive(client.execute(call)).await?.json()
    }

    async fn sync(&self) -> (Pipeline, RunReport) {
        let pipeline = Pipeline::builder("contacts")
            .source(Contacts)
            .transform(Same)
            .destination(Audience)
            .store(Arc::clone(&self.store))
            .clock(self.manual.clock())
            .build()
            .unwrap();
        let report = self.manual.drive(pipeline.run()).await.unwrap();
        (pipeline, report)
    }

    /// Leaves one of each kind of record.
    async fn live(&self) {
        let tokens = Tokens::new("access-1", "refresh-1").expires(Timestamp::from_secs(1_800_003_600));
        assert!(self.tokens().seed(&tokens.scope("contacts")).await.unwrap());
        let client = self.client();
        self.transport
            .on(&PAY)
            .json(201, &"receipt-1")
            .fail(TransportErrorKind::Interrupted, Delivery::Unknown);
        self.pay(&client, "1").await.unwrap();
        self.pay(&client, "2").await.unwrap_err();
        client.close().await.unwrap();
        let (_, report) = self.sync().await;
        assert_eq!((report.counts.written, report.counts.rejected), (2, 1));
    }
}

/// Three records: one with a key that goes by its hash, one that the destination refuses.
#[derive(Debug)]
struct Contacts;

#[async_trait]
impl Source for Contacts {
    fn stream(&self) -> &str {
        "contacts"
    }

    async fn open(&self, _from: Option<&Checkpoint>) -> Result<Box<dyn Reader>> {
        Ok(Box::new(All(false)))
    }

    async fn exists(&self, keys: &[String]) -> Result<Option<Vec<bool>>> {
        Ok(Some(vec![true; keys.len()]))
    }
}

#[derive(Debug)]
struct All(bool);

#[async_trait]
impl Reader for All {
    async fn next(&mut self) -> Result<Option<Batch>> {
        if std::mem::replace(&mut self.0, true) {
            return Ok(None);
        }
        let record = |key: &str, name: &str| {
            let mut record = Record::upsert(key, [("name".to_owned(), json!(name))].into_iter().collect());
            record.consent = Consent::Given;
            record
        };
        let records = vec![record("1", "Ada"), record(&"long".repeat(100), "Zoë"), record("refused", "Bob")];
        Ok(Some(Batch::new(records, Checkpoint::complete("contacts", json!({ "after": "3" })))))
    }

    fn completeness(&self) -> Completeness {
        Completeness::Full
    }
}

#[derive(Debug)]
struct Same;

impl Transform for Same {
    fn id(&self) -> &str {
        "same@1"
    }

    fn apply(&self, record: Record) -> Transformed {
        Transformed::Keep(record)
    }
}

#[derive(Debug)]
struct Audience;

#[async_trait]
impl Destination for Audience {
    fn name(&self) -> &str {
        "audience"
    }

    fn max_batch(&self) -> usize {
        50
    }

    fn target(&self, record: &Record) -> String {
        format!("t-{}", &record.key[..1])
    }

    async fn write(&self, records: &[Record]) -> Result<Vec<WriteOutcome>> {
        let outcome = |record: &Record| match record.key.as_str() {
            "refused" => {
                WriteOutcome::Rejected(Error::new(ErrorKind::Rejected, "no address").with_code("INVALID"))
            }
            _ => WriteOutcome::Written,
        };
        Ok(records.iter().map(outcome).collect())
    }

    async fn delete(&self, deletions: &[Deletion]) -> Result<Vec<WriteOutcome>> {
        panic!("nothing is gone at the source: {deletions:?}")
    }

    async fn read_back(&self) -> Result<Box<dyn ReadBack>> {
        Err(Error::new(ErrorKind::InvalidRequest, "there is nothing to read"))
    }
}

/// The store in the form of the files.
async fn written(store: &dyn Store) -> String {
    let mut text = String::new();
    for (key, cell) in store.scan("", None, 1_000).await.unwrap() {
        let expires = cell.expires.map_or_else(|| "-".to_owned(), |at| at.as_micros().to_string());
        let value = match std::str::from_utf8(&cell.value) {
            Ok(text) if !text.contains(char::is_control) => text.to_owned(),
            _ => cell.value.iter().fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
        };
        writeln!(text, "{}\t{expires}\t{value}", key.as_str()).unwrap();
    }
    text
}

async fn put_back(store: &dyn Store, text: &str) {
    for line in text.lines() {
        let [key, expires, value] = line.splitn(3, '\t').collect::<Vec<_>>().try_into().unwrap();
        let value = match value.strip_prefix("0x") {
            Some(hex) => (0..hex.len() / 2)
                .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
                .collect::<Vec<_>>(),
            None => value.as_bytes().to_vec(),
        };
        let key = CellKey::new(key).unwrap();
        let batch = match expires {
            "-" => WriteBatch::new().put(key, Expect::Absent, value),
            at => {
                let at = Timestamp::from_micros(at.parse().unwrap());
                WriteBatch::new().put_expiring(key, Expect::Absent, value, at)
            }
        };
        let _ = store.commit(batch).await.unwrap();
    }
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "tsv")).collect()
}

#[tokio::test]
async fn state_is_written_as_this_version_promised() {
    let program = Program::new(Duration::ZERO);
    program.live().await;
    let now = written(&*program.store).await;
    let file = folder().join(format!("state-{VERSION}.tsv"));
    if std::env::var_os("MARTLET_GOLDEN").is_some_and(|what| what == "write") && !file.exists() {
        std::fs::write(&file, &now).unwrap();
    }
    let promised = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        now, promised,
        "programs have files of the old form: this needs a version in the record, and a new file here"
    );
}

#[tokio::test]
async fn state_of_every_version_is_read_from_memory_and_from_a_file() {
    assert!(!files().is_empty());
    for file in files() {
        for sqlite in [false, true] {
            // A minute later: the quota's minute has passed, everything else holds.
            let mut program = Program::new(Duration::from_secs(60));
            let place = tempfile::tempdir().unwrap();
            if sqlite {
                let store = SqliteStore::builder(place.path().join("state.db")).clock(program.manual.clock());
                program.store = Arc::new(program.manual.drive(store.open()).await.unwrap());
            }
            put_back(&*program.store, &std::fs::read_to_string(&file).unwrap()).await;

            let (tokens, _) = program.tokens().load().await.unwrap().unwrap();
            assert_eq!(tokens.access_token.unwrap().expose(), "access-1");
            assert_eq!(tokens.refresh_token.unwrap().expose(), "refresh-1");
            assert_eq!(tokens.expires, Some(Timestamp::from_secs(1_800_003_600)));
            assert_eq!(tokens.scope.as_deref(), Some("contacts"));

            // What was answered is not sent again, what was not is, under its key; places taken then are taken now.
            let client = program.client();
            program.transport.on(&PAY).json(201, &"receipt-2");
            assert_eq!(program.pay(&client, "1").await.unwrap(), "receipt-1");
            assert_eq!(program.pay(&client, "2").await.unwrap(), "receipt-2");
            assert_eq!(program.transport.requests().len(), 1);
            let now = written(&*program.store).await;
            let books = now.lines().find(|line| line.starts_with("shared-quota/acme/daily\t")).unwrap();
            assert!(
                books.contains("\"taken\":[[18000864"),
                "what was taken a minute ago is still taken: {books}"
            );

            let (pipeline, report) = program.sync().await;
            assert_eq!((report.counts.written, report.counts.unchanged), (0, 2), "{report:?}");
            let letters = pipeline.dead_letters().await.unwrap();
            assert_eq!(letters.len(), 1);
            assert_eq!(
                (letters[0].key.as_str(), letters[0].code.as_deref(), letters[0].reason.as_str()),
                ("refused", Some("INVALID"), "no address")
            );
        }
    }
}
