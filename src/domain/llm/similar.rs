//! Similar questions: embeddings in eight bits a dimension, and a small index that finds the nearest.
//!
//! The pure part of the semantic cache. Who may share an index (never two principals, unless the alias is public) and
//! where it is stored is decided by the caller.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Most dimensions of an embedding: above every provider's, and 8192 × 127² fits 31 bits.
pub const MAX_DIMENSIONS: usize = 8192;

/// An embedding whose largest dimension is ±127. Its length is not kept: only directions are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantised(Vec<i8>);

impl Quantised {
    /// `None` for an embedding without direction (empty, all zero), with values that are no numbers, or too long.
    ///
    /// The cosine of two quantised embeddings is within 0.01 of the true one for what models make: values of similar
    /// size in hundreds of dimensions. An embedding that a single dimension rules loses the small ones.
    #[must_use]
    pub fn of(embedding: &[f32]) -> Option<Self> {
        let largest = embedding.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let finite = embedding.iter().all(|x| x.is_finite());
        if !finite || largest < f32::MIN_POSITIVE || embedding.len() > MAX_DIMENSIONS {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the quotient is at most 1, so that the product is at most 127"
        )]
        let quantise = |x: &f32| (x / largest * 127.0).round() as i8;
        Some(Self(embedding.iter().map(quantise).collect()))
    }

    /// Cosine of the angle, −1 to 1; `None` for embeddings of different dimensions.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> Option<f64> {
        if self.0.len() != other.0.len() {
            return None;
        }
        // Neither product is 0: the largest dimension is ±127.
        let lengths = f64::from(self.dot(self)) * f64::from(other.dot(other));
        Some((f64::from(self.dot(other)) / lengths.sqrt()).clamp(-1.0, 1.0))
    }

    fn dot(&self, other: &Self) -> i32 {
        // Wrapping never wraps here (see `MAX_DIMENSIONS`) and lets the compiler use vector instructions.
        self.0.iter().zip(&other.0).fold(0_i32, |sum, (a, b)| {
            sum.wrapping_add(i32::from(*a).wrapping_mul(i32::from(*b)))
        })
    }

    fn to_base64(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().map(|x| x.cast_unsigned()).collect();
        STANDARD.encode(bytes)
    }

    fn from_base64(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let values: Vec<i8> = bytes.into_iter().map(u8::cast_signed).collect();
        let directed = values.iter().any(|x| *x != 0) && values.len() <= MAX_DIMENSIONS;
        directed.then_some(Self(values))
    }
}

/// The questions of one alias and partition, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// What made the embeddings; others cannot be compared with them.
    model: String,
    entries: VecDeque<(String, Quantised)>,
}

/// How an index is stored: version 1.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    v: u8,
    #[serde(borrow)]
    model: std::borrow::Cow<'a, str>,
    /// Key, and the embedding as base64 of its signed bytes.
    entries: Vec<(String, String)>,
}

const VERSION: u8 = 1;

impl Index {
    /// An index of nothing.
    #[must_use]
    pub const fn new(model: String) -> Self {
        Self {
            model,
            entries: VecDeque::new(),
        }
    }

    /// Reads a stored index. Another version, another model or a broken text is an empty index: it is a cache.
    #[must_use]
    pub fn read(text: &str, model: &str) -> Self {
        let stored = serde_json::from_str::<Stored<'_>>(text)
            .ok()
            .filter(|stored| stored.v == VERSION && stored.model == model);
        let entries = stored.into_iter().flat_map(|stored| stored.entries);
        Self {
            model: model.to_owned(),
            entries: entries
                .filter_map(|(key, text)| Some((key, Quantised::from_base64(&text)?)))
                .collect(),
        }
    }

    /// The stored form: four bytes of text for three dimensions, so 410 KB for 200 entries of 1536.
    #[must_use]
    pub fn write(&self) -> String {
        let stored = Stored {
            v: VERSION,
            model: self.model.as_str().into(),
            entries: self
                .entries
                .iter()
                .map(|(key, embedding)| (key.clone(), embedding.to_base64()))
                .collect(),
        };
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts an entry in front of all others, in place of one with the same key. The oldest beyond `max_entries` go out.
    pub fn insert(&mut self, key: &str, embedding: Quantised, max_entries: usize) {
        self.remove(key);
        self.entries.push_back((key.to_owned(), embedding));
        let surplus = self.entries.len().saturating_sub(max_entries);
        self.entries.drain(..surplus);
    }

    /// Takes an entry out, such as one whose answer is gone.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(other, _)| other != key);
    }

    /// The key of the most similar entry and its score, when that is at least `threshold`; of equals the newest.
    #[must_use]
    pub fn lookup(&self, embedding: &Quantised, threshold: f64) -> Option<(&str, f64)> {
        self.entries
            .iter()
            .filter_map(|(key, other)| Some((key.as_str(), embedding.cosine(other)?)))
            .filter(|(_, score)| *score >= threshold)
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

#[cfg(test)]
mod tests {
    use super::{Index, MAX_DIMENSIONS, Quantised};
    use proptest::prelude::*;

    fn of(embedding: &[f32]) -> Quantised {
        Quantised::of(embedding).unwrap()
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(x, y)| f64::from(*x) * f64::from(*y))
                .sum()
        };
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    /// Normally distributed values from a linear congruential generator and the sum of twelve.
    fn random(seed: &mut u64) -> f32 {
        let mut sum = 0.0_f64;
        for _ in 0..12 {
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (*seed >> 40) as f64 / f64::from(1 << 24);
        }
        (sum - 6.0) as f32
    }

    #[test]
    fn scores_match_the_cosine_of_the_floats() {
        let mut seed = 1;
        let mut worst = 0.0_f64;
        for dimensions in [256, 384, 768, 1536, 3072] {
            for step in 0..=40 {
                let a: Vec<f32> = (0..dimensions).map(|_| random(&mut seed) * 0.02).collect();
                let share = step as f32 / 20.0 - 1.0;
                let b: Vec<f32> = a
                    .iter()
                    .map(|x| share * x + (1.0 - share.abs()) * random(&mut seed) * 0.02)
                    .collect();
                let score = of(&a).cosine(&of(&b)).unwrap();
                worst = worst.max((score - cosine(&a, &b)).abs());
            }
        }
        assert!(worst < 0.01, "{worst}");
        // Not by accident: eight bits are good for about one part in a thousand.
        assert!(worst < 0.002, "{worst}");
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        for bad in [
            &[][..],
            &[0.0, 0.0],
            &[f32::NAN, 1.0],
            &[f32::INFINITY, 1.0],
            &[1.0; MAX_DIMENSIONS + 1],
        ] {
            assert!(Quantised::of(bad).is_none());
        }
        assert_eq!(of(&[1.0, 0.0]).cosine(&of(&[1.0, 0.0, 0.0])), None);
        assert_eq!(of(&[1.0, -1.0]).cosine(&of(&[-3.0, 3.0])), Some(-1.0));
        let longest = of(&[1.0; MAX_DIMENSIONS]);
        assert_eq!(longest.cosine(&longest), Some(1.0));
    }

    #[test]
    fn the_nearest_above_the_threshold_is_found() {
        let mut index = Index::new("m".into());
        index.insert("east", of(&[1.0, 0.0]), 9);
        index.insert("north", of(&[0.0, 1.0]), 9);
        index.insert("other model", of(&[1.0, 0.0, 0.0]), 9);
        let near = of(&[1.0, 0.1]);
        let (key, score) = index.lookup(&near, 0.95).unwrap();
        assert_eq!(key, "east");
        assert!((score - 0.995).abs() < 0.005, "{score}");
        assert_eq!(index.lookup(&near, 0.999), None);
        // At the threshold it is found; of equals the newest.
        index.insert("east again", of(&[2.0, 0.0]), 9);
        assert_eq!(
            index.lookup(&of(&[1.0, 0.0]), 1.0),
            Some(("east again", 1.0))
        );
    }

    #[test]
    fn the_oldest_goes_out() {
        let mut index = Index::new("m".into());
        for key in ["a", "b", "c", "a", "d"] {
            index.insert(key, of(&[1.0, 0.0]), 3);
        }
        let text = index.write();
        assert!(!text.contains("\"b\"") && index.len() == 3, "{text}");
        assert_eq!(text.matches("\"a\"").count(), 1);
        index.insert("a", of(&[0.0, 1.0]), 9);
        assert_eq!(index.len(), 3);
        assert_eq!(index.lookup(&of(&[0.0, 1.0]), 0.9), Some(("a", 1.0)));
        index.insert("a", of(&[1.0, 0.0]), 9);
        index.remove("d");
        assert_eq!(
            index.lookup(&of(&[1.0, 0.0]), 0.9).map(|found| found.0),
            Some("a")
        );
        index.insert("e", of(&[1.0]), 0);
        assert!(index.is_empty());
    }

    /// Indexes in KV outlive a deployment: a change of this text needs a new version number.
    #[test]
    fn the_stored_format_is_unchanged() {
        let mut index = Index::new("text-embedding-3-small".into());
        index.insert("k1", of(&[1.0, -1.0, 0.5]), 9);
        let text = r#"{"v":1,"model":"text-embedding-3-small","entries":[["k1","f4FA"]]}"#;
        assert_eq!(index.write(), text);
        assert_eq!(Index::read(text, "text-embedding-3-small"), index);
        for other in [
            text.replace("\"v\":1", "\"v\":2"),
            text.replace("3-small", "3-large"),
            text.replace('}', ""),
        ] {
            assert!(Index::read(&other, "text-embedding-3-small").is_empty());
        }
        let broken = text.replace("f4FA", "AAAA").replace("k1", "zero");
        assert!(Index::read(&broken, "text-embedding-3-small").is_empty());
    }

    proptest! {
        #[test]
        fn an_index_survives_its_stored_form(
            embeddings in prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 1..20), 0..6),
        ) {
            let mut index = Index::new("a \"model\"".into());
            for (i, embedding) in embeddings.iter().enumerate() {
                if let Some(quantised) = Quantised::of(embedding) {
                    index.insert(&format!("k\n{i}"), quantised, 4);
                }
            }
            prop_assert_eq!(&Index::read(&index.write(), "a \"model\""), &index);
        }

        #[test]
        fn a_score_is_a_cosine(a in prop::collection::vec(-1.0_f32..1.0, 4), b in prop::collection::vec(-1.0_f32..1.0, 4)) {
            if let (Some(a), Some(b)) = (Quantised::of(&a), Quantised::of(&b)) {
                let score = a.cosine(&b).unwrap();
                prop_assert!((-1.0..=1.0).contains(&score));
                prop_assert_eq!(Some(score), b.cosine(&a));
                prop_assert!(a.cosine(&a).unwrap() > 0.999_999);
            }
        }
    }
}
