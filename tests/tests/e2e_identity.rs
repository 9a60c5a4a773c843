//! The life of an identity, on real API servers: renewed while changes flow, found again after it ended, taken away, passed on, given up.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Agent, Hub, Member, Relay, Scratch, is_applied};

const SOON: Duration = Duration::from_secs(40);
/// Longer than the silence after which one of two agents counts as gone.
const MINUTES: Duration = Duration::from_secs(180);

fn objects(value: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: first, namespace: default}}
data: {{value: \"{value}\"}}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {{name: first, namespace: default}}
spec:
  subscribers: [{{clusterAffinity: {{matchLabels: {{purpose: shop}}}}}}]
  feeds: [{{apiVersion: v1, kind: ConfigMap, namespace: default, name: first}}]
"
    )
}

fn link(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |found| found["items"].as_array().is_some_and(|items| items.len() == 1 && items[0]["status"]["link"] == wanted)
}

fn cluster(hub: &Hub, wanted: &'static str, agent: &Agent) -> Result<Value> {
    let found = hub.kubectl().wait_until(["mcls", "-A"], SOON, link(wanted));
    let found = found.map_err(|error| error.context(format!("HUB\n{}\nAGENT\n{}", hub.log(), agent.log())))?;
    Ok(found["items"][0].clone())
}

fn keys(cluster: &Value) -> usize {
    cluster["status"]["tlsKeys"].as_array().map_or(0, Vec::len)
}

/// Waits until all connections of a relay are closed, as the relay itself sees it; how long that took.
fn closed(relay: &Relay, since: Instant) -> Result<Duration> {
    while relay.open_connections() > 0 {
        ensure!(since.elapsed() < SOON, "the connection stays open");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(since.elapsed())
}

async fn joined(name: &str, further: &[&str]) -> Result<(Member, Hub, Agent)> {
    let member = Member::builder(name).api_server_only().start().await?;
    let hub = Hub::start_with(&[&member], further)?;
    let agent = Agent::start(&hub, &member)?;
    cluster(&hub, "Connected", &agent)?;
    Ok((member, hub, agent))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_while_changes_flow() -> Result<()> {
    let (member, hub, agent) = joined("renewing", &["--agent-certificate-lifetime", "24s"]).await?;
    let certificate = agent.data().join("identity/tls.crt");
    let (mut last, mut renewals, mut slowest) = (std::fs::read(&certificate)?, 0, Duration::ZERO);
    let begun = Instant::now();
    let mut round = 0;
    // Two renewals take at most two thirds of the lifetime each.
    while renewals < 2 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "{renewals} renewals: {}", agent.log());
        let value = round.to_string();
        let changed = Instant::now();
        hub.kubectl().apply(&objects(&value))?;
        member.kubectl().wait_until(["configmap", "first", "-n", "default"], SOON, |found| found["data"]["value"] == value.as_str())?;
        slowest = slowest.max(changed.elapsed());
        let now = std::fs::read(&certificate)?;
        renewals += i32::from(now != last);
        (last, round) = (now, round + 1);
    }
    eprintln!("{renewals} renewals and {round} changes in {:?}, the slowest change took {slowest:?}", begun.elapsed());
    hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied)?;
    let one_key = |found: &Value| keys(&found["items"][0]) == 1;
    hub.kubectl().wait_until(["mcls", "-A"], SOON, one_key).context("the key before stays")?;
    ensure!(!agent.log().contains("the bus does not take"), "{}", agent.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_away_comes_back_by_its_key_after_its_certificate_and_its_ca_ended() -> Result<()> {
    let (member, mut hub, mut agent) = joined("away", &["--agent-certificate-lifetime", "10s"]).await?;
    hub.kubectl().apply(&objects("before"))?;
    hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied)?;
    let sid = cluster(&hub, "Connected", &agent)?["status"]["sid"].clone();
    agent.stop()?;
    let before = std::fs::read_to_string(agent.data().join("identity/ca.crt"))?;
    // Two CAs later; the second was made while no hub ran.
    hub.run(&["ca", "rotate"])?;
    hub.stop()?;
    hub.run(&["ca", "rotate"])?;
    hub.start_again()?;
    std::thread::sleep(Duration::from_secs(11));
    hub.kubectl().apply(&objects("after"))?;
    agent.run(&[])?;
    let back = cluster(&hub, "Connected", &agent)?;
    ensure!(back["status"]["sid"] == sid, "it came back as another");
    member.kubectl().wait_until(["configmap", "first", "-n", "default"], SOON, |found| found["data"]["value"] == "after")?;
    let after = std::fs::read_to_string(agent.data().join("identity/ca.crt"))?;
    let count = |pem: &str| pem.matches("BEGIN CERTIFICATE").count();
    ensure!((count(&before), count(&after)) == (1, 3), "{} CAs, then {}", count(&before), count(&after));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_cluster_is_out_within_a_second_and_back_by_a_replacement_only() -> Result<()> {
    let (_member, hub, mut agent) = joined("revoked", &[]).await?;
    // Somebody waits for it, as a script would: a watch that begins before and ends when it is written.
    let namespace = cluster(&hub, "Connected", &agent)?["metadata"]["namespace"].as_str().context("a namespace")?.to_owned();
    let watching = hub.kubectl().clone();
    let waiting =
        std::thread::spawn(move || watching.run(["wait", "--for=condition=Revoked", "mcls/revoked", "-n", &namespace, "--timeout=30s"]));
    let revoking = Instant::now();
    hub.run(&["revoke", "revoked"])?;
    let took = closed(&agent.bus, revoking)?;
    waiting.join().map_err(|_| anyhow::anyhow!("the waiting thread failed"))??;
    eprintln!("revoke begun to kubectl wait satisfied: {:?}", revoking.elapsed());
    eprintln!("revoke begun to connection closed: {took:?}");
    ensure!(took < Duration::from_secs(1), "the connection lived on for {took:?}");
    let shown = cluster(&hub, "Revoked", &agent)?;
    ensure!(keys(&shown) == 0 && tests::condition(&shown, "Revoked").is_some(), "{shown}");
    ensure!(hub.kubectl().run(["get", "mcls", "-A"])?.contains("Revoked"));
    let deadline = Instant::now() + SOON;
    while !agent.log().contains("was revoked: an administrator can give it") {
        ensure!(Instant::now() < deadline, "the agent was not told: {}", agent.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Neither another start nor an ordinary token helps.
    agent.stop()?;
    agent.give_token(&hub.token(&[])?)?;
    agent.run(&[])?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(link("Revoked")(&serde_json::from_str(&hub.kubectl().run(["get", "mcls", "-A", "-o", "json"])?)?));
    agent.stop()?;
    agent.give_token(&hub.replace("revoked")?)?;
    agent.run(&[])?;
    ensure!(keys(&cluster(&hub, "Connected", &agent)?) == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_takes_the_place_of_an_old_one() -> Result<()> {
    let (old, new) =
        tokio::try_join!(Member::builder("place").api_server_only().start(), Member::builder("machine").api_server_only().start())?;
    let hub = Hub::start(&[&old, &new])?;
    let old_agent = Agent::start(&hub, &old)?;
    hub.kubectl().apply(&objects("one"))?;
    hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied)?;
    let before = cluster(&hub, "Connected", &old_agent)?;
    let token = hub.replace("place")?;
    ensure!(
        cluster(&hub, "Connected", &old_agent)?["status"]["tlsKeys"] == before["status"]["tlsKeys"],
        "the old machine works until the new one is there"
    );
    let new_agent = Agent::prepare(&hub, &new)?;
    new_agent.give_token(&token)?;
    let (address, file) = (new_agent.hub_address(), new_agent.token_file());
    let mut new_agent = new_agent.with_arguments(["--hub", &address, "--name", "place", "--token-file", &file]);
    let begun = Instant::now();
    new_agent.run(&[])?;
    new.kubectl().wait_until(["configmap", "first", "-n", "default"], SOON, |_| true).map_err(|error| error.context(hub.log()))?;
    let after = cluster(&hub, "Connected", &new_agent)?;
    for field in ["/metadata/namespace", "/metadata/name", "/metadata/uid", "/status/sid"] {
        ensure!(before.pointer(field) == after.pointer(field), "{field} changed");
    }
    ensure!(before["spec"]["clusterId"] != after["spec"]["clusterId"] && keys(&after) == 1);
    closed(&old_agent.bus, begun)?;
    let deadline = Instant::now() + SOON;
    while !old_agent.log().contains("given to another machine") {
        ensure!(Instant::now() < deadline, "the old agent was not told: {}", old_agent.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(link("Connected")(&serde_json::from_str(&hub.kubectl().run(["get", "mcls", "-A", "-o", "json"])?)?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_leaves_with_or_without_its_objects_and_may_come_back() -> Result<()> {
    let (member, hub, mut agent) = joined("leaving", &[]).await?;
    hub.kubectl().apply(&objects("here"))?;
    hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied)?;
    let (running, said) = agent.command(&["unregister", "--orphan"])?;
    ensure!(!running && said.contains("in use by another agent"), "{said}");
    agent.stop()?;
    let stolen = Scratch::create("stolen")?;
    copy(&agent.data(), stolen.path())?;
    let (left, said) = agent.command(&["unregister", "--orphan"])?;
    ensure!(left && said.contains("1 objects stay"), "{said}");
    ensure!(member.kubectl().exists(["configmap", "first", "-n", "default"])?);
    ensure!(!hub.kubectl().run(["get", "mcls", "-A", "-o", "name"])?.contains('/'));
    ensure!(!agent.data().join("identity").exists() && !agent.data().join("agent.db").exists());

    // A copy of what the agent was does not come back.
    copy(stolen.path(), &agent.data())?;
    agent.run(&[])?;
    let deadline = Instant::now() + SOON;
    while !agent.log().contains("was deleted or given to another machine") {
        ensure!(Instant::now() < deadline, "the copy was not told: {}", agent.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(!hub.kubectl().run(["get", "mcls", "-A", "-o", "name"])?.contains('/'), "a copy of an identity that left came back");
    agent.stop()?;
    std::fs::remove_dir_all(agent.data())?;

    // With a token the cluster may, and finds what it left.
    agent.give_token(&hub.token(&[])?)?;
    agent.run(&[])?;
    cluster(&hub, "Connected", &agent)?;
    hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied)?;
    agent.stop()?;
    let (left, said) = agent.command(&["unregister", "--remove"])?;
    ensure!(left && said.contains("1 objects are removed"), "{said}");
    ensure!(!member.kubectl().exists(["configmap", "first", "-n", "default"])?);
    ensure!(!hub.kubectl().run(["get", "mcls", "-A", "-o", "name"])?.contains('/'));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_with_one_identity_neither_is_served_until_one_has_ended() -> Result<()> {
    let (member, hub, mut agent) = joined("twice", &[]).await?;
    let mut other = Agent::prepare(&hub, &member)?;
    copy(&agent.data(), &other.data())?;
    other.run(&[])?;
    cluster(&hub, "Cloned", &agent)?;
    hub.kubectl().apply(&objects("one"))?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(!member.kubectl().exists(["configmap", "first", "-n", "default"])?, "one of the two was served");

    // The one that has the link says goodbye; should the other have taken it just now, silence has to tell.
    let (leaving, left) = if agent.bus.open_connections() > 0 { (&mut agent, &other) } else { (&mut other, &agent) };
    leaving.stop()?;
    let begun = Instant::now();
    let found = member.kubectl().wait_until(["configmap", "first", "-n", "default"], MINUTES, |_| true);
    found.map_err(|error| error.context(format!("HUB\n{}\nAGENT\n{}", hub.log(), left.log())))?;
    hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied)?;
    eprintln!("the other was served {:?} after the one had ended", begun.elapsed());
    cluster(&hub, "Connected", left)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
