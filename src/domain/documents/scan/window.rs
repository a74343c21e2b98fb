//! The part of a document that is in memory. Blocks lie at fixed places of the document, each with some bytes before
//! and after it, so that what is found in one does not depend on how the bytes came.

/// Bytes that are looked at together: 64 KiB = 64 × 1024.
const BLOCK: usize = 65_536;

/// How far a finding may reach beyond the place where it is recognised, in bytes; what is longer is cut.
pub(super) const AHEAD: usize = 4_096;

/// How far back from there it may begin, in bytes.
pub(super) const BEHIND: usize = 128;

/// Most bytes that a window keeps.
#[cfg(test)]
pub(super) const WINDOW_BYTES: usize = BEHIND + BLOCK + AHEAD;

/// The window. UTF-16 text comes in as UTF-8; places are told in the document's own bytes nevertheless.
pub(super) struct Window {
    buffer: Vec<u8>,
    /// Where the next block begins in the buffer.
    start: usize,
    /// The document's offset at the buffer's first byte.
    offset: u64,
    wide: bool,
}

/// A block, with what lies around it.
pub(super) struct Block<'a> {
    /// All bytes at hand.
    pub bytes: &'a [u8],
    /// Where those begin that are looked at.
    pub start: usize,
    /// Where they end.
    pub end: usize,
    /// The document's offset at the first byte at hand.
    offset: u64,
    wide: bool,
}

/// A place in a block: what is there, and what lies before it.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    /// Up to [`BEHIND`] bytes before the place.
    pub behind: &'a [u8],
    /// Up to [`AHEAD`] bytes from the place on.
    pub rest: &'a [u8],
}

impl Window {
    pub(super) fn new(wide: bool) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            wide,
        }
    }

    /// Takes in what there is room for; tells when a block can be looked at.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> bool {
        let full = self.start.saturating_add(BLOCK).saturating_add(AHEAD);
        let room = full.saturating_sub(self.buffer.len()).min(input.len());
        if let Some((now, later)) = input.split_at_checked(room) {
            if self.buffer.capacity() < full {
                // Short documents take little memory; long ones all of it, once.
                let all = BEHIND.saturating_add(BLOCK).saturating_add(AHEAD);
                let wanted = if input.len() < BLOCK { now.len() } else { all };
                self.buffer
                    .reserve(wanted.saturating_sub(self.buffer.len()));
            }
            self.buffer.extend_from_slice(now);
            *input = later;
        }
        self.buffer.len() >= full
    }

    /// The next block; at the document's end it may be shorter.
    pub(super) fn block(&self) -> Block<'_> {
        Block {
            bytes: &self.buffer,
            start: self.start,
            end: self.start.saturating_add(BLOCK).min(self.buffer.len()),
            offset: self.offset,
            wide: self.wide,
        }
    }

    /// The block was looked at. False when there is no more.
    pub(super) fn pass(&mut self) -> bool {
        let end = self.start.saturating_add(BLOCK).min(self.buffer.len());
        let drop = end.saturating_sub(BEHIND);
        let gone = self.buffer.get(..drop).unwrap_or_default();
        self.offset = self.offset.saturating_add(width(gone, self.wide));
        self.buffer.drain(..drop);
        self.start = end.saturating_sub(drop);
        self.start < self.buffer.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

impl<'a> Block<'a> {
    pub(super) fn spot(&self, at: usize) -> Spot<'a> {
        let back = at.saturating_sub(BEHIND);
        let ahead = at.saturating_add(AHEAD).min(self.bytes.len());
        Spot {
            behind: self.bytes.get(back..at).unwrap_or_default(),
            rest: self.bytes.get(at..ahead).unwrap_or_default(),
        }
    }

    /// The document's offset at a byte of the block.
    pub(super) fn offset(&self, at: usize) -> u64 {
        let before = self.bytes.get(..at).unwrap_or_default();
        self.offset.saturating_add(width(before, self.wide))
    }

    /// How many of the document's bytes these are.
    pub(super) fn length(&self, at: usize, length: usize) -> u64 {
        let these = self.bytes.get(at..at.saturating_add(length));
        width(these.unwrap_or_default(), self.wide)
    }
}

impl<'a> Spot<'a> {
    /// The byte before.
    pub(super) fn last(&self) -> Option<u8> {
        self.behind.last().copied()
    }

    /// The byte that many after the place.
    pub(super) fn ahead(&self, by: usize) -> Option<u8> {
        self.rest.get(by).copied()
    }

    /// What is there, when it begins so.
    pub(super) fn after(&self, start: &[u8]) -> Option<&'a [u8]> {
        self.rest.strip_prefix(start)
    }
}

/// How many bytes of a document these are in memory.
fn width(bytes: &[u8], wide: bool) -> u64 {
    if !wide {
        return u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
    // A character is told by its first byte: two bytes in UTF-16, four from U+10000 on.
    bytes.iter().fold(0, |sum: u64, byte| {
        sum.saturating_add(match byte {
            0x80..=0xBF => 0,
            0xF0.. => 4,
            _ => 2,
        })
    })
}

/// Reads UTF-16, in pieces, as UTF-8.
pub(super) struct Wide {
    big_endian: bool,
    half: Option<u8>,
    surrogate: Option<u16>,
}

impl Wide {
    pub(super) const fn new(big_endian: bool) -> Self {
        Self {
            big_endian,
            half: None,
            surrogate: None,
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            let Some(first) = self.half.take() else {
                self.half = Some(*byte);
                continue;
            };
            let unit = if self.big_endian {
                u16::from_be_bytes([first, *byte])
            } else {
                u16::from_le_bytes([first, *byte])
            };
            if let Some(high) = self.surrogate.take() {
                let mut both = char::decode_utf16([high, unit]);
                if let Some(Ok(c)) = both.next() {
                    push(c, out);
                    continue;
                }
                push(char::REPLACEMENT_CHARACTER, out);
            }
            if (0xD800..0xDC00).contains(&unit) {
                self.surrogate = Some(unit);
            } else {
                let c = char::from_u32(u32::from(unit));
                push(c.unwrap_or(char::REPLACEMENT_CHARACTER), out);
            }
        }
    }
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
