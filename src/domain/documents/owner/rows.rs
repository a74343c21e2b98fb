//! An owner's rows as a snapshot has them.

use super::{ROW_PREFIX, Row};
use crate::base::time::Millis;
use crate::domain::documents::about::Grantee;
use crate::domain::documents::manifest::{Document, blob_key};

fn read(key: &str, value: &str) -> Option<Row> {
    key.strip_prefix(ROW_PREFIX)?;
    serde_json::from_str(value).ok()
}

/// The network whose ledger a row is charged in; `None` for rows that are charged nowhere.
#[must_use]
pub fn network_of(key: &str, value: &str) -> Option<String> {
    Some(match read(key, value)? {
        Row::Pending(intent) => intent.network,
        Row::Open(upload) => upload.intent.network,
        Row::Ready(document) | Row::Earlier(document) => document.network,
        Row::Removed(purge) => purge.network,
    })
}

/// The network and the slot of a document or version that came after that time, where it takes room of quotas.
#[must_use]
pub fn charged_after(key: &str, value: &str, time: Millis) -> Option<(String, String)> {
    match read(key, value)? {
        Row::Ready(document) | Row::Earlier(document) => {
            let since = document.about.provenance.at.unwrap_or(document.created);
            (since > time).then(|| (document.network.clone(), document.slot()))
        }
        _ => None,
    }
}

/// With whom a document is shared: its id, and the grantees of its shares.
#[must_use]
pub fn shares_of(key: &str, value: &str) -> Option<(String, Vec<Grantee>)> {
    shared(&read(key, value)?)
}

pub(super) fn shared(row: &Row) -> Option<(String, Vec<Grantee>)> {
    match row {
        Row::Ready(document) if !document.about.shares.is_empty() => {
            let shares = document.about.shares.iter();
            let with = shares.map(|share| share.with.clone()).collect();
            Some((document.id.clone(), with))
        }
        _ => None,
    }
}

/// A row as it is put back from a snapshot, and whether a document is lost by it. A document stays when each of its blobs
/// is there; otherwise it was deleted since, and becomes one of which only something is left to remove. So does an upload
/// that was under way.
#[must_use]
pub fn restored(
    key: &str,
    value: String,
    now: Millis,
    has: impl Fn(&str) -> bool,
) -> (String, bool) {
    let Some(row) = read(key, &value) else {
        return (value, false);
    };
    match compared(&row, now, has) {
        None => (value, false),
        Some((removed, lost)) => (serde_json::to_string(&removed).unwrap_or(value), lost),
    }
}

/// What takes the place of a row of an earlier day, and whether a document is lost by it; `None` for one that stays.
pub(super) fn compared(row: &Row, now: Millis, has: impl Fn(&str) -> bool) -> Option<(Row, bool)> {
    let whole = |document: &Document| {
        (0..document.segments.len())
            .all(|at| has(&blob_key(&document.owner, &document.id, &document.blob(at))))
    };
    let lost = match row {
        Row::Ready(document) | Row::Earlier(document) if whole(document) => return None,
        Row::Removed(_) => return None,
        Row::Ready(_) => true,
        Row::Earlier(_) | Row::Pending(_) | Row::Open(_) => false,
    };
    Some((Row::Removed(row.purge(now)), lost))
}
