//! A member cluster on a site of its own: the network namespace, a control plane, and a node when its pods shall run.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::control_plane::{ControlPlane, Controllers};
use crate::kubectl::Kubectl;
use crate::net::Site;
use crate::node::Node;
use crate::process::Launch;

/// What a member shall consist of.
#[derive(Clone, Debug)]
pub struct MemberBuilder {
    name: String,
    controllers: Controllers,
    node: bool,
}

impl MemberBuilder {
    /// Leaves the controller manager out: nothing rolls out, collects garbage or empties namespaces.
    #[must_use]
    pub fn api_server_only(mut self) -> Self {
        self.controllers = Controllers::None;
        self
    }

    /// Adds a node with containers, called `<member>-node`, and the scheduler.
    #[must_use]
    pub fn with_node(mut self) -> Self {
        self.node = true;
        self.controllers = Controllers::ManagerAndScheduler;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When a part doesn't start; the message holds the end of its log.
    pub async fn start(self) -> Result<Member> {
        tokio::task::spawn_blocking(move || self.start_blocking()).await?
    }

    fn start_blocking(self) -> Result<Member> {
        let site = Site::create()?;
        let control_plane = Arc::new(ControlPlane::start_blocking(Some(Arc::clone(&site)), self.controllers)?);
        let node = match self.node {
            true => Some(Node::start_blocking(&format!("{}-node", self.name), &control_plane)?),
            false => None,
        };
        Ok(Member { name: self.name, node, control_plane, site })
    }
}

/// A member cluster; dropping it removes all of it.
#[derive(Debug)]
pub struct Member {
    name: String,
    // Before what it stands on: fields are dropped in this order.
    node: Option<Node>,
    control_plane: Arc<ControlPlane>,
    site: Arc<Site>,
}

impl Member {
    /// Describes a member: API server and controller manager, without a node.
    #[must_use]
    pub fn builder(name: &str) -> MemberBuilder {
        MemberBuilder { name: name.to_owned(), controllers: Controllers::Manager, node: false }
    }

    /// Starts a member with API server and controller manager, without a node.
    ///
    /// # Errors
    /// When a part doesn't start.
    pub async fn start(name: &str) -> Result<Self> {
        Self::builder(name).start().await
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network: cut it, heal it, count its bytes.
    #[must_use]
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Its control plane.
    #[must_use]
    pub fn control_plane(&self) -> &Arc<ControlPlane> {
        &self.control_plane
    }

    /// Its node, when it has one.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// kubectl 1.37 as the member's administrator. It runs on the hub's side, so it needs the link.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        self.control_plane.kubectl()
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.control_plane.kubeconfig()
    }

    /// A program to be started in the site, such as the agent; its log is `<logs>/<name>.log`.
    #[must_use]
    pub fn launch(&self, name: &str, program: impl Into<std::path::PathBuf>, logs: &Path) -> Launch {
        Launch::new(name, program, logs).in_site(&self.site)
    }

    /// Ends every process of the cluster at once (SIGKILL), containers included.
    ///
    /// # Errors
    /// When a process survives.
    pub fn kill(&self) -> Result<()> {
        self.control_plane.kill();
        self.node.as_ref().map_or(Ok(()), Node::kill)
    }

    /// Starts the cluster again on its data.
    ///
    /// # Errors
    /// When a part doesn't get ready.
    pub fn start_again(&self) -> Result<()> {
        self.control_plane.start_again()?;
        self.node.as_ref().map_or(Ok(()), Node::start_again)
    }
}
