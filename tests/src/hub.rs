//! A hub of a test: the real program, on loopback, with its data folder at hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use at_rest::{KeyFile, Sealer};
use bus_schema::hash::Hash;
use bus_schema::id::{ObjectId, Sid};
use bus_schema::status::State;
use rusqlite::{Connection, OpenFlags};

use crate::{Kubectl, Launch, Member, Process, Scratch, workspace_program};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);

/// A running hub; its ports stay the same over restarts.
pub struct Hub {
    scratch: Scratch,
    names: Vec<String>,
    further: Vec<String>,
    process: Option<Process>,
    api: SocketAddr,
    bus: SocketAddr,
    kubectl: Kubectl,
}

impl Hub {
    /// Starts a hub that the agents of these members can reach through relays at their gateways.
    ///
    /// # Errors
    /// It does not come up; the message holds the end of its log.
    pub fn start(members: &[&Member]) -> Result<Hub> {
        Hub::start_with(members, &[])
    }

    /// As [`Hub::start`], logging what a filter lets through.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub fn start_logging(members: &[&Member], logging: &str) -> Result<Hub> {
        Hub::start_with(members, &["--log", logging])
    }

    /// Starts a hub with further arguments.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub fn start_with(members: &[&Member], further: &[&str]) -> Result<Hub> {
        Hub::start_at(Ipv4Addr::LOCALHOST.into(), members, further)
    }

    /// As [`Hub::start_with`], with the bus at an address that agents reach without a relay, as that of a shaped link.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub fn start_at(bus: IpAddr, members: &[&Member], further: &[&str]) -> Result<Hub> {
        let further: Vec<String> = further.iter().map(|text| (*text).to_owned()).collect();
        let scratch = Scratch::create("hub")?;
        let gateways = members.iter().map(|member| member.site().gateway());
        let names: Vec<String> = gateways.chain([bus]).map(|name| name.to_string()).collect();
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (process, api, bus) = launch(&scratch, &names, &further, api, (bus, 0).into())?;
        let kubectl = Kubectl::new(&scratch.path().join("data/admin.kubeconfig"))?;
        Ok(Hub { scratch, names, further, process: Some(process), api, bus, kubectl })
    }

    /// kubectl with the admin's kubeconfig.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    pub fn api(&self) -> SocketAddr {
        self.api
    }

    pub fn bus(&self) -> SocketAddr {
        self.bus
    }

    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Runs `clusternet-hub COMMAND` on this hub's data folder; what it prints.
    ///
    /// # Errors
    /// It fails; the message holds what it said.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let output =
            std::process::Command::new(workspace_program("clusternet-hub")?).args(args).arg("--data-dir").arg(self.data()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "clusternet-hub {}: {said}{}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// A join token.
    ///
    /// # Errors
    /// As [`Hub::run`].
    pub fn token(&self, args: &[&str]) -> Result<String> {
        Ok(self.run(&[&["token", "create", "--quiet"], args].concat())?.trim().to_owned())
    }

    /// kubectl that reaches a member through this hub, as the hub's administrator.
    ///
    /// # Errors
    /// The hub knows no such cluster.
    pub fn kubectl_into(&self, member: &Member) -> Result<Kubectl> {
        let path = self.scratch.path().join(format!("{}.kubeconfig", member.name()));
        std::fs::write(&path, self.run(&["kubeconfig", "--cluster", member.name()])?)?;
        Kubectl::new(&path)
    }

    /// A token with which a machine takes the place of a cluster.
    ///
    /// # Errors
    /// As [`Hub::run`].
    pub fn replace(&self, cluster: &str) -> Result<String> {
        let said = self.run(&["replace", cluster])?;
        let token = said.split_whitespace().skip_while(|word| *word != "--token").nth(1);
        Ok(token.with_context(|| format!("no token in {said}"))?.to_owned())
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
        anyhow::ensure!(status.success(), "the hub ended with {status}: {}", process.log_tail());
        Ok(())
    }

    /// Starts again on the same folder and ports.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Some(launch(&self.scratch, &self.names, &self.further, self.api, self.bus)?.0);
        Ok(())
    }

    /// Stops it from running without ending it.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&mut self) -> Result<()> {
        self.process.as_mut().context("the hub is not running")?.freeze()
    }

    /// Lets a frozen hub run on.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&mut self) -> Result<()> {
        self.process.as_mut().context("the hub is not running")?.thaw()
    }

    /// What one cluster has told of one object, read in the database and not asked of the program.
    ///
    /// # Errors
    /// The database or its key cannot be read.
    pub fn statuses(&self) -> Result<Statuses> {
        Statuses::open(&self.data())
    }

    /// Copies the database of a stopped hub.
    ///
    /// # Errors
    /// The copy fails.
    pub fn back_up(&self) -> Result<PathBuf> {
        let copy = self.scratch.path().join("backup");
        let _ = std::fs::remove_dir_all(&copy);
        copy_files(&self.data(), &copy, |_| true)?;
        Ok(copy)
    }

    /// Replaces the database of a stopped hub by a copy.
    ///
    /// # Errors
    /// The copy fails.
    pub fn restore(&self, copy: &Path) -> Result<()> {
        self.lose_database()?;
        copy_files(copy, &self.data(), is_database)
    }

    /// An empty disk, but for what an administrator keeps elsewhere: CA and tokens.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn lose_database(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.data())? {
            let path = entry?.path();
            if is_database(&path) {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or(String::new(), Process::log_tail)
    }
}

/// The status tables of a hub, as committed.
pub struct Statuses {
    connection: Connection,
    sealer: Sealer,
}

impl Statuses {
    fn open(folder: &Path) -> Result<Statuses> {
        let connection = Connection::open_with_flags(folder.join("hub.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let sealer = Sealer::new(&KeyFile::new(None, folder).require()?)?;
        Ok(Statuses { connection, sealer })
    }

    /// The clusters that have rows.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn clusters(&self) -> Result<Vec<Sid>> {
        let mut query = self.connection.prepare_cached("SELECT sid FROM link")?;
        let found = query.query_map([], |row| row.get::<_, String>(0))?;
        found.map(|sid| Ok(Sid::parse(&sid?)?)).collect()
    }

    /// The hash of an object that a cluster has applied.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn applied(&self, sid: Sid, object: &ObjectId) -> Result<Option<Hash>> {
        let found = hub::sync::status_of(&self.connection, &self.sealer, sid, object)?;
        Ok(found.filter(|status| status.state == State::Applied).and_then(|status| status.hash))
    }

    /// How many objects a cluster has applied.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn applied_count(&self, sid: Sid) -> Result<usize> {
        let state = hub::sync::load(&self.connection, &self.sealer, sid)?;
        let applied = state.table.rows.iter().filter(|(object, status)| !object.kind.is_empty() && status.state == State::Applied);
        Ok(applied.count())
    }
}

fn is_database(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hub.sqlite"))
}

fn copy_files(from: &Path, to: &Path, which: impl Fn(&Path) -> bool) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_file() && which(&path) {
            std::fs::copy(&path, to.join(path.file_name().context("a file has a name")?))?;
        }
    }
    Ok(())
}

fn launch(
    scratch: &Scratch,
    names: &[String],
    further: &[String],
    api: SocketAddr,
    bus: SocketAddr,
) -> Result<(Process, SocketAddr, SocketAddr)> {
    let mut launch = Launch::new("hub", workspace_program("clusternet-hub")?, scratch.path());
    launch = launch.arg("--data-dir").arg(scratch.path().join("data"));
    launch = launch.args(["--api-listen", &api.to_string(), "--bus-listen", &bus.to_string()]).args(further);
    if !further.iter().any(|argument| argument == "--log") {
        launch = launch.args(["--log", "info,hub=debug"]);
    }
    for name in names {
        launch = launch.args(["--tls-san", name]);
    }
    let mut process = launch.start()?;
    let read = |line: String| {
        line.trim().rsplit_once("://").and_then(|(_, addr)| addr.parse().ok()).with_context(|| format!("no address in {line:?}"))
    };
    let api = read(process.wait_for_line("api: ", START)?)?;
    let bus = read(process.wait_for_line("bus: ", START)?)?;
    process.wait_for_line("kubeconfig: ", START)?;
    Ok((process, api, bus))
}
