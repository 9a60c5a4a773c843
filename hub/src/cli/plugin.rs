//! `kubectl clusternet`: what a hub is asked, from a workstation with a kubeconfig of it.

use clap::Parser;

use super::{Asked, Program, ask};

/// Asks a hub of clusternet-edge: join tokens, who may join, who is locked out, what a cluster gets.
#[derive(Debug, Parser)]
#[command(name = "kubectl-clusternet", bin_name = "kubectl clusternet", version)]
pub struct Flags {
    #[command(subcommand)]
    asked: Asked,
}

/// Does it and prints what there is to say.
pub fn main(flags: &Flags) -> std::process::ExitCode {
    super::print("error", ask(Program::Plugin, &flags.asked))
}
