use martlet_base::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// That an event of the account's own (its definition exists in HubSpot) happened to somebody.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventOccurrence {
    event_name: String,
    #[serde(flatten)]
    whom: Whom,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    properties: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Whom {
    Email(String),
    ObjectId(String),
    Utk(String),
}

impl EventOccurrence {
    fn new(event: impl Into<String>, whom: Whom) -> Self {
        Self { event_name: event.into(), whom, occurred_at: None, uuid: None, properties: BTreeMap::new() }
    }

    /// It happened to the contact with this address. `event` is the internal name, such as `pe1234567_watched`.
    #[must_use]
    pub fn of_email(event: impl Into<String>, email: impl Into<String>) -> Self {
        Self::new(event, Whom::Email(email.into()))
    }

    /// It happened to the object with this id, of the type that the event's definition names.
    #[must_use]
    pub fn of_object(event: impl Into<String>, id: impl fmt::Display) -> Self {
        Self::new(event, Whom::ObjectId(id.to_string()))
    }

    /// It happened to the visitor with this token, from the cookie `hubspotutk`.
    #[must_use]
    pub fn of_visitor(event: impl Into<String>, token: impl Into<String>) -> Self {
        Self::new(event, Whom::Utk(token.into()))
    }

    /// When it happened; when HubSpot gets it unless said.
    #[must_use]
    pub fn at(mut self, when: Timestamp) -> Self {
        self.occurred_at = Some(when.to_string());
        self
    }

    /// An id of the occurrence. Whether HubSpot counts two with one id once is unconfirmed.
    #[must_use]
    pub fn uuid(mut self, id: impl Into<String>) -> Self {
        self.uuid = Some(id.into());
        self
    }

    /// The value of one of the event's properties.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }
}

impl fmt::Debug for EventOccurrence {
    /// Without whom it happened to, and the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventOccurrence")
            .field("event", &self.event_name)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}
