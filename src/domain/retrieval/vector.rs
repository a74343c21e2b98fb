//! Embeddings, stored compactly, and the search for the nearest: an exact scan.
//!
//! A vector is made one of unit length, so that a dot product is the cosine; each number takes a byte, and one scale
//! holds for all. A vector of 1536 numbers takes 1541 bytes instead of 6144 and loses less than 1 % of a cosine.
//!
//! Stored: the version (1 byte, 1), the scale (`f32`, little endian), then a signed byte a number; the number is byte ×
//! scale.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The format of [`encode`]. Counts up with every change of it.
pub const VERSION: u8 = 1;

/// The most numbers of a vector.
pub const MAX_DIMENSIONS: usize = 8192;

const HEAD_BYTES: usize = 5;

/// A vector of unit length.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit(Vec<f32>);

impl Unit {
    /// `None` for no numbers, more than [`MAX_DIMENSIONS`], one that is not finite, or nothing but zeros.
    #[must_use]
    pub fn of(numbers: &[f32]) -> Option<Self> {
        if numbers.is_empty() || numbers.len() > MAX_DIMENSIONS {
            return None;
        }
        let squares = numbers.iter().map(|x| f64::from(*x) * f64::from(*x));
        let length = squares.sum::<f64>().sqrt();
        let unit = numbers.iter().map(|x| (f64::from(*x) / length) as f32);
        (length.is_finite() && length > 0.0).then(|| Self(unit.collect()))
    }

    /// The numbers.
    #[must_use]
    pub fn numbers(&self) -> &[f32] {
        &self.0
    }

    /// How many numbers.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.0.len()
    }

    /// The cosine to a stored vector, from −1 to 1. `None` when that is damaged or has another number of dimensions.
    #[must_use]
    pub fn cosine(&self, stored: &[u8]) -> Option<f32> {
        let (scale, bytes) = parts(stored)?;
        if bytes.len() != self.0.len() {
            return None;
        }
        let products = self.0.iter().zip(bytes);
        let sum: f32 = products.map(|(x, b)| x * f32::from(b.cast_signed())).sum();
        Some((sum * scale).clamp(-1.0, 1.0))
    }
}

/// The stored form.
#[must_use]
pub fn encode(vector: &Unit) -> Vec<u8> {
    let largest = vector.0.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let scale = largest / 127.0;
    let mut stored = Vec::with_capacity(HEAD_BYTES.saturating_add(vector.0.len()));
    stored.push(VERSION);
    stored.extend(scale.to_le_bytes());
    // A cast of a float to an integer saturates.
    let numbers = vector.0.iter().map(|x| (x / scale).round() as i8);
    stored.extend(numbers.map(i8::cast_unsigned));
    stored
}

/// Reads what [`encode`] wrote, less what rounding took. `None` for anything else.
#[must_use]
pub fn decode(stored: &[u8]) -> Option<Vec<f32>> {
    let (scale, bytes) = parts(stored)?;
    let numbers = bytes.iter().map(|b| f32::from(b.cast_signed()) * scale);
    Some(numbers.collect())
}

fn parts(stored: &[u8]) -> Option<(f32, &[u8])> {
    let (head, bytes) = stored.split_first_chunk::<HEAD_BYTES>()?;
    let [VERSION, scale @ ..] = head else {
        return None;
    };
    let scale = f32::from_le_bytes(*scale);
    let sound = scale.is_finite() && scale > 0.0 && scale <= 1.0;
    (sound && !bytes.is_empty() && bytes.len() <= MAX_DIMENSIONS).then_some((scale, bytes))
}

/// The `most` nearest of all stored vectors, nearest first, equals in the order of their ids. What is damaged or of
/// another number of dimensions is passed over. Only `most` are held at a time.
#[must_use]
pub fn nearest<Id: Ord, Stored: AsRef<[u8]>>(
    question: &Unit,
    all: impl IntoIterator<Item = (Id, Stored)>,
    most: usize,
) -> Vec<(Id, f32)> {
    let mut best = Nearest::new(most);
    for (id, stored) in all {
        if let Some(cosine) = question.cosine(stored.as_ref()) {
            best.add(id, cosine);
        }
    }
    best.in_order()
}

/// The nearest of those that were added.
pub struct Nearest<Id> {
    most: usize,
    best: BinaryHeap<Near<Id>>,
}

impl<Id: Ord> Nearest<Id> {
    /// At most so many.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            best: BinaryHeap::new(),
        }
    }

    /// One more.
    pub fn add(&mut self, id: Id, cosine: f32) {
        self.best.push(Near { cosine, id });
        if self.best.len() > self.most {
            self.best.pop();
        }
    }

    /// Nearest first, equals in the order of their ids.
    #[must_use]
    pub fn in_order(self) -> Vec<(Id, f32)> {
        let found = self.best.into_sorted_vec().into_iter();
        found.map(|near| (near.id, near.cosine)).collect()
    }
}

/// Ordered by distance: the heap's greatest is the farthest.
struct Near<Id> {
    cosine: f32,
    id: Id,
}

impl<Id: Ord> Ord for Near<Id> {
    fn cmp(&self, other: &Self) -> Ordering {
        let nearer = other.cosine.total_cmp(&self.cosine);
        nearer.then_with(|| self.id.cmp(&other.id))
    }
}

impl<Id: Ord> PartialOrd for Near<Id> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Id: Ord> PartialEq for Near<Id> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<Id: Ord> Eq for Near<Id> {}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy as _, any, prop_assume, proptest};

    use super::{Unit, decode, encode, nearest};

    fn unit(numbers: &[f32]) -> Unit {
        Unit::of(numbers).unwrap()
    }

    /// Vectors lie in storage in this form; another needs another version.
    #[test]
    fn the_stored_form_is_pinned() {
        let stored = encode(&unit(&[3.0, -4.0, 0.0]));
        // 0.8 ÷ 127, then 0.6 and −0.8 by it.
        assert_eq!(stored, [1, 0xa0, 0x69, 0xce, 0x3b, 95, 0x81, 0]);
        let read = decode(&stored).unwrap();
        assert!((read[0] - 0.6).abs() < 0.004 && (read[1] + 0.8).abs() < 1e-6 && read[2] == 0.0);
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        let table: &[&[f32]] = &[
            &[],
            &[0.0, 0.0],
            &[f32::NAN, 1.0],
            &[f32::INFINITY, 1.0],
            &[1.0; 8193],
        ];
        for numbers in table {
            assert!(Unit::of(numbers).is_none(), "{:?}", numbers.first());
        }
        let good = encode(&unit(&[1.0, 2.0]));
        let mut other_version = good.clone();
        other_version[0] = 2;
        let mut no_scale = good.clone();
        no_scale[1..5].fill(0xFF);
        for stored in [&other_version, &no_scale, &good[..5].to_vec(), &vec![]] {
            assert!(decode(stored).is_none(), "{stored:?}");
            assert!(unit(&[1.0, 2.0]).cosine(stored).is_none());
        }
        assert!(unit(&[1.0, 2.0, 3.0]).cosine(&good).is_none());
    }

    #[test]
    fn the_nearest_are_found_in_a_fixed_order() {
        let stored: Vec<(u32, Vec<u8>)> =
            [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]
                .iter()
                .zip(0..)
                .map(|(numbers, id)| (id, encode(&unit(numbers))))
                .chain([(9, vec![1, 2, 3])])
                .collect();
        let ids = |most| -> Vec<u32> {
            let reversed = stored.iter().rev().map(|(id, stored)| (*id, stored));
            let found = nearest(&unit(&[2.0, 0.1]), reversed, most);
            found.into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(ids(9), [1, 3, 2, 0, 4]);
        assert_eq!(ids(2), [1, 3]);
        assert_eq!(ids(1), [1]);
        assert_eq!(ids(0), [0; 0]);
    }

    proptest! {
        #[test]
        fn a_cosine_is_kept_to_a_hundredth(
            (one, other) in (1_usize..400).prop_flat_map(|n| (vec(-1.0_f32..1.0, n), vec(-1.0_f32..1.0, n)))
        ) {
            let (one, other) = (Unit::of(&one), Unit::of(&other));
            prop_assume!(one.is_some() && other.is_some());
            let (one, other) = (one.unwrap(), other.unwrap());
            let exact: f32 = one.0.iter().zip(&other.0).map(|(a, b)| a * b).sum();
            let stored = one.cosine(&encode(&other)).unwrap();
            assert!((exact - stored).abs() < 0.01, "{exact} {stored}");
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..40)) {
            if let Some(numbers) = decode(&bytes) {
                assert!(numbers.iter().all(|x| x.is_finite()));
                assert!(Unit::of(&[1.0; 3]).unwrap().cosine(&bytes).is_none_or(f32::is_finite));
            }
        }
    }
}
