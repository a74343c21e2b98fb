//! Joining a continued answer to the text that the caller has already: nothing twice, nothing lost.

/// Shortest repetition, in bytes, that is taken for one wherever it stands. A model that was told to go on "exactly
/// there" sometimes repeats its last sentence first; a shorter match may be the language's own repetition ("ha ha").
const MIN_OVERLAP_BYTES: usize = 24;

/// Shortest repetition of two words, in bytes. Below that are compounds behind their own parts: "where everywhere
/// everyone", cut behind the second "every", goes on with "where every".
const MIN_TWO_WORDS_BYTES: usize = 16;

/// Shortest repetition of a single word, in letters: longer than what languages double without a space ("couscous").
const MIN_WORD_LETTERS: usize = 6;

/// So many different letters make a word, and fewer a cry.
const MIN_WORD_VARIETY: usize = 3;

/// Longest repetition that is looked for, in bytes.
const MAX_OVERLAP_BYTES: usize = 1024;

/// Removes from the beginning of a continuation what the caller has already.
#[derive(Clone, Debug)]
pub struct Splice {
    /// The end of the text that was delivered.
    tail: String,
    /// Is that all of the text, so that its beginning is the beginning of a word?
    all: bool,
    /// White space at its end that was cut from the prefill, since some providers refuse it: the model may say it again.
    space: String,
    /// What is held back while it may still be a repetition; `None` once that is decided.
    held: Option<String>,
    /// Look for repetitions? A prefilled answer has none.
    overlap: bool,
}

impl Splice {
    /// For a continuation of `text`.
    #[must_use]
    pub fn new(text: &str, overlap: bool) -> Self {
        let trimmed = text.trim_end();
        let from = floor_boundary(text, text.len().saturating_sub(MAX_OVERLAP_BYTES));
        Self {
            tail: text.get(from..).unwrap_or_default().to_owned(),
            all: from == 0,
            space: text.get(trimmed.len()..).unwrap_or_default().to_owned(),
            held: Some(String::new()),
            overlap,
        }
    }

    /// Takes more of the continuation and returns what can be delivered.
    pub fn push(&mut self, more: &str) -> String {
        let Some(held) = &mut self.held else {
            return more.to_owned();
        };
        held.push_str(more);
        if self.undecided() {
            return String::new();
        }
        self.end()
    }

    /// No more comes: what was held back, without the repetition.
    pub fn end(&mut self) -> String {
        let Some(held) = self.held.take() else {
            return String::new();
        };
        if self.overlap {
            let again = self.ends().find(|end| held.starts_with(end));
            if let Some(rest) = again.and_then(|end| held.get(end.len()..)) {
                return rest.to_owned();
            }
        }
        match held.strip_prefix(self.space.as_str()) {
            Some(rest) if !self.space.is_empty() => rest.to_owned(),
            _ => held,
        }
    }

    /// May what is held still turn out to be a repetition, or the white space that stands there already?
    fn undecided(&self) -> bool {
        let Some(held) = &self.held else { return false };
        if held.len() < self.space.len() && self.space.starts_with(held.as_str()) {
            return true;
        }
        if !self.overlap || held.len() >= MAX_OVERLAP_BYTES {
            return false;
        }
        // Somewhere in the tail the held text stands, with more of the tail behind it.
        self.ends()
            .any(|end| end.len() > held.len() && end.starts_with(held.as_str()))
    }

    /// The ends of the text that are repetitions when they are said again, the longest first.
    fn ends(&self) -> impl Iterator<Item = &str> {
        let mut before = self.all.then_some(' ');
        self.tail.char_indices().filter_map(move |(at, next)| {
            let last = before.replace(next);
            let end = self.tail.get(at..)?;
            let at_word = last.is_some_and(char::is_whitespace);
            (end.len() >= MIN_OVERLAP_BYTES || at_word && is_unlike_prose(end)).then_some(end)
        })
    }
}

/// Would `end` said twice be no prose? It begins with a word and has no space behind it, so that the second one would
/// be glued to the first: "the lazy dogthe lazy dog". Only in scripts that put spaces between words.
fn is_unlike_prose(end: &str) -> bool {
    let spaced = |c: char| !c.is_alphabetic() || c < '\u{590}'; // Latin, Greek, Cyrillic, Armenian
    let begins = end.starts_with(char::is_alphabetic);
    if !begins || end.ends_with(char::is_whitespace) || !end.chars().all(spaced) {
        return false;
    }
    let mut words = end.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(word), None, _) => is_long_word(word),
        (Some(one), Some(other), None) => one != other && end.len() >= MIN_TWO_WORDS_BYTES,
        (Some(one), Some(other), Some(_)) => one != other,
        (None, ..) => false,
    }
}

fn is_long_word(word: &str) -> bool {
    let mut letters: Vec<char> = word.chars().collect();
    let long = letters.len() >= MIN_WORD_LETTERS && letters.iter().all(|c| c.is_alphabetic());
    letters.sort_unstable();
    letters.dedup();
    long && letters.len() >= MIN_WORD_VARIETY
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::Splice;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use proptest::sample::{Index, select};

    fn joined(text: &str, continuation: &[&str], overlap: bool) -> String {
        let mut splice = Splice::new(text, overlap);
        let mut out = text.to_owned();
        for piece in continuation {
            out.push_str(&splice.push(piece));
        }
        out.push_str(&splice.end());
        out
    }

    #[test]
    fn a_continuation_that_repeats_nothing_is_joined_as_it_is() {
        for overlap in [false, true] {
            assert_eq!(
                joined("The sky", &[" is", " blue."], overlap),
                "The sky is blue."
            );
            assert_eq!(joined("ha ha ", &["ha ha"], overlap), "ha ha ha ha");
            assert_eq!(joined("", &["Hello"], overlap), "Hello");
        }
    }

    #[test]
    fn a_repeated_end_is_said_once_wherever_it_is_cut() {
        let text = "First of all, the quick brown fox jumps over the lazy dog and then";
        let again = "the quick brown fox jumps over the lazy dog and then sleeps.";
        for at in 0..again.len() {
            let (a, b) = again.split_at(at);
            assert_eq!(
                joined(text, &[a, b], true),
                "First of all, the quick brown fox jumps over the lazy dog and then sleeps.",
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_short_repetition_is_taken_for_one_where_it_would_be_glued_to_what_stands_there() {
        for (text, again, whole) in [
            (
                "The quick brown fox",
                "quick brown fox jumps",
                "The quick brown fox jumps",
            ),
            // Cut inside a word.
            (
                "We go to the sea",
                "to the seaside.",
                "We go to the seaside.",
            ),
            (
                "Late in the evening",
                "evening sun",
                "Late in the evening sun",
            ),
            ("the lazy dog.", "the lazy dog. It", "the lazy dog. It"),
            (
                "Это было давно и",
                "было давно и прошло",
                "Это было давно и прошло",
            ),
            ("Hello", "Hello", "HelloHello"),
            (
                "Hello there",
                "Hello there, you",
                "Hello thereHello there, you",
            ),
            (
                "Hello dear friend",
                "Hello dear friend!",
                "Hello dear friend!",
            ),
        ] {
            for at in (0..=again.len()).filter(|at| again.is_char_boundary(*at)) {
                let (a, b) = again.split_at(at);
                assert_eq!(
                    joined(text, &[a, b], true),
                    whole,
                    "{text:?} {again:?} {at}"
                );
                let glued = format!("{text}{again}");
                assert_eq!(joined(text, &[a, b], false), glued, "a prefill is trusted");
            }
        }
    }

    #[test]
    fn what_prose_says_twice_by_itself_stays() {
        for (text, rest) in [
            ("ha ha h", "a ha"),
            ("again and again and ", "again and again"),
            ("one day to", "day tomorrow"),
            ("where every", "where everyone"),
            ("no understanding under", "standing"),
            ("a bowl of cous", "cous is"),
            ("the mur", "mur of"),
            ("Aaaaaaaa", "aaaaaaaaargh"),
            ("dum dum dum", "dum dum dum"),
            ("10 1", "10 1"),
            ("1 2 3 1 2 3", "1 2 3"),
            ("谢谢你的谢谢", "谢谢你的谢谢"),
            ("a very long time very", " very long time very long"),
        ] {
            let whole = format!("{text}{rest}");
            assert_eq!(joined(text, &[rest], true), whole);
        }
    }

    /// Words that prose doubles, compounds of other words in the list, and some that share their beginnings.
    const WORDS: [&str; 40] = [
        "a",
        "I",
        "to",
        "day",
        "today",
        "the",
        "then",
        "there",
        "where",
        "every",
        "everywhere",
        "everyone",
        "some",
        "something",
        "thing",
        "stand",
        "standing",
        "under",
        "understanding",
        "again",
        "and",
        "ha",
        "very",
        "over",
        "overall",
        "all",
        "couscous",
        "murmur",
        "beriberi",
        "mama",
        "papa",
        "evening",
        "even",
        "in",
        "within",
        "with",
        "schön",
        "давно",
        "dog.",
        "Well,",
    ];

    fn prose() -> impl Strategy<Value = String> {
        let space = prop_oneof![9 => Just(" "), 1 => Just("\n\n")];
        proptest::collection::vec((select(&WORDS[..]), space), 1..40).prop_map(|words| {
            words
                .iter()
                .flat_map(|(word, space)| [*word, *space])
                .collect()
        })
    }

    fn cut(text: &str, index: Index) -> usize {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        places[index.index(places.len())]
    }

    /// Does the text say so many bytes, or more, twice around the cut?
    fn says_twice(begun: &str, rest: &str, least: usize) -> bool {
        (least..=begun.len().min(rest.len()))
            .any(|length| rest.get(..length).is_some_and(|end| begun.ends_with(end)))
    }

    /// Where the last three words begin, of which the first two differ and the last may be a part of one.
    fn last_three_words(begun: &str) -> Option<usize> {
        let mut before = ' ';
        let starts = begun.char_indices().filter(|(_, c)| {
            let last = std::mem::replace(&mut before, *c);
            last.is_whitespace() && c.is_alphabetic()
        });
        let starts: Vec<usize> = starts.map(|(at, _)| at).collect();
        let words = |at: usize| begun[at..].split_whitespace().collect::<Vec<_>>();
        let from = starts.into_iter().rfind(|at| words(*at).len() == 3)?;
        (words(from)[0] != words(from)[1]).then_some(from)
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4000))]

        /// Nothing of a continuation that goes on exactly where the text stopped is lost, unless the prose itself says
        /// 24 bytes twice.
        #[test]
        fn prose_that_goes_on_exactly_there_loses_nothing(
            text in prose(), at in any::<Index>(), piece in any::<Index>(),
        ) {
            let (begun, rest) = text.split_at(cut(&text, at));
            let (a, b) = rest.split_at(cut(rest, piece));
            // White space on both sides of the cut: which of it was said already cannot be known.
            let open = begun.ends_with(char::is_whitespace) && rest.starts_with(char::is_whitespace);
            if !open && !says_twice(begun, rest, 24) {
                assert_eq!(joined(begun, &[a, b], true), text);
            }
        }

        /// A continuation that begins again with the last three words is joined without them, unless a longer end of the
        /// text fits as well.
        #[test]
        fn three_words_that_are_said_again_are_said_once(
            text in prose(), at in any::<Index>(), piece in any::<Index>(),
        ) {
            let (begun, rest) = text.split_at(cut(&text, at));
            let from = last_three_words(begun).filter(|_| !begun.ends_with(char::is_whitespace));
            if let Some(from) = from {
                let again = &text[from..];
                let (a, b) = again.split_at(cut(again, piece));
                if !says_twice(begun, again, again.len() - rest.len() + 1) {
                    assert_eq!(joined(begun, &[a, b], true), text);
                }
            }
        }
    }

    #[test]
    fn white_space_that_the_prefill_lost_is_not_said_twice() {
        assert_eq!(joined("One,\n\n", &["\n", "\ntwo"], false), "One,\n\ntwo");
        assert_eq!(joined("One, ", &["two"], false), "One, two");
        assert_eq!(joined("One, ", &[" two"], false), "One, two");
    }

    #[test]
    fn a_repetition_is_no_end_of_the_stream() {
        let text = "abcdefghijklmnopqrstuvwxyz0123456789";
        assert_eq!(joined(text, &["lmnopqrstuvwxyz0123456789"], true), text);
        assert_eq!(
            joined(text, &["lmnopqrstuvwxyz01234"], true),
            format!("{text}lmnopqrstuvwxyz01234")
        );
    }
}
