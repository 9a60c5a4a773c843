//! Objects as the store sees them: a key, a resourceVersion, JSON bytes, sealed on the disk. Reads only; `writer` changes them.

use std::fmt;

use at_rest::Sealer;
use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::sealing::{self, Change};

/// What names an object: `resource` is `plural.group` (`plural` in the core group), `namespace` is empty for cluster-scoped ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
    }
}

/// An object as committed; its bytes carry `resource_version` in their metadata.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    pub resource_version: u64,
    pub body: Bytes,
}

/// Bodies may be Secrets: no log shows them.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({} bytes at {})", self.body.len(), self.resource_version)
    }
}

/// What a write wants to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No object.
    Absent,
    /// The object at exactly this resourceVersion.
    Version(u64),
}

/// Which objects a list wants.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub resource: String,
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only names that begin so.
    pub name_prefix: String,
    /// Only keys after this (namespace, name).
    pub after: Option<(String, String)>,
    /// At most so many picked objects; 0 means all.
    pub limit: usize,
}

/// One object while a list runs over it.
pub struct Row<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub resource_version: u64,
    pub body: &'a [u8],
}

/// One page of a list, read in one snapshot.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The newest version in the snapshot.
    pub resource_version: u64,
    /// The key of the last item, when there may be more.
    pub next: Option<(String, String)>,
}

/// Where the body of an object belongs.
fn place<'a>(resource: &'a str, namespace: &'a str, name: &'a str) -> [&'a [u8]; 4] {
    [b"objects", resource.as_bytes(), namespace.as_bytes(), name.as_bytes()]
}

pub(super) fn get(connection: &Connection, sealer: &Sealer, key: &Key) -> Result<Option<Stored>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT rv, body FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?
        .query_row(params![key.resource, key.namespace, key.name], |row| {
            let body = sealing::open(sealer, &place(&key.resource, &key.namespace, &key.name), row, 1)?;
            Ok(Stored { resource_version: row.get::<_, i64>(0)? as u64, body: body.into() })
        })
        .optional()
}

/// The sealed body of an object.
pub(super) fn sealed(sealer: &Sealer, key: &Key, body: &[u8]) -> Vec<u8> {
    sealer.seal(&place(&key.resource, &key.namespace, &key.name), body)
}

/// Goes through every body.
pub(super) fn change(connection: &Connection, change: &Change<'_>) -> rusqlite::Result<()> {
    let mut update = connection.prepare("UPDATE objects SET body = ?2 WHERE rowid = ?1")?;
    let mut query = connection.prepare("SELECT resource, namespace, name, body FROM objects WHERE rowid = ?1")?;
    let ids = connection.prepare("SELECT rowid FROM objects")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    for id in ids {
        let body =
            query.query_row([id], |row| change.of(&place(text(row.get_ref(0)?), text(row.get_ref(1)?), text(row.get_ref(2)?)), row, 3))?;
        update.execute(params![id, body])?;
    }
    Ok(())
}

pub(super) fn list<T>(
    connection: &Connection,
    sealer: &Sealer,
    query: &Query,
    floor: u64,
    mut pick: impl FnMut(Row<'_>) -> Option<T>,
) -> Result<Page<T>, rusqlite::Error> {
    let snapshot = connection.unchecked_transaction()?;
    let resource_version = newest(&snapshot, floor)?;
    let mut page = Page { items: Vec::new(), resource_version, next: None };
    let (sql, arguments) = select(query);
    let arguments: Vec<&dyn ToSql> = arguments.iter().map(|text| text as &dyn ToSql).collect();
    let mut statement = snapshot.prepare_cached(&sql)?;
    let mut rows = statement.query(&arguments[..])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (namespace, name) = (text(row.get_ref(0)?), text(row.get_ref(1)?));
        if query.limit > 0 && page.items.len() == query.limit {
            page.next = last;
            break;
        }
        let body = sealing::open(sealer, &place(&query.resource, namespace, name), row, 3)?;
        if let Some(item) = pick(Row { namespace, name, resource_version: row.get::<_, i64>(2)? as u64, body: &body }) {
            page.items.push(item);
            last = Some((namespace.to_owned(), name.to_owned()));
        }
    }
    Ok(page)
}

fn select(query: &Query) -> (String, Vec<String>) {
    let mut sql = "SELECT namespace, name, rv, body FROM objects WHERE resource = ?".to_owned();
    let mut arguments = vec![query.resource.clone()];
    if let Some(namespace) = &query.namespace {
        sql.push_str(" AND namespace = ?");
        arguments.push(namespace.clone());
    }
    if !query.name_prefix.is_empty() {
        sql.push_str(" AND name >= ? AND name < ?");
        arguments.push(query.name_prefix.clone());
        arguments.push(format!("{}\u{10ffff}", query.name_prefix));
    }
    if let Some((namespace, name)) = &query.after {
        sql.push_str(" AND (namespace, name) > (?, ?)");
        arguments.extend([namespace.clone(), name.clone()]);
    }
    sql.push_str(" ORDER BY namespace, name");
    (sql, arguments)
}

/// The newest version in this snapshot: of an event, or the floor when nothing was written since the store opened.
pub(super) fn newest(connection: &Connection, floor: u64) -> Result<u64, rusqlite::Error> {
    let event: Option<i64> = connection.prepare_cached("SELECT max(rv) FROM events")?.query_row([], |row| row.get(0))?;
    Ok((event.unwrap_or(0) as u64).max(floor))
}

fn text(value: ValueRef<'_>) -> &str {
    value.as_str().unwrap_or_default()
}
