//! What an agent says of its cluster, read with suspicion: a value that no API server would take is left out, so that one agent can
//! neither stop the status of its cluster from being written nor make it unreadable to strict clients.

use std::collections::BTreeMap;

use bus_schema::limits::MAX_NODE_LABELS;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::core::node_labels::is_acceptable;
use crate::core::report::ClusterFacts;
use crate::kinds::ResourceUsage;

/// Characters of one text that are taken: twice as long as a host name can be.
const MAX_TEXT: usize = 512;

/// Reads facts; `None` where there are none.
pub fn read(json: &[u8], observed_at: Option<Timestamp>) -> Option<ClusterFacts> {
    let facts: Value = serde_json::from_slice(json).ok().filter(Value::is_object)?;
    let truth = |field: &str| facts[field].as_bool().unwrap_or(false);
    let some = |field: &str| Some(text(&facts[field])).filter(|text| !text.is_empty());
    Some(ClusterFacts {
        observed_at,
        k8s_version: text(&facts["k8sVersion"]),
        platform: text(&facts["platform"]),
        agent_version: text(&facts["agentVersion"]),
        apiserver_url: text(&facts["apiserverURL"]),
        healthz: truth("healthz"),
        livez: truth("livez"),
        readyz: truth("readyz"),
        allocatable: quantities(&facts["allocatable"]),
        capacity: quantities(&facts["capacity"]),
        cluster_cidr: some("clusterCIDR"),
        service_cidr: some("serviceCIDR"),
        node_statistics: object(&facts["nodeStatistics"]),
        pod_statistics: object(&facts["podStatistics"]),
        resource_usage: object(&facts["resourceUsage"])
            .filter(|usage: &ResourceUsage| is_quantity(&usage.cpu_usage) && is_quantity(&usage.memory_usage)),
        heartbeat_frequency_seconds: facts["heartbeatFrequencySeconds"].as_i64().filter(|seconds| *seconds > 0),
        node_labels: facts["nodeLabels"].as_object().map(labels),
        node_labels_left_out: facts["nodeLabelsLeftOut"].as_u64().map_or(0, |count| i32::try_from(count).unwrap_or(i32::MAX)),
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().chars().take(MAX_TEXT).collect()
}

fn object<T: for<'a> Deserialize<'a>>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

fn labels(found: &serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    let texts = found.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.filter(|(key, value)| is_acceptable(key, value)).take(MAX_NODE_LABELS).collect()
}

fn quantities(value: &Value) -> BTreeMap<String, String> {
    let found: BTreeMap<String, String> = object(value).unwrap_or_default();
    found.into_iter().filter(|(name, amount)| name.len() <= MAX_TEXT && is_quantity(amount)).take(MAX_NODE_LABELS).collect()
}

/// A Kubernetes quantity as agents write it: digits, perhaps a point, a suffix.
fn is_quantity(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let plain = number.starts_with(|c: char| c.is_ascii_digit()) && number.matches('.').count() <= 1 && number.len() <= 40;
    plain && ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{NodeStatistics, PodStatistics};
    use serde_json::json;

    fn of(json: Value) -> ClusterFacts {
        read(json.to_string().as_bytes(), None).expect("facts")
    }

    #[test]
    fn facts_are_read_whole() {
        let facts = of(json!({
            "k8sVersion": "v1.37.2", "healthz": true, "capacity": {"cpu": "6500m", "memory": "3Gi"}, "clusterCIDR": "10.244.0.0/16",
            "serviceCIDR": "10.96.0.0/16", "nodeStatistics": {"readyNodes": 2}, "podStatistics": {"runningPods": 3, "totalPods": 5},
            "resourceUsage": {"cpuUsage": "1157m", "memoryUsage": "2024Ki"}, "heartbeatFrequencySeconds": 30,
            "nodeLabels": {"node.clusternet.io/zone": "a"}, "nodeLabelsLeftOut": 7,
        }));
        assert_eq!((facts.cluster_cidr.as_deref(), facts.service_cidr.as_deref()), (Some("10.244.0.0/16"), Some("10.96.0.0/16")));
        assert_eq!(facts.node_statistics, Some(NodeStatistics { ready_nodes: 2, ..NodeStatistics::default() }));
        assert_eq!(facts.pod_statistics, Some(PodStatistics { running_pods: 3, total_pods: 5 }));
        assert_eq!(facts.resource_usage.map(|usage| usage.cpu_usage), Some("1157m".into()));
        assert_eq!((facts.heartbeat_frequency_seconds, facts.node_labels_left_out), (Some(30), 7));
        assert_eq!(facts.node_labels, Some(BTreeMap::from([("node.clusternet.io/zone".into(), "a".into())])));
        assert_eq!(facts.capacity["cpu"], "6500m");
    }

    #[test]
    fn what_no_server_would_take_is_left_out_and_the_rest_stays() {
        let facts = of(json!({
            "k8sVersion": "x".repeat(100_000), "capacity": {"cpu": "many", "memory": "3Gi"}, "podStatistics": {"runningPods": "x"},
            "resourceUsage": {"cpuUsage": "-1", "memoryUsage": "1"}, "heartbeatFrequencySeconds": -1, "nodeStatistics": 1,
            "nodeLabels": {"bad key": "a", "node.clusternet.io/zone": "a b", "node.clusternet.io/ok": "yes", "number": 1},
        }));
        assert_eq!((facts.k8s_version.len(), facts.capacity), (MAX_TEXT, BTreeMap::from([("memory".into(), "3Gi".into())])));
        assert_eq!((facts.pod_statistics, facts.resource_usage, facts.node_statistics), (None, None, None));
        assert_eq!((facts.heartbeat_frequency_seconds, facts.cluster_cidr), (None, None));
        assert_eq!(facts.node_labels, Some(BTreeMap::from([("node.clusternet.io/ok".into(), "yes".into())])));
        let many: BTreeMap<_, _> = (0..500).map(|n| (format!("node.clusternet.io/{n}"), "x")).collect();
        assert_eq!(of(json!({"nodeLabels": many})).node_labels.map(|labels| labels.len()), Some(MAX_NODE_LABELS));
    }

    #[test]
    fn labels_that_are_not_known_are_not_the_same_as_none() {
        assert_eq!(of(json!({})).node_labels, None);
        assert_eq!(of(json!({"nodeLabels": {}})).node_labels, Some(BTreeMap::new()));
        assert_eq!(read(b"[1]", None), None);
        assert_eq!(read(b"", None), None);
    }
}
