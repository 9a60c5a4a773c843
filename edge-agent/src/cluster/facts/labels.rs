//! Which labels the nodes share: per key the most frequent value, if a large enough share of the nodes has it.
//!
//! As in Clusternet control-plane nodes do not count, unless there are no others: a cluster of one node is such a cluster.

use std::collections::BTreeMap;

/// Keys that are counted at most, so that nodes with thousands of label keys do not fill the memory.
const MAX_KEYS: usize = 256;
/// Values of one key that are counted at most: a key with more of them, such as a host name, is not shared.
const MAX_VALUES: usize = 64;

/// Labels of nodes whose presence makes a node one of the control plane.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// The labels that enough nodes share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) labels: BTreeMap<String, String>,
    /// Keys that could not be counted to the end.
    pub(super) left_out: u32,
}

/// Counts the labels of nodes, one node after the other.
#[derive(Default)]
pub(super) struct Tally {
    workers: Counts,
    control_plane: Counts,
}

impl Tally {
    pub(super) fn count(&mut self, labels: &BTreeMap<String, String>, prefixes: &[String]) {
        let counts = match CONTROL_PLANE.iter().any(|role| labels.contains_key(*role)) {
            true => &mut self.control_plane,
            false => &mut self.workers,
        };
        counts.nodes += 1;
        let wanted = labels.iter().filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix.as_str())));
        wanted.for_each(|(key, value)| counts.add(key, value));
    }

    /// The labels that at least `threshold` (above 0, up to 1) of the nodes have in common.
    pub(super) fn shared(self, threshold: f64) -> Shared {
        match self.workers.nodes {
            0 => self.control_plane.shared(threshold),
            _ => self.workers.shared(threshold),
        }
    }
}

#[derive(Default)]
struct Counts {
    nodes: u32,
    keys: BTreeMap<String, Values>,
    /// Labels whose key was not counted.
    uncounted: u32,
}

#[derive(Default)]
struct Values {
    nodes: BTreeMap<String, u32>,
    /// There were more values than are counted.
    cut: bool,
}

impl Counts {
    fn add(&mut self, key: &str, value: &str) {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            self.uncounted = self.uncounted.saturating_add(1);
            return;
        }
        let values = self.keys.entry(key.to_owned()).or_default();
        let is_full = values.nodes.len() >= MAX_VALUES;
        match values.nodes.get_mut(value) {
            Some(nodes) => *nodes += 1,
            None if is_full => values.cut = true,
            None => drop(values.nodes.insert(value.to_owned(), 1)),
        }
    }

    fn shared(self, threshold: f64) -> Shared {
        let mut shared = Shared { labels: BTreeMap::new(), left_out: self.uncounted };
        for (key, values) in self.keys {
            // The first of equally frequent values, so that the answer does not depend on the order of the nodes.
            let best = values.nodes.into_iter().rev().max_by_key(|(_, nodes)| *nodes);
            match best.filter(|(_, nodes)| f64::from(*nodes) / f64::from(self.nodes) >= threshold) {
                Some((value, _)) => drop(shared.labels.insert(key, value)),
                None => shared.left_out += u32::from(values.cut),
            }
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn shared(nodes: &[BTreeMap<String, String>], threshold: f64) -> Shared {
        let mut tally = Tally::default();
        nodes.iter().for_each(|node| tally.count(node, &["node.clusternet.io/".to_owned()]));
        tally.shared(threshold)
    }

    const ZONE: &str = "node.clusternet.io/zone";

    #[test]
    fn a_label_counts_from_the_threshold_on_and_only_under_a_prefix() {
        let mut nodes = vec![labels(&[(ZONE, "a"), ("kubernetes.io/arch", "arm64")]); 4];
        nodes.push(labels(&[(ZONE, "b"), ("kubernetes.io/arch", "arm64")]));
        assert_eq!(shared(&nodes, 0.8).labels, labels(&[(ZONE, "a")]));
        assert_eq!(shared(&nodes, 0.81).labels, labels(&[]));
        nodes.push(labels(&[]));
        assert_eq!(shared(&nodes, 0.8).labels, labels(&[]), "nodes without the label count too");
    }

    #[test]
    fn the_control_plane_counts_only_where_there_is_nothing_else() {
        let server = labels(&[(ZONE, "b"), (CONTROL_PLANE[0], "")]);
        let master = labels(&[(ZONE, "b"), (CONTROL_PLANE[1], "true")]);
        assert_eq!(shared(&[server.clone(), master.clone()], 0.8).labels, labels(&[(ZONE, "b")]));
        assert_eq!(shared(&[server, master, labels(&[(ZONE, "a")])], 0.8).labels, labels(&[(ZONE, "a")]));
        assert_eq!(shared(&[], 0.8), Shared::default());
    }

    #[test]
    fn equally_frequent_values_are_decided_by_their_order() {
        let (a, b) = (labels(&[(ZONE, "a")]), labels(&[(ZONE, "b")]));
        assert_eq!(shared(&[b.clone(), a.clone()], 0.5), shared(&[a, b], 0.5));
    }

    #[test]
    fn a_value_of_every_node_is_bounded_and_said() {
        let nodes: Vec<_> = (0..500).map(|node| labels(&[(ZONE, "a"), ("node.clusternet.io/host", &format!("h{node}"))])).collect();
        assert_eq!(shared(&nodes, 0.8), Shared { labels: labels(&[(ZONE, "a")]), left_out: 1 });
        let keys: Vec<_> = (0..500).map(|key| labels(&[(&format!("node.clusternet.io/k{key:03}"), "x")])).collect();
        assert_eq!(shared(&keys, 0.8).left_out, 500 - u32::try_from(MAX_KEYS).unwrap());
    }
}
