//! `user create`, `user list`, `user revoke`: who may go through the hub to members.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};

use super::duration;
use super::reach::{Reach, Reached, list};
use crate::api::users::is_name;
use crate::enrol::token::{Fresh, hashed};
use crate::kinds::{User, UserSpec};

/// What is done with users.
#[derive(Debug, Clone, Subcommand)]
pub enum UserCommand {
    /// Makes a user, and prints its token: it is shown only now.
    Create(CreateUserArgs),
    /// Shows what users there are.
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Ends a user and its token; requests under way go on to their end.
    Revoke {
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Who is to be let through.
#[derive(Debug, Clone, Args)]
pub struct CreateUserArgs {
    /// Members see the user as hub:NAME.
    #[arg(value_parser = name)]
    name: String,
    /// Group, which members see as hub:GROUP; may stand several times.
    #[arg(long = "group", value_parser = group)]
    groups: Vec<String>,
    /// How long the token is good, as 15m, 24h or 90d.
    #[arg(long, default_value = "30d", value_parser = duration::parse)]
    ttl: Duration,
    #[command(flatten)]
    reach: Reach,
}

fn name(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no name of a user: a-z, 0-9, - and . are allowed, and admin is the holder of the admin token");
    is_name(text).then(|| text.to_owned()).ok_or_else(wrong)
}

fn group(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let right = text.len() <= 63 && text.bytes().all(allowed) && ends(text.bytes().next()) && ends(text.bytes().last());
    right
        .then(|| text.to_owned())
        .ok_or_else(|| format!("{text:?} is no group: a-z, 0-9, - and . are allowed, without the hub: that members see"))
}

impl UserCommand {
    pub fn reach(&self) -> &Reach {
        match self {
            UserCommand::Create(args) => &args.reach,
            UserCommand::List { reach } | UserCommand::Revoke { reach, .. } => reach,
        }
    }
}

pub async fn run(hub: &Reached, command: &UserCommand) -> anyhow::Result<String> {
    match command {
        UserCommand::Create(args) => create(hub, args).await,
        UserCommand::List { .. } => Ok(shown(&list(Api::all(hub.client.clone())).await?)),
        UserCommand::Revoke { name, .. } => {
            let api = Api::<User>::all(hub.client.clone());
            match api.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    bail!("{name}: there is no such user: see {} user list", hub.program)
                }
                deleted => deleted.map(|_| format!("revoked: {name}\n")).context("the user can't be deleted"),
            }
        }
    }
}

async fn create(hub: &Reached, args: &CreateUserArgs) -> anyhow::Result<String> {
    let api = Api::<User>::all(hub.client.clone());
    let secret = Fresh::draw()?.secret;
    let ends = Timestamp::now().as_second().saturating_add(i64::try_from(args.ttl.as_secs())?);
    let spec = UserSpec { groups: args.groups.clone(), secret_hash: hashed(&secret), expires_at: Time(Timestamp::from_second(ends)?) };
    match api.create(&PostParams::default(), &User::new(&args.name, spec)).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            bail!("{0}: there is such a user: for another token revoke it first ({1} user revoke {0})", args.name, hub.program)
        }
        made => made.map(|_| format!("{}.{secret}\n", args.name)).context("the user can't be stored"),
    }
}

fn shown(users: &[User]) -> String {
    let mut out = format!("{:<24} {:<22} {}\n", "NAME", "EXPIRES", "GROUPS");
    for user in users {
        let expires = &user.spec.expires_at.0;
        let ends = if *expires < Timestamp::now() { "expired".to_owned() } else { expires.to_string() };
        let _infallible = writeln!(out, "{:<24} {ends:<22} {}", user.name_any(), user.spec.groups.join(","));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_be_made_an_administrator_by_name_or_group() {
        assert!(name("admin").is_err() && name("system:x").is_err() && group("system:masters").is_err() && group("hub:dev").is_err());
        assert_eq!((name("anna").unwrap(), group("dev-1").unwrap()), ("anna".into(), "dev-1".into()));
    }
}
