//! Hosts that are odd: one with nothing on it but the program, a kubeconfig and a token, one whose names are looked up in ways that no
//! static program can, one that cannot look up names at all.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Agent, Hub, Member, Platform, Program, is_applied};

const SOON: Duration = Duration::from_secs(60);

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: first, namespace: default}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: first, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]
  feeds: [{apiVersion: v1, kind: ConfigMap, namespace: default, name: first}]
";

/// The agent with its own folder as its whole file system, which is found under the path that it has outside.
fn alone(agent: Agent, member: &Member) -> Result<Agent> {
    let folder = agent.folder().to_owned();
    std::fs::copy(Platform::named("amd64")?.file("quick", "clusternet-agent")?, folder.join("clusternet-agent"))?;
    std::fs::copy(member.kubeconfig(), folder.join("kubeconfig"))?;
    let inside = folder.join(folder.strip_prefix("/")?);
    std::fs::create_dir_all(inside.parent().context("a folder")?)?;
    symlink("/", inside)?;
    let root = folder.to_string_lossy().into_owned();
    let program = Program { file: "/clusternet-agent".into(), emulator: vec!["chroot".to_owned(), root] };
    Ok(agent.with_program(&program).with_kubeconfig(&folder.join("kubeconfig")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_no_file_but_the_kubeconfig_and_the_token_is_enough() -> Result<()> {
    let member = Member::builder("bare").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let mut agent = alone(Agent::prepare(&hub, &member)?, &member)?;
    // A static program of glibc dies of this line, see docs/platforms.md.
    std::fs::create_dir(agent.folder().join("etc"))?;
    std::fs::write(agent.folder().join("etc/nsswitch.conf"), "hosts: myhostname mymachines resolve files dns\n")?;
    agent.run(&[])?;
    hub.kubectl().apply(OBJECTS)?;
    let applied = hub.kubectl().wait_until(["subscription", "first"], SOON, is_applied);
    applied.map_err(|error| error.context(agent.log()))?;
    ensure!(member.kubectl().exists(["configmap", "first", "-n", "default"])?);
    agent.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_look_up_names_is_told_so() -> Result<()> {
    let member = Member::builder("nameless").api_server_only().start().await?;
    let hub = Hub::start(&[&member])?;
    let agent = alone(Agent::prepare(&hub, &member)?, &member)?;
    let token = agent.token_file();
    let mut agent = agent.with_arguments(["--hub", "https://hub.example:8443", "--name", "nameless", "--token-file", &token]);
    agent.run(&[])?;
    let begun = Instant::now();
    while !agent.log().contains("/etc/resolv.conf") {
        ensure!(begun.elapsed() < SOON && agent.process()?.is_running(), "{}", agent.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("/etc/resolv.conf")).unwrap_or_default();
    eprintln!("{line}");
    ensure!(line.contains("hub.example"), "{line}");
    Ok(())
}
