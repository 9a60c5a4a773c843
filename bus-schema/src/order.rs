//! The order in which kinds are applied; removal goes the other way.

use crate::id::ObjectId;

/// Kinds that others need first, in that order. What is not named comes after all of them, webhooks last.
const FIRST: &[&str] = &[
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "RuntimeClass",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
];

const LAST: &[&str] = &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// The phase of an object: all of a lower phase have been tried before it is.
pub fn phase(object: &ObjectId) -> u8 {
    let at = |kinds: &[&str]| kinds.iter().position(|kind| *kind == object.kind);
    match (at(FIRST), at(LAST)) {
        (Some(index), _) => index as u8,
        (None, Some(_)) => FIRST.len() as u8 + 1,
        (None, None) => FIRST.len() as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_stand_on_comes_first_and_webhooks_last() {
        let phase = |kind: &str| phase(&ObjectId { kind: kind.into(), ..ObjectId::default() });
        let order = ["Namespace", "CustomResourceDefinition", "ServiceAccount", "ConfigMap", "Service", "Deployment", "ValidatingWebhookConfiguration"];
        assert!(order.windows(2).all(|pair| phase(pair[0]) < phase(pair[1])));
        assert_eq!(phase("Deployment"), phase("Widget"));
    }
}
