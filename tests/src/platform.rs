//! Programs of other processors: what `cross/build` built, and the qemu that runs it here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// 64-bit big-endian, and 32-bit.
const FOREIGN: &str = "s390x arm";

/// Where this repository lies.
fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A row of `cross/targets.tsv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub name: String,
    /// The emulator; empty where this machine runs it itself.
    pub emulator: Vec<String>,
    programs: Vec<String>,
}

impl Platform {
    /// Those that the tests run: `CLUSTERNET_EDGE_PLATFORMS` names others than the two that every run tries.
    ///
    /// # Errors
    /// One is not in the table.
    pub fn asked() -> Result<Vec<Platform>> {
        let asked = std::env::var("CLUSTERNET_EDGE_PLATFORMS").unwrap_or_else(|_| FOREIGN.to_owned());
        asked.split_whitespace().map(Platform::named).collect()
    }

    /// Of which profile the tests run agents: `quick`, which has failpoints, unless `CLUSTERNET_EDGE_PLATFORM_PROFILE` says `dist`, which is
    /// what is shipped.
    #[must_use]
    pub fn profile() -> String {
        std::env::var("CLUSTERNET_EDGE_PLATFORM_PROFILE").unwrap_or_else(|_| "quick".to_owned())
    }

    /// All rows.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn all() -> Result<Vec<Platform>> {
        let table = std::fs::read_to_string(tree().join("cross/targets.tsv"))?;
        table.lines().skip(1).map(Platform::row).collect()
    }

    /// One row.
    ///
    /// # Errors
    /// The table has none of that name.
    pub fn named(name: &str) -> Result<Platform> {
        let found = Platform::all()?.into_iter().find(|platform| platform.name == name);
        found.with_context(|| format!("cross/targets.tsv has no {name}"))
    }

    fn row(line: &str) -> Result<Platform> {
        let [name, _, emulator, programs] = line.split('\t').collect::<Vec<_>>()[..] else { bail!("cross/targets.tsv: {line}") };
        let emulator = Some(emulator.to_owned()).filter(|emulator| emulator != "-").into_iter().collect();
        Ok(Platform { name: name.to_owned(), emulator, programs: programs.split(' ').map(str::to_owned).collect() })
    }

    /// Whether a hub is built for it too.
    #[must_use]
    pub fn has_hub(&self) -> bool {
        self.programs.iter().any(|program| program == "hub")
    }

    /// A file that `cross/build --profile PROFILE` leaves for this platform, as `clusternet-agent` or `tests/sim`.
    ///
    /// # Errors
    /// It has not been built.
    pub fn file(&self, profile: &str, name: &str) -> Result<PathBuf> {
        wait_for_build();
        let file = tree().join("target/cross").join(profile).join(&self.name).join(name);
        let tests = if name.starts_with("tests/") { " --tests" } else { "" };
        ensure!(file.exists(), "{} is not there: run cross/build --profile {profile}{tests} {} first", file.display(), self.name);
        Ok(file.canonicalize()?)
    }

    /// The agent, emulated only where it has to be: qemu-i386 gives a thread another one's storage after a signal.
    ///
    /// # Errors
    /// As [`Platform::file`].
    pub fn agent(&self, profile: &str) -> Result<Program> {
        let file = self.file(profile, "clusternet-agent")?;
        let emulator = if runs_here(&file) { Vec::new() } else { self.emulator.clone() };
        Ok(Program { file, emulator })
    }
}

fn runs_here(file: &Path) -> bool {
    std::process::Command::new(file).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// `tests/run` builds beside the other tests, as a process that `CLUSTERNET_EDGE_CROSS_PID` names.
fn wait_for_build() {
    let Ok(pid) = std::env::var("CLUSTERNET_EDGE_CROSS_PID") else { return };
    let process = Path::new("/proc").join(pid);
    while process.exists() {
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

/// A program, and what runs it: an emulator, or `chroot FOLDER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub file: PathBuf,
    pub emulator: Vec<String>,
}

impl Program {
    /// A command of it.
    #[must_use]
    pub fn command(&self) -> std::process::Command {
        let mut words = self.emulator.iter().map(std::ffi::OsStr::new).chain([self.file.as_os_str()]);
        let mut command = std::process::Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

impl From<PathBuf> for Program {
    fn from(file: PathBuf) -> Program {
        Program { file, emulator: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_six_platforms_and_two_with_a_hub() {
        let all = Platform::all().unwrap();
        assert_eq!(all.len(), 6);
        assert_eq!(all.iter().filter(|platform| platform.has_hub()).count(), 2);
        assert_eq!(Platform::named("s390x").unwrap().emulator, ["qemu-s390x-static"]);
        assert!(Platform::named("amd64").unwrap().emulator.is_empty());
    }
}
