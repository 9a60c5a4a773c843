//! containerd in a site, with an image store, a state folder and a pod network of its own.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cache::Tool;
use crate::command::run;
use crate::net::Site;
use crate::process::Launch;

const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const NETWORK_RESULTS: &str = "/var/lib/cni/results";
const LOG_LINKS: &str = "/var/log/containers";

/// The folders and names of one containerd.
#[derive(Clone, Debug)]
pub struct Containers {
    folder: PathBuf,
    network: String,
}

impl Containers {
    /// Writes the configuration of containerd and of its pod network, which is called `network`.
    pub fn configure(folder: &Path, network: &str) -> Result<Self> {
        let containers = Self { folder: folder.to_owned(), network: network.to_owned() };
        containers.write("containerd.toml", &containers.config())?;
        containers.write("cni/net.d/10-pods.conflist", &containers.pod_network().to_string())?;
        Ok(containers)
    }

    /// How to start it.
    pub fn launch(&self, site: &Arc<Site>) -> Launch {
        let config = self.folder.join("containerd.toml");
        Launch::new("containerd", "containerd", &self.folder).in_site(site).arg("--config").arg(config)
    }

    /// The socket that kubelet talks to.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    /// Waits until it answers, then puts the images in, as nothing can be pulled.
    pub fn import_images(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while let Err(error) = self.ctr(&["version"]) {
            if Instant::now() > deadline {
                return Err(error.context(format!("containerd does not answer within {READY_WITHIN:?}")));
            }
            thread::sleep(POLL);
        }
        for image in ["pause", "busybox"] {
            let archive = Tool::Image(image).path()?;
            self.import(&archive)?;
        }
        Ok(())
    }

    /// Puts the images of an archive in; the names that it says it did.
    pub fn import(&self, archive: &Path) -> Result<String> {
        self.ctr(&["images", "import", &archive.to_string_lossy()])
    }

    fn ctr(&self, args: &[&str]) -> Result<String> {
        let socket = self.socket();
        run("ctr", &[&["--address", &*socket.to_string_lossy(), "--namespace", "k8s.io"], args].concat())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        let folder = path.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))
    }

    fn config(&self) -> String {
        let folder = self.folder.display();
        // restrict_oom_score_adj: machines that refuse negative scores could start no pod.
        format!(
            r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
sandbox_image = "docker.io/local/pause:1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{folder}/runc"
"#
        )
    }

    fn pod_network(&self) -> serde_json::Value {
        serde_json::json!({
            "cniVersion": "0.4.0",
            "name": self.network,
            "plugins": [{
                "type": "bridge",
                "bridge": "pods",
                "isGateway": true,
                "ipMasq": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": self.folder.join("cni/addresses"),
                    "ranges": [[{"subnet": "10.244.0.0/24"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        })
    }
}

/// Removes the sockets that the shims of the containerd in this folder left when they were killed.
pub fn forget_shims(folder: &Path) -> Result<()> {
    let tasks = files(&folder.join("state/io.containerd.runtime.v2.task/k8s.io"));
    let addresses = tasks.into_iter().filter_map(|task| fs::read_to_string(task.join("address")).ok());
    for socket in addresses.filter_map(|address| address.trim().strip_prefix("unix://").map(PathBuf::from)) {
        // Only ever a socket: the name was read from a file. A pod's containers share one.
        if fs::symlink_metadata(&socket).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(&socket).with_context(|| format!("can't remove {}", socket.display()))?;
        }
    }
    Ok(())
}

/// Removes kubelet's links to the logs of pods in this folder.
pub fn forget_logs(folder: &Path) -> Result<()> {
    remove_where(Path::new(LOG_LINKS), |path| fs::read_link(path).is_ok_and(|target| target.starts_with(folder)))
}

/// Removes the pod network's records of pods that were never taken down.
pub fn forget_network(network: &str) -> Result<()> {
    let prefix = format!("{network}-");
    remove_where(Path::new(NETWORK_RESULTS), |path| file_name(path).starts_with(&prefix))
}

fn remove_where(folder: &Path, ours: impl Fn(&Path) -> bool) -> Result<()> {
    for path in files(folder).into_iter().filter(|path| ours(path)) {
        fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
    }
    Ok(())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
