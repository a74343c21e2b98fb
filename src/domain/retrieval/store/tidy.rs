//! Segments of an index that are joined, so that a question reads few of them, and that lose what is gone.

use super::index::{Digest, Entries, List, Posting, Writer};
use super::rows::{self, Part, Segment};
use crate::base::digest::{from_hex, hex};
use crate::base::rows::{Rows, RowsFault, Scan};

/// Segments of about the same size that make one: four of 4ⁿ passages become one of 4ⁿ⁺¹.
const JOINED: usize = 4;

/// Passages of a segment that is joined no more: some 10 MB, which are written again in a second or two.
const MAX_JOINED: u32 = 32_768;

/// Blocks of a segment that are in memory at the same time.
const BLOCKS_AT_ONCE: usize = 8;

/// Which segments to write anew as one, if any.
pub fn plan(segments: &[(u64, Segment)]) -> Option<Vec<u64>> {
    let wasted = |segment: &Segment| u64::from(segment.live()) * 4 < u64::from(segment.size) * 3;
    if let Some((number, _)) = segments.iter().find(|(_, segment)| wasted(segment)) {
        return Some(vec![*number]);
    }
    let class = |segment: &Segment| segment.live().max(1).ilog2() / 2;
    (0..=u32::BITS / 2).find_map(|size| {
        let same = segments
            .iter()
            .filter(|(_, segment)| class(segment) == size);
        let mut sum: u32 = 0;
        let fitting = same.take_while(|(_, segment)| {
            sum = sum.saturating_add(segment.live());
            sum <= MAX_JOINED
        });
        let numbers: Vec<u64> = fitting.map(|(number, _)| *number).collect();
        (numbers.len() >= JOINED).then_some(numbers)
    })
}

/// Writes segments anew as one of that number, without what is gone.
pub fn join(
    rows: &mut impl Rows,
    store: &str,
    old: Vec<(u64, Segment)>,
    number: u64,
) -> Result<(), RowsFault> {
    let mut joined = Segment::default();
    let mut sources = Vec::with_capacity(old.len());
    for (number, segment) in &old {
        let mut moves = Vec::with_capacity(segment.files.len());
        for part in &segment.files {
            moves.push((part.first, part.count, joined.size));
            joined.files.push(Part {
                first: joined.size,
                ..part.clone()
            });
            joined.size = joined.size.saturating_add(part.count);
        }
        let mut source = Source {
            prefix: rows::blocks(*number),
            after: None,
            blocks: Vec::new(),
            at: 0,
            moves,
        };
        source.fill(rows)?;
        sources.push(source);
    }
    let mut writer = Writer::default();
    while let Some(digest) = sources.iter().filter_map(Source::next).min() {
        let mut list = List::default();
        for source in &mut sources {
            if source.next() == Some(digest) {
                source.take(&mut list);
                source.fill(rows)?;
            }
        }
        if !list.is_empty()
            && let Some((first, bytes)) = writer.push(digest, &list)
        {
            rows.put(&rows::block(number, &hex(&first)), &bytes)?;
        }
    }
    if let Some((first, bytes)) = writer.rest() {
        rows.put(&rows::block(number, &hex(&first)), &bytes)?;
    }
    for (number, _) in &old {
        rows.remove_all(&rows::blocks(*number))?;
        rows.remove(&rows::segment(store, *number))?;
    }
    if !joined.files.is_empty() {
        rows::write(rows, &rows::segment(store, number), &joined)?;
    }
    Ok(())
}

/// A segment that is read from its first term to its last.
struct Source {
    prefix: String,
    after: Option<String>,
    /// Blocks to come, the last first.
    blocks: Vec<Vec<u8>>,
    /// How far the block is read.
    at: usize,
    /// Passages that are there still: the first, how many, and the first as it will be.
    moves: Vec<(u32, u32, u32)>,
}

impl Source {
    fn rest(&self) -> &[u8] {
        let block = self.blocks.last().and_then(|block| block.get(self.at..));
        block.unwrap_or_default()
    }

    /// The term that comes next.
    fn next(&self) -> Option<Digest> {
        Entries(self.rest()).next().map(|(digest, _)| digest)
    }

    /// Adds the next term's passages to a list.
    fn take(&mut self, list: &mut List) {
        let mut entries = Entries(self.rest());
        let Some((_, postings)) = entries.next() else {
            return;
        };
        let mut moves = self.moves.iter();
        let mut now = moves.next();
        for posting in postings {
            while let Some((first, count, _)) = now
                && posting.passage >= first.saturating_add(*count)
            {
                now = moves.next();
            }
            if let Some((first, _, to)) = now
                && *first <= posting.passage
            {
                list.push(Posting {
                    passage: posting.passage.saturating_sub(*first).saturating_add(*to),
                    ..posting
                });
            }
        }
        let left = entries.0.len();
        let whole = self.blocks.last().map_or(0, Vec::len);
        self.at = whole.saturating_sub(left);
    }

    /// Goes on to the next block at the end of one.
    fn fill(&mut self, rows: &impl Rows) -> Result<(), RowsFault> {
        if self.next().is_some() {
            return Ok(());
        }
        self.at = 0;
        self.blocks.pop();
        if !self.blocks.is_empty() {
            return Ok(());
        }
        let found = rows.scan(Scan {
            prefix: &self.prefix,
            after: self.after.as_deref(),
            descending: false,
            limit: BLOCKS_AT_ONCE,
        })?;
        if let Some((key, _)) = found.last() {
            self.after = Some(key.clone());
        }
        self.blocks = found.into_iter().rev().map(|(_, block)| block).collect();
        Ok(())
    }
}

/// Is that the digest of a term, in hex?
pub fn is_digest(text: &str) -> bool {
    text.len() == 2 * super::index::DIGEST_BYTES && from_hex(text).is_some()
}
