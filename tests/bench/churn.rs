//! A day of changes in minutes: 120 an hour, 24 hours, and what the agent holds after each.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::Road;

use crate::figure;
use crate::memory::megabytes;

const HOURS: usize = 24;
const CHANGES_AN_HOUR: usize = 120;
/// The agent lets go of what a burst took within this.
const SETTLES: Duration = Duration::from_secs(3);
/// How much more than after its first hour an agent may hold.
const TOLERANCE: f64 = 1.10;

pub async fn measure() -> Result<()> {
    let mut road = Road::start("bench-churn").await?;
    road.ship()?;
    let mut after = Vec::new();
    for hour in 0..HOURS {
        for change in 0..CHANGES_AN_HOUR {
            one_change(&road, hour * CHANGES_AN_HOUR + change)?;
        }
        road.applied("shop")?;
        std::thread::sleep(SETTLES);
        after.push(megabytes(road.agent.process()?.memory()?.resident_kib));
    }
    let most = after.iter().copied().fold(0.0, f64::max);
    let changes = (HOURS * CHANGES_AN_HOUR) as f64;
    figure("churn: changes of a simulated day", changes, "", "-", "-");
    figure("churn: agent VmRSS after the first hour", after[0], "MB", "-", "-");
    figure("churn: agent VmRSS, most after any hour", most, "MB", "-", "first + 10 %");
    figure("churn: agent VmRSS after the last hour", after[HOURS - 1], "MB", "-", "first + 10 %");
    let private = megabytes(road.agent.process()?.memory()?.private_kib);
    figure("churn: agent private after the last hour", private, "MB", "-", "-");
    ensure!(after[HOURS - 1] <= after[0] * TOLERANCE, "the agent grew over a day: {after:.1?} MB");
    Ok(())
}

/// Images, values, labels and whole objects that come and go, in turn.
fn one_change(road: &Road, turn: usize) -> Result<()> {
    let hub = road.hub.kubectl();
    let value = format!("TURN=t{turn}");
    match turn % 4 {
        0 => hub.run(["set", "env", "deployment/cart", "-n", "shop", &value]),
        1 => hub.run(["label", "service", "cart", "-n", "shop", "--overwrite", &format!("turn=t{turn}")]),
        2 => hub.run([
            "patch",
            "configmap",
            "feature-flags",
            "-n",
            "shop",
            "--type=merge",
            "-p",
            &format!(r#"{{"data":{{"turn":"{turn}"}}}}"#),
        ]),
        _ => hub.run(["annotate", "deployment", "mailer", "-n", "shop", "--overwrite", &format!("turn={turn}")]),
    }
    .map(drop)
}
