//! An agent of a test: the real program in its member's network, reaching the hub through relays that count and cut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Hub, Launch, Member, Process, Program, Relay, Scratch, workspace_program};

const STOP: Duration = Duration::from_secs(10);

/// Longest that a command may take.
const COMMAND: Duration = Duration::from_secs(120);

/// An agent; stopped until `start`.
pub struct Agent {
    scratch: Scratch,
    name: String,
    launch: Launch,
    /// Where and how to join.
    joining: Vec<String>,
    kubeconfig: PathBuf,
    process: Option<Process>,
    /// Between agent and bus: every byte of the link.
    pub bus: Relay,
    /// Between agent and the hub's API.
    pub api: Relay,
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
        Agent::prepare_logging(hub, member, "info,edge_agent=debug")
    }

    /// As [`Agent::prepare`], logging what a filter lets through.
    ///
    /// # Errors
    /// As [`Agent::prepare`].
    pub fn prepare_logging(hub: &Hub, member: &Member, logging: &str) -> Result<Agent> {
        let bus = Relay::start(member.site().gateway(), hub.bus())?;
        Agent::prepare_by(hub, member, logging, bus.address(), bus)
    }

    /// As [`Agent::prepare`], reaching the bus at the address where it listens, without the relay.
    ///
    /// # Errors
    /// As [`Agent::prepare`].
    pub fn prepare_direct(hub: &Hub, member: &Member) -> Result<Agent> {
        let unused = Relay::start(member.site().gateway(), hub.bus())?;
        Agent::prepare_by(hub, member, "info,edge_agent=debug", hub.bus(), unused)
    }

    /// On the hub's side of the network and not in its member's, with a bus without TLS at this URL.
    ///
    /// # Errors
    /// As [`Agent::prepare`].
    pub fn prepare_beside(hub: &Hub, member: &Member, bus: &str) -> Result<Agent> {
        let scratch = Scratch::create("agent")?;
        let launch = Launch::new("agent", workspace_program("clusternet-agent")?, scratch.path()).args(["--bus", bus, "--insecure-bus"]);
        let unused = Relay::start(member.site().gateway(), hub.bus())?;
        Agent::prepare_as(hub, member, scratch, launch, "info,edge_agent=debug", unused)
    }

    fn prepare_by(hub: &Hub, member: &Member, logging: &str, address: SocketAddr, bus: Relay) -> Result<Agent> {
        let scratch = Scratch::create("agent")?;
        let launch = member.launch("agent", workspace_program("clusternet-agent")?, scratch.path());
        Agent::prepare_as(hub, member, scratch, launch.args(["--bus", &format!("mqtts://{address}")]), logging, bus)
    }

    fn prepare_as(hub: &Hub, member: &Member, scratch: Scratch, launch: Launch, logging: &str, bus: Relay) -> Result<Agent> {
        let api = Relay::start(member.site().gateway(), hub.api())?;
        std::fs::write(scratch.path().join("token"), hub.token(&[])?)?;
        let launch = launch.args(["--log", logging]).arg("--data-dir").arg(scratch.path().join("data"));
        let token = scratch.path().join("token").display().to_string();
        let api_address = format!("https://{}", api.address());
        let joining = ["--hub", &api_address, "--name", member.name(), "--label", "purpose=shop", "--token-file", &token];
        let joining = joining.map(str::to_owned).to_vec();
        Ok(Agent {
            scratch,
            name: member.name().to_owned(),
            launch,
            joining,
            kubeconfig: member.kubeconfig().to_owned(),
            process: None,
            bus,
            api,
        })
    }

    /// Says in other words where and how to join.
    #[must_use]
    pub fn with_arguments<'a>(mut self, joining: impl IntoIterator<Item = &'a str>) -> Agent {
        self.joining = joining.into_iter().map(str::to_owned).collect();
        self
    }

    /// Runs another program from its next start on, with the same data.
    #[must_use]
    pub fn with_program(mut self, program: &Program) -> Agent {
        self.launch = self.launch.with_program(program);
        self
    }

    /// Uses other credentials on the member.
    #[must_use]
    pub fn with_kubeconfig(mut self, kubeconfig: &Path) -> Agent {
        self.kubeconfig = kubeconfig.to_owned();
        self
    }

    /// The hub's API as this agent reaches it.
    #[must_use]
    pub fn hub_address(&self) -> String {
        format!("https://{}", self.api.address())
    }

    /// Runs `clusternet-agent COMMAND` beside the stopped agent, on its data.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn command(&self, command: &[&str]) -> Result<(bool, String)> {
        let mut process = self.launch.clone().args(command).arg("--kubeconfig").arg(&self.kubeconfig).start()?;
        let status = process.wait(COMMAND)?;
        Ok((status.success(), process.log()))
    }

    /// Starts the program, with a failpoint or other environment when given.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&mut self, env: &[(&str, &str)]) -> Result<()> {
        let mut launch = self.launch.clone().args(&self.joining).arg("--kubeconfig").arg(&self.kubeconfig);
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

    /// An empty disk: cache, registration and identity are gone, and an administrator gives the machine its place again.
    ///
    /// # Errors
    /// The folder cannot be removed, or the hub gives no token.
    pub fn lose_disk(&self, hub: &Hub) -> Result<()> {
        std::fs::remove_dir_all(self.data())?;
        self.give_token(&hub.replace(&self.name)?)
    }

    /// Where the agent reads its token.
    #[must_use]
    pub fn token_file(&self) -> String {
        self.scratch.path().join("token").display().to_string()
    }

    /// Puts another token where the agent reads it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn give_token(&self, token: &str) -> Result<()> {
        Ok(std::fs::write(self.scratch.path().join("token"), token)?)
    }

    /// The folder that holds its data, its token and its log.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
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
