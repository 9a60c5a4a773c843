//! What the link carries.

use std::time::Duration;

use anyhow::Result;
use tests::{Road, Traffic};

use crate::figure;

pub async fn measure() -> Result<()> {
    let road = Road::start("bench-bytes").await?;
    road.ship()?;
    let rest = road.settled()?;
    let told = parts(&road, 0);
    figure("bytes: registration to 35 objects applied", rest.total() as f64, "bytes", "-", "-");

    road.hub.kubectl().run(["set", "image", "deployment/cart", "*=docker.io/local/busybox:2", "-n", "shop"])?;
    road.applied("shop")?;
    let changed = road.settled()?;
    parts(&road, told);
    figure("bytes: one image of 35 objects, all told", since(changed, rest), "bytes", "214000-306000", "300 + acks");

    road.agent.bus.reset();
    let reconnected = road.rest(changed.connections + 1)?;
    figure("bytes: unchanged reconnect", since(reconnected, changed), "bytes", "18000", "450");

    tokio::time::sleep(Duration::from_secs(120)).await;
    let idle = road.agent.bus.traffic();
    figure("bytes: idle minute", since(idle, reconnected) / 2.0, "bytes", "18800", "150");
    Ok(())
}

/// Prints each frame after the first `known`; returns how many there are. An MQTT header of 18 bytes comes to each.
fn parts(road: &Road, known: usize) -> usize {
    let frames = road.agent.frames();
    frames.iter().skip(known).for_each(|frame| println!("  {frame}"));
    frames.len()
}

fn since(now: Traffic, before: Traffic) -> f64 {
    now.since(before).total() as f64
}
