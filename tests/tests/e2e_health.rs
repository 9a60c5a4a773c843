//! What the hub says of an application is true and has an age: broken images, growing replicas, a cut link.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{Member, Road, condition};

const SOON: Duration = Duration::from_secs(40);
const PODS: Duration = Duration::from_secs(120);

fn application(image: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: web}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: front, namespace: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: front}}}}
  template:
    metadata: {{labels: {{app: front}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: front, image: '{image}', imagePullPolicy: IfNotPresent, command: [sleep, '100000']}}]
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {{name: web, namespace: default}}
spec:
  subscribers: [{{clusterAffinity: {{matchLabels: {{purpose: shop}}}}}}]
  feeds:
    - {{apiVersion: v1, kind: Namespace, name: web}}
    - {{apiVersion: apps/v1, kind: Deployment, namespace: web, name: front}}
"
    )
}

fn healthy(found: &Value, status: &str) -> bool {
    condition(found, "Healthy").is_some_and(|healthy| healthy["status"] == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hub_says_is_true_and_has_an_age() -> Result<()> {
    let road = Road::between(Member::builder("truth").with_node().start().await?, &[])?;
    let hub = road.hub.kubectl();
    hub.apply(&application("127.0.0.1:1/none:1"))?;
    road.applied("web")?;
    let begun = Instant::now();
    let broken = |found: &Value| {
        healthy(found, "False")
            && condition(found, "Healthy")
                .is_some_and(|healthy| ["ImagePullBackOff", "ErrImagePull"].iter().any(|why| healthy.to_string().contains(why)))
    };
    hub.wait_until(["subscription", "web"], SOON, broken).map_err(|error| error.context(road.logs()))?;
    road.step(&format!("a broken image is Unhealthy on the hub after {:.1} s", begun.elapsed().as_secs_f32()));
    ensure!(begun.elapsed() < Duration::from_secs(15), "only after {:?}", begun.elapsed());

    hub.apply(&application("docker.io/local/busybox:1"))?;
    hub.run(["wait", "--for=condition=Healthy", "subscription/web", "--timeout=120s"])?;
    let ready = |found: &Value| found["status"]["aggregatedStatuses"].to_string().contains("\"readyReplicas\":3");
    hub.wait_until(["subscription", "web"], PODS, ready)?;
    hub.run(["rollout", "status", "deployment/front", "-n", "web", "--timeout=60s"])?;
    road.step("repaired: three of three are ready, kubectl wait and kubectl rollout status end");

    readiness_is_seen_step_by_step(&road)?;
    a_cut_link_lets_the_age_grow(&road)
}

/// Three pods, one after another, each ready only some seconds after its start.
const SLOW: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: slow, namespace: web}
spec:
  replicas: 3
  serviceName: slow
  updateStrategy: {type: RollingUpdate}
  selector: {matchLabels: {app: slow}}
  template:
    metadata: {labels: {app: slow}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: slow
          image: docker.io/local/busybox:1
          imagePullPolicy: IfNotPresent
          command: [sleep, '100000']
          readinessProbe: {exec: {command: ['true']}, initialDelaySeconds: 7, periodSeconds: 1}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: slow, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]
  feeds: [{apiVersion: apps/v1, kind: StatefulSet, namespace: web, name: slow}]
";

fn readiness_is_seen_step_by_step(road: &Road) -> Result<()> {
    let hub = road.hub.kubectl();
    hub.apply(SLOW)?;
    let begun = Instant::now();
    let mut seen = vec![0];
    while seen.last() != Some(&3) {
        ensure!(begun.elapsed() < PODS, "seen on the hub: {seen:?}");
        let found = hub.get(["subscription", "slow"])?;
        let status = &found["status"]["aggregatedStatuses"][0]["feedStatusSummary"]["replicaStatus"];
        let ready = status["readyReplicas"].as_u64().unwrap_or(0);
        ensure!(ready == 3 || !healthy(&found, "True"), "Healthy with {ready} of 3 ready");
        if seen.last() != Some(&ready) {
            seen.push(ready);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    ensure!(seen == [0, 1, 2, 3], "seen on the hub: {seen:?}");
    hub.run(["wait", "--for=condition=Healthy", "subscription/slow", "--timeout=30s"])?;
    road.step(&format!("ready {seen:?} of three was seen on the hub within {:.0} s, then Healthy", begun.elapsed().as_secs_f32()));
    Ok(())
}

fn a_cut_link_lets_the_age_grow(road: &Road) -> Result<()> {
    let hub = road.hub.kubectl();
    let contact =
        || -> Result<String> { Ok(hub.get(["mcls", "-A"])?["items"][0]["status"]["lastContact"].as_str().unwrap_or_default().to_owned()) };
    road.agent.bus.cut();
    let away = |found: &Value| condition(&found["items"][0], "Ready").is_some_and(|ready| ready["status"] == "Unknown");
    hub.wait_until(["mcls", "-A"], Duration::from_secs(90), away)?;
    let first = contact()?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(!first.is_empty() && contact()? == first, "the last contact moved while the link was cut: {first}, {}", contact()?);
    let kept = hub.get(["mcls", "-A"])?["items"][0]["status"]["k8sVersion"].clone();
    ensure!(kept == "v1.37.2", "the last known state was not kept: {kept}");
    println!("{}", hub.run(["get", "mcls", "-A"])?);
    road.agent.bus.heal();
    let back = |found: &Value| condition(&found["items"][0], "Ready").is_some_and(|ready| ready["status"] == "True");
    hub.wait_until(["mcls", "-A"], SOON, back)?;
    road.step("cut: Unknown with the last known state and an age that grows; healed: Ready");
    Ok(())
}
