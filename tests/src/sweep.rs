//! Finds and removes what test runs left on the machine: namespaces, links, control groups, mounts, folders and processes.
//!
//! All of it is named `cn<process id>-<number>` after the test process; only what belongs to a dead process is swept.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::command::run_line;
use crate::{cgroup, containers, net};

/// Removes what killed test runs left; says what can't be removed.
pub fn sweep_dead_runs() {
    let dead = |name: &String| owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    for group in cgroup::groups().into_iter().filter(dead) {
        report(cgroup::remove(&group));
    }
    let temporary = env::temp_dir();
    for folder in folders(&temporary).into_iter().filter(dead) {
        report(remove_folder(&temporary.join(folder)));
    }
    for namespace in net::namespaces().into_iter().filter(dead) {
        report(containers::forget_network(&namespace));
        report(net::remove(&namespace));
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    containers::forget_shims(folder)?;
    containers::forget_logs(folder)?;
    unmount_below(folder)?;
    fs::remove_dir_all(folder).with_context(|| format!("can't remove {}", folder.display()))
}

/// Everything of this test process that is still on the machine, a line each; empty when all was cleaned up.
/// Tests of one file share a process: ask when no other of them runs.
#[must_use]
pub fn leftovers() -> Vec<String> {
    let own = format!("cn{}-", std::process::id());
    let mut found = Vec::new();
    found.extend(named("network namespace", net::namespaces(), &own));
    found.extend(named("link", folders(Path::new("/sys/class/net")), &own.replacen("cn", "ch", 1)));
    found.extend(named("control group", cgroup::groups(), &own));
    found.extend(named("mount", mounts(), &own));
    found.extend(named("folder", folders(&env::temp_dir()), &own));
    found.extend(named("process", command_lines(), &own));
    found.extend(named("file", folders(Path::new("/var/lib/cni/results")), &own));
    found
}

/// Unmounts all that is mounted below a folder, innermost first.
pub fn unmount_below(folder: &Path) -> Result<()> {
    let mut below: Vec<String> = mounts().into_iter().filter(|mount| Path::new(mount).starts_with(folder)).collect();
    below.sort_by_key(|mount| std::cmp::Reverse(mount.len()));
    for mount in below {
        run_line(&format!("umount -l {mount}"))?;
    }
    Ok(())
}

fn named(kind: &str, names: Vec<String>, part: &str) -> Vec<String> {
    names.into_iter().filter(|name| name.contains(part)).map(|name| format!("{kind} {name}")).collect()
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix("cn")?.split_once('-')?.0.parse().ok()
}

fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

fn folders(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn command_lines() -> Vec<String> {
    let read = |pid: String| fs::read(format!("/proc/{pid}/cmdline")).ok().map(|line| (pid, line));
    let numbered = folders(Path::new("/proc")).into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let show = |(pid, line): (String, Vec<u8>)| format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "));
    numbered.filter_map(read).map(show).collect()
}

fn report(outcome: Result<()>) {
    if let Err(error) = outcome {
        eprintln!("left by an earlier test run: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_harness_have_an_owner() {
        assert_eq!(owner("cn4242-7"), Some(4242));
        assert_eq!(owner("cn4242-7-site-a"), Some(4242));
        assert_eq!(owner("cni-4242"), None);
        assert_eq!(owner("kubepods"), None);
    }

    #[test]
    fn a_folder_of_this_process_is_a_leftover_until_dropped() {
        let scratch = crate::Scratch::create("leftover").unwrap();
        let name = scratch.path().file_name().unwrap().to_string_lossy().into_owned();
        let seen = |name: &str| leftovers().iter().any(|line| line.starts_with("folder") && line.contains(name));
        assert!(seen(&name));
        drop(scratch);
        assert!(!seen(&name));
    }
}
