//! Finding the member's API server: from a kubeconfig file or from inside the cluster.
//!
//! Building a client touches no network, so a cold start needs nothing but the file; [`check`] is the first request.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::api::{Accept, Api, Failure};
use crate::apiserver::{Access, Unusable};

/// Where the credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A kubeconfig file and its current context.
    Kubeconfig(PathBuf),
    /// The service account of the pod that the agent runs in.
    InCluster,
}

/// Why there is no connection, each with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file can't be read.
    #[error("kubeconfig {path}: {why}; name a readable file with --kubeconfig")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        why: String,
    },
    /// The file has no usable current context.
    #[error(
        "kubeconfig {path}: no usable current context ({why}); \
         set one with `kubectl config use-context NAME --kubeconfig {path}`"
    )]
    NoContext {
        /// The file.
        path: String,
        /// What is missing.
        why: String,
    },
    /// The file, or something it names, is not what it should be.
    #[error("kubeconfig {path}: {why}; compare it with a kubeconfig that kubectl accepts")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Not running in a pod with a service account.
    #[error("no service account found in this pod ({0}); name a kubeconfig file with --kubeconfig")]
    NotInCluster(String),
    /// The server's certificate is not signed by the CA in use.
    #[error(
        "API server {url}: certificate not trusted ({why}); put the CA that signed it into \
         `certificate-authority-data` of the kubeconfig"
    )]
    Untrusted {
        /// The server.
        url: String,
        /// The verifier's words.
        why: String,
    },
    /// The server knows no such credentials.
    #[error("API server {url}: credentials refused ({why}); renew the user's certificate or token in the kubeconfig")]
    Unauthorized {
        /// The server.
        url: String,
        /// The server's words.
        why: String,
    },
    /// Nothing answers, or not yet.
    #[error("API server {url}: not reachable ({why}); see that it runs and that `server` in the kubeconfig is right")]
    Unreachable {
        /// The server.
        url: String,
        /// The innermost reason.
        why: String,
    },
}

impl ConnectError {
    /// Whether waiting may cure it, as when the API server is still starting.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// The server's `/version`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// For example `v1.37.2`.
    pub git_version: String,
    /// For example `linux/arm64`.
    pub platform: String,
}

/// Reads where the API server is, and as whom the agent speaks there; touches no network and runs no plugin.
///
/// # Errors
/// What is wrong with the file or the pod's service account.
pub fn configuration(source: &Source) -> Result<Access, ConnectError> {
    match source {
        Source::Kubeconfig(path) => Access::from_file(path).map_err(|why| unusable(path, why)),
        Source::InCluster => Access::in_cluster().map_err(ConnectError::NotInCluster),
    }
}

/// Builds a client without touching the network.
///
/// # Errors
/// What is wrong with the file or the pod's service account.
pub fn connect(source: &Source) -> Result<Api, ConnectError> {
    with(configuration(source)?, source)
}

/// As [`connect`], with what was read of the source.
///
/// # Errors
/// As [`connect`].
pub fn with(access: Access, source: &Source) -> Result<Api, ConnectError> {
    Api::new(access).map_err(|error| match source {
        Source::Kubeconfig(path) => unusable(path, Unusable::Malformed(format!("{error:#}"))),
        Source::InCluster => ConnectError::NotInCluster(format!("{error:#}")),
    })
}

/// Makes the first request.
///
/// # Errors
/// Unreachable, untrusted or unauthorized, told apart.
pub async fn check(api: &Api) -> Result<Version, ConnectError> {
    api.get("/version", Accept::Whole).await.map_err(|failure| unanswered(api.url(), &failure))
}

fn unusable(path: &Path, why: Unusable) -> ConnectError {
    let path = path.display().to_string();
    match why {
        Unusable::Unreadable(why) => ConnectError::Unreadable { path, why },
        Unusable::NoContext(why) => ConnectError::NoContext { path, why },
        Unusable::Malformed(why) => ConnectError::Malformed { path, why },
    }
}

fn unanswered(url: &str, failure: &Failure) -> ConnectError {
    let (url, why) = (url.to_owned(), failure.to_string());
    let has = |needles: &[&str]| needles.iter().any(|needle| why.contains(needle));
    if has(&["certificate", "UnknownIssuer"]) {
        ConnectError::Untrusted { url, why }
    } else if has(&["401 "]) || failure.code() == Some(403) {
        ConnectError::Unauthorized { url, why }
    } else {
        ConnectError::Unreachable { url, why }
    }
}
