//! A hostile broker between a real hub and two real agents, on a bus without TLS: it learns sizes and topics, and changes nothing but
//! when things happen.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::planted::{self, Planted};
use tests::{Event, HostileBroker, Hub, Launch, Member, Process, Scratch, Watch, is_applied, workspace_program};

const SOON: Duration = Duration::from_secs(40);
/// The longest that two ends need to agree again once the broker is honest: an agent that hears nothing greets again after two and a
/// half heartbeats.
const CONVERGED: Duration = Duration::from_secs(180);
const ROUNDS: u32 = 60;
const BETWEEN: Duration = Duration::from_millis(400);
const FROZEN: Duration = Duration::from_secs(6);
/// Percent of frames that something is done to.
const HOSTILITY: u8 = 40;
const NAMES: [&str; 2] = ["hostile-one", "hostile-two"];

/// A member, its agent on the broker's side of the network, and what the member's API server saw.
struct Side {
    member: Member,
    agent: Process,
    config_maps: Watch,
    _scratch: Scratch,
}

impl Side {
    async fn start(name: &str, hub: &Hub, broker: &HostileBroker) -> Result<Side> {
        let member = Member::builder(name).api_server_only().start().await?;
        let scratch = Scratch::create(name)?;
        std::fs::write(scratch.path().join("token"), hub.token(&["--name", name])?)?;
        let own = format!("only={name}");
        let agent = Launch::new("agent", workspace_program("clusternet-agent")?, scratch.path())
            .args(["--hub", &format!("https://{}", hub.api()), "--bus", &broker.url(), "--insecure-bus", "--name", name])
            .args(["--label", "purpose=shop", "--label", &own, "--log", "info,edge_agent=debug"])
            .arg("--token-file")
            .arg(scratch.path().join("token"))
            .arg("--data-dir")
            .arg(scratch.path().join("data"))
            .arg("--kubeconfig")
            .arg(member.kubeconfig())
            .start()?;
        let config_maps = member.kubectl().watch(["configmaps", "-n", "default"])?;
        Ok(Side { member, agent, config_maps, _scratch: scratch })
    }

    /// What of ours is in its default namespace, with the round that each says.
    fn ours(&self) -> Result<Vec<(String, String)>> {
        let args = ["configmaps,secrets", "-n", "default", "-l", "clusternet.io/created-by=clusternet-agent"];
        let found = self.member.kubectl().get(args)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = found["items"].as_array().context("a list")?.iter();
        Ok(items.map(|item| (text(&item["metadata"]["name"]), text(&item["data"]["round"]))).collect())
    }
}

/// One ConfigMap and the Subscription that brings it to the clusters with a label.
fn config_map(name: &str, label: &str, round: u32) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata: {{round: \"{round}\"}}\n---\n\
         apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {{name: {name}, namespace: default}}\nspec:\n\
         \x20 subscribers: [{{clusterAffinity: {{matchLabels: {{{label}}}}}}}]\n\
         \x20 feeds: [{{apiVersion: v1, kind: ConfigMap, namespace: default, name: {name}}}]\n---\n"
    )
}

fn secret(planted: &Planted) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: vault, namespace: default}}\ndata: {{password: {}}}\n---\n\
         apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {{name: vault, namespace: default}}\nspec:\n\
         \x20 subscribers: [{{clusterAffinity: {{matchLabels: {{purpose: shop}}}}}}]\n\
         \x20 feeds: [{{apiVersion: v1, kind: Secret, namespace: default, name: vault}}]\n",
        planted.base64()
    )
}

/// Everything that is desired in one round: what all have, and what one of them has.
fn desired(round: u32) -> String {
    let own = NAMES.map(|name| config_map(name, &format!("only: {name}"), round));
    [config_map("for-all", "purpose: shop", round), own.concat()].concat()
}

/// The rounds that an object said on a member, in the order of the API server's events.
fn rounds(events: &[Event], name: &str) -> Vec<u32> {
    let of = events.iter().filter(|event| event.name() == name && event.kind != "DELETED");
    of.filter_map(|event| event.object["data"]["round"].as_str()?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_broker_learns_sizes_and_topics_and_changes_nothing_but_when_things_happen() -> Result<()> {
    let hub = Hub::start_with(&[], &["--insecure-bus"])?;
    let broker = HostileBroker::start(hub.bus())?;
    let mut sides = [Side::start(NAMES[0], &hub, &broker).await?, Side::start(NAMES[1], &hub, &broker).await?];
    let (first, second) = (Planted::random("the first password"), Planted::random("the second password"));
    hub.kubectl().apply(&desired(0))?;
    hub.kubectl().apply(&secret(&first))?;
    for name in ["for-all", "vault", NAMES[0], NAMES[1]] {
        hub.kubectl().wait_until(["subscription", name], SOON, is_applied).map_err(|error| error.context(sides[0].agent.log_tail()))?;
    }
    broker.harm(HOSTILITY);
    for round in 1..=ROUNDS {
        hub.kubectl().apply(&desired(round))?;
        match round {
            // Something comes and goes meanwhile.
            10 => drop(hub.kubectl().apply(&config_map("passing", "purpose: shop", round))?),
            30 => drop(hub.kubectl().run(["delete", "subscription/passing", "configmap/passing"])?),
            20 => drop(hub.kubectl().apply(&secret(&second))?),
            40 => {
                broker.freeze(true);
                std::thread::sleep(FROZEN);
                broker.freeze(false);
            }
            _ => std::thread::sleep(BETWEEN),
        }
    }
    broker.harm(0);
    let (honest, deeds) = (Instant::now(), broker.deeds());
    for (side, name) in sides.iter().zip(NAMES) {
        let last = ROUNDS.to_string();
        let wanted = [("for-all", last.as_str()), (name, &last), ("vault", "")].map(|(name, round)| (name.to_owned(), round.to_owned()));
        while side.ours()? != wanted {
            ensure!(
                honest.elapsed() < CONVERGED,
                "{name}: {:?} and not {wanted:?}\n{}\n{}",
                side.ours()?,
                side.agent.log_tail(),
                hub.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    eprintln!("hostile broker: {deeds:?}; both members as desired {:.1} s after it became honest", honest.elapsed().as_secs_f32());
    ensure!(deeds.are_of_every_kind(), "it was not hostile in every way: {deeds:?}");
    // Nothing older ever came back, and nothing of the other member.
    for (side, (own, others)) in sides.iter().zip([(NAMES[0], NAMES[1]), (NAMES[1], NAMES[0])]) {
        let events = side.config_maps.events();
        for name in ["for-all", own] {
            let seen = rounds(&events, name);
            ensure!(seen.is_sorted() && seen.last() == Some(&ROUNDS), "{own}: {name} said {seen:?}");
        }
        ensure!(rounds(&events, others).is_empty(), "{own} was given what is {others}'s");
        let made = events.iter().filter(|event| event.kind == "ADDED" && event.name() == "passing").count();
        ensure!(made <= 1, "{own}: what was taken away came back");
    }
    for side in &mut sides {
        ensure!(side.agent.is_running() && !side.agent.log().contains("panicked"), "{}", side.agent.log_tail());
    }
    let seen = broker.seen();
    let hits = planted::in_bytes(&seen, &[first, second, Planted::of("a name", "for-all")]);
    ensure!(hits.is_empty(), "the broker read {hits:?}");
    let topic = Planted::of("a topic", "/d/m");
    ensure!(!planted::in_bytes(&seen, &[topic]).is_empty(), "{} bytes and no topic: nothing was recorded", seen.len());
    eprintln!("hostile broker: {} KiB passed it, no planted secret and no name among them", seen.len() / 1024);
    Ok(())
}
