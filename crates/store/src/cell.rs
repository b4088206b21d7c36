use bytes::Bytes;
use martlet_base::Timestamp;
use std::fmt;

/// The largest value of a cell, record of a log and body of a message: 16 MiB. A larger one is refused with
/// [`StoreErrorKind::TooLarge`](crate::StoreErrorKind::TooLarge).
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// Which state of a cell this is. Given out by the store, compared for equality.
///
/// Within one store a later commit has a higher version, and a version never comes back: not even when a cell is deleted
/// and written again. All cells written by one commit share its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version with this number: for backends, and for callers that keep versions elsewhere.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored value with the version that [`Expect::Version`] compares.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cell {
    /// What was written.
    pub value: Bytes,
    /// The version of the commit that wrote it.
    pub version: Version,
    /// When it ceases to exist by the store's clock; `None`: never. At that time it is gone.
    pub expires: Option<Timestamp>,
}

impl Cell {
    /// A cell as a backend hands it out.
    #[must_use]
    pub const fn new(value: Bytes, version: Version, expires: Option<Timestamp>) -> Self {
        Self { value, version, expires }
    }

    /// Whether it still exists at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

impl fmt::Debug for Cell {
    /// Without the value: cells hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("bytes", &self.value.len())
            .field("version", &self.version)
            .field("expires", &self.expires)
            .finish()
    }
}

/// What a write expects to find. If it finds something else, its whole batch is refused with
/// [`StoreErrorKind::Conflict`](crate::StoreErrorKind::Conflict).
///
/// A [`Version`] converts into it, and so does the `Option<Version>` of a cell that was read (`None`: there was none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Anything: the last writer wins.
    Any,
    /// No cell, or an expired one.
    Absent,
    /// The cell in exactly this version.
    Version(Version),
}

impl Expect {
    /// Whether a cell in version `found` (`None`: no live cell) is what was expected.
    #[must_use]
    pub fn accepts(self, found: Option<Version>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        }
    }
}

impl From<Version> for Expect {
    fn from(version: Version) -> Self {
        Self::Version(version)
    }
}

impl From<Option<Version>> for Expect {
    fn from(version: Option<Version>) -> Self {
        version.map_or(Self::Absent, Self::Version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_show_the_value() {
        let cell = Cell::new(Bytes::from_static(b"secret"), Version(7), None);
        let text = format!("{cell:?}");
        assert!(!text.contains("secret") && text.contains("bytes: 6"), "{text}");
    }

    #[test]
    fn a_cell_is_gone_at_the_very_time_it_expires() {
        let cell = Cell::new(Bytes::new(), Version(1), Some(Timestamp::from_secs(10)));
        assert!(cell.is_live(Timestamp::from_micros(9_999_999)));
        assert!(!cell.is_live(Timestamp::from_secs(10)));
    }
}
