//! Names of things, valid as map keys: clusters, Subscriptions, objects on members.

use std::fmt;

use kube::ResourceExt;
use serde::{Deserialize, Serialize};

use crate::kinds::{ManagedCluster, Subscription};

/// Names a ManagedCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterKey {
    pub namespace: String,
    pub name: String,
}

/// Names a Subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscriptionKey {
    pub namespace: String,
    pub name: String,
}

/// One life of a Subscription: the bundle that an entry belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscriptionRef {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// An object's identity on a member; its apiVersion is no part of it, only a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// Empty for the core group.
    pub group: String,
    pub kind: String,
    /// Empty for an object of cluster scope.
    pub namespace: String,
    pub name: String,
}

impl ClusterKey {
    /// Names this one.
    pub fn of(cluster: &ManagedCluster) -> Self {
        Self::new(cluster.namespace().unwrap_or_default(), cluster.name_any())
    }

    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl SubscriptionKey {
    /// Names this one.
    pub fn of(subscription: &Subscription) -> Self {
        Self::new(subscription.namespace().unwrap_or_default(), subscription.name_any())
    }

    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl SubscriptionRef {
    /// The name without the life.
    pub fn key(&self) -> SubscriptionKey {
        SubscriptionKey::new(&self.namespace, &self.name)
    }
}

/// Splits an apiVersion into group (empty for the core group) and version.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for SubscriptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Written as `Deployment.apps default/web`.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match self.namespace.as_str() {
            "" => write!(f, " {}", self.name),
            namespace => write!(f, " {namespace}/{}", self.name),
        }
    }
}
