use crate::model::object::{CrmObject, ObjectType, SearchPage};
use crate::model::page::RawPage;
use martlet_base::Timestamp;
use martlet_core::{
    ApiClient, Call, ErrorKind, Operation, Page, Pager, Paging, Position, Response, ResponseMeta, Result,
};
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// No search hands out more results than this; what lies behind must be searched for by another filter.
pub const SEARCH_CAP: u64 = 10_000;

/// How a property is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterOperator {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Has a token that matches, `*` stands for any characters.
    ContainsToken,
}

impl FilterOperator {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "EQ",
            Self::Neq => "NEQ",
            Self::Lt => "LT",
            Self::Lte => "LTE",
            Self::Gt => "GT",
            Self::Gte => "GTE",
            Self::ContainsToken => "CONTAINS_TOKEN",
        }
    }
}

/// Which way results are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    property_name: String,
    operator: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct FilterGroup {
    filters: Vec<Filter>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sort {
    property_name: String,
    direction: Direction,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    filter_groups: Vec<FilterGroup>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sorts: Vec<Sort>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<String>,
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// Searches for objects. From [`Objects::search`](crate::Objects::search). Filters must all match, unless
/// [`or`](Self::or) begins another group.
///
/// What was written is found only some seconds later (unconfirmed), and archived objects never are.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct SearchObjects<T> {
    api: Arc<dyn ApiClient>,
    body: Body,
    object: PhantomData<T>,
}

const ID: &str = "hs_object_id";

impl<T: ObjectType> SearchObjects<T> {
    const MAX_LIMIT: u32 = 200;

    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        let body = Body {
            filter_groups: Vec::new(),
            sorts: Vec::new(),
            properties: Vec::new(),
            limit: Self::MAX_LIMIT,
            after: None,
        };
        Self { api, body, object: PhantomData }
    }

    /// Objects whose `property` compares to `value` as `operator` says. Dates are compared as milliseconds since 1970, in
    /// digits.
    pub fn filter(
        self,
        property: impl Into<String>,
        operator: FilterOperator,
        value: impl fmt::Display,
    ) -> Self {
        self.push(Filter {
            property_name: property.into(),
            operator: operator.as_str(),
            value: Some(value.to_string()),
            values: None,
        })
    }

    /// Objects whose `property` is one of `values`.
    pub fn any_of(
        self,
        property: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.push(Filter {
            property_name: property.into(),
            operator: "IN",
            value: None,
            values: Some(values),
        })
    }

    /// Objects that have a value in `property`, or have none.
    pub fn has(self, property: impl Into<String>, has: bool) -> Self {
        let operator = if has { "HAS_PROPERTY" } else { "NOT_HAS_PROPERTY" };
        self.push(Filter { property_name: property.into(), operator, value: None, values: None })
    }

    /// Those that were changed at `since` or later (`lastmodifieddate` of contacts, `hs_lastmodifieddate` of all others; in
    /// milliseconds).
    pub fn modified_since(self, since: Timestamp) -> Self {
        self.filter(T::MODIFIED, FilterOperator::Gte, since.as_millis())
    }

    /// Begins another group of filters: an object is found when all filters of any group match. HubSpot takes six groups.
    pub fn or(mut self) -> Self {
        if self.body.filter_groups.last().is_some_and(|group| !group.filters.is_empty()) {
            self.body.filter_groups.push(FilterGroup::default());
        }
        self
    }

    /// Sorts by a property. HubSpot takes one; the last one given wins.
    pub fn sort(mut self, property: impl Into<String>, direction: Direction) -> Self {
        self.body.sorts = vec![Sort { property_name: property.into(), direction }];
        self
    }

    /// The properties to read, by internal name; HubSpot's choice unless said (of contacts, six).
    pub fn properties(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.body.properties = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        self
    }

    /// Objects per page, 1 to 200 (the default).
    pub fn limit(mut self, limit: u32) -> Self {
        self.body.limit = limit.clamp(1, Self::MAX_LIMIT);
        self
    }

    /// The page that begins after this place, from [`SearchPage::next`]. [`pager`](Self::pager) does not look at it.
    pub fn after(mut self, after: impl Into<String>) -> Self {
        self.body.after = Some(after.into());
        self
    }

    /// Reads one page.
    ///
    /// # Errors
    /// [`Rejected`](ErrorKind::Rejected) for a page beyond [`SEARCH_CAP`], or what kept it from being read.
    pub async fn send(self) -> Result<SearchPage<T>> {
        self.send_with_meta().await.map(|(page, _)| page)
    }

    /// Reads one page, and tells how the answer came about.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_with_meta(mut self) -> Result<(SearchPage<T>, ResponseMeta)> {
        self.tidy();
        let response = self.api.execute(Call::new(T::OPERATIONS.search).json(&self.body)).await?;
        let mut page: RawPage<CrmObject<T>> = response.json()?;
        let (total, next) = (page.total.unwrap_or_default(), page.next());
        Ok((SearchPage { total, results: page.results, next }, response.meta().clone()))
    }

    /// Reads all of them, page by page, **however many match**.
    ///
    /// Without a [`sort`](Self::sort) they come in the order of their ids, and each page asks for ids greater than the last
    /// one seen: so the cap of 10,000 results never comes near, thousands of objects with the same date do no harm, and a
    /// object that leaves the result while it is read (it was changed or archived) shifts nobody past a page boundary.
    ///
    /// With a sort of your own the cap holds: the pager ends with an error ([`Rejected`](ErrorKind::Rejected)) when more than
    /// [`SEARCH_CAP`] objects match, after it gave the ones before.
    pub fn pager(mut self) -> Pager<CrmObject<T>> {
        self.tidy();
        self.body.after = None;
        let sorted = !self.body.sorts.is_empty();
        if !sorted {
            self.body.sorts = vec![Sort { property_name: ID.to_owned(), direction: Direction::Ascending }];
        }
        Pager::new(self.api, SearchPaging { body: self.body, sorted, object: self.object })
    }

    fn push(mut self, filter: Filter) -> Self {
        match self.body.filter_groups.last_mut() {
            Some(group) => group.filters.push(filter),
            None => self.body.filter_groups.push(FilterGroup { filters: vec![filter] }),
        }
        self
    }

    /// Takes away a group that [`or`](Self::or) began and nobody filled: HubSpot refuses empty ones.
    fn tidy(&mut self) {
        self.body.filter_groups.retain(|group| !group.filters.is_empty());
    }
}

impl<T: ObjectType> fmt::Debug for SearchObjects<T> {
    /// Without the values compared to: they may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filters = self.body.filter_groups.iter().flat_map(|group| &group.filters);
        f.debug_struct("SearchObjects")
            .field("type", &T::NAME)
            .field("by", &filters.map(|f| f.property_name.as_str()).collect::<Vec<_>>())
            .field("sorts", &self.body.sorts)
            .field("properties", &self.body.properties)
            .finish_non_exhaustive()
    }
}

struct SearchPaging<T> {
    body: Body,
    sorted: bool,
    object: PhantomData<T>,
}

impl<T: ObjectType> Paging<CrmObject<T>> for SearchPaging<T> {
    fn operation(&self) -> &Operation {
        &T::OPERATIONS.search
    }

    fn filter(&self) -> String {
        serde_json::to_string(&self.body).expect("texts and numbers serialise as JSON")
    }

    fn call(&self, position: &Position) -> Call {
        let mut body = self.body.clone();
        match position {
            Position::Token(after) if self.sorted => body.after = Some(after.clone()),
            Position::Token(last) => {
                if body.filter_groups.is_empty() {
                    body.filter_groups.push(FilterGroup::default());
                }
                for group in &mut body.filter_groups {
                    group.filters.push(Filter {
                        property_name: ID.to_owned(),
                        operator: FilterOperator::Gt.as_str(),
                        value: Some(last.clone()),
                        values: None,
                    });
                }
            }
            _ => {}
        }
        Call::new(T::OPERATIONS.search).json(&body)
    }

    fn page(&self, _position: &Position, response: &Response) -> Result<Page<CrmObject<T>>> {
        let mut page: RawPage<CrmObject<T>> = response.json()?;
        let after = page.next();
        let next = match (&after, self.sorted) {
            (None, _) => None,
            (Some(after), true) => Some(after.clone()),
            // The id is a number: what HubSpot compares it as. An id that is none would make the filter mean something else.
            (Some(_), false) => match page.results.last().map(|object| object.id.as_str()) {
                Some(last) if last.parse::<u64>().is_ok() => Some(last.to_owned()),
                _ => {
                    let message = "the search has a next page, but its last object has no numeric id";
                    return Err(response.error(ErrorKind::Decode, message));
                }
            },
        };
        Ok(Page::new(page.results, next.map(Position::Token)).with_total(page.total))
    }
}
