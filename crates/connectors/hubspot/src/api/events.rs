//! Occurrences of the account's own events.

use crate::model::event::EventOccurrence;
use crate::operations::events as operations;
use martlet_core::{ApiClient, Call, Error, ErrorKind, Result};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// The most occurrences that one request takes (unconfirmed).
pub const MAX_EVENTS: usize = 500;

/// Sends occurrences of events. From [`HubSpot::events`](crate::HubSpot::events).
///
/// **Nothing here is sent again** when the fate of a request is unknown: an event could count twice. HubSpot takes
/// occurrences now and looks at them later, so a success says only that it took them (unconfirmed).
///
/// [Custom events API](https://developers.hubspot.com/docs/api/analytics/events), version 3.
#[derive(Clone)]
pub struct Events {
    api: Arc<dyn ApiClient>,
}

#[derive(Serialize)]
struct Inputs<'a> {
    inputs: &'a [EventOccurrence],
}

impl Events {
    pub(crate) const fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api }
    }

    /// Sends one.
    ///
    /// # Errors
    /// [`Rejected`](ErrorKind::Rejected) when HubSpot does not know the event or one of its properties, or what kept it from
    /// being sent.
    pub async fn send(&self, occurrence: &EventOccurrence) -> Result<()> {
        self.api.execute(Call::new(operations::SEND).json(occurrence)).await.map(drop)
    }

    /// Sends up to [`MAX_EVENTS`] in one request. All are taken or none (unconfirmed). Nothing is sent for
    /// none.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`InvalidRequest`](ErrorKind::InvalidRequest) for too many.
    pub async fn send_batch(&self, occurrences: &[EventOccurrence]) -> Result<()> {
        if occurrences.is_empty() {
            return Ok(());
        }
        if occurrences.len() > MAX_EVENTS {
            let message = format!("a batch takes at most {MAX_EVENTS} events, not {}", occurrences.len());
            return Err(Error::new(ErrorKind::InvalidRequest, message)
                .with_operation(self.api.platform().descriptor().id(), operations::SEND_BATCH.name()));
        }
        let call = Call::new(operations::SEND_BATCH).json(&Inputs { inputs: occurrences });
        self.api.execute(call).await.map(drop)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.api).finish()
    }
}
