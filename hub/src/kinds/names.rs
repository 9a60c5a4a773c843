//! Every group, namespace, label and annotation name the hub reads or writes; nowhere else is one spelled out.

/// API group of ManagedCluster and ClusterRegistrationRequest.
pub const CLUSTERS_GROUP: &str = "clusters.clusternet.io";
/// API group of Subscription, Manifest and the kinds beside them.
pub const APPS_GROUP: &str = "apps.clusternet.io";
/// API group of the hub's own policy: JoinToken, User.
pub const ACCESS_GROUP: &str = "access.clusternet.io";

/// Where Manifests live, whatever the namespace of the template they hold.
pub const RESERVED_NAMESPACE: &str = "clusternet-reserved";

/// Says which program made an object.
pub const LABEL_CREATED_BY: &str = "clusternet.io/created-by";
/// Value of `LABEL_CREATED_BY` on everything an agent applies, and on what registration makes for it.
pub const CREATED_BY_AGENT: &str = "clusternet-agent";
/// Says who registered a cluster.
pub const LABEL_REGISTERED_BY: &str = "clusters.clusternet.io/registered-by";
/// A cluster's identity: the UID of its Lease `clusternet-agent`.
pub const LABEL_CLUSTER_ID: &str = "clusters.clusternet.io/cluster-id";
/// A cluster's name.
pub const LABEL_CLUSTER_NAME: &str = "clusters.clusternet.io/cluster-name";

/// Carries the bus id an agent had and would like again, on a ClusterRegistrationRequest.
pub const ANNOTATION_SID: &str = "clusternet.io/sid";
/// What a person said of a ClusterRegistrationRequest: `pending`, `approved` or `denied`.
pub const ANNOTATION_APPROVAL: &str = "clusternet.io/approval";
/// The id of the JoinToken that a ClusterRegistrationRequest came with.
pub const ANNOTATION_JOIN_TOKEN: &str = "clusternet.io/join-token";
/// SHA-256 of the client key that signed a ClusterRegistrationRequest for a cluster that exists: it goes on being accepted.
pub const ANNOTATION_PROVED_BY: &str = "clusternet.io/proved-by";
/// Takes every client key away from a ManagedCluster; the value says why.
pub const ANNOTATION_REVOKED: &str = "clusternet.io/revoked";
/// Confirms that unproven objects of the list with this hash may be pruned, on a ManagedCluster.
pub const ANNOTATION_CONFIRM_PRUNE: &str = "clusternet.io/confirm-prune";
/// Confirms the removals that are held under this hash, on a ManagedCluster.
pub const ANNOTATION_CONFIRM_REMOVAL: &str = "clusternet.io/confirm-removal";

/// Which labels of a ManagedCluster come from its nodes: a JSON object of keys and values.
pub const ANNOTATION_NODE_LABELS: &str = "clusternet.io/node-labels";

/// Taint that Clusternet puts on a cluster it has not heard of; being away is no reason to lose work, so it never unbinds.
pub const TAINT_UNSCHEDULABLE: &str = "clusters.clusternet.io/unschedulable";

/// What `kubectl apply` leaves behind: a copy of the user's file, of no use on a member.
pub const ANNOTATION_LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Prefixes of annotations that are the hub's own and never travel to a member.
pub const OWN_ANNOTATION_PREFIXES: [&str; 2] = ["apps.clusternet.io/", "hub.clusternet.io/"];
