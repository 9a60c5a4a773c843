//! What happens between two of our requests: somebody else acts, or one kind of the server fails.
//!
//! The real API server answers everything; a hook runs before each request and may act, or answer in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use edge_agent::apiserver::Access;
use edge_agent::cluster::api::Api;
use edge_agent::cluster::delete::{Deleted, Why};
use edge_agent::cluster::discovery::Discovery;
use edge_agent::cluster::object::{ObjectId, Origin};
use serde_json::json;
use tokio::net::TcpListener;

use super::{World, config_map, support};

/// Acts before the n-th request (from 1) of a method on a path; an answer replaces the server's.
type Hook = fn(&Method, &str, usize) -> Option<(StatusCode, &'static str)>;

impl World {
    /// The same world, seen through a hook.
    async fn hooked(self, hook: Hook) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(&support::member().kubeconfig).expect("kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("config");
        let real = kube::Client::try_from(config).expect("client");
        let seen = Arc::new(AtomicUsize::new(0));
        let router = Router::new().fallback(move |request: Request<Body>| forward(real.clone(), request, hook, seen));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let access = Access::to(&format!("http://{address}")).expect("a URL");
        let api = Api::new(access).expect("no network is needed");
        Self { discovery: Discovery::new(api.clone()), api, inventory: self.inventory }
    }
}

async fn forward(real: kube::Client, request: Request<Body>, hook: Hook, seen: Arc<AtomicUsize>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let count = match parts.method {
        Method::GET => 0,
        _ => seen.fetch_add(1, Ordering::Relaxed) + 1,
    };
    if let Some((code, text)) = hook(&parts.method, parts.uri.path(), count) {
        return Response::builder().status(code).body(Body::from(text)).expect("a response");
    }
    let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
    let request = Request::from_parts(parts, kube::client::Body::from(body));
    real.send(request).await.expect("the member answers").map(Body::new)
}

#[tokio::test]
async fn an_object_made_by_others_just_before_our_first_apply_is_adopted() {
    let (world, _) = World::in_namespace("r-create").await;
    let world = world.hooked(|method, _, count| {
        if method == Method::PATCH && count == 1 {
            support::kubectl(&["-n", "r-create", "create", "configmap", "c", "--from-literal=their=s"], "");
        }
        None
    });
    let mut world = world.await;
    let object = config_map("r-create", "c", json!({"our": "s"}));
    assert_eq!(world.put(&object).await.origin, Origin::Adopted);
    let live = super::live("r-create", "configmap/c");
    assert_eq!(live["metadata"]["annotations"]["clusternet.io/origin"], "adopted");
    assert_eq!(live["data"], json!({"our": "s", "their": "s"}));
}

#[tokio::test]
async fn an_object_made_again_just_before_our_delete_is_not_deleted() {
    let (mut world, _) = World::in_namespace("r-delete").await;
    let object = config_map("r-delete", "c", json!({}));
    let applied = world.put(&object).await;
    let world = world.hooked(|method, _, _| {
        if method == Method::DELETE {
            support::kubectl(&["-n", "r-delete", "delete", "configmap", "c"], "");
            support::kubectl(&["-n", "r-delete", "create", "configmap", "c"], "");
        }
        None
    });
    let expected = Deleted::Kept { why: Why::MadeAgain, first: vec![] };
    assert_eq!(world.await.delete(&object, &applied.uid).await, expected);
    support::kubectl(&["-n", "r-delete", "get", "configmap", "c"], "");
}

#[tokio::test]
async fn a_kind_that_cannot_be_listed_keeps_the_namespace() {
    let (world, applied) = World::in_namespace("r-list").await;
    let world = world.hooked(|_, path, _| path.ends_with("/cronjobs").then_some((StatusCode::SERVICE_UNAVAILABLE, "no backend")));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "r-list"}});
    let Deleted::Kept { why: Why::Unlistable(why), .. } = world.await.delete(&namespace, &applied.uid).await else {
        panic!("the namespace was not kept");
    };
    assert!(why.contains("cronjobs") && why.contains("no backend"), "{why}");
}

#[tokio::test]
async fn a_version_that_is_no_longer_served_does_not_make_an_object_look_gone() {
    let (mut world, _) = World::in_namespace("r-version").await;
    let object = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "r-version", "name": "h"},
        "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}
    });
    let applied = world.put(&object).await;
    // The version is served when discovery asks first, and never again.
    let world = world.hooked(|_, path, _| {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let first = path == "/apis/autoscaling/v1" && ASKED.fetch_add(1, Ordering::Relaxed) == 0;
        let refused = path.starts_with("/apis/autoscaling/v1") && !first;
        refused.then_some((StatusCode::NOT_FOUND, "404 page not found"))
    });
    assert_eq!(world.await.delete(&object, &applied.uid).await, Deleted::Gone);
    assert_eq!(support::kubectl(&["-n", "r-version", "get", "hpa", "-o", "name"], ""), "");
}

#[tokio::test]
async fn a_conflict_while_releasing_is_tried_again() {
    let (mut world, _) = World::in_namespace("r-release").await;
    let object = config_map("r-release", "c", json!({"k": "v"}));
    support::kubectl(&["create", "-f", "-"], &object.to_string());
    let applied = world.put(&object).await;
    let world = world.hooked(|method, _, count| {
        if method == Method::PATCH && count == 1 {
            support::kubectl(&["-n", "r-release", "label", "configmap", "c", "by=them"], "");
        }
        None
    });
    assert_eq!(world.await.delete(&object, &applied.uid).await, Deleted::Released);
    let live = super::live("r-release", "configmap/c");
    assert_eq!(live["metadata"]["labels"], json!({"by": "them"}));
}

#[tokio::test]
async fn an_unknown_namespace_object_is_never_mistaken_for_ours() {
    let (mut world, applied) = World::in_namespace("r-unknown").await;
    let object = config_map("r-unknown", "c", json!({}));
    world.put(&object).await;
    world.inventory.clear();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "r-unknown"}});
    let first = vec![ObjectId::new("", "ConfigMap", "r-unknown", "c")];
    let expected = Deleted::Kept { why: Why::NotEmpty, first };
    assert_eq!(world.delete(&namespace, &applied.uid).await, expected);
}
