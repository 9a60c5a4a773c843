//! The agent's link over mutual TLS, against a real gate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bus_schema::id::Sid;
use edge_agent::engine::{Engine, Input};
use edge_agent::link::credentials::Credentials;
use edge_agent::link::{Address, Link};
use hub::bus::CloseCause;
use hub::bus::gate::roster::KeyUse;
use tests::bus::{Bus, HUB_NAME, identity, material};

use tests::{Authority, Relay, Scratch};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const SID: &str = "aaaaaaaa";

/// A running link.
struct Running {
    inputs: flume::Receiver<Input>,
    renewed: Arc<Notify>,
    stop: CancellationToken,
    _frames: mpsc::Sender<Vec<u8>>,
}

impl Running {
    fn start(folder: &Path, address: &str) -> Running {
        let (engine, inputs) = Engine::listened();
        let (frames, outgoing) = mpsc::channel(1);
        let credentials = Credentials::new(folder, edge_agent::trust::clock::Clock::new());
        let (renewed, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let address = Address::parse(address).expect("an address");
        let streams = streams::Endpoint::new(streams::Role::Agent, streams::Limits::default());
        let link = Link { address, sid: sid(), credentials, renewed: renewed.clone(), refused: Arc::default(), engine, streams };
        tokio::spawn(link.run(outgoing, stop.clone()));
        Running { inputs, renewed, stop, _frames: frames }
    }

    async fn is_up(&self) -> Result<()> {
        self.until(PATIENCE, |input| matches!(input, Input::LinkUp)).await.context("the link did not come up")
    }

    async fn until(&self, patience: Duration, seen: impl Fn(&Input) -> bool) -> Result<()> {
        let look = async {
            while !seen(&self.inputs.recv_async().await?) {}
            Ok(())
        };
        tokio::time::timeout(patience, look).await?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn sid() -> Sid {
    Sid::parse(SID).expect("a bus id")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_comes_up_over_tls_and_resumes_its_session_after_a_break() -> Result<()> {
    let scratch = Scratch::create("link-tls")?;
    let authority = Authority::create(scratch.path(), "fleet")?;
    let bus = Bus::start(&authority, &[HUB_NAME])?;
    let (folder, key) = identity(&authority, scratch.path(), SID)?;
    bus.roster.list([(sid(), vec![key])]);
    let relay = Relay::start("127.0.0.1".parse()?, bus.gate.local_addr())?;
    let link = Running::start(&folder, &format!("mqtts://{}", relay.address()));
    link.is_up().await?;
    let full = relay.traffic();
    relay.reset();
    link.is_up().await?;
    let resumed = relay.traffic().since(full);
    println!("full handshake, CONNECT and SUBSCRIBE {} bytes, resumed {} bytes", full.total(), resumed.total());
    assert_eq!(bus.gate.counts().resumed, 1);
    assert!(resumed.total() < full.total());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_takes_over_without_a_pause_and_its_use_is_told() -> Result<()> {
    let scratch = Scratch::create("link-renewed")?;
    let authority = Authority::create(scratch.path(), "fleet")?;
    let mut bus = Bus::start(&authority, &[HUB_NAME])?;
    let (folder, old) = identity(&authority, scratch.path(), SID)?;
    bus.roster.list([(sid(), vec![old])]);
    let link = Running::start(&folder, &format!("mqtts://{}", bus.gate.local_addr()));
    link.is_up().await?;
    let mut session = bus.sessions.recv().await.context("a session")?;
    let (_, new) = identity(&authority, scratch.path(), SID)?;
    bus.roster.set(sid(), vec![new, old]);
    link.renewed.notify_one();
    link.is_up().await?;
    assert_eq!(bus.uses.recv().await, Some(KeyUse { sid: sid(), key: new }));
    while let Some(event) = session.uplink.recv().await {
        if let hub::bus::Event::Closed(closed) = event {
            assert!(matches!(closed.cause, CloseCause::TakenOver | CloseCause::Lost), "{closed:?}: no goodbye");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_waits_for_an_identity_that_is_not_there_yet() -> Result<()> {
    let scratch = Scratch::create("link-waits")?;
    let authority = Authority::create(scratch.path(), "fleet")?;
    let bus = Bus::start(&authority, &[HUB_NAME])?;
    let link = Running::start(&scratch.path().join("identity"), &format!("mqtts://{}", bus.gate.local_addr()));
    link.until(PATIENCE, |input| matches!(input, Input::LinkDown)).await?;
    let (_, key) = identity(&authority, scratch.path(), SID)?;
    bus.roster.list([(sid(), vec![key])]);
    link.is_up().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_is_known_by_its_ca_and_either_name_and_by_nothing_else() -> Result<()> {
    let scratch = Scratch::create("link-names")?;
    let (ours, others) = (scratch.path().join("ours"), scratch.path().join("others"));
    std::fs::create_dir_all(&ours)?;
    std::fs::create_dir_all(&others)?;
    let (authority, foreign) = (Authority::create(&ours, "fleet")?, Authority::create(&others, "fleet")?);
    let bus = Bus::start(&authority, &[HUB_NAME])?;
    let (folder, key) = identity(&authority, scratch.path(), SID)?;
    bus.roster.list([(sid(), vec![key])]);
    let address = format!("mqtts://{}", bus.gate.local_addr());
    for names in [&[HUB_NAME][..], &["127.0.0.1"]] {
        bus.tls.reload(material(&authority, names)?)?;
        Running::start(&folder, &address).is_up().await?;
    }
    let strangers = [
        ("another name", material(&authority, &["example.com"])?),
        (
            "another CA",
            hub::bus::gate::tls::Material {
                client_roots: material(&authority, &[HUB_NAME])?.client_roots,
                ..material(&foreign, &[HUB_NAME])?
            },
        ),
    ];
    for (what, material) in strangers {
        let before = bus.gate.counts();
        bus.tls.reload(material)?;
        let link = Running::start(&folder, &address);
        link.until(PATIENCE, |input| matches!(input, Input::LinkDown)).await?;
        // The gate hears of it after the agent has gone.
        let refused = async {
            while bus.gate.counts().failed_handshakes == before.failed_handshakes {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.with_context(|| format!("{what}: the handshake did not fail"))?;
        assert_eq!(bus.gate.counts().agents, before.agents, "{what}: the agent connected");
    }
    Ok(())
}
