//! Labels that a ManagedCluster gets from its nodes, beside those that people set.
//!
//! What people set is never touched. Which labels are ours stands in an annotation, changed in the same write as the labels: key and
//! value, so that a label whose value somebody changed is theirs from then on. Only ours are changed and taken away.

use std::collections::BTreeMap;

use crate::kinds::names::{APPS_GROUP, CLUSTERS_GROUP, LABEL_CREATED_BY};

type Labels = BTreeMap<String, String>;

/// What has to be written: labels to set and, as `None`, to take away; and the new record, `None` where nothing is ours any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub labels: BTreeMap<String, Option<String>>,
    pub record: Option<String>,
}

/// What leads from a cluster's present labels and record to what its nodes say; `None` where nothing is to be done.
pub fn change(labels: &Labels, record: Option<&str>, wanted: &Labels) -> Option<Change> {
    // A record that cannot be read says of no label that it is ours.
    let ours: Labels = record.and_then(|record| serde_json::from_str(record).ok()).unwrap_or_default();
    let is_ours = |key: &String| labels.get(key).is_none_or(|value| ours.get(key) == Some(value));
    let to_be: Labels =
        wanted.iter().filter(|(key, value)| is_ours(key) && is_acceptable(key, value)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let set = to_be.iter().filter(|(key, value)| labels.get(*key) != Some(value)).map(|(key, value)| (key.clone(), Some(value.clone())));
    let gone =
        ours.iter().filter(|(key, value)| !to_be.contains_key(*key) && labels.get(*key) == Some(value)).map(|(key, _)| (key.clone(), None));
    let changes: BTreeMap<_, _> = set.chain(gone).collect();
    let new = (!to_be.is_empty()).then(|| serde_json::to_string(&to_be).expect("a map of texts is JSON"));
    (!changes.is_empty() || new.as_deref() != record).then_some(Change { labels: changes, record: new })
}

/// Whether a label is well-formed and none of those that say who a cluster is.
pub fn is_acceptable(key: &str, value: &str) -> bool {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    let identity = key == LABEL_CREATED_BY || [CLUSTERS_GROUP, APPS_GROUP].contains(&prefix);
    let prefixed = !key.contains('/') || is_host_name(prefix);
    !identity && prefixed && is_name(name) && (value.is_empty() || is_name(value))
}

/// 1 to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len()) && text.chars().all(inner) && text.starts_with(end) && text.ends_with(end)
}

/// A DNS name of at most 253 characters.
fn is_host_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| part.starts_with(plain) && part.ends_with(plain) && part.chars().all(|c| plain(c) || c == '-');
    text.len() <= 253 && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// A cluster that every change is written to.
    #[derive(Default)]
    struct Cluster {
        labels: Labels,
        record: Option<String>,
    }

    impl Cluster {
        fn follow(&mut self, nodes: &[(&str, &str)]) -> &Labels {
            if let Some(change) = change(&self.labels, self.record.as_deref(), &labels(nodes)) {
                for (key, value) in change.labels {
                    match value {
                        Some(value) => self.labels.insert(key, value),
                        None => self.labels.remove(&key),
                    };
                }
                self.record = change.record;
            }
            assert_eq!(change(&self.labels, self.record.as_deref(), &labels(nodes)), None, "what was written is enough");
            &self.labels
        }
    }

    #[test]
    fn labels_come_change_and_go_with_the_nodes() {
        let mut cluster = Cluster { labels: labels(&[("purpose", "shop")]), record: None };
        assert_eq!(*cluster.follow(&[("n/zone", "a"), ("n/gpu", "")]), labels(&[("purpose", "shop"), ("n/zone", "a"), ("n/gpu", "")]));
        assert_eq!(*cluster.follow(&[("n/zone", "b")]), labels(&[("purpose", "shop"), ("n/zone", "b")]));
        assert_eq!(*cluster.follow(&[]), labels(&[("purpose", "shop")]));
        assert_eq!(cluster.record, None, "nothing is left of it");
    }

    #[test]
    fn what_people_set_is_never_touched() {
        let mut cluster = Cluster { labels: labels(&[("n/zone", "mine")]), record: None };
        assert_eq!(*cluster.follow(&[("n/zone", "a")]), labels(&[("n/zone", "mine")]));
        assert_eq!(*cluster.follow(&[]), labels(&[("n/zone", "mine")]));
        cluster.labels.clear();
        cluster.follow(&[("n/zone", "a")]);
        cluster.labels.insert("n/zone".into(), "mine".into());
        assert_eq!(*cluster.follow(&[("n/zone", "a")]), labels(&[("n/zone", "mine")]), "a changed value is theirs");
        assert_eq!(*cluster.follow(&[]), labels(&[("n/zone", "mine")]));
        cluster.labels.clear();
        assert_eq!(*cluster.follow(&[("n/zone", "a")]), labels(&[("n/zone", "a")]), "what they take away follows the nodes again");
    }

    #[test]
    fn a_damaged_record_takes_nothing_away() {
        let mut cluster = Cluster { labels: labels(&[("n/zone", "a")]), record: Some("odd".into()) };
        assert_eq!(*cluster.follow(&[]), labels(&[("n/zone", "a")]));
    }

    #[test]
    fn an_agent_cannot_say_who_its_cluster_is() {
        let lies = [("clusters.clusternet.io/cluster-id", "x"), ("clusternet.io/created-by", "x"), ("apps.clusternet.io/subs.name", "x")];
        assert_eq!(change(&Labels::new(), None, &labels(&lies)), None);
        for odd in ["", "/a", "a/", "a b", "-a", "a/b/c", "UPPER.io/a", &"x".repeat(64)] {
            assert!(!is_acceptable(odd, "v"), "{odd:?}");
        }
        assert!(is_acceptable("plain", "") && is_acceptable("node.clusternet.io/Zone_1.x", "North-1") && !is_acceptable("plain", "a b"));
    }
}
