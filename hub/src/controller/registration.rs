//! Answers ClusterRegistrationRequests; `core::registry` decides, this makes it so.
//!
//! Invariants: one request at a time, so that what was granted is known before the next is decided; each step looks before it makes,
//! so a crash between two steps is finished at the next try; nothing is decided before both kinds were listed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error, ResourceExt};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

mod directory;
mod grant;
mod issue;

pub use self::directory::Directory;
use self::grant::Trouble;
pub use self::issue::Issuing;
use super::merge::difference;
use super::watch::{Object, Seen, watch};
use crate::core::enrol::{LEFT, REFUSED, WAITS};
use crate::core::id::ClusterKey;
use crate::core::registry::{Decision, Entropy};
use crate::kinds::names::ANNOTATION_APPROVAL;
use crate::kinds::{APPROVED, ClusterRegistrationRequest, ClusterRegistrationRequestStatus, DENIED, ManagedCluster, PENDING};

const QUEUE: usize = 1024;
const RETRY: Duration = Duration::from_secs(1);

/// How requests are answered.
#[derive(Clone)]
pub struct Config {
    /// Whether the API server has real namespaces that must exist (a parent cluster), or namespaces are only names.
    pub real_namespaces: bool,
    /// Where agents find the bus, as `mqtts://host:port`.
    pub bus_address: String,
    /// What agents are given to prove themselves with.
    pub issuing: Issuing,
    /// Where it is kept which clusters there are; for those who have to know beside this.
    pub directory: Directory,
}

enum Input {
    Request(Seen<ClusterRegistrationRequest>),
    Cluster(Seen<ManagedCluster>),
}

struct Registrar {
    client: Client,
    config: Config,
    random: SystemRandom,
    requests: BTreeMap<String, ClusterRegistrationRequest>,
    /// Names of requests to look at.
    queue: BTreeSet<String>,
    listed: (bool, bool),
}

/// Answers requests until cancelled.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    let (sender, mut inputs) = mpsc::channel(QUEUE);
    let mut watches = JoinSet::new();
    watches.spawn(watch(Api::all(client.clone()), sender.clone(), Input::Request));
    watches.spawn(watch(Api::all(client.clone()), sender, Input::Cluster));
    let mut registrar = Registrar {
        client,
        config,
        random: SystemRandom::new(),
        requests: BTreeMap::new(),
        queue: BTreeSet::new(),
        listed: (false, false),
    };
    loop {
        let waiting = !registrar.queue.is_empty();
        tokio::select! {
            () = shutdown.cancelled() => return,
            input = inputs.recv() => {
                let Some(input) = input else { return };
                registrar.see(input);
                for _ in 0..inputs.len() {
                    inputs.try_recv().into_iter().for_each(|input| registrar.see(input));
                }
            }
            () = tokio::time::sleep(RETRY), if waiting => {}
        }
        if registrar.listed == (true, true) {
            registrar.answer_all().await;
        }
    }
}

impl Registrar {
    fn see(&mut self, input: Input) {
        match input {
            Input::Request(seen) => self.see_request(seen),
            Input::Cluster(seen) => self.see_cluster(seen),
        }
    }

    fn see_request(&mut self, seen: Seen<ClusterRegistrationRequest>) {
        match seen {
            Seen::Listed { objects, .. } => {
                self.requests.clear();
                objects.into_iter().for_each(|object| self.take_request(object));
                self.listed.0 = true;
            }
            Seen::Applied { object, .. } => self.take_request(object),
            Seen::Deleted { object, .. } => drop(self.requests.remove(&object.name().name)),
            Seen::Reached { .. } => {}
        }
    }

    fn take_request(&mut self, object: Object<ClusterRegistrationRequest>) {
        let Object::Read(request) = object else {
            return;
        };
        self.queue.insert(request.name_any());
        self.requests.insert(request.name_any(), *request);
    }

    fn see_cluster(&mut self, seen: Seen<ManagedCluster>) {
        match seen {
            Seen::Listed { objects, .. } => {
                let listed: BTreeSet<ClusterKey> = objects.iter().map(Object::name).collect();
                let known = self.config.directory.keys();
                known.iter().filter(|key| !listed.contains(key)).for_each(|key| self.drop_cluster(key));
                objects.into_iter().for_each(|object| self.take_cluster(object));
                self.config.directory.is_listed();
                self.listed.1 = true;
            }
            Seen::Applied { object, .. } => self.take_cluster(object),
            Seen::Deleted { object, .. } => self.drop_cluster(&object.name()),
            Seen::Reached { .. } => {}
        }
    }

    fn take_cluster(&mut self, object: Object<ManagedCluster>) {
        let Object::Read(cluster) = object else {
            return;
        };
        if self.config.directory.apply(&cluster) {
            self.queue.insert(format!("clusternet-{}", cluster.spec.cluster_id));
        }
    }

    /// A name became free, and the request it belonged to has lost what it was granted.
    fn drop_cluster(&mut self, cluster: &ClusterKey) {
        if !self.config.directory.remove(cluster) {
            return;
        }
        let concerns = |status: &ClusterRegistrationRequestStatus| {
            status.result.as_deref() != Some(APPROVED) || status.managed_cluster_name.as_ref() == Some(&cluster.name)
        };
        let concerned = self.requests.values().filter(|request| request.status.as_ref().is_none_or(concerns));
        self.queue.extend(concerned.map(ResourceExt::name_any));
    }

    async fn answer_all(&mut self) {
        for name in std::mem::take(&mut self.queue) {
            let Some(request) = self.requests.get(&name).cloned() else {
                continue;
            };
            if let Err(why) = self.answer(&request).await {
                warn!(request = %name, %why, "can't answer a registration request; will try again");
                self.queue.insert(name);
            }
        }
    }

    async fn answer(&mut self, request: &ClusterRegistrationRequest) -> Result<(), String> {
        self.look_again(request).await?;
        let left = request.annotations().get(ANNOTATION_APPROVAL).is_some_and(|said| said == LEFT);
        let wanted = match self.config.directory.decide(request, self.entropy()?) {
            Decision::Deny { .. } if left => held_back(request).unwrap_or_default(),
            Decision::Deny { message } => refusal(request, DENIED, message),
            Decision::Grant { cluster, sid } => match held_back(request) {
                Some(held) => held,
                None => match self.grant(request, &cluster, &sid).await {
                    Ok(issued) => self.approval(cluster, sid, issued),
                    Err(Trouble::Refused { result, message }) => refusal(request, result, message),
                    Err(Trouble::Later(why)) => return Err(why),
                },
            },
        };
        let wanted = ClusterRegistrationRequestStatus { observed_generation: request.metadata.generation, ..wanted };
        self.write(request, &wanted).await.map_err(|error| error.to_string())?;
        // What was answered counts from now on, not only once the watch has brought it back.
        if let Some(known) = self.requests.get_mut(&request.name_any()) {
            known.status = Some(wanted);
        }
        Ok(())
    }

    /// A list may be older than what was granted since: before a grant counts as taken away, the server is asked.
    async fn look_again(&mut self, request: &ClusterRegistrationRequest) -> Result<(), String> {
        let status = request.status.as_ref();
        let granted = status.and_then(|status| Some((status.dedicated_namespace.as_ref()?, status.managed_cluster_name.as_ref()?)));
        let Some((namespace, name)) = granted else {
            return Ok(());
        };
        if self.config.directory.contains(&ClusterKey::new(namespace, name)) {
            return Ok(());
        }
        let found = Api::<ManagedCluster>::namespaced(self.client.clone(), namespace).get_opt(name).await;
        if let Some(cluster) = found.map_err(|error| error.to_string())? {
            self.config.directory.apply(&cluster);
        }
        Ok(())
    }

    fn entropy(&self) -> Result<Entropy, String> {
        let mut entropy = Entropy::default();
        self.random.fill(&mut entropy).map_err(|_| "the system gives no random bytes".to_owned())?;
        Ok(entropy)
    }

    fn approval(&self, cluster: ClusterKey, sid: String, issued: ClusterRegistrationRequestStatus) -> ClusterRegistrationRequestStatus {
        ClusterRegistrationRequestStatus {
            dedicated_namespace: Some(cluster.namespace),
            managed_cluster_name: Some(cluster.name),
            sid: Some(sid),
            bus_address: Some(self.config.bus_address.clone()),
            result: Some(APPROVED.to_owned()),
            ..issued
        }
    }

    async fn write(&self, request: &ClusterRegistrationRequest, wanted: &ClusterRegistrationRequestStatus) -> Result<(), Error> {
        let json = |status: &ClusterRegistrationRequestStatus| serde_json::to_value(status).map_err(Error::SerdeError);
        let present = request.status.clone().unwrap_or_default();
        let Some(status) = difference(&json(&present)?, &json(wanted)?) else {
            return Ok(());
        };
        let api = Api::<ClusterRegistrationRequest>::all(self.client.clone());
        let patch = Patch::Merge(json!({ "status": status }));
        match api.patch_status(&request.name_any(), &PatchParams::default(), &patch).await {
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            written => written.map(drop),
        }
    }
}

/// The answer to a request that a person has not granted.
fn held_back(request: &ClusterRegistrationRequest) -> Option<ClusterRegistrationRequestStatus> {
    let name = request.name_any();
    let message = |text: &str| text.replace("NAME", &name);
    match request.annotations().get(ANNOTATION_APPROVAL)?.as_str() {
        WAITS => Some(refusal(
            request,
            PENDING,
            message(
                "waits for approval: `clusternet-hub approve NAME`, or `kubectl annotate clsrr NAME clusternet.io/approval=approved --overwrite`",
            ),
        )),
        REFUSED => Some(refusal(request, DENIED, message("an administrator denied it: `clusternet-hub approve NAME` grants it after all"))),
        // Nothing of what it was granted stays, or it would count as deleted by somebody.
        LEFT => Some(ClusterRegistrationRequestStatus {
            result: Some(DENIED.to_owned()),
            error_message: Some("the cluster has unregistered: it comes back by joining with a token".to_owned()),
            ..ClusterRegistrationRequestStatus::default()
        }),
        _ => None,
    }
}

/// The answer to a request that is not granted; what it was granted before stays visible, and tells later that it was.
fn refusal(request: &ClusterRegistrationRequest, result: &str, message: String) -> ClusterRegistrationRequestStatus {
    let before = request.status.clone().unwrap_or_default();
    ClusterRegistrationRequestStatus { result: Some(result.to_owned()), error_message: Some(message), ..before }
}
