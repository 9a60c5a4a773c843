//! `kubeconfig --cluster`: a context that leads through the hub to a member.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::identity::cluster;
use super::{Reach, client, kubeconfig, list, read};
use crate::config::Config;
use crate::core::id::ClusterKey;
use crate::kinds::ManagedCluster;

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
    reach: Reach,
}

/// Prints a kubeconfig whose only context is the member.
///
/// # Errors
/// There is no such cluster, or the kubeconfig of the hub lacks what is needed.
pub async fn access(config: &Config, args: &AccessArgs) -> anyhow::Result<String> {
    let path = kubeconfig(config, &args.reach);
    let client = client(&path).await?;
    let key = ClusterKey::of(&cluster(&client, &args.cluster).await?);
    let all = list(kube::Api::<ManagedCluster>::all(client)).await?;
    let is_alone = all.iter().filter(|other| ClusterKey::of(other).name == key.name).count() == 1;
    let segment = if is_alone { key.name.clone() } else { format!("{}:{}", key.namespace, key.name) };
    let of_hub = OfHub::read(&path)?;
    let hub = args.hub.clone().unwrap_or(of_hub.server);
    let token = match &args.token_file {
        Some(file) => token(file)?,
        None => of_hub.token.with_context(|| format!("kubeconfig {} has no token: give one with --token-file", path.display()))?,
    };
    let server = format!("{}/clusters/{segment}", hub.trim_end_matches('/'));
    let text = serde_json::to_string_pretty(&written(&key.name, &server, &of_hub.ca, &token))?;
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

/// What a kubeconfig of the hub says.
struct OfHub {
    server: String,
    ca: String,
    token: Option<String>,
}

impl OfHub {
    fn read(path: &Path) -> anyhow::Result<OfHub> {
        let file = read(path)?;
        let wrong = || format!("kubeconfig {}: no server and CA of the hub in it; use admin.kubeconfig of its data folder", path.display());
        let cluster = file.clusters.into_iter().next().and_then(|named| named.cluster).with_context(wrong)?;
        let (server, ca) = (cluster.server.with_context(wrong)?, cluster.certificate_authority_data.with_context(wrong)?);
        let user = file.auth_infos.into_iter().next().and_then(|named| named.auth_info);
        // Through its file form: the type of the token keeps it from being read.
        let token = user.and_then(|user| serde_json::to_value(user).ok()?["token"].as_str().map(str::to_owned));
        Ok(OfHub { server, ca, token })
    }
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
