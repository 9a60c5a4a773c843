//! Whether what many clusters lose together has to wait, and what one confirmation on a Subscription lets go. Pure; the clock is handed in.
//!
//! Every cluster's task tells what its next list would remove before it lets it go. Where many clusters could lose a little each, a
//! removal waits a moment, so that all that one edit takes is counted before the first object goes. What has gone lately counts too, so
//! that labels changed one by one add up.

use bus_schema::id::Millis;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{Guard, Held, Removal};
use crate::core::id::{ClusterKey, SubscriptionRef};

/// Edits that touch so many clusters or fewer are judged by each cluster's own share only.
pub const MAX_FREE_CLUSTERS: usize = 10;
/// A removal waits until nothing of the same Subscription has joined it for so long.
const SETTLE: Millis = 1_000;
/// Longest wait of one cluster for others to join.
const MAX_SETTLE: Millis = 10_000;
/// After a start the clusters come one after another, whatever their number.
const START: Millis = 10_000;
/// How long removals count that were let go.
const WINDOW: Millis = 600_000;
/// When a cluster that waits for a person looks again: others may have undone their part.
const LOOK_AGAIN: Millis = 30_000;

/// What the Subscriptions say of removals, also to clusters that they are not bound to any more.
#[derive(Debug, Default, PartialEq)]
pub struct Words {
    /// Every Subscription there is: what none of them claims was ordered to go.
    pub alive: Vec<SubscriptionRef>,
    /// Hashes by UID of the Subscription that names them in its annotation.
    pub confirmed: BTreeMap<String, String>,
}

/// What one cluster does with its removals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// Others may join: ask again at this time.
    Wait(Millis),
    /// A person has to say yes; at this time it may be judged otherwise.
    Held(Held, Millis),
}

/// The removals of all clusters.
pub struct Fleet {
    guard: Guard,
    objects: HashMap<ClusterKey, usize>,
    total: usize,
    waiting: HashMap<ClusterKey, Waiting>,
    sums: HashMap<String, Sum>,
}

struct Waiting {
    held: Held,
    since: Millis,
}

/// What waits for one Subscription, and what went lately.
#[derive(Default)]
struct Sum {
    clusters: usize,
    removals: usize,
    token: u64,
    joined: Millis,
    gone: VecDeque<Gone>,
    /// Clusters, with the hash of their removals, that a confirmation has named.
    allowed: HashMap<ClusterKey, String>,
}

/// Removals that were let go.
struct Gone {
    at: Millis,
    cluster: ClusterKey,
    removals: usize,
}

/// One cluster's part in the hash that confirms the removals of many; the parts are joined by exclusive or.
pub fn token(cluster: &ClusterKey, held: &Held) -> u64 {
    let text = format!("{}/{}/{}", cluster.namespace, cluster.name, held.hash);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The hash as an annotation names it.
pub fn hash(token: u64) -> String {
    format!("{token:016x}")
}

impl Fleet {
    pub fn new(guard: Guard) -> Self {
        Self { guard, objects: HashMap::new(), total: 0, waiting: HashMap::new(), sums: HashMap::new() }
    }

    /// Judges what the next list of a cluster that has `objects` would remove; `confirmed` is what its own annotation names.
    pub fn judge(
        &mut self,
        cluster: &ClusterKey,
        objects: usize,
        removal: Option<&Removal>,
        confirmed: Option<&str>,
        words: &Words,
        now: Millis,
    ) -> Verdict {
        let before = self.objects.insert(cluster.clone(), objects).unwrap_or(0);
        self.total = self.total - before + objects;
        let Some(removal) = removal else {
            self.withdraw(cluster);
            self.sums.values_mut().for_each(|sum| drop(sum.allowed.remove(cluster)));
            return Verdict::Go;
        };
        let held = &removal.held;
        self.join(cluster, held, now);
        if confirmed == Some(&held.hash) || self.is_allowed(cluster, held, words) {
            self.withdraw(cluster);
            return Verdict::Go;
        }
        if removal.too_much {
            return Verdict::Held(held.clone(), now + LOOK_AGAIN);
        }
        if let Some(until) = self.others_may_join(cluster, held, now) {
            return Verdict::Wait(until);
        }
        if held.subscriptions.iter().any(|of| self.is_too_much(of, now)) {
            return Verdict::Held(Held { of_fleet: self.total, ..held.clone() }, now + LOOK_AGAIN);
        }
        self.let_go(cluster, held, now);
        Verdict::Go
    }

    /// The cluster is gone.
    pub fn forget(&mut self, cluster: &ClusterKey) {
        self.withdraw(cluster);
        self.total -= self.objects.remove(cluster).unwrap_or(0);
        self.sums.values_mut().for_each(|sum| drop(sum.allowed.remove(cluster)));
    }

    fn join(&mut self, cluster: &ClusterKey, held: &Held, now: Millis) {
        if self.waiting.get(cluster).is_some_and(|waiting| waiting.held == *held) {
            return;
        }
        self.withdraw(cluster);
        self.forget_what_went_before(now);
        for of in &held.subscriptions {
            let sum = self.sums.entry(of.uid.clone()).or_default();
            sum.clusters += 1;
            sum.removals += held.removals;
            sum.token ^= token(cluster, held);
            sum.joined = now;
        }
        self.waiting.insert(cluster.clone(), Waiting { held: held.clone(), since: now });
    }

    fn withdraw(&mut self, cluster: &ClusterKey) {
        let Some(Waiting { held, .. }) = self.waiting.remove(cluster) else { return };
        for of in &held.subscriptions {
            let Some(sum) = self.sums.get_mut(&of.uid) else { continue };
            sum.clusters -= 1;
            sum.removals -= held.removals;
            sum.token ^= token(cluster, &held);
        }
        self.sums.retain(|_, sum| !sum.is_empty());
    }

    /// Whether each of the Subscriptions that the removals are of names what waits for it, now or when others of it went.
    fn is_allowed(&mut self, cluster: &ClusterKey, held: &Held, words: &Words) -> bool {
        held.subscriptions.iter().all(|of| self.is_allowed_by(of, cluster, held, words))
    }

    fn is_allowed_by(&mut self, of: &SubscriptionRef, cluster: &ClusterKey, held: &Held, words: &Words) -> bool {
        let Some(sum) = self.sums.get_mut(&of.uid) else { return false };
        if words.confirmed.get(&of.uid).is_some_and(|named| *named == hash(sum.token)) {
            let mine = self.waiting.iter().filter(|(_, waiting)| waiting.held.subscriptions.contains(of));
            sum.allowed.extend(mine.map(|(cluster, waiting)| (cluster.clone(), waiting.held.hash.clone())));
        }
        sum.allowed.get(cluster).is_some_and(|hash| *hash == held.hash)
    }

    fn others_may_join(&self, cluster: &ClusterKey, held: &Held, now: Millis) -> Option<Millis> {
        if self.guard.fleet_share == 0 || (now >= START && self.objects.len() <= MAX_FREE_CLUSTERS) {
            return None;
        }
        let since = self.waiting.get(cluster)?.since;
        let joined = held.subscriptions.iter().filter_map(|of| self.sums.get(&of.uid)).map(|sum| sum.joined).max()?;
        Some((joined + SETTLE).min(since + MAX_SETTLE)).filter(|until| *until > now)
    }

    fn is_too_much(&mut self, of: &SubscriptionRef, now: Millis) -> bool {
        self.forget_what_went_before(now);
        let Some(sum) = self.sums.get(&of.uid) else { return false };
        let gone: usize = sum.gone.iter().map(|gone| gone.removals).sum();
        let share = usize::from(self.guard.fleet_share);
        share != 0 && self.is_many(of, sum) && (sum.removals + gone) * 100 > (self.total + gone) * share
    }

    /// Whether many clusters lose something, now or lately; one that is edited again and again is one.
    fn is_many(&self, of: &SubscriptionRef, sum: &Sum) -> bool {
        let waits = |cluster: &ClusterKey| self.waiting.get(cluster).is_some_and(|waiting| waiting.held.subscriptions.contains(of));
        let mut others = BTreeSet::new();
        let mut gone = sum.gone.iter().map(|gone| &gone.cluster).filter(|cluster| !waits(cluster));
        sum.clusters > MAX_FREE_CLUSTERS || gone.any(|cluster| others.insert(cluster) && sum.clusters + others.len() > MAX_FREE_CLUSTERS)
    }

    fn forget_what_went_before(&mut self, now: Millis) {
        for sum in self.sums.values_mut() {
            while sum.gone.front().is_some_and(|gone| gone.at + WINDOW <= now) {
                sum.gone.pop_front();
            }
        }
        self.sums.retain(|_, sum| !sum.is_empty());
    }

    fn let_go(&mut self, cluster: &ClusterKey, held: &Held, now: Millis) {
        for of in &held.subscriptions {
            if let Some(sum) = self.sums.get_mut(&of.uid) {
                sum.gone.push_back(Gone { at: now, cluster: cluster.clone(), removals: held.removals });
            }
        }
        self.withdraw(cluster);
    }
}

impl Sum {
    fn is_empty(&self) -> bool {
        self.clusters == 0 && self.gone.is_empty() && self.allowed.is_empty()
    }
}

#[cfg(test)]
mod tests;
