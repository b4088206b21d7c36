//! Lists, and who is on them.

use crate::model::list::{List, ListMember, MembershipChange};
use crate::model::object::{ObjectId, ObjectType};
use crate::model::page;
use crate::operations::lists as operations;
use martlet_core::{ApiClient, Call, Extent, Operation, Pager, Response, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The lists of an account. From [`HubSpot::lists`](crate::HubSpot::lists).
///
/// [CRM API, lists](https://developers.hubspot.com/docs/api/crm/lists), version 3. The shapes of its answers are unconfirmed.
#[derive(Clone)]
pub struct Lists {
    api: Arc<dyn ApiClient>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Search<'a> {
    query: &'a str,
    count: u64,
    offset: u64,
    /// None. HubSpot's description of the API requires the member (unconfirmed).
    additional_properties: [&'a str; 0],
}

#[derive(Deserialize)]
struct Found {
    lists: Vec<List>,
    /// On every page: where it is missing, nobody knows how far they go.
    total: u64,
}

#[derive(Deserialize)]
struct One {
    list: List,
}

impl Lists {
    /// Lists per page of a search.
    const FOUND: u64 = 100;
    /// Members per page; the most that HubSpot gives (unconfirmed).
    const MEMBERS: u32 = 250;

    pub(crate) const fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// The lists whose names hold `query`; all of them for an empty one.
    pub fn search(&self, query: impl Into<String>) -> Pager<List> {
        let query = query.into();
        let filter = format!("query={query}");
        let call = move |offset, count| {
            let search = Search { query: &query, count, offset, additional_properties: [] };
            Call::new(operations::SEARCH).json(&search)
        };
        let read = |response: &Response| {
            let found: Found = response.json()?;
            Ok((found.lists, Extent::Items(found.total)))
        };
        Pager::offset(Arc::clone(&self.api), operations::SEARCH, filter, Self::FOUND, call, read)
    }

    /// One list by its id. [Reference data](martlet_core::CacheRule::reference_data): fresh for five minutes, and renewed in the
    /// background after that.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is none, or what kept it from being read.
    pub async fn get(&self, id: &str) -> Result<List> {
        self.read(Call::new(operations::GET).path("listId", id)).await
    }

    /// The same, asked for anew: somebody may have changed it in HubSpot.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_fresh(&self, id: &str) -> Result<List> {
        self.read(Call::new(operations::GET).path("listId", id).fresh()).await
    }

    async fn read(&self, call: Call) -> Result<List> {
        let one: One = self.api.execute(call).await?.json()?;
        Ok(one.list)
    }

    /// The objects on a list, in the order of their ids.
    pub fn members(&self, id: impl Into<String>) -> Pager<ListMember> {
        let id = id.into();
        let filter = format!("list={id}");
        let call = move |after: Option<&str>| {
            Call::new(operations::MEMBERSHIPS)
                .path("listId", &id)
                .query("limit", Self::MEMBERS)
                .query_opt("after", after)
        };
        Pager::token(Arc::clone(&self.api), operations::MEMBERSHIPS, filter, call, page::read)
    }

    /// Puts objects on a list that is [writable](List::is_writable). Those that are on it stay; doing so twice is no error.
    /// Nothing is sent for none. HubSpot takes 100,000 at once (unconfirmed).
    ///
    /// # Errors
    /// [`Rejected`](martlet_core::ErrorKind::Rejected) for a list that HubSpot keeps by a filter, or what kept it from being
    /// done.
    pub async fn add<T: ObjectType>(&self, id: &str, objects: &[ObjectId<T>]) -> Result<MembershipChange> {
        self.change(operations::ADD, id, objects).await
    }

    /// Takes objects off such a list. Those that are not on it are no error. Nothing is sent for none.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn remove<T: ObjectType>(&self, id: &str, objects: &[ObjectId<T>]) -> Result<MembershipChange> {
        self.change(operations::REMOVE, id, objects).await
    }

    async fn change<T: ObjectType>(
        &self,
        operation: Operation,
        id: &str,
        objects: &[ObjectId<T>],
    ) -> Result<MembershipChange> {
        if objects.is_empty() {
            return Ok(MembershipChange::default());
        }
        let ids: Vec<&str> = objects.iter().map(ObjectId::as_str).collect();
        self.api.execute(Call::new(operation).path("listId", id).json(&ids)).await?.json()
    }
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lists").field(&self.api).finish()
    }
}
