//! From the commit of a change on the hub to the member, and to the commit of *applied* on the hub.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bus_schema::hash::Hash;
use bus_schema::id::ObjectId;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tests::{Road, Statuses};

use crate::{figure, percentile};

const ROUNDS: usize = 100;
const SOON: Duration = Duration::from_secs(10);

pub async fn measure() -> Result<()> {
    let road = Road::start("bench-latency").await?;
    road.ship()?;
    let hub = config_maps(&road.hub.data().join("admin.kubeconfig")).await?;
    let member = config_maps(road.member.kubeconfig()).await?;
    let database = road.hub.statuses()?;
    let (mut writes, mut arrivals, mut acknowledged) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let before = applied_hash(&database)?;
        let arrival = tokio::spawn(arrives(member.clone(), round.to_string()));
        tokio::time::sleep(Duration::from_millis(150)).await;
        let patch = Patch::Merge(json!({"data": {"round": round.to_string()}}));
        let begun = Instant::now();
        hub.patch("feature-flags", &PatchParams::default(), &patch).await?;
        let written = Instant::now();
        let told = tokio::task::block_in_place(|| changed(&database, before, SOON))?;
        let arrived = arrival.await??;
        writes.push((written - begun).as_secs_f64() * 1e3);
        arrivals.push(arrived.saturating_duration_since(written).as_secs_f64() * 1e3);
        acknowledged.push(told.saturating_duration_since(written).as_secs_f64() * 1e3);
    }
    figure("latency: fsync of 2 KiB, p50", fsync(road.hub.data().as_path())?, "ms", "-", "-");
    figure("latency: write on the hub, p50", percentile(&mut writes, 0.5), "ms", "-", "-");
    figure("latency: commit to the member, p50", percentile(&mut arrivals, 0.5), "ms", "2600", "-");
    figure("latency: commit to the member, p99", percentile(&mut arrivals, 0.99), "ms", "-", "-");
    figure("latency: commit to applied on the hub, p50", percentile(&mut acknowledged, 0.5), "ms", "-", "25");
    figure("latency: commit to applied on the hub, p99", percentile(&mut acknowledged, 0.99), "ms", "-", "150");
    Ok(())
}

/// The ConfigMaps of the shop.
pub async fn config_maps(kubeconfig: &Path) -> Result<Api<DynamicObject>> {
    let kind = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        plural: "configmaps".into(),
    };
    Ok(Api::namespaced_with(client(kubeconfig).await?, "shop", &kind))
}

async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// When the member's own watch shows this round.
async fn arrives(member: Api<DynamicObject>, round: String) -> Result<Instant> {
    use futures::StreamExt;
    let now = member.get("feature-flags").await?;
    let parameters = WatchParams::default().fields("metadata.name=feature-flags");
    let mut events = member.watch(&parameters, &now.metadata.resource_version.unwrap_or_default()).await?.boxed();
    while let Some(event) = events.next().await {
        if let WatchEvent::Modified(object) = event?
            && object.data["data"]["round"] == round.as_str()
        {
            return Ok(Instant::now());
        }
    }
    anyhow::bail!("the member's watch has ended")
}

/// The content that the hub has committed as applied: read in its database, not asked of the program.
pub fn applied_hash(database: &Statuses) -> Result<Hash> {
    let sid = *database.clusters()?.first().context("a cluster")?;
    let object = ObjectId::new("", "ConfigMap", "shop", "feature-flags");
    database.applied(sid, &object)?.context("the hub has not committed the object as applied")
}

/// When another content is committed as applied.
pub fn changed(database: &Statuses, before: Hash, within: Duration) -> Result<Instant> {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if applied_hash(database).is_ok_and(|hash| hash != before) {
            return Ok(Instant::now());
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    anyhow::bail!("applied was not committed in {within:?}")
}

fn fsync(folder: &Path) -> Result<f64> {
    use std::io::Write;
    let path = folder.join("fsync");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        file.write_all(&[0; 2048])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(path)?;
    Ok(percentile(&mut times, 0.5))
}
