//! Two Subscriptions and one Namespace; a template that is missing while the hub starts again.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{Road, condition};

const SOON: Duration = Duration::from_secs(40);

fn subscription(name: &str, feeds: &[(&str, &str, &str)]) -> String {
    let feeds: Vec<String> = feeds
        .iter()
        .map(|(kind, namespace, name)| {
            let namespace = if namespace.is_empty() { String::new() } else { format!("namespace: {namespace}, ") };
            format!("    - {{apiVersion: v1, kind: {kind}, {namespace}name: {name}}}\n")
        })
        .collect();
    format!(
        "apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  subscribers:\n    - clusterAffinity: {{matchLabels: {{purpose: shop}}}}\n  feeds:\n{}",
        feeds.concat()
    )
}

fn uid(road: &Road, kind: &str, name: &str) -> Result<Value> {
    Ok(road.member.kubectl().get([kind, name, "-n", "both"])?["metadata"]["uid"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_counted_and_missing_templates_keep() -> Result<()> {
    let mut road = Road::start("claims").await?;
    let hub = road.hub.kubectl();
    hub.run(["create", "ns", "both"])?;
    hub.run(["create", "configmap", "one", "-n", "both", "--from-literal=a=1"])?;
    hub.run(["create", "configmap", "two", "-n", "both", "--from-literal=a=2"])?;
    hub.apply(&subscription("first", &[("Namespace", "", "both"), ("ConfigMap", "both", "one")]))?;
    hub.apply(&subscription("second", &[("Namespace", "", "both"), ("ConfigMap", "both", "two")]))?;
    road.applied("first")?;
    road.applied("second")?;
    a_missing_template_keeps_over_a_hub_restart(&mut road)?;
    the_last_claim_out_removes_the_namespace(&road)
}

fn a_missing_template_keeps_over_a_hub_restart(road: &mut Road) -> Result<()> {
    let before = uid(road, "configmap", "two")?;
    road.hub.kubectl().run(["delete", "configmap", "two", "-n", "both"])?;
    road.hub.kill();
    road.hub.start_again()?;
    let missing = |found: &Value| condition(found, "FeedsResolved").is_some_and(|resolved| resolved["status"] == "False");
    road.hub.kubectl().wait_until(["subscription", "second"], SOON, missing)?;
    let connections = road.agent.bus.traffic().connections;
    road.rest(connections)?;
    ensure!(uid(road, "configmap", "two")? == before, "an object left because its template was missing when the hub started");
    road.hub.kubectl().run(["create", "configmap", "two", "-n", "both", "--from-literal=a=again"])?;
    road.member.kubectl().wait_until(["configmap", "two", "-n", "both"], SOON, |found| found["data"]["a"] == "again")?;
    ensure!(uid(road, "configmap", "two")? == before, "the new template made the object again");
    road.step("a template missing over a hub restart kept its object; the new one replaced it in place");
    Ok(())
}

fn the_last_claim_out_removes_the_namespace(road: &Road) -> Result<()> {
    let before = uid(road, "configmap", "two")?;
    road.hub.kubectl().run(["delete", "subscription", "first"])?;
    road.member.kubectl().wait_until_gone(["configmap", "one", "-n", "both"], SOON)?;
    road.rest(1)?;
    ensure!(road.member.kubectl().exists(["namespace", "both"])?, "the namespace went although another Subscription claims it");
    ensure!(uid(road, "configmap", "two")? == before);
    road.hub.kubectl().run(["delete", "subscription", "second"])?;
    road.member.kubectl().wait_until_gone(["namespace", "both"], SOON)?;
    road.step("the first claim out left the namespace, the last one removed it");
    Ok(())
}
