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

/// With whom a document is shared: its id, and the grantees of its shares.
#[must_use]
pub fn shares_of(key: &str, value: &str) -> Option<(String, Vec<Grantee>)> {
    match read(key, value)? {
        Row::Ready(document) if !document.about.shares.is_empty() => {
            let shares = document.about.shares.into_iter();
            Some((document.id, shares.map(|share| share.with).collect()))
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
    let whole = |document: &Document| {
        (0..document.segments.len())
            .all(|at| has(&blob_key(&document.owner, &document.id, &document.blob(at))))
    };
    let Some(row) = read(key, &value) else {
        return (value, false);
    };
    let lost = match &row {
        Row::Ready(document) | Row::Earlier(document) if whole(document) => return (value, false),
        Row::Removed(_) => return (value, false),
        Row::Ready(_) => true,
        Row::Earlier(_) | Row::Pending(_) | Row::Open(_) => false,
    };
    let removed = Row::Removed(row.purge(now));
    (serde_json::to_string(&removed).unwrap_or(value), lost)
}
