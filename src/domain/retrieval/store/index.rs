//! The index of a segment: terms in the order of their digests, each with the passages that have it.
//!
//! ```text
//! block    = entry *                      sorted by digest, about 16 KiB
//! entry    = digest (8 bytes)  bytes of the list  list
//! list     = posting *                    sorted by passage
//! posting  = passage - the one before  count  length of the passage
//! ```
//! Numbers are little-endian base 128 (LEB128). A digest is a keyed one, so that a block tells no word.

use std::collections::BTreeMap;

/// What stands for a term.
pub type Digest = [u8; DIGEST_BYTES];

/// Bytes of it: two of 10⁷ terms are the same with a chance of 1 to 400,000, and then a passage is ranked a little wrong.
pub const DIGEST_BYTES: usize = 8;

/// A block is closed once it has so many bytes: a question reads one for each of its terms.
const BLOCK_BYTES: usize = 16_384;

/// A term in a passage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The passage's number in its segment.
    pub passage: u32,
    /// How often it stands there.
    pub count: u32,
    /// How many terms the passage has.
    pub length: u32,
}

/// A block: its first term, and its bytes.
pub type Block = (Digest, Vec<u8>);

// === writing ===

/// Passages of one term, as they are written.
#[derive(Clone, Debug, Default)]
pub struct List {
    bytes: Vec<u8>,
    last: u32,
}

impl List {
    /// Adds a passage behind those that are there.
    pub fn push(&mut self, posting: Posting) {
        let step = posting.passage.saturating_sub(self.last);
        self.last = posting.passage;
        for number in [step, posting.count, posting.length] {
            put(&mut self.bytes, number);
        }
    }

    /// Is there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Makes blocks of terms that come in order.
#[derive(Debug, Default)]
pub struct Writer {
    first: Digest,
    bytes: Vec<u8>,
}

impl Writer {
    /// Adds a term. Gives a block that is full.
    pub fn push(&mut self, digest: Digest, list: &List) -> Option<Block> {
        if self.bytes.is_empty() {
            self.first = digest;
        }
        self.bytes.extend_from_slice(&digest);
        put(
            &mut self.bytes,
            u32::try_from(list.bytes.len()).unwrap_or(u32::MAX),
        );
        self.bytes.extend_from_slice(&list.bytes);
        (self.bytes.len() >= BLOCK_BYTES).then(|| (self.first, core::mem::take(&mut self.bytes)))
    }

    /// The last block.
    #[must_use]
    pub fn rest(self) -> Option<Block> {
        (!self.bytes.is_empty()).then_some((self.first, self.bytes))
    }
}

/// The index of a single file.
#[derive(Debug, Default)]
pub struct Builder {
    terms: BTreeMap<Digest, List>,
    passages: u32,
    length: u64,
}

impl Builder {
    /// Adds the next passage: its terms, and how many it has altogether. A term may come more than once.
    pub fn passage(&mut self, terms: impl IntoIterator<Item = (Digest, u32)>, length: u32) {
        let mut counts: BTreeMap<Digest, u32> = BTreeMap::new();
        for (digest, count) in terms {
            let sum = counts.entry(digest).or_default();
            *sum = sum.saturating_add(count);
        }
        for (digest, count) in counts {
            self.terms.entry(digest).or_default().push(Posting {
                passage: self.passages,
                count,
                length,
            });
        }
        self.passages = self.passages.saturating_add(1);
        self.length = self.length.saturating_add(u64::from(length));
    }

    /// Terms of all passages.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Its blocks.
    #[must_use]
    pub fn blocks(self) -> Vec<Block> {
        let mut writer = Writer::default();
        let mut blocks = Vec::new();
        for (digest, list) in &self.terms {
            blocks.extend(writer.push(*digest, list));
        }
        blocks.extend(writer.rest());
        blocks
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

// === reading ===

/// The terms of a block, in order. What is no block ends early.
#[derive(Clone, Debug)]
pub struct Entries<'b>(pub &'b [u8]);

impl<'b> Iterator for Entries<'b> {
    type Item = (Digest, Postings<'b>);

    fn next(&mut self) -> Option<Self::Item> {
        let (digest, mut rest) = self.0.split_first_chunk::<DIGEST_BYTES>()?;
        let length = take(&mut rest)?;
        let (list, rest) = rest.split_at_checked(length as usize)?;
        self.0 = rest;
        Some((*digest, Postings { list, last: 0 }))
    }
}

/// The passages of a term, in order.
#[derive(Clone, Debug)]
pub struct Postings<'b> {
    list: &'b [u8],
    last: u32,
}

impl Iterator for Postings<'_> {
    type Item = Posting;

    fn next(&mut self) -> Option<Posting> {
        let step = take(&mut self.list)?;
        let (count, length) = (take(&mut self.list)?, take(&mut self.list)?);
        self.last = self.last.saturating_add(step);
        Some(Posting {
            passage: self.last,
            count,
            length,
        })
    }
}

/// The passages of a term in the block where it would stand.
#[must_use]
pub fn find(block: &[u8], wanted: Digest) -> Option<Postings<'_>> {
    let mut entries = Entries(block).skip_while(|(digest, _)| *digest < wanted);
    let (digest, postings) = entries.next()?;
    (digest == wanted).then_some(postings)
}

fn take(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Builder, Entries, List, Posting, find};

    #[test]
    fn a_term_is_found_in_the_one_block_where_it_stands() {
        let mut builder = Builder::default();
        let digest = |n: u32| (u64::from(n) * 7919).to_be_bytes();
        for passage in 0..300_u32 {
            let terms = (0..50).map(|n| (digest(passage % 7 * 50 + n), n % 3 + 1));
            builder.passage(
                terms.chain([(digest(1_000_000), 1), (digest(1_000_000), 2)]),
                200,
            );
        }
        assert_eq!(builder.length(), 60_000);
        let blocks = builder.blocks();
        assert!(blocks.len() > 1 && blocks.is_sorted());
        let mut seen = 0;
        for (first, bytes) in &blocks {
            assert_eq!(Entries(bytes).next().unwrap().0, *first);
            for (term, postings) in Entries(bytes) {
                let found: Vec<Posting> = find(bytes, term).unwrap().collect();
                assert_eq!(found, postings.collect::<Vec<_>>());
                assert!(found.is_sorted_by_key(|posting| posting.passage));
                assert!(found.iter().all(|posting| posting.length == 200));
                seen += found.len();
            }
        }
        assert_eq!(seen, 300 * 51);
        let everywhere = blocks
            .iter()
            .find_map(|(_, bytes)| find(bytes, digest(1_000_000)));
        let everywhere: Vec<Posting> = everywhere.unwrap().collect();
        assert_eq!(everywhere.len(), 300);
        assert!(everywhere.iter().all(|posting| posting.count == 3));
        assert!(find(&blocks[0].1, [0xff; 8]).is_none());
    }

    #[test]
    fn the_blocks_are_pinned_and_what_is_none_ends_early() {
        let mut builder = Builder::default();
        builder.passage([([2; 8], 1)], 300);
        builder.passage([([1; 8], 200)], 5);
        let blocks = builder.blocks();
        // A change here makes every stored index unreadable.
        let expected = [
            &[1; 8][..],
            &[4, 1, 0xc8, 1, 5],
            &[2; 8],
            &[4, 0, 1, 0xac, 2],
        ]
        .concat();
        assert_eq!(blocks, [([1; 8], expected.clone())]);
        for cut in 0..expected.len() {
            for (_, postings) in Entries(&expected[..cut]) {
                assert!(postings.count() <= 1);
            }
        }
        let endless = [[1; 8].as_slice(), &[0xff; 9]].concat();
        assert_eq!(Entries(&endless).count(), 0);
        assert!(List::default().is_empty());
    }
}
