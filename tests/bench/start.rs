//! From an agent that nobody knows to its first object.

use std::time::{Duration, Instant};

use anyhow::Result;
use tests::{Agent, App, Hub, Member};

use crate::figure;

pub async fn measure() -> Result<()> {
    let member = Member::builder("bench-start").start().await?;
    let hub = Hub::start(&[&member])?;
    let app = App::load()?;
    hub.kubectl().apply(app.objects())?;
    hub.kubectl().apply(app.subscription())?;
    let watch = member.kubectl().watch(["deployments,configmaps", "-n", "shop"])?;
    let begun = Instant::now();
    let _agent = Agent::start(&hub, &member)?;
    let since = |events: &[tests::Event], index: usize| events[index].at.duration_since(begun).as_secs_f64() * 1e3;
    let deployments =
        |events: &[tests::Event]| events.iter().filter(|event| event.object["kind"] == "Deployment" && event.kind == "ADDED").count();
    let events = watch.wait_until(Duration::from_secs(30), |events| deployments(events) == 11)?;
    figure("start: agent to its first object", since(&events, 0), "ms", "7600", "2000");
    figure("start: agent to all 35 objects", since(&events, events.len() - 1), "ms", "7800", "-");
    Ok(())
}
