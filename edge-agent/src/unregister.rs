//! `clusternet-agent unregister`: this cluster leaves the fleet.
//!
//! First what the agent applied is removed, or left to be; then the hub is told; last the agent forgets who it was. Each step can be
//! done again, so a run that broke off is simply repeated.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bus_schema::id::ObjectId;
use bus_schema::link::agent::{AgentState, Item, Live, RemoveOutcome};

use crate::app::{enroller, source};
use crate::cache::Cache;
use crate::cluster::connect;
use crate::config::Config;
use crate::member::Member;
use crate::registration::Registration;
use crate::trust::clock::Clock;
use crate::trust::identity::Folder;
use crate::vault::Vault;

/// How long removals may take together.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two rounds over what is still going.
const PAUSE: Duration = Duration::from_millis(500);

/// Leaves the fleet; what the agent applied goes if `remove`, else it stays.
///
/// # Errors
/// Another agent runs here, the member or the hub does not answer, or objects stay that somebody has to look at.
pub async fn run(config: &Config, remove: bool) -> anyhow::Result<()> {
    let registration = Registration::load(&config.data_dir);
    let registration =
        registration.with_context(|| format!("data folder {}: no cluster has joined from here", config.data_dir.display()))?;
    let (cache, state) = Cache::open_with(&config.data_dir, config.at_rest_key_file.as_deref())?;
    let objects = state.items.values().filter(|item| item.live.is_some()).count();
    if remove {
        let api = connect::connect(&source(config))?;
        let member = Member::new(api, config.adopt);
        empty(&member, &state).await?;
        println!("{objects} objects are removed or released");
    } else {
        println!("{objects} objects stay as they are");
    }
    let clock = Clock::new();
    clock.heard(registration.hub_time);
    let enroller = enroller(config, config.hub.as_ref().unwrap_or(&registration.hub), &registration.name, &clock)?;
    let told = enroller.leave(&registration.cluster_id).await;
    told.context("the hub was not told; run this again when it answers, or delete the ManagedCluster there")?;
    println!("the hub has forgotten {}/{}", registration.namespace, registration.name);
    if let Some(name) = &config.identity_secret {
        let api = connect::connect(&source(config))?;
        Vault::new(api, name).forget().await?;
    }
    Folder::of(&config.data_dir).forget()?;
    Registration::forget(&config.data_dir).with_context(|| format!("data folder {}", config.data_dir.display()))?;
    cache.forget().with_context(|| format!("data folder {}", config.data_dir.display()))?;
    println!("identity and cache are gone from {}", config.data_dir.display());
    Ok(())
}

/// Removes everything in the order of a removal, round after round, until nothing is left that goes by itself.
async fn empty(member: &Member, state: &AgentState) -> anyhow::Result<()> {
    let ours: BTreeSet<ObjectId> = state.items.keys().cloned().collect();
    let mut left: Vec<(&ObjectId, &Item)> = state.items.iter().collect();
    left.sort_by_key(|(object, _)| std::cmp::Reverse(bus_schema::order::phase(object)));
    let begun = Instant::now();
    loop {
        let mut stay = Vec::new();
        let mut kept = Vec::new();
        for (object, item) in left {
            let live: Option<Live> = item.live.clone();
            match member.remove(object, &item.version, live, &|id| ours.contains(id)).await {
                RemoveOutcome::Gone => {}
                RemoveOutcome::Deleting => stay.push((object, item)),
                RemoveOutcome::Kept { message } => {
                    kept.push(format!("{object} stays: {message}"));
                    stay.push((object, item));
                }
                RemoveOutcome::Unavailable { message, .. } => {
                    kept.push(format!("{object} was not removed: {message}"));
                    stay.push((object, item));
                }
            }
        }
        if stay.is_empty() {
            return Ok(());
        }
        // What keeps a Namespace may be on its way out itself.
        if begun.elapsed() >= PATIENCE || (kept.len() == stay.len() && begun.elapsed() >= PATIENCE / 10) {
            let what = if kept.is_empty() { format!("{} objects are still going", stay.len()) } else { kept.join("\n") };
            bail!("{what}\nrun this again, or with --orphan to leave them");
        }
        left = stay;
        tokio::time::sleep(PAUSE).await;
    }
}
