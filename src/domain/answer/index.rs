//! The passages of the site and their ranking: BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework",
//! 2009), with the title and the heading counted as repeated text (the simple form of BM25F, §3.6 there).
//!
//! The site builder writes the index once; the Worker reads it. So all counting is done when it is built, and what is
//! stored is a sorted table of terms and flat lists of integers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::bm25;
use super::tokens::{Kind, Term, capped, counted, terms};

/// The format of [`Index::to_json`]. Counts up with every change of it, or of how text becomes terms.
pub const VERSION: u32 = 1;

/// How often a word in the heading counts, against 1 in the text.
pub const HEADING_WEIGHT: u32 = 3;
/// How often a word in the page's title counts.
const PAGE_WEIGHT: u32 = 2;

/// A section of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Passage {
    /// Where it stands, from the root of the site, with the section's anchor: `/docs/limits#burst`.
    pub url: String,
    /// The page's title.
    pub page: String,
    /// The section's heading; empty for what stands in front of the first one.
    pub heading: String,
    /// The section's plain text, white space collapsed. Quotes are taken from it as they are.
    pub text: String,
    /// The page's language (BCP 47): `en`, `zh-CN`.
    pub lang: String,
}

/// A passage as stored: url, page, heading, text, lang.
type Row = (String, String, String, String, String);

impl From<Row> for Passage {
    fn from((url, page, heading, text, lang): Row) -> Self {
        Self {
            url,
            page,
            heading,
            text,
            lang,
        }
    }
}

impl From<Passage> for Row {
    fn from(passage: Passage) -> Self {
        let Passage {
            url,
            page,
            heading,
            text,
            lang,
        } = passage;
        (url, page, heading, text, lang)
    }
}

/// A passage that a question leads to.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The passage.
    pub passage: &'a Passage,
    /// BM25 score: comparable within one search only.
    pub score: f64,
    /// How much of the question, by weight of its words and pairs, the passage has: from 0 to 1.
    pub coverage: f64,
}

/// Why stored bytes are no index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// Not JSON of the expected shape.
    Json {
        /// What the parser says.
        detail: String,
    },
    /// Written by another version of the site builder.
    Version {
        /// The version that was found; [`VERSION`] is expected.
        found: u32,
    },
    /// The lists contradict each other.
    Inconsistent {
        /// Which rule is broken.
        rule: &'static str,
    },
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { detail } => write!(f, "not a search index: {detail}"),
            Self::Version { found } => {
                write!(f, "search index of version {found}, expected {VERSION}")
            }
            Self::Inconsistent { rule } => write!(f, "damaged search index: {rule}"),
        }
    }
}

impl std::error::Error for IndexError {}

/// The searchable passages of a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    stored: Stored,
    /// Where each term and its postings stand in `stored`, in the order of the terms.
    table: Vec<Entry>,
    average_length: f64,
}

/// The JSON form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    passages: Vec<Passage>,
    /// Of each passage, in weighted words and pairs.
    lengths: Vec<u32>,
    /// All terms, sorted by their bytes, one space between two.
    terms: String,
    /// Of each term, the number of passages that have it.
    frequencies: Vec<u32>,
    /// Of each term in turn, for each passage that has it: the distance from the passage before (the first: from −1),
    /// and the weighted count.
    postings: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    term: Range<usize>,
    postings: Range<usize>,
}

impl Index {
    /// Indexes the passages; their order decides between equal scores.
    #[must_use]
    pub fn build(passages: Vec<Passage>) -> Self {
        let mut by_term: BTreeMap<String, Vec<(u32, u32)>> = BTreeMap::new();
        let mut lengths = Vec::with_capacity(passages.len());
        for (passage, number) in passages.iter().zip(0..) {
            let (counts, length) = weighted_counts(passage);
            lengths.push(length);
            for (term, count) in counts {
                by_term.entry(term.text).or_default().push((number, count));
            }
        }
        let mut stored = Stored {
            version: VERSION,
            passages,
            lengths,
            terms: String::new(),
            frequencies: Vec::with_capacity(by_term.len()),
            postings: Vec::new(),
        };
        for (term, postings) in by_term {
            if !stored.terms.is_empty() {
                stored.terms.push(' ');
            }
            stored.terms.push_str(&term);
            stored
                .frequencies
                .push(u32::try_from(postings.len()).unwrap_or(u32::MAX));
            let mut next = 0;
            for (number, count) in postings {
                let distance = number.saturating_sub(next).saturating_add(1);
                stored.postings.extend([distance, count]);
                next = number.saturating_add(1);
            }
        }
        let table = table(&stored).unwrap_or_default();
        Self::assemble(stored, table)
    }

    /// Reads what [`Index::to_json`] wrote.
    ///
    /// # Errors
    /// [`IndexError`] for anything else; a damaged index is found here and not in a search.
    pub fn from_json(bytes: &[u8]) -> Result<Self, IndexError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let stored: Stored =
            serde_json::from_slice(bytes).map_err(|error| match serde_json::from_slice(bytes) {
                Ok(Versioned { version }) if version != VERSION => {
                    IndexError::Version { found: version }
                }
                _ => IndexError::Json {
                    detail: error.to_string(),
                },
            })?;
        if stored.version != VERSION {
            return Err(IndexError::Version {
                found: stored.version,
            });
        }
        let table = table(&stored).map_err(|rule| IndexError::Inconsistent { rule })?;
        Ok(Self::assemble(stored, table))
    }

    /// The compact JSON form, which starts with its version.
    ///
    /// # Errors
    /// Those of the JSON writer; none are known for this type.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.stored)
    }

    /// All passages, in the order they were given.
    #[must_use]
    pub fn passages(&self) -> &[Passage] {
        &self.stored.passages
    }

    /// The best passages for `query`, best first, at most `limit`. Of a query over [`super::tokens::QUESTION_CAP_BYTES`]
    /// only that much is read.
    #[must_use]
    pub fn search(&self, query: &str, limit: usize) -> Vec<Hit<'_>> {
        let wanted = self.weigh(query);
        let all: f64 = wanted.iter().map(|wanted| wanted.asked).sum();
        let mut sums = vec![(0.0, 0.0); self.stored.passages.len()];
        for wanted in &wanted {
            let postings = wanted.entry.iter().flat_map(|entry| self.postings(entry));
            for (number, count) in postings {
                if let Some((score, coverage)) = sums.get_mut(number) {
                    *score += wanted.weight * self.saturated(number, count);
                    *coverage += wanted.asked / all;
                }
            }
        }
        let found = self.stored.passages.iter().zip(sums);
        let mut hits: Vec<Hit<'_>> = found
            .filter(|(_, (score, _))| *score > 0.0)
            .map(|(passage, (score, coverage))| Hit {
                passage,
                score,
                coverage,
            })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(limit);
        hits
    }

    /// The different terms of a question, with what each is worth.
    pub(super) fn weigh(&self, query: &str) -> Vec<Wanted<'_>> {
        let distinct: BTreeSet<Term> = terms(capped(query)).into_iter().collect();
        let only_singles = distinct.iter().all(|term| term.kind == Kind::Single);
        let wanted = distinct.into_iter().map(|Term { text: term, kind }| {
            let entry = self.find(&term);
            let with = entry.map_or(0, |entry| entry.postings.len() / 2);
            let weight = bm25::weight(kind, with as u64, self.stored.passages.len() as u64);
            // Two words often share a character and nothing else: it ranks, but it is no part of the question.
            let asked = if kind == Kind::Single && !only_singles {
                0.0
            } else {
                weight
            };
            Wanted {
                term,
                weight,
                asked,
                entry,
            }
        });
        wanted.collect()
    }

    fn assemble(stored: Stored, table: Vec<Entry>) -> Self {
        let sum: f64 = stored.lengths.iter().map(|length| f64::from(*length)).sum();
        let average_length = (sum / stored.lengths.len().max(1) as f64).max(1.0);
        Self {
            stored,
            table,
            average_length,
        }
    }

    fn find(&self, term: &str) -> Option<&Entry> {
        let text = |entry: &Entry| {
            self.stored
                .terms
                .get(entry.term.clone())
                .unwrap_or_default()
        };
        let place = self
            .table
            .binary_search_by(|entry| text(entry).cmp(term))
            .ok()?;
        self.table.get(place)
    }

    /// `(passage number, weighted count)` of each passage that has the term.
    fn postings(&self, entry: &Entry) -> impl Iterator<Item = (usize, u32)> {
        let pairs = self
            .stored
            .postings
            .get(entry.postings.clone())
            .unwrap_or_default();
        let (pairs, _) = pairs.as_chunks::<2>();
        pairs.iter().scan(0_usize, |next, [distance, count]| {
            *next = next.saturating_add(*distance as usize);
            Some((next.saturating_sub(1), *count))
        })
    }

    fn saturated(&self, number: usize, count: u32) -> f64 {
        let length = self.stored.lengths.get(number).copied().unwrap_or_default();
        bm25::saturated(count, length, self.average_length)
    }
}

/// A term of a question.
pub(super) struct Wanted<'a> {
    term: String,
    /// What it adds to a score.
    weight: f64,
    /// What it counts in [`Hit::coverage`].
    asked: f64,
    entry: Option<&'a Entry>,
}

impl Wanted<'_> {
    pub(super) fn as_pair(&self) -> (&str, f64) {
        (&self.term, self.weight)
    }
}

/// The weighted count of each term, and the length.
fn weighted_counts(passage: &Passage) -> (BTreeMap<Term, u32>, u32) {
    counted(&[
        (&passage.text, 1),
        (&passage.heading, HEADING_WEIGHT),
        (&passage.page, PAGE_WEIGHT),
    ])
}

/// Checks the lists against each other and finds where each term stands.
fn table(stored: &Stored) -> Result<Vec<Entry>, &'static str> {
    if stored.lengths.len() != stored.passages.len() {
        return Err("one length for each passage");
    }
    let terms = stored.terms.split(' ').filter(|term| !term.is_empty());
    if terms.clone().count() != stored.frequencies.len() {
        return Err("one frequency for each term");
    }
    if !terms.clone().is_sorted_by(|a, b| a < b) {
        return Err("terms sorted and different");
    }
    let mut table = Vec::with_capacity(stored.frequencies.len());
    let mut term_start: usize = 0;
    let mut postings_start: usize = 0;
    for (term, frequency) in terms.zip(&stored.frequencies) {
        let term_end = term_start.saturating_add(term.len());
        let postings_end = postings_start.saturating_add((*frequency as usize).saturating_mul(2));
        let postings = stored.postings.get(postings_start..postings_end);
        check_postings(
            postings.ok_or("postings for each term")?,
            stored.passages.len(),
        )?;
        table.push(Entry {
            term: term_start..term_end,
            postings: postings_start..postings_end,
        });
        term_start = term_end.saturating_add(1);
        postings_start = postings_end;
    }
    if postings_start != stored.postings.len() {
        return Err("a term for each posting");
    }
    if term_start
        != stored
            .terms
            .len()
            .saturating_add(usize::from(!table.is_empty()))
    {
        return Err("one space between terms");
    }
    Ok(table)
}

fn check_postings(postings: &[u32], passages: usize) -> Result<(), &'static str> {
    let (pairs, _) = postings.as_chunks::<2>();
    if pairs.is_empty()
        || pairs
            .iter()
            .any(|[distance, count]| *distance == 0 || *count == 0)
    {
        return Err("postings in order, none empty");
    }
    let last = pairs.iter().fold(0_usize, |sum, [distance, _]| {
        sum.saturating_add(*distance as usize)
    });
    if last > passages {
        return Err("postings of existing passages");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Index, Passage};

    fn index(texts: &[&str]) -> Index {
        let passages = texts.iter().enumerate().map(|(number, text)| Passage {
            url: format!("/{number}"),
            page: String::new(),
            heading: String::new(),
            text: (*text).to_owned(),
            lang: "en".to_owned(),
        });
        Index::build(passages.collect())
    }

    fn found(index: &Index, query: &str, limit: usize) -> Vec<usize> {
        let hits = index.search(query, limit);
        assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
        hits.iter()
            .map(|hit| hit.passage.url[1..].parse().unwrap())
            .collect()
    }

    #[test]
    fn passages_are_ranked_by_rarity_repetition_and_length() {
        let table: &[(&[&str], &str, &[usize])] = &[
            // A rare word weighs more than a common one.
            (
                &["key here", "key there", "cache there"],
                "key cache",
                &[2, 0, 1],
            ),
            // More of the question is better; equal scores keep their order.
            (
                &["key", "cache", "key cache", "none"],
                "cache key",
                &[2, 0, 1],
            ),
            // Repetition counts, less each time, and length counts against.
            (&["key one two", "key key two"], "key", &[1, 0]),
            (
                &["key one two three four five six", "key one"],
                "key",
                &[1, 0],
            ),
            (
                &["key key key key key key", "key cache"],
                "key cache",
                &[1, 0],
            ),
            // Below half the average, shorter is no better.
            (
                &[
                    "key one two",
                    "key",
                    "a1 a2 a3 a4 a5 a6 a7 a8 a9 b1 b2 b3 b4 b5 b6 b7 b8 b9",
                ],
                "key",
                &[0, 1],
            ),
            // A character alone finds the pair that has it, and a pair counts more than its characters apart.
            (&["按键", "缓慢"], "键", &[0]),
            (&["限制流量", "缓慢"], "限流", &[0]),
            (
                &[
                    "缓慢存放，缓解保存，缓慢存放",
                    "删除回答，缓存回答，保管密钥",
                ],
                "缓存",
                &[1, 0],
            ),
            (&["key"], "nothing", &[]),
            (&["key"], "", &[]),
            (&[], "key", &[]),
        ];
        for (texts, query, expected) in table {
            assert_eq!(
                found(&index(texts), query, 9),
                *expected,
                "{query} in {texts:?}"
            );
        }
    }

    #[test]
    fn no_more_than_the_limit_are_found_and_they_are_the_best() {
        let index = index(&["key one two", "key", "key one"]);
        assert_eq!(found(&index, "key", 2), [1, 2]);
        assert_eq!(found(&index, "key", 0), [0; 0]);
    }

    #[test]
    fn coverage_is_the_share_of_the_question() {
        let index = index(&["key cache limit", "key", "other"]);
        let coverage = |query: &str| index.search(query, 1)[0].coverage;
        assert!((coverage("key cache") - 1.0).abs() < 1e-9);
        let half = coverage("cache elsewhere");
        assert!((0.4..0.8).contains(&half), "{half}");
        let mut texts = vec!["other"; 20];
        texts.extend(["限制流量", "流量很大"]);
        let index = self::index(&texts);
        let coverage = |query: &str| index.search(query, 1)[0].coverage;
        // Characters of an unknown pair rank a passage and cover nothing, unless nothing else is asked.
        assert!(coverage("限流") < 1e-9);
        assert!((coverage("限") - 1.0).abs() < 1e-9);
        // An unknown pair counts, but less than a known one.
        let seam = coverage("流量好吃");
        assert!((0.4..0.7).contains(&seam), "{seam}");
        // Ten unknown words are more than one.
        let rare = coverage("流量 a1 a2 a3 a4 a5 a6 a7 a8 a9 a10");
        assert!(rare < 0.25, "{rare}");
    }
}
