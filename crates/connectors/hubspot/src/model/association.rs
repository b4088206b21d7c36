use super::lenient::{id, or_default};
use super::object::{ObjectId, ObjectType};
use super::page::RawPaging;
use serde::{Deserialize, Deserializer};

/// An object that another one is associated with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
#[non_exhaustive]
pub struct Association<T: ObjectType> {
    /// Its id.
    #[serde(rename = "toObjectId", deserialize_with = "object_id")]
    pub id: ObjectId<T>,
    /// In which ways.
    #[serde(default, rename = "associationTypes", deserialize_with = "or_default")]
    pub types: Vec<AssociationType>,
}

/// A way of being associated.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AssociationType {
    /// Who defined it: `HUBSPOT_DEFINED`, `USER_DEFINED` or `INTEGRATOR_DEFINED`.
    #[serde(default, deserialize_with = "or_default")]
    pub category: String,
    /// Its number.
    #[serde(deserialize_with = "id")]
    pub type_id: String,
    /// What people see, such as `Decision maker`; most have none.
    #[serde(default)]
    pub label: Option<String>,
}

fn object_id<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<ObjectId<T>, D::Error> {
    id(deserializer).map(ObjectId::new)
}

#[derive(Deserialize)]
pub(crate) struct RawFrom {
    #[serde(deserialize_with = "id")]
    pub(crate) id: String,
}

/// What one of the objects asked about is associated with.
#[derive(Deserialize)]
#[serde(bound = "")]
pub(crate) struct RawAssociations<T: ObjectType> {
    pub(crate) from: RawFrom,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) to: Vec<Association<T>>,
    #[serde(default)]
    pub(crate) paging: Option<RawPaging>,
}
