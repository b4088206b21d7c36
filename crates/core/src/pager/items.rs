//! The items of a list, one by one.

use super::{Cursor, Pages, Paging};
use crate::{ApiClient, Result};
use futures_core::Stream;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The items of a list, in order: a [`Stream`] of items that reads page by page.
///
/// [`cursor`](Self::cursor) points at the page being drained until its last item is out: resuming repeats at most that
/// page and loses nothing. No page is read before it is needed, unless [`prefetch`](Self::prefetch) says so. For the rest see
/// [`Pages`].
///
/// # Choosing a strategy
///
/// Connectors build a pager with the constructor for the way in which their platform pages. Each takes the client, what tells
/// the list from others (the filter of its [`Cursor`]), how a page is asked for and how it is read:
///
/// | the platform | constructor | places survive changes of the list |
/// |---|---|---|
/// | hands out a token for the next page | [`token`](Self::token) | as the platform makes them |
/// | answers with a `Link` header ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288)) | [`link`](Self::link) | as the platform makes them |
/// | has the URL of the next page in the body | [`next_url`](Self::next_url) | as the platform makes them |
/// | takes the key of the last item seen | [`keyset`](Self::keyset) | yes |
/// | counts items | [`offset`](Self::offset) | no: what comes and goes shifts the rest |
/// | counts pages | [`page_number`](Self::page_number) | no, likewise |
///
/// Where a platform offers several, take the first one of the table. A list that is read by counting, while items are deleted, skips
/// some: read it again, or sort it so that changes happen at its end.
///
/// # When a next should be there and is not
///
/// serde takes a field that is missing for `None`, which ends the list: early and in silence, should the platform rename it. Where the
/// platform documents that the field is always there (`"next": null` on the last page), tell serde so, and a page without it is an
/// [`ErrorKind::Decode`](crate::ErrorKind::Decode) that names the field:
///
/// ```
/// # #[derive(serde::Deserialize)] struct Contact {}
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Page {
///     contacts: Vec<Contact>,
///     #[serde(deserialize_with = "Option::deserialize")] // `null` ends the list, no field at all does not
///     next: Option<String>,
/// }
/// # let page = |json: &str| serde_json::from_str::<Page>(json);
/// assert!(page(r#"{"contacts": [], "next": null}"#).is_ok());
/// assert!(page(r#"{"contacts": []}"#).is_err());
/// ```
///
/// Where it says that only an empty page ends the list, let `read` refuse one that has items and no next, by
/// [`Response::error`](crate::Response::error).
#[must_use = "streams do nothing unless polled"]
pub struct Pager<T> {
    pages: Pages<T>,
    items: VecDeque<T>,
}

impl<T: Send + 'static> Pager<T> {
    /// The most pages that [`prefetch`](Self::prefetch) reads ahead.
    pub const MAX_PREFETCH: usize = 64;

    /// Reads the list that `paging` describes.
    pub fn new(client: Arc<dyn ApiClient>, paging: impl Paging<T> + 'static) -> Self {
        Self { pages: Pages::new(client, Arc::new(paging)), items: VecDeque::new() }
    }

    /// Reads up to `pages` pages (at most [`MAX_PREFETCH`](Self::MAX_PREFETCH)) while the one before them is handled, one after the
    /// other, in a task that ends when the pager is dropped. They wait in memory, and what they cost of the account's quota is
    /// spent although nobody may ask for them. 0, the default, reads a page when it is needed; so does a pager that is polled
    /// outside a tokio runtime.
    pub fn prefetch(mut self, pages: usize) -> Self {
        self.pages.prefetch = pages.min(Self::MAX_PREFETCH);
        self
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
            self.pages.rewind(self.pages.begun.clone());
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
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) when the cursor belongs to another list, was written by a
    /// newer version, or when the list was paged in another way.
    pub fn resume_from(mut self, cursor: &Cursor) -> Result<Self> {
        self.pages.resume(cursor)?;
        self.items.clear();
        Ok(self)
    }

    /// Where to resume: the page being drained, until its last item is out. `None` when everything was read.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        if self.items.is_empty() { self.pages.cursor() } else { Some(self.pages.name(&self.pages.begun)) }
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
