//! The form of one part of an upload: its content in the field `data`, and perhaps its number.

use super::cutter::{Cut, Cutter};
use super::form::{FORM_OVERHEAD_BYTES, invalid, malformed};
use super::multipart::{Event, Parser, boundary};
use crate::base::errors::{Code, Refusal};

/// Longest part in bytes: 64 MiB = 64 × 1024 × 1024, the most that OpenAI's clients send.
pub const MAX_PART_BYTES: u64 = 67_108_864;

/// Highest number of a part.
const MAX_NUMBER: u32 = 1_000_000;

/// Longest text of a number.
const MAX_DIGITS: usize = 7;

/// What the form said, once every segment was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The content.
    pub cut: Cut,
    /// Its place among the other parts.
    pub number: Option<u32>,
}

enum Current {
    Ignored,
    Data,
    Number(Vec<u8>),
}

/// Reads one part.
pub struct PartForm {
    parser: Parser,
    current: Current,
    cutter: Cutter,
    has_data: bool,
    number: Option<u32>,
    max_bytes: u64,
    /// Bytes of the body so far.
    total: u64,
}

impl PartForm {
    /// Begins with the request's content type. `max_bytes` is the most that the content may have.
    ///
    /// # Errors
    /// `unsupported_media_type` when it is not a form with files; `invalid_parameter` when its boundary is missing or
    /// malformed.
    pub fn new(
        content_type: Option<&str>,
        max_bytes: u64,
        segment_bytes: u64,
    ) -> Result<Self, Refusal> {
        let boundary = boundary(content_type.unwrap_or_default()).map_err(malformed)?;
        Ok(Self {
            parser: Parser::new(&boundary),
            current: Current::Ignored,
            cutter: Cutter::new(segment_bytes),
            has_data: false,
            number: None,
            max_bytes,
            total: 0,
        })
    }

    /// Reads on. `Some` is a segment to be stored before this is called again with what is left of `input`; `None`
    /// means that `input` is used up.
    ///
    /// # Errors
    /// Whatever is wrong with the form; it cannot be read on after that.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        loop {
            let before = input.len();
            let room = match self.current {
                Current::Data => self.cutter.room(),
                _ => usize::MAX,
            };
            let event = self.parser.next(input, room).map_err(malformed)?;
            let used = u64::try_from(before.saturating_sub(input.len())).unwrap_or(u64::MAX);
            self.total = self.total.saturating_add(used);
            if self.total > self.max_bytes.saturating_add(FORM_OVERHEAD_BYTES) {
                return Err(too_long(self.max_bytes));
            }
            match event {
                None => return Ok(None),
                Some(Event::Part(head)) => {
                    self.current = match head.name.as_str() {
                        "data" if self.has_data => {
                            return Err(invalid("data", "Send one part in a form."));
                        }
                        "data" => {
                            self.has_data = true;
                            Current::Data
                        }
                        "part_number" if self.number.is_some() => {
                            return Err(invalid("part_number", "Send this field once."));
                        }
                        "part_number" => Current::Number(Vec::new()),
                        _ => Current::Ignored,
                    };
                }
                Some(Event::Data(bytes)) => match &mut self.current {
                    Current::Ignored => {}
                    Current::Data => {
                        self.cutter.push(bytes);
                        if self.cutter.bytes() > self.max_bytes {
                            return Err(too_long(self.max_bytes));
                        }
                        if let Some(segment) = self.cutter.full() {
                            return Ok(Some(segment));
                        }
                    }
                    Current::Number(digits) => {
                        digits.extend_from_slice(bytes);
                        if digits.len() > MAX_DIGITS {
                            return Err(not_a_number());
                        }
                    }
                },
                Some(Event::PartEnd) => {
                    let ended = core::mem::replace(&mut self.current, Current::Ignored);
                    match ended {
                        Current::Ignored => {}
                        Current::Data if self.cutter.bytes() == 0 => {
                            return Err(invalid("data", "The part is empty."));
                        }
                        Current::Data => {
                            if let Some(segment) = self.cutter.rest() {
                                return Ok(Some(segment));
                            }
                        }
                        Current::Number(digits) => self.number = Some(number(&digits)?),
                    }
                }
                Some(Event::End) => {}
            }
        }
    }

    /// The body has ended.
    ///
    /// # Errors
    /// `incomplete_body` when it was cut; `missing_parameter` without `data`.
    pub fn finish(self) -> Result<Arrived, Refusal> {
        self.parser.finish().map_err(malformed)?;
        if !self.has_data {
            return Err(Refusal::new(Code::MissingParameter).param("data"));
        }
        Ok(Arrived {
            cut: self.cutter.finish(),
            number: self.number,
        })
    }
}

fn number(digits: &[u8]) -> Result<u32, Refusal> {
    let text = str::from_utf8(digits).ok();
    let number = text.and_then(|text| text.parse().ok());
    number
        .filter(|number| (1..=MAX_NUMBER).contains(number))
        .ok_or_else(not_a_number)
}

fn not_a_number() -> Refusal {
    invalid(
        "part_number",
        format!("Use a number from 1 to {MAX_NUMBER}."),
    )
}

fn too_long(max_bytes: u64) -> Refusal {
    Refusal::new(Code::PayloadTooLarge)
        .param("data")
        .detail(format!("A part of this upload may have {max_bytes} bytes."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Arrived, PartForm};
    use crate::base::errors::{Code, Refusal};

    const TYPE: &str = "multipart/form-data; boundary=b";

    fn field(name: &str, content: &[u8]) -> Vec<u8> {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    }

    fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
        let fields: Vec<Vec<u8>> = fields
            .iter()
            .map(|(name, content)| field(name, content))
            .collect();
        [fields.concat(), b"--b--\r\n".to_vec()].concat()
    }

    /// Reads a body in pieces of `size` bytes; gives what was said and the segments.
    fn read(body: &[u8], size: usize, max: u64) -> Result<(Arrived, Vec<Vec<u8>>), Refusal> {
        let mut form = PartForm::new(Some(TYPE), max, 8)?;
        let mut segments = Vec::new();
        for mut piece in body.chunks(size) {
            while let Some(segment) = form.push(&mut piece)? {
                segments.push(segment);
            }
        }
        form.finish().map(|arrived| (arrived, segments))
    }

    fn code(body: &[u8]) -> Code {
        read(body, 7, 100).map(drop).unwrap_err().code
    }

    proptest! {
        #[test]
        fn segments_together_are_the_part(content in proptest::collection::vec(any::<u8>(), 1..60), size in 1usize..40) {
            let body = form(&[("part_number", b"12"), ("data", &content), ("other", b"x")]);
            let (arrived, segments) = read(&body, size, 60).unwrap();
            assert_eq!(segments.concat(), content);
            assert_eq!(arrived.number, Some(12));
            let lengths: Vec<u64> = segments.iter().map(|segment| segment.len() as u64).collect();
            assert_eq!((arrived.cut.segments, arrived.cut.bytes), (lengths, content.len() as u64));
        }
    }

    #[test]
    fn a_form_that_is_not_one_part_is_refused() {
        assert_eq!(code(&form(&[("file", b"x")])), Code::MissingParameter);
        assert_eq!(code(&form(&[("data", b"")])), Code::InvalidParameter);
        assert_eq!(
            code(&form(&[("data", b"x"), ("data", b"y")])),
            Code::InvalidParameter
        );
        for number in ["", "0", "-1", "1.5", "x", "1000001", "99999999999"] {
            let body = form(&[("part_number", number.as_bytes()), ("data", b"x")]);
            assert_eq!(code(&body), Code::InvalidParameter, "{number}");
        }
        let whole = form(&[("data", b"some content")]);
        assert_eq!(code(&whole[..whole.len() - 4]), Code::IncompleteBody);
        assert_eq!(code(&form(&[("data", &[7; 101])])), Code::PayloadTooLarge);
        assert!(read(&form(&[("data", &[7; 100])]), 7, 100).is_ok());
    }
}
