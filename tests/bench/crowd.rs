//! What an agent holds on a crowded member, beside what it holds on an empty one: 5,000 pods, 100 nodes and 2,000 Secrets of others.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use tests::{Kubectl, Road};

use crate::figure;
use crate::memory::megabytes;

const PODS: usize = 5_000;
const NODES: usize = 100;
const SECRETS: usize = 2_000;
/// Objects that kubectl sends in one call.
const BATCH: usize = 500;
/// Longer than facts take to be gathered three times.
const LOOKS: Duration = Duration::from_secs(65);

pub async fn measure() -> Result<()> {
    let mut road = Road::start("bench-crowd").await?;
    road.ship()?;
    std::thread::sleep(LOOKS);
    let alone = road.agent.process()?.memory()?;
    crowd(road.member.kubectl())?;
    // A cold start is when an agent looks at the most.
    road.agent.stop()?;
    road.agent.run(&[])?;
    road.applied("shop")?;
    std::thread::sleep(LOOKS);
    let crowded = road.agent.process()?.memory()?;
    figure("crowd: agent VmRSS, an empty member", megabytes(alone.resident_kib), "MB", "-", "-");
    figure("crowd: agent VmRSS, a crowded member", megabytes(crowded.resident_kib), "MB", "-", "empty + 1");
    figure("crowd: agent VmHWM, a crowded member", megabytes(crowded.peak_kib), "MB", "-", "-");
    Ok(())
}

fn crowd(member: &Kubectl) -> Result<()> {
    member.run(["create", "namespace", "crowd"])?;
    make(member, NODES, |index| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: crowd-{index}}}, status: {{capacity: {{cpu: '4', memory: 8Gi, pods: '110'}}, allocatable: {{cpu: '4', memory: 8Gi, pods: '110'}}}}}}"
        )
    })?;
    make(member, SECRETS, |index| {
        let value = "x".repeat(512);
        format!("{{apiVersion: v1, kind: Secret, metadata: {{name: s{index}, namespace: crowd}}, stringData: {{value: {value}}}}}")
    })?;
    make(member, PODS, |index| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p{index}, namespace: crowd}}, spec: {{automountServiceAccountToken: false, containers: [{{name: c, image: 'docker.io/local/busybox:1'}}]}}}}"
        )
    })
}

fn make(member: &Kubectl, count: usize, object: impl Fn(usize) -> String) -> Result<()> {
    for first in (0..count).step_by(BATCH) {
        let mut text = String::new();
        for index in first..count.min(first + BATCH) {
            writeln!(text, "---\n{}", object(index))?;
        }
        member.run_with_input(&["create", "-f", "-"], &text)?;
    }
    Ok(())
}
