//! What a hub writes: objects made by many clients at once, each answered after its commit; and what the seal of one value costs.
//!
//! To compare with older programs, run it in turn with `CLUSTERNET_EDGE_PROGRAMS` naming their folder.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use at_rest::{Key, Sealer};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tests::Hub;

use crate::{figure, percentile};

const OBJECTS: usize = 4_000;
const CLIENTS: usize = 32;
/// Bytes of data in each object.
const SIZE: usize = 4 * 1024;

pub async fn measure() -> Result<()> {
    let hub = Hub::start_logging(&[], "info")?;
    let api = objects(&hub).await?;
    let hub_process = hub.process().context("the hub runs")?;
    let (begun, before) = (Instant::now(), hub_process.cpu()?);
    let mut times: Vec<f64> = stream::iter(0..OBJECTS).map(|index| create(&api, index)).buffer_unordered(CLIENTS).try_collect().await?;
    let took = begun.elapsed().as_secs_f64();
    let cpu = (hub_process.cpu()? - before).as_secs_f64() * 1e6 / OBJECTS as f64;
    figure("writes: processor time of the hub for each", cpu, "us", "-", "-");
    figure("writes: objects of 4 KiB made by 32 clients", OBJECTS as f64 / took, "1/s", "-", "-");
    figure("writes: one of them, p50", percentile(&mut times, 0.5), "ms", "-", "-");
    figure("writes: one of them, p99", percentile(&mut times, 0.99), "ms", "-", "-");
    figure("writes: seal and open 4 KiB for the disk", seal_and_open()?, "us", "-", "15");
    Ok(())
}

async fn objects(hub: &Hub) -> Result<Api<DynamicObject>> {
    let kubeconfig = Kubeconfig::read_from(hub.data().join("admin.kubeconfig"))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let kind = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        plural: "configmaps".into(),
    };
    Ok(Api::namespaced_with(kube::Client::try_from(config)?, "shop", &kind))
}

/// Milliseconds until it was answered.
async fn create(api: &Api<DynamicObject>, index: usize) -> Result<f64> {
    let object = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("object-{index}")}, "data": {"a": "x".repeat(SIZE)},
    }))?;
    let begun = Instant::now();
    api.create(&PostParams::default(), &object).await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn seal_and_open() -> Result<f64> {
    const ROUNDS: u32 = 10_000;
    let (sealer, value) = (Sealer::new(&Key::random()?)?, vec![7; SIZE]);
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let sealed = sealer.seal(&[b"objects", b"name"], black_box(&value));
        black_box(sealer.open(&[b"objects", b"name"], &sealed)?);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS))
}
