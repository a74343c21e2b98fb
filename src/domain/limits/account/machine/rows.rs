//! How an account is stored.

use super::{Account, LONGEST, PREFIX, Totals};
use crate::base::machine::Write;
use crate::base::time::Millis;
use crate::domain::limits::account::calendar::{Calendar, Span};
use crate::domain::limits::account::limits::Limits;
use crate::domain::limits::account::meter::Meter;
use crate::domain::limits::account::requests::Requests;
use crate::domain::limits::account::reservation::Reservation;
use crate::domain::limits::account::watch::Rates;
use crate::domain::limits::policy::Class;

impl Account {
    pub(super) fn read(&mut self, now: Millis, key: &str, text: &str) {
        let Some(name) = key.strip_prefix(PREFIX) else {
            return;
        };
        if let Some(class) = name.strip_prefix("c/").and_then(Class::from_name) {
            let (row, seen, again) = Requests::load(now, text);
            self.classes.insert(class, row);
            self.seen = self.seen.max(seen);
            if again {
                self.mark(name);
            }
        } else if let Some(id) = name.strip_prefix("r/") {
            let read = serde_json::from_str(text);
            if read.is_err() {
                self.mark(name);
            }
            let open = read.unwrap_or_else(|_| Reservation {
                at: now,
                until: now.plus(LONGEST),
                place: true,
                requests: None,
                tokens: None,
                money: None,
            });
            self.seen = self.seen.max(open.at);
            self.insert(id.to_owned(), open);
        } else if name == "t" {
            let read = serde_json::from_str(text);
            if read.is_err() {
                self.mark(name);
            }
            self.totals = read.unwrap_or_else(|_| Totals {
                seen: now,
                lost: Some(now),
                ..Totals::default()
            });
            self.seen = self.seen.max(self.totals.seen);
        } else {
            // The usual rate and the hold. A row of another name is not this machine's, and is removed.
            self.rates = serde_json::from_str(text).unwrap_or_default();
            if name != "w" || self.rates == Rates::default() {
                self.mark(name);
            }
        }
    }

    /// The row will be written, or removed when nothing is left of it.
    pub(super) fn mark(&mut self, name: &str) {
        if !self.dirty.contains(name) {
            self.dirty.insert(name.to_owned());
        }
    }

    pub(super) fn mark_class(&mut self, class: Class) {
        self.mark(&["c/", class.as_str()].concat());
    }

    pub(super) fn flush(&mut self) -> Vec<Write> {
        self.totals.seen = self.seen;
        let dirty = std::mem::take(&mut self.dirty);
        dirty
            .into_iter()
            .map(|name| Write {
                value: self.row(&name),
                key: [PREFIX, &name].concat(),
            })
            .collect()
    }

    pub(super) fn row(&self, name: &str) -> Option<String> {
        if let Some(class) = name.strip_prefix("c/").and_then(Class::from_name) {
            return self.classes.get(&class).map(|row| row.store(self.seen));
        }
        // Should a row ever fail to serialise, the empty text is read as a lost one.
        if let Some(id) = name.strip_prefix("r/") {
            let open = self.open.get(id);
            return open.map(|open| serde_json::to_string(open).unwrap_or_default());
        }
        match name {
            "t" if !self.totals.is_empty() => {
                Some(serde_json::to_string(&self.totals).unwrap_or_default())
            }
            "w" if self.rates != Rates::default() => {
                Some(serde_json::to_string(&self.rates).unwrap_or_default())
            }
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
            && self.classes.is_empty()
            && self.totals.is_empty()
            && self.rates == Rates::default()
    }
}

impl Totals {
    pub(super) fn is_empty(&self) -> bool {
        self.lost.is_none()
            && self.tokens == Meter::default()
            && self.money.iter().all(|calendar| calendar.0.is_empty())
    }

    pub(super) fn calendars(&mut self) -> impl Iterator<Item = (Span, &mut Calendar)> {
        Span::ALL.into_iter().zip(&mut self.money)
    }

    /// Everything that a lost row allows was spent when it was lost.
    pub(super) fn presume_spent(&mut self, limits: &Limits, fresh: &mut u64) -> bool {
        if limits.is_of_requests_alone() {
            return false;
        }
        let Some(at) = self.lost.take() else {
            return false;
        };
        if let Some(rate) = &limits.tokens {
            self.tokens = Meter::spent(at, rate);
        }
        for (span, calendar) in self.calendars() {
            if let Some(limit) = limits.budget(span) {
                calendar.add(span.start(at), limit, Some(limit), fresh);
            }
        }
        true
    }
}
