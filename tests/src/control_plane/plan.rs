//! The command lines, ports and certificates of a control plane's programs.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::{Controllers, SERVICE_ADDRESS};
use crate::cache::Tool;
use crate::net::Site;
use crate::pki::{Authority, BareKey};
use crate::process::Launch;
use crate::scratch::Scratch;

#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) api: u16,
    etcd: u16,
    etcd_peer: u16,
}

impl Ports {
    /// A namespace of its own has all ports free; beside the test the kernel names some.
    pub(super) fn choose(own_namespace: bool) -> Result<Self> {
        if own_namespace {
            return Ok(Self { api: 6443, etcd: 2379, etcd_peer: 2380 });
        }
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
        // All three are held at once, so that they differ.
        let held = [bind()?, bind()?, bind()?];
        let port = |index: usize| held[index].local_addr().map(|address| address.port());
        Ok(Self { api: port(0)?, etcd: port(1)?, etcd_peer: port(2)? })
    }
}

/// The command lines of a control plane.
pub(super) struct Plan<'a> {
    pub(super) scratch: &'a Scratch,
    pub(super) authority: &'a Authority,
    pub(super) address: IpAddr,
    pub(super) url: &'a str,
    pub(super) ports: Ports,
    pub(super) site: Option<&'a Arc<Site>>,
}

impl Plan<'_> {
    pub(super) fn launches(&self, controllers: Controllers) -> Result<Vec<Launch>> {
        let accounts = self.authority.bare_key("service-accounts")?;
        let mut launches = vec![self.etcd(), self.api_server(&accounts)?];
        if controllers != Controllers::None {
            launches.push(self.controller_manager(&accounts)?);
        }
        if controllers == Controllers::ManagerAndScheduler {
            launches.push(self.scheduler()?);
        }
        Ok(launches)
    }

    fn launch(&self, name: &str, program: PathBuf) -> Launch {
        let launch = Launch::new(name, program, self.scratch.path());
        match self.site {
            Some(site) => launch.in_site(site),
            None => launch,
        }
    }

    fn etcd(&self) -> Launch {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        self.launch("etcd", "etcd".into())
            .arg(format!("--data-dir={}", self.scratch.path().join("etcd").display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            .args(["--unsafe-no-fsync", "--logger=zap", "--log-level=warn"])
    }

    fn api_server(&self, accounts: &BareKey) -> Result<Launch> {
        let ca = self.authority.certificate_file();
        let names = ["localhost", "127.0.0.1", &SERVICE_ADDRESS.to_string(), &self.address.to_string(), "kubernetes.default.svc"];
        let serving = self.authority.server("kube-apiserver", &names.map(str::to_owned))?;
        let proxy = self.authority.user("front-proxy", "front-proxy-client", "front-proxy")?;
        let kubelet = self.authority.user("kubelet-client", "kubelet-client", "system:masters")?;
        let bind = if self.site.is_some() { "0.0.0.0" } else { "127.0.0.1" };
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        Ok(self
            .launch("kube-apiserver", Tool::Kubernetes("kube-apiserver").path()?)
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd))
            .arg(format!("--bind-address={bind}"))
            .arg(format!("--advertise-address={}", self.address))
            .arg(format!("--secure-port={}", self.ports.api))
            .arg(file("service-account-key-file", &accounts.public))
            .arg(file("service-account-signing-key-file", &accounts.private))
            .arg(file("tls-cert-file", &serving.certificate))
            .arg(file("tls-private-key-file", &serving.key))
            .arg(file("client-ca-file", &ca))
            .arg(file("requestheader-client-ca-file", &ca))
            .arg(file("proxy-client-cert-file", &proxy.certificate))
            .arg(file("proxy-client-key-file", &proxy.key))
            .arg(file("kubelet-client-certificate", &kubelet.certificate))
            .arg(file("kubelet-client-key", &kubelet.key))
            .arg(file("kubelet-certificate-authority", &ca))
            .args(API_SERVER_FLAGS))
    }

    fn controller_manager(&self, accounts: &BareKey) -> Result<Launch> {
        Ok(self
            .launch("kube-controller-manager", Tool::Kubernetes("kube-controller-manager").path()?)
            .arg(format!("--kubeconfig={}", self.system_kubeconfig("kube-controller-manager")?.display()))
            .arg(format!("--service-account-private-key-file={}", accounts.private.display()))
            .arg(format!("--root-ca-file={}", self.authority.certificate_file().display()))
            .args(["--use-service-account-credentials", "--leader-elect=false", "--secure-port=0"]))
    }

    fn scheduler(&self) -> Result<Launch> {
        Ok(self
            .launch("kube-scheduler", Tool::Kubernetes("kube-scheduler").path()?)
            .arg(format!("--kubeconfig={}", self.system_kubeconfig("kube-scheduler")?.display()))
            .args(["--leader-elect=false", "--secure-port=0"]))
    }

    fn system_kubeconfig(&self, name: &str) -> Result<PathBuf> {
        let user = self.authority.user(name, &format!("system:{name}"), name)?;
        self.authority.kubeconfig(name, self.url, &user)
    }
}

const API_SERVER_FLAGS: [&str; 10] = [
    "--kubelet-preferred-address-types=InternalIP",
    "--endpoint-reconciler-type=none",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--authorization-mode=Node,RBAC",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--allow-privileged=true",
    "--requestheader-allowed-names=front-proxy-client",
    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    "--requestheader-group-headers=X-Remote-Group",
    "--requestheader-username-headers=X-Remote-User",
];
