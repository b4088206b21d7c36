mod archive;
mod storage;

use super::listed;
use crate::platform::{MailchimpPlatform, verdict};
use crate::{Batch, BatchOperation, BatchResult, operations};
use http::StatusCode;
use martlet_core::resilience::{Backoff, Jitter};
use martlet_core::{
    ApiClient, BulkOutcome, Call, Client, Error, ErrorKind, Pager, Response, Result, Verdict,
};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How many operations one batch may hold (unconfirmed).
pub const MAX_BATCH: usize = 1000;

/// Batches: many requests of this API in one, which the platform makes by itself, in the order it likes. At most 500 of an
/// account may be open at once (unconfirmed).
///
/// ```
/// # use martlet_core::Error;
/// # async fn run(mailchimp: martlet_mailchimp::Mailchimp) -> Result<(), Error> {
/// use martlet_mailchimp::{BatchOperation, TagChanges};
/// use std::time::Duration;
///
/// let vip = |email: &str| BatchOperation::change_tags("a1b2c3d4e5", email, TagChanges::new().give("vip"));
/// let operations = [vip("zoe@example.org"), vip("amy@example.org")];
/// let batches = mailchimp.batches();
/// let batch = batches.submit(&operations).await?; // keep its id: from here on the platform works
/// batches.wait(&batch.id, Duration::from_secs(3600)).await?;
/// for (place, error) in batches.outcome(&batch.id, &operations).await?.failed {
///     eprintln!("operation {place} failed: {error}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    client: Client,
    api: Arc<dyn ApiClient>,
    max_unpacked: u64,
}

impl Batches {
    pub(crate) fn new(client: Client) -> Self {
        Self { api: Arc::new(client.clone()), client, max_unpacked: 256 << 20 }
    }

    /// How many bytes of results are unpacked before they are refused as a trap; 256 MiB unless said. Packed they are bounded by
    /// the client's [`max_body`](crate::MailchimpBuilder::max_body). They are held in memory.
    #[must_use]
    pub const fn max_unpacked(mut self, bytes: u64) -> Self {
        self.max_unpacked = bytes;
        self
    }

    /// Begins a batch of 1 to [`MAX_BATCH`] operations.
    ///
    /// # Errors
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) before anything is sent: too few or many operations, an id that comes twice,
    /// a path that is none. It is not repeated when its fate is unknown: look with [`list`](Self::list) before calling it
    /// again.
    pub async fn submit(&self, operations: &[BatchOperation]) -> Result<Batch> {
        let places = places(operations)?;
        let mut numbered = operations.to_vec();
        for (id, place) in places {
            numbered[place].operation_id = Some(id);
        }
        let call = Call::new(operations::BATCHES_CREATE).json(&json!({ "operations": numbered }));
        self.api.execute(call).await?.json()
    }

    /// Lists the batches of the account that the platform still remembers.
    pub fn list(&self) -> Pager<Batch> {
        listed(&self.api, "batches", "", Call::new(operations::BATCHES_LIST))
    }

    /// Reads how far a batch is.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is none.
    pub async fn get(&self, id: &str) -> Result<Batch> {
        let call = Call::new(operations::BATCHES_GET).path("batch_id", id).query("exclude_fields", "_links");
        self.api.execute(call).await?.json()
    }

    /// Deletes a batch and its results, or stops it: what is done stays done.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is none.
    pub async fn delete(&self, id: &str) -> Result<()> {
        self.api.execute(Call::new(operations::BATCHES_DELETE).path("batch_id", id)).await.map(drop)
    }

    /// Waits until a batch is finished, at most for `patience`: looks at once, then after 1 s, 2 s and so on up to every 30 s.
    /// Cancel safe: the batch goes on by itself.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) when it was not finished in time: wait again. Otherwise as
    /// [`get`](Self::get).
    pub async fn wait(&self, id: &str, patience: Duration) -> Result<Batch> {
        let pauses = Backoff::exponential(Duration::from_secs(1), 2.0).max_delay(Duration::from_secs(30));
        let pauses =
            pauses.jitter(Jitter::None).build().expect("the figures are constants that a test covers");
        let clock = self.client.clock();
        let end = clock.now() + patience;
        let mut looks = 0_u32;
        loop {
            let batch = self.get(id).await?;
            if batch.is_finished() {
                return Ok(batch);
            }
            let left = end.since(clock.now());
            if left.is_zero() {
                let message = format!("the batch is {} after {patience:?}; it goes on", batch.status);
                return Err(self.error(ErrorKind::DeadlineExceeded, message));
            }
            clock.sleep(pauses.delay_without_jitter(looks).min(left)).await;
            looks = looks.saturating_add(1);
        }
    }

    /// Fetches the results of a finished batch, in the platform's order, as they are: for when the operations are not at hand.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when it is not finished; [`Decode`](ErrorKind::Decode) when the archive is damaged or
    /// larger than [`max_unpacked`](Self::max_unpacked).
    pub async fn results(&self, id: &str) -> Result<Vec<BatchResult>> {
        self.fetch(id).await.map(|(results, _)| results)
    }

    /// Fetches the results of a finished batch and maps them to `operations`, which must be those that were submitted, in the same
    /// order: each has either the platform's answer or an [`Error`] like that of a call of its own.
    ///
    /// # Errors
    /// As [`results`](Self::results); [`Decode`](ErrorKind::Decode) also when they do not account for each operation exactly once:
    /// then no operation may be taken for applied, and [`results`](Self::results) shows what there is.
    pub async fn outcome(&self, id: &str, operations: &[BatchOperation]) -> Result<BulkOutcome<BatchResult>> {
        let places = places(operations)?;
        let (results, response) = self.fetch(id).await?;
        settle(places, results, &response)
    }

    /// The results, and the answer that held them.
    async fn fetch(&self, id: &str) -> Result<(Vec<BatchResult>, Response)> {
        let mut again = true;
        loop {
            // Each look gives an address that is good for some minutes.
            let batch = self.get(id).await?;
            if !batch.is_finished() {
                let message = format!("the batch is {}: there are no results yet", batch.status);
                return Err(self.error(ErrorKind::Conflict, message));
            }
            match storage::fetch(&self.client, &batch.response_body_url).await {
                // It expired on the way.
                Err(e) if again && matches!(e.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => {
                    again = false;
                }
                Err(error) => return Err(error),
                Ok(response) => {
                    let results = archive::unpack(response.body(), self.max_unpacked);
                    let results =
                        results.map_err(|damage| response.error(ErrorKind::Decode, damage.to_string()))?;
                    return Ok((results, response));
                }
            }
        }
    }

    fn error(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message)
            .with_operation(self.api.platform().descriptor().id(), operations::BATCHES_GET.name())
    }
}

/// Where each operation is in the batch, by its id.
fn places(operations: &[BatchOperation]) -> Result<HashMap<String, usize>> {
    let invalid = |message: String| {
        Error::new(ErrorKind::InvalidRequest, message)
            .with_operation(&MailchimpPlatform::ID.into(), operations::BATCHES_CREATE.name())
    };
    if operations.is_empty() || operations.len() > MAX_BATCH {
        let count = operations.len();
        return Err(invalid(format!("a batch of {count} operations; it holds 1 to {MAX_BATCH}")));
    }
    let mut places = HashMap::with_capacity(operations.len());
    for (place, operation) in operations.iter().enumerate() {
        if !operation.has_good_path() {
            return Err(invalid(format!(
                "the path of operation {place} is not of the form /lists/a1b2c3d4e5"
            )));
        }
        let id = operation.operation_id.clone().unwrap_or_else(|| place.to_string());
        if let Some(first) = places.insert(id, place) {
            return Err(invalid(format!("operations {first} and {place} of the batch have the same id")));
        }
    }
    Ok(places)
}

/// Accounts for each operation exactly once, or fails.
fn settle(
    mut places: HashMap<String, usize>,
    results: Vec<BatchResult>,
    response: &Response,
) -> Result<BulkOutcome<BatchResult>> {
    let decode = |message: String| response.error(ErrorKind::Decode, message);
    let total = places.len();
    let (mut ok, mut failed) = (Vec::with_capacity(total), Vec::new());
    for result in results {
        let place = places.remove(&result.operation_id).ok_or_else(|| {
            decode("a result for an operation that was not submitted, or a second one".into())
        })?;
        let status = StatusCode::from_u16(result.status)
            .map_err(|_| decode(format!("operation {place} has the status {}", result.status)))?;
        match verdict(status, result.body.as_bytes()) {
            Verdict::Fault(fault) => {
                let error = Error::new(fault.kind, fault.message)
                    .with_operation(&MailchimpPlatform::ID.into(), operations::BATCHES_CREATE.name())
                    .with_status(result.status);
                failed.push((
                    place,
                    match fault.code {
                        Some(code) => error.with_code(code),
                        None => error,
                    },
                ));
            }
            _ => ok.push((place, result)),
        }
    }
    if !places.is_empty() {
        return Err(decode(format!("the results say nothing about {} of {total} operations", places.len())));
    }
    ok.sort_unstable_by_key(|(place, _)| *place);
    failed.sort_unstable_by_key(|(place, _)| *place);
    Ok(BulkOutcome::new(ok, failed))
}
