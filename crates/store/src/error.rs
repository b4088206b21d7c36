use crate::{Expect, Fence, InvalidName, Version, Write};
use martlet_base::{Delivery, Fault, Recovery};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Why a store did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// A cell is not as the batch expected; nothing of the batch was applied.
    ///
    /// **What to do**: read the cell again, decide anew, commit again.
    Conflict,
    /// The writer's lease, or its right to settle a message, went to somebody else; nothing was applied.
    ///
    /// **What to do**: stop the work that rests on it. Ask for the lease again to start anew.
    StaleFence,
    /// The store cannot be reached, is locked by another process for too long, or failed while at work. A commit that
    /// was under way may have been applied: see [`Fault::delivery`].
    ///
    /// **What to do**: try again after a pause; guard the write by version, so that a second application is refused.
    Unavailable,
    /// The store was closed by this program.
    ///
    /// **What to do**: commit before closing.
    Closed,
    /// What is stored cannot be read: a damaged file, or a value that another program wrote.
    ///
    /// **What to do**: stop writing, and find out what changed it. A value that cannot be decrypted wants its key back, one of another shape
    /// the program that wrote it; a damaged file is replaced by a backup.
    Corrupt,
    /// The disk or the allowed size is used up; nothing was applied.
    ///
    /// **What to do**: make room, or raise the limit.
    Full,
    /// The store may not be written.
    ///
    /// **What to do**: check the permissions of the file and its folder, or how it was opened.
    ReadOnly,
    /// A value is larger than [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES), or more than the backend takes.
    ///
    /// **What to do**: keep large payloads elsewhere and their address in the store.
    TooLarge,
    /// This store cannot do that: see [`Store::capabilities`](crate::Store::capabilities).
    ///
    /// **What to do**: choose another store.
    Unsupported,
    /// The argument makes no sense: a bad key, a value that cannot be encoded.
    ///
    /// **What to do**: correct the call.
    Invalid,
    /// There is no store at that place.
    ///
    /// **What to do**: check the path, or allow the store to be created.
    NotFound,
    /// A newer version of this library wrote the store.
    ///
    /// **What to do**: upgrade this program.
    Incompatible,
}

impl StoreErrorKind {
    /// The stable name used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::StaleFence => "stale_fence",
            Self::Unavailable => "unavailable",
            Self::Closed => "closed",
            Self::Corrupt => "corrupt",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Incompatible => "incompatible",
        }
    }

    const fn title_and_advice(self) -> (&'static str, &'static str) {
        match self {
            Self::Conflict => ("store conflict", "read it again and decide anew"),
            Self::StaleFence => ("stale fence", "somebody else took over: stop this work"),
            Self::Unavailable => ("store unavailable", "try again after a pause"),
            Self::Closed => ("store closed", "finish before closing it"),
            Self::Corrupt => ("store corrupt", "find out what changed it before you restore a backup"),
            Self::Full => ("store full", "make room or raise its limit"),
            Self::ReadOnly => ("store is read-only", "check permissions and how it was opened"),
            Self::TooLarge => ("value too large", "keep large payloads elsewhere"),
            Self::Unsupported => ("not supported by this store", "choose another store"),
            Self::Invalid => ("invalid argument", "correct the call"),
            Self::NotFound => ("store not found", "check the path"),
            Self::Incompatible => ("store written by a newer version", "upgrade this program"),
        }
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A store's failure: one line that names the write and what to do. Never holds a stored value. Cloning is cheap.
///
/// Its [`Fault`] says whether a commit may have been applied: only for [`StoreErrorKind::Unavailable`] and
/// [`StoreErrorKind::Corrupt`] can that be unknown.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreError(Arc<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: StoreErrorKind,
    detail: Cow<'static, str>,
    /// Index in the batch and what it touches.
    write: Option<(usize, String)>,
    delivery: Delivery,
}

impl StoreError {
    /// An error of `kind`; `detail` says what happened in this case, in one line and without any stored value.
    pub fn new(kind: StoreErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let delivery = match kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Corrupt => Delivery::Unknown,
            StoreErrorKind::Conflict | StoreErrorKind::StaleFence => Delivery::Processed,
            _ => Delivery::NotSent,
        };
        Self(Arc::new(Inner { kind, detail: detail.into(), write: None, delivery }))
    }

    /// The conflict of a write that expected one thing and found another.
    #[must_use]
    pub fn conflict(expect: Expect, found: Option<Version>) -> Self {
        let expected = match expect {
            Expect::Any => "anything".to_owned(),
            Expect::Absent => "no cell".to_owned(),
            Expect::Version(version) => format!("version {version}"),
        };
        let found = found.map_or_else(|| "none".to_owned(), |version| format!("version {version}"));
        Self::new(StoreErrorKind::Conflict, format!("expected {expected}, found {found}"))
    }

    /// The refusal of `fence`, where `latest` is the latest token of its lease (`None`: never given).
    #[must_use]
    pub fn stale_fence(fence: &Fence, latest: Option<u64>) -> Self {
        let latest = latest.map_or_else(|| "none".to_owned(), |token| format!("#{token}"));
        let detail = format!("the batch has #{}, and the latest is {latest}", fence.token());
        Self::new(StoreErrorKind::StaleFence, detail)
    }

    /// Names the write that failed.
    #[must_use]
    pub fn at_write(mut self, index: usize, write: &Write) -> Self {
        Arc::make_mut(&mut self.0).write = Some((index, write.target()));
        self
    }

    /// Notes that for certain nothing was applied, such as when a transaction could not be begun.
    #[must_use]
    pub fn not_applied(mut self) -> Self {
        Arc::make_mut(&mut self.0).delivery = Delivery::NotSent;
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
    }

    /// The place in the batch of the write that failed, from 0; `None` when it was not one write's fault.
    #[must_use]
    pub fn write_index(&self) -> Option<usize> {
        self.0.write.as_ref().map(|(index, _)| *index)
    }

    /// The key, log or queue of the write that failed.
    #[must_use]
    pub fn write_key(&self) -> Option<&str> {
        self.0.write.as_ref().map(|(_, key)| key.as_str())
    }

    /// Shorthand for the kind that callers loop on.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind() == StoreErrorKind::Conflict
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, advice) = self.0.kind.title_and_advice();
        f.write_str(title)?;
        if let Some((index, key)) = &self.0.write {
            write!(f, " at write {index} ({key})")?;
        }
        write!(f, ": {}; {advice}", self.0.detail)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreError({}: {self})", self.0.kind)
    }
}

impl std::error::Error for StoreError {}

impl Fault for StoreError {
    fn delivery(&self) -> Delivery {
        self.0.delivery
    }

    fn recovery(&self) -> Recovery {
        match self.0.kind {
            StoreErrorKind::Unavailable => Recovery::Transient,
            _ => Recovery::Fatal,
        }
    }
}

impl From<InvalidName> for StoreError {
    fn from(error: InvalidName) -> Self {
        Self::new(StoreErrorKind::Invalid, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CellKey, Expect};

    #[test]
    fn one_line_names_the_write_and_what_to_do_and_not_the_value() {
        let write = Write::PutCell {
            key: CellKey::new("token/acme").unwrap(),
            value: "secret".into(),
            expect: Expect::Absent,
            expires: None,
        };
        let error = StoreError::new(StoreErrorKind::Conflict, "expected no cell, found version 9")
            .at_write(3, &write);
        assert_eq!(
            error.to_string(),
            "store conflict at write 3 (token/acme): expected no cell, found version 9; read it again and decide anew"
        );
        assert_eq!((error.write_index(), error.write_key()), (Some(3), Some("token/acme")));
        assert!(!format!("{error:?}").contains("secret"));
    }

    #[test]
    fn only_a_store_that_failed_at_work_leaves_the_fate_of_a_commit_open() {
        let broken = StoreError::new(StoreErrorKind::Unavailable, "disk I/O error");
        assert_eq!((broken.delivery(), broken.recovery()), (Delivery::Unknown, Recovery::Transient));
        assert_eq!(broken.not_applied().delivery(), Delivery::NotSent);
        let full = StoreError::new(StoreErrorKind::Full, "disk full");
        assert_eq!((full.delivery(), full.recovery()), (Delivery::NotSent, Recovery::Fatal));
    }
}
