//! Builds everything, starts it, and waits for its end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bus_schema::id::BootId;
use bus_schema::link::agent::{AgentConfig, AgentEvent};
use bus_schema::message::Caps;
use ring::rand::SecureRandom;
use streams::{Endpoint, Limits, Role};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::apiserver::Access;
use crate::cache::Cache;
use crate::cluster::api::Api;
use crate::cluster::connect::{self, Source};
use crate::cluster::facts::{self, Facts, Gatherer};
use crate::config::{Command, Config, Flags};
use crate::engine::{Engine, Outputs};
use crate::enrol::{EnrolError, Enroller};
use crate::link::credentials::Credentials;
use crate::link::{Address, Link};
use crate::member::Member;
use crate::probe::{self, Probe};
use crate::proxy::{self, Performer};
use crate::registration::Registration;
use crate::renewal::Renewal;
use crate::trust::clock::Clock;
use crate::trust::identity::Folder;
use crate::vault::Vault;
use crate::{telemetry, unregister, view};

/// Pause between attempts to reach the hub or the API server at the start.
const RETRY: Duration = Duration::from_secs(1);

/// Files and sockets beside those of the hub's requests, watches of all kinds among them.
const OWN_DESCRIPTORS: u64 = 200;

/// How long the engine may take to end.
const GRACE: Duration = Duration::from_secs(5);

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
    take_descriptors(&config);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system gives a runtime its timers and sockets");
    match runtime.block_on(run(config, flags.command.clone())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clusternet-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Takes as many descriptors as the system gives, and says where they are too few for what was asked for.
fn take_descriptors(config: &Config) {
    let (allowed, needed) = (system::descriptors::raise(), config.proxy_streams as u64 + OWN_DESCRIPTORS);
    if allowed < needed {
        let streams = config.proxy_streams;
        tracing::warn!("{allowed} descriptors are allowed, and --proxy-streams {streams} may need {needed}: raise the limit (ulimit -n)");
    }
}

async fn run(config: Config, command: Option<Command>) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    if let Some(Command::Unregister(how)) = command {
        return unregister::run(&config, how.remove).await;
    }
    let stop = stop_on_signal()?;
    let probe = Probe::default();
    if let Some(address) = config.health_listen {
        tokio::spawn(probe::serve(probe::listen(address).await?, probe.clone(), stop.clone()));
    }
    let (cache, state) = Cache::open_with(&config.data_dir, config.at_rest_key_file.as_deref())?;
    tokio::spawn(probe::keep_alive(probe.clone()));
    tokio::spawn(give_back());
    let access = connect::configuration(&source(&config))?;
    let api = connect::with(access.clone(), &source(&config))?;
    check(&api).await?;
    let clock = Clock::new();
    let vault = vault(&config, &api);
    let registered = stop.run_until_cancelled(registration(&config, &api, &clock, vault.as_ref())).await;
    let Some(registration) = registered.transpose()? else { return Ok(()) };
    let sid = registration.sid().context("the registration has no bus id")?;
    let address = Address::parse(config.bus.as_ref().unwrap_or(&registration.bus_address)).map_err(anyhow::Error::msg)?;
    address.permitted(config.insecure_bus).map_err(anyhow::Error::msg)?;
    tracing::info!(%sid, name = registration.name, namespace = registration.namespace, "registered");

    let (frame_sender, frames) = mpsc::channel(1);
    let (task_sender, tasks) = mpsc::unbounded_channel();
    let (event_sender, events) = mpsc::unbounded_channel();
    let streams = Endpoint::new(Role::Agent, Limits::default());
    let performer = performer(&config, access)?;
    let outputs = Outputs { frames: frame_sender, tasks: task_sender, events: event_sender, streams: streams.clone() };
    let own = Folder::of(&config.data_dir).link()?;
    let keys = registration.trust(own).zip(registration.hash_key());
    let (trust, hash_key) = keys.context("the hub gave no key to seal sessions with; is it older than this agent?")?;
    let features = Caps::able(performer.is_some(), system::cpu::has_aes());
    let agent = AgentConfig { max_object: config.max_object_bytes, features, ..AgentConfig::new(boot_id(), trust, hash_key) };
    let gatherer = Gatherer::new(api.clone(), config.facts(), Facts::from_wire(&state.facts));
    let (engine, thread) = Engine::start(agent, cache, state, outputs);
    probe.joined(engine.clone());

    let member = tokio::spawn(Member::new(api.clone(), config.adopt).run(engine.clone(), tasks, stop.clone()));
    let proxy = tokio::spawn(serve_streams(streams.clone(), performer, stop.clone()));
    let view = tokio::spawn(view::run(gatherer, engine.clone(), stop.clone()));
    let credentials = Credentials::new(&config.data_dir.join("identity"), clock.clone());
    let (renewed, refused) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let link = Link {
        address,
        sid,
        credentials,
        renewed: renewed.clone(),
        refused: refused.clone(),
        engine: engine.clone(),
        streams: streams.clone(),
    };
    let link = tokio::spawn(link.run(frames, stop.clone()));
    let enroller = enroller(&config, config.hub.as_ref().unwrap_or(&registration.hub), &registration.name, &clock)?;
    let renewal = Renewal { enroller, registration, refused: refused.clone(), renewed, vault, engine: engine.clone() };
    let renewal = tokio::spawn(renewal.run(stop.clone()));
    let watch = tokio::spawn(watch_events(events, refused, stop.clone()));
    let mut ended = std::pin::pin!(ended(thread));
    tokio::select! {
        ended = &mut ended => {
            stop.cancel();
            ended?;
            anyhow::bail!("the engine has ended");
        }
        () = stop.cancelled() => {}
    }
    let _ = tokio::join!(member, view, link, watch, renewal, proxy);
    engine.tell(crate::engine::Input::Stop).await;
    // The cache is closed when its thread has ended.
    match tokio::time::timeout(GRACE, ended).await {
        Ok(ended) => ended?,
        Err(_) => tracing::warn!("the engine has not ended in {} s; what was committed is safe", GRACE.as_secs()),
    }
    tracing::info!("stopped");
    Ok(())
}

/// What a burst of frames took does not stay.
async fn give_back() {
    loop {
        tokio::time::sleep(at_rest::GIVE_BACK_EVERY).await;
        at_rest::give_back();
    }
}

/// Where the member's credentials come from.
pub(crate) fn source(config: &Config) -> Source {
    config.kubeconfig.clone().map_or(Source::InCluster, Source::Kubeconfig)
}

/// What performs the hub's requests, unless that is off.
fn performer(config: &Config, access: Access) -> anyhow::Result<Option<Performer>> {
    let Some(settings) = config.proxy().map_err(anyhow::Error::msg)? else { return Ok(None) };
    Performer::new(access, &settings).map(Some)
}

async fn serve_streams(streams: Endpoint, performer: Option<Performer>, stop: CancellationToken) {
    match performer {
        Some(performer) => proxy::run(streams, performer, stop).await,
        None => stop.cancelled().await,
    }
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
async fn registration(config: &Config, api: &Api, clock: &Clock, vault: Option<&Vault>) -> anyhow::Result<Registration> {
    if let Some(vault) = vault.filter(|_| Registration::load(&config.data_dir).is_none()) {
        lay_out(vault, config).await;
    }
    let identity = Folder::of(&config.data_dir).load();
    if let (Some(known), Ok(Some(_))) = (Registration::load(&config.data_dir), &identity) {
        clock.heard(known.hub_time);
        return Ok(known);
    }
    if let Err(error) = identity {
        tracing::warn!(%error, "joining again");
    }
    let registration = join(config, api, clock).await?;
    if let Some(vault) = vault {
        vault.keep(&config.data_dir).await?;
    }
    Ok(registration)
}

/// Where the identity is kept beside the data folder.
pub(crate) fn vault(config: &Config, api: &Api) -> Option<Vault> {
    config.identity_secret.as_ref().map(|name| Vault::new(api.clone(), name))
}

/// Waits for the member's API server: with a token left over, joining again would be refused, for the cluster exists.
async fn lay_out(vault: &Vault, config: &Config) {
    loop {
        match vault.lay_out(&config.data_dir).await {
            Ok(true) => return tracing::info!("the identity was kept in a Secret"),
            Ok(false) => return,
            Err(error) => tracing::warn!("the kept identity cannot be read yet: {error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Joins: asks until the hub grants, or somebody has to help.
async fn join(config: &Config, api: &Api, clock: &Clock) -> anyhow::Result<Registration> {
    let missing = |flag: &str| format!("this cluster has not joined yet: --{flag} is needed");
    let hub = config.hub.as_ref().with_context(|| missing("hub"))?;
    let name = config.name.as_ref().with_context(|| missing("name"))?;
    let enroller = enroller(config, hub, name, clock)?;
    let mut told = String::new();
    loop {
        let pause = match ask(&enroller, api).await {
            Ok(registration) => {
                registration.save(&config.data_dir).with_context(|| format!("data folder {}", config.data_dir.display()))?;
                return Ok(registration);
            }
            Err(error) => {
                let pause = match error.downcast_ref::<EnrolError>() {
                    Some(known) => known.pause(),
                    None => Some(RETRY),
                };
                let Some(pause) = pause else { return Err(error) };
                // Waiting for a person may take days: the same is said once.
                let text = format!("{error:#}");
                if text != told {
                    tracing::warn!("not joined yet: {text}");
                    told = text;
                }
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn ask(enroller: &Enroller, api: &Api) -> anyhow::Result<Registration> {
    let known = Registration::load(&enroller.data_dir);
    let cluster_id = match &known {
        Some(known) => known.cluster_id.clone(),
        None => facts::cluster_id(api).await.map_err(|failure| anyhow::anyhow!("the cluster's Lease: {failure}"))?,
    };
    Ok(enroller.ask(&cluster_id, known.as_ref(), true).await?)
}

pub(crate) fn enroller(config: &Config, hub: &str, name: &str, clock: &Clock) -> anyhow::Result<Enroller> {
    Ok(Enroller {
        hub: hub.to_owned(),
        token: config.token()?,
        name: name.to_owned(),
        labels: config.labels.clone(),
        data_dir: config.data_dir.clone(),
        clock: clock.clone(),
    })
}

/// Says what happened, and asks for another certificate when the hub has forgotten this cluster.
async fn watch_events(mut events: mpsc::UnboundedReceiver<AgentEvent>, refused: Arc<Notify>, stop: CancellationToken) {
    while let Some(Some(event)) = stop.run_until_cancelled(events.recv()).await {
        match event {
            AgentEvent::Welcomed => tracing::info!("in session with the hub"),
            AgentEvent::Listed { objects } => tracing::info!(objects, "desired state stored"),
            AgentEvent::Rejected(message) => tracing::warn!(message, "refused"),
            AgentEvent::UnknownSid => {
                tracing::warn!("the hub does not know this cluster: registering again");
                refused.notify_one();
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
