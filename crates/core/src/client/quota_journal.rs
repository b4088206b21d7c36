//! Remembers across restarts how full the account's quota windows are, so that a program that crashed and starts again does
//! not send what the platform still counts.

use super::Core;
use super::limits::LimitsSlot;
use crate::{Error, ErrorKind, Result};
use martlet_base::Timestamp;
use martlet_store::{CellKey, Expect, Store, StoreError, WriteBatch};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// The time of the last request is stored at most this often: so much later may a request have left than the stored time.
const EVERY: Duration = Duration::from_secs(1);

/// Windows up to this length count as full after an unclean stop. A daily one cannot: it would stop a program for a day; the
/// platform's own answers tell how much of it is left.
const SHORT: Duration = Duration::from_secs(120);

pub(crate) struct QuotaJournal {
    store: Arc<dyn Store>,
    key: CellKey,
    /// When the last request was written down, in wall microseconds; `i64::MIN` before the first.
    noted: AtomicI64,
    /// Held while the store is read or written: nobody may send meanwhile.
    opened: Mutex<bool>,
}

/// What is stored. Old forms must stay readable.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    v: u32,
    at_micros: i64,
    /// The windows at a clean stop: bucket, window, places taken. Absent while the program runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<Vec<(String, String, u32)>>,
}

const VERSION: u32 = 1;

impl QuotaJournal {
    pub(super) fn new(store: Arc<dyn Store>, platform: &str, connection: &str) -> Result<Self> {
        let key = CellKey::new(&format!("quota/{platform}/{connection}")).map_err(|e| {
            Error::new(ErrorKind::Config, "the connection's id does not fit a key").with_source(e)
        })?;
        Ok(Self { store, key, noted: AtomicI64::new(i64::MIN), opened: Mutex::new(false) })
    }

    /// Before the first place is taken: takes in what an earlier process left.
    pub(super) async fn open(&self, core: &Core) -> Result<()> {
        if self.noted.load(Ordering::Acquire) != i64::MIN {
            return Ok(());
        }
        let mut opened = self.opened.lock().await;
        if *opened {
            return Ok(());
        }
        let cell = self.store.get(std::slice::from_ref(&self.key)).await.map_err(failed)?.pop().flatten();
        if let Some(cell) = cell {
            let note = serde_json::from_slice::<Note>(&cell.value).ok().filter(|note| note.v == VERSION);
            let note = note.ok_or_else(|| {
                Error::new(ErrorKind::Store, format!("the quota's record {} is damaged or newer", self.key))
            })?;
            take_over(&note, &core.shared.0.limits, core);
        }
        *opened = true;
        Ok(())
    }

    /// Before a request leaves: its time is on disk, give or take [`EVERY`].
    pub(super) async fn note(&self, core: &Core) -> Result<()> {
        let due = |noted: i64, now: Timestamp| {
            noted == i64::MIN || now.since(Timestamp::from_micros(noted)) >= EVERY || now.as_micros() < noted
        };
        if !due(self.noted.load(Ordering::Acquire), core.clock.wall()) {
            return Ok(());
        }
        let _alone = self.opened.lock().await;
        let now = core.clock.wall();
        if !due(self.noted.load(Ordering::Acquire), now) {
            return Ok(());
        }
        self.write(&Note { v: VERSION, at_micros: now.as_micros(), used: None }).await?;
        self.noted.store(now.as_micros(), Ordering::Release);
        Ok(())
    }

    /// At a clean stop: exactly what is taken. A request after it is noted anew.
    pub(super) async fn close(&self, core: &Core) -> Result<()> {
        let _alone = self.opened.lock().await;
        if self.noted.swap(i64::MIN, Ordering::AcqRel) == i64::MIN {
            return Ok(());
        }
        let used = core.shared.0.limits.usage(core.clock.now()).into_iter();
        let used = used.map(|(bucket, window, _, used)| (bucket.to_owned(), window, used)).collect();
        self.write(&Note { v: VERSION, at_micros: core.clock.wall().as_micros(), used: Some(used) }).await
    }

    async fn write(&self, note: &Note) -> Result<()> {
        let value = serde_json::to_vec(note).expect("numbers and names serialise");
        self.store
            .commit(WriteBatch::new().put(self.key.clone(), Expect::Any, value))
            .await
            .map_err(failed)?;
        Ok(())
    }
}

fn take_over(note: &Note, limits: &LimitsSlot, core: &Core) {
    let (now, at) = (core.clock.now(), Timestamp::from_micros(note.at_micros));
    for (bucket, windows) in limits.windows(now) {
        for window in windows {
            let name: &str = &window.name;
            let left = match &note.used {
                Some(used) => {
                    let used = used
                        .iter()
                        .find(|(b, w, _)| b == bucket && w == name)
                        .map_or(0, |(_, _, used)| *used);
                    window.limit.saturating_sub(used)
                }
                None if window.per <= SHORT => 0,
                None => continue,
            };
            let margin = if note.used.is_some() { Duration::ZERO } else { EVERY };
            let resets = core.clock.moment_at(at + window.per + margin);
            if resets > now {
                limits.others_used(bucket, name, left, resets, now);
            }
        }
    }
}

fn failed(error: StoreError) -> Error {
    Error::new(ErrorKind::Store, "the time of the account's last request").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_pinned() {
        let running = Note { v: 1, at_micros: 5, used: None };
        let stopped = Note { v: 1, at_micros: 5, used: Some(vec![("default".into(), "second".into(), 3)]) };
        for (note, form) in [
            (running, r#"{"v":1,"at_micros":5}"#),
            (stopped, r#"{"v":1,"at_micros":5,"used":[["default","second",3]]}"#),
        ] {
            assert_eq!(serde_json::to_string(&note).unwrap(), form);
            assert_eq!(serde_json::from_str::<Note>(form).unwrap(), note);
        }
    }
}
