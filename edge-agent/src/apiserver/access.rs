//! Where the member's API server is, and as whom the agent speaks there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Uri};

use super::credentials::{Credentials, given};
use super::kubeconfig::{Cluster, Kubeconfig, User};
use super::plugin::Plugin;
use super::proxy::Proxy;
use super::tls::{Roots, Trust};

/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Everything that a connection to the API server needs; the copies share what changes.
#[derive(Clone)]
pub struct Access {
    pub url: Uri,
    pub trust: Arc<Trust>,
    /// The name that the server's certificate has to have, where it is not the URL's.
    pub server_name: Option<String>,
    pub proxy: Option<Proxy>,
    pub credentials: Arc<Credentials>,
    /// Said with every request of the agent itself: in whose name it speaks.
    pub impersonation: HeaderMap,
}

/// Why a kubeconfig, or a pod's service account, can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    Unreadable(String),
    NoContext(String),
    Malformed(String),
}

impl Access {
    /// A server at this URL that asks for no credentials.
    ///
    /// # Errors
    /// It is no URL of a server.
    pub fn to(url: &str) -> Result<Access, Unusable> {
        Access::from_parts(&Cluster { server: url.to_owned(), ..Cluster::default() }, User::default())
    }

    /// Reads the current context of a kubeconfig file and the files that it names; touches no network and runs no plugin.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_file(path: &Path) -> Result<Access, Unusable> {
        let text = std::fs::read_to_string(path).map_err(|error| Unusable::Unreadable(error.to_string()))?;
        let (mut cluster, mut user) = Kubeconfig::parse(&text)?.current()?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in [&mut cluster.certificate_authority, &mut user.token_file, &mut user.client_certificate, &mut user.client_key] {
            place(file, folder);
        }
        if let Some(exec) = user.exec.as_mut().filter(|exec| exec.command.contains('/')) {
            place(&mut exec.command, folder);
        }
        Access::from_parts(&cluster, user)
    }

    /// As a pod's service account.
    ///
    /// # Errors
    /// In words: what a pod has and this process has not.
    pub fn in_cluster() -> Result<Access, String> {
        let variable = |name: &str| std::env::var(name).map_err(|_| format!("the variable {name} is not set"));
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let account = Path::new(ACCOUNT);
        Ok(Access {
            url: format!("https://{host}:{port}").parse().map_err(|error| format!("{host}:{port}: {error}"))?,
            trust: Arc::new(Trust::new(Roots::File(account.join("ca.crt"))).map_err(|error| format!("{error:#}"))?),
            server_name: None,
            proxy: None,
            credentials: Arc::new(Credentials::token_file(&account.join("token"))?),
            impersonation: HeaderMap::new(),
        })
    }

    fn from_parts(cluster: &Cluster, mut user: User) -> Result<Access, Unusable> {
        let url: Uri = cluster.server.parse().map_err(|error| Unusable::Malformed(format!("server {:?}: {error}", cluster.server)))?;
        if url.host().is_none() {
            return Err(Unusable::Malformed(format!("server {:?} has no host", cluster.server)));
        }
        let trust = Trust::new(roots(cluster)?).map_err(|error| Unusable::Malformed(format!("{error:#}")))?;
        let present = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let proxy = present(&cluster.proxy_url).map(|url| Proxy::new(&url)).transpose().map_err(Unusable::Malformed)?;
        let plugin = user.exec.take().map(|exec| Plugin::new(exec, for_plugin(cluster)?));
        let plugin = plugin.transpose().map_err(Unusable::Malformed)?;
        let impersonation = user.impersonation()?;
        let credentials = Credentials::new(user, plugin).map_err(Unusable::Malformed)?;
        Ok(Access {
            url,
            trust: Arc::new(trust),
            server_name: present(&cluster.tls_server_name),
            proxy,
            credentials: Arc::new(credentials),
            impersonation,
        })
    }
}

/// Paths of a kubeconfig begin where it lies.
fn place(path: &mut String, folder: &Path) {
    if !path.is_empty() {
        *path = folder.join(&*path).to_string_lossy().into_owned();
    }
}

fn roots(cluster: &Cluster) -> Result<Roots, Unusable> {
    if cluster.insecure_skip_tls_verify {
        return Ok(Roots::Anybody);
    }
    if !cluster.certificate_authority_data.is_empty() {
        let pem = given(&cluster.certificate_authority_data, "", "certificate-authority").map_err(Unusable::Malformed)?;
        return Ok(Roots::Given(pem.unwrap_or_default()));
    }
    match cluster.certificate_authority.is_empty() {
        true => Ok(Roots::Host),
        false => Ok(Roots::File(PathBuf::from(&cluster.certificate_authority))),
    }
}

fn for_plugin(cluster: &Cluster) -> Result<serde_json::Value, String> {
    let ca = given(&cluster.certificate_authority_data, &cluster.certificate_authority, "certificate-authority")?;
    Ok(cluster.for_plugin(ca.map(|pem| STANDARD.encode(pem)).as_deref()))
}
