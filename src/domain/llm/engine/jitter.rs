//! Waits between attempts: exponential backoff with full jitter, and Retry-After with a little on top.
//!
//! Full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the wait is drawn evenly
//! from zero to a ceiling that doubles, so that callers who failed together do not come back together.

use super::Retry;
use crate::base::time::Millis;

/// Jitter on top of a `Retry-After` is at most an eighth of it, and at most [`Retry::base`].
const SHARE_ON_TOP: u64 = 8;

/// What spreads the waits. Nothing else is drawn from it.
#[derive(Clone, Debug)]
pub(super) struct Jitter(fastrand::Rng);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Evenly from zero to `ceiling`, both included.
    fn up_to(&mut self, ceiling: Millis) -> Millis {
        Millis(self.0.u64(0..=ceiling.0))
    }
}

/// The ceiling of the wait before the retry that follows the `failed`th attempt at a target (the first is 1).
#[must_use]
pub fn ceiling(retry: &Retry, failed: u32) -> Millis {
    let doublings = failed.saturating_sub(1).min(63);
    let ceiling = retry.base.0.saturating_mul(1u64 << doublings);
    Millis(ceiling).min(retry.max)
}

/// The longest jitter that is added to a wait that a provider asked for.
#[must_use]
pub fn on_top(retry: &Retry, asked: Millis) -> Millis {
    Millis(asked.0 / SHARE_ON_TOP).min(retry.base)
}

/// The wait before a target is asked again: never shorter than it asked for, and never without backoff even where it
/// asks for nothing (`Retry-After: 0`).
pub(super) fn wait(
    jitter: &mut Jitter,
    retry: &Retry,
    failed: u32,
    asked: Option<Millis>,
) -> Millis {
    let backoff = jitter.up_to(ceiling(retry, failed));
    match asked {
        None => backoff,
        Some(asked) => asked.plus(jitter.up_to(on_top(retry, asked))).max(backoff),
    }
}

#[cfg(test)]
mod tests {
    use super::{Jitter, ceiling, on_top, wait};
    use crate::base::time::Millis;
    use crate::domain::llm::engine::Retry;

    const RETRY: Retry = Retry {
        attempts_per_target: 3,
        attempts: 6,
        budget: Millis(30_000),
        base: Millis(500),
        max: Millis(8_000),
        max_retry_after: Millis(20_000),
    };

    #[test]
    fn the_ceiling_doubles_up_to_the_highest() {
        let ceilings: Vec<u64> = (1..8).map(|n| ceiling(&RETRY, n).0).collect();
        assert_eq!(ceilings, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(ceiling(&RETRY, u32::MAX), RETRY.max);
    }

    #[test]
    fn waits_are_spread_over_the_whole_range_and_stay_in_it() {
        let mut jitter = Jitter::new(1);
        let waits: Vec<u64> = (0..10_000)
            .map(|_| wait(&mut jitter, &RETRY, 2, None).0)
            .collect();
        assert!(waits.iter().all(|wait| *wait <= 1000));
        // 10 equal parts of [0, 1000]: each holds a tenth, within a fifth of it.
        for part in 0..10 {
            let inside = waits.iter().filter(|wait| **wait / 100 == part).count();
            assert!((800..1200).contains(&inside), "{part}: {inside}");
        }
    }

    #[test]
    fn a_wait_that_was_asked_for_is_never_shortened_and_only_a_little_longer() {
        let mut jitter = Jitter::new(2);
        for asked in [0, 1, 100, 2_000, 20_000, u64::MAX] {
            let asked = Millis(asked);
            for failed in 1..6 {
                let wait = wait(&mut jitter, &RETRY, failed, Some(asked));
                assert!(wait >= asked);
                assert!(
                    wait <= asked
                        .plus(on_top(&RETRY, asked))
                        .max(ceiling(&RETRY, failed))
                );
            }
        }
    }
}
