//! Statements, prepared or not.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

/// A statement and the types of its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    text: String,
    types: Vec<Type>,
}

impl Sql {
    /// `{s}` in the text stands for the schema, `{now}` for the time: parameter 1, or else the server's; `{q}` for the number of the queue
    /// whose name is parameter 2.
    pub(crate) fn new(schema: &str, text: &str, types: &[Type]) -> Self {
        // `statement_timestamp` does not change while the statement runs, so that an index can be searched by it.
        let now = "COALESCE($1, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint)";
        let queue = "(SELECT queue FROM {s}.queue WHERE name = $2)";
        // The name of a sequence is given as a text.
        let in_text = literal(&format!("{schema}."));
        let text = text.replace("{q}", queue).replace("'{s}.", in_text.trim_end_matches('\''));
        let text = text.replace("{s}", schema).replace("{now}", now);
        Self { text, types: types.to_vec() }
    }
}

/// A text as it is written in a statement.
pub(crate) fn literal(text: &str) -> String {
    // With `E` a backslash means the same whatever the server's settings are.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A connection, and how statements are sent over it.
#[derive(Clone, Copy)]
pub(crate) struct Conn<'a> {
    client: &'a Client,
    /// `None`: behind a pooler that gives each transaction another connection, or in somebody else's transaction.
    cache: Option<&'a ClientWrapper>,
}

/// A statement that can be sent at once: queries that are polled one after the other go out together and in that order.
pub(crate) enum Ready<'a> {
    Prepared(Statement),
    Text(&'a Sql),
}

impl<'a> Conn<'a> {
    pub(crate) fn pooled(client: &'a ClientWrapper, prepared: bool) -> Self {
        Self { client, cache: prepared.then_some(client) }
    }

    pub(crate) const fn theirs(client: &'a Client) -> Self {
        Self { client, cache: None }
    }

    pub(crate) async fn ready<'s>(&self, sql: &'s Sql) -> Result<Ready<'s>, Error> {
        Ok(match self.cache {
            Some(cache) => Ready::Prepared(cache.prepare_typed_cached(&sql.text, &sql.types).await?),
            None => Ready::Text(sql),
        })
    }

    pub(crate) async fn ask(
        &self,
        ready: &Ready<'_>,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        match ready {
            Ready::Prepared(statement) => self.client.query(statement, params).await,
            Ready::Text(sql) => {
                let typed: Vec<_> = params.iter().copied().zip(sql.types.iter().cloned()).collect();
                self.client.query_typed(&sql.text, &typed).await
            }
        }
    }

    /// For a single statement.
    pub(crate) async fn query(&self, sql: &Sql, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.ask(&self.ready(sql).await?, params).await
    }

    pub(crate) async fn run(&self, text: &str) -> Result<(), Error> {
        self.client.batch_execute(text).await
    }
}
