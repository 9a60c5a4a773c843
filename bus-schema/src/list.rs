//! The desired list of a cluster, parsed, with the exact bytes that its root names.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use crate::hash::{Domain, Hash, HashKey};
use crate::id::{BundleId, ObjectId};
use crate::message::{Entry, List};

/// What a claim asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The template is missing: what is there stays, nothing is made.
    Keep,
    /// Exactly these bytes.
    Content { hash: Hash, size: u32, secret: bool },
}

impl Wanted {
    pub fn hash(&self) -> Option<Hash> {
        match self {
            Wanted::Keep => None,
            Wanted::Content { hash, .. } => Some(*hash),
        }
    }
}

/// One claim of one bundle on one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredEntry {
    pub bundle: BundleId,
    pub object: ObjectId,
    /// The served version of the object's group.
    pub version: String,
    pub wanted: Wanted,
}

/// A list and its root. Entries are in order of object and bundle, each pair once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredList {
    pub entries: Vec<DesiredEntry>,
    pub bytes: Arc<[u8]>,
    pub root: Hash,
}

/// Why bytes are no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("the bytes are no desired list")]
    Unreadable,
    #[error("entry {0} names no object or has a hash of the wrong length")]
    BadEntry(usize),
    #[error("entry {0} is out of order or stands twice")]
    Unordered(usize),
}

impl DesiredList {
    /// Makes a list of entries in any order; a later entry of the same object and bundle replaces an earlier one.
    pub fn new(entries: impl IntoIterator<Item = DesiredEntry>, key: &HashKey) -> DesiredList {
        let sorted: BTreeMap<_, _> = entries.into_iter().map(|entry| ((entry.object.clone(), entry.bundle), entry)).collect();
        let entries: Vec<_> = sorted.into_values().collect();
        let bytes: Arc<[u8]> = List { entries: entries.iter().map(to_wire).collect() }.encode_to_vec().into();
        let root = key.hash(Domain::List, &bytes);
        DesiredList { entries, bytes, root }
    }

    /// Reads a list from its exact bytes.
    ///
    /// # Errors
    /// [`ListError`] names the first entry that is wrong.
    pub fn parse(bytes: &[u8], key: &HashKey) -> Result<DesiredList, ListError> {
        let list = List::decode(bytes).map_err(|_| ListError::Unreadable)?;
        let mut entries: Vec<DesiredEntry> = Vec::with_capacity(list.entries.len());
        for (index, entry) in list.entries.into_iter().enumerate() {
            let entry = from_wire(entry).ok_or(ListError::BadEntry(index))?;
            let ordered = entries.last().is_none_or(|last| (&last.object, last.bundle) < (&entry.object, entry.bundle));
            if !ordered {
                return Err(ListError::Unordered(index));
            }
            entries.push(entry);
        }
        Ok(DesiredList { entries, bytes: bytes.into(), root: key.hash(Domain::List, bytes) })
    }

    /// The claims on one object.
    pub fn claims(&self, object: &ObjectId) -> &[DesiredEntry] {
        let start = self.entries.partition_point(|entry| entry.object < *object);
        let len = self.entries[start..].partition_point(|entry| entry.object == *object);
        &self.entries[start..start + len]
    }

    /// Index of the first claim on one object.
    pub fn index(&self, object: &ObjectId) -> Option<usize> {
        let start = self.entries.partition_point(|entry| entry.object < *object);
        self.entries.get(start).filter(|entry| entry.object == *object).map(|_| start)
    }

    /// The one claim of this bundle on this object.
    pub fn claim(&self, object: &ObjectId, bundle: BundleId) -> Option<&DesiredEntry> {
        self.claims(object).iter().find(|entry| entry.bundle == bundle)
    }

    /// The entry whose content has this hash.
    pub fn content(&self, hash: &Hash) -> Option<&DesiredEntry> {
        self.entries.iter().find(|entry| entry.wanted.hash() == Some(*hash))
    }

    /// The first claim of each object.
    pub fn objects(&self) -> impl Iterator<Item = &DesiredEntry> {
        self.entries.chunk_by(|a, b| a.object == b.object).map(|claims| &claims[0])
    }
}

fn to_wire(entry: &DesiredEntry) -> Entry {
    let (hash, size, secret) = match entry.wanted {
        Wanted::Keep => (Vec::new(), 0, false),
        Wanted::Content { hash, size, secret } => (hash.0.to_vec(), size, secret),
    };
    Entry { bundle: entry.bundle.0, object: Some((&entry.object).into()), version: entry.version.clone(), hash, size, secret }
}

fn from_wire(entry: Entry) -> Option<DesiredEntry> {
    let object: ObjectId = entry.object?.into();
    if object.kind.is_empty() || object.name.is_empty() {
        return None;
    }
    let wanted = match entry.hash.is_empty() {
        true => Wanted::Keep,
        false => Wanted::Content { hash: Hash::read(&entry.hash)?, size: entry.size, secret: entry.secret },
    };
    Some(DesiredEntry { bundle: BundleId(entry.bundle), object, version: entry.version, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bundle: u64, name: &str) -> DesiredEntry {
        let object = ObjectId { kind: "ConfigMap".into(), namespace: "shop".into(), name: name.into(), ..ObjectId::default() };
        let wanted = Wanted::Content { hash: Hash([bundle as u8; 16]), size: 9, secret: false };
        DesiredEntry { bundle: BundleId(bundle), object, version: "v1".into(), wanted }
    }

    #[test]
    fn a_list_reads_back_from_its_bytes() {
        let key = HashKey::public();
        let list = DesiredList::new([entry(2, "b"), entry(1, "b"), entry(1, "a")], &key);
        assert_eq!(DesiredList::parse(&list.bytes, &key), Ok(list.clone()));
        assert_eq!(list.claims(&entry(1, "b").object).len(), 2);
        assert_eq!(list.index(&entry(1, "b").object), Some(1));
        assert_eq!(list.objects().count(), 2);
    }

    #[test]
    fn the_order_of_making_does_not_change_the_root() {
        let key = HashKey::public();
        let forth = DesiredList::new([entry(1, "a"), entry(1, "b")], &key);
        assert_eq!(forth, DesiredList::new([entry(1, "b"), entry(1, "a")], &key));
    }

    #[test]
    fn damaged_lists_are_refused() {
        let key = HashKey::public();
        let wire = |entries: Vec<Entry>| List { entries }.encode_to_vec();
        let (a, b) = (to_wire(&entry(1, "a")), to_wire(&entry(1, "b")));
        assert_eq!(DesiredList::parse(&wire(vec![b.clone(), a.clone()]), &key), Err(ListError::Unordered(1)));
        assert_eq!(DesiredList::parse(&wire(vec![a.clone(), a.clone()]), &key), Err(ListError::Unordered(1)));
        assert_eq!(DesiredList::parse(&wire(vec![Entry { hash: vec![1], ..a }]), &key), Err(ListError::BadEntry(0)));
        assert_eq!(DesiredList::parse(&wire(vec![Entry { object: None, ..b }]), &key), Err(ListError::BadEntry(0)));
        assert_eq!(DesiredList::parse(&[0xff; 9], &key), Err(ListError::Unreadable));
    }
}
