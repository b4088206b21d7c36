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
    /// So many items in all pages. A page without items before that many have come is an error: whoever takes the list for whole
    /// would take the missing ones for deleted.
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
            Self::Items(total) => items < total,
            Self::Pages(total) => pages < total,
            Self::More(more) => more,
        }
    }

    /// Lets the list say when it lost items (`before` is the number of those before the page), or when a page comes again where it
    /// would not end by itself.
    fn watch<T>(self, before: u64, page: Page<T>, response: &Response) -> Result<Page<T>> {
        match self {
            Self::Items(total) if page.items.is_empty() && before < total => {
                let what = format!("a page behind {before} items is empty, and the list has {total} of them");
                Err(response.error(ErrorKind::Decode, what))
            }
            Self::Items(total) => Ok(page.with_total(Some(total))),
            Self::Unsaid | Self::More(_) if !page.items.is_empty() => {
                Ok(page.with_fingerprint(&response.body()[..]))
            }
            _ => Ok(page),
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
        Self::new(
            client,
            Strategy {
                operation,
                filter: filter.into(),
                accepts: |at| matches!(at, Position::Token(_)),
                call: move |at: &Position| {
                    call(if let Position::Token(token) = at { Some(token) } else { None })
                },
                page: move |_: &Position, response: &Response| {
                    let (items, next) = read(response)?;
                    Ok(Page::new(items, next.map(Position::Token)))
                },
            },
        )
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
        let limit = limit.max(1);
        let offset = |at: &Position| if let Position::Offset(offset) = at { *offset } else { 0 };
        Self::new(
            client,
            Strategy {
                operation,
                filter: filter.into(),
                accepts: |at| matches!(at, Position::Offset(_)),
                call: move |at: &Position| call(offset(at), limit),
                page: move |at: &Position, response: &Response| {
                    let (items, extent) = read(response)?;
                    let (extent, count) = (extent.into(), count(&items));
                    // An empty page that is not the last one: behind the places that were asked for.
                    let next = offset(at).saturating_add(if count > 0 { count } else { limit });
                    let more = extent.goes_on(next, next.div_ceil(limit), count, limit);
                    let page = Page::new(items, more.then_some(Position::Offset(next)));
                    extent.watch(offset(at), page, response)
                },
            },
        )
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
        let number = move |at: &Position| if let Position::Page(number) = at { *number } else { first };
        Self::new(
            client,
            Strategy {
                operation,
                filter: filter.into(),
                accepts: |at| matches!(at, Position::Page(_)),
                call: move |at: &Position| call(number(at), size),
                page: move |at: &Position, response: &Response| {
                    let (items, extent) = read(response)?;
                    let (extent, count) = (extent.into(), count(&items));
                    let next = number(at).saturating_add(1);
                    let pages = next.saturating_sub(first);
                    let more = extent.goes_on(pages.saturating_mul(size), pages, count, size);
                    let page = Page::new(items, more.then_some(Position::Page(next)));
                    extent.watch(pages.saturating_sub(1).saturating_mul(size), page, response)
                },
            },
        )
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
        Self::new(
            client,
            Strategy {
                operation: *first.operation(),
                filter: filter.into(),
                accepts: |at| matches!(at, Position::Url(_)),
                call: move |at: &Position| match at {
                    Position::Url(url) => first.clone().follow(url),
                    _ => first.clone(),
                },
                page: move |_: &Position, response: &Response| {
                    let (items, next) = read(response)?;
                    let next = next.filter(|url| !url.trim().is_empty());
                    Ok(Page::new(items, next.map(Position::Url)))
                },
            },
        )
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
        Self::new(
            client,
            Strategy {
                operation,
                filter: filter.into(),
                accepts: |at| matches!(at, Position::Key(_)),
                call: move |at: &Position| call(if let Position::Key(key) = at { Some(key) } else { None }),
                page: move |_: &Position, response: &Response| {
                    let (items, more) = read(response)?;
                    let next = match (more, items.last()) {
                        (false, _) => None,
                        (true, Some(last)) => Some(Position::Key(key(last))),
                        (true, None) => {
                            let message = "the cursor does not advance: the page says that there is more, and has no item to go on from";
                            return Err(response.error(ErrorKind::Decode, message));
                        }
                    };
                    Ok(Page::new(items, next))
                },
            },
        )
    }
}

/// A way of paging: which list, and what is asked for and read at a position.
struct Strategy<C, P> {
    operation: Operation,
    filter: String,
    /// Whether a position is of its kind.
    accepts: fn(&Position) -> bool,
    call: C,
    page: P,
}

impl<T, C, P> Paging<T> for Strategy<C, P>
where
    C: Fn(&Position) -> Call + Send + Sync,
    P: Fn(&Position, &Response) -> Result<Page<T>> + Send + Sync,
{
    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn filter(&self) -> String {
        self.filter.clone()
    }

    fn accepts(&self, position: &Position) -> bool {
        (self.accepts)(position)
    }

    fn call(&self, position: &Position) -> Call {
        (self.call)(position)
    }

    fn page(&self, position: &Position, response: &Response) -> Result<Page<T>> {
        (self.page)(position, response)
    }
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}
