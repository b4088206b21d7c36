//! The tables, and how an older schema comes to have them.

use crate::error::from_postgres;
use crate::query::literal;
use martlet_store::{StoreError, StoreErrorKind};
use tokio_postgres::{Client, IsolationLevel, SimpleQueryMessage};

/// Migration `n` leads from schema `n` to schema `n + 1`. Only ever append: databases in the field have run them.
///
/// Names and keys sort by their bytes (`COLLATE "C"`). Times are microseconds since the Unix epoch. `state` of a message: 0
/// ready, 1 in flight, 2 delayed, 3 blocked, 4 buried; what is in flight or delayed becomes ready when somebody receives and its
/// time has come. Counts of queues are spread over slots, so that processes do not wait for each other's.
const MIGRATIONS: [&str; 2] = [
    r#"
    CREATE SEQUENCE {s}.version_seq;
    CREATE SEQUENCE {s}.message_seq;
    CREATE TABLE {s}.cell (
        key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, expires bigint, value bytea NOT NULL
    );
    CREATE INDEX cell_expires ON {s}.cell (expires) WHERE expires IS NOT NULL;
    CREATE TABLE {s}.lease (
        key text COLLATE "C" PRIMARY KEY, owner text NOT NULL, token bigint NOT NULL, until bigint NOT NULL
    );
    CREATE TABLE {s}.log (
        kind text COLLATE "C", id text COLLATE "C", last bigint NOT NULL, updated bigint NOT NULL, sealed bigint,
        PRIMARY KEY (kind, id)
    );
    CREATE INDEX log_open ON {s}.log (kind, id) WHERE sealed IS NULL;
    CREATE TABLE {s}.record (
        kind text COLLATE "C", id text COLLATE "C", sequence bigint, appended bigint NOT NULL, body bytea NOT NULL,
        PRIMARY KEY (kind, id, sequence)
    );
    CREATE TABLE {s}.queue (
        queue bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE
    );
    CREATE TABLE {s}.count (
        queue bigint, slot int, live bigint NOT NULL, blocked bigint NOT NULL, buried bigint NOT NULL,
        enqueued bigint NOT NULL, acked bigint NOT NULL, PRIMARY KEY (queue, slot)
    ) WITH (fillfactor = 50);
    CREATE TABLE {s}.message (
        id bigint PRIMARY KEY, queue bigint NOT NULL, state smallint NOT NULL, visible_at bigint NOT NULL,
        enqueued bigint NOT NULL, received bigint NOT NULL, held boolean NOT NULL, delivery bigint NOT NULL,
        deliveries bigint NOT NULL, priority smallint NOT NULL, order_key text COLLATE "C", dedup text,
        dedup_window bigint NOT NULL, not_before bigint, bury_kind text, bury_detail text, history text,
        body bytea NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
    CREATE INDEX message_ready ON {s}.message (queue, priority DESC, id) WHERE state = 0;
    CREATE INDEX message_timed ON {s}.message (queue, visible_at) WHERE state IN (1, 2);
    CREATE INDEX message_aside ON {s}.message (queue, state, id) WHERE state IN (3, 4);
    CREATE INDEX message_order ON {s}.message (queue, order_key, state, id)
        WHERE order_key IS NOT NULL AND state IN (0, 1, 2, 3);
    CREATE TABLE {s}.dedup (
        queue bigint, key text COLLATE "C", message bigint NOT NULL, until bigint NOT NULL, PRIMARY KEY (queue, key)
    );
    CREATE INDEX dedup_until ON {s}.dedup (until);
"#,
    // Delayed and received messages are counted in the index alone: without their state and number in it, a queue with a million
    // of them made the depth of every queue a walk through the whole table.
    "
    DROP INDEX {s}.message_timed;
    CREATE INDEX message_timed ON {s}.message (queue, visible_at) INCLUDE (state, id) WHERE state IN (1, 2);
",
];

/// Brings the schema called `name`, which is `schema` in statements, to the newest version, in one transaction. Processes that do so at
/// once wait for each other.
pub(crate) async fn migrate(
    client: &mut Client,
    name: &str,
    schema: &str,
    lock: i64,
) -> Result<(), StoreError> {
    let failed =
        |error: tokio_postgres::Error| from_postgres("cannot set up the tables", &error).not_applied();
    if found(client, name, schema).await.map_err(failed)? == Some(MIGRATIONS.len()) {
        return Ok(());
    }
    // Whatever this role's default is: behind the lock it must see what others did before it.
    let tx = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
    let tx = tx.start().await.map_err(failed)?;
    tx.batch_execute(&format!("SELECT pg_advisory_xact_lock({lock})")).await.map_err(failed)?;
    let version = match found(tx.client(), name, schema).await.map_err(failed)? {
        Some(version) => version,
        None => {
            // Even with `IF NOT EXISTS` it needs a right that a role whose schema was made for it has not.
            let exists =
                format!("SELECT true FROM pg_catalog.pg_namespace WHERE nspname = {}", literal(name));
            if one(tx.client(), &exists).await.map_err(failed)?.is_none() {
                tx.batch_execute(&format!("CREATE SCHEMA {schema}")).await.map_err(failed)?;
            }
            let sql = format!(
                "CREATE TABLE {schema}.martlet_schema (version bigint NOT NULL); \
                 INSERT INTO {schema}.martlet_schema VALUES (0)"
            );
            tx.batch_execute(&sql).await.map_err(failed)?;
            0
        }
    };
    if version > MIGRATIONS.len() {
        let detail = format!("the database has schema {version}, this program knows {}", MIGRATIONS.len());
        return Err(StoreError::new(StoreErrorKind::Incompatible, detail));
    }
    for migration in MIGRATIONS.iter().skip(version) {
        tx.batch_execute(&migration.replace("{s}", schema)).await.map_err(failed)?;
    }
    let sql = format!("UPDATE {schema}.martlet_schema SET version = {}", MIGRATIONS.len());
    tx.batch_execute(&sql).await.map_err(failed)?;
    tx.commit().await.map_err(failed)
}

/// The version that is there.
async fn found(client: &Client, name: &str, schema: &str) -> Result<Option<usize>, tokio_postgres::Error> {
    // Asked of the catalogue's tables: what `to_regclass` answers may be out of date behind a lock that was waited for.
    let exists = format!(
        "SELECT true FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname = 'martlet_schema'",
        literal(name)
    );
    if one(client, &exists).await?.is_none() {
        return Ok(None);
    }
    let version = one(client, &format!("SELECT version FROM {schema}.martlet_schema")).await?;
    Ok(version.and_then(|version| version.parse().ok()))
}

/// The first value of the first row. By the simple protocol: nothing is prepared on a connection that the next statement may not get
/// again.
async fn one(client: &Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let rows = client.simple_query(sql).await?;
    Ok(rows.into_iter().find_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
