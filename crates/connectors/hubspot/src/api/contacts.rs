use super::bulk::{self, ContactWriter};
use super::search::SearchContacts;
use crate::model::contact::{Contact, ContactId, ContactInput, RawPage, Upserted};
use crate::operations;
#[cfg(feature = "pipeline")]
use martlet_core::ErrorKind;
use martlet_core::{ApiClient, BulkOutcome, Call, Pager, Response, ResponseMeta, Result};
use std::fmt;
use std::sync::Arc;

/// The contacts of an account. From [`HubSpot::contacts`](crate::HubSpot::contacts).
///
/// [CRM API, contacts](https://developers.hubspot.com/docs/api/crm/contacts), version 3.
#[derive(Clone)]
pub struct Contacts {
    api: Arc<dyn ApiClient>,
}

impl Contacts {
    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// All contacts, in the order of their ids.
    pub fn list(&self) -> ListContacts {
        ListContacts {
            api: Arc::clone(&self.api),
            properties: String::new(),
            limit: ListContacts::MAX_LIMIT,
            archived: false,
        }
    }

    /// One contact by its id.
    pub fn get(&self, id: impl Into<ContactId>) -> GetContact {
        self.find(id.into().to_string(), None)
    }

    /// One contact by its e-mail address.
    pub fn get_by_email(&self, email: impl Into<String>) -> GetContact {
        self.find(email.into(), Some("email"))
    }

    fn find(&self, id: String, by: Option<&'static str>) -> GetContact {
        GetContact { api: Arc::clone(&self.api), id, by, properties: String::new(), archived: false }
    }

    /// The contacts that match a filter.
    pub fn search(&self) -> SearchContacts {
        SearchContacts::new(Arc::clone(&self.api))
    }

    /// Reads up to [`MAX_BATCH`](crate::MAX_BATCH) contacts by id, in no particular order. Ids that HubSpot does not know, or
    /// whose contact is archived or was merged into another, have no contact in the answer.
    ///
    /// # Errors
    /// What kept it from being done; [`InvalidRequest`](martlet_core::ErrorKind::InvalidRequest) for too many ids.
    pub async fn batch_read(
        &self,
        ids: &[ContactId],
        properties: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Vec<Contact>> {
        bulk::read(&*self.api, ids, properties.into_iter().map(Into::into).collect()).await
    }

    /// Creates or updates up to [`MAX_BATCH`](crate::MAX_BATCH) contacts in one request; each is found by the unique
    /// property `id_property`, such as `email`. Places in the outcome are places in `inputs`. Nothing is sent for no input.
    ///
    /// Two inputs for one contact are refused by HubSpot (unconfirmed).
    ///
    /// # Errors
    /// When the request failed as a whole; [`InvalidRequest`](martlet_core::ErrorKind::InvalidRequest) for too many inputs;
    /// [`Decode`](martlet_core::ErrorKind::Decode) when HubSpot reports an error or a result that belongs to no input: the
    /// others may have been applied, and none may be taken for it.
    pub async fn batch_upsert(
        &self,
        id_property: &str,
        inputs: &[ContactInput],
    ) -> Result<BulkOutcome<Upserted>> {
        bulk::upsert(&*self.api, id_property, inputs).await
    }

    /// The same as a [`BulkWriter`](martlet_core::BulkWriter), for [`Bulk`](martlet_core::Bulk) and pipelines.
    #[must_use]
    pub fn upsert_writer(&self, id_property: impl Into<String>) -> ContactWriter {
        ContactWriter::new(Arc::clone(&self.api), id_property.into())
    }

    /// Moves a contact to the recycle bin, where it stays for 90 days. Doing so twice is no error.
    ///
    /// # Errors
    /// What kept it from being done.
    pub async fn archive(&self, id: impl Into<ContactId>) -> Result<()> {
        self.api.execute(Call::new(operations::ARCHIVE).path("id", id.into())).await.map(drop)
    }

    /// Moves up to [`MAX_BATCH`](crate::MAX_BATCH) contacts to the recycle bin in one request. Nothing is sent for none.
    ///
    /// # Errors
    /// What kept it from being done; [`InvalidRequest`](martlet_core::ErrorKind::InvalidRequest) for too many.
    pub async fn batch_archive(&self, ids: &[ContactId]) -> Result<()> {
        bulk::archive(&*self.api, ids).await
    }
}

impl fmt::Debug for Contacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Contacts").field(&self.api).finish()
    }
}

/// Names joined as HubSpot takes them in a query.
fn join(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",")
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Reads the list of contacts. From [`Contacts::list`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ListContacts {
    api: Arc<dyn ApiClient>,
    properties: String,
    limit: u32,
    archived: bool,
}

impl ListContacts {
    const MAX_LIMIT: u32 = 100;

    /// The properties to read, by internal name; HubSpot's choice of six unless said. All names together should stay under
    /// 15,000 characters: they travel in the URL.
    pub fn properties(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.properties = join(names);
        self
    }

    /// Contacts per page, 1 to 100 (the default).
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit.clamp(1, Self::MAX_LIMIT);
        self
    }

    /// Reads the recycle bin instead: contacts that were archived in the last 90 days.
    pub const fn archived(mut self, archived: bool) -> Self {
        self.archived = archived;
        self
    }

    /// Reads all of them, page by page.
    pub fn pager(self) -> Pager<Contact> {
        let Self { archived, limit, properties, .. } = &self;
        let filter = format!("archived={archived} limit={limit} properties={properties}");
        let api = Arc::clone(&self.api);
        Pager::token(api, operations::LIST, filter, move |after| self.call(after), read_page)
    }

    /// The page at `after`, and where the next one is.
    #[cfg(feature = "pipeline")]
    pub(crate) async fn page(&self, after: Option<&str>) -> Result<(Vec<Contact>, Option<String>)> {
        let response = self.api.execute(self.call(after)).await?;
        let (contacts, next) = read_page(&response)?;
        if next.is_some() && next.as_deref() == after {
            return Err(response.error(ErrorKind::Decode, "the next page is the present one"));
        }
        Ok((contacts, next))
    }

    fn call(&self, after: Option<&str>) -> Call {
        Call::new(operations::LIST)
            .query("limit", self.limit)
            .query_opt("after", after)
            .query_opt("properties", some(&self.properties))
            .query_opt("archived", self.archived.then_some("true"))
    }
}

fn read_page(response: &Response) -> Result<(Vec<Contact>, Option<String>)> {
    let mut page: RawPage = response.json()?;
    let next = page.next();
    Ok((page.results, next))
}

/// Reads one contact. From [`Contacts::get`] or [`Contacts::get_by_email`].
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct GetContact {
    api: Arc<dyn ApiClient>,
    id: String,
    by: Option<&'static str>,
    properties: String,
    archived: bool,
}

impl GetContact {
    /// The properties to read, by internal name; HubSpot's choice of six unless said.
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
    /// [`NotFound`](martlet_core::ErrorKind::NotFound) when there is no such contact, or what kept it from being read.
    pub async fn send(self) -> Result<Contact> {
        self.send_with_meta().await.map(|(contact, _)| contact)
    }

    /// Reads it, and tells how the answer came about.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_with_meta(self) -> Result<(Contact, ResponseMeta)> {
        let call = Call::new(operations::GET)
            .path("id", &self.id)
            .query_opt("idProperty", self.by)
            .query_opt("properties", some(&self.properties))
            .query_opt("archived", self.archived.then_some("true"));
        let response = self.api.execute(call).await?;
        Ok((response.json()?, response.meta().clone()))
    }
}

impl fmt::Debug for GetContact {
    /// Without the id: it may be an e-mail address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetContact")
            .field("by", &self.by)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}
