//! The README's quick start, as it is typed, on two real clusters.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::Member;

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_deploys_to_two_real_members() -> Result<()> {
    let (first, second) = tokio::try_join!(Member::start("quick-one"), Member::start("quick-two"))?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../quickstart");
    let run = Command::new(script).args([first.kubeconfig(), second.kubeconfig()]).stdin(Stdio::null()).output();
    let run = run.context(script)?;
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    println!("{said}");
    ensure!(run.status.success(), "{}: {said}", run.status);
    for expected in [
        "shop-1: 35 objects applied",
        "shop-2: 35 objects applied",
        "shop-1: the new image is there",
        "shop-2: 0 objects of the application are left",
    ] {
        ensure!(said.contains(expected), "not said: {expected}");
    }
    ensure!(!said.contains("SANDBOX"), "sandboxes were used in place of the clusters");
    Ok(())
}
