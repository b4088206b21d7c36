use crate::StoreError;
use martlet_base::Clock;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

/// Those who wait in [`Store::ready`](crate::Store::ready): one for all clones of a store.
#[derive(Debug, Default)]
pub struct Waiters(Notify);

impl Waiters {
    /// Wakes all of them: after each commit that touched a queue, and when another process is heard to have done so.
    pub fn wake(&self) {
        self.0.notify_waiters();
    }

    /// [`Store::ready`](crate::Store::ready): waits until something can be received, somebody [wakes](Self::wake) it, or `at_most` has passed, for
    /// clocks that were set and words that were lost. `look` asks the database how long it is until the first message can be
    /// received; `None`: there is none. What happens while it looks is not missed.
    ///
    /// # Errors
    /// Those of `look`.
    pub async fn ready(
        &self,
        clock: &Clock,
        at_most: Duration,
        look: impl Future<Output = Result<Option<Duration>, StoreError>> + Send,
    ) -> Result<(), StoreError> {
        // It listens from here on, before it looks.
        let mut woken = pin!(self.0.notified());
        let wait = look.await?.map_or(at_most, |wait| wait.min(at_most));
        if wait.is_zero() {
            return Ok(());
        }
        let mut sleep = clock.sleep(wait);
        poll_fn(|cx| {
            if woken.as_mut().poll(cx).is_ready() || Pin::new(&mut sleep).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_base::ManualClock;
    use std::task::Context;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn whoever_is_woken_while_it_looks_does_not_wait() {
        let (waiters, manual) = (Waiters::default(), ManualClock::new());
        let look = async {
            waiters.wake();
            Ok(None)
        };
        let clock = manual.clock();
        let mut ready = pin!(waiters.ready(&clock, HOUR, look));
        assert!(ready.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    }

    #[tokio::test]
    async fn it_waits_until_the_first_message_is_due_and_no_longer_than_was_said() {
        let (waiters, manual) = (Waiters::default(), ManualClock::new());
        let clock = manual.clock();
        for (next, at_most, waited) in [
            (Some(Duration::ZERO), HOUR, Duration::ZERO),
            (Some(HOUR), HOUR * 2, HOUR),
            (Some(HOUR), HOUR / 2, HOUR / 2),
            (None, HOUR, HOUR),
        ] {
            let before = clock.now();
            manual.drive(waiters.ready(&clock, at_most, async { Ok(next) })).await.unwrap();
            assert_eq!(clock.now().since(before), waited);
        }
    }
}
