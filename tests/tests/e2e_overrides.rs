//! Clusternet's documented replication example: one Deployment and Service on two members, each with its own overrides; edits and
//! deletions of overrides arrive; what can't apply is told and stops nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Agent, Kubectl, Member, Road, condition};

const SOON: Duration = Duration::from_secs(40);
const PODS: Duration = Duration::from_secs(120);

const TEMPLATES: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: foo}
---
apiVersion: v1
kind: Service
metadata: {name: my-nginx-svc, namespace: foo, labels: {app: nginx}}
spec: {selector: {app: nginx}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: my-nginx, namespace: foo, labels: {app: nginx}}
spec:
  replicas: 3
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: nginx, image: 'docker.io/local/busybox:1', imagePullPolicy: Never, command: [sleep, '100000']}]
";

const SUBSCRIPTION: &str = "
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: app-demo, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]
  feeds:
    - {apiVersion: apps.clusternet.io/v1alpha1, kind: HelmChart, namespace: default, name: mysql}
    - {apiVersion: v1, kind: Namespace, name: foo}
    - {apiVersion: v1, kind: Service, namespace: foo, name: my-nginx-svc}
    - {apiVersion: apps/v1, kind: Deployment, namespace: foo, name: my-nginx}
";

/// As a talk about Clusternet prints it: a Service of `apps/v1`, and overrides inside the Subscription.
const TALK: &str = "
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: talk, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]
  feeds:
    - {apiVersion: apps/v1, kind: Service, namespace: foo, name: my-nginx-svc}
  overrides:
    - {name: scale, type: JSONPatch, value: '[]'}
";

fn globalizations() -> String {
    let feed = "{apiVersion: apps/v1, kind: Deployment, namespace: foo, name: my-nginx}";
    format!(
        "
apiVersion: apps.clusternet.io/v1alpha1
kind: Globalization
metadata: {{name: mark-every-cluster}}
spec:
  overridePolicy: ApplyNow
  priority: 600
  clusterAffinity: {{matchLabels: {{purpose: shop}}}}
  feed: {feed}
  overrides:
    - name: mark
      type: MergePatch
      value: '{{\"metadata\":{{\"labels\":{{\"runs-on\":\"${{cluster.name}}\"}}}}}}'
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Globalization
metadata: {{name: nobody}}
spec:
  overridePolicy: ApplyNow
  priority: 600
  clusterAffinity: {{matchLabels: {{purpose: nothing}}}}
  feed: {feed}
  overrides: [{{name: none, type: MergePatch, value: '{{\"metadata\":{{\"labels\":{{\"wrong\":\"yes\"}}}}}}'}}]
"
    )
}

fn localization(namespace: &str, name: &str, priority: i32, override_: &str) -> String {
    format!(
        "
apiVersion: apps.clusternet.io/v1alpha1
kind: Localization
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  overridePolicy: ApplyNow
  priority: {priority}
  feed: {{apiVersion: apps/v1, kind: Deployment, namespace: foo, name: my-nginx}}
  overrides:
{override_}
---
"
    )
}

fn replicas(count: u32) -> String {
    format!("    - {{name: scale, type: JSONPatch, value: '[{{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":{count}}}]'}}")
}

/// The dedicated namespace of a cluster on the hub.
fn namespace_of(hub: &Kubectl, cluster: &str) -> Result<String> {
    let found = hub.get(["mcls", "-A"])?;
    let mut items = found["items"].as_array().into_iter().flatten();
    let item = items.find(|item| item["metadata"]["name"] == cluster).with_context(|| format!("no cluster {cluster}: {found}"))?;
    Ok(item["metadata"]["namespace"].as_str().unwrap_or_default().to_owned())
}

fn has(member: &Kubectl, satisfies: impl Fn(&Value) -> bool) -> Result<()> {
    member.wait_until(["deployment", "my-nginx", "-n", "foo"], SOON, satisfies).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_replication_example_works_on_two_members() -> Result<()> {
    let (first, second) = tokio::try_join!(Member::builder("over-one").with_node().start(), Member::start("over-two"))?;
    let road = Road::between(first, &[&second])?;
    let _agent = Agent::start(&road.hub, &second)?;
    let hub = road.hub.kubectl();
    hub.wait_until(["mcls", "-A"], SOON, |found| found["items"].as_array().is_some_and(|items| items.len() == 2))?;
    let members = [road.member.kubectl(), second.kubectl()];
    let namespace = namespace_of(hub, road.member.name())?;

    hub.apply(TEMPLATES)?;
    hub.apply(&globalizations())?;
    hub.apply(
        &(localization(&namespace, "scale-low", 300, &replicas(1))
            + &localization(&namespace, "scale-high", 600, &replicas(2))
            + &localization(
                &namespace,
                "label",
                500,
                "    - {name: label, type: MergePatch, value: '{\"metadata\":{\"labels\":{\"site\":\"one\"}}}'}",
            )),
    )?;
    hub.apply(SUBSCRIPTION)?;
    let marked =
        |found: &Value, cluster: &str| found["metadata"]["labels"]["runs-on"] == cluster && found["metadata"]["labels"]["wrong"].is_null();
    has(members[0], |found| found["spec"]["replicas"] == 2 && marked(found, "over-one") && found["metadata"]["labels"]["site"] == "one")?;
    has(members[1], |found| found["spec"]["replicas"] == 3 && marked(found, "over-two") && found["metadata"]["labels"]["site"].is_null())?;
    road.step("overrides at 300, 500 and 600 on one member, one Globalization marks both");

    hub.apply(&localization(&namespace, "scale-high", 600, &replicas(4)))?;
    has(members[0], |found| found["spec"]["replicas"] == 4)?;
    hub.run(["delete", "localization", "scale-high", "-n", &namespace])?;
    has(members[0], |found| found["spec"]["replicas"] == 1)?;
    hub.run(["delete", "localization", "scale-low", "-n", &namespace])?;
    has(members[0], |found| found["spec"]["replicas"] == 3 && found["metadata"]["labels"]["site"] == "one")?;
    hub.run(["delete", "globalization", "mark-every-cluster"])?;
    for member in members {
        has(member, |found| found["metadata"]["labels"]["runs-on"].is_null())?;
    }
    road.step("an edit and each deletion arrived");

    what_cannot_apply_is_told_and_stops_nothing_else(&road, &namespace)?;
    let resolved =
        |found: &Value| condition(found, "FeedsResolved").is_some_and(|resolved| resolved["message"].to_string().contains("HelmChart"));
    hub.wait_until(["subscription", "app-demo"], SOON, resolved)?;
    members[0].wait_until(["deployment", "my-nginx", "-n", "foo"], PODS, |found| found["status"]["availableReplicas"] == 3)?;
    road.step("the HelmChart feed has its condition, and the pods run");
    the_talks_subscription_is_refused_with_the_fix(hub)
}

fn what_cannot_apply_is_told_and_stops_nothing_else(road: &Road, namespace: &str) -> Result<()> {
    let hub = road.hub.kubectl();
    let wrong = "    - {name: wrong, type: JSONPatch, value: '[{\"op\":\"replace\",\"path\":\"/spec/nowhere/deep\",\"value\":1}]'}";
    hub.apply(&(localization(namespace, "broken", 700, wrong) + &localization(namespace, "whole", 800, &replicas(2))))?;
    let told = |found: &Value| {
        condition(found, "OverridesApplied").is_some_and(|applied| {
            let message = applied["message"].to_string();
            applied["status"] == "False"
                && ["over-one", "my-nginx", "broken", "/spec/nowhere/deep"].iter().all(|word| message.contains(word))
        })
    };
    hub.wait_until(["subscription", "app-demo"], SOON, told)?;
    has(road.member.kubectl(), |found| found["spec"]["replicas"] == 2)?;
    hub.run(["delete", "localization", "broken", "whole", "-n", namespace])?;
    has(road.member.kubectl(), |found| found["spec"]["replicas"] == 3)?;
    road.step("an override that can't apply is told with cluster, feed and pointer; the others go on");
    Ok(())
}

fn the_talks_subscription_is_refused_with_the_fix(hub: &Kubectl) -> Result<()> {
    let output = hub.output(&["apply", "-f", "-"], TALK)?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    ensure!(!output.status.success(), "accepted: {said}");
    ensure!(said.contains("overrides") && said.contains("Localization"), "does not name the fix: {said}");
    Ok(())
}
