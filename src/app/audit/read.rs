//! Reading the log: the newest first, by pages, with what is personal where it can still be opened.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::record::{part_context, unwrap};
use super::{Audit, Cipher, proofs, unexpected};
use crate::app::port::{Port, PortFault};
use crate::base::digest::Bytes32;
use crate::domain::audit::entry::opened;
use crate::domain::audit::export::{Filter, Part, Row, csv_head};
use crate::domain::audit::log::{Command, Kept, Reply, Sealed, personal_path};
use crate::domain::audit::tiles::{Kind, TILE_ENTRIES, Tile, entries};

/// Tiles of one call: two blobs and one question for keys each, far below the 1,000 calls of one invocation.
const TILES_AT_ONCE: usize = 40;
/// Rows of one export.
pub const MAX_EXPORT_ROWS: usize = 5000;

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only these.
    pub filter: Filter,
    /// Only entries before this index; `None` from the newest on.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The newest first.
    pub rows: Vec<Row>,
    /// [`Query::before`] of the next page; `None` at the beginning of the log. A page can be empty and not the last.
    pub next: Option<u64>,
}

/// Reads a page.
///
/// # Errors
/// A store failed, or a tile is missing.
pub async fn read<P: Port>(
    port: &P,
    audit: &Audit<'_, impl Cipher>,
    query: &Query,
) -> Result<Page, PortFault> {
    let status = audit.status(port).await?;
    let mut before = query.before.unwrap_or(u64::MAX).min(status.size);
    let mut rows = Vec::new();
    let mut keys = Keys::default();
    for _ in 0..TILES_AT_ONCE {
        let Some(newest) = before.checked_sub(1) else {
            break;
        };
        let tile = newest / TILE_ENTRIES;
        let (first, mut kept) = tile_entries(port, audit, status.flushed, tile).await?;
        kept.truncate(usize::try_from(before.saturating_sub(first)).unwrap_or(usize::MAX));
        keys.learn(port, audit, &kept).await?;
        for (index, kept) in (first..).zip(&kept).collect::<Vec<_>>().into_iter().rev() {
            if rows.len() >= query.limit {
                return Ok(Page {
                    rows,
                    next: Some(before),
                });
            }
            before = index;
            let row = row(audit, &keys, index, kept);
            if query.filter.takes(&row) {
                rows.push(row);
            }
        }
        before = before.min(first);
        if query
            .filter
            .since
            .is_some_and(|since| is_before(&kept, &since.rfc3339()))
        {
            before = 0;
        }
    }
    let next = (before > 0).then_some(before);
    Ok(Page { rows, next })
}

/// Every entry of a tile was before that time, by an hour or more: clocks of isolates differ, so that the order of times
/// is not quite that of the log.
fn is_before(kept: &[Kept], since: &str) -> bool {
    // `2026-11-21T04`: equal or later in the same hour may belong to it.
    let hour = since.get(..13).unwrap_or(since);
    !kept.is_empty()
        && kept.iter().all(|kept| {
            let leaf: Option<Map<String, Value>> = serde_json::from_str(&kept.1).ok();
            let leaf = leaf.unwrap_or_default();
            let at = leaf.get("at").and_then(Value::as_str);
            at.is_some_and(|at| at < hour)
        })
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON array of objects.
    Json,
    /// CSV with a head.
    Csv,
}

/// An export of at most [`MAX_EXPORT_ROWS`] rows, and where the next one goes on ([`Query::before`]).
///
/// # Errors
/// As [`read`].
pub async fn export<P: Port>(
    port: &P,
    audit: &Audit<'_, impl Cipher>,
    filter: Filter,
    before: Option<u64>,
    format: Format,
) -> Result<(String, Option<u64>), PortFault> {
    let query = Query {
        filter,
        before,
        limit: MAX_EXPORT_ROWS,
    };
    let page = read(port, audit, &query).await?;
    let text = match format {
        Format::Json => Value::from_iter(page.rows.iter().map(Row::json)).to_string(),
        Format::Csv => core::iter::once(csv_head())
            .chain(page.rows.iter().map(Row::csv))
            .collect(),
    };
    Ok((text, page.next))
}

/// A tile's entries, and the index of the first.
async fn tile_entries<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    flushed: u64,
    tile: u64,
) -> Result<(u64, Vec<Kept>), PortFault> {
    let first = tile.saturating_mul(TILE_ENTRIES);
    if tile >= flushed {
        let to = first.saturating_add(TILE_ENTRIES);
        let (from, kept) = proofs::unflushed(port, audit, first, to).await?;
        if from == first {
            return Ok((first, kept));
        }
    }
    let path = Tile::full(Kind::Entries, tile).path();
    let missing = |path: &str| PortFault([path, " is missing or cut"].concat());
    let bytes = port.blob_get(&audit.blob(&path)).await?;
    let bytes = bytes.ok_or_else(|| missing(&path))?;
    let leaves = entries(&bytes).ok_or_else(|| missing(&path))?;
    // Without them the entries are still worth reading.
    let personal = port.blob_get(&audit.blob(&personal_path(tile))).await?;
    let personal = personal.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let personal: Vec<Vec<Sealed>> = personal.unwrap_or_default();
    let personal = personal.into_iter().map(Some);
    let kept = leaves
        .into_iter()
        .zip(personal.chain(core::iter::repeat(None)))
        .map(|(leaf, sealed)| {
            let leaf = String::from_utf8_lossy(leaf).into_owned();
            let sealed = sealed.unwrap_or_else(lost);
            Kept(String::new(), leaf, sealed)
        });
    Ok((first, kept.collect()))
}

/// What stands for sealed fields whose blob is gone: it opens under no key.
fn lost() -> Vec<Sealed> {
    ["who", "what"]
        .map(|slot| Sealed(slot.to_owned(), String::new(), String::new()))
        .into()
}

/// Keys of subjects, by id; `None`: erased.
#[derive(Default)]
struct Keys(BTreeMap<String, Option<Unwrapped>>);

/// A key, or `None` when what is kept of it does not open.
type Unwrapped = Option<Bytes32>;

impl Keys {
    async fn learn<P: Port>(
        &mut self,
        port: &P,
        audit: &Audit<'_, impl Cipher>,
        kept: &[Kept],
    ) -> Result<(), PortFault> {
        let kids = kept.iter().flat_map(|kept| &kept.2).map(|sealed| &sealed.1);
        let new: BTreeSet<&String> = kids
            .filter(|kid| !kid.is_empty() && !self.0.contains_key(*kid))
            .collect();
        let new: Vec<String> = new.into_iter().cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let Reply::Keys(keys) = audit.ask(port, &Command::Keys(new.clone())).await? else {
            return Err(unexpected());
        };
        for (kid, key) in new.into_iter().zip(keys) {
            let key = key.map(|(kid, wrapped)| unwrap(audit, &kid, &wrapped));
            self.0.insert(kid, key);
        }
        Ok(())
    }
}

fn row(audit: &Audit<'_, impl Cipher>, keys: &Keys, index: u64, kept: &Kept) -> Row {
    let leaf: Map<String, Value> = serde_json::from_str(&kept.1).unwrap_or_default();
    let text = |name: &str| leaf.get(name).and_then(Value::as_str);
    let id = text("id").unwrap_or_default();
    let part = |slot: &str| {
        let Some(commitment) = text(slot) else {
            return Part::None;
        };
        let Some(Sealed(_, kid, sealed)) = kept.2.iter().find(|sealed| sealed.0 == slot) else {
            return Part::NotKept;
        };
        let key = match keys.0.get(kid) {
            Some(None) => return Part::Erased,
            Some(Some(Some(key))) => key,
            _ => return Part::Damaged,
        };
        let context = part_context(audit.tenant, id, slot);
        let plain = audit.cipher.open(key, &context, sealed);
        plain
            .and_then(|plain| opened(&plain, commitment))
            .map_or(Part::Damaged, Part::Open)
    };
    let (who, what) = (part("who"), part("what"));
    Row {
        index,
        leaf,
        who,
        what,
    }
}
