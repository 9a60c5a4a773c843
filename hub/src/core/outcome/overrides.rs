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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::build::{cluster, manifest, read, subscription};
    use crate::core::index::{Index, SubscriptionChange};
    use crate::core::overrides::Override;

    /// What Subscription `s` says after overrides with these policies and values.
    fn said(overrides: &[(&str, &str)]) -> Option<(&'static str, String)> {
        let mut index = Index::default();
        index.apply_cluster(&cluster("a", "edge"));
        index.apply_manifest(&manifest("one", "1")).expect("valid");
        index.apply_subscription(&subscription("s", "edge", &["one"]));
        index.take_plans();
        for (policy, value) in overrides {
            let object: Value = json!({
                "apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Globalization", "metadata": { "name": "g" },
                "spec": { "overridePolicy": policy, "overrides": [{ "type": "MergePatch", "value": value }],
                    "feed": { "kind": "ConfigMap", "apiVersion": "v1", "namespace": "default", "name": "one" } },
            });
            index.apply_override(Override::of_globalization(&read(object)));
        }
        index.take_plans();
        let facts = index.take_facts().into_iter().find_map(|change| match change {
            SubscriptionChange::Facts(facts) => Some(*facts),
            SubscriptionChange::Removed(_) => None,
        });
        overridden(&facts.expect("of s")).map(|saying| (saying.status, saying.message))
    }

    #[test]
    fn the_condition_tells_what_is_in_force_what_waits_and_what_is_left_out() {
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[("ApplyNow", "data: {v: '2'}")]), Some(("True", "1 overrides of its feeds are in force".to_owned())));
        let (status, message) = said(&[("ApplyLater", "data: {v: '2'}")]).expect("it waits");
        assert!(status == "False" && message.contains("first Globalization g: set its spec.overridePolicy to ApplyNow"), "{message}");
        let (status, message) = said(&[("ApplyNow", "kind: Secret")]).expect("it is left out");
        assert_eq!(status, "False");
        assert_eq!(
            message,
            "overrides are left out on 1 clusters, the objects go out without them: clusternet-a/a: Globalization g overrides[0]: \
             ConfigMap default/one: it would make Secret default/one of it; kind, group, namespace and name can't be overridden"
        );
    }
}
