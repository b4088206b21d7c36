//! A copy of a store that is in use.

use crate::builder::Settings;
use crate::connection::{self, Role};
use crate::error::from_sqlite;
use martlet_store::{StoreError, StoreErrorKind};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreErrorKind::Full
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        io::ErrorKind::NotFound => StoreErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => StoreErrorKind::Invalid,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("backup to {}: {error}", path.display())).not_applied()
}

/// Where backups are being written to by this process.
static UNDER_WAY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The place of a backup is taken as long as it lives.
struct Taken(PathBuf);

impl Taken {
    fn take(to: &Path) -> Option<Self> {
        let place = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(place.clone()).then(|| Self(place))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Writes a snapshot beside the place where it is to be, syncs it, and gives it its name only then: a backup that was
/// interrupted is not mistaken for one.
pub(crate) fn backup(settings: &Settings, to: &Path) -> Result<(), StoreError> {
    let Some(_taken) = Taken::take(to).filter(|_| !to.exists()) else {
        return Err(failed(to, &io::ErrorKind::AlreadyExists.into()));
    };
    // Another process may do the same.
    let mut part = to.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = Path::new(&part);
    if let Err(error) = fs::remove_file(part)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(part, &error));
    }
    let result = write(settings, part).and_then(|()| {
        let finish = || {
            File::open(part)?.sync_all()?;
            if to.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(part, to)?;
            // The name is as safe as the content; other systems than Unix cannot open a folder.
            match to.parent().filter(|folder| cfg!(unix) && !folder.as_os_str().is_empty()) {
                Some(folder) => File::open(folder)?.sync_all(),
                None => Ok(()),
            }
        };
        finish().map_err(|error| failed(to, &error))
    });
    if result.is_err() {
        // What is left of it is worth nothing; the error that is told is the first one.
        let _ = fs::remove_file(part);
    }
    result
}

fn write(settings: &Settings, part: &Path) -> Result<(), StoreError> {
    let folder = part.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(failed(part, &io::ErrorKind::NotFound.into()));
    }
    let text = part.to_str().ok_or_else(|| {
        StoreError::new(StoreErrorKind::Invalid, "SQLite takes no path that is not UTF-8 for a backup")
    })?;
    let conn = connection::open(settings, Role::Keeper)?;
    conn.execute("VACUUM INTO ?1", [text])
        .map(drop)
        .map_err(|error| from_sqlite(&format!("backup to {}", part.display()), &error).not_applied())
}
