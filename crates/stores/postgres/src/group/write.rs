//! Writes what was decided.

use super::load::Decided;
use super::{Asked, Failed, QueueRows, ask_all, ready_all, says_no};
use crate::error::{from_postgres, is_passing};
use crate::query::Conn;
use crate::rows::{column, encode, micros};
use crate::store::Inner;
use futures_util::future::join;
use martlet_base::Timestamp;
use martlet_store::engine::Changes;
use martlet_store::{LogId, QueueName};
use tokio_postgres::Error;

/// Writes what was decided, and commits.
#[expect(clippy::too_many_lines, reason = "a column after the other")]
pub(super) async fn write(
    inner: &Inner,
    conn: Conn<'_>,
    decided: &Decided,
    queues: &QueueRows,
    (slot, finish): (i32, bool),
) -> Result<(), Failed> {
    let Changes { cells, deleted_logs, logs, messages, remembered, queues: counts, .. } = &decided.changes;
    let sql = &inner.group_sql;
    let row_of = |queue: &QueueName| queues.get(queue).copied().unwrap_or_default();

    let put: Vec<_> = cells.iter().filter_map(|(key, cell)| cell.as_ref().map(|cell| (key, cell))).collect();
    let put_keys: Vec<&str> = put.iter().map(|(key, _)| key.as_str()).collect();
    let put_versions: Vec<i64> = put.iter().map(|(_, cell)| cell.version.as_u64().cast_signed()).collect();
    let put_expires: Vec<Option<i64>> =
        put.iter().map(|(_, cell)| cell.expires.map(Timestamp::as_micros)).collect();
    let put_values: Vec<&[u8]> = put.iter().map(|(_, cell)| &*cell.value).collect();
    let gone_cells: Vec<&str> =
        cells.iter().filter(|(_, cell)| cell.is_none()).map(|(key, _)| key.as_str()).collect();

    let (gone_kinds, gone_ids): (Vec<&str>, Vec<&str>) =
        deleted_logs.iter().map(|log| (log.kind(), log.id())).unzip();
    let log_kinds: Vec<&str> = logs.keys().map(LogId::kind).collect();
    let log_ids: Vec<&str> = logs.keys().map(LogId::id).collect();
    let log_counts: Vec<i64> = logs.values().map(|log| log.records.len() as i64).collect();
    let log_updated: Vec<Option<i64>> =
        logs.values().map(|log| log.records.last().map(|record| record.appended.as_micros())).collect();
    let log_sealed: Vec<Option<i64>> =
        logs.values().map(|log| log.now.sealed.map(Timestamp::as_micros)).collect();
    let records: Vec<_> =
        logs.iter().flat_map(|(id, log)| log.records.iter().map(move |record| (id, record))).collect();
    let record_kinds: Vec<&str> = records.iter().map(|(log, _)| log.kind()).collect();
    let record_ids: Vec<&str> = records.iter().map(|(log, _)| log.id()).collect();
    let record_places: Vec<i64> = records.iter().map(|(_, record)| record.sequence.cast_signed()).collect();
    let record_times: Vec<i64> = records.iter().map(|(_, record)| record.appended.as_micros()).collect();
    let record_bodies: Vec<&[u8]> = records.iter().map(|(_, record)| &*record.body).collect();

    let (mut fresh, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    // Content is not loaded, so that of a changed message is only written where it was edited.
    let (mut edit_ids, mut edit_bodies): (Vec<i64>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    for (id, change) in messages {
        let id = id.as_u64().cast_signed();
        match (&change.was, &change.now) {
            (None, Some(item)) => fresh.push((id, &change.queue, item)),
            (Some(_), Some(item)) => {
                changed.push((id, item));
                if change.has_new_body {
                    edit_ids.push(id);
                    edit_bodies.push(&item.message.body);
                }
            }
            _ => removed.push(id),
        }
    }
    let now = decided.now;
    let fresh_ids: Vec<i64> = fresh.iter().map(|(id, ..)| *id).collect();
    let fresh_queues: Vec<i64> = fresh.iter().map(|(_, queue, _)| row_of(queue)).collect();
    let items = || fresh.iter().map(|(_, _, item)| item);
    let fresh_states: Vec<i16> = items().map(|item| column(item, now)).collect();
    let fresh_visible: Vec<i64> = items().map(|item| item.visible_at.as_micros()).collect();
    let fresh_enqueued: Vec<i64> = items().map(|item| item.enqueued.as_micros()).collect();
    let fresh_deliveries: Vec<i64> = items().map(|item| i64::from(item.deliveries)).collect();
    let fresh_priorities: Vec<i16> = items().map(|item| item.message.priority).collect();
    let fresh_orders: Vec<Option<&str>> = items().map(|item| item.message.order_key.as_deref()).collect();
    let fresh_dedups: Vec<Option<&str>> = items().map(|item| item.message.dedup.as_deref()).collect();
    let fresh_windows: Vec<i64> = items().map(|item| micros(item.message.dedup_window)).collect();
    let fresh_times: Vec<Option<i64>> =
        items().map(|item| item.message.not_before.map(Timestamp::as_micros)).collect();
    let fresh_kinds: Vec<Option<&str>> =
        items().map(|item| item.buried.as_ref().map(|reason| reason.kind.as_str())).collect();
    let fresh_details: Vec<Option<&str>> =
        items().map(|item| item.buried.as_ref().map(|reason| reason.detail.as_str())).collect();
    let fresh_histories: Vec<Option<String>> = items().map(|item| encode(&item.history)).collect();
    let fresh_bodies: Vec<&[u8]> = items().map(|item| &*item.message.body).collect();

    let changed_ids: Vec<i64> = changed.iter().map(|(id, _)| *id).collect();
    let changed_states: Vec<i16> = changed.iter().map(|(_, item)| column(item, now)).collect();
    let changed_visible: Vec<i64> = changed.iter().map(|(_, item)| item.visible_at.as_micros()).collect();
    let changed_held: Vec<bool> = changed.iter().map(|(_, item)| item.held).collect();
    let changed_deliveries: Vec<i64> = changed.iter().map(|(_, item)| i64::from(item.deliveries)).collect();
    let changed_kinds: Vec<Option<&str>> =
        changed.iter().map(|(_, item)| item.buried.as_ref().map(|reason| reason.kind.as_str())).collect();
    let changed_details: Vec<Option<&str>> =
        changed.iter().map(|(_, item)| item.buried.as_ref().map(|reason| reason.detail.as_str())).collect();
    let changed_histories: Vec<Option<String>> =
        changed.iter().map(|(_, item)| encode(&item.history)).collect();

    let remembered_queues: Vec<i64> = remembered.keys().map(|(queue, _)| row_of(queue)).collect();
    let remembered_keys: Vec<&str> = remembered.keys().map(|(_, key)| key.as_str()).collect();
    let remembered_ids: Vec<i64> = remembered.values().map(|(id, _)| id.as_u64().cast_signed()).collect();
    let remembered_until: Vec<i64> = remembered.values().map(|(_, until)| until.as_micros()).collect();

    let count_queues: Vec<i64> = counts.keys().map(row_of).collect();
    let count_live: Vec<i64> = counts.values().map(|count| count.live).collect();
    let count_blocked: Vec<i64> = counts.values().map(|count| count.blocked).collect();
    let count_buried: Vec<i64> = counts.values().map(|count| count.buried).collect();
    let count_enqueued: Vec<i64> = counts.values().map(|count| count.enqueued.cast_signed()).collect();
    let count_acked: Vec<i64> = counts.values().map(|count| count.acked.cast_signed()).collect();

    let writes: [Asked<'_>; 12] = [
        (&sql.put_cells, !put_keys.is_empty(), vec![&put_keys, &put_versions, &put_expires, &put_values]),
        (&sql.delete_cells, !gone_cells.is_empty(), vec![&gone_cells]),
        (&sql.delete_records, !gone_kinds.is_empty(), vec![&gone_kinds, &gone_ids]),
        (&sql.delete_logs, !gone_kinds.is_empty(), vec![&gone_kinds, &gone_ids]),
        (
            &sql.put_logs,
            !log_kinds.is_empty(),
            vec![&log_kinds, &log_ids, &log_counts, &log_updated, &log_sealed],
        ),
        (
            &sql.put_records,
            !records.is_empty(),
            vec![&record_kinds, &record_ids, &record_places, &record_times, &record_bodies],
        ),
        (
            &sql.insert,
            !fresh.is_empty(),
            vec![
                &fresh_ids,
                &fresh_queues,
                &fresh_states,
                &fresh_visible,
                &fresh_enqueued,
                &fresh_deliveries,
                &fresh_priorities,
                &fresh_orders,
                &fresh_dedups,
                &fresh_windows,
                &fresh_times,
                &fresh_kinds,
                &fresh_details,
                &fresh_histories,
                &fresh_bodies,
            ],
        ),
        (
            &sql.update,
            !changed.is_empty(),
            vec![
                &changed_ids,
                &changed_states,
                &changed_visible,
                &changed_held,
                &changed_deliveries,
                &changed_kinds,
                &changed_details,
                &changed_histories,
            ],
        ),
        (&sql.edit, !edit_ids.is_empty(), vec![&edit_ids, &edit_bodies]),
        (&sql.remove, !removed.is_empty(), vec![&removed]),
        (
            &sql.remember,
            !remembered_keys.is_empty(),
            vec![&remembered_queues, &remembered_keys, &remembered_ids, &remembered_until],
        ),
        (
            &sql.count,
            !count_queues.is_empty(),
            vec![
                &count_queues,
                &slot,
                &count_live,
                &count_blocked,
                &count_buried,
                &count_enqueued,
                &count_acked,
            ],
        ),
    ];
    let nothing = writes.iter().all(|(_, wanted, _)| !wanted);
    let failed = |error: Error| Failed::before("cannot write", &error);
    let ready = ready_all(conn, &writes).await.map_err(failed)?;
    if !finish {
        return ask_all(conn, &ready, &writes).await.map(drop).map_err(failed);
    }
    // The commit is on its way before the writes are answered; behind one that failed it rolls back.
    let (written, committed) = join(ask_all(conn, &ready, &writes), conn.run("COMMIT")).await;
    written.map(drop).and(committed).map_err(|error| {
        // The server said that it did not: nothing was committed. Silence says nothing.
        let told = from_postgres("cannot commit", &error);
        let known = nothing || says_no(&error);
        Failed { error: if known { told.not_applied() } else { told }, again: known && is_passing(&error) }
    })
}
