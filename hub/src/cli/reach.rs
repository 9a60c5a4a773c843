//! The hub that a command is for: found as the program's users expect, and spoken to through its API.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::tls::key_hash;

/// Objects of one answer.
const PAGE: u32 = 500;

/// How the API is reached.
#[derive(Debug, Clone, Default, Args)]
pub struct Reach {
    /// Kubeconfig of the hub [default: clusternet-hub takes admin.kubeconfig in the data folder, kubectl clusternet what kubectl takes].
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Which of its contexts [default: the current one].
    #[arg(long)]
    pub context: Option<String>,
}

/// Which program is asked, and so where it looks when the command line does not say.
#[derive(Debug, Clone, Copy)]
pub enum Program<'a> {
    /// `clusternet-hub`, with its data folder.
    Hub(&'a Path),
    /// `kubectl clusternet`.
    Plugin,
}

/// A hub that can be asked.
pub struct Reached {
    pub client: Client,
    /// `https://HOST:PORT`.
    pub address: String,
    /// What to type before a command.
    pub program: &'static str,
    /// CA certificates, DER, the one that signs first.
    pub roots: Vec<Vec<u8>>,
    /// The bearer token that is shown to the hub.
    pub token: Option<String>,
    from: String,
}

impl Reached {
    /// Reads the kubeconfig that is meant; nothing is asked yet.
    ///
    /// # Errors
    /// There is none, or it has no such context.
    pub async fn new(program: Program<'_>, reach: &Reach) -> anyhow::Result<Reached> {
        let (kubeconfig, mut from) = found(program, reach)?;
        if let Some(context) = &reach.context {
            from = format!("{from}, context {context}");
        }
        let options = KubeConfigOptions { context: reach.context.clone(), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.with_context(|| format!("{from} is of no use; choose another with --context or --kubeconfig"))?;
        Ok(Reached {
            address: config.cluster_url.to_string().trim_end_matches('/').to_owned(),
            program: program.name(),
            roots: config.root_cert.clone().unwrap_or_default(),
            // Through its file form: the type of the token keeps it from being read.
            token: serde_json::to_value(&config.auth_info).ok().and_then(|user| Some(user["token"].as_str()?.to_owned())),
            client: Client::try_from(config).with_context(|| from.clone())?,
            from,
        })
    }

    /// The hash of the key of the hub's CA. The one that signs comes first in a kubeconfig of the hub.
    ///
    /// # Errors
    /// The kubeconfig names no CA.
    pub fn pin(&self) -> anyhow::Result<String> {
        let wrong = || anyhow!("{}: no CA certificate of the hub in it; use admin.kubeconfig of its data folder", self.from);
        let (_, certificate) = x509_parser::parse_x509_certificate(self.roots.first().ok_or_else(wrong)?).map_err(|_| wrong())?;
        Ok(key_hash(certificate.public_key().raw))
    }

    /// What went wrong, in words of who typed the command.
    pub fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let (address, from) = (&self.address, &self.from);
        match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => match status.code {
                401 => anyhow!(
                    "{address} does not know the credentials of {from}; those of the hub are in admin.kubeconfig of its data folder"
                ),
                403 => anyhow!("{address}: what {from} gives may not do this: {}", status.message),
                404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
                    anyhow!(
                        "{address}, of {from}, is no hub: it has none of a hub's objects; choose the hub with --context or --kubeconfig"
                    )
                }
                _ => error,
            },
            Some(kube::Error::Service(_) | kube::Error::HyperError(_)) => {
                error.context(format!("{address}, of {from}, can't be reached; does the hub run?"))
            }
            _ => error,
        }
    }
}

impl Program<'_> {
    fn name(self) -> &'static str {
        match self {
            Program::Hub(_) => "clusternet-hub",
            Program::Plugin => "kubectl clusternet",
        }
    }
}

/// The kubeconfig that is meant, and how to call it.
fn found(program: Program<'_>, reach: &Reach) -> anyhow::Result<(Kubeconfig, String)> {
    match (&reach.kubeconfig, program) {
        (Some(path), _) => read(path, "name another with --kubeconfig"),
        (None, Program::Hub(folder)) => {
            read(&folder.join("admin.kubeconfig"), "name one with --kubeconfig, or the hub's folder with --data-dir")
        }
        (None, Program::Plugin) => of_kubectl(std::env::var_os("KUBECONFIG"), std::env::home_dir()),
    }
}

fn read(path: &Path, remedy: &str) -> anyhow::Result<(Kubeconfig, String)> {
    let from = format!("kubeconfig {}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("{from} can't be read: {remedy}"))?;
    Ok((kubeconfig, from))
}

/// As kubectl finds it: the files of `KUBECONFIG`, of which the first to name something wins and any may be missing, else the user's own.
fn of_kubectl(variable: Option<OsString>, home: Option<PathBuf>) -> anyhow::Result<(Kubeconfig, String)> {
    let named = variable.iter().flat_map(std::env::split_paths).filter(|path| !path.as_os_str().is_empty());
    let mut paths: Vec<PathBuf> = named.collect();
    if paths.is_empty() {
        paths.extend(home.map(|home| home.join(".kube/config")));
    }
    let shown = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    paths.retain(|path| path.exists());
    if paths.is_empty() {
        bail!(
            "there is no kubeconfig ({shown}): copy admin.kubeconfig from the hub's data folder, and name it with --kubeconfig or KUBECONFIG"
        );
    }
    let mut merged = Kubeconfig::default();
    for path in &paths {
        merged =
            merged.merge(read(path, "correct it, or name another with --kubeconfig")?.0).with_context(|| format!("kubeconfig {shown}"))?;
    }
    Ok((merged, format!("kubeconfig {shown}")))
}

/// All objects of a kind.
///
/// # Errors
/// The API's.
pub async fn list<K>(api: Api<K>) -> anyhow::Result<Vec<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await.with_context(|| format!("{} can't be listed", K::plural(&())))?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(all),
        }
    }
}

/// The one of these that is meant by a name, or by `namespace/name`.
///
/// # Errors
/// There is none, or there are several.
pub fn chosen<T>(found: Vec<T>, wanted: &str, what: &str, see: &str) -> anyhow::Result<T> {
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => bail!("{wanted}: there are several {what}: write namespace/name, as {see} shows them"),
        (None, _) => bail!("{wanted}: there is no such {what}: see {see}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(folder: &Path, name: &str, current: &str) -> PathBuf {
        let path = folder.join(name);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {current}\nclusters:\n- name: {name}\n  cluster: {{server: \"https://{name}\"}}\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_kubeconfig_is_found_as_kubectl_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (kubeconfig(folder.path(), "one", "a"), kubeconfig(folder.path(), "two", "b"));
        let paths = std::env::join_paths([&folder.path().join("missing"), &two, &one]).unwrap();
        let (merged, _) = of_kubectl(Some(paths), None).unwrap();
        assert_eq!((merged.current_context.as_deref(), merged.clusters.len()), (Some("b"), 2), "the first wins, all are there");
        std::fs::create_dir(folder.path().join(".kube")).unwrap();
        kubeconfig(&folder.path().join(".kube"), "config", "own");
        for unset in [None, Some(OsString::new())] {
            let (own, from) = of_kubectl(unset, Some(folder.path().to_owned())).unwrap();
            assert!(own.current_context.as_deref() == Some("own") && from.ends_with(".kube/config"), "{from}");
        }
        let missing = of_kubectl(Some(folder.path().join("missing").into()), Some(folder.path().to_owned()));
        assert!(missing.unwrap_err().to_string().contains("missing): copy admin.kubeconfig"), "what is named and missing is not replaced");
    }
}
