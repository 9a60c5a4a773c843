//! The whole agent but its link: engine, cache and member on a real API server, with no hub at all.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bus_schema::hash::{Domain, HashKey};
use bus_schema::id::{BootId, BundleId, IncarnationId};
use bus_schema::link::agent::{AgentConfig, AgentWrite, StoredList};
use bus_schema::list::{DesiredEntry, DesiredList, Wanted};
use bus_schema::secret::{LinkSecret, Trust};
use bus_schema::stamp::Stamp;
use edge_agent::cache::Cache;
use edge_agent::config::Adopt;
use edge_agent::engine::{Engine, Input, Outputs};
use edge_agent::member::Member;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;

/// An agent on a thread of its own, from the cache in `folder`.
struct Alone {
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Alone {
    fn start(folder: &Path) -> Alone {
        let stop = CancellationToken::new();
        let (folder, token) = (folder.to_owned(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(folder, token));
        });
        Alone { stop, thread: Some(thread) }
    }

    fn stop(mut self) {
        self.stop.cancel();
        self.thread.take().expect("once").join().expect("it ends well");
    }
}

async fn run(folder: PathBuf, stop: CancellationToken) {
    let api = connect(&Source::Kubeconfig(support::member().kubeconfig.clone())).expect("kubeconfig is good");
    let (cache, state) = Cache::open(&folder).expect("the cache opens");
    let (frames, _frames) = mpsc::channel(1);
    let (tasks, todo) = mpsc::unbounded_channel();
    let (events, _events) = mpsc::unbounded_channel();
    let config = AgentConfig::new(BootId(1), trust(), HashKey::public());
    let streams = streams::Endpoint::new(streams::Role::Agent, streams::Limits::default());
    let (engine, thread) = Engine::start(config, cache, state, Outputs { frames, tasks, events, streams });
    Member::new(api, Adopt::Yes).run(engine.clone(), todo, stop).await;
    engine.tell(Input::Stop).await;
    thread.join().expect("no panic").expect("the cache is written");
}

/// Keys that nobody is greeted with.
fn trust() -> Trust {
    Trust { own: LinkSecret::new([1; 32]), peer: LinkSecret::new([2; 32]).public() }
}

/// A cache as an agent has it that once heard from its hub.
fn heard(folder: &Path, objects: &[Value]) {
    let key = HashKey::public();
    let (mut cache, _) = Cache::open(folder).expect("the cache opens");
    let mut writes = Vec::new();
    let entry = |object: &Value| {
        let bytes = object.to_string().into_bytes();
        let hash = key.hash(Domain::Object, &bytes);
        let wanted = Wanted::Content { hash, size: bytes.len() as u32, secret: false };
        let (object, version) = identify(object);
        (AgentWrite::Content(hash, bytes), DesiredEntry { bundle: BundleId(1), object, version, wanted })
    };
    let (contents, entries): (Vec<_>, Vec<_>) = objects.iter().map(entry).unzip();
    writes.extend(contents);
    let stamp = Stamp { incarnation: IncarnationId(1), resource_version: 1 };
    writes.push(AgentWrite::List(StoredList { bytes: DesiredList::new(entries, &key).bytes.to_vec(), stamp, recover: false }));
    cache.commit(&writes).expect("committed");
}

fn names(namespace: &str) -> String {
    support::kubectl(&["-n", namespace, "get", "jobs,configmaps", "-o", "name"], "")
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "not in 30 s: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn job(namespace: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": namespace, "name": "seed"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.com/c:1"}]}}}})
}

#[test]
fn without_a_hub_drift_is_corrected_and_a_job_that_has_run_is_never_made_again() {
    let space = "alone";
    support::kubectl(&["create", "namespace", space], "");
    let folder = tempfile::tempdir().expect("a folder");
    heard(folder.path(), &[config_map(space, "c", json!({"a": "1"})), job(space)]);
    let agent = Alone::start(folder.path());
    eventually("both are applied", || names(space).contains("configmap/c") && names(space).contains("job.batch/seed"));

    let change = json!({"data": {"a": "theirs"}}).to_string();
    support::kubectl(&["-n", space, "patch", "configmap/c", "--type=merge", "-p", &change], "");
    eventually("drift is corrected", || live(space, "configmap/c")["data"]["a"] == "1");
    support::kubectl(&["-n", space, "delete", "job", "seed", "--cascade=foreground"], "");
    eventually("a job that has not run is made again", || names(space).contains("job.batch/seed"));

    let pods = || support::kubectl(&["-n", space, "get", "pods", "-o", "name"], "");
    eventually("the controller makes a pod", || !pods().is_empty());
    let done = json!({"status": {"phase": "Succeeded"}}).to_string();
    let finish = || {
        for pod in pods().lines() {
            support::kubectl(&["-n", space, "patch", pod, "--subresource=status", "--type=merge", "-p", &done], "");
        }
        live(space, "job/seed")["status"]["succeeded"] == 1
    };
    eventually("the job has run", finish);
    std::thread::sleep(Duration::from_secs(3));
    support::kubectl(&["-n", space, "delete", "job", "seed", "--cascade=foreground"], "");
    std::thread::sleep(Duration::from_secs(4));
    assert!(!names(space).contains("job.batch/seed"), "it was made again while the agent ran");
    agent.stop();

    support::kubectl(&["-n", space, "delete", "configmap", "c"], "");
    let agent = Alone::start(folder.path());
    eventually("what went while the agent was away comes back", || names(space).contains("configmap/c"));
    std::thread::sleep(Duration::from_secs(3));
    assert!(!names(space).contains("job.batch/seed"), "it was made again by a cold start");
    agent.stop();
}
