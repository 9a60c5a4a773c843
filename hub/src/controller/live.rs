//! Shows what memory knows of clusters to the API.

use std::sync::{Arc, PoisonError};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::Value;

use super::status::SharedOutcomes;
use crate::api::live::{Live, Row, Rows};
use crate::core::contact::Contacts;
use crate::core::id::{ClusterKey, SubscriptionKey};
use crate::core::placement::Placement;
use crate::kinds::{ManagedCluster, SubscriptionSpec};

/// What sync and status know, to be read.
pub struct View {
    pub outcomes: SharedOutcomes,
    pub contacts: Arc<Contacts>,
}

impl Live for View {
    fn fill(&self, kind: &str, object: &mut Value) {
        if kind != "ManagedCluster" {
            return;
        }
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let Some(last) = self.contacts.last(&ClusterKey::new(text("namespace"), text("name"))) else { return };
        if !object["status"].is_object() {
            return;
        }
        let stored = |field: &str| object["status"][field].as_str().map(|text| text.parse::<Timestamp>().ok());
        // An agent that is heard of and tells nothing new says that what it told still holds.
        let fields = [("lastContact", true), ("lastObservedTime", stored("lastObservedTime").is_some())];
        let older = fields.map(|(field, shown)| (field, shown && stored(field).flatten().is_none_or(|stored| stored < last)));
        for (field, _) in older.into_iter().filter(|(_, older)| *older) {
            object["status"][field] = last.to_string().into();
        }
    }

    fn binds(&self, subscription: &Value, cluster: &Value) -> bool {
        let spec = SubscriptionSpec::deserialize(&subscription["spec"]);
        let (Ok(spec), Ok(cluster)) = (spec, ManagedCluster::deserialize(cluster)) else { return true };
        Placement::of(&spec).binds(cluster.labels(), &cluster.spec.taints)
    }

    fn rows(&self, kind: &str, namespace: &str, name: &str, after: Option<&str>, most: usize) -> Option<Rows> {
        let outcomes = self.outcomes.read().unwrap_or_else(PoisonError::into_inner);
        let (rows, remaining) = match kind {
            "Subscription" => outcomes.cluster_rows(&SubscriptionKey::new(namespace, name), after, most)?,
            "ManagedCluster" => outcomes.object_rows(&ClusterKey::new(namespace, name), after, most)?,
            _ => return None,
        };
        Some(Rows { items: rows.into_iter().map(|(key, value)| Row { key, value }).collect(), remaining })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::contact::Heard;

    #[test]
    fn a_subscription_takes_clusters_by_label_and_what_is_unreadable() {
        let view = View { outcomes: SharedOutcomes::default(), contacts: Arc::default() };
        let subscription = json!({"spec": {"subscribers": [{"clusterAffinity": {"matchLabels": {"tier": "edge"}}}], "feeds": []}});
        let cluster = |tier: &str| json!(crate::core::build::cluster("a", tier));
        assert!(view.binds(&subscription, &cluster("edge")) && !view.binds(&subscription, &cluster("core")));
        assert!(view.binds(&json!({}), &cluster("core")) && view.binds(&subscription, &json!({})));
    }

    #[test]
    fn the_last_contact_that_is_read_is_the_newer_of_memory_and_store() {
        let view = View { outcomes: SharedOutcomes::default(), contacts: Arc::default() };
        let heard = Heard::default();
        view.contacts.set(ClusterKey::new("ns", "a"), heard.clone());
        let read = |stored: &str| {
            let mut object =
                json!({"metadata": {"namespace": "ns", "name": "a"}, "status": {"lastContact": stored, "lastObservedTime": stored}});
            view.fill("ManagedCluster", &mut object);
            assert_eq!(object["status"]["lastObservedTime"], object["status"]["lastContact"]);
            object["status"]["lastContact"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(read("2026-11-23T22:00:00Z"), "2026-11-23T22:00:00Z", "nothing was heard");
        heard.hear("2026-11-23T22:00:30Z".parse().expect("a time"));
        assert_eq!(read("2026-11-23T22:00:00Z"), "2026-11-23T22:00:30Z");
        assert_eq!(read("2026-11-23T22:00:40Z"), "2026-11-23T22:00:40Z");
        let mut bare = json!({"metadata": {"namespace": "ns", "name": "a"}});
        view.fill("ManagedCluster", &mut bare);
        assert!(bare.get("status").is_none(), "an object without a status stays one");
        let mut unseen = json!({"metadata": {"namespace": "ns", "name": "a"}, "status": {}});
        view.fill("ManagedCluster", &mut unseen);
        assert!(unseen["status"].get("lastObservedTime").is_none(), "what was never observed has no time");
    }
}
