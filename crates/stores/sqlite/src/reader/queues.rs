//! Looking at queues.

use super::{failed, snapshot};
use crate::error::corrupt_row;
use crate::rows::{BLOCKED, BURIED, ITEM, ItemRow};
use martlet_base::Timestamp;
use martlet_store::{Depth, MessageId, MessageState, QueueItem, QueueName, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

fn queue(conn: &Connection, name: &QueueName) -> Result<Option<i64>, StoreError> {
    let find = conn.prepare_cached("SELECT queue FROM martlet_queue WHERE name = ?1");
    find.and_then(|mut find| find.query_row([name.as_str()], |row| row.get(0)).optional()).map_err(failed)
}

/// Those two have an index in the order of their numbers, if its own condition is repeated word for word; for the others the table is
/// walked through.
fn peek_sql(state: Option<MessageState>) -> String {
    let by_index = match state {
        Some(MessageState::Buried) => format!("AND state IN (3, 4) AND state = {BURIED}"),
        Some(MessageState::Blocked) => format!("AND state IN (3, 4) AND state = {BLOCKED}"),
        _ => String::new(),
    };
    format!("SELECT {ITEM} FROM martlet_message WHERE queue = ?1 AND id > ?2 {by_index} ORDER BY id")
}

const TIMED: &str = "SELECT sum(state = 1 AND visible_at > ?2), sum(state = 2 AND visible_at > ?2), min(id) FROM martlet_message \
                     WHERE queue = ?1 AND state IN (1, 2)";
const FIRST_BLOCKED: &str = "SELECT id FROM martlet_message WHERE queue = ?1 AND state IN (3, 4) AND state = 3 AND id > 0 ORDER BY id LIMIT 1";

pub(crate) fn peek(
    conn: &Connection,
    name: &QueueName,
    state: Option<MessageState>,
    after: Option<MessageId>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<QueueItem>, StoreError> {
    let after = after.map_or(0, |after| i64::try_from(after.as_u64()).unwrap_or(i64::MAX));
    let sql = peek_sql(state);
    snapshot(conn, || {
        let Some(queue) = queue(conn, name)? else { return Ok(Vec::new()) };
        let mut find = conn.prepare_cached(&sql).map_err(failed)?;
        let mut rows = find.query([queue, after]).map_err(failed)?;
        let mut items = Vec::new();
        while items.len() < limit {
            let Some(row) = rows.next().map_err(failed)? else { break };
            let item = ItemRow::read(row).map_err(failed)?.item(now)?;
            if state.is_none_or(|state| item.state == state) {
                items.push(item);
            }
        }
        Ok(items)
    })
}

/// Reads counts that the writer keeps, and counts what has a time.
pub(crate) fn depth(conn: &Connection, name: &QueueName, now: Timestamp) -> Result<Depth, StoreError> {
    snapshot(conn, || {
        let Some(queue) = queue(conn, name)? else { return Ok(Depth::default()) };
        let count = || {
            let mut depth = Depth::default();
            let mut oldest: Option<i64> = None;
            let mut older = |id: Option<i64>| oldest = oldest.into_iter().chain(id).min();
            let sql = "SELECT live, blocked, buried, enqueued, acked FROM martlet_queue WHERE queue = ?1";
            let live: u64 = conn.prepare_cached(sql)?.query_row([queue], |row| {
                depth.blocked = row.get(1)?;
                depth.buried = row.get(2)?;
                depth.enqueued = row.get(3)?;
                depth.acked = row.get(4)?;
                row.get(0)
            })?;
            let timed = conn.prepare_cached(TIMED)?.query_row(params![queue, now.as_micros()], |row| {
                depth.in_flight = row.get::<_, Option<u64>>(0)?.unwrap_or(0);
                depth.delayed = row.get::<_, Option<u64>>(1)?.unwrap_or(0);
                row.get(2)
            })?;
            older(timed);
            let waiting = depth.blocked + depth.in_flight + depth.delayed;
            depth.ready = live.saturating_sub(waiting);
            older(conn.prepare_cached(FIRST_BLOCKED)?.query_row([queue], |row| row.get(0)).optional()?);
            // The lowest number of each priority: as many steps as there are priorities.
            let sql =
                "SELECT max(priority) FROM martlet_message WHERE queue = ?1 AND state = 0 AND priority < ?2";
            let mut next = conn.prepare_cached(sql)?;
            let sql = "SELECT min(id) FROM martlet_message WHERE queue = ?1 AND state = 0 AND priority = ?2";
            let mut first = conn.prepare_cached(sql)?;
            let mut below = i64::MAX;
            while let Some(priority) = next.query_row([queue, below], |row| row.get::<_, Option<i64>>(0))? {
                older(first.query_row([queue, priority], |row| row.get(0))?);
                below = priority;
            }
            if let Some(id) = oldest {
                let sql = "SELECT enqueued FROM martlet_message WHERE id = ?1";
                let at = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
                depth.oldest = Some(Timestamp::from_micros(at));
            }
            Ok(depth)
        };
        count().map_err(failed)
    })
}

/// When something can next be received; `None`: no message has a time.
pub(crate) fn next(conn: &Connection, name: &QueueName) -> Result<Option<Timestamp>, StoreError> {
    snapshot(conn, || {
        let Some(queue) = queue(conn, name)? else { return Ok(None) };
        let sql = "SELECT visible_at FROM martlet_message WHERE queue = ?1 AND state = 0 LIMIT 1";
        let find = |sql: &str| -> rusqlite::Result<Option<i64>> {
            conn.prepare_cached(sql)?.query_row([queue], |row| row.get(0)).optional().map(Option::flatten)
        };
        if find(sql).map_err(failed)?.is_some() {
            return Ok(Some(Timestamp::UNIX_EPOCH));
        }
        let sql = "SELECT min(visible_at) FROM martlet_message WHERE queue = ?1 AND state IN (1, 2)";
        Ok(find(sql).map_err(failed)?.map(Timestamp::from_micros))
    })
}

pub(crate) fn list(
    conn: &Connection,
    after: Option<&QueueName>,
    limit: usize,
) -> Result<Vec<QueueName>, StoreError> {
    snapshot(conn, || {
        let sql = "SELECT name FROM martlet_queue WHERE name > ?1 AND enqueued > 0 ORDER BY name LIMIT ?2";
        let mut find = conn.prepare_cached(sql).map_err(failed)?;
        let values = params![after.map_or("", QueueName::as_str), i64::try_from(limit).unwrap_or(i64::MAX)];
        let names = find.query_map(values, |row| row.get::<_, String>(0));
        let names: Vec<String> = names.and_then(Iterator::collect).map_err(failed)?;
        let name = |text: &String| {
            QueueName::new(text).map_err(|_| corrupt_row("a queue that martlet does not write"))
        };
        names.iter().map(name).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn what_is_looked_for_is_found_by_an_index() {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn).unwrap();
        for (sql, index) in [
            (peek_sql(Some(MessageState::Buried)), "martlet_message_aside (queue=? AND state=? AND id>?)"),
            (peek_sql(Some(MessageState::Blocked)), "martlet_message_aside (queue=? AND state=? AND id>?)"),
            (FIRST_BLOCKED.to_owned(), "martlet_message_aside (queue=? AND state=? AND id>?)"),
            (TIMED.to_owned(), "COVERING INDEX martlet_message_timed (queue=?)"),
        ] {
            let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let values = vec![1; explain.parameter_count()];
            let steps = explain.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3));
            let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
            assert!(steps.len() == 1 && steps[0].contains(index), "{sql}: {steps:?}");
        }
    }
}
