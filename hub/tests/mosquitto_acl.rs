//! The ACL that docs/external-brokers.md gives for Mosquitto, on a real one, against every attempt that the gate refuses.
//!
//! Mosquitto grants any SUBSCRIBE and filters what is delivered, so what counts here is what somebody hears: the hub, a bystander, and
//! the hostile agent itself.

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use support::attempts::{self, OTHER};
use support::pki::{Ca, TlsRaw, open};
use support::*;

const OWN: &str = "aaaaaaaa";
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/external-brokers.md");

/// How long an attempt that leaves half a packet behind is waited for; the others are answered or closed in milliseconds.
const SHORT: Duration = Duration::from_secs(1);

/// A Mosquitto with client certificates of our CA; killed when dropped.
struct Mosquitto {
    process: Child,
    addr: SocketAddr,
    ca: Ca,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    /// As documented, or with an ACL that allows everything, to see that the test would notice.
    fn start(acl: &str) -> Mosquitto {
        let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("fleet"));
        let server = ca.server();
        let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, text) in
            [("ca.crt", &ca.pem), ("server.crt", &server.pem), ("server.key", &server.key.serialize_pem()), ("acl", &acl.to_owned())]
        {
            std::fs::write(path(name), text).unwrap();
        }
        let documented = block("mosquitto.conf").replace("/etc/mosquitto/", &format!("{}/", folder.path().display()));
        let settings = documented.replace("listener 8883", &format!("user root\nlog_dest none\nlistener {} 127.0.0.1", addr.port()));
        std::fs::write(path("mosquitto.conf"), settings).unwrap();
        let mut mosquitto = Command::new("mosquitto");
        let process = mosquitto.args(["-c", &path("mosquitto.conf")]).stdin(Stdio::null()).spawn().expect("mosquitto is installed");
        let started = Mosquitto { process, addr, ca, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < deadline, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        started
    }

    fn agent(&self, sid: &str) -> Arc<ClientConfig> {
        self.ca.agent(sid).tls(&self.ca)
    }

    fn connect(&self, tls: &Arc<ClientConfig>, id: &str) -> TlsRaw {
        let mut raw = open(self.addr, tls);
        assert_eq!(raw.hello(&Hello::new(id)).expect("CONNACK"), 0, "{id}");
        raw
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// The block of the document that begins with the comment `# NAME`.
fn block(name: &str) -> String {
    let document = std::fs::read_to_string(DOCUMENT).expect("the document");
    let blocks = document.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').map_or("", |(_, rest)| rest));
    let mut found = blocks.filter(|block| block.starts_with(&format!("# {name}\n")));
    found.next().unwrap_or_else(|| panic!("no block {name} in {DOCUMENT}")).to_owned()
}

/// All that was heard until the hub's own message `mark` came: topics and payloads.
fn heard_until(raw: &mut TlsRaw, mark: &str) -> Vec<(String, Vec<u8>)> {
    let mut heard = Vec::new();
    loop {
        match raw.read() {
            Ok((first, body)) if first & 0xf0 == 0x30 => {
                let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let (topic, payload) = (String::from_utf8_lossy(&body[2..end]).into_owned(), body[end..].to_vec());
                if payload == mark.as_bytes() {
                    return heard;
                }
                heard.push((topic, payload));
            }
            Ok(_) => {}
            Err(_) => return heard,
        }
    }
}

/// Does every attempt; gives what each did that it should not, and how many attempts there were.
fn leaks(mosquitto: &Mosquitto) -> (Vec<String>, usize) {
    let hub_tls = mosquitto.ca.client("clusternet-hub", "clusternet:hub", |_| {}).tls(&mosquitto.ca);
    let (own, other) = (mosquitto.agent(OWN), mosquitto.agent(OTHER));
    let mut hub = mosquitto.connect(&hub_tls, "clusternet-hub");
    hub.subscribe("cn1/#", 0);
    let mut victim = mosquitto.connect(&other, OTHER);
    victim.subscribe(&format!("cn1/{OTHER}/d/#"), 0);
    victim.subscribe("cn1/f/0", 0);
    let mut leaks = Vec::new();
    let mut attempts: Vec<(&str, Vec<u8>)> = attempts::packets(OWN);
    let connects = attempts::connects(OWN);
    attempts.extend(connects.into_iter().map(|(what, hello, _)| (what, hello.bytes())));
    let total = attempts.len();
    for (number, (what, bytes)) in attempts.into_iter().enumerate() {
        let mut hostile = match bytes[0] {
            // A CONNECT of its own, which leaves its will when the socket closes.
            0x10 if !what.contains("CONNECT") => open(mosquitto.addr, &own),
            _ => mosquitto.connect(&own, OWN),
        };
        hostile.0.sock.set_read_timeout(Some(SHORT)).unwrap();
        hostile.send(&bytes);
        hostile.send(&subscribe(&format!("cn1/{OWN}/d/#"), 0));
        // The hostile one has been heard once this came back, or it is closed.
        while matches!(hostile.read(), Ok((first, _)) if first & 0xf0 != 0x90) {}
        let mark = format!("mark {number}");
        hub.send(&publish(&format!("cn1/{OTHER}/d/m"), b"from the hub", 0, 0));
        victim.send(&publish(&format!("cn1/{OTHER}/u/m"), b"from the other", 0, 0));
        victim.send(&publish(&format!("cn1/{OTHER}/u/m"), mark.as_bytes(), 0, 0));
        for topic in [format!("cn1/{OWN}/d/m"), format!("cn1/{OTHER}/d/m")] {
            hub.send(&publish(&topic, mark.as_bytes(), 0, 0));
        }
        let heard = heard_until(&mut hostile, &mark);
        leaks.extend(heard.into_iter().map(|(topic, _)| format!("{what}: it heard {topic}")));
        let _closed = hostile.0.sock.shutdown(std::net::Shutdown::Both);
        drop(hostile);
        let heard = heard_until(&mut victim, &mark);
        leaks.extend(
            heard.into_iter().filter(|(_, said)| said != b"from the hub").map(|(topic, _)| format!("{what}: the other heard {topic}")),
        );
        // The hub is heard by the other only, as the ACL lets it read no downlink: its own mark comes from there.
        let ours = |(topic, said): &(String, Vec<u8>)| {
            topic.starts_with(&format!("cn1/{OWN}/u/")) || said == b"from the hub" || said == b"from the other" || said.starts_with(b"mark")
        };
        let heard = heard_until(&mut hub, &mark);
        leaks.extend(heard.into_iter().filter(|heard| !ours(heard)).map(|(topic, _)| format!("{what}: the hub heard {topic}")));
    }
    (leaks, total)
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_with_the_documented_acl_refuses_every_attempt() {
    let (found, total) = blocking(|| leaks(&Mosquitto::start(&block("acl")))).await;
    println!("{total} attempts at mosquitto with the documented ACL, {} of them did something: {found:#?}", found.len());
    assert!(found.is_empty(), "{found:#?}");
    let (open, _) = blocking(|| leaks(&Mosquitto::start("pattern readwrite #\n"))).await;
    println!("without the ACL {} did: the control", open.len());
    assert!(open.len() > 10, "the control shows nothing: {open:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_as_documented_takes_an_agents_own_topics_and_no_other_name_or_certificate() {
    blocking(|| {
        let mosquitto = Mosquitto::start(&block("acl"));
        let hub_tls = mosquitto.ca.client("clusternet-hub", "clusternet:hub", |_| {}).tls(&mosquitto.ca);
        let (mut hub, own) = (mosquitto.connect(&hub_tls, "clusternet-hub"), mosquitto.agent(OWN));
        hub.subscribe("cn1/+/u/#", 0);
        let mut agent = mosquitto.connect(&own, OWN);
        agent.subscribe(&format!("cn1/{OWN}/d/#"), 0);
        agent.subscribe("cn1/f/0", 0);
        agent.send(&publish(&format!("cn1/{OWN}/u/m"), b"up", 0, 0));
        assert_eq!(hub.message(), (format!("cn1/{OWN}/u/m"), b"up".to_vec()));
        hub.send(&publish(&format!("cn1/{OWN}/d/m"), b"down", 0, 0));
        hub.send(&publish("cn1/f/0", b"all", 0, 0));
        assert_eq!((agent.message().1, agent.message().1), (b"down".to_vec(), b"all".to_vec()));
        // Another's client id is not its own: who connects under it leaves the other alone.
        let mut bystander = mosquitto.connect(&mosquitto.agent(OTHER), OTHER);
        let mut as_other = open(mosquitto.addr, &own);
        let _answer = as_other.hello(&Hello::new(OTHER));
        bystander.ping();
        for (what, tls) in
            [("no certificate", pki::anonymous(&mosquitto.ca)), ("another CA", Ca::new("fleet").agent(OWN).tls(&mosquitto.ca))]
        {
            assert!(open(mosquitto.addr, &tls).hello(&Hello::new(OWN)).is_err(), "{what}");
        }
    })
    .await;
}
