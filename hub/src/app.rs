//! Builds everything, starts it, and waits for its end.
//!
//! Every task's end but by `stop` is a bug, and stops the hub: a supervisor starts it again, and the agents come back by themselves.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, ApiState, Authenticator, Identity};
use crate::bus::gate::admission::LoopbackAdmission;
use crate::bus::gate::config::GateConfig;
use crate::bus::gate::{Gate, GateHandle};
use crate::config::{Command, Config, Flags, RenderArgs};
use crate::controller::live::View;
use crate::controller::{events, expiry, labels, latest, planner, registration, status};
use crate::core::contact::Contacts;
use crate::core::guard::Guard;
use crate::core::guard::fleet::Words;
use crate::folder::{Endpoints, Folder};
use crate::store::Store;
use crate::tls::Authority;
use crate::{explain, https, kinds, sync, telemetry, tls};

/// Agents that have connected and wait for their cluster's task.
const SESSIONS: usize = 256;

/// How long tasks may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the hub; exit code 64 for settings that are wrong, 1 for anything else that ends it.
pub fn main(flags: &Flags) -> ExitCode {
    let config = match Config::read(flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("clusternet-hub: {error:#}");
            return ExitCode::from(64);
        }
    };
    if let Some(Command::Render(args)) = &flags.command {
        return print(&config, args);
    }
    telemetry::init(&config);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system gives a runtime its threads and sockets");
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clusternet-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what a cluster gets.
fn print(config: &Config, args: &RenderArgs) -> ExitCode {
    let print = async {
        rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
        explain::explain(config, args).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(print)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("clusternet-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let stop = stop_on_signal()?;
    let folder = Folder::open(&config.data_dir)?;
    let store = Store::open(folder.path())?;
    let listener = https::listen(config.api_listen).await?;
    let api_addr = listener.local_addr()?;
    let (sessions_sender, sessions) = mpsc::channel(SESSIONS);
    let gate = start_gate(&config, sessions_sender)?;
    let endpoints = Endpoints {
        api: format!("https://{api_addr}"),
        bus: config.bus_address.clone().unwrap_or_else(|| format!("mqtt://{}", gate.local_addr())),
    };
    let authority = Authority::open(&folder)?;
    let tls = authority.server_config(&tls::names(api_addr.ip(), &config.tls_san))?;
    let (admin, join) = (folder.token("admin.token")?, folder.token("join.token")?);
    let schemas = kinds::schemas();
    let state = ApiState::new(store.clone(), schemas, Authenticator::new(&admin, &join), config.member_max_object_bytes);

    let tasks = Tasks { tracker: TaskTracker::new(), stop: stop.clone() };
    let inputs = start_controllers(&tasks, &state, &endpoints, sessions);
    let hub = sync::hub_config(&store).await?;
    let guard = Guard { share: config.guard_share, fleet_share: config.guard_fleet_share };
    tasks.spawn("sync", sync::run(store, hub, guard, inputs, stop.clone()));
    tasks.spawn("api", https::serve(listener, tls, api::router(state), stop.clone()));

    let kubeconfig = folder.announce(&endpoints, &authority.pem, &admin)?;
    println!("api: {}", endpoints.api);
    println!("bus: {}", endpoints.bus);
    println!("kubeconfig: {}", kubeconfig.display());
    stop.cancelled().await;
    gate.shutdown().await;
    tasks.tracker.close();
    let ended = tokio::time::timeout(GRACE, tasks.tracker.wait()).await;
    tracing::info!(clean = ended.is_ok(), "stopped");
    Ok(())
}

fn start_gate(config: &Config, sessions: mpsc::Sender<crate::bus::Session>) -> anyhow::Result<GateHandle> {
    let settings = GateConfig { allow_remote_without_tls: config.insecure_bus, ..GateConfig::new(config.bus_listen) };
    Gate::start(settings, Arc::new(LoopbackAdmission), sessions).context("--bus-listen")
}

fn start_controllers(
    tasks: &Tasks,
    state: &ApiState,
    endpoints: &Endpoints,
    sessions: mpsc::Receiver<crate::bus::Session>,
) -> sync::Inputs {
    let client = api::client(state, Identity::admin("system:hub-controller"));
    let (plans_sender, plans) = latest::channel();
    let (statuses_sender, statuses) = latest::channel();
    let (reports_sender, reports) = latest::channel();
    let (position_sender, position) = watch::channel(planner::Position::default());
    let (words_sender, words) = watch::channel(Arc::<Words>::default());
    let outputs = planner::Outputs { plans: plans_sender, statuses: statuses_sender, position: position_sender, words: words_sender };
    tasks.spawn("planner", planner::run(client.clone(), outputs, tasks.stop.clone()));
    let registering = registration::Config { real_namespaces: false, bus_address: endpoints.bus.clone() };
    tasks.spawn("registration", registration::run(client.clone(), registering, tasks.stop.clone()));
    let (outcomes, contacts) = (status::SharedOutcomes::default(), Arc::<Contacts>::default());
    state.show(Arc::new(View { outcomes: outcomes.clone(), contacts: contacts.clone() }));
    let recorder = events::Recorder::default();
    tasks.spawn("events", events::run(client.clone(), recorder.clone(), tasks.stop.clone()));
    tasks.spawn("expiry", expiry::run(client.clone(), tasks.stop.clone()));
    tasks.spawn("labels", labels::run(client.clone(), tasks.stop.clone()));
    tasks.spawn("status", status::run(client, outcomes, statuses, reports, recorder, tasks.stop.clone()));
    sync::Inputs { sessions, plans, position, reports: reports_sender, contacts, words }
}

struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Spawns a task whose end ends the hub.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let task = tokio::spawn(task);
        self.tracker.spawn(async move {
            let ended = task.await;
            if !stop.is_cancelled() {
                tracing::error!(name, panicked = ended.is_err(), "a task has ended; the hub stops");
                stop.cancel();
            }
        });
    }
}

/// Cancelled on SIGTERM or SIGINT; a second signal ends the process at once.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            if token.is_cancelled() {
                std::process::exit(130);
            }
            token.cancel();
        }
    });
    Ok(stop)
}
