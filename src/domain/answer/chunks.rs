//! The answer in pieces for a stream, and a guess of its size in tokens.

use super::tokens::{is_cjk, is_ignorable};

/// CJK characters in one piece: about a word.
const CJK_CHARS: usize = 2;
/// The longest piece of anything else, in characters: only names and addresses reach it.
const WORD_CHARS: usize = 24;

/// Cuts `text` behind the spaces between words, CJK text every two characters. The pieces joined are the text.
///
/// A mark that belongs to the character before it is never cut off.
#[must_use]
pub fn split_for_stream(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut count: usize = 0;
    let mut previous = None;
    for c in text.chars() {
        if previous.is_some_and(|previous| cuts_between(previous, c, count)) {
            pieces.push(std::mem::take(&mut piece));
            count = 0;
        }
        piece.push(c);
        count = count.saturating_add(1);
        previous = Some(c);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// Whether a piece of `count` characters that ends in `previous` ends there.
fn cuts_between(previous: char, next: char, count: usize) -> bool {
    // A backslash escape, a combining mark and a joined emoji stay whole; a piece of marks only ends all the same.
    let together = previous == '\\' || previous == '\u{200D}' || is_ignorable(next);
    if together {
        return count >= WORD_CHARS.saturating_mul(2);
    }
    let word_ends = previous.is_whitespace() && !next.is_whitespace();
    let script_changes = is_cjk(previous) != is_cjk(next) && next.is_alphanumeric();
    let full = count
        >= if is_cjk(previous) {
            CJK_CHARS
        } else {
            WORD_CHARS
        };
    // Punctuation goes with the word before it.
    word_ends || script_changes || (full && (next.is_alphanumeric() || count >= WORD_CHARS))
}

/// About how many tokens a model would count: four bytes each, and for Chinese, Japanese and Korean one for 1.5
/// characters. An estimate for display and for `usage`; no tokeniser is run. Zero for the empty text only.
#[must_use]
pub fn count_tokens_estimate(text: &str) -> u64 {
    let twelfths = text.chars().map(token_twelfths);
    twelfths.fold(0, u64::saturating_add).div_ceil(12)
}

/// What a character counts in [`count_tokens_estimate`], in twelfths of a token: a byte is 12 ÷ 4 = 3, a CJK character
/// 12 ÷ 1.5 = 8.
#[must_use]
pub fn token_twelfths(c: char) -> u64 {
    if is_cjk(c) {
        8
    } else {
        u64::try_from(c.len_utf8()).unwrap_or(4).saturating_mul(3)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{count_tokens_estimate, split_for_stream};

    #[test]
    fn text_is_cut_between_words() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("one", &["one"]),
            (
                "From this site's pages:\n\n> A quote.",
                &[
                    "From ",
                    "this ",
                    "site's ",
                    "pages:\n\n",
                    "> ",
                    "A ",
                    "quote.",
                ],
            ),
            ("以下摘自本站页面：", &["以下", "摘自", "本站", "页面："]),
            ("用KV缓存。", &["用", "KV", "缓存。"]),
            (
                "e\u{301}\u{302} 👩\u{200D}💻",
                &["e\u{301}\u{302} ", "👩\u{200D}💻"],
            ),
            (
                "/docs/a-very-long-address-without-spaces",
                &["/docs/a-very-long-addres", "s-without-spaces"],
            ),
            // What belongs together stays together at the longest length.
            (
                "aaaaaaaaaaaaaaaaaaaaaaa\\*b",
                &["aaaaaaaaaaaaaaaaaaaaaaa\\*", "b"],
            ),
            (
                "aaaaaaaaaaaaaaaaaaaaaaae\u{301}b",
                &["aaaaaaaaaaaaaaaaaaaaaaae\u{301}", "b"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(split_for_stream(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn tokens_are_estimated() {
        let table = [
            ("", 0),
            ("a", 1),
            ("four", 1),
            ("fours", 2),
            ("你", 1),
            ("你好吗", 2),
            ("你好 world", 3),
            ("🦀", 1),
        ];
        for (text, tokens) in table {
            assert_eq!(count_tokens_estimate(text), tokens, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_text(text in "([a-z \\n你好。カ\u{301}\u{200D}\\\\*]|\\PC){0,120}") {
            let pieces = split_for_stream(&text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.chars().count() <= 64));
        }
    }
}
