//! Lists, single objects and batches: the same for contacts, companies and deals.

use super::bulk::{self, UpsertWriter};
use super::search::SearchObjects;
use crate::model::object::{CrmObject, ObjectId, ObjectType, PropertyValues, UpsertInput};
use crate::model::page;
#[cfg(feature = "pipeline")]
use martlet_core::ErrorKind;
use martlet_core::{ApiClient, BulkOutcome, Call, Pager, ResponseMeta, Result};
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The objects of one type of an account, such as its [`Contacts`](crate::Contacts).
/// From [`HubSpot::contacts`](crate::HubSpot::contacts) and its like.
///
/// [CRM API, objects](https://developers.hubspot.com/docs/api/crm/understanding-the-crm), version 3.
#[derive(Clone)]
pub struct Objects<T> {
    api: Arc<dyn ApiClient>,
    object: PhantomData<T>,
}

#[derive(Serialize)]
struct Written<'a> {
    properties: &'a PropertyValues,
}

impl<T: ObjectType> Objects<T> {
    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api, object: PhantomData }
    }

    /// All of them, in the order of their ids.
    pub fn list(&self) -> ListObjects<T> {
        ListObjects {
            api: Arc::clone(&self.api),
            properties: String::new(),
            limit: ListObjects::<T>::MAX_LIMIT,
            archived: false,
            object: PhantomData,
        }
    }

    /// One of them by its id.
    pub fn get(&self, id: impl Into<ObjectId<T>>) -> GetObject<T> {
        self.find(id.into().to_string(), None)
    }

    /// One of them by a property that is unique, by internal name.
    pub fn get_by(&self, property: impl Into<String>, value: impl Into<String>) -> GetObject<T> {
        self.find(value.into(), Some(property.into()))
    }

    fn find(&self, id: String, by: Option<String>) -> GetObject<T> {
        GetObject {
            api: Arc::clone(&self.api),
            id,
            by,
            properties: String::new(),
            archived: false,
            object: PhantomData,
        }
    }

    /// Those that match a filter.
    pub fn search(&self) -> SearchObjects<T> {
        SearchObjects::new(Arc::clone(&self.api))
    }

    /// Creates one. **Not sent again** when the fate of the request is unknown: it could be there twice. Where a unique
    /// property is known, [`batch_upsert`](Self::batch_upsert) is the safer way.
    ///
    /// The answer has the properties that were written and HubSpot's choice of others.
    ///
    /// # Errors
    /// [`Conflict`](martlet_core::ErrorKind::Conflict) when another one has the value of a unique property, such as a
    /// contact's e-mail address; [`Rejected`](martlet_core::ErrorKind::Rejected) for values that HubSpot does not take; or
    /// what kept it from being done.
    pub async fn create(&self, properties: &PropertyValues) -> Result<CrmObject<T>> {
        self.write(Call::new(T::OPERATIONS.create), properties).await
    }

    /// Changes properties of one of them: what is not named stays, and what is [cleared](PropertyValues::clear) goes.
    ///
    /// The answer has the properties that were written and HubSpot's choice of others.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when it is not there or archived; the others as
    /// [`create`](Self::create).
    pub async fn update(&self, id: impl Into<ObjectId<T>>, changes: &PropertyValues) -> Result<CrmObject<T>> {
        self.write(Call::new(T::OPERATIONS.update).path("id", id.into()), changes).await
    }

    async fn write(&self, call: Call, properties: &PropertyValues) -> Result<CrmObject<T>> {
        self.api.execute(call.json(&Written { properties })).await?.json()
    }

    /// Reads up to [`MAX_BATCH`](crate::MAX_BATCH) of them by id, in no particular order. Ids that HubSpot does not know, or
    /// whose object is archived or was merged into another, have no object in the answer.
    ///
    /// # Errors
    /// What kept it from being done; [`InvalidRequest`](martlet_core::ErrorKind::InvalidRequest) for too many ids.
    pub async fn batch_read(
        &self,
        ids: &[ObjectId<T>],
        properties: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Vec<CrmObject<T>>> {
        bulk::read(&*self.api, ids, properties.into_iter().map(Into::into).collect()).await
    }

    /// Creates or updates up to [`MAX_BATCH`](crate::MAX_BATCH) of them in one request; each is found by the unique
    /// property `id_property`, such as a contact's `email`. Places in the outcome are places in `inputs`. Nothing is sent for
    /// no input.
    ///
    /// Two inputs for one object are refused by HubSpot (unconfirmed).
    ///
    /// # Errors
    /// When the request failed as a whole; [`InvalidRequest`](martlet_core::ErrorKind::InvalidRequest) for too many inputs;
    /// [`Decode`](martlet_core::ErrorKind::Decode) when HubSpot reports an error or a result that belongs to no input: the
    /// others may have been applied, and none may be taken for it.
    pub async fn batch_upsert(
        &self,
        id_property: &str,
        inputs: &[UpsertInput<T>],
    ) -> Result<BulkOutcome<T::Upserted>> {
        bulk::upsert(&*self.api, id_property, inputs).await
    }

    /// The same as a [`BulkWriter`](martlet_core::BulkWriter), for [`Bulk`](martlet_core::Bulk) and pipelines.
    #[must_use]
    pub fn upsert_writer(&self, id_property: impl Into<String>) -> UpsertWriter<T> {
        UpsertWriter::new(Arc::clone(&self.api), id_property.into())
    }

    /// Moves one to the recycle bin, where it stays for 90 days. Doing so twice is no error.
    ///
    /// # Errors
    /// What kept it from being done.
    pub async fn archive(&self, id: impl Into<ObjectId<T>>) -> Result<()> {
        self.api.execute(Call::new(T::OPERATIONS.archive).path("id", id.into())).await.map(drop)
    }

    /// Moves up to [`MAX_BATCH`](crate::MAX_BATCH) of them to the recycle bin in one request. Nothing is sent for none.
    ///
    /// # Errors
    /// What kept it from being done; [`InvalidRequest`](martlet_core::ErrorKind::InvalidRequest) for too many.
    pub async fn batch_archive(&self, ids: &[ObjectId<T>]) -> Result<()> {
        bulk::archive(&*self.api, ids).await
    }
}

impl<T: ObjectType> fmt::Debug for Objects<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&T::NAME).field(&self.api).finish()
    }
}

/// Names joined as HubSpot takes them in a query.
pub(super) fn join(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",")
}

pub(super) fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Reads a list of objects. From [`Objects::list`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ListObjects<T> {
    api: Arc<dyn ApiClient>,
    properties: String,
    limit: u32,
    archived: bool,
    object: PhantomData<T>,
}

impl<T: ObjectType> ListObjects<T> {
    const MAX_LIMIT: u32 = 100;

    /// The properties to read, by internal name; HubSpot's choice unless said (of contacts, six). All names together should stay under
    /// 15,000 characters: they travel in the URL.
    pub fn properties(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.properties = join(names);
        self
    }

    /// Objects per page, 1 to 100 (the default).
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit.clamp(1, Self::MAX_LIMIT);
        self
    }

    /// Reads the recycle bin instead: those that were archived in the last 90 days.
    pub const fn archived(mut self, archived: bool) -> Self {
        self.archived = archived;
        self
    }

    /// Reads all of them, page by page.
    pub fn pager(self) -> Pager<CrmObject<T>> {
        let Self { archived, limit, properties, .. } = &self;
        let filter = format!("archived={archived} limit={limit} properties={properties}");
        let api = Arc::clone(&self.api);
        Pager::token(api, T::OPERATIONS.list, filter, move |after| self.call(after), page::read)
    }

    /// The page at `after`, and where the next one is.
    #[cfg(feature = "pipeline")]
    pub(crate) async fn page(&self, after: Option<&str>) -> Result<(Vec<CrmObject<T>>, Option<String>)> {
        let response = self.api.execute(self.call(after)).await?;
        let (objects, next) = page::read(&response)?;
        if next.is_some() && next.as_deref() == after {
            return Err(response.error(ErrorKind::Decode, "the next page is the present one"));
        }
        Ok((objects, next))
    }

    fn call(&self, after: Option<&str>) -> Call {
        Call::new(T::OPERATIONS.list)
            .query("limit", self.limit)
            .query_opt("after", after)
            .query_opt("properties", some(&self.properties))
            .query_opt("archived", self.archived.then_some("true"))
    }
}

/// Reads one object. From [`Objects::get`] or [`Objects::get_by`].
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct GetObject<T> {
    api: Arc<dyn ApiClient>,
    id: String,
    by: Option<String>,
    properties: String,
    archived: bool,
    object: PhantomData<T>,
}

impl<T: ObjectType> GetObject<T> {
    /// The properties to read, by internal name; HubSpot's choice unless said (of contacts, six). All names together should stay under
    /// 15,000 characters: they travel in the URL. [`Objects::batch_read`] takes more.
    pub fn properties(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.properties = join(names);
        self
    }

    /// Looks in the recycle bin instead.
    pub const fn archived(mut self, archived: bool) -> Self {
        self.archived = archived;
        self
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is none, or what kept it from being read.
    pub async fn send(self) -> Result<CrmObject<T>> {
        self.send_with_meta().await.map(|(object, _)| object)
    }

    /// Reads it, and tells how the answer came about.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_with_meta(self) -> Result<(CrmObject<T>, ResponseMeta)> {
        let call = Call::new(T::OPERATIONS.get)
            .path("id", &self.id)
            .query_opt("idProperty", self.by.as_deref())
            .query_opt("properties", some(&self.properties))
            .query_opt("archived", self.archived.then_some("true"));
        let response = self.api.execute(call).await?;
        Ok((response.json()?, response.meta().clone()))
    }
}

impl<T: ObjectType> fmt::Debug for GetObject<T> {
    /// Without the id: it may be an e-mail address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetObject")
            .field("type", &T::NAME)
            .field("by", &self.by)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}
