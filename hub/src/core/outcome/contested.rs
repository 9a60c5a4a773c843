//! Who else changes a Subscription's objects.

use std::collections::BTreeSet;

use super::{MAX_UNHEALTHY, Outcomes};
use crate::core::id::SubscriptionKey;

impl Outcomes {
    /// A Subscription's uid and its disputes, each as cluster, object and who else changes it; none for one that is not known.
    pub fn disputes(&self, key: &SubscriptionKey) -> Option<(String, BTreeSet<String>)> {
        let facts = self.subscriptions.get(key)?;
        let verdicts =
            facts.bound.iter().filter_map(|cluster| Some((cluster, self.clusters.get(cluster)?.verdicts.get(&facts.reference)?)));
        let told = verdicts.flat_map(|(cluster, verdict)| verdict.contested.iter().map(move |dispute| format!("{cluster}: {dispute}")));
        Some((facts.reference.uid.clone(), told.take(MAX_UNHEALTHY).collect()))
    }
}
