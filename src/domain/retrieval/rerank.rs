//! A second look at the best passages, now with their text: without a model, from features that any text has.
//!
//! BM25 does not see where words stand. Here the share of the question that a passage has counts, how much of it one
//! sentence has, whether words that neighbour in the question do in the passage, and whether headings and the file's name
//! have them. Each feature is a share from 0 to 1, and so is their weighted mean, which is the score.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::answer::sentences::sentences;
use crate::domain::answer::tokens::{Kind, Term, capped, terms};

/// The most candidates that are worth opening.
pub const MOST: usize = 50;

/// What each feature counts; their sum is the whole. Found on two collections (`tests/contract/retrieval.rs`).
const BM25: f64 = 0.55;
const COVERAGE: f64 = 0.15;
const SENTENCE: f64 = 0.1;
const NEIGHBOURS: f64 = 0.1;
const HEADING: f64 = 0.07;
const FILENAME: f64 = 0.03;
/// What the embedding counts where there is one, against all of these.
const VECTOR: f64 = 0.5;

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
    /// From 0 to 1.
    pub score: f64,
}

/// All candidates, best first; equals keep their order.
#[must_use]
pub fn rerank(question: &str, candidates: &[Candidate<'_>]) -> Vec<Ranked> {
    let asked = Asked::of(question, candidates);
    let best = candidates.iter().fold(0.0_f64, |best, c| best.max(c.bm25));
    let mut ranked: Vec<Ranked> = candidates
        .iter()
        .enumerate()
        .map(|(place, candidate)| Ranked {
            place,
            score: asked.score(candidate, best).clamp(0.0, 1.0),
        })
        .collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked
}

/// A question, its words weighed by how few of the candidates have them.
struct Asked {
    weights: BTreeMap<String, f64>,
    total: f64,
    /// Words that stand beside each other.
    neighbours: BTreeSet<(String, String)>,
}

impl Asked {
    fn of(question: &str, candidates: &[Candidate<'_>]) -> Self {
        let asked = terms(capped(question));
        let held: Vec<BTreeSet<String>> = candidates
            .iter()
            .map(|c| {
                distinct(c.text)
                    .into_iter()
                    .chain(distinct(c.heading))
                    .collect()
            })
            .collect();
        let mut weights = BTreeMap::new();
        for term in &asked {
            let with = held.iter().filter(|held| held.contains(&term.text)).count();
            let (with, all) = (with as f64, held.len() as f64);
            let rarity = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            let share = if term.kind == Kind::Single {
                SINGLE
            } else {
                1.0
            };
            weights.insert(term.text.clone(), share * (1.0 + rarity));
        }
        Self {
            total: weights.values().sum(),
            neighbours: neighbours(&asked),
            weights,
        }
    }

    fn score(&self, candidate: &Candidate<'_>, best: f64) -> f64 {
        let in_text = distinct(candidate.text);
        let in_heading = distinct(candidate.heading);
        let in_name = distinct(candidate.filename);
        let bm25 = if best > 0.0 {
            candidate.bm25 / best
        } else {
            0.0
        };
        let everywhere: BTreeSet<String> = in_text.union(&in_heading).cloned().collect();
        let sentence = sentences(candidate.text)
            .into_iter()
            .filter_map(|range| candidate.text.get(range))
            .map(|sentence| self.share(&distinct(sentence)))
            .fold(0.0, f64::max);
        let words = BM25 * bm25
            + COVERAGE * self.share(&everywhere)
            + SENTENCE * sentence
            + NEIGHBOURS * self.neighbouring(candidate.text)
            + HEADING * self.share(&in_heading)
            + FILENAME * self.share(&in_name);
        match candidate.vector {
            Some(cosine) if cosine.is_finite() => {
                VECTOR * cosine.clamp(0.0, 1.0) + (1.0 - VECTOR) * words
            }
            _ => words,
        }
    }

    /// The share of the question, by weight, that has these terms.
    fn share(&self, held: &BTreeSet<String>) -> f64 {
        let sum: f64 = self
            .weights
            .iter()
            .filter(|(term, _)| held.contains(*term))
            .map(|(_, weight)| weight)
            .sum();
        if self.total > 0.0 {
            sum / self.total
        } else {
            0.0
        }
    }

    /// The share of the question's neighbours that are neighbours in the text.
    fn neighbouring(&self, text: &str) -> f64 {
        if self.neighbours.is_empty() {
            return 0.0;
        }
        let found = neighbours(&terms(text));
        let both = self.neighbours.intersection(&found).count();
        both as f64 / self.neighbours.len() as f64
    }
}

fn distinct(text: &str) -> BTreeSet<String> {
    terms(text).into_iter().map(|term| term.text).collect()
}

/// Words beside each other, in either order; pairs of characters are neighbours by themselves.
fn neighbours(terms: &[Term]) -> BTreeSet<(String, String)> {
    let words: Vec<&Term> = terms
        .iter()
        .filter(|term| term.kind != Kind::Single)
        .collect();
    let beside = words.windows(2).filter_map(|two| match two {
        [a, b] if a.text <= b.text => Some((a.text.clone(), b.text.clone())),
        [a, b] => Some((b.text.clone(), a.text.clone())),
        _ => None,
    });
    beside.collect()
}
