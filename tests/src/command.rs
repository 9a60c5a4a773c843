//! Runs short commands to their end and turns failure into a sentence with what they said.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program and returns its standard output.
///
/// # Errors
/// When it can't be started or exits with anything but 0; the message holds the command line and standard error.
pub fn run<S: AsRef<str>>(program: &str, args: &[S]) -> Result<String> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let output = Command::new(program)
        .args(&args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't start {program}: run tests/testbed/install"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed ({}): {}", args.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Splits a fixed command line at blanks and runs it, for commands without quoting.
pub fn run_line(line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    run(words[0], &words[1..])
}

/// Fails with the remedy unless this process is root, which namespaces, mounts and containers need.
pub fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("these tests make network namespaces and containers: run them as root");
    }
    Ok(())
}
