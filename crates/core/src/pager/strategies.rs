//! The ways in which most platforms page.

use super::{Page, Pager, Paging, Position};
use crate::{ApiClient, Call, ErrorKind, Operation, Response, Result};
use std::sync::Arc;

/// What a page says about how far its list goes, where positions are counted: for [`Pager::offset`] and
/// [`Pager::page_number`].
///
/// `Option<u64>`, a number of items that may be missing, becomes one by `into()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extent {
    /// Nothing: the list ends with a page that has fewer items than were asked for. **Ask for no more than the platform gives**: a
    /// page that it cut short would be taken for the last one.
    Unsaid,
    /// So many items in all pages.
    Items(u64),
    /// So many pages.
    Pages(u64),
    /// Whether there is another page.
    More(bool),
}

impl Extent {
    /// Whether there is more behind `pages` pages of at most `limit` items, which had `items` items, `count` of them in the last.
    const fn goes_on(self, items: u64, pages: u64, count: u64, limit: u64) -> bool {
        match self {
            Self::Unsaid => count >= limit,
            Self::Items(total) => count > 0 && items < total,
            Self::Pages(total) => pages < total,
            Self::More(more) => more,
        }
    }

    /// Says when a page comes again, where the list would not end by itself.
    fn watch<T>(self, page: Page<T>, response: &Response) -> Page<T> {
        match self {
            Self::Items(total) => page.with_total(Some(total)),
            Self::Unsaid | Self::More(_) if !page.items.is_empty() => {
                page.with_fingerprint(&response.body()[..])
            }
            _ => page,
        }
    }
}

impl From<Option<u64>> for Extent {
    fn from(items: Option<u64>) -> Self {
        items.map_or(Self::Unsaid, Self::Items)
    }
}

impl<T: Send + 'static> Pager<T> {
    /// A list whose pages hand out a token for the next one. `call` builds the call for a token (`None`: the first page),
    /// `read` takes the items and the next token out of the answer.
    ///
    /// ```
    /// # use martlet_core::{ApiClient, Call, Operation, Pager, Response};
    /// # use std::sync::Arc;
    /// # #[derive(serde::Deserialize)] struct Contact {}
    /// # const LIST: Operation = Operation::get("contacts.list", "/v1/contacts");
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     contacts: Vec<Contact>,
    ///     next: Option<String>,
    /// }
    ///
    /// fn contacts(api: Arc<dyn ApiClient>) -> Pager<Contact> {
    ///     let call = |after: Option<&str>| Call::new(LIST).query("limit", 100).query_opt("after", after);
    ///     Pager::token(api, LIST, "limit=100", call, |response| {
    ///         let page: Page = response.json()?;
    ///         Ok((page.contacts, page.next))
    ///     })
    /// }
    /// ```
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
    /// takes the items and the [`Extent`] out of the answer; an `Option<u64>` is the number of all items. The next offset is
    /// behind the items that came, so a page may be shorter than asked in the middle of a list that has a total.
    ///
    /// A platform that gives the same full page again and again is an error, unless the number of items ends the list.
    ///
    /// ```
    /// # use martlet_core::{ApiClient, Call, Operation, Pager, Response};
    /// # use std::sync::Arc;
    /// # #[derive(serde::Deserialize)] struct Contact {}
    /// # const LIST: Operation = Operation::get("contacts.list", "/v1/contacts");
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     contacts: Vec<Contact>,
    ///     total: Option<u64>,
    /// }
    ///
    /// fn contacts(api: Arc<dyn ApiClient>) -> Pager<Contact> {
    ///     let call = |offset, limit| Call::new(LIST).query("offset", offset).query("limit", limit);
    ///     let read = |response: &Response| response.json().map(|page: Page| (page.contacts, page.total));
    ///     Pager::offset(api, LIST, "", 100, call, read)
    /// }
    /// ```
    pub fn offset<C, R, E>(
        client: Arc<dyn ApiClient>,
        operation: Operation,
        filter: impl Into<String>,
        limit: u64,
        call: C,
        read: R,
    ) -> Self
    where
        C: Fn(u64, u64) -> Call + Send + Sync + 'static,
        R: Fn(&Response) -> Result<(Vec<T>, E)> + Send + Sync + 'static,
        E: Into<Extent> + 'static,
    {
        Self::new(client, OffsetPaging { operation, filter: filter.into(), limit: limit.max(1), call, read })
    }

    /// A list of numbered pages with `size` items each; `first` is the number of the first one, 0 or 1. `call` builds the call
    /// for a number and a size, `read` takes the items and the [`Extent`] out of the answer.
    ///
    /// Where the platform chooses the size and says nothing about the end, let `size` be 1: then an empty page ends the list. A platform
    /// that gives the same full page again and again is an error, unless the extent ends the list.
    ///
    /// ```
    /// # use martlet_core::{ApiClient, Call, Extent, Operation, Pager, Response};
    /// # use std::sync::Arc;
    /// # #[derive(serde::Deserialize)] struct Campaign {}
    /// # const LIST: Operation = Operation::get("campaigns.list", "/v1/campaigns");
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     campaigns: Vec<Campaign>,
    ///     total_pages: u64,
    /// }
    ///
    /// fn campaigns(api: Arc<dyn ApiClient>) -> Pager<Campaign> {
    ///     let call = |page, size| Call::new(LIST).query("page", page).query("per_page", size);
    ///     Pager::page_number(api, LIST, "", 1, 50, call, |response| {
    ///         let page: Page = response.json()?;
    ///         Ok((page.campaigns, Extent::Pages(page.total_pages)))
    ///     })
    /// }
    /// ```
    pub fn page_number<C, R, E>(
        client: Arc<dyn ApiClient>,
        operation: Operation,
        filter: impl Into<String>,
        first: u64,
        size: u64,
        call: C,
        read: R,
    ) -> Self
    where
        C: Fn(u64, u64) -> Call + Send + Sync + 'static,
        R: Fn(&Response) -> Result<(Vec<T>, E)> + Send + Sync + 'static,
        E: Into<Extent> + 'static,
    {
        let size = size.max(1);
        Self::new(client, NumberPaging { operation, filter: filter.into(), first, size, call, read })
    }

    /// A list whose pages say in a `Link` header of relation `next` where the next one is
    /// ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288)). `first` is the call for the first page; the others keep its
    /// headers and go where the header says, as [`Call::follow`] does: **to the platform's own origin or nowhere**. `read` takes
    /// the items out of the answer.
    ///
    /// ```
    /// # use martlet_core::{ApiClient, Call, Operation, Pager, Response};
    /// # use std::sync::Arc;
    /// # #[derive(serde::Deserialize)] struct Order {}
    /// # const LIST: Operation = Operation::get("orders.list", "/v1/orders");
    /// fn orders(api: Arc<dyn ApiClient>) -> Pager<Order> {
    ///     Pager::link(api, Call::new(LIST).query("limit", 250), "limit=250", Response::json)
    /// }
    /// ```
    pub fn link<R>(client: Arc<dyn ApiClient>, first: Call, filter: impl Into<String>, read: R) -> Self
    where
        R: Fn(&Response) -> Result<Vec<T>> + Send + Sync + 'static,
    {
        Self::next_url(client, first, filter, move |response| Ok((read(response)?, response.link("next")?)))
    }

    /// A list whose pages have the URL of the next one in the body. `first` is the call for the first page; the others keep its
    /// headers and go to that URL, as [`Call::follow`] does: **to the platform's own origin or nowhere**. `read` takes the items and
    /// the URL out of the answer; `None` and `""` are the end.
    ///
    /// The URL is part of the [`Cursor`](crate::Cursor). A platform that puts a credential into it (Meta does, unconfirmed) had
    /// better be paged with the token that is in it too, by [`token`](Self::token).
    ///
    /// ```
    /// # use martlet_core::{ApiClient, Call, Operation, Pager, Response};
    /// # use std::sync::Arc;
    /// # #[derive(serde::Deserialize)] struct Profile {}
    /// # const LIST: Operation = Operation::get("profiles.list", "/api/profiles");
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     data: Vec<Profile>,
    ///     links: Links,
    /// }
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Links {
    ///     next: Option<String>,
    /// }
    ///
    /// fn profiles(api: Arc<dyn ApiClient>) -> Pager<Profile> {
    ///     Pager::next_url(api, Call::new(LIST).query("page[size]", 100), "size=100", |response| {
    ///         let page: Page = response.json()?;
    ///         Ok((page.data, page.links.next))
    ///     })
    /// }
    /// ```
    pub fn next_url<R>(client: Arc<dyn ApiClient>, first: Call, filter: impl Into<String>, read: R) -> Self
    where
        R: Fn(&Response) -> Result<(Vec<T>, Option<String>)> + Send + Sync + 'static,
    {
        Self::new(client, UrlPaging { first, filter: filter.into(), read })
    }

    /// A list that is read on from the key of the last item seen: `starting_after=cus_17`, or a filter such as `id > 17` with
    /// ascending ids. `call` builds the call for a key (`None`: the first page), `read` takes the items out of the answer and says
    /// whether there are more, `key` is the key of an item.
    ///
    /// Items that come and go meanwhile shift nothing. The key must be unique and the list sorted by it: of items that share
    /// a date, those behind the end of a page would be lost, so page by date *and* id, or by the id alone.
    ///
    /// ```
    /// # use martlet_core::{ApiClient, Call, Operation, Pager, Response};
    /// # use std::sync::Arc;
    /// # const LIST: Operation = Operation::get("customers.list", "/v1/customers");
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     data: Vec<Customer>,
    ///     has_more: bool,
    /// }
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Customer {
    ///     id: String,
    /// }
    ///
    /// fn customers(api: Arc<dyn ApiClient>) -> Pager<Customer> {
    ///     let call = |last: Option<&str>| Call::new(LIST).query("limit", 100).query_opt("starting_after", last);
    ///     let read = |response: &Response| response.json().map(|page: Page| (page.data, page.has_more));
    ///     Pager::keyset(api, LIST, "limit=100", call, read, |customer| customer.id.clone())
    /// }
    /// ```
    pub fn keyset<C, R, K>(
        client: Arc<dyn ApiClient>,
        operation: Operation,
        filter: impl Into<String>,
        call: C,
        read: R,
        key: K,
    ) -> Self
    where
        C: Fn(Option<&str>) -> Call + Send + Sync + 'static,
        R: Fn(&Response) -> Result<(Vec<T>, bool)> + Send + Sync + 'static,
        K: Fn(&T) -> String + Send + Sync + 'static,
    {
        Self::new(client, KeysetPaging { operation, filter: filter.into(), call, read, key })
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

    fn accepts(&self, position: &Position) -> bool {
        matches!(position, Position::Token(_))
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
    const fn offset(position: &Position) -> u64 {
        if let Position::Offset(offset) = position { *offset } else { 0 }
    }
}

impl<T, C, R, E> Paging<T> for OffsetPaging<C, R>
where
    C: Fn(u64, u64) -> Call + Send + Sync,
    R: Fn(&Response) -> Result<(Vec<T>, E)> + Send + Sync,
    E: Into<Extent>,
{
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn filter(&self) -> String {
        self.filter.clone()
    }

    fn accepts(&self, position: &Position) -> bool {
        matches!(position, Position::Offset(_))
    }

    fn call(&self, position: &Position) -> Call {
        (self.call)(Self::offset(position), self.limit)
    }

    fn page(&self, position: &Position, response: &Response) -> Result<Page<T>> {
        let (items, extent) = (self.read)(response)?;
        let (extent, count) = (extent.into(), count(&items));
        // An empty page that is not the last one: behind the places that were asked for.
        let next = Self::offset(position).saturating_add(if count > 0 { count } else { self.limit });
        let more = extent.goes_on(next, next.div_ceil(self.limit), count, self.limit);
        Ok(extent.watch(Page::new(items, more.then_some(Position::Offset(next))), response))
    }
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

struct NumberPaging<C, R> {
    operation: Operation,
    filter: String,
    first: u64,
    size: u64,
    call: C,
    read: R,
}

impl<C, R> NumberPaging<C, R> {
    const fn number(&self, position: &Position) -> u64 {
        if let Position::Page(number) = position { *number } else { self.first }
    }
}

impl<T, C, R, E> Paging<T> for NumberPaging<C, R>
where
    C: Fn(u64, u64) -> Call + Send + Sync,
    R: Fn(&Response) -> Result<(Vec<T>, E)> + Send + Sync,
    E: Into<Extent>,
{
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn filter(&self) -> String {
        self.filter.clone()
    }

    fn accepts(&self, position: &Position) -> bool {
        matches!(position, Position::Page(_))
    }

    fn call(&self, position: &Position) -> Call {
        (self.call)(self.number(position), self.size)
    }

    fn page(&self, position: &Position, response: &Response) -> Result<Page<T>> {
        let (items, extent) = (self.read)(response)?;
        let (extent, count) = (extent.into(), count(&items));
        let next = self.number(position).saturating_add(1);
        let pages = next.saturating_sub(self.first);
        let more = extent.goes_on(pages.saturating_mul(self.size), pages, count, self.size);
        Ok(extent.watch(Page::new(items, more.then_some(Position::Page(next))), response))
    }
}

struct UrlPaging<R> {
    first: Call,
    filter: String,
    read: R,
}

impl<T, R> Paging<T> for UrlPaging<R>
where
    R: Fn(&Response) -> Result<(Vec<T>, Option<String>)> + Send + Sync,
{
    fn operation(&self) -> &Operation {
        self.first.operation()
    }

    fn filter(&self) -> String {
        self.filter.clone()
    }

    fn accepts(&self, position: &Position) -> bool {
        matches!(position, Position::Url(_))
    }

    fn call(&self, position: &Position) -> Call {
        match position {
            Position::Url(url) => self.first.clone().follow(url),
            _ => self.first.clone(),
        }
    }

    fn page(&self, _position: &Position, response: &Response) -> Result<Page<T>> {
        let (items, next) = (self.read)(response)?;
        let next = next.filter(|url| !url.trim().is_empty());
        Ok(Page::new(items, next.map(Position::Url)))
    }
}

struct KeysetPaging<C, R, K> {
    operation: Operation,
    filter: String,
    call: C,
    read: R,
    key: K,
}

impl<T, C, R, K> Paging<T> for KeysetPaging<C, R, K>
where
    C: Fn(Option<&str>) -> Call + Send + Sync,
    R: Fn(&Response) -> Result<(Vec<T>, bool)> + Send + Sync,
    K: Fn(&T) -> String + Send + Sync,
{
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn filter(&self) -> String {
        self.filter.clone()
    }

    fn accepts(&self, position: &Position) -> bool {
        matches!(position, Position::Key(_))
    }

    fn call(&self, position: &Position) -> Call {
        (self.call)(match position {
            Position::Key(key) => Some(key),
            _ => None,
        })
    }

    fn page(&self, _position: &Position, response: &Response) -> Result<Page<T>> {
        let (items, more) = (self.read)(response)?;
        let next = match (more, items.last()) {
            (false, _) => None,
            (true, Some(last)) => Some(Position::Key((self.key)(last))),
            (true, None) => {
                let message = "the cursor does not advance: the page says that there is more, and has no item to go on from";
                return Err(response.error(ErrorKind::Decode, message));
            }
        };
        Ok(Page::new(items, next))
    }
}
