//! BM25 of one term, as plain functions (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009): what it
//! weighs in a question, and what its repetitions in a passage are worth.

use super::tokens::Kind;

/// How soon a repeated word stops adding (`k1`, the usual value).
const SATURATION: f64 = 1.2;
/// How far long passages are held back, from 0 to 1 (`b`, the usual value).
const LENGTH_PENALTY: f64 = 0.75;

/// A passage shorter than this share of the average is no further preferred: often it is a heading and a cell of a table.
const SHORT: f64 = 0.5;

/// What a single CJK character weighs in a question, against 1 for a word or neighbours that the site has.
const SINGLE_WEIGHT: f64 = 0.25;
/// What neighbours in a script without spaces weigh that the site does not have: most are the seam between two words.
const UNKNOWN_GRAM_WEIGHT: f64 = 0.3;
/// What a word weighs that the site does not have: a visitor often has another word for what the site says.
const UNKNOWN_WORD_WEIGHT: f64 = 0.5;

/// What a term of a question weighs when `with` of `all` passages have it: its inverse document frequency, in the form
/// that is never negative, and less for what is no word.
#[must_use]
pub fn weight(kind: Kind, with: u64, all: u64) -> f64 {
    let share = match (kind, with) {
        (Kind::Single, _) => SINGLE_WEIGHT,
        (Kind::Gram, 0) => UNKNOWN_GRAM_WEIGHT,
        (Kind::Word, 0) => UNKNOWN_WORD_WEIGHT,
        (Kind::Gram | Kind::Word, _) => 1.0,
    };
    share * rarity(with, all)
}

/// What `count` repetitions are worth in a passage of that length: 0 without any, never more than 2.2. Lengths as
/// [`super::tokens::counted`] tells them.
#[must_use]
pub fn saturated(count: u32, length: u32, average_length: f64) -> f64 {
    let relative = (f64::from(length) / average_length.max(1.0)).max(SHORT);
    let held_back = SATURATION * (1.0 - LENGTH_PENALTY + LENGTH_PENALTY * relative);
    let count = f64::from(count);
    count * (SATURATION + 1.0) / (count + held_back)
}

fn rarity(with: u64, all: u64) -> f64 {
    let (with, all) = (with.min(all) as f64, all as f64);
    (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
}

#[cfg(test)]
mod tests {
    use super::{saturated, weight};
    use crate::domain::answer::tokens::Kind;

    #[test]
    fn rare_words_weigh_more_and_nothing_weighs_less_than_nothing() {
        let word = |with, all| weight(Kind::Word, with, all);
        assert!(word(1, 100) > word(10, 100) && word(10, 100) > word(100, 100));
        assert!(word(100, 100) > 0.0);
        // Counts that contradict each other are taken as "all have it".
        assert!((word(200, 100) - word(100, 100)).abs() < 1e-12);
        assert!(weight(Kind::Single, 10, 100) < word(10, 100) / 3.0);
        assert!(word(0, 100) < word(1, 100));
        assert!(weight(Kind::Gram, 0, 100) < word(0, 100));
    }

    #[test]
    fn repetition_adds_less_each_time_and_length_counts_against() {
        let gain = |count| saturated(count + 1, 100, 100.0) - saturated(count, 100, 100.0);
        assert!(saturated(0, 100, 100.0) == 0.0);
        assert!(gain(0) > gain(1) && gain(1) > gain(2) && gain(2) > 0.0);
        assert!(saturated(u32::MAX, 1, 100.0) <= 2.2);
        assert!(saturated(1, 200, 100.0) < saturated(1, 100, 100.0));
        // Below half the average, shorter is no better.
        assert!((saturated(1, 50, 100.0) - saturated(1, 1, 100.0)).abs() < 1e-12);
        assert!(saturated(1, 1, 0.0).is_finite());
    }
}
