//! Verbs for controller tests that read the same whichever API server is behind the client.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use hub::controller::{events, labels, latest, planner, registration, status};
use hub::core::id::ClusterKey;
use hub::core::plan::{Content, PlanUpdate};
use hub::core::report::ClusterReport;
use hub::core::reserved::Reserved;
use hub::kinds::names::RESERVED_NAMESPACE;
use hub::kinds::{ClusterRegistrationRequest, ManagedCluster, Manifest, Subscription};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for something wrong to show.
pub const QUIET: Duration = Duration::from_millis(700);

/// One API server, and a name of this test's own so that tests share it without meeting.
pub struct World {
    pub client: Client,
    /// A real API server, with namespaces that must exist and native kinds that are alive.
    pub real: bool,
    pub test: String,
    /// An API server has one hub: the status writers of two, each with reports that the other has not, would undo each other's work.
    _alone: Option<MutexGuard<'static, ()>>,
}

/// Held by the one test at a time that uses the real API server.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Running controllers; they stop when this is dropped.
pub struct Controllers {
    pub plans: latest::Receiver<ClusterKey, planner::PlanEvent>,
    pub position: tokio::sync::watch::Receiver<planner::Position>,
    pub reports: latest::Sender<ClusterKey, ClusterReport>,
    _stop: tokio_util::sync::DropGuard,
}

/// Registration, running; `stop` ends it.
pub struct Registration {
    running: JoinHandle<()>,
}

impl Registration {
    /// Ends it, and returns when it has ended.
    pub async fn stop(mut self) {
        self.running.abort();
        let _ended = (&mut self.running).await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl World {
    pub async fn new(client: Client, real: bool, test: String) -> Self {
        let _alone = if real { Some(ALONE.lock().await) } else { None };
        let world = Self { client, real, test, _alone };
        world.namespace(RESERVED_NAMESPACE).await;
        world.namespace(&world.test).await;
        world
    }

    /// Starts the planner and the status writer.
    pub fn start(&self) -> Controllers {
        let stop = CancellationToken::new();
        let (plans_in, plans) = latest::channel();
        let (statuses, inputs) = latest::channel();
        let (reports, reports_out) = latest::channel();
        let (position_in, position) = tokio::sync::watch::channel(planner::Position::default());
        let words = tokio::sync::watch::channel(Default::default()).0;
        let outputs = planner::Outputs { plans: plans_in, statuses, position: position_in, words };
        tokio::spawn(planner::run(self.client.clone(), outputs, stop.clone()));
        let (outcomes, recorder) = (status::SharedOutcomes::default(), events::Recorder::default());
        tokio::spawn(events::run(self.client.clone(), recorder.clone(), stop.clone()));
        tokio::spawn(labels::run(self.client.clone(), Reserved::default(), stop.clone()));
        tokio::spawn(status::run(self.client.clone(), outcomes, inputs, reports_out, recorder, stop.clone()));
        Controllers { plans, position, reports, _stop: stop.drop_guard() }
    }

    /// Starts registration.
    pub fn start_registration(&self) -> Registration {
        let authority = std::sync::Arc::new(hub::tls::Authority::make().expect("a CA"));
        let (_, authority) = tokio::sync::watch::channel(authority);
        let issuing = registration::Issuing { authority, lifetime: Duration::from_secs(3600), hub_link_key: "hub".to_owned() };
        let config = registration::Config {
            real_namespaces: self.real,
            bus_address: "mqtt://127.0.0.1:1883".to_owned(),
            issuing,
            directory: registration::Directory::default(),
        };
        let running = tokio::spawn(registration::run(self.client.clone(), config, CancellationToken::new()));
        Registration { running }
    }

    /// Makes a namespace exist, where that means anything.
    pub async fn namespace(&self, name: &str) {
        if !self.real {
            return;
        }
        let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).expect("a Namespace");
        match Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => drop(made.expect("a namespace can be made")),
        }
    }

    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.test)
    }

    /// Makes a ManagedCluster labelled `test=<this test>` with a bus id.
    pub async fn cluster(&self, name: &str) -> ClusterKey {
        let object = json!({
            "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ManagedCluster",
            "metadata": { "name": name, "namespace": self.test, "labels": { "test": self.test } },
            "spec": { "clusterId": uuid::Uuid::new_v4().to_string(), "syncMode": "Pull" },
        });
        create::<ManagedCluster>(&self.api(), object).await;
        let sid = Patch::Merge(json!({ "status": { "sid": "abcdefgh" } }));
        self.api::<ManagedCluster>().patch_status(name, &PatchParams::default(), &sid).await.expect("status can be written");
        ClusterKey::new(&self.test, name)
    }

    /// Makes or changes the Manifest of ConfigMap `<this test>/<name>` with one value; gives its resourceVersion.
    pub async fn manifest(&self, name: &str, value: &str) -> u64 {
        let template = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": self.test }, "data": { "v": value } });
        self.template(&format!("configmaps.{}.{name}", &self.test), template).await
    }

    /// Makes or changes a Manifest.
    pub async fn template(&self, name: &str, template: Value) -> u64 {
        let api = self.manifests();
        let patch = Patch::Merge(json!({ "template": template }));
        let stored = match api.get_opt(name).await.expect("Manifests can be read") {
            Some(_) => api.patch(name, &PatchParams::default(), &patch).await.expect("a Manifest can be changed"),
            None => create(&api, json!({ "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Manifest", "metadata": { "name": name }, "template": template })).await,
        };
        stored.resource_version().expect("stored").parse().expect("a number")
    }

    pub async fn delete_manifest(&self, name: &str) {
        let name = format!("configmaps.{}.{name}", &self.test);
        self.manifests().delete(&name, &DeleteParams::default()).await.expect("a Manifest can be deleted");
    }

    /// Makes a Subscription of these feeds for the clusters of this test.
    pub async fn subscription(&self, name: &str, feeds: Value) -> Subscription {
        self.subscription_for(name, json!({ "test": self.test }), feeds).await
    }

    /// Makes a Subscription of these feeds for the clusters with these labels.
    pub async fn subscription_for(&self, name: &str, labels: Value, feeds: Value) -> Subscription {
        let object = json!({
            "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Subscription", "metadata": { "name": name, "namespace": self.test },
            "spec": { "subscribers": [{ "clusterAffinity": { "matchLabels": labels } }], "feeds": feeds },
        });
        create(&self.api(), object).await
    }

    /// The feed of ConfigMap `<this test>/<name>`.
    pub fn config_map(&self, name: &str) -> Value {
        json!({ "kind": "ConfigMap", "apiVersion": "v1", "namespace": self.test, "name": name })
    }

    /// Makes a registration request and waits for its answer.
    pub async fn register(&self, id: &str, spec: Value, annotations: Value) -> ClusterRegistrationRequest {
        let mut object = json!({
            "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ClusterRegistrationRequest",
            "metadata": { "name": format!("clusternet-{id}"), "annotations": annotations }, "spec": { "clusterId": id },
        });
        json_patch::merge(&mut object["spec"], &spec);
        create::<ClusterRegistrationRequest>(&Api::all(self.client.clone()), object).await;
        self.answer(id, |_| true).await
    }

    /// Waits for an answer to a request that satisfies.
    pub async fn answer(&self, id: &str, satisfies: impl Fn(&ClusterRegistrationRequest) -> bool) -> ClusterRegistrationRequest {
        let api = Api::all(self.client.clone());
        let answered = |request: &ClusterRegistrationRequest| request.status.as_ref().is_some_and(|status| status.result.is_some());
        eventually(&api, &format!("clusternet-{id}"), |request| answered(request) && satisfies(request)).await
    }

    pub fn manifests(&self) -> Api<Manifest> {
        Api::namespaced(self.client.clone(), RESERVED_NAMESPACE)
    }
}

impl Controllers {
    /// The next plan of this cluster that satisfies.
    pub async fn plan(&mut self, cluster: &ClusterKey, satisfies: impl Fn(&[String]) -> bool) -> PlanUpdate {
        let mut last = None;
        let wanted = async {
            while let Some((_, event)) = self.plans.recv().await {
                let planner::PlanEvent::Update(update) = event else {
                    continue;
                };
                if update.cluster == *cluster {
                    if satisfies(&words(&update)) {
                        return update;
                    }
                    last = Some(words(&update));
                }
            }
            panic!("the planner ended")
        };
        let found = tokio::time::timeout(PATIENCE, wanted).await;
        found.unwrap_or_else(|_| panic!("no such plan of {cluster}; the last was {last:?}"))
    }

    /// Asserts that nothing is planned for this cluster for a while.
    pub async fn no_plan(&mut self, cluster: &ClusterKey) {
        let quiet = tokio::time::timeout(QUIET, self.plan(cluster, |_| true)).await;
        assert!(quiet.is_err(), "planned again: {:?}", quiet.map(|update| words(&update)));
    }

    /// Waits until the planner has listed everything.
    pub async fn synced(&mut self) -> planner::Position {
        let synced = tokio::time::timeout(PATIENCE, self.position.wait_for(|position| position.synced)).await;
        *synced.expect("everything is listed in time").expect("the planner runs")
    }
}

/// A plan's entries as `name=value` or `name=keep`, in order.
pub fn words(update: &PlanUpdate) -> Vec<String> {
    let word = |content: &Content| match content {
        Content::Keep => "keep".to_owned(),
        Content::Bytes(bytes) => {
            let object: Value = serde_json::from_slice(bytes).expect("JSON");
            object["data"]["v"].as_str().unwrap_or("content").to_owned()
        }
    };
    update.entries.iter().map(|entry| format!("{}={}", entry.object.name, word(&entry.content))).collect()
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let object = serde_json::from_value(object).expect("an object of this kind");
    api.create(&PostParams::default(), &object).await.expect("it can be made")
}

/// Reads an object until it satisfies.
pub async fn eventually<K>(api: &Api<K>, name: &str, satisfies: impl Fn(&K) -> bool) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let started = Instant::now();
    loop {
        let found = api.get(name).await.expect("it can be read");
        if satisfies(&found) {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "not in {PATIENCE:?}: {found:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
