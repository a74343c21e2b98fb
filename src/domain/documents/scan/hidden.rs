//! Text that a reader does not see and a model does: characters without width, tags, and what turns the order of text
//! around (UAX #9; "Trojan Source", CVE-2021-42574).

use super::matched::Match;
use super::report::Rule;
use super::window::Spot;

/// From how many invisible characters in a row on they are more than an emoji or a script needs.
const MANY: usize = 4;

/// The first two bytes of what may begin hidden text at the place.
pub(super) const BEGINNINGS: [&str; 7] = [
    "\u{ad}",
    "\u{200b}",
    "\u{2060}",
    "\u{fe00}",
    "\u{feff}",
    "\u{e0000}",
    "\u{e0100}",
];

/// Finds hidden text that begins at the place, whose first byte is 0xC2, 0xE2, 0xEF or 0xF3.
pub(super) fn at(spot: &Spot<'_>) -> Option<Match> {
    let first = first_char(spot.rest)?;
    if is_bidi(first) {
        let length = first.len_utf8();
        return Some(Match::new(Rule::BidiControl, length, first.to_string()));
    }
    if !is_invisible(first) || last_char(spot.behind).is_some_and(is_invisible) {
        return None;
    }
    let mut length = 0_usize;
    let mut count = 0_usize;
    let mut tags = String::new();
    while let Some(c) = spot.rest.get(length..).and_then(first_char) {
        if !is_invisible(c) {
            break;
        }
        // Tags repeat ASCII at U+E0000.
        tags.extend(
            u32::from(c)
                .checked_sub(0xE_0000)
                .and_then(char::from_u32)
                .filter(char::is_ascii_graphic),
        );
        length = length.saturating_add(c.len_utf8());
        count = count.saturating_add(1);
    }
    let after = spot.rest.get(length..).unwrap_or_default();
    let begins_document = spot.behind.is_empty() && first == '\u{feff}';
    let hidden = if tags.is_empty() {
        let splits_word = spot.last().is_some_and(|b| b.is_ascii_alphabetic())
            && after.first().is_some_and(u8::is_ascii_alphabetic)
            && !is_variation(first)
            && first != '\u{ad}';
        count >= MANY || (splits_word && !begins_document)
    } else {
        // A flag is a black flag with tags behind it (UTS #51).
        last_char(spot.behind) != Some('\u{1f3f4}')
    };
    hidden.then(|| {
        let excerpt = if tags.is_empty() {
            format!("{count} invisible characters")
        } else {
            format!("{count} tag characters: {tags}")
        };
        Match::new(Rule::HiddenText, length, excerpt)
    })
}

/// Characters that take no room and show nothing: of width zero, tags, selectors of variations.
pub(super) const fn is_invisible(c: char) -> bool {
    is_variation(c)
        || is_bidi(c)
        || matches!(
            c,
            '\u{ad}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2060}'..='\u{2064}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

const fn is_variation(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn first_char(bytes: &[u8]) -> Option<char> {
    let length = match bytes.first()? {
        0x00..=0x7F => 1,
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    };
    str::from_utf8(bytes.get(..length)?).ok()?.chars().next()
}

fn last_char(bytes: &[u8]) -> Option<char> {
    let back = bytes
        .iter()
        .rev()
        .take(4)
        .position(|byte| !(0x80..0xC0).contains(byte))?;
    let start = bytes.len().checked_sub(back.saturating_add(1))?;
    first_char(bytes.get(start..)?)
}
