//! An edit that would take most of a cluster's objects waits for a person; undoing it, confirming it, and deleting the Subscription do not.

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
    let message = held(&told).context("just seen")?;
    let command = message.split('`').nth(1).context("the message names a command")?.to_owned();
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    road.hub.kubectl().run_with_input(&words, "")?;
    road.member.kubectl().wait_until_gone(["deployment", "cart", "-n", "shop"], SOON)?;
    road.step("the command that the condition names lets the removals go");
    road.hub.kubectl().run(["delete", "subscription", "shop"])?;
    road.nothing_of_ours_is_left()?;
    road.step("deleting the Subscription needs no confirmation");
    Ok(())
}
