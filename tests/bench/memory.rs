//! What the programs hold.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use tests::{Road, is_applied};

use crate::figure;

/// Objects of the larger measurement.
const OBJECTS: usize = 200;

/// Objects of the largest, and bytes of each: below the 1 MiB that a ConfigMap may hold.
const LARGE: usize = 68;
const OBJECT: usize = 990_000;

/// Longest that 64 MiB may take through two API servers and a relay.
const PATIENCE: Duration = Duration::from_secs(600);

const HEAD: &str = "apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {name: NAME, namespace: default}\nspec:\n  subscribers:\n    - clusterAffinity: {matchLabels: {purpose: shop}}\n  feeds:\n";

pub async fn measure() -> Result<()> {
    let mut road = Road::start("bench-memory").await?;
    road.rest(1)?;
    told(&mut road, "idle", "62")?;
    let (mut templates, mut feeds) = (String::new(), String::new());
    for index in 0..OBJECTS {
        let lines: String = (0..20).map(|line| format!("  setting-{line}: value {index} {line}\n")).collect();
        write!(templates, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{index}, namespace: default}}\ndata:\n{lines}")?;
        writeln!(feeds, "    - {{apiVersion: v1, kind: ConfigMap, namespace: default, name: c{index}}}")?;
    }
    road.hub.kubectl().apply(&templates)?;
    road.hub.kubectl().apply(&format!("{}{feeds}", HEAD.replace("NAME", "many")))?;
    road.applied("many")?;
    road.rest(1)?;
    told(&mut road, "200 objects", "80 (36 objects)")?;
    large(&mut road)
}

/// A desired state of 64 MiB, and what is left of it in memory once it is applied.
fn large(road: &mut Road) -> Result<()> {
    let mut feeds = String::new();
    for index in 0..LARGE {
        // Text that hardly compresses, so that it is as large on its way as on the member.
        let text: String = (0..OBJECT / 16).map(|block| format!("{:016x}", fingerprint(index, block))).collect();
        let object =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large{index}, namespace: default}}\ndata:\n  text: \"{text}\"\n");
        // Not `apply`, which would keep the object once more in an annotation.
        road.hub.kubectl().run_with_input(&["create", "-f", "-"], &object)?;
        writeln!(feeds, "    - {{apiVersion: v1, kind: ConfigMap, namespace: default, name: large{index}}}")?;
    }
    road.hub.kubectl().apply(&format!("{}{feeds}", HEAD.replace("NAME", "large")))?;
    let applied = road.hub.kubectl().wait_until(["subscription", "large"], PATIENCE, is_applied);
    applied.map_err(|error| error.context(road.logs()))?;
    road.rest(1)?;
    told(road, "64 MiB desired", "-")
}

fn fingerprint(index: usize, block: usize) -> u64 {
    ((index << 32 | block) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

fn told(road: &mut Road, when: &str, clusternet: &str) -> Result<()> {
    let agent = road.agent.process()?.memory()?;
    let hub = road.hub.process().context("the hub runs")?.memory()?;
    figure(&format!("memory: agent VmRSS, {when}"), megabytes(agent.resident_kib), "MB", clusternet, "10");
    figure(&format!("memory: agent private, {when}"), megabytes(agent.private_kib), "MB", "-", "-");
    figure(&format!("memory: agent VmHWM, {when}"), megabytes(agent.peak_kib), "MB", "-", "10 + 16 x largest");
    figure(&format!("memory: hub VmRSS, {when}"), megabytes(hub.resident_kib), "MB", "248 + 349", "-");
    Ok(())
}

/// Kibibytes as megabytes.
pub fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
