//! Builds everything, starts it, and waits for its end.
//!
//! Every task's end but by `stop` is a bug, and stops the hub: a supervisor starts it again, and the agents come back by themselves.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus_schema::hash::HashKey;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, ApiState, Authenticator, Identity};
use crate::bus::gate::roster::KeyUse;
use crate::bus::gate::tls::Material;
use crate::cli;
use crate::config::{Config, Flags};
use crate::controller::live::View;
use crate::controller::registration::{Directory, Issuing};
use crate::controller::{events, expiry, keys, labels, latest, planner, registration, roster, status};
use crate::core::contact::Contacts;
use crate::core::guard::Guard;
use crate::core::guard::fleet::Words;
use crate::core::reserved::Reserved;
use crate::enrol::Enrolment;
use crate::folder::{Endpoints, Folder};
use crate::gateway::{AuditLog, Gateway, Members};
use crate::gating::Gating;
use crate::store::{Store, StoreOptions};
use crate::tls::{Authority, Files, Served};
use crate::{alive, enrol, gateway, https, kinds, sync, telemetry, tls};

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
    if let Some(command) = &flags.command {
        return cli::print("clusternet-hub", cli::run(&config, command));
    }
    telemetry::init(&config);
    let descriptors = system::descriptors::raise();
    tracing::debug!(descriptors, "as many as the system allows");
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

async fn run(config: Config) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let stop = stop_on_signal()?;
    let folder = Folder::open(&config.data_dir)?;
    let options = StoreOptions { key_file: config.at_rest_key_file.clone(), ..StoreOptions::default() };
    let store = Store::open_with(folder.path(), options)?;
    let listener = https::listen(config.api_listen).await?;
    let api_addr = listener.local_addr()?;
    let (sessions_sender, sessions) = mpsc::channel(SESSIONS);
    let files = Files::new(&folder, config.given_ca());
    let (authority, made) = files.open()?;
    if made {
        let key = folder.file("ca.key");
        println!("ca: a new CA was made: keep a copy of {} in a safe place, agents trust nothing else", key.display());
    }
    let names = tls::names(api_addr.ip(), &config.tls_san);
    let (served, on_bus) = (Served::new(&authority, names.clone(), true)?, Served::new(&authority, names, false)?);
    let shown = on_bus.clone();
    let material = move |authority: &Authority| Material { server: shown.clone(), client_roots: authority.accepted().to_vec() };
    let gating = Gating::start(&config, material(&authority), sessions_sender)?;
    let endpoints = Endpoints { api: format!("https://{api_addr}"), bus: config.bus_address.clone().unwrap_or_else(|| gating.address()) };
    let (authority_sender, authority) = watch::channel(Arc::new(authority));
    let admin = folder.token("admin.token")?;
    let state = ApiState::new(store.clone(), kinds::schemas(), Authenticator::new(&admin), config.member_max_object_bytes);

    let tasks = Tasks { tracker: TaskTracker::new(), stop: stop.clone() };
    let (link, hash) = (folder.link_secret()?, folder.hash_key()?);
    let hub_link_key = STANDARD.encode(link.public().0);
    let issuing = Issuing { authority: authority.clone(), lifetime: config.certificate_lifetime(), hub_link_key };
    let directory = Directory::default();
    let registering =
        registration::Config { real_namespaces: false, bus_address: endpoints.bus.clone(), issuing, directory: directory.clone() };
    let streams = sync::Streams::new(config.stream_limits());
    let inputs = start_controllers(&tasks, &state, registering, gating.uses, sessions, streams.clone(), config.reserved());
    let client = api::client(&state, Identity::admin("system:hub-controller"));
    tasks.spawn("roster", roster::run(client, gating.roster, stop.clone()));
    let hub = sync::hub_config(&store, link, HashKey::new(&hash)).await?;
    let guard = Guard { share: config.guard_share, fleet_share: config.guard_fleet_share };
    let members = Members { directory: directory.clone(), streams, contacts: inputs.contacts.clone(), store: store.clone() };
    let watched = store.clone();
    tasks.spawn("sync", sync::run(store, hub, guard, inputs, stop.clone()));
    let client = api::client(&state, Identity::admin("system:hub-enrolment"));
    let enrolment = Enrolment::new(client, authority.clone(), directory, &hash, config.reserved());
    let gateway = Gateway::new(state.clone(), members, AuditLog::open(folder.path())?);
    let router = enrol::router(enrolment).merge(gateway::router(gateway)).fallback_service(api::router(state));
    tasks.spawn("api", https::serve(listener, tls::server_config(served.clone()), router, stop.clone()));
    let kubeconfig = folder.announce(&endpoints, &authority.borrow().pem(), &admin)?;
    let (bus, announced) = (gating.tls, (folder.clone(), endpoints.clone()));
    let rotated = move |authority: &Authority| {
        if let Err(error) = announced.0.announce(&announced.1, &authority.pem(), &admin) {
            tracing::error!("admin.kubeconfig cannot be written with the new CA: {error:#}");
        }
        if let Some(Err(error)) = bus.as_ref().map(|bus| bus.reload(material(authority))) {
            tracing::error!("the bus goes on without the new CA: {error}");
        }
    };
    tasks.spawn("certificates", tls::keep(files, authority_sender, vec![served, on_bus], rotated, stop.clone()));

    println!("api: {}", endpoints.api);
    println!("bus: {}", endpoints.bus);
    println!("kubeconfig: {}", kubeconfig.display());
    tasks.spawn("watchdog", alive::keep(watched, stop.clone()));
    tasks.spawn("memory", alive::give_back(stop.clone()));
    stop.cancelled().await;
    gating.gate.shutdown().await;
    tasks.tracker.close();
    let ended = tokio::time::timeout(GRACE, tasks.tracker.wait()).await;
    tracing::info!(clean = ended.is_ok(), "stopped");
    Ok(())
}

fn start_controllers(
    tasks: &Tasks,
    state: &ApiState,
    registering: registration::Config,
    used: mpsc::Receiver<KeyUse>,
    sessions: mpsc::Receiver<crate::bus::Session>,
    streams: sync::Streams,
    reserved: Reserved,
) -> sync::Inputs {
    let client = api::client(state, Identity::admin("system:hub-controller"));
    let (plans_sender, plans) = latest::channel();
    let (statuses_sender, statuses) = latest::channel();
    let (reports_sender, reports) = latest::channel();
    let (position_sender, position) = watch::channel(planner::Position::default());
    let (words_sender, words) = watch::channel(Arc::<Words>::default());
    let outputs = planner::Outputs { plans: plans_sender, statuses: statuses_sender, position: position_sender, words: words_sender };
    tasks.spawn("planner", planner::run(client.clone(), outputs, tasks.stop.clone()));
    tasks.spawn("keys", keys::run(client.clone(), registering.directory.clone(), used, tasks.stop.clone()));
    tasks.spawn("registration", registration::run(client.clone(), registering, tasks.stop.clone()));
    let (outcomes, contacts) = (status::SharedOutcomes::default(), Arc::<Contacts>::default());
    state.show(Arc::new(View { outcomes: outcomes.clone(), contacts: contacts.clone() }));
    let recorder = events::Recorder::default();
    tasks.spawn("events", events::run(client.clone(), recorder.clone(), tasks.stop.clone()));
    tasks.spawn("expiry", expiry::run(client.clone(), tasks.stop.clone()));
    tasks.spawn("labels", labels::run(client.clone(), reserved, tasks.stop.clone()));
    tasks.spawn("status", status::run(client, outcomes, statuses, reports, recorder, tasks.stop.clone()));
    sync::Inputs { sessions, plans, position, reports: reports_sender, contacts, words, streams }
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
