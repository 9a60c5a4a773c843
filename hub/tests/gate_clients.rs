//! Clients that others wrote, at the gate: paho-mqtt and mosquitto_pub/sub.

mod support;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use hub::bus::{CloseCause, Closed, Event};
use support::*;

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)
}

/// The folder that holds paho-mqtt, installed once.
fn paho() -> &'static str {
    static FOLDER: OnceLock<String> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new(script("install-paho")).output().expect("the script starts");
        assert!(output.status.success(), "paho-mqtt cannot be installed: {}", said(&output));
        String::from_utf8(output.stdout).expect("a path").trim().to_owned()
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn run_paho(port: u16, scenario: &str) {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", paho()).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = python.arg(script("paho_client.py")).arg(port.to_string()).arg(scenario).output().expect("python3 starts");
    println!("{}", said(&output));
    assert!(output.status.success(), "paho {scenario}: {}", said(&output));
}

fn open_to_clients() -> Rig {
    let mut config = config();
    config.max_clients = 32;
    start(config)
}

async fn paho_at_the_gate(scenario: &'static str) {
    let rig = open_to_clients();
    let port = rig.gate.local_addr().port();
    blocking(move || run_paho(port, scenario)).await;
    assert_eq!(rig.gate.counts().router_restarts, 0);
    assert!(rig.gate.shutdown().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_publishes_and_subscribes_with_every_qos() {
    paho_at_the_gate("publish_subscribe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_wills_fire_when_the_client_is_lost() {
    paho_at_the_gate("will").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_connections_of_one_id_take_over() {
    paho_at_the_gate("take_over").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_is_closed_at_one_and_a_half_keepalives() {
    paho_at_the_gate("keepalive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_is_closed_for_an_oversized_packet() {
    paho_at_the_gate("oversized").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_with_mqtt_5_is_told_that_the_version_is_not_spoken() {
    paho_at_the_gate("version_5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_can_be_an_agent() {
    let mut rig = start(config());
    let port = rig.gate.local_addr().port();
    let python = tokio::spawn(blocking(move || run_paho(port, "agent")));
    let mut session = tokio::time::timeout(Duration::from_secs(60), rig.sessions.recv()).await.unwrap().unwrap();
    assert!(matches!(event(&mut session).await, Event::Frame(frame) if frame.payload == "up"));
    session.downlink.ready(4).await.unwrap();
    session.downlink.try_send(Bytes::from_static(b"down")).unwrap();
    let lost = Closed { cause: CloseCause::Lost, will: Some(Bytes::from_static(b"gone")) };
    assert_eq!(event(&mut session).await, Event::Closed(lost));
    python.await.unwrap();
}

fn mosquitto(program: &str, port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Publishes until the subscriber, which ends after one message, has ended.
fn publish_until_heard(port: u16, topic: &str, qos: &str, payload: &str, subscriber: &mut std::process::Child) {
    for _ in 0..50 {
        let sent = mosquitto("mosquitto_pub", port, &["-t", topic, "-q", qos, "-m", payload]).output().expect("mosquitto_pub");
        assert!(sent.status.success(), "{}", said(&sent));
        if subscriber.try_wait().expect("its state").is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_publishes_and_subscribes() {
    let rig = open_to_clients();
    let port = rig.gate.local_addr().port();
    blocking(move || {
        for qos in ["0", "1", "2"] {
            let topic = format!("test/mosquitto/{qos}");
            let arguments = ["-t", &topic, "-q", qos, "-C", "1", "-W", "10"];
            let mut subscriber = mosquitto("mosquitto_sub", port, &arguments).spawn().expect("mosquitto_sub starts");
            publish_until_heard(port, &topic, qos, "from mosquitto", &mut subscriber);
            let heard = subscriber.wait_with_output().unwrap();
            assert!(heard.status.success(), "{}", said(&heard));
            assert_eq!(String::from_utf8_lossy(&heard.stdout), "from mosquitto\n");
        }
        let refused = mosquitto("mosquitto_pub", port, &["-V", "mqttv5", "-t", "test/x", "-m", "x"]).output().unwrap();
        assert!(!refused.status.success() && said(&refused).contains("rotocol"), "{}", said(&refused));
        let denied = mosquitto("mosquitto_sub", port, &["-t", "$share/g/test/x", "-C", "1", "-W", "2"]).output().unwrap();
        assert!(!denied.status.success(), "{}", said(&denied));
    })
    .await;
    assert_eq!(rig.gate.counts().router_restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_mosquitto_leaves_its_will_and_takes_over_its_id() {
    let rig = open_to_clients();
    let port = rig.gate.local_addr().port();
    blocking(move || {
        let observer = mosquitto("mosquitto_sub", port, &["-t", "test/will", "-C", "1", "-W", "20"]).spawn().unwrap();
        let holder = ["-i", "holder", "-t", "test/held", "--will-topic", "test/will", "--will-payload", "gone"];
        let mut held = mosquitto("mosquitto_sub", port, &holder).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        held.kill().unwrap();
        held.wait().unwrap();
        let heard = observer.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&heard.stdout), "gone\n", "{}", said(&heard));
        let mut again = mosquitto("mosquitto_sub", port, &["-i", "holder", "-t", "test/held", "-C", "1", "-W", "10"]).spawn().unwrap();
        publish_until_heard(port, "test/held", "1", "back", &mut again);
        assert_eq!(again.wait_with_output().unwrap().stdout, b"back\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_can_be_an_agent() {
    let mut rig = start(config());
    let port = rig.gate.local_addr().port();
    let arguments = ["-i", "aaaaaaaa", "-t", "cn1/aaaaaaaa/d/#", "-C", "1", "-W", "20", "-v"];
    let subscriber = mosquitto("mosquitto_sub", port, &arguments).spawn().unwrap();
    let session = rig.session().await;
    session.downlink.ready(5).await.unwrap();
    session.downlink.try_send(Bytes::from_static(b"hello")).unwrap();
    let heard = blocking(move || subscriber.wait_with_output().unwrap()).await;
    assert_eq!(String::from_utf8_lossy(&heard.stdout), "cn1/aaaaaaaa/d/m hello\n");
}
