//! What is asked of the tables beside commits.

use crate::query::Sql;
use crate::rows::ITEM;
use martlet_store::CellKey;
use tokio_postgres::types::Type as T;

/// Statements that stand alone.
#[derive(Debug)]
pub(crate) struct ReadSql {
    pub(crate) now: Sql,
    pub(crate) get: Sql,
    pub(crate) scan: Sql,
    pub(crate) read_log: Sql,
    pub(crate) open_logs: Sql,
    pub(crate) logs: Sql,
    pub(crate) find_queues: Sql,
    pub(crate) make_queues: Sql,
    pub(crate) queues: Sql,
    pub(crate) due: Sql,
    pub(crate) receive: Sql,
    pub(crate) peek: Sql,
    pub(crate) peek_aside: Sql,
    pub(crate) depth: Sql,
    pub(crate) next: Sql,
    pub(crate) lease: Sql,
    pub(crate) release: Sql,
}

/// At most so many messages whose time has come are moved to the ready ones by one receive.
pub(crate) const DUE_AT_ONCE: i64 = 1_000;

impl ReadSql {
    pub(crate) fn new(schema: &str) -> Self {
        let sql = |text: &str, types: &[T]| Sql::new(schema, text, types);
        // A message that nobody settled is told in its history when it is received again.
        let lapsed = "jsonb_path_query_array(coalesce(m.history, '[]')::jsonb || jsonb_build_array( \
                      jsonb_build_array(m.received, m.visible_at, 'lapsed', '')), '$[last - 15 to last]')::text";
        Self {
            now: sql("SELECT {now}", &[T::INT8]),
            get: sql(
                "SELECT key, version, expires, value FROM {s}.cell \
                 WHERE key = ANY($2) AND (expires IS NULL OR expires > {now})",
                &[T::INT8, T::TEXT_ARRAY],
            ),
            scan: sql(
                // Both bounds are always there: with one that may be missing, the plan walks through all that lies before or behind.
                "SELECT key, version, expires, value FROM {s}.cell WHERE key >= $2 AND key < $3 \
                 AND (expires IS NULL OR expires > {now}) ORDER BY key LIMIT $4",
                &[T::INT8, T::TEXT, T::TEXT, T::INT8],
            ),
            read_log: sql(
                "SELECT sequence, appended, body FROM {s}.record WHERE kind = $1 AND id = $2 AND sequence >= $3 \
                 ORDER BY sequence LIMIT $4",
                &[T::TEXT, T::TEXT, T::INT8, T::INT8],
            ),
            open_logs: sql(
                "SELECT id FROM {s}.log WHERE kind = $1 AND sealed IS NULL AND id > $2 ORDER BY id LIMIT $3",
                &[T::TEXT, T::TEXT, T::INT8],
            ),
            logs: sql(
                "SELECT kind, id, last, updated, sealed FROM {s}.log WHERE (kind, id) > ($1, $2) \
                 ORDER BY kind, id LIMIT $3",
                &[T::TEXT, T::TEXT, T::INT8],
            ),
            find_queues: sql("SELECT name, queue FROM {s}.queue WHERE name = ANY($1)", &[T::TEXT_ARRAY]),
            make_queues: sql(
                "INSERT INTO {s}.queue (name) SELECT * FROM unnest($1) ON CONFLICT (name) DO NOTHING",
                &[T::TEXT_ARRAY],
            ),
            queues: sql(
                "SELECT name FROM {s}.queue q WHERE name > $1 AND EXISTS \
                 (SELECT 1 FROM {s}.count c WHERE c.queue = q.queue AND c.enqueued > 0) ORDER BY name LIMIT $2",
                &[T::TEXT, T::INT8],
            ),
            // An array is looked up in the index; a join might read the whole table, because nobody tells the planner how few
            // rows there will be.
            due: sql(
                "UPDATE {s}.message SET state = 0 WHERE id = ANY (ARRAY(SELECT id FROM {s}.message WHERE queue = {q} \
                 AND state IN (1, 2) AND visible_at <= {now} ORDER BY visible_at LIMIT $3 FOR UPDATE SKIP LOCKED))",
                &[T::INT8, T::TEXT, T::INT8],
            ),
            receive: sql(
                &format!(
                    "WITH taken AS MATERIALIZED (SELECT id FROM {{s}}.message WHERE queue = {{q}} AND state = 0 \
                     ORDER BY priority DESC, id LIMIT $3 FOR UPDATE SKIP LOCKED) \
                     UPDATE {{s}}.message m SET state = 1, held = true, visible_at = {{now}} + $4, received = {{now}}, \
                     delivery = delivery + 1, deliveries = deliveries + 1, \
                     history = CASE WHEN held THEN {lapsed} ELSE history END \
                     WHERE m.id = ANY (ARRAY(SELECT id FROM taken)) RETURNING {ITEM}, m.delivery, m.received"
                ),
                &[T::INT8, T::TEXT, T::INT8, T::INT8],
            ),
            peek: sql(
                &format!(
                    "SELECT {ITEM} FROM {{s}}.message m WHERE queue = {{q}} AND id > $3 AND ($4::smallint IS NULL \
                     OR $4 = CASE WHEN state IN (3, 4) THEN state WHEN visible_at <= {{now}} THEN 0 ELSE state END) \
                     ORDER BY id LIMIT $5"
                ),
                &[T::INT8, T::TEXT, T::INT8, T::INT2, T::INT8],
            ),
            peek_aside: sql(
                &format!(
                    "SELECT {ITEM} FROM {{s}}.message m WHERE queue = (SELECT queue FROM {{s}}.queue WHERE name = $1) AND id > $2 AND state = $3 \
                     AND state IN (3, 4) ORDER BY id LIMIT $4"
                ),
                &[T::TEXT, T::INT8, T::INT2, T::INT8],
            ),
            // The lowest number of what is ready is found priority by priority: as many steps as there are priorities.
            depth: sql(
                "WITH RECURSIVE n AS (SELECT {now} AS now), \
                 p (priority) AS (SELECT max(priority)::int FROM {s}.message WHERE queue = {q} AND state = 0 UNION ALL \
                 SELECT (SELECT max(priority)::int FROM {s}.message WHERE queue = {q} AND state = 0 \
                 AND priority < p.priority) FROM p WHERE p.priority IS NOT NULL), \
                 t AS (SELECT count(*) FILTER (WHERE state = 1 AND visible_at > now) AS in_flight, \
                 count(*) FILTER (WHERE state = 2 AND visible_at > now) AS delayed, min(id) AS first \
                 FROM {s}.message, n WHERE queue = {q} AND state IN (1, 2)), \
                 c AS (SELECT coalesce(sum(live), 0)::bigint AS live, coalesce(sum(blocked), 0)::bigint AS blocked, \
                 coalesce(sum(buried), 0)::bigint AS buried, coalesce(sum(enqueued), 0)::bigint AS enqueued, \
                 coalesce(sum(acked), 0)::bigint AS acked FROM {s}.count WHERE queue = {q}) \
                 SELECT live, blocked, buried, enqueued, acked, in_flight, delayed, \
                 (SELECT enqueued FROM {s}.message WHERE id = least(t.first, \
                 (SELECT min(id) FROM {s}.message WHERE queue = {q} AND state = 3), \
                 (SELECT min((SELECT min(id) FROM {s}.message WHERE queue = {q} AND state = 0 \
                 AND priority = p.priority)) FROM p))) FROM c, t",
                &[T::INT8, T::TEXT],
            ),
            next: sql(
                "SELECT {now}, EXISTS (SELECT 1 FROM {s}.message WHERE queue = {q} AND state = 0), \
                 (SELECT min(visible_at) FROM {s}.message WHERE queue = {q} AND state IN (1, 2))",
                &[T::INT8, T::TEXT],
            ),
            lease: sql(
                "INSERT INTO {s}.lease AS l (key, owner, token, until) VALUES ($2, $3, 1, {now} + $4) \
                 ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, until = excluded.until, \
                 token = CASE WHEN l.owner = excluded.owner AND l.until > {now} THEN l.token ELSE l.token + 1 END \
                 WHERE l.until <= {now} OR l.owner = excluded.owner RETURNING token",
                &[T::INT8, T::TEXT, T::TEXT, T::INT8],
            ),
            release: sql(
                "UPDATE {s}.lease SET until = {now} WHERE key = $2 AND owner = $3 AND until > {now} RETURNING token",
                &[T::INT8, T::TEXT, T::TEXT],
            ),
        }
    }
}

/// Where the keys with `prefix` behind `after` begin, and the first text that is none of them any more.
pub(crate) fn bounds(prefix: &str, after: Option<&CellKey>) -> (String, String) {
    let from = match after {
        // The first text behind it that could be a key: keys hold no control characters.
        Some(after) if after.as_str() >= prefix => format!("{after}\u{1}"),
        _ => prefix.to_owned(),
    };
    // A text that is longer than any key, of the last characters there are.
    let end = successor(prefix).unwrap_or_else(|| "\u{10ffff}".repeat(CellKey::MAX_BYTES / 4 + 1));
    (from, end)
}

/// The first text behind everything that starts with `prefix`; `None`: there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The next scalar value; between the two ranges of them lie the surrogates.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_what_is_asked_for_and_nothing_else() {
        let last = "\u{10ffff}".repeat(CellKey::MAX_BYTES / 4);
        let texts = ["A", "a", "a!", "a/", "a/b", "a/\u{a0}", "a0", "b", "é", "日本", "\u{10ffff}", &last];
        let keys = texts.map(|text| CellKey::new(text).unwrap());
        for prefix in ["", "a", "a/", "\u{10ffff}", "b", "zz"] {
            for after in keys.iter().map(Some).chain([None]) {
                let (from, end) = bounds(prefix, after);
                for key in &keys {
                    let wanted = key.as_str().starts_with(prefix) && after.is_none_or(|after| key > after);
                    let found = key.as_str() >= &*from && key.as_str() < &*end;
                    assert_eq!(found, wanted, "{key:?} with {prefix:?} behind {after:?}");
                }
            }
        }
    }

    #[test]
    fn everything_with_a_prefix_lies_before_its_successor() {
        for prefix in ["a", "a/", "é", "\u{d7ff}", "a\u{10ffff}", "日本", "~"] {
            let end = successor(prefix).unwrap();
            for more in ["", "a", "\u{10ffff}", "\u{10ffff}\u{10ffff}"] {
                assert!(format!("{prefix}{more}") < end, "{prefix:?} {end:?}");
            }
            assert!(!end.starts_with(prefix));
        }
        assert_eq!(successor(""), None);
        assert_eq!(successor("\u{10ffff}\u{10ffff}"), None);
    }
}
