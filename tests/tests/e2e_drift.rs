//! The agent keeps what it applied without a fight: drift is corrected also without the hub, an HPA is left alone, a finished Job stays
//! finished, a paused object stays as somebody left it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{Kubectl, Member, Road, Webhook, condition};

const SOON: Duration = Duration::from_secs(40);

const APPLICATION: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: calm}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: calm}
data: {mode: ours}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: calm}
stringData: {k: v}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: calm}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: docker.io/local/busybox:1
          imagePullPolicy: Never
          command: [sleep, '100000']
          resources: {requests: {cpu: '0.01'}, limits: {cpu: 0.5}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: calm}
spec:
  ttlSecondsAfterFinished: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: once, image: 'docker.io/local/busybox:1', imagePullPolicy: Never, command: ['true']}]
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: calm, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]
  feeds:
    - {apiVersion: v1, kind: Namespace, name: calm}
    - {apiVersion: v1, kind: ConfigMap, namespace: calm, name: settings}
    - {apiVersion: v1, kind: Secret, namespace: calm, name: key}
    - {apiVersion: apps/v1, kind: Deployment, namespace: calm, name: web}
    - {apiVersion: batch/v1, kind: Job, namespace: calm, name: once}
";

const HPA: &str = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: calm}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 9
";

fn settings(member: &Kubectl, mode: &str) -> Result<Value> {
    member.wait_until(["configmap", "settings", "-n", "calm"], SOON, |found| found["data"]["mode"] == mode)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_corrects_and_does_not_fight() -> Result<()> {
    let mut road = Road::between(Member::builder("calm").with_node().start().await?, &[])?;
    road.hub.kubectl().apply(APPLICATION)?;
    road.applied("calm")?;
    nothing_drifts_by_itself(&road)?;
    a_change_is_corrected_without_the_hub(&road)?;
    what_is_paused_stays(&road)?;
    an_autoscaler_is_left_alone(&road)?;
    an_immutable_field_is_one_clear_report(&road)?;
    a_webhook_is_not_fought(&mut road)?;
    a_job_runs_once(&mut road)?;
    Ok(())
}

fn a_job_runs_once(road: &mut Road) -> Result<()> {
    let member = road.member.kubectl();
    member.wait_until_gone(["job", "once", "-n", "calm"], Duration::from_secs(120))?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(!member.exists(["job", "once", "-n", "calm"])?, "a finished Job was made again");
    let watch = member.watch(["jobs", "-n", "calm"])?;
    road.hub.kill();
    road.agent.kill();
    let member = road.member.kubectl();
    member.run(["delete", "secret", "key", "-n", "calm"])?;
    road.agent.run(&[])?;
    member.wait_until(["secret", "key", "-n", "calm"], SOON, |_| true)?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(watch.generations("once").is_empty(), "a finished Job was made again by a cold start without the hub");
    road.hub.start_again()?;
    road.applied("calm")?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(watch.generations("once").is_empty(), "a finished Job was made again when the hub came back");
    road.step("a Job that its TTL removed ran once, also over a cold start with the hub away, and when the hub is back");
    Ok(())
}

/// Quantities, stringData and defaults look different on the server; that is no drift.
fn nothing_drifts_by_itself(road: &Road) -> Result<()> {
    let before = road.ours()?;
    std::thread::sleep(Duration::from_secs(5));
    let after = road.ours()?;
    let touched: Vec<_> = before.iter().filter(|(name, versions)| after.get(*name) != Some(versions)).collect();
    ensure!(touched.is_empty(), "changed by themselves: {touched:?}");
    road.step("nothing drifts by itself");
    Ok(())
}

fn a_change_is_corrected_without_the_hub(road: &Road) -> Result<()> {
    let member = road.member.kubectl();
    road.agent.bus.cut();
    let begun = Instant::now();
    member.run(["patch", "configmap", "settings", "-n", "calm", "--type=merge", "-p", r#"{"data":{"mode":"theirs","extra":"kept"}}"#])?;
    let back = settings(member, "ours")?;
    ensure!(back["data"]["extra"] == "kept", "a field that is not ours was removed");
    member.run(["delete", "secret", "key", "-n", "calm"])?;
    member.wait_until(["secret", "key", "-n", "calm"], SOON, |_| true)?;
    road.agent.bus.heal();
    road.step(&format!("a changed and a deleted object were put right with the hub away, in {:.1} s", begun.elapsed().as_secs_f32()));
    Ok(())
}

fn what_is_paused_stays(road: &Road) -> Result<()> {
    let member = road.member.kubectl();
    member.run(["annotate", "configmap", "settings", "-n", "calm", "clusternet.io/paused=true"])?;
    std::thread::sleep(Duration::from_secs(2));
    member.run(["patch", "configmap", "settings", "-n", "calm", "--type=merge", "-p", r#"{"data":{"mode":"theirs"}}"#])?;
    std::thread::sleep(Duration::from_secs(4));
    settings(member, "theirs")?;
    member.run(["annotate", "configmap", "settings", "-n", "calm", "clusternet.io/paused-"])?;
    settings(member, "ours")?;
    road.step("a paused object stays as it was left, and is put right when the pause ends");
    Ok(())
}

fn an_autoscaler_is_left_alone(road: &Road) -> Result<()> {
    let member = road.member.kubectl();
    member.apply(HPA)?;
    let watch = member.watch(["deployment", "web", "-n", "calm"])?;
    watch.wait_until(SOON, |events| !events.is_empty())?;
    std::thread::sleep(Duration::from_secs(2));
    let events = 100;
    for turn in 0..events {
        member.run(["scale", "deployment", "web", "-n", "calm", &format!("--replicas={}", 3 + turn % 4)])?;
    }
    // The hub changes something else meanwhile: the replicas stay the autoscaler's.
    road.hub.kubectl().run(["set", "env", "deployment/web", "-n", "calm", "STEP=one"])?;
    let arrived = |found: &Value| found["spec"]["template"].to_string().contains("STEP");
    let found = member.wait_until(["deployment", "web", "-n", "calm"], SOON, arrived)?;
    ensure!(found["spec"]["replicas"] == 3 + (events - 1) % 4, "the replicas are {}", found["spec"]["replicas"]);
    std::thread::sleep(Duration::from_secs(3));
    let seen = watch.wait_until(SOON, |events| !events.is_empty())?;
    let replicas: Vec<u64> = seen.iter().filter_map(|event| event.object["spec"]["replicas"].as_u64()).collect();
    let after_first = replicas.iter().skip_while(|count| **count == 2);
    ensure!(after_first.clone().all(|count| *count >= 3), "fought over replicas: {replicas:?}");
    road.step(&format!("{events} scale events of an autoscaler, {} seen, not one taken back", after_first.count()));
    Ok(())
}

fn an_immutable_field_is_one_clear_report(road: &Road) -> Result<()> {
    let (hub, member) = (road.hub.kubectl(), road.member.kubectl());
    let before = member.get(["deployment", "web", "-n", "calm"])?["metadata"]["generation"].clone();
    let selector = r#"[{"op":"add","path":"/spec/selector/matchLabels/new","value":"yes"},{"op":"add","path":"/spec/template/metadata/labels/new","value":"yes"}]"#;
    hub.run(["patch", "deployment", "web", "-n", "calm", "--type=json", "-p", selector])?;
    let told = |found: &Value| condition(found, "Applied").is_some_and(|applied| applied.to_string().contains("immutable"));
    let found = hub.wait_until(["subscription", "calm"], SOON, told)?;
    let applied = condition(&found, "Applied").map(ToString::to_string).unwrap_or_default();
    println!("{applied}");
    ensure!(applied.contains("Deployment") && applied.contains("calm/web"), "the object is not named: {applied}");
    std::thread::sleep(Duration::from_secs(5));
    let again = hub.get(["subscription", "calm"])?;
    ensure!(condition(&again, "Applied") == condition(&found, "Applied"), "the report changed: it is tried in a loop");
    ensure!(member.get(["deployment", "web", "-n", "calm"])?["metadata"]["generation"] == before, "the object was changed all the same");
    let back = r#"[{"op":"remove","path":"/spec/selector/matchLabels/new"},{"op":"remove","path":"/spec/template/metadata/labels/new"}]"#;
    hub.run(["patch", "deployment", "web", "-n", "calm", "--type=json", "-p", back])?;
    road.applied("calm")?;
    road.step("an immutable field: one report that names the object, no loop, and applied again once it is taken back");
    Ok(())
}

fn a_webhook_is_not_fought(road: &mut Road) -> Result<()> {
    let member = road.member.kubectl();
    let _webhook = Webhook::rewrite_images(&road.member, "calm", "mirror.example.com/")?;
    let watch = member.watch(["deployment", "web", "-n", "calm"])?;
    watch.wait_until(SOON, |events| !events.is_empty())?;
    road.hub.kubectl().run(["set", "env", "deployment/web", "-n", "calm", "STEP=two"])?;
    let rewritten = |found: &Value| found["spec"]["template"].to_string().contains("mirror.example.com");
    member.wait_until(["deployment", "web", "-n", "calm"], SOON, rewritten)?;
    std::thread::sleep(Duration::from_secs(20));
    let generations = watch.generations("web");
    ensure!(generations.len() <= 3, "fought with a webhook: generations {generations:?}");
    let contested = |found: &Value| found.to_string().contains("Contested") || found.to_string().contains("contested");
    road.hub.kubectl().wait_until(["subscription", "calm"], SOON, contested)?;
    road.step(&format!("a webhook rewrites the image: {} writes in 20 s, and the hub says Contested", generations.len() - 1));
    road.agent.kill();
    road.agent.run(&[])?;
    std::thread::sleep(Duration::from_secs(8));
    ensure!(watch.generations("web") == generations, "an agent's restart wrote: {generations:?}, then {:?}", watch.generations("web"));
    road.hub.kubectl().wait_until(["subscription", "calm"], SOON, contested)?;
    road.step("the agent was killed and started: no write more, and still Contested");
    Ok(())
}
