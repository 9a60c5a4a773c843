//! Strangers at the gate of the bus, and the agents that they must not keep out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus_schema::id::Sid;
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, QoS, TlsConfiguration, Transport};
use rustls::ClientConfig;
use tests::bus::{self, Bus, HUB_NAME};
use tests::{Authority, Scratch, strangers};
use tokio::time::{sleep, timeout};

const STRANGERS: usize = 700;
const AGENTS: u64 = 20;
/// Long beside the milliseconds that a connect takes, short beside the connect timeout that silent peers hold places for.
const SOON: Duration = Duration::from_secs(10);

struct Agent {
    client: AsyncClient,
    events: EventLoop,
}

impl Agent {
    async fn connect(addr: SocketAddr, sid: Sid, tls: &Arc<ClientConfig>) -> Result<Agent> {
        let mut options = MqttOptions::new(sid.as_str(), "127.0.0.1", addr.port());
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
        let (client, mut events) = AsyncClient::new(options, 4);
        events.network_options.set_connection_timeout(SOON.as_secs());
        let mut agent = Agent { client, events };
        agent.until(|event| matches!(event, Incoming::ConnAck(_))).await?;
        Ok(agent)
    }

    /// A PUBLISH and its acknowledgement.
    async fn echo(&mut self, sid: Sid) -> Result<()> {
        self.client.try_publish(format!("cn1/{sid}/u/m"), QoS::AtLeastOnce, false, "beat")?;
        self.until(|event| matches!(event, Incoming::PubAck(_))).await
    }

    async fn until(&mut self, seen: impl Fn(&Incoming) -> bool) -> Result<()> {
        let look = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await?
                    && seen(&packet)
                {
                    return Ok::<_, anyhow::Error>(());
                }
            }
        };
        timeout(SOON, look).await?
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_every_kind_are_kept_out_and_keep_no_agent_out() -> Result<()> {
    let scratch = Scratch::create("bus-hostile")?;
    let authority = Authority::create(scratch.path(), "fleet")?;
    let mut gate = Bus::start(&authority, &[HUB_NAME, "127.0.0.1"])?;
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let (sid, file) = (Sid::from_random(number * 7919), format!("agent-{number}"));
        let shown = authority.user(&file, sid.as_str(), hub::bus::gate::certificate::AGENTS)?;
        agents.push((sid, bus::key_hash(&shown)?, bus::client(&authority, Some(&shown))?));
    }
    gate.roster.list(agents.iter().map(|(sid, key, _)| (*sid, vec![*key])));
    let mut sessions = std::mem::replace(&mut gate.sessions, tokio::sync::mpsc::channel(1).1);
    tokio::spawn(async move {
        while let Some(mut session) = sessions.recv().await {
            tokio::spawn(async move { while session.uplink.recv().await.is_some() {} });
        }
    });

    let tally = strangers::start(gate.gate.local_addr(), STRANGERS, &bus::strangers(&authority, scratch.path())?);
    sleep(Duration::from_secs(2)).await;
    let (mut slowest_connect, mut slowest_echo) = (Duration::ZERO, Duration::ZERO);
    for (sid, _, tls) in &agents {
        let began = Instant::now();
        let mut agent = Agent::connect(gate.gate.local_addr(), *sid, tls).await.with_context(|| format!("agent {sid} was kept out"))?;
        slowest_connect = slowest_connect.max(began.elapsed());
        for _ in 0..10 {
            let began = Instant::now();
            agent.echo(*sid).await.with_context(|| format!("agent {sid} was cut off"))?;
            slowest_echo = slowest_echo.max(began.elapsed());
        }
    }
    let ((attempts, refused, admitted), counts) = (tally.read(), gate.gate.counts());
    println!("{STRANGERS} strangers made {attempts} attempts, {refused} of them ended early, {admitted} were let in: {counts:?}");
    println!("{AGENTS} agents meanwhile: slowest connect {slowest_connect:?}, slowest echo {slowest_echo:?}");
    ensure!(admitted == 0, "{admitted} strangers were let in");
    ensure!(
        attempts > STRANGERS as u64 && counts.failed_handshakes > 0 && counts.accepted > attempts / 2,
        "there was no flood: {counts:?}"
    );
    ensure!(counts.agents == AGENTS, "{} agents came in", counts.agents);
    Ok(())
}
