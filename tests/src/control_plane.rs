//! A real Kubernetes control plane: etcd and kube-apiserver, and when asked the controller manager and the scheduler.
//!
//! It can be stopped or killed and started again on the same data. All methods take `&self`, so an `Arc` shares one between tests.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::plan::{Plan, Ports};
use crate::kubectl::Kubectl;
use crate::net::Site;
use crate::pki::Authority;
use crate::process::{Launch, Memory, Process};
use crate::scratch::Scratch;

mod plan;

const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// The address that pods reach their API server at.
pub const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// What runs beside the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controllers {
    /// Nothing: objects stay as they were written. Quickest, and enough for most tests.
    None,
    /// The controller manager: rollouts, garbage collection, deletion of namespaces.
    Manager,
    /// The controller manager and the scheduler, for nodes.
    ManagerAndScheduler,
}

/// A control plane with data, certificates and kubeconfigs in a folder of its own.
#[derive(Debug)]
pub struct ControlPlane {
    // Before the folder and the site: fields are dropped in this order.
    running: Mutex<Vec<Process>>,
    launches: Vec<Launch>,
    kubectl: Kubectl,
    kubeconfig: PathBuf,
    url: String,
    address: IpAddr,
    port: u16,
    authority: Authority,
    scratch: Scratch,
    site: Option<Arc<Site>>,
}

impl ControlPlane {
    /// Starts one in a site's namespace, or beside the test on loopback, and waits until it is ready (4 s; 12 s the first time).
    ///
    /// # Errors
    /// When a program is missing or doesn't get ready; the message holds the end of its log.
    pub async fn start(site: Option<&Arc<Site>>, controllers: Controllers) -> Result<Self> {
        let site = site.cloned();
        tokio::task::spawn_blocking(move || Self::start_blocking(site, controllers)).await?
    }

    /// As [`Self::start`], blocking the thread.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_blocking(site: Option<Arc<Site>>, controllers: Controllers) -> Result<Self> {
        let scratch = Scratch::create("control-plane")?;
        let ports = Ports::choose(site.is_some())?;
        let address = site.as_ref().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |site| site.address());
        let authority = Authority::create(&scratch.folder("pki")?, "testbed")?;
        let url = format!("https://{address}:{}", ports.api);
        let admin = authority.user("admin", "admin", "system:masters")?;
        let kubeconfig = authority.kubeconfig("admin", &url, &admin)?;
        let kubectl = Kubectl::new(&kubeconfig)?;
        let plan = Plan { scratch: &scratch, authority: &authority, address, url: &url, ports, site: site.as_ref() };
        let launches = plan.launches(controllers)?;
        let running = Mutex::new(Vec::new());
        let plane = Self { running, launches, kubectl, kubeconfig, url, address, port: ports.api, authority, scratch, site };
        plane.start_again()?;
        Ok(plane)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl 1.37 as administrator.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The API server's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The API server's address and port.
    #[must_use]
    pub fn address(&self) -> (IpAddr, u16) {
        (self.address, self.port)
    }

    /// The authority that signed all its certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A kubeconfig for another user, whose rights are whatever its RBAC gives.
    ///
    /// # Errors
    /// When its files can't be written.
    pub fn kubeconfig_for(&self, user: &str, group: &str) -> Result<PathBuf> {
        let file = user.replace([':', '/'], "-");
        self.authority.kubeconfig(&file, &self.url, &self.authority.user(&file, user, group)?)
    }

    /// The folder of its data and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The site it runs in, unless beside the test.
    #[must_use]
    pub fn site(&self) -> Option<&Arc<Site>> {
        self.site.as_ref()
    }

    /// Starts all its programs on the data they left, and waits until it is ready; nothing when it runs.
    ///
    /// # Errors
    /// When a program ends or isn't ready in time.
    pub fn start_again(&self) -> Result<()> {
        let mut running = self.lock();
        if !running.is_empty() {
            return Ok(());
        }
        for launch in &self.launches {
            running.push(launch.start()?);
        }
        let ready = self.wait_until_ready(&mut running);
        if ready.is_err() {
            running.clear();
        }
        ready
    }

    /// Stops all its programs cleanly.
    ///
    /// # Errors
    /// When one had to be killed.
    pub fn stop(&self) -> Result<()> {
        let mut running = self.lock();
        let stops: Vec<Result<_>> = running.drain(..).rev().map(|mut process| process.stop(STOP_WITHIN)).collect();
        stops.into_iter().try_for_each(|stop| stop.map(drop))
    }

    /// Ends all its programs at once (SIGKILL).
    pub fn kill(&self) {
        self.lock().drain(..).rev().for_each(|mut process| process.kill());
    }

    /// Memory of all its programs together.
    ///
    /// # Errors
    /// When one has ended.
    pub fn memory(&self) -> Result<Memory> {
        let mut sum = Memory { resident_kib: 0, peak_kib: 0, private_kib: 0 };
        for process in self.lock().iter() {
            let memory = process.memory()?;
            sum.resident_kib += memory.resident_kib;
            sum.peak_kib += memory.peak_kib;
            sum.private_kib += memory.private_kib;
        }
        Ok(sum)
    }

    fn wait_until_ready(&self, running: &mut [Process]) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            // The controllers wait for the API server themselves; only these two may not end.
            if let Some(ended) = running.iter_mut().take(2).find_map(|process| (!process.is_running()).then(|| process.log_tail())) {
                bail!("the control plane did not start:\n{ended}");
            }
            match self.kubectl.run(["get", "--raw=/readyz"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("not ready within {READY_WITHIN:?}")));
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
