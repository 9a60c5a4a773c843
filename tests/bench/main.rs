//! Measures what the design promises, on a real API server, with an independent observer: `bench FIGURE` or `bench all`.
//!
//! One line a figure: name, value, unit, then Clusternet's figure and the goal. Bytes are all TCP payload between agent and bus, both
//! directions, counted by a relay. The programs come from this build's folder, or from the one that `CLUSTERNET_EDGE_PROGRAMS` names.

mod bytes;
mod churn;
mod crowd;
mod fleet;
mod hostile;
mod kubectl;
mod latency;
mod memory;
mod seal;
mod shaped;
mod start;
mod streams;
mod tls;
mod upgrade;
mod writes;

use anyhow::{Result, bail};

/// Prints one figure beside what it is to be compared with.
fn figure(name: &str, value: f64, unit: &str, clusternet: &str, goal: &str) {
    println!("{name:<44} {value:>10.1} {unit:<6} clusternet {clusternet:<12} goal {goal}");
}

/// The value below which `share` of the sorted values lie.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share).ceil() as usize;
    values.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[tokio::main]
async fn main() -> Result<()> {
    let figures = [
        "start", "latency", "fleet", "bytes", "memory", "churn", "crowd", "seal", "writes", "tls", "hostile", "streams", "shaped",
        "kubectl",
    ];
    let asked = std::env::args().nth(1).unwrap_or_else(|| "all".into());
    if asked == hostile::STRANGERS {
        return hostile::strangers(std::env::args().skip(2)).await;
    }
    if asked == tls::GATE {
        return tls::gate(std::env::args().skip(2)).await;
    }
    if asked != "all" && !figures.contains(&asked.as_str()) {
        bail!("{asked:?} is no figure; there are: {}, all", figures.join(", "));
    }
    for name in figures.iter().filter(|name| asked == "all" || asked == **name) {
        match *name {
            "start" => start::measure().await?,
            "latency" => latency::measure().await?,
            "fleet" => fleet::measure().await?,
            "bytes" => bytes::measure().await?,
            "writes" => writes::measure().await?,
            "churn" => churn::measure().await?,
            "crowd" => crowd::measure().await?,
            "seal" => seal::measure()?,
            "tls" => tls::measure().await?,
            "hostile" => hostile::measure().await?,
            "shaped" => shaped::measure().await?,
            "streams" => streams::measure().await?,
            "kubectl" => kubectl::measure().await?,
            _ => memory::measure().await?,
        }
    }
    Ok(())
}
