//! An edit that would take most of a cluster's objects, or much of the fleet's, waits for a person; undoing it, confirming it, and deleting
//! the Subscription do not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{App, Road, condition};

const SOON: Duration = Duration::from_secs(40);

fn keep_two_feeds(road: &Road) -> Result<()> {
    let found = road.hub.kubectl().get(["subscription", "shop"])?;
    let kept: Vec<Value> = found["spec"]["feeds"].as_array().into_iter().flatten().take(2).cloned().collect();
    let patch = serde_json::json!({ "spec": { "feeds": kept } }).to_string();
    road.hub.kubectl().run(["patch", "subscription", "shop", "--type=merge", "-p", &patch]).map(drop)
}

fn held(found: &Value) -> Option<String> {
    condition(found, "RemovalHeld").filter(|held| held["status"] == "True").map(|held| held["message"].to_string())
}

/// The command that a condition names, as a person would paste it.
fn run_what_it_says(road: &Road, message: &str) -> Result<()> {
    let command = message.split('`').nth(1).context("the message names a command")?;
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    road.hub.kubectl().run_with_input(&words, "").map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_removal_by_an_edit_waits_for_a_person() -> Result<()> {
    let mut road = Road::start("guard").await?;
    road.ship()?;
    keep_two_feeds(&road)?;
    road.hub.kubectl().wait_until(["subscription", "shop"], SOON, |found| held(found).is_some())?;
    road.hub.kill();
    road.hub.start_again()?;
    road.hub.kubectl().wait_until(["subscription", "shop"], SOON, |found| held(found).is_some())?;
    std::thread::sleep(Duration::from_secs(4));
    ensure!(road.ours()?.len() == 35, "objects went unconfirmed: {} are left", road.ours()?.len());
    road.step("33 of 35 removals wait, also over a hub's restart");

    road.hub.kubectl().apply(App::load()?.subscription())?;
    road.hub.kubectl().wait_until(["subscription", "shop"], SOON, |found| held(found).is_none())?;
    road.applied("shop")?;
    ensure!(road.ours()?.len() == 35, "undoing the edit removed something");
    road.step("undoing the edit ends the hold");

    keep_two_feeds(&road)?;
    let told = road.hub.kubectl().wait_until(["subscription", "shop"], SOON, |found| held(found).is_some())?;
    run_what_it_says(&road, &held(&told).context("just seen")?)?;
    road.member.kubectl().wait_until_gone(["deployment", "cart", "-n", "shop"], SOON)?;
    road.step("the command that the condition names lets the removals go");
    road.hub.kubectl().run(["delete", "subscription", "shop"])?;
    road.nothing_of_ours_is_left()?;
    road.step("deleting the Subscription needs no confirmation");
    Ok(())
}

/// Clusters beside the real one; without agents, so that they are on the hub's books only.
const OTHERS: usize = 11;
const EXTRAS: usize = 15;

fn register_others(road: &Road) -> Result<()> {
    let request = |number: usize| {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        format!(
            "---\napiVersion: clusters.clusternet.io/v1beta1\nkind: ClusterRegistrationRequest\nmetadata: {{name: clusternet-{id}}}\n\
             spec: {{clusterId: {id}, clusterName: other-{number}, syncMode: Pull, clusterLabels: {{purpose: shop}}}}\n"
        )
    };
    road.hub.kubectl().apply(&(0..OTHERS).map(request).collect::<String>())?;
    let all = |found: &Value| found["items"].as_array().is_some_and(|items| items.len() == OTHERS + 1);
    road.hub.kubectl().wait_until(["mcls", "-A"], SOON, all).map(drop)
}

/// A Subscription of its own, with less than a third of what each cluster has.
fn extras(purpose: &str) -> String {
    let objects: String = (0..EXTRAS)
        .map(|number| {
            format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: extra-{number}, namespace: shop}}\ndata: {{a: b}}\n")
        })
        .collect();
    let feeds: String =
        (0..EXTRAS).map(|number| format!("    - {{apiVersion: v1, kind: ConfigMap, namespace: shop, name: extra-{number}}}\n")).collect();
    format!(
        "{objects}---\napiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {{name: extras, namespace: default}}\nspec:\n  \
         subscribers: [{{clusterAffinity: {{matchLabels: {{purpose: {purpose}}}}}}}]\n  feeds:\n{feeds}"
    )
}

fn extras_on_member(road: &Road) -> Result<usize> {
    Ok(road.member.kubectl().run(["get", "configmaps", "-n", "shop", "-o", "name"])?.matches("/extra-").count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_little_from_each_of_many_clusters_waits_for_one_word_on_the_subscription() -> Result<()> {
    let road = Road::start("guard-fleet").await?;
    register_others(&road)?;
    let app = App::load()?;
    road.hub.kubectl().apply(app.objects())?;
    road.hub.kubectl().apply(app.subscription())?;
    until(|| Ok(road.ours()?.len() == 35))?;
    road.hub.kubectl().apply(&extras("shop"))?;
    let arrived = |road: &Road| -> Result<bool> { Ok(extras_on_member(road)? == EXTRAS) };
    until(|| arrived(&road))?;

    road.hub.kubectl().apply(&extras("nothing"))?;
    let told = road.hub.kubectl().wait_until(["subscription", "extras"], SOON, |found| {
        held(found).is_some_and(|message| message.contains(&format!("{} clusters", OTHERS + 1)))
    })?;
    let message = held(&told).context("just seen")?;
    println!("{message}");
    ensure!(message.contains("of the fleet's"), "why it waits is not said: {message}");
    std::thread::sleep(Duration::from_secs(4));
    ensure!(extras_on_member(&road)? == EXTRAS, "objects went unconfirmed: {} are left", extras_on_member(&road)?);
    road.step("a third of each of 12 clusters' objects waits");

    road.hub.kubectl().apply(&extras("shop"))?;
    road.hub.kubectl().wait_until(["subscription", "extras"], SOON, |found| held(found).is_none())?;
    ensure!(extras_on_member(&road)? == EXTRAS, "undoing the edit removed something");
    road.step("undoing the edit ends the hold");

    road.hub.kubectl().apply(&extras("nothing"))?;
    let told = road.hub.kubectl().wait_until(["subscription", "extras"], SOON, |found| {
        held(found).is_some_and(|message| message.contains(&format!("{} clusters", OTHERS + 1)))
    })?;
    run_what_it_says(&road, &held(&told).context("just seen")?)?;
    until(|| Ok(extras_on_member(&road)? == 0))?;
    road.hub.kubectl().wait_until(["subscription", "extras"], SOON, |found| held(found).is_none())?;
    ensure!(road.ours()?.len() == 35, "more went than was confirmed: {} are left", road.ours()?.len());
    road.step("one command on the Subscription lets all of them go, and nothing else");
    Ok(())
}

fn until(done: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = std::time::Instant::now() + SOON;
    while !done()? {
        ensure!(std::time::Instant::now() < deadline, "not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
