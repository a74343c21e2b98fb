//! Joining a continued answer to the text that the caller has already: nothing twice, nothing lost.

/// Shortest repetition, in bytes, that is taken for one. A model that was told to go on "exactly there" sometimes
/// repeats its last sentence first; a shorter match is more likely the language's own repetition ("ha ha").
const MIN_OVERLAP_BYTES: usize = 24;

/// Longest repetition that is looked for, in bytes.
const MAX_OVERLAP_BYTES: usize = 1024;

/// Removes from the beginning of a continuation what the caller has already.
#[derive(Clone, Debug)]
pub struct Splice {
    /// The end of the text that was delivered.
    tail: String,
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
            let known = longest_overlap(&self.tail, &held);
            if known >= MIN_OVERLAP_BYTES {
                return held.get(known..).unwrap_or_default().to_owned();
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
        self.tail.char_indices().any(|(at, _)| {
            let rest = self.tail.get(at..).unwrap_or_default();
            rest.len() >= MIN_OVERLAP_BYTES
                && rest.len() > held.len()
                && rest.starts_with(held.as_str())
        })
    }
}

/// Length of the longest end of `tail` with which `text` begins.
fn longest_overlap(tail: &str, text: &str) -> usize {
    tail.char_indices()
        .filter_map(|(at, _)| tail.get(at..))
        .find(|end| text.starts_with(end))
        .map_or(0, str::len)
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
