//! The terms of a passage and of a question, counted, for an index that keeps no text of them.

use std::collections::BTreeMap;

use super::chunk::Passage;
use crate::domain::answer::index::HEADING_WEIGHT;
use crate::domain::answer::tokens::{Kind, Term, capped, counted};

/// A term and how often it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Lower-case, without white space, at most 48 characters.
    pub text: String,
    /// How often; a word in the headings counts three times. At least 1.
    pub count: u32,
    /// What the term is; [`super::bm25::weight`] asks for it.
    pub kind: Kind,
}

/// The terms of a passage, each once, in the order of their text; and the passage's length for BM25.
#[must_use]
pub fn terms_of_passage(passage: &Passage) -> (Vec<Counted>, u32) {
    let (counts, length) = counted(&[(&passage.text, 1), (&passage.heading, HEADING_WEIGHT)]);
    (listed(counts), length)
}

/// The terms of a question, each once, in the order of their text. Of a question over
/// [`crate::domain::answer::tokens::QUESTION_CAP_BYTES`] only that much is read.
#[must_use]
pub fn terms_of_question(question: &str) -> Vec<Counted> {
    listed(counted(&[(capped(question), 1)]).0)
}

fn listed(counts: BTreeMap<Term, u32>) -> Vec<Counted> {
    let counted = counts.into_iter().map(|(term, count)| Counted {
        text: term.text,
        count,
        kind: term.kind,
    });
    counted.collect()
}

#[cfg(test)]
mod tests {
    use super::{terms_of_passage, terms_of_question};
    use crate::domain::answer::tokens::Kind;
    use crate::domain::retrieval::chunk::Passage;

    #[test]
    fn words_of_the_headings_count_three_times() {
        let passage = Passage {
            heading: "Guide > Limits".to_owned(),
            anchor: "#limits".to_owned(),
            text: "A limit of the cache: limits 缓存.".to_owned(),
        };
        let (terms, length) = terms_of_passage(&passage);
        let found: Vec<(&str, u32, Kind)> = terms
            .iter()
            .map(|term| (term.text.as_str(), term.count, term.kind))
            .collect();
        let expected = [
            ("cach", 1, Kind::Word),
            ("guid", 3, Kind::Word),
            ("limit", 5, Kind::Word),
            ("存", 1, Kind::Single),
            ("缓", 1, Kind::Single),
            ("缓存", 1, Kind::Gram),
        ];
        assert_eq!(found, expected);
        assert_eq!(length, 10);
    }

    #[test]
    fn a_question_has_each_term_once() {
        let terms = terms_of_question("Which limits limit the limit of keys?");
        let found: Vec<(&str, u32)> = terms
            .iter()
            .map(|term| (term.text.as_str(), term.count))
            .collect();
        assert_eq!(found, [("key", 1), ("limit", 3)]);
        assert_eq!(terms_of_question("what is the"), []);
        assert_eq!(terms_of_question(&"four".repeat(100_000)).len(), 1);
    }
}
