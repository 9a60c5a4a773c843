//! How a cluster becomes a member, on real API servers: by the printed command, by a person's word, and not at all.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Agent, Hub, Member, is_applied};

const SOON: Duration = Duration::from_secs(30);

/// One ConfigMap for every cluster labelled `purpose=shop`.
const ONE_OBJECT: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: first, namespace: default}
data: {it: works}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: first, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]
  feeds: [{apiVersion: v1, kind: ConfigMap, namespace: default, name: first}]
";

fn is_ready(found: &Value) -> bool {
    found["items"].as_array().is_some_and(|items| items.len() == 1 && items[0]["status"]["link"] == "Connected")
}

fn cluster(hub: &Hub) -> Result<Value> {
    Ok(hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"].as_array().is_some_and(|items| !items.is_empty()))?["items"]
        [0]
    .clone())
}

/// Whether the agent ends by itself with this said.
fn ends_saying(agent: &mut Agent, expected: &str) -> Result<()> {
    agent.process()?.wait(SOON)?;
    ensure!(agent.log().contains(expected), "not said: {expected}\n{}", agent.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_command_joins_and_the_first_object_is_applied() -> Result<()> {
    let member = Member::start("join").await?;
    let hub = Hub::start(&[&member])?;
    hub.kubectl().apply(ONE_OBJECT)?;
    // What is printed for the member, with what is this machine's own behind it.
    let agent = Agent::prepare(&hub, &member)?;
    let printed = hub.run(&["token", "create", "--name", "join", "--label", "purpose=shop", "--hub", &agent.hub_address()])?;
    let command = printed.lines().find(|line| line.starts_with("clusternet-agent ")).context("no command")?;
    ensure!(!printed.contains("leads nowhere"), "{printed}");
    let begun = Instant::now();
    let mut agent = agent.with_arguments(command.split_whitespace().skip(1));
    agent.run(&[])?;
    let found = member.kubectl().wait_until(["configmap", "first", "-n", "default"], SOON, |_| true)?;
    eprintln!("join to the first applied object: {:.2} s", begun.elapsed().as_secs_f32());
    ensure!(found["data"]["it"] == "works");
    hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied)?;
    let listed = hub.run(&["token", "list"])?;
    ensure!(listed.contains("1/1") && !listed.contains(&command[command.len() - 70..]), "{listed}");
    Ok(())
}

/// A pod's folder goes with the pod; the Secret stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_is_kept_in_a_secret_outlives_the_data_folder() -> Result<()> {
    let member = Member::builder("vault").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let agent = Agent::prepare(&hub, &member)?;
    let (address, token) = (agent.hub_address(), agent.token_file());
    let common = ["--hub", &address, "--name", "vault", "--label", "purpose=shop", "--identity-secret", "clusternet-agent-identity"];
    let mut agent = agent.with_arguments([&common[..], &["--token-file", &token]].concat());
    agent.run(&[])?;
    let before = hub.kubectl().wait_until(["mcls", "-A"], SOON, is_ready)?["items"][0]["status"]["sid"].clone();
    let kept = member.kubectl().wait_until(["secret", "clusternet-agent-identity", "-n", "clusternet-system"], SOON, |_| true)?;
    ensure!(["tls.key", "tls.crt", "ca.crt", "link.key", "registration.json"].iter().all(|part| kept["data"][part].is_string()));
    agent.stop()?;
    std::fs::remove_dir_all(agent.data())?;
    let mut agent = agent.with_arguments(common);
    agent.run(&[])?;
    hub.kubectl().apply(ONE_OBJECT)?;
    let applied = hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied);
    applied.map_err(|error| error.context(agent.log()))?;
    ensure!(cluster(&hub)?["status"]["sid"] == before, "another place on the hub");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_good_lets_nobody_in_and_says_nothing_of_why() -> Result<()> {
    let member = Member::builder("tokens").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let mut agent = Agent::prepare(&hub, &member)?;
    let refused = "the join token or the proof is not accepted";
    let expired = hub.token(&["--ttl", "1s"])?;
    let revoked = hub.token(&[])?;
    hub.run(&["token", "revoke", revoked.split('.').next().context("an id")?])?;
    let elsewhere = hub.token(&["--cidr", "192.0.2.0/24"])?;
    let fresh = hub.token(&[])?;
    let forged: Vec<&str> = fresh.split('.').collect();
    let forged = format!("{}.{}.{}", forged[0], "0".repeat(64), forged[2]);
    std::thread::sleep(Duration::from_millis(1200));
    for (what, token) in [("expired", expired), ("revoked", revoked), ("from elsewhere", elsewhere), ("forged", forged)] {
        agent.give_token(&token)?;
        agent.run(&[])?;
        ends_saying(&mut agent, refused).with_context(|| what.to_owned())?;
    }
    agent.give_token(&hub.token(&["--name", "another"])?)?;
    agent.run(&[])?;
    ends_saying(&mut agent, "this token is for a cluster named \"another\"")?;
    ensure!(!hub.kubectl().run(["get", "mcls,clsrr", "-A", "-o", "name"])?.contains('/'), "somebody was let in");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_token_goes_to_one_of_two_clusters() -> Result<()> {
    let (one, two) =
        tokio::try_join!(Member::builder("race-one").api_server_only().start(), Member::builder("race-two").api_server_only().start())?;
    let hub = Hub::start(&[&one, &two])?;
    let token = hub.token(&["--uses", "1"])?;
    let mut agents = [Agent::prepare(&hub, &one)?, Agent::prepare(&hub, &two)?];
    for agent in &mut agents {
        agent.give_token(&token)?;
        agent.run(&[])?;
    }
    hub.kubectl().wait_until(["mcls", "-A"], SOON, is_ready)?;
    let deadline = Instant::now() + SOON;
    let refused = |agent: &Agent| agent.log().contains("the join token or the proof is not accepted");
    while !agents.iter().any(refused) {
        ensure!(Instant::now() < deadline, "nobody was refused");
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(cluster(&hub)?["status"]["link"] == "Connected");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impostor_of_the_hub_is_sent_nothing() -> Result<()> {
    let member = Member::builder("impostor").api_server_only().start().await?;
    let (hub, impostor) = (Hub::start(&[&member])?, Hub::start(&[&member])?);
    // The agent reaches the second hub with a token of the first.
    let mut agent = Agent::prepare(&impostor, &member)?;
    agent.give_token(&hub.token(&[])?)?;
    agent.run(&[])?;
    ends_saying(&mut agent, "nothing was sent to it")?;
    ensure!(!impostor.log().contains("an enrolment was refused"), "the token reached the impostor");
    // Nor does anything go to a peer that speaks no TLS: all that it reads is the start of a handshake.
    let listener = TcpListener::bind((member.site().gateway(), 0))?;
    let address = format!("https://{}", listener.local_addr()?);
    let heard = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the agent connects");
        let mut heard = vec![0; 4096];
        let read = std::io::Read::read(&mut socket, &mut heard).unwrap_or_default();
        heard.truncate(read);
        heard
    });
    let secret = hub.token(&[])?;
    agent.give_token(&secret)?;
    let token = agent.token_file();
    let mut agent = agent.with_arguments(["--hub", &address, "--name", "impostor", "--token-file", &token]);
    agent.run(&[])?;
    let heard = heard.join().map_err(|_| anyhow::anyhow!("the listener failed"))?;
    ensure!(heard.first() == Some(&22), "no TLS handshake: {heard:?}");
    let secret = secret.split('.').nth(1).context("a secret")?;
    ensure!(!String::from_utf8_lossy(&heard).contains(secret));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_token_waits_for_a_person() -> Result<()> {
    let member = Member::builder("manual").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let mut agent = Agent::prepare(&hub, &member)?;
    agent.give_token(&hub.token(&["--approve", "manual"])?)?;
    agent.run(&[])?;
    let is = |result: &'static str| move |found: &Value| found["items"][0]["status"]["result"] == result;
    hub.kubectl().wait_until(["clsrr"], SOON, is("Pending"))?;
    ensure!(!hub.kubectl().run(["get", "mcls", "-A", "-o", "name"])?.contains('/'), "it was let in unasked");
    hub.run(&["deny", "manual"])?;
    hub.kubectl().wait_until(["clsrr"], SOON, is("Denied"))?;
    ends_saying(&mut agent, "an administrator denied it")?;
    // The same agent, the same key: granted after all, it needs no other token.
    hub.run(&["approve", "manual"])?;
    agent.run(&[])?;
    hub.kubectl().wait_until(["mcls", "-A"], SOON, is_ready).map_err(|error| error.context(agent.log()))?;
    ensure!(hub.run(&["token", "list"])?.contains("1/1"), "asking again was counted");
    ensure!(hub.run(&["deny", "manual"]).is_err_and(|error| error.to_string().contains("revoke manual")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_at_1970_joins_and_stays() -> Result<()> {
    let member = Member::builder("epoch").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    hub.kubectl().apply(ONE_OBJECT)?;
    let mut agent = Agent::prepare(&hub, &member)?;
    for _ in 0..2 {
        agent.run(&[("AGENT_TEST_CLOCK", "60"), ("TZ", "UTC")])?;
        hub.kubectl().wait_until(["mcls", "-A"], SOON, is_ready).map_err(|error| error.context(agent.log()))?;
        member.kubectl().wait_until(["configmap", "first", "-n", "default"], SOON, |_| true)?;
        agent.stop()?;
        member.kubectl().run(["delete", "configmap", "first", "-n", "default"])?;
    }
    Ok(())
}
