//! Where the objects of a file are, and their values.
//!
//! The cross-reference tables are not looked at. The file is searched for `12 0 obj` from its beginning to its end, as
//! viewers do with files whose tables are wrong, and the last definition of a number counts, as it does after an update
//! (ISO 32000-1 section 7.5.6). So there is one way to read whole and damaged files.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::rc::Rc;

use super::super::ExtractFault;
use super::filter::{FilterFault, apply};
use super::syntax::{Dict, Lexer, Object, Token, is_white};

/// The most that is decompressed of one stream, in bytes. An isolate has 128 MB.
pub(super) const MAX_STREAM_BYTES: usize = 16 * 1024 * 1024;

/// The most that is decompressed of all streams, in bytes.
pub(super) const MAX_DECODED_BYTES: usize = 64 * 1024 * 1024;

/// The most bytes that are looked at, those of objects and streams that are looked at again included.
pub(super) const MAX_WORK: usize = 2 * MAX_DECODED_BYTES;

/// The most objects.
pub(super) const MAX_OBJECTS: usize = 500_000;

/// How much is kept of what may be asked for again: decompressed bytes, and bytes that objects were read from.
const KEPT_STREAM_BYTES: usize = 24 * 1024 * 1024;
const KEPT_OBJECT_BYTES: usize = 1024 * 1024;

/// The most filters of a stream, and the longest chain of references to references.
const MAX_FILTERS: usize = 8;
const MAX_HOPS: usize = 16;

/// How far behind `trailer` its dictionary may go, in bytes, and how many trailers are looked at, from the last.
const TRAILER_BYTES: usize = 64 * 1024;
const MAX_TRAILERS: usize = 64;

/// A file on its way to text.
pub(super) struct File<'a> {
    bytes: &'a [u8],
    places: BTreeMap<u32, Place>,
    /// The bodies of object streams, by the offset of their objects.
    containers: Vec<(Dict, Range<usize>)>,
    root: u32,
    objects: BTreeMap<u32, Rc<Object>>,
    object_bytes: usize,
    streams: BTreeMap<usize, Rc<Vec<u8>>>,
    stream_bytes: usize,
    decoded: usize,
    work: usize,
}

/// Where an object stands: in the file, with the body if it is a stream, or in an object stream.
#[derive(Clone, Debug)]
enum Place {
    Direct {
        range: Range<usize>,
        body: Option<Range<usize>>,
    },
    Packed {
        container: usize,
        range: Range<usize>,
    },
}

/// A value that stands in another one, or that a reference led to.
pub(super) enum Held<'o> {
    Here(&'o Object),
    There(Rc<Object>),
}

impl Deref for Held<'_> {
    type Target = Object;

    fn deref(&self) -> &Object {
        match self {
            Self::Here(object) => object,
            Self::There(object) => object,
        }
    }
}

impl<'a> File<'a> {
    /// Finds the objects and the root.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, ExtractFault> {
        let start = bytes.get(..1024).unwrap_or(bytes);
        if !start.windows(5).any(|window| window == b"%PDF-") {
            return Err(ExtractFault::Malformed("not a PDF"));
        }
        let scan = scan(bytes)?;
        let root = root(bytes, &scan)?;
        let mut file = Self {
            bytes,
            places: BTreeMap::new(),
            containers: Vec::new(),
            root,
            objects: BTreeMap::new(),
            object_bytes: 0,
            streams: BTreeMap::new(),
            stream_bytes: 0,
            decoded: 0,
            work: 0,
        };
        file.index(scan)?;
        Ok(file)
    }

    /// The document catalog (7.7.2).
    pub(super) fn catalog(&mut self) -> Result<Rc<Object>, ExtractFault> {
        self.get(self.root)
    }

    /// The definition of each number that counts: the last in the file, where what is in an object stream stands where
    /// that stream does.
    fn index(&mut self, scan: Scan) -> Result<(), ExtractFault> {
        // Lengths and filters of object streams stand in no object stream, so the others are enough to read them.
        for object in &scan.objects {
            self.places.insert(object.number, object.place());
        }
        let mut all = BTreeMap::new();
        for object in scan.objects {
            all.insert(object.number, object.place());
            if let (Some(dict), Some(body)) = (object.packed, object.body) {
                let container = self.containers.len();
                let dict = self.settled(dict)?;
                self.containers.push((dict, body));
                self.unpack(container, &mut all)?;
            }
        }
        self.places = all;
        self.objects.clear();
        Ok(())
    }

    /// The dictionary of an object stream without references, so that reading one never needs another.
    fn settled(&mut self, mut dict: Dict) -> Result<Dict, ExtractFault> {
        for value in dict.values_mut() {
            *value = self.resolve(value)?.clone();
            if let Object::Array(items) = value {
                for item in items {
                    *item = self.resolve(item)?.clone();
                }
            }
        }
        dict.retain(|_, value| !matches!(value, Object::Ref(_)));
        Ok(dict)
    }

    /// What is in an object stream (7.5.7): numbers and offsets in front, behind `First` the objects.
    fn unpack(
        &mut self,
        container: usize,
        all: &mut BTreeMap<u32, Place>,
    ) -> Result<(), ExtractFault> {
        let Some((dict, _)) = self.containers.get(container) else {
            return Ok(());
        };
        let first = dict.get(b"First".as_slice()).and_then(Object::index);
        let first = first.unwrap_or(0);
        let data = self.container(container)?;
        let head = data.get(..first).unwrap_or_default();
        self.works(head.len())?;
        let mut lexer = Lexer::new(head);
        while let Some(Token::Object(number)) = lexer.token()
            && let Some(Token::Object(offset)) = lexer.token()
        {
            let number = number.index().and_then(|n| u32::try_from(n).ok());
            let (Some(number), Some(offset)) = (number, offset.index()) else {
                continue;
            };
            let range = offset.saturating_add(first)..data.len();
            all.insert(number, Place::Packed { container, range });
            if all.len() > MAX_OBJECTS {
                return Err(ExtractFault::TooLong { limit: MAX_OBJECTS });
            }
        }
        Ok(())
    }

    /// The object of that number; null where none is defined (7.3.10).
    pub(super) fn get(&mut self, number: u32) -> Result<Rc<Object>, ExtractFault> {
        if let Some(object) = self.objects.get(&number) {
            return Ok(Rc::clone(object));
        }
        let (object, length) = match self.place(number) {
            None => return Ok(Rc::new(Object::Null)),
            Some(Place::Direct { range, .. }) => self.parse(self.bytes, range)?,
            Some(Place::Packed { container, range }) => {
                let data = self.container(container)?;
                self.parse(&data, range)?
            }
        };
        let object = Rc::new(object);
        if self.object_bytes.saturating_add(length) > KEPT_OBJECT_BYTES {
            self.objects.clear();
            self.object_bytes = 0;
        }
        if length <= KEPT_OBJECT_BYTES {
            self.object_bytes = self.object_bytes.saturating_add(length).saturating_add(64);
            self.objects.insert(number, Rc::clone(&object));
        }
        Ok(object)
    }

    fn place(&self, number: u32) -> Option<Place> {
        self.places.get(&number).cloned()
    }

    /// Whether anything is defined under that number.
    pub(super) fn has(&self, number: u32) -> bool {
        self.place(number).is_some()
    }

    fn parse(
        &mut self,
        bytes: &[u8],
        range: Range<usize>,
    ) -> Result<(Object, usize), ExtractFault> {
        let mut lexer = Lexer::new(bytes.get(range).unwrap_or_default());
        let object = lexer.object()?;
        self.works(lexer.at.saturating_add(16))?;
        Ok((object, lexer.at))
    }

    /// What a reference leads to, and everything else as it is.
    pub(super) fn resolve<'o>(&mut self, object: &'o Object) -> Result<Held<'o>, ExtractFault> {
        let Object::Ref(number) = object else {
            return Ok(Held::Here(object));
        };
        let mut found = self.get(*number)?;
        for _ in 0..MAX_HOPS {
            let Object::Ref(next) = *found else {
                return Ok(Held::There(found));
            };
            found = self.get(next)?;
        }
        Ok(Held::There(Rc::new(Object::Null)))
    }

    /// The value of `key` of a dictionary; null where it has none.
    pub(super) fn value<'o>(
        &mut self,
        dict: &'o Object,
        key: &str,
    ) -> Result<Held<'o>, ExtractFault> {
        self.resolve(dict.get(key).unwrap_or(&Object::Null))
    }

    /// The decoded body of the stream with that number; `None` where it is none.
    pub(super) fn stream(&mut self, number: u32) -> Result<Option<Rc<Vec<u8>>>, ExtractFault> {
        let Some(Place::Direct {
            range,
            body: Some(body),
        }) = self.place(number)
        else {
            return Ok(None);
        };
        let dict = self.get(number)?;
        let Some(dict) = dict.dict() else {
            return Ok(None);
        };
        self.decoded(range.start, dict, body).map(Some)
    }

    fn container(&mut self, container: usize) -> Result<Rc<Vec<u8>>, ExtractFault> {
        let found = self.containers.get_mut(container);
        let Some((dict, body)) = found.map(|(dict, body)| (std::mem::take(dict), body.clone()))
        else {
            return Ok(Rc::default());
        };
        let data = self.decoded(body.start, &dict, body);
        if let Some((place, _)) = self.containers.get_mut(container) {
            *place = dict;
        }
        data
    }

    /// Runs the filters of a stream, or has its bytes of before by `key`.
    fn decoded(
        &mut self,
        key: usize,
        dict: &Dict,
        body: Range<usize>,
    ) -> Result<Rc<Vec<u8>>, ExtractFault> {
        if let Some(data) = self.streams.get(&key) {
            return Ok(Rc::clone(data));
        }
        let null = Object::Null;
        let entry = |long: &str, short: &str| {
            let found = dict.get(long.as_bytes());
            found
                .or_else(|| dict.get(short.as_bytes()))
                .unwrap_or(&null)
        };
        let filters = self.resolve(entry("Filter", "F"))?;
        let parameters = self.resolve(entry("DecodeParms", "DP"))?;
        let names = match &*filters {
            Object::Array(names) => names.as_slice(),
            Object::Name(_) => std::slice::from_ref(&*filters),
            _ => &[],
        };
        if names.len() > MAX_FILTERS {
            return Err(ExtractFault::Malformed("a stream of too many filters"));
        }
        let bytes = self.bytes;
        let raw = bytes.get(body).unwrap_or_default();
        let mut data: Option<Vec<u8>> = None;
        for (place, name) in names.iter().enumerate() {
            let name = self.resolve(name)?;
            let own = match &*parameters {
                Object::Array(each) => each.get(place).unwrap_or(&null),
                alone => alone,
            };
            let own = self.resolve(own)?;
            let input = data.as_deref().unwrap_or(raw);
            let left = MAX_DECODED_BYTES.saturating_sub(self.decoded);
            let limit = left.min(MAX_STREAM_BYTES);
            let filter = name.name().unwrap_or_default();
            let output = apply(filter, &own, input, limit).map_err(|fault| match fault {
                FilterFault::TooLong => ExtractFault::TooLong { limit },
                FilterFault::Unreadable => ExtractFault::Malformed("a damaged stream"),
            })?;
            self.decodes(output.len())?;
            data = Some(output);
        }
        let data = match data {
            Some(data) => data,
            None => {
                self.decodes(raw.len())?;
                raw.to_vec()
            }
        };
        let data = Rc::new(data);
        if self.stream_bytes.saturating_add(data.len()) > KEPT_STREAM_BYTES {
            self.streams.clear();
            self.stream_bytes = 0;
        }
        self.stream_bytes = self
            .stream_bytes
            .saturating_add(data.len())
            .saturating_add(64);
        self.streams.insert(key, Rc::clone(&data));
        Ok(data)
    }

    fn decodes(&mut self, bytes: usize) -> Result<(), ExtractFault> {
        self.decoded = self.decoded.saturating_add(bytes).saturating_add(16);
        if self.decoded > MAX_DECODED_BYTES {
            return Err(ExtractFault::TooLong {
                limit: MAX_DECODED_BYTES,
            });
        }
        Ok(())
    }

    /// Counts bytes that are looked at.
    pub(super) fn works(&mut self, bytes: usize) -> Result<(), ExtractFault> {
        self.work = self.work.saturating_add(bytes);
        if self.work > MAX_WORK {
            return Err(ExtractFault::TooLong { limit: MAX_WORK });
        }
        Ok(())
    }
}

/// What was found between the beginning and the end of a file, in its order.
struct Scan {
    objects: Vec<Found>,
    /// Where the words `trailer` end; the last ones.
    trailers: Vec<usize>,
    /// The dictionaries of cross-reference streams, which are trailers as well (7.5.8).
    tables: Vec<(usize, Dict)>,
}

struct Found {
    number: u32,
    range: Range<usize>,
    body: Option<Range<usize>>,
    /// The dictionary, if it is an object stream.
    packed: Option<Dict>,
}

impl Found {
    fn place(&self) -> Place {
        Place::Direct {
            range: self.range.clone(),
            body: self.body.clone(),
        }
    }
}

/// Goes through the file once. No byte is looked at more than a few times: bodies of streams are passed over, and a
/// dictionary in front of `stream` is read no further than up to there.
fn scan(bytes: &[u8]) -> Result<Scan, ExtractFault> {
    let mut scan = Scan {
        objects: Vec::new(),
        trailers: Vec::new(),
        tables: Vec::new(),
    };
    // Whether the last object goes on, and how often `stream` was seen in it.
    let mut open = false;
    let mut tries = 0_u32;
    let mut at = 0_usize;
    while let Some(rest) = bytes.get(at..) {
        let Some(skipped) = rest
            .iter()
            .position(|b| matches!(b, b'o' | b's' | b't' | b'e'))
        else {
            break;
        };
        let rest = rest.get(skipped..).unwrap_or_default();
        at = at.saturating_add(skipped);
        let word = [&b"obj"[..], b"stream", b"trailer", b"endobj"]
            .into_iter()
            .find(|word| rest.starts_with(word));
        let Some(word) = word else {
            at = at.saturating_add(1);
            continue;
        };
        let behind = at.saturating_add(word.len());
        let last = scan.objects.last_mut();
        match (word, last) {
            (b"obj", last) => {
                if let Some((start, number)) = header(bytes, at) {
                    close(last.filter(|_| open), start);
                    if scan.objects.len() >= MAX_OBJECTS {
                        return Err(ExtractFault::TooLong { limit: MAX_OBJECTS });
                    }
                    scan.objects.push(Found {
                        number,
                        range: behind..bytes.len(),
                        body: None,
                        packed: None,
                    });
                    (open, tries) = (true, 0);
                }
            }
            (b"stream", Some(last)) if open && tries < 4 => {
                tries = tries.saturating_add(1);
                let before = bytes.get(last.range.start..at).unwrap_or_default();
                if let Some(dict) = dict_alone(before)? {
                    let (body, end) = body(bytes, behind, &dict);
                    last.range.end = at;
                    last.body = Some(body);
                    open = false;
                    at = end;
                    match dict.get(b"Type".as_slice()).and_then(Object::name) {
                        Some(b"ObjStm") => last.packed = Some(dict),
                        Some(b"XRef") => {
                            if scan.tables.len() >= MAX_TRAILERS {
                                scan.tables.remove(0);
                            }
                            scan.tables.push((last.range.start, dict));
                        }
                        _ => {}
                    }
                    continue;
                }
            }
            (b"trailer", last) => {
                close(last.filter(|_| open), at);
                open = false;
                if scan.trailers.len() >= MAX_TRAILERS {
                    scan.trailers.remove(0);
                }
                scan.trailers.push(behind);
            }
            (b"endobj", last) => {
                close(last.filter(|_| open), at);
                open = false;
            }
            _ => {}
        }
        at = behind;
    }
    Ok(scan)
}

fn close(object: Option<&mut Found>, end: usize) {
    if let Some(object) = object {
        object.range.end = end.max(object.range.start);
    }
}

/// The number in front of `obj`, and where it begins: `12 0 obj`.
fn header(bytes: &[u8], at: usize) -> Option<(usize, u32)> {
    let before = bytes.get(..at)?;
    // White space and digits from the back, few of each.
    let back = |before: &[u8], keep: fn(&u8) -> bool| {
        let count = before.iter().rev().take(12).take_while(|b| keep(b)).count();
        before.len().saturating_sub(count)
    };
    let white: fn(&u8) -> bool = |b| is_white(*b);
    let digits: fn(&u8) -> bool = u8::is_ascii_digit;
    let before = before.get(..back(before, white))?;
    let generation = before.get(..back(before, digits))?;
    let number = generation.get(..back(generation, white))?;
    let start = back(number, digits);
    if generation.len() == before.len() || number.len() == generation.len() {
        return None;
    }
    let text = str::from_utf8(number.get(start..)?).ok()?;
    Some((start, text.parse().ok()?))
}

/// The dictionary that `bytes` are, and nothing else.
fn dict_alone(bytes: &[u8]) -> Result<Option<Dict>, ExtractFault> {
    // The word may stand in a string that is still open here.
    if !bytes.trim_ascii_end().ends_with(b">>") {
        return Ok(None);
    }
    let mut lexer = Lexer::new(bytes);
    let Object::Dict(dict) = lexer.object()? else {
        return Ok(None);
    };
    lexer.skip_white();
    Ok((lexer.at >= bytes.len()).then_some(dict))
}

/// The body of a stream behind the word `stream`, and where to go on: by its length where `endstream` stands behind it,
/// else up to the next `endstream`, else all the rest.
fn body(bytes: &[u8], behind: usize, dict: &Dict) -> (Range<usize>, usize) {
    const END: &[u8] = b"endstream";
    let start = match bytes.get(behind..).unwrap_or_default() {
        [b'\r', b'\n', ..] => behind.saturating_add(2),
        [b'\n' | b'\r', ..] => behind.saturating_add(1),
        _ => behind,
    };
    if let Some(length) = dict.get(b"Length".as_slice()).and_then(Object::index) {
        let end = start.saturating_add(length);
        let rest = bytes.get(end..).unwrap_or_default();
        let white = rest.iter().take(4).take_while(|b| is_white(**b)).count();
        if rest.get(white..).is_some_and(|rest| rest.starts_with(END)) {
            return (start..end, end);
        }
    }
    let rest = bytes.get(start..).unwrap_or_default();
    let Some(length) = rest.windows(END.len()).position(|window| window == END) else {
        return (start..bytes.len(), bytes.len());
    };
    let next = start.saturating_add(length).saturating_add(END.len());
    let trimmed = match rest.get(..length).unwrap_or_default() {
        [body @ .., b'\r', b'\n'] | [body @ .., b'\n' | b'\r'] => body.len(),
        body => body.len(),
    };
    (start..start.saturating_add(trimmed), next)
}

/// The number of the catalog, as the last trailer says that has one.
fn root(bytes: &[u8], scan: &Scan) -> Result<u32, ExtractFault> {
    let mut last: Option<(usize, u32)> = None;
    let mut take = |at: usize, dict: &Dict| {
        if dict
            .get(b"Encrypt".as_slice())
            .is_some_and(|value| *value != Object::Null)
        {
            return Err(ExtractFault::Encrypted);
        }
        if let Some(Object::Ref(root)) = dict.get(b"Root".as_slice())
            && last.is_none_or(|(before, _)| before <= at)
        {
            last = Some((at, *root));
        }
        Ok(())
    };
    for at in &scan.trailers {
        let rest = bytes.get(*at..).unwrap_or_default();
        let near = rest.get(..TRAILER_BYTES).unwrap_or(rest);
        if let Object::Dict(dict) = Lexer::new(near).object()? {
            take(*at, &dict)?;
        }
    }
    for (at, dict) in &scan.tables {
        take(*at, dict)?;
    }
    last.map(|(_, root)| root)
        .ok_or(ExtractFault::Malformed("no trailer leads to its pages"))
}
