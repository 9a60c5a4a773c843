//! What the usual messages cost, MQTT included: bytes are money. The goals are those of the design.

mod support;

use bus_schema::health::sentence;
use bus_schema::id::ObjectId;
use bus_schema::limits::{COALESCE, PAUSE_RESULT};
use bus_schema::message::{Health, Level, Replicas};

use support::world::{World, settled, shop};

#[test]
fn one_image_of_35_objects_costs_300_bytes() {
    let mut world = settled();
    world.desire(&shop("registry.example/shop/service:1.0.1"), 2);
    let bytes = world.settle();
    eprintln!("one image change, delta + applied + acknowledged: {bytes} bytes in {} frames", world.frames);
    assert!(world.agent.is_reported() && bytes <= 300, "{bytes}");
}

#[test]
fn an_unchanged_reconnect_costs_256_bytes_of_greeting() {
    let mut world = settled();
    world.connect(2);
    let bytes = world.settle();
    let mqtt = world.frames * 20;
    eprintln!(
        "unchanged reconnect: {bytes} bytes in {} frames, {} without MQTT; CONNECT to SUBACK not counted",
        world.frames,
        bytes - mqtt
    );
    assert!(bytes <= 450 - 56, "{bytes}: with CONNECT, CONNACK, SUBSCRIBE and SUBACK (56) more than 450");
}

#[test]
fn one_field_in_a_megabyte_costs_500_bytes() {
    let large = |word: &str| -> Vec<String> {
        let lines: String =
            (0..40_000_u64).map(|line| format!("\"setting-{line}\":\"{:x}\",", line.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)).collect();
        vec![format!("{{{lines}\"word\":\"{word}\"}}")]
    };
    let mut world = World::new();
    world.desire(&large("old"), 1);
    world.agent.surveyed(Vec::new(), 0);
    world.connect(1);
    world.settle();
    assert!(world.agent.is_held());
    world.desire(&large("new"), 2);
    let bytes = world.settle();
    eprintln!("one field in {} bytes: {bytes} bytes in {} frames", large("old")[0].len(), world.frames);
    assert!(world.agent.is_reported() && bytes <= 500, "{bytes}");
}

/// Everything that a small cluster says of itself, as the agent writes it.
fn facts(pods: u32) -> Vec<u8> {
    let sums = r#"{"cpu":"12","memory":"24587Mi"}"#;
    format!(
        r#"{{"agentVersion":"0.1.0","k8sVersion":"v1.37.2","platform":"linux/arm64","apiserverURL":"https://10.96.0.1:443","healthz":true,"livez":true,"readyz":true,"heartbeatFrequencySeconds":30,"capacity":{sums},"allocatable":{sums},"nodeStatistics":{{"readyNodes":3,"notReadyNodes":0,"unknownNodes":0,"lostNodes":0}},"clusterCIDR":"10.244.0.0/16","serviceCIDR":"10.96.0.0/12","podStatistics":{{"runningPods":{pods},"totalPods":{}}},"nodeLabels":{{"node.clusternet.io/site":"harbour-7","node.clusternet.io/zone":"north"}}}}"#,
        pods + 4
    )
    .into_bytes()
}

#[test]
fn a_changed_count_of_pods_costs_120_bytes_and_all_facts_600() {
    let mut world = settled();
    world.agent.set_facts(facts(41), world.now);
    world.now += 1_000;
    let first = world.settle();
    eprintln!("all facts ({} bytes): {} bytes, with their acknowledgement {first}", facts(41).len(), world.up);
    assert!(world.up <= 600, "{}", world.up);
    world.agent.set_facts(facts(38), world.now);
    world.now += 1_000;
    let bytes = world.settle();
    eprintln!("a status change: {} bytes, with its acknowledgement {bytes}", world.up);
    assert!(world.up <= 120, "{}", world.up);
    assert_eq!(world.hub.table().rows[&ObjectId::default()].facts, facts(38));
}

#[test]
fn facts_that_have_not_changed_are_not_told_again_nor_after_a_reconnect() {
    let mut bare = settled();
    bare.connect(2);
    let unchanged = bare.settle();
    let mut world = settled();
    world.agent.set_facts(facts(41), world.now);
    world.now += 1_000;
    world.settle();
    world.agent.set_facts(facts(41), world.now);
    world.now += 1_000;
    assert_eq!(world.settle(), 0, "the same facts again");
    world.connect(2);
    assert_eq!(world.settle(), unchanged, "a reconnect costs the same with facts and without");
}

fn object() -> ObjectId {
    ObjectId::new("apps", "Deployment", "shop", "service-07")
}

/// A Deployment of three on its way, or there.
fn rollout(level: Level, reason: &str, ready: i32) -> Health {
    let [replicas, updated, desired] = [3; 3];
    let numbers = Replicas {
        observed_generation: 7,
        generation: 7,
        replicas,
        updated,
        desired,
        ready,
        available: ready,
        unavailable: 3 - ready,
        ..Replicas::default()
    };
    let message = sentence(reason, Some(&numbers));
    Health { level: level as i32, reason: reason.into(), message, replicas: Some(numbers), ..Health::default() }
}

#[test]
fn a_health_change_reaches_the_hub_and_costs_120_bytes() {
    let mut world = settled();
    world.now += 60_000;
    let health = rollout(Level::Unhealthy, "ImagePullBackOff", 2);
    world.agent.health(&object(), health.clone(), false, world.now);
    world.now += COALESCE;
    let bytes = world.settle();
    eprintln!("a health change: {} bytes, with its acknowledgement {bytes}", world.up);
    assert_eq!(world.hub.table().rows[&object()].health, Some(health));
    // The acknowledgement is mostly padding and MQTT, and says one number.
    assert!(world.up <= 120 && bytes <= 136, "{bytes}");
}

#[test]
fn a_rollout_costs_two_reports_and_its_result_is_told_within_the_pause() {
    let mut world = settled();
    world.now += 60_000;
    world.desire(&shop("registry.example/shop/service:1.0.1"), 2);
    let mut bytes = world.settle();
    assert!(world.agent.is_reported(), "applied waits for nothing");
    let steps = [("NotObserved", 2), ("Updating", 0), ("NotReady", 1), ("NotReady", 2)];
    for (reason, ready) in steps {
        world.agent.health(&object(), rollout(Level::Progressing, reason, ready), false, world.now);
        world.now += 100;
        bytes += world.settle();
    }
    assert!(!world.agent.is_reported(), "progress was told at once after a step");
    let healthy = rollout(Level::Healthy, "", 3);
    world.agent.health(&object(), healthy.clone(), false, world.now);
    world.now += PAUSE_RESULT;
    bytes += world.settle();
    eprintln!("one image change with its rollout: {bytes} bytes");
    assert_eq!(world.hub.table().rows[&object()].health, Some(healthy));
    assert!(world.agent.is_reported() && bytes <= 300 + 120, "{bytes}");
}

#[test]
fn progress_after_a_quiet_time_is_told_at_once_then_at_a_bounded_rate() {
    let mut world = settled();
    world.now += 60_000;
    let mut frames = 0;
    for round in 0..100 {
        world.agent.health(&object(), rollout(Level::Progressing, "NotReady", round % 3), false, world.now);
        world.now += 100;
        world.settle();
        frames += world.frames;
        assert!(round > 0 || frames == 2, "the first step waited");
    }
    assert_eq!(frames, 4, "a report and an acknowledgement each five seconds");
}
