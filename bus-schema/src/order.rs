//! The order in which kinds are applied; removal goes the other way.

use crate::id::ObjectId;

/// Kinds that others need first, in that order. What is not named comes after all of them, webhooks last.
const FIRST: &[(&str, &str)] = &[
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "StorageClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("policy", "PodDisruptionBudget"),
    ("", "ServiceAccount"),
    ("", "Secret"),
    ("", "ConfigMap"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("", "Service"),
];

/// Groups of kinds that judge requests: they must not refuse what they stand on.
const LAST: &[&str] = &["admissionregistration.k8s.io", "apiregistration.k8s.io"];

/// The phase of an object: all of a lower phase have been tried before it is.
pub fn phase(object: &ObjectId) -> u8 {
    let first = FIRST.iter().position(|known| *known == (object.group.as_str(), object.kind.as_str()));
    match first {
        Some(index) => index as u8,
        None => FIRST.len() as u8 + u8::from(LAST.contains(&object.group.as_str())),
    }
}

/// Whether objects of this kind hold others, so that deleting one can delete what is somebody else's.
pub fn is_container(object: &ObjectId) -> bool {
    is_crd(object) || (object.group.as_str(), object.kind.as_str()) == ("", "Namespace")
}

/// Whether it is a CustomResourceDefinition, to be waited for before its objects are applied.
pub fn is_crd(object: &ObjectId) -> bool {
    (object.group.as_str(), object.kind.as_str()) == ("apiextensions.k8s.io", "CustomResourceDefinition")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_stand_on_comes_first_and_webhooks_last() {
        let order = [
            ("", "Namespace"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("", "ServiceAccount"),
            ("", "ConfigMap"),
            ("", "Service"),
            ("apps", "Deployment"),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ];
        let phase = |(group, kind)| phase(&ObjectId::new(group, kind, "", "x"));
        assert!(order.windows(2).all(|pair| phase(pair[0]) < phase(pair[1])));
        assert_eq!(phase(("apps", "Deployment")), phase(("example.com", "Namespace")));
    }
}
