//! Random operations give the same answers as [`MemoryStore`]; a failure is shrunk to the few operations that show it.

use super::{MaybeSubject, Subject, key};
use crate::{
    BuryKind, BuryReason, Capabilities, Cell, CellKey, Expect, Fence, LogId, MemoryStore, Message, MessageId,
    Outcome, QueueItem, QueueName, Receipt, Store, StoreError, Version, Write, WriteBatch,
};
use martlet_base::{ManualClock, Rng};
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

/// Steps of one sequence, which begins with an empty store.
const SEQUENCE: usize = 500;

/// How often a failing sequence is run again to make it shorter.
const SHRINK_RUNS: usize = 300;

/// One operation. Messages, receipts and fences are named by when they were given out, so that a sequence makes sense
/// in every store, and with parts left out.
#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<Change>),
    Receive { queue: u64, max: usize, visibility: u64 },
    Lease { key: u64, owner: u64, ttl: u64 },
    Pass(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Put { key: u64, expect: Guess, expires: Option<u64> },
    Delete { key: u64, expect: Guess },
    Check { key: u64, expect: Guess },
    Fenced(u64),
    Append { log: u64, fence: Option<u64> },
    Seal(u64),
    DeleteLog(u64),
    Enqueue { queue: u64, dedup: Option<u64>, order: Option<u64>, delay: Option<u64>, priority: i16 },
    Ack(u64),
    Retry(u64, u64),
    Heartbeat(u64, u64),
    Bury(u64),
    Edit(u64),
    Replay(u64, u64),
    Discard(u64),
}

#[derive(Clone, Copy, Debug)]
enum Guess {
    Any,
    Right,
    Absent,
    Wrong,
}

fn pick_op(rng: &Rng, can: Capabilities) -> Op {
    match rng.below(10) {
        0..=5 => Op::Commit((0..=rng.below(4)).map(|_| pick_change(rng, can)).collect()),
        6 | 7 if can.queues => {
            Op::Receive { queue: rng.below(2), max: rng.below(4) as usize, visibility: rng.below(30) }
        }
        8 if can.leases => Op::Lease { key: rng.below(2), owner: rng.below(3), ttl: rng.below(20) },
        _ => Op::Pass(rng.below(10)),
    }
}

fn pick_change(rng: &Rng, can: Capabilities) -> Change {
    let maybe = |n: u64| (rng.below(2) == 0).then(|| rng.below(n));
    let expect = match rng.below(8) {
        0..=3 => Guess::Any,
        4..=5 => Guess::Right,
        6 => Guess::Absent,
        _ => Guess::Wrong,
    };
    loop {
        let recent = rng.below(6);
        return match rng.below(24) {
            0..=2 => Change::Put { key: rng.below(8), expect, expires: maybe(20) },
            3 => Change::Delete { key: rng.below(8), expect },
            4 => Change::Check { key: rng.below(8), expect },
            5 if can.leases => Change::Fenced(recent),
            6 | 7 if can.logs => Change::Append { log: rng.below(4), fence: maybe(3).filter(|n| *n == 0) },
            8 if can.logs && rng.below(4) == 0 => Change::Seal(rng.below(4)),
            9 if can.logs && rng.below(4) == 0 => Change::DeleteLog(rng.below(4)),
            10..=15 if can.queues => Change::Enqueue {
                queue: rng.below(2),
                dedup: maybe(6),
                order: maybe(3),
                delay: maybe(15),
                priority: [0, 0, 0, 1, -1][rng.below(5) as usize],
            },
            16 | 17 if can.queues => Change::Ack(recent),
            18 if can.queues => Change::Retry(recent, rng.below(15)),
            19 if can.queues => Change::Heartbeat(recent, rng.below(15)),
            20 if can.queues => Change::Bury(recent),
            21 if can.queues => Change::Edit(rng.below(12)),
            22 if can.queues => Change::Replay(rng.below(12), rng.below(10)),
            23 if can.queues => Change::Discard(rng.below(12)),
            _ => continue,
        };
    }
}

fn queue(n: u64) -> QueueName {
    QueueName::new(&format!("q{n}")).expect("valid")
}

fn log(n: u64) -> LogId {
    LogId::new(if n.is_multiple_of(2) { "even" } else { "odd" }, &n.to_string()).expect("valid")
}

/// A store, and what it gave out so far.
struct Side<'a> {
    store: &'a dyn Store,
    messages: Vec<MessageId>,
    receipts: Vec<Receipt>,
    fences: Vec<Fence>,
}

/// The `n`th last.
fn last<T: Clone>(given: &[T], n: u64) -> Option<T> {
    given.iter().rev().nth(n as usize).cloned()
}

impl<'a> Side<'a> {
    const fn new(store: &'a dyn Store) -> Self {
        Self { store, messages: Vec::new(), receipts: Vec::new(), fences: Vec::new() }
    }

    /// What a message is called in both stores.
    fn name(&self, id: MessageId) -> String {
        match self.messages.iter().position(|known| *known == id) {
            Some(n) => format!("message {n}"),
            None => format!("unknown message {id}"),
        }
    }

    fn show(&self, item: &QueueItem) -> String {
        let neutral = QueueItem { id: MessageId::from_u64(0), ..item.clone() };
        format!("{} {neutral:?} {:?}", self.name(item.id), item.message.body)
    }

    /// Does it and tells the answer in words that do not depend on numbers of the store.
    async fn run(&mut self, step: usize, op: &Op) -> String {
        match op {
            Op::Pass(_) => String::new(),
            Op::Lease { key: name, owner, ttl } => {
                let (name, owner) = (key(&format!("l{name}")), format!("owner {owner}"));
                match self.store.lease(&name, &owner, Duration::from_secs(*ttl)).await {
                    Ok(Some(fence)) => {
                        let token = fence.token();
                        self.fences.push(fence);
                        format!("fence #{token}")
                    }
                    other => format!("{other:?}"),
                }
            }
            Op::Receive { queue: name, max, visibility } => {
                match self.store.receive(&queue(*name), *max, Duration::from_secs(*visibility)).await {
                    Ok(taken) => {
                        let shown: Vec<_> = taken
                            .iter()
                            .map(|received| {
                                format!("{} until {}", self.show(&received.item), received.visible_again)
                            })
                            .collect();
                        self.receipts.extend(taken.into_iter().map(|received| received.receipt));
                        format!("{shown:?}")
                    }
                    Err(error) => format!("{error:?}"),
                }
            }
            Op::Commit(changes) => match self.batch(step, changes).await {
                Err(error) => format!("{error:?}"),
                Ok(batch) => {
                    let count = batch.len();
                    match self.store.commit(batch).await {
                        Err(error) => format!("{:?} at {:?}", error.kind(), error.write_index()),
                        Ok(committed) => {
                            let outcomes: Vec<_> = (0..count).map(|index| committed.outcome(index)).collect();
                            outcomes.into_iter().map(|outcome| self.told(outcome)).collect()
                        }
                    }
                }
            },
        }
    }

    fn told(&mut self, outcome: Outcome) -> String {
        match outcome {
            Outcome::Enqueued(id) => {
                self.messages.push(id);
                format!("enqueued {}, ", self.name(id))
            }
            Outcome::Duplicate(id) => format!("duplicate of {}, ", self.name(id)),
            other => format!("{other:?}, "),
        }
    }

    async fn batch(&self, step: usize, changes: &[Change]) -> Result<WriteBatch, StoreError> {
        let now = self.store.now().await?;
        let after = |secs: u64| now + Duration::from_secs(secs);
        let mut batch = WriteBatch::new();
        for (index, change) in changes.iter().enumerate() {
            let value = format!("{step}/{index}");
            let receipt = |n: &u64| {
                last(&self.receipts, *n).unwrap_or_else(|| Receipt::new(queue(0), MessageId::from_u64(1), 99))
            };
            let message = |n: &u64| last(&self.messages, *n).unwrap_or(MessageId::from_u64(u64::MAX / 4));
            let fence = |n: u64| last(&self.fences, n).unwrap_or_else(|| Fence::new(key("nobody"), 1));
            batch = match change {
                Change::Put { key: name, expect, expires } => {
                    let (name, expect) = self.expect(*name, *expect).await?;
                    match expires {
                        Some(secs) => batch.put_expiring(name, expect, value, after(*secs)),
                        None => batch.put(name, expect, value),
                    }
                }
                Change::Delete { key: name, expect } => {
                    let (name, expect) = self.expect(*name, *expect).await?;
                    batch.delete(name, expect)
                }
                Change::Check { key: name, expect } => {
                    let (name, expect) = self.expect(*name, *expect).await?;
                    batch.check(name, expect)
                }
                Change::Fenced(n) => batch.fenced(&fence(*n)),
                Change::Append { log: name, fence: with } => {
                    let with = with.map(&fence);
                    batch.append(log(*name), with.as_ref(), value)
                }
                Change::Seal(name) => batch.seal(log(*name), None),
                Change::DeleteLog(name) => batch.with(Write::DeleteLog { log: log(*name) }),
                Change::Enqueue { queue: name, dedup, order, delay, priority } => {
                    let mut message = Message::new(value).priority(*priority);
                    if let Some(n) = dedup {
                        message = message.dedup_for(format!("d{n}"), Duration::from_secs(10 + n));
                    }
                    message.order_key = order.map(|n| format!("k{n}"));
                    message.not_before = delay.map(after);
                    batch.enqueue(queue(*name), message)
                }
                Change::Ack(n) => batch.ack(&receipt(n)),
                Change::Retry(n, secs) => batch.retry_because(&receipt(n), after(*secs), value),
                Change::Heartbeat(n, secs) => batch.heartbeat(&receipt(n), Duration::from_secs(*secs)),
                Change::Bury(n) => {
                    batch.bury(&receipt(n), BuryReason::new(BuryKind::ALL[step % BuryKind::ALL.len()], value))
                }
                Change::Edit(n) => {
                    batch.with(Write::Edit { queue: queue(n % 2), message: message(n), body: value.into() })
                }
                Change::Replay(n, secs) => {
                    batch.with(Write::Replay { queue: queue(n % 2), message: message(n), at: after(*secs) })
                }
                Change::Discard(n) => {
                    let (queue, message, only_buried) = (queue(n % 2), message(n), step.is_multiple_of(2));
                    batch.with(Write::Discard { queue, message, only_buried })
                }
            };
        }
        Ok(batch)
    }

    async fn expect(&self, name: u64, guess: Guess) -> Result<(CellKey, Expect), StoreError> {
        let name = key(&format!("c{name}"));
        let cell = self.store.get(std::slice::from_ref(&name)).await?.pop().flatten();
        let expect = match guess {
            Guess::Any => Expect::Any,
            Guess::Absent => Expect::Absent,
            Guess::Right => cell.map(|cell| cell.version).into(),
            Guess::Wrong => Expect::Version(Version::from_u64(u64::MAX / 4)),
        };
        Ok((name, expect))
    }

    /// Everything that can be read.
    async fn look(&self, can: Capabilities) -> Result<Vec<String>, StoreError> {
        let mut seen = Vec::new();
        let cells = |page: Vec<(CellKey, Cell)>| -> Vec<_> {
            page.into_iter().map(|(key, cell)| (key, cell.value, cell.expires)).collect()
        };
        seen.push(format!("{:?}", cells(self.store.scan("", None, 100).await?)));
        if can.logs {
            seen.push(format!("{:?}", self.store.logs(None, 100).await?));
            seen.push(format!("{:?}", self.store.open_logs("even", None, 100).await?));
            for n in 0..4 {
                let records = self.store.read_log(&log(n), 1, 10_000).await?;
                let bodies: Vec<_> = records.iter().map(|record| &record.body).collect();
                seen.push(format!("{records:?} {bodies:?}"));
            }
        }
        if can.queues {
            seen.push(format!("{:?}", self.store.queues(None, 10).await?));
            for n in 0..2 {
                seen.push(format!("{:?}", self.store.depth(&queue(n)).await?));
                let items = self.store.peek(&queue(n), None, None, 10_000).await?;
                seen.extend(items.iter().map(|item| self.show(item)));
            }
        }
        Ok(seen)
    }
}

/// Runs a sequence on both; `Some` tells where they differ.
async fn differ(subject: &Subject, ops: &[Op]) -> Option<String> {
    let now = subject.store.now().await.expect("now works");
    let manual = ManualClock::starting_at(now);
    let model = MemoryStore::new(manual.clock());
    let can = subject.store.capabilities();
    let (mut ours, mut theirs) = (Side::new(&*subject.store), Side::new(&model));
    for (step, op) in ops.iter().enumerate() {
        if let Op::Pass(secs) = op {
            subject.pass(Duration::from_secs(*secs));
            manual.advance(Duration::from_secs(*secs));
        }
        let (found, expected) = (ours.run(step, op).await, theirs.run(step, op).await);
        if let Some(words) = compare(step, op, &found, &expected) {
            return Some(words);
        }
        if step % 25 == 24 || step + 1 == ops.len() {
            let found = ours.look(can).await.map_err(|error| error.to_string());
            let expected = theirs.look(can).await.map_err(|error| error.to_string());
            if let Some(words) = compare(step, op, &found, &expected) {
                return Some(words);
            }
        }
    }
    None
}

fn compare<T: PartialEq + Debug>(step: usize, op: &Op, found: &T, expected: &T) -> Option<String> {
    (found != expected).then(|| format!("step {step} {op:?}\n   found {found:#?}\nexpected {expected:#?}"))
}

/// `steps` random operations, in sequences that begin with an empty store each, against a [`MemoryStore`].
///
/// The store must be [simulated](Subject::simulated).
///
/// # Panics
/// When the answers differ, with a short sequence of operations that shows it.
pub async fn random_operations<F: Future<Output: MaybeSubject>>(
    make: impl Fn() -> F,
    steps: usize,
    seed: u64,
) {
    for n in 0..steps.div_ceil(SEQUENCE) as u64 {
        let rng = Rng::seeded(seed).stream(n);
        let Some(subject) = make().await.subject() else { return };
        assert!(subject.manual.is_some(), "the model test needs a store with a simulated clock");
        let can = subject.store.capabilities();
        let mut ops: Vec<Op> = (0..SEQUENCE.min(steps)).map(|_| pick_op(&rng, can)).collect();
        let Some(mut words) = differ(&subject, &ops).await else { continue };
        drop(subject);
        let mut runs = 0;
        let mut chunk = ops.len() / 2;
        while chunk > 0 && runs < SHRINK_RUNS {
            let mut at = 0;
            while at < ops.len() && runs < SHRINK_RUNS {
                let mut fewer = ops.clone();
                fewer.drain(at..(at + chunk).min(fewer.len()));
                runs += 1;
                let Some(subject) = make().await.subject() else { return };
                match differ(&subject, &fewer).await {
                    Some(found) => (ops, words) = (fewer, found),
                    None => at += chunk,
                }
            }
            chunk /= 2;
        }
        panic!("seed {seed}, sequence {n}, {} operations:\n{ops:#?}\n{words}", ops.len());
    }
}

/// How many steps to take: 100,000 with `MARTLET_LONG_TESTS` set, else a tenth.
#[must_use]
pub fn steps() -> usize {
    if std::env::var_os("MARTLET_LONG_TESTS").is_some() { 100_000 } else { 10_000 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Committed, Depth, LogInfo, MessageState, Received, Record, StoreErrorKind};
    use async_trait::async_trait;
    use martlet_base::Timestamp;
    use std::sync::Arc;

    /// A store with a bug: it cannot bury a message together with anything else.
    #[derive(Debug)]
    struct Buggy(MemoryStore);

    #[async_trait]
    impl Store for Buggy {
        async fn commit(&self, batch: WriteBatch) -> Result<Committed, StoreError> {
            let buries = batch.writes().iter().any(|write| matches!(write, Write::Bury { .. }));
            if buries && batch.len() > 1 {
                return Err(StoreError::new(StoreErrorKind::Unavailable, "a bug"));
            }
            self.0.commit(batch).await
        }
        async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<Cell>>, StoreError> {
            self.0.get(keys).await
        }
        async fn scan(
            &self,
            prefix: &str,
            after: Option<&CellKey>,
            limit: usize,
        ) -> Result<Vec<(CellKey, Cell)>, StoreError> {
            self.0.scan(prefix, after, limit).await
        }
        async fn read_log(&self, log: &LogId, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
            self.0.read_log(log, from, limit).await
        }
        async fn open_logs(
            &self,
            kind: &str,
            after: Option<&LogId>,
            limit: usize,
        ) -> Result<Vec<LogId>, StoreError> {
            self.0.open_logs(kind, after, limit).await
        }
        async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
            self.0.logs(after, limit).await
        }
        async fn receive(
            &self,
            queue: &QueueName,
            max: usize,
            visibility: Duration,
        ) -> Result<Vec<Received>, StoreError> {
            self.0.receive(queue, max, visibility).await
        }
        async fn peek(
            &self,
            queue: &QueueName,
            state: Option<MessageState>,
            after: Option<MessageId>,
            limit: usize,
        ) -> Result<Vec<QueueItem>, StoreError> {
            self.0.peek(queue, state, after, limit).await
        }
        async fn depth(&self, queue: &QueueName) -> Result<Depth, StoreError> {
            self.0.depth(queue).await
        }
        async fn queues(
            &self,
            after: Option<&QueueName>,
            limit: usize,
        ) -> Result<Vec<QueueName>, StoreError> {
            self.0.queues(after, limit).await
        }
        async fn lease(
            &self,
            key: &CellKey,
            owner: &str,
            ttl: Duration,
        ) -> Result<Option<Fence>, StoreError> {
            self.0.lease(key, owner, ttl).await
        }
        async fn now(&self) -> Result<Timestamp, StoreError> {
            self.0.now().await
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
    }

    #[tokio::test]
    async fn a_bug_is_found_and_shrunk_to_few_operations() {
        let make = || async {
            let manual = ManualClock::new();
            Subject::simulated(Arc::new(Buggy(MemoryStore::new(manual.clock()))), manual)
        };
        let outcome = tokio::spawn(async move { random_operations(make, 5_000, 1).await }).await;
        let panic = outcome.expect_err("the bug is found").into_panic();
        let words = panic.downcast_ref::<String>().expect("a message");
        let count = words.split(" operations:").next().and_then(|head| head.rsplit(' ').next());
        let count: usize = count.and_then(|count| count.parse().ok()).expect("a count");
        assert!(count <= 5, "{words}");
    }
}
