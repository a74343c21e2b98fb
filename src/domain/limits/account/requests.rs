//! The requests of one class: a meter for bursts and a log over a longer time.

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::meter::{Meter, Rate};
use super::reservation;
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, LimitName, LimitStatus, Verdict, Window};
use crate::domain::limits::window::{Log, granule};

/// Leases are for windows at least so long: a lease is charged at its end, which is much of a shorter one.
const LEASE_WINDOW: Millis = Millis::from_secs(10);

/// The windows of one class. The default is a full allowance.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    burst: Meter,
    log: Log,
    /// The stored row was unreadable at this time: everything counts as spent then.
    lost: Option<Millis>,
}

/// The stored form: the clock of then, the meter, the log; or when it was lost.
#[derive(Serialize, Deserialize)]
enum Stored {
    #[serde(rename = "v1")]
    Row(Millis, Meter, Millis, Vec<(u64, u32)>),
    #[serde(rename = "lost")]
    Lost(Millis),
}

impl Requests {
    /// Reads a stored row: with the clock of then, and whether it must be stored again.
    pub fn load(now: Millis, text: &str) -> (Self, Millis, bool) {
        let lost = |at| Self {
            lost: Some(at),
            ..Self::default()
        };
        match serde_json::from_str(text) {
            Ok(Stored::Row(seen, burst, per, entries)) => {
                let log = Log::load(now, per, &entries, 0);
                let row = Self {
                    burst,
                    log,
                    lost: None,
                };
                (row, seen, false)
            }
            Ok(Stored::Lost(at)) => (lost(at), at, false),
            Err(_) => (lost(now), now, true),
        }
    }

    /// The stored form.
    pub fn store(&self, seen: Millis) -> String {
        let stored = self.lost.map_or_else(
            || {
                let (per, entries) = self.log.store();
                Stored::Row(seen, self.burst, per, entries)
            },
            Stored::Lost,
        );
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// Everything that a lost row allows was spent when it was lost.
    pub fn presume_spent(&mut self, limits: &Limits) {
        if limits.burst.is_none() && limits.sustained.is_none() {
            return;
        }
        let Some(at) = self.lost.take() else { return };
        if let Some(window) = limits.burst {
            self.burst = Meter::spent(at, &Rate::from(window));
        }
        if let Some(window) = &limits.sustained {
            self.log = Log::load(at, window.per(), &[], window.requests());
        }
    }

    /// Asks both windows.
    pub fn ask(
        &mut self,
        now: Millis,
        limits: &Limits,
        cost: u32,
        answer: &mut Vec<(LimitName, Verdict)>,
    ) {
        if let Some(window) = limits.burst {
            let verdict = self.burst.decide(now, &Rate::from(window), u64::from(cost));
            answer.push((LimitName::Burst, verdict));
        }
        if let Some(window) = &limits.sustained {
            self.log.expire(now, window);
            let verdict = match cost {
                0 => Verdict::Admit,
                _ => self.log.decide(now, window, cost),
            };
            answer.push((LimitName::Sustained, verdict));
        }
    }

    /// How many of `ahead` further requests may be leased: at most an eighth of each quota and a quarter of what each
    /// window has left, so that one isolate leaves the others theirs. Where nothing is limited and rates are only watched,
    /// all of them.
    pub fn lease(&self, now: Millis, delay: Millis, limits: &Limits, own: u32, ahead: u32) -> u32 {
        let mut most = ahead;
        let mut within = |window: &Window, left: u32| {
            let long = window.per() >= LEASE_WINDOW;
            let share = (left.saturating_sub(own) / 4).min(window.requests() / 8);
            most = most.min(if long { share } else { 0 });
        };
        if let Some(window) = &limits.burst {
            let left = self.burst.remaining_after(now, delay, &Rate::from(*window));
            within(window, u32::try_from(left).unwrap_or(u32::MAX));
        }
        if let Some(window) = &limits.sustained {
            within(window, self.log.remaining(window));
        }
        most
    }

    /// Spends the call's own requests, and a lease. With a lease all of it is charged at the lease's end (`at`), since
    /// its requests may come then: a window that holds them must count them.
    pub fn spend(
        &mut self,
        at: Millis,
        limits: &Limits,
        class: Class,
        own: u32,
        ahead: u32,
    ) -> reservation::Requests {
        let cost = own.saturating_add(ahead);
        let burst = limits
            .burst
            .map(|window| self.burst.charge(at, &Rate::from(window), u64::from(cost)));
        let log = limits.sustained.map(|window| {
            let at = at.max(self.log.latest());
            self.log.spend(at, &window, cost);
            (at, granule(&window))
        });
        reservation::Requests {
            class,
            own,
            ahead,
            burst,
            log,
        }
    }

    /// Takes the call's own requests back.
    pub fn refund(&mut self, charged: &reservation::Requests) {
        if let Some(charge) = &charged.burst {
            self.burst.refund(charge, u64::from(charged.ahead));
        }
        if let Some((at, granule)) = charged.log {
            self.log.refund(at, granule, charged.own);
        }
    }

    /// Takes back what was not used of a lease that is over.
    pub fn lapse(&mut self, charged: &reservation::Requests, unused: u32) {
        let unused = unused.min(charged.ahead);
        let cost = charged.own.saturating_add(charged.ahead);
        if let Some(charge) = &charged.burst {
            self.burst
                .refund(charge, u64::from(cost.saturating_sub(unused)));
        }
        if let Some((at, granule)) = charged.log {
            self.log.refund(at, granule, unused);
        }
    }

    /// The clock went back.
    pub fn rebase(&mut self, seen: Millis, now: Millis) {
        self.burst.rebase(seen, now);
        self.log.rebase(now);
        self.lost = self.lost.map(|at| at.min(now));
    }

    /// When both are full again.
    pub fn full_at(&self) -> Millis {
        let lost = self
            .lost
            .map_or(Millis::ZERO, |at| at.plus(Window::MAX_PER));
        self.burst.full_at().max(self.log.full_at()).max(lost)
    }

    /// As the caller may see them.
    pub fn status(&mut self, now: Millis, limits: &Limits, status: &mut Vec<LimitStatus>) {
        if let Some(window) = &limits.burst {
            status.push(of_meter(
                LimitName::Burst,
                &self.burst,
                now,
                &Rate::from(*window),
            ));
        }
        if let Some(window) = &limits.sustained {
            self.log.expire(now, window);
            status.push(LimitStatus {
                name: LimitName::Sustained,
                quota: window.requests(),
                window: window.per(),
                remaining: self.log.remaining(window),
                more: self.log.more(now, window),
                full: self.log.full(now),
            });
        }
    }
}

/// A meter as the caller may see it; quotas fit 32 bits, as the largest is 10⁹.
pub(super) fn of_meter(name: LimitName, meter: &Meter, now: Millis, rate: &Rate) -> LimitStatus {
    let short = |units: u64| u32::try_from(units).unwrap_or(u32::MAX);
    LimitStatus {
        name,
        quota: short(rate.quota()),
        window: rate.per(),
        remaining: short(meter.remaining(now, rate)),
        more: meter.more(now, rate),
        full: meter.full_at().since(now),
    }
}
