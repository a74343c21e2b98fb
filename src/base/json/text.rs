//! JSON text read token by token (RFC 8259): the part of [`super::read`] that knows no types, so that it is compiled
//! once, and not once for each type.

use std::borrow::Cow;
use std::fmt;

use serde_json::Number;

/// Arrays and objects inside each other, as serde_json counts them. What is skipped may be deeper.
const MAX_DEPTH: u8 = 127;

/// Text that is no JSON, or JSON of another shape than the type has. The text is for logs.
///
/// One word wide, because every function of every derived reader returns it.
pub struct Malformed(Box<Cause>);

struct Cause {
    rule: &'static str,
    /// The name of a field or a variant, or a text of its own.
    detail: String,
    /// In bytes from the start; 0 when it is not known.
    offset: usize,
}

impl Malformed {
    #[cold]
    #[inline(never)]
    pub(super) fn new(rule: &'static str) -> Self {
        Self::about(rule, String::new())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn about(rule: &'static str, detail: String) -> Self {
        Self(Box::new(Cause {
            rule,
            detail,
            offset: 0,
        }))
    }

    /// The same, found at that byte.
    pub(super) fn at(mut self, offset: usize) -> Self {
        self.0.offset = offset;
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cause {
            rule,
            detail,
            offset,
        } = &*self.0;
        f.write_str(rule)?;
        if !detail.is_empty() {
            write!(f, " `{detail}`")?;
        }
        write!(f, " at byte {offset}")
    }
}

impl fmt::Debug for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Malformed {}

/// A text and how far it is read.
pub(super) struct Text<'de> {
    text: &'de str,
    /// Always at the start of a character.
    at: usize,
    depth: u8,
}

impl<'de> Text<'de> {
    pub(super) const fn new(text: &'de str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// Bytes read so far.
    pub(super) const fn offset(&self) -> usize {
        self.at
    }

    /// The first byte of the next token; 0, which starts none, at the end.
    #[inline(never)]
    pub(super) fn peek(&mut self) -> u8 {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at = self.at.saturating_add(1),
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// Nothing but white space may be left.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.peek();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(Malformed::new("text after the value"))
        }
    }

    /// Takes the bracket, brace or colon that must come next.
    #[inline(never)]
    pub(super) fn take(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() != byte {
            return Err(Malformed::new(match byte {
                b'{' => "an object is expected",
                b'[' => "an array is expected",
                b':' => "a colon is expected",
                _ => "more than is expected",
            }));
        }
        self.at = self.at.saturating_add(1);
        Ok(())
    }

    /// Takes the start of an array or object.
    #[inline(never)]
    pub(super) fn enter(&mut self, open: u8) -> Result<(), Malformed> {
        self.take(open)?;
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(Malformed::new("too deep"));
        }
        Ok(())
    }

    /// Takes its end.
    #[inline(never)]
    pub(super) fn leave(&mut self, close: u8) -> Result<(), Malformed> {
        self.depth = self.depth.saturating_sub(1);
        self.take(close)
    }

    /// Is there one more element, or field? Takes the comma in front of it, behind which no reader takes an end.
    #[inline(never)]
    pub(super) fn more(&mut self, close: u8, first: &mut bool) -> Result<bool, Malformed> {
        let byte = self.peek();
        if byte == close {
            return Ok(false);
        }
        if std::mem::take(first) {
            return Ok(true);
        }
        if byte != b',' {
            return Err(Malformed::new("a comma is expected"));
        }
        self.at = self.at.saturating_add(1);
        Ok(true)
    }

    /// Takes `null`, `true` or `false`.
    #[inline(never)]
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Malformed> {
        self.peek();
        let there = self.rest().starts_with(word.as_bytes());
        if !there {
            return Err(Malformed::about("not found:", word.to_owned()));
        }
        self.at = self.at.saturating_add(word.len());
        Ok(())
    }

    /// Takes a number.
    #[inline(never)]
    pub(super) fn number(&mut self) -> Result<Number, Malformed> {
        self.peek();
        let start = self.at;
        self.skip_number()?;
        self.text
            .get(start..self.at)
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| Malformed::new("a number out of range"))
    }

    /// Takes a text; borrowed unless something in it is escaped.
    #[inline(never)]
    pub(super) fn string(&mut self) -> Result<Cow<'de, str>, Malformed> {
        if self.peek() != b'"' {
            return Err(Malformed::new("a text is expected"));
        }
        self.at = self.at.saturating_add(1);
        let start = self.at;
        match self.plain()? {
            b'"' => Ok(Cow::Borrowed(self.since(start, 1))),
            _ => self.escaped(start).map(Cow::Owned),
        }
    }

    /// The text that starts at `start`, from its first escape on, which was taken.
    fn escaped(&mut self, mut start: usize) -> Result<String, Malformed> {
        let mut out = String::new();
        loop {
            out.push_str(self.since(start, 1));
            out.push(self.escape()?);
            start = self.at;
            if self.plain()? == b'"' {
                out.push_str(self.since(start, 1));
                return Ok(out);
            }
        }
    }

    /// What was read from `start` on, but for the last bytes.
    fn since(&self, start: usize, but: usize) -> &'de str {
        let end = self.at.saturating_sub(but);
        self.text.get(start..end).unwrap_or_default()
    }

    /// Goes behind the next quote or backslash of a text, and tells which of them it was.
    fn plain(&mut self) -> Result<u8, Malformed> {
        let rest = self.rest();
        let length = plain_length(rest);
        let end = rest.get(length).copied().unwrap_or_default();
        self.at = self.at.saturating_add(length);
        if end < 0x20 {
            return Err(Malformed::new("a text that does not end"));
        }
        self.at = self.at.saturating_add(1);
        Ok(end)
    }

    /// The character of an escape whose backslash was taken.
    fn escape(&mut self) -> Result<char, Malformed> {
        const LENGTH: usize = "u0000".len();
        let letter = self.rest().first().copied().unwrap_or_default();
        if letter != b'u' {
            self.at = self.at.saturating_add(usize::from(letter.is_ascii()));
            return Ok(match letter {
                b'"' | b'\\' | b'/' => char::from(letter),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                _ => return Err(Malformed::new("no such escape")),
            });
        }
        let bytes = self.text.as_bytes();
        // The place of the backslash.
        let start = self.at.saturating_sub(1);
        let after = self.at.saturating_add(LENGTH);
        let first = super::escaped_unit(bytes, start);
        let mut units = first.into_iter().chain(
            first
                .filter(|unit| matches!(unit, 0xD800..=0xDBFF))
                .and_then(|_| super::escaped_unit(bytes, after)),
        );
        self.at = after;
        match char::decode_utf16(&mut units).next() {
            Some(Ok(character)) => {
                if character.len_utf16() == 2 {
                    self.at = after.saturating_add(LENGTH).saturating_add(1);
                }
                Ok(character)
            }
            _ => Err(Malformed::new("an escape that is no character")),
        }
    }

    /// Takes a value of any kind, however deep, and gives its text.
    #[inline(never)]
    pub(super) fn skip(&mut self) -> Result<&'de str, Malformed> {
        self.peek();
        let start = self.at;
        // The ends of the arrays and objects around this place.
        let mut open = Vec::new();
        loop {
            let mut first = false;
            match self.peek() {
                b'"' => self.skip_text()?,
                b'n' => self.word("null")?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                byte @ (b'[' | b'{') => {
                    self.take(byte)?;
                    open.push(if byte == b'[' { b']' } else { b'}' });
                    first = true;
                }
                _ => self.skip_number()?,
            }
            loop {
                let Some(close) = open.last().copied() else {
                    return Ok(self.since(start, 0));
                };
                if self.more(close, &mut first)? {
                    if close == b'}' {
                        self.peek();
                        self.skip_text()?;
                        self.take(b':')?;
                    }
                    break;
                }
                self.take(close)?;
                open.pop();
                first = false;
            }
        }
    }

    /// Takes a text. Half a surrogate pair passes, as nobody reads it.
    fn skip_text(&mut self) -> Result<(), Malformed> {
        const ESCAPE: usize = "u0000".len();
        if self.rest().first() != Some(&b'"') {
            return Err(Malformed::new("a text is expected"));
        }
        self.at = self.at.saturating_add(1);
        while self.plain()? == b'\\' {
            let start = self.at.saturating_sub(1);
            match super::escaped_unit(self.text.as_bytes(), start) {
                Some(_) => self.at = self.at.saturating_add(ESCAPE),
                None => {
                    self.escape()?;
                }
            }
        }
        Ok(())
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn skip_number(&mut self) -> Result<(), Malformed> {
        self.optional(b"-");
        let starts_with_zero = self.rest().first() == Some(&b'0');
        let digits = self.digits();
        let mut good = digits == 1 || (digits > 1 && !starts_with_zero);
        if self.optional(b".") {
            good &= self.digits() > 0;
        }
        if self.optional(b"eE") {
            self.optional(b"+-");
            good &= self.digits() > 0;
        }
        if good {
            Ok(())
        } else {
            Err(Malformed::new("a value of another kind is expected"))
        }
    }

    fn optional(&mut self, any_of: &[u8]) -> bool {
        let there = self
            .rest()
            .first()
            .is_some_and(|byte| any_of.contains(byte));
        self.at = self.at.saturating_add(usize::from(there));
        there
    }

    fn digits(&mut self) -> usize {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        self.at = self.at.saturating_add(count);
        count
    }

    fn rest(&self) -> &'de [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }
}

/// Bytes in front of the first quote, backslash or control character.
fn plain_length(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let plain = words.iter().take_while(|word| !ends_text(**word)).count();
    let plain = plain.saturating_mul(8);
    let tail = bytes.get(plain..).unwrap_or_default();
    let tail = tail
        .iter()
        .take_while(|byte| **byte >= 0x20 && !matches!(byte, b'"' | b'\\'));
    plain.saturating_add(tail.count())
}

/// Is there a quote, backslash or control character among eight bytes? All at once: a byte less than `n`, where no byte
/// before it borrows, sets its highest bit in `word - n…n` (Hacker's Delight, 6-1).
fn ends_text(word: [u8; 8]) -> bool {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);
    const CONTROL: u64 = u64::from_le_bytes([0x20; 8]);
    const QUOTE: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASH: u64 = u64::from_le_bytes([b'\\'; 8]);
    let word = u64::from_le_bytes(word);
    let quote = word ^ QUOTE;
    let backslash = word ^ BACKSLASH;
    let found = (word.wrapping_sub(CONTROL) & !word)
        | (quote.wrapping_sub(EACH) & !quote)
        | (backslash.wrapping_sub(EACH) & !backslash);
    found & HIGHEST != 0
}
