use super::lenient::or_default;
use serde::{Deserialize, Serialize};

/// The definition of a property. Unknown fields of the answer are ignored, and so are unknown types.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Property {
    /// Its internal name.
    pub name: String,
    /// What people see.
    #[serde(default, deserialize_with = "or_default")]
    pub label: String,
    /// What its values are: `string`, `number`, `date`, `datetime`, `enumeration`, `bool`, or what HubSpot adds.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// How it is edited: `text`, `textarea`, `select`, `checkbox`, and others.
    #[serde(default, deserialize_with = "or_default")]
    pub field_type: String,
    /// The group it belongs to.
    #[serde(default, deserialize_with = "or_default")]
    pub group_name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The values that an enumeration can have.
    #[serde(default, deserialize_with = "or_default")]
    pub options: Vec<PropertyOption>,
    /// Whether no two objects have the same value: such a property can be an `id_property`.
    #[serde(default, deserialize_with = "or_default")]
    pub has_unique_value: bool,
    /// Whether HubSpot computes it: it cannot be written.
    #[serde(default, deserialize_with = "or_default")]
    pub calculated: bool,
    /// Whether people do not see it.
    #[serde(default, deserialize_with = "or_default")]
    pub hidden: bool,
    /// Whether HubSpot defined it.
    #[serde(default, deserialize_with = "or_default")]
    pub hubspot_defined: bool,
    /// Whether it was archived.
    #[serde(default, deserialize_with = "or_default")]
    pub archived: bool,
}

/// One value that an enumeration can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PropertyOption {
    /// The value as it is written and read.
    pub value: String,
    /// What people see.
    #[serde(default, deserialize_with = "or_default")]
    pub label: String,
    /// Whether people are not offered it.
    #[serde(default, deserialize_with = "or_default")]
    pub hidden: bool,
}

/// A property to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewProperty {
    name: String,
    label: String,
    #[serde(rename = "type")]
    kind: String,
    field_type: String,
    group_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<PropertyOption>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_unique_value: bool,
}

impl NewProperty {
    /// A property of HubSpot's types `kind` and `field_type`, such as `number` and `number`, in a group that exists, such as
    /// `contactinformation`. Its label is its name until [`label`](Self::label) says otherwise.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        kind: impl Into<String>,
        field_type: impl Into<String>,
        group: impl Into<String>,
    ) -> Self {
        let name = name.into();
        Self {
            label: name.clone(),
            name,
            kind: kind.into(),
            field_type: field_type.into(),
            group_name: group.into(),
            description: None,
            options: Vec::new(),
            has_unique_value: false,
        }
    }

    /// A line of text.
    #[must_use]
    pub fn text(name: impl Into<String>, group: impl Into<String>) -> Self {
        Self::new(name, "string", "text", group)
    }

    /// A number.
    #[must_use]
    pub fn number(name: impl Into<String>, group: impl Into<String>) -> Self {
        Self::new(name, "number", "number", group)
    }

    /// One of the [`option`](Self::option)s.
    #[must_use]
    pub fn select(name: impl Into<String>, group: impl Into<String>) -> Self {
        Self::new(name, "enumeration", "select", group)
    }

    /// What people see.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What it is for.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Another value that it can have, for enumerations.
    #[must_use]
    pub fn option(mut self, value: impl Into<String>, label: impl Into<String>) -> Self {
        self.options.push(PropertyOption { value: value.into(), label: label.into(), hidden: false });
        self
    }

    /// No two objects may have the same value: it can be the `id_property` of upserts. It cannot be changed later
    /// (unconfirmed), and an account has few of them (10 for each type of objects, unconfirmed).
    #[must_use]
    pub const fn unique(mut self) -> Self {
        self.has_unique_value = true;
        self
    }
}
