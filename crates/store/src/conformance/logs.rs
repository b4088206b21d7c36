//! What every store with logs promises.

use super::{Subject, key, poll_and_drop, until_whole};
use crate::{Expect, Fence, LogId, MAX_VALUE_BYTES, Outcome, StoreErrorKind, Write, WriteBatch};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);

fn log(id: &str) -> LogId {
    LogId::new("kind", id).expect("the suite uses valid names")
}

fn append(id: &str, record: &str) -> WriteBatch {
    WriteBatch::new().append(log(id), None, record.to_owned())
}

impl Subject {
    async fn append(&self, id: &str, record: &str) -> u64 {
        match self.commit(append(id, record)).await.expect("append works").outcome(0) {
            Outcome::Appended(sequence) => sequence,
            other => panic!("an append was answered with {other:?}"),
        }
    }

    /// All records, which must be gapless, read in pages of `page`.
    async fn records(&self, log: &LogId, page: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let from = bodies.len() as u64 + 1;
            let found = self.store.read_log(log, from, page).await.expect("read_log works");
            assert!(found.len() <= page, "a page of at most {page} had {}", found.len());
            let is_last = found.len() < page;
            for record in found {
                assert_eq!(record.sequence, bodies.len() as u64 + 1, "a gap in {log}");
                bodies.push(String::from_utf8(record.body.to_vec()).expect("the suite appends text"));
            }
            if is_last {
                return bodies;
            }
        }
    }

    async fn open(&self, kind: &str, page: usize) -> Vec<String> {
        let (mut ids, mut after): (Vec<String>, Option<LogId>) = (Vec::new(), None);
        loop {
            let found = self.store.open_logs(kind, after.as_ref(), page).await.expect("open_logs works");
            let is_last = found.len() < page;
            ids.extend(found.iter().map(|log| log.id().to_owned()));
            after = found.last().cloned().or(after);
            if is_last {
                return ids;
            }
        }
    }
}

/// Records come back as they were appended, numbered from 1, with the time of the store.
pub async fn what_is_appended_is_read(subject: Subject) {
    let before = subject.store.now().await.expect("now");
    assert_eq!(subject.append("a", "one").await, 1);
    subject.pass(Duration::from_secs(1));
    assert_eq!(subject.append("a", "two").await, 2);
    let records = subject.store.read_log(&log("a"), 1, 10).await.expect("read");
    let found: Vec<_> = records.iter().map(|record| (record.sequence, &*record.body)).collect();
    assert_eq!(found, [(1, &b"one"[..]), (2, b"two")]);
    assert!(before <= records[0].appended);
    assert!(records[1].appended.since(records[0].appended) >= Duration::from_secs(1));
}

/// Several appends of one batch are numbered in their order.
pub async fn a_batch_appends_in_its_order(subject: Subject) {
    let batch = append("a", "1").append(log("b"), None, "x").append(log("a"), None, "2");
    let committed = subject.commit(batch).await.expect("append");
    let outcomes = [0, 1, 2].map(|index| committed.outcome(index));
    assert_eq!(outcomes, [Outcome::Appended(1), Outcome::Appended(1), Outcome::Appended(2)]);
    assert_eq!(subject.records(&log("a"), 10).await, ["1", "2"]);
    assert_eq!(subject.records(&log("b"), 10).await, ["x"]);
}

/// Logs of different ids and kinds know nothing of each other.
pub async fn logs_do_not_mix(subject: Subject) {
    let other = LogId::new("kind2", "a").expect("valid");
    let split = LogId::new("kin", "da").expect("valid");
    for (log, body) in [(log("a"), "1"), (log("b"), "2"), (other.clone(), "3"), (split.clone(), "4")] {
        let batch = WriteBatch::new().append(log, None, body);
        assert_eq!(subject.commit(batch).await.expect("append").outcome(0), Outcome::Appended(1));
    }
    assert_eq!(subject.records(&log("a"), 10).await, ["1"]);
    assert_eq!(subject.records(&other, 10).await, ["3"]);
    assert_eq!(subject.records(&split, 10).await, ["4"]);
    assert_eq!(subject.open("kind", 10).await, ["a", "b"]);
    assert_eq!(subject.open("kin", 10).await, ["da"]);
}

/// Pages begin at any number and join without gap or repeat.
pub async fn a_log_is_read_from_anywhere(subject: Subject) {
    let bodies: Vec<String> = (1..=10).map(|n| n.to_string()).collect();
    for body in &bodies {
        subject.append("a", body).await;
    }
    for page in [1, 3, 10, 11] {
        assert_eq!(subject.records(&log("a"), page).await, bodies, "pages of {page}");
    }
    let read = async |from, limit| -> Vec<u64> {
        let found = subject.store.read_log(&log("a"), from, limit).await.expect("read");
        found.into_iter().map(|record| record.sequence).collect()
    };
    assert_eq!(read(0, 2).await, [1, 2], "there is no number 0");
    assert_eq!(read(9, 10).await, [9, 10]);
    assert_eq!(read(11, 10).await, [0; 0]);
    assert_eq!(read(u64::MAX, 10).await, [0; 0]);
    assert_eq!(read(1, 0).await, [0; 0]);
}

/// A log that nobody appended to is empty and not open.
pub async fn a_log_that_does_not_exist_is_empty(subject: Subject) {
    assert_eq!(subject.store.read_log(&log("a"), 1, 10).await.expect("read"), []);
    assert_eq!(subject.open("kind", 10).await, [""; 0]);
    assert_eq!(subject.store.logs(None, 10).await.expect("logs"), []);
}

/// A kind that no log can have has none.
pub async fn a_kind_that_is_no_name_has_no_logs(subject: Subject) {
    subject.append("a", "1").await;
    for kind in ["", "a\0", "a\0b", "a\n", &"x".repeat(1_000)] {
        assert_eq!(subject.store.open_logs(kind, None, 10).await.expect("open_logs works"), [], "{kind:?}");
    }
}

/// A batch that is refused after its append leaves no record, no gap and no log.
pub async fn a_refused_append_leaves_no_gap(subject: Subject) {
    let refused = |id: &str| append(id, "no").check(key("missing"), crate::Version::from_u64(1));
    let error = subject.commit(refused("a")).await.expect_err("the check does not hold");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::Conflict, Some(1)));
    assert_eq!(subject.open("kind", 10).await, [""; 0], "the refused append made a log");
    assert_eq!(subject.append("a", "1").await, 1);
    let _ = subject.commit(refused("a")).await.expect_err("the check does not hold");
    assert_eq!(subject.append("a", "2").await, 2);
    assert_eq!(subject.records(&log("a"), 10).await, ["1", "2"]);
}

/// The holder of the lease appends; a former holder does not, and neither does somebody who never had it.
pub async fn an_append_with_a_stale_fence_is_refused(subject: Subject) {
    let with =
        |fence: &Fence, record: &str| WriteBatch::new().append(log("a"), Some(fence), record.to_owned());
    let lease = async |owner: &str| {
        subject.store.lease(&key("job"), owner, TTL).await.expect("lease works").expect("it is free")
    };
    let old = lease("a").await;
    let _ = subject.commit(with(&old, "1")).await.expect("the holder appends");
    subject.pass(TTL);
    let _ = subject.commit(with(&old, "2")).await.expect("nobody took it yet");
    let new = lease("b").await;
    let error = subject.commit(with(&old, "3")).await.expect_err("b took over");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::StaleFence, Some(0)));
    assert!(error.write_key().is_some_and(|key| key.contains("kind")), "{error}");
    let forged = Fence::new(key("nobody"), 1);
    let error = subject.commit(with(&forged, "3")).await.expect_err("never given");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
    let _ = subject.commit(with(&new, "3")).await.expect("the holder appends");
    assert_eq!(subject.records(&log("a"), 10).await, ["1", "2", "3"]);
}

/// Stale in one of many: the whole batch is refused.
pub async fn a_stale_fence_undoes_the_other_appends_of_its_batch(subject: Subject) {
    let stale = Fence::new(key("job"), 7);
    let batch = append("a", "1").append(log("b"), Some(&stale), "1");
    let error = subject.commit(batch).await.expect_err("never given");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::StaleFence, Some(1)));
    assert_eq!(subject.open("kind", 10).await, [""; 0]);
}

/// A sealed log takes nothing more and can still be read.
pub async fn a_sealed_log_takes_no_more(subject: Subject) {
    subject.append("a", "1").await;
    let _ = subject.commit(WriteBatch::new().seal(log("a"), None)).await.expect("seal");
    let error = subject.commit(append("a", "2")).await.expect_err("it is sealed");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::Conflict, Some(0)));
    assert_eq!(subject.records(&log("a"), 10).await, ["1"]);
    assert_eq!(subject.append("b", "1").await, 1, "others go on");
}

/// Sealing again changes nothing; sealing what is not there is a conflict.
pub async fn a_seal_is_set_once(subject: Subject) {
    let seal = || WriteBatch::new().seal(log("a"), None);
    let error = subject.commit(seal()).await.expect_err("there is no such log");
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    subject.append("a", "1").await;
    let _ = subject.commit(seal()).await.expect("seal");
    let first = subject.store.logs(None, 10).await.expect("logs")[0].sealed.expect("it is sealed");
    subject.pass(Duration::from_secs(5));
    let _ = subject.commit(seal()).await.expect("it is sealed already");
    assert_eq!(subject.store.logs(None, 10).await.expect("logs")[0].sealed, Some(first));
}

/// A former holder cannot seal either.
pub async fn a_seal_with_a_stale_fence_is_refused(subject: Subject) {
    subject.append("a", "1").await;
    let old = subject.store.lease(&key("job"), "a", TTL).await.expect("lease").expect("free");
    subject.pass(TTL);
    let new = subject.store.lease(&key("job"), "b", TTL).await.expect("lease").expect("free");
    let error = subject.commit(WriteBatch::new().seal(log("a"), Some(&old))).await.expect_err("b took over");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
    assert_eq!(subject.open("kind", 10).await, ["a"]);
    let _ = subject.commit(WriteBatch::new().seal(log("a"), Some(&new))).await.expect("the holder seals");
    assert_eq!(subject.open("kind", 10).await, [""; 0]);
}

/// The last record and the seal go in one batch; nothing comes behind the seal.
pub async fn the_last_record_and_the_seal_go_together(subject: Subject) {
    let _ = subject.commit(append("a", "last").seal(log("a"), None)).await.expect("both");
    assert_eq!(subject.records(&log("a"), 10).await, ["last"]);
    assert_eq!(subject.open("kind", 10).await, [""; 0]);
    let batch = append("b", "1").seal(log("b"), None).append(log("b"), None, "2");
    let error = subject.commit(batch).await.expect_err("sealed by the write before");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::Conflict, Some(2)));
    assert_eq!(subject.records(&log("b"), 10).await, [""; 0]);
}

/// Open logs are found by kind, in pages of any size; sealed ones are not among them.
pub async fn open_logs_come_in_pages(subject: Subject) {
    let ids: Vec<String> = (0..10).map(|n| format!("{n}")).collect();
    for id in ids.iter().rev() {
        subject.append(id, "x").await;
    }
    for id in ["0", "3", "9"] {
        let _ = subject.commit(WriteBatch::new().seal(log(id), None)).await.expect("seal");
    }
    let open: Vec<_> = ids.iter().filter(|id| !["0", "3", "9"].contains(&id.as_str())).cloned().collect();
    for page in [1, 2, 3, 7, 100] {
        assert_eq!(subject.open("kind", page).await, open, "pages of {page}");
    }
    assert_eq!(subject.open("kin", 10).await, [""; 0], "a kind is no prefix");
}

/// The place where open logs go on need not be an open log itself, nor of the kind.
pub async fn open_logs_resume_behind_any_log(subject: Subject) {
    for id in ["a", "b", "c"] {
        subject.append(id, "x").await;
    }
    let after = async |kind: &str, id: &str| -> Vec<String> {
        let after = LogId::new(kind, id).expect("valid");
        let found = subject.store.open_logs("kind", Some(&after), 10).await.expect("open_logs");
        found.into_iter().map(|log| log.id().to_owned()).collect()
    };
    assert_eq!(after("kind", "aa").await, ["b", "c"]);
    assert_eq!(after("kind", "c").await, [""; 0]);
    assert_eq!(after("a", "z").await, ["a", "b", "c"]);
    assert_eq!(after("z", "a").await, [""; 0]);
}

/// All logs are listed with what is known of them, by kind and id.
pub async fn logs_are_listed(subject: Subject) {
    for (kind, id, n) in [("b", "1", 1), ("a", "2", 3), ("a", "1", 2)] {
        for _ in 0..n {
            let batch = WriteBatch::new().append(LogId::new(kind, id).expect("valid"), None, "x");
            let _ = subject.commit(batch).await.expect("append");
        }
    }
    let sealed = LogId::new("a", "2").expect("valid");
    let _ = subject.commit(WriteBatch::new().seal(sealed.clone(), None)).await.expect("seal");
    let all = subject.store.logs(None, 10).await.expect("logs");
    let shown: Vec<_> = all.iter().map(|log| (log.id.to_string(), log.last, log.sealed.is_some())).collect();
    let expected = [("a:1", 2, false), ("a:2", 3, true), ("b:1", 1, false)];
    assert_eq!(shown, expected.map(|(name, last, sealed)| (name.to_owned(), last, sealed)));
    let records = subject.store.read_log(&sealed, 3, 1).await.expect("read");
    assert_eq!(all[1].updated, records[0].appended);
    let rest = subject.store.logs(Some(&all[0].id), 1).await.expect("logs");
    assert_eq!(rest, all[1..2]);
}

/// A deleted log is gone with its records, and its name begins anew.
pub async fn a_deleted_log_begins_anew(subject: Subject) {
    let delete = || WriteBatch::new().with(Write::DeleteLog { log: log("a") });
    let _ = subject.commit(delete()).await.expect("nothing to delete is fine");
    subject.append("a", "1").await;
    subject.append("a", "2").await;
    subject.append("b", "1").await;
    let _ = subject.commit(WriteBatch::new().seal(log("a"), None)).await.expect("seal");
    let _ = subject.commit(delete()).await.expect("delete");
    assert_eq!(subject.records(&log("a"), 10).await, [""; 0]);
    assert_eq!(subject.store.logs(None, 10).await.expect("logs").len(), 1);
    assert_eq!(subject.append("a", "new").await, 1, "and it is open again");
    assert_eq!(subject.records(&log("a"), 10).await, ["new"]);
    assert_eq!(subject.records(&log("b"), 10).await, ["1"]);
}

/// Deleting and appending in one batch replaces the log; when the batch is refused, the old one stays.
pub async fn a_log_is_replaced_in_one_batch(subject: Subject) {
    for record in ["1", "2", "3"] {
        subject.append("a", record).await;
    }
    let replace =
        || WriteBatch::new().with(Write::DeleteLog { log: log("a") }).append(log("a"), None, "snapshot");
    let refused = replace().check(key("missing"), crate::Version::from_u64(1));
    let _ = subject.commit(refused).await.expect_err("the check does not hold");
    assert_eq!(subject.records(&log("a"), 10).await, ["1", "2", "3"]);
    let committed = subject.commit(replace()).await.expect("replace");
    assert_eq!(committed.outcome(1), Outcome::Appended(1));
    assert_eq!(subject.records(&log("a"), 10).await, ["snapshot"]);
}

/// Records are bytes: none, all 256 of them, a mebibyte.
pub async fn empty_and_huge_records_survive(subject: Subject) {
    let all: Vec<u8> = (0..=255).collect();
    let huge = all.repeat(4096);
    let batch = append("a", "").append(log("a"), None, huge.clone()).append(log("a"), None, all.clone());
    let _ = subject.commit(batch).await.expect("append");
    let records = subject.store.read_log(&log("a"), 1, 10).await.expect("read");
    assert_eq!(records[0].body, Bytes::new());
    assert!(records[1].body == huge, "the mebibyte differs");
    assert_eq!(records[2].body, all);
}

/// Kinds and ids are bytes too: nothing is normalised, folded or cut.
pub async fn logs_in_any_script_are_told_apart(subject: Subject) {
    let longest = "é".repeat(128);
    let names =
        ["é", "e\u{301}", "ß", "ss", "I", "i", "ı", "a ", " a", "a", "👩‍👧", "عربي", "%", "_", &longest];
    for name in names {
        let log = LogId::new(name, name).expect("valid");
        let batch = WriteBatch::new().append(log, None, name.to_owned());
        assert_eq!(subject.commit(batch).await.expect("append").outcome(0), Outcome::Appended(1), "{name}");
    }
    for name in names {
        assert_eq!(subject.open(name, 10).await, [name]);
        assert_eq!(subject.records(&LogId::new(name, name).expect("valid"), 10).await, [name]);
    }
    let listed = subject.store.logs(None, 100).await.expect("logs");
    assert!(listed.windows(2).all(|pair| pair[0].id < pair[1].id), "by their bytes");
}

/// A record over the cap is refused with its batch.
pub async fn a_record_over_the_cap_is_refused_beforehand(subject: Subject) {
    let batch = append("a", "1").append(log("a"), None, vec![0; MAX_VALUE_BYTES + 1]);
    let error = subject.commit(batch).await.expect_err("too large");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::TooLarge, Some(1)));
    assert_eq!(subject.records(&log("a"), 10).await, [""; 0]);
}

/// A time that is given is kept: copies of logs keep theirs.
pub async fn a_given_time_is_kept(subject: Subject) {
    let at = martlet_base::Timestamp::from_micros(1_234_567);
    let write = Write::Append { log: log("a"), fence: None, record: "old".into(), appended: Some(at) };
    let _ = subject.commit(WriteBatch::new().with(write)).await.expect("append");
    assert_eq!(subject.store.read_log(&log("a"), 1, 1).await.expect("read")[0].appended, at);
}

/// 32 tasks append to one log: each record has a place of its own, and there is no gap.
pub async fn many_writers_of_one_log_leave_no_gap(subject: Subject) {
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let store = Arc::clone(&subject.store);
            tokio::spawn(async move {
                let mut places = Vec::new();
                for n in 0..8 {
                    let committed = store.commit(append("a", &format!("{task}/{n}"))).await.expect("append");
                    match committed.outcome(0) {
                        Outcome::Appended(sequence) => places.push((sequence, format!("{task}/{n}"))),
                        other => panic!("{other:?}"),
                    }
                }
                places
            })
        })
        .collect();
    let mut places = Vec::new();
    for task in tasks {
        let of_one = task.await.expect("the task did not panic");
        assert!(of_one.is_sorted(), "a task's later append has a later place");
        places.extend(of_one);
    }
    places.sort();
    let records = subject.records(&log("a"), 50).await;
    assert_eq!(records, places.into_iter().map(|(_, body)| body).collect::<Vec<_>>());
    assert_eq!(records.len(), 256);
}

/// Of many appends at once those that are refused leave no gap.
pub async fn refused_appends_among_others_leave_no_gap(subject: Subject) {
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(&subject.store);
            let mut batch = append("a", &n.to_string());
            if n % 2 == 1 {
                batch = batch.check(key("missing"), crate::Version::from_u64(1));
            }
            tokio::spawn(async move { store.commit(batch).await.is_ok() })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.expect("the task did not panic"), n % 2 == 0);
    }
    assert_eq!(subject.records(&log("a"), 10).await.len(), 32);
}

/// An append whose future is dropped at any point happens as a whole or not at all.
pub async fn a_dropped_append_is_whole_or_nothing(subject: Subject) {
    for round in 0..40 {
        let id = round.to_string();
        let batch = append(&id, "1").append(log(&id), None, "2").put(key(&id), Expect::Any, "v");
        poll_and_drop(subject.commit(batch), round % 5).await;
        poll_and_drop(subject.store.read_log(&log(&id), 1, 10), round % 3).await;
        let _ = subject.commit(append("barrier", "x")).await.expect("the store goes on");
        let look = async || (subject.records(&log(&id), 10).await, subject.read(&id).await);
        let is_whole = |seen: &(Vec<String>, Option<crate::Cell>)| match seen {
            (records, None) => records.is_empty(),
            (records, Some(_)) => *records == ["1", "2"],
        };
        let seen = until_whole(look, is_whole).await;
        assert!(is_whole(&seen), "half of a batch: {seen:?}");
        let (_, cell) = seen;
        assert!(round % 5 != 0 || cell.is_none(), "a commit that never began was applied");
    }
}

/// A long log goes in one batch and comes out in pages.
pub async fn a_thousand_records_go_in_one_batch(subject: Subject) {
    let bodies: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let batch =
        bodies.iter().fold(WriteBatch::new(), |batch, body| batch.append(log("a"), None, body.clone()));
    let committed = subject.commit(batch).await.expect("append");
    assert_eq!(committed.outcome(999), Outcome::Appended(1_000));
    assert_eq!(subject.records(&log("a"), 64).await, bodies);
}

/// When the wall clock is set back, places go on, times are what the clock said, and the holder of the lease appends.
pub async fn a_clock_that_goes_back_leaves_no_gap(subject: Subject) {
    let fence = subject.store.lease(&key("job"), "a", TTL).await.expect("lease works").expect("it is free");
    let next = |record: &str| WriteBatch::new().append(log("a"), Some(&fence), record.to_owned());
    let _ = subject.commit(next("1")).await.expect("append");
    if !subject.step_back(TTL * 360) {
        return;
    }
    assert_eq!(subject.commit(next("2")).await.expect("append").outcome(0), Outcome::Appended(2));
    assert_eq!(subject.records(&log("a"), 10).await, ["1", "2"]);
    let records = subject.store.read_log(&log("a"), 1, 10).await.expect("read");
    assert!(records[1].appended < records[0].appended);
    let info = subject.store.logs(None, 10).await.expect("logs").remove(0);
    assert_eq!((info.last, info.updated), (2, records[1].appended));
}
