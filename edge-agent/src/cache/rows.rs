//! What is sealed in each row, and how a row is found without being read.
//!
//! In clear: how many rows there are, of which table, how long they are, and where the pieces of a transfer end. Field numbers are never
//! used again; a field that an older agent does not know is lost when it writes the row.

use at_rest::Sealer;
use bus_schema::codec::Mode;
use bus_schema::hash::Hash;
use bus_schema::id::{BundleId, IncarnationId, ObjectId};
use bus_schema::link::agent::{Ended, Item, Live, Origin, Partial, Removal};
use bus_schema::stamp::Stamp;
use prost::Message;

pub(super) const TABLES: &str = "
    CREATE TABLE sealing (key BLOB NOT NULL, rewritten INTEGER NOT NULL);
    CREATE TABLE row (tbl INTEGER NOT NULL, id BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (tbl, id)) WITHOUT ROWID;
    CREATE TABLE content (id BLOB PRIMARY KEY, hash BLOB NOT NULL, bytes BLOB NOT NULL);
    CREATE TABLE chunk (id BLOB NOT NULL, upto INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (id, upto));
";

/// What the rows of `row` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Meta = 1,
    Partial = 2,
    Item = 3,
    Removal = 4,
    Content = 5,
    ContentHash = 6,
    Chunk = 7,
}

/// A row's name: an HMAC of its primary key.
pub(super) type Id = [u8; 16];

pub(super) fn meta_id(sealer: &Sealer, key: &str) -> Id {
    sealer.blind(&[&[Table::Meta as u8], key.as_bytes()])
}

/// Of a content, of a transfer, and of its pieces.
pub(super) fn hash_id(sealer: &Sealer, hash: &Hash) -> Id {
    sealer.blind(&[&[Table::Content as u8], &hash.0])
}

pub(super) fn item_id(sealer: &Sealer, ObjectId { group, kind, namespace, name }: &ObjectId) -> Id {
    sealer.blind(&[&[Table::Item as u8], group.as_bytes(), kind.as_bytes(), namespace.as_bytes(), name.as_bytes()])
}

pub(super) fn removal_id(sealer: &Sealer, object: &ObjectId, bundle: BundleId) -> Id {
    let ObjectId { group, kind, namespace, name } = object;
    let table = [Table::Removal as u8];
    let parts: [&[u8]; 6] = [&table, group.as_bytes(), kind.as_bytes(), namespace.as_bytes(), name.as_bytes(), &bundle.0.to_be_bytes()];
    sealer.blind(&parts)
}

/// Seals a value of a row.
pub(super) fn seal(sealer: &Sealer, table: Table, id: &Id, value: &[u8]) -> Vec<u8> {
    sealer.seal(&[&[table as u8], id], value)
}

/// Opens a value of a row.
pub(super) fn open(sealer: &Sealer, table: Table, id: &Id, row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    sealer.open(&[&[table as u8], id], row.get_ref(column)?.as_blob()?).map_err(|error| damaged(column, error))
}

/// Where the piece of a transfer belongs that ends at `upto`.
pub(super) fn chunk_place(id: &Id, upto: u32) -> [Vec<u8>; 3] {
    [vec![Table::Chunk as u8], id.to_vec(), upto.to_be_bytes().to_vec()]
}

/// A value that this agent did not write.
pub(super) fn damaged(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, error.into())
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ItemRow {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "5")]
    version: String,
    #[prost(string, optional, tag = "6")]
    uid: Option<String>,
    #[prost(string, tag = "7")]
    resource_version: String,
    #[prost(bool, tag = "8")]
    created: bool,
    #[prost(bytes = "vec", optional, tag = "9")]
    applied: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "10")]
    ended: Option<Vec<u8>>,
    #[prost(bool, tag = "11")]
    failed: bool,
}

impl ItemRow {
    pub(super) fn of(object: &ObjectId, item: &Item) -> ItemRow {
        let ObjectId { group, kind, namespace, name } = object.clone();
        let Item { version, live, applied, ended } = item.clone();
        let created = live.as_ref().is_some_and(|live| live.origin == Origin::Created);
        let (uid, resource_version) = live.map_or((None, String::new()), |live| (Some(live.uid), live.resource_version));
        let bytes = |hash: Hash| hash.0.to_vec();
        let (failed, ended) = (ended.is_some_and(|ended| ended.failed), ended.map(|ended| bytes(ended.hash)));
        ItemRow { group, kind, namespace, name, version, uid, resource_version, created, applied: applied.map(bytes), ended, failed }
    }

    pub(super) fn read(self) -> Option<(ObjectId, Item)> {
        let object = ObjectId { group: self.group, kind: self.kind, namespace: self.namespace, name: self.name };
        let origin = if self.created { Origin::Created } else { Origin::Adopted };
        let resource_version = self.resource_version;
        let live = self.uid.map(|uid| Live { uid, resource_version, origin });
        let ended = read_hash(self.ended)?.map(|hash| Ended { hash, failed: self.failed });
        Some((object, Item { version: self.version, live, applied: read_hash(self.applied)?, ended }))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialRow {
    #[prost(bytes = "vec", tag = "1")]
    hash: Vec<u8>,
    #[prost(uint32, tag = "2")]
    mode: u32,
    #[prost(bytes = "vec", optional, tag = "3")]
    base: Option<Vec<u8>>,
    #[prost(uint32, tag = "4")]
    size: u32,
    #[prost(uint32, tag = "5")]
    total: u32,
    #[prost(uint64, tag = "6")]
    etag: u64,
    #[prost(uint32, tag = "7")]
    received: u32,
}

impl PartialRow {
    pub(super) fn of(hash: &Hash, partial: &Partial) -> PartialRow {
        let Partial { mode, base, size, total, etag, received } = partial.clone();
        PartialRow { hash: hash.0.to_vec(), mode: mode as u32, base: base.map(|base| base.0.to_vec()), size, total, etag, received }
    }

    pub(super) fn read(self) -> Option<(Hash, Partial)> {
        let (mode, base) = (Mode::read(self.mode)?, read_hash(self.base)?);
        let partial = Partial { mode, base, size: self.size, total: self.total, etag: self.etag, received: self.received };
        Some((Hash::read(&self.hash)?, partial))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RemovalRow {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(uint64, tag = "5")]
    bundle: u64,
    #[prost(fixed64, tag = "6")]
    incarnation: u64,
    #[prost(uint64, tag = "7")]
    resource_version: u64,
    #[prost(bool, tag = "8")]
    proven: bool,
}

impl RemovalRow {
    pub(super) fn of(object: &ObjectId, bundle: BundleId, removal: &Removal) -> RemovalRow {
        let ObjectId { group, kind, namespace, name } = object.clone();
        let Stamp { incarnation, resource_version } = removal.stamp;
        let (bundle, incarnation, proven) = (bundle.0, incarnation.0, removal.proven);
        RemovalRow { group, kind, namespace, name, bundle, incarnation, resource_version, proven }
    }

    pub(super) fn read(self) -> ((ObjectId, BundleId), Removal) {
        let object = ObjectId { group: self.group, kind: self.kind, namespace: self.namespace, name: self.name };
        let stamp = Stamp { incarnation: IncarnationId(self.incarnation), resource_version: self.resource_version };
        ((object, BundleId(self.bundle)), Removal { stamp, proven: self.proven })
    }
}

/// `None` when there are bytes that are no hash.
#[expect(clippy::option_option, reason = "a hash may be absent, or damaged")]
fn read_hash(bytes: Option<Vec<u8>>) -> Option<Option<Hash>> {
    match bytes {
        None => Some(None),
        Some(bytes) => Hash::read(&bytes).map(Some),
    }
}
