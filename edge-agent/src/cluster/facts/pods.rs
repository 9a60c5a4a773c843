//! How many pods there are, without reading any of them.
//!
//! The server counts all pods in the first page's `remainingItemCount`. It does not count selections, so those that do not run are
//! paged through as table rows, [`PAGE`] at a time and about 300 bytes each: they are few on a healthy cluster.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::PodStatistics;
use crate::cluster::api::{Accept, Api, Failure, PAGE, escape};
use crate::cluster::object::{ListMeta, null_as_empty};

/// Counts the pods of all namespaces, both times as of the same moment.
pub(super) async fn pods(api: &Api) -> Result<PodStatistics, Failure> {
    let (total, version) = count(api, "").await?;
    let (idle, _) =
        count(api, &format!("&fieldSelector=status.phase%21%3DRunning&resourceVersion={version}&resourceVersionMatch=Exact")).await?;
    let number = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
    Ok(PodStatistics { running_pods: number(total.saturating_sub(idle)), total_pods: number(total) })
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default, deserialize_with = "null_as_empty")]
    rows: Vec<IgnoredAny>,
}

/// How many pods a selection has, and the version that this is true of.
async fn count(api: &Api, selection: &str) -> Result<(u64, String), Failure> {
    let pages = format!("/api/v1/pods?includeObject=None&limit={PAGE}");
    let (mut path, mut counted) = (format!("{pages}{selection}"), 0);
    // A page after the first names its version in its token.
    let selection = selection.split("&resourceVersion=").next().unwrap_or_default();
    loop {
        let Page { metadata, rows } = api.get(&path, Accept::Table).await?;
        counted += rows.len() as u64;
        match (metadata.remaining, metadata.next.as_str()) {
            (Some(remaining), _) => return Ok((counted + remaining, metadata.resource_version)),
            (None, "") => return Ok((counted, metadata.resource_version)),
            (None, next) => path = format!("{pages}{selection}&continue={}", escape(next)),
        }
    }
}
