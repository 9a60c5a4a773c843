//! A program under test: started with its output in a file, measured, stopped or killed by its process id, never left behind.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::platform::Program;
use crate::{net::Site, spawner};

const POLL: Duration = Duration::from_millis(10);
const LOG_TAIL: usize = 30;

/// How to start a program; the same value starts it again after a stop.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    program: PathBuf,
    emulator: Vec<String>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    site: Option<Arc<Site>>,
    log: PathBuf,
}

impl Launch {
    /// A program by path or name, whose log is `<logs>/<name>.log`.
    #[must_use]
    pub fn new(name: &str, program: impl Into<PathBuf>, logs: &Path) -> Self {
        let log = logs.join(format!("{name}.log"));
        Self { name: name.to_owned(), program: program.into(), emulator: Vec::new(), args: Vec::new(), env: Vec::new(), site: None, log }
    }

    /// Starts another program in its place, with the same arguments.
    #[must_use]
    pub fn with_program(mut self, program: &Program) -> Self {
        self.program.clone_from(&program.file);
        self.emulator.clone_from(&program.emulator);
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.into(), value.as_ref().to_owned()));
        self
    }

    /// Starts it in a site's network namespace.
    #[must_use]
    pub fn in_site(mut self, site: &Arc<Site>) -> Self {
        self.site = Some(Arc::clone(site));
        self
    }

    /// Starts it; output is appended to the log.
    ///
    /// # Errors
    /// When the program or the log can't be opened.
    pub fn start(&self) -> Result<Process> {
        let log = self.open_log().with_context(|| format!("can't write {}", self.log.display()))?;
        let log_offset = log.metadata()?.len();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = spawner::spawn(command).with_context(|| format!("can't start {}", self.name))?;
        Ok(Process { name: self.name.clone(), child, log: self.log.clone(), log_offset, ended: None })
    }

    fn open_log(&self) -> std::io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.log)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(site) = &self.site {
            // Not `ip netns exec`: that hides the control group mounts, which kubelet and runc need.
            command.arg("nsenter").arg(format!("--net={}", site.namespace_file().display()));
        }
        command.args(&self.emulator).arg(&self.program).args(&self.args).envs(self.env.iter().cloned());
        command
    }
}

/// Resident memory in KiB, as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Now (VmRSS).
    pub resident_kib: u64,
    /// The most there ever was (VmHWM).
    pub peak_kib: u64,
    /// Of what is resident now, what no file holds (RssAnon): the rest is pages of the program, which the kernel can drop.
    pub private_kib: u64,
}

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    log_offset: u64,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has said since this start.
    #[must_use]
    pub fn log(&self) -> String {
        let all = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_offset).unwrap_or(usize::MAX).min(all.len());
        String::from_utf8_lossy(&all[start..]).into_owned()
    }

    /// Memory of the process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))
            .with_context(|| format!("{} has ended: no memory to read", self.name))?;
        parse_memory(&status).with_context(|| format!("{} has ended: no memory to read", self.name))
    }

    /// Waits for a line of its output since this start that begins with `prefix`, and returns the rest of that line.
    ///
    /// # Errors
    /// When it ends first or `within` passes; the message holds the log's last lines.
    pub fn wait_for_line(&mut self, prefix: &str, within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            let ended = self.poll();
            let log = self.log();
            if let Some(rest) = complete_lines(&log).find_map(|line| line.strip_prefix(prefix)) {
                return Ok(rest.trim().to_owned());
            }
            if let Some(status) = ended {
                bail!("{} ended ({status}) before it said {prefix:?}\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} did not say {prefix:?} within {within:?}\n{}", self.name, self.log_tail());
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.poll() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {within:?}\n{}", self.name, self.log_tail());
            }
            thread::sleep(POLL);
        }
    }

    /// Asks it to end (SIGTERM) and waits; kills it when `within` passes, which is an error.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let end = self.wait(within);
        if end.is_err() {
            self.kill();
        }
        end
    }

    /// Ends it at once (SIGKILL), as a power cut would.
    pub fn kill(&mut self) {
        if self.poll().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// Stops it from running without ending it (SIGSTOP), as an overloaded machine would.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process run on (SIGCONT).
    ///
    /// # Errors
    /// When it has ended.
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends SIGUSR1, which means to it what it says it does.
    ///
    /// # Errors
    /// When it has ended.
    pub fn nudge(&mut self) -> Result<()> {
        self.signal(Signal::USR1)
    }

    /// Descriptors that it has open.
    ///
    /// # Errors
    /// When it has ended.
    pub fn descriptors(&self) -> Result<usize> {
        self.count("fd")
    }

    /// Its threads.
    ///
    /// # Errors
    /// When it has ended.
    pub fn threads(&self) -> Result<usize> {
        self.count("task")
    }

    fn count(&self, what: &str) -> Result<usize> {
        let found = fs::read_dir(format!("/proc/{}/{what}", self.id()));
        Ok(found.with_context(|| format!("{} has ended: nothing to count", self.name))?.count())
    }

    /// The processor time it has used, kernel included, to 10 ms: steadier than the clock on a machine that does other things.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("no process status")?;
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(10 * ticks))
    }

    /// The log's last lines, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
        format!("--- {} ({})\n{tail}", self.name, self.log.display())
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.poll() {
            bail!("{} has already ended ({status})\n{}", self.name, self.log_tail());
        }
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal).with_context(|| format!("can't signal {}", self.name))
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn complete_lines(log: &str) -> impl Iterator<Item = &str> {
    log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

fn parse_memory(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(Memory { resident_kib: field("VmRSS:")?, peak_kib: field("VmHWM:")?, private_kib: field("RssAnon:")? })
}

#[cfg(test)]
mod tests;
