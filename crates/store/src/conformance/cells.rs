//! What every store with cells promises.

use super::{Subject, key, poll_and_drop};
use crate::{
    Capabilities, Cells, Expect, LogId, MAX_VALUE_BYTES, MemoryStore, Message, QueueName, Store,
    StoreErrorKind, Version, WriteBatch,
};
use bytes::Bytes;
use martlet_base::{ManualClock, Rng, Timestamp};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

fn put(name: &str, expect: impl Into<Expect>, value: &str) -> WriteBatch {
    WriteBatch::new().put(key(name), expect, value.to_owned())
}

/// A cell reads back as it was written, in the version that the commit told; others are absent.
pub async fn what_is_put_is_read(subject: Subject) {
    let version = subject.commit(put("a", Expect::Any, "1")).await.expect("put").version();
    let cell = subject.read("a").await.expect("it was written");
    assert_eq!((&*cell.value, cell.version, cell.expires), (&b"1"[..], version, None));
    assert_eq!(subject.read("b").await, None);
}

/// An empty batch and an empty read succeed and do nothing.
pub async fn an_empty_batch_succeeds(subject: Subject) {
    let _ = subject.commit(WriteBatch::new()).await.expect("nothing can fail");
    assert_eq!(subject.store.get(&[]).await.expect("nothing to read"), []);
    assert_eq!(subject.names("", 10).await, [""; 0]);
}

/// Each commit has a higher version, and a cell that was deleted never comes back in an old one.
pub async fn versions_grow_and_never_come_back(subject: Subject) {
    let mut last = Version::from_u64(0);
    for round in 0..20 {
        let name = if round % 3 == 0 { "b" } else { "a" };
        let version = subject.commit(put(name, Expect::Any, "v")).await.expect("put").version();
        assert!(version > last, "{version} after {last}");
        last = version;
        let _ = subject.commit(WriteBatch::new().delete(key("a"), Expect::Any)).await.expect("delete");
    }
}

/// A compare-and-set with an old version is refused, also when the cell was deleted and written again meanwhile.
pub async fn only_the_expected_version_is_replaced(subject: Subject) {
    let first = subject.commit(put("a", Expect::Any, "1")).await.expect("put").version();
    let second = subject.commit(put("a", first, "2")).await.expect("the version matches").version();
    let error = subject.commit(put("a", first, "3")).await.expect_err("the version is old");
    assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::Conflict, Some(0)));

    let _ = subject.commit(WriteBatch::new().delete(key("a"), second)).await.expect("the version matches");
    assert!(subject.commit(put("a", second, "3")).await.expect_err("it is gone").is_conflict());
    let _ = subject.commit(put("a", Expect::Absent, "4")).await.expect("it is gone");
    assert!(subject.commit(put("a", second, "3")).await.expect_err("it is another cell").is_conflict());
    assert_eq!(subject.read("a").await.expect("written").value, "4");
}

/// `Absent` creates once.
pub async fn absent_means_nobody_was_here(subject: Subject) {
    let _ = subject.commit(put("a", Expect::Absent, "1")).await.expect("nobody was here");
    assert!(subject.commit(put("a", Expect::Absent, "2")).await.expect_err("somebody was").is_conflict());
    let unknown = Version::from_u64(u64::MAX / 4);
    assert!(subject.commit(put("b", unknown, "2")).await.expect_err("there is none").is_conflict());
    assert_eq!(subject.names("", 10).await, ["a"]);
}

/// Deleting obeys the expectation, and deleting nothing is fine where anything is.
pub async fn a_delete_obeys_its_expectation(subject: Subject) {
    let delete = |expect: Expect| WriteBatch::new().delete(key("a"), expect);
    let _ = subject.commit(delete(Expect::Any)).await.expect("nothing to delete is fine");
    let _ = subject.commit(delete(Expect::Absent)).await.expect("it is absent");
    let old = subject.commit(put("a", Expect::Any, "1")).await.expect("put").version();
    let new = subject.commit(put("a", old, "2")).await.expect("put").version();
    assert!(subject.commit(delete(old.into())).await.expect_err("old").is_conflict());
    assert!(subject.commit(delete(Expect::Absent)).await.expect_err("it is there").is_conflict());
    assert_eq!(subject.read("a").await.expect("still there").value, "2");
    let _ = subject.commit(delete(new.into())).await.expect("the version matches");
    assert_eq!(subject.read("a").await, None);
}

/// A check refuses the batch or lets it pass, and leaves its own cell as it was.
pub async fn a_check_guards_and_writes_nothing(subject: Subject) {
    let version = subject.commit(put("guard", Expect::Any, "1")).await.expect("put").version();
    let guarded = |value: &str| {
        WriteBatch::new().check(key("guard"), version).put(key("a"), Expect::Any, value.to_owned())
    };
    let _ = subject.commit(guarded("1")).await.expect("the guard holds");
    assert_eq!(subject.read("guard").await.expect("untouched").version, version);
    let _ = subject.commit(put("guard", Expect::Any, "2")).await.expect("put");
    let error = subject.commit(guarded("2")).await.expect_err("the guard does not hold");
    assert_eq!((error.kind(), error.write_key()), (StoreErrorKind::Conflict, Some("guard")));
    assert_eq!(subject.read("a").await.expect("written once").value, "1");
}

/// `get` answers key by key, in their order, repeats included.
pub async fn cells_come_in_the_order_of_the_keys(subject: Subject) {
    let _ = subject.commit(put("b", Expect::Any, "b").put(key("a"), Expect::Any, "a")).await.expect("put");
    let cells = subject.store.get(&["b", "x", "a", "b"].map(key)).await.expect("get");
    let values: Vec<Option<Bytes>> = cells.into_iter().map(|cell| cell.map(|cell| cell.value)).collect();
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    assert_eq!(values, [text("b"), None, text("a"), text("b")]);
    // More than the parameters of one SQL statement.
    let many: Vec<_> = (0..40_000).map(|n| key(&format!("{}", n % 7))).collect();
    assert_eq!(subject.store.get(&many).await.expect("get").len(), 40_000);
}

/// One failing write undoes all others of its batch, and the error names it.
pub async fn a_refused_batch_leaves_no_trace_and_names_the_write(subject: Subject) {
    let version = subject.commit(put("old", Expect::Any, "1")).await.expect("put").version();
    let batch = put("new", Expect::Any, "x")
        .put(key("old"), version, "2")
        .put(key("old-too"), Expect::Version(version), "3")
        .delete(key("old"), Expect::Any);
    let error = subject.commit(batch).await.expect_err("old-too is not there");
    assert_eq!(
        (error.kind(), error.write_index(), error.write_key()),
        (StoreErrorKind::Conflict, Some(2), Some("old-too"))
    );
    assert!(error.to_string().contains("old-too"), "{error}");
    assert_eq!(subject.names("", 10).await, ["old"]);
    let cell = subject.read("old").await.expect("still there");
    assert_eq!((&*cell.value, cell.version), (&b"1"[..], version));
}

/// Writes of a batch are applied in their order.
pub async fn a_later_write_of_a_batch_sees_the_earlier(subject: Subject) {
    let twice = put("a", Expect::Absent, "1").put(key("a"), Expect::Absent, "2");
    let error = subject.commit(twice).await.expect_err("the first write made it");
    assert_eq!(error.write_index(), Some(1));
    let batch = put("a", Expect::Absent, "1")
        .put(key("a"), Expect::Any, "2")
        .put(key("b"), Expect::Absent, "1")
        .delete(key("b"), Expect::Any)
        .check(key("b"), Expect::Absent)
        .put(key("c"), Expect::Absent, "1");
    let _ = subject.commit(batch).await.expect("each sees what came before");
    assert_eq!(subject.read("a").await.expect("written").value, "2");
    assert_eq!(subject.names("", 10).await, ["a", "c"]);
}

/// At its time a cell is gone for reads, scans and expectations.
pub async fn a_cell_is_gone_when_it_expires(subject: Subject) {
    let at = subject.store.now().await.expect("now") + Duration::from_secs(1);
    let batch =
        WriteBatch::new().put_expiring(key("a"), Expect::Any, "1", at).put(key("b"), Expect::Any, "stays");
    let version = subject.commit(batch).await.expect("put").version();
    let cell = subject.read("a").await.expect("its time has not come");
    assert_eq!((cell.expires, cell.version), (Some(at), version));
    assert_eq!(subject.names("", 10).await, ["a", "b"]);

    subject.pass(Duration::from_secs(1));
    assert_eq!(subject.read("a").await, None, "it expired");
    assert_eq!(subject.names("", 1).await, ["b"]);
    assert!(subject.commit(put("a", version, "2")).await.expect_err("it is gone").is_conflict());
    let again = subject.commit(put("a", Expect::Absent, "3")).await.expect("it is absent").version();
    assert!(again > version);
    // Enough commits that a store that sweeps has swept.
    for round in 0..200 {
        let batch = WriteBatch::new().put_expiring(key(&format!("c{round}")), Expect::Any, "1", at);
        let _ = subject.commit(batch).await.expect("put");
    }
    assert_eq!(subject.names("", 10).await, ["a", "b"]);
}

/// An expiry that has passed makes the cell absent at once.
pub async fn a_cell_that_expired_before_it_was_written_is_absent(subject: Subject) {
    let now = subject.store.now().await.expect("now");
    for past in [now, now - Duration::from_secs(1), Timestamp::UNIX_EPOCH, Timestamp::from_secs(-1)] {
        let _ = subject.commit(put("a", Expect::Any, "old")).await.expect("put");
        let _ = subject
            .commit(WriteBatch::new().put_expiring(key("a"), Expect::Any, "1", past))
            .await
            .expect("put");
        assert_eq!(subject.read("a").await, None);
        assert_eq!(subject.names("", 10).await, [""; 0]);
    }
    let _ = subject.commit(put("a", Expect::Absent, "2")).await.expect("it is absent");
}

/// A put replaces the expiry too: with another, or with none.
pub async fn a_new_value_has_its_own_expiry(subject: Subject) {
    let now = subject.store.now().await.expect("now");
    let soon = now + Duration::from_secs(1);
    for name in ["kept", "longer"] {
        let _ = subject
            .commit(WriteBatch::new().put_expiring(key(name), Expect::Any, "1", soon))
            .await
            .expect("put");
    }
    let later = now + Duration::from_secs(3600);
    let batch = put("kept", Expect::Any, "2").put_expiring(key("longer"), Expect::Any, "2", later);
    let _ = subject.commit(batch).await.expect("put");
    subject.pass(Duration::from_secs(2));
    assert_eq!(subject.names("", 10).await, ["kept", "longer"]);
    assert_eq!(subject.read("kept").await.expect("it never expires").expires, None);
    assert_eq!(subject.read("longer").await.expect("not yet").expires, Some(later));
}

/// Keys are ordered by bytes, whatever their script, and pages of any size join without gap or repeat.
pub async fn scans_go_by_the_bytes_of_keys(subject: Subject) {
    let mut names = ["a", "a/", "a/1", "a/10", "a/2", "a0", "A", "B", "b", "é", "e\u{301}", "日本", "日本語"]
        .map(String::from)
        .to_vec();
    names.extend(["\u{ffff}", "\u{10000}", "\u{10ffff}", "~"].map(String::from));
    for name in names.iter().rev() {
        let _ = subject.commit(put(name, Expect::Any, name)).await.expect("put");
    }
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    for page in [1, 2, 3, 7, names.len(), 100] {
        assert_eq!(subject.names("", page).await, names, "pages of {page}");
    }
    assert_eq!(subject.names("a/", 2).await, ["a/", "a/1", "a/10", "a/2"]);
    assert_eq!(subject.names("日本", 1).await, ["日本", "日本語"]);
    assert_eq!(subject.names("\u{10ffff}", 5).await, ["\u{10ffff}"]);
    assert_eq!(subject.names("nobody", 5).await, [""; 0]);
    for (key, cell) in subject.store.scan("", None, 100).await.expect("scan") {
        assert_eq!(key.as_str().as_bytes(), &*cell.value);
    }
}

/// A scan begins behind any key: an existing one, a deleted one, one outside of the prefix.
pub async fn scans_resume_behind_any_key(subject: Subject) {
    for name in ["a/1", "a/2", "b/1", "b/2", "b/3", "c/1"] {
        let _ = subject.commit(put(name, Expect::Any, "v")).await.expect("put");
    }
    let page = async |after: &str, limit| -> Vec<String> {
        let found = subject.store.scan("b/", Some(&key(after)), limit).await.expect("scan");
        found.into_iter().map(|(key, _)| key.to_string()).collect()
    };
    assert_eq!(page("b/1", 10).await, ["b/2", "b/3"]);
    assert_eq!(page("b/1", 0).await, [""; 0]);
    assert_eq!(page("b/1\u{10ffff}", 1).await, ["b/2"]);
    assert_eq!(page("b/3", 10).await, [""; 0]);
    assert_eq!(page("a/1", 10).await, ["b/1", "b/2", "b/3"]);
    assert_eq!(page("c/1", 10).await, [""; 0]);
    let _ = subject.commit(WriteBatch::new().delete(key("b/2"), Expect::Any)).await.expect("delete");
    assert_eq!(page("b/2", 10).await, ["b/3"]);
}

/// Characters that mean something to a database mean nothing in a prefix, and case matters.
pub async fn a_prefix_is_no_pattern(subject: Subject) {
    for name in ["50%", "50x", "a_b", "axb", "Key", "key", "q'uote\"", "[x]", "back\\slash", "*", "?"] {
        let _ = subject.commit(put(name, Expect::Any, name)).await.expect("put");
    }
    for (prefix, names) in [
        ("50%", &["50%"][..]),
        ("%", &[]),
        ("a_", &["a_b"]),
        ("K", &["Key"]),
        ("q'", &["q'uote\""]),
        ("[x", &["[x]"]),
        ("back\\", &["back\\slash"]),
        ("*", &["*"]),
        ("?", &["?"]),
    ] {
        assert_eq!(subject.names(prefix, 10).await, names, "{prefix}");
    }
}

/// Values are bytes: none, all 256 of them, a mebibyte.
pub async fn empty_and_huge_values_survive(subject: Subject) {
    let rng = Rng::seeded(1);
    let huge: Vec<u8> = (0..131_072).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
    let all: Vec<u8> = (0..=255).collect();
    let batch = WriteBatch::new()
        .put(key("empty"), Expect::Any, "")
        .put(key("huge"), Expect::Any, huge.clone())
        .put(key("all"), Expect::Any, all.clone());
    let _ = subject.commit(batch).await.expect("put");
    assert_eq!(subject.read("empty").await.expect("an empty cell is a cell").value, Bytes::new());
    assert!(subject.read("huge").await.expect("written").value == huge, "the mebibyte differs");
    assert_eq!(subject.read("all").await.expect("written").value, all);
    assert!(subject.commit(put("empty", Expect::Absent, "x")).await.expect_err("it is there").is_conflict());
}

/// Keys are bytes too: nothing is normalised, folded or cut.
pub async fn keys_in_any_script_are_told_apart(subject: Subject) {
    let longest = format!("{}é", "x".repeat(510));
    let names =
        ["é", "e\u{301}", "ß", "ss", "I", "i", "ı", "Ω", "\u{2126}", "a ", " a", "a", "👩‍👧", "عربي", &longest];
    for name in names {
        let _ = subject.commit(put(name, Expect::Absent, name)).await.expect("each is another key");
    }
    for name in names {
        assert_eq!(subject.read(name).await.expect("written").value, name.to_owned());
    }
    assert_eq!(subject.names("", 4).await.into_iter().collect::<HashSet<_>>().len(), names.len());
}

/// A value over the cap is refused and the rest of its batch with it; one at the cap is taken.
pub async fn a_value_over_the_cap_is_refused_beforehand(subject: Subject) {
    let sized = |bytes: usize| {
        WriteBatch::new().put(key("a"), Expect::Any, "1").put(key("b"), Expect::Any, vec![7; bytes])
    };
    let error = subject.commit(sized(MAX_VALUE_BYTES + 1)).await.expect_err("too large");
    assert_eq!((error.kind(), error.write_key()), (StoreErrorKind::TooLarge, Some("b")));
    assert_eq!(subject.read("a").await, None);
    let _ = subject.commit(sized(MAX_VALUE_BYTES)).await.expect("exactly the cap");
    assert_eq!(subject.read("b").await.expect("written").value.len(), MAX_VALUE_BYTES);
}

/// A store without logs or queues refuses a batch that needs them, before it does anything, and its reads say so.
pub async fn missing_shapes_are_refused_beforehand(subject: Subject) {
    let Capabilities { cells, logs, queues, .. } = subject.store.capabilities();
    assert!(cells, "a store that runs this suite has cells");
    let (log, queue) = (LogId::new("kind", "1").expect("valid"), QueueName::new("q").expect("valid"));
    if !logs {
        let error = subject
            .commit(put("a", Expect::Any, "1").append(log.clone(), None, "r"))
            .await
            .expect_err("no logs");
        assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::Unsupported, Some(1)));
        let error = subject.store.read_log(&log, 1, 1).await.expect_err("no logs");
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    }
    if !queues {
        let batch = put("a", Expect::Any, "1").enqueue(queue.clone(), Message::new("m"));
        let error = subject.commit(batch).await.expect_err("no queues");
        assert_eq!((error.kind(), error.write_index()), (StoreErrorKind::Unsupported, Some(1)));
        let error = subject.store.receive(&queue, 1, Duration::from_secs(1)).await.expect_err("no queues");
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    }
    assert_eq!(subject.read("a").await, None);
}

/// 64 tasks add to one counter by compare-and-set; none is lost.
pub async fn sixty_four_writers_of_one_cell_lose_nothing(subject: Subject) {
    let cells = Cells::new(Arc::clone(&subject.store), "");
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let cells = cells.clone();
            tokio::spawn(async move {
                for _ in 0..4 {
                    let add = |cell: Option<&crate::Cell>| {
                        let text = cell.map_or("0", |cell| str::from_utf8(&cell.value).expect("a number"));
                        Bytes::from((text.parse::<u32>().expect("a number") + 1).to_string())
                    };
                    cells.update("counter", add).await.expect("update");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the task did not panic");
    }
    assert_eq!(subject.read("counter").await.expect("written").value, "256");
}

/// Of many commits at once, those that lose their precondition undo only themselves.
pub async fn a_lost_compare_and_set_undoes_nobody_else(subject: Subject) {
    let _ = subject.commit(put("taken", Expect::Any, "v")).await.expect("put");
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(&subject.store);
            let mut batch = put(&format!("own/{n:02}"), Expect::Absent, "v");
            if n % 2 == 1 {
                batch = batch.put(key("taken"), Expect::Absent, "v");
            }
            tokio::spawn(async move { (n, store.commit(batch).await) })
        })
        .collect();
    for task in tasks {
        match task.await.expect("the task did not panic") {
            (n, Ok(_)) => assert_eq!(n % 2, 0, "{n} should have lost"),
            (n, Err(error)) => {
                assert_eq!((n % 2, error.kind()), (1, StoreErrorKind::Conflict));
                assert_eq!((error.write_index(), error.write_key()), (Some(1), Some("taken")));
            }
        }
    }
    let winners: Vec<String> = (0..64).step_by(2).map(|n| format!("own/{n:02}")).collect();
    assert_eq!(subject.names("own/", 10).await, winners);
}

/// A commit whose future is dropped at any point is applied as a whole or not at all, and the store goes on.
pub async fn a_dropped_commit_is_whole_or_nothing(subject: Subject) {
    for round in 0..40 {
        let (a, b) = (format!("{round}/a"), format!("{round}/b"));
        let batch = put(&a, Expect::Absent, "v").put(key(&b), Expect::Absent, "v");
        poll_and_drop(subject.store.commit(batch), round % 5).await;
        poll_and_drop(subject.store.scan("", None, 10), round % 3).await;
        let _ = subject.commit(put("barrier", Expect::Any, "v")).await.expect("the store goes on");
        let found = subject.names(&format!("{round}/"), 10).await;
        assert!(found.is_empty() || found == [a, b], "half of a batch: {found:?}");
        assert!(round % 5 != 0 || found.is_empty(), "a commit that never began was applied");
    }
}

/// A large batch and a scan in pages.
pub async fn a_thousand_cells_go_in_one_batch(subject: Subject) {
    let names: Vec<String> = (0..1_000).map(|n| format!("k/{n:04}")).collect();
    let batch = names.iter().fold(WriteBatch::new(), |batch, name| batch.put(key(name), Expect::Absent, "v"));
    let version = subject.commit(batch).await.expect("put").version();
    assert_eq!(subject.names("k/", 64).await, names);
    let page = subject.store.scan("k/", None, 1_000).await.expect("scan");
    assert!(page.iter().all(|(_, cell)| cell.version == version), "one commit, one version");
}

/// 2,000 random operations give the same answers as [`MemoryStore`].
pub async fn random_operations_agree_with_the_memory_store(subject: Subject) {
    let manual = ManualClock::starting_at(subject.store.now().await.expect("now"));
    let model = MemoryStore::new(manual.clock());
    let rng = Rng::seeded(42);
    let pick = |n: u64| rng.below(n);
    for step in 0..2_000 {
        // The two stores count their commits apart: expectations are taken from each one's own cells.
        let names: Vec<String> = (0..=pick(4)).map(|_| format!("k{}", pick(12))).collect();
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        let choices: Vec<(u64, u64)> = names.iter().map(|_| (pick(8), pick(8))).collect();
        let mut kinds = Vec::new();
        for store in [&*subject.store, &model as &dyn Store] {
            let now = store.now().await.expect("now");
            let cells = store.get(&keys).await.expect("get");
            let mut batch = WriteBatch::new();
            for ((key, cell), (what, expect)) in keys.iter().zip(&cells).zip(&choices) {
                let expect = match expect {
                    0..=3 => Expect::Any,
                    4..=6 => cell.as_ref().map(|cell| cell.version).into(),
                    _ => Expect::Absent,
                };
                let value = format!("{step}");
                batch = match what {
                    0 => batch.delete(key.clone(), expect),
                    1 => batch.check(key.clone(), expect),
                    // Whole hours: clocks that run on by themselves agree on what has expired.
                    2 => batch.put_expiring(
                        key.clone(),
                        expect,
                        value,
                        now + Duration::from_secs(3600 * (1 + step % 3)),
                    ),
                    _ => batch.put(key.clone(), expect, value),
                };
            }
            let result = store.commit(batch).await;
            kinds.push(result.map(drop).map_err(|error| (error.kind(), error.write_index())));
        }
        assert_eq!(kinds[0], kinds[1], "step {step}");
        if step % 50 == 49 {
            let by = Duration::from_secs(1800);
            subject.pass(by);
            manual.advance(by);
        }
        let after = (pick(2) == 0).then(|| key(&format!("k{}", pick(12))));
        let (prefix, limit) = (["", "k", "k1"][step as usize % 3], pick(14) as usize);
        let ours = subject.store.scan(prefix, after.as_ref(), limit).await.expect("scan");
        let theirs = model.scan(prefix, after.as_ref(), limit).await.expect("scan");
        let values = |page: Vec<(crate::CellKey, crate::Cell)>| -> Vec<_> {
            page.into_iter().map(|(key, cell)| (key, cell.value, cell.expires.is_some())).collect()
        };
        assert_eq!(values(ours), values(theirs), "step {step}");
    }
}

/// When the wall clock is set back, cells stay, versions stay fresh, and what a read tells is what a write finds.
pub async fn a_clock_that_goes_back_does_no_harm(subject: Subject) {
    let hour = Duration::from_secs(3600);
    let soon = subject.store.now().await.expect("now") + Duration::from_secs(10);
    let first = subject.commit(put("stays", Expect::Absent, "1")).await.expect("put").version();
    let batch = WriteBatch::new().put_expiring(key("ends"), Expect::Any, "v", soon);
    let _ = subject.commit(batch).await.expect("put");
    if !subject.step_back(hour) {
        return;
    }
    assert_eq!(subject.read("stays").await.expect("it has no end").version, first);
    let second = subject.commit(put("stays", first, "2")).await.expect("put").version();
    assert_ne!(second, first);
    assert!(subject.commit(put("stays", first, "3")).await.expect_err("replaced").is_conflict());
    assert!(subject.read("ends").await.is_some(), "its time is later now");
    subject.pass(hour + Duration::from_secs(10));
    assert_eq!(subject.read("ends").await, None);
    subject.step_back(hour);
    // Whether it is there again is the store's choice, and it sticks to it.
    let is_there = subject.read("ends").await.is_some();
    assert_eq!(subject.commit(put("ends", Expect::Absent, "new")).await.is_ok(), !is_there);
}
