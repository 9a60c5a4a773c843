//! Hashes, lists and encodings that many clusters share: each is made once.
//!
//! Secrets are the exception: nothing here holds their bytes longer than a list that somebody desires.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bus_schema::hash::{Domain, Hash, HashKey};
use bus_schema::id::{BundleId, ObjectId};
use bus_schema::link::{Contents, Encoded};
use bus_schema::list::{DesiredEntry, DesiredList, Wanted};

use crate::core::plan;

/// Lists that are remembered: clusters with the same Subscriptions share one.
const LISTS: usize = 256;

/// Bytes of encodings that are remembered.
const ENCODED_BYTES: usize = 64 << 20;

/// A plan's list as it goes over the wire, with its content.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub list: Arc<DesiredList>,
    pub contents: Arc<HashMap<Hash, Arc<[u8]>>>,
}

/// The shared memory of all cluster tasks.
pub struct Library {
    key: HashKey,
    lists: Mutex<Vec<(plan::DesiredList, Prepared)>>,
    hashes: Mutex<Hashes>,
    encoded: Mutex<Encodings>,
}

/// Hashes by where the bytes are in memory.
type Hashes = HashMap<usize, (Arc<[u8]>, Hash)>;

#[derive(Default)]
struct Encodings {
    bytes: usize,
    known: HashMap<(Hash, Option<Hash>), Encoded>,
}

impl Library {
    pub fn new(key: HashKey) -> Library {
        Library { key, lists: Mutex::default(), hashes: Mutex::default(), encoded: Mutex::default() }
    }

    /// The wire form of a plan's list.
    pub fn prepare(&self, entries: &plan::DesiredList) -> Prepared {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, prepared)) = lists.iter().find(|(known, _)| Arc::ptr_eq(known, entries)) {
            return prepared.clone();
        }
        let prepared = self.convert(entries);
        lists.retain(|(known, _)| Arc::strong_count(known) > 1);
        if lists.len() >= LISTS {
            lists.remove(0);
        }
        lists.push((entries.clone(), prepared.clone()));
        prepared
    }

    fn convert(&self, entries: &plan::DesiredList) -> Prepared {
        let mut contents = HashMap::new();
        let wire = entries.iter().map(|entry| {
            let object = object_id(&entry.object);
            let wanted = match &entry.content {
                plan::Content::Keep => Wanted::Keep,
                plan::Content::Bytes(bytes) => {
                    let secret = object.group.is_empty() && object.kind == "Secret";
                    let hash = if secret { self.key.hash(Domain::Object, bytes) } else { self.hash(bytes) };
                    contents.insert(hash, bytes.clone());
                    Wanted::Content { hash, size: bytes.len() as u32, secret }
                }
            };
            DesiredEntry { bundle: bundle_id(&entry.bundle.uid), object, version: entry.version.clone(), wanted }
        });
        let list = Arc::new(DesiredList::new(wire, &self.key));
        Prepared { list, contents: Arc::new(contents) }
    }

    /// The hash of an object's bytes; asked for the same bytes in memory it answers at once.
    fn hash(&self, bytes: &Arc<[u8]>) -> Hash {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let at = bytes.as_ptr() as usize;
        if let Some((known, hash)) = hashes.get(&at)
            && Arc::ptr_eq(known, bytes)
        {
            return *hash;
        }
        if hashes.len() >= 1024 && hashes.len().is_power_of_two() {
            hashes.retain(|_, (bytes, _)| Arc::strong_count(bytes) > 1);
        }
        let hash = self.key.hash(Domain::Object, bytes);
        hashes.insert(at, (bytes.clone(), hash));
        hash
    }

    fn encode(&self, step: (Hash, Option<Hash>), make: impl FnOnce() -> Option<Encoded>) -> Option<Encoded> {
        let known = self.encoded.lock().unwrap_or_else(PoisonError::into_inner).known.get(&step).cloned();
        if known.is_some() {
            return known;
        }
        let made = make()?;
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        encoded.bytes += made.data.len();
        if encoded.bytes > ENCODED_BYTES {
            *encoded = Encodings { bytes: made.data.len(), known: HashMap::new() };
        }
        encoded.known.insert(step, made.clone());
        Some(made)
    }
}

/// The content that one cluster may be sent: of its desired list, and of the one before as base.
pub struct Shelf {
    pub library: Arc<Library>,
    pub current: Arc<HashMap<Hash, Arc<[u8]>>>,
    pub before: Arc<HashMap<Hash, Arc<[u8]>>>,
}

impl Contents for Shelf {
    fn get(&self, hash: &Hash) -> Option<Arc<[u8]>> {
        self.current.get(hash).or_else(|| self.before.get(hash)).cloned()
    }

    fn encoded(&self, hash: &Hash, base: Option<&Hash>, secret: bool, key: &HashKey) -> Option<Encoded> {
        let bytes = self.get(hash)?;
        let base = base.and_then(|base| Some((*base, self.get(base)?)));
        let step = (*hash, base.as_ref().map(|(base, _)| *base));
        let make = || Some(Encoded::new(&bytes, base.as_ref().map(|(_, bytes)| &**bytes), secret, key));
        if secret { make() } else { self.library.encode(step, make) }
    }
}

/// What of a list's content may be a base for what comes after: no Secret is.
pub fn bases(contents: &Arc<HashMap<Hash, Arc<[u8]>>>, list: &DesiredList) -> Arc<HashMap<Hash, Arc<[u8]>>> {
    let secrets: Vec<Hash> = list.entries.iter().filter_map(secret).collect();
    if secrets.is_empty() {
        return contents.clone();
    }
    let mut bases = HashMap::clone(contents);
    secrets.iter().for_each(|hash| drop(bases.remove(hash)));
    Arc::new(bases)
}

fn secret(entry: &DesiredEntry) -> Option<Hash> {
    match entry.wanted {
        Wanted::Content { hash, secret: true, .. } => Some(hash),
        _ => None,
    }
}

/// The bundle of one life of a Subscription.
pub fn bundle_id(uid: &str) -> BundleId {
    let digest = ring::digest::digest(&ring::digest::SHA256, uid.as_bytes());
    let head = digest.as_ref()[..8].try_into().expect("SHA-256 has 32 bytes");
    BundleId(u64::from_be_bytes(head).max(1))
}

pub fn object_id(object: &crate::core::id::ObjectId) -> ObjectId {
    ObjectId::new(&object.group, &object.kind, &object.namespace, &object.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::SubscriptionRef;

    fn entries(content: &[&str]) -> plan::DesiredList {
        let entry = |(index, content): (usize, &&str)| plan::DesiredEntry {
            bundle: SubscriptionRef { namespace: "default".into(), name: "s".into(), uid: "u".into() },
            object: crate::core::id::ObjectId { kind: "ConfigMap".into(), name: index.to_string(), ..Default::default() },
            version: "v1".into(),
            content: plan::Content::Bytes(content.as_bytes().into()),
        };
        content.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn a_shared_list_is_converted_once() {
        let library = Library::new(HashKey::public());
        let (shared, other) = (entries(&["a", "b"]), entries(&["a", "b"]));
        let first = library.prepare(&shared);
        assert!(Arc::ptr_eq(&first.list, &library.prepare(&shared).list));
        assert_eq!(first.list.root, library.prepare(&other).list.root);
    }

    #[test]
    fn nothing_holds_a_secret_that_no_list_desires() {
        let library = Arc::new(Library::new(HashKey::public()));
        let bytes: Arc<[u8]> = b"hunter2".as_slice().into();
        let object = crate::core::id::ObjectId { kind: "Secret".into(), name: "s".into(), ..Default::default() };
        let entry = plan::DesiredEntry { object, content: plan::Content::Bytes(bytes.clone()), ..entries(&[""])[0].clone() };
        let desired: plan::DesiredList = [entry].into_iter().collect();
        let prepared = library.prepare(&desired);
        let hash = prepared.list.entries[0].wanted.hash().unwrap();
        let before = bases(&prepared.contents, &prepared.list);
        let mut shelf = Shelf { library: library.clone(), current: prepared.contents.clone(), before };
        assert!(shelf.encoded(&hash, None, true, &HashKey::public()).is_some());
        let next = library.prepare(&entries(&["a"]));
        shelf.current = next.contents;
        drop((desired, prepared));
        library.prepare(&entries(&["b"]));
        assert!(shelf.get(&hash).is_none());
        assert_eq!(Arc::strong_count(&bytes), 1, "only this test has it");
    }

    #[test]
    fn content_is_found_by_hash_and_encoded_against_the_list_before() {
        let library = Arc::new(Library::new(HashKey::public()));
        let text = |last: &str| "a setting that stays\n".repeat(20) + last;
        let (before, after) = (library.prepare(&entries(&[&text("old")])), library.prepare(&entries(&[&text("new")])));
        let [old, new] = [&before, &after].map(|prepared| prepared.list.entries[0].wanted.hash().unwrap());
        let shelf = Shelf { library, current: after.contents, before: before.contents };
        let encoded = shelf.encoded(&new, Some(&old), false, &HashKey::public()).unwrap();
        assert_eq!(encoded.mode, bus_schema::codec::Mode::Delta);
        assert_eq!(shelf.encoded(&new, None, false, &HashKey::public()).unwrap().mode, bus_schema::codec::Mode::Whole);
    }
}
