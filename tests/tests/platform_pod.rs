//! The image of deploy/image and the manifest of deploy/agent.yaml on a real node: the agent runs as a pod, on its own service account.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Hub, Member, Relay, Scratch, is_applied};

/// Longer than the two minutes after which the hub takes a pod that was killed without a goodbye for gone.
const SOON: Duration = Duration::from_secs(180);
const NAMESPACE: &str = "clusternet-system";

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: first, namespace: shop}
data: {value: \"VALUE\"}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: first, namespace: default}
spec:
  subscribers: [{clusterAffinity: {}}]
  feeds: [{apiVersion: v1, kind: ConfigMap, namespace: shop, name: first}]
";

fn deploy(file: &str) -> String {
    format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// Packs the agent of `quick` for amd64, twice: the same bytes.
fn image(scratch: &Scratch) -> Result<std::path::PathBuf> {
    let pack = |name: &str| -> Result<std::path::PathBuf> {
        let path = scratch.path().join(name);
        let output = Command::new(deploy("image")).args(["agent", "--profile", "quick", "--platforms", "amd64"]).arg(&path).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(path)
    };
    let (one, other) = (pack("one.tar")?, pack("other.tar")?);
    ensure!(std::fs::read(&one)? == std::fs::read(&other)?, "the same program gives two images");
    Ok(one)
}

struct Place {
    member: Member,
    hub: Hub,
}

impl Place {
    fn logs(&self) -> String {
        let kubectl = self.member.kubectl();
        let told = |args: &[&str]| kubectl.run_with_input(args, "").unwrap_or_else(|error| format!("{error:#}"));
        let pods = told(&["describe", "pods", "-n", NAMESPACE]);
        let log = self.agent_log();
        // What it may not list is said once a kind, and would hide the rest.
        let log: Vec<&str> = log.lines().filter(|line| !line.contains("cannot be listed")).collect();
        format!("HUB\n{}\nAGENT\n{}\n{pods}", self.hub.log(), log.join("\n"))
    }

    fn agent_log(&self) -> String {
        self.member.kubectl().run(["logs", "deployment/clusternet-agent", "-n", NAMESPACE]).unwrap_or_else(|error| format!("{error:#}"))
    }

    fn arrives(&self, value: &str) -> Result<()> {
        self.hub.kubectl().apply(&OBJECTS.replace("VALUE", value))?;
        let has = |found: &serde_json::Value| found["data"]["value"] == value;
        let found = self.member.kubectl().wait_until(["configmap", "first", "-n", "shop"], SOON, has);
        found.map_err(|error| error.context(self.logs()))?;
        let applied = self.hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied);
        applied.map(drop).map_err(|error| error.context(self.logs()))
    }

    fn ready(&self) -> Result<()> {
        let ready = |found: &serde_json::Value| found["status"]["readyReplicas"] == 1 && found["status"]["replicas"] == 1;
        let found = self.member.kubectl().wait_until(["deployment", "clusternet-agent", "-n", NAMESPACE], SOON, ready);
        found.map(drop).map_err(|error| error.context(self.logs()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_runs_as_a_pod_with_its_service_account() -> Result<()> {
    let scratch = Scratch::create("image")?;
    let archive = image(&scratch)?;
    let member = Member::builder("pod").with_node().start().await?;
    let gateway = member.site().gateway();
    let hub = Hub::start(&[&member])?;
    let (api, bus) = (Relay::start(gateway, hub.api())?, Relay::start(gateway, hub.bus())?);
    member.node().context("a node")?.import(&archive)?;

    let kubectl = member.kubectl();
    kubectl.run(["create", "namespace", "shop"])?;
    kubectl.run(["apply", "-f", &deploy("rbac/agent-namespaces.yaml")])?;
    let account = format!("--serviceaccount={NAMESPACE}:clusternet-agent");
    kubectl.run(["create", "rolebinding", "clusternet-agent", "-n", "shop", "--clusterrole=clusternet-agent-namespace", &account])?;
    let manifest = std::fs::read_to_string(deploy("agent.yaml"))?;
    let filled = [("https://HUB:8443", format!("https://{}", api.address())), ("TOKEN", hub.token(&[])?), ("NAME", "pod".into())]
        .iter()
        .fold(manifest, |text, (word, value)| text.replace(&format!(": {word}\n"), &format!(": {value}\n")));
    // The hub tells agents where it listens, which is loopback here.
    let filled =
        filled.replace("--health-listen=0.0.0.0:8080]", &format!("--health-listen=0.0.0.0:8080, --bus=mqtts://{}]", bus.address()));
    ensure!(filled.contains("--bus=") && !filled.contains(": TOKEN\n") && !filled.contains("HUB:8443"), "{filled}");
    kubectl.apply(&filled)?;

    let place = Place { member, hub };
    place.ready()?;
    place.arrives("one")?;
    let log = place.agent_log();
    ensure!(log.contains("INFO registered") && log.contains("INFO in session with the hub"), "{log}");
    ensure!(!log.contains('\u{1b}') && log.lines().all(|line| line.starts_with("20")), "not readable: {log}");

    // Another pod, without the token: the identity is in the Secret.
    let kubectl = place.member.kubectl();
    kubectl.run(["delete", "secret", "clusternet-agent-join", "-n", NAMESPACE])?;
    kubectl.run(["delete", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=clusternet-agent", "--grace-period=5"])?;
    place.ready()?;
    place.arrives("two")?;
    let clusters: serde_json::Value = serde_json::from_str(&place.hub.kubectl().run(["get", "mcls", "-A", "-o", "json"])?)?;
    ensure!(clusters["items"].as_array().map(Vec::len) == Some(1), "{clusters}");
    Ok(())
}
