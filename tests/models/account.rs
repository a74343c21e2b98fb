//! The account against a naive oracle: a list of every call with what it holds, summed anew for each question.
//!
//! `GATEHOUSE_LONG=1` runs twenty times as many cases.

use std::collections::BTreeMap;

use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::time::Millis;
use gatehouse::domain::limits::account::calendar::GRACE;
use gatehouse::domain::limits::account::machine::{LEASE, LONGEST, SHORTEST, STILL};
use gatehouse::domain::limits::account::{
    Account, Back, Command, Limits, Rate, Reply, Span, Take, Want, Watch,
};
use gatehouse::domain::limits::{Class, LimitName, Window};
use proptest::prelude::*;

use crate::cases::check;

/// 2026-11-30T22:55:00Z: the hour, the day and the month end soon.
const START: u64 = 1_796_079_300_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 86_400_000;

// === The account with its storage ===

/// What happens to the object around a command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The write failed; the caller repeats the call.
    NotWritten,
    /// The write succeeded and the reply was lost; the caller repeats the call.
    Written,
    /// The object left memory before the call.
    Evicted,
}

#[derive(Clone, Debug, Default)]
struct Object {
    account: Account,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
    writes: usize,
}

impl Object {
    fn persist(&mut self, effects: Effects) {
        self.writes = effects.writes.len();
        assert!(
            effects
                .writes
                .iter()
                .all(|write| write.key.starts_with("acct/"))
        );
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn load(&mut self, now: u64) {
        self.account = Account::load(Millis(now), self.rows.clone().into_iter().collect());
    }

    fn ask(&mut self, now: u64, command: &Command) -> Reply {
        let (reply, effects) = self.account.apply(Millis(now), command.clone());
        self.persist(effects);
        reply
    }

    fn ask_through(&mut self, now: u64, command: &Command, fault: Fault) -> Reply {
        match fault {
            Fault::None => {}
            Fault::Evicted => self.load(now),
            Fault::NotWritten => {
                let _ = self.account.apply(Millis(now), command.clone());
                self.load(now);
            }
            Fault::Written => {
                let first = self.ask(now, command);
                self.load(now);
                let second = self.ask(now, command);
                if let Command::Take(_) = command {
                    assert_eq!(taken(&first), taken(&second), "{first:?} {second:?}");
                }
                return second;
            }
        }
        self.ask(now, command)
    }

    fn wake(&mut self, now: u64) {
        let effects = self.account.wake(Millis(now));
        self.persist(effects);
    }
}

fn taken(reply: &Reply) -> bool {
    matches!(reply, Reply::Taken { .. })
}

// === The oracle ===

/// A call that was admitted and not released.
#[derive(Clone, Debug)]
struct Event {
    id: String,
    at: u64,
    until: u64,
    open: bool,
    place: bool,
    requests: u64,
    tokens: u64,
    micros: u64,
    /// Windows of hour, day and month that it counts in.
    starts: [u64; 3],
}

#[derive(Clone, Debug)]
struct Oracle {
    limits: Limits,
    events: Vec<Event>,
    seen: u64,
    /// Did the clock ever go back further than it may stand still?
    torn: bool,
}

impl Oracle {
    fn clock(&mut self, now: u64) -> u64 {
        if now + STILL.0 < self.seen {
            self.torn = true;
            self.seen = now;
            for event in &mut self.events {
                // Rates begin anew in this oracle: what time it was is not known.
                event.at = event.at.min(now);
                (event.requests, event.tokens) = (0, 0);
                event.until = event.until.min(now + LONGEST.0);
                for (span, start) in Span::ALL.into_iter().zip(&mut event.starts) {
                    *start = (*start).min(span.next(Millis(now)).0);
                }
            }
        }
        self.seen = self.seen.max(now);
        for event in &mut self.events {
            event.open &= event.until > self.seen;
        }
        self.seen
    }

    /// Waking forgets windows that were over for a while.
    fn forget(&mut self) {
        for event in &mut self.events {
            for (span, start) in Span::ALL.into_iter().zip(&mut event.starts) {
                if span.next(Millis(*start)).0 + GRACE.0 <= self.seen {
                    *start = 0;
                }
            }
        }
    }

    /// The limits that this call would break if it were admitted.
    fn breaks(&self, want: &Want, own: bool) -> Vec<LimitName> {
        let now = self.seen;
        let mut broken = Vec::new();
        let sum = |f: &dyn Fn(&Event) -> u64| -> u128 {
            self.events.iter().map(|event| u128::from(f(event))).sum()
        };
        let (requests, tokens, micros) = if own {
            (want.requests, want.tokens, want.micros)
        } else {
            (0, 0, 0)
        };
        if let Some(w) = self.limits.burst {
            let rate = Rate::new(u64::from(w.requests()), w.per()).unwrap();
            let asked = requests > 0 || !own;
            if asked && !self.meter_admits(rate, u64::from(requests), |event| event.requests) {
                broken.push(LimitName::Burst);
            }
        }
        if let Some(w) = self.limits.sustained {
            let recent = |e: &Event| {
                if e.at + w.per().0 > now {
                    e.requests
                } else {
                    0
                }
            };
            if (requests > 0 || !own)
                && sum(&recent) + u128::from(requests) > u128::from(w.requests())
            {
                broken.push(LimitName::Sustained);
            }
        }
        if let Some(rate) = self.limits.tokens
            && (tokens > 0 || !own)
            && !self.meter_admits(rate, tokens, |event| event.tokens)
        {
            broken.push(LimitName::Tokens);
        }
        if let Some(places) = self.limits.places {
            let held = sum(&|e: &Event| u64::from(e.open && e.place));
            if held + u128::from(own && want.place) > u128::from(places) && (want.place || !own) {
                broken.push(LimitName::Concurrent);
            }
        }
        for (i, span) in Span::ALL.into_iter().enumerate() {
            let Some(limit) = self.limits.money[i] else {
                continue;
            };
            let start = span.start(Millis(now)).0;
            let counted = |e: &Event| if e.starts[i] >= start { e.micros } else { 0 };
            if (micros > 0 || !own) && sum(&counted) + u128::from(micros) > u128::from(limit) {
                broken.push(span.limit());
            }
        }
        broken
    }

    /// Over every interval from a charge until now: cost ≤ quota + quota × length / per.
    fn meter_admits(&self, rate: Rate, want: u64, cost: impl Fn(&Event) -> u64) -> bool {
        let (quota, per) = (u128::from(rate.quota()), u128::from(rate.per().0));
        let mut charges: Vec<(u64, u64)> = self
            .events
            .iter()
            .map(|event| (event.at, cost(event)))
            .filter(|(_, cost)| *cost > 0)
            .collect();
        charges.sort_unstable();
        let mut total = u128::from(want);
        let mut fits = total <= quota;
        for (at, cost) in charges.into_iter().rev() {
            total += u128::from(cost);
            let length = u128::from(self.seen.saturating_sub(at));
            fits &= total * per <= quota * per + quota * length;
        }
        fits
    }

    fn admit(&mut self, take: &Take) {
        let now = self.seen;
        let want = take.want;
        let holds =
            want.place || want.micros > 0 || (want.tokens > 0 && self.limits.tokens.is_some());
        let longest = if holds { LONGEST.0 } else { SHORTEST.0 };
        self.events.push(Event {
            id: take.id.clone(),
            at: now,
            until: take.until.0.clamp(now + 1, now + longest),
            // What holds nothing is not kept.
            open: holds
                || (want.requests > 0
                    && (self.limits.burst.is_some() || self.limits.sustained.is_some())),
            place: want.place,
            requests: u64::from(want.requests),
            tokens: want.tokens,
            micros: want.micros,
            starts: Span::ALL.map(|span| span.start(Millis(now)).0),
        });
    }

    fn open(&mut self, id: &str) -> Option<&mut Event> {
        self.events
            .iter_mut()
            .find(|event| event.open && event.id == id)
    }
}

// === Inputs ===

#[derive(Clone, Debug)]
enum Step {
    Take {
        want: Want,
        lasts: u64,
        fault: Fault,
    },
    /// Settles the n-th call at so many percent of what it reserved.
    Settle {
        call: usize,
        percent: u64,
        fault: Fault,
    },
    Release {
        call: usize,
        fault: Fault,
    },
    Hold {
        lasts: u64,
        slow: bool,
    },
    Pardon,
    Wake,
    Forward(u64),
    Back(u64),
}

#[derive(Clone, Copy)]
struct Profile {
    /// How far back the clock may step.
    back: u64,
    holds: bool,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::NotWritten),
        1 => Just(Fault::Written),
        1 => Just(Fault::Evicted),
    ]
}

fn steps(profile: Profile) -> impl Strategy<Value = Vec<Step>> {
    let want = (0u32..4, 0u64..60, 0u64..60, any::<bool>()).prop_map(
        |(requests, tokens, micros, place)| Want {
            class: Class::Chat,
            requests,
            tokens,
            micros,
            place,
        },
    );
    let lasts = prop_oneof![1u64..200, 1000u64..100_000, Just(u64::MAX / 2)];
    let forward = prop_oneof![
        6 => 0u64..20,
        4 => 20u64..2000,
        2 => 2000u64..400_000,
        1 => Just(HOUR),
        1 => Just(DAY),
        1 => Just(31 * DAY),
    ];
    let back = 0..=profile.back;
    let hold = u32::from(profile.holds);
    let step = prop_oneof![
        10 => (want, lasts, fault()).prop_map(|(want, lasts, fault)| Step::Take { want, lasts, fault }),
        5 => (0usize..12, 0u64..=100, fault()).prop_map(|(call, percent, fault)| Step::Settle { call, percent, fault }),
        3 => (0usize..12, fault()).prop_map(|(call, fault)| Step::Release { call, fault }),
        hold => (1u64..100_000, any::<bool>()).prop_map(|(lasts, slow)| Step::Hold { lasts, slow }),
        hold => Just(Step::Pardon),
        1 => Just(Step::Wake),
        6 => forward.prop_map(Step::Forward),
        2 => back.prop_map(Step::Back),
    ];
    prop::collection::vec(step, 1..120)
}

fn window() -> impl Strategy<Value = Window> {
    let per = prop_oneof![1u64..50, 50u64..5000, Just(60_000u64)];
    (1u32..30, per).prop_map(|(requests, per)| Window::new(requests, Millis(per)).unwrap())
}

fn rate() -> impl Strategy<Value = Rate> {
    let per = prop_oneof![1u64..50, 50u64..5000, Just(60_000u64)];
    (40u64..400, per).prop_map(|(quota, per)| Rate::new(quota, Millis(per)).unwrap())
}

fn money() -> impl Strategy<Value = [Option<u64>; 3]> {
    let limit = || prop::option::of(0u64..400);
    (limit(), limit(), limit()).prop_map(|(hour, day, month)| [hour, day, month])
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        prop::option::of(window()),
        prop::option::of(window()),
        prop::option::of(rate()),
        prop::option::of(1u32..6),
        money(),
    )
        .prop_map(|(burst, sustained, tokens, places, money)| Limits {
            burst,
            sustained,
            tokens,
            places,
            money,
            watch: None,
        })
}

/// Limits that the account counts to the unit, releases included: all but the meters.
fn exact_limits() -> impl Strategy<Value = Limits> {
    limits().prop_map(|limits| Limits {
        burst: None,
        tokens: None,
        ..limits
    })
}

// === The simulation ===

struct Simulation {
    object: Object,
    oracle: Oracle,
    now: u64,
    /// Ids of the calls so far, the latest last.
    calls: Vec<String>,
    /// Must a refusal be one that the oracle gives too?
    exact: bool,
}

impl Simulation {
    fn new(limits: Limits, exact: bool) -> Self {
        let mut object = Object::default();
        object.load(START);
        let class = Class::Chat;
        object.ask(START, &Command::Look { class, limits });
        Self {
            object,
            oracle: Oracle {
                limits,
                events: vec![],
                seen: START,
                torn: false,
            },
            now: START,
            calls: vec![],
            exact,
        }
    }

    fn step(&mut self, mut step: Step) -> Result<(), TestCaseError> {
        // What an object that leaves memory has seen of the clock is stored only with what it spent.
        if self.now < self.oracle.seen
            && let Step::Take { fault, .. }
            | Step::Settle { fault, .. }
            | Step::Release { fault, .. } = &mut step
        {
            *fault = Fault::None;
        }
        match step {
            Step::Take { want, lasts, fault } => self.take(want, lasts, fault)?,
            Step::Settle {
                call,
                percent,
                fault,
            } => self.settle(call, percent, fault)?,
            Step::Release { call, fault } => {
                let Some(id) = self.call(call) else {
                    return Ok(());
                };
                self.oracle.clock(self.now);
                let known = self.oracle.open(&id).is_some();
                self.oracle
                    .events
                    .retain(|event| !(event.open && event.id == id));
                let command = Command::Release { id };
                let reply = self.object.ask_through(self.now, &command, fault);
                if fault != Fault::Written {
                    let said = matches!(reply, Reply::Done { known: true, .. });
                    prop_assert_eq!(said, known);
                }
            }
            Step::Hold { lasts, slow } => {
                self.oracle.clock(self.now);
                let command = Command::Hold {
                    until: Millis(self.now + lasts),
                    slow,
                    reason: "a test".to_owned(),
                };
                self.object.ask(self.now, &command);
            }
            Step::Pardon => {
                self.oracle.clock(self.now);
                self.object.ask(self.now, &Command::Pardon);
            }
            Step::Wake => {
                self.oracle.clock(self.now);
                self.oracle.forget();
                self.object.wake(self.now);
            }
            Step::Forward(by) => self.now += by,
            Step::Back(by) => self.now -= by.min(self.now - START / 2),
        }
        Ok(())
    }

    fn call(&self, back: usize) -> Option<String> {
        let place = self.calls.len().checked_sub(back + 1)?;
        Some(self.calls[place].clone())
    }

    fn take(&mut self, want: Want, lasts: u64, fault: Fault) -> Result<(), TestCaseError> {
        self.oracle.clock(self.now);
        let id = format!("call-{}", self.calls.len());
        self.calls.push(id.clone());
        let take = Take {
            id,
            want,
            limits: self.oracle.limits,
            until: Millis(self.now.saturating_add(lasts)),
            ahead: 0,
            back: vec![],
        };
        let broken = self.oracle.breaks(&want, true);
        let command = Command::Take(Box::new(take.clone()));
        let before = self.object.clone();
        match self.object.ask_through(self.now, &command, fault) {
            Reply::Taken { .. } => {
                prop_assert!(broken.is_empty(), "admitted over {:?}", broken);
                self.oracle.admit(&take);
                // Said again, it is neither spent again nor refused.
                if fault == Fault::None {
                    let writes = self.object.writes;
                    let closed = before
                        .rows
                        .keys()
                        .filter(|key| !self.object.rows.contains_key(*key));
                    prop_assert!(
                        writes <= 4 + closed.count() || self.oracle.torn,
                        "{} rows",
                        writes
                    );
                }
            }
            Reply::Refused {
                wait, forever, why, ..
            } => {
                if self.exact && !self.oracle.torn {
                    let mut said = why.clone();
                    said.sort_unstable();
                    let mut broken = broken;
                    broken.sort_unstable();
                    if !forever {
                        prop_assert_eq!(&said, &broken);
                    }
                    prop_assert!(said.iter().all(|name| broken.contains(name)));
                }
                // When running calls give back what they hold, nobody knows either.
                let held = self.oracle.events.iter().any(|e| e.open && e.micros > 0);
                let of_money = Span::ALL.map(Span::limit);
                let guessed = why.contains(&LimitName::Concurrent)
                    || (held && why.iter().any(|name| of_money.contains(name)));
                if !guessed {
                    self.honest(&command, wait.0, forever)?;
                }
            }
            reply => prop_assert!(false, "{:?}", reply),
        }
        Ok(())
    }

    /// A retry after the wait is admitted, unless a place is missing then, and one a millisecond earlier is not.
    fn honest(&self, command: &Command, wait: u64, forever: bool) -> Result<(), TestCaseError> {
        if forever {
            let mut later = self.object.clone();
            let reply = later.ask(self.now + 400 * DAY, command);
            let said = matches!(reply, Reply::Refused { forever: true, .. });
            prop_assert!(said);
            return Ok(());
        }
        prop_assert!(wait > 0);
        let mut later = self.object.clone();
        let reply = later.ask(self.now + wait, command);
        prop_assert!(taken(&reply), "after {}: {:?}", wait, reply);
        let mut earlier = self.object.clone();
        let reply = earlier.ask(self.now + wait - 1, command);
        prop_assert!(!taken(&reply), "1 ms before {}", wait);
        Ok(())
    }

    fn settle(&mut self, call: usize, percent: u64, fault: Fault) -> Result<(), TestCaseError> {
        let Some(id) = self.call(call) else {
            return Ok(());
        };
        self.oracle.clock(self.now);
        let (mut tokens, mut micros) = (7, 7);
        let known = self.oracle.open(&id).map(|event| {
            event.tokens = event.tokens * percent / 100;
            event.micros = event.micros * percent / 100;
            event.open = false;
            (tokens, micros) = (event.tokens, event.micros);
        });
        let command = Command::Settle { id, tokens, micros };
        let reply = self.object.ask_through(self.now, &command, fault);
        if fault != Fault::Written {
            let said = matches!(reply, Reply::Done { known: true, .. });
            prop_assert_eq!(said, known.is_some());
        }
        Ok(())
    }

    /// Once every deadline has passed nothing is reserved, and in the end nothing is stored.
    fn end(mut self) -> Result<(), TestCaseError> {
        let last = self.oracle.seen.max(self.now);
        let late = last + LONGEST.0;
        self.object.load(late);
        self.object.wake(late);
        let look = Command::Look {
            class: Class::Chat,
            limits: self.oracle.limits,
        };
        let Reply::Seen {
            spend,
            places,
            open,
            ..
        } = self.object.ask(late, &look)
        else {
            return Err(TestCaseError::fail("not seen"));
        };
        prop_assert_eq!((places, open), (0, 0));
        prop_assert!(spend.iter().all(|spend| spend.reserved == 0));
        let reserved = self
            .object
            .rows
            .keys()
            .any(|key| key.starts_with("acct/r/"));
        prop_assert!(!reserved);
        let mut wakes = 0;
        while let Some(alarm) = self.object.alarm.take() {
            wakes += 1;
            prop_assert!(wakes < 10, "the alarm does not end");
            let at = alarm.0.max(late);
            self.object.load(at);
            self.object.wake(at);
        }
        prop_assert!(self.object.rows.is_empty(), "{:?}", self.object.rows);
        Ok(())
    }
}

fn simulate(limits: Limits, steps: Vec<Step>, exact: bool) -> Result<(), TestCaseError> {
    let mut simulation = Simulation::new(limits, exact);
    for step in steps {
        simulation.step(step)?;
    }
    simulation.end()
}

#[test]
fn money_places_and_the_log_are_exact_whatever_happens() {
    let profile = Profile {
        back: STILL.0,
        holds: false,
    };
    check(
        7000,
        &(exact_limits(), steps(profile)),
        |(limits, steps)| simulate(limits, steps, true),
    );
}

#[test]
fn no_window_of_any_kind_admits_more_than_its_quota() {
    let profile = Profile {
        back: STILL.0,
        holds: true,
    };
    check(7000, &(limits(), steps(profile)), |(limits, steps)| {
        simulate(limits, steps, false)
    });
}

#[test]
fn a_clock_that_goes_far_back_gives_nothing_away_and_reserves_nothing_for_ever() {
    let profile = Profile {
        back: 40 * DAY,
        holds: true,
    };
    check(5000, &(limits(), steps(profile)), |(limits, steps)| {
        simulate(limits, steps, false)
    });
}

#[test]
fn requests_used_from_leases_stay_within_every_window() {
    let long = || {
        (8u32..300, 10_000u64..20_000)
            .prop_map(|(requests, per)| Window::new(requests, Millis(per)).unwrap())
    };
    // Much at once, a lease used at its very end, and the same again when the window has passed.
    let forward = prop_oneof![
        6 => Just(0u64),
        2 => 0u64..1000,
        2 => 900u64..1000,
        1 => 8_000u64..20_000,
    ];
    let ask = (1u32..12, 0u32..40, 0u32..3);
    let step = (forward, ask, fault(), any::<bool>());
    let input = (
        prop::option::of(long()),
        prop::option::of(long()),
        prop::collection::vec(step, 1..120),
    );
    check(2500, &input, |(burst, sustained, steps)| {
        let limits = Limits {
            burst,
            sustained,
            ..Limits::default()
        };
        let mut simulation = Simulation::new(limits, false);
        // Requests in hand, with the time after which they lapse.
        let mut leases: Vec<(u32, u64, Back)> = vec![];
        for (n, (forward, ask, fault, release)) in steps.into_iter().enumerate() {
            let (requests, ahead, part) = ask;
            let want = Want {
                class: Class::Chat,
                requests,
                tokens: 0,
                micros: 0,
                place: false,
            };
            let one = Want {
                requests: 1,
                ..want
            };
            simulation.now += forward;
            let now = simulation.now;
            simulation.oracle.clock(now);
            // What is left of those that are over comes back.
            let over = leases.extract_if(.., |(_, until, _)| now >= *until);
            let back = over.map(|(left, _, back)| Back {
                used: back.unused - left,
                unused: left,
                ..back
            });
            let take = Take {
                id: format!("call-{n}"),
                want,
                limits,
                until: Millis(now + 5000),
                ahead,
                back: back.collect(),
            };
            // Some of what is in hand is used now.
            for (left, until, _) in &mut leases {
                if now < *until {
                    let used = *left * part / 2;
                    *left -= used;
                    for _ in 0..used {
                        let take = Take {
                            want: one,
                            ..take.clone()
                        };
                        simulation.oracle.admit(&take);
                    }
                }
            }
            prop_assert_eq!(simulation.oracle.breaks(&want, false), vec![]);
            let command = Command::Take(Box::new(take.clone()));
            if let Reply::Taken { lease, .. } = simulation.object.ask_through(now, &command, fault)
            {
                prop_assert_eq!(simulation.oracle.breaks(&want, true), vec![]);
                simulation.oracle.admit(&take);
                if let Some((requests, until)) = lease {
                    prop_assert!(requests <= ahead.min(64));
                    prop_assert_eq!(until.0, now + LEASE.0);
                    let back = Back {
                        id: take.id.clone(),
                        used: 0,
                        unused: requests,
                    };
                    leases.push((requests, until.0, back));
                }
                if release && n % 3 == 0 {
                    simulation.oracle.events.pop();
                    let command = Command::Release { id: take.id };
                    simulation.object.ask_through(now, &command, fault);
                }
            }
        }
        simulation.end()
    });
}

// === Two accounts in sequence ===

/// Takes from the narrow account and then from the wide one; what the wide one refuses is released from the narrow one.
fn take_both(narrow: &mut Object, wide: &mut Object, now: u64, take: &[Take; 2]) -> bool {
    let [first, second] = take.clone();
    let id = first.id.clone();
    if !taken(&narrow.ask(now, &Command::Take(Box::new(first)))) {
        return false;
    }
    if taken(&wide.ask(now, &Command::Take(Box::new(second)))) {
        return true;
    }
    narrow.ask(now, &Command::Release { id });
    false
}

#[test]
fn what_a_wider_account_refuses_changes_no_counter_of_a_narrower_one() {
    let input = (
        limits(),
        exact_limits(),
        prop::collection::vec((0u64..500, 0u64..60), 1..60),
    );
    check(1500, &input, |(narrow_limits, wide_limits, calls)| {
        let (mut narrow, mut wide) = (Object::default(), Object::default());
        // An account that was only asked for what the wide one admitted.
        let mut twin = Object::default();
        let mut now = START;
        for (n, (forward, micros)) in calls.into_iter().enumerate() {
            now += forward;
            let take = |limits| Take {
                id: n.to_string(),
                want: Want {
                    class: Class::Chat,
                    requests: 1,
                    tokens: micros,
                    micros,
                    place: true,
                },
                limits,
                until: Millis(now + 700),
                ahead: 0,
                back: vec![],
            };
            let both = take_both(
                &mut narrow,
                &mut wide,
                now,
                &[take(narrow_limits), take(wide_limits)],
            );
            if both {
                let reply = twin.ask(now, &Command::Take(Box::new(take(narrow_limits))));
                prop_assert!(taken(&reply));
            }
            let look = Command::Look {
                class: Class::Chat,
                limits: narrow_limits,
            };
            prop_assert_eq!(narrow.ask(now, &look), twin.ask(now, &look));
        }
        Ok(())
    });
}

// === A thousand calls, and a server that dies ===

#[test]
fn a_thousand_calls_against_ten_cents_spend_no_more_wherever_the_server_dies() {
    let limits = Limits {
        money: [None, Some(100_000), None],
        watch: Some(Watch {
            factor: 10,
            floor: 100_000,
            hold: Millis(1000),
        }),
        ..Limits::default()
    };
    for seed in 0..20u64 {
        let mut object = Object::default();
        let mut spent = 0u64;
        let mut open: Vec<(String, u64)> = vec![];
        let mut random = seed * 2 + 1;
        let mut draw = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for n in 0..1000u64 {
            let now = START + n;
            let micros = 50 + draw(2000);
            let take = Take {
                id: n.to_string(),
                want: Want {
                    class: Class::Chat,
                    requests: 1,
                    tokens: 0,
                    micros,
                    place: true,
                },
                limits,
                until: Millis(now + 600_000),
                ahead: 0,
                back: vec![],
            };
            let fault = [
                Fault::None,
                Fault::NotWritten,
                Fault::Written,
                Fault::Evicted,
            ][usize::try_from(draw(4)).unwrap()];
            if taken(&object.ask_through(now, &Command::Take(Box::new(take)), fault)) {
                open.push((n.to_string(), micros));
            }
            // Half of the calls end; the others die with the server.
            if draw(2) == 0 && !open.is_empty() {
                let place = usize::try_from(draw(open.len() as u64)).unwrap();
                let (id, micros) = open.swap_remove(place);
                let real = draw(micros + 1);
                spent += real;
                let command = Command::Settle {
                    id,
                    tokens: 0,
                    micros: real,
                };
                object.ask_through(now, &command, fault);
            }
            let held: u64 = open.iter().map(|(_, micros)| micros).sum();
            assert!(spent + held <= 100_000, "{spent} + {held}");
        }
        object.load(START + 700_000);
        let look = Command::Look {
            class: Class::Chat,
            limits,
        };
        let Reply::Seen {
            spend, open: left, ..
        } = object.ask(START + 700_000, &look)
        else {
            panic!()
        };
        let held: u64 = open.iter().map(|(_, micros)| micros).sum();
        assert_eq!(
            (spend[1].spent, spend[1].reserved, left),
            (spent + held, 0, 0)
        );
    }
}
