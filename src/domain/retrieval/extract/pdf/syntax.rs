//! Bytes → objects (ISO 32000-1 section 7.2 and 7.3). Nothing is an error but depth and number: what makes no sense is
//! passed over, as viewers do.

use std::collections::BTreeMap;

use super::super::ExtractFault;

/// How deep arrays and dictionaries may stand in each other. Real ones need less than ten.
const MAX_DEPTH: u32 = 32;

/// The most values of one object. A font's widths may be 65,536.
pub(super) const MAX_VALUES: usize = 400_000;

pub(super) type Dict = BTreeMap<Vec<u8>, Object>;

/// A value. Integers are numbers: they are exact up to 2^53.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    Null,
    Bool,
    Number(f64),
    String(Vec<u8>),
    Name(Vec<u8>),
    Array(Vec<Self>),
    Dict(Dict),
    /// An indirect reference, without its generation: of each number the last definition counts.
    Ref(u32),
}

impl Object {
    pub(super) const fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A count, an offset or a number of an object.
    pub(super) fn index(&self) -> Option<usize> {
        let number = self.number()?;
        // Casts saturate; what is larger than a file is no index into one.
        (0.0..4_294_967_296.0)
            .contains(&number)
            .then_some(number as usize)
    }

    pub(super) fn name(&self) -> Option<&[u8]> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn array(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    pub(super) const fn dict(&self) -> Option<&Dict> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// The value of `key`, if this is a dictionary that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.dict()?.get(key.as_bytes())
    }
}

/// What stands in a file or a content stream.
#[derive(Debug, PartialEq)]
pub(super) enum Token<'a> {
    Object(Object),
    /// A keyword or an operator.
    Word(&'a [u8]),
    ArrayOpen,
    ArrayClose,
    DictOpen,
    DictClose,
}

/// Reads forward only: every token takes at least one byte.
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    const fn step(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.step(1);
        Some(byte)
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|b| !keep(*b)).unwrap_or(rest.len());
        self.step(length);
        rest.get(..length).unwrap_or_default()
    }

    /// White space and comments.
    pub(super) fn skip_white(&mut self) {
        loop {
            self.take_while(is_white);
            if self.peek() != Some(b'%') {
                return;
            }
            self.take_while(|b| !matches!(b, b'\n' | b'\r'));
        }
    }

    pub(super) fn token(&mut self) -> Option<Token<'a>> {
        self.skip_white();
        let start = self.at;
        let token = match self.next()? {
            b'/' => Token::Object(Object::Name(self.name())),
            b'(' => Token::Object(Object::String(self.literal())),
            b'<' if self.peek() == Some(b'<') => {
                self.step(1);
                Token::DictOpen
            }
            b'<' => Token::Object(Object::String(self.hex())),
            b'>' if self.peek() == Some(b'>') => {
                self.step(1);
                Token::DictClose
            }
            b'[' => Token::ArrayOpen,
            b']' => Token::ArrayClose,
            b'+' | b'-' | b'.' | b'0'..=b'9' => {
                self.take_while(|b| matches!(b, b'+' | b'-' | b'.' | b'0'..=b'9'));
                let digits = self.bytes.get(start..self.at).unwrap_or_default();
                Token::Object(Object::Number(number(digits)))
            }
            b'{' | b'}' | b')' | b'>' => {
                Token::Word(self.bytes.get(start..self.at).unwrap_or_default())
            }
            _ => {
                self.take_while(is_regular);
                Token::Word(self.bytes.get(start..self.at).unwrap_or_default())
            }
        };
        Some(token)
    }

    fn name(&mut self) -> Vec<u8> {
        let raw = self.take_while(is_regular);
        if !raw.contains(&b'#') {
            return raw.to_vec();
        }
        let mut name = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((first, behind)) = rest.split_first() {
            let escaped = match behind {
                [a, b, ..] if *first == b'#' => pair(*a, *b),
                _ => None,
            };
            name.push(escaped.unwrap_or(*first));
            let taken = if escaped.is_some() { 3 } else { 1 };
            rest = rest.get(taken..).unwrap_or_default();
        }
        name
    }

    fn literal(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut open = 1_u32;
        while let Some(byte) = self.next() {
            match byte {
                b'(' => open = open.saturating_add(1),
                b')' => open = open.saturating_sub(1),
                b'\\' => {
                    out.extend(self.escape());
                    continue;
                }
                _ => {}
            }
            if open == 0 {
                break;
            }
            out.push(byte);
        }
        out
    }

    fn escape(&mut self) -> Option<u8> {
        let byte = self.next()?;
        match byte {
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'b' => Some(8),
            b'f' => Some(12),
            b'\n' => None,
            b'\r' => {
                if self.peek() == Some(b'\n') {
                    self.step(1);
                }
                None
            }
            b'0'..=b'7' => {
                let mut code = u32::from(byte.saturating_sub(b'0'));
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = self.peek() else {
                        break;
                    };
                    self.step(1);
                    code = (code << 3) | u32::from(digit.saturating_sub(b'0'));
                }
                // High-order overflow is ignored (7.3.4.2).
                Some((code & 0xFF) as u8)
            }
            other => Some(other),
        }
    }

    fn hex(&mut self) -> Vec<u8> {
        let raw = self.take_while(|b| b != b'>');
        self.step(1);
        unhex(raw)
    }

    /// The next object or word; `None` at the end.
    pub(super) fn item(&mut self, room: &mut usize) -> Result<Option<Token<'a>>, ExtractFault> {
        let Some(token) = self.token() else {
            return Ok(None);
        };
        self.whole(token, room, 0).map(Some)
    }

    /// `token` and, where it opens something, all of that.
    fn whole(
        &mut self,
        token: Token<'a>,
        room: &mut usize,
        depth: u32,
    ) -> Result<Token<'a>, ExtractFault> {
        *room = room
            .checked_sub(1)
            .ok_or(ExtractFault::TooLong { limit: MAX_VALUES })?;
        if depth > MAX_DEPTH {
            return Err(ExtractFault::Malformed("nested too deeply"));
        }
        let is_dict = match token {
            Token::ArrayOpen => false,
            Token::DictOpen => true,
            token => return Ok(token),
        };
        let mut items = Vec::new();
        while let Some(token) = self.token() {
            match self.whole(token, room, depth.saturating_add(1))? {
                Token::Object(object) => items.push(object),
                Token::ArrayClose | Token::DictClose => break,
                Token::Word(b"R") => {
                    items.pop();
                    if let Some(place) = items.last_mut() {
                        *place = reference(place);
                    }
                }
                Token::Word(b"null") => items.push(Object::Null),
                Token::Word(b"true" | b"false") => items.push(Object::Bool),
                _ => {}
            }
        }
        if !is_dict {
            items.shrink_to_fit();
            return Ok(Token::Object(Object::Array(items)));
        }
        let mut dict = Dict::new();
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            // What is no name can be no key: the next may be.
            if let Object::Name(key) = key
                && let Some(value) = items.next()
            {
                dict.insert(key, value);
            }
        }
        Ok(Token::Object(Object::Dict(dict)))
    }

    /// The object that stands here alone; null where none does.
    pub(super) fn object(&mut self) -> Result<Object, ExtractFault> {
        let mut room = MAX_VALUES;
        let object = match self.item(&mut room)? {
            Some(Token::Object(object)) => object,
            _ => return Ok(Object::Null),
        };
        if matches!(object, Object::Number(_)) {
            let before = self.at;
            if matches!(self.token(), Some(Token::Object(Object::Number(_))))
                && self.token() == Some(Token::Word(b"R"))
            {
                return Ok(reference(&object));
            }
            self.at = before;
        }
        Ok(object)
    }

    /// Behind `ID` of an inline image: goes on behind its `EI`, which white space must surround.
    pub(super) fn skip_image(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.windows(4).position(|around| match around {
            [before, b'E', b'I', after] => is_white(*before) && !is_regular(*after),
            _ => false,
        });
        self.step(end.map_or(rest.len(), |end| end.saturating_add(3)));
    }
}

fn reference(number: &Object) -> Object {
    let number = number.index().and_then(|index| u32::try_from(index).ok());
    number.map_or(Object::Null, Object::Ref)
}

pub(super) const fn is_white(byte: u8) -> bool {
    matches!(byte, 0 | 9 | 10 | 12 | 13 | 32)
}

const fn is_regular(byte: u8) -> bool {
    !is_white(byte)
        && !matches!(
            byte,
            b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%'
        )
}

/// A sign in front, digits, and those behind the first point; a second sign or point ends it.
fn number(digits: &[u8]) -> f64 {
    let negative = digits.first() == Some(&b'-');
    let mut value = 0.0;
    let mut scale: Option<f64> = None;
    let start = digits.iter().position(|b| !matches!(b, b'+' | b'-'));
    for byte in digits
        .get(start.unwrap_or(digits.len())..)
        .unwrap_or_default()
    {
        match (byte, scale) {
            (b'0'..=b'9', None) => value = value * 10.0 + f64::from(byte & 15),
            (b'0'..=b'9', Some(unit)) => {
                value += f64::from(byte & 15) * unit;
                scale = Some(unit / 10.0);
            }
            (b'.', None) => scale = Some(0.1),
            _ => break,
        }
    }
    if negative { -value } else { value }
}

/// Hexadecimal digits, others passed over; an odd last one has a zero behind it.
pub(super) fn unhex(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() / 2);
    let mut high = None;
    for digit in raw.iter().filter(|b| b.is_ascii_hexdigit()) {
        match high.take() {
            None => high = Some(*digit),
            Some(first) => out.extend(pair(first, *digit)),
        }
    }
    if let Some(first) = high {
        out.extend(pair(first, b'0'));
    }
    out
}

fn pair(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    Some((digit(high)? << 4) | digit(low)?)
}
