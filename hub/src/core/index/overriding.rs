//! Overrides in the index: which are in force, which clusters they cover, and what they make of templates.
//!
//! A change of an override with policy ApplyLater waits: it comes into force with the next change of its template or of a Subscription
//! that feeds it, and at once where nothing that it covers has been planned yet. Work on a cluster is proportional to the overrides that
//! cover it; equal results share bytes, and with them lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Index;
use super::state::Cluster;
use crate::core::id::{ClusterKey, ObjectId, SubscriptionKey};
use crate::core::overrides::{Failure, Override, OverrideKey, OverrideKind, apply};
use crate::core::render::Rendered;
use crate::kinds::OverridePolicy;

/// How many results an object keeps beside those of its present clusters.
const SPARE_RESULTS: usize = 64;

/// One state of an override, numbered so that states are told apart at a glance.
#[derive(Debug)]
pub struct Revision {
    number: u64,
    pub over: Override,
}

/// Every override, and the results that clusters have.
#[derive(Default)]
pub struct Overrides {
    known: BTreeMap<OverrideKey, Known>,
    by_object: BTreeMap<ObjectId, BTreeSet<OverrideKey>>,
    results: HashMap<ObjectId, Results>,
    /// What there are overrides for of all that a set of Subscriptions feeds; forgotten whenever either side changes.
    relevant: HashMap<BTreeSet<SubscriptionKey>, Arc<[ObjectId]>>,
    /// The last number given to a revision or a result.
    last: u64,
    /// Lists were given out, so there is something that ApplyLater spares.
    planned: bool,
}

struct Known {
    latest: Arc<Revision>,
    in_force: Option<Arc<Revision>>,
}

/// What one object has become, by what it was made from.
#[derive(Default)]
struct Results {
    made: HashMap<Inputs, Arc<Overridden>>,
    /// The number of each content.
    contents: HashMap<Arc<[u8]>, (u64, Rendered)>,
}

/// The revisions in order, and the values of their variables.
type Inputs = (Vec<u64>, Vec<Option<String>>);

/// An object as clusters with the same overrides and values get it.
#[derive(Debug)]
pub struct Overridden {
    /// 0 for the template's own content.
    pub number: u64,
    pub rendered: Rendered,
    pub failures: Vec<Failure>,
}

/// The overridden objects of one cluster, sorted.
pub type Overlay = Vec<Arc<Overridden>>;

impl Known {
    fn waits(&self) -> bool {
        self.in_force.as_ref().is_none_or(|in_force| in_force.number != self.latest.number)
    }

    fn objects(&self) -> BTreeSet<ObjectId> {
        let both = [Some(&self.latest), self.in_force.as_ref()];
        both.into_iter().flatten().map(|revision| revision.over.object.clone()).collect()
    }
}

impl Overrides {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Takes note that lists were given out.
    pub fn note_planned(&mut self) {
        self.planned = true;
    }

    /// Takes note that Subscriptions feed other objects than before.
    pub fn forget_relevant(&mut self) {
        self.relevant.clear();
    }

    /// Forgets what was made of an object whose template changed.
    pub fn forget_results(&mut self, object: &ObjectId) {
        self.results.remove(object);
    }

    /// Those in force that cover a cluster, sorted by object and place.
    pub fn covering(&self, key: &ClusterKey, cluster: &Cluster) -> Vec<Arc<Revision>> {
        let in_force = self.known.values().filter_map(|known| known.in_force.as_ref());
        let mut covering: Vec<_> = in_force.filter(|revision| cluster.is_covered(key, &revision.over)).cloned().collect();
        covering.sort_by(|one, two| sorting(one).cmp(&sorting(two)));
        covering
    }

    /// How many are in force for an object, and which wait.
    pub fn of_object(&self, object: &ObjectId) -> (usize, Vec<&OverrideKey>) {
        let of_object = self.by_object.get(object).into_iter().flatten().filter_map(|key| Some((key, self.known.get(key)?)));
        let (mut in_force, mut waiting) = (0, Vec::new());
        for (key, known) in of_object {
            in_force += usize::from(known.in_force.as_ref().is_some_and(|revision| revision.over.object == *object));
            waiting.extend(known.waits().then_some(key));
        }
        (in_force, waiting)
    }

    fn result(
        &mut self,
        template: &Rendered,
        revisions: &[Arc<Revision>],
        key: &ClusterKey,
        cluster: &Cluster,
        clusters: usize,
    ) -> Arc<Overridden> {
        let values = cluster.values(key);
        let variables: BTreeSet<_> = revisions.iter().flat_map(|revision| revision.over.variables()).collect();
        let inputs: Inputs = (
            revisions.iter().map(|revision| revision.number).collect(),
            variables.into_iter().map(|variable| values.get(variable).map(ToOwned::to_owned)).collect(),
        );
        let next = self.last + 1;
        let results = self.results.entry(template.object.clone()).or_default();
        // A failure names the cluster whose value is missing, so only what was made of values is shared.
        let whole = inputs.1.iter().all(Option::is_some);
        if let Some(made) = results.made.get(&inputs).filter(|_| whole) {
            return made.clone();
        }
        let outcome = apply(template, revisions.iter().map(|revision| &revision.over), &values);
        let failures = outcome.steps.into_iter().filter_map(|step| step.result.err()).collect();
        if results.made.len() > 2 * clusters + SPARE_RESULTS {
            *results = Results::default();
        }
        let (number, rendered) = if outcome.rendered.bytes == template.bytes {
            (0, template.clone())
        } else {
            results.contents.entry(outcome.rendered.bytes.clone()).or_insert((next, outcome.rendered)).clone()
        };
        let made = Arc::new(Overridden { number, rendered, failures });
        results.made.insert(inputs, made.clone());
        self.last = next;
        made
    }
}

fn sorting(revision: &Arc<Revision>) -> (&ObjectId, &crate::core::overrides::Place) {
    (&revision.over.object, &revision.over.place)
}

impl Index {
    /// Takes an override as it is now.
    pub fn apply_override(&mut self, over: Override) {
        let key = over.key().clone();
        let before = self.overrides.known.get(&key);
        if before.is_some_and(|known| known.latest.over == over) {
            return;
        }
        let now = over.policy == OverridePolicy::ApplyNow || !self.overrides.planned || !self.is_out(&over);
        let revision = Arc::new(Revision { number: self.overrides.number(), over });
        let in_force = self.overrides.known.get(&key).and_then(|known| known.in_force.clone());
        self.know(&key, Some(Known { latest: revision, in_force }));
        if now {
            self.put_in_force(&key);
        }
    }

    /// Takes note that an override is gone: what it did is undone at once, whatever its policy.
    pub fn delete_override(&mut self, key: &OverrideKey) {
        let Some(known) = self.overrides.known.get(key) else {
            return;
        };
        let old = known.in_force.clone();
        self.cover(old.as_ref(), None);
        self.know(key, None);
    }

    /// Deletes every override of a kind that a complete list did not name.
    pub fn retain_overrides(&mut self, kind: OverrideKind, listed: &BTreeSet<OverrideKey>) {
        let gone: Vec<_> = self.overrides.known.keys().filter(|key| key.kind == kind && !listed.contains(*key)).cloned().collect();
        gone.iter().for_each(|key| self.delete_override(key));
    }

    /// Brings into force what waits for an object's next change.
    pub(super) fn promote(&mut self, object: &ObjectId) {
        let waiting: Vec<_> = self.overrides.of_object(object).1.into_iter().cloned().collect();
        waiting.iter().for_each(|key| self.put_in_force(key));
    }

    /// Brings into force what waits in the namespace of a cluster that something new was bound to.
    pub(super) fn promote_local(&mut self, namespace: &str) {
        let known =
            self.overrides.known.iter().filter(|(key, known)| known.waits() && known.latest.over.is_local() && key.namespace == namespace);
        let waiting: Vec<_> = known.map(|(key, _)| key.clone()).collect();
        waiting.iter().for_each(|key| self.put_in_force(key));
    }

    /// What the overrides make of the objects that a cluster is fed, and of nothing else.
    pub(super) fn overlay(&mut self, key: &ClusterKey) -> Overlay {
        let Some(bound) = self.clusters.get(key).filter(|cluster| !cluster.overrides.is_empty()).map(|cluster| cluster.bound.clone())
        else {
            return Overlay::new();
        };
        let relevant = self.relevant(&bound);
        let Self { clusters, templates, overrides, .. } = self;
        let Some(cluster) = clusters.get(key) else {
            return Overlay::new();
        };
        let made = relevant.iter().filter_map(|object| {
            let own = cluster.overrides_of(object);
            let template = super::first_template(templates, object).filter(|_| !own.is_empty())?;
            Some(overrides.result(template, own, key, cluster, clusters.len()))
        });
        made.collect()
    }

    /// The objects, sorted, that these Subscriptions feed and that there are overrides for.
    pub(super) fn relevant(&mut self, bound: &BTreeSet<SubscriptionKey>) -> Arc<[ObjectId]> {
        if let Some(found) = self.overrides.relevant.get(bound) {
            return found.clone();
        }
        let subscriptions = bound.iter().filter_map(|key| self.subscriptions.get(key));
        let fed = subscriptions.flat_map(|subscription| subscription.feeds.keys());
        let overridden: BTreeSet<&ObjectId> = fed.filter(|object| self.overrides.by_object.contains_key(object)).collect();
        let found: Arc<[ObjectId]> = overridden.into_iter().cloned().collect();
        self.overrides.relevant.insert(bound.clone(), found.clone());
        found
    }

    /// Keeps what failed on a cluster, and has its Subscriptions tell if that is news.
    pub(super) fn note_failures(&mut self, key: &ClusterKey, overlay: &Overlay) {
        let Some(cluster) = self.clusters.get_mut(key) else {
            return;
        };
        let failed = overlay.iter().filter(|result| !result.failures.is_empty());
        let new: BTreeMap<ObjectId, Arc<Overridden>> = failed.map(|result| (result.rendered.object.clone(), result.clone())).collect();
        let same = |object: &ObjectId| match (cluster.failures.get(object), new.get(object)) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old.failures == new.failures,
            (old, new) => old.is_none() && new.is_none(),
        };
        let news: BTreeSet<ObjectId> = cluster.failures.keys().chain(new.keys()).filter(|object| !same(object)).cloned().collect();
        cluster.failures = new;
        for object in news {
            self.touch_facts(&object);
        }
    }

    fn touch_facts(&mut self, object: &ObjectId) {
        self.dirty_subscriptions.extend(self.fed_by.get(object).into_iter().flatten().cloned());
    }

    /// Whether something that an override covers may be on a cluster.
    fn is_out(&self, over: &Override) -> bool {
        let users: BTreeSet<SubscriptionKey> = self.fed_by.get(&over.object).cloned().unwrap_or_default();
        let covered = |(key, cluster): (&ClusterKey, &Cluster)| {
            cluster.emitted.is_some() && cluster.is_covered(key, over) && !users.is_disjoint(&cluster.bound)
        };
        !users.is_empty() && self.clusters.iter().any(covered)
    }

    fn put_in_force(&mut self, key: &OverrideKey) {
        let Some(known) = self.overrides.known.get(key) else {
            return;
        };
        let (old, new) = (known.in_force.clone(), known.latest.clone());
        self.cover(old.as_ref(), Some(&new));
        self.know(key, Some(Known { latest: new.clone(), in_force: Some(new) }));
    }

    /// Makes what is known of an override agree everywhere; none forgets it.
    fn know(&mut self, key: &OverrideKey, known: Option<Known>) {
        self.overrides.forget_relevant();
        let old = self.overrides.known.remove(key).map(|old| old.objects()).unwrap_or_default();
        let new = known.as_ref().map(Known::objects).unwrap_or_default();
        for object in old.difference(&new) {
            if let Some(keys) = self.overrides.by_object.get_mut(object) {
                keys.remove(key);
                if keys.is_empty() {
                    self.overrides.by_object.remove(object);
                }
            }
        }
        for object in &new {
            self.overrides.by_object.entry(object.clone()).or_default().insert(key.clone());
        }
        if let Some(known) = known {
            self.overrides.known.insert(key.clone(), known);
        }
        old.union(&new).for_each(|object| self.touch_facts(object));
    }

    /// Takes one state of an override off the clusters and puts another on those that it covers.
    fn cover(&mut self, old: Option<&Arc<Revision>>, new: Option<&Arc<Revision>>) {
        let Self { clusters, fed_by, dirty_clusters, .. } = self;
        for (key, cluster) in clusters.iter_mut() {
            let had = old.is_some_and(|old| cluster.is_covered(key, &old.over));
            if let Some(old) = old.filter(|_| had)
                && let Ok(at) = cluster.overrides.binary_search_by(|other| sorting(other).cmp(&sorting(old)))
            {
                cluster.overrides.remove(at);
            }
            let has = new.is_some_and(|new| cluster.is_covered(key, &new.over));
            if let Some(new) = new.filter(|_| has) {
                let place = cluster.overrides.partition_point(|other| sorting(other) < sorting(new));
                cluster.overrides.insert(place, new.clone());
            }
            let touched = [old.filter(|_| had), new.filter(|_| has)];
            let fed = |revision: &Arc<Revision>| fed_by.get(&revision.over.object).is_some_and(|users| !users.is_disjoint(&cluster.bound));
            if touched.into_iter().flatten().any(fed) {
                dirty_clusters.insert(key.clone());
            }
        }
    }
}
