//! The API under test: a store in a temporary folder, small schemas, and raw requests.
#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use hub::api::{ApiState, Authenticator, DEFAULT_MEMBER_LIMIT, Identity};
use hub::store::{Store, StoreOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

pub const ADMIN: &str = "admin-token";
pub const SUBSCRIPTIONS: &str = "/apis/apps.clusternet.io/v1alpha1/namespaces/default/subscriptions";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
pub const CONFIGMAPS: &str = "/api/v1/namespaces/shop/configmaps";

pub struct Hub {
    pub state: ApiState,
    pub router: Router,
    pub folder: TempDir,
}

pub struct Answer {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

pub fn hub() -> Hub {
    hub_with(StoreOptions::default())
}

/// With the schemas that the hub runs with.
pub fn real_hub() -> Hub {
    with_schemas(StoreOptions::default(), hub::kinds::schemas())
}

pub fn hub_with(options: StoreOptions) -> Hub {
    with_schemas(options, schemas())
}

fn with_schemas(options: StoreOptions, schemas: impl IntoIterator<Item = (&'static str, Value)>) -> Hub {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_with(folder.path(), options).expect("store");
    let state = ApiState::new(store, schemas, Authenticator::new(ADMIN), DEFAULT_MEMBER_LIMIT);
    Hub { router: hub::api::router(state.clone()), state, folder }
}

/// The least that the tests need of the own kinds; the real schemas are tested where they are made.
fn schemas() -> Vec<(&'static str, Value)> {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let subscription = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["feeds"], "properties": {
            "schedulingStrategy": {"type": "string", "enum": ["Replication", "Dividing"], "default": "Replication"},
            "subscribers": {"type": "array", "items": any.clone()},
            "feeds": {"type": "array", "items": {"type": "object", "required": ["kind", "name"], "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "namespace": {"type": "string"}, "name": {"type": "string"}}}}}},
        "status": any.clone()}});
    let loose = json!({"type": "object", "properties": {"spec": any.clone(), "status": any.clone()}});
    let manifest = json!({"type": "object", "properties": {"template": any.clone(), "status": any}});
    vec![("Subscription", subscription), ("ManagedCluster", loose.clone()), ("ClusterRegistrationRequest", loose), ("Manifest", manifest)]
}

pub fn subscription(name: &str) -> Value {
    json!({
        "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Subscription", "metadata": {"name": name},
        "spec": {"feeds": [{"apiVersion": "v1", "kind": "Namespace", "name": "shop"}]},
    })
}

pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}},
    })
}

impl Hub {
    pub fn client(&self) -> kube::Client {
        hub::api::client(&self.state, Identity::admin("test"))
    }

    pub async fn raw(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("the router never fails")
    }

    pub async fn send(&self, method: &str, path: &str, content_type: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {ADMIN}"))
            .header("content-type", content_type)
            .body(body.into())
            .expect("request");
        answer(self.raw(request).await).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", Body::empty()).await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let builder = Request::builder().uri(path).header("authorization", format!("Bearer {ADMIN}")).header("accept", accept);
        answer(self.raw(builder.body(Body::empty()).expect("request")).await).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", body.to_string()).await
    }

    pub async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, "application/merge-patch+json", body.to_string()).await
    }

    pub async fn delete(&self, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send("DELETE", path, "application/json", body).await
    }

    pub async fn watch(&self, path: &str) -> Watch {
        let request = Request::builder().uri(path).header("authorization", format!("Bearer {ADMIN}")).body(Body::empty());
        let response = self.raw(request.expect("request")).await;
        assert_eq!(response.status(), 200, "watch of {path}");
        Watch { stream: response.into_body().into_data_stream(), rest: Vec::new(), patience: Duration::from_secs(10) }
    }
}

async fn answer(response: Response<Body>) -> Answer {
    let code = response.status().as_u16();
    let warnings = response.headers().get_all("warning").iter().map(|value| value.to_str().expect("text").to_owned()).collect();
    let bytes = response.into_body().collect().await.expect("body").to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answer { code, body, warnings }
}

impl Answer {
    pub fn version(&self) -> String {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_else(|| panic!("no resourceVersion in {}", self.body)).to_owned()
    }

    #[track_caller]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.body);
        self
    }

    #[track_caller]
    pub fn refuses(self, code: u16, reason: &str, message: &str) -> Self {
        assert_eq!((self.code, self.body["reason"].as_str()), (code, Some(reason)), "{}", self.body);
        assert_eq!(self.body["kind"], "Status");
        let text = self.body["message"].as_str().unwrap_or_default();
        assert!(text.contains(message), "{text:?} does not say {message:?}");
        self
    }

    pub fn names(&self) -> Vec<&str> {
        self.body["items"].as_array().expect("items").iter().map(|item| item["metadata"]["name"].as_str().expect("name")).collect()
    }
}

pub struct Watch {
    stream: BodyDataStream,
    rest: Vec<u8>,
    pub patience: Duration,
}

impl Watch {
    /// The next event; `None` when the stream ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a JSON line"));
            }
            let chunk = tokio::time::timeout(self.patience, self.stream.next()).await.expect("an event in time")?;
            self.rest.extend_from_slice(&chunk.expect("chunk"));
        }
    }

    /// Type and name of the next event.
    pub async fn told(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}
