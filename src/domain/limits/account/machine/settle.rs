//! Settling what was taken.

use super::{Account, MAX_EXTRA};
use crate::base::time::Millis;
use crate::domain::limits::account::alert::{Alert, What};
use crate::domain::limits::account::calendar::Span;
use crate::domain::limits::account::command::Reply;
use crate::domain::limits::account::reservation::Reservation;

impl Account {
    pub(super) fn insert(&mut self, id: String, open: Reservation) {
        self.places = self.places.saturating_add(u32::from(open.place));
        if let Some((micros, numbers)) = open.money {
            for number in numbers {
                let sum = self.reserved.entry(number).or_default();
                *sum = sum.saturating_add(micros);
            }
        }
        self.due.insert((open.until, id.clone()));
        self.open.insert(id, open);
    }

    /// Takes a reservation out; its place is free.
    pub(super) fn close(&mut self, id: &str) -> Option<Reservation> {
        let (id, open) = self.open.remove_entry(id)?;
        self.mark(&["r/", &id].concat());
        self.due.remove(&(open.until, id));
        self.places = self.places.saturating_sub(u32::from(open.place));
        if let Some((micros, numbers)) = open.money {
            for number in numbers {
                let left = self.reserved.get(&number).copied().unwrap_or(0);
                match left.saturating_sub(micros) {
                    0 => self.reserved.remove(&number),
                    left => self.reserved.insert(number, left),
                };
            }
        }
        Some(open)
    }

    pub(super) fn settle(&mut self, now: Millis, id: &str, tokens: u64, micros: u64) -> Reply {
        let Some(open) = self.close(id) else {
            return self.done(now, false);
        };
        if let Some(charge) = &open.tokens {
            self.mark("t");
            match tokens.checked_sub(charge.cost) {
                None | Some(0) => self.totals.tokens.refund(charge, tokens),
                Some(extra) => {
                    let rate = charge.rate();
                    let extra = extra.min(rate.quota().saturating_mul(MAX_EXTRA));
                    self.totals.tokens.charge(now, &rate, extra);
                }
            }
        }
        let (reserved, numbers) = open.money.unwrap_or_default();
        self.rebook(now, numbers, reserved, micros);
        let mut reply = self.done(now, true);
        if let Reply::Done { alerts, .. } = &mut reply
            && micros > reserved
        {
            alerts.push(Alert {
                what: What::Overrun,
                limit: None,
                start: now,
                count: micros,
                of: reserved,
                until: None,
            });
        }
        reply
    }

    pub(super) fn release(&mut self, now: Millis, id: &str) -> Reply {
        let Some(open) = self.close(id) else {
            return self.done(now, false);
        };
        if let Some(charged) = &open.requests
            && let Some(row) = self.classes.get_mut(&charged.class)
        {
            row.refund(charged);
            self.mark_class(charged.class);
        }
        if let Some(charge) = &open.tokens {
            self.totals.tokens.refund(charge, 0);
            self.mark("t");
        }
        if let Some((micros, numbers)) = open.money {
            self.rebook(now, numbers, micros, 0);
        }
        self.done(now, true)
    }

    /// Makes `real` of what a call had reserved, in the windows in which it was; one that is gone needs no refund. What
    /// was not reserved is booked there too, or in the present window.
    fn rebook(&mut self, now: Millis, numbers: [u64; 3], reserved: u64, real: u64) {
        if real == reserved {
            return;
        }
        self.mark("t");
        let calendars = Span::ALL.into_iter().zip(&mut self.totals.money);
        for ((span, calendar), number) in calendars.zip(numbers) {
            if let Some(tally) = calendar.numbered(number) {
                let kept = tally.used.saturating_sub(reserved.saturating_sub(real));
                tally.used = kept.saturating_add(real.saturating_sub(reserved));
            } else if let Some(extra) = real.checked_sub(reserved) {
                calendar.add(span.start(now), extra, None, &mut self.fresh);
            }
        }
    }
}
