//! The audit log's files: for the owner only, one line a write, turned over by size.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use serde::Serialize;

/// Bytes after which a file is turned over.
const MAX_FILE: u64 = 64 << 20;
/// Files that are kept beside the current one: `audit.log.1` is the newest of them.
const KEPT: u32 = 8;

/// `audit.log` of a folder.
pub struct Log {
    path: PathBuf,
    max_file: u64,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    size: u64,
}

impl Log {
    /// Opens it, or begins it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn open(folder: &Path) -> anyhow::Result<Log> {
        Self::with_limit(folder, MAX_FILE)
    }

    fn with_limit(folder: &Path, max_file: u64) -> anyhow::Result<Log> {
        let path = folder.join("audit.log");
        let open = open(&path).with_context(|| format!("the audit log {} can't be written", path.display()))?;
        Ok(Log { path, max_file, open: Mutex::new(open) })
    }

    /// Adds a line. What can't be written is said in the hub's own log: requests go on.
    pub fn write(&self, line: &impl Serialize) {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return };
        bytes.push(b'\n');
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.add(&mut open, &bytes) {
            tracing::error!(%error, path = %self.path.display(), "a line of the audit log is lost: make room on its disk");
        }
    }

    fn add(&self, open: &mut Open, line: &[u8]) -> std::io::Result<()> {
        if open.size > 0 && open.size + line.len() as u64 > self.max_file {
            *open = self.turn_over()?;
        }
        open.file.write_all(line)?;
        open.size += line.len() as u64;
        Ok(())
    }

    fn turn_over(&self) -> std::io::Result<Open> {
        for number in (1..KEPT).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        open(&self.path)
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }
}

fn open(path: &Path) -> std::io::Result<Open> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok(Open { file, size })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_log_is_the_owners_and_turned_over_by_size() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::with_limit(folder.path(), 30).unwrap();
        (0..100).for_each(|number| log.write(&format!("line {number:010}")));
        drop(log);
        Log::with_limit(folder.path(), 30).unwrap().write(&"after a start");
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
                assert!(entry.metadata().unwrap().len() <= 30);
                entry.file_name().into_string().unwrap()
            })
            .collect();
        names.sort();
        assert_eq!(names.len(), KEPT as usize + 1, "{names:?}");
        let newest = std::fs::read_to_string(folder.path().join("audit.log.1")).unwrap();
        assert_eq!(newest.lines().next(), Some("\"line 0000000099\""));
    }
}
