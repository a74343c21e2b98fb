//! The generic cell rate algorithm: a burst limit whose whole state is one theoretical arrival time (TAT).
//!
//! A request moves the TAT by `per / requests`, which is seldom a whole number of milliseconds (7 in 60 s is
//! 8571.428…). The TAT therefore carries a fraction over the quota, and no rate is ever rounded. What the TAT is ahead
//! of now is the *debt*, counted in 1/quota milliseconds: a request adds `per` of them, a millisecond repays `quota`,
//! and the limit is `quota × per`. Hence in any interval of length d at most `quota + ⌊quota × d / per⌋` are admitted.

use serde::{Deserialize, Serialize};

use super::policy::{Verdict, Window};
use crate::base::time::Millis;

/// The theoretical arrival time `ms + part / of`, in milliseconds since the epoch; the default is a full allowance.
///
/// Serialised as `[ms, part, of]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket(u64, u32, u32);

/// GCRA as a function: the state after the request, and the verdict. A refused request leaves the debt as it was.
///
/// Clock: a TAT more than one period ahead (the clock went back) is moved to one period ahead, also when the request
/// is refused, so that the wait is never longer than the period and a retry after it succeeds.
#[must_use]
pub fn decide(state: Bucket, now: Millis, window: &Window, cost: u32) -> (Bucket, Verdict) {
    let debt = state.debt(now, window);
    if cost > window.requests() {
        return (Bucket::of_debt(now, window, debt), Verdict::Never);
    }
    let after = debt.saturating_add(price(window, cost));
    let excess = after.saturating_sub(capacity(window));
    if excess == 0 {
        (Bucket::of_debt(now, window, after), Verdict::Admit)
    } else {
        let wait = Millis(excess.div_ceil(quota(window)));
        (Bucket::of_debt(now, window, debt), Verdict::Wait(wait))
    }
}

impl Bucket {
    /// The state in which everything has just been spent.
    #[must_use]
    pub fn spent(now: Millis, window: &Window) -> Self {
        Self::of_debt(now, window, capacity(window))
    }

    /// The state after `cost` more, whether or not it fits; never more than everything is spent.
    #[must_use]
    pub fn ahead(self, now: Millis, window: &Window, cost: u32) -> Self {
        let debt = self.debt(now, window).saturating_add(price(window, cost));
        Self::of_debt(now, window, debt.min(capacity(window)))
    }

    /// The state without the `cost` that was spent at `at`. What has been repaid since is not given back: others may have
    /// spent after it.
    #[must_use]
    pub fn without(self, now: Millis, window: &Window, cost: u32, at: Millis) -> Self {
        let repaid = now.since(at).0.saturating_mul(quota(window));
        let back = price(window, cost).saturating_sub(repaid);
        Self::of_debt(now, window, self.debt(now, window).saturating_sub(back))
    }

    /// Whole requests left.
    #[must_use]
    pub fn remaining(self, now: Millis, window: &Window) -> u32 {
        let left = capacity(window).saturating_sub(self.debt(now, window));
        let requests = left.checked_div(window.per().0).unwrap_or(0);
        u32::try_from(requests).unwrap_or(u32::MAX)
    }

    /// From now until one more request is left; zero when the allowance is full.
    #[must_use]
    pub fn more(self, now: Millis, window: &Window) -> Millis {
        let next = self
            .remaining(now, window)
            .saturating_add(1)
            .min(window.requests());
        let allowed = capacity(window).saturating_sub(price(window, next));
        let excess = self.debt(now, window).saturating_sub(allowed);
        Millis(excess.div_ceil(quota(window)))
    }

    /// From now until the allowance is full.
    #[must_use]
    pub fn full(self, now: Millis, window: &Window) -> Millis {
        Millis(self.debt(now, window).div_ceil(quota(window)))
    }

    /// The first whole millisecond at which the allowance is full, whatever the window.
    #[must_use]
    pub fn full_at(self) -> Millis {
        Millis(self.0.saturating_add(u64::from(self.1 > 0)))
    }

    /// Moves a TAT that lies more than the longest period ahead to that far ahead (the clock went back).
    pub fn rebase(&mut self, now: Millis) {
        let latest = now.plus(Window::MAX_PER);
        if self.0 >= latest.0 {
            *self = Self(latest.0, 0, self.2);
        }
    }

    /// Debt in 1/quota ms, at most the capacity.
    fn debt(self, now: Millis, window: &Window) -> u64 {
        let Self(ms, part, of) = self;
        if ms < now.0 {
            return 0;
        }
        let ahead = ms.saturating_sub(now.0);
        // A fraction over another quota (a changed setting) is rounded up to a whole millisecond.
        let part = match part {
            0 => 0,
            part if of == window.requests() => u64::from(part),
            _ => quota(window),
        };
        ahead
            .saturating_mul(quota(window))
            .saturating_add(part)
            .min(capacity(window))
    }

    fn of_debt(now: Millis, window: &Window, debt: u64) -> Self {
        let whole = debt.checked_div(quota(window)).unwrap_or(0);
        let part = debt.checked_rem(quota(window)).unwrap_or(0);
        Self(
            now.0.saturating_add(whole),
            u32::try_from(part).unwrap_or(0), // less than the quota, which is a u32
            window.requests(),
        )
    }
}

fn quota(window: &Window) -> u64 {
    u64::from(window.requests())
}

fn price(window: &Window, cost: u32) -> u64 {
    window.per().0.saturating_mul(u64::from(cost))
}

fn capacity(window: &Window) -> u64 {
    price(window, window.requests())
}

#[cfg(test)]
mod tests {
    use super::{Bucket, decide};
    use crate::base::time::Millis;
    use crate::domain::limits::policy::{Verdict, Window};

    const START: u64 = 1_795_237_500_000;

    fn window(requests: u32, per: u64) -> Window {
        Window::new(requests, Millis(per)).unwrap()
    }

    fn drain(window: &Window, now: u64) -> Bucket {
        let mut bucket = Bucket::default();
        for _ in 0..window.requests() {
            let (next, verdict) = decide(bucket, Millis(now), window, 1);
            assert_eq!(verdict, Verdict::Admit);
            bucket = next;
        }
        bucket
    }

    #[test]
    fn seven_per_minute_is_exact() {
        let window = window(7, 60_000);
        let mut bucket = drain(&window, START);
        // 60,000 / 7 = 8571.43, 17142.86, 25714.29 …: each request is back at the ceiling of its exact time.
        for n in 1..=70u64 {
            let due = START + (n * 60_000).div_ceil(7);
            let (_, early) = decide(bucket, Millis(due - 1), &window, 1);
            assert_eq!(early, Verdict::Wait(Millis(1)), "request {n}");
            let (next, verdict) = decide(bucket, Millis(due), &window, 1);
            assert_eq!(verdict, Verdict::Admit, "request {n}");
            bucket = next;
        }
        // After 70 requests exactly ten minutes have passed, and no fraction was lost.
        assert_eq!(bucket, Bucket(START + 10 * 60_000 + 60_000, 0, 7));
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_no_more() {
        let window = window(3, 10_000);
        let bucket = drain(&window, START);
        assert_eq!(
            decide(bucket, Millis(START), &window, 1).1,
            Verdict::Wait(Millis(3334))
        );
        assert_eq!(
            decide(bucket, Millis(START), &window, 3).1,
            Verdict::Wait(Millis(10_000))
        );
        assert_eq!(decide(bucket, Millis(START), &window, 4).1, Verdict::Never);
        assert_eq!(decide(bucket, Millis(START), &window, 0).1, Verdict::Admit);
        assert_eq!(bucket, Bucket::spent(Millis(START), &window));
        assert_eq!(bucket.ahead(Millis(START), &window, 2), bucket);
    }

    #[test]
    fn what_is_left_and_when_there_is_more() {
        let window = window(4, 1000);
        let (bucket, _) = decide(Bucket::default(), Millis(START), &window, 3);
        for (after, remaining, more, full) in [
            (0, 1, 250, 750),
            (249, 1, 1, 501),
            (250, 2, 250, 500),
            (749, 3, 1, 1),
            (750, 4, 0, 0),
            (9000, 4, 0, 0),
        ] {
            let now = Millis(START + after);
            assert_eq!(bucket.remaining(now, &window), remaining, "{after}");
            assert_eq!(bucket.more(now, &window), Millis(more), "{after}");
            assert_eq!(bucket.full(now, &window), Millis(full), "{after}");
        }
        assert_eq!(bucket.full_at(), Millis(START + 750));
    }

    #[test]
    fn a_clock_that_goes_back_refills_nothing_and_waits_at_most_one_period() {
        let window = window(2, 10_000);
        let bucket = drain(&window, START);
        let back = Millis(START - 31_536_000_000);
        let (bucket, verdict) = decide(bucket, back, &window, 1);
        assert_eq!(verdict, Verdict::Wait(Millis(5000)));
        assert_eq!(
            decide(bucket, back.plus(Millis(4999)), &window, 1).1,
            Verdict::Wait(Millis(1))
        );
        assert_eq!(
            decide(bucket, back.plus(Millis(5000)), &window, 1).1,
            Verdict::Admit
        );
    }

    #[test]
    fn a_changed_quota_keeps_the_debt_and_rounds_it_up() {
        let seven = window(7, 60_000);
        let (bucket, _) = decide(Bucket::default(), Millis(START), &seven, 1);
        assert_eq!(bucket, Bucket(START + 8571, 3, 7)); // 60000 = 8571 × 7 + 3
        let ten = window(10, 60_000);
        // 8572 ms of debt at 6000 ms a request: 8 of 10 are left.
        assert_eq!(bucket.remaining(Millis(START), &ten), 8);
        assert_eq!(bucket.full(Millis(START), &ten), Millis(8572));
        // A shorter period caps the debt at that period.
        assert_eq!(bucket.full(Millis(START), &window(10, 1000)), Millis(1000));
    }

    #[test]
    fn the_stored_form_is_pinned_because_a_changed_one_would_empty_every_bucket() {
        assert_eq!(serde_json::to_string(&Bucket(5, 3, 7)).unwrap(), "[5,3,7]");
        assert_eq!(
            serde_json::from_str::<Bucket>("[5,3,7]").unwrap(),
            Bucket(5, 3, 7)
        );
    }
}
