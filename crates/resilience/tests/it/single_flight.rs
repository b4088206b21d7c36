use martlet_base::{Deadline, ManualClock, Moment};
use martlet_resilience::{FlightError, SingleFlight};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;

type Flights = SingleFlight<&'static str, Result<usize, &'static str>>;

/// Work that waits for a go and counts its beginnings and its ends, however it ends.
#[derive(Clone, Default)]
struct Work {
    go: Arc<Notify>,
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
}

impl Work {
    fn run(
        &self,
        result: Result<usize, &'static str>,
    ) -> impl Future<Output = Result<usize, &'static str>> + Send + 'static {
        struct Ends(Arc<AtomicUsize>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let Work { go, begun, ended, finished } = self.clone();
        async move {
            let _ends = Ends(ended);
            begun.fetch_add(1, SeqCst);
            go.notified().await;
            finished.fetch_add(1, SeqCst);
            result
        }
    }

    fn counts(&self) -> (usize, usize, usize) {
        (self.begun.load(SeqCst), self.finished.load(SeqCst), self.ended.load(SeqCst))
    }
}

/// Lets every other task run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn s1_ten_thousand_callers_make_one_execution_and_do_not_spin() {
    // tower-resilience-coalesce 0.13: waiters polled for the whole upstream call.
    let (flights, work, polls) = (Flights::new(), Work::default(), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let (flights, work, polls) = (flights.clone(), work.clone(), Arc::clone(&polls));
            tokio::spawn(async move {
                let mut call = pin!(flights.run("k", || work.run(Ok(7))));
                poll_fn(|cx| {
                    polls.fetch_add(1, SeqCst);
                    call.as_mut().poll(cx)
                })
                .await
            })
        })
        .collect();
    for _ in 0..500 {
        settle().await;
    }
    assert_eq!(work.counts(), (1, 0, 0));
    assert_eq!(polls.load(SeqCst), 10_000, "waiters poll once and sleep");
    work.go.notify_one();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(Ok(7)));
    }
    assert_eq!(polls.load(SeqCst), 20_000, "and once more when it is there");
    assert_eq!((work.counts(), flights.in_flight()), ((1, 1, 1), 0));
}

#[tokio::test]
async fn s2_the_first_caller_may_leave_without_harm_to_the_others() {
    let (flights, work) = (Flights::new(), Work::default());
    let call = |flights: Flights, work: Work| {
        tokio::spawn(async move { flights.run("k", || work.run(Ok(1))).await })
    };
    let first = call(flights.clone(), work.clone());
    settle().await;
    let second = call(flights.clone(), work.clone());
    settle().await;
    first.abort();
    settle().await;
    work.go.notify_one();
    assert_eq!(second.await.unwrap(), Ok(Ok(1)));
    assert_eq!(work.counts(), (1, 1, 1));
}

#[tokio::test]
async fn s3_the_last_waiter_takes_the_work_down() {
    let (flights, work) = (Flights::new(), Work::default());
    for round in 1..=3 {
        let callers: Vec<_> = (0..5)
            .map(|_| {
                let (flights, work) = (flights.clone(), work.clone());
                tokio::spawn(async move { flights.run("k", || work.run(Ok(1))).await })
            })
            .collect();
        settle().await;
        assert_eq!(work.counts(), (round, 0, round - 1), "a new caller starts anew");
        callers.iter().for_each(|c| c.abort());
        settle().await;
        assert_eq!((work.counts(), flights.in_flight()), ((round, 0, round), 0));
    }
}

#[tokio::test]
async fn s3_a_caller_who_comes_while_work_is_going_down_starts_anew() {
    let (flights, abandoned, work) = (Flights::new(), Work::default(), Work::default());
    {
        let mut call = pin!(flights.run("k", || abandoned.run(Ok(1))));
        begin(call.as_mut()).await;
    }
    // The abandoned task goes down while the next one is under way, and must leave it alone.
    let mut first = pin!(flights.run("k", || work.run(Ok(2))));
    begin(first.as_mut()).await;
    settle().await;
    let mut late = pin!(flights.run("k", || work.run(Ok(3))));
    begin(late.as_mut()).await;
    settle().await;
    work.go.notify_one();
    assert_eq!(tokio::join!(first, late), (Ok(Ok(2)), Ok(Ok(2))));
    assert_eq!((abandoned.counts().1, work.counts()), (0, (1, 1, 1)));
}

/// Polls a call once, and lets nobody else run.
async fn begin(mut call: std::pin::Pin<&mut impl Future>) {
    poll_fn(|cx| {
        assert!(call.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn s3_detached_work_goes_on_and_can_be_joined_again() {
    let (flights, work) = (Flights::new(), Work::default());
    let call = {
        let (flights, work) = (flights.clone(), work.clone());
        tokio::spawn(async move { flights.run_detached("token", || work.run(Ok(1))).await })
    };
    settle().await;
    call.abort();
    settle().await;
    assert_eq!((work.counts(), flights.in_flight()), ((1, 0, 0), 1));
    let again = {
        let (flights, work) = (flights.clone(), work.clone());
        tokio::spawn(async move { flights.run("token", || work.run(Ok(2))).await })
    };
    settle().await;
    work.go.notify_one();
    assert_eq!(again.await.unwrap(), Ok(Ok(1)));
    assert_eq!(work.counts(), (1, 1, 1));
}

#[tokio::test]
async fn s3_one_detached_caller_is_enough_to_keep_the_work_going() {
    let (flights, work) = (Flights::new(), Work::default());
    let plain = {
        let (flights, work) = (flights.clone(), work.clone());
        tokio::spawn(async move { flights.run("token", || work.run(Ok(1))).await })
    };
    settle().await;
    let detached = {
        let (flights, work) = (flights.clone(), work.clone());
        tokio::spawn(async move { flights.run_detached("token", || work.run(Ok(2))).await })
    };
    settle().await;
    plain.abort();
    detached.abort();
    settle().await;
    assert_eq!((work.counts(), flights.in_flight()), ((1, 0, 0), 1));
    work.go.notify_one();
    settle().await;
    assert_eq!((work.counts(), flights.in_flight()), ((1, 1, 1), 0));
}

#[tokio::test]
async fn s4_an_error_goes_to_those_who_waited_and_is_not_kept() {
    let flights = Flights::new();
    let (a, b) = tokio::join!(
        flights.run("k", || async {
            tokio::task::yield_now().await;
            Err("down")
        }),
        flights.run("k", || async { unreachable!("joined the first") })
    );
    assert_eq!((a, b), (Ok(Err("down")), Ok(Err("down"))));
    assert_eq!(flights.run("k", || async { Ok(1) }).await, Ok(Ok(1)));
}

#[tokio::test]
async fn s5_a_panic_reaches_every_waiter_and_frees_the_key() {
    let flights = Flights::new();
    let (a, b) = tokio::join!(
        flights.run("k", || async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        }),
        flights.run("k", || async { unreachable!("joined the first") })
    );
    assert_eq!((a, b), (Err(FlightError::Panicked), Err(FlightError::Panicked)));
    assert_eq!(flights.run("k", || async { Ok(1) }).await, Ok(Ok(1)));
}

#[tokio::test]
async fn s5_a_panic_before_the_work_begins_frees_the_key_too() {
    let flights = Flights::new();
    let task = {
        let flights = flights.clone();
        let make = || -> std::future::Ready<Result<usize, &'static str>> { panic!("on purpose") };
        tokio::spawn(async move { flights.run("k", make).await })
    };
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(flights.in_flight(), 0);
    assert_eq!(flights.run("k", || async { Ok(1) }).await, Ok(Ok(1)));
}

#[tokio::test]
async fn s6_a_waiter_with_a_shorter_deadline_gives_up_alone() {
    let manual = ManualClock::new();
    let clock = manual.clock();
    let flights = Flights::new();
    let work = |clock: martlet_base::Clock| async move {
        clock.sleep(Duration::from_secs(10)).await;
        Ok(1)
    };
    let hasty = Deadline::after(clock.now(), Duration::from_secs(1));
    let (patient, gave_up_at) = manual
        .drive(async {
            tokio::join!(flights.run("k", || work(clock.clone())), async {
                let call = flights.run("k", || work(clock.clone()));
                assert_eq!(clock.within(hasty, call).await, None);
                clock.now()
            })
        })
        .await;
    assert_eq!((patient, gave_up_at), (Ok(Ok(1)), Moment::ZERO + Duration::from_secs(1)));
    assert_eq!(clock.now(), Moment::ZERO + Duration::from_secs(10));
}

#[tokio::test]
async fn s8_keys_do_not_share_so_a_key_that_holds_the_credential_separates_two() {
    let flights = Flights::new();
    let (a, b) = tokio::join!(flights.run("a", || async { Ok(1) }), flights.run("b", || async { Ok(2) }));
    assert_eq!((a, b), (Ok(Ok(1)), Ok(Ok(2))));
}

#[test]
fn the_end_of_the_runtime_is_an_error_and_not_a_hang() {
    let flights = Flights::new();
    let (other, here) =
        [(); 2].map(|()| tokio::runtime::Builder::new_current_thread().build().unwrap()).into();
    let started = {
        let flights = flights.clone();
        other.spawn(async move { flights.run_detached("k", std::future::pending).await })
    };
    other.block_on(settle());
    drop(started);
    let waiter = {
        let flights = flights.clone();
        here.spawn(async move { flights.run("k", || async { Ok(1) }).await })
    };
    here.block_on(settle());
    drop(other);
    assert_eq!(here.block_on(waiter).unwrap(), Err(FlightError::Aborted));
    assert_eq!(flights.in_flight(), 0);
}

#[tokio::test]
async fn s7_a_refresh_joins_no_flight_that_began_before_it() {
    let flights: SingleFlight<&str, u32> = SingleFlight::new();
    let (release, wait) = tokio::sync::oneshot::channel::<()>();
    let old = flights.clone();
    let first = tokio::spawn(async move {
        old.run("k", || async {
            wait.await.unwrap();
            1
        })
        .await
    });
    settle().await;
    let (go, hold) = tokio::sync::oneshot::channel::<()>();
    let newer = flights.clone();
    let refresh = tokio::spawn(async move {
        newer
            .refresh("k", || async {
                hold.await.unwrap();
                2
            })
            .await
    });
    settle().await;
    assert_eq!(flights.in_flight(), 2);
    // Who comes now joins the newer one; the older one ends for those who waited for it.
    let late = flights.clone();
    let late = tokio::spawn(async move { late.run("k", || async { unreachable!() }).await });
    settle().await;
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(1));
    go.send(()).unwrap();
    assert_eq!((refresh.await.unwrap(), late.await.unwrap()), (Ok(2), Ok(2)));
    assert_eq!(flights.in_flight(), 0);
}

#[tokio::test]
async fn s3_s7_the_last_waiter_of_an_older_flight_takes_it_down_too() {
    let flights: SingleFlight<&str, u32> = SingleFlight::new();
    let old = flights.clone();
    let first = tokio::spawn(async move { old.run("k", std::future::pending::<u32>).await });
    settle().await;
    assert_eq!(flights.refresh("k", || async { 2 }).await, Ok(2));
    assert_eq!(flights.in_flight(), 1);
    first.abort();
    settle().await;
    assert_eq!(flights.in_flight(), 0);
}

#[tokio::test]
async fn s9_eight_stale_callers_start_one_refresh_and_none_waits() {
    // jaemk/cached #228 shows the shape.
    let flights: SingleFlight<&str, u32> = SingleFlight::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let started = (0..8).filter(|_| {
        let runs = Arc::clone(&runs);
        flights.start("k", || async move {
            tokio::task::yield_now().await;
            runs.fetch_add(1, SeqCst);
            7
        })
    });
    assert_eq!((started.count(), flights.in_flight()), (1, 1));
    settle().await;
    assert_eq!((runs.load(SeqCst), flights.in_flight()), (1, 0));
}
