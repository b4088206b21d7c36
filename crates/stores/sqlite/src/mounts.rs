//! Network file systems, whose locks and shared memory do not carry SQLite's WAL
//! (<https://www.sqlite.org/wal.html>, "all processes using a database must be on the same host computer").

use std::path::{Path, PathBuf};

const NETWORK: [&str; 12] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "afs",
    "ceph",
    "lustre",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.s3fs",
];

/// The network file system that `path` lies on, if it is known to be one. Only Linux tells without `unsafe`.
pub(crate) fn network_file_system(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::canonicalize(folder).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    file_system_of(&folder, &mounts).filter(|kind| NETWORK.contains(&kind.as_str()))
}

/// `proc_pid_mountinfo(5)`: the fifth field is the mount point, the one behind ` - ` the type. The last of the
/// longest matches is the mount on top.
fn file_system_of(folder: &Path, mounts: &str) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (head.split(' ').nth(4), tail.split(' ').next()) else { continue };
        let point = unescape(point);
        let depth = point.components().count();
        if folder.starts_with(&point) && best.is_none_or(|(deepest, _)| depth >= deepest) {
            best = Some((depth, kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// Blanks and backslashes in mount points are written as octal escapes.
fn unescape(point: &str) -> PathBuf {
    PathBuf::from(
        point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_decides() {
        let mounts = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/team\\040share rw - nfs4 server:/export rw
31 30 8:2 / /mnt/team\\040share/local rw - xfs /dev/sdb rw
garbage
";
        for (folder, kind) in [
            ("/home/u", "ext4"),
            ("/mnt/team share/x", "nfs4"),
            ("/mnt/team share/local/x", "xfs"),
            ("/mnt/team share2", "ext4"),
        ] {
            assert_eq!(file_system_of(Path::new(folder), mounts).as_deref(), Some(kind), "{folder}");
        }
    }

    #[test]
    fn a_temporary_folder_is_no_network_file_system() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(network_file_system(&folder.path().join("state.db")), None);
    }
}
