//! The objects of a sandbox in memory, one version counter, and the last changes for watches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Changes that a watch can still start from; older ones are answered 410.
const HISTORY: usize = 2_000;

/// What names an object: `plural.group`, namespace, name.
pub type Key = (String, String, String);

/// One change, as a watch shows it.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub kind: &'static str,
    pub key: Key,
    pub object: Value,
}

#[derive(Clone, Debug)]
struct Stored {
    object: Value,
    /// What was applied last by each manager.
    applied: BTreeMap<String, Value>,
}

struct Inner {
    objects: BTreeMap<Key, Stored>,
    version: u64,
    history: VecDeque<Change>,
}

/// The objects of one sandbox.
pub struct Store {
    inner: Mutex<Inner>,
    changes: broadcast::Sender<Change>,
}

/// All later changes of a watch, and those since its version.
pub struct Feed {
    pub past: Vec<Change>,
    pub later: broadcast::Receiver<Change>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// A store with the namespaces that every cluster has.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner { objects: BTreeMap::new(), version: 1, history: VecDeque::new() };
        let store = Self { inner: Mutex::new(inner), changes: broadcast::channel(HISTORY).0 };
        for name in ["default", "kube-system"] {
            let object =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}});
            let stamp = super::object::Stamp { uid: uuid::Uuid::new_v4().to_string(), time: super::serve::now() };
            store.put(&("namespaces".into(), String::new(), name.into()), super::object::created(object, &stamp), None);
        }
        store
    }

    /// The object, with what `manager` applied last.
    pub fn get(&self, key: &Key, manager: &str) -> Option<(Value, Option<Value>)> {
        let inner = self.lock();
        let found = inner.objects.get(key)?;
        Some((found.object.clone(), found.applied.get(manager).cloned()))
    }

    /// Whether the object is there.
    pub fn has(&self, key: &Key) -> bool {
        self.lock().objects.contains_key(key)
    }

    /// All objects of a resource, in one namespace or (empty) in all, and the version of this view.
    pub fn list(&self, resource: &str, namespace: &str) -> (Vec<(Key, Value)>, u64) {
        let inner = self.lock();
        let from = (resource.to_owned(), namespace.to_owned(), String::new());
        let wanted = |key: &Key| key.0 == resource && (namespace.is_empty() || key.1 == namespace);
        let found = inner.objects.range(from..).take_while(|(key, _)| wanted(key));
        (found.map(|(key, stored)| (key.clone(), stored.object.clone())).collect(), inner.version)
    }

    /// Stores an object and returns it with its new version; `applied` is what a manager applied.
    pub fn put(&self, key: &Key, mut object: Value, applied: Option<(&str, Value)>) -> Value {
        let mut inner = self.lock();
        inner.version += 1;
        object["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        let mut managers = inner.objects.get(key).map(|stored| stored.applied.clone()).unwrap_or_default();
        managers.extend(applied.map(|(manager, config)| (manager.to_owned(), config)));
        let known = inner.objects.insert(key.clone(), Stored { object: object.clone(), applied: managers }).is_some();
        self.tell(&mut inner, if known { "MODIFIED" } else { "ADDED" }, key, object.clone());
        object
    }

    /// Removes an object, and with a Namespace everything in it.
    pub fn remove(&self, key: &Key) -> Option<Value> {
        let mut inner = self.lock();
        let object = self.take(&mut inner, key)?;
        if key.0 == "namespaces" {
            let inside: Vec<Key> = inner.objects.keys().filter(|other| other.1 == key.2).cloned().collect();
            for other in inside {
                self.take(&mut inner, &other);
            }
        }
        Some(object)
    }

    /// Changes after `version`, `None` when it is too old.
    pub fn watch(&self, version: u64) -> Option<Feed> {
        let inner = self.lock();
        let oldest = inner.history.front().map_or(inner.version, |change| change.version);
        let past = inner.history.iter().filter(|change| change.version > version).cloned().collect();
        (version + 1 >= oldest).then(|| Feed { past, later: self.changes.subscribe() })
    }

    fn take(&self, inner: &mut Inner, key: &Key) -> Option<Value> {
        let mut object = inner.objects.remove(key)?.object;
        inner.version += 1;
        object["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        self.tell(inner, "DELETED", key, object.clone());
        Some(object)
    }

    fn tell(&self, inner: &mut Inner, kind: &'static str, key: &Key, object: Value) {
        let change = Change { version: inner.version, kind, key: key.clone(), object };
        inner.history.push_back(change.clone());
        if inner.history.len() > HISTORY {
            inner.history.pop_front();
        }
        let _ = self.changes.send(change);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> Key {
        ("configmaps".into(), namespace.into(), name.into())
    }

    #[test]
    fn a_namespace_takes_its_contents_along() {
        let store = Store::new();
        store.put(&key("default", "a"), json!({"metadata": {}}), None);
        store.put(&key("kube-system", "b"), json!({"metadata": {}}), None);
        store.remove(&("namespaces".into(), String::new(), "default".into())).unwrap();
        assert!(!store.has(&key("default", "a")) && store.has(&key("kube-system", "b")));
    }

    #[test]
    fn a_watch_starts_where_its_list_ended() {
        let store = Store::new();
        store.put(&key("default", "a"), json!({"metadata": {}}), None);
        let (found, version) = store.list("configmaps", "");
        assert_eq!(found.len(), 1);
        store.put(&key("default", "a"), json!({"metadata": {}}), None);
        store.remove(&key("default", "a")).unwrap();
        let kinds: Vec<&str> = store.watch(version).unwrap().past.iter().map(|change| change.kind).collect();
        assert_eq!(kinds, ["MODIFIED", "DELETED"]);
    }

    #[test]
    fn a_version_that_history_has_dropped_can_not_be_watched_from() {
        let store = Store::new();
        for _ in 0..=HISTORY {
            store.put(&key("default", "a"), json!({"metadata": {}}), None);
        }
        assert!(store.watch(1).is_none());
    }
}
