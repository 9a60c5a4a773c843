//! What a Subscription says of the overrides of its feeds.

use super::condition::Saying;
use crate::core::index::SubscriptionFacts;

/// How many failures a message names.
const MAX_NAMED: usize = 3;

/// The condition `OverridesApplied`; none where nothing is overridden.
pub fn overridden(facts: &SubscriptionFacts) -> Option<Saying> {
    let overrides = &facts.overrides;
    let say = |status, reason, message: String| Some(Saying::new("OverridesApplied", status, reason, message));
    let waiting = overrides.waiting.first().map(|first| {
        let count = overrides.waiting.len();
        format!(
            "{count} changed overrides wait for the next change of the template or this Subscription; first {first}: \
             set its spec.overridePolicy to ApplyNow to have it at once"
        )
    });
    if !overrides.failures.is_empty() {
        let named = overrides.failures.iter().take(MAX_NAMED).map(|(cluster, failure)| format!("{cluster}: {failure}"));
        let named = named.collect::<Vec<_>>().join("; ");
        let message = format!("overrides are left out on {} clusters, the objects go out without them: {named}", overrides.failed_clusters);
        return say("False", "OverrideFailed", message);
    }
    match (waiting, overrides.in_force) {
        (Some(waiting), _) => say("False", "ApplyLater", waiting),
        (None, 0) => None,
        (None, count) => say("True", "Applied", format!("{count} overrides of its feeds are in force")),
    }
}
