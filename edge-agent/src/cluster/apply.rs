//! One object onto the member, by server-side apply.
//!
//! The stored bytes are the body; only the mark is inserted, over raw slices, so the object is never parsed whole. The
//! server's code (201 made, 200 was there) settles the origin if somebody else made or deleted the object meanwhile.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::value::RawValue;

use super::api::{Accept, Api};
use super::discovery::{Discovery, Resource};
use super::object::{AGENT, CREATED_BY, ORIGIN, ObjectId, Origin, Partial};
use super::outcome::{Refusal, Stop};
use super::owner;

/// Rounds against somebody who makes and deletes the same object.
const ROUNDS: usize = 4;

/// How an apply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The live object is as desired.
    Applied(Applied),
    /// The server refused this object; others are not affected.
    Refused(Refusal),
    /// The server can't be asked now; it says nothing about the object.
    Unavailable(String),
}

/// The live object after an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// UID, the precondition of a later delete.
    pub uid: String,
    /// Version of the stored object.
    pub resource_version: String,
    /// Generation of the spec, 0 for kinds without one.
    pub generation: i64,
    /// Whether we made it or found it.
    pub origin: Origin,
}

/// Applies the stored bytes of one object.
pub async fn apply(api: &Api, discovery: &Discovery, id: &ObjectId, version: &str, stored: &[u8]) -> Outcome {
    match attempt(api, discovery, id, version, stored).await {
        Ok(applied) => Outcome::Applied(applied),
        Err(Stop::Refused(refusal)) => {
            if refusal.code == 404 {
                discovery.forget(&id.group).await;
            }
            Outcome::Refused(refusal)
        }
        Err(Stop::Unavailable(why)) => Outcome::Unavailable(why),
    }
}

async fn attempt(api: &Api, discovery: &Discovery, id: &ObjectId, version: &str, stored: &[u8]) -> Result<Applied, Stop> {
    let resource = discovery.resource(&id.group, version, &id.kind).await?;
    let path = object_path(&resource, id)?;
    let mut settled = None;
    for _ in 0..ROUNDS {
        let live: Option<Partial> = api.find(&path, Accept::Metadata).await?;
        let noted = noted(live.as_ref())?;
        let origin = settled.unwrap_or_else(|| decide(live.is_some(), noted));
        if origin == Origin::Adopted && noted != Some(Origin::Adopted) {
            owner::adopt(api, &path).await?;
        }
        let (code, applied) = patch(api, &path, marked(stored, origin)?).await?;
        let right = proven(code, live.is_some(), origin);
        if right == origin {
            return Ok(result(applied, origin));
        }
        settled = Some(right);
    }
    Err(Stop::passing(409, "Contested", "somebody else makes and deletes this object at the same time"))
}

async fn patch(api: &Api, path: &str, body: Vec<u8>) -> Result<(StatusCode, Partial), Stop> {
    let target = format!("{path}?fieldManager={AGENT}&force=true");
    Ok(api.write(Method::PATCH, &target, ("application/apply-patch+yaml", body)).await?)
}

fn noted(live: Option<&Partial>) -> Result<Option<Origin>, Stop> {
    let Some(live) = live else { return Ok(None) };
    match &live.metadata.deletion_timestamp {
        Some(since) => {
            let message = format!("the live object is being deleted since {since}; it is applied when it is gone");
            Err(Stop::passing(409, "Terminating", &message))
        }
        None => Ok(live.metadata.noted_origin()),
    }
}

fn decide(exists: bool, noted: Option<Origin>) -> Origin {
    match (exists, noted) {
        (false, _) => Origin::Created,
        (true, Some(noted)) => noted,
        (true, None) => Origin::Adopted,
    }
}

/// What the server's code proves about an object that we believed (not) to exist.
fn proven(code: StatusCode, existed: bool, sent: Origin) -> Origin {
    match (code == StatusCode::CREATED, existed, sent) {
        (true, _, _) => Origin::Created,
        (false, false, Origin::Created) => Origin::Adopted,
        (false, _, sent) => sent,
    }
}

fn result(applied: Partial, origin: Origin) -> Applied {
    let meta = applied.metadata;
    Applied { uid: meta.uid, resource_version: meta.resource_version, generation: meta.generation, origin }
}

/// The object's path; scope and namespace must agree, else the path would name something else.
pub(super) fn object_path(resource: &Resource, id: &ObjectId) -> Result<String, Stop> {
    let wrong = match (resource.namespaced, id.namespace.is_empty(), id.name.is_empty()) {
        (_, _, true) => "has no name",
        (true, true, _) => "is namespaced and names no namespace",
        (false, false, _) => "is cluster-scoped and names a namespace",
        _ => return Ok(resource.object(&id.namespace, &id.name)),
    };
    Err(Stop::permanent("BadRequest", &format!("{id} {wrong}; correct the template's metadata")))
}

type Raw<'a> = BTreeMap<String, &'a RawValue>;

/// The stored bytes with our label and origin annotation inserted.
fn marked(stored: &[u8], origin: Origin) -> Result<Vec<u8>, Stop> {
    mark(stored, origin).map_err(|error| Stop::permanent("BadRequest", &format!("stored object can't be read: {error}")))
}

fn mark(stored: &[u8], origin: Origin) -> Result<Vec<u8>, serde_json::Error> {
    let mut object: Raw = serde_json::from_slice(stored)?;
    let mut metadata: Raw = map(&object, "metadata")?;
    let labels = with(map(&metadata, "labels")?, CREATED_BY, AGENT)?;
    let annotations = with(map(&metadata, "annotations")?, ORIGIN, origin.as_str())?;
    metadata.insert("labels".into(), &labels);
    metadata.insert("annotations".into(), &annotations);
    let metadata = serde_json::value::to_raw_value(&metadata)?;
    object.insert("metadata".into(), &metadata);
    let mut body = Vec::with_capacity(stored.len() + 128);
    serde_json::to_writer(&mut body, &object)?;
    Ok(body)
}

fn map<'a>(object: &Raw<'a>, key: &str) -> Result<Raw<'a>, serde_json::Error> {
    let inner = object.get(key).map(|raw| serde_json::from_str::<Option<Raw>>(raw.get())).transpose()?;
    Ok(inner.flatten().unwrap_or_default())
}

fn with(entries: Raw, key: &str, value: &str) -> Result<Box<RawValue>, serde_json::Error> {
    let value = serde_json::value::to_raw_value(value)?;
    let mut entries: Raw = entries;
    entries.insert(key.into(), &value);
    serde_json::value::to_raw_value(&entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_inserted_and_everything_else_keeps_its_bytes() {
        let stored = br#"{"data":{"n":"1.0e5","x":"\u00e9"},"kind":"ConfigMap","metadata":{"annotations":{"a":"b"},"name":"c"}}"#;
        let body = String::from_utf8(mark(stored, Origin::Adopted).expect("marked")).expect("text");
        assert!(body.contains(r#""data":{"n":"1.0e5","x":"\u00e9"}"#), "{body}");
        assert!(body.contains(r#""annotations":{"a":"b","clusternet.io/origin":"adopted"}"#), "{body}");
        assert!(body.contains(r#""labels":{"clusternet.io/created-by":"clusternet-agent"}"#), "{body}");
    }

    #[test]
    fn an_object_without_metadata_maps_gets_them_and_nulls_count_as_absent() {
        for stored in [r#"{"metadata":{"labels":null}}"#, "{}"] {
            let body = mark(stored.as_bytes(), Origin::Created).expect("marked");
            let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(value["metadata"]["annotations"][ORIGIN], "created");
        }
    }

    #[test]
    fn bytes_that_are_no_object_are_refused_for_good() {
        for stored in ["", "[]", "{", r#"{"metadata":3}"#, r#"{"metadata":{"labels":[]}}"#] {
            let Err(Stop::Refused(refusal)) = marked(stored.as_bytes(), Origin::Created) else {
                panic!("{stored} was accepted");
            };
            assert!(refusal.permanent);
        }
    }

    #[test]
    fn an_origin_once_noted_is_kept() {
        assert_eq!(decide(true, Some(Origin::Created)), Origin::Created);
        assert_eq!(decide(true, None), Origin::Adopted);
        assert_eq!(decide(false, None), Origin::Created);
    }

    #[test]
    fn the_servers_code_corrects_an_origin_decided_on_old_news() {
        assert_eq!(proven(StatusCode::OK, false, Origin::Created), Origin::Adopted);
        assert_eq!(proven(StatusCode::CREATED, true, Origin::Adopted), Origin::Created);
        assert_eq!(proven(StatusCode::OK, true, Origin::Created), Origin::Created);
    }
}
