//! Runs real kubectl, of a named version, against a kubeconfig: the client that users have, and the observer that decides.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cache::Tool;
use crate::process::Launch;
use crate::watch::Watch;

const POLL: Duration = Duration::from_millis(100);

/// The versions of kubectl that the install script provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubectlVersion {
    /// 1.37.1, the release of the API servers.
    V1_37,
    /// 1.32.3, five releases older.
    V1_32,
}

/// kubectl of one version with one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    plugins: Option<PathBuf>,
}

impl Kubectl {
    /// kubectl 1.37 against a kubeconfig.
    ///
    /// # Errors
    /// When the install script has not run.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        Self::of_version(KubectlVersion::V1_37, kubeconfig)
    }

    /// kubectl of a version against a kubeconfig.
    ///
    /// # Errors
    /// When the install script has not run.
    pub fn of_version(version: KubectlVersion, kubeconfig: &Path) -> Result<Self> {
        let tool = match version {
            KubectlVersion::V1_37 => Tool::Kubectl("v1.37.1"),
            KubectlVersion::V1_32 => Tool::Kubectl("v1.32.3"),
        };
        Ok(Self { program: tool.path()?, kubeconfig: kubeconfig.to_owned(), plugins: None })
    }

    /// Finds plugins in this folder, too.
    #[must_use]
    pub fn with_plugins(mut self, folder: &Path) -> Self {
        self.plugins = Some(folder.to_owned());
        self
    }

    /// The program itself.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// When it exits with anything but 0; the message holds its standard error.
    pub fn run<const N: usize>(&self, args: [&str; N]) -> Result<String> {
        self.run_with_input(&args, "")
    }

    /// Describes it as a program that runs beside the test, its output in `<logs>/<name>.log`.
    #[must_use]
    pub fn launch(&self, name: &str, args: &[&str], logs: &Path) -> Launch {
        let launch = Launch::new(name, &self.program, logs).args(args);
        launch.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", self.kubeconfig.with_extension("kubectl-cache"))
    }

    /// Runs it and returns output and exit code, whatever they are.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn output(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut command = self.command(args);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("can't start {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let input = input.to_owned();
        // Written beside the reading: both pipes are small. kubectl may also end without reading it all.
        let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().context("kubectl was lost")?;
        let _ = writer.join();
        Ok(output)
    }

    /// Runs `kubectl edit` with this shell command as the editor.
    ///
    /// # Errors
    /// When kubectl can't be started, or exits with anything but 0.
    pub fn edit(&self, args: &[&str], editor: &str) -> Result<String> {
        let output = self.command(&[&["edit"], args].concat()).env("KUBE_EDITOR", editor).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "kubectl edit: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `kubectl apply -f` of this text and returns what it printed.
    ///
    /// # Errors
    /// When kubectl refuses.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.run_with_input(&["apply", "-f", "-"], yaml)
    }

    /// Runs `kubectl delete -f` of this text.
    ///
    /// # Errors
    /// When kubectl refuses.
    pub fn delete(&self, yaml: &str) -> Result<String> {
        self.run_with_input(&["delete", "-f", "-"], yaml)
    }

    /// Runs a command with text as its standard input.
    ///
    /// # Errors
    /// When it exits with anything but 0.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let output = self.output(args, input)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {} failed ({}): {}", args.join(" "), output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `kubectl get ... -o json`.
    ///
    /// # Errors
    /// When kubectl refuses, or what is asked for isn't there.
    pub fn get<const N: usize>(&self, args: [&str; N]) -> Result<Value> {
        self.get_json(&args)
    }

    /// Whether `kubectl get` finds the object; an error of any other kind is an error.
    ///
    /// # Errors
    /// When the server can't be asked.
    pub fn exists<const N: usize>(&self, args: [&str; N]) -> Result<bool> {
        let args = [&["get", "--ignore-not-found", "-o", "name"], args.as_slice()].concat();
        Ok(!self.run_with_input(&args, "")?.trim().is_empty())
    }

    /// Asks again and again until `done` holds of what `kubectl get -o json` shows, and returns that.
    ///
    /// # Errors
    /// When `within` passes; the message holds what was seen last.
    pub fn wait_until<const N: usize>(&self, args: [&str; N], within: Duration, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + within;
        loop {
            let seen = self.get_json(&args);
            match seen {
                Ok(value) if done(&value) => return Ok(value),
                _ if Instant::now() < deadline => thread::sleep(POLL),
                Ok(value) => bail!("kubectl get {}: not so within {within:?}; last seen: {value:#}", args.join(" ")),
                Err(error) => return Err(error.context(format!("not so within {within:?}"))),
            }
        }
    }

    /// Waits until `kubectl get` no longer finds what is named.
    ///
    /// # Errors
    /// When it is still there after `within`.
    pub fn wait_until_gone<const N: usize>(&self, args: [&str; N], within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while self.exists(args)? {
            if Instant::now() > deadline {
                bail!("kubectl get {}: still there after {within:?}", args.join(" "));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Watches in the background (`kubectl get --watch`), recording each event from the first list on.
    ///
    /// # Errors
    /// When kubectl can't be started.
    pub fn watch<const N: usize>(&self, args: [&str; N]) -> Result<Watch> {
        let args = [&["get"], args.as_slice(), &["--watch", "--output-watch-events", "-o", "json"]].concat();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program).args(args);
        Watch::start(self.with_environment(command))
    }

    fn get_json(&self, args: &[&str]) -> Result<Value> {
        let args = [&["get", "-o", "json"], args].concat();
        let text = self.run_with_input(&args, "")?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} printed no JSON", args.join(" ")))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args);
        self.with_environment(command)
    }

    fn with_environment(&self, mut command: Command) -> Command {
        // Beside the kubeconfig, so that no test sees another one's discovery.
        let cache = self.kubeconfig.with_extension("kubectl-cache");
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", cache);
        if let Some(plugins) = &self.plugins {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let paths = std::iter::once(plugins.clone()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(paths).unwrap_or(path));
        }
        command
    }
}
