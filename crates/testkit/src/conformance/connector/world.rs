//! What each case runs in.

use super::{Sample, Setup, Signals, Subject, Tested, Tokens};
use crate::RecordedRequest;
use crate::conformance::wire::{Answer, Wire};
use futures_util::future::{Either, select};
use martlet_base::{Clock, ClockHold, ManualClock, Moment, Sleep, TimeSource, Timestamp};
use martlet_core::{ApiClient, Result};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A client, its platform, and the time they share.
pub(super) struct World<C> {
    pub(super) manual: ManualClock,
    pub(super) wire: Wire,
    pub(super) signals: Arc<Signals>,
    pub(super) tokens: Tokens,
    pub(super) client: C,
    pub(super) api: Arc<dyn ApiClient>,
    clock: Weak<HandedOut>,
}

impl<C: Tested> World<C> {
    pub(super) fn new(
        subject: &Subject<C>,
        latency: Duration,
        yields: usize,
        answer: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::build(subject, latency, yields, answer, |setup, _| (subject.build)(setup, ()))
    }

    pub(super) fn build(
        subject: &Subject<C>,
        latency: Duration,
        yields: usize,
        answer: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
        build: impl FnOnce(&Setup, Tokens) -> Result<C>,
    ) -> Self {
        let manual = ManualClock::new();
        let wire = Wire::new(manual.clock(), latency, yields, answer);
        let (signals, tokens) = (Arc::new(Signals::default()), Tokens::default());
        let source = Arc::new(HandedOut { clock: manual.clock(), asked: AtomicUsize::new(0) });
        let clock = Arc::downgrade(&source);
        let setup = Setup {
            transport: Arc::new(wire.clone()),
            clock: Clock::from_source(source),
            signals: Arc::clone(&signals),
        };
        let client = build(&setup, tokens.clone()).expect("the client is built");
        drop(setup);
        // A client that does not have them would sleep in real time, for hours, or pass as one that tells no secrets.
        assert!(
            clock.strong_count() > 0,
            "the client was not given the setup's clock: add .clock(setup.clock()) to its builder"
        );
        assert!(
            Arc::strong_count(&signals) > 1,
            "the client was not given the setup's observer: add .observer(setup.observer()) to its builder"
        );
        let api = (subject.api)(&client);
        Self { manual, wire, signals, tokens, client, api, clock }
    }

    /// One use of the typed API.
    pub(super) async fn run(&self, sample: &Sample<C>) -> Result<()> {
        self.drive((sample.run)(self.client.clone())).await
    }

    /// Runs `future` while the setup's clock runs ahead, and panics when it waits for something else.
    pub(super) async fn drive<F: Future>(&self, future: F) -> F::Output {
        match select(pin!(self.manual.drive(future)), pin!(self.standstill())).await {
            Either::Left((output, _)) => output,
            Either::Right(..) => panic!(
                "nothing has happened for {STANDSTILL} s, and no time of the setup's clock would change that: something waits \
                 by another clock, such as tokio::time or a second client that was not given setup.clock(), or for ever"
            ),
        }
    }

    /// Ends when a client that sleeps by the setup's clock would have done something long ago.
    async fn standstill(&self) {
        let real = Clock::system();
        let (mut seen, mut seconds) = (self.happened(), 0);
        while seconds < STANDSTILL {
            // Second by second: a machine that stood still itself counts as one of them.
            real.sleep(Duration::from_secs(1)).await;
            let happened = self.happened();
            seconds = if happened == seen { seconds + 1 } else { 0 };
            seen = happened;
        }
    }

    /// Changes whenever the client does something.
    fn happened(&self) -> (usize, usize) {
        let asked = self.clock.upgrade().map_or(0, |clock| clock.asked.load(Ordering::SeqCst));
        (asked, self.wire.count())
    }
}

/// Seconds of real time in which nothing happens.
const STANDSTILL: u32 = 10;

/// The setup's clock: it tells whether somebody has it, and uses it.
#[derive(Debug)]
struct HandedOut {
    clock: Clock,
    asked: AtomicUsize,
}

impl HandedOut {
    fn clock(&self) -> &Clock {
        self.asked.fetch_add(1, Ordering::SeqCst);
        &self.clock
    }
}

impl TimeSource for HandedOut {
    fn now(&self) -> Moment {
        self.clock().now()
    }

    fn wall(&self) -> Timestamp {
        self.clock().wall()
    }

    fn sleep_until(&self, at: Moment) -> Sleep {
        self.clock().sleep_until(at)
    }

    fn hold(&self) -> ClockHold {
        self.clock().hold()
    }
}
