//! What time does to an account.

use super::{Account, LONGEST, STILL, Totals};
use crate::base::time::Millis;
use crate::domain::limits::account::calendar::Span;
use crate::domain::limits::account::meter::Meter;
use crate::domain::limits::account::requests::Requests;
use crate::domain::limits::account::watch::Rates;
use crate::domain::limits::policy::Class;

impl Account {
    /// The time that counts: the clock's, or the latest seen when the clock is up to [`STILL`] behind that.
    pub(super) fn clock(&mut self, clock: Millis) -> Millis {
        if clock.plus(STILL) < self.seen {
            self.rebase(clock);
        }
        self.seen = self.seen.max(clock);
        self.seen
    }

    /// The clock went far back: what lies in the future is moved to the present. Requests and tokens charged before are
    /// not given back any more, since the windows no longer tell them apart.
    fn rebase(&mut self, now: Millis) {
        let seen = std::mem::replace(&mut self.seen, now);
        self.alarm = None;
        for row in self.classes.values_mut() {
            row.rebase(seen, now);
        }
        self.totals.tokens.rebase(seen, now);
        self.totals.lost = self.totals.lost.map(|at| at.min(now));
        for (span, calendar) in self.totals.calendars() {
            calendar.rebase(span, now);
        }
        self.rates.rebase(now);
        self.due.clear();
        let latest = now.plus(LONGEST);
        for (id, open) in &mut self.open {
            open.at = open.at.min(now);
            open.until = open.until.min(latest);
            open.requests = None;
            open.tokens = None;
            self.due.insert((open.until, id.clone()));
            self.dirty.insert(["r/", id].concat());
        }
        let classes: Vec<Class> = self.classes.keys().copied().collect();
        for class in classes {
            self.mark_class(class);
        }
        self.mark("t");
        self.mark("w");
    }

    /// Reservations whose time is over stay spent at what they hold; their places are free.
    pub(super) fn expire(&mut self, now: Millis) {
        while let Some((until, id)) = self.due.first() {
            if *until > now {
                break;
            }
            let id = id.clone();
            self.close(&id);
        }
        if self.rates.expire(now) {
            self.mark("w");
        }
    }

    /// Forgets what is full again.
    pub(super) fn sweep(&mut self, now: Millis) {
        let full: Vec<Class> = self
            .classes
            .iter()
            .filter(|(_, row)| row.full_at() <= now)
            .map(|(class, _)| *class)
            .collect();
        for class in full {
            self.classes.remove(&class);
            self.mark_class(class);
        }
        let before = self.totals.size();
        if self.totals.tokens.full_at() <= now {
            self.totals.tokens = Meter::default();
        }
        // Longer than any month.
        self.totals.lost = self.totals.lost.filter(|at| at.plus(MONTH) > now);
        for (span, calendar) in self.totals.calendars() {
            calendar.sweep(span, now);
        }
        if self.totals.size() != before {
            self.mark("t");
        }
        if self.rates.full_at() <= now && self.rates != Rates::default() {
            self.rates = Rates::default();
            self.mark("w");
        }
    }

    /// Asks for an alarm when the next reservation expires, or else when all is full and can be forgotten, unless one
    /// stands before that. One in the past was missed.
    pub(super) fn ring(&mut self, now: Millis) -> Option<Millis> {
        let due = match self.due.first() {
            Some((until, _)) => *until,
            None if self.is_empty() => return None,
            None => self.full_at(),
        };
        let due = due.max(now.plus(Millis(1)));
        if self.alarm.is_some_and(|alarm| now < alarm && alarm <= due) {
            return None;
        }
        self.alarm = Some(due);
        self.alarm
    }

    fn full_at(&self) -> Millis {
        let classes = self.classes.values().map(Requests::full_at);
        let money = Span::ALL.into_iter().zip(&self.totals.money);
        let money = money.flat_map(|(span, calendar)| {
            let ends = calendar.0.iter().map(move |tally| span.next(tally.start));
            ends.map(|end| end.plus(crate::domain::limits::account::calendar::GRACE))
        });
        let lost = self.totals.lost.map(|at| at.plus(MONTH));
        let others = [self.totals.tokens.full_at(), self.rates.full_at()];
        let all = classes.chain(money).chain(lost).chain(others);
        all.max().unwrap_or(Millis::ZERO)
    }
}

/// Longer than any month: 32 days.
const MONTH: Millis = Millis::from_secs(2_764_800);

impl Totals {
    /// What a sweep may shrink.
    fn size(&self) -> (bool, Meter, usize) {
        let windows = self.money.iter().map(|calendar| calendar.0.len()).sum();
        (self.lost.is_some(), self.tokens, windows)
    }
}
