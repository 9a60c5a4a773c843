//! Whether a list that was edited takes so much from a cluster that a person has to say yes.
//!
//! Invariants: what no living Subscription claims any more was ordered to go, and is never held; a hold changes neither which objects
//! are counted nor how many, so that looking again gives the same answer. What clusters lose together is judged by [`fleet`].

pub mod fleet;

use std::collections::BTreeSet;

use bus_schema::hash::HashKey;
use bus_schema::id::{BundleId, ObjectId};
use bus_schema::list::{DesiredEntry, DesiredList};

use super::id::SubscriptionRef;

/// Removals of so many objects are never held, whatever their share.
pub const MAX_FREE: usize = 10;

/// What an edit may remove without being confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Percent of a cluster's objects; 0 holds nothing.
    pub share: u8,
    /// Percent of the objects of all clusters together; 0 holds nothing for the fleet's sake.
    pub fleet_share: u8,
}

/// What an edit removes from one cluster.
#[derive(Debug)]
pub struct Removal {
    pub held: Held,
    /// So much of the cluster's objects that it waits by itself.
    pub too_much: bool,
    objects: Vec<ObjectId>,
}

/// Removals that wait for a confirmation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub removals: usize,
    /// The objects that the removals are a part of.
    pub of: usize,
    /// What a confirmation has to name: the same for clusters that lose the same objects.
    pub hash: String,
    /// The Subscriptions that claimed what is to go.
    pub subscriptions: BTreeSet<SubscriptionRef>,
    /// Objects of the whole fleet, where it waits because many clusters lose a little; else 0.
    pub of_fleet: usize,
}

impl Guard {
    /// What the step from one list to the next removes by an edit. `owner` gives the living Subscription of a bundle.
    pub fn removal(self, before: &DesiredList, next: &DesiredList, owner: impl Fn(BundleId) -> Option<SubscriptionRef>) -> Option<Removal> {
        let gone: Vec<&ObjectId> = before.objects().map(|entry| &entry.object).filter(|object| next.claims(object).is_empty()).collect();
        let owners = |object: &ObjectId| before.claims(object).iter().filter_map(|claim| owner(claim.bundle)).collect::<Vec<_>>();
        let (mut edited, mut subscriptions) = (Vec::new(), BTreeSet::new());
        for object in &gone {
            let owners = owners(object);
            if !owners.is_empty() {
                edited.push(*object);
                subscriptions.extend(owners);
            }
        }
        if self.share == 0 || edited.is_empty() {
            return None;
        }
        let of = before.objects().count() - (gone.len() - edited.len());
        let too_much = edited.len() > MAX_FREE && edited.len() * 100 > of * usize::from(self.share);
        let held = Held { removals: edited.len(), of, hash: hash_of(&edited), subscriptions, of_fleet: 0 };
        Some(Removal { held, too_much, objects: edited.into_iter().cloned().collect() })
    }
}

impl Removal {
    /// The next list without additions and without these removals: additions would make their share smaller.
    pub fn kept_back(&self, before: &DesiredList, next: &DesiredList, key: &HashKey) -> DesiredList {
        let known = next.entries.iter().filter(|entry| !before.claims(&entry.object).is_empty());
        let waiting = self.objects.iter().flat_map(|object| before.claims(object));
        DesiredList::new(known.chain(waiting).map(DesiredEntry::clone), key)
    }
}

fn hash_of(objects: &[&ObjectId]) -> String {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for object in objects {
        for part in [&object.group, &object.kind, &object.namespace, &object.name] {
            digest.update(part.as_bytes());
            digest.update(&[0]);
        }
    }
    digest.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use bus_schema::list::Wanted;

    use super::*;

    const GUARD: Guard = Guard { share: 50, fleet_share: 20 };

    fn list(objects: impl IntoIterator<Item = (u64, u32)>) -> DesiredList {
        let entry = |(bundle, number): (u64, u32)| {
            let object = ObjectId::new("", "ConfigMap", "shop", &format!("{number:03}"));
            DesiredEntry { bundle: BundleId(bundle), object, version: "v1".into(), wanted: Wanted::Keep }
        };
        DesiredList::new(objects.into_iter().map(entry), &HashKey::public())
    }

    fn of_one(numbers: std::ops::Range<u32>) -> DesiredList {
        list(numbers.map(|number| (1, number)))
    }

    fn alive(ids: &[u64]) -> impl Fn(BundleId) -> Option<SubscriptionRef> {
        move |bundle| {
            let name = bundle.0.to_string();
            ids.contains(&bundle.0).then(|| SubscriptionRef { namespace: "default".into(), uid: name.clone(), name })
        }
    }

    fn hold(before: &DesiredList, next: &DesiredList, confirmed: Option<&str>) -> Option<(Held, DesiredList)> {
        let removal = GUARD.removal(before, next, alive(&[1, 2])).filter(|removal| removal.too_much)?;
        let kept = removal.kept_back(before, next, &HashKey::public());
        (confirmed != Some(&removal.held.hash)).then_some((removal.held, kept))
    }

    #[test]
    fn only_a_large_share_of_many_objects_is_held() {
        for (before, after, held) in [
            (35, 34, false),
            (35, 17, true),
            (35, 0, true),
            (40, 20, false),
            (40, 19, true),
            (10, 0, false),
            (11, 0, true),
            (500, 251, false),
        ] {
            let found = hold(&of_one(0..before), &of_one(0..after), None);
            assert_eq!(found.is_some(), held, "{before} to {after}");
        }
        assert!(Guard { share: 0, ..GUARD }.removal(&of_one(0..40), &of_one(0..0), alive(&[1])).is_none());
    }

    #[test]
    fn a_deleted_subscription_goes_at_once() {
        let before = list((0..30).map(|number| (9, number)).chain((30..60).map(|number| (1, number))));
        assert_eq!(hold(&before, &of_one(30..60), None), None);
        // What goes beside it by an edit is a share of what is left.
        let (held, list) = hold(&before, &of_one(30..40), None).unwrap();
        assert_eq!((held.removals, held.of), (20, 30));
        assert_eq!(list.objects().count(), 30);
        assert_eq!(held.subscriptions.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn another_claim_keeps_an_object_from_being_removed() {
        let both = list((0..30).flat_map(|number| [(1, number), (2, number)]));
        assert_eq!(hold(&both, &of_one(0..30), None), None);
    }

    #[test]
    fn a_hold_stands_however_often_it_is_looked_at() {
        let (before, next) = (of_one(0..20), of_one(15..200));
        let (held, kept) = hold(&before, &next, None).unwrap();
        assert_eq!(kept.objects().count(), 20, "additions wait too");
        assert_eq!(hold(&kept, &next, None), Some((held, kept.clone())));
    }

    #[test]
    fn only_its_own_hash_confirms_it_and_undoing_ends_it() {
        let before = of_one(0..40);
        let (held, kept) = hold(&before, &of_one(0..5), None).unwrap();
        assert_eq!(held.hash.len(), 16);
        assert!(hold(&kept, &of_one(0..5), Some("0123456789abcdef")).is_some());
        assert_eq!(hold(&kept, &of_one(0..5), Some(&held.hash)), None);
        assert!(hold(&kept, &of_one(0..4), Some(&held.hash)).is_some(), "a later change needs its own confirmation");
        assert_eq!(hold(&kept, &before, None), None);
    }
}
