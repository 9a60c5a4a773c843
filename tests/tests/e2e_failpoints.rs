//! The agent dies at every commit, send, apply and removal: nothing is lost, nothing is made again, each revision is one generation.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Road, is_applied};

const SOON: Duration = Duration::from_secs(40);
const POINTS: [&str; 8] =
    ["before-commit", "after-commit", "before-send", "after-send", "before-apply", "after-apply", "before-remove", "after-remove"];

/// Two Deployments of which one is fed at a time, in the place of the last feed.
const IN_TURN: [&str; 2] = ["cleaner", "reports"];

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_loses_nothing() -> Result<()> {
    let mut road = Road::start("failpoints").await?;
    road.ship()?;
    road.hub.kubectl().run(["patch", "subscription", "shop", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/feeds/33"}]"#])?;
    road.member.kubectl().wait_until_gone(["deployment", IN_TURN[1], "-n", "shop"], SOON)?;
    road.applied("shop")?;
    let full = std::env::var_os("CLUSTERNET_EDGE_FULL").is_some();
    let counts: Vec<usize> = if full { (1..=40).collect() } else { vec![1, 2, 3, 5] };
    let mut revision = 0;
    for point in POINTS {
        let mut crashes = 0;
        for count in &counts {
            revision += 1;
            if !dies_and_comes_back(&mut road, &format!("{point}:{count}"), revision).with_context(|| format!("{point}:{count}"))? {
                break;
            }
            crashes += 1;
        }
        road.step(&format!("{point}: {crashes} crashes, each change one generation"));
        ensure!(crashes > 0, "{point} was never reached");
    }
    Ok(())
}

/// Changes two Deployments, takes one away and brings another, while the agent is away; then it dies at this point and is started again.
/// Returns whether it died.
fn dies_and_comes_back(road: &mut Road, point: &str, revision: usize) -> Result<bool> {
    road.agent.kill();
    let before = generations(road)?;
    for name in ["cart", "gateway"] {
        road.hub.kubectl().run(["set", "env", &format!("deployment/{name}"), "-n", "shop", &format!("REVISION={revision}")])?;
    }
    let (gone, come) = (IN_TURN[(revision + 1) % 2], IN_TURN[revision % 2]);
    let patch = format!(
        r#"[{{"op":"test","path":"/spec/feeds/33/name","value":"{gone}"}},{{"op":"remove","path":"/spec/feeds/33"}},{{"op":"add","path":"/spec/feeds/33","value":{{"apiVersion":"apps/v1","kind":"Deployment","namespace":"shop","name":"{come}"}}}}]"#
    );
    road.hub.kubectl().run(["patch", "subscription", "shop", "--type=json", "-p", &patch])?;
    road.agent.run(&[("AGENT_FAILPOINT", point)])?;
    let died = died(road, come)?;
    if died {
        road.agent.run(&[])?;
    }
    let arrived = road.member.kubectl().wait_until(["deployment", come, "-n", "shop"], SOON, |_| true);
    arrived.map_err(|error| error.context(road.logs()))?;
    let left = road.member.kubectl().wait_until_gone(["deployment", gone, "-n", "shop"], SOON);
    left.map_err(|error| error.context(road.logs()))?;
    road.applied("shop")?;
    let after = generations(road)?;
    for ((uid, generation), (uid_after, generation_after)) in before.iter().zip(&after) {
        ensure!(uid == uid_after, "an object was deleted and made again");
        ensure!(*generation_after == generation + 1, "generation {generation} became {generation_after}");
    }
    Ok(died)
}

fn generations(road: &Road) -> Result<Vec<(String, u64)>> {
    ["cart", "gateway"]
        .iter()
        .map(|name| {
            let metadata = road.member.kubectl().get(["deployment", *name, "-n", "shop"])?["metadata"].clone();
            let uid = metadata["uid"].as_str().context("an object has a UID")?.to_owned();
            Ok((uid, metadata["generation"].as_u64().context("a Deployment has a generation")?))
        })
        .collect()
}

/// Waits until the agent has died, or has done everything without coming to the point.
fn died(road: &mut Road, come: &str) -> Result<bool> {
    let deadline = Instant::now() + SOON;
    loop {
        if !road.agent.process()?.is_running() {
            return Ok(true);
        }
        let arrived = road.member.kubectl().exists(["deployment", come, "-n", "shop"])?;
        if arrived && is_applied(&road.hub.kubectl().get(["subscription", "shop"])?) {
            // What follows the last report: its acknowledgement.
            std::thread::sleep(Duration::from_secs(1));
            return Ok(!road.agent.process()?.is_running());
        }
        ensure!(Instant::now() < deadline, "neither died nor done: {}", road.logs());
    }
}
