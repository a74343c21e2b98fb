//! Short codes of embeddings, a bit for each number, by which most of a large store is passed over before an embedding
//! is looked at (RaBitQ: Gao and Long, SIGMOD 2024, <https://doi.org/10.1145/3654970>).
//!
//! Embeddings of neighbouring passages are coded together. Their middle is taken away from each, what is left is turned
//! by a fixed rotation, so that no number tells more than another, and of each number the sign is kept. With a factor
//! beside it, the cosine to a question is estimated without bias, and the better the more numbers there are: of 256 it
//! is off by 0.03 or so.
//!
//! Stored, little endian: the version (1 byte, 1), how many numbers an embedding has (`u16`), the middle (a scale, `f32`,
//! and a signed byte a number), then for each embedding its factor (`f32`) and its bits, the first number's lowest. They
//! are as many as the next power of two: 36 bytes of 256 numbers, where the embedding has 261.

use super::vector::{MAX_DIMENSIONS, Unit, decode};

/// The format of [`encode`]. Counts up with every change of it, and with another rotation.
pub const VERSION: u8 = 1;

/// Version and number of numbers.
const HEAD_BYTES: usize = 3;

/// Bytes of a scale or factor.
const FLOAT_BYTES: usize = 4;

/// Signs that are flipped before numbers are mixed. Three rounds of both are as good as a random rotation.
const ROUNDS: [u64; 3] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
];

/// Codes of embeddings as [`super::vector::encode`] made them. `None` when there are none, one is damaged, or they differ
/// in their number of numbers.
#[must_use]
pub fn encode(embeddings: &[Vec<u8>]) -> Option<Vec<u8>> {
    let all: Vec<Vec<f32>> = embeddings
        .iter()
        .map(|one| decode(one))
        .collect::<Option<_>>()?;
    let dimensions = all.first()?.len();
    if all.iter().any(|one| one.len() != dimensions) {
        return None;
    }
    let (scale, middle) = middle(&all, dimensions);
    let mut stored = vec![VERSION];
    stored.extend(u16::try_from(dimensions).ok()?.to_le_bytes());
    stored.extend(scale.to_le_bytes());
    stored.extend(middle.iter().map(|x| x.cast_unsigned()));
    for one in &all {
        let rest = one
            .iter()
            .zip(&middle)
            .map(|(x, m)| x - f32::from(*m) * scale);
        let turned = turned(rest, dimensions);
        let squares: f32 = turned.iter().map(|x| x * x).sum();
        let sum: f32 = turned.iter().map(|x| x.abs()).sum();
        let factor = if sum > 0.0 { squares / sum } else { 0.0 };
        stored.extend(factor.to_le_bytes());
        stored.extend(turned.chunks(8).map(bits));
    }
    Some(stored)
}

/// The mean of embeddings, each number a byte and one scale for all.
fn middle(all: &[Vec<f32>], dimensions: usize) -> (f32, Vec<i8>) {
    let mut sums = vec![0.0_f32; dimensions];
    for one in all {
        for (sum, x) in sums.iter_mut().zip(one) {
            *sum += x;
        }
    }
    let count = all.len() as f32;
    let largest = sums.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / count;
    if largest == 0.0 {
        return (0.0, vec![0; dimensions]);
    }
    let scale = largest / 127.0;
    // A cast of a float to an integer saturates.
    let middle = sums.iter().map(|sum| (sum / count / scale).round() as i8);
    (scale, middle.collect())
}

fn bits(eight: &[f32]) -> u8 {
    let signs = eight.iter().rev().map(|x| u8::from(*x > 0.0));
    signs.fold(0, |bits, sign| bits << 1 | sign)
}

/// Bits of a code: the next power of two, and whole bytes.
const fn bits_of(dimensions: usize) -> usize {
    let bits = dimensions.next_power_of_two();
    if bits < 8 { 8 } else { bits }
}

/// Turned by the rotation, with zeros added behind: lengths and products stay as they are.
fn turned(numbers: impl Iterator<Item = f32>, dimensions: usize) -> Vec<f32> {
    let size = bits_of(dimensions);
    let mut all: Vec<f32> = numbers.collect();
    all.resize(size, 0.0);
    let shrink = 1.0 / (size as f32).sqrt();
    for seed in ROUNDS {
        let mut state = seed;
        for x in &mut all {
            state = mixed(state);
            let sign = if state >> 63 == 1 { -shrink } else { shrink };
            *x *= sign;
        }
        hadamard(&mut all);
    }
    all
}

/// The next number of SplitMix64's kind.
const fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// The Walsh–Hadamard transform of 2ⁿ numbers.
fn hadamard(all: &mut [f32]) {
    let mut half = 1_usize;
    while half < all.len() {
        for both in all.chunks_exact_mut(half.saturating_mul(2)) {
            let (left, right) = both.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half = half.saturating_mul(2);
    }
}

/// A question, made ready to be compared with many codes.
pub struct Question {
    numbers: Vec<f32>,
    /// For each byte of a code what it adds.
    tables: Vec<[f32; 256]>,
}

impl Question {
    /// The question of an embedding.
    #[must_use]
    pub fn of(question: &Unit) -> Self {
        let numbers = question.numbers().to_vec();
        let turned = turned(numbers.iter().copied(), numbers.len());
        Self {
            tables: turned.chunks(8).map(table).collect(),
            numbers,
        }
    }

    /// The estimated cosine to each embedding of a row of codes. `None` when it is damaged, or of another number of
    /// numbers.
    #[must_use]
    pub fn cosines<'a>(&'a self, stored: &'a [u8]) -> Option<impl Iterator<Item = f32> + 'a> {
        let (head, rest) = stored.split_first_chunk::<HEAD_BYTES>()?;
        let [VERSION, low, high] = *head else {
            return None;
        };
        let dimensions = usize::from(u16::from_le_bytes([low, high]));
        if dimensions != self.numbers.len() || dimensions > MAX_DIMENSIONS {
            return None;
        }
        let (scale, rest) = rest.split_first_chunk::<FLOAT_BYTES>()?;
        let (middle, codes) = rest.split_at_checked(dimensions)?;
        let products = self.numbers.iter().zip(middle);
        let sum: f32 = products.map(|(x, m)| x * f32::from(m.cast_signed())).sum();
        let base = sum * f32::from_le_bytes(*scale);
        let length = FLOAT_BYTES.saturating_add(self.tables.len());
        let codes = codes.chunks_exact(length);
        (base.is_finite() && codes.remainder().is_empty()).then(|| {
            codes.map(move |code| {
                let (factor, bits) = code.split_first_chunk().unwrap_or((&[0; 4], &[]));
                let parts = self.tables.iter().zip(bits);
                let sum: f32 = parts.map(|(table, byte)| of_table(table, *byte)).sum();
                base + f32::from_le_bytes(*factor) * sum
            })
        })
    }
}

fn of_table(table: &[f32; 256], byte: u8) -> f32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

/// What each byte adds: a number where its bit is set, else its negative.
fn table(eight: &[f32]) -> [f32; 256] {
    core::array::from_fn(|byte| {
        let signed = eight.iter().enumerate().map(|(bit, x)| {
            let is_set = byte >> bit & 1 == 1;
            if is_set { *x } else { -x }
        });
        signed.sum()
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::{Question, encode};
    use crate::base::digest::hex;
    use crate::domain::retrieval::vector::{self, Unit};

    fn unit(numbers: &[f32]) -> Unit {
        Unit::of(numbers).unwrap()
    }

    fn random(random: &mut fastrand::Rng, dimensions: usize) -> Vec<f32> {
        // Sums of several are near enough to a normal distribution.
        let one = |random: &mut fastrand::Rng| (0..4).map(|_| random.f32() - 0.5).sum();
        (0..dimensions).map(|_| one(random)).collect()
    }

    fn coded(all: &[Vec<f32>]) -> Vec<u8> {
        let stored: Vec<Vec<u8>> = all.iter().map(|one| vector::encode(&unit(one))).collect();
        encode(&stored).unwrap()
    }

    fn cosines(question: &[f32], stored: &[u8]) -> Option<Vec<f32>> {
        Some(Question::of(&unit(question)).cosines(stored)?.collect())
    }

    /// Codes lie in storage in this form; another, or another rotation, needs another version.
    #[test]
    fn the_stored_form_is_pinned() {
        let stored = coded(&[vec![3.0, -4.0, 0.0], vec![0.0, 1.0, 1.0]]);
        assert_eq!(hex(&stored), "010300d771363b6bef7f2609bc3ed977d9bb3e26");
    }

    #[test]
    fn what_is_no_row_of_codes_is_refused() {
        let good = coded(&[vec![3.0, -4.0, 0.0], vec![0.0, 1.0, 1.0]]);
        let mut other_version = good.clone();
        other_version[0] = 2;
        let mut other_dimensions = good.clone();
        other_dimensions[1] = 4;
        let mut no_scale = good.clone();
        no_scale[3..7].fill(0xFF);
        let table: [&[u8]; 6] = [
            &other_version,
            &other_dimensions,
            &no_scale,
            &good[..good.len() - 1],
            &good[..6],
            &[],
        ];
        for stored in table {
            assert_eq!(cosines(&[1.0, 2.0, 3.0], stored), None, "{stored:?}");
        }
        assert_eq!(cosines(&[1.0, 2.0], &good), None);
        assert_eq!(cosines(&[1.0, 2.0, 3.0], &good).unwrap().len(), 2);

        let (two, three) = (
            vector::encode(&unit(&[1.0; 2])),
            vector::encode(&unit(&[1.0; 3])),
        );
        for embeddings in [vec![], vec![two, three], vec![vec![1, 2]]] {
            assert_eq!(encode(&embeddings), None, "{embeddings:?}");
        }
    }

    #[test]
    fn equal_embeddings_are_their_own_middle() {
        for (numbers, question, cosine) in [
            (vec![1.0, 0.0, 0.0], [1.0, 1.0, 0.0], 0.707),
            (vec![0.0, -2.0, 0.0], [1.0, 1.0, 0.0], -0.707),
        ] {
            let stored = coded(&[numbers.clone(), numbers]);
            for found in cosines(&question, &stored).unwrap() {
                assert!((found - cosine).abs() < 0.01, "{found} {cosine}");
            }
        }
    }

    /// Off by so much in the mean over many: the more numbers, the less. Nor are they all off to one side.
    #[test]
    fn cosines_are_estimated_without_bias() {
        let mut seed = fastrand::Rng::with_seed(3);
        for (dimensions, most) in [(64, 0.09), (256, 0.045), (384, 0.04), (1536, 0.02)] {
            let topic = random(&mut seed, dimensions);
            let all: Vec<Vec<f32>> = (0..200)
                .map(|_| {
                    let own = random(&mut seed, dimensions);
                    topic.iter().zip(own).map(|(a, b)| a + b).collect()
                })
                .collect();
            let stored = coded(&all);
            let question: Vec<f32> = all[0].iter().map(|x| x + seed.f32() - 0.5).collect();
            let exact = all
                .iter()
                .map(|one| unit(&question).cosine(&vector::encode(&unit(one))));
            let found = cosines(&question, &stored).unwrap();
            assert_eq!(found.len(), all.len());
            let off: Vec<f32> = exact.zip(found).map(|(a, b)| a.unwrap() - b).collect();
            let squares: f32 = off.iter().map(|x| x * x).sum();
            let (spread, bias) = ((squares / 200.0).sqrt(), off.iter().sum::<f32>() / 200.0);
            assert!(spread < most, "{dimensions}: {spread}");
            assert!(bias.abs() < most / 4.0, "{dimensions}: {bias}");
        }
    }

    /// Embeddings whose numbers are mostly the same or nought tell as much as others: that is what the rotation is for.
    #[test]
    fn sparse_embeddings_are_told_apart() {
        let all: Vec<Vec<f32>> = (0..64)
            .map(|at| (0..256).map(|n| f32::from(n == at || n == 200)).collect())
            .collect();
        let stored = coded(&all);
        for (at, question) in all.iter().enumerate() {
            let found = cosines(question, &stored).unwrap();
            let best = (0..64).max_by(|a, b| found[*a].total_cmp(&found[*b]));
            assert_eq!(best, Some(at));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..80)) {
            let mut bytes = bytes;
            if let [version, low, high, ..] = bytes.as_mut_slice() {
                (*version, *low, *high) = (1, 3, 0);
            }
            let _ = cosines(&[1.0, 2.0, 3.0], &bytes);
        }
    }
}
