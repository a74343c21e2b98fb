//! What a document is, judged by its bytes; what it is served as; and how its name is written.
//!
//! A document is served from the site's own origin, so a type that a browser would run there (HTML, SVG, XML, scripts)
//! is never sent as such: text is sent as plain text, anything else as a stream of bytes.

/// How many bytes from the start are looked at (WHATWG MIME Sniffing §3).
pub const SNIFF_BYTES: usize = 1445;

/// Longest name of a file in bytes, what common file systems take.
pub const MAX_FILENAME_BYTES: usize = 255;

const OCTETS: &str = "application/octet-stream";
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// What the first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// A format with a signature, by its safe type.
    Known(&'static str),
    /// A ZIP archive, which office formats are too.
    Zip,
    /// Text that is an HTML page.
    Html,
    /// Text that is an SVG image.
    Svg,
    /// Text that is XML of another kind.
    Xml,
    /// UTF-8 text without control characters.
    Text,
    /// UTF-16 text with a byte order mark.
    WideText,
    /// None of these.
    Binary,
}

/// Looks at the first [`SNIFF_BYTES`] of a document, or at all of it when it is shorter.
#[must_use]
pub fn sniff(head: &[u8]) -> Sniffed {
    const SIGNATURES: [(&[u8], &str); 5] = [
        (b"%PDF-", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
    ];
    if let Some((_, known)) = SIGNATURES.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Sniffed::Known(known);
    }
    if head.starts_with(b"RIFF")
        && head
            .get(8..)
            .is_some_and(|rest| rest.starts_with(b"WEBPVP"))
    {
        return Sniffed::Known("image/webp");
    }
    if [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"]
        .iter()
        .any(|magic| head.starts_with(*magic))
    {
        return Sniffed::Zip;
    }
    if head.starts_with(b"\xfe\xff") || head.starts_with(b"\xff\xfe") {
        return Sniffed::WideText;
    }
    text_of(head).map_or(Sniffed::Binary, markup_of)
}

/// The bytes as text; `None` when they are not UTF-8 or hold control characters that text has not (WHATWG MIME
/// Sniffing §3, "binary data byte"). A character that is cut at the end is left out.
fn text_of(head: &[u8]) -> Option<&str> {
    let text = match str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let binary = |b: u8| matches!(b, 0x00..=0x08 | 0x0B | 0x0E..=0x1A | 0x1C..=0x1F | 0x7F);
    (!text.bytes().any(binary)).then_some(text)
}

/// Which markup a text is: what its first tag says, after comments, declarations and blanks.
fn markup_of(text: &str) -> Sniffed {
    const HTML: [&str; 18] = [
        "html", "head", "body", "script", "iframe", "style", "link", "meta", "base", "title",
        "form", "img", "table", "div", "a", "p", "br", "h1",
    ];
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    let mut declared_xml = false;
    while let Some(tag) = rest.strip_prefix('<') {
        let after = if let Some(comment) = tag.strip_prefix("!--") {
            comment.split_once("-->").map(|(_, after)| after)
        } else if let Some(declaration) = tag.strip_prefix('?') {
            declared_xml = true;
            declaration.split_once("?>").map(|(_, after)| after)
        } else if let Some(doctype) = tag.strip_prefix('!') {
            let kind = doctype.get(..7).unwrap_or_default();
            let named = doctype.get(7..).unwrap_or_default().trim_start();
            if kind.eq_ignore_ascii_case("doctype") && word(named).eq_ignore_ascii_case("html") {
                return Sniffed::Html;
            }
            declared_xml = true;
            doctype.split_once('>').map(|(_, after)| after)
        } else {
            let name = word(tag);
            return match name.rsplit(':').next().unwrap_or(name) {
                local if local.eq_ignore_ascii_case("svg") => Sniffed::Svg,
                _ if HTML.iter().any(|html| name.eq_ignore_ascii_case(html)) => Sniffed::Html,
                _ if declared_xml => Sniffed::Xml,
                _ => Sniffed::Text,
            };
        };
        // A comment longer than what is looked at may hide anything.
        let Some(after) = after else {
            return if declared_xml {
                Sniffed::Xml
            } else {
                Sniffed::Html
            };
        };
        rest = after.trim_start();
    }
    if declared_xml {
        Sniffed::Xml
    } else {
        Sniffed::Text
    }
}

/// The name that a tag begins with.
fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_')))
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// A document's type, found and judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What it is, as the allow list names it.
    pub found: String,
    /// What it is served as.
    pub served: &'static str,
}

/// Finds the type of a document and whether the operator accepts it. Its bytes decide; what the caller declares, or
/// else the name's ending, only chooses between kinds that bytes cannot tell apart.
///
/// # Errors
/// The type that is not on the list.
pub fn judge(
    head: &[u8],
    declared: Option<&str>,
    filename: &str,
    allowed: &[String],
) -> Result<Judged, String> {
    let declared = declared.map(essence).filter(|essence| essence != OCTETS);
    let claim = declared
        .or_else(|| by_ending(filename).map(str::to_owned))
        .unwrap_or_default();
    let (found, served) = match sniff(head) {
        Sniffed::Known(known) => (known.to_owned(), known),
        Sniffed::Zip => (opaque_claim(claim, "application/zip"), OCTETS),
        Sniffed::Binary => (opaque_claim(claim, OCTETS), OCTETS),
        Sniffed::WideText => ("text/plain".to_owned(), OCTETS),
        Sniffed::Html => ("text/html".to_owned(), PLAIN_TEXT),
        Sniffed::Svg => ("image/svg+xml".to_owned(), PLAIN_TEXT),
        Sniffed::Xml if claim == "application/xml" => (claim, PLAIN_TEXT),
        Sniffed::Xml => ("text/xml".to_owned(), PLAIN_TEXT),
        Sniffed::Text => textual_claim(claim),
    };
    if allowed.iter().any(|pattern| accepts(pattern, &found)) {
        Ok(Judged { found, served })
    } else {
        Err(found)
    }
}

/// `type/subtype` in lower case, without parameters.
fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Does `text/*` or `text/plain` accept that type?
fn accepts(pattern: &str, found: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(family) => found
            .split_once('/')
            .is_some_and(|(kind, _)| kind == family),
        None => pattern == found,
    }
}

/// A claim about bytes without a signature that we know. What has one, or is text, they are not.
fn opaque_claim(claim: String, otherwise: &str) -> String {
    const KNOWN: [&str; 9] = [
        "application/pdf",
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/svg+xml",
        "application/json",
        "application/jsonl",
        "application/xml",
    ];
    let contradicted =
        claim.is_empty() || claim.starts_with("text/") || KNOWN.contains(&claim.as_str());
    if contradicted {
        otherwise.to_owned()
    } else {
        claim
    }
}

/// A claim about text: kept where it is a kind of text; plain text otherwise.
fn textual_claim(claim: String) -> (String, &'static str) {
    let served = match claim.as_str() {
        "application/json" => "application/json",
        "application/jsonl" | "application/x-ndjson" | "application/x-jsonlines" => {
            return ("application/jsonl".to_owned(), "application/jsonl");
        }
        "text/markdown" => "text/markdown; charset=utf-8",
        "text/csv" => "text/csv; charset=utf-8",
        "application/javascript" | "application/xml" | "image/svg+xml" => PLAIN_TEXT,
        other if other.starts_with("text/") => PLAIN_TEXT,
        _ => return ("text/plain".to_owned(), PLAIN_TEXT),
    };
    (claim, served)
}

fn by_ending(filename: &str) -> Option<&'static str> {
    let (_, ending) = filename.rsplit_once('.')?;
    match ending.to_ascii_lowercase().as_str() {
        "json" => Some("application/json"),
        "jsonl" | "ndjson" => Some("application/jsonl"),
        "md" | "markdown" => Some("text/markdown"),
        "csv" => Some("text/csv"),
        "js" | "mjs" => Some("text/javascript"),
        _ => None,
    }
}

/// A name that is safe to show and to save: the last part of a path, without control characters and without those that
/// reorder or hide text, at most [`MAX_FILENAME_BYTES`] long; a short ending is kept when it is cut.
#[must_use]
pub fn clean_filename(sent: &str) -> String {
    let base = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let cleaned: String = base
        .chars()
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .collect();
    let cleaned = cleaned.trim();
    if cleaned.is_empty() || cleaned.bytes().all(|b| b == b'.') {
        return "untitled".to_owned();
    }
    if cleaned.len() <= MAX_FILENAME_BYTES {
        return cleaned.to_owned();
    }
    let ending = cleaned
        .rfind('.')
        .and_then(|at| cleaned.get(at..))
        .filter(|ending| ending.len() <= 16)
        .unwrap_or("");
    let room = MAX_FILENAME_BYTES.saturating_sub(ending.len());
    let stem = cleaned
        .get(..cleaned.floor_char_boundary(room))
        .unwrap_or_default()
        .trim_end();
    format!("{stem}{ending}")
}

/// Marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX #9), line and paragraph separators,
/// and characters without width.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{061C}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
    )
}

/// `Content-Disposition` for a download (RFC 6266): an ASCII name for old readers, and the true one (RFC 8187).
#[must_use]
pub fn attachment(filename: &str) -> String {
    let ascii: String = filename
        .chars()
        .map(|c| match c {
            '"' | '\\' | '%' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    format!(
        "attachment; filename=\"{ascii}\"; filename*=UTF-8''{}",
        percent_encode(filename)
    )
}

/// `value-chars` of RFC 8187 §3.2.1.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{MAX_FILENAME_BYTES, Sniffed, attachment, clean_filename, judge, sniff};
    use crate::domain::settings::config::Documents;

    const SAFE: [&str; 11] = [
        "application/octet-stream",
        "text/plain; charset=utf-8",
        "text/markdown; charset=utf-8",
        "text/csv; charset=utf-8",
        "application/json",
        "application/jsonl",
        "application/pdf",
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
    ];

    #[test]
    fn bytes_say_what_they_are() {
        let utf8_cut = "naïve 你".as_bytes();
        for (head, expected) in [
            (&b"%PDF-1.7\n%"[..], Sniffed::Known("application/pdf")),
            (b"\x89PNG\r\n\x1a\n\0\0", Sniffed::Known("image/png")),
            (b"\xff\xd8\xff\xe0", Sniffed::Known("image/jpeg")),
            (b"GIF89a<script>", Sniffed::Known("image/gif")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Sniffed::Known("image/webp")),
            (b"RIFF\x10\0\0\0WAVEfmt ", Sniffed::Binary),
            (b"PK\x03\x04\x14\0", Sniffed::Zip),
            (b"\xff\xfeh\0i\0", Sniffed::WideText),
            (b"hello\tworld\r\n\x1b[0m", Sniffed::Text),
            (b"{\"a\":1}", Sniffed::Text),
            (&utf8_cut[..utf8_cut.len() - 1], Sniffed::Text),
            (b"a\0b", Sniffed::Binary),
            (b"caf\xe9 latin", Sniffed::Binary),
            (b"1 < 2", Sniffed::Text),
            (b"<3 you", Sniffed::Text),
            (b"<!DOCTYPE HTML><p>", Sniffed::Html),
            (b"\xef\xbb\xbf \n<ScRipt>alert(1)", Sniffed::Html),
            (b"<!-- a --> <!-- b --><html>", Sniffed::Html),
            (b"<!-- never closed", Sniffed::Html),
            (b"<?xml version=\"1.0\"?><html xmlns=\"x\">", Sniffed::Html),
            (b"<svg xmlns=\"x\">", Sniffed::Svg),
            (
                b"<?xml version=\"1.0\"?><!-- c --><!DOCTYPE svg PUBLIC \"x\"><s:SVG>",
                Sniffed::Svg,
            ),
            (b"<?xml version=\"1.0\"?><rss>", Sniffed::Xml),
            (b"<!DOCTYPE note><note>", Sniffed::Xml),
            (b"", Sniffed::Text),
        ] {
            assert_eq!(sniff(head), expected, "{:?}", String::from_utf8_lossy(head));
        }
    }

    fn ask(
        head: &[u8],
        declared: Option<&str>,
        filename: &str,
    ) -> Result<(String, &'static str), String> {
        judge(head, declared, filename, &Documents::default().types)
            .map(|judged| (judged.found, judged.served))
    }

    #[test]
    fn the_bytes_decide_and_the_claim_only_chooses_between_texts() {
        let plain = "text/plain; charset=utf-8";
        for (head, declared, filename, found, served) in [
            (
                &b"# hi"[..],
                Some("text/markdown"),
                "a.md",
                "text/markdown",
                "text/markdown; charset=utf-8",
            ),
            (
                b"# hi",
                None,
                "a.MD",
                "text/markdown",
                "text/markdown; charset=utf-8",
            ),
            (
                b"# hi",
                Some("application/octet-stream"),
                "a.md",
                "text/markdown",
                "text/markdown; charset=utf-8",
            ),
            (
                b"{}",
                Some("Application/JSON; charset=utf-8"),
                "a",
                "application/json",
                "application/json",
            ),
            (
                b"{}\n{}",
                Some("application/x-ndjson"),
                "a",
                "application/jsonl",
                "application/jsonl",
            ),
            (b"hi", Some("text/x-python"), "a.py", "text/x-python", plain),
            (b"hi", Some("image/png"), "a.png", "text/plain", plain),
            (b"hi", None, "a", "text/plain", plain),
            (
                b"%PDF-1.7",
                Some("text/html"),
                "a.html",
                "application/pdf",
                "application/pdf",
            ),
            (
                b"\xff\xd8\xff",
                Some("image/png"),
                "a.png",
                "image/jpeg",
                "image/jpeg",
            ),
        ] {
            assert_eq!(
                ask(head, declared, filename),
                Ok((found.to_owned(), served)),
                "{declared:?} {filename}"
            );
        }
    }

    #[test]
    fn active_types_are_never_served_as_such() {
        let everything: Vec<String> = ["text/*", "image/*", "application/*"]
            .map(String::from)
            .to_vec();
        let heads: [&[u8]; 7] = [
            b"<!doctype html><script>alert(1)</script>",
            b"<svg onload=alert(1)>",
            b"<?xml version='1.0'?><?xml-stylesheet href='x'?><a/>",
            b"alert(1)",
            b"PK\x03\x04",
            b"\0\x01",
            b"\xff\xfe<\0s\0c\0r\0i\0p\0t\0",
        ];
        let claims = [
            "text/html",
            "application/xhtml+xml",
            "image/svg+xml",
            "text/xml",
            "application/xml",
            "text/javascript",
            "application/javascript",
            "multipart/related",
            "message/rfc822",
            "application/x-shockwave-flash",
            "text/cache-manifest",
        ];
        for head in heads {
            for claim in claims {
                for name in ["a.html", "a.svg", "a.js", "a"] {
                    if let Ok(judged) = judge(head, Some(claim), name, &everything) {
                        assert!(
                            SAFE.contains(&judged.served),
                            "{claim} {name}: {}",
                            judged.served
                        );
                    }
                }
            }
        }
        assert_eq!(
            ask(b"<html>", Some("text/html"), "a"),
            Ok(("text/html".into(), "text/plain; charset=utf-8"))
        );
    }

    #[test]
    fn what_is_not_on_the_list_is_refused_by_its_true_type() {
        for (head, declared, found) in [
            (&b"\0\x01\x02"[..], "text/plain", "application/octet-stream"),
            (
                b"\0\x01\x02",
                "application/json",
                "application/octet-stream",
            ),
            (b"\0\x01\x02", "image/png", "application/octet-stream"),
            (b"PK\x03\x04", "application/pdf", "application/zip"),
            (b"<svg>", "text/plain", "image/svg+xml"),
            (
                b"\0\x01\x02",
                "application/x-msdownload",
                "application/x-msdownload",
            ),
        ] {
            assert_eq!(
                ask(head, Some(declared), "a"),
                Err(found.to_owned()),
                "{declared}"
            );
        }
        let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        let judged = judge(b"PK\x03\x04", Some(docx), "a.docx", &[docx.to_owned()]).unwrap();
        assert_eq!(
            (judged.found.as_str(), judged.served),
            (docx, "application/octet-stream")
        );
        assert!(judge(b"hi", None, "a", &["text/markdown".to_owned()]).is_err());
    }

    #[test]
    fn names_are_cleaned() {
        for (sent, expected) in [
            ("report.pdf", "report.pdf"),
            ("  报告 2026.pdf ", "报告 2026.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\a.txt", "a.txt"),
            ("a\r\nSet-Cookie: x.txt", "aSet-Cookie: x.txt"),
            ("\u{202e}fdp.exe", "fdp.exe"),
            ("a\u{200b}\u{2066}b\u{2028}\0.txt", "ab.txt"),
            ("", "untitled"),
            (".", "untitled"),
            ("..", "untitled"),
            ("dir/", "untitled"),
            ("\u{7f}\u{85}", "untitled"),
            (".env", ".env"),
        ] {
            assert_eq!(clean_filename(sent), expected, "{sent:?}");
        }
        let long = clean_filename(&format!("{}.pdf", "你".repeat(200)));
        assert_eq!(long, format!("{}.pdf", "你".repeat(83)));
        assert_eq!(
            clean_filename(&format!("a.{}", "b".repeat(400))).len(),
            MAX_FILENAME_BYTES
        );
    }

    #[test]
    fn dispositions_carry_both_names() {
        assert_eq!(
            attachment("a.txt"),
            "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"
        );
        assert_eq!(
            attachment("é \"50%\"\\;.txt"),
            "attachment; filename=\"_ _50___;.txt\"; filename*=UTF-8''%C3%A9%20%2250%25%22%5C%3B.txt"
        );
    }

    proptest! {
        #[test]
        fn any_name_becomes_one_header_value_that_cannot_break_out(sent in ".{0,300}") {
            let name = clean_filename(&sent);
            assert!((1..=MAX_FILENAME_BYTES).contains(&name.len()));
            assert_eq!(clean_filename(&name), name, "cleaning twice changes nothing");
            let header = attachment(&name);
            assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)), "{header}");
            assert_eq!(header.matches('"').count(), 2, "{header}");
        }
    }
}
