//! Builds everything, starts it, and waits for its end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bus_schema::hash::HashKey;
use bus_schema::id::BootId;
use bus_schema::link::agent::{AgentConfig, AgentEvent};
use ring::rand::SecureRandom;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::cluster::api::Api;
use crate::cluster::connect::{self, Source};
use crate::cluster::facts::{self, Facts, Gatherer};
use crate::config::{Config, Flags};
use crate::engine::{Engine, Outputs};
use crate::link::{self, Address};
use crate::member::Member;
use crate::register::{RegisterError, Registrar, Registration};
use crate::{telemetry, view};

/// Pause between attempts to reach the hub or the API server at the start.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the agent; exit code 64 for settings that are wrong, 1 for anything else that ends it.
pub fn main(flags: &Flags) -> ExitCode {
    let config = match Config::read(flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("clusternet-agent: {error:#}");
            return ExitCode::from(64);
        }
    };
    telemetry::init(&config);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system gives a runtime its timers and sockets");
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clusternet-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let stop = stop_on_signal()?;
    let (cache, state) = Cache::open(&config.data_dir)?;
    let source = config.kubeconfig.clone().map_or(Source::InCluster, Source::Kubeconfig);
    let api = connect::connect(&source).await?;
    check(&api).await?;
    let Some(registration) = stop.run_until_cancelled(registration(&config, &api)).await.transpose()? else { return Ok(()) };
    let sid = registration.sid().context("the registration has no bus id")?;
    let address = Address::parse(config.bus.as_ref().unwrap_or(&registration.bus_address)).map_err(anyhow::Error::msg)?;
    tracing::info!(%sid, name = registration.name, namespace = registration.namespace, "registered");

    let (frame_sender, frames) = mpsc::channel(1);
    let (task_sender, tasks) = mpsc::unbounded_channel();
    let (event_sender, events) = mpsc::unbounded_channel();
    let outputs = Outputs { frames: frame_sender, tasks: task_sender, events: event_sender };
    let agent = AgentConfig { max_object: config.max_object_bytes, ..AgentConfig::new(boot_id(), HashKey::public()) };
    let gatherer = Gatherer::new(api.clone(), config.facts(), Facts::from_wire(&state.facts));
    let (engine, thread) = Engine::start(agent, cache, state, outputs);

    let member = tokio::spawn(Member::new(api.clone(), config.adopt).run(engine.clone(), tasks, stop.clone()));
    let view = tokio::spawn(view::run(gatherer, engine.clone(), stop.clone()));
    let link = tokio::spawn(link::run(address, sid, engine.clone(), frames, stop.clone()));
    let watch = tokio::spawn(watch_events(events, Arc::new(config), api, registration, stop.clone()));
    let ended = ended(thread);
    tokio::select! {
        ended = ended => {
            stop.cancel();
            ended?;
            anyhow::bail!("the engine has ended");
        }
        () = stop.cancelled() => {}
    }
    let _ = tokio::join!(member, view, link, watch);
    engine.tell(crate::engine::Input::Stop).await;
    tracing::info!("stopped");
    Ok(())
}

/// Waits for the engine's thread without blocking the runtime.
async fn ended(thread: std::thread::JoinHandle<Result<(), crate::cache::CacheError>>) -> anyhow::Result<()> {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    thread.join().map_err(|_| anyhow::anyhow!("the engine has panicked; this is a bug"))??;
    Ok(())
}

/// A wrong kubeconfig ends the start; an API server that is not there yet does not.
async fn check(api: &Api) -> anyhow::Result<()> {
    match connect::check(api).await {
        Ok(version) => tracing::info!(version = version.git_version, "the member's API server answers"),
        Err(error) if error.is_transient() => tracing::warn!(%error, "going on without the member's API server"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// What the hub gave, from the data folder or by asking.
async fn registration(config: &Config, api: &Api) -> anyhow::Result<Registration> {
    if let Some(known) = Registration::load(&config.data_dir) {
        return Ok(known);
    }
    register(config, api, None).await
}

async fn register(config: &Config, api: &Api, known: Option<&Registration>) -> anyhow::Result<Registration> {
    let missing = |flag: &str| format!("this cluster is not registered yet: --{flag} is needed");
    let registrar = Registrar {
        hub: config.hub.clone().with_context(|| missing("hub"))?,
        ca_file: config.ca_file.clone().with_context(|| missing("ca-file"))?,
        token_file: config.token_file.clone().with_context(|| missing("token-file"))?,
        name: config.name.clone().with_context(|| missing("name"))?,
        labels: config.labels.clone(),
    };
    loop {
        match try_register(&registrar, api, known).await {
            Ok(registration) => {
                registration.save(&config.data_dir).with_context(|| format!("data folder {}", config.data_dir.display()))?;
                return Ok(registration);
            }
            Err(error) if error.downcast_ref::<RegisterError>().is_some_and(|error| !error.is_transient()) => return Err(error),
            Err(error) => tracing::warn!("not registered yet: {error:#}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn try_register(registrar: &Registrar, api: &Api, known: Option<&Registration>) -> anyhow::Result<Registration> {
    let cluster_id = match known {
        Some(known) => known.cluster_id.clone(),
        None => facts::cluster_id(api).await.map_err(|failure| anyhow::anyhow!("the cluster's Lease: {failure}"))?,
    };
    Ok(registrar.register(&cluster_id, known).await?)
}

/// Says what happened, and registers again when the hub has forgotten this cluster.
async fn watch_events(
    mut events: mpsc::UnboundedReceiver<AgentEvent>,
    config: Arc<Config>,
    api: Api,
    registration: Registration,
    stop: CancellationToken,
) {
    while let Some(Some(event)) = stop.run_until_cancelled(events.recv()).await {
        match event {
            AgentEvent::Welcomed => tracing::info!("in session with the hub"),
            AgentEvent::Listed { objects } => tracing::info!(objects, "desired state stored"),
            AgentEvent::Rejected(message) => tracing::warn!(message, "refused"),
            AgentEvent::UnknownSid => {
                tracing::warn!("the hub does not know this cluster: registering again");
                match stop.run_until_cancelled(register(&config, &api, Some(&registration))).await {
                    Some(Ok(again)) if again.sid == registration.sid => tracing::info!("registered again"),
                    Some(Ok(_)) => {
                        tracing::error!("the hub gave another bus id: restarting");
                        return stop.cancel();
                    }
                    Some(Err(error)) => tracing::error!("registering again failed: {error:#}"),
                    None => return,
                }
            }
        }
    }
}

fn boot_id() -> BootId {
    let mut bytes = [0; 8];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    BootId(u64::from_le_bytes(bytes).max(1))
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
