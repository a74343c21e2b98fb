//! Conditional and range requests on a document (RFC 9110 §13 and §14).

/// The strong validator of content with that SHA-256 (RFC 9110 §8.8.3).
#[must_use]
pub fn etag(sha256_hex: &str) -> String {
    format!("\"{sha256_hex}\"")
}

/// Does `If-None-Match` say that the caller has this content already (RFC 9110 §13.1.2, weak comparison)?
#[must_use]
pub fn not_modified(if_none_match: Option<&str>, etag: &str) -> bool {
    let Some(header) = if_none_match else {
        return false;
    };
    names(header, etag)
}

/// Does a header name that tag, or any? `If-Match` (RFC 9110 §13.1.1) does so as well; our tags are all strong.
#[must_use]
pub fn names(header: &str, etag: &str) -> bool {
    header.trim() == "*" || entity_tags(header).any(|tag| tag == etag)
}

/// The opaque tags of a list, `W/` left out. A quoted tag may hold commas, so the list cannot be split at them; what
/// is not a list of tags ends it.
fn entity_tags(header: &str) -> impl Iterator<Item = &str> {
    let mut rest = header;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let tag = rest.strip_prefix("W/").unwrap_or(rest);
        let inside = tag.strip_prefix('"')?;
        let length = inside.find('"')?.saturating_add(2);
        let (tag, after) = tag.split_at_checked(length)?;
        rest = after;
        Some(tag)
    })
}

/// Which bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All: 200.
    Whole,
    /// From `first` to `last`, both included: 206.
    Part {
        /// First byte.
        first: u64,
        /// Last byte, below the length.
        last: u64,
    },
    /// None of the bytes asked for exist: 416.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` for content of `length` bytes.
///
/// One range is honoured. Several ranges, other units and malformed headers are answered with the whole, which is
/// always allowed (RFC 9110 §14.2). `If-Range` needs the exact strong tag; a date never matches, since no
/// `Last-Modified` is sent.
#[must_use]
pub fn select(range: Option<&str>, if_range: Option<&str>, etag: &str, length: u64) -> Selection {
    if if_range.is_some_and(|validator| validator.trim() != etag) {
        return Selection::Whole;
    }
    match range.and_then(parse) {
        None => Selection::Whole,
        Some(Spec::From { first, .. }) if first >= length => Selection::Unsatisfiable,
        Some(Spec::From { first, last }) => Selection::Part {
            first,
            last: last.min(length.saturating_sub(1)),
        },
        Some(Spec::Suffix(0)) => Selection::Unsatisfiable,
        Some(Spec::Suffix(_)) if length == 0 => Selection::Unsatisfiable,
        Some(Spec::Suffix(count)) => Selection::Part {
            first: length.saturating_sub(count),
            last: length.saturating_sub(1),
        },
    }
}

/// The `Content-Range` of a part.
#[must_use]
pub fn content_range(first: u64, last: u64, length: u64) -> String {
    format!("bytes {first}-{last}/{length}")
}

/// The `Content-Range` of a refusal.
#[must_use]
pub fn content_range_unsatisfied(length: u64) -> String {
    format!("bytes */{length}")
}

enum Spec {
    From { first: u64, last: u64 },
    Suffix(u64),
}

fn parse(header: &str) -> Option<Spec> {
    let (unit, set) = header.trim().split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first, last) {
        ("", count) => Some(Spec::Suffix(number(count)?)),
        (first, "") => Some(Spec::From {
            first: number(first)?,
            last: u64::MAX,
        }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From { first, last })
        }
    }
}

/// Digits only; what does not fit counts as the largest number, which lies past every end.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Selection, content_range, content_range_unsatisfied, etag, not_modified, select};

    const TAG: &str = "\"abc\"";

    fn part(first: u64, last: u64) -> Selection {
        Selection::Part { first, last }
    }

    #[test]
    fn ranges_of_ten_bytes() {
        use Selection::{Unsatisfiable, Whole};
        for (header, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-9", part(0, 9)),
            ("bytes=2-5", part(2, 5)),
            ("bytes=5-", part(5, 9)),
            ("bytes=5-99", part(5, 9)),
            ("bytes=9-99999999999999999999999", part(9, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-10", part(0, 9)),
            ("bytes=-999", part(0, 9)),
            ("Bytes= 1-2", part(1, 2)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-12", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1--2", Whole),
            ("bytes 1-2", Whole),
            ("lines=1-2", Whole),
            ("", Whole),
        ] {
            assert_eq!(select(Some(header), None, TAG, 10), expected, "{header:?}");
        }
        assert_eq!(select(None, None, TAG, 10), Whole);
        assert_eq!(select(Some("bytes=-5"), None, TAG, 0), Unsatisfiable);
        assert_eq!(select(Some("bytes=0-"), None, TAG, 0), Unsatisfiable);
    }

    #[test]
    fn if_range_needs_the_exact_strong_tag() {
        let ask = |if_range| select(Some("bytes=0-1"), Some(if_range), TAG, 10);
        assert_eq!(ask("\"abc\""), part(0, 1));
        for other in [
            "\"abd\"",
            "W/\"abc\"",
            "abc",
            "*",
            "Sat, 21 Nov 2026 05:05:00 GMT",
            "",
        ] {
            assert_eq!(ask(other), Selection::Whole, "{other}");
        }
        let past_the_end = select(Some("bytes=99-"), Some("\"old\""), TAG, 10);
        assert_eq!(
            past_the_end,
            Selection::Whole,
            "a changed document is sent whole, not refused"
        );
    }

    #[test]
    fn if_none_match_is_a_list_compared_weakly() {
        for header in [
            "\"abc\"",
            "W/\"abc\"",
            "*",
            " * ",
            "\"x\", \"abc\"",
            "\"a,b\",W/\"abc\"",
            "\"x\",,\t\"abc\" ",
        ] {
            assert!(not_modified(Some(header), TAG), "{header}");
        }
        for header in [
            "",
            "abc",
            "\"ab\"",
            "\"x, \"abc\"",
            "w/\"abc\"",
            "\"x\" *",
            "\"abc",
        ] {
            assert!(!not_modified(Some(header), TAG), "{header}");
        }
        assert!(!not_modified(None, TAG));
    }

    #[test]
    fn header_values() {
        assert_eq!(etag("abc"), TAG);
        assert_eq!(content_range(2, 5, 10), "bytes 2-5/10");
        assert_eq!(content_range_unsatisfied(10), "bytes */10");
    }
}
