//! `sandbox --data-dir DIR`: a stand-in for a member's API server, for the quick start. Prints `kubeconfig: PATH` when it is ready.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use tests::sandbox::{NOTICE, Sandbox};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: sandbox --data-dir DIR";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, folder] = arguments.as_slice() else { return refuse(64, USAGE) };
    if flag != "--data-dir" {
        return refuse(64, USAGE);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system gives a runtime its sockets");
    match runtime.block_on(run(folder.into())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(1, &format!("sandbox: {error:#}")),
    }
}

fn refuse(code: u8, sentence: &str) -> ExitCode {
    eprintln!("{sentence}");
    ExitCode::from(code)
}

async fn run(folder: PathBuf) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let sandbox = Sandbox::open(&folder).await?;
    println!("sandbox: {NOTICE}");
    println!("kubeconfig: {}", sandbox.kubeconfig().display());
    tokio::select! {
        ended = sandbox.serve() => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
