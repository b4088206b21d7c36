//! On PostgreSQL: the store takes part in the program's transaction.

use crate::{Order, Outcome, Shop};
use async_trait::async_trait;
use martlet_postgres::PostgresStore;
use martlet_postgres::tokio_postgres::{self, Client, NoTls};
use martlet_store::{QueueName, Store, WriteBatch};
use std::sync::Arc;

pub(crate) struct OnPostgres {
    store: PostgresStore,
    client: Client,
}

impl OnPostgres {
    pub(crate) async fn open(url: &str) -> Outcome<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Self { store: PostgresStore::open(url).await?, client })
    }
}

#[async_trait]
impl Shop for OnPostgres {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    async fn create_table(&mut self) -> Outcome {
        // Behind a lock, because processes that do this at once would be in each other's way.
        let sql = "SELECT pg_advisory_xact_lock(7); \
                   CREATE TABLE IF NOT EXISTS orders (id bigint NOT NULL, email text NOT NULL, cents bigint NOT NULL)";
        Ok(self.client.batch_execute(sql).await?)
    }

    async fn place(&mut self, order: Order, batch: WriteBatch, outbox: &QueueName) -> Outcome {
        let Order { id, email, cents } = order;
        let transaction = self.client.transaction().await?;
        transaction.execute("INSERT INTO orders VALUES ($1, $2, $3)", &[&id, &email, &cents]).await?;
        self.store.commit_in(&transaction, batch).await?;
        transaction.commit().await?;
        self.store.wake(outbox);
        Ok(())
    }

    async fn totals(&mut self) -> Outcome<(i64, i64)> {
        let sql = "SELECT count(*), sum(cents)::bigint FROM orders";
        let row = self.client.query_one(sql, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }
}
