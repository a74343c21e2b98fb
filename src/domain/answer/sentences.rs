//! Where a quote may begin and end: the sentences of a passage, in English and Chinese punctuation.

use std::ops::Range;

use super::tokens::is_cjk;

/// A sentence longer than this many characters (code, tables, lists) is cut at the next word.
const LONG_CHARS: usize = 280;
/// …and longer than this, anywhere.
const LONGEST_CHARS: usize = 360;

/// The full stop in these ends no sentence.
const ABBREVIATIONS: &[&str] = &["e.g.", "i.e.", "cf.", "vs.", "approx.", "Dr.", "Mr.", "Ms."];

/// The byte ranges of the sentences of `text`, in order, without the white space around them.
#[must_use]
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut chars_since_start: usize = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((_, c)) = chars.next() {
        chars_since_start = chars_since_start.saturating_add(1);
        let stops = is_stop(c);
        if stops {
            while chars
                .next_if(|(_, c)| is_stop(*c) || is_closer(*c))
                .is_some()
            {}
        }
        let end = chars.peek().map_or(text.len(), |(at, _)| *at);
        let (before, after) = text.split_at_checked(end).unwrap_or((text, ""));
        let sentence = before.get(start..).unwrap_or_default();
        let ends = after.is_empty()
            || (stops && ends_sentence(c, sentence, after))
            || (chars_since_start >= LONG_CHARS && (c.is_whitespace() || is_cjk(c)))
            || chars_since_start >= LONGEST_CHARS;
        if ends {
            found.extend(trimmed(text, start..end));
            start = end;
            chars_since_start = 0;
        }
    }
    found
}

/// Whether `sentence` is closed by a stop. What is not is often a cell of a table or an item of a list.
pub(super) fn is_closed(sentence: &str) -> bool {
    sentence.trim_end_matches(is_closer).ends_with(is_stop)
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | '!' | '?') || is_cjk_stop(c)
}

fn is_cjk_stop(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '…' | '｡')
}

fn is_closer(c: char) -> bool {
    matches!(
        c,
        ')' | ']' | '"' | '\'' | '”' | '’' | '」' | '』' | '）' | '】' | '》'
    )
}

/// A Chinese stop always ends; an English one when a space follows, and no small letter after that.
fn ends_sentence(stop: char, sentence: &str, after: &str) -> bool {
    if is_cjk_stop(stop) {
        return true;
    }
    let next = after.trim_start();
    let spaced = next.len() < after.len() || next.starts_with(is_cjk);
    let small_follows = next.starts_with(char::is_lowercase);
    let abbreviated = ABBREVIATIONS.iter().any(|short| sentence.ends_with(short));
    // `2.` in front of a step belongs to it.
    let numbered = sentence
        .trim()
        .trim_end_matches('.')
        .bytes()
        .all(|b| b.is_ascii_digit());
    spaced && !small_follows && !abbreviated && !numbered
}

fn trimmed(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let raw = text.get(range.clone())?;
    let start = range
        .start
        .saturating_add(raw.len().saturating_sub(raw.trim_start().len()));
    let end = start.saturating_add(raw.trim().len());
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{LONGEST_CHARS, sentences};

    fn split(text: &str) -> Vec<&str> {
        sentences(text)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn sentences_are_found() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  \n ", &[]),
            ("One. Two! Three? Four", &["One.", "Two!", "Three?", "Four"]),
            (
                "Set it in gatehouse.toml. It takes 1.5 s.",
                &["Set it in gatehouse.toml.", "It takes 1.5 s."],
            ),
            (
                "Use a key, e.g. OPENAI_API_KEY. Then go.",
                &["Use a key, e.g. OPENAI_API_KEY.", "Then go."],
            ),
            (
                "Wait... then go. \"Done.\" Next.",
                &["Wait... then go.", "\"Done.\"", "Next."],
            ),
            (
                "1. Install it. 2. Start it.",
                &["1. Install it.", "2. Start it."],
            ),
            (
                "你好。世界！“真的？”好；完",
                &["你好。", "世界！", "“真的？”", "好；完"],
            ),
            (
                "密钥在 .env 里。Use it. 好",
                &["密钥在 .env 里。", "Use it.", "好"],
            ),
            (
                "见 README.md。版本 1.2 可用",
                &["见 README.md。", "版本 1.2 可用"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(split(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn what_has_no_stops_is_cut_at_words() {
        let words = "word ".repeat(500);
        for piece in split(&words) {
            assert!(piece.chars().count() <= LONGEST_CHARS);
            assert!(piece.starts_with("word") && piece.ends_with("word"));
        }
        for text in ["x".repeat(3000), "键".repeat(3000)] {
            let pieces = split(&text);
            assert!(
                pieces
                    .iter()
                    .all(|piece| piece.chars().count() <= LONGEST_CHARS)
            );
            assert_eq!(pieces.concat(), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost(text in "([a-zA-Z .!?。！；你好”)\n]|\\PC){0,80}") {
            let mut at = 0;
            for range in sentences(&text) {
                assert!(text[at..range.start].trim().is_empty());
                at = range.end;
            }
            assert!(text[at..].trim().is_empty());
        }
    }
}
