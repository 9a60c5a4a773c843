use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::core::build::{cluster, manifest, subscription};
use crate::core::plan::Content;

/// Gives one object of each kind at its own resourceVersion; the list of `held` waits until it is let go. Watches stay silent.
#[derive(Clone)]
struct Server {
    held: &'static str,
    gate: Arc<Semaphore>,
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
        return std::future::pending().await;
    }
    if path.ends_with(server.held) {
        let _open = server.gate.acquire().await;
    }
    let (rv, item) = match path.rsplit('/').next() {
        Some("subscriptions") => (30, json!(subscription("s", "edge", &["one"]))),
        Some("manifests") => (20, json!(manifest("one", "1"))),
        Some("localizations") => (5, over("Localization", "l")),
        Some("globalizations") => (6, over("Globalization", "g")),
        _ => (10, json!(cluster("a", "edge"))),
    };
    let list: Value = json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": rv.to_string() }, "items": [item] });
    let body = Response::builder().header("content-type", "application/json");
    body.body(Body::from(list.to_string())).expect("a valid response")
}

fn over(kind: &str, name: &str) -> Value {
    json!({ "apiVersion": "apps.clusternet.io/v1alpha1", "kind": kind, "metadata": { "name": name, "namespace": "clusternet-a" },
        "spec": { "feed": { "kind": "ConfigMap", "apiVersion": "v1", "namespace": "default", "name": "one" }, "overrides": [] } })
}

#[tokio::test(start_paused = true)]
async fn no_list_is_emitted_before_every_kind_was_listed_and_the_stamp_is_the_highest_version() {
    for held in ["subscriptions", "manifests", "managedclusters", "localizations", "globalizations"] {
        let gate = Arc::new(Semaphore::new(0));
        let server = Server { held, gate: gate.clone() };
        let client = Client::new(Router::new().fallback(answer).with_state(server), "default");
        let (plans, mut emitted) = latest::channel();
        let (statuses, _inputs) = latest::channel();
        let (position, mut reached) = position::channel(Position::default());
        let words = position::channel(Arc::default()).0;
        let outputs = Outputs { plans, statuses, position, words };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(client, outputs, stop.clone()));

        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(emitted.try_recv().is_none(), "emitted without {held}");
        assert!(!reached.borrow_and_update().synced);

        gate.add_permits(1);
        let Some((_, PlanEvent::Update(update))) = emitted.recv().await else { panic!("planned") };
        assert_eq!(update.rv, 30, "{held}");
        assert!(matches!(update.entries[0].content, Content::Bytes(_)));
        reached.wait_for(|position| position.synced).await.expect("it runs");
        stop.cancel();
        running.await.expect("it ends when it is told to");
    }
}
