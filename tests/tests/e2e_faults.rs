//! Cuts, crashes and lost disks: nothing is lost, nothing is deleted by mistake, and it costs no more than it must.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Inventory, Road, condition};

/// Bytes that a resumed TLS handshake, its next ticket and the records around MQTT packets have.
const RESUMED_HANDSHAKE: u64 = 850;

/// Bytes that a full TLS handshake with certificates on both sides has more than a resumed one.
const FULL_HANDSHAKE: u64 = 1200;

const SOON: Duration = Duration::from_secs(40);

/// Objects made again, or gone, between two looks.
fn not_the_same(before: &Inventory, after: &Inventory) -> Vec<String> {
    before.iter().filter(|(name, (uid, _))| after.get(*name).map(|(uid, _)| uid) != Some(uid)).map(|(name, _)| name.clone()).collect()
}

fn cluster(road: &Road) -> Result<Value> {
    let found = road.hub.kubectl().get(["mcls", "-A"])?;
    found["items"].get(0).cloned().context("there is no ManagedCluster")
}

fn unclaimed(road: &Road) -> Result<u64> {
    Ok(cluster(road)?["status"]["pending"]["counts"]["unclaimed"].as_u64().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_road_survives_cuts_and_crashes() -> Result<()> {
    let mut road = Road::start("faults").await?;
    road.ship()?;
    road.step("the shop is applied");
    a_started_hub_costs_no_more_than_a_reconnect(&mut road)?;
    three_changes_behind_a_cut_are_one_generation(&road)?;
    what_is_deleted_while_the_agent_is_away_goes_when_it_is_back(&mut road)?;
    Ok(())
}

fn a_started_hub_costs_no_more_than_a_reconnect(road: &mut Road) -> Result<()> {
    let rest = road.settled()?;
    let before = road.ours()?;
    road.agent.bus.reset();
    let reconnected = road.rest(rest.connections + 1)?;
    let reconnect = reconnected.since(rest);
    road.hub.kill();
    road.hub.start_again()?;
    let restarted = road.rest(reconnected.connections + 1)?.since(reconnected);
    road.step(&format!(
        "unchanged reconnect: {} bytes; hub killed and started: {} bytes in {} connects",
        reconnect.total(),
        restarted.total(),
        restarted.connections
    ));
    // A connect that found no hub yet is no part of the conversation; a varint may have grown. A hub that was started has no TLS
    // sessions to resume.
    ensure!(restarted.total() <= reconnect.total() + 16 + FULL_HANDSHAKE, "a started hub costs more than a reconnect");
    ensure!(reconnect.total() <= 450 + RESUMED_HANDSHAKE, "an unchanged reconnect costs {} bytes", reconnect.total());
    let after = road.ours()?;
    let touched: Vec<_> = before.iter().filter(|(name, versions)| after.get(*name) != Some(versions)).collect();
    ensure!(touched.is_empty(), "objects were touched because a link came back: {touched:?}");
    Ok(())
}

fn three_changes_behind_a_cut_are_one_generation(road: &Road) -> Result<()> {
    let seconds = if std::env::var_os("CLUSTERNET_EDGE_FULL").is_some() { 60 } else { 8 };
    let watch = road.member.kubectl().watch(["deployment", "cart", "-n", "shop"])?;
    let first = *watch.wait_until(SOON, |events| !events.is_empty()).map(|_| watch.generations("cart"))?.last().context("no generation")?;
    road.agent.bus.cut();
    let begun = Instant::now();
    for value in ["one", "two", "three"] {
        road.hub.kubectl().run(["set", "env", "deployment/cart", "-n", "shop", &format!("STEP={value}")])?;
    }
    std::thread::sleep(Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
    road.agent.bus.heal();
    let holds = |event: &tests::Event| event.object["spec"]["template"]["spec"]["containers"][0]["env"].to_string().contains("three");
    watch.wait_until(SOON, |events| events.iter().any(holds))?;
    road.applied("shop")?;
    let generations = watch.generations("cart");
    road.step(&format!("three changes behind a cut of {seconds} s: generations {generations:?}"));
    ensure!(generations == [first, first + 1], "{generations:?}");
    Ok(())
}

fn what_is_deleted_while_the_agent_is_away_goes_when_it_is_back(road: &mut Road) -> Result<()> {
    let others = road.others()?;
    road.agent.kill();
    road.hub.kubectl().run(["delete", "subscription", "shop"])?;
    ensure!(road.ours()?.len() == 35, "objects went without an agent");
    road.agent.run(&[])?;
    road.nothing_of_ours_is_left()?;
    let touched = not_the_same(&others, &road.others()?);
    ensure!(touched.is_empty(), "not ours and touched: {touched:?}");
    road.step("a Subscription deleted while the agent was away is gone from the member");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_disks_delete_nothing_by_mistake() -> Result<()> {
    let mut road = Road::start("disks").await?;
    road.hub.stop()?;
    let early = road.hub.back_up()?;
    road.hub.start_again()?;
    road.ship()?;
    road.step("the shop is applied; the copy of the hub's disk is older");
    an_emptied_agent_finds_its_objects_again(&mut road)?;
    an_older_copy_of_the_hub_leaves_what_it_cannot_prove(&mut road, &early)?;
    an_empty_hub_gets_its_cluster_back(&mut road)?;
    Ok(())
}

fn an_emptied_agent_finds_its_objects_again(road: &mut Road) -> Result<()> {
    let before = road.ours()?;
    road.agent.kill();
    road.agent.lose_disk(&road.hub)?;
    // Meanwhile one object is no longer wanted: its removal is proved by what the hub remembers.
    road.hub.kubectl().run(["patch", "subscription", "shop", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/feeds/34"}]"#])?;
    road.agent.run(&[])?;
    road.member.kubectl().wait_until_gone(["deployment", "cleaner", "-n", "shop"], SOON)?;
    road.applied("shop")?;
    let lost = not_the_same(&before, &road.ours()?);
    ensure!(lost == ["Deployment shop/cleaner"], "made again or gone: {lost:?}");
    ensure!(unclaimed(road)? == 0, "unclaimed objects after a proved removal");
    road.step("an emptied agent disk: 34 objects stay as they were, the removed one is gone with proof");
    Ok(())
}

fn an_older_copy_of_the_hub_leaves_what_it_cannot_prove(road: &mut Road, early: &std::path::Path) -> Result<()> {
    let before = road.ours()?;
    road.hub.kill();
    road.hub.restore(early)?;
    road.hub.start_again()?;
    let all_unclaimed = |found: &Value| found["items"][0]["status"]["pending"]["counts"]["unclaimed"] == before.len() as u64;
    let seen = road.hub.kubectl().wait_until(["mcls", "-A"], SOON, all_unclaimed).map_err(|error| error.context(road.logs()))?;
    let lost = not_the_same(&before, &road.ours()?);
    ensure!(lost.is_empty(), "an older copy deleted {lost:?}");
    road.step(&format!("an older copy of the hub's disk: {} objects stay, all listed as Unclaimed", before.len()));
    let pending = &seen["items"][0]["status"]["pending"];
    let hash = pending["listHash"].as_str().context("no listHash to confirm")?.to_owned();
    confirm(road, &"0".repeat(32))?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(road.ours()?.len() == before.len(), "a confirmation for another list was obeyed");
    confirm(road, &hash)?;
    road.nothing_of_ours_is_left()?;
    road.step("a wrong hash prunes nothing, the right one prunes what was Unclaimed");
    road.ship()?;
    road.hub.kubectl().run(["patch", "subscription", "shop", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/feeds/34"}]"#])?;
    road.member.kubectl().wait_until_gone(["deployment", "cleaner", "-n", "shop"], SOON)?;
    road.step("pruning works again afterwards");
    Ok(())
}

fn confirm(road: &Road, hash: &str) -> Result<()> {
    let cluster = cluster(road)?;
    let text = |field: &str| cluster["metadata"][field].as_str().unwrap_or_default().to_owned();
    let annotation = format!("clusternet.io/confirm-prune={hash}");
    road.hub.kubectl().run(["annotate", "mcls", "-n", &text("namespace"), &text("name"), &annotation, "--overwrite"]).map(drop)
}

fn an_empty_hub_gets_its_cluster_back(road: &mut Road) -> Result<()> {
    let before = road.ours()?;
    let sid = cluster(road)?["status"]["sid"].clone();
    road.hub.kill();
    road.hub.lose_database()?;
    road.hub.start_again()?;
    let registered = |found: &Value| {
        found["items"]
            .as_array()
            .is_some_and(|items| items.len() == 1 && condition(&items[0], "Ready").is_some_and(|ready| ready["status"] == "True"))
    };
    road.hub.kubectl().wait_until(["mcls", "-A"], Duration::from_secs(90), registered)?;
    ensure!(cluster(road)?["status"]["sid"] == sid, "the cluster came back under another bus id");
    let waiting = |found: &Value| found["items"][0]["status"]["pending"]["counts"]["unclaimed"] == before.len() as u64;
    road.hub.kubectl().wait_until(["mcls", "-A"], SOON, waiting)?;
    let lost = not_the_same(&before, &road.ours()?);
    ensure!(lost.is_empty(), "an empty hub deleted {lost:?}");
    road.step(&format!("an empty hub: the cluster is back under its bus id, {} objects stay as Unclaimed", before.len()));
    road.ship()?;
    let lost = not_the_same(&before, &road.ours()?);
    ensure!(lost.is_empty(), "made again after the templates came back: {lost:?}");
    ensure!(unclaimed(road)? == 0, "objects that are wanted again are still unclaimed");
    road.step("applied again, the same objects are claimed again in place");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_site_comes_back_without_the_hub() -> Result<()> {
    let mut road = Road::start("coldstart").await?;
    road.ship()?;
    road.agent.kill();
    road.hub.kill();
    road.agent.bus.cut();
    road.member.kill()?;
    road.member.start_again()?;
    for object in ["deployment/cart", "deployment/gateway", "service/cart", "configmap/feature-flags", "secret/session-key"] {
        road.member.kubectl().run(["delete", object, "-n", "shop", "--wait=true"])?;
    }
    road.step("the site was killed and started, five objects are deleted, the hub is away");
    let begun = Instant::now();
    road.agent.run(&[])?;
    for (kind, name) in
        [("deployment", "cart"), ("deployment", "gateway"), ("service", "cart"), ("configmap", "feature-flags"), ("secret", "session-key")]
    {
        road.member.kubectl().wait_until([kind, name, "-n", "shop"], SOON, |_| true)?;
    }
    road.step(&format!("all five are back {:.1} s after the agent was started", begun.elapsed().as_secs_f32()));
    Ok(())
}
