//! The score of a passage for a question, from the counts that an index keeps. The formula is the one of the built-in
//! answerer.

use crate::domain::answer::tokens::Kind;

pub use crate::domain::answer::bm25::{saturated, weight};

/// What an index knows of all its passages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// How many there are.
    pub passages: u64,
    /// The sum of their lengths, as [`super::terms::terms_of_passage`] tells them.
    pub total_length: u64,
}

impl Collection {
    /// The average length of a passage, at least 1.
    #[must_use]
    pub fn average_length(self) -> f64 {
        (self.total_length as f64 / self.passages.max(1) as f64).max(1.0)
    }

    /// What a term of a question weighs when `with` passages have it.
    #[must_use]
    pub fn weight(self, kind: Kind, with: u64) -> f64 {
        weight(kind, with, self.passages)
    }

    /// What a term of that weight adds to the score of a passage that has it `count` times. A passage's score is the sum
    /// over the question's terms.
    #[must_use]
    pub fn part(self, weight: f64, count: u32, length: u32) -> f64 {
        weight * saturated(count, length, self.average_length())
    }
}

#[cfg(test)]
mod tests {
    use super::Collection;
    use crate::domain::answer::tokens::Kind;

    #[test]
    fn the_score_is_the_one_of_the_built_in_answerer() {
        use crate::domain::answer::{Index, Passage};
        let texts = ["key here", "key there", "cache there and a key key"];
        let index = Index::build(
            texts
                .map(|text| Passage {
                    url: "/".to_owned(),
                    page: String::new(),
                    heading: String::new(),
                    text: text.to_owned(),
                    lang: "en".to_owned(),
                })
                .into(),
        );
        // Lengths without stop words: key; key; cach key key.
        let all = Collection {
            passages: 3,
            total_length: 5,
        };
        let hits = index.search("key cache", 1);
        let key = all.part(all.weight(Kind::Word, 3), 2, 3);
        let cache = all.part(all.weight(Kind::Word, 1), 1, 3);
        assert!((hits[0].score - (key + cache)).abs() < 1e-9, "{hits:?}");
    }

    #[test]
    fn an_empty_collection_has_finite_scores() {
        let none = Collection::default();
        let score = none.part(none.weight(Kind::Word, 0), 1, 0);
        assert!(score.is_finite() && score >= 0.0);
    }
}
