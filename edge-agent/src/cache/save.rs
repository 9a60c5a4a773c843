//! Writes to rows.

use bus_schema::id::ObjectId;
use bus_schema::link::agent::{AgentWrite, Ended, Item, Origin, Removal, StoredList};
use bus_schema::stamp::Stamp;
use rusqlite::{Transaction, params};

pub(super) fn save(transaction: &Transaction<'_>, write: &AgentWrite) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(values).map(drop);
    match write {
        AgentWrite::Session(session) => meta(transaction, "session", &session.to_be_bytes()),
        AgentWrite::Order(order) => meta(transaction, "order", &order.to_be_bytes()),
        AgentWrite::Facts(facts) => meta(transaction, "facts", facts),
        AgentWrite::List(list) => save_list(transaction, list),
        AgentWrite::Stamp(stamp) => save_stamp(transaction, *stamp),
        AgentWrite::Content(hash, bytes) => run("INSERT OR REPLACE INTO content VALUES (?1, ?2)", params![hash.0, bytes]),
        AgentWrite::DropContent(hash) => run("DELETE FROM content WHERE hash = ?1", params![hash.0]),
        AgentWrite::Partial(hash, partial, bytes) => {
            let before = partial.received.saturating_sub(bytes.len() as u32);
            run("DELETE FROM chunk WHERE hash = ?1 AND upto > ?2", params![hash.0, before])?;
            let base = partial.base.map(|base| base.0);
            run(
                "INSERT OR REPLACE INTO partial VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![hash.0, partial.mode as u32, base, partial.size, partial.total, partial.etag.cast_signed(), partial.received],
            )?;
            run("INSERT OR REPLACE INTO chunk VALUES (?1, ?2, ?3)", params![hash.0, partial.received, bytes])
        }
        AgentWrite::DropPartial(hash) => {
            run("DELETE FROM chunk WHERE hash = ?1", params![hash.0])?;
            run("DELETE FROM partial WHERE hash = ?1", params![hash.0])
        }
        AgentWrite::Item(object, item) => save_item(transaction, object, item.as_ref()),
        AgentWrite::Removal(object, bundle, removal) => save_removal(transaction, object, bundle.0, removal.as_ref()),
    }
}

fn meta(transaction: &Transaction<'_>, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?.execute(params![key, value]).map(drop)
}

fn save_list(transaction: &Transaction<'_>, list: &StoredList) -> rusqlite::Result<()> {
    meta(transaction, "list", &list.bytes)?;
    meta(transaction, "recover", &[u8::from(list.recover)])?;
    save_stamp(transaction, list.stamp)
}

fn save_stamp(transaction: &Transaction<'_>, stamp: Stamp) -> rusqlite::Result<()> {
    let bytes = [stamp.incarnation.0.to_be_bytes(), stamp.resource_version.to_be_bytes()].concat();
    meta(transaction, "stamp", &bytes)
}

fn save_item(transaction: &Transaction<'_>, object: &ObjectId, item: Option<&Item>) -> rusqlite::Result<()> {
    save_ended(transaction, object, item.and_then(|item| item.ended))?;
    let ObjectId { group, kind, namespace, name } = object;
    let Some(item) = item else {
        let sql = "DELETE FROM item WHERE grp = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4";
        return transaction.prepare_cached(sql)?.execute(params![group, kind, namespace, name]).map(drop);
    };
    let live = item.live.as_ref();
    let origin = live.map(|live| match live.origin {
        Origin::Created => "created",
        Origin::Adopted => "adopted",
    });
    transaction
        .prepare_cached("INSERT OR REPLACE INTO item VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            group,
            kind,
            namespace,
            name,
            item.version,
            live.map(|live| &live.uid),
            live.map(|live| &live.resource_version),
            origin,
            item.applied.map(|hash| hash.0),
        ])
        .map(drop)
}

/// In a table of its own, so that an older agent can read and write its rows.
fn save_ended(transaction: &Transaction<'_>, object: &ObjectId, ended: Option<Ended>) -> rusqlite::Result<()> {
    let ObjectId { group, kind, namespace, name } = object;
    let Some(Ended { hash, failed }) = ended else {
        let sql = "DELETE FROM ended WHERE grp = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4";
        return transaction.prepare_cached(sql)?.execute(params![group, kind, namespace, name]).map(drop);
    };
    let sql = "INSERT OR REPLACE INTO ended VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    transaction.prepare_cached(sql)?.execute(params![group, kind, namespace, name, hash.0, failed]).map(drop)
}

fn save_removal(transaction: &Transaction<'_>, object: &ObjectId, bundle: u64, removal: Option<&Removal>) -> rusqlite::Result<()> {
    let ObjectId { group, kind, namespace, name } = object;
    let bundle = bundle.cast_signed();
    let Some(removal) = removal else {
        let sql = "DELETE FROM removal WHERE grp = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4 AND bundle = ?5";
        return transaction.prepare_cached(sql)?.execute(params![group, kind, namespace, name, bundle]).map(drop);
    };
    let Stamp { incarnation, resource_version } = removal.stamp;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO removal VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![group, kind, namespace, name, bundle, incarnation.0.cast_signed(), resource_version.cast_signed(), removal.proven])
        .map(drop)
}
