//! Proofs and tiles: what it takes to verify the log from outside.

use std::collections::BTreeMap;

use super::{Audit, unexpected};
use crate::app::port::{Port, PortFault};
use crate::base::digest::from_base64url;
use crate::domain::audit::log::{Command, Kept, Reply, Status};
use crate::domain::audit::tiles::{
    Kind, TILE_ENTRIES, TILE_HEIGHT, Tile, bundle, cut_bundle, hash_bytes, hashes, needed, place,
    subtree,
};
use crate::domain::audit::tree::{self, Hash, Range, range_root};

/// A proof with the roots that it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The leaf's hash, or the old root.
    pub from: Hash,
    /// The root at the (new) size.
    pub root: Hash,
    /// The proof.
    pub hashes: Vec<Hash>,
}

/// That entry `index` is in the tree of `size` entries. `None` when it is not, or the log is not that large.
///
/// # Errors
/// A store failed, or a tile is missing.
pub async fn inclusion<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    index: u64,
    size: u64,
) -> Result<Option<Proof>, PortFault> {
    let status = audit.status(port).await?;
    let Some(ranges) = tree::inclusion(index, size).filter(|_| size <= status.size) else {
        return Ok(None);
    };
    let leaf = (index, index.saturating_add(1));
    proof(port, audit, &status, leaf, (0, size), ranges)
        .await
        .map(Some)
}

/// That the tree of `new` entries begins with that of `old`. `None` when there is no such proof.
///
/// # Errors
/// A store failed, or a tile is missing.
pub async fn consistency<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    old: u64,
    new: u64,
) -> Result<Option<Proof>, PortFault> {
    let status = audit.status(port).await?;
    let Some(ranges) = tree::consistency(old, new).filter(|_| new <= status.size) else {
        return Ok(None);
    };
    proof(port, audit, &status, (0, old), (0, new), ranges)
        .await
        .map(Some)
}

/// The hashes of a consistency proof alone.
pub(super) async fn consistency_of<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    status: &Status,
    old: u64,
    new: u64,
) -> Result<Option<Vec<Hash>>, PortFault> {
    let Some(ranges) = tree::consistency(old, new) else {
        return Ok(None);
    };
    roots(port, audit, status, &ranges).await.map(Some)
}

async fn proof<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    status: &Status,
    from: Range,
    whole: Range,
    mut ranges: Vec<Range>,
) -> Result<Proof, PortFault> {
    ranges.extend([from, whole]);
    let mut hashes = roots(port, audit, status, &ranges).await?;
    match (hashes.pop(), hashes.pop()) {
        (Some(root), Some(from)) => Ok(Proof { from, root, hashes }),
        _ => Err(unexpected()),
    }
}

/// The roots of ranges of leaves.
async fn roots<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    status: &Status,
    ranges: &[Range],
) -> Result<Vec<Hash>, PortFault> {
    let mut tiles = BTreeMap::new();
    for (level, index) in needed(ranges) {
        let hashes = hash_tile(port, audit, status.flushed, level, index).await?;
        tiles.insert((level, index), hashes.unwrap_or_default());
    }
    let mut full = |height, index| {
        let (level, tile, first, count) = place(height, index);
        subtree(tiles.get(&(level, tile))?, first, count)
    };
    let roots = ranges.iter().map(|range| range_root(*range, &mut full));
    roots
        .collect::<Option<_>>()
        .ok_or_else(|| PortFault("a tile of the audit log is missing or cut".to_owned()))
}

/// The hashes of a tile, as many as there are. `None`: it is not there.
pub(super) async fn hash_tile<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    flushed: u64,
    level: u8,
    index: u64,
) -> Result<Option<Vec<Hash>>, PortFault> {
    let stored = flushed
        .checked_shr(u32::from(level.saturating_mul(TILE_HEIGHT)))
        .unwrap_or(0);
    if index >= stored {
        match audit.ask(port, &Command::Tile(level, index)).await? {
            Reply::Hashes(Some(text)) => {
                return Ok(from_base64url(&text).and_then(|bytes| hashes(&bytes)));
            }
            // It was flushed meanwhile, or never was.
            Reply::Hashes(None) => {}
            _ => return Err(unexpected()),
        }
    }
    let key = audit.blob(&Tile::full(Kind::Hashes(level), index).path());
    let bytes = port.blob_get(&key).await?;
    Ok(bytes.and_then(|bytes| hashes(&bytes)))
}

/// The entries of the object from `from` to before `to`; they begin later where earlier ones are flushed.
pub(super) async fn unflushed<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    from: u64,
    to: u64,
) -> Result<(u64, Vec<Kept>), PortFault> {
    match audit.ask(port, &Command::Entries(from, to)).await? {
        Reply::Entries(from, entries) => Ok((from, entries)),
        _ => Err(unexpected()),
    }
}

/// A tile or an entry bundle by its path, as clients of tiled logs ask for it. A partial one is cut from what there is
/// now. `None`: there is none.
///
/// To be served as `application/octet-stream`, cached for ever.
///
/// # Errors
/// A store failed.
pub async fn tile<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    path: &str,
) -> Result<Option<Vec<u8>>, PortFault> {
    let Some(tile) = Tile::parse(path) else {
        return Ok(None);
    };
    let width = usize::from(tile.width);
    let flushed = audit.status(port).await?.flushed;
    match tile.kind {
        Kind::Hashes(level) => {
            let hashes = hash_tile(port, audit, flushed, level, tile.index).await?;
            let hashes = hashes.unwrap_or_default();
            Ok(hashes.get(..width).map(hash_bytes))
        }
        Kind::Entries => {
            if let Some(first) = tile.index.checked_mul(TILE_ENTRIES)
                && tile.index >= flushed
            {
                let to = first.saturating_add(TILE_ENTRIES);
                let (from, entries) = unflushed(port, audit, first, to).await?;
                if from == first {
                    let some = entries.get(..width);
                    let leaves = |some: &[Kept]| bundle(some.iter().map(|kept| kept.1.as_bytes()));
                    return Ok(some.map(leaves));
                }
            }
            let key = audit.blob(&Tile::full(Kind::Entries, tile.index).path());
            let bytes = port.blob_get(&key).await?;
            Ok(bytes.and_then(|bytes| cut_bundle(&bytes, width)))
        }
    }
}
