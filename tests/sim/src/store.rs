//! What users asked the hub for, with resourceVersions, and its rendering into one list per cluster.

use std::collections::{BTreeMap, BTreeSet};

use bus_schema::hash::{Domain, Hash, HashKey};
use bus_schema::id::{BundleId, ObjectId};
use bus_schema::list::{DesiredEntry, DesiredList, Wanted};
use bus_schema::planted::{Bug, is_planted};

use crate::object::{Shape, content};

/// A template as it is stored.
#[derive(Debug, Clone)]
pub struct Template {
    pub resource_version: u64,
    pub seed: u64,
    pub bytes: usize,
}

/// A Subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub feeds: BTreeSet<usize>,
    pub clusters: BTreeSet<usize>,
    pub priority: u8,
    /// What its overrides add to each object.
    pub version: u64,
}

/// The durable state that users write.
#[derive(Debug, Clone, Default)]
pub struct Store {
    pub resource_version: u64,
    pub templates: BTreeMap<usize, Template>,
    /// By UID: one made again is another one.
    pub subscriptions: BTreeMap<u64, Subscription>,
    /// `confirm-prune` of each cluster.
    pub confirm: BTreeMap<usize, Hash>,
}

/// A rendered list, its content, and the resourceVersion that it is stamped with.
pub struct Rendered {
    pub list: DesiredList,
    pub contents: Vec<(Hash, Vec<u8>)>,
    pub resource_version: u64,
}

impl Store {
    /// Everything for one cluster. All entries of one object carry the winner's content.
    pub fn render(&self, cluster: usize, universe: &[Shape], key: &HashKey) -> Rendered {
        let mut matching: Vec<_> = self.subscriptions.iter().filter(|(_, subscription)| subscription.clusters.contains(&cluster)).collect();
        matching.sort_by_key(|(uid, subscription)| (std::cmp::Reverse(subscription.priority), **uid));
        let mut winners: BTreeMap<ObjectId, Wanted> = BTreeMap::new();
        let (mut entries, mut contents, mut highest) = (Vec::new(), Vec::new(), 1);
        for (uid, subscription) in matching {
            for feed in &subscription.feeds {
                let shape = &universe[*feed];
                let template = self.templates.get(feed);
                highest = highest.max(template.map_or(0, |template| template.resource_version));
                let wanted = *winners.entry(shape.id.clone()).or_insert_with(|| wanted(shape, template, subscription, key, &mut contents));
                entries.push(DesiredEntry { bundle: BundleId(*uid), object: shape.id.clone(), version: "v1".into(), wanted });
            }
        }
        let resource_version = if is_planted(Bug::StampFromTemplate) { highest } else { self.resource_version };
        Rendered { list: DesiredList::new(entries, key), contents, resource_version }
    }
}

fn wanted(
    shape: &Shape,
    template: Option<&Template>,
    subscription: &Subscription,
    key: &HashKey,
    contents: &mut Vec<(Hash, Vec<u8>)>,
) -> Wanted {
    let Some(template) = template else { return Wanted::Keep };
    let bytes = content(shape, template.seed, template.resource_version * 100 + subscription.version, template.bytes);
    let hash = key.hash(Domain::Object, &bytes);
    let size = bytes.len() as u32;
    contents.push((hash, bytes));
    Wanted::Content { hash, size, secret: shape.secret }
}
