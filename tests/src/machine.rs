//! A machine that boots systemd as process 1: in namespaces of its own, on an overlay of this one's files that is thrown away. Units are
//! really started, with everything that they ask for; `/proc/sys` and `/sys` are read-only, so that nothing of this machine is set.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{require_root, run};
use crate::net::Site;
use crate::process::{Launch, Process};
use crate::scratch::{Scratch, unique_name};

const BOOTED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// `$1` is a folder whose `put` is laid over the files, `$2` the control group's name. The root is pivoted, because `PrivateUsers=` cannot
/// make a user namespace in a chroot, and shared, because credentials reach a service by a mount, as on a machine of its own.
const BOOT: &str = r#"
folder=$1 group=$2
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder/disk"
mkdir "$folder/disk/upper" "$folder/disk/work" "$folder/disk/root" "$folder/disk/groups"
mount -t cgroup2 cgroup2 "$folder/disk/groups"
mkdir "$folder/disk/groups/$group"
echo $$ >"$folder/disk/groups/$group/cgroup.procs"
exec unshare --cgroup sh -euc '
folder=$1 root=$1/disk/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/disk/upper,workdir=$folder/disk/work" "$root"
rm -rf "$root/etc/systemd/system" "$root/var/log/journal"
cp -r "$folder/put/." "$root/"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/before"
cd "$root"
pivot_root . before
umount -l /before
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=test.target
' sh "$@"
"#;

/// A file of the machine before it boots.
pub struct Put<'a> {
    /// Where, as `etc/clusternet/agent.env`.
    pub path: &'a str,
    pub bytes: Vec<u8>,
    pub mode: u32,
}

/// A running machine; dropping it ends every process of it.
pub struct Machine {
    name: String,
    init: Pid,
    process: Process,
    scratch: Scratch,
}

impl Machine {
    /// Boots with these files and starts these units; in a site's network when one is given, else in this machine's.
    ///
    /// # Errors
    /// It does not come up.
    pub fn boot(files: &[Put<'_>], units: &[&str], site: Option<&Arc<Site>>) -> Result<Machine> {
        require_root()?;
        let (name, scratch) = (unique_name(), Scratch::create("machine")?);
        let wants: String = units.iter().map(|unit| format!("Wants={unit}\n")).collect();
        let target = Put { path: "etc/systemd/system/test.target", bytes: format!("[Unit]\n{wants}").into_bytes(), mode: 0o644 };
        for file in files.iter().chain([&target]) {
            put(&scratch.folder("put")?, file)?;
        }
        scratch.folder("disk")?;
        let namespaces = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-euc", BOOT, "sh"];
        let mut launch = Launch::new("machine", "unshare", scratch.path()).args(namespaces).arg(scratch.path()).arg(&name);
        if let Some(site) = site {
            launch = launch.in_site(site);
        }
        let mut process = launch.start()?;
        let init = child_of(&mut process)?;
        let machine = Machine { name, init, process, scratch };
        machine.wait_until("systemd answers", BOOTED, || machine.systemctl(&["list-jobs"]).is_ok())?;
        Ok(machine)
    }

    /// Runs a command inside; what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, command: &[&str]) -> Result<String> {
        let init = self.init.as_raw_nonzero().to_string();
        run("nsenter", &[&["-t", &init, "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd"], command].concat())
    }

    /// # Errors
    /// It fails.
    pub fn systemctl(&self, args: &[&str]) -> Result<String> {
        self.run(&[&["systemctl", "--no-pager"], args].concat())
    }

    /// A property of a unit, as `NRestarts`.
    ///
    /// # Errors
    /// systemd does not answer.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        Ok(self.systemctl(&["show", unit, "--value", "-p", name])?.trim().to_owned())
    }

    /// What a unit has said.
    #[must_use]
    pub fn journal(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "-u", unit]).unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Waits for something.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait_until(&self, what: &str, within: Duration, holds: impl Fn() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !holds() {
            ensure!(begun.elapsed() < within, "not within {within:?}: {what}\n{}", self.process.log_tail());
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Process 1 takes all others of its namespace along.
        let _ = kill_process(self.init, Signal::KILL);
        self.process.kill();
        let remove = "mount -t cgroup2 cgroup2 \"$1\" && find \"$1/$2\" -depth -type d -exec rmdir {} +";
        let folder = self.scratch.path().join("disk");
        let begun = Instant::now();
        while let Err(error) = run("unshare", &["--mount", "sh", "-c", remove, "sh", &folder.to_string_lossy(), &self.name]) {
            if begun.elapsed() > Duration::from_secs(5) {
                return eprintln!("{error:#}");
            }
            std::thread::sleep(POLL);
        }
    }
}

fn put(folder: &Path, file: &Put<'_>) -> Result<()> {
    let path = folder.join(file.path);
    fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    fs::write(&path, &file.bytes).with_context(|| format!("can't write {}", path.display()))?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?)
}

/// The process that becomes process 1 inside.
fn child_of(parent: &mut Process) -> Result<Pid> {
    let begun = Instant::now();
    let children = format!("/proc/{0}/task/{0}/children", parent.id());
    loop {
        let child = fs::read_to_string(&children).unwrap_or_default();
        if let Some(child) = child.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) {
            return Ok(child);
        }
        ensure!(parent.is_running() && begun.elapsed() < BOOTED, "the machine does not start\n{}", parent.log_tail());
        std::thread::sleep(POLL);
    }
}
