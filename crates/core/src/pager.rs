//! Pagination: reading a list page by page, resumably.

use crate::{ApiClient, Call, Error, ErrorKind, Operation, Response, Result};
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How one list of one platform is paged: builds the call for a position and reads the answer.
///
/// Connectors implement it, mostly through [`Pager::token`] and [`Pager::offset`].
pub trait Paging<T>: Send + Sync {
    /// The operation that reads a page.
    fn operation(&self) -> &Operation;

    /// What is listed, in a form that changes when the list does (filter, sort, page size): a cursor of another list is
    /// refused.
    fn filter(&self) -> String;

    /// The call that reads the page at `position`.
    fn call(&self, position: &Position) -> Call;

    /// The items of the page, and where the next one is.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the answer is not what the platform documents.
    fn page(&self, position: &Position, response: &Response) -> Result<Page<T>>;
}

/// A page of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// Its items; it may be empty and still have a next.
    pub items: Vec<T>,
    /// Where the next page is; `None` at the end.
    pub next: Option<Position>,
    /// How many items there are in all pages, if the platform says.
    pub total: Option<u64>,
}

impl<T> Page<T> {
    /// A page.
    #[must_use]
    pub const fn new(items: Vec<T>, next: Option<Position>) -> Self {
        Self { items, next, total: None }
    }

    /// With the number of items in all pages.
    #[must_use]
    pub const fn with_total(mut self, total: Option<u64>) -> Self {
        self.total = total;
        self
    }
}

/// A place in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Position {
    /// The first page.
    Start,
    /// What the platform gave for the next page.
    Token(String),
    /// So many items in.
    Offset(u64),
}

/// A place in a list that can be stored: it names its platform, operation and filter, so that it cannot be used for another list.
///
/// Its JSON form is stable: `{"v":1,"list":"hubspot contacts.list","filter":"..","at":{"token":".."}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    v: u32,
    list: String,
    filter: String,
    at: Position,
}

impl Cursor {
    const VERSION: u32 = 1;

    /// The place itself.
    #[must_use]
    pub const fn position(&self) -> &Position {
        &self.at
    }
}

type PageFuture<T> = Pin<Box<dyn Future<Output = Result<Page<T>>> + Send>>;

/// The pages of a list, in order: a [`Stream`] of [`Page`]s.
///
/// An error is yielded once, then the stream ends; [`cursor`](Self::cursor) stays valid, and
/// [`Pager::resume_from`] starts again there. An empty page with a next goes on. A next page that is the present one is an error,
/// not an endless loop. Cancel safe: a dropped `next()` loses nothing.
#[must_use = "streams do nothing unless polled"]
pub struct Pages<T> {
    client: Arc<dyn ApiClient>,
    paging: Arc<dyn Paging<T>>,
    /// Where the next fetch reads; `None` at the end.
    at: Option<Position>,
    /// Where to resume: the page that was handed out last is done once the next is asked for.
    cursor: Position,
    fetch: Option<PageFuture<T>>,
    finished: bool,
}

impl<T: Send + 'static> Pages<T> {
    /// The next page; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Page<T>>> {
        poll_fn(|cx| self.poll_page(cx)).await
    }

    /// Where reading goes on after the pages handed out so far; `None` when the list was read to its end.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.at.as_ref().map(|at| self.name(at))
    }

    fn name(&self, at: &Position) -> Cursor {
        Cursor {
            v: Cursor::VERSION,
            list: format!("{} {}", self.client.platform().descriptor().id(), self.paging.operation().name()),
            filter: self.paging.filter(),
            at: at.clone(),
        }
    }

    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Page<T>>>> {
        let at = match (&self.at, self.finished) {
            (Some(at), false) => at.clone(),
            _ => return Poll::Ready(None),
        };
        let fetch = self.fetch.get_or_insert_with(|| {
            let (client, paging, at) = (Arc::clone(&self.client), Arc::clone(&self.paging), at.clone());
            Box::pin(async move {
                let response = client.execute(paging.call(&at)).await?;
                paging.page(&at, &response).and_then(|page| {
                    if page.next.as_ref() == Some(&at) {
                        return Err(response.error(ErrorKind::Decode, "the next page is the present one"));
                    }
                    Ok(page)
                })
            })
        });
        let result = ready!(fetch.as_mut().poll(cx));
        self.fetch = None;
        match result {
            Ok(page) => {
                self.cursor = at;
                self.at.clone_from(&page.next);
                Poll::Ready(Some(Ok(page)))
            }
            Err(error) => {
                self.finished = true;
                Poll::Ready(Some(Err(error)))
            }
        }
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

/// The items of a list, in order: a [`Stream`] of items that reads page by page.
///
/// [`cursor`](Self::cursor) points at the page being drained until its last item is out: resuming repeats at most that
/// page and loses nothing. For the rest see [`Pages`].
#[must_use = "streams do nothing unless polled"]
pub struct Pager<T> {
    pages: Pages<T>,
    items: VecDeque<T>,
}

impl<T: Send + 'static> Pager<T> {
    /// Reads the list that `paging` describes.
    pub fn new(client: Arc<dyn ApiClient>, paging: impl Paging<T> + 'static) -> Self {
        let pages = Pages {
            client,
            paging: Arc::new(paging),
            at: Some(Position::Start),
            cursor: Position::Start,
            fetch: None,
            finished: false,
        };
        Self { pages, items: VecDeque::new() }
    }

    /// A list whose pages hand out a token for the next one. `call` builds the call for a token (`None`: the first page),
    /// `read` takes the items and the next token out of the answer.
    pub fn token<C, R>(
        client: Arc<dyn ApiClient>,
        operation: Operation,
        filter: impl Into<String>,
        call: C,
        read: R,
    ) -> Self
    where
        C: Fn(Option<&str>) -> Call + Send + Sync + 'static,
        R: Fn(&Response) -> Result<(Vec<T>, Option<String>)> + Send + Sync + 'static,
    {
        Self::new(client, TokenPaging { operation, filter: filter.into(), call, read })
    }

    /// A list that is read by offset, `limit` items at a time. `call` builds the call for an offset and a limit, `read`
    /// takes the items and the total, if there is one, out of the answer. A page shorter than asked ends the list unless
    /// the total says that there is more.
    pub fn offset<C, R>(
        client: Arc<dyn ApiClient>,
        operation: Operation,
        filter: impl Into<String>,
        limit: u64,
        call: C,
        read: R,
    ) -> Self
    where
        C: Fn(u64, u64) -> Call + Send + Sync + 'static,
        R: Fn(&Response) -> Result<(Vec<T>, Option<u64>)> + Send + Sync + 'static,
    {
        Self::new(client, OffsetPaging { operation, filter: filter.into(), limit: limit.max(1), call, read })
    }

    /// The next item; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// The next item; `Ok(None)` at the end.
    ///
    /// # Errors
    /// What reading the page gave; after that the list ends.
    pub async fn try_next(&mut self) -> Result<Option<T>> {
        self.next().await.transpose()
    }

    /// Whole pages instead of items. A page that was begun is read again.
    pub fn pages(mut self) -> Pages<T> {
        if !self.items.is_empty() {
            self.pages.at = Some(self.pages.cursor.clone());
            (self.pages.fetch, self.pages.finished) = (None, false);
        }
        self.pages
    }

    /// Reads all items into memory.
    ///
    /// # Errors
    /// What reading a page gave.
    pub async fn collect(mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(item) = self.try_next().await? {
            all.push(item);
        }
        Ok(all)
    }

    /// Goes on where `cursor` points.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the cursor belongs to another list, or was written by a newer version.
    pub fn resume_from(mut self, cursor: &Cursor) -> Result<Self> {
        let own = self.pages.name(&Position::Start);
        if cursor.v != own.v || cursor.list != own.list || cursor.filter != own.filter {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!(
                    "the cursor belongs to another list ({}), not to this one ({})",
                    cursor.list, own.list
                ),
            ));
        }
        self.items.clear();
        self.pages.at = Some(cursor.at.clone());
        self.pages.cursor = cursor.at.clone();
        (self.pages.fetch, self.pages.finished) = (None, false);
        Ok(self)
    }

    /// Where to resume: the page being drained, until its last item is out. `None` when everything was read.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        if self.items.is_empty() { self.pages.cursor() } else { Some(self.pages.name(&self.pages.cursor)) }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            match ready!(self.pages.poll_page(cx)) {
                Some(Ok(page)) => self.items = page.items.into(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T: Send + Unpin + 'static> Stream for Pager<T> {
    type Item = Result<T>;
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(cx)
    }
}

impl<T> fmt::Debug for Pager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pager").field("pages", &self.pages).field("buffered", &self.items.len()).finish()
    }
}

struct TokenPaging<C, R> {
    operation: Operation,
    filter: String,
    call: C,
    read: R,
}

impl<T, C, R> Paging<T> for TokenPaging<C, R>
where
    C: Fn(Option<&str>) -> Call + Send + Sync,
    R: Fn(&Response) -> Result<(Vec<T>, Option<String>)> + Send + Sync,
{
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn filter(&self) -> String {
        self.filter.clone()
    }

    fn call(&self, position: &Position) -> Call {
        (self.call)(match position {
            Position::Token(token) => Some(token),
            _ => None,
        })
    }

    fn page(&self, _position: &Position, response: &Response) -> Result<Page<T>> {
        let (items, next) = (self.read)(response)?;
        Ok(Page::new(items, next.map(Position::Token)))
    }
}

struct OffsetPaging<C, R> {
    operation: Operation,
    filter: String,
    limit: u64,
    call: C,
    read: R,
}

impl<C, R> OffsetPaging<C, R> {
    fn offset(position: &Position) -> u64 {
        if let Position::Offset(offset) = position { *offset } else { 0 }
    }
}

impl<T, C, R> Paging<T> for OffsetPaging<C, R>
where
    C: Fn(u64, u64) -> Call + Send + Sync,
    R: Fn(&Response) -> Result<(Vec<T>, Option<u64>)> + Send + Sync,
{
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn filter(&self) -> String {
        self.filter.clone()
    }

    fn call(&self, position: &Position) -> Call {
        (self.call)(Self::offset(position), self.limit)
    }

    fn page(&self, position: &Position, response: &Response) -> Result<Page<T>> {
        let (items, total) = (self.read)(response)?;
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        let next = Self::offset(position).saturating_add(count);
        // A platform may return fewer than asked in the middle of a list: the total decides where it is known.
        let more = count > 0 && total.map_or(count >= self.limit, |total| next < total);
        Ok(Page::new(items, more.then_some(Position::Offset(next))).with_total(total))
    }
}
