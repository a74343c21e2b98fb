//! Plain text: its encoding, what of it is seen, and its paragraphs.

use std::borrow::Cow;

use super::{Blocks, ExtractFault};

/// The bytes as text: UTF-8 with or without a byte order mark, or UTF-16 with one.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, ExtractFault> {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, odd) = rest.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(ExtractFault::NotUtf8);
        }
        let units = pairs.iter().map(|pair| unit(*pair));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map(Cow::Owned).map_err(|_| ExtractFault::NotUtf8)
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] | rest => str::from_utf8(rest)
            .map(Cow::Borrowed)
            .map_err(|_| ExtractFault::NotUtf8),
    }
}

/// Paragraphs, parted by empty lines; the anchor is the line that each begins on, from 1.
pub(super) fn read(text: &str, blocks: &mut Blocks) -> Result<(), ExtractFault> {
    let mut start = 0_usize;
    let mut paragraph = String::new();
    for (line, number) in text.lines().zip(1_usize..) {
        if line.trim().is_empty() {
            blocks.push("", &format!("line {start}"), &paragraph)?;
            paragraph.clear();
            continue;
        }
        if paragraph.is_empty() {
            start = number;
        } else {
            paragraph.push('\n');
        }
        paragraph.push_str(line);
    }
    blocks.push("", &format!("line {start}"), &paragraph)
}

/// `text` as a reader sees it: without characters that have no glyph or turn the order of others around, without white
/// space at its ends and without empty lines.
pub(super) fn seen(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{C}']) {
        let start = out.len();
        let mut visible = false;
        if start > 0 {
            out.push('\n');
        }
        for c in line.chars() {
            match c {
                '\t' | '\u{A0}' => out.push(' '),
                c if c.is_control() || is_hidden(c) => {}
                c => {
                    visible |= !c.is_whitespace();
                    out.push(c);
                }
            }
        }
        let kept = if visible { out.trim_end().len() } else { start };
        out.truncate(kept);
    }
    // White space in front of a line is the layout of code and stays, but not in front of all.
    out.trim().to_owned()
}

/// Characters of no width, tags, controls of the order of text (UAX #9), and what is reserved for no character. The
/// joiners stay: scripts and emoji are written with them.
const fn is_hidden(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}
