//! What `clusternet-hub COMMAND` does instead of running the hub: through the API, with `admin.kubeconfig`, like anybody.

mod access;
pub mod duration;
pub mod explain;
mod identity;
mod rekey;
mod tokens;
mod users;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use kube::Client;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::config::Config;
use crate::folder::Folder;
use crate::tls::Files;

pub use access::AccessArgs;
pub use explain::RenderArgs;
pub use identity::Named;
pub use rekey::RekeyArgs;
pub use tokens::{CreateArgs, ReplaceArgs, TokenCommand};
pub use users::{CreateUserArgs, UserCommand};

const PAGE: u32 = 500;

/// What is done instead of running the hub.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Prints what one cluster gets of one Subscription, and which override set what.
    Render(RenderArgs),
    /// Join tokens: what lets a machine become a member.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Users: who may go through the hub to members.
    #[command(subcommand)]
    User(UserCommand),
    /// Prints a kubeconfig that leads through the hub to a member.
    Kubeconfig(AccessArgs),
    /// Grants a request that waits, named by cluster or request.
    Approve(Named),
    /// Refuses a request that waits, named by cluster or request.
    Deny(Named),
    /// Makes a token with which a new machine takes the place of a cluster; the keys of the old one end when it comes.
    Replace(ReplaceArgs),
    /// Locks a cluster out at once: its connection ends and no key of it is accepted any more.
    Revoke(Named),
    /// Seals the database of a stopped hub under a new key.
    Rekey(RekeyArgs),
    /// The CA that signs for hub and agents.
    #[command(subcommand)]
    Ca(CaCommand),
}

/// What is done with the CA.
#[derive(Debug, Clone, Subcommand)]
pub enum CaCommand {
    /// Makes the next CA: what the old one signed is good until it ends, agents get the new one when they renew.
    Rotate,
}

/// How the API is reached.
#[derive(Debug, Clone, Default, Args)]
pub struct Reach {
    /// Where the API is [default: admin.kubeconfig in the data folder].
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}

/// Does it, and says what to print.
///
/// # Errors
/// What kept it from being done, and what to do.
pub async fn run(config: &Config, command: &Command) -> anyhow::Result<String> {
    match command {
        Command::Render(args) => explain::explain(config, args).await,
        Command::Token(command) => tokens::run(config, command).await,
        Command::User(command) => users::run(config, command).await,
        Command::Kubeconfig(args) => access::access(config, args).await,
        Command::Approve(named) => identity::approve(config, named, true).await,
        Command::Deny(named) => identity::approve(config, named, false).await,
        Command::Replace(args) => tokens::replace(config, args).await,
        Command::Rekey(args) => rekey::rekey(config, args),
        Command::Revoke(named) => identity::revoke(config, named).await,
        Command::Ca(CaCommand::Rotate) => rotate(config).await,
    }
}

/// How long a running hub may take to see a rotation.
const SEEN: std::time::Duration = std::time::Duration::from_secs(5);

async fn rotate(config: &Config) -> anyhow::Result<String> {
    let files = Files::new(&Folder::open(&config.data_dir)?, config.given_ca());
    files.rotate()?;
    let begun = std::time::Instant::now();
    while files.is_rotating() && begun.elapsed() < SEEN {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let when = if files.is_rotating() { "no hub runs here: the next start puts it in place" } else { "the running hub uses it now" };
    let copy = config.data_dir.join("ca.key");
    Ok(format!("a new CA is made; {when}\nkeep a copy of {} in a safe place, and make join tokens anew\n", copy.display()))
}

/// The kubeconfig that is meant.
fn kubeconfig(config: &Config, reach: &Reach) -> PathBuf {
    reach.kubeconfig.clone().unwrap_or_else(|| config.data_dir.join("admin.kubeconfig"))
}

async fn client(path: &Path) -> anyhow::Result<Client> {
    let config = kube::Config::from_custom_kubeconfig(read(path)?, &KubeConfigOptions::default()).await;
    let config = config.with_context(|| format!("kubeconfig {} has no usable current context", path.display()))?;
    Ok(Client::try_from(config)?)
}

fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    let shown = path.display();
    Kubeconfig::read_from(path)
        .with_context(|| format!("kubeconfig {shown} can't be read: name one with --kubeconfig, or the hub's folder with --data-dir"))
}

async fn list<K>(api: Api<K>) -> anyhow::Result<Vec<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await.with_context(|| format!("{} can't be listed; does the hub run?", K::plural(&())))?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(all),
        }
    }
}

/// The one of these that is meant by a name, or by `namespace/name`.
fn chosen<T>(found: Vec<T>, wanted: &str, what: &str, see: &str) -> anyhow::Result<T> {
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => bail!("{wanted}: there are several {what}: write namespace/name, as {see} shows them"),
        (None, _) => bail!("{wanted}: there is no such {what}: see {see}"),
    }
}
