//! Writing to `managedFields` of a live object: the shell around [`super::managed_fields`].
//!
//! Each write carries the resourceVersion that was read, so a concurrent change makes it a conflict, never a loss.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Accept, Api, Failure};
use super::managed_fields::{Entry, let_go, take_over};
use super::object::{AGENT, CREATED_BY, Meta, ORIGIN, Partial};

/// Attempts against concurrent writers before it is left for the next round.
const ATTEMPTS: usize = 4;

#[derive(Deserialize)]
struct Owned {
    metadata: OwnedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnedMeta {
    #[serde(default)]
    managed_fields: Vec<Entry>,
    #[serde(flatten)]
    meta: Meta,
}

/// Moves client-side appliers' fields to our manager; nothing to move is no write.
pub(super) async fn adopt(api: &Api, path: &str) -> Result<(), Failure> {
    edit(api, path, |owned| take_over(owned.managed_fields).map(|entries| vec![replace(json!(entries))])).await
}

/// Removes our mark and our ownership, and leaves every value as it is; only from the object with this UID.
pub(super) async fn release(api: &Api, path: &str, uid: &str) -> Result<(), Failure> {
    edit(api, path, |owned| {
        let mark = unmark(&owned.meta);
        let ours = owned.meta.uid == uid && !mark.is_empty();
        ours.then(|| mark.into_iter().chain([replace(let_go(owned.managed_fields))]).collect())
    })
    .await
}

async fn edit(api: &Api, path: &str, change: impl Fn(OwnedMeta) -> Option<Vec<Value>>) -> Result<(), Failure> {
    for attempt in 1.. {
        let Some(live) = api.find::<Owned>(path, Accept::Metadata).await? else {
            return Ok(());
        };
        let lock = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": live.metadata.meta.resource_version});
        let Some(mut patch) = change(live.metadata) else {
            return Ok(());
        };
        patch.push(lock);
        let content = ("application/json-patch+json", json!(patch).to_string().into_bytes());
        let target = format!("{path}?fieldManager={AGENT}");
        match api.write::<Partial>(Method::PATCH, &target, content).await {
            Err(failure) if failure.code() == Some(409) && attempt < ATTEMPTS => {}
            Err(failure) => return Err(failure),
            Ok(_) => return Ok(()),
        }
    }
    Ok(())
}

fn replace(entries: Value) -> Value {
    json!({"op": "replace", "path": "/metadata/managedFields", "value": entries})
}

fn unmark(meta: &Meta) -> Vec<Value> {
    let remove = |map: &str, key: &str| json!({"op": "remove", "path": format!("/metadata/{map}/{}", key.replace('/', "~1"))});
    let label = meta.labels.created_by.as_ref().map(|_| remove("labels", CREATED_BY));
    let annotation = meta.annotations.origin.as_ref().map(|_| remove("annotations", ORIGIN));
    label.into_iter().chain(annotation).collect()
}
