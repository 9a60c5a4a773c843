//! What `clusternet-hub COMMAND` does instead of running the hub, and `kubectl clusternet COMMAND` from anywhere: through the API, like
//! anybody.

mod access;
pub mod duration;
pub mod explain;
mod identity;
pub mod plugin;
mod reach;
mod rekey;
mod tokens;
mod users;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;

use crate::config::Config;
use crate::folder::Folder;
use crate::tls::Files;

pub use access::AccessArgs;
pub use explain::RenderArgs;
pub use identity::Named;
pub use reach::{Program, Reach, Reached};
pub use rekey::RekeyArgs;
pub use tokens::{CreateArgs, ReplaceArgs, TokenCommand};
pub use users::{CreateUserArgs, UserCommand};

/// What is done instead of running the hub.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Asked(Asked),
    /// Seals the database of a stopped hub under a new key.
    Rekey(RekeyArgs),
    /// The CA that signs for hub and agents.
    #[command(subcommand)]
    Ca(CaCommand),
}

/// What a hub is asked through its API.
#[derive(Debug, Clone, Subcommand)]
pub enum Asked {
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
}

/// What is done with the CA.
#[derive(Debug, Clone, Subcommand)]
pub enum CaCommand {
    /// Makes the next CA: what the old one signed is good until it ends, agents get the new one when they renew.
    Rotate,
}

/// Does it, and says what to print.
///
/// # Errors
/// What kept it from being done, and what to do.
pub async fn run(config: &Config, command: &Command) -> anyhow::Result<String> {
    match command {
        Command::Asked(asked) => ask(Program::Hub(&config.data_dir), asked).await,
        Command::Rekey(args) => rekey::rekey(config, args),
        Command::Ca(CaCommand::Rotate) => rotate(config).await,
    }
}

/// Asks the hub that is meant, and says what to print.
///
/// # Errors
/// As [`run`].
pub async fn ask(program: Program<'_>, asked: &Asked) -> anyhow::Result<String> {
    let hub = Reached::new(program, asked.reach()).await?;
    let done = match asked {
        Asked::Render(args) => explain::explain(&hub, args).await,
        Asked::Token(command) => tokens::run(&hub, command).await,
        Asked::User(command) => users::run(&hub, command).await,
        Asked::Kubeconfig(args) => access::access(&hub, args).await,
        Asked::Approve(named) => identity::approve(&hub, named, true).await,
        Asked::Deny(named) => identity::approve(&hub, named, false).await,
        Asked::Replace(args) => tokens::replace(&hub, args).await,
        Asked::Revoke(named) => identity::revoke(&hub, named).await,
    };
    done.map_err(|error| hub.explained(error))
}

impl Asked {
    fn reach(&self) -> &Reach {
        match self {
            Asked::Render(args) => &args.reach,
            Asked::Token(command) => command.reach(),
            Asked::User(command) => command.reach(),
            Asked::Kubeconfig(args) => &args.reach,
            Asked::Approve(named) | Asked::Deny(named) | Asked::Revoke(named) => &named.reach,
            Asked::Replace(args) => &args.named.reach,
        }
    }
}

/// Does a command and prints what it says; what went wrong is told as `who`.
pub fn print(who: &str, command: impl Future<Output = anyhow::Result<String>>) -> ExitCode {
    let print = async {
        rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
        command.await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(print)) {
        Ok(text) => {
            // Who closes the pipe, as `head` does, has read enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{who}: {error:#}");
            ExitCode::FAILURE
        }
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
