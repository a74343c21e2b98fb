//! A second look at the best passages, now with their text: without a model, from features that any text has.
//!
//! BM25 sees neither where words stand nor what a file is called. Here count as well: what of the question the headings,
//! the file's name and the first lines have, and whether words that neighbour in the question do in the passage. Each
//! feature is a share from 0 to 1. The share of the question that a passage has anywhere does not help: BM25 has it.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::answer::tokens::{Kind, Term, capped, terms};

/// The most candidates that are worth opening.
pub const MOST: usize = 50;

/// What each feature counts; together 1. Found on the collections of `tests/contract/retrieval.rs`.
const BM25: f64 = 0.57;
const HEADING: f64 = 0.17;
const FILENAME: f64 = 0.115;
const EARLY: f64 = 0.085;
const NEIGHBOURS: f64 = 0.06;
/// What the embedding counts, where there is one, against all of these.
const VECTOR: f64 = 0.5;

/// The first lines of a passage, in bytes.
const EARLY_BYTES: usize = 200;

/// What a single character of a script without spaces counts beside words and pairs.
const SINGLE: f64 = 0.1;

/// A passage that search has found.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its text.
    pub text: &'a str,
    /// Its path of headings.
    pub heading: &'a str,
    /// The name of the document.
    pub filename: &'a str,
    /// The score of [`super::bm25`]; 0 when only the vector led here.
    pub bm25: f64,
    /// The cosine of [`super::vector`], where the collection has embeddings.
    pub vector: Option<f64>,
}

/// A candidate's new place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its place in what was given.
    pub place: usize,
    /// From 0 to 1. It is low for all candidates when none has the question's rare words and none is near by its vector,
    /// so that a threshold has a meaning; but it is no probability.
    pub score: f64,
}

/// All candidates, best first; equals keep their order.
#[must_use]
pub fn rerank(question: &str, candidates: &[Candidate<'_>]) -> Vec<Ranked> {
    let asked = terms(capped(question));
    let held: Vec<Held> = candidates.iter().map(Held::of).collect();
    let wanted = Wanted::of(&asked, &held);
    let best = candidates.iter().fold(0.0_f64, |best, c| best.max(c.bm25));
    let covered = held.iter().map(|held| wanted.share(&held.everywhere));
    let covered = covered.fold(0.0, f64::max);
    let mut ranked: Vec<Ranked> = candidates
        .iter()
        .zip(&held)
        .enumerate()
        .map(|(place, (candidate, held))| {
            let bm25 = if best > 0.0 {
                candidate.bm25 / best
            } else {
                0.0
            };
            let words = covered * wanted.score(held, bm25);
            let score = match candidate.vector {
                Some(cosine) if cosine.is_finite() => {
                    VECTOR * cosine.clamp(0.0, 1.0) + (1.0 - VECTOR) * words
                }
                _ => words,
            };
            Ranked {
                place,
                score: if score.is_finite() {
                    score.clamp(0.0, 1.0)
                } else {
                    0.0
                },
            }
        })
        .collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked
}

/// The words of a candidate, by where they stand.
struct Held {
    everywhere: BTreeSet<String>,
    heading: BTreeSet<String>,
    filename: BTreeSet<String>,
    early: BTreeSet<String>,
    neighbours: BTreeSet<(String, String)>,
}

impl Held {
    fn of(candidate: &Candidate<'_>) -> Self {
        let text = terms(candidate.text);
        let heading = distinct(candidate.heading);
        let end = candidate.text.floor_char_boundary(EARLY_BYTES);
        let mut everywhere = heading.clone();
        let neighbours = neighbours(&text);
        everywhere.extend(text.into_iter().map(|term| term.text));
        Self {
            everywhere,
            heading,
            filename: distinct(candidate.filename),
            early: distinct(candidate.text.get(..end).unwrap_or_default()),
            neighbours,
        }
    }
}

/// A question, its words weighed by how few of the candidates have them.
struct Wanted {
    weights: BTreeMap<String, f64>,
    neighbours: BTreeMap<(String, String), f64>,
}

impl Wanted {
    fn of(asked: &[Term], held: &[Held]) -> Self {
        let weigh = |term: &Term| {
            let with = held
                .iter()
                .filter(|held| held.everywhere.contains(&term.text));
            let (with, all) = (with.count() as f64, held.len() as f64);
            let rarity = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            let share = if term.kind == Kind::Single {
                SINGLE
            } else {
                1.0
            };
            (term.text.clone(), share * (1.0 + rarity))
        };
        let weights: BTreeMap<String, f64> = asked.iter().map(weigh).collect();
        let weight = |term: &String| weights.get(term).copied().unwrap_or(0.0);
        let neighbours = neighbours(asked).into_iter().map(|two| {
            let both = (weight(&two.0) * weight(&two.1)).sqrt();
            (two, both)
        });
        Self {
            neighbours: neighbours.collect(),
            weights,
        }
    }

    fn score(&self, held: &Held, bm25: f64) -> f64 {
        BM25 * bm25
            + HEADING * self.share(&held.heading)
            + FILENAME * self.share(&held.filename)
            + EARLY * self.share(&held.early)
            + NEIGHBOURS * share(&self.neighbours, &held.neighbours)
    }

    /// The share of the question, by weight, that has these terms.
    fn share(&self, held: &BTreeSet<String>) -> f64 {
        share(&self.weights, held)
    }
}

fn share<T: Ord>(weights: &BTreeMap<T, f64>, held: &BTreeSet<T>) -> f64 {
    let all: f64 = weights.values().sum();
    let found = weights.iter().filter(|(term, _)| held.contains(*term));
    let found: f64 = found.map(|(_, weight)| weight).sum();
    if all > 0.0 { found / all } else { 0.0 }
}

fn distinct(text: &str) -> BTreeSet<String> {
    terms(text).into_iter().map(|term| term.text).collect()
}

/// Words beside each other, in either order. Single characters repeat the pairs and are passed over.
fn neighbours(terms: &[Term]) -> BTreeSet<(String, String)> {
    let words = terms.iter().filter(|term| term.kind != Kind::Single);
    let words: Vec<&Term> = words.collect();
    let beside = words.windows(2).filter_map(|two| match two {
        [a, b] if a.text <= b.text => Some((a.text.clone(), b.text.clone())),
        [a, b] => Some((b.text.clone(), a.text.clone())),
        _ => None,
    });
    beside.collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::{Candidate, Ranked, rerank};

    const NOTHING: Candidate<'static> = Candidate {
        text: "",
        heading: "",
        filename: "",
        bm25: 1.0,
        vector: None,
    };

    fn text(text: &str) -> Candidate<'_> {
        Candidate { text, ..NOTHING }
    }

    fn order(question: &str, candidates: &[Candidate<'_>]) -> Vec<usize> {
        let ranked = rerank(question, candidates);
        assert!(ranked.is_sorted_by(|a, b| a.score >= b.score));
        ranked.iter().map(|ranked| ranked.place).collect()
    }

    #[test]
    fn where_words_stand_decides_between_equals() {
        let long = "filler ".repeat(40);
        let late = format!("{long} rate limit");
        let early = format!("rate limit {long}");
        let apart = format!("rate of a limit: {long}");
        let apart = apart.replacen("of a", "other", 1);
        let named = Candidate {
            filename: "rate-limit.md",
            ..text(&long)
        };
        let headed = Candidate {
            heading: "Guide > Rate limit",
            ..text(&long)
        };
        assert_eq!(order("rate limit", &[text(&late), text(&early)]), [1, 0]);
        assert_eq!(order("rate limit", &[text(&apart), text(&early)]), [1, 0]);
        assert_eq!(
            order("rate limit", &[text(&late), named, headed]),
            [2, 1, 0]
        );
        // The score of BM25 counts most.
        let strong = Candidate {
            bm25: 3.0,
            ..text(&late)
        };
        assert_eq!(order("rate limit", &[headed, strong]), [1, 0]);
        // Equals keep their order.
        assert_eq!(
            order("rate", &[text("rate"), text("rate"), text("rate")]),
            [0, 1, 2]
        );
        assert_eq!(
            order(
                "限制",
                &[
                    text("缓慢"),
                    Candidate {
                        heading: "限制",
                        ..NOTHING
                    }
                ]
            ),
            [1, 0]
        );
    }

    #[test]
    fn a_near_vector_outweighs_words() {
        let near = Candidate {
            vector: Some(0.9),
            bm25: 0.0,
            ..text("other words")
        };
        let far = Candidate {
            vector: Some(0.1),
            ..text("rate limit")
        };
        assert_eq!(order("rate limit", &[far, near]), [1, 0]);
        let broken = Candidate {
            vector: Some(f64::NAN),
            ..text("rate limit")
        };
        assert!(rerank("rate limit", &[broken])[0].score > 0.0);
    }

    #[test]
    fn scores_are_low_when_the_rare_words_are_missing() {
        let candidates = [text("the cache of keys"), text("keys")];
        let best = |question| rerank(question, &candidates)[0].score;
        assert!(best("cache keys") > 0.6, "{}", best("cache keys"));
        assert!(best("zebra migration cache") < best("cache keys") / 2.0);
        assert!(best("zebra migration") < 1e-9);
    }

    #[test]
    fn nothing_is_ranked_as_nothing() {
        assert_eq!(rerank("anything", &[]), []);
        assert_eq!(
            rerank("", &[NOTHING]),
            [Ranked {
                place: 0,
                score: 0.0
            }]
        );
    }

    proptest! {
        #[test]
        fn every_candidate_has_one_place_and_a_score_between_0_and_1(
            question in "[a-d ]{0,12}|\\PC{0,9}",
            rows in vec(("[a-d .]{0,30}|\\PC{0,9}", "[a-d]{0,3}", any::<f64>(), any::<Option<f64>>()), 0..9),
        ) {
            let candidates: Vec<Candidate<'_>> = rows
                .iter()
                .map(|(text, heading, bm25, vector)| Candidate {
                    text, heading, filename: heading, bm25: *bm25, vector: *vector,
                })
                .collect();
            let ranked = rerank(&question, &candidates);
            assert!(ranked.iter().all(|ranked| (0.0..=1.0).contains(&ranked.score)));
            let mut places: Vec<usize> = ranked.iter().map(|ranked| ranked.place).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..rows.len()));
        }
    }
}
