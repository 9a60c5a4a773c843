//! The units of deploy/systemd: hardened as they say, and really started under systemd, hub and agent together, watchdog included.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Machine, Member, Platform, Put, workspace_program};

const SOON: Duration = Duration::from_secs(60);

/// What `systemd-analyze security` may say at most.
const EXPOSURE: f64 = 2.0;

/// Where the hub's two ports are in the member's network.
const API: &str = "127.0.0.1:8443";

fn unit(name: &str) -> Result<String> {
    let path = format!("{}/../deploy/systemd/clusternet-{name}.service", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).context(path)
}

/// The same, with a watchdog that a test can wait for.
fn impatient(name: &str) -> Result<String> {
    let text = unit(name)?;
    ensure!(text.contains("\nWatchdogSec=60\n") && text.contains("\nRestartSec=5\n"), "{text}");
    Ok(text.replace("\nWatchdogSec=60\n", "\nWatchdogSec=3\n").replace("\nRestartSec=5\n", "\nRestartSec=1\n"))
}

fn file(path: &str, bytes: impl Into<Vec<u8>>, mode: u32) -> Put<'_> {
    Put { path, bytes: bytes.into(), mode }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_run_hardened_and_come_back_when_they_hang() -> Result<()> {
    let member = Member::builder("systemd").api_server_only().start().await?;
    let agent = std::fs::read(Platform::named("amd64")?.file("quick", "clusternet-agent")?)?;
    let hub = std::fs::read(workspace_program("clusternet-hub")?)?;
    let files = [
        file("usr/local/bin/clusternet-hub", hub, 0o755),
        file("usr/local/bin/clusternet-agent", agent, 0o755),
        file("etc/systemd/system/clusternet-hub.service", impatient("hub")?, 0o644),
        file("etc/systemd/system/clusternet-agent.service", impatient("agent")?, 0o644),
        // systemd reads it as root and hands the agent, which is nobody in particular, a copy.
        file("etc/clusternet/kubeconfig", std::fs::read(member.kubeconfig())?, 0o600),
    ];
    let machine = Machine::boot(&files, &["clusternet-hub.service"], Some(member.site()))?;
    for name in ["hub", "agent"] {
        let path = format!("/etc/systemd/system/clusternet-{name}.service");
        machine.run(&["systemd-analyze", "verify", &path])?;
        let said = machine.run(&["systemd-analyze", "security", &format!("clusternet-{name}.service")])?;
        let exposure = said.lines().last().and_then(|line| line.split(": ").nth(1)?.split(' ').next()?.parse::<f64>().ok());
        let exposure = exposure.with_context(|| said.clone())?;
        eprintln!("clusternet-{name}.service: exposure {exposure}");
        ensure!(exposure <= EXPOSURE, "{said}");
    }

    active(&machine, "clusternet-hub")?;
    let created = ["/usr/local/bin/clusternet-hub", "token", "create", "--quiet", "--data-dir", "/var/lib/clusternet-hub"];
    let token = machine.run(&created)?;
    let settings = format!("AGENT_HUB=https://{API}\nAGENT_NAME=systemd\nAGENT_TOKEN={}\n", token.trim());
    machine.run(&["sh", "-c", &format!("umask 077; printf '{settings}' >/etc/clusternet/agent.env")])?;
    let started = machine.systemctl(&["start", "clusternet-agent.service"]);
    started.map_err(|error| error.context(machine.journal("clusternet-agent")))?;
    active(&machine, "clusternet-agent")?;
    let joined = || machine.property("clusternet-agent", "StatusText").is_ok_and(|text| text == "joined");
    machine.wait_until("the agent joins", SOON, joined).map_err(|error| error.context(machine.journal("clusternet-agent")))?;

    // Nobody in particular, without a capability, and nothing but its own folder to write to.
    for name in ["clusternet-hub", "clusternet-agent"] {
        let pid = machine.property(name, "MainPID")?;
        let status = machine.run(&["cat", &format!("/proc/{pid}/status")])?;
        let line = |field: &str| status.lines().find(|line| line.starts_with(field)).unwrap_or_default().to_owned();
        ensure!(!line("Uid:").contains("\t0\t") && line("CapEff:").ends_with("\t0000000000000000"), "{status}");
        ensure!(line("NoNewPrivs:").ends_with('1') && line("Seccomp:").ends_with('2'), "{status}");
    }
    hangs(&machine, "clusternet-agent")?;
    hangs(&machine, "clusternet-hub")?;
    let joined_again = || machine.journal("clusternet-agent").matches("in session with the hub").count() >= 2;
    machine
        .wait_until("the agent is back in session", SOON, joined_again)
        .map_err(|error| error.context(machine.journal("clusternet-agent")))?;
    for name in ["clusternet-agent", "clusternet-hub"] {
        machine.systemctl(&["stop", name])?;
        ensure!(machine.property(name, "Result")? == "success", "{}", machine.journal(name));
    }
    Ok(())
}

fn active(machine: &Machine, unit: &str) -> Result<()> {
    let active = || machine.property(unit, "ActiveState").is_ok_and(|state| state == "active");
    machine.wait_until(unit, SOON, active).map_err(|error| error.context(machine.journal(unit)))
}

/// A process that is stopped tells nothing: the watchdog ends it, and systemd starts it again.
fn hangs(machine: &Machine, unit: &str) -> Result<()> {
    let restarts = machine.property(unit, "NRestarts")?;
    machine.run(&["kill", "-STOP", &machine.property(unit, "MainPID")?])?;
    let again = || machine.property(unit, "NRestarts").is_ok_and(|now| now != restarts);
    machine.wait_until("a restart by the watchdog", SOON, again).map_err(|error| error.context(machine.journal(unit)))?;
    ensure!(machine.journal(unit).contains("Watchdog timeout"), "{}", machine.journal(unit));
    active(machine, unit)
}
