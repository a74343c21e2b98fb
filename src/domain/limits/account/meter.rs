//! The generic cell rate algorithm for large costs that can be given back: requests in bursts, and tokens.
//!
//! The state is one theoretical arrival time (TAT) with an exact fraction, as in [`super::super::bucket`]. What is new
//! is the refund. Had a charge of price p never been made at time t, the TAT would be at most p earlier, and less if a
//! later charge found the meter idle: such a charge starts at its own time whatever came before. The latest charge
//! bounds how much that can be. A refund therefore never gives back more than was taken; where it gives back less, the
//! meter is late by at most the time from the charge to the latest one.
//!
//! When an operator changes a limit, the TAT stays while the period does, and the debt is repaid at the new rate. With
//! another period the units that were used count, at most all that the new limit allows.

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
use crate::domain::limits::policy::{Verdict, Window};

/// So many units in so long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u64, Millis)", into = "(u64, Millis)")]
pub struct Rate {
    quota: u64,
    per: Millis,
}

impl Rate {
    /// Largest quota. With [`Window::MAX_PER`]: 10⁹ × 8.64 × 10⁷ ms = 8.64 × 10¹⁶, below 2⁶³ = 9.2 × 10¹⁸.
    pub const MAX_QUOTA: u64 = 1_000_000_000;

    /// `None` unless 1 ≤ quota ≤ [`Rate::MAX_QUOTA`] and 1 ms ≤ per ≤ [`Window::MAX_PER`].
    #[must_use]
    pub const fn new(quota: u64, per: Millis) -> Option<Self> {
        if quota == 0 || quota > Self::MAX_QUOTA || per.0 == 0 || per.0 > Window::MAX_PER.0 {
            return None;
        }
        Some(Self { quota, per })
    }

    /// The quota.
    #[must_use]
    pub const fn quota(&self) -> u64 {
        self.quota
    }

    /// The period.
    #[must_use]
    pub const fn per(&self) -> Millis {
        self.per
    }

    /// A quarter of the quota, at least one.
    #[must_use]
    pub fn quarter(self) -> Self {
        Self {
            quota: (self.quota / 4).max(1),
            per: self.per,
        }
    }

    fn price(&self, cost: u64) -> u64 {
        self.per.0.saturating_mul(cost)
    }

    fn capacity(&self) -> u64 {
        self.price(self.quota)
    }

    /// Whole milliseconds, rounded up, of a time in 1/quota milliseconds.
    fn millis(&self, debt: u64) -> Millis {
        Millis(
            debt.checked_div(self.quota)
                .unwrap_or(0)
                .saturating_add(u64::from(!debt.is_multiple_of(self.quota))),
        )
    }
}

impl TryFrom<(u64, Millis)> for Rate {
    type Error = &'static str;

    fn try_from((quota, per): (u64, Millis)) -> Result<Self, Self::Error> {
        Self::new(quota, per).ok_or("a rate needs 1 to 1000000000 units in 1 ms to one day")
    }
}

impl From<Rate> for (u64, Millis) {
    fn from(rate: Rate) -> Self {
        (rate.quota, rate.per)
    }
}

impl From<Window> for Rate {
    fn from(window: Window) -> Self {
        Self {
            quota: u64::from(window.requests()),
            per: window.per(),
        }
    }
}

/// The TAT `ms + part / of`, the period it was charged at, and the time of the latest charge. The default is a full
/// allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    #[serde(rename = "m")]
    ms: Millis,
    #[serde(rename = "p")]
    part: u64,
    #[serde(rename = "o")]
    of: u64,
    /// Zero when it is not known.
    #[serde(rename = "w", default, skip_serializing_if = "is_unknown")]
    per: Millis,
    #[serde(rename = "l")]
    latest: Millis,
}

/// What was charged, for giving it back: cost, rate, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    #[serde(rename = "c")]
    pub(super) cost: u64,
    #[serde(rename = "r")]
    rate: Rate,
    #[serde(rename = "t")]
    at: Millis,
}

impl Charge {
    /// The rate that it was charged at.
    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }
}

impl Meter {
    /// May `cost` more be spent?
    #[must_use]
    pub fn decide(&self, now: Millis, rate: &Rate, cost: u64) -> Verdict {
        if cost == 0 {
            return Verdict::Admit;
        }
        if cost > rate.quota {
            return Verdict::Never;
        }
        let after = self.debt(now, rate).saturating_add(rate.price(cost));
        match after.saturating_sub(rate.capacity()) {
            0 => Verdict::Admit,
            excess => Verdict::Wait(rate.millis(excess)),
        }
    }

    /// Charges `cost` at `at`, whether or not it fits.
    pub fn charge(&mut self, at: Millis, rate: &Rate, cost: u64) -> Charge {
        let debt = self.debt(at, rate).saturating_add(rate.price(cost));
        self.ms = at.plus(Millis(debt.checked_div(rate.quota).unwrap_or(0)));
        self.part = debt.checked_rem(rate.quota).unwrap_or(0);
        self.of = rate.quota;
        self.per = rate.per;
        self.latest = self.latest.max(at);
        let rate = *rate;
        Charge { cost, rate, at }
    }

    /// Makes of a charge one of `real` units, which are no more than were charged.
    pub fn refund(&mut self, charge: &Charge, real: u64) {
        let Charge { cost, rate, at } = charge;
        let left = rate.price(real.min(*cost));
        let idle = self.latest.since(*at).0.saturating_mul(rate.quota);
        let back = rate
            .price(*cost)
            .saturating_sub(left)
            .saturating_sub(idle.saturating_sub(left));
        let whole = back.checked_div(rate.quota).unwrap_or(0);
        // Under another quota (a changed setting) the fraction is not given back.
        let part = if self.of == rate.quota {
            back.checked_rem(rate.quota).unwrap_or(0)
        } else {
            0
        };
        self.ms = self.ms.since(Millis(whole));
        if self.part >= part {
            self.part = self.part.saturating_sub(part);
        } else {
            self.ms = self.ms.since(Millis(1));
            self.part = self.part.saturating_add(rate.quota).saturating_sub(part);
        }
    }

    /// The state in which everything was spent at `at`.
    #[must_use]
    pub fn spent(at: Millis, rate: &Rate) -> Self {
        let mut meter = Self::default();
        meter.charge(at, rate, rate.quota);
        meter
    }

    /// Units left.
    #[must_use]
    pub fn remaining(&self, now: Millis, rate: &Rate) -> u64 {
        self.remaining_after(now, Millis::ZERO, rate)
    }

    /// Units that fit when they are charged `delay` later than now.
    #[must_use]
    pub fn remaining_after(&self, now: Millis, delay: Millis, rate: &Rate) -> u64 {
        let debt = self.debt(now, rate).max(delay.0.saturating_mul(rate.quota));
        let left = rate.capacity().saturating_sub(debt);
        left.checked_div(rate.per.0).unwrap_or(0)
    }

    /// From now until one more unit is left; zero when the allowance is full.
    #[must_use]
    pub fn more(&self, now: Millis, rate: &Rate) -> Millis {
        let next = self.remaining(now, rate).saturating_add(1).min(rate.quota);
        let allowed = rate.capacity().saturating_sub(rate.price(next));
        rate.millis(self.debt(now, rate).saturating_sub(allowed))
    }

    /// The first whole millisecond at which the allowance is full.
    #[must_use]
    pub fn full_at(&self) -> Millis {
        self.ms.plus(Millis(u64::from(self.part > 0)))
    }

    /// The clock went back from `seen` to `now`: the debt that was left then is the debt now.
    pub fn rebase(&mut self, seen: Millis, now: Millis) {
        self.ms = if self.ms >= seen {
            now.plus(self.ms.since(seen))
        } else {
            self.ms.min(now)
        };
        self.latest = self.latest.min(now);
    }

    /// Debt in 1/quota milliseconds.
    fn debt(&self, now: Millis, rate: &Rate) -> u64 {
        if self.ms < now {
            return 0;
        }
        // A fraction over another quota is rounded up to a whole millisecond.
        let part = match self.part {
            0 => 0,
            part if self.of == rate.quota => part,
            _ => rate.quota,
        };
        let ahead = self.ms.since(now).0;
        if is_unknown(&self.per) || self.per == rate.per {
            return ahead.saturating_mul(rate.quota).saturating_add(part);
        }
        let owed = ahead.saturating_mul(self.of).saturating_add(self.part);
        let units = owed.div_ceil(self.per.0.max(1));
        rate.price(units).min(rate.capacity())
    }
}

#[cfg_attr(
    target_pointer_width = "64",
    expect(clippy::trivially_copy_pass_by_ref, reason = "as serde passes it")
)]
fn is_unknown(per: &Millis) -> bool {
    *per == Millis::ZERO
}

#[cfg(test)]
mod tests {
    use super::{Meter, Rate};
    use crate::base::time::Millis;
    use crate::domain::limits::policy::Verdict;

    const START: Millis = Millis(1_795_237_500_000);

    fn rate(quota: u64, per: u64) -> Rate {
        Rate::new(quota, Millis(per)).unwrap()
    }

    #[test]
    fn no_rate_is_rounded() {
        let rate = rate(7, 60_000);
        let mut meter = Meter::spent(START, &rate);
        for n in 1..=70u64 {
            let due = START.plus(Millis((n * 60_000).div_ceil(7)));
            let early = Millis(due.0 - 1);
            assert_eq!(meter.decide(early, &rate, 1), Verdict::Wait(Millis(1)));
            assert_eq!(meter.decide(due, &rate, 1), Verdict::Admit, "{n}");
            meter.charge(due, &rate, 1);
        }
        assert_eq!(meter.full_at(), START.plus(Millis(11 * 60_000)));
    }

    #[test]
    fn what_is_taken_back_at_once_was_never_taken() {
        let rate = rate(7, 60_000);
        let mut meter = Meter::default();
        meter.charge(START, &rate, 2);
        let before = meter;
        let charge = meter.charge(START, &rate, 3);
        meter.refund(&charge, 0);
        assert_eq!(meter, before);
    }

    #[test]
    fn a_refund_does_not_give_back_what_an_idle_meter_had_regained() {
        // 10 in 10 ms: one a millisecond.
        let rate = rate(10, 10);
        let mut meter = Meter::default();
        let charge = meter.charge(START, &rate, 10);
        let later = START.plus(Millis(5));
        meter.charge(later, &rate, 5);
        meter.refund(&charge, 0);
        // Without the first charge the second leaves 5, not 10.
        assert_eq!(meter.remaining(later, &rate), 5);
    }

    #[test]
    fn a_refund_after_another_one_counts_from_the_time_of_the_charge() {
        let rate = rate(200, 200);
        let mut meter = Meter::default();
        let at = |ms: u64| START.plus(Millis(ms));
        let first = meter.charge(at(0), &rate, 50);
        let second = meter.charge(at(0), &rate, 50);
        meter.refund(&first, 0);
        for ms in [50, 55, 75] {
            meter.charge(at(ms), &rate, 10);
        }
        meter.refund(&second, 0);
        // At 75 the meter was charged 10, whatever came before.
        assert!(meter.remaining(at(75), &rate) <= 190);
    }

    #[test]
    fn a_partial_refund_keeps_what_was_used() {
        let rate = rate(1000, 60_000);
        let mut meter = Meter::default();
        let charge = meter.charge(START, &rate, 900);
        meter.refund(&charge, 100);
        assert_eq!(meter.remaining(START, &rate), 900);
        assert_eq!(meter.decide(START, &rate, 901), Verdict::Wait(Millis(60)));
        assert_eq!(meter.decide(START, &rate, 1001), Verdict::Never);
    }

    #[test]
    fn a_changed_limit_holds_at_once() {
        let hour = 3_600_000;
        let (few, many, minutely) = (rate(5, hour), rate(20, hour), rate(60, 60_000));
        let meter = Meter::spent(START, &few);
        // The same period: spent still, but there is more sooner.
        let soon = Verdict::Wait(Millis(hour / 20));
        assert_eq!(meter.decide(START, &many, 1), soon);
        // Another one: five were used.
        assert_eq!(meter.remaining(START, &minutely), 55);
        // And back to less than was used: nothing is left, and no more is owed than all.
        let mut meter = Meter::default();
        meter.charge(START, &minutely, 30);
        assert_eq!(meter.remaining(START, &few), 0);
        let next = Verdict::Wait(Millis(hour / 5));
        assert_eq!(meter.decide(START, &few, 1), next);
    }

    #[test]
    fn a_clock_that_goes_back_keeps_the_debt_of_then() {
        let rate = rate(10, 10_000);
        let mut meter = Meter::spent(START, &rate);
        let back = Millis(START.0 - 86_400_000);
        meter.rebase(START, back);
        assert_eq!(meter.decide(back, &rate, 1), Verdict::Wait(Millis(1000)));
    }
}
