//! One cluster's desired list, from the Subscriptions bound to it.
//!
//! Invariants: one entry a claim; all entries of one identity carry the same content; the list is sorted; the same Subscriptions and
//! templates give the same list, whatever the order they were seen in.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::id::{ClusterKey, ObjectId, SubscriptionRef};
use super::render::Rendered;

/// What one Subscription wants of one object on one cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DesiredEntry {
    pub bundle: SubscriptionRef,
    pub object: ObjectId,
    /// The version part of the apiVersion to apply it at.
    pub version: String,
    pub content: Content,
}

/// What an object is to be.
#[derive(Clone, Debug, Eq, PartialOrd, Ord)]
pub enum Content {
    /// Exactly these bytes of canonical JSON.
    Bytes(Arc<[u8]>),
    /// Whatever is there, or nothing; it is neither made, changed nor pruned.
    Keep,
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keep, Self::Keep) => true,
            // Most comparisons are of an object with itself, which may be a megabyte.
            (Self::Bytes(one), Self::Bytes(two)) => Arc::ptr_eq(one, two) || one == two,
            _ => false,
        }
    }
}

/// A desired list, shared by all clusters that have the same one.
pub type DesiredList = Arc<[DesiredEntry]>;

/// A cluster's desired state as it is handed on.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanUpdate {
    pub cluster: ClusterKey,
    /// The cluster's id on the bus.
    pub sid: String,
    pub entries: DesiredList,
    /// The highest resourceVersion seen in any list or event when this was rendered: the stamp.
    pub rv: u64,
    /// The hash that somebody confirmed the pruning of unproven objects for.
    pub confirm_prune: Option<String>,
    /// The hash that somebody confirmed held removals for.
    pub confirm_removal: Option<String>,
}

/// Who wins when two Subscriptions claim one object; the greatest does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    priority: i32,
    older: std::cmp::Reverse<Option<i64>>,
    uid: std::cmp::Reverse<String>,
}

impl Rank {
    /// Higher priority first, then the older, then the lower uid; `created` in seconds since 1970.
    pub fn new(priority: i32, created: Option<i64>, uid: &str) -> Self {
        Self { priority, older: std::cmp::Reverse(created), uid: std::cmp::Reverse(uid.to_owned()) }
    }
}

/// One Subscription's part in a list.
pub struct Claimant<'a> {
    pub bundle: &'a SubscriptionRef,
    pub rank: &'a Rank,
    /// Held: wants no change.
    pub held: bool,
    /// The objects it feeds, with the version its feed names.
    pub feeds: &'a BTreeMap<ObjectId, String>,
}

/// The list of a cluster that these Subscriptions are bound to.
pub fn resolve<'a>(claimants: &[Claimant<'a>], template: impl Fn(&ObjectId) -> Option<&'a Rendered>) -> DesiredList {
    let mut claims: BTreeMap<&ObjectId, Vec<(&Claimant<'a>, &String)>> = BTreeMap::new();
    for claimant in claimants {
        for (object, version) in claimant.feeds {
            claims.entry(object).or_default().push((claimant, version));
        }
    }
    let mut entries: Vec<DesiredEntry> =
        claims.into_iter().flat_map(|(object, claims)| entries_of(object, &claims, template(object))).collect();
    entries.sort_unstable_by(|one, two| (&one.bundle, &one.object).cmp(&(&two.bundle, &two.object)));
    entries.into()
}

fn entries_of(object: &ObjectId, claims: &[(&Claimant<'_>, &String)], template: Option<&Rendered>) -> Vec<DesiredEntry> {
    let winner = claims.iter().filter(|(claimant, _)| !claimant.held).max_by_key(|(claimant, _)| claimant.rank);
    let content = winner.and(template);
    let entry = |(claimant, version): &(&Claimant<'_>, &String)| DesiredEntry {
        bundle: claimant.bundle.clone(),
        object: object.clone(),
        version: content.map_or_else(|| (*version).clone(), |rendered| rendered.version.clone()),
        content: content.map_or(Content::Keep, |rendered| Content::Bytes(rendered.bytes.clone())),
    };
    claims.iter().map(entry).collect()
}
