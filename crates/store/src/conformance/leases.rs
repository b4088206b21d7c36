//! What every store with leases promises.

use super::{Subject, key, poll_and_drop};
use crate::{Expect, Fence, StoreErrorKind, WriteBatch};
use std::sync::Arc;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);

impl Subject {
    async fn lease(&self, owner: &str, ttl: Duration) -> Option<Fence> {
        self.store.lease(&key("job"), owner, ttl).await.expect("lease works")
    }
}

/// A lease has one owner; the owner renews it under the same fence.
pub async fn one_owner_at_a_time(subject: Subject) {
    let fence = subject.lease("a", TTL).await.expect("it is free");
    assert_eq!(fence.key(), &key("job"));
    assert_eq!(subject.lease("b", TTL).await, None);
    subject.pass(TTL / 2);
    assert_eq!(subject.lease("a", TTL).await, Some(fence), "renewed");
    subject.pass(TTL * 3 / 4);
    assert_eq!(subject.lease("b", TTL).await, None, "the renewal counts");
}

/// A lease may be for ever, or for less than any clock can tell; only zero is no time.
pub async fn a_lease_may_be_for_ever(subject: Subject) {
    let fence = subject.lease("a", Duration::MAX).await.expect("it is free");
    subject.pass(TTL * 10);
    assert_eq!(subject.lease("b", TTL).await, None);
    assert_eq!(subject.lease("a", Duration::MAX).await, Some(fence.clone()), "renewed");
    assert_eq!(subject.lease("a", Duration::ZERO).await, Some(fence), "released");
    assert!(subject.lease("b", Duration::from_nanos(1)).await.is_some(), "it is free");
}

/// After its time a lease goes to whoever asks, and each holder's fence is higher than the last one's.
pub async fn an_expired_lease_goes_to_the_next_with_a_higher_fence(subject: Subject) {
    let mut last = 0;
    for owner in ["a", "b", "b", "a"] {
        let fence = subject.lease(owner, TTL).await.expect("it is free");
        assert!(fence.token() > last, "{} after {last}", fence.token());
        last = fence.token();
        subject.pass(TTL);
    }
}

/// A release frees the lease at once; only its owner can, and asking to release what one does not hold changes nothing.
pub async fn a_released_lease_is_free_at_once(subject: Subject) {
    assert_eq!(subject.lease("a", Duration::ZERO).await, None, "nothing to release");
    let fence = subject.lease("a", TTL).await.expect("it is free");
    assert_eq!(subject.lease("b", Duration::ZERO).await, None);
    assert_eq!(subject.lease("b", TTL).await, None, "somebody else's release changed nothing");
    assert_eq!(subject.lease("a", Duration::ZERO).await, Some(fence.clone()));
    assert!(subject.lease("b", TTL).await.expect("it is free").token() > fence.token());
}

/// The fence of a former holder is refused with the whole batch; that of the holder passes.
pub async fn a_stale_fence_writes_nothing(subject: Subject) {
    let put = |fence: &Fence, value: &str| {
        WriteBatch::new().put(key("a"), Expect::Any, value.to_owned()).fenced(fence)
    };
    let old = subject.lease("a", TTL).await.expect("it is free");
    let _ = subject.commit(put(&old, "1")).await.expect("the holder writes");
    subject.pass(TTL);
    let _ = subject.commit(put(&old, "2")).await.expect("nobody took it yet");
    let new = subject.lease("b", TTL).await.expect("it expired");
    let error = subject.commit(put(&old, "3")).await.expect_err("b took over");
    assert_eq!(
        (error.kind(), error.write_index(), error.write_key()),
        (StoreErrorKind::StaleFence, Some(1), Some("job"))
    );
    assert_eq!(subject.read("a").await.expect("written").value, "2");
    let _ = subject.commit(put(&new, "4")).await.expect("the holder writes");
    for unknown in [Fence::new(key("job"), new.token() + 1), Fence::new(key("other"), 1)] {
        let error = subject.commit(put(&unknown, "5")).await.expect_err("never given");
        assert_eq!(error.kind(), StoreErrorKind::StaleFence);
    }
    assert_eq!(subject.read("a").await.expect("written").value, "4");
}

/// A lease is not a cell: neither shows up among the other's.
pub async fn leases_and_cells_do_not_mix(subject: Subject) {
    let _ = subject.lease("a", TTL).await.expect("it is free");
    assert_eq!(subject.read("job").await, None);
    assert_eq!(subject.names("", 10).await, [""; 0]);
    let _ = subject.commit(WriteBatch::new().put(key("job"), Expect::Absent, "v")).await.expect("put");
    assert_eq!(subject.lease("b", TTL).await, None);
}

/// 64 tasks ask at once; one gets the lease.
pub async fn of_many_who_ask_one_gets_it(subject: Subject) {
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(&subject.store);
            tokio::spawn(async move { store.lease(&key("job"), &format!("owner {n}"), TTL).await })
        })
        .collect();
    let mut holders = 0;
    for task in tasks {
        let fence = task.await.expect("the task did not panic").expect("lease works");
        holders += usize::from(fence.is_some());
    }
    assert_eq!(holders, 1);
}

/// An owner is a name like any other.
pub async fn a_bad_owner_is_refused(subject: Subject) {
    for owner in ["", "a\nb", &"x".repeat(513)] {
        let error = subject.store.lease(&key("job"), owner, TTL).await.expect_err("no name");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
    }
}

/// Owners are text in any script, told apart by their bytes.
pub async fn owners_in_any_script_are_told_apart(subject: Subject) {
    let longest = "é".repeat(256);
    let owners = ["é", "e\u{301}", "I", "i", "ı", "a ", "a", " a", "1 2 a", "👩‍👧", "%d", "'; --", &longest];
    for (n, owner) in owners.into_iter().enumerate() {
        let name = key(&format!("job/{n}"));
        let lease = async |asks: &str| subject.store.lease(&name, asks, TTL).await.expect("lease works");
        let fence = lease(owner).await.expect("it is free");
        for other in owners {
            assert_eq!(
                lease(other).await,
                (other == owner).then(|| fence.clone()),
                "{other:?} for {owner:?}"
            );
        }
    }
}

/// When the wall clock is set back, the holder stays the holder, and the next one comes after it.
pub async fn a_clock_that_goes_back_gives_no_second_holder(subject: Subject) {
    let fence = subject.lease("a", TTL).await.expect("it is free");
    if !subject.step_back(TTL * 360) {
        return;
    }
    assert_eq!(subject.lease("b", TTL).await, None);
    assert_eq!(subject.lease("a", TTL).await, Some(fence.clone()), "renewed");
    let _ = subject.commit(WriteBatch::new().fenced(&fence)).await.expect("still the latest");
    subject.pass(TTL);
    let next = subject.lease("b", TTL).await.expect("its time is over, by the clock as it is now");
    assert!(next.token() > fence.token());
    let error = subject.commit(WriteBatch::new().fenced(&fence)).await.expect_err("b took over");
    assert_eq!(error.kind(), StoreErrorKind::StaleFence);
}

/// Whoever drops the request holds the lease or does not; nobody holds it beside somebody else.
pub async fn a_dropped_request_makes_no_second_holder(subject: Subject) {
    for round in 0..30 {
        let name = key(&format!("job/{round}"));
        poll_and_drop(subject.store.lease(&name, "a", TTL), round % 5).await;
        let of_b = subject.store.lease(&name, "b", TTL).await.expect("lease works");
        let of_a = subject.store.lease(&name, "a", TTL).await.expect("lease works");
        assert!(of_a.is_some() != of_b.is_some(), "{of_a:?} {of_b:?}");
        assert!(round % 5 != 0 || of_a.is_none(), "a request that never began was heard");
        let fence = of_a.or(of_b).expect("one of them");
        let _ = subject.commit(WriteBatch::new().fenced(&fence)).await.expect("the holder");
    }
}
