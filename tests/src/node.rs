//! A node with real containers: kubelet and containerd in a site, joined to its control plane. Pods really run.
//!
//! Everything it starts is in one control group, so that shims and containers die with it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::Tool;
use crate::cgroup::Cgroup;
use crate::containers::{Containers, forget_logs, forget_network, forget_shims};
use crate::control_plane::{ControlPlane, SERVICE_ADDRESS};
use crate::net::Site;
use crate::process::{Launch, Process};
use crate::scratch::Scratch;
use crate::sweep::unmount_below;

const READY_WITHIN: Duration = Duration::from_secs(90);

/// A node of a member cluster.
#[derive(Debug)]
pub struct Node {
    name: String,
    running: Mutex<Vec<Process>>,
    cgroup: Cgroup,
    containers: Containers,
    kubelet: Launch,
    control_plane: Arc<ControlPlane>,
    site: Arc<Site>,
    scratch: Scratch,
}

impl Node {
    /// Starts containerd and kubelet in the control plane's site and waits until the node is Ready.
    ///
    /// # Errors
    /// When the control plane has no site of its own, when not root, or when the node doesn't get ready.
    pub fn start_blocking(name: &str, control_plane: &Arc<ControlPlane>) -> Result<Self> {
        let Some(site) = control_plane.site().cloned() else { bail!("a node needs a control plane with a site of its own") };
        let scratch = Scratch::create(&format!("node-{name}"))?;
        let cgroup = Cgroup::create(site.name())?;
        let containers = Containers::configure(scratch.path(), site.name())?;
        let plan = Plan { name, control_plane, site: &site, scratch: &scratch, containers: &containers };
        let kubelet = plan.kubelet()?;
        site.redirect((SERVICE_ADDRESS, 443), control_plane.address().1)?;
        let (name, control_plane, running) = (name.to_owned(), Arc::clone(control_plane), Mutex::default());
        let node = Self { name, running, cgroup, containers, kubelet, control_plane, site, scratch };
        node.start_again()?;
        Ok(node)
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts an image archive where pods of this node find it, as a registry cannot be asked.
    ///
    /// # Errors
    /// containerd does not take it.
    pub fn import(&self, archive: &std::path::Path) -> Result<String> {
        self.containers.import(archive)
    }

    /// Starts containerd and kubelet again on what they left, and waits until the node is Ready; nothing when they run.
    ///
    /// For the first seconds `Ready` may be what was true before a kill: only a command in a container proves more.
    ///
    /// # Errors
    /// When the node doesn't get ready; the message holds the end of kubelet's log.
    pub fn start_again(&self) -> Result<()> {
        let mut running = self.lock();
        if !running.is_empty() {
            return Ok(());
        }
        let containerd = self.containers.launch(&self.site).start()?;
        self.cgroup.adopt("runtime", containerd.id())?;
        running.push(containerd);
        self.containers.import_images().with_context(|| running[0].log_tail())?;
        let kubelet = self.kubelet.start()?;
        let ready = self.wait_until_ready().with_context(|| kubelet.log_tail());
        running.push(kubelet);
        ready
    }

    /// Ends kubelet, containerd, the shims and every container at once (SIGKILL), as a power cut would.
    ///
    /// # Errors
    /// When a process survives.
    pub fn kill(&self) -> Result<()> {
        self.lock().drain(..).rev().for_each(|mut process| process.kill());
        self.cgroup.kill_all()?;
        // Now, because a new containerd forgets which they were.
        forget_shims(self.scratch.path())
    }

    fn wait_until_ready(&self) -> Result<()> {
        let kubectl = self.control_plane.kubectl();
        let ready = |node: &serde_json::Value| {
            let conditions = node["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
        };
        kubectl.wait_until(["node", &self.name], READY_WITHIN, ready).map(drop)
    }

    fn clean_up(&self) -> Result<()> {
        self.kill()?;
        forget_logs(self.scratch.path())?;
        forget_network(self.site.name())?;
        unmount_below(self.scratch.path())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.clean_up() {
            eprintln!("node {}: {error:#}", self.name);
        }
    }
}

/// kubelet's configuration and command line.
struct Plan<'a> {
    name: &'a str,
    control_plane: &'a ControlPlane,
    site: &'a Arc<Site>,
    scratch: &'a Scratch,
    containers: &'a Containers,
}

impl Plan<'_> {
    fn kubelet(&self) -> Result<Launch> {
        let user = format!("system:node:{}", self.name);
        let kubeconfig = self.control_plane.kubeconfig_for(&user, "system:nodes")?;
        let config = self.scratch.path().join("kubelet.json");
        fs::write(&config, self.config()?.to_string()).with_context(|| format!("can't write {}", config.display()))?;
        Ok(Launch::new("kubelet", Tool::Kubernetes("kubelet").path()?, self.scratch.path())
            .in_site(self.site)
            .arg(format!("--config={}", config.display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--root-dir={}", self.folder("kubelet")?.display()))
            .arg(format!("--cert-dir={}", self.folder("kubelet-pki")?.display()))
            .arg(format!("--hostname-override={}", self.name))
            .arg(format!("--node-ip={}", self.site.address())))
    }

    fn config(&self) -> Result<serde_json::Value> {
        let names = [self.name.to_owned(), self.site.address().to_string()];
        let serving = self.control_plane.authority().server(&format!("kubelet-{}", self.name), &names)?;
        Ok(serde_json::json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.control_plane.authority().certificate_file()},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.site.name()),
            // `kubectl logs` shows the newest file only: a long log is to be one.
            "containerLogMaxSize": "1Gi",
            "containerRuntimeEndpoint": format!("unix://{}", self.containers.socket().display()),
            "enforceNodeAllocatable": [],
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "failCgroupV1": false,
            "failSwapOn": false,
            "nodeStatusUpdateFrequency": "5s",
            "podLogsDir": self.folder("pod-logs")?,
            "tlsCertFile": serving.certificate,
            "tlsPrivateKeyFile": serving.key,
            "volumePluginDir": self.folder("volume-plugins")?,
        }))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        self.scratch.folder(name)
    }
}
