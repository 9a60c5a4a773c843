//! The agent under each of the RBAC presets of `deploy/rbac`, as a ServiceAccount of a real API server: what it may not do is told
//! object by object, and nothing else breaks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Agent, App, Hub, Member, Scratch, condition, is_applied};

const SOON: Duration = Duration::from_secs(60);

/// One object outside the namespace that the agent is bound to.
const ELSEWHERE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: default}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: elsewhere, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]
  feeds: [{apiVersion: v1, kind: ConfigMap, namespace: default, name: elsewhere}]
";

/// The member's kubeconfig with the token of the agent's ServiceAccount.
fn as_service_account(member: &Member, folder: &Path) -> Result<PathBuf> {
    let token = member.kubectl().run(["create", "token", "clusternet-agent", "-n", "clusternet-system"])?;
    let view = member.kubectl().run(["config", "view", "--raw", "--minify", "--flatten", "-o", "json"])?;
    let mut config: Value = serde_json::from_str(&view)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

struct Under {
    member: Member,
    hub: Hub,
    agent: Agent,
    _scratch: Scratch,
}

impl Under {
    /// A member whose agent has the rights of this preset, and what an administrator does beside it.
    async fn preset(name: &str, prepare: impl Fn(&Member) -> Result<()>) -> Result<Under> {
        let member = Member::start(name).await?;
        let preset = format!("{}/../deploy/rbac/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        member.kubectl().run(["apply", "-f", &preset])?;
        prepare(&member)?;
        let (hub, scratch) = (Hub::start(&[&member])?, Scratch::create(name)?);
        let kubeconfig = as_service_account(&member, scratch.path())?;
        let mut agent = Agent::prepare(&hub, &member)?.with_kubeconfig(&kubeconfig);
        agent.run(&[])?;
        let app = App::load()?;
        hub.kubectl().apply(app.objects())?;
        hub.kubectl().apply(app.subscription())?;
        Ok(Under { member, hub, agent, _scratch: scratch })
    }

    fn is_ready(&self) -> Result<()> {
        let ready = |found: &Value| {
            let ready = condition(&found["items"][0], "Ready").is_some_and(|ready| ready["status"] == "True");
            ready && found["items"][0]["status"]["nodeStatistics"].is_object()
        };
        let waited = self.hub.kubectl().wait_until(["mcls", "-A"], SOON, ready);
        waited.map(drop).map_err(|error| error.context(self.agent.log()))
    }

    /// The objects that were refused, as `KIND NAME`, once every object was tried.
    fn refused(&self, expected: usize) -> Result<Vec<String>> {
        let rows = || -> Result<Vec<Value>> {
            let found: Value = serde_json::from_str(&self.hub.kubectl().run(["get", "mcls", "-A", "-o", "json"])?)?;
            let at = |field: &str| found["items"][0]["metadata"][field].as_str().unwrap_or_default().to_owned();
            let path =
                format!("/apis/clusters.clusternet.io/v1beta1/namespaces/{}/managedclusters/{}/objects", at("namespace"), at("name"));
            let rows: Value = serde_json::from_str(&self.hub.kubectl().run(["get", "--raw", &path])?)?;
            Ok(rows["items"].as_array().context("rows")?.clone())
        };
        let deadline = std::time::Instant::now() + SOON;
        loop {
            let rows = rows()?;
            let refused: Vec<&Value> = rows.iter().filter(|row| row.to_string().contains("forbidden")).collect();
            if refused.len() >= expected {
                let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
                return Ok(refused.iter().map(|row| format!("{} {}", text(row, "kind"), text(row, "name"))).collect());
            }
            ensure!(std::time::Instant::now() < deadline, "{} of {expected} refused: {rows:#?}", refused.len());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_full_rights_everything_is_applied_and_taken_away() -> Result<()> {
    let under = Under::preset("agent-full", |_| Ok(())).await?;
    under.is_ready()?;
    let applied = under.hub.kubectl().wait_until(["subscription", "shop"], SOON, is_applied);
    applied.map_err(|error| error.context(under.agent.log()))?;
    let may = |verb: &str, what: &str| {
        under.member.kubectl().run(["auth", "can-i", verb, what, "--as=system:serviceaccount:clusternet-system:clusternet-agent"])
    };
    ensure!(may("impersonate", "users").is_err(), "the agent may speak as somebody else");
    under.hub.kubectl().run(["delete", "subscription", "shop"])?;
    under.member.kubectl().wait_until_gone(["namespace", "shop"], SOON)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_to_a_namespace_the_agent_applies_there_and_tells_what_it_may_not() -> Result<()> {
    let under = Under::preset("agent-namespaces", |member| {
        member.kubectl().run(["create", "namespace", "shop"])?;
        let bind = ["create", "rolebinding", "clusternet-agent", "-n", "shop", "--clusterrole=clusternet-agent-namespace"];
        member.kubectl().run_with_input(&[&bind[..], &["--serviceaccount=clusternet-system:clusternet-agent"]].concat(), "").map(drop)
    })
    .await?;
    under.is_ready()?;
    let eleven = |found: &Value| found["items"].as_array().is_some_and(|items| items.len() == 11);
    under.member.kubectl().wait_until(["deployments", "-n", "shop"], SOON, eleven).map_err(|error| error.context(under.agent.log()))?;
    under.hub.kubectl().wait_until(["subscription", "shop"], SOON, is_applied).map_err(|error| error.context(under.agent.log()))?;
    under.hub.kubectl().apply(ELSEWHERE)?;
    let refused = under.refused(1)?;
    ensure!(refused == ["ConfigMap elsewhere"], "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_the_agent_stays_connected_and_tells_each_refusal() -> Result<()> {
    let under = Under::preset("agent-read-only", |_| Ok(())).await?;
    under.is_ready()?;
    let refused = under.refused(1)?;
    ensure!(refused.iter().any(|row| row == "Namespace shop"), "{refused:?}");
    ensure!(!under.member.kubectl().exists(["namespace", "shop"])?);
    let secrets = ["auth", "can-i", "get", "secrets", "-A", "--as=system:serviceaccount:clusternet-system:clusternet-agent"];
    ensure!(under.member.kubectl().run(secrets).is_err(), "the agent may read Secrets");
    Ok(())
}
