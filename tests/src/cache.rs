//! Where the programs that the tests run are found: the install script's cache, Debian's packages, this workspace's target folder.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

const KUBERNETES: &str = "v1.37.2";

/// A file that `tests/testbed/install` provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// A program built from Kubernetes, by name.
    Kubernetes(&'static str),
    /// kubectl of a version, `v1.37.1` or `v1.32.3`.
    Kubectl(&'static str),
    /// helm of a version, `v4.3.1` or `v3.17.2`.
    Helm(&'static str),
    /// Python with paho-mqtt installed.
    PahoPython,
    /// A container image as an archive, by name.
    Image(&'static str),
}

impl Tool {
    /// The file's path.
    ///
    /// # Errors
    /// When it isn't there; the message names the script that provides it.
    pub fn path(self) -> Result<PathBuf> {
        let path = cache_root()?.join(self.place());
        if !path.exists() {
            bail!("{} is not there: run tests/testbed/install", path.display());
        }
        Ok(path)
    }

    fn place(self) -> String {
        match self {
            Self::Kubernetes(program) => format!("kubernetes-{KUBERNETES}/{program}"),
            Self::Kubectl(version) => format!("kubectl-{version}/kubectl"),
            Self::Helm(version) => format!("helm-{version}/helm"),
            Self::PahoPython => "python-paho-2.2.0/bin/python".to_owned(),
            Self::Image(name) => format!("images-1/{name}.tar"),
        }
    }
}

fn cache_root() -> Result<PathBuf> {
    // An empty variable counts as unset, as in the install script.
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(root) = folder("CLUSTERNET_EDGE_CACHE") {
        return Ok(root);
    }
    let home = || folder("HOME").map(|home| home.join(".cache"));
    Ok(folder("XDG_CACHE_HOME").or_else(home).context("HOME is not set")?.join("clusternet-edge"))
}

/// A program of this workspace, from the target folder that the running test was built into, or from the folder that
/// `CLUSTERNET_EDGE_PROGRAMS` names.
///
/// Cargo builds programs of other packages only when asked: `cargo build -p hub -p edge-agent` before the tests.
///
/// # Errors
/// When it isn't built.
pub fn workspace_program(name: &str) -> Result<PathBuf> {
    let program = match env::var_os("CLUSTERNET_EDGE_PROGRAMS") {
        Some(folder) => PathBuf::from(folder).join(name),
        None => beside_the_test(name)?,
    };
    if !program.exists() {
        bail!("{} is not there: run cargo build --workspace --bins first", program.display());
    }
    Ok(program)
}

/// Test programs are in `target/PROFILE/deps`, others in `target/PROFILE`.
fn beside_the_test(name: &str) -> Result<PathBuf> {
    let this = env::current_exe().context("can't find the running program's own path")?;
    let profile = this.ancestors().skip(1).find(|folder| folder.file_name().is_some_and(|name| name != "deps"));
    Ok(profile.context("the running program is in no folder")?.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_the_install_script() {
        let error = Tool::Image("no-such-image").path().unwrap_err().to_string();
        assert!(error.contains("no-such-image.tar") && error.contains("tests/testbed/install"), "{error}");
    }

    #[test]
    fn a_missing_program_names_the_build_command() {
        let error = workspace_program("no-such-program").unwrap_err().to_string();
        assert!(error.contains("cargo build"), "{error}");
    }
}
