//! A hundred agents with real sockets and the real link core; their members are stubs that answer at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus_schema::hash::{Hash, HashKey};
use bus_schema::id::{BootId, ObjectId, Sid};
use bus_schema::limits::MAX_FRAME;
use bus_schema::link::Cache;
use bus_schema::link::agent::{Action, Agent, AgentConfig, AgentState, AgentWrite, ApplyOutcome, Live, Origin, RemoveOutcome};
use bus_schema::secret::{LinkPublic, LinkSecret, Trust};
use bus_schema::topic::{Direction, Topic};
use edge_agent::link::credentials::Credentials;
use edge_agent::trust::clock::Clock;
use rcgen::{CertificateParams, KeyPair};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, Outgoing, QoS, TlsConfiguration, Transport};
use serde_json::{Value, json};
use tests::{App, Hub, Scratch, Statuses};

use crate::{figure, percentile};

pub const AGENTS: usize = 100;
const ROUNDS: usize = 20;
const SOON: Duration = Duration::from_secs(60);

pub async fn measure() -> Result<()> {
    let hub = Hub::start(&[])?;
    let scratch = Scratch::create("fleet")?;
    let identities = tokio::task::block_in_place(|| register(&hub, scratch.path()))?;
    let bus = hub.bus();
    let sids: Vec<Sid> = identities.iter().map(|identity| identity.sid).collect();
    let key = hash_key(&hub)?;
    for (index, identity) in identities.into_iter().enumerate() {
        tokio::spawn(agent(bus.port(), identity, key.clone(), index as u64 + 1));
    }
    let database = hub.statuses()?;
    let app = App::load()?;
    tokio::task::block_in_place(|| -> Result<()> {
        hub.kubectl().apply(app.objects())?;
        hub.kubectl().apply(app.subscription())?;
        let begun = Instant::now();
        all_applied(&database, &sids)?;
        figure("fleet: 35 objects applied by 100 agents", begun.elapsed().as_secs_f64() * 1e3, "ms", "-", "-");
        let (mut each, mut last) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let times = change(&hub, &database, round)?;
            last.extend(times.last());
            each.extend(times);
        }
        figure("fleet: kubectl patch begun to applied, p50", percentile(&mut each, 0.5), "ms", "-", "-");
        figure("fleet: kubectl patch begun to applied, p99", percentile(&mut each, 0.99), "ms", "-", "-");
        figure("fleet: the last of 100 agents, p50", percentile(&mut last, 0.5), "ms", "-", "-");
        Ok(())
    })
}

/// What one agent was given.
pub struct Identity {
    pub sid: Sid,
    pub credentials: Credentials,
    trust: Trust,
}

/// The fleet's key for content hashes, as the hub keeps it.
pub fn hash_key(hub: &Hub) -> Result<HashKey> {
    let key: [u8; 32] = std::fs::read(hub.data().join("hash.key"))?.try_into().ok().context("the hub's hash.key has 32 bytes")?;
    Ok(HashKey::new(&key))
}

/// What each agent has applied of the object that is changed.
pub fn applied(database: &Statuses) -> Result<BTreeMap<Sid, Hash>> {
    let object = ObjectId::new("", "ConfigMap", "shop", "feature-flags");
    let rows = database.clusters()?.into_iter().map(|sid| Ok(database.applied(sid, &object)?.map(|hash| (sid, hash))));
    rows.filter_map(Result::transpose).collect()
}

/// Every agent's own key for sealed sessions.
fn link_secret(cluster_id: &str) -> LinkSecret {
    let mut bytes = [1; 32];
    bytes[..cluster_id.len().min(32)].copy_from_slice(&cluster_id.as_bytes()[cluster_id.len().saturating_sub(32)..]);
    LinkSecret::new(bytes)
}

/// Makes a key for each agent and lets the hub sign it: an administrator may write requests without a token.
pub fn register(hub: &Hub, folder: &Path) -> Result<Vec<Identity>> {
    let mut requests = String::new();
    for index in 0..AGENTS {
        let id = format!("00000000-0000-4000-8000-{index:012}");
        let key = KeyPair::generate()?;
        std::fs::create_dir_all(folder.join(&id))?;
        std::fs::write(folder.join(&id).join("tls.key"), key.serialize_pem())?;
        let csr = CertificateParams::default().serialize_request(&key)?.pem()?;
        let request = json!({
            "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ClusterRegistrationRequest",
            "metadata": {"name": format!("clusternet-{id}")},
            "spec": {"clusterId": id, "clusterName": format!("stub-{index}"), "clusterLabels": {"purpose": "shop"}, "csr": csr,
                "linkKey": STANDARD.encode(link_secret(&id).public().0)},
        });
        requests.push_str(&format!("---\n{request}\n"));
    }
    hub.kubectl().apply(&requests)?;
    let signed = |item: &Value| item["status"]["certificate"].is_string();
    let all = |found: &Value| found["items"].as_array().is_some_and(|items| items.iter().filter(|item| signed(item)).count() == AGENTS);
    let found = hub.kubectl().wait_until(["clsrr"], SOON, all)?;
    found["items"].as_array().context("a list")?.iter().map(|item| taken(hub, folder, item)).collect()
}

/// Keeps what one agent was given as agents keep it.
fn taken(hub: &Hub, folder: &Path, item: &Value) -> Result<Identity> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = text(&item["spec"]["clusterId"]);
    let folder = folder.join(&id);
    let peer = LinkPublic::read(&STANDARD.decode(text(&item["status"]["hubLinkKey"]))?).context("the hub has a key")?;
    std::fs::write(folder.join("tls.crt"), text(&item["status"]["certificate"]))?;
    std::fs::copy(hub.data().join("ca.crt"), folder.join("ca.crt"))?;
    let (sid, credentials) = (Sid::parse(&text(&item["status"]["sid"]))?, Credentials::new(&folder, Clock::new()));
    Ok(Identity { sid, credentials, trust: Trust { own: link_secret(&id), peer } })
}

/// Milliseconds until each agent's *applied* was committed on the hub, from before kubectl was started.
fn change(hub: &Hub, database: &Statuses, round: usize) -> Result<Vec<f64>> {
    let (before, begun) = (applied(database)?, Instant::now());
    hub.kubectl().run([
        "patch",
        "configmap",
        "feature-flags",
        "-n",
        "shop",
        "--type=merge",
        "-p",
        &format!(r#"{{"data":{{"round":"{round}"}}}}"#),
    ])?;
    let mut done = BTreeMap::new();
    while done.len() < AGENTS {
        let now = applied(database)?;
        for sid in now.iter().filter(|(sid, hash)| before.get(*sid) != Some(hash)).map(|(sid, _)| *sid) {
            done.entry(sid).or_insert_with(|| begun.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::ensure!(begun.elapsed() < SOON, "{} of {AGENTS} agents applied round {round}", done.len());
        std::thread::sleep(Duration::from_micros(500));
    }
    let mut times: Vec<f64> = done.into_values().collect();
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Waits until every agent has a row for each object and one for its list, and the last objects of all are applied.
pub fn all_applied(database: &Statuses, sids: &[Sid]) -> Result<()> {
    let deadline = Instant::now() + SOON;
    let shop = |sid: &Sid| Ok::<_, anyhow::Error>(database.applied_count(*sid)? >= 35);
    for sid in sids {
        while !shop(sid)? {
            anyhow::ensure!(Instant::now() < deadline, "agent {sid} has not applied 35 objects in time");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Memory {
    contents: BTreeMap<Hash, Vec<u8>>,
    partials: BTreeMap<Hash, Vec<u8>>,
}

impl Cache for Memory {
    fn content(&self, hash: &Hash) -> Option<Vec<u8>> {
        self.contents.get(hash).cloned()
    }

    fn partial(&self, hash: &Hash) -> Vec<u8> {
        self.partials.get(hash).cloned().unwrap_or_default()
    }
}

impl Memory {
    fn keep(&mut self, write: AgentWrite) {
        match write {
            AgentWrite::Content(hash, bytes) => drop(self.contents.insert(hash, bytes)),
            AgentWrite::DropContent(hash) => drop(self.contents.remove(&hash)),
            AgentWrite::Partial(hash, _, bytes) => self.partials.entry(hash).or_default().extend(bytes),
            AgentWrite::DropPartial(hash) => drop(self.partials.remove(&hash)),
            _ => {}
        }
    }
}

/// One agent, until the program ends.
pub async fn agent(port: u16, identity: Identity, key: HashKey, number: u64) -> Result<()> {
    let Identity { sid, mut credentials, trust } = identity;
    let (begun, nonce) = (Instant::now(), |salt: u64| [(number ^ salt) as u8; 32]);
    let now = || begun.elapsed().as_millis() as u64;
    let mut options = MqttOptions::new(sid.as_str(), "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(MAX_FRAME + 64, MAX_FRAME + 64);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(credentials.client()?)));
    let (client, mut events) = AsyncClient::new(options, 4);
    let up = Topic::Main(sid, Direction::Up).to_string();
    let mut core = Agent::new(AgentConfig::new(BootId(number), trust, key), AgentState::default(), 0);
    let mut memory = Memory::default();
    core.surveyed(Vec::new(), 0);
    let mut room = false;
    loop {
        while act(&mut core, &mut memory, now()) {}
        if room && let Some(frame) = core.poll_transmit(MAX_FRAME, now()) {
            room = false;
            client.try_publish(&up, QoS::AtMostOnce, false, frame)?;
        }
        let due = core.poll_timeout().map_or(1000, |due| due.saturating_sub(now()).clamp(1, 1000));
        tokio::select! {
            event = events.poll() => match event? {
                Event::Incoming(Incoming::ConnAck(_)) => client.try_subscribe(Topic::filter(sid), QoS::AtMostOnce)?,
                Event::Incoming(Incoming::SubAck(_)) => {
                    core.connected(nonce(0x55), now());
                    room = true;
                }
                Event::Incoming(Incoming::Publish(publish)) => drop(core.frame(&publish.payload, nonce(0xaa), &memory, now())),
                Event::Outgoing(Outgoing::Publish(_)) => room = true,
                _ => {}
            },
            () = tokio::time::sleep(Duration::from_millis(due)) => core.timeout(nonce(0x33), now()),
        }
    }
}

/// Commits, and does the next thing at once; false when there is nothing to do.
fn act(core: &mut Agent, memory: &mut Memory, now: u64) -> bool {
    core.take_writes().into_iter().for_each(|write| memory.keep(write));
    match core.poll_action(now) {
        Some(Action::Apply { object, hash, .. }) => {
            let live = Live { uid: "stub".into(), resource_version: "1".into(), origin: Origin::Created };
            core.applied(&object, hash, ApplyOutcome::Applied(live), now);
            true
        }
        Some(Action::Remove { object, .. }) => {
            core.removed(&object, RemoveOutcome::Gone, now);
            true
        }
        None => false,
    }
}
