//! Fonts: what the codes of a string stand for, and how wide their glyphs are (ISO 32000-1 sections 9.6 to 9.10).

use std::rc::Rc;

use super::super::ExtractFault;
use super::cmap::{CMap, Ranges};
use super::file::File;
use super::glyphs::{Encoding, Names, standard_width, utf16};
use super::syntax::{Lexer, Object, Token};

/// How far into a font's own program its encoding stands at most, in bytes.
const PROGRAM_BYTES: usize = 64 * 1024;

/// A font as text needs it.
pub(super) struct Font {
    codes: Codes,
    to_unicode: Option<CMap>,
    widths: Widths,
    /// The part of a text space unit that one unit of a width is: a thousandth but in Type 3 fonts.
    unit: f64,
    /// How high its glyphs are for the size 1. It is not 1 in Type 3 fonts alone.
    pub(super) height: f64,
    pub(super) is_vertical: bool,
    /// Its glyphs are pictures: bullets, arrows, boxes to tick.
    is_decorative: bool,
}

/// How strings are cut, and what a code stands for where no `ToUnicode` says.
enum Codes {
    /// One byte each: its character, or NUL, and by their order those of several characters.
    Simple {
        table: Vec<char>,
        longer: Vec<(u8, Box<str>)>,
    },
    /// Two bytes, which number glyphs.
    Identity,
    /// As a CMap in the file says.
    Embedded(CMap),
    /// UTF-16: UCS-2 is that for what it has.
    Utf16,
    Utf8,
    Utf32,
    /// One byte below 0x80, which is ASCII, and two from there on, of which single bytes are not in `RKSJ`.
    Legacy {
        is_rksj: bool,
    },
}

#[derive(Default)]
struct Widths {
    /// The bits of a 32-bit float for each code.
    ranges: Ranges,
    default: f64,
    /// By characters instead, of the font of that name.
    standard: Option<Vec<u8>>,
    /// The distance down of vertical writing.
    down: f64,
}

/// A glyph of a string.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Code {
    pub(super) code: u32,
    pub(super) length: usize,
}

impl Font {
    /// Reads a font dictionary.
    pub(super) fn read(
        file: &mut File<'_>,
        names: &Names,
        font: &Object,
    ) -> Result<Self, ExtractFault> {
        let subtype = file.value(font, "Subtype")?;
        let to_unicode = to_unicode(file, font)?;
        let is_identity = file.value(font, "ToUnicode")?.name().is_some();
        if subtype.name() == Some(b"Type0") {
            return composite(file, font, to_unicode, is_identity);
        }
        let is_type3 = subtype.name() == Some(b"Type3");
        simple(file, names, font, to_unicode, is_type3)
    }

    /// How much memory it takes, in ranges.
    pub(super) fn size(&self) -> usize {
        let maps = [
            self.to_unicode.as_ref(),
            match &self.codes {
                Codes::Embedded(map) => Some(map),
                _ => None,
            },
        ];
        let maps = maps.into_iter().flatten().map(CMap::size);
        maps.fold(
            self.widths.ranges.len().saturating_add(256),
            usize::saturating_add,
        )
    }

    /// The code that `bytes`, which are not empty, begin with.
    pub(super) fn code(&self, bytes: &[u8]) -> Code {
        let first = bytes.first().copied().unwrap_or(0);
        let found = match &self.codes {
            Codes::Simple { .. } => None,
            Codes::Identity => Some(2),
            Codes::Embedded(map) => match map.code(bytes) {
                Some((code, length)) => {
                    return Code {
                        code,
                        length: length.max(1),
                    };
                }
                None => Some(2),
            },
            Codes::Utf16 => Some(if matches!(first, 0xD8..=0xDB) { 4 } else { 2 }),
            Codes::Utf8 => Some(match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            }),
            Codes::Utf32 => Some(4),
            Codes::Legacy { is_rksj } => {
                let single =
                    first < 0x80 || (*is_rksj && matches!(first, 0x80 | 0xA0..=0xDF | 0xFD..));
                Some(if single { 1 } else { 2 })
            }
        };
        let taken = bytes.get(..found.unwrap_or(1)).unwrap_or(bytes);
        let code = taken
            .iter()
            .fold(0, |code: u32, byte| (code << 8) | u32::from(*byte));
        Code {
            code,
            length: taken.len().max(1),
        }
    }

    /// Adds the characters of a code; `false` if they cannot be told.
    pub(super) fn text(&self, code: Code, out: &mut String) -> bool {
        let start = out.len();
        if let Some(map) = &self.to_unicode
            && map.text(code.code, out)
            && out.get(start..).unwrap_or_default().chars().all(is_told)
        {
            return true;
        }
        out.truncate(start);
        if self.is_decorative {
            return true;
        }
        self.own_text(code, out);
        let own = out.get(start..).unwrap_or_default();
        if own.is_empty() || !own.chars().all(is_told) {
            out.truncate(start);
            return false;
        }
        true
    }

    fn own_text(&self, code: Code, out: &mut String) {
        match &self.codes {
            Codes::Simple { table, longer } => {
                let byte = (code.code & 0xFF) as u8;
                let found = longer.binary_search_by_key(&byte, |(b, _)| *b);
                if let Some((_, text)) = found.ok().and_then(|at| longer.get(at)) {
                    out.push_str(text);
                } else {
                    // A space needs no glyph, so some fonts name none.
                    let c = table.get(usize::from(byte)).copied();
                    out.push(c.filter(|c| *c != '\0' || byte != b' ').unwrap_or(' '));
                }
            }
            Codes::Identity | Codes::Embedded(_) => {}
            Codes::Utf16 => {
                let bytes = code.code.to_be_bytes();
                let skipped = 4_usize.saturating_sub(code.length);
                out.push_str(&utf16(bytes.get(skipped..).unwrap_or_default()));
            }
            Codes::Utf8 => {
                let bytes = code.code.to_be_bytes();
                let skipped = 4_usize.saturating_sub(code.length);
                let bytes = bytes.get(skipped..).unwrap_or_default();
                out.push_str(str::from_utf8(bytes).unwrap_or_default());
            }
            Codes::Utf32 => out.extend(char::from_u32(code.code)),
            Codes::Legacy { .. } => {
                let ascii = (code.length == 1 && code.code < 0x80).then_some(code.code);
                out.extend(ascii.and_then(char::from_u32));
            }
        }
    }

    /// How far the next glyph is, for the size 1: to the right, or down in vertical writing.
    pub(super) fn advance(&self, code: Code, text: &str) -> f64 {
        if self.is_vertical {
            return self.widths.down * self.unit;
        }
        let number = match &self.codes {
            Codes::Embedded(map) => map.target(code.code).unwrap_or(code.code),
            _ => code.code,
        };
        let width = self.widths.of(number, text);
        width * self.unit
    }
}

impl Widths {
    fn of(&self, code: u32, text: &str) -> f64 {
        if let Some((_, width)) = self.ranges.find(code) {
            return f64::from(f32::from_bits(width));
        }
        match &self.standard {
            Some(font) => text
                .chars()
                .next()
                .map_or(self.default, |c| standard_width(font, c)),
            None => self.default,
        }
    }

    fn push(&mut self, low: u32, high: u32, width: f64) -> Result<(), ExtractFault> {
        self.ranges.push(low, high, (width as f32).to_bits())
    }
}

/// Controls, private use and what stands for no character tell nothing.
fn is_told(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{FFF0}'..='\u{FFFF}' | '\u{F0000}'..)
}

fn to_unicode(file: &mut File<'_>, font: &Object) -> Result<Option<CMap>, ExtractFault> {
    let Some(Object::Ref(number)) = font.get("ToUnicode") else {
        return Ok(None);
    };
    let Some(data) = file.stream(*number)? else {
        return Ok(None);
    };
    file.works(data.len())?;
    let map = CMap::parse(&data)?;
    Ok((!map.is_empty()).then_some(map))
}

/// A font whose codes are single bytes (9.6).
fn simple(
    file: &mut File<'_>,
    names: &Names,
    font: &Object,
    to_unicode: Option<CMap>,
    is_type3: bool,
) -> Result<Font, ExtractFault> {
    let base_font = file.value(font, "BaseFont")?;
    let base_font = base_font.name().unwrap_or_default();
    let descriptor = file.value(font, "FontDescriptor")?;
    let (table, longer) = simple_codes(file, names, font, base_font, &descriptor)?;
    let mut widths = Widths {
        default: file
            .value(&descriptor, "MissingWidth")?
            .number()
            .unwrap_or(0.0),
        ..Widths::default()
    };
    let listed = file.value(font, "Widths")?;
    let first = file.value(font, "FirstChar")?.index().unwrap_or(0);
    for (width, place) in listed.array().iter().take(256).zip(first..) {
        let width = file.resolve(width)?.number().unwrap_or(0.0);
        let code = u32::try_from(place).unwrap_or(u32::MAX);
        widths.push(code, code, width)?;
    }
    if widths.ranges.len() == 0 {
        widths.standard = Some(base_font.to_vec());
        widths.default = 556.0;
    }
    let (unit, height) = if is_type3 {
        type3_scale(file, font)?
    } else {
        (0.001, 1.0)
    };
    Ok(Font {
        codes: Codes::Simple { table, longer },
        to_unicode,
        widths,
        unit,
        height,
        is_vertical: false,
        is_decorative: is_decorative(base_font),
    })
}

fn is_decorative(font: &[u8]) -> bool {
    let names = [&b"Dingbats"[..], b"Wingdings", b"Webdings"];
    names
        .iter()
        .any(|name| font.windows(name.len()).any(|window| window == *name))
}

type Simple = (Vec<char>, Vec<(u8, Box<str>)>);

/// The characters of a simple font's codes: its base encoding, and what differs by the names of glyphs (9.6.6).
fn simple_codes(
    file: &mut File<'_>,
    names: &Names,
    font: &Object,
    base_font: &[u8],
    descriptor: &Object,
) -> Result<Simple, ExtractFault> {
    let encoding = file.value(font, "Encoding")?;
    let base = match &*encoding {
        Object::Name(name) => Encoding::named(name),
        other => {
            let base = file.value(other, "BaseEncoding")?;
            base.name().and_then(Encoding::named)
        }
    };
    let mut table;
    let mut longer = Vec::new();
    match base {
        Some(base) => table = base.table(),
        None => {
            // The encoding that the font has in itself.
            table = if base_font.ends_with(b"Symbol") {
                Encoding::Symbol.table()
            } else if is_unreadable(file, descriptor)? {
                vec!['\0'; 256]
            } else {
                Encoding::Standard.table()
            };
            if let Some(Object::Ref(program)) = descriptor.get("FontFile")
                && let Some(program) = file.stream(*program)?
            {
                let start = program.get(..PROGRAM_BYTES).unwrap_or(&program);
                file.works(start.len())?;
                program_codes(start, names, &mut table, &mut longer);
            }
        }
    }
    let differences = file.value(&encoding, "Differences")?;
    let mut code = 0_usize;
    file.works(differences.array().len().saturating_mul(64))?;
    for item in differences.array() {
        match item {
            Object::Number(_) => code = item.index().unwrap_or(usize::MAX),
            Object::Name(name) => {
                name_code(code, name, names, &mut table, &mut longer);
                code = code.saturating_add(1);
            }
            _ => {}
        }
    }
    Ok((table, longer))
}

/// Whether the font has codes of its own that are told in its program alone, as those of symbols are (9.8.2, flag 3).
fn is_unreadable(file: &mut File<'_>, descriptor: &Object) -> Result<bool, ExtractFault> {
    let flags = file.value(descriptor, "Flags")?.index().unwrap_or(0);
    let embedded = ["FontFile", "FontFile2", "FontFile3"];
    let is_embedded = embedded.iter().any(|key| descriptor.get(key).is_some());
    Ok(is_embedded && flags & 4 != 0)
}

fn name_code(
    code: usize,
    name: &[u8],
    names: &Names,
    table: &mut [char],
    longer: &mut Vec<(u8, Box<str>)>,
) {
    let (Some(place), Ok(byte)) = (table.get_mut(code), u8::try_from(code)) else {
        return;
    };
    let text = names.text(name).or_else(|| numbered(name, byte));
    let text = text.unwrap_or_default();
    let mut chars = text.chars();
    *place = chars.next().unwrap_or('\0');
    let is_longer = chars.next().is_some();
    match longer.binary_search_by_key(&byte, |(other, _)| *other) {
        Ok(at) => {
            longer.remove(at);
            if is_longer {
                longer.insert(at, (byte, text.into_boxed_str()));
            }
        }
        Err(at) if is_longer => longer.insert(at, (byte, text.into_boxed_str())),
        Err(_) => {}
    }
}

/// `a65` at the code 65, as TeX names the glyphs of its bitmaps: the code is the character, if it is one of ASCII.
fn numbered(name: &[u8], code: u8) -> Option<String> {
    let digits = name.iter().position(u8::is_ascii_digit)?;
    let number = str::from_utf8(name.get(digits..)?).ok()?;
    let is_own = digits > 0 && number.parse() == Ok(code);
    (is_own && matches!(code, b' '..=b'~')).then(|| char::from(code).to_string())
}

/// The encoding in the readable part of a Type 1 font: `/Encoding 256 array … dup 65 /A put … def`.
fn program_codes(
    program: &[u8],
    names: &Names,
    table: &mut Vec<char>,
    longer: &mut Vec<(u8, Box<str>)>,
) {
    const KEY: &[u8] = b"/Encoding";
    let Some(at) = program.windows(KEY.len()).position(|window| window == KEY) else {
        return;
    };
    let behind = at.saturating_add(KEY.len());
    let mut lexer = Lexer::new(program.get(behind..).unwrap_or_default());
    let mut code = None;
    let mut is_first = true;
    while let Some(token) = lexer.token() {
        match token {
            Token::Word(b"StandardEncoding") if is_first => {
                *table = Encoding::Standard.table();
                return;
            }
            Token::Word(b"dup") => code = None,
            Token::Object(Object::Number(number)) => {
                if is_first {
                    *table = vec!['\0'; 256];
                }
                code = Object::Number(number).index();
            }
            Token::Object(Object::Name(name)) => {
                if let Some(code) = code.take() {
                    name_code(code, &name, names, table, longer);
                }
            }
            Token::Word(b"def" | b"readonly" | b"currentdict" | b"eexec") => return,
            _ => {}
        }
        is_first = false;
    }
}

/// Type 3: what a unit of its glyphs is in text space, and the height of its box there.
fn type3_scale(file: &mut File<'_>, font: &Object) -> Result<(f64, f64), ExtractFault> {
    let matrix = file.value(font, "FontMatrix")?;
    let value = |object: &Object, place: usize| {
        let item = object.array().get(place);
        item.and_then(Object::number).unwrap_or(0.0)
    };
    let across = value(&matrix, 0);
    let unit = if across == 0.0 { 0.001 } else { across };
    let bounds = file.value(font, "FontBBox")?;
    let high = (value(&bounds, 3) - value(&bounds, 1)).abs() * value(&matrix, 3).abs();
    Ok((unit, if high > 0.0 { high } else { 1.0 }))
}

/// A font whose codes are of several bytes (9.7).
fn composite(
    file: &mut File<'_>,
    font: &Object,
    to_unicode: Option<CMap>,
    is_identity: bool,
) -> Result<Font, ExtractFault> {
    let (codes, is_vertical) = composite_codes(file, font)?;
    // `/ToUnicode /Identity-H`, which the standard does not have: the numbers of glyphs are characters.
    let codes = match codes {
        Codes::Identity if is_identity => Codes::Utf16,
        codes => codes,
    };
    let base_font = file.value(font, "BaseFont")?;
    let descendants = file.value(font, "DescendantFonts")?;
    let descendant = descendants.array().first().unwrap_or(&Object::Null);
    let descendant = file.resolve(descendant)?;
    let mut widths = Widths {
        default: file.value(&descendant, "DW")?.number().unwrap_or(1000.0),
        down: -1000.0,
        ..Widths::default()
    };
    let vertical = file.value(&descendant, "DW2")?;
    if let Some(down) = vertical.array().get(1).and_then(Object::number) {
        widths.down = down;
    }
    // Widths are of glyphs' numbers, which of characters alone nobody knows.
    if is_identity || matches!(codes, Codes::Identity | Codes::Embedded(_)) {
        let listed = file.value(&descendant, "W")?;
        composite_widths(file, listed.array(), &mut widths)?;
    }
    Ok(Font {
        codes,
        to_unicode,
        widths,
        unit: 0.001,
        height: 1.0,
        is_vertical,
        is_decorative: is_decorative(base_font.name().unwrap_or_default()),
    })
}

fn composite_codes(file: &mut File<'_>, font: &Object) -> Result<(Codes, bool), ExtractFault> {
    let encoding = file.value(font, "Encoding")?;
    if let Some(name) = encoding.name() {
        let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
        let codes = if has(b"UCS2") || has(b"UTF16") {
            Codes::Utf16
        } else if has(b"UTF8") {
            Codes::Utf8
        } else if has(b"UTF32") {
            Codes::Utf32
        } else if has(b"RKSJ") {
            Codes::Legacy { is_rksj: true }
        } else if has(b"EUC") || has(b"GB") || has(b"B5") || has(b"KSC") || has(b"HK") {
            Codes::Legacy { is_rksj: false }
        } else {
            Codes::Identity
        };
        return Ok((codes, name.ends_with(b"-V") || name == b"V"));
    }
    if let Some(Object::Ref(number)) = font.get("Encoding")
        && let Some(data) = file.stream(*number)?
    {
        file.works(data.len())?;
        let map = CMap::parse(&data)?;
        let is_vertical = file.value(&encoding, "WMode")?.number() == Some(1.0);
        return Ok((Codes::Embedded(map), is_vertical));
    }
    Ok((Codes::Identity, false))
}

/// `7 [500 600]`: from 7 on, one each. `7 9 500`: from 7 to 9 (9.7.4.3).
fn composite_widths(
    file: &mut File<'_>,
    items: &[Object],
    widths: &mut Widths,
) -> Result<(), ExtractFault> {
    let mut items = items.iter();
    while let Some(first) = items.next() {
        let Some(low) = first.index().and_then(|n| u32::try_from(n).ok()) else {
            continue;
        };
        let Some(next) = items.next() else { break };
        match &*file.resolve(next)? {
            Object::Array(each) => {
                // The same array may stand behind many codes.
                file.works(each.len())?;
                for (width, code) in each.iter().zip(low..) {
                    let width = width.number().unwrap_or(0.0);
                    widths.push(code, code, width)?;
                }
            }
            high => {
                let high = high.index().and_then(|n| u32::try_from(n).ok());
                let width = items.next().and_then(Object::number);
                if let (Some(high), Some(width)) = (high, width) {
                    widths.push(low, high, width)?;
                }
            }
        }
    }
    Ok(())
}

/// Fonts that were read, as long as there is room for them.
#[derive(Default)]
pub(super) struct Fonts {
    read: std::collections::BTreeMap<u32, Rc<Font>>,
    size: usize,
}

/// How many ranges of fonts are kept: 12 bytes each.
const MAX_KEPT: usize = 1_000_000;

impl Fonts {
    /// The font that `object` is or refers to.
    pub(super) fn get(
        &mut self,
        file: &mut File<'_>,
        names: &Names,
        object: &Object,
    ) -> Result<Rc<Font>, ExtractFault> {
        if let Object::Ref(number) = object
            && let Some(font) = self.read.get(number)
        {
            return Ok(Rc::clone(font));
        }
        // What a table of codes costs, however short the font is.
        file.works(1024)?;
        let dict = file.resolve(object)?;
        let font = Rc::new(Font::read(file, names, &dict)?);
        if let Object::Ref(number) = object {
            self.size = self.size.saturating_add(font.size());
            if self.size > MAX_KEPT {
                self.read.clear();
                self.size = font.size();
            }
            self.read.insert(*number, Rc::clone(&font));
        }
        Ok(font)
    }
}
