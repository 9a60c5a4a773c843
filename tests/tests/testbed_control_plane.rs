//! Control planes of the testbed: quick to start, kept over a stop and a kill, spoken to by two versions of kubectl.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::{ControlPlane, Controllers, Kubectl, KubectlVersion, Member};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn data_outlives_a_stop_and_a_kill() -> Result<()> {
    let begun = Instant::now();
    let plane = Arc::new(ControlPlane::start(None, Controllers::None).await?);
    eprintln!("control plane ready after {:?}", begun.elapsed());
    plane.kubectl().run(["create", "configmap", "kept", "--from-literal=key=value"])?;
    let silent = |plane: &ControlPlane| plane.kubectl().run(["get", "configmap", "kept"]).is_err();
    plane.stop()?;
    ensure!(silent(&plane), "a stopped control plane answers");
    let begun = Instant::now();
    plane.start_again()?;
    eprintln!("ready again after {:?}", begun.elapsed());
    plane.kubectl().run(["get", "configmap", "kept"])?;
    plane.kill();
    ensure!(silent(&plane), "a killed control plane answers");
    plane.start_again()?;
    plane.kubectl().run(["get", "configmap", "kept"]).map(drop)
}

#[tokio::test]
async fn two_members_have_networks_of_their_own() -> Result<()> {
    let (one, two) = tokio::try_join!(Member::start("one"), Member::start("two"))?;
    for member in [&one, &two] {
        let kubectl = Kubectl::of_version(KubectlVersion::V1_32, member.kubeconfig())?;
        kubectl.run(["create", "namespace", member.name()])?;
        // The controller manager is alive: it fills a new namespace, and empties a deleted one.
        kubectl.wait_until(["serviceaccount", "-n", member.name(), "default"], SOON, |_| true)?;
    }
    ensure!(!one.kubectl().exists(["namespace", "two"])?, "the members share their data");
    two.site().down()?;
    ensure!(two.kubectl().run(["--request-timeout=2s", "get", "namespace", "two"]).is_err(), "two answers over a cut link");
    one.kubectl().run(["delete", "namespace", "one", "--wait=false"])?;
    one.kubectl().wait_until_gone(["namespace", "one"], SOON)?;
    two.site().up()?;
    let probe = |member: &Member| {
        let (address, port) = two.control_plane().address();
        member.site().run(&format!("busybox nc -w 2 {address} {port}"))
    };
    probe(&two)?;
    ensure!(probe(&one).is_err(), "one site reaches the other's API server");
    Ok(())
}
