//! An agent of a test: the real program in its member's network, reaching the hub through relays that count and cut.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Hub, Launch, Member, Process, Relay, Scratch, workspace_program};

const STOP: Duration = Duration::from_secs(10);

/// An agent; stopped until `start`.
pub struct Agent {
    scratch: Scratch,
    launch: Launch,
    process: Option<Process>,
    /// Between agent and bus: every byte of the link.
    pub bus: Relay,
    _api: Relay,
}

impl Agent {
    /// Prepares the agent of `member`, labelled `purpose=shop`, and starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(hub: &Hub, member: &Member) -> Result<Agent> {
        let mut agent = Agent::prepare(hub, member)?;
        agent.run(&[])?;
        Ok(agent)
    }

    /// Prepares the agent without starting it.
    ///
    /// # Errors
    /// The relays cannot listen.
    pub fn prepare(hub: &Hub, member: &Member) -> Result<Agent> {
        let gateway = member.site().gateway();
        let (api, bus) = (Relay::start(gateway, hub.api())?, Relay::start(gateway, hub.bus())?);
        let scratch = Scratch::create("agent")?;
        let launch = member
            .launch("agent", workspace_program("clusternet-agent")?, scratch.path())
            .args(["--hub", &format!("https://{}", api.address()), "--bus", &format!("mqtt://{}", bus.address())])
            .args(["--name", member.name(), "--label", "purpose=shop", "--log", "info,edge_agent=debug"])
            .arg("--ca-file")
            .arg(hub.data().join("ca.crt"))
            .arg("--token-file")
            .arg(hub.data().join("join.token"))
            .arg("--kubeconfig")
            .arg(member.kubeconfig())
            .arg("--data-dir")
            .arg(scratch.path().join("data"));
        Ok(Agent { scratch, launch, process: None, bus, _api: api })
    }

    /// Starts the program, with a failpoint or other environment when given.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&mut self, env: &[(&str, &str)]) -> Result<()> {
        let mut launch = self.launch.clone();
        for (key, value) in env {
            launch = launch.env(key, value);
        }
        self.process = Some(launch.start()?);
        Ok(())
    }

    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the agent is not running")
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, which must end it cleanly.
    ///
    /// # Errors
    /// It does not end in time, or not with success.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.stop(STOP)?;
        anyhow::ensure!(status.success(), "the agent ended with {status}: {}", process.log_tail());
        Ok(())
    }

    /// An empty disk: cache and registration are gone.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn lose_disk(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.data())?)
    }

    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// The frames that its log tells of, one line each, in order: what they carried, which way, and their bytes without MQTT.
    pub fn frames(&self) -> Vec<String> {
        let log = self.process.as_ref().map_or(String::new(), Process::log);
        let told = log.lines().filter_map(|line| line.split_once("edge_agent::engine: ").or_else(|| line.split_once("DEBUG ")));
        told.map(|(_, what)| what.to_owned()).filter(|what| what.contains("frame up") || what.contains("frame down")).collect()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or(String::new(), Process::log_tail)
    }
}
