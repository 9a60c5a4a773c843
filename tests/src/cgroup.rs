//! A control group for everything a node runs, so that all of it can be found and killed, shims and containers included.
//!
//! On a machine with version 1 hierarchies the group is made in each of them; with version 2 there is one tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const MOUNT: &str = "/sys/fs/cgroup";
const PAUSE: Duration = Duration::from_millis(20);
const ROUNDS: u32 = 250;

/// A control group in every hierarchy; dropping it kills what is in it and removes it.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
}

impl Cgroup {
    /// Makes the group.
    pub fn create(name: &str) -> Result<Self> {
        for hierarchy in hierarchies() {
            make(&hierarchy.join(name))?;
        }
        Ok(Self { name: name.to_owned() })
    }

    /// Moves a process, and with it the children it will have, into a leaf of the group.
    pub fn adopt(&self, leaf: &str, pid: u32) -> Result<()> {
        let hierarchies = hierarchies();
        // One hierarchy is enough to find the process again; the others would need limits set first (cpuset).
        let tracking = hierarchies.iter().find(|path| path.ends_with("freezer")).or(hierarchies.first());
        let leaf = tracking.with_context(|| format!("no control groups at {MOUNT}"))?.join(&self.name).join(leaf);
        make(&leaf)?;
        let procs = leaf.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).with_context(|| format!("can't write {}", procs.display()))
    }

    /// Kills every process in the group and waits until none is left.
    pub fn kill_all(&self) -> Result<()> {
        kill_all(&self.name)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("{error:#}");
        }
    }
}

/// Kills what is in a group of this name and removes it from every hierarchy.
pub fn remove(name: &str) -> Result<()> {
    kill_all(name)?;
    for hierarchy in hierarchies() {
        remove_tree(&hierarchy.join(name))?;
    }
    Ok(())
}

/// The names of the groups right under the hierarchies' roots.
pub fn groups() -> Vec<String> {
    let folders = hierarchies().into_iter().flat_map(|hierarchy| subfolders(&hierarchy));
    let mut names: Vec<String> = folders.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names.dedup();
    names
}

fn kill_all(name: &str) -> Result<()> {
    for _ in 0..ROUNDS {
        let pids: Vec<Pid> = hierarchies().iter().flat_map(|hierarchy| members(&hierarchy.join(name))).collect();
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            let _ = kill_process(pid, Signal::KILL);
        }
        thread::sleep(PAUSE);
    }
    bail!("processes of control group {name} survive SIGKILL")
}

fn members(group: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<Pid> = own.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
    pids.extend(subfolders(group).iter().flat_map(|child| members(child)));
    pids
}

fn remove_tree(group: &Path) -> Result<()> {
    for child in subfolders(group) {
        remove_tree(&child)?;
    }
    for _ in 0..ROUNDS {
        // A group is busy for a moment after its last process was reaped.
        if !group.exists() || fs::remove_dir(group).is_ok() {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    bail!("can't remove control group {}", group.display())
}

fn hierarchies() -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let mut found = subfolders(mount);
    found.retain(|path| path.join("cgroup.procs").exists() && !path.join("cgroup.controllers").exists());
    found
}

fn subfolders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("can't make {}", path.display()))
}
