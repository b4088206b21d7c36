//! The pages of a list, one after the other or read ahead of need.

use super::{Cursor, Page, Paging, Position};
use crate::{ApiClient, Error, ErrorKind, Result};
use futures_core::Stream;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The pages of a list, in order: a [`Stream`] of [`Page`]s. From [`Pager::pages`](super::Pager::pages).
///
/// An error is yielded once, then the stream ends; [`cursor`](Self::cursor) stays valid, and
/// [`Pager::resume_from`](super::Pager::resume_from) starts again there. An empty page with a next goes on. Pages that lead to
/// themselves or in a circle are an error, not an endless loop. Cancel safe: a dropped `next()` loses nothing.
#[must_use = "streams do nothing unless polled"]
pub struct Pages<T> {
    list: List<T>,
    /// Where the next page is; `None` at the end.
    at: Option<Position>,
    /// Where to resume: the page that was handed out last is done once the next is asked for.
    pub(super) begun: Position,
    trail: Trail,
    fetch: Fetch<T>,
    pub(super) prefetch: usize,
    finished: bool,
}

/// What is read, and through whom.
struct List<T> {
    client: Arc<dyn ApiClient>,
    paging: Arc<dyn Paging<T>>,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self { client: Arc::clone(&self.client), paging: Arc::clone(&self.paging) }
    }
}

type PageFuture<T> = Pin<Box<dyn Future<Output = (Result<Page<T>>, Trail)> + Send>>;

enum Fetch<T> {
    Idle,
    One(PageFuture<T>),
    Ahead(Ahead<T>),
}

impl<T: Send + 'static> Pages<T> {
    pub(super) fn new(client: Arc<dyn ApiClient>, paging: Arc<dyn Paging<T>>) -> Self {
        Self {
            list: List { client, paging },
            at: Some(Position::Start),
            begun: Position::Start,
            trail: Trail::new(Position::Start),
            fetch: Fetch::Idle,
            prefetch: 0,
            finished: false,
        }
    }

    /// The next page; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Page<T>>> {
        poll_fn(|cx| self.poll_page(cx)).await
    }

    /// Where reading goes on after the pages handed out so far; `None` when the list was read to its end.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.at.as_ref().map(|at| self.name(at))
    }

    pub(super) fn name(&self, at: &Position) -> Cursor {
        let List { client, paging } = &self.list;
        Cursor {
            v: Cursor::VERSION,
            list: format!("{} {}", client.platform().descriptor().id(), paging.operation().name()),
            filter: paging.filter(),
            at: at.clone(),
        }
    }

    /// Goes on where `cursor` points, if it belongs here.
    pub(super) fn resume(&mut self, cursor: &Cursor) -> Result<()> {
        let own = self.name(&Position::Start);
        let refuse = |what: String| {
            let message = format!("the cursor {what}; read the list from its start");
            Err(Error::new(ErrorKind::InvalidRequest, message))
        };
        if cursor.v != own.v {
            return refuse(format!("has version {}, not {}", cursor.v, own.v));
        }
        if cursor.list != own.list {
            return refuse(format!(
                "belongs to another list ({}), not to this one ({})",
                cursor.list, own.list
            ));
        }
        if cursor.filter != own.filter {
            return refuse(format!("belongs to {} with another filter", own.list));
        }
        if cursor.at != Position::Start && !self.list.paging.accepts(&cursor.at) {
            return refuse(format!("was stored when {} was paged in another way", own.list));
        }
        self.rewind(cursor.at.clone());
        Ok(())
    }

    /// Goes on at `at`, whatever was read before.
    pub(super) fn rewind(&mut self, at: Position) {
        self.begun = at.clone();
        self.trail = Trail::new(at.clone());
        self.at = Some(at);
        (self.fetch, self.finished) = (Fetch::Idle, false);
    }

    pub(super) fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Page<T>>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        let result = loop {
            let Some(at) = &self.at else { return Poll::Ready(None) };
            match &mut self.fetch {
                Fetch::Idle => {
                    let (list, at, trail) = (self.list.clone(), at.clone(), self.trail.clone());
                    let ahead = (self.prefetch > 0).then(tokio::runtime::Handle::try_current);
                    self.fetch = match ahead {
                        Some(Ok(runtime)) => {
                            Fetch::Ahead(Ahead::start(&runtime, self.prefetch, list, at, trail))
                        }
                        _ => Fetch::One(Box::pin(list.read(at, trail))),
                    };
                }
                Fetch::One(page) => {
                    let (result, trail) = ready!(page.as_mut().poll(cx));
                    (self.fetch, self.trail) = (Fetch::Idle, trail);
                    break result;
                }
                Fetch::Ahead(ahead) => match ready!(ahead.pages.poll_recv(cx)) {
                    Some((result, trail)) => {
                        self.trail = trail;
                        break result;
                    }
                    // The task is gone and has told nothing: its runtime was shut down, or a page made it panic. Read
                    // here, whoever polls has a runtime, and sees the panic.
                    None => (self.fetch, self.prefetch) = (Fetch::Idle, 0),
                },
            }
        };
        match &result {
            Ok(page) => {
                let next = page.next.clone();
                self.begun = std::mem::replace(&mut self.at, next).unwrap_or(Position::Start);
            }
            Err(_) => (self.fetch, self.finished) = (Fetch::Idle, true),
        }
        Poll::Ready(Some(result))
    }
}

impl<T> List<T> {
    async fn read(self, at: Position, mut trail: Trail) -> (Result<Page<T>>, Trail) {
        let page = async {
            let mut call = self.paging.call(&at);
            trail.pages += 1;
            call.pages = Some(trail.pages);
            let response = self.client.execute(call).await?;
            let page = self.paging.page(&at, &response)?;
            match trail.follow(&at, &page) {
                Ok(()) => Ok(page),
                Err(what) => Err(response.error(ErrorKind::Decode, what)),
            }
        };
        (page.await, trail)
    }
}

/// A task that reads pages before they are asked for. It ends with this value.
struct Ahead<T> {
    pages: mpsc::Receiver<(Result<Page<T>>, Trail)>,
    task: AbortHandle,
}

impl<T: Send + 'static> Ahead<T> {
    /// Reads at most `most` pages more than were taken.
    fn start(
        runtime: &tokio::runtime::Handle,
        most: usize,
        list: List<T>,
        mut at: Position,
        mut trail: Trail,
    ) -> Self {
        let (sender, pages) = mpsc::channel(most);
        let task = runtime.spawn(async move {
            // A place for the page before it is read: what is under way counts.
            while let Ok(place) = sender.reserve().await {
                let (result, reached) = list.clone().read(at, trail).await;
                trail = reached;
                let next = result.as_ref().ok().and_then(|page| page.next.clone());
                place.send((result, trail.clone()));
                match next {
                    Some(next) => at = next,
                    None => break,
                }
            }
        });
        Self { pages, task: task.abort_handle() }
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Notices pages that lead nowhere, in constant space: the present position is compared with one that is left behind at the
/// 1st, 2nd, 4th, 8th .. page (Brent's algorithm), so a circle is found before it was walked three times.
#[derive(Clone)]
struct Trail {
    mark: Position,
    /// Pages since the mark was left, and after how many it is left anew.
    walked: u64,
    reach: u64,
    /// Of the last page.
    fingerprint: Option<u64>,
    /// Pages asked for since reading began.
    pages: u64,
}

impl Trail {
    const fn new(at: Position) -> Self {
        Self { mark: at, walked: 0, reach: 1, fingerprint: None, pages: 0 }
    }

    fn follow<T>(&mut self, at: &Position, page: &Page<T>) -> Result<(), &'static str> {
        if page.fingerprint.is_some() && page.fingerprint == self.fingerprint {
            return Err(
                "the cursor does not advance: another page was asked for, the one before it came again",
            );
        }
        self.fingerprint = page.fingerprint;
        let Some(next) = &page.next else { return Ok(()) };
        if next == at {
            return Err("the cursor does not advance: the next page is the present one");
        }
        if *next == self.mark {
            return Err("the cursor does not advance: the pages lead in a circle");
        }
        self.walked += 1;
        if self.walked == self.reach {
            (self.mark, self.walked, self.reach) = (next.clone(), 0, self.reach.saturating_mul(2));
        }
        Ok(())
    }
}

impl<T: Send + 'static> Stream for Pages<T> {
    type Item = Result<Page<T>>;
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_page(cx)
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("at", &self.at)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}
