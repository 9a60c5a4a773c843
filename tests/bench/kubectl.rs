//! kubectl's requests: direct, through a plain TCP relay, and through hub, bus and agent, in turn in one run.

mod carried;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tests::{Agent, Authority, Hub, Kubectl, Member, Relay, Scratch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::upgrade::{Gate, stub};
use crate::{figure, percentile};

const SOON: Duration = Duration::from_secs(60);
const ROUNDS: usize = 5_000;

const BINDING: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: hub-admins}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'hub:admins'}]
";

pub async fn measure() -> Result<()> {
    let scratch = Scratch::create("bench-kubectl")?;
    let member = Member::builder("bench-kubectl").with_node().start().await?;
    let gateway = member.site().gateway();
    // The agent reaches the bus as it would anywhere: no relay of ours takes processor time on that road.
    let hub = Hub::start_at(gateway, &[&member], &[])?;
    let authority = Authority::create(scratch.path(), "stub")?;
    let stub = stub(gateway, &authority).await?;
    let mut agent = Agent::prepare_direct(&hub, &member)?;
    let (allow, ca) = (format!("[\"{stub}\"]"), authority.certificate_file().display().to_string());
    agent.run(&[("AGENT_PROXY_ALLOW", &allow), ("AGENT_PROXY_CA", &ca)])?;
    let joined = hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["apiserverURL"].is_string());
    joined.map_err(|error| error.context(agent.log()))?;
    member.kubectl().apply(BINDING)?;
    let (ip, port) = member.control_plane().address();
    let relay = Relay::start(gateway, SocketAddr::from((ip, port)))?;
    let roads = [
        ("direct", member.kubeconfig().to_owned()),
        ("by a relay", relayed(member.kubectl(), relay.address(), &ip.to_string(), scratch.path())?),
        ("over the bus", through(&hub, scratch.path())?),
    ];
    on_one_thread(small_requests(roads.clone()))?;
    keystrokes("direct", &Gate::direct(stub, &authority)?).await?;
    keystrokes("over the bus", &Gate::through(&hub, stub)?).await?;
    on_one_thread(async { carried::measure(&member, &ways(roads).await?, scratch.path()).await })
}

/// What a client's own threads say to each other takes longer than what is measured.
fn on_one_thread(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::task::block_in_place(|| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}

/// What a way is called, and the kubeconfig that leads along it.
type Road = (&'static str, PathBuf);

async fn ways(roads: [Road; 3]) -> Result<Vec<Way>> {
    futures::future::try_join_all(roads.map(|(name, kubeconfig)| Way::new(name, kubeconfig))).await
}

async fn small_requests(roads: [Road; 3]) -> Result<()> {
    let ways = ways(roads).await?;
    answered("GET /version", "/version", &ways).await?;
    answered("get pods", "/api/v1/namespaces/default/pods", &ways).await
}

/// A way to the member's API server.
struct Way {
    name: &'static str,
    client: kube::Client,
    kubectl: Kubectl,
    kubeconfig: PathBuf,
}

impl Way {
    async fn new(name: &'static str, kubeconfig: PathBuf) -> Result<Way> {
        let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &KubeConfigOptions::default()).await?;
        Ok(Way { name, client: kube::Client::try_from(config)?, kubectl: Kubectl::new(&kubeconfig)?, kubeconfig })
    }
}

/// The administrator's kubeconfig of a member that is reached by a relay.
fn relayed(member: &Kubectl, relay: SocketAddr, server: &str, folder: &Path) -> Result<PathBuf> {
    let mut config: Value = serde_json::from_str(&member.run(["config", "view", "--raw", "--flatten", "-o", "json"])?)?;
    let cluster = &mut config["clusters"][0]["cluster"];
    cluster["server"] = json!(format!("https://{relay}"));
    cluster["tls-server-name"] = json!(server);
    let path = folder.join("relayed.kubeconfig");
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

/// A kubeconfig that leads through the hub.
fn through(hub: &Hub, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("through.kubeconfig");
    std::fs::write(&path, hub.run(&["kubeconfig", "--cluster", "bench-kubectl"])?)?;
    Ok(path)
}

/// How long small requests take. The ways take turns in each round, so that whatever else the machine does falls on all of them.
async fn answered(what: &str, path: &str, ways: &[Way]) -> Result<()> {
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, times) in ways.iter().zip(&mut times) {
            let begun = Instant::now();
            way.client.request_text(Request::get(path).body(Vec::new())?).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (way, mut times) in ways.iter().zip(times) {
        let over_the_bus = way.name == "over the bus";
        let goal = if over_the_bus { "direct + 1.5" } else { "-" };
        let clusternet = if over_the_bus && path == "/version" { "13.8" } else { "-" };
        figure(&format!("kubectl: {what} {}, p50", way.name), percentile(&mut times, 0.5), "ms", clusternet, goal);
        figure(&format!("kubectl: {what} {}, p99", way.name), percentile(&mut times, 0.99), "ms", "-", goal);
    }
    Ok(())
}

/// How long one typed byte, as kubectl frames it, takes to come back.
async fn keystrokes(name: &str, gate: &Gate) -> Result<()> {
    let frame = [0x82, 0x82, 0, 0, 0, 0, 0, b'x'];
    let mut connection = gate.open().await.context(name.to_owned())?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        connection.write_all(&frame).await?;
        connection.flush().await?;
        connection.read_exact(&mut [0; 8]).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    figure(&format!("kubectl: a keystroke and its echo {name}, p50"), percentile(&mut times, 0.5), "ms", "-", "RTT + 5");
    figure(&format!("kubectl: a keystroke and its echo {name}, p99"), percentile(&mut times, 0.99), "ms", "-", "-");
    Ok(())
}
