//! Verification against a checkpoint that somebody kept: everything is computed again from the entries.

use serde::{Deserialize, Serialize};

use super::{Audit, proofs};
use crate::app::port::{Port, PortFault};
use crate::domain::audit::checkpoint::{Key, Note};
use crate::domain::audit::tiles::{Kind, TILE_ENTRIES, TILE_WIDTH, Tile, entries};
use crate::domain::audit::tree::{Edge, Hash, leaf_hash, root};

/// Tiles of one call: about three calls of stores each, far below the 1,000 of one invocation.
const TILES_AT_ONCE: usize = 100;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log begins with exactly what the checkpoint says, and its tiles are those of its entries.
    Consistent {
        /// Entries of the checkpoint.
        checkpoint: u64,
        /// Entries that were read.
        size: u64,
    },
    /// There is more to read: go on from here.
    More(Cursor),
    /// It is not a checkpoint of this log.
    NotACheckpoint,
    /// The checkpoint has no valid signature by a key of this log.
    Forged,
    /// The log has fewer entries than the checkpoint says.
    Truncated {
        /// Entries of the log.
        size: u64,
    },
    /// A tile is missing or has not the right length.
    Missing {
        /// Its path.
        path: String,
    },
    /// An entry is not the one that its tile knows.
    Changed {
        /// Its index.
        index: u64,
    },
    /// Entries and tiles agree, but not with the checkpoint: all of it was rewritten, from some entry before `size` on.
    Rewritten {
        /// Entries of the checkpoint.
        size: u64,
    },
    /// The root that the log signs next is not that of its entries.
    WrongHead {
        /// Entries of the log.
        size: u64,
    },
}

/// Where to go on. It is the asker's own: a false one deceives nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    tile: u64,
    edge: Vec<(u8, Hash)>,
    /// The checkpoint's size was passed, and its root was right.
    passed: bool,
}

/// Verifies the log against a signed checkpoint. `keys`: the public keys that this log signs and signed with.
///
/// Compared are the entries with the tiles of level 0, those with level 1, and those with level 2 (above lie the roots of
/// 16.7 million entries each); the root of the first entries with the checkpoint; the root of all with the log's own.
/// What is sealed beside the entries is checked where it is read.
///
/// # Errors
/// A store failed: nothing can be said.
pub async fn verify<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    note: &str,
    keys: &[Key],
    from: Option<Cursor>,
) -> Result<Verdict, PortFault> {
    let Some(note) = Note::parse(note).filter(|note| note.checkpoint.origin == audit.origin) else {
        return Ok(Verdict::NotACheckpoint);
    };
    if !is_signed(port, &note, keys).await? {
        return Ok(Verdict::Forged);
    }
    let status = audit.status(port).await?;
    let checkpoint = note.checkpoint;
    if status.size < checkpoint.size {
        return Ok(Verdict::Truncated { size: status.size });
    }
    let Cursor { tile, edge, passed } = from.unwrap_or_default();
    let mut walk = Walk {
        port,
        audit,
        flushed: status.flushed,
        edge: Edge::from_nodes(edge),
        above: None,
    };
    let mut passed = passed || checkpoint.size == 0 && checkpoint.root == root(&[]);
    let end = status.size.div_ceil(TILE_ENTRIES);
    for (count, tile) in (tile..end).enumerate() {
        if count >= TILES_AT_ONCE {
            let edge = walk.edge.nodes().to_vec();
            return Ok(Verdict::More(Cursor { tile, edge, passed }));
        }
        let first = tile.saturating_mul(TILE_ENTRIES);
        let hashes = match walk.tile(tile, status.size).await? {
            Ok(hashes) => hashes,
            Err(verdict) => return Ok(verdict),
        };
        for (size, hash) in (first.saturating_add(1)..).zip(hashes) {
            walk.edge.push(0, hash);
            if size == checkpoint.size {
                if walk.edge.root() != checkpoint.root {
                    return Ok(Verdict::Rewritten { size });
                }
                passed = true;
            }
        }
    }
    if !passed {
        return Ok(Verdict::Rewritten {
            size: checkpoint.size,
        });
    }
    if walk.edge.root() != status.root {
        return Ok(Verdict::WrongHead { size: status.size });
    }
    Ok(Verdict::Consistent {
        checkpoint: checkpoint.size,
        size: status.size,
    })
}

async fn is_signed<P: Port>(port: &P, note: &Note, keys: &[Key]) -> Result<bool, PortFault> {
    for key in keys {
        if let Some(signature) = note.signature(key)
            && port
                .verify(
                    crate::app::port::Algorithm::Ed25519,
                    &key.public,
                    note.text.as_bytes(),
                    signature,
                )
                .await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Walk<'a, P, C> {
    port: &'a P,
    audit: &'a Audit<'a, C>,
    flushed: u64,
    edge: Edge,
    /// The tile above the last one: its index and hashes.
    above: Option<(u64, Vec<Hash>)>,
}

impl<P: Port, C> Walk<'_, P, C> {
    /// The hashes of a tile's entries, compared with the tiles.
    async fn tile(
        &mut self,
        tile: u64,
        size: u64,
    ) -> Result<Result<Vec<Hash>, Verdict>, PortFault> {
        let first = tile.saturating_mul(TILE_ENTRIES);
        let width = size.saturating_sub(first).min(TILE_ENTRIES);
        let width = usize::try_from(width).unwrap_or(TILE_WIDTH);
        let missing = |kind, index| {
            let path = Tile::full(kind, index).path();
            Ok(Err(Verdict::Missing { path }))
        };
        let address = Tile {
            kind: Kind::Entries,
            index: tile,
            width: u16::try_from(width).unwrap_or(256),
        };
        let bundle = proofs::tile(self.port, self.audit, &address.path()).await?;
        let Some(leaves) = bundle.as_deref().and_then(entries) else {
            return missing(Kind::Entries, tile);
        };
        let hashes: Vec<Hash> = leaves.into_iter().map(leaf_hash).collect();
        let known = self.hashes(0, tile).await?;
        let Some(known) = known.get(..width).filter(|_| hashes.len() == width) else {
            return missing(Kind::Hashes(0), tile);
        };
        if let Some((index, _)) = (first..)
            .zip(hashes.iter().zip(known))
            .find(|(_, (computed, known))| computed != known)
        {
            return Ok(Err(Verdict::Changed { index }));
        }
        if width < TILE_WIDTH {
            return Ok(Ok(hashes));
        }
        // The tile's root in the tile above, and when that is complete, its root in the one above it.
        let (up, at) = (tile / TILE_ENTRIES, tile % TILE_ENTRIES);
        if self.above.as_ref().is_none_or(|(index, _)| *index != up) {
            self.above = Some((up, self.hashes(1, up).await?));
        }
        let above = self.above.as_ref().map_or(&[][..], |(_, hashes)| hashes);
        if hash_at(above, at) != Some(root(&hashes)) {
            return missing(Kind::Hashes(1), up);
        }
        if at == TILE_ENTRIES.saturating_sub(1) {
            let top = up / TILE_ENTRIES;
            let expected = root(above);
            if hash_at(&self.hashes(2, top).await?, up % TILE_ENTRIES) != Some(expected) {
                return missing(Kind::Hashes(2), top);
            }
        }
        Ok(Ok(hashes))
    }

    async fn hashes(&self, level: u8, index: u64) -> Result<Vec<Hash>, PortFault> {
        let hashes = proofs::hash_tile(self.port, self.audit, self.flushed, level, index).await?;
        Ok(hashes.unwrap_or_default())
    }
}

fn hash_at(hashes: &[Hash], at: u64) -> Option<Hash> {
    hashes.get(usize::try_from(at).ok()?).copied()
}
