//! Who gets past the gate over TLS, with what, and for how long.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hub::bus::gate::certificate::{AGENTS, KeyHash};
use hub::bus::gate::roster::KeyUse;
use hub::bus::topics::Sid;
use hub::bus::{CloseCause, Closed, Event};
use rcgen::ExtendedKeyUsagePurpose;
use support::pki::{Ca, TlsRig, anonymous, open};
use support::*;

const OWN: &str = "aaaaaaaa";
const OTHER: &str = "bbbbbbbb";

fn sid(text: &str) -> Sid {
    Sid::parse(text).unwrap()
}

fn closed(cause: CloseCause) -> Event {
    Event::Closed(Closed { cause, will: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_connects_by_certificate_and_resumes_its_session() {
    let (mut rig, agent) = TlsRig::with_agent(config(), OWN);
    let tls = agent.tls(&rig.ca);
    for resumed in [0, 1, 2] {
        let (mut raw, session) = rig.connect(&tls, OWN).await;
        assert_eq!((session.sid, rig.gate.counts().resumed), (sid(OWN), resumed));
        blocking(move || raw.ping()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_but_an_agents_own_is_refused() {
    let (mut rig, agent) = TlsRig::with_agent(config(), OWN);
    let foreign = Ca::new("fleet");
    let past = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2024, 1, 1);
    let future = |params: &mut rcgen::CertificateParams| params.not_before = rcgen::date_time_ymd(2400, 1, 1);
    let server = |params: &mut rcgen::CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let ca = &rig.ca;
    let strangers = [
        ("no certificate", anonymous(ca), OWN),
        ("another CA of the same name", foreign.agent(OWN).tls(ca), OWN),
        ("an expired certificate", ca.client(OWN, AGENTS, past).tls(ca), OWN),
        ("a certificate of the future", ca.client(OWN, AGENTS, future).tls(ca), OWN),
        ("a server's certificate", ca.client(OWN, AGENTS, server).tls(ca), OWN),
        ("another organisation", ca.client(OWN, "system:masters", |_| {}).tls(ca), OWN),
        ("a name that is no bus id", ca.client("admin", AGENTS, |_| {}).tls(ca), "admin"),
        ("a good certificate of a key that was never accepted", ca.agent(OWN).tls(ca), OWN),
        ("a cluster that is not registered", ca.agent(OTHER).tls(ca), OTHER),
        ("another's client id", agent.tls(ca), OTHER),
        ("a client id that is none", agent.tls(ca), "observer"),
        ("TLS 1.2", agent.tls_of(ca, &[&rustls::version::TLS12]), OWN),
    ];
    let count = strangers.len();
    for (what, tls, id) in strangers {
        let (_raw, code) = rig.greet(&tls, id).await;
        assert!(matches!(code, Err(_) | Ok(5)), "{what}: CONNACK {code:?}");
    }
    assert!(rig.sessions.try_recv().is_err(), "the hub hears of none of them");
    println!("{count} kinds of strangers refused: {:?}", rig.gate.counts());
    rig.connect(&agent.tls(&rig.ca), OWN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_away_closes_its_connection_within_a_second_and_its_session_is_worth_nothing() {
    let (mut rig, agent) = TlsRig::with_agent(config(), OWN);
    let other = rig.ca.agent(OTHER);
    rig.roster.set(sid(OTHER), vec![other.hash()]);
    let (tls, others) = (agent.tls(&rig.ca), other.tls(&rig.ca));
    let (mut raw, mut session) = rig.connect(&tls, OWN).await;
    let (mut bystander, _held) = rig.connect(&others, OTHER).await;
    let _old = blocking(move || {
        raw.ping();
        raw
    })
    .await;
    let (mut raw, mut again) = rig.connect(&tls, OWN).await;
    assert_eq!(event(&mut session).await, closed(CloseCause::TakenOver));
    assert_eq!(rig.gate.counts().resumed, 1);
    rig.roster.set(sid(OWN), Vec::new());
    let took = blocking(move || raw.closes_within(Duration::from_secs(1))).await;
    println!("closed {:?} after its key was taken away", took.expect("within a second"));
    assert_eq!(event(&mut again).await, closed(CloseCause::Revoked));
    let (_raw, code) = rig.greet(&tls, OWN).await;
    assert_eq!(code.expect("CONNACK"), 5);
    assert_eq!(rig.gate.counts().resumed, 2, "the session went on, and was judged anew");
    blocking(move || bystander.ping()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_cluster_is_closed_and_its_place_is_nobodys() {
    let (mut rig, agent) = TlsRig::with_agent(config(), OWN);
    let (mut raw, mut session) = rig.connect(&agent.tls(&rig.ca), OWN).await;
    rig.roster.list([(sid(OTHER), vec![agent.hash()])]);
    assert!(blocking(move || raw.closes_within(Duration::from_secs(1))).await.is_some());
    assert_eq!(event(&mut session).await, closed(CloseCause::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_and_the_old_one_both_connect_until_the_newer_was_used() {
    let (mut rig, old) = TlsRig::with_agent(config(), OWN);
    let new = rig.ca.agent(OWN);
    rig.roster.set(sid(OWN), vec![new.hash(), old.hash()]);
    let (_held, _session) = rig.connect(&old.tls(&rig.ca), OWN).await;
    assert!(rig.uses.try_recv().is_err(), "the older was used");
    let (mut raw, _session) = rig.connect(&new.tls(&rig.ca), OWN).await;
    assert_eq!(rig.uses.recv().await, Some(KeyUse { sid: sid(OWN), key: new.hash() }));
    rig.roster.set(sid(OWN), vec![new.hash()]);
    blocking(move || raw.ping()).await;
    let (_raw, code) = rig.greet(&old.tls(&rig.ca), OWN).await;
    assert_eq!(code.expect("CONNACK"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_takes_its_connection_and_its_session_along() {
    let mut rig = TlsRig::start(config());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(3);
    let agent = rig.ca.client(OWN, AGENTS, |params| params.not_after = soon);
    rig.roster.list([(sid(OWN), vec![agent.hash()])]);
    let tls = agent.tls(&rig.ca);
    let (mut raw, mut session) = rig.connect(&tls, OWN).await;
    let mut raw = blocking(move || {
        raw.ping();
        std::thread::sleep(Duration::from_secs(5));
        raw
    })
    .await;
    // Anything that is taken away makes the gate look at all connections, as the minute does.
    rig.roster.list([(sid(OWN), vec![agent.hash()])]);
    assert!(blocking(move || raw.closes_within(Duration::from_secs(1))).await.is_some());
    assert_eq!(event(&mut session).await, closed(CloseCause::Expired));
    let (_raw, code) = rig.greet(&tls, OWN).await;
    assert!(code.is_err(), "a resumed session of an ended certificate: {code:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_and_ca_are_replaced_without_a_restart() {
    let (mut rig, agent) = TlsRig::with_agent(config(), OWN);
    let tls = agent.tls(&rig.ca);
    let (mut raw, _held) = rig.connect(&tls, OWN).await;
    let next = Ca::new("the next CA");
    let both = hub::bus::gate::tls::Material { client_roots: vec![next.der.clone(), rig.ca.der.clone()], ..next.material() };
    rig.tls.reload(both).unwrap();
    let mut raw = blocking(move || {
        raw.ping();
        raw
    })
    .await;
    let (_raw, code) = rig.greet(&agent.tls(&rig.ca), OWN).await;
    assert!(code.is_err(), "a client that believes the old CA only");
    let (_held_too, _session) = rig.connect(&agent.tls(&next), OWN).await;
    assert!(blocking(move || raw.closes_within(Duration::from_secs(5))).await.is_some(), "taken over, not by the reload");
    assert_eq!(rig.gate.counts().resumed, 0, "sessions of other CAs are forgotten");
    let wrong = hub::bus::gate::tls::Material { client_roots: Vec::new(), ..next.material() };
    assert!(rig.tls.reload(wrong).is_err(), "no CA");
    rig.connect(&agent.tls(&next), OWN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_before_the_roster_is_known() {
    let mut rig = TlsRig::start(config());
    let agent = rig.ca.agent(OWN);
    let (addr, tls) = (rig.addr(), agent.tls(&rig.ca));
    let waiting = std::thread::spawn(move || {
        let mut raw = open(addr, &tls);
        (raw.hello(&Hello::new(OWN)), raw)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.gate.counts().accepted, 0);
    rig.roster.list([(sid(OWN), vec![agent.hash()])]);
    let (code, _raw) = blocking(move || waiting.join().unwrap()).await;
    assert_eq!(code.expect("CONNACK"), 0);
    rig.session().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_knows_a_key_hash_gains_nothing() {
    let (rig, agent) = TlsRig::with_agent(config(), OWN);
    // A certificate of the CA with the agent's name and the agent's key in it needs that key to be shown.
    let thief = rig.ca.agent(OWN);
    assert_ne!(thief.hash(), agent.hash());
    assert_eq!(KeyHash::parse(&agent.hash().to_string()), Some(agent.hash()));
    let stolen = pki_of(&rig.ca, &agent, &thief);
    let (_raw, code) = rig.greet(&stolen, OWN).await;
    assert!(code.is_err(), "{code:?}");
}

/// Shows the certificate of one and signs with the key of another.
fn pki_of(ca: &Ca, shown: &support::pki::Identity, signing: &support::pki::Identity) -> Arc<rustls::ClientConfig> {
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = provider.key_provider.load_private_key(signing.key()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![shown.certificate.clone()], key));
    Arc::new(client.with_root_certificates(roots).with_client_cert_resolver(Arc::new(resolver)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_connects_too_often_is_refused_for_a_while() {
    let mut settings = config();
    settings.connects = hub::bus::gate::allowance::Rate { per_second: 1, burst: 3 };
    let (mut rig, agent) = TlsRig::with_agent(settings, OWN);
    let other = rig.ca.agent(OTHER);
    rig.roster.set(sid(OTHER), vec![other.hash()]);
    let (tls, began) = (agent.tls(&rig.ca), Instant::now());
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(rig.greet(&tls, OWN).await.1.expect("CONNACK"));
    }
    let admitted = codes.iter().filter(|code| **code == 0).count();
    println!("{admitted} of 20 CONNECTs of one certificate admitted in {:?}", began.elapsed());
    assert!(codes.contains(&3) && admitted <= 4 + began.elapsed().as_secs() as usize, "{codes:?}");
    for _ in 0..admitted {
        rig.session().await;
    }
    rig.connect(&other.tls(&rig.ca), OTHER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_sends_too_many_packets_is_read_no_faster() {
    let mut settings = config();
    settings.packets = hub::bus::gate::allowance::Rate { per_second: 100, burst: 100 };
    let (mut rig, agent) = TlsRig::with_agent(settings, OWN);
    let (mut raw, session) = rig.connect(&agent.tls(&rig.ca), OWN).await;
    let reading = tokio::spawn(async move {
        let mut session = session;
        while let Some(Event::Frame(_)) = session.uplink.recv().await {}
    });
    let took = blocking(move || {
        let began = Instant::now();
        let frame = publish("cn1/aaaaaaaa/u/m", b"x", 0, 0);
        (0..300).for_each(|_| raw.send(&frame));
        raw.ping();
        began.elapsed()
    })
    .await;
    println!("300 frames took {took:?} at 100 a second and a reserve of 100");
    assert!(took > Duration::from_millis(1900) && rig.gate.counts().throttled > 0, "{took:?}");
    reading.abort();
}
