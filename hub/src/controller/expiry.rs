//! Deletes old Events from the embedded API, as a kube-apiserver does by itself (`--event-ttl`).

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::{core::v1 as core, events::v1 as events};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How long an Event is kept after it was last told.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
/// How often old ones are looked for.
const PERIOD: Duration = Duration::from_secs(300);
/// How many are listed at a time.
const PAGE: u32 = 500;
/// How many of a kind are deleted before others have their turn again.
const MAX_DELETED: usize = 10_000;
/// How many are deleted at a time, so that they share commits.
const AT_A_TIME: usize = 16;

/// An Event that is too old, as it was seen.
struct Old {
    namespace: String,
    name: String,
    version: Option<String>,
}

/// Deletes old Events until cancelled.
pub async fn run(client: Client, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            swept = sweep(&client, Timestamp::now()) => match swept {
                Ok(deleted) => debug!(deleted, "old Events"),
                Err(error) => debug!(%error, "can't look for old Events; will try again"),
            }
        }
    }
}

/// Deletes the Events that are too old now, and says how many.
///
/// # Errors
/// They can't be listed. One that can't be deleted waits for the next time.
pub async fn sweep(client: &Client, now: Timestamp) -> Result<usize, Error> {
    let native = sweep_kind::<core::Event>(client, now, times).await?;
    Ok(native + sweep_kind::<events::Event>(client, now, times_of_group).await?)
}

async fn sweep_kind<K>(client: &Client, now: Timestamp, times: fn(&K) -> [Option<Timestamp>; 4]) -> Result<usize, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let old = find(&Api::<K>::all(client.clone()), now, times).await?;
    let deleted = stream::iter(old).map(|old| async move {
        let api = Api::<K>::namespaced(client.clone(), &old.namespace);
        // One that was told again meanwhile stays.
        let preconditions = Some(Preconditions { resource_version: old.version, uid: None });
        api.delete(&old.name, &DeleteParams { preconditions, ..DeleteParams::default() }).await.is_ok()
    });
    Ok(deleted.buffer_unordered(AT_A_TIME).filter(|deleted| std::future::ready(*deleted)).count().await)
}

async fn find<K>(api: &Api<K>, now: Timestamp, times: fn(&K) -> [Option<Timestamp>; 4]) -> Result<Vec<Old>, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (mut params, mut old) = (ListParams::default().limit(PAGE), Vec::new());
    loop {
        let page = api.list(&params).await?;
        old.extend(page.items.into_iter().filter(|event| is_old(times(event), now)).map(|event| seen(&event)));
        let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty() && old.len() < MAX_DELETED) else {
            old.truncate(MAX_DELETED);
            return Ok(old);
        };
        params.continue_token = Some(token);
    }
}

fn seen<K: Resource>(event: &K) -> Old {
    let meta = event.meta().clone();
    Old { namespace: meta.namespace.unwrap_or_default(), name: meta.name.unwrap_or_default(), version: meta.resource_version }
}

/// Whether it was last told too long ago; a time that has not come yet says nothing, or it would keep an Event for ever.
fn is_old(times: [Option<Timestamp>; 4], now: Timestamp) -> bool {
    let told = times.into_iter().flatten().filter(|time| *time <= now).max();
    told.is_some_and(|told| now.as_second() - told.as_second() > TIME_TO_LIVE.as_secs().cast_signed())
}

fn times(event: &core::Event) -> [Option<Timestamp>; 4] {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    [
        second(event.metadata.creation_timestamp.as_ref()),
        second(event.last_timestamp.as_ref()),
        micro(event.event_time.as_ref()),
        micro(series),
    ]
}

fn times_of_group(event: &events::Event) -> [Option<Timestamp>; 4] {
    let last = event.deprecated_last_timestamp.as_ref();
    let series = event.series.as_ref().map(|series| &series.last_observed_time);
    [second(event.metadata.creation_timestamp.as_ref()), second(last), micro(event.event_time.as_ref()), micro(series)]
}

fn second(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

fn micro(time: Option<&MicroTime>) -> Option<Timestamp> {
    time.map(|time| time.0)
}
