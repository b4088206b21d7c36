//! The objects that have nothing of their own but some properties that everybody reads.

use super::object::{CrmObject, ObjectId, ObjectType, UpsertInput, UpsertedObject, sealed::Sealed};
use crate::operations::{self, ObjectOperations};

macro_rules! plain_kind {
    ($kind:ident, $name:ident, $about:literal) => {
        #[doc = $about]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $kind {}

        impl Sealed for $kind {}

        impl ObjectType for $kind {
            const NAME: &'static str = stringify!($name);
            const MODIFIED: &'static str = "hs_lastmodifieddate";
            const OPERATIONS: &'static ObjectOperations = &operations::$name::OBJECTS;
            type Upserted = UpsertedObject<Self>;

            fn upserted(object: CrmObject<Self>, created: bool) -> UpsertedObject<Self> {
                UpsertedObject { object, created }
            }
        }
    };
}

plain_kind!(CompanyKind, companies, "The type of companies.");
plain_kind!(DealKind, deals, "The type of deals.");

/// The id of a company.
pub type CompanyId = ObjectId<CompanyKind>;
/// A company.
pub type Company = CrmObject<CompanyKind>;
/// What to write about one company.
pub type CompanyInput = UpsertInput<CompanyKind>;

/// The id of a deal.
pub type DealId = ObjectId<DealKind>;
/// A deal.
pub type Deal = CrmObject<DealKind>;
/// What to write about one deal.
pub type DealInput = UpsertInput<DealKind>;

impl Company {
    /// The property `name`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.property("name")
    }

    /// The property `domain`: that of its web site.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.property("domain")
    }
}

impl Deal {
    /// The property `dealname`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.property("dealname")
    }

    /// The property `dealstage`: the internal name of a stage of its pipeline.
    #[must_use]
    pub fn stage(&self) -> Option<&str> {
        self.property("dealstage")
    }

    /// The property `amount`, as HubSpot writes it: a decimal number in the deal's currency.
    #[must_use]
    pub fn amount(&self) -> Option<&str> {
        self.property("amount")
    }
}
