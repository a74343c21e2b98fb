//! What a document is by its first bytes, held against what it was declared as.

use super::archives::Tar;
use super::images::{Image, heif};
use super::policy::Policy;
use super::records::{Note, Records};
use super::report::{Place, Rule};
use crate::domain::documents::content_type::{self, SNIFF_BYTES, Sniffed, sniff};

/// Bytes from the start that are kept until the format is known: a tar header is 512 bytes long, the first box of an
/// AVIF image mostly under 1 KiB.
pub(super) const HEAD_BYTES: usize = 4_096;

/// What the uploader said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The declared content type.
    pub content_type: Option<String>,
    /// The name.
    pub filename: String,
}

/// What is known of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub sniffed: Sniffed,
    /// An image or a PDF: something that has a beginning of its own, and no markup in it.
    pub inert: bool,
    pub pdf: bool,
    pub image: bool,
    /// An older office document (OLE compound file).
    pub compound: bool,
    /// UTF-16, and whether it is big-endian.
    pub wide: Option<bool>,
}

impl Known {
    pub(super) fn of(head: &[u8]) -> Self {
        let sniffed = sniff(head.get(..head.len().min(SNIFF_BYTES)).unwrap_or_default());
        // Readers look for a PDF's header in the first 1,024 bytes.
        let near = head.get(..head.len().min(1_024)).unwrap_or_default();
        let pdf = near.windows(5).any(|window| window == b"%PDF-");
        let image = matches!(sniffed, Sniffed::Known(known) if known.starts_with("image/"))
            || super::images::is_bmp(head)
            || head.starts_with(b"II*\0")
            || head.starts_with(b"MM\0*")
            || head.get(4..8) == Some(b"ftyp");
        Self {
            sniffed,
            inert: image || matches!(sniffed, Sniffed::Known(_)),
            pdf,
            image,
            compound: head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            wide: (sniffed == Sniffed::WideText).then(|| head.starts_with(b"\xfe\xff")),
        }
    }

    /// Is it text, so that lines count?
    pub(super) const fn is_text(&self) -> bool {
        matches!(
            self.sniffed,
            Sniffed::Text | Sniffed::WideText | Sniffed::Html | Sniffed::Svg | Sniffed::Xml
        )
    }

    pub(super) const fn is_markup(&self) -> bool {
        matches!(self.sniffed, Sniffed::Html | Sniffed::Svg | Sniffed::Xml)
    }
}

/// A format that is read record by record.
pub(super) enum Walk {
    Image(Records<Image>),
    Tar(Records<Tar>),
    Gzip(super::gzip::Gzip),
    /// None that is.
    Nothing,
}

impl Walk {
    pub(super) fn of(head: &[u8], policy: &Policy) -> Self {
        let limits = policy.limits;
        if let Some(image) = Image::recognise(head, limits) {
            Self::Image(Records::new(image))
        } else if let Some(tar) = Tar::recognise(head, limits) {
            Self::Tar(Records::new(tar))
        } else if head.starts_with(b"\x1f\x8b\x08") {
            Self::Gzip(super::gzip::Gzip::new(limits))
        } else {
            Self::Nothing
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], notes: &mut Vec<Note>) {
        match self {
            Self::Image(records) => records.push(bytes, notes),
            Self::Tar(records) => records.push(bytes, notes),
            Self::Gzip(gzip) => gzip.push(bytes, notes),
            Self::Nothing => {}
        }
    }

    pub(super) fn finish(&mut self, notes: &mut Vec<Note>) {
        match self {
            Self::Image(records) => records.finish(notes),
            Self::Tar(records) => records.finish(notes),
            Self::Gzip(gzip) => gzip.finish(notes),
            Self::Nothing => {}
        }
    }
}

/// What the first bytes tell: the type, and contradictions to the claim.
pub(super) fn judge(
    head: &[u8],
    known: &Known,
    claim: &Claim,
    policy: &Policy,
    notes: &mut Vec<Note>,
) {
    let mut note = |rule, excerpt: String| {
        notes.push(Note {
            rule,
            place: Place::default(),
            excerpt,
        });
    };
    let claimed = claim.content_type.as_deref().unwrap_or_default();
    let claimed = claimed
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if !policy.accepted.is_empty()
        && let Err(found) = content_type::judge(
            head.get(..head.len().min(SNIFF_BYTES)).unwrap_or_default(),
            Some(&claimed),
            &claim.filename,
            &policy.accepted,
        )
    {
        note(Rule::TypeRefused, found);
    }
    let claimed = if claimed.is_empty() || claimed == "application/octet-stream" {
        by_ending(&claim.filename).to_owned()
    } else {
        claimed
    };
    // What nobody expects to run.
    let inert_claim = claimed.starts_with("image/") && claimed != "image/svg+xml"
        || claimed.starts_with("audio/")
        || claimed.starts_with("video/")
        || claimed.starts_with("application/vnd.")
        || matches!(
            claimed.as_str(),
            "application/pdf" | "application/zip" | "application/msword"
        );
    let found = match known.sniffed {
        Sniffed::Known(found) => Some(found),
        Sniffed::Html => Some("text/html"),
        Sniffed::Svg => Some("image/svg+xml"),
        Sniffed::Xml => Some("text/xml"),
        _ => None,
    };
    match found {
        Some(found) if known.is_markup() && inert_claim => {
            note(Rule::HiddenMarkup, format!("{found} as {claimed}"));
        }
        Some(found)
            if !claimed.is_empty()
                && !known.is_markup()
                && found != claimed
                && (inert_claim || claimed.starts_with("text/")) =>
        {
            note(Rule::TypeMismatch, format!("{found} as {claimed}"));
        }
        None if matches!(
            claimed.as_str(),
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "application/pdf"
        ) =>
        {
            note(Rule::TypeMismatch, format!("something else as {claimed}"));
        }
        _ => {}
    }
    if let Some(program) = program(head) {
        note(Rule::Executable, program.to_owned());
    }
    // `GIF89a/*…*/=1;…` and its like: what a format ignores a script goes on with.
    let script = head.starts_with(b"GIF8")
        && matches!(head.get(6..8), Some([b'/', b'*' | b'/'] | [b'=', _]))
        || head.starts_with(b"\xff\xd8\xff") && head.get(4..6) == Some(b"/*")
        || head.starts_with(b"BM/*")
        || head.starts_with(b"BM=");
    if script {
        note(
            Rule::ScriptPolyglot,
            "an image that reads as a script".to_owned(),
        );
    }
    if known.pdf && !head.starts_with(b"%PDF-") {
        let rule = if known.is_markup() {
            Rule::HiddenMarkup
        } else {
            Rule::Polyglot
        };
        note(rule, "a PDF that begins as something else".to_owned());
    }
    if known.image
        && let Some(found) = heif(head, policy.limits)
    {
        notes.push(found);
    }
}

/// Programs, by their first bytes.
fn program(head: &[u8]) -> Option<&'static str> {
    let portable = || {
        let at = usize::try_from(super::bytes::le32(head, 60)?).ok()?;
        head.get(at..)?.starts_with(b"PE\0\0").then_some(())
    };
    if head.starts_with(b"\x7fELF") {
        Some("ELF program")
    } else if head.starts_with(b"MZ") && portable().is_some() {
        Some("Windows program")
    } else if [
        &b"\xcf\xfa\xed\xfe"[..],
        b"\xce\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe\0\0\0",
    ]
    .iter()
    .any(|magic| head.starts_with(magic))
    {
        Some("macOS program or Java class")
    } else if head.starts_with(b"\0asm\x01\0\0\0") {
        Some("WebAssembly module")
    } else {
        None
    }
}

fn by_ending(filename: &str) -> &'static str {
    let ending = filename
        .rsplit_once('.')
        .map_or("", |(_, ending)| ending)
        .to_ascii_lowercase();
    match ending.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "docx" | "xlsx" | "pptx" => "application/vnd.openxmlformats",
        _ => "",
    }
}
