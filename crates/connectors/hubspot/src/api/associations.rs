//! Which objects belong together.

use crate::model::association::{Association, RawAssociations};
use crate::model::error::Envelope;
use crate::model::object::{ObjectId, ObjectType};
use crate::model::page::RawPaging;
use crate::operations::associations as operations;
use martlet_core::{ApiClient, Call, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The most objects that one request asks about.
pub const MAX_ASSOCIATIONS: usize = 1_000;

/// The objects of type `T` with which those of type `F` are associated.
/// From [`HubSpot::associations`](crate::HubSpot::associations).
///
/// [CRM API, associations](https://developers.hubspot.com/docs/api/crm/associations), version 4.
pub struct Associations<F, T> {
    api: Arc<dyn ApiClient>,
    types: PhantomData<(F, T)>,
}

#[derive(Serialize)]
struct Inputs<'a> {
    inputs: &'a [Input],
}

#[derive(PartialEq, Eq, Serialize)]
struct Input {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound = "")]
struct Answer<T: ObjectType> {
    /// Never left out: an answer without it must not be taken for "none".
    results: Vec<RawAssociations<T>>,
    #[serde(default)]
    errors: Vec<Envelope>,
}

impl<F: ObjectType, T: ObjectType> Associations<F, T> {
    pub(crate) fn new(api: Arc<dyn ApiClient>) -> Self {
        Self { api, types: PhantomData }
    }

    /// What each of up to [`MAX_ASSOCIATIONS`] objects is associated with: all of it, by more requests where one answer does
    /// not hold it. Every id that was asked about has an entry; it is empty for one without associations, and for one that
    /// HubSpot does not know (it does not tell these two apart, unconfirmed). Nothing is sent for no id.
    ///
    /// # Errors
    /// What kept it from being read; [`InvalidRequest`](ErrorKind::InvalidRequest) for too many ids. An error that HubSpot
    /// reports for one id, other than that there is nothing, is the error of all.
    pub async fn of(&self, ids: &[ObjectId<F>]) -> Result<BTreeMap<ObjectId<F>, Vec<Association<T>>>> {
        if ids.len() > MAX_ASSOCIATIONS {
            let message = format!("associations of at most {MAX_ASSOCIATIONS} objects, not of {}", ids.len());
            return Err(Error::new(ErrorKind::InvalidRequest, message)
                .with_operation(self.api.platform().descriptor().id(), operations::BATCH_READ.name()));
        }
        let mut found: BTreeMap<ObjectId<F>, Vec<Association<T>>> =
            ids.iter().map(|id| (id.clone(), Vec::new())).collect();
        let mut open: Vec<Input> = found.keys().map(|id| Input { id: id.to_string(), after: None }).collect();
        while !open.is_empty() {
            let call = Call::new(operations::BATCH_READ)
                .path("from", F::NAME)
                .path("to", T::NAME)
                .json(&Inputs { inputs: &open });
            let response = self.api.execute(call).await?;
            let answer: Answer<T> = response.json()?;
            // "No associations found" is one of these (unconfirmed).
            let real = answer.errors.iter().find(|envelope| envelope.kind() != ErrorKind::NotFound);
            if let Some(envelope) = real {
                return Err(response.error(envelope.kind(), envelope.text()));
            }
            let mut next = Vec::new();
            for result in answer.results {
                let id = ObjectId::new(result.from.id);
                let Some(all) = found.get_mut(&id) else { continue };
                all.extend(result.to);
                if let Some(after) = result.paging.and_then(RawPaging::after) {
                    let input = Input { id: id.to_string(), after: Some(after) };
                    if open.contains(&input) {
                        return Err(response.error(ErrorKind::Decode, "the next page is the present one"));
                    }
                    next.push(input);
                }
            }
            open = next;
        }
        Ok(found)
    }
}

impl<F, T> Clone for Associations<F, T> {
    fn clone(&self) -> Self {
        Self { api: Arc::clone(&self.api), types: PhantomData }
    }
}

impl<F: ObjectType, T: ObjectType> fmt::Debug for Associations<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Associations").field(&F::NAME).field(&T::NAME).finish()
    }
}
