//! Text → passages: what is found, counted and shown as one piece.
//!
//! A passage is made of whole sentences and never crosses a heading. Where a section needs several, each begins with the
//! last sentences of the one before, so that what is said across a border is found too.

use std::ops::Range;

use super::extract::Block;
use crate::domain::answer::chunks::token_twelfths;
use crate::domain::answer::sentences::sentences;

/// How long passages are. Tokens are estimated ([`crate::domain::answer::count_tokens_estimate`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// The most tokens of a passage, its headings not counted.
    pub max_tokens: u32,
    /// The most tokens that a passage repeats of the one before.
    pub overlap_tokens: u32,
}

impl Chunking {
    /// OpenAI's `auto` strategy.
    pub const DEFAULT: Self = Self {
        max_tokens: 800,
        overlap_tokens: 400,
    };

    /// OpenAI's `static` strategy: 100 to 4096 tokens, of which at most half overlap. `None` for anything else.
    #[must_use]
    pub fn of(max_tokens: u32, overlap_tokens: u32) -> Option<Self> {
        let sound = (100..=4096).contains(&max_tokens) && overlap_tokens <= max_tokens / 2;
        sound.then_some(Self {
            max_tokens,
            overlap_tokens,
        })
    }
}

impl Default for Chunking {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A piece of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// [`Block::heading`].
    pub heading: String,
    /// [`Block::anchor`] of the place where it begins.
    pub anchor: String,
    /// Its text, never empty. Sentences are as in the document; the white space between two is one space or line break.
    pub text: String,
}

/// The passages of a document, in its order. None is longer than the chunking says, and nothing but white space of the
/// blocks is missing.
#[must_use]
pub fn passages(blocks: &[Block], chunking: Chunking) -> Vec<Passage> {
    // One token is the least that holds any character.
    let most = u64::from(chunking.max_tokens.max(1)).saturating_mul(12);
    let overlap = u64::from(chunking.overlap_tokens).saturating_mul(12);
    let mut found = Vec::new();
    for section in blocks.chunk_by(|a, b| a.heading == b.heading) {
        let pieces = pieces(section, most);
        for range in windows(&pieces, most, overlap) {
            found.extend(passage(pieces.get(range).unwrap_or_default()));
        }
    }
    found
}

/// A sentence, or as much of one as fits.
struct Piece<'a> {
    block: &'a Block,
    /// What stands between it and the piece before: nothing, a space or a line break.
    gap: &'static str,
    text: &'a str,
    /// Its length and the one of its gap, in twelfths of a token.
    size: u64,
    gap_size: u64,
}

fn pieces(section: &[Block], most: u64) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    for block in section {
        let mut last_end = None;
        let ranges = sentences(&block.text).into_iter();
        for range in ranges.flat_map(|range| cut(&block.text, range, most)) {
            let between = last_end.map(|end| block.text.get(end..range.start));
            let gap = match between.map(Option::unwrap_or_default) {
                None => "\n",
                Some(white) if white.contains('\n') => "\n",
                Some("") => "",
                Some(_) => " ",
            };
            let text = block.text.get(range.clone()).unwrap_or_default();
            pieces.push(Piece {
                block,
                gap,
                text,
                size: size(text),
                gap_size: size(gap),
            });
            last_end = Some(range.end);
        }
    }
    pieces
}

fn size(text: &str) -> u64 {
    text.chars()
        .map(token_twelfths)
        .fold(0, u64::saturating_add)
}

/// Parts of a sentence that are no longer than `most`.
fn cut(text: &str, range: Range<usize>, most: u64) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = range.start;
    let mut length = 0_u64;
    let sentence = text.get(range.clone()).unwrap_or_default();
    for (at, c) in sentence.char_indices() {
        let longer = length.saturating_add(token_twelfths(c));
        if longer > most {
            let end = range.start.saturating_add(at);
            parts.push(start..end);
            start = end;
            length = token_twelfths(c);
        } else {
            length = longer;
        }
    }
    parts.push(start..range.end);
    parts.retain_mut(|part| narrowed(text, part));
    parts
}

/// Takes the white space off both ends; `false` when nothing is left.
fn narrowed(text: &str, part: &mut Range<usize>) -> bool {
    let raw = text.get(part.clone()).unwrap_or_default();
    let before = raw.len().saturating_sub(raw.trim_start().len());
    part.start = part.start.saturating_add(before);
    part.end = part.start.saturating_add(raw.trim().len());
    part.start < part.end
}

/// Which pieces make a passage each: as many as fit, after as many of the passage before as may be repeated.
fn windows(pieces: &[Piece<'_>], most: u64, overlap: u64) -> Vec<Range<usize>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    let mut end = 0;
    let mut length = 0_u64;
    while let Some(next) = pieces.get(end) {
        let gap = if end > start { next.gap_size } else { 0 };
        let longer = length.saturating_add(gap).saturating_add(next.size);
        if end == start || longer <= most {
            length = longer;
            end = end.saturating_add(1);
            continue;
        }
        windows.push(start..end);
        let room = overlap.min(most.saturating_sub(next.gap_size).saturating_sub(next.size));
        (start, length) = repeated(pieces, start..end, room);
    }
    if start < end {
        windows.push(start..end);
    }
    windows
}

/// Where the last pieces of a passage begin that fit into `room`, and their length.
fn repeated(pieces: &[Piece<'_>], passage: Range<usize>, room: u64) -> (usize, u64) {
    let mut start = passage.end;
    let mut length = 0_u64;
    // Never the whole passage: the next one would say nothing new at its beginning.
    for at in passage.skip(1).rev() {
        let Some(piece) = pieces.get(at) else { break };
        // The gap in front of the piece behind it.
        let gap = match pieces.get(start) {
            Some(behind) if length > 0 => behind.gap_size,
            _ => 0,
        };
        let longer = length.saturating_add(gap).saturating_add(piece.size);
        if longer > room {
            break;
        }
        length = longer;
        start = at;
    }
    (start, length)
}

fn passage(pieces: &[Piece<'_>]) -> Option<Passage> {
    let first = pieces.first()?;
    let mut text = first.text.to_owned();
    for piece in pieces.iter().skip(1) {
        text.push_str(piece.gap);
        text.push_str(piece.text);
    }
    Some(Passage {
        heading: first.block.heading.clone(),
        anchor: first.block.anchor.clone(),
        text,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::{Strategy, proptest};

    use super::{Block, Chunking, Passage, passages};
    use crate::domain::answer::count_tokens_estimate;

    fn block(heading: &str, anchor: &str, text: &str) -> Block {
        Block {
            heading: heading.to_owned(),
            anchor: anchor.to_owned(),
            text: text.to_owned(),
        }
    }

    fn cut(blocks: &[Block], max_tokens: u32, overlap_tokens: u32) -> Vec<Passage> {
        let chunking = Chunking {
            max_tokens,
            overlap_tokens,
        };
        passages(blocks, chunking)
    }

    fn texts(found: &[Passage]) -> Vec<&str> {
        found.iter().map(|passage| passage.text.as_str()).collect()
    }

    #[test]
    fn openai_s_bounds_hold() {
        assert_eq!(Chunking::of(800, 400), Some(Chunking::DEFAULT));
        for (max, overlap, sound) in [
            (100, 0, true),
            (100, 50, true),
            (4096, 2048, true),
            (99, 0, false),
            (4097, 0, false),
            (100, 51, false),
            (101, 51, false),
        ] {
            assert_eq!(
                Chunking::of(max, overlap).is_some(),
                sound,
                "{max} {overlap}"
            );
        }
    }

    #[test]
    fn sentences_are_gathered_until_they_are_full_and_repeated() {
        // Each sentence is 20 bytes: 5 tokens, and a quarter for the space.
        let text =
            "Number one is a one. Number two is a two. Number six is a six. Number ten is a ten.";
        let table: &[(u32, u32, &[&str])] = &[
            (100, 0, &[text]),
            (
                11,
                0,
                &[
                    "Number one is a one. Number two is a two.",
                    "Number six is a six. Number ten is a ten.",
                ],
            ),
            (
                11,
                5,
                &[
                    "Number one is a one. Number two is a two.",
                    "Number two is a two. Number six is a six.",
                    "Number six is a six. Number ten is a ten.",
                ],
            ),
            (
                11,
                4,
                &[
                    "Number one is a one. Number two is a two.",
                    "Number six is a six. Number ten is a ten.",
                ],
            ),
        ];
        for (max, overlap, expected) in table {
            let found = cut(&[block("", "", text)], *max, *overlap);
            assert_eq!(texts(&found), *expected, "{max} {overlap}");
        }
    }

    #[test]
    fn a_passage_never_crosses_a_heading_and_tells_where_it_begins() {
        let blocks = [
            block("A", "line 1", "One."),
            block("A", "line 3", "Two."),
            block("A > B", "line 7", "Three."),
            block("A", "line 9", "Four."),
        ];
        let found = cut(&blocks, 100, 50);
        let expected = [
            ("A", "line 1", "One.\nTwo."),
            ("A > B", "line 7", "Three."),
            ("A", "line 9", "Four."),
        ];
        let found: Vec<(&str, &str, &str)> = found
            .iter()
            .map(|p| (p.heading.as_str(), p.anchor.as_str(), p.text.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn languages_without_spaces_are_cut_at_their_stops() {
        let text = "第一句话在这里。第二句话在这里。第三句话在这里。";
        // Eight characters are 5⅓ tokens, one a byte-counted stop.
        let found = cut(&[block("", "", text)], 12, 0);
        assert_eq!(
            texts(&found),
            ["第一句话在这里。第二句话在这里。", "第三句话在这里。"]
        );
        let endless = "键".repeat(10_000);
        let found = cut(&[block("", "", &endless)], 100, 0);
        assert_eq!(texts(&found).concat(), endless);
        assert!(found.len() < 100, "{}", found.len());
    }

    #[test]
    fn nothing_makes_no_passage() {
        assert_eq!(cut(&[], 100, 0), []);
        assert_eq!(cut(&[block("H", "", "  \n ")], 100, 0), []);
    }

    fn documents() -> impl Strategy<Value = Vec<Block>> {
        let text = "([a-z]{1,9}[ .!?。\n]|[键值缓存。]|\\PC){0,200}";
        vec(("[AB]", text), 0..5).prop_map(|blocks| {
            let blocks = blocks.iter().zip(0..);
            blocks
                .map(|((heading, text), n)| block(heading, &n.to_string(), text))
                .collect()
        })
    }

    fn black(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    proptest! {
        #[test]
        fn no_passage_is_longer_than_the_limit(blocks in documents(), max in 1_u32..60, overlap in 0_u32..30) {
            for passage in cut(&blocks, max, overlap) {
                assert!(count_tokens_estimate(&passage.text) <= u64::from(max), "{passage:?}");
                assert!(!passage.text.trim().is_empty());
            }
        }

        #[test]
        fn without_overlap_the_passages_are_the_text(blocks in documents(), max in 1_u32..60) {
            let all: String = blocks.iter().map(|block| black(&block.text)).collect();
            let found: String = cut(&blocks, max, 0).iter().map(|p| black(&p.text)).collect();
            assert_eq!(found, all);
        }

        #[test]
        fn what_is_repeated_ends_one_passage_begins_the_next_and_is_short(
            blocks in documents(), max in 10_u32..60, overlap in 0_u32..30
        ) {
            for section in blocks.chunk_by(|a, b| a.heading == b.heading) {
                let all: String = section.iter().map(|block| black(&block.text)).collect();
                // How much of the text may be covered: where it repeats itself, a border can be read in several ways.
                let mut covered = BTreeSet::from([0_usize]);
                let mut last = String::new();
                for passage in cut(section, max, overlap) {
                    let text = black(&passage.text);
                    let borders: Vec<usize> = (0..=last.len().min(text.len().saturating_sub(1)))
                        .filter(|shared| {
                            text.is_char_boundary(*shared)
                                && last.ends_with(&text[..*shared])
                                && count_tokens_estimate(&text[..*shared]) <= u64::from(overlap)
                        })
                        .collect();
                    let length = text.len();
                    let ways = covered.iter().flat_map(|from| {
                        let fits = |shared: &&usize| all[*from..].starts_with(&text[**shared..]);
                        let fitting = borders.iter().filter(fits);
                        fitting.map(move |shared| from + length - shared)
                    });
                    let ways: BTreeSet<usize> = ways.collect();
                    assert!(!ways.is_empty(), "{text:?} after {last:?}");
                    covered = ways;
                    last = text;
                }
                assert!(covered.contains(&all.len()));
            }
        }
    }
}
