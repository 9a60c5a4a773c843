//! A stand-in for a member's API server: it applies and stores, in memory, and nothing more.
//!
//! For the quick start and for the stub members of the benchmark; no test of the product may rest on it. It has no validation,
//! no defaults, no admission, no controllers (a Deployment makes no pods), no finalizers and no authentication. A Namespace takes
//! what is in it along at once. Loopback only.
//!
//! `path` says what a request names, `object` decides what a write makes of an object, `store` keeps the result and its history,
//! `serve` answers.

mod object;
mod path;
mod selector;
mod serve;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::net::TcpListener;

pub use serve::router;
pub use store::Store;

/// Says what it is on the first line of output and in `/version`.
pub const NOTICE: &str = "a stand-in for a Kubernetes API server: objects are stored, nothing runs";

/// A sandbox that listens.
pub struct Sandbox {
    listener: TcpListener,
    kubeconfig: PathBuf,
}

impl Sandbox {
    /// Listens on a free port of loopback and writes `DIR/kubeconfig`.
    ///
    /// # Errors
    /// The folder can't be written, or no port is free.
    pub async fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("can't listen on 127.0.0.1")?;
        let kubeconfig = folder.join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": {"server": format!("http://{}", listener.local_addr()?)}}],
            "users": [{"name": "anybody", "user": {}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "anybody"}}],
        });
        std::fs::write(&kubeconfig, format!("{config:#}")).with_context(|| format!("can't write {}", kubeconfig.display()))?;
        Ok(Self { listener, kubeconfig })
    }

    /// The kubeconfig that leads to it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Answers requests until it is dropped.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self) -> Result<()> {
        axum::serve(self.listener, router(Arc::new(Store::new()))).await.context("the sandbox's socket failed")
    }
}
