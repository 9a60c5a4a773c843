//! A database's files are their owner's alone, whatever the umask says.

use std::fs::{OpenOptions, Permissions, metadata, set_permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const OWNER_ONLY: u32 = 0o600;

/// Makes an empty file of mode 0600 where there is none, and takes an older database with its journals away from others. SQLite gives
/// its journals the mode of their database.
///
/// What cannot be changed stays: whether the file can be used shows when it is opened.
pub fn keep_to_owner(database: &Path) {
    let _ = OpenOptions::new().append(true).create(true).mode(OWNER_ONLY).open(database);
    for suffix in ["", "-wal", "-shm"] {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        take_from_others(&PathBuf::from(path));
    }
}

fn take_from_others(path: &Path) {
    let is_open = metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if is_open && let Err(error) = set_permissions(path, Permissions::from_mode(OWNER_ONLY)) {
        tracing::warn!(path = %path.display(), %error, "others than its owner may read this file, and that cannot be changed");
    }
}
