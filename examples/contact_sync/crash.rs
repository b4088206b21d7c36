//! `--crash-after`: the process dies in the worst moment, after the destination's answer and before the checkpoint.

use martlet::core::Result;
use martlet::pipeline::{Deletion, Destination, ReadBack, Record, WriteOutcome, async_trait};
use martlet::store::{Cells, Expect};

/// A destination that aborts the process after its `after`-th answer, counted over the life of the state file.
#[derive(Debug)]
pub(crate) struct CrashAfter<D> {
    pub(crate) inner: D,
    pub(crate) after: u64,
    pub(crate) cells: Cells,
}

const ANSWERS: &str = "answers";

impl<D: Sync> CrashAfter<D> {
    async fn count(&self) {
        // The tests of crashes need this counter to be right, so it does not go on without it.
        let before = match self.cells.get(ANSWERS).await {
            Ok(Some(cell)) => String::from_utf8_lossy(&cell.value).parse::<u64>().ok(),
            Ok(None) => Some(0),
            Err(_) => None,
        };
        let Some(before) = before else { std::process::abort() };
        if self.cells.put(ANSWERS, Expect::Any, (before + 1).to_string()).await.is_err()
            || before + 1 == self.after
        {
            std::process::abort();
        }
    }
}

#[async_trait]
impl<D: Destination> Destination for CrashAfter<D> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn max_batch(&self) -> usize {
        self.inner.max_batch()
    }

    /// One at a time: the count has an order.
    fn concurrency(&self) -> usize {
        1
    }

    async fn prepare(&self) -> Result<()> {
        self.inner.prepare().await
    }

    fn target(&self, record: &Record) -> String {
        self.inner.target(record)
    }

    async fn write(&self, records: &[Record]) -> Result<Vec<WriteOutcome>> {
        let outcomes = self.inner.write(records).await?;
        self.count().await;
        Ok(outcomes)
    }

    async fn delete(&self, deletions: &[Deletion]) -> Result<Vec<WriteOutcome>> {
        let outcomes = self.inner.delete(deletions).await?;
        self.count().await;
        Ok(outcomes)
    }

    async fn read_back(&self) -> Result<Box<dyn ReadBack>> {
        self.inner.read_back().await
    }
}
