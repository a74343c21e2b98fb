//! CMaps: how strings are cut into codes, and what codes stand for (ISO 32000-1 sections 9.7.5 and 9.10.3).
//!
//! Ranges stay ranges: four bytes of a file may name four thousand million codes.

use std::collections::BTreeMap;

use super::super::ExtractFault;
use super::glyphs::utf16;
use super::syntax::{Lexer, Object, Token};

/// The most ranges of codes that stand for something.
pub(super) const MAX_RANGES: usize = 400_000;

/// How many ranges that overlap are looked at for one code.
const OVERLAPS: usize = 8;

/// The longest text of one glyph, in characters.
const MAX_GLYPH_CHARS: usize = 64;

/// Behind Unicode: texts of more than one character, by their place in `strings`.
const STRINGS: u32 = 0x11_0000;

#[derive(Debug, Default)]
pub(super) struct CMap {
    /// How long codes are, by their first byte; 0 where no range says. Ranges that part codes by a later byte are in no
    /// encoding in use.
    lengths: Vec<u8>,
    shortest: u8,
    /// What codes stand for: a character, a place in `strings`, or a glyph's number.
    ranges: Ranges,
    strings: Vec<Box<str>>,
}

/// A number for each code of ranges that may overlap: of those that begin at one code, the last counts.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// By first code and order: last code and number.
    found: BTreeMap<(u32, u32), (u32, u32)>,
}

impl Ranges {
    pub(super) fn push(&mut self, low: u32, high: u32, number: u32) -> Result<(), ExtractFault> {
        if self.found.len() >= MAX_RANGES {
            return Err(ExtractFault::TooLong { limit: MAX_RANGES });
        }
        // Shorter than `MAX_RANGES`.
        let order = self.found.len() as u32;
        self.found.insert((low, order), (high, number));
        Ok(())
    }

    /// The first code of the range of `code`, and its number.
    pub(super) fn find(&self, code: u32) -> Option<(u32, u32)> {
        let before = self.found.range(..=(code, u32::MAX)).rev();
        let mut near = before.take(OVERLAPS);
        let ((low, _), (_, number)) = near.find(|(_, (high, _))| *high >= code)?;
        Some((*low, *number))
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }
}

impl CMap {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ExtractFault> {
        let mut map = Self::default();
        let mut lexer = Lexer::new(bytes);
        while let Some(token) = lexer.token() {
            let Token::Word(word) = token else { continue };
            match word {
                b"begincodespacerange" => map.spaces(&mut lexer),
                b"beginbfchar" => map.chars(&mut lexer, true)?,
                b"beginbfrange" => map.ranges(&mut lexer, true)?,
                b"begincidchar" => map.chars(&mut lexer, false)?,
                b"begincidrange" => map.ranges(&mut lexer, false)?,
                _ => {}
            }
        }
        Ok(map)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.len() == 0
    }

    /// How much memory it takes, in ranges.
    pub(super) fn size(&self) -> usize {
        let strings = self.strings.len().saturating_mul(4);
        self.ranges.len().saturating_add(strings)
    }

    fn spaces(&mut self, lexer: &mut Lexer<'_>) {
        while let Some(Token::Object(Object::String(low))) = lexer.token()
            && let Some(Token::Object(Object::String(high))) = lexer.token()
        {
            let (Some(first), Some(last)) = (low.first(), high.first()) else {
                continue;
            };
            let length = match u8::try_from(low.len()) {
                Ok(length @ 1..=4) => length,
                _ => continue,
            };
            self.lengths.resize(256, 0);
            let range = usize::from(*first)..=usize::from(*last);
            for place in self.lengths.get_mut(range).unwrap_or_default() {
                *place = length;
            }
            if self.shortest == 0 || length < self.shortest {
                self.shortest = length;
            }
        }
    }

    fn chars(&mut self, lexer: &mut Lexer<'_>, is_text: bool) -> Result<(), ExtractFault> {
        while let Some((low, _)) = code(lexer) {
            let Some(Token::Object(target)) = lexer.token() else {
                break;
            };
            self.push(low, low, &target, is_text)?;
        }
        Ok(())
    }

    fn ranges(&mut self, lexer: &mut Lexer<'_>, is_text: bool) -> Result<(), ExtractFault> {
        while let Some((low, _)) = code(lexer)
            && let Some((high, _)) = code(lexer)
        {
            match lexer.token() {
                Some(Token::Object(target)) => self.push(low, high, &target, is_text)?,
                Some(Token::ArrayOpen) => {
                    let mut code = low;
                    while let Some(Token::Object(target)) = lexer.token() {
                        if code <= high {
                            self.push(code, code, &target, is_text)?;
                        }
                        code = code.saturating_add(1);
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        low: u32,
        high: u32,
        target: &Object,
        is_text: bool,
    ) -> Result<(), ExtractFault> {
        let target = match target {
            Object::String(bytes) if is_text => self.text_target(bytes),
            Object::Number(_) if !is_text => target.index().and_then(|n| u32::try_from(n).ok()),
            _ => None,
        };
        match target.filter(|_| low <= high) {
            Some(target) => self.ranges.push(low, high, target),
            None => Ok(()),
        }
    }

    fn text_target(&mut self, bytes: &[u8]) -> Option<u32> {
        if let [byte] = bytes {
            return Some(u32::from(*byte));
        }
        let text = utf16(bytes);
        let mut chars = text.chars();
        let first = chars.next()?;
        if chars.next().is_none() {
            return Some(u32::from(first));
        }
        if text.chars().count() > MAX_GLYPH_CHARS {
            return None;
        }
        let place = u32::try_from(self.strings.len()).ok()?;
        self.strings.push(text.into_boxed_str());
        STRINGS.checked_add(place)
    }

    /// The number that `code` stands for: of a glyph, or of a character.
    pub(super) fn target(&self, code: u32) -> Option<u32> {
        let (low, target) = self.ranges.find(code)?;
        target.checked_add(code.checked_sub(low)?)
    }

    /// Adds what `code` stands for; `false` if that is nothing.
    pub(super) fn text(&self, code: u32, out: &mut String) -> bool {
        let Some((low, target)) = self.ranges.find(code) else {
            return false;
        };
        let distance = code.saturating_sub(low);
        let Some(place) = target.checked_sub(STRINGS) else {
            let c = target.checked_add(distance).and_then(char::from_u32);
            out.extend(c);
            return c.is_some();
        };
        let Some(text) = self.strings.get(place as usize) else {
            return false;
        };
        // Along a range the last character counts on.
        let mut chars = text.chars();
        let last = chars.next_back().map_or(0, u32::from);
        let last = last.checked_add(distance).and_then(char::from_u32);
        out.push_str(chars.as_str());
        out.extend(last);
        last.is_some()
    }

    /// The code at the beginning of `bytes`, and its length; `None` where the ranges say nothing.
    pub(super) fn code(&self, bytes: &[u8]) -> Option<(u32, usize)> {
        let first = usize::from(*bytes.first()?);
        let length = match self.lengths.get(first)? {
            0 => self.shortest,
            length => *length,
        };
        let taken = bytes.get(..usize::from(length)).unwrap_or(bytes);
        Some((number(taken), taken.len()))
    }
}

/// A code and its length in bytes; `None` at the end of the list.
fn code(lexer: &mut Lexer<'_>) -> Option<(u32, usize)> {
    match lexer.token()? {
        Token::Object(Object::String(bytes)) => Some((number(&bytes), bytes.len())),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> u32 {
    let last = bytes.iter().take(4);
    last.fold(0, |code, byte| (code << 8) | u32::from(*byte))
}
