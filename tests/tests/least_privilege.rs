//! The hub needs no rights: it runs as nobody, on a file system that is read-only but for its data folder.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Kubectl, Launch, Scratch, workspace_program};

const SOON: Duration = Duration::from_secs(30);
const NOBODY: u32 = 65_534;

/// In a mount namespace of its own; `$1` is the data folder, `$2` the program.
const CONFINED: &str = "mount --make-rprivate / && mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro / && \
    exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \"$2\" --data-dir \"$1\" \
    --api-listen 127.0.0.1:0 --bus-listen 127.0.0.1:0";

#[test]
fn the_hub_runs_as_nobody_on_a_read_only_file_system() -> Result<()> {
    let scratch = Scratch::create("least")?;
    let data = scratch.path().join("data");
    std::fs::create_dir(&data)?;
    chown(&data, Some(NOBODY), Some(NOBODY))?;
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711))?;
    // Nobody may not be able to reach the build's folder.
    let program = scratch.path().join("clusternet-hub");
    std::fs::copy(workspace_program("clusternet-hub")?, &program)?;
    let launch = Launch::new("hub", "unshare", scratch.path()).args(["--mount", "sh", "-c", CONFINED, "sh"]);
    let mut hub = launch.arg(&data).arg(&program).start()?;
    hub.wait_for_line("kubeconfig: ", SOON)?;

    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.id()))?;
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).map(str::to_owned).context("a status line");
    ensure!(line("Uid:")?.split_whitespace().skip(1).all(|uid| uid == "65534"), "{status}");
    ensure!(line("CapEff:")?.ends_with(" 0000000000000000") || line("CapEff:")?.ends_with("\t0000000000000000"), "{status}");
    let inside = |command: &[&str]| Command::new("nsenter").args(["-t", &hub.id().to_string(), "--mount"]).args(command).output();
    let refused = inside(&["touch", "/written"])?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("Read-only file system"), "the file system can be written: {refused:?}");

    let kubectl = Kubectl::new(&data.join("admin.kubeconfig"))?;
    kubectl.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n")?;
    ensure!(kubectl.run(["get", "configmap", "a", "-n", "default", "-o", "name"])?.contains("configmap/a"));
    ensure!(hub.stop(SOON)?.success(), "{}", hub.log_tail());
    Ok(())
}
