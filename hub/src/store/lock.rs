//! One process per data folder: an advisory lock on `lock`, which names its holder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::Path;

use super::StoreError;

/// Held for as long as the store is open; the operating system frees it when the process dies.
pub(super) struct FolderLock(File);

impl Drop for FolderLock {
    /// Closing is not enough: a child that is being started has the file open, too, until it is another program.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of the data folder is freed by the end of this process only");
        }
    }
}

impl FolderLock {
    /// Makes the folder if need be and takes it.
    pub(super) fn take(folder: &Path) -> Result<Self, StoreError> {
        let name = folder.display().to_string();
        let unusable = |source| StoreError::Folder { folder: name.clone(), source };
        fs::create_dir_all(folder).map_err(unusable)?;
        let path = folder.join("lock");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { folder: name, holder: holder(&path) }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
        Ok(Self(file))
    }
}

fn holder(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "(unknown)".to_owned(),
    }
}
