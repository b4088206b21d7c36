//! Processes that are killed at random while they work on one store, and a witness who holds the store to its word.
//!
//! A test binary starts [itself](again) in several processes, each of which [works](work) on the store and [says](say) what it was told; the
//! parent kills them in [`Crew::kill_some`] and lets the [`Witness`] check what they were told against what is there.
//!
//! ```no_run
//! # use martlet_store::{MemoryStore, Store, conformance::crash};
//! # async fn open(place: &str) -> MemoryStore { MemoryStore::new(martlet_base::Clock::system()) }
//! // A test that does nothing unless it was started by the one below.
//! async fn what_a_process_does() {
//!     let Some((place, name)) = crash::orders() else { return };
//!     crash::work(std::sync::Arc::new(open(&place).await), &name, crash::say).await;
//! }
//!
//! async fn killed_processes_break_no_promise() {
//!     let mut crew = crash::Crew::start(8, |n| crash::again("crash::what_a_process_does", "state.db", n));
//!     for _ in 0..crash::kills() {
//!         crew.kill_some();
//!     }
//!     crew.stop();
//!     crew.witness.check(&open("state.db").await).await;
//! }
//! ```

use super::key;
use crate::{
    BuryKind, BuryReason, CellKey, Expect, Fence, LogId, Message, MessageId, QueueName, Store,
    StoreErrorKind, WriteBatch,
};
use martlet_base::{Fault, Rng};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Tasks of one process.
const TASKS: usize = 6;

/// So short that leases change hands and messages come again all the time.
const TTL: Duration = Duration::from_millis(40);

fn log() -> LogId {
    LogId::new("witness", "log").expect("valid")
}

fn queue() -> QueueName {
    QueueName::new("witness").expect("valid")
}

/// How often processes are killed: 200 times with `MARTLET_LONG_TESTS` set, else 20.
#[must_use]
pub fn kills() -> usize {
    if std::env::var_os("MARTLET_LONG_TESTS").is_some() { 200 } else { 20 }
}

const PLACE: &str = "MARTLET_CRASH_PLACE";
const NAME: &str = "MARTLET_CRASH_NAME";

/// Starts this test binary again with nothing but the test `test` (its path without the crate), in which [`orders`] answers `place` and a name
/// made from `n`. Its stdout is a pipe.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn again(test: &str, place: &str, n: usize) -> Child {
    Command::new(std::env::current_exe().expect("the path of the test binary is known"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
        .env(NAME, format!("p{n}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary starts")
}

/// In a process that was started by [`again`]: the place of the store and the name to [`work`] under.
#[must_use]
pub fn orders() -> Option<(String, String)> {
    Some((std::env::var(PLACE).ok()?, std::env::var(NAME).ok()?))
}

/// Tells the parent; ends the process when there is none any more.
pub fn say(line: String) {
    // Whole at once, so that a kill cuts no number in two.
    if writeln!(std::io::stdout().lock(), "witness: {line} .").is_err() {
        std::process::exit(1);
    }
}

/// Works on `store` until the process is killed; `say` is called with a line for each thing that the store acknowledged.
/// `name` differs from process to process.
///
/// # Panics
/// When the store breaks its word within this process. An error of kind `Unavailable` is borne: the server may be down.
pub async fn work(store: Arc<dyn Store>, name: &str, say: impl Fn(String) + Send + Sync + 'static) {
    let say = Arc::new(say);
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (store, say, name) = (Arc::clone(&store), Arc::clone(&say), format!("{name}.{task}"));
        tasks.push(tokio::spawn(async move {
            let rng = Rng::system();
            let mut held = None;
            for n in 0_u64.. {
                let name = format!("{name}.{n}");
                let result = match rng.below(5) {
                    0 => write_twice(&*store, &name, &*say).await,
                    1 => append(&*store, &name, &mut held, &*say).await,
                    2 | 3 => send(&*store, &name, &*say).await,
                    _ => receive(&*store, &rng, &*say).await,
                };
                match result {
                    Ok(()) => {}
                    Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                        say(format!("down {}", error.delivery().as_str()));
                        pause().await;
                    }
                    Err(error) => panic!("{name}: {error}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
}

/// A moment of real time, in which the server may come back.
pub(super) async fn pause() {
    let wait = || {
        let (_open, nothing) = channel::<()>();
        let _ = nothing.recv_timeout(Duration::from_millis(20));
    };
    let _ = tokio::task::spawn_blocking(wait).await;
}

type Outcome = Result<(), crate::StoreError>;

async fn write_twice(store: &dyn Store, name: &str, say: &(dyn Fn(String) + Send + Sync)) -> Outcome {
    let batch = WriteBatch::new().put(key(&format!("a/{name}")), Expect::Absent, "v").put(
        key(&format!("b/{name}")),
        Expect::Absent,
        vec![7; 300],
    );
    store.commit(batch).await?;
    say(format!("put {name}"));
    Ok(())
}

async fn append(
    store: &dyn Store,
    name: &str,
    held: &mut Option<Fence>,
    say: &(dyn Fn(String) + Send + Sync),
) -> Outcome {
    // A fence that was got some time ago, and may be stale by now, is tried on purpose.
    if held.is_none() {
        *held = store.lease(&key("job"), name, TTL).await?;
    }
    let Some(fence) = held.clone() else { return Ok(()) };
    let record = format!("{} {name}", fence.token());
    match store.commit(WriteBatch::new().append(log(), Some(&fence), record.clone())).await {
        Ok(committed) => match committed.outcome(0) {
            crate::Outcome::Appended(sequence) => say(format!("append {sequence} {record}")),
            other => panic!("an append was answered with {other:?}"),
        },
        Err(error) if error.kind() == StoreErrorKind::StaleFence => *held = None,
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn send(store: &dyn Store, name: &str, say: &(dyn Fn(String) + Send + Sync)) -> Outcome {
    let order = name.split('.').next().unwrap_or_default().to_owned();
    let mut message = Message::new(name.to_owned()).dedup(name.to_owned());
    if name.len().is_multiple_of(2) {
        message = message.order_key(order);
    }
    let committed = store.commit(WriteBatch::new().enqueue(queue(), message)).await?;
    if let crate::Outcome::Enqueued(id) = committed.outcome(0) {
        say(format!("sent {id}"));
    }
    Ok(())
}

async fn receive(store: &dyn Store, rng: &Rng, say: &(dyn Fn(String) + Send + Sync)) -> Outcome {
    for received in store.receive(&queue(), 1 + rng.below(4) as usize, TTL).await? {
        let (id, delivery) = (received.item.id, received.receipt.delivery());
        say(format!("got {id} {delivery}"));
        let done = |batch: WriteBatch, what: &str| batch.put(done_key(id), Expect::Absent, what.to_owned());
        let batch = WriteBatch::new();
        let (batch, word) = match rng.below(12) {
            0 => continue, // Left to lapse.
            1 => (batch.retry_at(&received.receipt, store.now().await?), "again"),
            2 => {
                let reason = BuryReason::new(BuryKind::Poison, "a test");
                (done(batch.bury(&received.receipt, reason), "buried"), "done")
            }
            _ => (done(batch.ack(&received.receipt), "acked"), "done"),
        };
        match store.commit(batch).await {
            Ok(_) => say(format!("{word} {id} {delivery}")),
            Err(error) if error.kind() == StoreErrorKind::StaleFence => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn done_key(id: MessageId) -> CellKey {
    key(&format!("done/{id}"))
}

/// What the processes were told, and whether it is true.
#[derive(Debug, Default)]
pub struct Witness {
    cells: BTreeSet<String>,
    records: BTreeMap<u64, String>,
    sent: BTreeSet<u64>,
    /// The delivery by which a message was settled for good, and the highest that anybody got.
    done: HashMap<u64, u64>,
    got: HashMap<u64, u64>,
    lines: usize,
    /// How many times a store was away, as a line that is no promise.
    down: usize,
}

impl Witness {
    /// Takes down one line.
    ///
    /// # Panics
    /// When it contradicts an earlier one.
    pub fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        self.lines += 1;
        match words[0] {
            "put" => drop(self.cells.insert(words[1].to_owned())),
            "append" => {
                let before = self.records.insert(number(1), words[2..].join(" "));
                assert_eq!(before, None, "two records got the place {}", words[1]);
            }
            "sent" => assert!(self.sent.insert(number(1)), "two messages got the number {}", words[1]),
            "got" => {
                let highest = self.got.entry(number(1)).or_default();
                *highest = number(2).max(*highest);
            }
            "done" => {
                let before = self.done.insert(number(1), number(2));
                assert_eq!(before, None, "message {} was settled twice", words[1]);
            }
            "again" => {}
            "down" => self.down += 1,
            other => panic!("no such word: {other}"),
        }
    }

    /// How many promises it has heard.
    #[must_use]
    pub fn heard(&self) -> usize {
        self.lines - self.down
    }

    /// Holds the store to what it said. Nobody may work on it meanwhile.
    ///
    /// # Panics
    /// When something that was acknowledged is not there, by half there, or undone.
    pub async fn check(&self, store: &dyn Store) {
        let (a, b) = (names(store, "a/").await, names(store, "b/").await);
        assert_eq!(a, b, "half of a batch");
        let lost: Vec<_> = self.cells.difference(&a).collect();
        assert!(lost.is_empty(), "acknowledged cells that are gone: {lost:?}");

        let (mut sequence, mut token) = (0, 0);
        loop {
            let page = store.read_log(&log(), sequence + 1, 1_000).await.expect("read_log works");
            if page.is_empty() {
                break;
            }
            for record in page {
                sequence += 1;
                assert_eq!(record.sequence, sequence, "a gap in the log");
                let body = String::from_utf8(record.body.to_vec()).expect("text");
                let its: u64 = body.split(' ').next().and_then(|token| token.parse().ok()).expect("a token");
                assert!(
                    its >= token,
                    "record {sequence} was written with the stale fence {its} after {token}"
                );
                token = its;
                if let Some(told) = self.records.get(&sequence) {
                    assert_eq!(&body, told, "another record at the place {sequence}");
                }
            }
        }
        let last = self.records.last_key_value().map_or(0, |(sequence, _)| *sequence);
        assert!(sequence >= last, "record {last} was acknowledged, and the log ends at {sequence}");

        let done: BTreeSet<u64> =
            names(store, "done/").await.iter().map(|id| id.parse().expect("a number")).collect();
        let (mut there, mut buried, mut after) = (BTreeSet::new(), BTreeSet::new(), None);
        loop {
            let page = store.peek(&queue(), None, after, 1_000).await.expect("peek works");
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for item in page {
                let set = if item.buried.is_some() { &mut buried } else { &mut there };
                set.insert(item.id.as_u64());
            }
        }
        for id in &self.sent {
            assert!(there.contains(id) || done.contains(id), "message {id} was acknowledged and is gone");
        }
        for id in &there {
            assert!(!done.contains(id), "message {id} is done and still there");
        }
        assert!(buried.is_subset(&done), "half of a batch: {:?}", buried.difference(&done));
        for (id, delivery) in &self.done {
            assert!(done.contains(id), "message {id} was settled, and its effect is gone");
            let highest = self.got.get(id);
            assert_eq!(highest, Some(delivery), "message {id} was settled and received again");
        }
        let depth = store.depth(&queue()).await.expect("depth works");
        assert_eq!((depth.live(), depth.buried), (there.len() as u64, buried.len() as u64), "the counts");
        assert_eq!(depth.acked, (done.len() - buried.len()) as u64, "the count of what is done");
    }
}

async fn names(store: &dyn Store, prefix: &str) -> BTreeSet<String> {
    let (mut names, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.scan(prefix, after.as_ref(), 1_000).await.expect("scan works");
        let Some((last, _)) = page.last() else { return names };
        after = Some(last.clone());
        names.extend(page.iter().map(|(key, _)| key.as_str()[prefix.len()..].to_owned()));
    }
}

/// Processes that work, and a pipe from each.
pub struct Crew<S: Fn(usize) -> Child> {
    spawn: S,
    children: Vec<Child>,
    started: usize,
    lines: Receiver<String>,
    tell: Sender<String>,
    readers: Arc<Mutex<usize>>,
    rng: Rng,
    /// What they were told.
    pub witness: Witness,
}

impl<S: Fn(usize) -> Child> std::fmt::Debug for Crew<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("children", &self.children.len()).finish_non_exhaustive()
    }
}

impl<S: Fn(usize) -> Child> Drop for Crew<S> {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself: then the test has failed already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl<S: Fn(usize) -> Child> Crew<S> {
    /// So many processes, made by `spawn` from a number that does not come again. Each writes what it [says](work) to its
    /// stdout, which is a pipe, as `witness: <line> .`.
    pub fn start(processes: usize, spawn: S) -> Self {
        let (tell, lines) = channel();
        let mut crew = Self {
            spawn,
            children: Vec::new(),
            started: 0,
            lines,
            tell,
            readers: Arc::default(),
            rng: Rng::system(),
            witness: Witness::default(),
        };
        for _ in 0..processes {
            crew.one_more();
        }
        crew
    }

    fn one_more(&mut self) {
        let mut child = (self.spawn)(self.started);
        self.started += 1;
        let stdout = child.stdout.take().expect("its stdout is a pipe");
        let (tell, readers) = (self.tell.clone(), Arc::clone(&self.readers));
        *readers.lock().expect("no panic") += 1;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                // A line that was cut off by the end of its process says nothing.
                let line = String::from_utf8_lossy(&line).into_owned();
                // The test harness may have begun the line.
                let said = line.split_once("witness: ").and_then(|(_, said)| said.strip_suffix(" ."));
                if let Some(said) = said {
                    let _ = tell.send(said.to_owned());
                }
            }
            *readers.lock().expect("no panic") -= 1;
        });
        self.children.push(child);
    }

    /// Lets them work until they have said `promises` more.
    ///
    /// # Panics
    /// When they say nothing for a minute.
    pub fn listen(&mut self, promises: usize) {
        let until = self.witness.heard() + promises;
        while self.witness.heard() < until {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("the processes work");
            self.witness.note(&line);
        }
    }

    /// Kills one of them, or all at once, at a random point, and starts as many anew. Returns how many it killed.
    pub fn kill_some(&mut self) -> usize {
        let promises = 1 + self.rng.below(300) as usize;
        self.listen(promises);
        for _ in 0..self.rng.below(100_000) {
            std::hint::black_box(self.rng.next_u64());
        }
        let all = self.rng.below(8) == 0;
        let count = if all { self.children.len() } else { 1 };
        for _ in 0..count {
            let at = self.rng.below(self.children.len() as u64) as usize;
            let mut child = self.children.swap_remove(at);
            child.kill().expect("it can be killed");
            let status = child.wait().expect("it ends");
            assert_eq!(status.code(), None, "a process ended by itself: {status}");
        }
        for _ in 0..count {
            self.one_more();
        }
        count
    }

    /// Kills all of them and hears what they had said.
    pub fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().expect("it can be killed");
            let status = child.wait().expect("it ends");
            assert_eq!(status.code(), None, "a process ended by itself: {status}");
        }
        while *self.readers.lock().expect("no panic") > 0 {
            std::thread::yield_now();
        }
        while let Ok(line) = self.lines.try_recv() {
            self.witness.note(&line);
        }
    }

    /// Starts them again after [`stop`](Self::stop).
    pub fn go_on(&mut self, processes: usize) {
        for _ in 0..processes {
            self.one_more();
        }
    }
}
