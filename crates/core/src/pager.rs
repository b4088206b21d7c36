//! Pagination: reading a list page by page, resumably.

mod items;
mod link;
mod pages;
mod strategies;

pub use items::Pager;
pub(crate) use link::find as find_link;
pub use pages::Pages;
pub use strategies::Extent;

use crate::{Call, Operation, Response, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};

/// How one list of one platform is paged: builds the call for a position and reads the answer.
///
/// Most platforms page in one of the ways that [`Pager`] has a constructor for; implement this for those that do not.
pub trait Paging<T>: Send + Sync {
    /// The operation that reads a page.
    fn operation(&self) -> &Operation;

    /// What is listed, in a form that changes when the list does (filter, sort, page size): a cursor of another list is
    /// refused.
    fn filter(&self) -> String;

    /// Whether this list hands out positions of this kind. A cursor with another one is refused: it was stored when the list
    /// was paged in another way.
    fn accepts(&self, position: &Position) -> bool {
        let _ = position;
        true
    }

    /// The call that reads the page at `position`.
    fn call(&self, position: &Position) -> Call;

    /// The items of the page, and where the next one is.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when the answer is not what the platform documents.
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
    /// What tells its content from that of other pages.
    fingerprint: Option<u64>,
}

impl<T> Page<T> {
    /// A page.
    #[must_use]
    pub const fn new(items: Vec<T>, next: Option<Position>) -> Self {
        Self { items, next, total: None, fingerprint: None }
    }

    /// With the number of items in all pages.
    #[must_use]
    pub const fn with_total(mut self, total: Option<u64>) -> Self {
        self.total = total;
        self
    }

    /// With what tells its content from that of other pages, such as the body it came in: the same in two pages in a row is an
    /// error. For positions that go forward by themselves (an offset, a number), where the platform may give the same page for
    /// ever; tokens and URLs tell by themselves.
    #[must_use]
    pub fn with_fingerprint(mut self, content: &(impl Hash + ?Sized)) -> Self {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        self.fingerprint = Some(hasher.finish());
        self
    }
}

/// A place in a list.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Position {
    /// The first page.
    Start,
    /// What the platform gave for the next page.
    Token(String),
    /// So many items in.
    Offset(u64),
    /// The page of this number.
    Page(u64),
    /// The URL that the platform gave for the next page, as it gave it.
    Url(String),
    /// Behind the item with this key.
    Key(String),
}

impl fmt::Debug for Position {
    /// A URL without its query: some platforms put a credential there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("Start"),
            Self::Token(token) => f.debug_tuple("Token").field(token).finish(),
            Self::Offset(offset) => f.debug_tuple("Offset").field(offset).finish(),
            Self::Page(number) => f.debug_tuple("Page").field(number).finish(),
            Self::Url(url) => f.debug_tuple("Url").field(&url.split('?').next()).finish(),
            Self::Key(key) => f.debug_tuple("Key").field(key).finish(),
        }
    }
}

/// A place in a list that can be stored: it names its platform, operation and filter, so that it cannot be used for another list.
///
/// Its JSON form is stable: `{"v":1,"list":"hubspot contacts.list","filter":"..","at":{"token":".."}}`. It holds what the
/// platform gave for the next page, and the filter.
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
