//! The statements of a group.

use crate::query::Sql;
use crate::rows::KNOWN;
use tokio_postgres::types::Type;

/// The statements of a group.
#[derive(Debug)]
pub(crate) struct GroupSql {
    pub(super) order_keys: Sql,
    pub(super) lock: Sql,
    pub(super) start: Sql,
    pub(super) cells: Sql,
    pub(super) leases: Sql,
    pub(super) logs: Sql,
    pub(super) dedup: Sql,
    pub(super) messages: Sql,
    pub(super) heads: Sql,
    pub(super) put_cells: Sql,
    pub(super) delete_cells: Sql,
    pub(super) delete_records: Sql,
    pub(super) delete_logs: Sql,
    pub(super) put_logs: Sql,
    pub(super) put_records: Sql,
    pub(super) insert: Sql,
    pub(super) update: Sql,
    pub(super) edit: Sql,
    pub(super) remove: Sql,
    pub(super) remember: Sql,
    pub(super) count: Sql,
    pub(super) plain: Sql,
}

impl GroupSql {
    pub(crate) fn new(schema: &str) -> Self {
        use Type as T;
        let sql = |text: &str, types: &[Type]| Sql::new(schema, text, types);
        let known = |rest: &str| format!("SELECT {KNOWN} FROM {{s}}.message m {rest}");
        // Whether these rows are those of queues with these names.
        let right = |rows: &str, names: &str| {
            format!(
                "(SELECT count(*) FROM unnest({rows}, {names}) k (q, n) JOIN {{s}}.queue o ON o.name = k.n \
                 AND o.queue = k.q) = cardinality({rows})"
            )
        };
        let plain = "WITH n AS MATERIALIZED (SELECT {now} AS now, nextval('{s}.version_seq') AS version WHERE {right}), \
                 i AS (INSERT INTO {s}.message (id, queue, state, visible_at, enqueued, received, held, delivery, \
                 deliveries, priority, dedup_window, not_before, body) \
                 SELECT nextval('{s}.message_seq'), q, CASE WHEN t > now THEN 2 ELSE 0 END, coalesce(t, now), now, now, \
                 false, 0, 0, p, w, t, b FROM unnest($2, $3, $4, $5, $6) x (q, p, w, t, b), n RETURNING id), \
                 c AS (INSERT INTO {s}.count AS c (queue, slot, live, blocked, buried, enqueued, acked) \
                 SELECT q, $7, k, 0, 0, k, 0 FROM unnest($8, $9) y (q, k), n ON CONFLICT (queue, slot) DO UPDATE SET \
                 live = c.live + excluded.live, enqueued = c.enqueued + excluded.enqueued) \
                 SELECT id, version FROM i, n";
        Self {
            plain: sql(
                &plain.replace("{right}", &right("$8", "$10")),
                &[
                    T::INT8,
                    T::INT8_ARRAY,
                    T::INT2_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::BYTEA_ARRAY,
                    T::INT4,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::TEXT_ARRAY,
                ],
            ),
            order_keys: sql(
                "SELECT queue, order_key FROM {s}.message WHERE id = ANY($1) AND order_key IS NOT NULL",
                &[T::INT8_ARRAY],
            ),
            // In the order of the array, so that no two groups wait for each other.
            lock: sql(
                "SELECT pg_advisory_xact_lock($1, bucket) FROM unnest($2) bucket",
                &[T::INT4, T::INT4_ARRAY],
            ),
            start: sql(
                &format!(
                    "SELECT {{now}}, ARRAY(SELECT nextval('{{s}}.version_seq') FROM generate_series(1, $2)), \
                     ARRAY(SELECT nextval('{{s}}.message_seq') FROM generate_series(1, $3)), {}, \
                     current_setting('transaction_isolation')",
                    right("$4", "$5")
                ),
                &[T::INT8, T::INT4, T::INT4, T::INT8_ARRAY, T::TEXT_ARRAY],
            ),
            cells: sql("SELECT key, version, expires FROM {s}.cell WHERE key = ANY($1)", &[T::TEXT_ARRAY]),
            // Whoever takes the lease meanwhile waits until this group is done.
            leases: sql(
                "SELECT key, token FROM {s}.lease WHERE key = ANY($1) ORDER BY key FOR SHARE",
                &[T::TEXT_ARRAY],
            ),
            logs: sql(
                "SELECT kind, id, last, updated, sealed FROM {s}.log WHERE (kind, id) IN (SELECT * FROM unnest($1, $2))",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY],
            ),
            dedup: sql(
                "SELECT queue, key, message, until FROM {s}.dedup \
                 WHERE (queue, key) IN (SELECT * FROM unnest($1, $2))",
                &[T::INT8_ARRAY, T::TEXT_ARRAY],
            ),
            messages: sql(&known("WHERE id = ANY($1) ORDER BY id FOR UPDATE"), &[T::INT8_ARRAY]),
            heads: sql(
                &format!(
                    "SELECT {KNOWN} FROM unnest($1, $2) k (queue, order_key) CROSS JOIN LATERAL ( \
                     (SELECT * FROM {{s}}.message WHERE queue = k.queue AND order_key = k.order_key \
                     AND state IN (0, 1, 2) LIMIT 1) UNION ALL \
                     (SELECT * FROM {{s}}.message WHERE queue = k.queue AND order_key = k.order_key \
                     AND state = 3 ORDER BY id LIMIT $3)) m"
                ),
                &[T::INT8_ARRAY, T::TEXT_ARRAY, T::INT8],
            ),
            put_cells: sql(
                "INSERT INTO {s}.cell (key, version, expires, value) SELECT * FROM unnest($1, $2, $3, $4) \
                 ON CONFLICT (key) DO UPDATE SET \
                 version = excluded.version, expires = excluded.expires, value = excluded.value",
                &[T::TEXT_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY, T::BYTEA_ARRAY],
            ),
            delete_cells: sql("DELETE FROM {s}.cell WHERE key = ANY($1)", &[T::TEXT_ARRAY]),
            delete_records: sql(
                "DELETE FROM {s}.record WHERE (kind, id) IN (SELECT * FROM unnest($1, $2))",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY],
            ),
            delete_logs: sql(
                "DELETE FROM {s}.log WHERE (kind, id) IN (SELECT * FROM unnest($1, $2))",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY],
            ),
            put_logs: sql(
                "INSERT INTO {s}.log AS l (kind, id, last, updated, sealed) \
                 SELECT k, i, n, coalesce(u, 0), s FROM unnest($1, $2, $3, $4, $5) x (k, i, n, u, s) \
                 ON CONFLICT (kind, id) DO UPDATE SET last = l.last + excluded.last, \
                 updated = CASE WHEN excluded.last > 0 THEN excluded.updated ELSE l.updated END, \
                 sealed = excluded.sealed",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY],
            ),
            put_records: sql(
                "INSERT INTO {s}.record (kind, id, sequence, appended, body) SELECT * FROM unnest($1, $2, $3, $4, $5)",
                &[T::TEXT_ARRAY, T::TEXT_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY, T::BYTEA_ARRAY],
            ),
            insert: sql(
                "INSERT INTO {s}.message (id, queue, state, visible_at, enqueued, received, held, delivery, \
                 deliveries, priority, order_key, dedup, dedup_window, not_before, bury_kind, bury_detail, history, body) \
                 SELECT i, q, s, v, e, e, false, 0, n, p, o, d, w, b, k, t, h, y FROM unnest($1, $2, $3, $4, $5, $6, \
                 $7, $8, $9, $10, $11, $12, $13, $14, $15) x (i, q, s, v, e, n, p, o, d, w, b, k, t, h, y)",
                &[
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT2_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT2_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                    T::BYTEA_ARRAY,
                ],
            ),
            update: sql(
                "UPDATE {s}.message m SET state = s, visible_at = v, held = h, deliveries = n, bury_kind = k, \
                 bury_detail = t, history = y FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) x (i, s, v, h, n, k, t, y) \
                 WHERE m.id = i",
                &[
                    T::INT8_ARRAY,
                    T::INT2_ARRAY,
                    T::INT8_ARRAY,
                    T::BOOL_ARRAY,
                    T::INT8_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                    T::TEXT_ARRAY,
                ],
            ),
            edit: sql(
                "UPDATE {s}.message m SET body = b FROM unnest($1, $2) x (i, b) WHERE m.id = i",
                &[T::INT8_ARRAY, T::BYTEA_ARRAY],
            ),
            remove: sql("DELETE FROM {s}.message WHERE id = ANY($1)", &[T::INT8_ARRAY]),
            remember: sql(
                "INSERT INTO {s}.dedup (queue, key, message, until) SELECT * FROM unnest($1, $2, $3, $4) \
                 ON CONFLICT (queue, key) DO UPDATE SET message = excluded.message, until = excluded.until",
                &[T::INT8_ARRAY, T::TEXT_ARRAY, T::INT8_ARRAY, T::INT8_ARRAY],
            ),
            count: sql(
                "INSERT INTO {s}.count AS c (queue, slot, live, blocked, buried, enqueued, acked) \
                 SELECT q, $2, l, b, u, e, a FROM unnest($1, $3, $4, $5, $6, $7) x (q, l, b, u, e, a) ORDER BY q \
                 ON CONFLICT (queue, slot) DO UPDATE SET live = c.live + excluded.live, \
                 blocked = c.blocked + excluded.blocked, buried = c.buried + excluded.buried, \
                 enqueued = c.enqueued + excluded.enqueued, acked = c.acked + excluded.acked",
                &[
                    T::INT8_ARRAY,
                    T::INT4,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                    T::INT8_ARRAY,
                ],
            ),
        }
    }
}
