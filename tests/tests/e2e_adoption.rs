//! What was on a member before us is adopted, changed in place, and let go again, never deleted; and a cut link deletes nothing early.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{Inventory, Road};

const SOON: Duration = Duration::from_secs(40);
/// What Kubernetes makes of a Service, with its labels, and removes some time after it.
const SERVICES_OWN: [&str; 2] = ["endpoints/", "endpointslice.discovery.k8s.io/"];

/// Made by somebody on the member, with kubectl, before the hub knows of it.
const THEIRS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: theirs}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: feature-flags, namespace: shop}
data: {theirs: kept-until-adopted}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: bystander, namespace: shop}
data: {a: b}
";

/// Kinds a namespaced object of ours could be of, as the member lists them.
fn listable(road: &Road) -> Result<Vec<String>> {
    let names = road.member.kubectl().run(["api-resources", "--verbs=list", "-o", "name"])?;
    Ok(names.lines().map(ToOwned::to_owned).collect())
}

fn uid(road: &Road, args: [&str; 4]) -> Result<Value> {
    Ok(road.member.kubectl().get(args)?["metadata"]["uid"].clone())
}

fn removed(before: &Inventory, after: &Inventory) -> Vec<String> {
    before.keys().filter(|name| !after.contains_key(*name)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_adopted_and_let_go() -> Result<()> {
    let road = Road::start("adoption").await?;
    road.member.kubectl().apply(THEIRS)?;
    let flags = ["configmap", "feature-flags", "-n", "shop"];
    let (namespace, config) = (uid(&road, ["namespace", "shop", "-n", "shop"])?, uid(&road, flags)?);
    road.ship()?;
    ensure!(uid(&road, flags)? == config, "an object that was there was made again");
    let adopted = road.member.kubectl().get(flags)?;
    ensure!(adopted["data"]["theirs"].is_null(), "a field that kubectl once applied stays after adoption: {}", adopted["data"]);
    road.step("two objects that were there are adopted in place, 33 are made");
    a_field_that_leaves_the_template_leaves_the_member(&road)?;
    a_cut_link_deletes_nothing_early(&road)?;
    ensure!(uid(&road, flags)? == config && uid(&road, ["namespace", "shop", "-n", "shop"])? == namespace, "adopted and then deleted");
    ensure!(road.member.kubectl().exists(["configmap", "bystander", "-n", "shop"])?, "somebody else's ConfigMap is gone");
    nothing_carries_our_mark(&road)
}

/// Also one that `kubectl apply` had made first. What another manager set stays.
fn a_field_that_leaves_the_template_leaves_the_member(road: &Road) -> Result<()> {
    let (hub, member) = (road.hub.kubectl(), road.member.kubectl());
    let object =
        |lines: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: lasting, namespace: shop}}\ndata: {{{lines}}}\n");
    member.apply(&object("first: made-by-kubectl, both: a"))?;
    let lasting = ["configmap", "lasting", "-n", "shop"];
    let made = uid(road, lasting)?;
    hub.apply(&object("both: a, ours: b"))?;
    hub.apply(
        "{apiVersion: apps.clusternet.io/v1alpha1, kind: Subscription, metadata: {name: lasting, namespace: default}, spec: {
          subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}],
          feeds: [{apiVersion: v1, kind: ConfigMap, namespace: shop, name: lasting}]}}",
    )?;
    member.wait_until(lasting, SOON, |found| found["data"] == serde_json::json!({"both": "a", "ours": "b"}))?;
    let other = r#"{"data":{"other":"c"}}"#;
    member.run(["patch", "configmap", "lasting", "-n", "shop", "--type=merge", "--field-manager=another", "-p", other])?;
    hub.apply(&object("ours: b"))?;
    member.wait_until(lasting, SOON, |found| found["data"] == serde_json::json!({"ours": "b", "other": "c"}))?;
    ensure!(uid(road, lasting)? == made, "it was made again");
    hub.run(["delete", "subscription", "lasting"])?;
    road.step("a field that kubectl apply made first, and the template dropped later, is gone; another manager's field stays");
    Ok(())
}

fn a_cut_link_deletes_nothing_early(road: &Road) -> Result<()> {
    let before = road.ours()?;
    road.agent.bus.cut();
    road.hub.kubectl().run(["delete", "subscription", "shop"])?;
    std::thread::sleep(Duration::from_secs(4));
    let gone = removed(&before, &road.ours()?);
    ensure!(gone.is_empty(), "gone while the link was cut: {gone:?}");
    road.agent.bus.heal();
    road.member.kubectl().wait_until_gone(["deployment", "cart", "-n", "shop"], SOON)?;
    road.nothing_of_ours_is_left()?;
    road.step("a Subscription deleted while the link was cut: nothing went before the link was back, then everything of ours");
    Ok(())
}

/// Every kind that the member can list, not only the shop's.
fn nothing_carries_our_mark(road: &Road) -> Result<()> {
    let kinds = listable(road)?;
    ensure!(kinds.len() > 30, "only {} kinds can be listed", kinds.len());
    let label = ["get", &kinds.join(","), "-A", "-o", "name", "--ignore-not-found", "-l", "clusternet.io/created-by=clusternet-agent"];
    let deadline = Instant::now() + SOON;
    loop {
        let left = road.member.kubectl().run_with_input(&label, "")?;
        let of_services = left.lines().all(|name| SERVICES_OWN.iter().any(|kind| name.starts_with(kind)));
        ensure!(of_services && (left.is_empty() || Instant::now() < deadline), "left with our label: {left}");
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    road.step(&format!("of {} kinds not one object carries our label", kinds.len()));
    Ok(())
}
