use super::object::{CrmObject, ObjectId, ObjectType, UpsertInput, sealed::Sealed};
use crate::operations::{self, ObjectOperations};

/// The type of contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContactKind {}

impl Sealed for ContactKind {}

impl ObjectType for ContactKind {
    const NAME: &'static str = "contacts";
    const MODIFIED: &'static str = "lastmodifieddate";
    const OPERATIONS: &'static ObjectOperations = &operations::contacts::OBJECTS;
    type Upserted = Upserted;

    fn upserted(contact: Contact, created: bool) -> Upserted {
        Upserted { contact, created }
    }
}

/// The id of a contact.
pub type ContactId = ObjectId<ContactKind>;
/// A contact.
pub type Contact = CrmObject<ContactKind>;
/// What to write about one contact.
pub type ContactInput = UpsertInput<ContactKind>;

impl Contact {
    /// The property `email`.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.property("email").filter(|email| !email.is_empty())
    }

    /// Whether the person opted out of all marketing e-mail, from the property `hs_email_optout` (unconfirmed): `None`
    /// when it was not asked for or says nothing.
    #[must_use]
    pub fn opted_out(&self) -> Option<bool> {
        match self.property("hs_email_optout")? {
            text if text.eq_ignore_ascii_case("true") => Some(true),
            text if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
}

/// What HubSpot answers for a contact that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upserted {
    /// The contact as it is now.
    pub contact: Contact,
    /// Whether it was created by this request.
    pub created: bool,
}
