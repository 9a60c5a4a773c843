//! In which order kinds are applied, and in reverse pruned.
//!
//! Pure. What others live in or are made of comes first (namespaces, definitions, identities, configuration), then what
//! runs, then unknown kinds, and what judges requests (webhooks) last, so that it can't refuse its own dependencies.

use std::cmp::Ordering;

use super::object::ObjectId;

/// Kinds in the order in which they are applied.
const ORDER: &[(&str, &str)] = &[
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("policy", "PodDisruptionBudget"),
    ("", "ServiceAccount"),
    ("", "Secret"),
    ("", "ConfigMap"),
    ("storage.k8s.io", "StorageClass"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("", "Service"),
    ("apps", "DaemonSet"),
    ("", "Pod"),
    ("", "ReplicationController"),
    ("apps", "ReplicaSet"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "Ingress"),
];

/// Kinds that come after everything else, unknown kinds included.
const LAST: &[(&str, &str)] = &[
    ("apiregistration.k8s.io", "APIService"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicyBinding",
    ),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicyBinding",
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
    ),
    (
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
    ),
];

/// Position of a kind: lower is applied earlier.
pub fn rank(group: &str, kind: &str) -> usize {
    let at = |list: &[(&str, &str)]| list.iter().position(|known| *known == (group, kind));
    match (at(ORDER), at(LAST)) {
        (Some(position), _) => position,
        (None, Some(position)) => ORDER.len() + 1 + position,
        (None, None) => ORDER.len(),
    }
}

/// Compares two objects for applying; objects of one rank keep a stable order by identity.
pub fn for_apply(a: &ObjectId, b: &ObjectId) -> Ordering {
    rank(&a.group, &a.kind)
        .cmp(&rank(&b.group, &b.kind))
        .then_with(|| a.cmp(b))
}

/// Compares two objects for pruning: the reverse of [`for_apply`].
pub fn for_prune(a: &ObjectId, b: &ObjectId) -> Ordering {
    for_apply(b, a)
}

/// Whether objects of this kind hold others, so that deleting one can delete what is somebody else's.
pub fn is_container(group: &str, kind: &str) -> bool {
    is_crd(group, kind) || (group, kind) == ("", "Namespace")
}

/// Whether this kind is a CustomResourceDefinition, to be waited for before its objects are applied.
pub fn is_crd(group: &str, kind: &str) -> bool {
    (group, kind) == ("apiextensions.k8s.io", "CustomResourceDefinition")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<ObjectId> {
        [
            (
                "admissionregistration.k8s.io",
                "ValidatingWebhookConfiguration",
            ),
            ("example.com", "Shop"),
            ("apps", "Deployment"),
            ("", "ConfigMap"),
            ("", "ServiceAccount"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("", "Namespace"),
        ]
        .map(|(group, kind)| ObjectId::new(group, kind, "", "x"))
        .to_vec()
    }

    #[test]
    fn containers_come_first_unknown_kinds_late_and_webhooks_last() {
        let mut sorted = ids();
        sorted.sort_by(for_apply);
        let mut expected = ids();
        expected.reverse();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn pruning_is_the_reverse() {
        let mut sorted = ids();
        sorted.sort_by(for_prune);
        assert_eq!(sorted, ids());
    }

    #[test]
    fn a_kind_of_another_group_is_unknown() {
        assert!(rank("serving.example.com", "Service") > rank("apps", "Deployment"));
    }
}
