//! How callers reach the task of a backend that does their work, and how a store is closed.

use crate::{StoreError, StoreErrorKind};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// The callers' end of a backend that works through jobs in a task of its own: one for all clones of a store.
///
/// Dropped, it lets the task finish what was sent, like [`close`](Self::close).
pub struct Handle<J> {
    /// `None` once closed.
    open: Mutex<Option<(mpsc::UnboundedSender<J>, watch::Sender<()>)>>,
    done: watch::Receiver<()>,
}

/// The task's end: jobs in the order in which they were sent. Keep it until the last one is answered, because
/// [`Handle::close`] waits for its end.
pub struct Jobs<J> {
    jobs: mpsc::UnboundedReceiver<J>,
    _working: watch::Sender<()>,
}

/// Tells tasks beside the one that works that the store was closed or dropped.
#[derive(Clone)]
pub struct Closing(watch::Receiver<()>);

/// Where the answer to one caller goes.
pub struct Reply<T>(oneshot::Sender<Result<T, StoreError>>);

impl<J> fmt::Debug for Handle<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("closed", &self.check_open().is_err()).finish_non_exhaustive()
    }
}

impl<J> fmt::Debug for Jobs<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closing").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "this store was closed by the program")
}

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the runtime of this store was shut down")
}

impl<J> Handle<J> {
    /// A handle, the jobs that are sent through it, and word of its end.
    #[must_use]
    pub fn new() -> (Self, Jobs<J>, Closing) {
        let (send, jobs) = mpsc::unbounded_channel();
        let (open, closing) = watch::channel(());
        let (working, done) = watch::channel(());
        let handle = Self { open: Mutex::new(Some((send, open))), done };
        (handle, Jobs { jobs, _working: working }, Closing(closing))
    }

    /// Sends the job that `job` makes around the place for its answer, and waits for it. When this future is dropped the job
    /// is done all the same, unless the task looks at [`Reply::is_awaited`].
    ///
    /// # Errors
    /// What the task answers. [`Closed`](StoreErrorKind::Closed): the store was closed before; nothing was done.
    /// [`Unavailable`](StoreErrorKind::Unavailable): the runtime of the task was shut down.
    pub async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> J) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let (send, _) = open.as_ref().ok_or_else(closed)?;
            send.send(job(Reply(reply))).map_err(|_| gone().not_applied())?;
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Whether calls are still accepted.
    ///
    /// # Errors
    /// [`Closed`](StoreErrorKind::Closed).
    pub fn check_open(&self) -> Result<(), StoreError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_some() { Ok(()) } else { Err(closed()) }
    }

    /// Accepts no more jobs and waits until those that were sent are done. Closing twice is fine; dropped early, the closing
    /// goes on.
    pub async fn close(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut done = self.done.clone();
        // Nothing is ever sent: it errs when the last job is done.
        while done.changed().await.is_ok() {}
    }
}

impl<J> Jobs<J> {
    /// The next job; `None`: the store was closed, and there are no more. A dropped future takes none.
    pub async fn next(&mut self) -> Option<J> {
        self.jobs.recv().await
    }

    /// The next job, if one is waiting.
    pub fn waiting(&mut self) -> Option<J> {
        self.jobs.try_recv().ok()
    }
}

impl Closing {
    /// Waits for the end of the store.
    pub async fn closed(&mut self) {
        // Nothing is ever sent.
        while self.0.changed().await.is_ok() {}
    }
}

impl<T> Reply<T> {
    /// Answers. Nobody may listen any more: then the answer is dropped.
    pub fn send(self, answer: Result<T, StoreError>) {
        let _ = self.0.send(answer);
    }

    /// Whether somebody still waits for it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    type Doubled = (u32, Reply<u32>);

    async fn double(mut jobs: Jobs<Doubled>) {
        while let Some((number, reply)) = jobs.next().await {
            tokio::task::yield_now().await;
            reply.send(Ok(number * 2));
        }
    }

    #[tokio::test]
    async fn what_was_sent_before_the_closing_is_done_and_what_comes_later_refused() {
        let (handle, jobs, mut closing) = Handle::new();
        let handle = Arc::new(handle);
        let asked: Vec<_> = (0..5)
            .map(|n| {
                let handle = Arc::clone(&handle);
                tokio::spawn(async move { handle.ask(|reply| (n, reply)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let task = tokio::spawn(double(jobs));
        handle.close().await;
        assert!(task.is_finished());
        closing.closed().await;
        for (n, answer) in asked.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap().unwrap() as usize, n * 2);
        }
        assert_eq!(handle.ask(|reply| (1, reply)).await.unwrap_err().kind(), StoreErrorKind::Closed);
        handle.close().await;
    }

    #[tokio::test]
    async fn a_task_that_ended_is_told_from_one_that_may_have_done_it() {
        let (handle, mut jobs, _closing) = Handle::<Doubled>::new();
        let (lost, ()) = tokio::join!(handle.ask(|reply| (1, reply)), async {
            drop(jobs.next().await);
        });
        assert_eq!(lost.unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(jobs.waiting().is_none());
        drop(jobs);
        let refused = handle.ask(|reply| (1, reply)).await.unwrap_err();
        assert_eq!(refused, gone().not_applied());
    }

    #[tokio::test]
    async fn the_task_can_see_that_nobody_waits() {
        let (handle, mut jobs, _closing) = Handle::<Doubled>::new();
        let asked = handle.ask(|reply| (1, reply));
        let mut asked = Box::pin(asked);
        tokio::select! {
            biased;
            _ = &mut asked => {}
            () = std::future::ready(()) => {}
        }
        let (_, reply) = jobs.next().await.unwrap();
        assert!(reply.is_awaited());
        drop(asked);
        assert!(!reply.is_awaited());
    }
}
