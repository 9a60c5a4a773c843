//! Which clusters a Subscription is bound to: the union of its subscribers' label selectors, less what taints keep away.
//!
//! Invariants: being offline or not ready unbinds nothing; a Subscription that this hub can't place is *held*: it stays on every
//! cluster it could be meant for, with entries that neither change nor prune what is there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::selector::Selector;
use crate::kinds::names::TAINT_UNSCHEDULABLE;
use crate::kinds::{SchedulingStrategy, SubscriptionSpec};

/// A Subscription's placement rules, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    selectors: Vec<Selector>,
    tolerations: Vec<Toleration>,
    problem: Option<String>,
    everywhere: bool,
}

impl Placement {
    /// Reads the rules of a spec; what can't be obeyed becomes a problem and holds the Subscription.
    pub fn of(spec: &SubscriptionSpec) -> Self {
        let parsed = spec.subscribers.iter().map(|subscriber| Selector::parse(&subscriber.cluster_affinity));
        let (selectors, error) = match parsed.collect::<Result<Vec<_>, _>>() {
            Ok(selectors) => (selectors, None),
            Err(error) => (Vec::new(), Some(format!("spec.subscribers: clusterAffinity: {error}"))),
        };
        let everywhere = error.is_some();
        Self { selectors, tolerations: spec.cluster_tolerations.clone(), problem: error.or_else(|| unsupported(spec)), everywhere }
    }

    /// Whether a cluster with these labels and taints is bound.
    pub fn binds(&self, labels: &BTreeMap<String, String>, taints: &[Taint]) -> bool {
        self.everywhere || (self.selects(labels) && taints.iter().all(|taint| self.tolerates(taint)))
    }

    /// Why the Subscription is held, and what to do.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The selectors as kubectl takes them, for messages.
    pub fn selectors(&self) -> String {
        let written: Vec<String> = self.selectors.iter().map(ToString::to_string).collect();
        written.join(" or ")
    }

    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selectors.iter().any(|selector| selector.matches(labels))
    }

    fn tolerates(&self, taint: &Taint) -> bool {
        !repels(taint) || self.tolerations.iter().any(|toleration| covers(toleration, taint))
    }
}

/// Whether a taint keeps anything away at all.
fn repels(taint: &Taint) -> bool {
    taint.key != TAINT_UNSCHEDULABLE && matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let effect = set(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = set(&toleration.key);
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = exists || toleration.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default();
    let named = key.as_ref().map_or(exists, |key| *key == taint.key);
    effect && named && value
}

/// What Clusternet accepts and this hub can't do yet, said so that nobody believes that it happens.
fn unsupported(spec: &SubscriptionSpec) -> Option<String> {
    if spec.scheduling_strategy == SchedulingStrategy::Dividing {
        return Some("spec.schedulingStrategy: Dividing is not supported by this hub: use Replication".to_owned());
    }
    if spec.scheduling_by_sub_group == Some(true) {
        return Some("spec.schedulingBySubGroup is not supported by this hub: remove it".to_owned());
    }
    if !matches!(spec.scheduler_name.as_str(), "" | "default") {
        let name = &spec.scheduler_name;
        return Some(format!("spec.schedulerName: no scheduler is called {name:?}: use \"default\""));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn placement(spec: Value) -> Placement {
        let mut whole = json!({ "feeds": [], "subscribers": [{ "clusterAffinity": { "matchLabels": { "tier": "edge" } } }] });
        json_patch::merge(&mut whole, &spec);
        Placement::of(&serde_json::from_value(whole).expect("a spec"))
    }

    fn binds(placement: &Placement, tier: &str, taints: Value) -> bool {
        let labels = BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        placement.binds(&labels, &serde_json::from_value::<Vec<Taint>>(taints).expect("taints"))
    }

    #[test]
    fn subscribers_are_a_union() {
        let two = placement(json!({ "subscribers": [
            { "clusterAffinity": { "matchLabels": { "tier": "edge" } } }, { "clusterAffinity": { "matchLabels": { "tier": "core" } } }] }));
        assert!(binds(&two, "edge", json!([])) && binds(&two, "core", json!([])));
        assert!(!binds(&two, "lab", json!([])));
        assert_eq!(two.selectors(), "tier=edge or tier=core");
    }

    #[test]
    fn no_subscriber_binds_nothing() {
        assert!(!binds(&placement(json!({ "subscribers": [] })), "edge", json!([])));
    }

    #[test]
    fn a_taint_keeps_away_what_does_not_tolerate_it() {
        let taints = json!([{ "key": "gpu", "value": "a", "effect": "NoSchedule" }]);
        assert!(!binds(&placement(json!({})), "edge", taints.clone()));
        let tolerate = |toleration: Value| binds(&placement(json!({ "clusterTolerations": [toleration] })), "edge", taints.clone());
        assert!(tolerate(json!({ "key": "gpu", "operator": "Exists" })));
        assert!(tolerate(json!({ "key": "gpu", "operator": "Equal", "value": "a", "effect": "NoSchedule" })));
        assert!(tolerate(json!({ "operator": "Exists" })));
        assert!(!tolerate(json!({ "key": "gpu", "value": "b" })));
        assert!(!tolerate(json!({ "key": "other", "operator": "Exists" })));
        assert!(!tolerate(json!({ "key": "gpu", "operator": "Exists", "effect": "NoExecute" })));
    }

    #[test]
    fn a_preference_and_being_away_keep_nothing_away() {
        let soft = json!([{ "key": "gpu", "effect": "PreferNoSchedule" }]);
        let away = json!([{ "key": "clusters.clusternet.io/unschedulable", "effect": "NoSchedule" }]);
        assert!(binds(&placement(json!({})), "edge", soft) && binds(&placement(json!({})), "edge", away));
    }

    #[test]
    fn what_this_hub_cannot_do_is_a_problem_and_unbinds_nothing() {
        for spec in
            [json!({ "schedulingStrategy": "Dividing" }), json!({ "schedulingBySubGroup": true }), json!({ "schedulerName": "mine" })]
        {
            let held = placement(spec);
            assert!(held.problem().is_some_and(|problem| problem.starts_with("spec.schedul")), "{held:?}");
            assert!(binds(&held, "edge", json!([])));
        }
    }

    #[test]
    fn a_selector_without_sense_holds_every_cluster() {
        let broken = json!({ "subscribers": [{ "clusterAffinity": { "matchExpressions": [{ "key": "a", "operator": "In" }] } }] });
        let held = placement(broken);
        assert!(held.problem().is_some_and(|problem| problem.contains("needs at least one value")));
        assert!(binds(&held, "lab", json!([{ "key": "gpu", "effect": "NoExecute" }])));
    }
}
