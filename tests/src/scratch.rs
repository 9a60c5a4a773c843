//! A test's temporary folder. It is kept after a panic, so that its logs can be read; for a test that returns an error,
//! which no value can see, run it again with `CLUSTERNET_EDGE_KEEP=1`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process, thread};

use anyhow::{Context, Result};

/// Every folder, namespace and control group of this harness is called `cn<process id>-<number>...`, so that a later run knows whose it was.
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("cn{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A temporary folder that goes with the value, unless the test panicked or `CLUSTERNET_EDGE_KEEP` is set.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a folder whose name ends in `label`.
    ///
    /// # Errors
    /// When the temporary folder can't be written.
    pub fn create(label: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("{}-{label}", unique_name()));
        fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self { path })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder inside it.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(path)
    }

    /// Under a name that no sweep takes for a dead run's.
    fn set_aside(&self) -> io::Result<()> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let kept = self.path.with_file_name(format!("kept-{name}"));
        fs::rename(&self.path, &kept)?;
        eprintln!("logs kept in {}", kept.display());
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let keep = thread::panicking() || env::var_os("CLUSTERNET_EDGE_KEEP").is_some();
        if let Err(error) = if keep { self.set_aside() } else { fs::remove_dir_all(&self.path) } {
            eprintln!("can't remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_panic_is_set_aside() {
        let panicking = thread::spawn(|| {
            let scratch = Scratch::create("panic").unwrap();
            fs::write(scratch.path().join("log"), "why").unwrap();
            std::panic::panic_any(scratch.path().to_owned());
        });
        let path = *panicking.join().unwrap_err().downcast::<PathBuf>().unwrap();
        let kept = path.with_file_name(format!("kept-{}", path.file_name().unwrap().to_string_lossy()));
        assert!(!path.exists());
        assert_eq!(fs::read_to_string(kept.join("log")).unwrap(), "why");
        fs::remove_dir_all(kept).unwrap();
    }

    #[test]
    fn the_folder_goes_with_the_value() {
        let scratch = Scratch::create("goes").unwrap();
        let path = scratch.path().to_owned();
        fs::write(scratch.folder("inner").unwrap().join("file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
