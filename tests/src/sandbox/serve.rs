//! Requests in, answers out. Every decision about content is in `object`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use hub::api::failure::Failure;
use hub::api::table::{IncludeObject, table};
use hub::api::{rfc3339, strategic};
use serde_json::{Value, json};

use super::NOTICE;
use super::object::{self, Stamp};
use super::path::{Target, discovery};
use super::selector::{Wanted, selector};
use super::store::{Change, Key, Store};

/// Bytes of a request body, as a real API server's.
const BODY_LIMIT: usize = 3 << 20;

/// How long a watch lasts whose client names no time.
const WATCH: u64 = 1_800;

/// The sandbox's API.
pub fn router(store: Arc<Store>) -> Router {
    Router::new().fallback(answer).with_state(store)
}

/// Now, as metadata spells times.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    rfc3339::format(i64::try_from(since).unwrap_or(i64::MAX), 0, 0)
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/healthz" | "/livez" | "/readyz" => return "ok".into_response(),
        "/version" => {
            let platform = format!("linux/{}", std::env::consts::ARCH);
            return json_answer(
                StatusCode::OK,
                &json!({"gitVersion": "v1.37.2-sandbox", "platform": platform, "major": "1", "minor": "37", "notice": NOTICE}),
            );
        }
        _ => {}
    }
    if let Some(document) = discovery(&path) {
        return json_answer(StatusCode::OK, &document);
    }
    let Some(target) = Target::parse(&path) else { return Failure::no_such_path().into_response() };
    let asked = Asked::read(&request, target);
    let body = match axum::body::to_bytes(request.into_body(), BODY_LIMIT).await {
        Ok(body) => body,
        Err(_) => return Failure::too_large(format!("a request may have {BODY_LIMIT} bytes")).into_response(),
    };
    asked.perform(&store, &body).unwrap_or_else(IntoResponse::into_response)
}

fn json_answer(code: StatusCode, value: &Value) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// What form the client wants.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Whole,
    Metadata,
    Table(IncludeObject),
}

/// A request without its body.
struct Asked {
    method: Method,
    target: Target,
    query: Vec<(String, String)>,
    content_type: String,
    form: Form,
}

impl Asked {
    fn read(request: &Request, target: Target) -> Self {
        let query: Vec<_> = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
        let include = query.iter().find(|(name, _)| name == "includeObject").map_or("", |(_, value)| value);
        let include = IncludeObject::parse(include).unwrap_or_default();
        let header = |name| text(request.headers(), name);
        let form = match header(header::ACCEPT).split(',').next().unwrap_or_default() {
            accept if accept.contains("as=PartialObjectMetadata") => Form::Metadata,
            accept if accept.contains("as=Table") => Form::Table(include),
            _ => Form::Whole,
        };
        let content_type = header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().to_owned();
        Self { method: request.method().clone(), target, query, content_type, form }
    }

    fn option(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn key(&self, name: &str) -> Key {
        (hub::api::failure::qualified(self.target.resource), self.target.namespace.clone(), name.to_owned())
    }

    fn perform(self, store: &Arc<Store>, body: &Bytes) -> Result<Response, Failure> {
        let named = !self.target.name.is_empty();
        match (self.method.as_str(), named) {
            ("GET", true) => Ok(self.one(StatusCode::OK, self.live(store)?.1)),
            ("GET", false) if matches!(self.option("watch"), "true" | "1") => self.watch(store),
            ("GET", false) => self.list(store),
            ("POST", false) => self.create(store, parsed(body)?),
            ("PUT", true) => self.replace(store, parsed(body)?),
            ("PATCH", true) => self.patch(store, body),
            ("DELETE", true) => self.delete(store, body),
            (method, _) => Err(Failure::not_allowed(format!("{method} is not served here by a sandbox"))),
        }
    }

    fn live(&self, store: &Store) -> Result<(Key, Value), Failure> {
        let key = self.key(&self.target.name);
        let found = store.get(&key, "").ok_or_else(|| Failure::not_found(self.target.resource, &self.target.name))?;
        Ok((key, found.0))
    }

    fn one(&self, code: StatusCode, object: Value) -> Response {
        let version = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
        json_answer(code, &self.shaped(object, version))
    }

    fn shaped(&self, object: Value, list: Value) -> Value {
        match self.form {
            Form::Whole => object,
            Form::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
            Form::Table(include) => table(self.target.resource, &[object], include, list, SystemTime::now()),
        }
    }

    fn list(&self, store: &Store) -> Result<Response, Failure> {
        let wanted = selector(self.option("labelSelector"), self.option("fieldSelector"))?;
        let (all, version) = store.list(&self.key("").0, &self.target.namespace);
        let after = self.option("continue");
        let place = |key: &Key| format!("{}/{}", key.1, key.2);
        let mut found: Vec<_> = all.into_iter().filter(|(_, object)| wanted(object)).collect();
        found.retain(|(key, _)| after.is_empty() || (key.1.as_str(), key.2.as_str()) > after.split_once('/').unwrap_or_default());
        let limit = self.option("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map_or_else(String::new, |(key, _)| place(key));
        let meta = json!({"resourceVersion": version.to_string(), "continue": next});
        Ok(json_answer(StatusCode::OK, &self.listed(found.into_iter().map(|(_, object)| object).collect(), meta)))
    }

    fn listed(&self, objects: Vec<Value>, meta: Value) -> Value {
        let resource = self.target.resource;
        let (kind, version) = match self.form {
            Form::Table(include) => return table(resource, &objects, include, meta, SystemTime::now()),
            Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Whole => (format!("{}List", resource.kind), resource.api_version()),
        };
        let items: Vec<Value> = objects.into_iter().map(|object| self.shaped(object, Value::Null)).collect();
        json!({"kind": kind, "apiVersion": version, "metadata": meta, "items": items})
    }

    fn create(&self, store: &Store, body: Value) -> Result<Response, Failure> {
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(Failure::bad_request("metadata.name is missing; a sandbox does not generate names"));
        }
        let key = self.key(&name);
        if store.has(&key) {
            return Err(Failure::already_exists(self.target.resource, &name));
        }
        let object = object::created(self.placed(store, body, &name)?, &stamp());
        Ok(self.one(StatusCode::CREATED, store.put(&key, object, None)))
    }

    fn replace(&self, store: &Store, body: Value) -> Result<Response, Failure> {
        let (key, live) = self.live(store)?;
        self.keep(store, &key, &live, body)
    }

    /// Stores an update unless it lost a race or changes nothing.
    fn keep(&self, store: &Store, key: &Key, live: &Value, new: Value) -> Result<Response, Failure> {
        let claimed = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !claimed.is_empty() && live["metadata"]["resourceVersion"] != claimed {
            return Err(Failure::conflict(self.target.resource, &self.target.name, "the object has been modified; read it again"));
        }
        let updated = object::updated(live, new);
        Ok(self.one(StatusCode::OK, updated.map_or_else(|| live.clone(), |new| store.put(key, new, None))))
    }

    fn patch(&self, store: &Store, body: &Bytes) -> Result<Response, Failure> {
        if self.content_type == "application/apply-patch+yaml" {
            return self.apply(store, parsed(body)?);
        }
        let (key, live) = self.live(store)?;
        let mut new = live.clone();
        let unfit = |error: String| Failure::new(422, "Invalid", format!("the patch does not fit: {error}"));
        match self.content_type.as_str() {
            "application/merge-patch+json" => json_patch::merge(&mut new, &parsed(body)?),
            "application/strategic-merge-patch+json" => {
                new = strategic::merge(self.target.resource, &live, &parsed(body)?).map_err(unfit)?
            }
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))?;
                json_patch::patch(&mut new, &patch).map_err(|error| unfit(error.to_string()))?;
            }
            other => return Err(Failure::unsupported(format!("a sandbox does not take patches of type {other:?}"))),
        }
        self.keep(store, &key, &live, new)
    }

    fn apply(&self, store: &Store, config: Value) -> Result<Response, Failure> {
        let (name, manager) = (self.target.name.clone(), self.option("fieldManager").to_owned());
        let key = self.key(&name);
        let config = self.placed(store, config, &name)?;
        let stamp = stamp();
        let (code, live, last) = match store.get(&key, &manager) {
            Some((live, last)) => (StatusCode::OK, live, last),
            None => (StatusCode::CREATED, Value::Null, None),
        };
        let mut new = match code {
            StatusCode::CREATED => object::created(config.clone(), &stamp),
            _ => object::applied(&live, last.as_ref(), &config),
        };
        object::note_manager(&mut new, &manager, "Apply", &config, &stamp.time);
        let new = if code == StatusCode::CREATED { Some(new) } else { object::updated(&live, new) };
        Ok(self.one(code, new.map_or(live, |new| store.put(&key, new, Some((&manager, config))))))
    }

    /// The body under the path's name and namespace, if that exists.
    fn placed(&self, store: &Store, mut body: Value, name: &str) -> Result<Value, Failure> {
        let resource = self.target.resource;
        if body["kind"].as_str().is_some_and(|kind| kind != resource.kind) {
            return Err(Failure::bad_request(format!("the body is a {}, the path names a {}", body["kind"], resource.kind)));
        }
        (body["apiVersion"], body["kind"]) = (json!(resource.api_version()), json!(resource.kind));
        if !body["metadata"].is_object() {
            body["metadata"] = json!({});
        }
        body["metadata"]["name"] = json!(name);
        if resource.namespaced {
            let namespace = &self.target.namespace;
            if !store.has(&("namespaces".into(), String::new(), namespace.clone())) {
                return Err(Failure::new(404, "NotFound", format!("namespaces {namespace:?} not found"))
                    .with("name", namespace.as_str())
                    .with("kind", "namespaces"));
            }
            body["metadata"]["namespace"] = json!(namespace);
        }
        Ok(body)
    }

    fn delete(&self, store: &Store, body: &Bytes) -> Result<Response, Failure> {
        let (key, live) = self.live(store)?;
        let options: Value = serde_json::from_slice(body).unwrap_or_default();
        let wanted = &options["preconditions"]["uid"];
        if wanted.is_string() && *wanted != live["metadata"]["uid"] {
            return Err(Failure::conflict(self.target.resource, &self.target.name, "the UID in the precondition is another object's"));
        }
        store.remove(&key);
        let details = json!({"name": self.target.name, "kind": self.target.resource.plural, "uid": live["metadata"]["uid"]});
        Ok(json_answer(
            StatusCode::OK,
            &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
        ))
    }

    fn watch(self, store: &Arc<Store>) -> Result<Response, Failure> {
        let wanted = selector(self.option("labelSelector"), self.option("fieldSelector"))?;
        let version: u64 = self.option("resourceVersion").parse().unwrap_or(0);
        let mut first = Vec::new();
        let from = if version == 0 {
            let (all, version) = store.list(&self.key("").0, &self.target.namespace);
            first = all.into_iter().map(|(key, object)| Change { version, kind: "ADDED", key, object }).collect();
            version
        } else {
            version
        };
        let feed = store.watch(from).ok_or_else(|| Failure::expired("too old resource version: list again"))?;
        let seconds = self.option("timeoutSeconds").parse().unwrap_or(WATCH);
        let end = tokio::time::sleep(Duration::from_secs(seconds));
        // A reader that falls behind loses its watch and lists again.
        let later = futures::stream::unfold(feed.later, |mut later| async { later.recv().await.ok().map(|change| (change, later)) });
        let changes = futures::stream::iter(first.into_iter().chain(feed.past)).chain(later).take_until(end);
        let lines = changes.filter_map(move |change| std::future::ready(self.line(change, &wanted).map(Ok::<_, std::convert::Infallible>)));
        Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
    }

    fn line(&self, change: Change, wanted: &Wanted) -> Option<String> {
        let of_kind = change.key.0 == self.key("").0 && (self.target.namespace.is_empty() || change.key.1 == self.target.namespace);
        let shown = of_kind && wanted(&change.object);
        shown.then(|| format!("{}\n", json!({"type": change.kind, "object": self.shaped(change.object, json!({}))})))
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn stamp() -> Stamp {
    Stamp { uid: uuid::Uuid::new_v4().to_string(), time: now() }
}

fn parsed(body: &Bytes) -> Result<Value, Failure> {
    let object: Value =
        serde_json::from_slice(body).map_err(|error| Failure::bad_request(format!("a sandbox takes JSON bodies only: {error}")))?;
    if object.is_object() { Ok(object) } else { Err(Failure::bad_request("the body is no object")) }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
