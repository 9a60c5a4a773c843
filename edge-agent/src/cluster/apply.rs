//! One object onto the member, by server-side apply.
//!
//! The stored bytes are the body; only the mark is inserted, over raw slices, so the object is never parsed whole. The
//! server's code (201 made, 200 was there) settles the origin if somebody else made or deleted the object meanwhile.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::value::RawValue;

use super::api::{Accept, Api};
use super::discovery::{Discovery, Resource};
use super::health::{self, Verdict};
use super::object::{AGENT, CREATED_BY, Meta, ORIGIN, ObjectId, Origin, Partial};
use super::outcome::{Refusal, Stop};
use super::projection::{Projection, culprit, project, rewritten};
use super::{autoscaler, owner, secret};

/// Rounds against somebody who makes and deletes the same object.
const ROUNDS: usize = 4;

/// How an apply ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The live object is as desired.
    Applied(Box<Applied>),
    /// The server refused this object; others are not affected.
    Refused(Refusal),
    /// The server can't be asked now; it says nothing about the object.
    Unavailable(String),
}

/// How an object is to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct How {
    /// This content was applied before: whatever differs is drift.
    pub again: bool,
    /// Leave alone, and report, what exists and is not ours.
    pub only_report: bool,
}

/// The live object after an apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// UID, the precondition of a later delete.
    pub uid: String,
    /// Version of the stored object.
    pub resource_version: String,
    /// Generation of the spec, 0 for kinds without one.
    pub generation: i64,
    /// Whether we made it or found it.
    pub origin: Origin,
    /// What drift is judged by from now on; `None` when nothing was sent, because correction is paused.
    pub projection: Option<Projection>,
    /// How it does, as far as the server's answer tells.
    pub verdict: Verdict,
    /// Of a repeated apply: what had to be corrected, for people.
    pub corrected: Option<String>,
}

/// Applies the stored bytes of one object.
pub async fn apply(api: &Api, discovery: &Discovery, id: &ObjectId, version: &str, stored: &[u8], how: How) -> Outcome {
    match attempt(api, discovery, id, version, stored, how).await {
        Ok(applied) => Outcome::Applied(Box::new(applied)),
        Err(Stop::Refused(refusal)) => {
            if refusal.code == 404 {
                discovery.forget(&id.group).await;
            }
            Outcome::Refused(refusal)
        }
        Err(Stop::Unavailable(why)) => Outcome::Unavailable(why),
    }
}

async fn attempt(api: &Api, discovery: &Discovery, id: &ObjectId, version: &str, stored: &[u8], how: How) -> Result<Applied, Stop> {
    let resource = discovery.resource(&id.group, version, &id.kind).await?;
    let path = object_path(&resource, id)?;
    let scales = autoscaler::scales(id, stored);
    let accept = if how.again || scales { Accept::Whole } else { Accept::Metadata };
    let mut settled = None;
    for _ in 0..ROUNDS {
        let live = Live::read(api, &path, accept).await?;
        let meta = live.as_ref().map(|live| &live.meta);
        if let Some(live) = live.as_ref().filter(|live| how.again && live.meta.is_paused() && live.meta.noted_origin().is_some()) {
            return Ok(live.untouched(id));
        }
        let noted = noted(meta)?;
        if how.only_report && live.is_some() && noted.is_none() {
            return Err(Stop::foreign(id));
        }
        let origin = settled.unwrap_or_else(|| decide(live.is_some(), noted));
        let replicas = match live.as_ref().filter(|_| scales) {
            Some(live) => autoscaler::kept_replicas(api, id, &live.bytes, stored).await?,
            None => None,
        };
        if origin == Origin::Adopted && noted != Some(Origin::Adopted) {
            owner::adopt(api, &path).await?;
        }
        let (code, answer) = patch(api, &path, marked(stored, origin, replicas)?).await?;
        let right = proven(code, live.is_some(), origin);
        if right == origin {
            let corrected = how.again.then(|| corrected(live.as_ref(), &answer, replicas.is_some())).flatten();
            let mut applied = Applied { corrected, ..result(id, &answer, origin)? };
            applied.verdict.health.contested = rewritten(stored, &answer).unwrap_or_default();
            return Ok(applied);
        }
        settled = Some(right);
    }
    Err(Stop::passing(409, "Contested", "somebody else makes and deletes this object at the same time"))
}

async fn patch(api: &Api, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), Stop> {
    let target = format!("{path}?fieldManager={AGENT}&force=true");
    Ok(api.write_whole(Method::PATCH, &target, ("application/apply-patch+yaml", body)).await?)
}

/// The live object before an apply.
struct Live {
    meta: Meta,
    bytes: Bytes,
}

impl Live {
    async fn read(api: &Api, path: &str, accept: Accept) -> Result<Option<Live>, Stop> {
        let Some(bytes) = api.find_bytes(path, accept).await? else { return Ok(None) };
        Ok(Some(Live { meta: read_meta(&bytes)?, bytes }))
    }

    /// Nothing is sent while correction is paused.
    fn untouched(&self, id: &ObjectId) -> Applied {
        Applied {
            uid: self.meta.uid.clone(),
            resource_version: self.meta.resource_version.clone(),
            generation: self.meta.generation,
            origin: self.meta.noted_origin().unwrap_or(Origin::Adopted),
            projection: None,
            verdict: paused(health::judge(&id.group, &id.kind, &self.bytes), &self.meta),
            corrected: None,
        }
    }
}

fn read_meta(object: &[u8]) -> Result<Meta, Stop> {
    let partial: Result<Partial, _> = serde_json::from_slice(object);
    partial.map(|partial| partial.metadata).map_err(|error| Stop::Unavailable(format!("the live object can't be read: {error}")))
}

fn paused(mut verdict: Verdict, meta: &Meta) -> Verdict {
    verdict.health.paused = meta.is_paused();
    verdict
}

fn corrected(live: Option<&Live>, answer: &[u8], autoscaled: bool) -> Option<String> {
    match live {
        Some(live) => culprit(&live.bytes, answer, autoscaled).map(|culprit| culprit.to_string()),
        None => Some("somebody deletes the object".into()),
    }
}

fn result(id: &ObjectId, answer: &[u8], origin: Origin) -> Result<Applied, Stop> {
    let meta = read_meta(answer)?;
    let verdict = paused(health::judge(&id.group, &id.kind, answer), &meta);
    let Meta { uid, resource_version, generation, .. } = meta;
    Ok(Applied { uid, resource_version, generation, origin, projection: project(answer), verdict, corrected: None })
}

fn noted(live: Option<&Meta>) -> Result<Option<Origin>, Stop> {
    let Some(live) = live else { return Ok(None) };
    match &live.deletion_timestamp {
        Some(since) => {
            let message = format!("the live object is being deleted since {since}; it is applied when it is gone");
            Err(Stop::passing(409, "Terminating", &message))
        }
        None => Ok(live.noted_origin()),
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

/// The stored bytes with our label and origin annotation inserted, the replica count that an autoscaler has set, and a Secret's
/// `stringData` as `data`.
fn marked(stored: &[u8], origin: Origin, replicas: Option<i64>) -> Result<Vec<u8>, Stop> {
    mark(stored, origin, replicas).map_err(|error| Stop::permanent("BadRequest", &format!("stored object can't be read: {error}")))
}

fn mark(stored: &[u8], origin: Origin, replicas: Option<i64>) -> Result<Vec<u8>, serde_json::Error> {
    let mut object: Raw = serde_json::from_slice(stored)?;
    let mut metadata: Raw = map(&object, "metadata")?;
    let labels = with(map(&metadata, "labels")?, CREATED_BY, AGENT)?;
    let annotations = with(map(&metadata, "annotations")?, ORIGIN, origin.as_str())?;
    metadata.insert("labels".into(), &labels);
    metadata.insert("annotations".into(), &annotations);
    let metadata = serde_json::value::to_raw_value(&metadata)?;
    object.insert("metadata".into(), &metadata);
    let spec = replicas.map(|replicas| with(map(&object, "spec")?, "replicas", replicas)).transpose()?;
    if let Some(spec) = &spec {
        object.insert("spec".into(), spec);
    }
    let data = if is_secret(&object) { secret::folded(object.get("data").copied(), object.get("stringData").copied())? } else { None };
    if let Some(data) = &data {
        object.remove("stringData");
        object.insert("data".into(), data);
    }
    let mut body = Vec::with_capacity(stored.len() + 128);
    serde_json::to_writer(&mut body, &object)?;
    Ok(body)
}

fn is_secret(object: &Raw) -> bool {
    let is = |key: &str, value: &str| object.get(key).is_some_and(|raw| raw.get() == value);
    is("kind", "\"Secret\"") && is("apiVersion", "\"v1\"")
}

fn map<'a>(object: &Raw<'a>, key: &str) -> Result<Raw<'a>, serde_json::Error> {
    let inner = object.get(key).map(|raw| serde_json::from_str::<Option<Raw>>(raw.get())).transpose()?;
    Ok(inner.flatten().unwrap_or_default())
}

fn with(entries: Raw, key: &str, value: impl serde::Serialize) -> Result<Box<RawValue>, serde_json::Error> {
    let value = serde_json::value::to_raw_value(&value)?;
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
        let body = String::from_utf8(mark(stored, Origin::Adopted, None).expect("marked")).expect("text");
        assert!(body.contains(r#""data":{"n":"1.0e5","x":"\u00e9"}"#), "{body}");
        assert!(body.contains(r#""annotations":{"a":"b","clusternet.io/origin":"adopted"}"#), "{body}");
        assert!(body.contains(r#""labels":{"clusternet.io/created-by":"clusternet-agent"}"#), "{body}");
    }

    #[test]
    fn an_object_without_metadata_maps_gets_them_and_nulls_count_as_absent() {
        for stored in [r#"{"metadata":{"labels":null}}"#, "{}"] {
            let body = mark(stored.as_bytes(), Origin::Created, None).expect("marked");
            let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(value["metadata"]["annotations"][ORIGIN], "created");
        }
    }

    #[test]
    fn a_replica_count_that_was_set_by_an_autoscaler_is_kept() {
        let body = mark(br#"{"spec":{"replicas":2,"x":1.0}}"#, Origin::Created, Some(7)).expect("marked");
        assert!(String::from_utf8(body).expect("text").contains(r#""spec":{"replicas":7,"x":1.0}"#));
    }

    #[test]
    fn bytes_that_are_no_object_are_refused_for_good() {
        for stored in ["", "[]", "{", r#"{"metadata":3}"#, r#"{"metadata":{"labels":[]}}"#] {
            let Err(Stop::Refused(refusal)) = marked(stored.as_bytes(), Origin::Created, None) else {
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
