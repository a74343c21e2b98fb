//! The form of an upload: fields are read, the file is judged and cut into segments, one of which is in memory. Who
//! stores the segments hashes them on the way.

use super::content_type::{SNIFF_BYTES, clean_filename, judge};
use super::cutter::Cutter;
use super::manifest::Purpose;
use super::multipart::{Event, MultipartFault, Parser, PartHead, boundary};
use super::said::{Said, said};
use super::scan::Claim;
use crate::base::digest::{Bytes32, hex, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::json::{Limits, parse_object};
use crate::base::time::Millis;

/// Most bytes of a form beside the file's content: 64 KiB = 64 × 1024, where a browser needs about one.
pub const FORM_OVERHEAD_BYTES: u64 = 65_536;

/// Longest value of a field in bytes: 4 KiB = 4 × 1024, of which 32 ids, 16 tags and two names take three.
const MAX_FIELD_BYTES: usize = 4_096;

/// What `details` may say.
const DETAILS: [&str; 5] = ["tags", "derived_from", "tool", "model", "keep_until"];

/// Shortest and longest lifetime that may be asked for, in seconds: one hour and 30 days (OpenAI's bounds).
const LIFETIME_SECONDS: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

/// What a form may be.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Most bytes of the file.
    pub max_bytes: u64,
    /// Where the file is cut, in bytes.
    pub segment_bytes: u64,
    /// Accepted types; `text/*` accepts a family.
    pub types: Vec<String>,
    /// The purpose when none is given; `None` when the caller must give one.
    pub default_purpose: Option<Purpose>,
}

/// What the form said, once it is complete and every segment was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Cleaned.
    pub filename: String,
    /// What it is served as.
    pub content_type: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file, 64 hex digits.
    pub sha256: String,
    /// Lengths of the segments, in order.
    pub segments: Vec<u64>,
    /// How long the caller wants it kept at most.
    pub lifetime: Option<Millis>,
    /// What else is said of it.
    pub said: Said,
}

impl Upload {
    /// A digest of everything that makes the document what it is: 64 hex digits. It does not depend on how the form was
    /// written, since clients draw a new boundary for each attempt.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let said = serde_json::json!([
            self.purpose,
            self.filename,
            self.content_type,
            self.bytes,
            self.sha256,
            self.lifetime,
        ]);
        if self.said != Said::default() {
            let said = serde_json::json!([said, self.said]);
            return hex(&sha256(said.to_string().as_bytes()));
        }
        hex(&sha256(said.to_string().as_bytes()))
    }
}

/// Reads one upload.
pub struct Form {
    parser: Parser,
    reader: Reader,
    /// Bytes of the body so far.
    total: u64,
}

impl Form {
    /// Begins with the request's content type.
    ///
    /// # Errors
    /// `unsupported_media_type` when it is not a form with files; `invalid_parameter` when its boundary is missing or
    /// malformed.
    pub fn new(content_type: Option<&str>, rules: Rules) -> Result<Self, Refusal> {
        let boundary = boundary(content_type.unwrap_or_default()).map_err(malformed)?;
        Ok(Self {
            parser: Parser::new(&boundary),
            reader: Reader::new(rules),
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
            let event = self
                .parser
                .next(input, self.reader.room())
                .map_err(malformed)?;
            let used = u64::try_from(before.saturating_sub(input.len())).unwrap_or(u64::MAX);
            self.total = self.total.saturating_add(used);
            if self.total
                > self
                    .reader
                    .rules
                    .max_bytes
                    .saturating_add(FORM_OVERHEAD_BYTES)
            {
                return Err(too_large(self.reader.rules.max_bytes));
            }
            let segment = match event {
                None => return Ok(None),
                Some(Event::Part(head)) => self.reader.begin(head).map(|()| None)?,
                Some(Event::Data(bytes)) => self.reader.data(bytes)?,
                Some(Event::PartEnd) => self.reader.end()?,
                Some(Event::End) => None,
            };
            if segment.is_some() {
                return Ok(segment);
            }
        }
    }

    /// What the file is said to be, once its first segment is there.
    #[must_use]
    pub fn claim(&self) -> Claim {
        let file = self.reader.file.as_ref();
        Claim {
            content_type: file.and_then(|file| file.declared.clone()),
            filename: file.map(|file| file.filename.clone()).unwrap_or_default(),
        }
    }

    /// The body has ended; `sha256` is that of all segments, one after the other.
    ///
    /// # Errors
    /// `incomplete_body` when it was cut; `missing_parameter` when a field is missing.
    pub fn finish(self, sha256: &Bytes32) -> Result<Upload, Refusal> {
        self.parser.finish().map_err(malformed)?;
        self.reader.finish(sha256)
    }
}

/// The body is larger than a document may be.
#[must_use]
pub fn too_large(max_bytes: u64) -> Refusal {
    Refusal::new(Code::PayloadTooLarge).detail(format!("A document may have {max_bytes} bytes."))
}

/// A body that is not a form, as the caller sees it.
#[must_use]
pub fn malformed(fault: MultipartFault) -> Refusal {
    match fault {
        MultipartFault::NotFormData => Refusal::new(Code::UnsupportedMediaType)
            .detail("Send the document as multipart/form-data."),
        MultipartFault::Incomplete => Refusal::new(Code::IncompleteBody),
        MultipartFault::Encoding => {
            Refusal::new(Code::InvalidEncoding).detail(format!("The form is malformed: {fault}."))
        }
        _ => {
            Refusal::new(Code::InvalidParameter).detail(format!("The form is malformed: {fault}."))
        }
    }
}

/// The part that is being read.
enum Current {
    Nothing,
    /// Read and thrown away: fields that mean nothing here.
    Ignored,
    Field {
        name: Field,
        value: Vec<u8>,
    },
    File,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Purpose,
    Anchor,
    Seconds,
    /// Ours: a JSON object.
    Details,
}

impl Field {
    const ALL: [Self; 4] = [Self::Purpose, Self::Anchor, Self::Seconds, Self::Details];

    const fn name(self) -> &'static str {
        match self {
            Self::Purpose => "purpose",
            Self::Anchor => "expires_after[anchor]",
            Self::Seconds => "expires_after[seconds]",
            Self::Details => "details",
        }
    }
}

struct Reader {
    rules: Rules,
    current: Current,
    purpose: Option<Purpose>,
    anchor: bool,
    lifetime: Option<Millis>,
    said: Option<Said>,
    file: Option<File>,
}

impl Reader {
    const fn new(rules: Rules) -> Self {
        Self {
            rules,
            current: Current::Nothing,
            purpose: None,
            anchor: false,
            lifetime: None,
            said: None,
            file: None,
        }
    }

    /// How many bytes may come at once.
    fn room(&self) -> usize {
        match (&self.current, &self.file) {
            (Current::File, Some(file)) => file.cutter.room(),
            _ => usize::MAX,
        }
    }

    fn begin(&mut self, head: PartHead) -> Result<(), Refusal> {
        self.current = if head.name == "file" {
            if self.file.is_some() {
                return Err(invalid("file", "Send one file in a form."));
            }
            self.file = Some(File::new(head, self.rules.segment_bytes));
            Current::File
        } else if let Some(name) = Field::ALL
            .into_iter()
            .find(|field| field.name() == head.name)
        {
            let given_before = match name {
                Field::Purpose => self.purpose.is_some(),
                Field::Anchor => self.anchor,
                Field::Seconds => self.lifetime.is_some(),
                Field::Details => self.said.is_some(),
            };
            if given_before {
                return Err(invalid(name.name(), "Send this field once."));
            }
            Current::Field {
                name,
                value: Vec::new(),
            }
        } else {
            Current::Ignored
        };
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        match (&mut self.current, &mut self.file) {
            (Current::Field { name, value }, _) => {
                if value.len().saturating_add(bytes.len()) > MAX_FIELD_BYTES {
                    return Err(invalid(name.name(), "The value is too long."));
                }
                value.extend_from_slice(bytes);
                Ok(None)
            }
            (Current::File, Some(file)) => file.data(bytes, &self.rules),
            _ => Ok(None),
        }
    }

    fn end(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        match (
            std::mem::replace(&mut self.current, Current::Nothing),
            &mut self.file,
        ) {
            (Current::Field { name, value }, _) => self.field(name, &value).map(|()| None),
            (Current::File, Some(file)) => file.end(&self.rules),
            _ => Ok(None),
        }
    }

    fn field(&mut self, name: Field, value: &[u8]) -> Result<(), Refusal> {
        let text = str::from_utf8(value)
            .map_err(|_| Refusal::new(Code::InvalidEncoding).param(name.name()))?;
        match name {
            Field::Purpose => {
                self.purpose = Some(purpose(text)?);
            }
            Field::Anchor if text == "created_at" => self.anchor = true,
            Field::Anchor => return Err(invalid(name.name(), "Only created_at is an anchor.")),
            Field::Seconds => {
                self.lifetime = Some(lifetime(text.parse().ok(), name.name())?);
            }
            Field::Details => {
                let fields = parse_object(text.as_bytes(), Limits::default());
                let fields = fields.map_err(|_| invalid(name.name(), "Use a JSON object."))?;
                self.said = Some(said(&fields, &DETAILS)?);
            }
        }
        Ok(())
    }

    fn finish(self, sha256: &Bytes32) -> Result<Upload, Refusal> {
        let missing = |param: &str| Refusal::new(Code::MissingParameter).param(param);
        let purpose = self
            .purpose
            .or(self.rules.default_purpose)
            .ok_or_else(|| missing("purpose"))?;
        match (self.anchor, self.lifetime) {
            (true, None) => return Err(missing(Field::Seconds.name())),
            (false, Some(_)) => return Err(missing(Field::Anchor.name())),
            _ => {}
        }
        let file = self.file.ok_or_else(|| missing("file"))?;
        let cut = file.cutter.finish();
        Ok(Upload {
            filename: file.filename,
            content_type: file.served.unwrap_or("application/octet-stream").to_owned(),
            purpose,
            bytes: cut.bytes,
            sha256: hex(sha256),
            segments: cut.segments,
            lifetime: self.lifetime,
            said: self.said.unwrap_or_default(),
        })
    }
}

/// The purpose of that name.
///
/// # Errors
/// `invalid_parameter`, with the words there are.
pub fn purpose(name: &str) -> Result<Purpose, Refusal> {
    let words = || Purpose::ALL.map(Purpose::as_str).join(", ");
    let purpose = Purpose::from_name(name);
    purpose.ok_or_else(|| invalid("purpose", format!("Use one of {}.", words())))
}

/// How long a document is to be kept at most; `param` is what the caller named it.
///
/// # Errors
/// `invalid_parameter`, with the bounds.
pub fn lifetime(seconds: Option<u64>, param: &str) -> Result<Millis, Refusal> {
    let (least, most) = (LIFETIME_SECONDS.start(), LIFETIME_SECONDS.end());
    let seconds = seconds.filter(|seconds| LIFETIME_SECONDS.contains(seconds));
    let seconds = seconds.map(Millis::from_secs);
    seconds.ok_or_else(|| invalid(param, format!("Use a number from {least} to {most}.")))
}

pub(super) fn invalid(param: &str, detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidParameter)
        .param(param)
        .detail(detail)
}

/// The file on its way through.
struct File {
    filename: String,
    declared: Option<String>,
    /// What it is served as, once it was judged.
    served: Option<&'static str>,
    cutter: Cutter,
}

impl File {
    fn new(head: PartHead, segment_bytes: u64) -> Self {
        Self {
            filename: clean_filename(&head.filename.unwrap_or_default()),
            declared: head.content_type,
            served: None,
            cutter: Cutter::new(segment_bytes),
        }
    }

    fn data(&mut self, bytes: &[u8], rules: &Rules) -> Result<Option<Vec<u8>>, Refusal> {
        self.cutter.push(bytes);
        if self.cutter.bytes() > rules.max_bytes {
            return Err(too_large(rules.max_bytes));
        }
        if self.cutter.filling().len() >= SNIFF_BYTES || self.cutter.room() == 0 {
            self.judge(rules)?;
        }
        Ok(self.cutter.full())
    }

    fn end(&mut self, rules: &Rules) -> Result<Option<Vec<u8>>, Refusal> {
        if self.cutter.bytes() == 0 {
            return Err(invalid("file", "The file is empty."));
        }
        self.judge(rules)?;
        Ok(self.cutter.rest())
    }

    /// Judges the file by its beginning, once.
    fn judge(&mut self, rules: &Rules) -> Result<(), Refusal> {
        if self.served.is_none() {
            let filling = self.cutter.filling();
            let head = filling.get(..SNIFF_BYTES).unwrap_or(filling);
            let served = accepted(head, self.declared.as_deref(), &self.filename, &rules.types);
            self.served = Some(served?);
        }
        Ok(())
    }
}

/// What a file that begins so is served as.
///
/// # Errors
/// `document_type_refused`
pub fn accepted(
    head: &[u8],
    declared: Option<&str>,
    filename: &str,
    types: &[String],
) -> Result<&'static str, Refusal> {
    let judged = judge(head, declared, filename, types).map_err(|found| {
        let accepted = types.join(", ");
        Refusal::new(Code::DocumentTypeRefused)
            .param("file")
            .detail(format!("The file is {found}; accepted are {accepted}."))
    })?;
    Ok(judged.served)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, proptest};

    use super::{FORM_OVERHEAD_BYTES, Form, Rules, Upload};
    use crate::base::digest::{hex, sha256};
    use crate::base::errors::{Code, Refusal};
    use crate::base::time::Millis;
    use crate::domain::documents::manifest::Purpose;

    const TYPE: &str = "multipart/form-data; boundary=B";

    fn rules() -> Rules {
        Rules {
            max_bytes: 100,
            segment_bytes: 8,
            types: vec!["text/*".into()],
            default_purpose: None,
        }
    }

    fn part(disposition: &str, content: &[u8]) -> Vec<u8> {
        let head = format!("--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    }

    fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let parts: Vec<u8> = parts
            .iter()
            .flat_map(|(disposition, content)| part(disposition, content))
            .collect();
        [&parts[..], b"--B--\r\n"].concat()
    }

    const FILE: &str = "name=file; filename=\"a.txt\"";
    const PURPOSE: (&str, &[u8]) = ("name=purpose", b"user_data");

    fn read(body: &[u8], step: usize, rules: Rules) -> Result<(Upload, Vec<Vec<u8>>), Refusal> {
        let mut form = Form::new(Some(TYPE), rules)?;
        let mut segments = Vec::new();
        for mut piece in body.chunks(step) {
            while let Some(segment) = form.push(&mut piece)? {
                segments.push(segment);
            }
            assert!(piece.is_empty());
        }
        let sha256 = sha256(&segments.concat());
        form.finish(&sha256).map(|upload| (upload, segments))
    }

    fn refused(parts: &[(&str, &[u8])]) -> (Code, Option<String>) {
        let refusal = read(&form(parts), 7, rules()).unwrap_err();
        (refusal.code, refusal.param)
    }

    #[test]
    fn a_file_is_cut_hashed_and_named() {
        let content = b"0123456789abcdef01";
        let (upload, segments) = read(&form(&[PURPOSE, (FILE, content)]), 5, rules()).unwrap();
        assert_eq!(
            segments,
            [b"01234567".to_vec(), b"89abcdef".to_vec(), b"01".to_vec()]
        );
        let expected = Upload {
            filename: "a.txt".into(),
            content_type: "text/plain; charset=utf-8".into(),
            purpose: Purpose::UserData,
            bytes: 18,
            sha256: hex(&sha256(content)),
            segments: vec![8, 8, 2],
            lifetime: None,
            said: super::Said::default(),
        };
        assert_eq!(upload, expected);
    }

    #[test]
    fn a_file_of_whole_segments_has_no_empty_one_at_the_end() {
        let (upload, segments) =
            read(&form(&[PURPOSE, (FILE, b"0123456789abcdef")]), 100, rules()).unwrap();
        assert_eq!((upload.segments.len(), segments.len()), (2, 2));
    }

    #[test]
    fn fields_may_come_after_the_file_and_unknown_ones_are_ignored() {
        let (upload, _) = read(
            &form(&[
                ("name=other", &b"x".repeat(2000)),
                (FILE, b"hi"),
                ("name=purpose", b"fine-tune"),
                ("name=\"expires_after[anchor]\"", b"created_at"),
                ("name=\"expires_after[seconds]\"", b"3600"),
            ]),
            11,
            rules(),
        )
        .unwrap();
        assert_eq!(
            (upload.purpose, upload.lifetime),
            (Purpose::FineTune, Some(Millis(3_600_000)))
        );
    }

    #[test]
    fn a_fingerprint_tells_what_was_said_and_not_how() {
        let anchor = ("name=\"expires_after[anchor]\"", &b"created_at"[..]);
        let seconds = ("name=\"expires_after[seconds]\"", &b"3600"[..]);
        let print = |parts: &[(&str, &[u8])], step| {
            read(&form(parts), step, rules()).unwrap().0.fingerprint()
        };
        let known = print(&[PURPOSE, (FILE, b"hi")], 9);
        // Pinned: a change here turns every repetition of an upload into a conflict for as long as keys are kept.
        assert_eq!(
            known,
            "919362254ee3822104218b7945b1c502eb65c8ff3de1d46008be0efbb1c557b6"
        );
        let other = ("name=other", &b"x"[..]);
        assert_eq!(print(&[(FILE, b"hi"), other, PURPOSE], 2), known);
        let segmented = Rules {
            segment_bytes: 1,
            ..rules()
        };
        let (upload, _) = read(&form(&[PURPOSE, (FILE, b"hi")]), 9, segmented).unwrap();
        assert_eq!(upload.fingerprint(), known);
        let others = [
            print(&[PURPOSE, (FILE, b"ho")], 9),
            print(&[("name=purpose", b"batch"), (FILE, b"hi")], 9),
            print(&[PURPOSE, ("name=file; filename=b.txt", b"hi")], 9),
            print(&[PURPOSE, ("name=file; filename=a.md", b"hi")], 9),
            print(&[PURPOSE, (FILE, b"hi"), anchor, seconds], 9),
        ];
        let different: std::collections::BTreeSet<&String> =
            others.iter().chain([&known]).collect();
        assert_eq!(different.len(), 6);
    }

    #[test]
    fn a_dialect_without_purposes_needs_none() {
        let rules = Rules {
            default_purpose: Some(Purpose::UserData),
            ..rules()
        };
        assert_eq!(
            read(&form(&[(FILE, b"hi")]), 9, rules).unwrap().0.purpose,
            Purpose::UserData
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let named = |code, param: &str| (code, Some(param.to_owned()));
        let file = (FILE, &b"hi"[..]);
        assert_eq!(refused(&[file]), named(Code::MissingParameter, "purpose"));
        assert_eq!(refused(&[PURPOSE]), named(Code::MissingParameter, "file"));
        assert_eq!(
            refused(&[PURPOSE, (FILE, b"")]),
            named(Code::InvalidParameter, "file")
        );
        assert_eq!(
            refused(&[PURPOSE, file, file]),
            named(Code::InvalidParameter, "file")
        );
        assert_eq!(
            refused(&[PURPOSE, PURPOSE, file]),
            named(Code::InvalidParameter, "purpose")
        );
        assert_eq!(
            refused(&[("name=purpose", b"fun"), file]),
            named(Code::InvalidParameter, "purpose")
        );
        assert_eq!(
            refused(&[("name=purpose", b"\xff"), file]),
            named(Code::InvalidEncoding, "purpose")
        );
        assert_eq!(
            refused(&[("name=purpose", &[b'x'; 1025]), file]),
            named(Code::InvalidParameter, "purpose")
        );
        assert_eq!(
            refused(&[PURPOSE, (FILE, b"a\0b")]),
            named(Code::DocumentTypeRefused, "file")
        );
        let anchor = ("name=\"expires_after[anchor]\"", &b"created_at"[..]);
        let seconds = "name=\"expires_after[seconds]\"";
        assert_eq!(
            refused(&[PURPOSE, file, anchor]),
            named(Code::MissingParameter, "expires_after[seconds]")
        );
        assert_eq!(
            refused(&[PURPOSE, file, (seconds, b"3600")]),
            named(Code::MissingParameter, "expires_after[anchor]")
        );
        for bad in [&b""[..], b"3599", b"2592001", b"1e4", b"-5"] {
            let refusal = refused(&[PURPOSE, file, anchor, (seconds, bad)]);
            assert_eq!(
                refusal,
                named(Code::InvalidParameter, "expires_after[seconds]")
            );
        }
    }

    #[test]
    fn too_much_is_refused_while_it_comes() {
        assert!(read(&form(&[PURPOSE, (FILE, &[b'x'; 100])]), 9, rules()).is_ok());
        assert_eq!(
            refused(&[PURPOSE, (FILE, &[b'x'; 101])]).0,
            Code::PayloadTooLarge
        );
        let beside = usize::try_from(FORM_OVERHEAD_BYTES).unwrap() + 100;
        assert_eq!(
            refused(&[PURPOSE, ("name=other", &vec![b'x'; beside])]).0,
            Code::PayloadTooLarge
        );
        let epilogue = [form(&[PURPOSE, (FILE, b"hi")]), vec![b'x'; beside]].concat();
        assert_eq!(
            read(&epilogue, 4096, rules()).unwrap_err().code,
            Code::PayloadTooLarge
        );
    }

    #[test]
    fn a_refused_type_is_known_before_a_segment_is_stored() {
        let rules = Rules {
            max_bytes: 10_000,
            segment_bytes: 4096,
            ..rules()
        };
        let body = form(&[PURPOSE, (FILE, &[0; 9000])]);
        let mut form = Form::new(Some(TYPE), rules).unwrap();
        let refusal = form.push(&mut &body[..1700]).unwrap_err();
        assert_eq!(refusal.code, Code::DocumentTypeRefused);
    }

    #[test]
    fn a_cut_body_is_incomplete_and_another_type_is_unsupported() {
        let body = form(&[PURPOSE, (FILE, b"hi")]);
        for length in 0..body.len() - 2 {
            assert_eq!(
                read(&body[..length], 64, rules()).unwrap_err().code,
                Code::IncompleteBody,
                "{length}"
            );
        }
        for content_type in [None, Some("application/json")] {
            let refusal = Form::new(content_type, rules()).err().unwrap();
            assert_eq!(refusal.code, Code::UnsupportedMediaType);
        }
        let refusal = Form::new(Some("multipart/form-data"), rules())
            .err()
            .unwrap();
        assert_eq!(refusal.code, Code::InvalidParameter);
    }

    #[test]
    fn memory_never_exceeds_one_segment() {
        let rules = Rules {
            max_bytes: 1 << 20,
            segment_bytes: 1 << 17,
            ..rules()
        };
        let body = form(&[PURPOSE, (FILE, &vec![b'x'; 300_000])]);
        let mut form = Form::new(Some(TYPE), rules).unwrap();
        let mut count = 0;
        for mut piece in body.chunks(1000) {
            loop {
                let held = form
                    .reader
                    .file
                    .as_ref()
                    .map_or(0, |file| file.cutter.capacity());
                assert!(held <= 1 << 17, "{held}");
                if form.push(&mut piece).unwrap().is_none() {
                    break;
                }
                count += 1;
            }
        }
        assert_eq!(count, 3);
    }

    proptest! {
        #[test]
        fn segments_together_are_the_file(
            content in proptest::collection::vec(any::<u8>().prop_map(|b| b % 64 + 32), 1..90),
            step in 1usize..50,
            segment_bytes in 1u64..20,
        ) {
            let (upload, segments) =
                read(&form(&[(FILE, &content), PURPOSE]), step, Rules { segment_bytes, ..rules() }).unwrap();
            assert_eq!(segments.concat(), content);
            let lengths: Vec<u64> = segments.iter().map(|segment| segment.len() as u64).collect();
            assert_eq!(upload.segments, lengths);
            assert_eq!(upload.sha256, hex(&sha256(&content)));
        }
    }
}
