//! Bytes of a document → its text, in stretches that know where they stand.
//!
//! The work is bounded whatever the bytes are: at most [`MAX_BYTES`] are read, and no more than [`MAX_TEXT_BYTES`] of
//! text in [`MAX_BLOCKS`] stretches come of them. What a reader does not see is left out: scripts, styles, comments,
//! elements that are hidden, and characters without a glyph.

mod csv;
mod html;
mod json;
mod markdown;
mod pdf;
mod tags;
mod text;

#[cfg(test)]
mod tests;

use super::format::Format;

/// The largest document that is read, in bytes: what an isolate of 128 MB can hold beside the text of it.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The most text that comes of a document, in bytes, headings and anchors included.
pub const MAX_TEXT_BYTES: usize = 8 * 1024 * 1024;

/// The most stretches.
pub const MAX_BLOCKS: usize = 100_000;

/// The longest path of headings and the longest anchor, in bytes; more is cut, at a character.
pub const MAX_HEADING_BYTES: usize = 256;

/// A stretch of a document under one heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The headings above it, outermost first: `Guide > Limits`. Empty without one.
    pub heading: String,
    /// Where it stands, as its format counts: `line 12`, `page 3`, `row 7`, `#burst`, `$.a.b`.
    pub anchor: String,
    /// Its text, never empty: paragraphs, cells and items on lines of their own.
    pub text: String,
}

/// Why no text was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtractFault {
    /// Neither UTF-8 nor UTF-16 with a byte order mark.
    NotUtf8,
    /// Nothing that can be read is in it: an empty file, a page of scripts, a PDF of scanned pages.
    NoText,
    /// More than is read.
    TooLong {
        /// [`MAX_BYTES`] of the document, [`MAX_TEXT_BYTES`] or [`MAX_BLOCKS`] of its text, or a bound of its format.
        limit: usize,
    },
    /// A PDF that is encrypted.
    Encrypted,
    /// Not what its type says.
    Malformed(&'static str),
}

/// The text of a document, in reading order.
///
/// # Errors
/// [`ExtractFault`]; a document is refused as a whole rather than read in part.
pub fn extract(format: Format, bytes: &[u8]) -> Result<Vec<Block>, ExtractFault> {
    if bytes.len() > MAX_BYTES {
        return Err(ExtractFault::TooLong { limit: MAX_BYTES });
    }
    let mut blocks = Blocks::default();
    let text = || text::decode(bytes);
    match format {
        Format::Text => text::read(&text()?, &mut blocks)?,
        Format::Markdown => markdown::read(&text()?, &mut blocks)?,
        Format::Html => html::read(&text()?, &mut blocks)?,
        Format::Csv => csv::read(&text()?, &mut blocks)?,
        Format::Json => json::read(&text()?, &mut blocks)?,
        Format::Pdf => pdf::read(bytes, &mut blocks)?,
    }
    if blocks.found.is_empty() {
        return Err(ExtractFault::NoText);
    }
    Ok(blocks.found)
}

/// Stretches as they are found, and the room that is left.
#[derive(Default)]
struct Blocks {
    found: Vec<Block>,
    bytes: usize,
}

impl Blocks {
    /// Takes a stretch in: without what has no glyph, and not at all when nothing else is in it.
    fn push(&mut self, heading: &str, anchor: &str, text: &str) -> Result<(), ExtractFault> {
        let text = text::seen(text);
        if text.is_empty() {
            return Ok(());
        }
        let block = Block {
            heading: label(heading),
            anchor: label(anchor),
            text,
        };
        let lengths = [&block.heading, &block.anchor, &block.text].map(String::len);
        self.bytes = lengths.into_iter().fold(self.bytes, usize::saturating_add);
        if self.bytes > MAX_TEXT_BYTES {
            return Err(ExtractFault::TooLong {
                limit: MAX_TEXT_BYTES,
            });
        }
        if self.found.len() >= MAX_BLOCKS {
            return Err(ExtractFault::TooLong { limit: MAX_BLOCKS });
        }
        self.found.push(block);
        Ok(())
    }
}

/// One line, at most [`MAX_HEADING_BYTES`] of it.
fn label(text: &str) -> String {
    let seen = text::seen(text);
    let words: Vec<&str> = seen.split_whitespace().collect();
    let mut line = words.join(" ");
    line.truncate(line.floor_char_boundary(MAX_HEADING_BYTES));
    line.trim_end().to_owned()
}
