//! Server-Sent Events, read in pieces and written safely (WHATWG HTML §9.2, "Server-sent events").
//!
//! The reader holds no more than its cap allows, whatever the other side sends, and gives the same
//! events wherever the network cuts the bytes.

use std::borrow::Cow;
use std::mem;

use super::time::Millis;

/// The longest line, and the largest event, of [`Parser::default`]: 1 MiB.
pub const DEFAULT_CAP_BYTES: usize = 1024 * 1024;

/// One event, valid until the callback returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event` field; `message` when the stream names none.
    pub event: &'a str,
    /// The `data` lines, joined by line feeds.
    pub data: &'a str,
    /// The last `id` seen so far in the stream, this event's or an earlier one's; empty when there was none.
    pub id: &'a str,
}

/// A line or an event is over the cap. The parser stays in this state: the stream cannot be trusted further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversize {
    /// The cap that was passed, in bytes.
    pub cap_bytes: usize,
}

/// Reads one stream. A new stream takes a new parser.
#[derive(Debug)]
pub struct Parser {
    cap_bytes: usize,
    /// The bytes of a line whose end has not come yet.
    line: Vec<u8>,
    /// Every `data` value of the event so far, each with a line feed after it, as the standard has it.
    data: String,
    event: String,
    id: String,
    retry: Option<Millis>,
    /// No line has ended yet, so a byte order mark may stand in front.
    at_start: bool,
    /// The last byte was a CR: a LF that comes next belongs to the same line end.
    after_cr: bool,
    oversize: bool,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(DEFAULT_CAP_BYTES)
    }
}

impl Parser {
    /// A parser that accepts lines and events of at most `cap_bytes`; it holds a small multiple of that at worst.
    #[must_use]
    pub const fn new(cap_bytes: usize) -> Self {
        Self {
            cap_bytes,
            line: Vec::new(),
            data: String::new(),
            event: String::new(),
            id: String::new(),
            retry: None,
            at_start: true,
            after_cr: false,
            oversize: false,
        }
    }

    /// Reads the next piece of the stream and calls `on_event` for each event that a blank line has ended.
    ///
    /// Invalid UTF-8 becomes U+FFFD, as the standard asks.
    ///
    /// # Errors
    /// [`Oversize`] when a line, or the fields of one event together, pass the cap, and on every later call.
    /// Events in front of that place have been delivered.
    pub fn push(
        &mut self,
        chunk: &[u8],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Oversize> {
        if self.oversize {
            return Err(self.overflow());
        }
        let mut rest = chunk;
        while let Some((&first, tail)) = rest.split_first() {
            if mem::take(&mut self.after_cr) && first == b'\n' {
                rest = tail;
                continue;
            }
            let Some((line, end, tail)) = split_line(rest) else {
                self.fits(self.line.len().saturating_add(rest.len()))?;
                self.line.extend_from_slice(rest);
                return Ok(());
            };
            self.after_cr = end == b'\r';
            rest = tail;
            if self.line.is_empty() {
                self.end_line(line, &mut on_event)?;
            } else {
                self.fits(self.line.len().saturating_add(line.len()))?;
                let mut whole = mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.end_line(&whole, &mut on_event)?;
                whole.clear();
                self.line = whole; // keeps its room for the next cut line
            }
        }
        Ok(())
    }

    /// Whether the stream stands inside a line or an event. True after the last byte means that the stream was cut:
    /// what is held is dropped, never delivered.
    #[must_use]
    pub fn pending(&self) -> bool {
        !(self.line.is_empty() && self.data.is_empty() && self.event.is_empty())
    }

    /// Name and data of the event in which the stream stands, had its last line and its blank line come. For servers that
    /// leave out the blank line at their end; the standard drops it, and so may the caller.
    #[must_use]
    pub fn unfinished(&self) -> Option<(&str, String)> {
        let mut data = self.data.clone();
        if let Some(rest) = self.line.strip_prefix(b"data:") {
            let rest = rest.strip_prefix(b" ").unwrap_or(rest);
            data.push_str(&String::from_utf8_lossy(rest));
        } else {
            data.pop();
        }
        let name = Some(self.event.as_str()).filter(|name| !name.is_empty());
        (!data.is_empty()).then_some((name.unwrap_or("message"), data))
    }

    /// The wait before a reconnection that the stream last asked for (`retry`).
    #[must_use]
    pub const fn retry(&self) -> Option<Millis> {
        self.retry
    }

    fn end_line(
        &mut self,
        line: &[u8],
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Oversize> {
        self.fits(line.len())?;
        let line = match line.strip_prefix(b"\xEF\xBB\xBF") {
            Some(after_mark) if self.at_start => after_mark,
            _ => line,
        };
        self.at_start = false;
        if line.is_empty() {
            self.dispatch(on_event);
            return Ok(());
        }
        // Line ends are ASCII, so decoding line by line gives what decoding the whole stream would.
        self.field(&String::from_utf8_lossy(line))
    }

    fn field(&mut self, line: &str) -> Result<(), Oversize> {
        let (name, value) = match line.split_once(':') {
            Some((name, value)) => (name, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        // A comment has an empty name and falls through with the unknown fields.
        match name {
            "data" => {
                let others = self.event.len().saturating_add(self.id.len());
                let with_line_feed = value.len().saturating_add(1);
                let data = self.data.len().saturating_add(with_line_feed);
                self.fits(data.saturating_add(others))?;
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => {
                let others = self.data.len().saturating_add(self.id.len());
                self.fits(others.saturating_add(value.len()))?;
                replace(&mut self.event, value);
            }
            "id" if !value.contains('\0') => {
                let others = self.data.len().saturating_add(self.event.len());
                self.fits(others.saturating_add(value.len()))?;
                replace(&mut self.id, value);
            }
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                // Only digits are left, so the one way to fail is a number that is too large.
                self.retry = Some(Millis(value.parse().unwrap_or(u64::MAX)));
            }
            _ => {}
        }
        Ok(())
    }

    /// The blank line: an event without any `data` line is none.
    fn dispatch(&mut self, on_event: &mut impl FnMut(Event<'_>)) {
        if let Some(data) = self.data.strip_suffix('\n') {
            let event = match self.event.as_str() {
                "" => "message",
                named => named,
            };
            on_event(Event {
                event,
                data,
                id: &self.id,
            });
        }
        self.data.clear();
        self.event.clear();
    }

    fn fits(&mut self, bytes: usize) -> Result<(), Oversize> {
        if bytes <= self.cap_bytes {
            return Ok(());
        }
        // Nothing that is held will be used again.
        self.oversize = true;
        self.line = Vec::new();
        self.data = String::new();
        Err(self.overflow())
    }

    const fn overflow(&self) -> Oversize {
        Oversize {
            cap_bytes: self.cap_bytes,
        }
    }
}

/// Appends one event. Every line of `data` gets its own `data:`, and line ends in the name are left out,
/// so that no text can start a field of its own.
pub fn write_event(out: &mut Vec<u8>, event: Option<&str>, data: &str) {
    if let Some(name) = event {
        out.extend_from_slice(b"event: ");
        out.extend(name.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        out.push(b'\n');
    }
    let data = if data.contains('\r') {
        Cow::Owned(data.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(data)
    };
    for line in data.split('\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

fn replace(held: &mut String, value: &str) {
    held.clear();
    held.push_str(value);
}

/// The line in front of the first CR or LF, that byte, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (line, rest) = bytes.split_at_checked(line_end(bytes)?)?;
    let (&end, tail) = rest.split_first()?;
    Some((line, end, tail))
}

/// Where the first CR or LF stands. Eight bytes at a time: lines of models are long and line ends few.
fn line_end(bytes: &[u8]) -> Option<usize> {
    const WORD: usize = size_of::<u64>();
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let (words, _) = bytes.as_chunks::<WORD>();
    let clear = words
        .iter()
        .take_while(|word| !has_line_end(**word))
        .count();
    let start = clear.saturating_mul(WORD);
    let within = bytes.get(start..)?.iter().position(is_end)?;
    Some(start.saturating_add(within))
}

/// The zero-byte test of "Bit Twiddling Hacks" (`haszero`), on the word with the sought byte XORed away.
fn has_line_end(word: [u8; 8]) -> bool {
    const LOW_BITS: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    let word = u64::from_ne_bytes(word);
    let has_zero = |word: u64| word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS;
    let lf = has_zero(word ^ u64::from_ne_bytes([b'\n'; 8]));
    let cr = has_zero(word ^ u64::from_ne_bytes([b'\r'; 8]));
    lf | cr != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::{Event, Oversize, Parser, line_end, write_event};
    use crate::base::time::Millis;

    type Owned = (String, String, String);

    fn owned(event: Event<'_>) -> Owned {
        (event.event.into(), event.data.into(), event.id.into())
    }

    /// The events of `pieces`, whether the stream ended inside an event, and the asked wait.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Owned>, bool, Option<Millis>) {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser
                .push(piece, |event| events.push(owned(event)))
                .unwrap();
        }
        (events, parser.pending(), parser.retry())
    }

    fn event(event: &str, data: &str, id: &str) -> Owned {
        (event.into(), data.into(), id.into())
    }

    fn message(data: &str) -> Owned {
        event("message", data, "")
    }

    #[test]
    fn streams_are_read_as_the_standard_says() {
        let table: &[(&[u8], Vec<Owned>)] = &[
            // The four examples of the standard.
            (
                b"data: YHOO\ndata: +2\ndata: 10\n\n",
                vec![message("YHOO\n+2\n10")],
            ),
            (
                b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
                vec![
                    event("message", "first event", "1"),
                    message("second event"),
                    message(" third event"),
                ],
            ),
            (b"data\n\ndata\ndata\n\ndata:", vec![message(""), message("\n")]),
            (b"data:test\n\ndata: test\n\n", vec![message("test"), message("test")]),
            // Line ends.
            (b"data: a\r\rdata: b\r\r", vec![message("a"), message("b")]),
            (b"data: a\r\n\r\ndata: b\r\n\r\n", vec![message("a"), message("b")]),
            (b"data: a\r\n\rdata: b\n\r", vec![message("a"), message("b")]),
            (b"data: a\n\r\ndata: b\r\n\n", vec![message("a"), message("b")]),
            (b"data: a\r\ndata: b\r\n\r\n", vec![message("a\nb")]),
            (b"data: a\rdata: b\r\r", vec![message("a\nb")]),
            // The byte order mark: one, in front, and no other.
            (b"\xEF\xBB\xBFdata: a\n\n", vec![message("a")]),
            (b"\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\n", vec![]),
            (b"data: a\n\n\xEF\xBB\xBFdata: b\n\n", vec![message("a")]),
            (b"data: \xEF\xBB\xBFa\n\n", vec![message("\u{feff}a")]),
            // Fields.
            (b"event: ping\ndata: {}\n\ndata: x\n\n", vec![event("ping", "{}", ""), message("x")]),
            (b"event: a\nevent: b\ndata: x\n\n", vec![event("b", "x", "")]),
            (b"event: alone\n\ndata: x\n\n", vec![message("x")]),
            (b"id: 7\n\ndata: x\n\nid: 8\ndata: y\n\n", vec![event("message", "x", "7"), event("message", "y", "8")]),
            (b"id: 7\nid: 8\0\ndata: x\n\n", vec![event("message", "x", "7")]),
            (b"data: a\0b\n\n", vec![message("a\0b")]),
            (b"Data: x\n data: x\ndatas: x\n:data: x\ndata : x\n\n", vec![]),
            (b"data:a:b\ndata:\tc\n\n", vec![message("a:b\n\tc")]),
            // Text.
            ("data: 你好 🦀\n\n".as_bytes(), vec![message("你好 🦀")]),
            (b"data: a\xFFb\xE4\xBD\n\n", vec![message("a\u{fffd}b\u{fffd}")]),
            // Ends.
            (b"", vec![]),
            (b"\n\n\n", vec![]),
            (b"data: a\n\ndata: cut\n", vec![message("a")]),
            (b"data: a\n\ndata: cut", vec![message("a")]),
        ];
        for (stream, expected) in table {
            let text = String::from_utf8_lossy(stream);
            assert_eq!(read([*stream]).0, *expected, "{text:?}");
        }
    }

    const RICH: &[&[u8]] = &[
        b"\xEF\xBB\xBF: hello\nevent: delta\nid: 1\nretry: 1500\ndata: {\"a\":1}\ndata: second\n\ndata: [DONE]\n\n",
        b"\xEF\xBB\xBFevent: delta\r\ndata: one\r\ndata: two\r\n\r\n: ping\r\n\r\nid: 2\r\ndata\r\n\r\n",
        b"data: one\rdata: two\r\revent: e\rdata: three\r\r\rdata: cut\r",
        b"data: a\r\n\ndata: b\n\r\ndata: c\r\rdata: d\n\n\r\n\r\r\n",
        "data: 你好,世界 🦀\ndata: naïve\n\nid: é\ndata: 한국어\n\n".as_bytes(),
        b"data: \xF0\x9F\xA6\n\ndata: \xC3\xA9\xFF\xFE\0\n\nid: \0\nid: ok\ndata: \xE4\xBD\n\n",
        b"retry: 12x\nretry:\nretry: 99999999999999999999999\n\ndata: over eight bytes on a line, then more\n\nevent: cut",
    ];

    #[test]
    fn a_cut_at_any_byte_changes_nothing() {
        for stream in RICH {
            let whole = read([*stream]);
            assert!(!whole.0.is_empty());
            for first in 0..=stream.len() {
                for second in first..=stream.len() {
                    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                    assert_eq!(read(pieces), whole, "cut at {first} and {second}");
                }
            }
            assert_eq!(read(stream.chunks(1)), whole, "byte by byte");
        }
    }

    #[test]
    fn the_event_comes_with_its_blank_line_not_with_the_next_byte() {
        for end in ["\n\n", "\r\r", "\r\n\r"] {
            let stream = format!("data: a{end}");
            assert_eq!(read([stream.as_bytes()]).0, [message("a")], "{end:?}");
        }
    }

    #[test]
    fn pending_tells_a_cut_stream_from_an_ended_one() {
        let table: &[(&str, bool)] = &[
            ("", false),
            ("data: a\n\n", false),
            ("data: a\r\n\r\n", false),
            (": comment\n", false),
            ("id: 1\n", false),
            ("data: a\n", true),
            ("data\n", true),
            ("event: error\n", true),
            ("data: a\n\nd", true),
            ("data: a\n\n: comm", true),
        ];
        for (stream, pending) in table {
            assert_eq!(read([stream.as_bytes()]).1, *pending, "{stream:?}");
        }
    }

    #[test]
    fn retry_takes_digits_only() {
        let table: &[(&str, Option<u64>)] = &[
            ("retry: 1500\n", Some(1500)),
            ("retry:0\n", Some(0)),
            ("retry: 10\nretry: 1.5\n", Some(10)),
            ("retry: +5\n", None),
            ("retry: -5\n", None),
            ("retry:  5\n", None),
            ("retry: ٣\n", None),
            ("retry\n", None),
            ("retry: 99999999999999999999\n", Some(u64::MAX)),
        ];
        for (stream, millis) in table {
            let retry = read([stream.as_bytes()]).2;
            assert_eq!(retry, millis.map(Millis), "{stream:?}");
        }
    }

    /// Pushes pieces of `step` bytes; the events that came, and how it ended.
    fn read_capped(stream: &[u8], cap: usize, step: usize) -> (Vec<Owned>, Result<(), Oversize>) {
        let mut parser = Parser::new(cap);
        let mut events = Vec::new();
        for piece in stream.chunks(step) {
            let pushed = parser.push(piece, |event| events.push(owned(event)));
            let held = parser.line.capacity() + parser.data.capacity() + parser.event.capacity();
            assert!(held <= 8 * cap, "{held} bytes held under a cap of {cap}");
            if pushed.is_err() {
                assert_eq!(parser.push(b"", |_| ()), pushed, "the error stays");
                assert_eq!(parser.push(b"data: x\n\n", |_| panic!("delivered")), pushed);
                return (events, pushed);
            }
        }
        (events, Ok(()))
    }

    #[test]
    fn over_the_cap_is_an_error_and_memory_stays_bounded() {
        let too_large = Err(Oversize { cap_bytes: 64 });
        let a = |count| "a".repeat(count);
        let table = [
            // (after a first small event, how it ends, how many events more)
            (format!("data: {}\n\n", a(58)), Ok(()), 1),
            (format!("data: {}\n\n", a(59)), too_large, 0),
            // The line feed after each value counts.
            (format!("data:{0}\ndata:{0}\n\n", a(31)), Ok(()), 1),
            (format!("data:{0}\ndata:{0}a\n\n", a(31)), too_large, 0),
            (a(100_000), too_large, 0),
            (format!(":{}\n", a(64)), too_large, 0),
            ("data: 0123456789\n".repeat(10_000), too_large, 0),
            ("data\n".repeat(10_000), too_large, 0),
            (format!("id: {0}\nevent: {0}\n\n", a(40)), too_large, 0),
            (format!("event: {0}\ndata: {0}\n\n", a(40)), too_large, 0),
            ("data: 0123456789\n\n".repeat(1000), Ok(()), 1000),
            (": ping\n".repeat(1000), Ok(()), 0),
        ];
        for (stream, end, more) in table {
            let stream = format!("data: first\n\n{stream}");
            for step in [1, 7, 64, 1000, stream.len()] {
                let (events, ended) = read_capped(stream.as_bytes(), 64, step);
                let head = stream.get(..40.min(stream.len()));
                assert_eq!((events.len(), ended), (1 + more, end), "{head:?} by {step}");
            }
        }
    }

    #[test]
    fn invalid_bytes_count_as_what_they_become() {
        // Each invalid byte is three bytes of U+FFFD.
        let stream = [b"data: ".as_slice(), &[0xFF; 40], b"\n\n"].concat();
        assert!(read_capped(&stream, 64, 1).1.is_err());
        assert!(read_capped(&stream, 128, 1).1.is_ok());
    }

    fn written(name: Option<&str>, data: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write_event(&mut out, name, data);
        out
    }

    #[test]
    fn events_are_written_line_by_line() {
        let table: &[(Option<&str>, &str, &str)] = &[
            (None, "[DONE]", "data: [DONE]\n\n"),
            (Some("ping"), "{}", "event: ping\ndata: {}\n\n"),
            (None, "", "data: \n\n"),
            (
                None,
                "a\nb\r\nc\rd\n",
                "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n",
            ),
            (
                Some("x\ndata: evil\r"),
                "",
                "event: xdata: evil\ndata: \n\n",
            ),
        ];
        for (name, data, bytes) in table {
            let text = String::from_utf8(written(*name, data)).unwrap();
            assert_eq!(text, *bytes, "{name:?} {data:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_as_one_event(
            name in proptest::option::of("[ \\PC\r\n]{1,8}"),
            data in "(?s)([ \\PC\r\n:]|data: |event: |id: |\n\n){0,12}",
        ) {
            let lines = data.replace("\r\n", "\n").replace('\r', "\n");
            let name_line = name.as_deref().unwrap_or_default().replace(['\r', '\n'], "");
            let name_read = if name_line.is_empty() { "message" } else { &name_line };
            let bytes = written(name.as_deref(), &data);
            assert_eq!(read([bytes.as_slice()]).0, [event(name_read, &lines, "")]);
        }

        #[test]
        fn any_bytes_in_any_pieces_read_alike(
            stream in proptest::collection::vec(
                prop_oneof![
                    any::<u8>().prop_map(|byte| vec![byte]),
                    Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"\r\n".to_vec()),
                    Just(b"data: ".to_vec()), Just(b"event:".to_vec()), Just(b"id:".to_vec()),
                    Just(b"\xEF\xBB\xBF".to_vec()), Just("你".as_bytes().to_vec()),
                ],
                0..60,
            ),
            step in 1usize..9,
        ) {
            let stream = stream.concat();
            assert_eq!(read(stream.chunks(step)), read([stream.as_slice()]));
        }

        #[test]
        fn the_fast_scan_finds_what_the_plain_one_finds(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0x8A), Just(0x8D), Just(9), Just(11), Just(b'\r')], 0..40),
        ) {
            let plain = bytes.iter().position(|byte| *byte == b'\r' || *byte == b'\n');
            assert_eq!(line_end(&bytes), plain);
        }
    }
}
