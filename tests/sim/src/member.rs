//! A member cluster: objects with UIDs, some of them not ours.

use std::collections::BTreeMap;

use bus_schema::id::ObjectId;
use bus_schema::link::agent::{ApplyOutcome, Found, Live, Origin, RemoveOutcome};

/// A live object.
#[derive(Debug, Clone)]
pub struct Object {
    pub uid: u64,
    pub resource_version: u64,
    pub content: Vec<u8>,
    /// The `created-by` mark, and with it whether we made or adopted the object.
    pub ours: Option<Origin>,
    pub deleting: bool,
    /// Somebody else's things are in it.
    pub inhabited: bool,
}

/// All objects of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Member {
    pub objects: BTreeMap<ObjectId, Object>,
    counter: u64,
}

impl Member {
    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Server-side apply. `None` while the old object is still going.
    pub fn apply(&mut self, id: &ObjectId, content: &[u8]) -> ApplyOutcome {
        let (uid, resource_version) = (self.next(), self.next());
        let object = self.objects.entry(id.clone()).or_insert_with(|| Object {
            uid,
            resource_version,
            content: Vec::new(),
            ours: Some(Origin::Created),
            deleting: false,
            inhabited: false,
        });
        if object.deleting {
            return ApplyOutcome::Unavailable { code: 409, message: "the object is being deleted".into() };
        }
        let origin = *object.ours.get_or_insert(Origin::Adopted);
        if object.content != content {
            object.content = content.to_vec();
            object.resource_version = resource_version;
        }
        ApplyOutcome::Applied(live(object, origin))
    }

    /// A delete with the UID as precondition, only of what carries our mark. `slow`: finalizers hold it for a while.
    pub fn remove(&mut self, id: &ObjectId, expected: Option<&Live>, slow: bool) -> RemoveOutcome {
        let resource_version = self.next();
        let Some(object) = self.objects.get_mut(id) else { return RemoveOutcome::Gone };
        let same = expected.is_none_or(|live| live.uid == object.uid.to_string());
        let Some(origin) = object.ours.filter(|_| same) else { return RemoveOutcome::Gone };
        if object.deleting {
            return RemoveOutcome::Deleting;
        }
        if origin == Origin::Adopted {
            (object.ours, object.resource_version) = (None, resource_version);
            return RemoveOutcome::Gone;
        }
        if object.inhabited {
            return RemoveOutcome::Kept { message: "ConfigMap shop/theirs is in it".into() };
        }
        if slow {
            (object.deleting, object.resource_version) = (true, resource_version);
            return RemoveOutcome::Deleting;
        }
        self.objects.remove(id);
        RemoveOutcome::Gone
    }

    /// Somebody else makes an object, unless there is one.
    pub fn place_foreign(&mut self, id: &ObjectId) -> bool {
        let (uid, resource_version) = (self.next(), self.next());
        let free = !self.objects.contains_key(id);
        if free {
            let content = b"theirs".to_vec();
            self.objects.insert(id.clone(), Object { uid, resource_version, content, ours: None, deleting: false, inhabited: false });
        }
        free
    }

    /// All objects that carry our mark.
    pub fn survey(&self) -> Vec<Found> {
        let ours = self.objects.iter().filter_map(|(id, object)| Some((id, object, object.ours?)));
        ours.map(|(id, object, origin)| Found { object: id.clone(), version: "v1".into(), live: live(object, origin) }).collect()
    }
}

fn live(object: &Object, origin: Origin) -> Live {
    Live { uid: object.uid.to_string(), resource_version: object.resource_version.to_string(), origin }
}
