//! `kubectl clusternet`, run by the real kubectl on a workstation that knows the hub and another cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Agent, Hub, Kubectl, Member, Scratch, condition, workspace_program};

const SOON: Duration = Duration::from_secs(30);

/// What a user has: one kubeconfig with a context of the member, which is the current one, and one of the hub as it is reached from there.
struct Workstation {
    folder: Scratch,
    config: Value,
    kubectl: Kubectl,
}

impl Workstation {
    fn new(hub: &Hub, hub_address: &str, member: &Member) -> Result<Workstation> {
        let folder = Scratch::create("workstation")?;
        let read = |kubectl: &Kubectl| -> Result<Value> {
            Ok(serde_json::from_str(&kubectl.run(["config", "view", "--raw", "--minify", "--flatten", "-o", "json"])?)?)
        };
        let (mut config, mut hub) = (read(member.kubectl())?, read(hub.kubectl())?);
        hub["clusters"][0]["cluster"]["server"] = hub_address.into();
        for part in ["clusters", "users", "contexts"] {
            config[part].as_array_mut().context("an array")?.push(hub[part][0].take());
        }
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, config.to_string())?;
        let plugin = workspace_program("kubectl-clusternet")?;
        let kubectl = Kubectl::new(&path)?.with_plugins(plugin.parent().context("a folder")?);
        Ok(Workstation { folder, config, kubectl })
    }

    fn clusternet(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl.run_with_input(&[&["clusternet"], arguments, &["--context", "hub"]].concat(), "")
    }

    /// What it says when it fails.
    fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl.output(&[&["clusternet"], arguments].concat(), "")?;
        ensure!(!output.status.success(), "{arguments:?} was done: {}", String::from_utf8_lossy(&output.stdout));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// A copy of its kubeconfig, with something else in it.
    fn other(&self, name: &str, change: impl Fn(&mut Value)) -> Result<String> {
        let (path, mut config): (PathBuf, Value) = (self.folder.path().join(name), self.config.clone());
        change(&mut config);
        std::fs::write(&path, config.to_string())?;
        Ok(path.display().to_string())
    }
}

fn is_ready(found: &Value) -> bool {
    condition(&found["items"][0], "Ready").is_some_and(|ready| ready["status"] == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_clusternet_makes_the_command_that_joins_and_decides_about_members() -> Result<()> {
    let member = Member::builder("plugin").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let agent = Agent::prepare(&hub, &member)?;
    let workstation = Workstation::new(&hub, &agent.hub_address(), &member)?;
    let printed = workstation.clusternet(&["token", "create", "--name", "plugin", "--approve", "manual"])?;
    let command = printed.lines().find(|line| line.starts_with("clusternet-agent ")).context("no command")?;
    ensure!(command.contains(&format!("--hub {} ", agent.hub_address())) && !printed.contains("leads nowhere"), "{printed}");
    let mut agent = agent.with_arguments(command.split_whitespace().skip(1));
    agent.run(&[])?;
    hub.kubectl().wait_until(["clsrr"], SOON, |found| found["items"][0]["status"]["result"] == "Pending")?;
    let approved = workstation.clusternet(&["approve", "plugin"])?;
    ensure!(approved.starts_with("approved: plugin"), "{approved}");
    hub.kubectl().wait_until(["mcls", "-A"], SOON, is_ready).map_err(|error| error.context(agent.log()))?;
    let listed = workstation.clusternet(&["token", "list"])?;
    ensure!(listed.contains("1/1"), "{listed}");

    let replaced = workstation.clusternet(&["replace", "plugin"])?;
    ensure!(replaced.contains("--name plugin"), "{replaced}");
    let revoked = workstation.clusternet(&["revoke", "plugin"])?;
    ensure!(revoked.contains("`kubectl clusternet replace plugin`"), "{revoked}");
    hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["link"] == "Revoked")?;
    let token = workstation.clusternet(&["token", "create", "--quiet"])?;
    let id = token.split('.').next().context("an id")?;
    workstation.clusternet(&["token", "revoke", id])?;
    let again = workstation.refused(&["token", "revoke", id, "--context", "hub"])?;
    ensure!(again == format!("error: {id}: there is no such token: see kubectl clusternet token list\n"), "{again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_clusternet_says_what_is_wrong_and_what_to_do() -> Result<()> {
    let member = Member::builder("plugin-wrong").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let workstation = Workstation::new(&hub, &format!("https://{}", hub.api()), &member)?;
    let refused = |arguments: &[&str], expected: &str| -> Result<()> {
        let said = workstation.refused(arguments)?;
        ensure!(said.starts_with("error: ") && said.contains(expected), "{arguments:?}: {expected:?} is not in {said:?}");
        Ok(())
    };
    let missing = workstation.folder.path().join("missing").display().to_string();
    refused(&["token", "list", "--kubeconfig", &missing], "missing can't be read: name another with --kubeconfig")?;
    refused(&["token", "list", "--context", "nowhere"], "choose another with --context or --kubeconfig")?;
    // The current context is of a kube-apiserver.
    for command in [&["token", "list"][..], &["token", "create"], &["token", "revoke", "some"], &["revoke", "some"], &["approve", "some"]] {
        refused(command, "is no hub")?;
    }
    member.kubectl().run(["create", "serviceaccount", "nobody", "-n", "default"])?;
    let token = member.kubectl().run(["create", "token", "nobody", "-n", "default"])?;
    let nobody = workstation.other("nobody", |config| config["users"][0]["user"] = json!({"token": token.trim()}))?;
    refused(&["token", "list", "--kubeconfig", &nobody], "may not do this")?;
    let wrong = workstation.other("wrong", |config| config["users"][1]["user"] = json!({"token": "0".repeat(64)}))?;
    refused(&["token", "list", "--kubeconfig", &wrong, "--context", "hub"], "does not know the credentials")?;
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let nobody_there =
        workstation.other("down", |config| config["clusters"][1]["cluster"]["server"] = format!("https://{silent}").into())?;
    refused(&["token", "list", "--kubeconfig", &nobody_there, "--context", "hub"], "can't be reached; does the hub run?")?;
    let blind = workstation.other("blind", |config| {
        config["clusters"][1]["cluster"] = json!({"server": format!("https://{}", hub.api()), "insecure-skip-tls-verify": true});
    })?;
    refused(&["token", "create", "--kubeconfig", &blind, "--context", "hub"], "no CA certificate of the hub in it")?;
    ensure!(!hub.kubectl().run(["get", "jointokens", "-o", "name"])?.contains('/'), "a token was made all the same");
    no_kubeconfig_at_all(workstation.folder.path())
}

fn no_kubeconfig_at_all(empty: &Path) -> Result<()> {
    let program = workspace_program("kubectl-clusternet")?;
    let output = std::process::Command::new(program).args(["token", "list"]).env_remove("KUBECONFIG").env("HOME", empty).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("there is no kubeconfig") && said.contains("admin.kubeconfig"), "{said}");
    Ok(())
}
