//! What the programs hold.

use std::fmt::Write;

use anyhow::{Context, Result};
use tests::Road;

use crate::figure;

/// Objects of the larger measurement.
const OBJECTS: usize = 200;

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
    let head = "apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {name: many, namespace: default}\nspec:\n  subscribers:\n    - clusterAffinity: {matchLabels: {purpose: shop}}\n  feeds:\n";
    road.hub.kubectl().apply(&format!("{head}{feeds}"))?;
    road.applied("many")?;
    road.rest(1)?;
    told(&mut road, "200 objects", "80 (36 objects)")
}

fn told(road: &mut Road, when: &str, clusternet: &str) -> Result<()> {
    let agent = road.agent.process()?.memory()?;
    let hub = road.hub.process().context("the hub runs")?.memory()?;
    figure(&format!("memory: agent VmRSS, {when}"), megabytes(agent.resident_kib), "MB", clusternet, "10");
    figure(&format!("memory: agent VmHWM, {when}"), megabytes(agent.peak_kib), "MB", "-", "10 + 16 x largest");
    figure(&format!("memory: hub VmRSS, {when}"), megabytes(hub.resident_kib), "MB", "248 + 349", "-");
    Ok(())
}

/// Kibibytes as megabytes.
pub fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
