//! Looks at the member and puts its facts together.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::network::{self, Networks};
use super::{Facts, PodStatistics, ResourceUsage, Settings, labels, nodes, pods};
use crate::cluster::api::{Accept, Api, Failure};
use crate::cluster::connect::Version;
use crate::cluster::object::{PartialList, null_as_empty};
use crate::cluster::quantity::Quantity;
use crate::link::KEEP_ALIVE;

/// How often pods are counted and networks looked for, as Clusternet's `--cluster-status-update-frequency`: pods come and go all the
/// time, and every change that is told costs bytes of the link.
const SLOW: Duration = Duration::from_secs(180);

/// Gathers facts again and again. What it may not read it leaves out, and says so once; what fails for now stays as it was.
pub struct Gatherer {
    api: Api,
    settings: Settings,
    last: Facts,
    networks: Networks,
    /// When pods, use and networks were looked at.
    looked: Option<Instant>,
    /// What was refused last time.
    refused: BTreeSet<&'static str>,
}

impl Gatherer {
    /// A gatherer that has seen nothing but what was `known` before.
    #[must_use]
    pub fn new(api: Api, settings: Settings, known: Option<Facts>) -> Gatherer {
        let last = known.unwrap_or_default();
        let networks = Networks { pods: last.cluster_cidr.clone(), services: last.service_cidr.clone() };
        Gatherer { api, settings, last, networks, looked: None, refused: BTreeSet::new() }
    }

    /// What was gathered last.
    #[must_use]
    pub fn last(&self) -> &Facts {
        &self.last
    }

    /// Gathers the facts.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn gather(&mut self) -> Result<&Facts, Failure> {
        let version: Version = self.api.get("/version", Accept::Whole).await?;
        let mut facts = Facts {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            k8s_version: version.git_version,
            platform: version.platform,
            apiserver_url: self.api.url().to_owned(),
            healthz: self.api.healthy("/healthz").await,
            livez: self.api.healthy("/livez").await,
            readyz: self.api.healthy("/readyz").await,
            heartbeat_frequency_seconds: KEEP_ALIVE.as_secs(),
            ..self.last.clone()
        };
        if self.looked.is_none_or(|looked| looked.elapsed() >= SLOW) {
            self.looked = Some(Instant::now());
            (facts.pod_statistics, facts.resource_usage) = (self.pods().await, self.usage().await);
            self.networks = self.find_networks().await;
        }
        let node_network = self.nodes(&mut facts).await;
        let said = |setting: &Option<String>, found: &Option<String>| setting.clone().or_else(|| found.clone());
        facts.cluster_cidr = said(&self.settings.cluster_cidr, &self.networks.pods).or(node_network);
        facts.service_cidr = said(&self.settings.service_cidr, &self.networks.services);
        self.last = facts;
        Ok(&self.last)
    }

    /// Fills in what the nodes say; gives the network that holds those of their pods.
    async fn nodes(&mut self, facts: &mut Facts) -> Option<String> {
        let read = nodes::nodes(&self.api, &self.settings).await;
        let read = match self.seen("nodes", read) {
            Seen::Now(summary) => summary,
            Seen::Refused => {
                (facts.nodes, facts.node_labels, facts.node_labels_left_out) = (None, None, 0);
                return None;
            }
            Seen::NotNow => return facts.cluster_cidr.clone(),
        };
        let labels::Shared { labels, left_out } = read.labels;
        (facts.nodes, facts.node_labels, facts.node_labels_left_out) = (Some(read.nodes), Some(labels), left_out);
        read.pods
    }

    async fn pods(&mut self) -> Option<PodStatistics> {
        let read = pods::pods(&self.api).await;
        self.seen("pods", read).or(self.last.pod_statistics)
    }

    async fn usage(&mut self) -> Option<ResourceUsage> {
        if !self.settings.use_metrics_server {
            return None;
        }
        let read = usage(&self.api).await;
        self.seen("metrics.k8s.io nodes", read).or(self.last.resource_usage.clone())
    }

    async fn find_networks(&mut self) -> Networks {
        if self.settings.cluster_cidr.is_some() && self.settings.service_cidr.is_some() {
            return Networks::default();
        }
        let read = network::find(&self.api).await;
        self.seen("networks", read).or(Some(self.networks.clone())).unwrap_or_default()
    }

    fn seen<T>(&mut self, what: &'static str, read: Result<T, Failure>) -> Seen<T> {
        match read {
            Ok(read) => {
                self.refused.remove(what);
                Seen::Now(read)
            }
            Err(failure) if matches!(failure.code(), Some(403..=406)) => {
                if self.refused.insert(what) {
                    tracing::warn!(what, why = %failure, "may not be read and is left out of the cluster's status");
                }
                Seen::Refused
            }
            Err(failure) => {
                tracing::debug!(what, why = %failure, "cannot be read for now");
                Seen::NotNow
            }
        }
    }
}

/// What became of one look.
enum Seen<T> {
    Now(T),
    /// The server does not let the agent look.
    Refused,
    NotNow,
}

impl<T> Seen<T> {
    /// What was seen, or what was known before if the look failed for now.
    fn or(self, before: Option<T>) -> Option<T> {
        match self {
            Seen::Now(seen) => Some(seen),
            Seen::Refused => None,
            Seen::NotNow => before,
        }
    }
}

/// What the metrics server says that the nodes use. It has no pages; one node takes about 300 bytes.
async fn usage(api: &Api) -> Result<ResourceUsage, Failure> {
    #[derive(Deserialize)]
    struct NodeMetrics {
        #[serde(default, deserialize_with = "null_as_empty")]
        usage: Usage,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Usage {
        cpu: String,
        memory: String,
    }
    let list: PartialList<NodeMetrics> = api.get("/apis/metrics.k8s.io/v1beta1/nodes", Accept::Whole).await?;
    let sum = |amount: fn(&Usage) -> &str| {
        let amounts = list.items.iter().filter_map(|node| Quantity::parse(amount(&node.usage)));
        amounts.fold(Quantity::default(), |sum, amount| sum + amount).to_string()
    };
    Ok(ResourceUsage { cpu_usage: sum(|usage| &usage.cpu), memory_usage: sum(|usage| &usage.memory) })
}
