//! What every request needs: the store, the schemas of the hub's own kinds, the tokens, the limits.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::catalogue::{Resource, Role};
use super::failure::Failure;
use super::identity::Authenticator;
use super::live::Live;
use super::meta::Stamp;
use super::request::Validation;
use super::{advice, rfc3339, schema};
use crate::store::Store;

/// Bytes of JSON that an API server with default settings takes in one object: etcd's request limit.
pub const DEFAULT_MEMBER_LIMIT: usize = 3 << 19;

/// Shared by all requests; clones are cheap.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    store: Store,
    schemas: BTreeMap<String, Value>,
    authenticator: Authenticator,
    member_limit: usize,
    live: OnceLock<Arc<dyn Live>>,
}

impl ApiState {
    /// `schemas` maps an own kind to its `openAPIV3Schema`; templates above `member_limit` bytes of JSON are refused.
    pub fn new<K: Into<String>>(
        store: Store,
        schemas: impl IntoIterator<Item = (K, Value)>,
        authenticator: Authenticator,
        member_limit: usize,
    ) -> Self {
        let schemas = schemas.into_iter().map(|(kind, schema)| (kind.into(), schema)).collect();
        Self(Arc::new(Inner { store, schemas, authenticator, member_limit, live: OnceLock::new() }))
    }

    /// Shows also what this knows; the first one given stays.
    pub fn show(&self, live: Arc<dyn Live>) {
        let _ = self.0.live.set(live);
    }

    pub(super) fn live(&self) -> Option<&Arc<dyn Live>> {
        self.0.live.get()
    }

    /// The store under the API.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Who may ask what.
    pub fn authenticator(&self) -> &Authenticator {
        &self.0.authenticator
    }

    /// The schema of an own kind.
    pub(super) fn schema(&self, kind: &str) -> Option<&Value> {
        self.0.schemas.get(kind)
    }

    /// Removes what the schema does not know from a client's object; returns sentences for `Warning:` headers.
    pub(super) fn weed(&self, resource: &Resource, object: &mut Value, how: Validation) -> Result<Vec<String>, Failure> {
        let Some(schema) = self.own_schema(resource) else { return Ok(Vec::new()) };
        let mut unknown = schema::prune(schema, object);
        unknown.sort();
        let sentences: Vec<String> = unknown.iter().map(|field| sentence(resource, field)).collect();
        match how {
            Validation::Strict if !sentences.is_empty() => {
                let (kind, version) = (resource.kind, resource.version);
                let what = sentences.join(", ");
                let message = format!("{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {what}");
                Err(Failure::bad_request(message))
            }
            Validation::Ignore => Ok(Vec::new()),
            Validation::Strict | Validation::Warn => Ok(sentences),
        }
    }

    /// Brings an object to what may be stored: defaults and validation of own kinds.
    pub(super) fn conform(&self, resource: &Resource, object: &mut Value) -> Result<(), Failure> {
        let Some(schema) = self.own_schema(resource) else { return Ok(()) };
        schema::fill_defaults(schema, object);
        let causes = schema::validate(schema, object);
        if causes.is_empty() {
            return Ok(());
        }
        Err(Failure::invalid(resource, object["metadata"]["name"].as_str().unwrap_or_default(), causes))
    }

    fn own_schema(&self, resource: &Resource) -> Option<&Value> {
        (resource.role == Role::Own).then(|| self.schema(resource.kind)).flatten()
    }

    /// Refuses a template that no member would take. Comes before all other checks: what is too large fails those with less to say.
    pub(super) fn check_size(&self, resource: &Resource, object: &Value) -> Result<(), Failure> {
        let (size, limit) = (object.to_string().len(), self.0.member_limit);
        if resource.role != Role::Template || size <= limit {
            return Ok(());
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        Err(Failure::too_large(format!(
            "{} {name:?} is {size} bytes of JSON, and the API servers of member clusters take {limit} bytes at most: make it smaller or split it",
            resource.kind
        )))
    }
}

/// What is said of a field that the schema does not know.
fn sentence(resource: &Resource, field: &str) -> String {
    let remedy = advice::remedy(resource, field).map(|remedy| format!(" ({remedy})")).unwrap_or_default();
    format!("unknown field {field:?}{remedy}")
}

/// Time and chance for one write.
pub(super) fn stamp() -> Stamp {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let uid = uuid::Uuid::new_v4();
    // Kubernetes' alphabet for generated names: no vowels, so no words.
    let alphabet = b"bcdfghjklmnpqrstvwxz2456789";
    let suffix =
        uuid::Uuid::new_v4().as_bytes()[..5].iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])).collect();
    let time = rfc3339::format(i64::try_from(seconds).unwrap_or(i64::MAX), 0, 0);
    Stamp { time, uid: uid.to_string(), suffix }
}
