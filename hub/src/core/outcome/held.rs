//! Removals that wait for a confirmation, as the Subscription and the cluster tell them.

use super::Outcomes;
use super::condition::Saying;
use crate::core::guard::Held;
use crate::core::id::{ClusterKey, SubscriptionRef};
use crate::kinds::names::ANNOTATION_CONFIRM_REMOVAL;

/// The condition's type.
pub const KIND: &str = "RemovalHeld";

/// What a cluster says of its own removals.
pub fn on_cluster(key: &ClusterKey, held: &Held) -> Saying {
    let Held { removals, of, .. } = held;
    let message = format!("an edit removes {removals} of {of} objects: undo it, or let it go on with `{}`", command(key, held));
    Saying::new(KIND, "True", "NotConfirmed", message)
}

fn command(ClusterKey { namespace, name }: &ClusterKey, held: &Held) -> String {
    format!("kubectl annotate --overwrite managedcluster -n {namespace} {name} {ANNOTATION_CONFIRM_REMOVAL}={}", held.hash)
}

impl Outcomes {
    /// What a Subscription says of removals on all clusters, bound to it or not any more.
    pub(super) fn removal_held(&self, bundle: &SubscriptionRef) -> Option<Saying> {
        let reports = self.clusters.iter().filter_map(|(key, state)| Some((key, state.report.as_ref()?.held.as_ref()?)));
        let mut holding = reports.filter(|(_, held)| held.subscriptions.contains(bundle));
        let (key, first) = holding.next()?;
        let clusters = 1 + holding.count();
        let (removals, of, command) = (first.removals, first.of, command(key, first));
        let message = format!(
            "an edit's removals wait on {clusters} clusters, first {removals} of {of} objects on {key}: undo it, or let it go on with `{command}`"
        );
        Some(Saying::new(KIND, "True", "NotConfirmed", message))
    }
}
