//! `kubeconfig --cluster`: a context that leads through the hub to a member.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::identity::cluster;
use super::reach::{Reach, Reached, list};
use crate::core::id::ClusterKey;
use crate::kinds::ManagedCluster;
use crate::tls::pem;

/// Which member, and who goes there.
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// The ManagedCluster, as NAME or NAMESPACE/NAME.
    #[arg(long)]
    cluster: String,
    /// File with the token of a user, - for standard input [default: the token of the kubeconfig that is read].
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// The hub's API as the user reaches it, https://HOST:PORT [default: the kubeconfig's].
    #[arg(long)]
    hub: Option<String>,
    #[command(flatten)]
    pub reach: Reach,
}

/// Prints a kubeconfig whose only context is the member.
///
/// # Errors
/// There is no such cluster, or the kubeconfig of the hub lacks what is needed.
pub async fn access(hub: &Reached, args: &AccessArgs) -> anyhow::Result<String> {
    let key = ClusterKey::of(&cluster(&hub.client, &args.cluster).await?);
    let all = list(kube::Api::<ManagedCluster>::all(hub.client.clone())).await?;
    let is_alone = all.iter().filter(|other| ClusterKey::of(other).name == key.name).count() == 1;
    let segment = if is_alone { key.name.clone() } else { format!("{}:{}", key.namespace, key.name) };
    let address = args.hub.as_ref().unwrap_or(&hub.address);
    let token = match &args.token_file {
        Some(file) => token(file)?,
        None => hub.token.clone().context("the kubeconfig of the hub has no token: give one with --token-file")?,
    };
    let ca: String = hub.roots.iter().map(|root| pem(root)).collect();
    let server = format!("{}/clusters/{segment}", address.trim_end_matches('/'));
    let text = serde_json::to_string_pretty(&written(&key.name, &server, &STANDARD.encode(ca), &token))?;
    Ok(format!("{text}\n"))
}

fn written(name: &str, server: &str, ca: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    })
}

fn token(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?;
    }
    match text.trim() {
        "" => bail!("--token-file {}: there is no token in it: clusternet-hub user create prints one", file.display()),
        token => Ok(token.to_owned()),
    }
}
