//! Removals that wait for a confirmation, as the Subscription and the cluster tell them.

use super::Outcomes;
use super::condition::Saying;
use crate::core::guard::{Held, fleet};
use crate::core::id::{ClusterKey, SubscriptionRef};
use crate::kinds::names::ANNOTATION_CONFIRM_REMOVAL;

/// The condition's type.
pub const KIND: &str = "RemovalHeld";

/// What a cluster says of its own removals.
pub fn on_cluster(key: &ClusterKey, held: &Held) -> Saying {
    let (Held { removals, of, .. }, ClusterKey { namespace, name }) = (held, key);
    let command = format!("kubectl annotate --overwrite managedcluster -n {namespace} {name} {ANNOTATION_CONFIRM_REMOVAL}={}", held.hash);
    let message = format!("an edit removes {removals} of {of} objects: undo it, or let it go on with `{command}`");
    Saying::new(KIND, "True", "NotConfirmed", message)
}

impl Outcomes {
    /// What a Subscription says of removals on all clusters, bound to it or not any more. One command lets all of them go.
    pub(super) fn removal_held(&self, bundle: &SubscriptionRef) -> Option<Saying> {
        let reports = self.clusters.iter().filter_map(|(key, state)| Some((key, state.report.as_ref()?.held.as_ref()?)));
        let holding: Vec<_> = reports.filter(|(_, held)| held.subscriptions.contains(bundle)).collect();
        let (key, first) = *holding.first()?;
        let hash = fleet::hash(holding.iter().fold(0, |sum, (key, held)| sum ^ fleet::token(key, held)));
        let (namespace, name, clusters) = (&bundle.namespace, &bundle.name, holding.len());
        let command = format!("kubectl annotate --overwrite subscription -n {namespace} {name} {ANNOTATION_CONFIRM_REMOVAL}={hash}");
        let (removals, of) = (first.removals, first.of);
        let message = format!(
            "an edit's removals wait on {clusters} clusters{}, first {removals} of {of} objects on {key}: undo it, or let it go on with `{command}`",
            of_fleet(&holding)
        );
        Some(Saying::new(KIND, "True", "NotConfirmed", message))
    }
}

/// Why clusters wait that lose little each.
fn of_fleet(holding: &[(&ClusterKey, &Held)]) -> String {
    let all: usize = holding.iter().map(|(_, held)| held.removals).sum();
    match holding.iter().map(|(_, held)| held.of_fleet).max() {
        None | Some(0) => String::new(),
        Some(objects) => format!(", together {all} of the fleet's {objects} objects"),
    }
}
