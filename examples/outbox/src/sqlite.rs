//! On a file: the store runs the program's statements in its own transaction.

use crate::{Order, Outcome, Shop};
use async_trait::async_trait;
use martlet_sqlite::rusqlite::{self, Connection, params};
use martlet_sqlite::{CommitWithError, SqliteStore};
use martlet_store::{QueueName, Store, WriteBatch};
use std::sync::Arc;

pub(crate) struct OnSqlite {
    store: SqliteStore,
}

impl OnSqlite {
    pub(crate) async fn open(path: &str) -> Outcome<Self> {
        Ok(Self { store: SqliteStore::open(path).await? })
    }
}

#[async_trait]
impl Shop for OnSqlite {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    async fn create_table(&mut self) -> Outcome {
        // No key keeps an order from being there twice: only the one transaction does.
        let sql = "CREATE TABLE IF NOT EXISTS orders (id INTEGER NOT NULL, email TEXT NOT NULL, cents INTEGER NOT NULL)";
        self.store.commit_with(WriteBatch::new(), |conn: &Connection| conn.execute_batch(sql)).await?;
        Ok(())
    }

    async fn place(&mut self, order: Order, batch: WriteBatch, _outbox: &QueueName) -> Outcome {
        let own = move |conn: &Connection| -> rusqlite::Result<usize> {
            let Order { id, email, cents } = order;
            conn.execute("INSERT INTO orders VALUES (?1, ?2, ?3)", params![id, email, cents])
        };
        match self.store.commit_with(batch, own).await {
            Ok(_) => Ok(()),
            Err(CommitWithError::Store(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    async fn totals(&mut self) -> Outcome<(i64, i64)> {
        let own = |conn: &Connection| {
            conn.query_row("SELECT count(*), sum(cents) FROM orders", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        };
        Ok(self.store.commit_with(WriteBatch::new(), own).await?.1)
    }
}
