//! Sums over the nodes, read page by page.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::labels::{Shared, Tally};
use super::network::Cover;
use super::{NodeStatistics, Nodes, Settings};
use crate::cluster::api::{Accept, Api, Failure};
use crate::cluster::list::Pager;
use crate::cluster::object::null_as_empty;
use crate::cluster::quantity::Quantity;

const SUMMED: [&str; 3] = ["cpu", "memory", "nvidia.com/gpu"];

/// What all nodes together say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) nodes: Nodes,
    pub(super) labels: Shared,
    /// The smallest network that holds the nodes' pod networks.
    pub(super) pods: Option<String>,
}

/// Reads all nodes.
pub(super) async fn nodes(api: &Api, settings: &Settings) -> Result<Summary, Failure> {
    let mut totals = Totals::default();
    let mut pager = Pager::new("/api/v1/nodes", "", Accept::Whole);
    while let Some(page) = pager.page::<Node>(api).await? {
        page.iter().for_each(|node| totals.count(node, &settings.label_prefixes));
    }
    Ok(totals.finish(settings.label_threshold))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: Labelled,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labelled {
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    capacity: BTreeMap<String, String>,
    allocatable: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_empty")]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Default)]
struct Totals {
    capacity: BTreeMap<&'static str, Quantity>,
    allocatable: BTreeMap<&'static str, Quantity>,
    statistics: NodeStatistics,
    labels: Tally,
    pods: Cover,
}

impl Totals {
    fn count(&mut self, node: &Node, prefixes: &[String]) {
        add(&mut self.capacity, &node.status.capacity);
        add(&mut self.allocatable, &node.status.allocatable);
        self.labels.count(&node.metadata.labels, prefixes);
        self.pods.add(&node.spec.pod_cidr);
        let ready = node.status.conditions.iter().find(|condition| condition.kind == "Ready");
        let statistics = &mut self.statistics;
        *match ready.map(|condition| condition.status.as_str()) {
            Some("True") => &mut statistics.ready_nodes,
            Some("False") => &mut statistics.not_ready_nodes,
            Some(_) => &mut statistics.unknown_nodes,
            None => &mut statistics.lost_nodes,
        } += 1;
    }

    fn finish(self, threshold: f64) -> Summary {
        let write = |sums: BTreeMap<&str, Quantity>| sums.into_iter().map(|(name, sum)| (name.to_owned(), sum.to_string())).collect();
        let nodes = Nodes { capacity: write(self.capacity), allocatable: write(self.allocatable), node_statistics: self.statistics };
        Summary { nodes, labels: self.labels.shared(threshold), pods: self.pods.finish() }
    }
}

fn add(sums: &mut BTreeMap<&'static str, Quantity>, node: &BTreeMap<String, String>) {
    for name in SUMMED {
        if let Some(amount) = node.get(name).and_then(|text| Quantity::parse(text)) {
            let sum = sums.entry(name).or_default();
            *sum = *sum + amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, cpu: &str, pods: &str) -> Node {
        let condition = match ready {
            "" => String::new(),
            status => format!(r#"{{"type":"Ready","status":"{status}"}}"#),
        };
        let json = format!(
            r#"{{"metadata":{{"labels":{{"node.clusternet.io/zone":"a","other":"x"}}}},"spec":{{"podCIDR":"{pods}"}},
            "status":{{"capacity":{{"cpu":"{cpu}","pods":"110"}},"conditions":[{condition}]}}}}"#
        );
        serde_json::from_str(&json).expect("test node")
    }

    #[test]
    fn nodes_are_counted_by_condition_and_summed() {
        let (mut totals, settings) = (Totals::default(), Settings::default());
        for (index, (ready, cpu)) in [("True", "4"), ("True", "500m"), ("False", "1"), ("Unknown", "1"), ("", "odd")].iter().enumerate() {
            totals.count(&node(ready, cpu, &format!("10.244.{index}.0/24")), &settings.label_prefixes);
        }
        let summary = totals.finish(settings.label_threshold);
        assert_eq!(summary.nodes.capacity, BTreeMap::from([("cpu".to_owned(), "6500m".to_owned())]));
        let expected = NodeStatistics { ready_nodes: 2, not_ready_nodes: 1, unknown_nodes: 1, lost_nodes: 1 };
        assert_eq!(summary.nodes.node_statistics, expected);
        assert_eq!(summary.labels.labels, BTreeMap::from([("node.clusternet.io/zone".to_owned(), "a".to_owned())]));
        assert_eq!(summary.pods.as_deref(), Some("10.244.0.0/21"));
    }
}
