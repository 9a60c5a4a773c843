//! `token create`, `token list`, `token revoke` and `replace`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};

use super::duration;
use super::identity::{Named, cluster};
use super::reach::{Reach, Reached, list};
use crate::core::enrol::cidr;
use crate::core::id::ClusterKey;
use crate::enrol::token::{Fresh, hashed};
use crate::kinds::{AUTO, JoinToken, JoinTokenSpec, MANUAL};

/// How long a token for one new machine is good.
const REPLACE_TTL: Duration = Duration::from_secs(86_400);

/// What is done with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Makes a token, and prints the command that joins a cluster with it.
    Create(Box<CreateArgs>),
    /// Shows what tokens there are.
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Ends a token; clusters that joined with it stay.
    Revoke {
        /// The first part of the token.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// What a token is to allow.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// How long it is good, as 90s, 15m, 24h or 7d.
    #[arg(long, default_value = "24h", value_parser = duration::parse)]
    ttl: Duration,
    /// How many clusters may join with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    uses: i32,
    /// Label of every cluster that joins with it, KEY=VALUE; wins over what the agent says; may stand several times.
    #[arg(long = "label", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Network that agents may come from, as 10.0.0.0/8; may stand several times.
    #[arg(long = "cidr", value_parser = network)]
    cidrs: Vec<String>,
    /// Whether requests are granted at once or wait for `approve`.
    #[arg(long, default_value = "auto")]
    approve: Approval,
    /// The only name that a cluster may join under.
    #[arg(long)]
    name: Option<String>,
    /// The hub's API as the members reach it, https://HOST:PORT [default: the kubeconfig's].
    #[arg(long)]
    hub: Option<String>,
    /// Prints the token alone.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Whose place is given away.
#[derive(Debug, Clone, Args)]
pub struct ReplaceArgs {
    #[command(flatten)]
    pub named: Named,
    /// The hub's API as the machine reaches it, https://HOST:PORT [default: the kubeconfig's].
    #[arg(long)]
    hub: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Approval {
    Auto,
    Manual,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn network(text: &str) -> Result<String, String> {
    cidr::parse(text).map(|_| text.to_owned()).ok_or_else(|| format!("{text:?} is no network: write it as 10.0.0.0/8"))
}

impl TokenCommand {
    pub fn reach(&self) -> &Reach {
        match self {
            TokenCommand::Create(args) => &args.reach,
            TokenCommand::List { reach } | TokenCommand::Revoke { reach, .. } => reach,
        }
    }
}

pub async fn run(hub: &Reached, command: &TokenCommand) -> anyhow::Result<String> {
    match command {
        TokenCommand::Create(args) => create(hub, args).await,
        TokenCommand::List { .. } => Ok(shown(&list(Api::all(hub.client.clone())).await?)),
        TokenCommand::Revoke { id, .. } => revoke(hub, id).await,
    }
}

async fn revoke(hub: &Reached, id: &str) -> anyhow::Result<String> {
    let is_missing = |status: &kube::core::Status| status.details.as_ref().is_some_and(|details| details.name == id);
    match Api::<JoinToken>::all(hub.client.clone()).delete(id, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 && is_missing(&status) => {
            bail!("{id}: there is no such token: see {} token list", hub.program)
        }
        deleted => deleted.map(|_| format!("revoked: {id}\n")).context("the token can't be deleted"),
    }
}

async fn create(hub: &Reached, args: &CreateArgs) -> anyhow::Result<String> {
    let spec = JoinTokenSpec {
        uses: Some(args.uses),
        labels: args.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
        cidrs: args.cidrs.clone(),
        approval: match args.approve {
            Approval::Auto => AUTO.to_owned(),
            Approval::Manual => MANUAL.to_owned(),
        },
        cluster_name: args.name.clone(),
        ..bare(args.ttl)?
    };
    let text = make(hub, spec).await?;
    if args.quiet {
        return Ok(format!("{text}\n"));
    }
    let command = command(args.hub.as_deref().unwrap_or(&hub.address), &text, args.name.as_deref());
    let (hours, minutes) = (args.ttl.as_secs() / 3600, args.ttl.as_secs() % 3600 / 60);
    Ok(format!("# On the member, within {hours} h {minutes} min; add --label KEY=VALUE as you like:\n{command}"))
}

/// Makes a token with which one machine takes the place of a cluster.
pub async fn replace(hub: &Reached, args: &ReplaceArgs) -> anyhow::Result<String> {
    let key = ClusterKey::of(&cluster(&hub.client, &args.named.name).await?);
    let spec = JoinTokenSpec { uses: Some(1), replaces: Some(key.to_string()), cluster_name: Some(key.name.clone()), ..bare(REPLACE_TTL)? };
    let text = make(hub, spec).await?;
    let command = command(args.hub.as_deref().unwrap_or(&hub.address), &text, Some(&key.name));
    let old = "its old keys end when the new machine has joined; if they may be in wrong hands, revoke the cluster first";
    Ok(format!("# On the new machine, within 24 h; {old}:\n{command}"))
}

fn bare(ttl: Duration) -> anyhow::Result<JoinTokenSpec> {
    let ends = Timestamp::now().as_second().saturating_add(i64::try_from(ttl.as_secs())?);
    Ok(JoinTokenSpec {
        secret_hash: String::new(),
        expires_at: Time(Timestamp::from_second(ends)?),
        uses: None,
        labels: BTreeMap::new(),
        cidrs: Vec::new(),
        approval: AUTO.to_owned(),
        cluster_name: None,
        replaces: None,
    })
}

/// Stores a token, and gives its text. The secret never leaves this process but on standard output.
async fn make(hub: &Reached, spec: JoinTokenSpec) -> anyhow::Result<String> {
    let (fresh, pin) = (Fresh::draw()?, hub.pin()?);
    let token = JoinToken::new(&fresh.id, JoinTokenSpec { secret_hash: hashed(&fresh.secret), ..spec });
    let made = Api::<JoinToken>::all(hub.client.clone()).create(&PostParams::default(), &token).await;
    made.context("the token can't be stored")?;
    Ok(fresh.text(&pin))
}

fn command(hub: &str, text: &str, name: Option<&str>) -> String {
    let here = ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::]"].iter().any(|host| hub.starts_with(&format!("https://{host}")));
    let note = if here { format!("# {hub} leads nowhere from other machines: name the hub's address with --hub\n") } else { String::new() };
    format!("{note}clusternet-agent --hub {hub} --token {text} --name {}\n", name.unwrap_or("NAME"))
}

fn shown(tokens: &[JoinToken]) -> String {
    let mut out = format!("{:<10} {:<22} {:<7} {:<8} {}\n", "ID", "EXPIRES", "USED", "APPROVAL", "FOR");
    for token in tokens {
        let spec = &token.spec;
        let used = token.status.as_ref().map_or(0, |status| status.used);
        let used = spec.uses.map_or(format!("{used}"), |uses| format!("{used}/{uses}"));
        let mut whom: Vec<String> = spec.cluster_name.iter().map(|name| format!("name={name}")).collect();
        whom.extend(spec.replaces.iter().map(|place| format!("the place of {place}")));
        whom.extend(spec.cidrs.iter().cloned());
        whom.extend(spec.labels.iter().map(|(key, value)| format!("label {key}={value}")));
        let ends = if spec.expires_at.0 < Timestamp::now() { "expired".to_owned() } else { spec.expires_at.0.to_string() };
        let _infallible = writeln!(out, "{:<10} {ends:<22} {used:<7} {:<8} {}", token.name_any(), spec.approval, whom.join(", "));
    }
    out
}
