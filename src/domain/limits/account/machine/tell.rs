//! What an account tells of itself.

use super::Account;
use crate::base::time::Millis;
use crate::domain::limits::account::alert;
use crate::domain::limits::account::alert::Alert;
use crate::domain::limits::account::calendar::Span;
use crate::domain::limits::account::command::{Reply, Spend};
use crate::domain::limits::account::limits::Limits;
use crate::domain::limits::account::requests::{Requests, of_meter};
use crate::domain::limits::policy::{Class, LimitName, LimitStatus};

impl Account {
    pub(super) fn done(&mut self, now: Millis, known: bool) -> Reply {
        let alerts = self.alerts(now, &[]);
        Reply::Done { known, alerts }
    }

    pub(super) fn look(&mut self, now: Millis, class: Class, limits: &Limits) -> Reply {
        let spend = Span::ALL.into_iter().zip(&self.totals.money);
        let spend = spend.map(|(span, calendar)| {
            let start = span.start(now);
            let counted = calendar.0.iter().filter(|tally| tally.start >= start);
            let reserved = counted.filter_map(|tally| self.reserved.get(&tally.number));
            let reserved = reserved.fold(0u64, |sum, micros| sum.saturating_add(*micros));
            Spend {
                name: span.limit(),
                spent: calendar.used(start).saturating_sub(reserved),
                reserved,
                limit: limits.budget(span),
                start,
                end: span.next(now),
            }
        });
        let spend = spend.collect();
        let hold = self.rates.hold.as_ref();
        Reply::Seen {
            spend,
            places: self.places,
            open: u32::try_from(self.open.len()).unwrap_or(u32::MAX),
            hold: hold.map(|hold| (hold.until, hold.slow, hold.reason.clone())),
            status: self.status(now, class, limits),
        }
    }

    pub(super) fn status(
        &mut self,
        now: Millis,
        class: Class,
        limits: &Limits,
    ) -> Vec<LimitStatus> {
        let slow = self.rates.hold.as_ref().is_some_and(|hold| hold.slow);
        let limits = &if slow { limits.slowed() } else { *limits };
        let mut status = Vec::new();
        match self.classes.get_mut(&class) {
            Some(row) => row.status(now, limits, &mut status),
            None => Requests::default().status(now, limits, &mut status),
        }
        if let Some(rate) = &limits.tokens {
            let tokens = &self.totals.tokens;
            status.push(of_meter(LimitName::Tokens, tokens, now, rate));
        }
        status
    }

    /// Everything that is to be told now and was not told before. `refused`: the limits that refused just now.
    pub(super) fn alerts(&mut self, now: Millis, refused: &[LimitName]) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = self.rates.tell().into_iter().collect();
        for (span, calendar) in Span::ALL.into_iter().zip(&mut self.totals.money) {
            let present = span.start(now);
            for tally in &mut calendar.0 {
                let reserved = self.reserved.get(&tally.number).copied().unwrap_or(0);
                let spent = tally.used.saturating_sub(reserved);
                let refused = tally.start == present && refused.contains(&span.limit());
                alerts.extend(alert::of_budget(span, tally, now, spent, refused));
            }
        }
        alerts
    }

    /// What the command before told counts as told in the rows that this one writes.
    pub(super) fn confirm(&mut self) {
        self.rates.confirm();
        for tally in self
            .totals
            .money
            .iter_mut()
            .flat_map(|calendar| &mut calendar.0)
        {
            tally.told |= tally.telling;
        }
    }
}
