//! Recent times to the first token, as a small histogram that forgets.
//!
//! Buckets are a quarter of an octave wide from 16 ms to 131 s, so a quantile is at most a quarter too high and never
//! too low. When [`FULL`] samples are in it all counts are halved: the older half weighs half, and so on.

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;

/// With fewer samples a 95th percentile says nothing: of 20 it is the second largest at best.
pub const LEAST: u32 = 20;
/// All counts are halved at so many.
pub const FULL: u32 = 256;
/// Below 2^4 ms all is one bucket.
const FIRST_OCTAVE: u32 = 4;
/// One below 16 ms, four for each of the 13 octaves up to 2^17 ms = 131 s, one above.
const BUCKETS: usize = 1 + 4 * 13 + 1;

/// Times to the first token. The default is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latency {
    /// Counts from the lowest bucket on; empty ones at the end are left out.
    counts: Vec<u32>,
}

impl Latency {
    /// Counts a sample.
    pub fn add(&mut self, sample: Millis) {
        let bucket = bucket(sample);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket.saturating_add(1), 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        if self.samples() >= FULL {
            for count in &mut self.counts {
                *count /= 2;
            }
            while self.counts.last() == Some(&0) {
                self.counts.pop();
            }
        }
    }

    /// A time that 95 of 100 samples do not exceed; `None` when there are fewer than [`LEAST`].
    #[must_use]
    pub fn p95(&self) -> Option<Millis> {
        let samples = self.samples();
        if samples < LEAST {
            return None;
        }
        let wanted = samples.saturating_mul(95).div_ceil(100);
        let mut sum = 0u32;
        for (bucket, count) in self.counts.iter().enumerate() {
            sum = sum.saturating_add(*count);
            if sum >= wanted {
                return Some(upper(bucket));
            }
        }
        None
    }

    fn samples(&self) -> u32 {
        self.counts
            .iter()
            .fold(0, |sum: u32, n| sum.saturating_add(*n))
    }
}

/// The bucket of a sample.
fn bucket(sample: Millis) -> usize {
    let Some(octave) = sample.0.checked_ilog2().filter(|o| *o >= FIRST_OCTAVE) else {
        return 0;
    };
    // The two bits after the highest one say which quarter of the octave.
    let quarter = (sample.0 >> octave.saturating_sub(2)) & 3;
    let octaves = u64::from(octave.saturating_sub(FIRST_OCTAVE));
    let number = octaves
        .saturating_mul(4)
        .saturating_add(quarter)
        .saturating_add(1);
    usize::try_from(number)
        .unwrap_or(BUCKETS)
        .min(BUCKETS.saturating_sub(1))
}

/// The highest sample of a bucket; of the last one, the lowest.
fn upper(bucket: usize) -> Millis {
    let Some(place) = u64::try_from(bucket).unwrap_or(0).checked_sub(1) else {
        return Millis((1 << FIRST_OCTAVE) - 1);
    };
    let octave = (place / 4).saturating_add(u64::from(FIRST_OCTAVE)).min(17);
    let quarter = 1u64 << octave.saturating_sub(2);
    let end =
        (1u64 << octave).saturating_add(quarter.saturating_mul((place % 4).saturating_add(1)));
    Millis(end.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BUCKETS, FULL, LEAST, Latency, bucket, upper};
    use crate::base::time::Millis;

    #[test]
    fn buckets_are_in_order_and_a_quarter_of_an_octave_wide() {
        assert_eq!(bucket(Millis(0)), 0);
        assert_eq!(bucket(Millis(15)), 0);
        assert_eq!(bucket(Millis(u64::MAX)), BUCKETS - 1);
        let mut last = 0;
        for sample in 0..131_072 {
            let here = bucket(Millis(sample));
            assert!(here == last || here == last + 1, "{sample}");
            last = here;
            let upper = upper(here).0;
            assert!(
                upper >= sample && (sample < 16 || upper <= sample + sample / 4),
                "{sample} {upper}"
            );
            assert_eq!(bucket(Millis(upper)), here);
        }
        assert_eq!(last, BUCKETS - 2);
    }

    #[test]
    fn a_few_samples_say_nothing() {
        let mut latency = Latency::default();
        for n in 0..LEAST {
            assert_eq!(latency.p95(), None, "{n}");
            latency.add(Millis(100));
        }
        assert_eq!(latency.p95(), Some(Millis(111)));
    }

    #[test]
    fn old_samples_are_forgotten() {
        let mut latency = Latency::default();
        for _ in 0..10_000 {
            latency.add(Millis(20_000));
        }
        // Half of what is in it weighs half after FULL / 2 new ones at the latest.
        for _ in 0..FULL * 4 {
            latency.add(Millis(100));
        }
        assert_eq!(latency.p95(), Some(Millis(111)));
    }

    proptest! {
        #[test]
        fn the_quantile_is_never_too_low_and_at_most_a_quarter_too_high(
            samples in prop::collection::vec(16u64..100_000, 20..200),
        ) {
            let mut latency = Latency::default();
            samples.iter().for_each(|sample| latency.add(Millis(*sample)));
            let mut sorted = samples.clone();
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() * 95).div_ceil(100) - 1];
            let p95 = latency.p95().unwrap().0;
            prop_assert!(exact <= p95 && p95 <= exact + exact / 4, "{} {}", exact, p95);
        }

        #[test]
        fn it_stays_small(samples in prop::collection::vec(any::<u64>(), 0..2000)) {
            let mut latency = Latency::default();
            for sample in samples {
                latency.add(Millis(sample >> (sample % 64)));
                prop_assert!(latency.samples() < FULL);
                prop_assert!(latency.counts.len() <= BUCKETS);
            }
        }
    }
}
