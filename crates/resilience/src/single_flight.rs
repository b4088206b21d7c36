//! Many callers, one execution.

use crate::lock;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Callers that ask for the same key at the same time share one execution and its result. Nothing is kept afterwards:
/// the next caller starts a new one. Cheap to clone; clones share their flights.
///
/// The work runs on a tokio task of its own, so a caller that goes away strands nobody. `V` is often a `Result` whose
/// error is cheap to clone; an error is shared with those who waited for it and with nobody else.
///
/// A caller with a time limit wraps [`run`](Self::run) in [`Clock::within`](martlet_base::Clock::within) and gives up alone.
/// Never share one between callers whose credentials differ, unless the key holds the credential's identity.
pub struct SingleFlight<K, V>(Arc<Mutex<Flights<K, V>>>);

/// What a flight ends with; `None` while it is under way.
type Landed<V> = Option<Result<V, FlightError>>;

struct Flights<K, V> {
    next_id: u64,
    flying: HashMap<K, Flight<V>>,
    /// Flights that a newer one took the key from, by id. Nobody joins them any more.
    older: HashMap<u64, Flight<V>>,
}

struct Flight<V> {
    id: u64,
    result: watch::Receiver<Landed<V>>,
    waiters: usize,
    detached: bool,
    /// Set as soon as the task is spawned.
    task: Option<AbortHandle>,
}

/// Which flight to take.
#[derive(Clone, Copy)]
enum Boarding {
    /// The one under way, or a new one.
    Join { detached: bool },
    /// A new one.
    Anew,
}

/// The execution ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FlightError {
    /// It panicked. The key is free again.
    #[error("the shared execution panicked")]
    Panicked,
    /// The runtime it ran on was shut down.
    #[error("the shared execution was aborted")]
    Aborted,
}

impl<K, V> SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// With no flight under way.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Flights { next_id: 0, flying: HashMap::new(), older: HashMap::new() })))
    }

    /// Joins the execution under way for `key`, or starts the one that `make` makes.
    ///
    /// Cancel safe: the execution goes on while anybody waits for it, and is aborted when the last one is gone.
    ///
    /// # Errors
    /// [`FlightError`] when the execution panicked or its runtime was shut down.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run<F>(&self, key: K, make: impl FnOnce() -> F) -> Result<V, FlightError>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join(key, make, Boarding::Join { detached: false }).await
    }

    /// Joins no execution that is under way: its result may be older than this call. Starts a new one, which those who come
    /// after this join; who waits for the one before gets that one's result.
    ///
    /// Cancel safe, as [`run`](Self::run).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn refresh<F>(&self, key: K, make: impl FnOnce() -> F) -> Result<V, FlightError>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join(key, make, Boarding::Anew).await
    }

    /// Starts an execution that nobody waits for, unless one is under way, and says whether it did: for what is served stale
    /// while it is renewed. It goes on to its end.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<F>(&self, key: K, make: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (waiter, landing) = self.board(key, Boarding::Join { detached: true });
        let starts = landing.is_some();
        self.take_off(&waiter, landing, make);
        starts
    }

    /// As [`run`](Self::run), but the execution goes on to its end even when nobody waits any more: for work whose loss
    /// hurts, such as the exchange of a refresh token that can be used once.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run_detached<F>(&self, key: K, make: impl FnOnce() -> F) -> Result<V, FlightError>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join(key, make, Boarding::Join { detached: true }).await
    }

    /// How many executions are under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let flights = lock(&self.0);
        flights.flying.len() + flights.older.len()
    }

    async fn join<F>(&self, key: K, make: impl FnOnce() -> F, boarding: Boarding) -> Result<V, FlightError>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (mut waiter, landing) = self.board(key, boarding);
        self.take_off(&waiter, landing, make);
        match waiter.result.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or(Err(FlightError::Aborted)),
            Err(_closed) => Err(FlightError::Aborted),
        }
    }

    /// Begins the execution, if it is this one's duty.
    fn take_off<F>(&self, waiter: &Waiter<K, V>, landing: Option<Landing<K, V>>, make: impl FnOnce() -> F)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let Some(landing) = landing else { return };
        // Not under the lock: `make` is foreign code. If it panics, dropping `landing` frees the key.
        let future = make();
        let task = tokio::spawn(async move { landing.complete(future.await) });
        if let Some(flight) = lock(&self.0).get(&waiter.key, waiter.id) {
            flight.task = Some(task.abort_handle());
        }
    }

    /// Takes a seat on the flight of `key`. Whoever opens the flight gets the duty to land it.
    fn board(&self, key: K, boarding: Boarding) -> (Waiter<K, V>, Option<Landing<K, V>>) {
        let mut flights = lock(&self.0);
        let detached = matches!(boarding, Boarding::Join { detached: true });
        if let (Some(flight), Boarding::Join { .. }) = (flights.flying.get_mut(&key), boarding) {
            flight.waiters += 1;
            flight.detached |= detached;
            let (id, result) = (flight.id, flight.result.clone());
            return (Waiter { flights: self.clone(), key, id, result }, None);
        }
        let id = flights.next_id;
        flights.next_id += 1;
        let (sender, result) = watch::channel(None);
        let flight = Flight { id, result: result.clone(), waiters: 1, detached, task: None };
        if let Some(older) = flights.flying.insert(key.clone(), flight) {
            flights.older.insert(older.id, older);
        }
        drop(flights);
        let landing = Landing { flights: self.clone(), key: key.clone(), id, sender };
        (Waiter { flights: self.clone(), key, id, result }, Some(landing))
    }
}

impl<K: Eq + Hash, V> Flights<K, V> {
    /// The flight of `key` with this id, unless it has landed.
    fn get(&mut self, key: &K, id: u64) -> Option<&mut Flight<V>> {
        match self.flying.get_mut(key).filter(|flight| flight.id == id) {
            None => self.older.get_mut(&id),
            flight => flight,
        }
    }

    fn remove(&mut self, key: &K, id: u64) -> Option<Flight<V>> {
        if self.flying.get(key).is_some_and(|flight| flight.id == id) {
            return self.flying.remove(key);
        }
        self.older.remove(&id)
    }
}

/// One caller's seat. The last one to leave takes the flight down.
struct Waiter<K: Eq + Hash, V> {
    flights: SingleFlight<K, V>,
    key: K,
    id: u64,
    result: watch::Receiver<Landed<V>>,
}

impl<K: Eq + Hash, V> Drop for Waiter<K, V> {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights.0);
        let Some(flight) = flights.get(&self.key, self.id) else {
            return;
        };
        flight.waiters -= 1;
        if flight.waiters == 0 && !flight.detached {
            // Out of the map at once, so that the next caller does not join a flight that is going down.
            let abandoned = flights.remove(&self.key, self.id);
            drop(flights);
            if let Some(task) = abandoned.and_then(|flight| flight.task) {
                task.abort();
            }
        }
    }
}

/// The duty to land a flight: on completion, panic and abort alike.
struct Landing<K: Eq + Hash, V> {
    flights: SingleFlight<K, V>,
    key: K,
    id: u64,
    sender: watch::Sender<Landed<V>>,
}

impl<K: Eq + Hash, V> Landing<K, V> {
    fn complete(self, value: V) {
        self.land(Ok(value));
    }

    fn land(&self, result: Result<V, FlightError>) {
        // First out of the map: who comes after the result starts anew.
        let landed = lock(&self.flights.0).remove(&self.key, self.id);
        drop(landed);
        self.sender.send_if_modified(|landed| {
            let first = landed.is_none();
            if first {
                *landed = Some(result);
            }
            first
        });
    }
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let error = if std::thread::panicking() { FlightError::Panicked } else { FlightError::Aborted };
        self.land(Err(error));
    }
}

impl<K, V> Clone for SingleFlight<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("in_flight", &lock(&self.0).flying.len()).finish()
    }
}
