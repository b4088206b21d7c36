use super::bulk::UpsertWriter;
use super::objects::{GetObject, ListObjects, Objects};
use super::search::SearchObjects;
use crate::model::contact::ContactKind;

/// The contacts of an account. From [`HubSpot::contacts`](crate::HubSpot::contacts).
pub type Contacts = Objects<ContactKind>;
/// Reads the list of contacts.
pub type ListContacts = ListObjects<ContactKind>;
/// Reads one contact.
pub type GetContact = GetObject<ContactKind>;
/// Searches for contacts.
pub type SearchContacts = SearchObjects<ContactKind>;
/// Upserts contacts in batches.
pub type ContactWriter = UpsertWriter<ContactKind>;

impl Contacts {
    /// One contact by its e-mail address.
    pub fn get_by_email(&self, email: impl Into<String>) -> GetContact {
        self.get_by("email", email)
    }
}
