//! Removing what has expired.

use crate::query::{Conn, Sql};
use crate::store::Inner;
use martlet_base::Clock;
use martlet_store::engine::Closing;
use std::sync::Weak;
use std::time::Duration;
use tokio_postgres::types::Type;

/// How often, and how much at a time.
const EVERY: Duration = Duration::from_secs(2);
const ROWS: i64 = 2_000;

#[derive(Debug)]
pub(crate) struct SweepSql([Sql; 2]);

impl SweepSql {
    pub(crate) fn new(schema: &str) -> Self {
        let sql = |text: &str| Sql::new(schema, text, &[Type::INT8, Type::INT8]);
        Self([
            sql(
                "WITH gone AS (DELETE FROM {s}.cell WHERE key = ANY (ARRAY(SELECT key FROM {s}.cell WHERE expires <= {now} \
                 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1) SELECT count(*) FROM gone",
            ),
            sql(
                "WITH gone AS (DELETE FROM {s}.dedup WHERE (queue, key) IN (SELECT queue, key FROM {s}.dedup WHERE until <= {now} \
                 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING 1) SELECT count(*) FROM gone",
            ),
        ])
    }
}

/// Expired cells and forgotten dedup keys go bit by bit, until the store is gone.
pub(crate) async fn run(inner: Weak<Inner>, mut closing: Closing) {
    let real = Clock::system();
    let mut more = false;
    loop {
        // When there is more it goes on at once: a fixed rate would be too slow for somebody.
        let pause = if more { Duration::ZERO } else { EVERY };
        tokio::select! {
            () = closing.closed() => return,
            () = real.sleep(pause) => {}
        }
        more = false;
        let Some(inner) = inner.upgrade() else { return };
        let Ok(client) = inner.pool.get().await else { continue };
        let conn = Conn::pooled(&client, inner.prepared);
        for sql in &inner.sweep_sql.0 {
            let now = inner.simulated();
            // What fails here is tried again, and nobody sees what should be gone meanwhile.
            if let Ok(rows) = conn.query(sql, &[&now, &ROWS]).await {
                more |= rows.first().is_some_and(|row| row.get::<_, i64>(0) == ROWS);
            }
        }
    }
}
