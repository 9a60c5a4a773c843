//! A link of 1 Mbit/s, 300 ms and 1 % loss: how long a change takes to be acknowledged while nothing else is under way, while kubectl's
//! streams take all they can, and while 20 MB of desired state come beside them.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bus_schema::limits::frame_of;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;
use tests::{Agent, Hub, Kubectl, Member, Shape, Shaper, Statuses, is_applied};

use crate::latency::{applied_hash, changed, config_maps};
use crate::{figure, percentile};

const RATE: u64 = 1_000_000;
const SHAPE: Shape = Shape {
    delay: Duration::from_millis(150),
    jitter: Duration::from_millis(10),
    loss: 0.01,
    reorder: 0.0,
    late: Duration::ZERO,
    rate: Some(RATE),
    // What the link carries in 300 ms.
    queue: 37_500,
};
/// Some 12 changes of these lose a packet while nothing else is under way: with fewer the slowest hundredth may hold none.
const ALONE: usize = 400;
const BESIDE: usize = 150;
const SOON: Duration = Duration::from_secs(60);
/// Longest that one acknowledgement may take to be counted as one.
const PATIENCE: Duration = Duration::from_secs(120);
/// Objects of the large desired state, 1 MB each, and of the list that a stream carries.
const LARGE: usize = 20;
const LONG: usize = 8;

const PROBE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: feature-flags, namespace: shop}
data: {round: start}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: probe, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]
  feeds:
    - {apiVersion: v1, kind: Namespace, name: shop}
    - {apiVersion: v1, kind: ConfigMap, namespace: shop, name: feature-flags}
";

pub async fn measure() -> Result<()> {
    let member = Member::builder("bench-shaped").api_server_only().start().await?;
    let shaper = Shaper::attach(member.site(), SHAPE, 3)?;
    let hub = Hub::start_at(shaper.hub_address(), &[&member], &[])?;
    let mut agent = Agent::prepare_direct(&hub, &member)?;
    agent.run(&[])?;
    hub.kubectl().apply(PROBE)?;
    hub.kubectl().wait_until(["subscription", "probe"], SOON, is_applied).map_err(|error| error.context(agent.log()))?;
    prepare(&member)?;
    let probe =
        Probe { hub: config_maps(&hub.data().join("admin.kubeconfig")).await?, database: hub.statuses()?, watched: hub.kubectl().clone() };

    let idle = probe.rounds("alone", ALONE).await?;
    let load = Load::start(hub.kubectl_into(&member)?);
    let streams = probe.rounds("beside streams", BESIDE).await?;
    let carried = load.carried();
    // Not `apply`, whose annotation would have each object twice.
    hub.kubectl().run_with_input(&["create", "-f", "-"], &large()?)?;
    let both = probe.rounds("beside streams and 20 MB", BESIDE).await?;
    let under_way = !is_applied(&hub.kubectl().get(["subscription", "large"])?);
    println!("streams carried {} bytes alone and {} beside 20 MB; {}", carried, load.carried() - carried, shaper.counts());
    ensure!(under_way, "the 20 MB had arrived before the measurement ended: it says nothing");
    let drained = RATE as usize / 8;
    let frame = frame_of(drained) as f64 / drained as f64 * 1e3;
    println!("goal: at most twice alone and a frame's {frame:.0} ms: {:.0} ms; {streams:.0} and {both:.0} ms", 2.0 * idle + frame);
    Ok(())
}

/// What is asked for over and over.
struct Probe {
    hub: Api<DynamicObject>,
    database: Statuses,
    watched: Kubectl,
}

impl Probe {
    /// The p99 of the time from a change's commit to the commit of its acknowledgement, ms; prints more.
    async fn rounds(&self, when: &str, rounds: usize) -> Result<f64> {
        let mut times = Vec::new();
        for round in 0..rounds {
            let before = applied_hash(&self.database)?;
            let patch = Patch::Merge(json!({"data": {"round": format!("{when} {round}")}}));
            self.hub.patch("feature-flags", &PatchParams::default(), &patch).await?;
            let written = Instant::now();
            let told = tokio::task::block_in_place(|| changed(&self.database, before, PATIENCE))?;
            times.push((told - written).as_secs_f64() * 1e3);
            let found = self.watched.get(["mcls", "-A"])?;
            let link = &found["items"][0]["status"]["link"];
            ensure!(link == "Connected", "the cluster passes for {link}");
        }
        let (half, most) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        figure(&format!("shaped: commit to applied {when}, p50"), half, "ms", "-", "-");
        figure(&format!("shaped: commit to applied {when}, p99"), most, "ms", "-", "2 x + a frame");
        Ok(most)
    }
}

/// kubectl that reads a long list and writes a large object, each over and over, until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Load {
    fn start(kubectl: Kubectl) -> Load {
        let load = Load { stop: Arc::default(), bytes: Arc::default(), failure: Arc::default() };
        let object =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: up, namespace: long}}\ndata: {{text: {}}}\n", text(400_000, 1));
        let list = ["get", "--raw", "/api/v1/namespaces/long/configmaps"];
        for (args, input) in [(list.to_vec(), String::new()), (vec!["replace", "--force=false", "-f", "-"], object)] {
            let (stop, bytes, failure, kubectl) = (load.stop.clone(), load.bytes.clone(), load.failure.clone(), kubectl.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match kubectl.run_with_input(&args, &input) {
                        Ok(said) => bytes.fetch_add((said.len() + input.len()) as u64, Ordering::SeqCst),
                        Err(error) => {
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
                            return;
                        }
                    };
                }
            });
        }
        load
    }

    /// Bytes of requests that came to their end.
    fn carried(&self) -> u64 {
        if let Some(failure) = &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            println!("a stream of the load failed: {failure}");
        }
        self.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// What the load reads and writes, made on the member itself.
fn prepare(member: &Member) -> Result<()> {
    let preset = format!("{}/../deploy/rbac/agent-proxy.yaml", env!("CARGO_MANIFEST_DIR"));
    member.kubectl().run(["apply", "-f", &preset])?;
    member.kubectl().run(["create", "namespace", "long"])?;
    for number in 0..LONG {
        let object = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}, namespace: long}}\ndata: {{text: {}}}\n",
            text(100_000, number)
        );
        member.kubectl().run_with_input(&["create", "-f", "-"], &object)?;
    }
    let up = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: up, namespace: long}\n";
    member.kubectl().run_with_input(&["create", "-f", "-"], up).map(drop)
}

/// The desired state of 20 MB that does not compress.
fn large() -> Result<String> {
    let (mut templates, mut feeds) = (String::new(), String::new());
    for number in 0..LARGE {
        let text = text(1_000_000, 100 + number);
        write!(
            templates,
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: l{number}, namespace: shop}}\ndata: {{text: {text}}}\n"
        )?;
        writeln!(feeds, "    - {{apiVersion: v1, kind: ConfigMap, namespace: shop, name: l{number}}}")?;
    }
    let head = "---\napiVersion: apps.clusternet.io/v1alpha1\nkind: Subscription\nmetadata: {name: large, namespace: default}\nspec:\n  subscribers: [{clusterAffinity: {matchLabels: {purpose: shop}}}]\n  feeds:\n";
    Ok(format!("{templates}{head}{feeds}"))
}

/// Random letters and digits.
fn text(bytes: usize, seed: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    std::iter::once('t').chain(std::iter::repeat_with(|| random.alphanumeric())).take(bytes).collect()
}
