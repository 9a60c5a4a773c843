//! One change travels the whole way, on real API servers, with kubectl at both ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Agent, App, Hub, Member};

const SOON: Duration = Duration::from_secs(30);

fn step(begun: Instant, what: &str) {
    eprintln!("{:6.1} s  {what}", begun.elapsed().as_secs_f32());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_arrives_changes_and_leaves() -> Result<()> {
    let begun = Instant::now();
    let member = Member::builder("road").start().await?;
    let hub = Hub::start(&[&member])?;
    let agent = Agent::start(&hub, &member)?;
    step(begun, "hub and agent are up");
    let app = App::load()?;
    hub.kubectl().apply(app.objects())?;
    hub.kubectl().apply(app.subscription())?;
    let outcome = member
        .kubectl()
        .wait_until(["deployments", "-n", "shop"], SOON, |found| found["items"].as_array().is_some_and(|items| items.len() == 11));
    if outcome.is_err() {
        eprintln!("HUB\n{}\nAGENT\n{}", hub.log(), agent.log());
        eprintln!("{}", hub.kubectl().run(["get", "mcls,subs,clsrr", "-A", "-o", "yaml"])?);
    }
    outcome.context("the shop did not arrive")?;
    step(begun, "11 deployments have arrived");
    let applied = |found: &Value| condition(found, "Applied") == Some("True");
    hub.kubectl().wait_until(["subscription", "shop"], SOON, applied)?;
    step(begun, "applied is acknowledged");
    eprintln!("{}", hub.kubectl().run(["get", "subs,mcls", "-A"])?);
    hub.kubectl().run(["delete", "subscription", "shop"])?;
    member.kubectl().wait_until_gone(["namespace", "shop"], SOON)?;
    step(begun, "gone");
    ensure!(member.kubectl().exists(["namespace", "default"])?);
    Ok(())
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}
