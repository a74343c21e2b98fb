//! Taking from an account.

use super::{Account, GUESS, LEASE, LEASE_KNOWN, LONGEST, MAX_LEASE, MAX_OPEN, SHORTEST};
use crate::base::time::Millis;
use crate::domain::limits::account::calendar::Span;
use crate::domain::limits::account::command::{Back, Reply, Take, Want};
use crate::domain::limits::account::limits::Limits;
use crate::domain::limits::account::requests::Requests;
use crate::domain::limits::account::reservation::Reservation;
use crate::domain::limits::policy::{LimitName, Verdict};

impl Account {
    pub(super) fn take(&mut self, now: Millis, clock: Millis, take: Take) -> Reply {
        let Take {
            id,
            want,
            limits,
            until,
            ahead,
            back,
        } = take;
        let used = self.lapsed(back);
        if self.open.contains_key(&id) {
            // Said before. A lease is not given twice; its requests are spent.
            return Reply::Taken {
                status: self.status(now, want.class, &limits),
                lease: None,
                alerts: self.alerts(now, &[]),
            };
        }
        if let Some(refusal) = self.refusal(now, clock, &want, &limits) {
            return refusal;
        }
        let ahead = self.lease(now, &want, &limits, ahead);
        let open = self.spend(now, &want, &limits, until, ahead);
        // What holds nothing has nothing to settle or to release, and leaves no row.
        if open.holds() {
            self.mark(&["r/", &id].concat());
            self.insert(id, open);
        }
        if let Some(watch) = &limits.watch {
            // A lease counts when it was used: what is only set aside is no sudden rate.
            let requests = used.saturating_add(u64::from(want.requests));
            if requests > 0 && self.rates.count(now, requests, watch) {
                self.mark("w");
            }
        }
        Reply::Taken {
            status: self.status(now, want.class, &limits),
            lease: (ahead > 0).then(|| (ahead, clock.plus(LEASE))),
            alerts: self.alerts(now, &[]),
        }
    }

    /// Takes back what leases that are over have left, each once; gives how many of their requests were made.
    fn lapsed(&mut self, back: Vec<Back>) -> u64 {
        let mut used = 0_u64;
        for lease in back {
            used = used.saturating_add(u64::from(lease.used));
            let Some(open) = self.open.get_mut(&lease.id) else {
                continue;
            };
            let Some(charged) = open.requests.take() else {
                continue;
            };
            let class = charged.class;
            if let Some(row) = self.classes.get_mut(&class) {
                row.lapse(&charged, lease.unused);
                self.mark_class(class);
            }
            self.mark(&["r/", &lease.id].concat());
            if self.open.get(&lease.id).is_some_and(|open| !open.holds()) {
                self.close(&lease.id);
            }
        }
        used
    }

    /// The refusal, if anything refuses. `clock` is what the caller's wait is counted from.
    fn refusal(
        &mut self,
        now: Millis,
        clock: Millis,
        want: &Want,
        limits: &Limits,
    ) -> Option<Reply> {
        let hold = self.rates.hold.as_ref();
        let hold = hold.map(|hold| (hold.until.since(now), !hold.slow));
        let mut answer = self.ask(now, want, limits);
        match hold {
            Some((left, true)) => answer.push((LimitName::Hold, Verdict::Wait(left))),
            Some((left, false)) => {
                let slow = self.ask(now, want, &limits.slowed());
                answer = slower(answer, slow, left);
            }
            None => {}
        }
        if self.open.len() >= MAX_OPEN {
            answer.push((LimitName::Overload, Verdict::Wait(GUESS)));
        }
        let forever = answer.iter().any(|(_, verdict)| *verdict == Verdict::Never);
        let mut longest = Millis::ZERO;
        let mut why = Vec::new();
        for (name, verdict) in &answer {
            match verdict {
                Verdict::Never => why.push(*name),
                Verdict::Wait(wait) if !forever => {
                    longest = longest.max(*wait);
                    why.push(*name);
                }
                _ => {}
            }
        }
        if why.is_empty() {
            return None;
        }
        let wait = if forever {
            Millis::ZERO
        } else {
            now.plus(longest).since(clock)
        };
        Some(Reply::Refused {
            wait,
            forever,
            status: self.status(now, want.class, limits),
            alerts: self.alerts(now, &why),
            why,
        })
    }

    /// Asks every window, and spends nothing.
    fn ask(&mut self, now: Millis, want: &Want, limits: &Limits) -> Vec<(LimitName, Verdict)> {
        let mut answer = Vec::new();
        if let Some(row) = self.classes.get_mut(&want.class) {
            row.presume_spent(limits);
            row.ask(now, limits, want.requests, &mut answer);
        } else {
            Requests::default().ask(now, limits, want.requests, &mut answer);
        }
        if self.totals.presume_spent(limits, &mut self.fresh) {
            self.mark("t");
        }
        if let Some(rate) = &limits.tokens {
            let verdict = self.totals.tokens.decide(now, rate, want.tokens);
            answer.push((LimitName::Tokens, verdict));
        }
        if let Some(places) = limits.places
            && want.place
            && self.places >= places
        {
            let verdict = if places == 0 {
                Verdict::Never
            } else {
                Verdict::Wait(GUESS)
            };
            answer.push((LimitName::Concurrent, verdict));
        }
        for (span, calendar) in Span::ALL.into_iter().zip(&self.totals.money) {
            let Some(limit) = limits.budget(span) else {
                continue;
            };
            if want.micros > limit {
                answer.push((span.limit(), Verdict::Never));
            } else if let Some(start) = calendar.wait(span, now, limit, want.micros) {
                let present = span.start(now);
                let counted = calendar.0.iter().filter(|tally| tally.start >= present);
                let reserved = counted.filter_map(|tally| self.reserved.get(&tally.number));
                let reserved = reserved.fold(0u64, |sum, micros| sum.saturating_add(*micros));
                let spent = calendar.used(present).saturating_sub(reserved);
                let wait = start.since(now);
                // What is only reserved comes back in part as soon as those calls end.
                let wait = if spent.saturating_add(want.micros) <= limit {
                    wait.min(GUESS)
                } else {
                    wait
                };
                answer.push((span.limit(), Verdict::Wait(wait)));
            }
        }
        answer
    }

    /// How many requests are taken in advance. None while the account is held: each request is then asked for.
    pub(super) fn lease(&mut self, now: Millis, want: &Want, limits: &Limits, ahead: u32) -> u32 {
        if ahead == 0
            || want.requests == 0
            || self.rates.hold.is_some()
            || !limits.is_of_requests_alone()
            || limits.is_empty()
        {
            return 0;
        }
        let ahead = ahead.min(MAX_LEASE);
        let row = self.classes.entry(want.class).or_default();
        row.lease(now, LEASE, limits, want.requests, ahead)
    }

    /// Spends from every window. All of them have admitted it.
    pub(super) fn spend(
        &mut self,
        now: Millis,
        want: &Want,
        limits: &Limits,
        until: Millis,
        ahead: u32,
    ) -> Reservation {
        let slow = self.rates.hold.is_some().then(|| limits.slowed());
        let limits = &slow.unwrap_or(*limits);
        let limited = limits.burst.is_some() || limits.sustained.is_some();
        let requests = (limited && want.requests > 0).then(|| {
            let at = if ahead > 0 { now.plus(LEASE) } else { now };
            let row = self.classes.entry(want.class).or_default();
            row.spend(at, limits, want.class, want.requests, ahead)
        });
        if requests.is_some() {
            self.mark_class(want.class);
        }
        let tokens = limits.tokens.filter(|_| want.tokens > 0);
        let tokens = tokens.map(|rate| self.totals.tokens.charge(now, &rate, want.tokens));
        let money = (want.micros > 0).then(|| {
            let mut numbers = [0; 3];
            let calendars = Span::ALL.into_iter().zip(&mut self.totals.money);
            for ((span, calendar), number) in calendars.zip(&mut numbers) {
                let limit = limits.budget(span);
                *number = calendar.add(span.start(now), want.micros, limit, &mut self.fresh);
            }
            (want.micros, numbers)
        });
        if tokens.is_some() || money.is_some() {
            self.mark("t");
        }
        let holds = want.place || tokens.is_some() || money.is_some();
        let longest = now.plus(match (holds, ahead) {
            (true, _) => LONGEST,
            (false, 0) => SHORTEST,
            (false, _) => LEASE_KNOWN,
        });
        let until = if holds || ahead == 0 { until } else { longest };
        Reservation {
            at: now,
            until: until.clamp(now.plus(Millis(1)), longest),
            place: want.place,
            requests,
            tokens,
            money,
        }
    }
}

/// Joins what the limits say with what a quarter of them says until `left` has passed: a request fits when a quarter
/// admits it before then, or the whole does from then on.
fn slower(
    whole: Vec<(LimitName, Verdict)>,
    quarter: Vec<(LimitName, Verdict)>,
    left: Millis,
) -> Vec<(LimitName, Verdict)> {
    let said = |name: LimitName| {
        let mut all = whole.iter();
        all.find(|(other, _)| *other == name)
            .map_or(Verdict::Admit, |(_, verdict)| *verdict)
    };
    quarter
        .into_iter()
        .map(|(name, slow)| match (slow, said(name)) {
            (Verdict::Admit, _) => (name, Verdict::Admit),
            (_, Verdict::Never) => (name, Verdict::Never),
            (Verdict::Wait(slow), _) if slow < left => (name, Verdict::Wait(slow)),
            (_, Verdict::Wait(wait)) => (name, Verdict::Wait(wait.max(left))),
            (_, Verdict::Admit) => (name, Verdict::Wait(left)),
        })
        .collect()
}
