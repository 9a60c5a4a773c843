//! Drift and health on a real API server, with the whole member at work and the test in the engine's place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus_schema::hash::Hash;
use bus_schema::message::{Health, Level};
use edge_agent::config::Adopt;
use edge_agent::engine::{Engine, Input, Task};
use edge_agent::member::Member;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;

/// What the engine would know of one object.
#[derive(Debug, Default, Clone)]
struct Known {
    body: Option<Value>,
    health: Option<Health>,
    ended: bool,
    applies: usize,
    drifts: usize,
    refused: Option<(u32, String)>,
}

type Inventory = Arc<Mutex<BTreeMap<ObjectId, Known>>>;

/// A member at work. Drift that is told is applied again, as the engine does.
struct Agent {
    tasks: mpsc::UnboundedSender<Task>,
    known: Inventory,
    stop: CancellationToken,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Agent {
    /// On a thread of its own: kubectl blocks the test's.
    async fn start(adopt: Adopt) -> Agent {
        support::member();
        let (tasks, todo) = mpsc::unbounded_channel();
        let (known, stop) = (Inventory::default(), CancellationToken::new());
        let agent = Agent { tasks: tasks.clone(), known: known.clone(), stop: stop.clone() };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(work(adopt, todo, known, tasks, stop));
        });
        agent
    }

    fn put(&self, object: &Value) {
        let (id, version) = identify(object);
        self.known.lock().unwrap().entry(id.clone()).or_default().body = Some(object.clone());
        self.tasks.send(task(id, version, object, false)).expect("the member works");
    }

    fn known(&self, object: &Value) -> Known {
        self.known.lock().unwrap().get(&identify(object).0).cloned().unwrap_or_default()
    }

    async fn until(&self, object: &Value, what: &str, holds: impl Fn(&Known) -> bool) -> Known {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let known = self.known(object);
            if holds(&known) {
                return known;
            }
            assert!(Instant::now() < end, "not in 30 s: {what}: {known:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn put_and_wait(&self, object: &Value) {
        let before = self.known(object).applies;
        self.put(object);
        self.until(object, "applied", |known| known.applies > before && known.health.is_some()).await;
    }
}

async fn work(
    adopt: Adopt,
    todo: mpsc::UnboundedReceiver<Task>,
    known: Inventory,
    tasks: mpsc::UnboundedSender<Task>,
    stop: CancellationToken,
) {
    let api = connect(&Source::Kubeconfig(support::member().kubeconfig.clone())).expect("kubeconfig is good");
    let (engine, inputs) = Engine::listened();
    tokio::spawn(play_engine(inputs, known, tasks));
    Member::new(api, adopt).run(engine, todo, stop).await;
}

fn task(object: ObjectId, version: String, body: &Value, again: bool) -> Task {
    Task::Apply { object, version, hash: Hash([1; 16]), bytes: body.to_string().into_bytes(), again }
}

async fn play_engine(inputs: flume::Receiver<Input>, known: Inventory, tasks: mpsc::UnboundedSender<Task>) {
    while let Ok(input) = inputs.recv_async().await {
        let mut known = known.lock().unwrap();
        match input {
            Input::Health(object, health, ended) => {
                let known = known.entry(object).or_default();
                (known.health, known.ended) = (Some(health), ended);
            }
            Input::Drifted(object) => {
                let known = known.entry(object.clone()).or_default();
                known.drifts += 1;
                if let Some(body) = &known.body {
                    let _ = tasks.send(task(object, identify(body).1, body, true));
                }
            }
            Input::Applied(object, _, outcome, health) => {
                let known = known.entry(object).or_default();
                if let Some((health, ended)) = health {
                    (known.health, known.ended) = (Some(health), ended);
                }
                match outcome {
                    bus_schema::link::agent::ApplyOutcome::Refused { code, message } => known.refused = Some((code, message)),
                    bus_schema::link::agent::ApplyOutcome::Applied(_) => known.applies += 1,
                    bus_schema::link::agent::ApplyOutcome::Unavailable { .. } => {}
                }
            }
            _ => {}
        }
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "not in 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn namespace(name: &str) {
    support::kubectl(&["create", "namespace", name], "");
}

fn patch(namespace: &str, what: &str, patch: Value) {
    support::kubectl(&["-n", namespace, "patch", what, "--type=merge", "-p", &patch.to_string()], "");
}

#[tokio::test]
async fn what_somebody_changes_takes_away_or_deletes_comes_back() {
    namespace("d-back");
    let agent = Agent::start(Adopt::Yes).await;
    let object = config_map("d-back", "c", json!({"a": "1", "b": "2"}));
    agent.put_and_wait(&object).await;
    let data = || live("d-back", "configmap/c")["data"].clone();
    patch("d-back", "configmap/c", json!({"data": {"a": "changed", "theirs": "x"}}));
    eventually("the value is back", || data() == json!({"a": "1", "b": "2", "theirs": "x"})).await;
    patch("d-back", "configmap/c", json!({"data": {"b": null}}));
    eventually("the field is back", || data()["b"] == "2").await;
    patch("d-back", "configmap/c", json!({"metadata": {"labels": {"clusternet.io/created-by": null}}}));
    eventually("the label is back", || {
        live("d-back", "configmap/c")["metadata"]["labels"]["clusternet.io/created-by"] == "clusternet-agent"
    })
    .await;
    let drifts = agent.known(&object).drifts;
    support::kubectl(&["-n", "d-back", "delete", "configmap", "c"], "");
    agent.until(&object, "the deletion is seen", |known| known.drifts > drifts).await;
    eventually("it is there again", || support::kubectl(&["-n", "d-back", "get", "configmap", "-o", "name"], "").contains("configmap/c"))
        .await;
}

/// Objects that the server stores otherwise than they were written.
fn rewritten(namespace: &str) -> Vec<Value> {
    let mut quantities = deployment(namespace, "quantities", "q");
    quantities["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "0.5", "memory": "1024Mi"}});
    let mut defaults = deployment(namespace, "defaults", "d");
    defaults["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    defaults["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": "s"}, "stringData": {"k": "v"}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "web"},
        "spec": {"selector": {"app": "q"}, "ports": [{"port": 80}]}});
    vec![quantities, defaults, secret, service]
}

#[tokio::test]
async fn what_the_server_writes_in_its_own_words_is_no_drift() {
    namespace("d-words");
    let agent = Agent::start(Adopt::Yes).await;
    let objects = rewritten("d-words");
    for object in &objects {
        agent.put_and_wait(object).await;
    }
    for _ in 0..2 {
        for object in &objects {
            let what = format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            let stamp = Instant::now();
            patch("d-words", &what, json!({"metadata": {"annotations": {"theirs": format!("{stamp:?}")}}}));
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    for object in &objects {
        let known = agent.known(object);
        assert_eq!((known.drifts, known.applies), (0, 1), "{object}: {known:?}");
    }
    // Not because nobody looks:
    patch("d-words", "secret/s", json!({"stringData": {"k": "other"}}));
    agent.until(&objects[2], "a true change is seen", |known| known.drifts == 1).await;
}

/// The negative control: what comparing JSON would call drift.
#[tokio::test]
async fn comparing_json_would_call_the_servers_own_words_drift() {
    namespace("d-json");
    let agent = Agent::start(Adopt::Yes).await;
    let named = |object: &Value| format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    for object in &rewritten("d-json") {
        agent.put_and_wait(object).await;
        let live = live("d-json", &named(object));
        assert!(!contains(&live, object), "JSON equality would not have flagged {object}");
    }
}

/// Whether `live` has everything of `desired`: maps by key, all else by equality.
fn contains(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => {
            desired.iter().all(|(key, value)| live.get(key).is_some_and(|found| contains(found, value)))
        }
        (live, desired) => live == desired,
    }
}

/// The server takes no apply with a name twice, which is told once. Where somebody else doubles one it is corrected, without a loop.
#[tokio::test]
async fn duplicate_names_are_one_refusal_and_no_endless_drift() {
    namespace("d-twice");
    let agent = Agent::start(Adopt::Yes).await;
    let env = |second: &str| json!([{"name": "A", "value": "1"}, {"name": "A", "value": second}]);
    let mut twice = deployment("d-twice", "twice", "twice");
    twice["spec"]["template"]["spec"]["containers"][0]["env"] = env("2");
    let mut once = deployment("d-twice", "once", "once");
    let env_once = json!([{"name": "A", "value": "1"}]);
    once["spec"]["template"]["spec"]["containers"][0]["env"] = env_once.clone();
    agent.put(&twice);
    let (code, message) = agent.until(&twice, "refused", |known| known.refused.is_some()).await.refused.expect("refused");
    assert!(code == 500 && message.contains("duplicate entries for key"), "{code} {message}");
    agent.put_and_wait(&once).await;
    let change = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/env", "value": env("3")}]).to_string();
    support::kubectl(&["-n", "d-twice", "patch", "deployment/once", "--type=json", "-p", &change], "");
    for n in 0..3 {
        patch("d-twice", "deployment/once", json!({"metadata": {"annotations": {"theirs": n.to_string()}}}));
        tokio::time::sleep(Duration::from_millis(1_300)).await;
    }
    let once = agent.known(&once);
    assert!(once.drifts <= 1 && once.applies <= 2, "{once:?}");
    assert_eq!(live("d-twice", "deployment/once")["spec"]["template"]["spec"]["containers"][0]["env"], env_once);
}

fn replicas(namespace: &str) -> Value {
    live(namespace, "deployment/web")["spec"]["replicas"].clone()
}

#[tokio::test]
async fn an_autoscaler_keeps_its_replica_count_and_nobody_else_does() {
    namespace("d-scale");
    let agent = Agent::start(Adopt::Yes).await;
    let mut object = deployment("d-scale", "web", "web");
    agent.put_and_wait(&object).await;
    support::kubectl(&["-n", "d-scale", "scale", "deployment/web", "--replicas=5"], "");
    eventually("the count is back", || replicas("d-scale") == 2).await;
    support::kubectl(&["-n", "d-scale", "autoscale", "deployment/web", "--min=1", "--max=9"], "");
    support::kubectl(&["-n", "d-scale", "scale", "deployment/web", "--replicas=7"], "");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(replicas("d-scale"), 7);
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/c:2");
    agent.put_and_wait(&object).await;
    assert_eq!(replicas("d-scale"), 7, "new content leaves the count alone");
    object["spec"].as_object_mut().unwrap().remove("replicas");
    agent.put_and_wait(&object).await;
    assert_eq!(replicas("d-scale"), 7, "a count that leaves the template does not fall to 1");
}

#[tokio::test]
async fn a_paused_object_is_shown_and_left_alone() {
    namespace("d-pause");
    let agent = Agent::start(Adopt::Yes).await;
    let object = config_map("d-pause", "c", json!({"a": "1"}));
    agent.put_and_wait(&object).await;
    patch("d-pause", "configmap/c", json!({"metadata": {"annotations": {"clusternet.io/paused": "true"}}, "data": {"a": "changed"}}));
    agent.until(&object, "paused", |known| known.health.as_ref().is_some_and(|health| health.paused)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(live("d-pause", "configmap/c")["data"]["a"], "changed");
    agent.tasks.send(task(identify(&object).0, "v1".into(), &object, true)).expect("the member works");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(live("d-pause", "configmap/c")["data"]["a"], "changed", "also when it is applied again");
    patch("d-pause", "configmap/c", json!({"metadata": {"annotations": {"clusternet.io/paused": null}}}));
    eventually("corrected", || live("d-pause", "configmap/c")["data"]["a"] == "1").await;
    agent.until(&object, "not paused", |known| known.health.as_ref().is_some_and(|health| !health.paused)).await;
}

#[tokio::test]
async fn somebody_who_does_not_give_up_is_named_and_costs_few_writes() {
    namespace("d-fight");
    let agent = Agent::start(Adopt::Yes).await;
    let object = config_map("d-fight", "c", json!({"a": "1"}));
    agent.put_and_wait(&object).await;
    let end = Instant::now() + Duration::from_secs(15);
    let mut changes = 0;
    while Instant::now() < end {
        changes += 1;
        let change = json!({"data": {"a": format!("theirs {changes}")}}).to_string();
        support::kubectl(&["-n", "d-fight", "patch", "configmap/c", "--type=merge", "--field-manager=rival", "-p", &change], "");
    }
    let known = agent.known(&object);
    let health = known.health.expect("looked at");
    assert_eq!((health.contested.as_str(), health.reason.as_str()), ("rival changes .data.a", "Contested"));
    assert!(changes > 20 && known.applies <= 5, "{changes} changes, {} applies", known.applies);
}

#[tokio::test]
async fn a_broken_image_shows_within_ten_seconds() {
    namespace("d-image");
    let agent = Agent::start(Adopt::Yes).await;
    let object = deployment("d-image", "web", "web");
    agent.put_and_wait(&object).await;
    let pods = || support::kubectl(&["-n", "d-image", "get", "pods", "-o", "name"], "");
    eventually("the controller makes pods", || !pods().is_empty()).await;
    let pod = pods().lines().next().expect("a pod").to_owned();
    let state = json!({"status": {"phase": "Pending", "containerStatuses": [{"name": "c", "image": "c", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]}});
    let started = Instant::now();
    support::kubectl(&["-n", "d-image", "patch", &pod, "--subresource=status", "--type=merge", "-p", &state.to_string()], "");
    let is_told = |known: &Known| {
        known.health.as_ref().is_some_and(|health| health.level == Level::Unhealthy as i32 && health.reason == "ImagePullBackOff")
    };
    let known = agent.until(&object, "unhealthy", is_told).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(known.health.and_then(|health| health.replicas).map(|replicas| replicas.unavailable), Some(2));
}

#[tokio::test]
async fn a_job_that_has_run_is_told_as_finished() {
    namespace("d-job");
    let agent = Agent::start(Adopt::Yes).await;
    let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "d-job", "name": "j"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.com/c:1"}]}}}});
    agent.put_and_wait(&object).await;
    let pods = || support::kubectl(&["-n", "d-job", "get", "pods", "-o", "name"], "");
    eventually("the controller makes a pod", || !pods().is_empty()).await;
    let pod = pods().lines().next().expect("a pod").to_owned();
    let done = json!({"status": {"phase": "Succeeded"}}).to_string();
    support::kubectl(&["-n", "d-job", "patch", &pod, "--subresource=status", "--type=merge", "-p", &done], "");
    let known = agent.until(&object, "ended", |known| known.ended).await;
    assert_eq!(known.health.map(|health| health.level), Some(Level::Finished as i32));
}

#[tokio::test]
async fn what_exists_is_only_reported_where_that_is_asked_for() {
    namespace("d-adopt");
    let object = config_map("d-adopt", "c", json!({"a": "ours"}));
    support::kubectl(&["create", "-f", "-"], &config_map("d-adopt", "c", json!({"a": "theirs"})).to_string());
    let agent = Agent::start(Adopt::Report).await;
    agent.put(&object);
    let (code, message) = agent.until(&object, "refused", |known| known.refused.is_some()).await.refused.expect("refused");
    assert_eq!(code, 409);
    assert!(message.starts_with("exists and is not ours; would be adopted: ConfigMap d-adopt/c"), "{message}");
    assert_eq!(live("d-adopt", "configmap/c")["data"]["a"], "theirs");
    let new = config_map("d-adopt", "new", json!({"a": "ours"}));
    agent.put_and_wait(&new).await;
    drop(agent);
    let agent = Agent::start(Adopt::Yes).await;
    agent.put_and_wait(&object).await;
    assert_eq!(live("d-adopt", "configmap/c")["data"]["a"], "ours");
}

#[tokio::test]
async fn an_agent_that_was_away_looks_at_what_it_finds_and_touches_nothing_that_is_well() {
    namespace("d-away");
    let object = config_map("d-away", "c", json!({"a": "1"}));
    let agent = Agent::start(Adopt::Yes).await;
    agent.put_and_wait(&object).await;
    drop(agent);
    let agent = Agent::start(Adopt::Yes).await;
    let known = agent.until(&object, "looked at", |known| known.health.is_some()).await;
    assert_eq!((known.drifts, known.applies), (0, 0));
    agent.known.lock().unwrap().entry(identify(&object).0).or_default().body = Some(object.clone());
    patch("d-away", "configmap/c", json!({"data": {"a": "changed"}}));
    eventually("corrected", || live("d-away", "configmap/c")["data"]["a"] == "1").await;
}
