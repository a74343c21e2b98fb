//! Money by hour, day and month of UTC.
//!
//! A window's sum counts what is reserved from the moment it is reserved. The sums of some past windows stay, so that a
//! clock that steps back over a boundary finds them; what lies in a later window counts as well, so that a clock that
//! stepped forward in error has given nothing away.

use serde::{Deserialize, Serialize};

use crate::base::time::{Millis, civil_from_days};
use crate::domain::limits::policy::LimitName;

/// Windows kept of each length. Of more, the two oldest count as one.
pub const KEPT: usize = 4;
/// How long a past window stays when nothing comes after it.
pub const GRACE: Millis = Millis::from_secs(3600);

const HOUR: u64 = 3_600_000; // 3600 s × 1000 ms
const DAY: u64 = 86_400_000; // 24 h × 3,600,000 ms

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// From the full hour.
    Hour,
    /// From midnight.
    Day,
    /// From midnight of the first.
    Month,
}

impl Span {
    /// All of them, in the order in which they are stored.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// Its name as a limit.
    #[must_use]
    pub const fn limit(self) -> LimitName {
        match self {
            Self::Hour => LimitName::HourBudget,
            Self::Day => LimitName::DayBudget,
            Self::Month => LimitName::MonthBudget,
        }
    }

    /// When the window that holds `at` began.
    #[must_use]
    pub fn start(self, at: Millis) -> Millis {
        let days = at.0 / DAY;
        Millis(match self {
            Self::Hour => (at.0 / HOUR).saturating_mul(HOUR),
            Self::Day => days.saturating_mul(DAY),
            Self::Month => {
                let (_, _, day) = civil_from_days(days);
                days.saturating_add(1)
                    .saturating_sub(day)
                    .saturating_mul(DAY)
            }
        })
    }

    /// When the window after the one that holds `at` begins.
    #[must_use]
    pub fn next(self, at: Millis) -> Millis {
        let start = self.start(at);
        match self {
            Self::Hour => start.plus(Millis(HOUR)),
            Self::Day => start.plus(Millis(DAY)),
            // 31 days after the first lies in the next month, whichever it is.
            Self::Month => self.start(start.plus(Millis(31 * DAY))),
        }
    }
}

/// One window's sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Names it among all that an account has, whatever happens to the clock.
    #[serde(rename = "n")]
    pub number: u64,
    /// When it began.
    #[serde(rename = "s")]
    pub start: Millis,
    /// Reserved and settled, in millionths of a dollar.
    #[serde(rename = "u")]
    pub used: u64,
    /// The limit last heard of.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Which alerts were told ([`super::alert`]), as stored.
    #[serde(rename = "a", default)]
    pub told: u8,
    /// Told in the present command and not stored yet: an alert whose reply is lost with the machine is told again.
    #[serde(skip)]
    pub telling: u8,
}

/// The sums of one length, oldest window first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Calendar(pub Vec<Tally>);

impl Calendar {
    /// What counts in the window that began at `start`: its own, and whatever lies later.
    #[must_use]
    pub fn used(&self, start: Millis) -> u64 {
        let counts = self.0.iter().filter(|tally| tally.start >= start);
        counts.fold(0, |sum, tally| sum.saturating_add(tally.used))
    }

    /// When the first window begins in which `want` fits under `limit`; `None` when it fits now.
    #[must_use]
    pub fn wait(&self, span: Span, now: Millis, limit: u64, want: u64) -> Option<Millis> {
        let fits = |start| self.used(start).saturating_add(want) <= limit;
        if want == 0 || fits(span.start(now)) {
            return None;
        }
        let later = self.0.iter().map(|tally| tally.start);
        later
            .chain([now])
            .map(|at| span.next(at.max(now)))
            .filter(|start| fits(*start))
            .min()
    }

    /// Adds to the window that began at `start`, and gives its number; `fresh` is that of a new one.
    ///
    /// A sum moves to a later window when there are too many: it then counts at least as long as it should.
    pub fn add(&mut self, start: Millis, micros: u64, limit: Option<u64>, fresh: &mut u64) -> u64 {
        let stands = self.0.iter_mut().rev().find(|tally| tally.start == start);
        if let Some(tally) = stands {
            tally.used = tally.used.saturating_add(micros);
            tally.limit = limit.or(tally.limit);
            return tally.number;
        }
        // Zero is the number of none.
        let number = (*fresh).max(1);
        *fresh = number.saturating_add(1);
        self.0.push(Tally {
            number,
            start,
            used: micros,
            limit,
            told: 0,
            telling: 0,
        });
        self.0.sort_by_key(|tally| tally.start);
        if self.0.len() > KEPT {
            let oldest = self.0.remove(0);
            if let Some(next) = self.0.first_mut() {
                next.used = next.used.saturating_add(oldest.used);
            }
        }
        number
    }

    /// The sum of that number.
    pub fn numbered(&mut self, number: u64) -> Option<&mut Tally> {
        self.0.iter_mut().find(|tally| tally.number == number)
    }

    /// Moves windows that lie beyond the next one to the next one (the clock went back).
    pub fn rebase(&mut self, span: Span, now: Millis) {
        let next = span.next(now);
        for tally in &mut self.0 {
            tally.start = tally.start.min(next);
        }
    }

    /// Forgets windows that ended [`GRACE`] ago.
    pub fn sweep(&mut self, span: Span, now: Millis) {
        self.0
            .retain(|tally| span.next(tally.start).plus(GRACE) > now);
    }
}

#[cfg(test)]
mod tests {
    use super::{Calendar, KEPT, Span};
    use crate::base::time::Millis;

    const DAY: u64 = 86_400_000;

    #[test]
    fn windows_are_those_of_utc() {
        // 2024-02-29T23:59:59.999Z; the month before it has 31 days, it has 29.
        let leap = Millis(1_709_251_199_999);
        for (span, start, next) in [
            (
                Span::Hour,
                "2024-02-29T23:00:00.000Z",
                "2024-03-01T00:00:00.000Z",
            ),
            (
                Span::Day,
                "2024-02-29T00:00:00.000Z",
                "2024-03-01T00:00:00.000Z",
            ),
            (
                Span::Month,
                "2024-02-01T00:00:00.000Z",
                "2024-03-01T00:00:00.000Z",
            ),
        ] {
            assert_eq!(span.start(leap).rfc3339(), start);
            assert_eq!(span.next(leap).rfc3339(), next);
            assert_eq!(span.start(span.next(leap)), span.next(leap));
        }
        // Every day of 400 years lies in the month that its date names.
        for day in 0..146_097u64 {
            let at = Millis(day * DAY + 5);
            let month = Span::Month.start(at).rfc3339();
            assert_eq!(month[..8], at.rfc3339()[..8]);
            assert_eq!(&month[8..], "01T00:00:00.000Z");
            assert_eq!(&Span::Month.next(at).rfc3339()[8..], "01T00:00:00.000Z");
            assert!(Span::Month.next(at) > at);
        }
    }

    #[test]
    fn what_lies_later_counts_too_and_the_wait_knows_it() {
        let (mut days, mut fresh) = (Calendar::default(), 1);
        let day = |n: u64| Millis((20_000 + n) * DAY);
        days.add(day(0), 4, None, &mut fresh);
        days.add(day(1), 5, None, &mut fresh);
        assert_eq!((days.used(day(0)), days.used(day(1))), (9, 5));
        assert_eq!(days.wait(Span::Day, day(0), 10, 1), None);
        assert_eq!(days.wait(Span::Day, day(0), 10, 2), Some(day(1)));
        assert_eq!(days.wait(Span::Day, day(0), 10, 6), Some(day(2)));
        assert_eq!(days.wait(Span::Day, day(0), 4, 0), None);
    }

    #[test]
    fn the_oldest_windows_are_kept_together_and_none_is_lost() {
        let (mut days, mut fresh) = (Calendar::default(), 1);
        for n in 0..10u64 {
            days.add(Millis(n * DAY), 1, None, &mut fresh);
            assert_eq!(days.used(Millis::ZERO), n + 1);
            assert_eq!(days.used(Millis(n * DAY)), 1);
        }
        assert_eq!(days.0.len(), KEPT);
    }

    #[test]
    fn a_clock_that_was_a_year_ahead_costs_one_window() {
        let (mut days, mut fresh) = (Calendar::default(), 1);
        days.add(Millis(400 * DAY), 10, None, &mut fresh);
        days.rebase(Span::Day, Millis(35 * DAY));
        let wait = days.wait(Span::Day, Millis(35 * DAY), 10, 1);
        assert_eq!(wait, Some(Millis(37 * DAY)));
    }
}
