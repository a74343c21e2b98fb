//! The sliding log: a sustained limit of so many requests in any window of a given length.
//!
//! Up to [`EXACT_QUOTA`] the log is exact: it keeps the millisecond of every admission. Above that it is approximate,
//! to bound its size: admissions within one of [`GRANULES`] parts of the window are kept together under the time of the
//! last of them. An admission then counts up to one granule longer than it should and never shorter, so that the quota
//! still holds in any window; only the refill comes up to 1/64 of the window late.

use std::collections::VecDeque;

use super::policy::{Verdict, Window};
use crate::base::time::Millis;

/// Largest quota whose log is exact: 1,000 entries × 16 bytes = 16 KB a row in memory, about 8 KB stored.
pub const EXACT_QUOTA: u32 = 1000;
/// Parts of a window in an approximate log; it holds at most one entry more than this.
pub const GRANULES: u64 = 64;

/// Is a window's log approximate (late to refill by up to `per / 64`, never admitting more than the quota)?
#[must_use]
pub const fn is_approximate(window: &Window) -> bool {
    window.requests() > EXACT_QUOTA
}

/// Admissions of the same part of this length, in milliseconds, are kept together.
#[must_use]
pub const fn granule(window: &Window) -> u64 {
    if is_approximate(window) {
        window.per().0.div_ceil(GRANULES)
    } else {
        1
    }
}

/// Admissions within the last window, oldest first. The default is a full allowance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    entries: VecDeque<Entry>,
    /// Sum of the entries' counts.
    spent: u32,
    /// Length of the window last applied, for knowing when the log is empty without a policy.
    per: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Millis,
    count: u32,
}

impl Log {
    /// Forgets what has left the window, and moves what lies in the future (the clock went back) to now.
    ///
    /// Every question below presumes this call with the same `now`. An admission of time t counts until t + per.
    pub fn advance(&mut self, now: Millis, window: &Window) {
        self.rebase(now);
        self.expire(now, window);
    }

    /// Forgets what has left the window; what lies in the future stays there, and counts.
    pub fn expire(&mut self, now: Millis, window: &Window) {
        self.per = window.per();
        while let Some(first) = self.entries.front() {
            if first.at.plus(self.per) > now {
                break;
            }
            self.spent = self.spent.saturating_sub(first.count);
            self.entries.pop_front();
        }
    }

    /// Moves entries that lie in the future to now.
    pub fn rebase(&mut self, now: Millis) {
        let mut moved = 0u32;
        while let Some(last) = self.entries.back() {
            if last.at <= now {
                break;
            }
            moved = moved.saturating_add(last.count);
            self.entries.pop_back();
        }
        if moved > 0 {
            self.entries.push_back(Entry {
                at: now,
                count: moved,
            });
        }
    }

    /// May `cost` more be spent?
    #[must_use]
    pub fn decide(&self, now: Millis, window: &Window, cost: u32) -> Verdict {
        if cost > window.requests() {
            return Verdict::Never;
        }
        let excess = self
            .spent
            .saturating_add(cost)
            .saturating_sub(window.requests());
        if excess == 0 {
            return Verdict::Admit;
        }
        // The oldest entries leave first; the wait is for the one that frees enough.
        let mut freed = 0u32;
        let enough = self.entries.iter().find(|entry| {
            freed = freed.saturating_add(entry.count);
            freed >= excess
        });
        Verdict::Wait(enough.map_or(window.per(), |entry| self.leaves(entry, now)))
    }

    /// Spends; whether it fits was asked before.
    pub fn spend(&mut self, now: Millis, window: &Window, cost: u32) {
        if cost == 0 {
            return;
        }
        let granule = granule(window);
        let part = |at: Millis| at.0.checked_div(granule);
        self.spent = self.spent.saturating_add(cost);
        match self.entries.back_mut() {
            Some(last) if part(last.at) == part(now) => {
                last.at = last.at.max(now);
                last.count = last.count.saturating_add(cost);
            }
            _ => self.entries.push_back(Entry {
                at: now,
                count: cost,
            }),
        }
    }

    /// Takes back up to `cost` of what was spent at `at`, when the log had this granule. Entries that have left the
    /// window, or that another granule moved, stay as they are: a refund never takes back what another spent.
    ///
    /// Presumes that no [`Log::rebase`] came between.
    pub fn refund(&mut self, at: Millis, granule: u64, cost: u32) {
        let part = |at: Millis| at.0.checked_div(granule);
        let first = self.entries.partition_point(|entry| entry.at < at);
        let Some(entry) = self.entries.get_mut(first) else {
            return;
        };
        if part(entry.at) != part(at) {
            return;
        }
        let back = cost.min(entry.count);
        entry.count = entry.count.saturating_sub(back);
        self.spent = self.spent.saturating_sub(back);
        if entry.count == 0 {
            self.entries.remove(first);
        }
    }

    /// The time of the latest entry; zero when there is none.
    #[must_use]
    pub fn latest(&self) -> Millis {
        self.entries.back().map_or(Millis::ZERO, |last| last.at)
    }

    /// Requests left.
    #[must_use]
    pub fn remaining(&self, window: &Window) -> u32 {
        window.requests().saturating_sub(self.spent)
    }

    /// From now until more is left; zero when the allowance is full.
    #[must_use]
    pub fn more(&self, now: Millis, window: &Window) -> Millis {
        match self.decide(now, window, 1) {
            Verdict::Wait(wait) => wait,
            _ => self
                .entries
                .front()
                .map_or(Millis::ZERO, |first| self.leaves(first, now)),
        }
    }

    /// From now until the allowance is full.
    #[must_use]
    pub fn full(&self, now: Millis) -> Millis {
        self.full_at().since(now)
    }

    /// When the allowance is full, by the window last applied; zero when it is.
    #[must_use]
    pub fn full_at(&self) -> Millis {
        self.entries
            .back()
            .map_or(Millis::ZERO, |last| last.at.plus(self.per))
    }

    fn leaves(&self, entry: &Entry, now: Millis) -> Millis {
        entry.at.plus(self.per).since(now)
    }

    /// The stored form: the first time in full, the others as distances, each with its count.
    #[must_use]
    pub fn store(&self) -> (Millis, Vec<(u64, u32)>) {
        let mut before = Millis::ZERO;
        let entries = self.entries.iter().map(|entry| {
            let distance = entry.at.since(before);
            before = entry.at;
            (distance.0, entry.count)
        });
        (self.per, entries.collect())
    }

    /// Reads the stored form, and counts what was reserved as spent now.
    #[must_use]
    pub fn load(now: Millis, per: Millis, stored: &[(u64, u32)], reserved: u32) -> Self {
        let mut log = Self {
            per: per.min(Window::MAX_PER),
            ..Self::default()
        };
        let mut at = Millis::ZERO;
        for (distance, count) in stored {
            at = at.plus(Millis(*distance));
            log.push(at, *count);
        }
        log.push(at.max(now), reserved);
        log
    }

    fn push(&mut self, at: Millis, count: u32) {
        if count > 0 {
            self.spent = self.spent.saturating_add(count);
            self.entries.push_back(Entry { at, count });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GRANULES, Log};
    use crate::base::time::Millis;
    use crate::domain::limits::policy::{Verdict, Window};

    const START: u64 = 1_795_237_500_000;

    fn window(requests: u32, per: u64) -> Window {
        Window::new(requests, Millis(per)).unwrap()
    }

    fn ask(log: &mut Log, now: u64, window: &Window, cost: u32) -> Verdict {
        log.advance(Millis(now), window);
        let verdict = log.decide(Millis(now), window, cost);
        if verdict == Verdict::Admit {
            log.spend(Millis(now), window, cost);
        }
        verdict
    }

    #[test]
    fn a_burst_across_a_boundary_is_refused() {
        let window = window(3, 1000);
        let mut log = Log::default();
        for at in [900, 950, 999] {
            assert_eq!(ask(&mut log, START + at, &window, 1), Verdict::Admit);
        }
        // A counter of aligned windows would start afresh here.
        assert_eq!(
            ask(&mut log, START + 1000, &window, 1),
            Verdict::Wait(Millis(900))
        );
        assert_eq!(
            ask(&mut log, START + 1899, &window, 1),
            Verdict::Wait(Millis(1))
        );
        assert_eq!(ask(&mut log, START + 1900, &window, 1), Verdict::Admit);
        assert_eq!(
            ask(&mut log, START + 1900, &window, 2),
            Verdict::Wait(Millis(99))
        );
        assert_eq!(ask(&mut log, START + 1999, &window, 2), Verdict::Admit);
        assert_eq!(ask(&mut log, START + 1999, &window, 4), Verdict::Never);
        assert_eq!(ask(&mut log, START + 1999, &window, 0), Verdict::Admit);
    }

    #[test]
    fn what_is_left_and_when_there_is_more() {
        let window = window(4, 1000);
        let mut log = Log::default();
        assert_eq!(log.more(Millis(START), &window), Millis::ZERO);
        ask(&mut log, START, &window, 1);
        ask(&mut log, START + 100, &window, 2);
        let now = Millis(START + 300);
        assert_eq!(log.remaining(&window), 1);
        assert_eq!(log.more(now, &window), Millis(700));
        assert_eq!(log.full(now), Millis(800));
        assert_eq!(log.full_at(), Millis(START + 1100));
    }

    #[test]
    fn the_future_counts_as_now() {
        let window = window(2, 1000);
        let mut log = Log::default();
        ask(&mut log, START, &window, 2);
        let back = START - 86_400_000;
        assert_eq!(ask(&mut log, back, &window, 1), Verdict::Wait(Millis(1000)));
        assert_eq!(
            ask(&mut log, back + 999, &window, 1),
            Verdict::Wait(Millis(1))
        );
        assert_eq!(ask(&mut log, back + 1000, &window, 1), Verdict::Admit);
    }

    #[test]
    fn an_approximate_log_is_small_never_early_and_at_most_a_granule_late() {
        let window = window(1001, 64_000);
        let mut log = Log::default();
        let mut admitted = Vec::new();
        for step in 0..64_000u64 {
            if ask(&mut log, START + step, &window, 1) == Verdict::Admit {
                admitted.push(START + step);
            }
        }
        assert_eq!(admitted.len(), 1001);
        assert!(log.entries.len() <= usize::try_from(GRANULES).unwrap() + 1);
        let first = admitted[0];
        let again = (first..)
            .find(|now| {
                log.advance(Millis(*now), &window);
                log.decide(Millis(*now), &window, 1) == Verdict::Admit
            })
            .unwrap();
        assert!((first + 64_000..first + 64_000 + 1000).contains(&again));
    }

    #[test]
    fn what_was_reserved_counts_as_spent_at_load() {
        let window = window(5, 1000);
        let mut log = Log::default();
        ask(&mut log, START, &window, 1);
        ask(&mut log, START + 250, &window, 1);
        let (per, stored) = log.store();
        assert_eq!(
            (per, stored.clone()),
            (Millis(1000), vec![(START, 1), (250, 1)])
        );
        let mut loaded = Log::load(Millis(START + 600), per, &stored, 2);
        assert_eq!(
            ask(&mut loaded, START + 600, &window, 2),
            Verdict::Wait(Millis(400))
        );
        assert_eq!(ask(&mut loaded, START + 600, &window, 1), Verdict::Admit);
        assert_eq!(loaded.full_at(), Millis(START + 1600));
    }
}
