//! The account as one synchronous state machine.
//!
//! Rows, each beginning with [`PREFIX`]: `c/<class>` the windows of requests, `t` money and tokens, `w` the usual rate
//! and the hold, `r/<id>` one open reservation. A take writes at most one of each; besides, reservations that expired
//! since are removed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::alert::{self, Alert, What};
use super::calendar::{Calendar, Span};
use super::command::{Back, Command, Reply, Spend, Take, Want};
use super::limits::Limits;
use super::meter::Meter;
use super::requests::{Requests, of_meter};
use super::reservation::Reservation;
use super::watch::{Hold, Rates};
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, LimitName, LimitStatus, Verdict};

/// What the keys of all rows begin with.
pub const PREFIX: &str = "acct/";
/// Most open reservations; further takes are refused until one is settled or expires. None is ever forgotten.
pub const MAX_OPEN: usize = 10_000;
/// The longest that a reservation stays open.
pub const LONGEST: Millis = Millis::from_secs(7200);
/// How long a reservation of requests alone stays open, for a release or a repetition.
pub const SHORTEST: Millis = Millis::from_secs(10);
/// How long an account knows a lease, and so may take back what was not used of it.
pub const LEASE_KNOWN: Millis = Millis::from_secs(60);
/// How long a lease is good for.
pub const LEASE: Millis = Millis::from_secs(1);
/// Most requests in a lease.
pub const MAX_LEASE: u32 = 64;
/// A clock that goes back by no more stands still until it has caught up.
pub const STILL: Millis = Millis::from_secs(60);
/// The wait that is told when nobody knows it: a place, a reservation.
const GUESS: Millis = Millis::from_secs(1);
/// The latest time that JavaScript's Date can tell (ECMA-262 §21.4.1.1); a later clock counts as this.
const LATEST: Millis = Millis(8_640_000_000_000_000);
/// Tokens that one settlement books at most, in quotas: above that a provider's count is an error, not a use.
const MAX_EXTRA: u64 = 10;

/// What one account has used. The default is one that nobody used.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The latest time seen; it goes back with the clock only by more than [`STILL`].
    seen: Millis,
    classes: BTreeMap<Class, Requests>,
    totals: Totals,
    rates: Rates,
    open: BTreeMap<String, Reservation>,
    /// When each of them expires.
    due: BTreeSet<(Millis, String)>,
    /// Money of the open ones, by the window's number.
    reserved: BTreeMap<u64, u64>,
    /// Places of the open ones.
    places: u32,
    /// The number of the next window of money.
    fresh: u64,
    /// Rows that are not stored as they are.
    dirty: BTreeSet<String>,
    /// The alarm asked for last.
    alarm: Option<Millis>,
}

/// Money and tokens, as stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Totals {
    /// The clock of then.
    #[serde(rename = "s")]
    seen: Millis,
    #[serde(rename = "t", default)]
    tokens: Meter,
    /// By hour, day and month.
    #[serde(rename = "m", default)]
    money: [Calendar; 3],
    /// The stored row was unreadable at this time: everything counts as spent then.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    lost: Option<Millis>,
}

impl Machine for Account {
    type Command = Command;
    type Reply = Reply;

    /// Reads what is stored. An unreadable row counts as everything spent now, an unreadable reservation as a place
    /// that is taken for [`LONGEST`], an unreadable hold as none.
    fn load(now: Millis, rows: Vec<(String, String)>) -> Self {
        let now = now.min(LATEST);
        let mut account = Self {
            fresh: 1,
            ..Self::default()
        };
        for (key, text) in rows {
            account.read(now, &key, &text);
        }
        let numbers = account.totals.money.iter().flat_map(|calendar| &calendar.0);
        let last = numbers
            .map(|tally| tally.number)
            .chain(account.reserved.keys().copied())
            .max();
        account.fresh = last.unwrap_or(0).saturating_add(1);
        account
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let clock = now.min(LATEST);
        let now = self.clock(clock);
        self.confirm();
        self.expire(now);
        let reply = match command {
            Command::Take(take) => self.take(now, clock, *take),
            Command::Settle { id, tokens, micros } => self.settle(now, &id, tokens, micros),
            Command::Release { id } => self.release(now, &id),
            Command::Look { class, limits } => self.look(now, class, &limits),
            Command::Hold {
                until,
                slow,
                reason,
            } => {
                self.rates.hold = (until > now).then_some(Hold {
                    until,
                    slow,
                    reason,
                    alert: None,
                    told: false,
                    telling: false,
                });
                self.mark("w");
                self.done(now, true)
            }
            Command::Pardon => {
                let known = self.rates.pardon();
                self.mark("w");
                self.done(now, known)
            }
        };
        let mut effects = Effects {
            writes: self.flush(),
            ..Effects::default()
        };
        effects.alarm = self.ring(now);
        (reply, effects)
    }

    /// The alarm rang: reservations expire at what they hold, what is full is forgotten.
    ///
    /// Harmless at any other time, and more than once.
    fn wake(&mut self, now: Millis) -> Effects {
        let now = self.clock(now.min(LATEST));
        self.expire(now);
        self.sweep(now);
        if self.is_empty() {
            *self = Self {
                seen: self.seen,
                ..Self::default()
            };
            return Effects {
                delete_all: true,
                ..Effects::default()
            };
        }
        let writes = self.flush();
        self.alarm = None;
        let alarm = self.ring(now);
        Effects {
            writes,
            alarm,
            delete_all: false,
        }
    }
}

// === Rows ===

impl Account {
    fn read(&mut self, now: Millis, key: &str, text: &str) {
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
    fn mark(&mut self, name: &str) {
        if !self.dirty.contains(name) {
            self.dirty.insert(name.to_owned());
        }
    }

    fn mark_class(&mut self, class: Class) {
        self.mark(&["c/", class.as_str()].concat());
    }

    fn flush(&mut self) -> Vec<Write> {
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

    fn row(&self, name: &str) -> Option<String> {
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

    fn is_empty(&self) -> bool {
        self.open.is_empty()
            && self.classes.is_empty()
            && self.totals.is_empty()
            && self.rates == Rates::default()
    }
}

impl Totals {
    fn is_empty(&self) -> bool {
        self.lost.is_none()
            && self.tokens == Meter::default()
            && self.money.iter().all(|calendar| calendar.0.is_empty())
    }

    fn calendars(&mut self) -> impl Iterator<Item = (Span, &mut Calendar)> {
        Span::ALL.into_iter().zip(&mut self.money)
    }

    /// Everything that a lost row allows was spent when it was lost.
    fn presume_spent(&mut self, limits: &Limits, fresh: &mut u64) -> bool {
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

// === Time ===

impl Account {
    /// The time that counts: the clock's, or the latest seen when the clock is up to [`STILL`] behind that.
    fn clock(&mut self, clock: Millis) -> Millis {
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
    fn expire(&mut self, now: Millis) {
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
    fn sweep(&mut self, now: Millis) {
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
    fn ring(&mut self, now: Millis) -> Option<Millis> {
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
            ends.map(|end| end.plus(super::calendar::GRACE))
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

// === Taking ===

impl Account {
    fn take(&mut self, now: Millis, clock: Millis, take: Take) -> Reply {
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
    fn lease(&mut self, now: Millis, want: &Want, limits: &Limits, ahead: u32) -> u32 {
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
    fn spend(
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

// === Settling ===

impl Account {
    fn insert(&mut self, id: String, open: Reservation) {
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
    fn close(&mut self, id: &str) -> Option<Reservation> {
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

    fn settle(&mut self, now: Millis, id: &str, tokens: u64, micros: u64) -> Reply {
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

    fn release(&mut self, now: Millis, id: &str) -> Reply {
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

// === Telling ===

impl Account {
    fn done(&mut self, now: Millis, known: bool) -> Reply {
        let alerts = self.alerts(now, &[]);
        Reply::Done { known, alerts }
    }

    fn look(&mut self, now: Millis, class: Class, limits: &Limits) -> Reply {
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

    fn status(&mut self, now: Millis, class: Class, limits: &Limits) -> Vec<LimitStatus> {
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
    fn alerts(&mut self, now: Millis, refused: &[LimitName]) -> Vec<Alert> {
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
    fn confirm(&mut self) {
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
