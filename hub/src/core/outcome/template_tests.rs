use super::*;
use crate::core::build::cluster;
use crate::core::index::{ClusterChange, Index, SubscriptionChange};
use crate::core::report::{ClusterReport, ObjectReport, Replicas};
use crate::kinds::Subscription;

const NAME: &str = "deployments.shop.web";

fn manifest(kind: &str, spec: &Value, generation: i64) -> Manifest {
    let template = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "namespace": "shop", "generation": generation}, "spec": spec,
    });
    Manifest::new(NAME, template.as_object().cloned().expect("an object"))
}

struct Fleet {
    index: Index,
    outcomes: Outcomes,
    kind: &'static str,
    rv: u64,
}

impl Fleet {
    fn new(kind: &'static str, clusters: &[&str]) -> Fleet {
        let mut fleet = Fleet { index: Index::default(), outcomes: Outcomes::default(), kind, rv: 10 };
        clusters.iter().for_each(|name| fleet.index.apply_cluster(&cluster(name, "edge")));
        let subscription: Subscription = serde_json::from_value(json!({
            "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Subscription",
            "metadata": {"name": "s", "namespace": "apps", "uid": "uid-s", "generation": 1},
            "spec": {"subscribers": [{"clusterAffinity": {"matchLabels": {"tier": "edge"}}}],
                "feeds": [{"apiVersion": "apps/v1", "kind": kind, "namespace": "shop", "name": "web"}]},
        }))
        .expect("a Subscription");
        fleet.index.apply_subscription(&subscription);
        fleet
    }

    /// Somebody writes the template, and it is planned.
    fn write(&mut self, spec: &Value, generation: i64) {
        let manifest = manifest(self.kind, spec, generation);
        self.index.apply_manifest(&manifest).expect("valid");
        self.rv += 1;
        for change in self.index.take_plans() {
            if let ClusterChange::Planned { cluster, cluster_id, entries, .. } = change {
                self.outcomes.plan(cluster, cluster_id, self.rv, entries);
            }
        }
        for change in self.index.take_facts() {
            if let SubscriptionChange::Facts(facts) = change {
                self.outcomes.subscription(*facts);
            }
        }
        self.outcomes.template(NAME.to_owned(), TemplateFacts::of(&manifest));
    }

    fn report(&mut self, name: &str, level: HealthLevel, replicas: [i32; 4]) {
        let [replicas, updated, ready, available] = replicas;
        let replicas = Replicas { replicas, updated, current: replicas, ready, available, ..Replicas::default() };
        let object = ObjectId { group: "apps".into(), kind: self.kind.into(), namespace: "shop".into(), name: "web".into() };
        let health = Some(ObjectHealth { level, replicas: Some(replicas), ..ObjectHealth::default() });
        self.outcomes.report(ClusterReport {
            cluster: ClusterKey::new(format!("clusternet-{name}"), name),
            listed_at_rv: Some(self.rv),
            connected: true,
            objects: vec![ObjectReport { object, bundles: Vec::new(), state: ObjectState::Applied, health }],
            ..ClusterReport::default()
        });
    }

    fn status(&self) -> Value {
        let now = Timestamp::from_second(1000).expect("in range");
        self.outcomes.template_status(NAME, &Value::Null, now).expect("known")
    }

    /// As `kubectl rollout status deployment` decides.
    fn is_rolled_out(&self, spec: i64, generation: i64) -> bool {
        let status = self.status();
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        number("observedGeneration") >= generation
            && number("updatedReplicas") >= spec
            && number("replicas") <= number("updatedReplicas")
            && number("availableReplicas") >= number("updatedReplicas")
    }
}

#[test]
fn a_rollout_ends_when_and_only_when_every_cluster_is_there() {
    let mut fleet = Fleet::new("Deployment", &["a", "b"]);
    fleet.write(&json!({"replicas": 3, "image": 1}), 1);
    assert!(!fleet.is_rolled_out(3, 1));
    fleet.report("a", HealthLevel::Healthy, [3, 3, 3, 3]);
    assert!(!fleet.is_rolled_out(3, 1), "one of two");
    fleet.report("b", HealthLevel::Progressing, [4, 2, 3, 3]);
    assert!(!fleet.is_rolled_out(3, 1), "the second is on its way");
    assert_eq!((&fleet.status()["updatedReplicas"], &fleet.status()["replicas"]), (&json!(2), &json!(4)));
    fleet.report("b", HealthLevel::Progressing, [3, 3, 3, 3]);
    assert!(!fleet.is_rolled_out(3, 1), "its numbers are there, it says that it is not");
    fleet.report("b", HealthLevel::Healthy, [3, 3, 3, 3]);
    assert!(fleet.is_rolled_out(3, 1));
    fleet.write(&json!({"replicas": 3, "image": 2}), 2);
    assert!(!fleet.is_rolled_out(3, 2), "what was reported is of the older content");
    assert_eq!(fleet.status()["observedGeneration"], 1);
}

#[test]
fn a_cluster_with_a_number_of_its_own_is_done_when_it_says_so() {
    let mut fleet = Fleet::new("Deployment", &["a"]);
    fleet.write(&json!({"replicas": 3}), 1);
    fleet.report("a", HealthLevel::Healthy, [1, 1, 1, 1]);
    assert!(fleet.is_rolled_out(3, 1));
    fleet.write(&json!({"replicas": 0}), 2);
    fleet.report("a", HealthLevel::Progressing, [0, 0, 0, 0]);
    assert!(!fleet.is_rolled_out(0, 2));
    fleet.report("a", HealthLevel::Healthy, [0, 0, 0, 0]);
    assert!(fleet.is_rolled_out(0, 2));
}

#[test]
fn daemons_are_summed_and_short_of_one_until_all_are_done() {
    let mut fleet = Fleet::new("DaemonSet", &["a", "b"]);
    fleet.write(&json!({}), 1);
    fleet.report("a", HealthLevel::Healthy, [2, 2, 2, 2]);
    assert_eq!((&fleet.status()["desiredNumberScheduled"], &fleet.status()["numberAvailable"]), (&json!(2), &json!(1)));
    fleet.report("b", HealthLevel::Healthy, [3, 3, 3, 3]);
    assert_eq!((&fleet.status()["desiredNumberScheduled"], &fleet.status()["numberAvailable"]), (&json!(5), &json!(5)));
}

#[test]
fn a_template_for_nobody_has_no_status_and_one_without_progress_is_not_followed() {
    let mut fleet = Fleet::new("Deployment", &[]);
    fleet.write(&json!({"replicas": 3}), 1);
    assert_eq!(fleet.status(), Value::Null);
    assert_eq!(TemplateFacts::of(&crate::core::build::manifest("one", "1")), None);
    assert_eq!(TemplateFacts::of(&Manifest::new("odd", Map::new())), None);
}

#[test]
fn only_a_template_that_a_report_is_about_is_touched() {
    let mut fleet = Fleet::new("Deployment", &["a"]);
    fleet.write(&json!({"replicas": 1}), 1);
    fleet.outcomes.take_touched_templates();
    fleet.report("a", HealthLevel::Progressing, [1, 1, 0, 0]);
    assert_eq!(fleet.outcomes.take_touched_templates().len(), 1);
    fleet.report("a", HealthLevel::Progressing, [1, 1, 0, 0]);
    assert!(fleet.outcomes.take_touched_templates().is_empty());
}
