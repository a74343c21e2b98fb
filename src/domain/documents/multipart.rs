//! An incremental reader of `multipart/form-data` (RFC 7578 over RFC 2046 §5.1): bytes in, events out, nothing held but
//! the headers of the part that begins and the count of delimiter bytes that may still turn out to be data.

use std::fmt;

/// Most bytes of one part's headers: 16 KiB = 16 × 1024.
pub const MAX_HEADER_BYTES: usize = 16_384;
/// Most parts of a body.
pub const MAX_PARTS: usize = 32;
/// Longest boundary in bytes (RFC 2046 §5.1.1).
const MAX_BOUNDARY_BYTES: usize = 70;
/// Most blanks after a boundary, before the line ends; RFC 2046 lets gateways add some.
const MAX_PADDING_BYTES: usize = 64;

/// Why a body is not one that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultipartFault {
    /// The content type is another one.
    NotFormData,
    /// The content type has no boundary, two, or one that RFC 2046 does not allow.
    Boundary,
    /// A line that begins with the boundary goes on with something else.
    Delimiter,
    /// More than [`MAX_PARTS`].
    TooManyParts,
    /// A part's headers are longer than [`MAX_HEADER_BYTES`].
    HeadersTooLong,
    /// A header line that is none.
    Header,
    /// A header is not UTF-8.
    Encoding,
    /// No `Content-Disposition: form-data` with one name, or two of them.
    Disposition,
    /// A `Content-Transfer-Encoding` that changes the bytes (RFC 7578 §4.7 does away with them).
    TransferEncoding,
    /// The body ended before its last boundary.
    Incomplete,
}

impl fmt::Display for MultipartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFormData => "the content type is not multipart/form-data",
            Self::Boundary => "the content type names no valid boundary",
            Self::Delimiter => "a boundary line has something after the boundary",
            Self::TooManyParts => "the form has more than 32 parts",
            Self::HeadersTooLong => "the headers of a part are longer than 16 KiB",
            Self::Header => "a part has a malformed header line",
            Self::Encoding => "the headers of a part are not UTF-8",
            Self::Disposition => {
                "a part has no form-data Content-Disposition with exactly one name"
            }
            Self::TransferEncoding => {
                "a part has a Content-Transfer-Encoding; send its bytes as they are"
            }
            Self::Incomplete => "the body ended before its last boundary",
        })
    }
}

impl std::error::Error for MultipartFault {}

/// What a part says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// The field's name.
    pub name: String,
    /// The file's name as sent; not cleaned.
    pub filename: Option<String>,
    /// `Content-Type` as sent.
    pub content_type: Option<String>,
}

/// What the next bytes mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A part begins.
    Part(PartHead),
    /// A piece of the part's content, never empty.
    Data(&'a [u8]),
    /// The part is complete.
    PartEnd,
    /// The last boundary has come. What follows it is ignored.
    End,
}

/// The boundary of a `multipart/form-data` content type.
///
/// # Errors
/// [`MultipartFault::NotFormData`] for another type, [`MultipartFault::Boundary`] when it has no valid boundary.
pub fn boundary(content_type: &str) -> Result<String, MultipartFault> {
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(MultipartFault::NotFormData);
    }
    let parameters = parse_parameters(parameters).ok_or(MultipartFault::Boundary)?;
    let boundary = only(parameters, "boundary").map_err(|()| MultipartFault::Boundary)?;
    boundary
        .filter(|text| is_boundary(text))
        .ok_or(MultipartFault::Boundary)
}

/// `0*69<bchars> bcharsnospace` (RFC 2046 §5.1.1).
fn is_boundary(text: &str) -> bool {
    (1..=MAX_BOUNDARY_BYTES).contains(&text.len())
        && !text.ends_with(' ')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b))
}

/// Where in the body the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// After a boundary, on its line.
    BoundaryLine(LineEnd),
    /// In the headers of a part.
    Headers,
    /// In the content of a part.
    Content,
    /// After the last boundary.
    Epilogue,
    /// Nothing more can be read.
    Failed(MultipartFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    /// So many blanks.
    Padding(usize),
    /// A hyphen: the last boundary has two.
    Hyphen,
    /// A carriage return.
    Return,
}

/// Reads one body.
#[derive(Debug)]
pub struct Parser {
    /// `CR LF - - boundary`. The line break belongs to the delimiter (RFC 2046 §5.1.1). As no boundary holds a CR, a
    /// mismatch inside it means that the bytes so far are data, and none of them can begin another delimiter.
    delimiter: Vec<u8>,
    state: State,
    /// How many bytes of the delimiter have been seen.
    matched: usize,
    /// How many of those are not data even when no delimiter comes of them: 2 where the line break before a boundary
    /// has been read already, as at the very beginning and after a part's headers.
    not_data: usize,
    headers: Vec<u8>,
    parts: usize,
}

impl Parser {
    /// A reader of a body with that boundary; see [`boundary`].
    #[must_use]
    pub fn new(boundary: &str) -> Self {
        Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            state: State::Preamble,
            matched: LINE_BREAK,
            not_data: LINE_BREAK,
            headers: Vec::new(),
            parts: 0,
        }
    }

    /// Takes the next event off the front of `input`; `None` when all of it is used up and more is needed. Data comes
    /// in pieces of at most `room` bytes (at least 1).
    ///
    /// # Errors
    /// Any fault but [`MultipartFault::Incomplete`]; it comes again on every further call.
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b [u8],
        room: usize,
    ) -> Result<Option<Event<'a>>, MultipartFault> {
        while !input.is_empty() {
            let step = match self.state {
                State::Failed(fault) => Err(fault),
                State::Preamble => Ok(self.preamble(input)),
                State::BoundaryLine(at) => self.boundary_line(at, input),
                State::Headers => self.header_bytes(input),
                State::Content => Ok(self.content(input, room.max(1))),
                State::Epilogue => {
                    *input = &[];
                    Ok(Step::Go)
                }
            };
            match step {
                Ok(Step::Go) => {}
                Ok(Step::Part(head)) => return Ok(Some(Event::Part(head))),
                Ok(Step::Data(bytes)) => return Ok(Some(Event::Data(bytes))),
                Ok(Step::Held { from, to }) => {
                    return Ok(self.delimiter.get(from..to).map(Event::Data));
                }
                Ok(Step::PartEnd) => return Ok(Some(Event::PartEnd)),
                Ok(Step::End) => return Ok(Some(Event::End)),
                Err(fault) => {
                    self.state = State::Failed(fault);
                    return Err(fault);
                }
            }
        }
        Ok(None)
    }

    /// Says that no more bytes will come.
    ///
    /// # Errors
    /// [`MultipartFault::Incomplete`] before the last boundary, or the fault that [`Parser::next`] gave.
    pub const fn finish(&self) -> Result<(), MultipartFault> {
        match self.state {
            State::Epilogue => Ok(()),
            State::Failed(fault) => Err(fault),
            _ => Err(MultipartFault::Incomplete),
        }
    }

    fn preamble<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        match self.scan(input, usize::MAX) {
            Scan::Delimiter => self.state = State::BoundaryLine(LineEnd::Padding(0)),
            Scan::Data(_) | Scan::Held { .. } | Scan::More => {}
        }
        Step::Go
    }

    fn content<'a>(&mut self, input: &mut &'a [u8], room: usize) -> Step<'a> {
        match self.scan(input, room) {
            Scan::Data(bytes) => Step::Data(bytes),
            Scan::Held { from, to } => Step::Held { from, to },
            Scan::More => Step::Go,
            Scan::Delimiter => {
                self.state = State::BoundaryLine(LineEnd::Padding(0));
                Step::PartEnd
            }
        }
    }

    /// Looks for the delimiter.
    fn scan<'a>(&mut self, input: &mut &'a [u8], room: usize) -> Scan<'a> {
        if self.matched == 0 {
            return self.scan_data(input, room);
        }
        // In the middle of what may be a delimiter that began in an earlier piece.
        while let (Some(expected), Some((byte, rest))) =
            (self.delimiter.get(self.matched), input.split_first())
        {
            if byte != expected {
                return self.give_back(room);
            }
            self.matched = self.matched.saturating_add(1);
            *input = rest;
        }
        self.scanned()
    }

    /// Takes data up to the next CR that may begin the delimiter.
    fn scan_data<'a>(&mut self, input: &mut &'a [u8], room: usize) -> Scan<'a> {
        let all = *input;
        let mut from = 0usize;
        let end = loop {
            let rest = all.get(from..).unwrap_or_default();
            let Some(at) = find_cr(rest) else {
                break all.len();
            };
            let candidate = rest.get(at..).unwrap_or_default();
            if candidate.starts_with(&self.delimiter) || self.delimiter.starts_with(candidate) {
                break from.saturating_add(at);
            }
            from = from.saturating_add(at).saturating_add(1);
        };
        if end > 0 {
            let (data, rest) = all.split_at_checked(end.min(room)).unwrap_or((all, &[]));
            *input = rest;
            return Scan::Data(data);
        }
        let length = all.len().min(self.delimiter.len());
        *input = all.get(length..).unwrap_or_default();
        self.matched = length;
        self.scanned()
    }

    /// The delimiter is whole, or the input used up.
    fn scanned<'a>(&mut self) -> Scan<'a> {
        if self.matched < self.delimiter.len() {
            return Scan::More;
        }
        self.matched = 0;
        self.not_data = 0;
        Scan::Delimiter
    }

    /// What looked like a delimiter was data after all: it is given back, at most `room` bytes at a time.
    fn give_back<'a>(&mut self, room: usize) -> Scan<'a> {
        let from = self.not_data;
        let to = self.matched.min(from.saturating_add(room));
        if to == self.matched {
            self.matched = 0;
            self.not_data = 0;
        } else {
            self.not_data = to;
        }
        if from < to {
            Scan::Held { from, to }
        } else {
            Scan::More
        }
    }

    fn boundary_line<'a>(
        &mut self,
        at: LineEnd,
        input: &mut &'a [u8],
    ) -> Result<Step<'a>, MultipartFault> {
        let Some((byte, rest)) = input.split_first() else {
            return Ok(Step::Go);
        };
        *input = rest;
        match (at, byte) {
            (LineEnd::Padding(0), b'-') => self.state = State::BoundaryLine(LineEnd::Hyphen),
            (LineEnd::Hyphen, b'-') => {
                self.state = State::Epilogue;
                return Ok(Step::End);
            }
            (LineEnd::Padding(count), b' ' | b'\t') if count < MAX_PADDING_BYTES => {
                self.state = State::BoundaryLine(LineEnd::Padding(count.saturating_add(1)));
            }
            (LineEnd::Padding(_), b'\r') => self.state = State::BoundaryLine(LineEnd::Return),
            (LineEnd::Return, b'\n') if self.parts >= MAX_PARTS => {
                return Err(MultipartFault::TooManyParts);
            }
            (LineEnd::Return, b'\n') => {
                self.parts = self.parts.saturating_add(1);
                self.headers.clear();
                self.state = State::Headers;
            }
            _ => return Err(MultipartFault::Delimiter),
        }
        Ok(Step::Go)
    }

    fn header_bytes<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, MultipartFault> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            if self.headers.len() >= MAX_HEADER_BYTES {
                return Err(MultipartFault::HeadersTooLong);
            }
            self.headers.push(*byte);
            let ends =
                *byte == b'\n' && (self.headers.ends_with(b"\r\n\r\n") || self.headers == b"\r\n");
            if ends {
                let head = parse_head(&self.headers)?;
                self.state = State::Content;
                // The blank line's own line break may be the one before the next boundary: a part without content.
                self.matched = LINE_BREAK;
                self.not_data = LINE_BREAK;
                return Ok(Step::Part(head));
            }
        }
        Ok(Step::Go)
    }
}

/// CR LF.
const LINE_BREAK: usize = 2;

/// What one look at the input came to.
enum Step<'a> {
    /// Look again.
    Go,
    Part(PartHead),
    Data(&'a [u8]),
    /// Bytes of the delimiter that are data.
    Held {
        from: usize,
        to: usize,
    },
    PartEnd,
    End,
}

enum Scan<'a> {
    Data(&'a [u8]),
    Held { from: usize, to: usize },
    Delimiter,
    More,
}

/// The first CR, eight bytes at a time: a byte of `word` is zero exactly where `x` has its CR, and the subtraction
/// borrows into the top bit of the lowest such byte ("Determine if a word has a zero byte", Bit Twiddling Hacks).
fn find_cr(bytes: &[u8]) -> Option<usize> {
    const CR: u64 = u64::from_ne_bytes([b'\r'; 8]);
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    let mut at = 0usize;
    let (words, _) = bytes.as_chunks::<8>();
    for chunk in words {
        let word = u64::from_ne_bytes(*chunk) ^ CR;
        if word.wrapping_sub(ONES) & !word & TOPS != 0 {
            break;
        }
        at = at.saturating_add(8);
    }
    let rest = bytes.get(at..)?;
    rest.iter()
        .position(|b| *b == b'\r')
        .map(|found| at.saturating_add(found))
}

fn parse_head(bytes: &[u8]) -> Result<PartHead, MultipartFault> {
    let text = str::from_utf8(bytes).map_err(|_| MultipartFault::Encoding)?;
    let mut disposition = None;
    let mut content_type = None;
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(MultipartFault::Header)?;
        let name_ok = !name.is_empty() && name.bytes().all(is_token_byte);
        let value_ok = !value.bytes().any(|b| b.is_ascii_control() && b != b'\t');
        if !name_ok || !value_ok {
            return Err(MultipartFault::Header);
        }
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("content-disposition") {
            if disposition.replace(value).is_some() {
                return Err(MultipartFault::Disposition);
            }
        } else if name.eq_ignore_ascii_case("content-type") {
            if content_type.replace(value).is_some() {
                return Err(MultipartFault::Header);
            }
        } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
            let plain = ["7bit", "8bit", "binary"];
            if !plain.iter().any(|word| value.eq_ignore_ascii_case(word)) {
                return Err(MultipartFault::TransferEncoding);
            }
        }
    }
    let (name, filename) = parse_disposition(disposition.ok_or(MultipartFault::Disposition)?)?;
    Ok(PartHead {
        name,
        filename,
        content_type: content_type.map(str::to_owned),
    })
}

/// The name and the file's name. `filename*` is not used in forms (RFC 7578 §4.2) and is left alone.
fn parse_disposition(value: &str) -> Result<(String, Option<String>), MultipartFault> {
    let (kind, parameters) = value.split_once(';').ok_or(MultipartFault::Disposition)?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(MultipartFault::Disposition);
    }
    let parameters = parse_parameters(parameters).ok_or(MultipartFault::Disposition)?;
    let filename =
        only(parameters.clone(), "filename").map_err(|()| MultipartFault::Disposition)?;
    let name = only(parameters, "name").map_err(|()| MultipartFault::Disposition)?;
    let name = name.ok_or(MultipartFault::Disposition)?;
    Ok((unescape(&name), filename.map(|text| unescape(&text))))
}

/// What browsers escape in names (WHATWG HTML, "multipart/form-data encoding algorithm"), and nothing else: a name
/// may hold other percent signs.
fn unescape(text: &str) -> String {
    text.replace("%22", "\"")
        .replace("%0D", "\r")
        .replace("%0A", "\n")
}

/// The value of the parameter of that name; an error when it comes twice, which two readers could understand apart.
fn only(parameters: Vec<(String, String)>, wanted: &str) -> Result<Option<String>, ()> {
    let mut values = parameters
        .into_iter()
        .filter(|(name, _)| name == wanted)
        .map(|(_, value)| value);
    let first = values.next();
    if values.next().is_some() {
        Err(())
    } else {
        Ok(first)
    }
}

/// `name=value; name="value"`, names in lower case; `None` when malformed. Inside quotes a backslash escapes a quote or
/// a backslash and stands for itself before anything else, since browsers send the names of files as they are.
fn parse_parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    let mut rest = text.trim_matches([' ', '\t', ';']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_matches([' ', '\t']);
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return None;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted)?,
            None => {
                let (value, after) = after
                    .split_once(';')
                    .map_or((after, ""), |(value, after)| (value, after));
                let value = value.trim_matches([' ', '\t']);
                let plain = !value.is_empty() && !value.contains(['"', ' ', '\t']);
                (plain.then(|| value.to_owned())?, after)
            }
        };
        parameters.push((name.to_ascii_lowercase(), value));
        rest = after.trim_matches([' ', '\t', ';']);
    }
    Some(parameters)
}

/// The text up to the closing quote, and what comes after it: nothing, or from a semicolon on.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => {
                let mut ahead = characters.clone();
                match ahead.next() {
                    Some(escaped @ ('"' | '\\')) => {
                        value.push(escaped);
                        characters = ahead;
                    }
                    _ => value.push('\\'),
                }
            }
            other => value.push(other),
        }
    }
    let after = characters.as_str().trim_start_matches([' ', '\t']);
    (after.is_empty() || after.starts_with(';')).then_some((value, after))
}

/// `tchar` (RFC 9110 §5.6.2).
const fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests;
