use crate::{
    CellKey, Expect, LogId, LogInfo, MessageId, QueueName, Store, StoreError, StoreErrorKind, Version, Write,
    WriteBatch,
};
use martlet_base::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where the destination keeps how far the copy is.
const PROGRESS: &str = "martlet/copy";

/// How much goes in one commit.
const PAGE: usize = 256;
const PAGE_BYTES: usize = 4 << 20;

/// Cells that end so soon are not compared: they may be gone on one side already.
const NEARLY_EXPIRED: Duration = Duration::from_secs(600);

/// What [`copy`] brought over, now and in earlier runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Copied {
    /// Cells.
    pub cells: u64,
    /// Records of logs.
    pub records: u64,
    /// Messages, dead letters included.
    pub messages: u64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Progress {
    copied: Copied,
    part: Part,
}

/// What comes next.
#[derive(Clone, Serialize, Deserialize)]
enum Part {
    Cells {
        after: Option<String>,
    },
    /// The log to go on with, and the records of it that are there.
    Logs {
        after: Option<(String, String)>,
        current: Option<LogPart>,
    },
    Messages {
        after_queue: Option<String>,
        current: Option<(String, u64)>,
    },
    Done,
}

/// Kind, id, the records that are there, and whether it is sealed at the end.
type LogPart = (String, String, u64, bool);

impl Default for Part {
    fn default() -> Self {
        Self::Cells { after: None }
    }
}

/// Copies all cells, logs and messages of one store to another, and compares the two by a checksum at the end. That is how a program moves
/// from a file to a server.
///
/// Nobody may write to either store meanwhile. The destination must be empty. A copy that was interrupted is
/// taken up where it was: progress is a cell of the destination (`martlet/copy`), written in the same commits as
/// what it tells of. It stays there, so a second call of a finished copy only compares.
///
/// Records keep their times, messages their age, deliveries, history and graves. What is **not** carried over: versions of
/// cells and numbers of messages (the destination gives its own), leases (their holders ask anew), the times at which logs were sealed,
/// the totals of queues, and dedup keys whose message is no longer in its queue. What was in flight is ready.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), martlet_store::StoreError> {
/// use martlet_base::Clock;
/// use martlet_store::{CellKey, Expect, MemoryStore, Store, WriteBatch, copy};
///
/// let (from, to) = (MemoryStore::new(Clock::system()), MemoryStore::new(Clock::system()));
/// from.commit(WriteBatch::new().put(CellKey::new("a")?, Expect::Any, "1")).await?;
/// assert_eq!(copy(&from, &to).await?.cells, 1);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`StoreErrorKind::Invalid`] when the destination holds something else. [`StoreErrorKind::Conflict`] when another
/// copy is under way, or when the two differ at the end: somebody wrote to one of them; then empty the destination and begin anew. The
/// trouble of either store: call it again to go on.
///
/// **Cancel safety**: dropped, it may have copied some; call it again to go on.
pub async fn copy(from: &dyn Store, to: &dyn Store) -> Result<Copied, StoreError> {
    let mut copier = Copier::start(from, to).await?;
    loop {
        match copier.progress.part.clone() {
            Part::Cells { after } => copier.cells(after).await?,
            Part::Logs { after, current } => copier.logs(after, current).await?,
            Part::Messages { after_queue, current } => copier.messages(after_queue, current).await?,
            Part::Done => break,
        }
    }
    let until = from.now().await?.max(to.now().await?) + NEARLY_EXPIRED;
    if checksum(from, until).await? != checksum(to, until).await? {
        let detail = "the two stores differ after the copy: somebody wrote to one of them meanwhile; empty the \
                      destination and copy anew";
        return Err(StoreError::new(StoreErrorKind::Conflict, detail));
    }
    Ok(copier.progress.copied)
}

struct Copier<'a> {
    from: &'a dyn Store,
    to: &'a dyn Store,
    key: CellKey,
    progress: Progress,
    version: Option<Version>,
}

impl<'a> Copier<'a> {
    async fn start(from: &'a dyn Store, to: &'a dyn Store) -> Result<Self, StoreError> {
        let key = CellKey::new(PROGRESS)?;
        let cell = to.get(std::slice::from_ref(&key)).await?.pop().flatten();
        let (progress, version) = match cell {
            Some(cell) => {
                let progress = serde_json::from_slice(&cell.value).map_err(|_| {
                    StoreError::new(StoreErrorKind::Corrupt, "the progress of a copy").not_applied()
                })?;
                (progress, Some(cell.version))
            }
            None => {
                let can = to.capabilities();
                let empty = to.scan("", None, 1).await?.is_empty()
                    && (!can.logs || to.logs(None, 1).await?.is_empty())
                    && (!can.queues || to.queues(None, 1).await?.is_empty());
                if !empty {
                    let detail = "the destination of a copy must be empty";
                    return Err(StoreError::new(StoreErrorKind::Invalid, detail));
                }
                (Progress::default(), None)
            }
        };
        Ok(Self { from, to, key, progress, version })
    }

    /// Commits what was read, and how far that is.
    async fn commit(&mut self, batch: WriteBatch, part: Part, add: Copied) -> Result<(), StoreError> {
        let copied = Copied {
            cells: self.progress.copied.cells + add.cells,
            records: self.progress.copied.records + add.records,
            messages: self.progress.copied.messages + add.messages,
        };
        let progress = Progress { copied, part };
        let json = serde_json::to_vec(&progress).map_err(|_| {
            StoreError::new(StoreErrorKind::Invalid, "the progress of a copy cannot be written")
        })?;
        let committed = self.to.commit(batch.put(self.key.clone(), self.version, json)).await?;
        (self.progress, self.version) = (progress, Some(committed.version()));
        Ok(())
    }

    async fn cells(&mut self, after: Option<String>) -> Result<(), StoreError> {
        let after = after.as_deref().map(CellKey::new).transpose()?;
        let page = self.from.scan("", after.as_ref(), PAGE).await?;
        let mut taken = Taken::new(page.len() < PAGE);
        let (mut batch, mut last, mut add) = (WriteBatch::new(), None, Copied::default());
        for (key, cell) in page {
            if !taken.has_room(cell.value.len()) {
                break;
            }
            last = Some(key.to_string());
            if key == self.key {
                continue;
            }
            add.cells += 1;
            batch.push(Write::PutCell { key, value: cell.value, expect: Expect::Any, expires: cell.expires });
        }
        let part = match (taken.all, self.from.capabilities().logs) {
            (false, _) => Part::Cells { after: last },
            (true, true) => Part::Logs { after: None, current: None },
            (true, false) => self.messages_or_done(),
        };
        self.commit(batch, part, add).await
    }

    fn messages_or_done(&self) -> Part {
        if self.from.capabilities().queues {
            Part::Messages { after_queue: None, current: None }
        } else {
            Part::Done
        }
    }

    async fn logs(
        &mut self,
        after: Option<(String, String)>,
        current: Option<LogPart>,
    ) -> Result<(), StoreError> {
        let Some((kind, id, there, sealed)) = current else {
            let after = after.map(|(kind, id)| LogId::new(&kind, &id)).transpose()?;
            let part = match self.from.logs(after.as_ref(), 1).await?.pop() {
                None => self.messages_or_done(),
                Some(LogInfo { id, sealed, .. }) => Part::Logs {
                    after: after.map(|log| (log.kind().to_owned(), log.id().to_owned())),
                    current: Some((id.kind().to_owned(), id.id().to_owned(), 0, sealed.is_some())),
                },
            };
            // Nothing was written: there is nothing to note.
            self.progress.part = part;
            return Ok(());
        };
        let log = LogId::new(&kind, &id)?;
        let page = self.from.read_log(&log, there + 1, PAGE).await?;
        let mut taken = Taken::new(page.len() < PAGE);
        let (mut batch, mut add) = (WriteBatch::new(), Copied::default());
        for record in page {
            if !taken.has_room(record.body.len()) {
                break;
            }
            add.records += 1;
            let appended = Some(record.appended);
            batch.push(Write::Append { log: log.clone(), fence: None, record: record.body, appended });
        }
        let name = (kind, id);
        let part = if taken.all {
            if sealed {
                batch = batch.seal(log, None);
            }
            Part::Logs { after: Some(name), current: None }
        } else {
            let after = after.filter(|after| *after < name);
            Part::Logs { after, current: Some((name.0, name.1, there + add.records, sealed)) }
        };
        self.commit(batch, part, add).await
    }

    async fn messages(
        &mut self,
        after_queue: Option<String>,
        current: Option<(String, u64)>,
    ) -> Result<(), StoreError> {
        let Some((name, after)) = current else {
            let after = after_queue.as_deref().map(QueueName::new).transpose()?;
            match self.from.queues(after.as_ref(), 1).await?.pop() {
                None => return self.commit(WriteBatch::new(), Part::Done, Copied::default()).await,
                Some(name) => {
                    let current = Some((name.to_string(), 0));
                    self.progress.part = Part::Messages { after_queue, current };
                }
            }
            return Ok(());
        };
        let queue = QueueName::new(&name)?;
        let page = self.from.peek(&queue, None, Some(MessageId::from_u64(after)), PAGE).await?;
        let mut taken = Taken::new(page.len() < PAGE);
        let (mut batch, mut add, mut last) = (WriteBatch::new(), Copied::default(), after);
        for item in page {
            if !taken.has_room(item.message.body.len()) {
                break;
            }
            last = item.id.as_u64();
            add.messages += 1;
            batch.push(Write::Restore { queue: queue.clone(), item: Box::new(item) });
        }
        let part = if taken.all {
            Part::Messages { after_queue: Some(name), current: None }
        } else {
            Part::Messages { after_queue, current: Some((name, last)) }
        };
        self.commit(batch, part, add).await
    }
}

/// How much of a page goes into one commit: at least one entry, and not many more bytes than allowed.
struct Taken {
    bytes: usize,
    count: usize,
    /// Whether the page was the last and all of it was taken.
    all: bool,
}

impl Taken {
    const fn new(is_last: bool) -> Self {
        Self { bytes: 0, count: 0, all: is_last }
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        if self.count > 0 && self.bytes + bytes > PAGE_BYTES {
            self.all = false;
            return false;
        }
        self.bytes += bytes;
        self.count += 1;
        true
    }
}

/// FNV-1a with 128 bits (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv-17>): against accidents, not against
/// somebody who means harm.
struct Checksum(u128);

impl Checksum {
    const fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    fn add(&mut self, bytes: &[u8]) {
        // The length first: what is next to each other does not run together.
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

/// Everything that a copy carries over, in its order.
async fn checksum(store: &dyn Store, until: Timestamp) -> Result<u128, StoreError> {
    let mut sum = Checksum::new();
    let mut after = None;
    loop {
        let page = store.scan("", after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (key, cell) in page {
            if key.as_str() == PROGRESS || cell.expires.is_some_and(|at| at <= until) {
                continue;
            }
            sum.add(key.as_str().as_bytes());
            sum.add(&cell.value);
            sum.add(format!("{:?}", cell.expires).as_bytes());
        }
    }
    if store.capabilities().logs {
        let mut after = None;
        while let Some(info) = store.logs(after.as_ref(), 1).await?.pop() {
            sum.add(format!("{:?} {}", info.id, info.sealed.is_some()).as_bytes());
            let mut from = 1;
            loop {
                let page = store.read_log(&info.id, from, PAGE).await?;
                let Some(last) = page.last() else { break };
                from = last.sequence + 1;
                for record in page {
                    sum.add(format!("{} {}", record.sequence, record.appended.as_micros()).as_bytes());
                    sum.add(&record.body);
                }
            }
            after = Some(info.id);
        }
    }
    if store.capabilities().queues {
        let mut after = None;
        while let Some(queue) = store.queues(after.as_ref(), 1).await?.pop() {
            let mut last = None;
            loop {
                let page = store.peek(&queue, None, last, PAGE).await?;
                let Some(item) = page.last() else { break };
                // A queue whose messages are all done is not carried over, so its name alone does not count.
                last = Some(item.id);
                for item in page {
                    sum.add(queue.as_str().as_bytes());
                    sum.add(&item.message.body);
                    // Neither number nor place: those are the store's own, and change by themselves.
                    let told = (&item.message, item.enqueued, item.deliveries, &item.history, &item.buried);
                    sum.add(format!("{told:?}").as_bytes());
                }
            }
            after = Some(queue);
        }
    }
    Ok(sum.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BuryKind, BuryReason, MemoryStore, Message};
    use martlet_base::ManualClock;

    async fn full(clock: &ManualClock) -> MemoryStore {
        let store = MemoryStore::new(clock.clock());
        let now = clock.clock().wall();
        let key = |n: usize| CellKey::new(&format!("k/{n:04}")).unwrap();
        for n in 0..700 {
            let batch = WriteBatch::new().put(key(n), Expect::Any, vec![n as u8; 9_000]);
            store.commit(batch).await.unwrap();
        }
        let soon = now + Duration::from_secs(7200);
        let _ =
            store.commit(WriteBatch::new().put_expiring(key(9_000), Expect::Any, "x", soon)).await.unwrap();
        for (kind, id, count) in [("a", "1", 600), ("a", "2", 1), ("b", "1", 256)] {
            let log = LogId::new(kind, id).unwrap();
            for n in 0..count {
                clock.advance(Duration::from_millis(1));
                let batch = WriteBatch::new().append(log.clone(), None, format!("{kind}{id}{n}"));
                store.commit(batch).await.unwrap();
            }
        }
        let _ = store.commit(WriteBatch::new().seal(LogId::new("a", "2").unwrap(), None)).await.unwrap();
        for name in ["inbox", "outbox"] {
            let queue = QueueName::new(name).unwrap();
            for n in 0..300 {
                let mut message = Message::new(format!("{n}")).dedup(n.to_string()).priority(n as i16 % 3);
                if n % 2 == 0 {
                    message = message.order_key((n % 20).to_string());
                }
                let _ = store.commit(WriteBatch::new().enqueue(queue.clone(), message)).await.unwrap();
            }
            let taken = store.receive(&queue, 20, Duration::from_secs(60)).await.unwrap();
            let reason = BuryReason::new(BuryKind::Poison, "no");
            let batch = WriteBatch::new()
                .bury(&taken[0].receipt, reason)
                .retry_because(&taken[1].receipt, now + Duration::from_secs(9_999), "503")
                .ack(&taken[2].receipt);
            let _ = store.commit(batch).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn everything_is_copied_and_compared() {
        let clock = ManualClock::new();
        let (from, to) = (full(&clock).await, MemoryStore::new(clock.clock()));
        let copied = copy(&from, &to).await.unwrap();
        assert_eq!(copied, Copied { cells: 701, records: 857, messages: 598 });
        let inbox = QueueName::new("inbox").unwrap();
        let (a, b) = (from.depth(&inbox).await.unwrap(), to.depth(&inbox).await.unwrap());
        assert_eq!((a.live(), a.buried, a.delayed, a.blocked), (b.live(), b.buried, b.delayed, b.blocked));
        assert_eq!(copy(&from, &to).await.unwrap(), copied, "a second time only compares");
    }

    /// A store that fails after so many commits.
    #[derive(Debug)]
    struct Failing(MemoryStore, std::sync::atomic::AtomicUsize);

    #[async_trait::async_trait]
    impl Store for Failing {
        async fn commit(&self, batch: WriteBatch) -> Result<crate::Committed, StoreError> {
            if self.1.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                return Err(StoreError::new(StoreErrorKind::Unavailable, "a test"));
            }
            self.0.commit(batch).await
        }
        async fn get(&self, keys: &[CellKey]) -> Result<Vec<Option<crate::Cell>>, StoreError> {
            self.0.get(keys).await
        }
        async fn scan(
            &self,
            prefix: &str,
            after: Option<&CellKey>,
            limit: usize,
        ) -> Result<Vec<(CellKey, crate::Cell)>, StoreError> {
            self.0.scan(prefix, after, limit).await
        }
        async fn read_log(&self, log: &LogId, from: u64, n: usize) -> Result<Vec<crate::Record>, StoreError> {
            self.0.read_log(log, from, n).await
        }
        async fn logs(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogInfo>, StoreError> {
            self.0.logs(after, limit).await
        }
        async fn peek(
            &self,
            queue: &QueueName,
            state: Option<crate::MessageState>,
            after: Option<MessageId>,
            limit: usize,
        ) -> Result<Vec<crate::QueueItem>, StoreError> {
            self.0.peek(queue, state, after, limit).await
        }
        async fn queues(
            &self,
            after: Option<&QueueName>,
            limit: usize,
        ) -> Result<Vec<QueueName>, StoreError> {
            self.0.queues(after, limit).await
        }
        async fn now(&self) -> Result<Timestamp, StoreError> {
            self.0.now().await
        }
        fn capabilities(&self) -> crate::Capabilities {
            self.0.capabilities()
        }
    }

    #[tokio::test]
    async fn a_copy_that_is_interrupted_anywhere_goes_on() {
        let clock = ManualClock::new();
        let from = full(&clock).await;
        let whole = copy(&from, &MemoryStore::new(clock.clock())).await.unwrap();
        let mut interruptions = 0;
        let to = MemoryStore::new(clock.clock());
        let copied = loop {
            let once = Failing(to.clone(), 1.into());
            match copy(&from, &once).await {
                Ok(copied) => break copied,
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}"),
            }
            interruptions += 1;
            assert!(interruptions < 1_000, "no progress");
        };
        assert_eq!(copied, whole);
        assert!(interruptions > 10, "{interruptions}");
    }

    #[tokio::test]
    async fn a_change_meanwhile_is_found_out() {
        let clock = ManualClock::new();
        let (from, to) = (full(&clock).await, MemoryStore::new(clock.clock()));
        copy(&from, &to).await.unwrap();
        for (n, batch) in [
            WriteBatch::new().put(CellKey::new("k/0005").unwrap(), Expect::Any, "other"),
            WriteBatch::new().append(LogId::new("b", "1").unwrap(), None, "more"),
            WriteBatch::new().enqueue(QueueName::new("inbox").unwrap(), Message::new("more")),
        ]
        .into_iter()
        .enumerate()
        {
            let _ = from.commit(batch.clone()).await.unwrap();
            assert!(copy(&from, &to).await.unwrap_err().is_conflict(), "change {n}");
            let _ = to.commit(batch).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_destination_that_holds_something_is_refused() {
        let clock = ManualClock::new();
        let (from, to) = (full(&clock).await, full(&clock).await);
        assert_eq!(copy(&from, &to).await.unwrap_err().kind(), StoreErrorKind::Invalid);
    }
}
