//! Batches: up to 100 objects in one request, and which answer belongs to which input.

use crate::model::error::Envelope;
use crate::model::object::{CrmObject, ObjectId, ObjectType, PropertyValues, UpsertInput};
use async_trait::async_trait;
use martlet_base::Delivery;
use martlet_core::{
    ApiClient, BulkLimits, BulkOutcome, BulkWriter, Call, Error, ErrorKind, Operation, Response, Result,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The most objects that one batch request takes (unconfirmed).
pub const MAX_BATCH: usize = 100;

#[derive(Serialize)]
struct Inputs<T> {
    inputs: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    id_property: &'a str,
    id: &'a str,
    properties: &'a PropertyValues,
    /// The place of the input, which an error of a 207 names: nothing else ties the two together.
    object_write_trace_id: String,
}

#[derive(Serialize)]
struct Id<'a> {
    id: &'a str,
}

#[derive(Deserialize)]
#[serde(bound = "")]
struct Answer<T: ObjectType> {
    #[serde(default)]
    results: Vec<Item<T>>,
    #[serde(default)]
    errors: Vec<Envelope>,
}

#[derive(Deserialize)]
#[serde(bound = "")]
struct Item<T: ObjectType> {
    #[serde(flatten)]
    object: CrmObject<T>,
    #[serde(default)]
    new: bool,
    #[serde(default, rename = "objectWriteTraceId")]
    trace_id: Option<String>,
}

#[derive(Serialize)]
struct Read<'a> {
    inputs: Vec<Id<'a>>,
    properties: Vec<String>,
}

/// A 207 tells by errors which ids are unknown; what is there is in the results all the same.
pub(super) async fn read<T: ObjectType>(
    api: &dyn ApiClient,
    ids: &[ObjectId<T>],
    properties: Vec<String>,
) -> Result<Vec<CrmObject<T>>> {
    check_count(ids.len(), api, &T::OPERATIONS.batch_read)?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let inputs = ids.iter().map(|id| Id { id: id.as_str() }).collect();
    let call = Call::new(T::OPERATIONS.batch_read).json(&Read { inputs, properties });
    let answer: Answer<T> = api.execute(call).await?.json()?;
    let asked = |object: &CrmObject<T>| ids.contains(&object.id);
    Ok(answer.results.into_iter().map(|item| item.object).filter(asked).collect())
}

fn check_count(count: usize, api: &dyn ApiClient, operation: &Operation) -> Result<()> {
    if count <= MAX_BATCH {
        return Ok(());
    }
    let message = format!("a batch takes at most {MAX_BATCH} objects, not {count}");
    Err(Error::new(ErrorKind::InvalidRequest, message)
        .with_operation(api.platform().descriptor().id(), operation.name()))
}

pub(super) async fn archive<T: ObjectType>(api: &dyn ApiClient, ids: &[ObjectId<T>]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    check_count(ids.len(), api, &T::OPERATIONS.batch_archive)?;
    let inputs = Inputs { inputs: ids.iter().map(|id| Id { id: id.as_str() }).collect() };
    api.execute(Call::new(T::OPERATIONS.batch_archive).json(&inputs)).await.map(drop)
}

pub(super) async fn upsert<T: ObjectType>(
    api: &dyn ApiClient,
    id_property: &str,
    inputs: &[UpsertInput<T>],
) -> Result<BulkOutcome<T::Upserted>> {
    if inputs.is_empty() {
        return Ok(BulkOutcome::default());
    }
    check_count(inputs.len(), api, &T::OPERATIONS.batch_upsert)?;
    let body = Inputs {
        inputs: inputs
            .iter()
            .enumerate()
            .map(|(place, input)| Input {
                id_property,
                id: &input.id,
                properties: &input.properties,
                object_write_trace_id: place.to_string(),
            })
            .collect(),
    };
    let response = api.execute(Call::new(T::OPERATIONS.batch_upsert).json(&body)).await?;
    outcome(&response, id_property, inputs)
}

/// Ties results and errors to inputs. The results are in HubSpot's order, not in ours.
fn outcome<T: ObjectType>(
    response: &Response,
    id_property: &str,
    inputs: &[UpsertInput<T>],
) -> Result<BulkOutcome<T::Upserted>> {
    let answer: Answer<T> = response.json()?;
    let mut open: Vec<bool> = vec![true; inputs.len()];
    let mut failed = Vec::new();
    let lost = |what: &str, message: &str| {
        // Some of the batch was applied, but which part cannot be told.
        response.error(ErrorKind::Decode, format!("{what} that belongs to no input of the batch: {message}"))
    };
    for envelope in &answer.errors {
        let ids = envelope.trace_ids();
        let places: Option<Vec<usize>> = ids
            .iter()
            .map(|id| id.parse().ok().filter(|&place| open.get(place).is_some_and(|is_open| *is_open)))
            .collect();
        let Some(places) = places.filter(|places| !places.is_empty()) else {
            return Err(lost("HubSpot reports an error", &envelope.text()));
        };
        let mut error = response.error(envelope.kind(), envelope.text()).with_delivery(Delivery::Processed);
        if let Some(code) = envelope.code() {
            error = error.with_code(code);
        }
        for place in places {
            open[place] = false;
            failed.push((place, error.clone()));
        }
    }
    let mut ok = Vec::with_capacity(answer.results.len());
    // First the results that say where they belong, so that the others cannot take their places.
    let (named, unnamed): (Vec<Item<T>>, Vec<Item<T>>) =
        answer.results.into_iter().partition(|item| item.trace_id.is_some());
    for item in named.into_iter().chain(unnamed) {
        let place = match &item.trace_id {
            Some(id) => id.parse().ok().filter(|&place| open.get(place).is_some_and(|is_open| *is_open)),
            None => {
                let value = match id_property {
                    "hs_object_id" => Some(item.object.id.as_str()),
                    name => item.object.property(name),
                };
                // HubSpot lower-cases addresses.
                value.and_then(|value| {
                    (0..inputs.len()).find(|&place| open[place] && same(&inputs[place].id, value))
                })
            }
        };
        let Some(place) = place else {
            return Err(lost("HubSpot answers with an object", item.object.id.as_str()));
        };
        open[place] = false;
        ok.push((place, T::upserted(item.object, item.new)));
    }
    for place in (0..inputs.len()).filter(|&place| open[place]) {
        let error = response
            .error(ErrorKind::Decode, "HubSpot's answer says nothing about this object of the batch")
            .with_delivery(Delivery::Unknown);
        failed.push((place, error));
    }
    ok.sort_unstable_by_key(|(place, _)| *place);
    failed.sort_unstable_by_key(|(place, _)| *place);
    Ok(BulkOutcome::new(ok, failed))
}

fn same(ours: &str, theirs: &str) -> bool {
    ours.trim() == theirs || ours.trim().to_lowercase() == theirs.to_lowercase()
}

/// Upserts objects in batches of up to 100. From [`Objects::upsert_writer`](crate::Objects::upsert_writer).
pub struct UpsertWriter<T> {
    api: Arc<dyn ApiClient>,
    id_property: String,
    object: PhantomData<T>,
}

impl<T: ObjectType> UpsertWriter<T> {
    pub(super) fn new(api: Arc<dyn ApiClient>, id_property: String) -> Self {
        Self { api, id_property, object: PhantomData }
    }
}

impl<T: ObjectType> fmt::Debug for UpsertWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpsertWriter")
            .field("type", &T::NAME)
            .field("id_property", &self.id_property)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<T: ObjectType> BulkWriter for UpsertWriter<T> {
    type Item = UpsertInput<T>;
    type Receipt = T::Upserted;

    fn limits(&self) -> BulkLimits {
        BulkLimits::items(MAX_BATCH)
    }

    fn size(&self, item: &UpsertInput<T>) -> usize {
        // Quotes, commas and the fixed members around each input.
        let properties: usize =
            item.properties.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
        80 + self.id_property.len() + item.id.len() + properties
    }

    async fn write(&self, items: &[UpsertInput<T>]) -> Result<BulkOutcome<T::Upserted>> {
        upsert(&*self.api, &self.id_property, items).await
    }
}
