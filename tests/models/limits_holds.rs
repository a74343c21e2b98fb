//! Counts, holds and single uses of a network against a naive oracle: lists of everything that happened.
//!
//! `GATEHOUSE_LONG=1` runs twenty times as many steps.

use std::collections::BTreeMap;

use fastrand::Rng;
use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::time::Millis;
use gatehouse::domain::limits::machine::{Once, PERIOD, Reason, Watch};
use gatehouse::domain::limits::{Class, Command, LimitStatus, Limiter, Policy, Reply, Window};

/// 2026-11-21T05:05:00Z
const START: u64 = 1_795_237_500_000;
const HOLD: u64 = 300_000;
const WATCH: Watch = Watch {
    principals: 4,
    failures: 3,
    hold: Millis(HOLD),
};
const SEEDS: u64 = 4000;
const STEPS: u64 = 300;

/// The time until the next command, in ms: often none.
fn pause(random: &mut Rng) -> u64 {
    match random.u64(..10) {
        0..4 => 0,
        4..7 => random.u64(..1000),
        7..9 => random.u64(..60_000),
        _ => random.u64(..400_000),
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    0..count * u64::from(crate::cases::times(20))
}

#[derive(Clone, Default)]
struct Object {
    limiter: Limiter,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
}

impl Object {
    fn persist(&mut self, effects: Effects) {
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn ask(&mut self, now: u64, command: Command) -> Reply {
        let (reply, effects) = self.limiter.apply(Millis(now), command);
        self.persist(effects);
        reply
    }

    fn restart(&mut self, now: u64) {
        self.limiter = Limiter::load(Millis(now), self.rows.clone().into_iter().collect());
    }

    fn wake(&mut self, now: u64) {
        self.alarm = None;
        let effects = self.limiter.wake(Millis(now));
        self.persist(effects);
    }
}

/// Everything that happened, and nothing else.
#[derive(Default)]
struct Oracle {
    failures: Vec<(u64, String)>,
    /// When each principal began to count.
    principals: Vec<(u64, String)>,
    client_holds: BTreeMap<String, u64>,
    network_hold: u64,
    used: Vec<(String, u64, String)>,
}

impl Oracle {
    fn client_wait(&self, now: u64, client: &str) -> u64 {
        let until = self.client_holds.get(client).copied().unwrap_or(0);
        until.saturating_sub(now)
    }

    fn failed(&mut self, now: u64, client: &str) {
        if self.client_wait(now, client) > 0 {
            return;
        }
        self.failures.push((now, client.to_owned()));
        let counted = self
            .failures
            .iter()
            .filter(|(at, who)| at + PERIOD.0 > now && who == client);
        if counted.count() > WATCH.failures as usize {
            self.client_holds.insert(client.to_owned(), now + HOLD);
            self.failures.retain(|(_, who)| who != client);
        }
    }

    fn admitted(&mut self, now: u64, principal: &str) {
        let counts = |at: u64| at + PERIOD.0 > now;
        if self.network_hold > now
            || self
                .principals
                .iter()
                .any(|(at, who)| counts(*at) && who == principal)
        {
            return;
        }
        self.principals.push((now, principal.to_owned()));
        let different = self.principals.iter().filter(|(at, _)| counts(*at)).count();
        if different > WATCH.principals as usize {
            self.network_hold = now + HOLD;
            self.principals.clear();
        }
    }

    fn once(&mut self, now: u64, id: &str, until: u64, by: &str) -> Once {
        let used = self
            .used
            .iter()
            .find(|(one, end, _)| one == id && *end > now);
        match used {
            Some((_, _, user)) if user == by => Once::Fresh,
            Some(_) => Once::Seen,
            None if until <= now => Once::Seen,
            None => {
                self.used.push((id.to_owned(), until, by.to_owned()));
                Once::Fresh
            }
        }
    }

    fn pardon(&mut self, now: u64, client: Option<&str>) -> bool {
        match client {
            Some(client) => {
                self.failures.retain(|(_, who)| who != client);
                let held = self.client_wait(now, client) > 0;
                self.client_holds.remove(client);
                held
            }
            None => {
                self.principals.clear();
                let held = self.network_hold > now;
                self.network_hold = 0;
                held
            }
        }
    }
}

/// Limits of which not even a quarter is reached here.
fn wide() -> Policy {
    let window = |n, per| Window::new(n, Millis(per)).unwrap();
    Policy {
        class: Class::Chat,
        burst: window(1_000_000, 1000),
        sustained: window(1_000_000, 1000),
        network_burst: None,
        network_sustained: None,
    }
}

fn command(random: &mut Rng, now: u64, policy: Policy) -> Command {
    let client = format!("c{}", random.u64(..4));
    match random.u64(..100) {
        0..40 => Command::Admit {
            client,
            policy,
            cost: u32::from(random.u64(..8) > 0),
            watch: (random.u64(..8) > 0).then(|| (format!("vis_{}", random.u64(..9)), WATCH)),
        },
        40..70 => Command::AuthFailed {
            client,
            watch: WATCH,
        },
        70..95 => Command::Once {
            id: format!("t{}", random.u64(..6)),
            until: Millis(now + random.u64(..100_000)),
            by: format!("r{}", random.u64(..3)),
        },
        _ => Command::Pardon {
            client: (random.u64(..2) > 0).then_some(client),
        },
    }
}

#[test]
fn holds_and_single_uses_are_exactly_what_the_history_says_whatever_fails() {
    let (mut holds, mut slowed, mut faults) = (0u64, 0u64, 0u64);
    for seed in seeds(SEEDS) {
        let mut random = Rng::with_seed(seed);
        let mut object = Object::default();
        let mut oracle = Oracle::default();
        let mut now = START;
        // Which holds were told of since the last load, by client or "".
        let mut told: Vec<(String, u64)> = Vec::new();
        for n in 0..STEPS {
            now += pause(&mut random);
            let place = format!("seed {seed} step {n}");
            let asked = command(&mut random, now, wide());
            let (reply, effects) = object.limiter.apply(Millis(now), asked.clone());
            let mut loaded = false;
            match random.u64(..30) {
                0 if !effects.writes.is_empty() => {
                    // Failed and not written: nothing happened.
                    object.restart(now);
                    told.clear();
                    faults += 1;
                    continue;
                }
                1 if !effects.writes.is_empty() => {
                    object.persist(effects);
                    object.restart(now);
                    loaded = true;
                    faults += 1;
                }
                2 => {
                    object.persist(effects);
                    object.restart(now);
                    loaded = true;
                }
                3 => {
                    object.persist(effects);
                    object.wake(now);
                }
                _ => object.persist(effects),
            }
            // What the history says to it.
            let alert = match asked {
                Command::Refund { .. } => None,
                Command::Admit {
                    client,
                    cost,
                    watch,
                    ..
                } => {
                    let wait = oracle.client_wait(now, &client);
                    let quota = if oracle.network_hold > now {
                        250_000
                    } else {
                        1_000_000
                    };
                    match reply {
                        Reply::Held {
                            wait: told, alert, ..
                        } => {
                            assert_eq!(told.0, wait, "{place}");
                            assert!(wait > 0, "{place}");
                            holds += 1;
                            alert.map(|alert| (client, alert))
                        }
                        Reply::Admitted { limits, alert, .. } => {
                            assert_eq!(wait, 0, "{place}");
                            assert_eq!(
                                limits.iter().map(|l| l.quota).min(),
                                Some(quota),
                                "{place}"
                            );
                            slowed += u64::from(quota == 250_000);
                            if let (Some((principal, _)), 1) = (watch, cost) {
                                oracle.admitted(now, &principal);
                            }
                            alert.map(|alert| (client, alert))
                        }
                        other => panic!("{place}: {other:?}"),
                    }
                }
                Command::AuthFailed { client, .. } => {
                    oracle.failed(now, &client);
                    let wait = oracle.client_wait(now, &client);
                    match reply {
                        Reply::Held {
                            wait: told,
                            alert,
                            why,
                        } => {
                            assert_eq!((told.0, why), (wait, Reason::AuthFailures(3)), "{place}");
                            alert.map(|alert| (client, alert))
                        }
                        Reply::Noted { alert } => {
                            assert_eq!(wait, 0, "{place}");
                            alert.map(|alert| (client, alert))
                        }
                        other => panic!("{place}: {other:?}"),
                    }
                }
                Command::Once { id, until, by } => {
                    let expected = oracle.once(now, &id, until.0, &by);
                    assert_eq!(reply, Reply::Once(expected), "{place}");
                    None
                }
                Command::Pardon { client } => {
                    let expected = oracle.pardon(now, client.as_deref());
                    assert_eq!(reply, Reply::Pardoned(expected), "{place}");
                    let who = client.unwrap_or_default();
                    told.retain(|(one, _)| *one != who);
                    None
                }
            };
            // An alert is of a hold that stands, and told once for each load.
            if let Some((client, alert)) = alert {
                let (who, until) = if alert.network {
                    (String::new(), oracle.network_hold)
                } else {
                    let until = oracle.client_holds[&client];
                    (client, until)
                };
                assert_eq!(alert.until.0, until, "{place}");
                assert!(until > now, "{place}");
                assert!(!told.contains(&(who.clone(), until)), "{place}: told twice");
                told.push((who, until));
            }
            if loaded {
                told.clear();
            }
        }
        // Left alone, nothing stays.
        for _ in 0..9 {
            let Some(alarm) = object.alarm else { break };
            now = now.max(alarm.0);
            object.restart(now);
            object.wake(now);
        }
        assert!(object.rows.is_empty(), "seed {seed}: {:?}", object.rows);
    }
    // The run met what it is about.
    assert!(
        holds > SEEDS && slowed > SEEDS && faults > SEEDS,
        "{holds} {slowed} {faults}"
    );
}

fn quotas(limits: &[LimitStatus]) -> Vec<(u32, u32)> {
    limits.iter().map(|l| (l.quota, l.remaining)).collect()
}

#[test]
fn waits_during_a_slow_down_are_exact_and_refusals_change_nothing() {
    let mut refusals = 0;
    for seed in seeds(1000) {
        let mut random = Rng::with_seed(seed);
        let mut window = || {
            let per = [10, 1000, 7000, 500_000][random.usize(..4)];
            Window::new(1 + random.u32(..40), Millis(per)).unwrap()
        };
        let policy = Policy {
            class: Class::Chat,
            burst: window(),
            sustained: window(),
            network_burst: Some(window()),
            network_sustained: None,
        };
        let mut object = Object::default();
        let mut spared = Object::default();
        let mut now = START;
        for n in 0..200 {
            now += [
                0,
                0,
                1,
                random.u64(..50),
                random.u64(..2000),
                random.u64(..100_000),
            ][random.usize(..6)];
            let admit = |cost| Command::Admit {
                client: format!("c{}", n % 2),
                policy,
                cost,
                watch: Some((format!("vis_{}", n % 7), WATCH)),
            };
            let cost = 1 + (random.u64(..5) == 0) as u32 * random.u32(..9);
            let rows = object.rows.clone();
            match object.ask(now, admit(cost)) {
                same @ Reply::Admitted { .. } => {
                    assert_eq!(spared.ask(now, admit(cost)), same, "seed {seed} step {n}");
                }
                Reply::Refused { wait, slowed, .. } => {
                    assert_eq!(rows, object.rows, "seed {seed} step {n}");
                    refusals += u32::from(slowed.is_some());
                    let after = object.clone().ask(now + wait.0, admit(cost));
                    assert!(
                        matches!(after, Reply::Admitted { .. }),
                        "seed {seed} step {n}: after {wait:?} of {slowed:?}: {after:?}"
                    );
                    let early = object.clone().ask(now + wait.0 - 1, admit(cost));
                    assert!(
                        matches!(
                            early,
                            Reply::Refused {
                                wait: Millis(1),
                                ..
                            }
                        ),
                        "seed {seed} step {n}: a millisecond early: {early:?}"
                    );
                }
                Reply::TooCostly { .. } => assert_eq!(rows, object.rows),
                other => panic!("{other:?}"),
            }
            // A look tells the same with and without the refusals.
            if let (Reply::Admitted { limits: a, .. }, Reply::Admitted { limits: b, .. }) =
                (object.ask(now, admit(0)), spared.ask(now, admit(0)))
            {
                assert_eq!(quotas(&a), quotas(&b), "seed {seed} step {n}");
            }
        }
    }
    assert!(refusals > 5000, "{refusals}");
}
