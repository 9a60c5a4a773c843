//! kubectl through the hub to a member, as users have it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{Kubectl, KubectlVersion, Road, Scratch};

/// Seconds that a script may take.
const LONGEST: &str = "240";

/// A user of the hub with a kubeconfig that leads to a member.
pub struct Through {
    scratch: Scratch,
    /// The user's token on the hub.
    pub token: String,
}

impl Through {
    /// Makes a user in a group that the member's RBAC makes an administrator.
    ///
    /// # Errors
    /// Hub or member refuse.
    pub fn hub(road: &Road, user: &str) -> Result<Through> {
        let group = format!("{user}s");
        road.member.kubectl().apply(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {user}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'hub:{group}'}}]
"
        ))?;
        let said = road.hub.run(&["user", "create", user, "--group", &group])?;
        let token = said.lines().last().context("no token was printed")?.trim().to_owned();
        let scratch = Scratch::create("through")?;
        std::fs::write(scratch.path().join("token"), &token)?;
        let through = Through { scratch, token };
        let token_file = through.scratch.path().join("token").display().to_string();
        let kubeconfig = road.hub.run(&["kubeconfig", "--cluster", road.member.name(), "--token-file", &token_file])?;
        std::fs::write(through.kubeconfig(), kubeconfig)?;
        Ok(through)
    }

    /// The file that `clusternet-hub kubeconfig` has written.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.scratch.path().join("kubeconfig")
    }

    /// kubectl of a version with it.
    ///
    /// # Errors
    /// When the install script has not run.
    pub fn kubectl(&self, version: KubectlVersion) -> Result<Kubectl> {
        Kubectl::of_version(version, &self.kubeconfig())
    }

    /// Runs a script of bash in which `kubectl` is this version with this kubeconfig; what came of it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn script(&self, version: KubectlVersion, script: &str) -> Result<Output> {
        Ok(self.command(version, script)?.stdin(Stdio::null()).output()?)
    }

    /// As [`Through::script`], which must succeed; its standard output.
    ///
    /// # Errors
    /// It fails; the message holds what it said.
    pub fn run(&self, version: KubectlVersion, script: &str) -> Result<String> {
        let output = self.script(version, script)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{script}\n{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// The script as a process of its own, which reads and writes where the caller says.
    ///
    /// # Errors
    /// When the install script has not run.
    pub fn command(&self, version: KubectlVersion, script: &str) -> Result<Command> {
        let kubectl = self.kubectl(version)?.program().display().to_string();
        let mut command = Command::new("timeout");
        command.args([LONGEST, "bash", "-uo", "pipefail", "-c", script]).current_dir(self.scratch.path());
        command.env("KUBECONFIG", self.kubeconfig()).env("kubectl", &kubectl).env("KUBECACHEDIR", self.scratch.path().join("cache"));
        Ok(command)
    }
}
