//! Work that finds a full queue waits in a durable one.
//!
//! [`Limits`] keep a bounded queue in memory. What does not fit there is refused
//! ([`LimitError::QueueFull`]) or pushed out by something more urgent ([`LimitError::Shed`]). A [`SpillQueue`] puts both into a
//! queue of a [`Store`](martlet_store::Store) instead, where they survive a crash, and hands them out again, each with its place, as soon as
//! there is room.
//!
//! ```text
//! enter -> room, or a seat in the memory's queue -> Entered::Admitted(permit)
//!       -> full, shed, or others of its class wait in the store -> written there -> Entered::Spilled
//! next  -> the most urgent that waits in the store, and a place for it -> Spilled { body, .. } -> done: acknowledged
//!                                                                       -> dropped: offered again after a while
//! ```
//!
//! * Nothing is lost: what was answered with [`Entered::Spilled`] is handed out until it is [`done`](Spilled::done).
//!   At least once: after a crash in between, twice.
//! * The order within a class is that of coming. As long as anything of its class, or of a more urgent one, waits in the store, a
//!   newcomer goes there too. Across processes that share a queue, each sees the spills of its own.
//! * The body is built only when it is written.
//!
//! ```
//! use martlet_base::{Deadline, ManualClock};
//! use martlet_core::spill::{Entered, SpillQueue};
//! use martlet_resilience::{Limits, Priority};
//! use martlet_store::{MemoryStore, Queue, QueueName};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::new().clock();
//! let limits = Limits::builder().concurrency(1).max_queue(0).build()?;
//! let store = Arc::new(MemoryStore::new(clock.clone()));
//! let spill = SpillQueue::open(limits, Queue::new(store, QueueName::new("orders/spill")?)).await?;
//!
//! let Entered::Admitted(first) =
//!     spill.enter(Priority::Delivery, || "order 1".into(), Deadline::NONE, &clock).await?
//! else { unreachable!("there is room") };
//! let second = spill.enter(Priority::Delivery, || "order 2".into(), Deadline::NONE, &clock).await?;
//! assert!(matches!(second, Entered::Spilled));
//!
//! first.finish(clock.now());
//! let next = spill.next(&clock).await?;
//! assert_eq!(next.body(), "order 2");
//! next.done(clock.now()).await?;
//! # Ok(()) }
//! ```

use bytes::Bytes;
use martlet_base::{Clock, Deadline, Moment};
use martlet_resilience::{LimitError, LimitPermit, Limits, Priority};
use martlet_store::{Message, Queue, Receipt, StoreError};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// [`Limits`] whose overflow waits in a durable queue.
#[derive(Debug)]
pub struct SpillQueue {
    limits: Limits,
    queue: Queue,
    visibility: Duration,
    books: Mutex<Books>,
    /// One at a time takes from the store and waits for a place: two would swap the order.
    turn: tokio::sync::Mutex<()>,
}

/// What this process knows to wait in the store.
#[derive(Debug, Default)]
struct Books {
    /// By class, the most urgent first. What was there at the beginning counts as most urgent: its class is not known yet.
    waiting: [u64; 3],
    /// Spills so far.
    spills: u64,
}

/// Where work went.
#[derive(Debug)]
pub enum Entered<'a> {
    /// It may be done now, with this permit.
    Admitted(LimitPermit<'a>),
    /// It was written to the store: [`SpillQueue::next`] hands it out.
    Spilled,
}

/// Work could be neither admitted nor spilled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// The limits refuse it for another reason than a full queue, such as its deadline.
    #[error(transparent)]
    Limits(#[from] LimitError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// So long is waited when the queue in memory is full of more urgent work.
const FULL: Duration = Duration::from_millis(100);

impl SpillQueue {
    /// The spill of `limits` to `queue`, which nothing else should write to. What lies there from before is handed out first.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(limits: Limits, queue: Queue) -> Result<Self, StoreError> {
        let depth = queue.depth().await?;
        let books = Books { waiting: [depth.live(), 0, 0], spills: 0 };
        let turn = tokio::sync::Mutex::new(());
        Ok(Self { limits, queue, visibility: Duration::from_secs(60), books: Mutex::new(books), turn })
    }

    /// How long a message that was handed out stays hidden from others while it is not done. 60 s unless set.
    #[must_use]
    pub const fn visibility(mut self, time: Duration) -> Self {
        self.visibility = time;
        self
    }

    /// Waits for a place as [`Limits::acquire_as`] does; when the queue in memory is full, or the place in it is taken by something
    /// more urgent, writes what `body` makes to the store.
    ///
    /// Cancel safe, except that a drop during the write leaves open whether it was written.
    ///
    /// # Errors
    /// [`SpillError`]. Nothing was admitted; after an error of the store it may have been written.
    pub async fn enter(
        &self,
        class: Priority,
        body: impl FnOnce() -> Bytes,
        deadline: Deadline,
        clock: &Clock,
    ) -> Result<Entered<'_>, SpillError> {
        if !self.others_wait(class) {
            match self.limits.acquire_as(class, 1, deadline, clock).await {
                Ok(permit) => return Ok(Entered::Admitted(permit)),
                Err(LimitError::QueueFull { .. } | LimitError::Shed) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let entry = Entry::begin(self, class);
        let message = Message::new(body()).priority(priority(class));
        self.queue.enqueue(message).await?;
        entry.written();
        Ok(Entered::Spilled)
    }

    /// Waits for the most urgent work in the store and for a place for it.
    ///
    /// Cancel safe: what was taken from the store and not handed out is offered again after [`visibility`](Self::visibility).
    ///
    /// # Errors
    /// The store's, and those of the limits that waiting does not cure.
    pub async fn next(&self, clock: &Clock) -> Result<Spilled<'_>, SpillError> {
        let _turn = self.turn.lock().await;
        let received = loop {
            let spills = self.books().spills;
            if let Some(received) = self.queue.receive(1, self.visibility).await?.pop() {
                break received;
            }
            self.found_empty(spills);
            self.queue.store().ready(self.queue.name()).await?;
        };
        let class = class_of(received.item.message.priority);
        let permit = loop {
            let mut place = pin!(self.limits.acquire_as(class, 1, Deadline::NONE, clock));
            let outcome = loop {
                let half = Deadline::after(clock.now(), self.visibility / 2);
                match clock.within(half, place.as_mut()).await {
                    Some(outcome) => break outcome,
                    None => self.queue.heartbeat(&received.receipt, self.visibility).await?,
                }
            };
            match outcome {
                Ok(permit) => break permit,
                Err(LimitError::QueueFull { .. } | LimitError::Shed) => {
                    clock.sleep(FULL).await;
                    self.queue.heartbeat(&received.receipt, self.visibility).await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.admitted(class);
        let (body, receipt) = (received.item.message.body, received.receipt);
        Ok(Spilled { body, class, permit, receipt, queue: &self.queue })
    }

    /// How many wait in the store, as far as this process knows.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.books().waiting.iter().sum()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others_wait(&self, class: Priority) -> bool {
        self.books().waiting[..=class as usize].iter().any(|n| *n > 0)
    }

    /// The store had nothing; unless something was written since it was asked, nothing waits there.
    fn found_empty(&self, spills: u64) {
        let mut books = self.books();
        if books.spills == spills {
            books.waiting = [0; 3];
        }
    }

    fn admitted(&self, class: Priority) {
        let mut books = self.books();
        // What was there at the beginning is counted as most urgent.
        let counted = [class as usize, 0].into_iter().find(|class| books.waiting[*class] > 0);
        if let Some(class) = counted {
            books.waiting[class] -= 1;
        }
    }
}

/// Counts work as waiting from before it is written; takes that back when it was not.
struct Entry<'a> {
    spill: &'a SpillQueue,
    class: Priority,
    written: bool,
}

impl<'a> Entry<'a> {
    fn begin(spill: &'a SpillQueue, class: Priority) -> Self {
        let mut books = spill.books();
        books.waiting[class as usize] += 1;
        books.spills += 1;
        Self { spill, class, written: false }
    }

    fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.written {
            let mut books = self.spill.books();
            let waiting = &mut books.waiting[self.class as usize];
            *waiting = waiting.saturating_sub(1);
        }
    }
}

/// Work from the store, with its place. Dropped, it gives the place back and is offered again after a while.
#[derive(Debug)]
#[must_use = "it is offered again unless it is done"]
pub struct Spilled<'a> {
    body: Bytes,
    class: Priority,
    permit: LimitPermit<'a>,
    receipt: Receipt,
    queue: &'a Queue,
}

impl Spilled<'_> {
    /// What was written.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// How urgent it is.
    #[must_use]
    pub const fn class(&self) -> Priority {
        self.class
    }

    /// For a batch of the store that acknowledges it together with the work's effect; then drop this.
    #[must_use]
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// It is done, its request ended at `now`: gives the place back and acknowledges the message.
    ///
    /// # Errors
    /// The store's: then it is offered again.
    pub async fn done(self, now: Moment) -> Result<(), StoreError> {
        self.permit.finish(now);
        self.queue.ack(&self.receipt).await
    }
}

const fn priority(class: Priority) -> i16 {
    2 - class as i16
}

const fn class_of(priority: i16) -> Priority {
    match priority {
        2.. => Priority::Interactive,
        1 => Priority::Delivery,
        _ => Priority::Backfill,
    }
}
