//! Bad input, as golden text: each message has the object, the field and the remedy. `UPDATE_GOLDEN=1` rewrites the texts.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Hub, Kubectl, Scratch, condition, workspace_program};

fn golden(name: &str, text: &str, placeholders: &[(&str, &str)]) -> Result<()> {
    let mut text = text.trim().to_owned();
    for (found, placeholder) in placeholders {
        text = text.replace(found, placeholder);
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(&path, format!("{text}\n"))?;
    }
    let wanted = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    ensure!(wanted.trim() == text, "{name}:\n  wanted: {}\n  found:  {text}", wanted.trim());
    Ok(())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn refused(kubectl: &Kubectl, args: &[&str], input: &str) -> Result<String> {
    let output = kubectl.output(args, input)?;
    ensure!(!output.status.success(), "accepted: {}", said(&output));
    Ok(said(&output))
}

fn subscription(spec: &str) -> String {
    format!("apiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {{name: bad, namespace: default}}\nspec: {spec}\n")
}

#[test]
fn kubectl_is_told_what_is_wrong_where_and_what_to_do() -> Result<()> {
    let hub = Hub::start(&[])?;
    let kubectl = hub.kubectl();
    let apply = ["apply", "-f", "-"];
    let affinity = "subscribers: [{clusterAffinity: {matchLabels: {a: b}}}]";
    let feed = "feeds: [{apiVersion: v1, kind: ConfigMap, namespace: default, name: none}]";
    golden("unknown-field", &refused(kubectl, &apply, &subscription(&format!("{{{affinity}, {feed}, fedes: []}}")))?, &[])?;
    golden("spec-overrides", &refused(kubectl, &apply, &subscription(&format!("{{{affinity}, {feed}, overrides: []}}")))?, &[])?;
    let service = "feeds: [{apiVersion: apps/v1, kind: Service, namespace: default, name: none}]";
    golden("wrong-feed-version", &refused(kubectl, &apply, &subscription(&format!("{{{affinity}, {service}}}")))?, &[])?;
    golden("wrong-type", &refused(kubectl, &apply, &subscription(&format!("{{{affinity}, feeds: 7}}")))?, &[])?;
    golden(
        "wrong-enum",
        &refused(kubectl, &apply, &subscription(&format!("{{{affinity}, {feed}, schedulingStrategy: Sometimes}}")))?,
        &[],
    )?;
    golden("missing-required", &refused(kubectl, &apply, &subscription(&format!("{{{affinity}}}")))?, &[])?;
    golden("no-object", &refused(kubectl, &apply, "just: text\n")?, &[])?;
    golden("unknown-kind", &refused(kubectl, &apply, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n")?, &[])?;
    golden(
        "server-side-apply",
        &refused(kubectl, &["apply", "--server-side", "-f", "-"], &subscription(&format!("{{{affinity}, {feed}}}")))?,
        &[],
    )?;
    let large = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large, namespace: default}}\ndata: {{text: {}}}\n",
        "x".repeat(5_000_000)
    );
    golden("too-large", &refused(kubectl, &["create", "-f", "-"], &large)?, &[])?;
    golden("too-large-applied", &refused(kubectl, &apply, &large)?, &[])?;
    golden("missing-feed", &said(&kubectl.output(&apply, &subscription(&format!("{{{affinity}, {feed}}}")))?), &[])?;
    conditions(kubectl)?;
    wrong_tokens(&hub)
}

fn conditions(kubectl: &Kubectl) -> Result<()> {
    let told = |found: &Value| condition(found, "Matched").is_some() && condition(found, "FeedsResolved").is_some();
    let found = kubectl.wait_until(["subscription", "bad"], std::time::Duration::from_secs(20), told)?;
    let message =
        |kind| condition(&found, kind).map_or(String::new(), |condition| format!("{}: {}", condition["reason"], condition["message"]));
    golden("matches-nothing", &message("Matched"), &[])?;
    golden("feed-without-template", &message("FeedsResolved"), &[])
}

fn wrong_tokens(hub: &Hub) -> Result<()> {
    let admin = std::fs::read_to_string(hub.data().join("admin.token"))?;
    let config = std::fs::read_to_string(hub.data().join("admin.kubeconfig"))?;
    let scratch = Scratch::create("tokens")?;
    let join = hub.token(&[])?;
    let join = join.rsplit_once('.').context("three parts")?.0;
    // A join token is no key to the API: it is as wrong there as any.
    for (name, token) in [("wrong-token", "nonsense"), ("wrong-token", join)] {
        let path = scratch.path().join(name);
        std::fs::write(&path, config.replace(admin.trim(), token))?;
        golden(name, &refused(&Kubectl::new(&path)?, &["get", "--raw", "/apis/apps.clusternet.io/v1alpha1/subscriptions"], "")?, &[])?;
    }
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<Output> {
    Ok(Command::new(workspace_program(program)?).args(args).env("RUST_BACKTRACE", "0").output()?)
}

fn ends_with(code: i32, output: &Output) -> Result<String> {
    ensure!(output.status.code() == Some(code), "exit code {:?}: {}", output.status.code(), said(output));
    Ok(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned())
}

#[test]
fn programs_say_what_keeps_them_from_starting() -> Result<()> {
    let hub = Hub::start(&[])?;
    let scratch = Scratch::create("starting")?;
    let folder = |name: &str| scratch.path().join(name).display().to_string();
    let data = hub.data().display().to_string();
    let anywhere = "127.0.0.1:0";
    let hub_says = |args: &[&str]| run("clusternet-hub", args);
    let process = hub.process().context("the hub runs")?.id().to_string();
    let in_use = ends_with(1, &hub_says(&["--data-dir", &data, "--api-listen", anywhere, "--bus-listen", anywhere])?)?;
    golden("hub-folder-in-use", &in_use, &[(&data, "DATA"), (&process, "PID")])?;
    let (api, bus) = (hub.api().to_string(), hub.bus().to_string());
    let taken = ends_with(1, &hub_says(&["--data-dir", &folder("a"), "--api-listen", &api, "--bus-listen", anywhere])?)?;
    golden("api-port-taken", &taken, &[(&api, "ADDRESS")])?;
    let taken = ends_with(1, &hub_says(&["--data-dir", &folder("b"), "--api-listen", anywhere, "--bus-listen", &bus])?)?;
    golden("bus-port-taken", &taken, &[(&bus, "ADDRESS")])?;
    let wrong = hub_says(&["--bus-address", "tcp://x", "--member-max-object-bytes", "1"])?;
    ensure!(wrong.status.code() == Some(64));
    golden("hub-settings", &said(&wrong), &[])?;
    agents(&hub, &scratch)
}

fn agents(hub: &Hub, scratch: &Scratch) -> Result<()> {
    let data = scratch.path().join("agent").display().to_string();
    let start = |kubeconfig: &Path| {
        let kubeconfig = kubeconfig.display().to_string();
        run("clusternet-agent", &["--kubeconfig", &kubeconfig, "--data-dir", &data])
    };
    let place = scratch.path().display().to_string();
    golden("kubeconfig-missing", &ends_with(1, &start(&scratch.path().join("none"))?)?, &[(&place, "FOLDER")])?;
    let empty = scratch.path().join("empty");
    std::fs::write(&empty, "apiVersion: v1\nkind: Config\n")?;
    golden("kubeconfig-without-context", &ends_with(1, &start(&empty)?)?, &[(&place, "FOLDER")])?;
    let garbage = scratch.path().join("garbage");
    std::fs::write(&garbage, "{{{{")?;
    let output = start(&garbage)?;
    ends_with(1, &output)?;
    ensure!(said(&output).contains(&garbage.display().to_string()), "{}", said(&output));
    let kubeconfig = hub.data().join("admin.kubeconfig");
    let text = ends_with(1, &start(&kubeconfig)?)?;
    golden("agent-without-hub", &text, &[(&place, "FOLDER")])?;
    let wrong = run("clusternet-agent", &["--hub", "http://x", "--name", "Not_Valid", "--bus", "tcp://x"])?;
    ensure!(wrong.status.code() == Some(64));
    golden("agent-settings", &said(&wrong), &[])
}
