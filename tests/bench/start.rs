//! From an agent that nobody knows, with a join token, to its first object: keys, certificate and mutual TLS included.

use std::time::{Duration, Instant};

use anyhow::Result;
use tests::{Agent, App, Event, Hub, Member};

use crate::figure;

const SOON: Duration = Duration::from_secs(30);

pub async fn measure() -> Result<()> {
    let member = Member::builder("bench-start").start().await?;
    let hub = Hub::start(&[&member])?;
    let app = App::load()?;
    hub.kubectl().apply(app.objects())?;
    hub.kubectl().apply(app.subscription())?;
    let (namespaces, deployments) = (member.kubectl().watch(["namespaces"])?, member.kubectl().watch(["deployments", "-n", "shop"])?);
    namespaces.wait_until(SOON, |events| !events.is_empty())?;
    let mut agent = Agent::prepare(&hub, &member)?;
    let begun = Instant::now();
    agent.run(&[])?;
    let first = namespaces.wait_until(SOON, |events| events.iter().any(|event| event.name() == "shop"))?;
    let all = deployments.wait_until(SOON, |events| events.iter().filter(|event| event.kind == "ADDED").count() == 11)?;
    let since = |event: Option<&Event>| event.map_or(f64::NAN, |event| event.at.duration_since(begun).as_secs_f64() * 1e3);
    let last = all.iter().rfind(|event| event.kind == "ADDED");
    figure("start: agent to its first object", since(first.iter().find(|event| event.name() == "shop")), "ms", "7600", "2000");
    let cpu = agent.process()?.cpu()?.as_secs_f64() * 1e3;
    figure("start: processor time of the agent until then", cpu, "ms", "-", "-");
    figure("start: agent to all 35 objects", since(last), "ms", "7800", "-");
    Ok(())
}
