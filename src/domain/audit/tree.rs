//! Merkle trees as in RFC 6962 §2.1: hashes, the right edge, proofs and their verification (RFC 9162 §2.1).

use serde::{Deserialize, Serialize};

use crate::base::digest::{Bytes32, base64url, from_base64url, sha256};

/// The hash of a leaf or of a subtree. As text: base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash(pub Bytes32);

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        base64url(&hash.0)
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = from_base64url(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("not 32 bytes in base64url")
    }
}

/// `SHA-256(0x00 ‖ leaf)`
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Hash(sha256(&[&[0], leaf].concat()))
}

/// `SHA-256(0x01 ‖ left ‖ right)`
#[must_use]
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    let mut bytes = [1; 65];
    let (_, rest) = bytes.split_at_mut(1);
    for (to, from) in rest.iter_mut().zip(left.0.into_iter().chain(right.0)) {
        *to = from;
    }
    Hash(sha256(&bytes))
}

/// The roots of the full subtrees of a tree, from left to right: all it takes to append to it and to know its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge(Vec<(u8, Hash)>);

impl Edge {
    /// Appends a full subtree of 2^`height` leaves; it must not be higher than those that came before allow.
    pub fn push(&mut self, mut height: u8, mut hash: Hash) {
        while let Some((_, left)) = self.0.pop_if(|(last, _)| *last == height) {
            hash = node_hash(left, hash);
            height = height.saturating_add(1);
        }
        self.0.push((height, hash));
    }

    /// The root; of the empty tree the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let nodes = self.0.iter().rev().map(|(_, hash)| *hash);
        nodes
            .reduce(|right, left| node_hash(left, right))
            .unwrap_or_else(|| Hash(sha256(b"")))
    }

    /// Heights and roots, to be carried elsewhere.
    #[must_use]
    pub fn nodes(&self) -> &[(u8, Hash)] {
        &self.0
    }

    /// From what [`Self::nodes`] gave.
    #[must_use]
    pub const fn from_nodes(nodes: Vec<(u8, Hash)>) -> Self {
        Self(nodes)
    }
}

/// The root of leaves that are given by their hashes.
#[must_use]
pub fn root(hashes: &[Hash]) -> Hash {
    let mut edge = Edge::default();
    for hash in hashes {
        edge.push(0, *hash);
    }
    edge.root()
}

// === proofs ===

/// Leaves from the first number to before the second.
pub type Range = (u64, u64);

/// The largest power of two below `n`, for n ≥ 2.
const fn split(n: u64) -> u64 {
    1 << n.saturating_sub(1).ilog2()
}

/// The subtrees whose roots prove that leaf `index` is in the tree of `size` leaves, in the order of the proof:
/// `PATH(index, D[size])`. `None` when it is not.
#[must_use]
pub fn inclusion(index: u64, size: u64) -> Option<Vec<Range>> {
    if index >= size {
        return None;
    }
    let (mut low, mut high) = (0u64, size);
    let mut ranges = Vec::new();
    while high.saturating_sub(low) > 1 {
        let middle = low.saturating_add(split(high.saturating_sub(low)));
        if index < middle {
            ranges.push((middle, high));
            high = middle;
        } else {
            ranges.push((low, middle));
            low = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The subtrees whose roots prove that the tree of `new` leaves begins with that of `old`: `PROOF(old, D[new])`. `None`
/// when there is no such proof; an empty tree is the beginning of every tree and needs none.
#[must_use]
pub fn consistency(old: u64, new: u64) -> Option<Vec<Range>> {
    if old > new {
        return None;
    }
    let (mut low, mut high) = (0u64, new);
    let mut ranges = Vec::new();
    if old == 0 {
        return Some(ranges);
    }
    while old < high {
        let middle = low.saturating_add(split(high.saturating_sub(low)));
        if old <= middle {
            ranges.push((middle, high));
            high = middle;
        } else {
            ranges.push((low, middle));
            low = middle;
        }
    }
    // Whoever asks knows the old root already when it is a subtree by itself.
    if low > 0 {
        ranges.push((low, high));
    }
    ranges.reverse();
    Some(ranges)
}

/// The root of a range's leaves, from the roots of full subtrees: `full` gets a height and an index at that height.
pub fn range_root(range: Range, full: &mut impl FnMut(u8, u64) -> Option<Hash>) -> Option<Hash> {
    let (mut low, high) = range;
    let mut edge = Edge::default();
    while low < high {
        // The largest full subtree that begins here and ends in the range.
        let most = high.saturating_sub(low).ilog2();
        let height = low.trailing_zeros().min(most);
        let index = low.checked_shr(height).unwrap_or(0);
        let height = u8::try_from(height).ok()?;
        edge.push(height, full(height, index)?);
        low = low.saturating_add(1u64.checked_shl(u32::from(height))?);
    }
    Some(edge.root())
}

/// Does the proof show that the leaf is at `index` in the tree of `size` leaves with that root? (RFC 9162 §2.1.3.2)
#[must_use]
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size.saturating_sub(1));
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(*sibling, hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(hash, *sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// Does the proof show that the tree of `new` leaves begins with the tree of `old`? (RFC 9162 §2.1.4.2)
#[must_use]
pub fn verify_consistency(
    old: u64,
    old_root: Hash,
    new: u64,
    new_root: Hash,
    proof: &[Hash],
) -> bool {
    if old == new || old == 0 {
        let same = old == 0 || old_root == new_root;
        return proof.is_empty() && same && (old > 0 || old_root == root(&[]));
    }
    if old > new {
        return false;
    }
    let mut proof = proof.iter().copied();
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        proof.next()
    };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old.saturating_sub(1), new.saturating_sub(1));
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut was, mut is) = (first, first);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            was = node_hash(sibling, was);
            is = node_hash(sibling, is);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            is = node_hash(is, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && was == old_root && is == new_root
}
