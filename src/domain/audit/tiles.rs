//! Tiles: how the tree and its entries are cut into pieces that never change (C2SP tlog-tiles).

use super::tree::{Edge, Hash, Range, range_root};
use crate::base::digest::DIGEST_BYTES;

/// Hashes in a full tile, and entries in a full bundle: 2^8.
pub const TILE_WIDTH: usize = 256;
/// [`TILE_WIDTH`] as a number of entries.
pub const TILE_ENTRIES: u64 = 256;
/// Levels of the tree in a tile: 256 = 2^8.
pub const TILE_HEIGHT: u8 = 8;
/// An entry's length is two bytes in a bundle (2^16 − 1).
pub const MAX_LEAF_BYTES: usize = 65_535;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Hashes of subtrees of 2^(8 × level) leaves.
    Hashes(u8),
    /// The entries themselves.
    Entries,
}

/// A tile's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds.
    pub kind: Kind,
    /// Which of its kind, from 0.
    pub index: u64,
    /// 1 to 256; below that it is partial.
    pub width: u16,
}

impl Tile {
    /// A full tile.
    #[must_use]
    pub const fn full(kind: Kind, index: u64) -> Self {
        Self {
            kind,
            index,
            width: 256,
        }
    }

    /// `tile/<level>/x001/x234/067`, `tile/entries/067.p/12`
    #[must_use]
    pub fn path(&self) -> String {
        let level = match self.kind {
            Kind::Hashes(level) => level.to_string(),
            Kind::Entries => "entries".to_owned(),
        };
        let partial = if self.width < 256 {
            [".p/", &self.width.to_string()].concat()
        } else {
            String::new()
        };
        ["tile/", &level, "/", &index_path(self.index), &partial].concat()
    }

    /// Reads a path; only the one way to write a tile is accepted.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match level {
            "entries" => Kind::Entries,
            number => Kind::Hashes(number.parse().ok().filter(|level| *level < 64)?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok()?),
            None => (rest, 256),
        };
        let mut number = 0u64;
        for part in index.split('/') {
            let digits: u64 = part.strip_prefix('x').unwrap_or(part).parse().ok()?;
            number = number.checked_mul(1000)?.checked_add(digits)?;
        }
        let tile = Self {
            kind,
            index: number,
            width,
        };
        // Leading zeros, missing `x`, a width of 0 or 256: whatever does not come back the same is not an address.
        (tile.width > 0 && tile.path() == path).then_some(tile)
    }
}

/// Three digits at a time, all but the last with an `x`.
#[must_use]
pub fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut left = index / 1000;
    while left > 0 {
        path = format!("x{:03}/{path}", left % 1000);
        left /= 1000;
    }
    path
}

/// A tile of hashes as bytes.
#[must_use]
pub fn hash_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile; `None` when the bytes are none.
#[must_use]
pub fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (all, rest) = bytes.as_chunks::<DIGEST_BYTES>();
    rest.is_empty()
        .then(|| all.iter().copied().map(Hash).collect())
}

/// Entries as a bundle: each after its length in two bytes, big-endian. Longer ones than [`MAX_LEAF_BYTES`] never get
/// into the log.
#[must_use]
pub fn bundle<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for leaf in leaves {
        let length = u16::try_from(leaf.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(leaf);
    }
    bytes
}

/// The entries of a bundle; `None` when it is cut.
#[must_use]
pub fn entries(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    Some(entries)
}

/// The first `width` entries of a bundle.
#[must_use]
pub fn cut_bundle(bytes: &[u8], width: usize) -> Option<Vec<u8>> {
    let all = entries(bytes)?;
    all.get(..width).map(|some| bundle(some.iter().copied()))
}

/// The tile of hashes that holds the root of a full subtree, and where in it: (level, tile, first hash, hashes).
#[must_use]
pub const fn place(height: u8, index: u64) -> (u8, u64, usize, usize) {
    let inside = height % TILE_HEIGHT;
    let first = index << inside;
    (
        height / TILE_HEIGHT,
        first / TILE_ENTRIES,
        (first % TILE_ENTRIES) as usize,
        1 << inside,
    )
}

/// The root of a full subtree, from the tile that holds it.
#[must_use]
pub fn subtree(tile: &[Hash], first: usize, count: usize) -> Option<Hash> {
    let hashes = tile.get(first..first.checked_add(count)?)?;
    let mut edge = Edge::default();
    for hash in hashes {
        edge.push(0, *hash);
    }
    Some(edge.root())
}

/// The tiles of hashes that the roots of these ranges need, as (level, index).
#[must_use]
pub fn needed(ranges: &[Range]) -> Vec<(u8, u64)> {
    let mut tiles = Vec::new();
    for range in ranges {
        range_root(*range, &mut |height, index| {
            let (level, tile, _, _) = place(height, index);
            tiles.push((level, tile));
            Some(Hash([0; DIGEST_BYTES]))
        });
    }
    tiles.sort_unstable();
    tiles.dedup();
    tiles
}
