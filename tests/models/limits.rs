//! The limiter against a naive oracle: the definition of each limit, written out over the whole history.
//!
//! `GATEHOUSE_LONG=1` runs twenty times as many cases.

use std::collections::BTreeMap;

use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::time::Millis;
use gatehouse::domain::limits::bucket::{self, Bucket};
use gatehouse::domain::limits::policy::Verdict;
use gatehouse::domain::limits::{
    Class, Command, LimitName, LimitStatus, Limiter, Policy, Reply, Window,
};
use proptest::prelude::*;

use crate::cases::check;

/// 2026-11-21T05:05:00Z
const START: u64 = 1_795_237_500_000;
const YEAR: u64 = 365 * 86_400_000;

// === The oracle ===

/// Every admission so far, as (time, cost).
#[derive(Clone, Debug, Default)]
struct History(Vec<(u64, u32)>);

impl History {
    /// Over every interval from an admission until now: cost ≤ requests + requests × length / per.
    fn burst_admits(&self, now: u64, window: &Window, cost: u32) -> bool {
        let quota = u128::from(window.requests());
        let per = u128::from(window.per().0);
        let mut total = u128::from(cost);
        let mut fits = total <= quota;
        for (at, cost) in self.0.iter().rev() {
            total += u128::from(*cost);
            fits &= total * per <= quota * per + quota * u128::from(now - at);
        }
        fits
    }

    /// Over the last window: cost ≤ requests.
    fn sustained_admits(&self, now: u64, window: &Window, cost: u32) -> bool {
        let recent = self.0.iter().filter(|(at, _)| at + window.per().0 > now);
        let total: u64 = recent.map(|(_, cost)| u64::from(*cost)).sum();
        total + u64::from(cost) <= u64::from(window.requests())
    }
}

/// One network's histories.
#[derive(Clone, Debug, Default)]
struct Oracle {
    clients: BTreeMap<u8, History>,
    network: History,
}

impl Oracle {
    /// The windows that refuse.
    fn refusing(&self, now: u64, client: u8, policy: &Policy, cost: u32) -> Vec<LimitName> {
        let own = self.clients.get(&client).cloned().unwrap_or_default();
        let all = &self.network;
        let verdicts = [
            (LimitName::Burst, own.burst_admits(now, &policy.burst, cost)),
            (
                LimitName::Sustained,
                own.sustained_admits(now, &policy.sustained, cost),
            ),
            (
                LimitName::NetworkBurst,
                policy
                    .network_burst
                    .is_none_or(|w| all.burst_admits(now, &w, cost)),
            ),
            (
                LimitName::NetworkSustained,
                policy
                    .network_sustained
                    .is_none_or(|w| all.sustained_admits(now, &w, cost)),
            ),
        ];
        verdicts
            .into_iter()
            .filter(|(_, fits)| !fits)
            .map(|(name, _)| name)
            .collect()
    }

    fn spend(&mut self, now: u64, client: u8, cost: u32) {
        if cost > 0 {
            self.clients.entry(client).or_default().0.push((now, cost));
            self.network.0.push((now, cost));
        }
    }
}

// === The limiter with its storage ===

#[derive(Clone, Debug, Default)]
struct Object {
    limiter: Limiter,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
}

impl Object {
    fn apply(&mut self, now: u64, client: u8, policy: &Policy, cost: u32) -> (Reply, Effects) {
        let command = Command::Admit {
            client: format!("192.0.2.{client}"),
            policy: *policy,
            cost,
            watch: None,
        };
        self.limiter.apply(Millis(now), command)
    }

    fn ask(&mut self, now: u64, client: u8, policy: &Policy, cost: u32) -> Reply {
        let (reply, effects) = self.apply(now, client, policy, cost);
        self.persist(effects);
        reply
    }

    fn wake(&mut self, now: u64) {
        let effects = self.limiter.wake(Millis(now));
        self.persist(effects);
    }

    fn persist(&mut self, effects: Effects) {
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn restart(&mut self, now: u64) {
        self.limiter = Limiter::load(Millis(now), self.rows.clone().into_iter().collect());
    }

    /// What the client's own windows have left.
    fn look(&mut self, now: u64, client: u8, policy: &Policy) -> Vec<LimitStatus> {
        match self.ask(now, client, policy, 0) {
            Reply::Admitted { limits, .. } => limits,
            other => panic!("a look was refused: {other:?}"),
        }
    }
}

// === Inputs ===

fn window() -> impl Strategy<Value = Window> {
    let per = prop_oneof![1u64..50, 50u64..5000, Just(60_000u64)];
    // From 128 on a slice has its full size of 16.
    let requests = prop_oneof![4 => 1u32..50, 1 => 100u32..200];
    (requests, per).prop_map(|(requests, per)| Window::new(requests, Millis(per)).unwrap())
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        window(),
        window(),
        prop::option::of(window()),
        prop::option::of(window()),
    )
        .prop_map(
            |(burst, sustained, network_burst, network_sustained)| Policy {
                class: Class::Chat,
                burst,
                sustained,
                network_burst,
                network_sustained,
            },
        )
}

fn step() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0u64), 4 => 0u64..4, 3 => 0u64..300, 1 => 0u64..10_000]
}

fn cost() -> impl Strategy<Value = u32> {
    prop_oneof![8 => Just(1u32), 1 => 0u32..6, 1 => 0u32..60]
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Restart,
    /// The write fails; nothing was written.
    NotWritten,
    /// The write is reported as failed, but was done.
    Written,
    /// Every stored row becomes unreadable.
    Corrupt,
    Wake,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        40 => Just(Fault::None),
        2 => Just(Fault::Restart),
        2 => Just(Fault::NotWritten),
        1 => Just(Fault::Written),
        2 => Just(Fault::Wake),
    ]
}

/// Ask, and when refused ask copies again at the end of the wait and a millisecond earlier.
fn honest(
    object: &Object,
    now: u64,
    client: u8,
    policy: &Policy,
    cost: u32,
    wait: Millis,
) -> Result<(), TestCaseError> {
    prop_assert!(wait.0 > 0);
    let after = object.clone().ask(now + wait.0, client, policy, cost);
    prop_assert!(
        matches!(after, Reply::Admitted { .. }),
        "after {wait:?}: {after:?}"
    );
    match object.clone().ask(now + wait.0 - 1, client, policy, cost) {
        Reply::Refused { wait, .. } => prop_assert_eq!(wait, Millis(1)),
        other => prop_assert!(false, "a millisecond early: {other:?}"),
    }
    Ok(())
}

// === Properties ===

#[test]
fn the_bucket_admits_exactly_what_its_definition_admits() {
    let requests = prop::collection::vec((step(), 0u32..52), 1..300);
    check(4000, &(window(), requests), |(window, requests)| {
        let mut now = START;
        let mut state = Bucket::default();
        let mut history = History::default();
        for (step, cost) in requests {
            now += step;
            // Mostly single requests, and every cost up to one above the quota.
            let cost = if cost > window.requests() + 1 {
                1
            } else {
                cost
            };
            let before = state;
            let (after, verdict) = bucket::decide(state, Millis(now), &window, cost);
            prop_assert_eq!(
                verdict == Verdict::Admit,
                history.burst_admits(now, &window, cost)
            );
            prop_assert_eq!(verdict == Verdict::Never, cost > window.requests());
            if let Verdict::Wait(wait) = verdict {
                prop_assert!(wait <= window.per());
                prop_assert!(history.burst_admits(now + wait.0, &window, cost));
                prop_assert!(!history.burst_admits(now + wait.0 - 1, &window, cost));
                prop_assert_eq!(
                    after.full(Millis(now), &window),
                    before.full(Millis(now), &window)
                );
            }
            if verdict == Verdict::Admit {
                history.0.push((now, cost));
            }
            let left = after.remaining(Millis(now), &window);
            prop_assert!(history.burst_admits(now, &window, left));
            prop_assert!(!history.burst_admits(now, &window, left + 1));
            state = after;
        }
        Ok(())
    });
}

#[test]
fn the_limiter_admits_exactly_what_all_windows_admit_and_waits_are_exact() {
    let requests = prop::collection::vec((step(), 0u8..3, cost(), 0u8..20), 1..200);
    check(1500, &(policy(), requests), |(policy, requests)| {
        let mut now = START;
        let mut object = Object::default();
        let mut oracle = Oracle::default();
        for (step, client, cost, chance) in requests {
            now += step;
            if chance == 0 {
                object.wake(now);
            }
            let refusing = oracle.refusing(now, client, &policy, cost);
            match object.ask(now, client, &policy, cost) {
                Reply::Admitted { limits, .. } => {
                    prop_assert!(refusing.is_empty(), "{refusing:?} should refuse");
                    oracle.spend(now, client, cost);
                    prop_assert_eq!(limits.len(), 2);
                }
                Reply::Refused { wait, violated, .. } => {
                    prop_assert_eq!(&violated, &refusing);
                    honest(&object, now, client, &policy, cost, wait)?;
                    prop_assert!(
                        oracle
                            .refusing(now + wait.0, client, &policy, cost)
                            .is_empty()
                    );
                    prop_assert!(
                        !oracle
                            .refusing(now + wait.0 - 1, client, &policy, cost)
                            .is_empty()
                    );
                }
                Reply::TooCostly { violated } => {
                    prop_assert!(
                        !violated.is_empty() && violated.iter().all(|name| refusing.contains(name))
                    );
                }
                other => prop_assert!(false, "nobody is held: {other:?}"),
            }
        }
        Ok(())
    });
}

#[test]
fn a_refusal_changes_neither_memory_nor_storage() {
    let requests = prop::collection::vec((step(), 0u8..3, cost()), 1..120);
    check(500, &(policy(), requests), |(policy, requests)| {
        let mut now = START;
        let mut object = Object::default();
        // The same without the requests that were refused.
        let mut spared = Object::default();
        for (step, client, cost) in requests {
            now += step;
            let before = object.rows.clone();
            let reply = object.ask(now, client, &policy, cost);
            if matches!(reply, Reply::Admitted { .. }) {
                prop_assert_eq!(reply, spared.ask(now, client, &policy, cost));
            } else {
                prop_assert_eq!(&before, &object.rows);
            }
            prop_assert_eq!(&object.rows, &spared.rows);
        }
        Ok(())
    });
}

#[test]
fn a_restart_at_any_point_grants_nothing_and_forfeits_at_most_one_slice() {
    let requests = prop::collection::vec((step(), 0u8..3, cost(), fault()), 1..200);
    check(1500, &(policy(), requests), |(policy, requests)| {
        let slice = [policy.burst, policy.sustained]
            .map(|window| (window.requests() / 8).clamp(1, 16))
            .into_iter()
            .min()
            .unwrap();
        let mut now = START;
        let mut object = Object::default();
        let mut oracle = Oracle::default();
        for (step, client, cost, fault) in requests {
            now += step;
            let (reply, effects) = object.apply(now, client, &policy, cost);
            // A reply whose write failed never leaves, and does not count; nor does one that had no write to fail.
            let lost = match fault {
                Fault::NotWritten if !effects.writes.is_empty() => true,
                Fault::Written if !effects.writes.is_empty() => {
                    object.persist(effects.clone());
                    true
                }
                _ => {
                    object.persist(effects);
                    false
                }
            };
            if lost {
                object.restart(now);
                continue;
            }
            if matches!(reply, Reply::Admitted { .. }) {
                let refusing = oracle.refusing(now, client, &policy, cost);
                prop_assert!(refusing.is_empty(), "{refusing:?} should refuse");
                oracle.spend(now, client, cost);
            }
            match fault {
                Fault::Restart => {
                    let before = object.look(now, client, &policy);
                    object.restart(now);
                    let after = object.look(now, client, &policy);
                    for (before, after) in before.iter().zip(&after) {
                        prop_assert!(after.remaining <= before.remaining, "{before:?} {after:?}");
                        prop_assert!(
                            after.remaining + slice > before.remaining,
                            "{before:?} {after:?}"
                        );
                    }
                }
                Fault::Wake => object.wake(now),
                _ => {}
            }
        }
        // Left alone, the object deletes itself.
        for _ in 0..10 {
            let Some(alarm) = object.alarm else { break };
            now = now.max(alarm.0);
            object.restart(now);
            object.wake(now);
        }
        prop_assert!(object.rows.is_empty(), "{:?}", object.rows);
        prop_assert_eq!(object.alarm, None);
        Ok(())
    });
}

/// What a clock may do between two requests.
#[derive(Clone, Copy, Debug)]
enum Tick {
    On(u64),
    Back(u64),
    To(u64),
}

fn tick() -> impl Strategy<Value = Tick> {
    prop_oneof![
        12 => step().prop_map(Tick::On),
        2 => (0u64..20_000).prop_map(Tick::Back),
        1 => Just(Tick::On(YEAR)),
        1 => Just(Tick::Back(YEAR)),
        1 => prop_oneof![Just(0), Just(START), Just(u64::MAX)].prop_map(Tick::To),
    ]
}

#[test]
fn no_clock_no_restart_and_no_damage_grants_anything_or_makes_a_wait_longer_than_its_window() {
    let fault = prop_oneof![9 => fault(), 1 => Just(Fault::Corrupt)];
    let requests = prop::collection::vec((tick(), 0u8..2, cost(), fault), 1..200);
    check(1500, &(policy(), requests), |(policy, requests)| {
        let longest = [
            Some(policy.burst),
            Some(policy.sustained),
            policy.network_burst,
            policy.network_sustained,
        ]
        .into_iter()
        .flatten()
        .map(|window| window.per())
        .max()
        .unwrap();
        let mut clock = START;
        // The oracle's time: it never goes back, and passes whenever the clock does.
        let mut passed = 0u64;
        let mut object = Object::default();
        let mut oracle = Oracle::default();
        for (tick, client, cost, fault) in requests {
            let next = match tick {
                Tick::On(by) => clock.saturating_add(by),
                Tick::Back(by) => clock.saturating_sub(by),
                Tick::To(at) => at,
            };
            // Two years refill everything, as any longer jump does.
            passed += next.saturating_sub(clock).min(2 * YEAR);
            clock = next;
            match fault {
                Fault::Restart => object.restart(clock),
                Fault::Corrupt => {
                    object.rows.values_mut().for_each(|value| value.truncate(9));
                    object.restart(clock);
                }
                Fault::Wake => object.wake(clock),
                _ => {}
            }
            match object.ask(clock, client, &policy, cost) {
                Reply::Admitted { .. } => {
                    let refusing = oracle.refusing(passed, client, &policy, cost);
                    prop_assert!(refusing.is_empty(), "{refusing:?} should refuse");
                    oracle.spend(passed, client, cost);
                }
                Reply::Refused { wait, limits, .. } => {
                    prop_assert!(wait <= longest);
                    prop_assert!(limits.iter().all(|limit| limit.full <= limit.window));
                    // Beyond the latest date a clock stands still, and nothing refills.
                    if clock < 8_000_000_000_000_000 {
                        honest(&object, clock, client, &policy, cost, wait)?;
                    }
                }
                Reply::TooCostly { .. } => {}
                other => prop_assert!(false, "nobody is held: {other:?}"),
            }
        }
        Ok(())
    });
}

#[test]
fn an_approximate_log_never_exceeds_its_quota_and_refills_at_most_a_granule_late() {
    let quota = 1001u32..3000;
    let per = prop_oneof![Just(1u64), 1u64..200, 1000u64..20_000];
    let requests = prop::collection::vec((step(), 1u32..200), 1..300);
    check(500, &(quota, per, requests), |(quota, per, requests)| {
        let wide = Window::new(1_000_000, Millis(1)).unwrap();
        let policy = Policy {
            class: Class::Read,
            burst: wide,
            sustained: Window::new(quota, Millis(per)).unwrap(),
            network_burst: None,
            network_sustained: None,
        };
        let mut now = START;
        let mut object = Object::default();
        let mut oracle = Oracle::default();
        for (step, cost) in requests {
            now += step;
            match object.ask(now, 0, &policy, cost) {
                Reply::Admitted { .. } => {
                    prop_assert!(oracle.refusing(now, 0, &policy, cost).is_empty());
                    oracle.spend(now, 0, cost);
                }
                Reply::Refused { wait, .. } => {
                    prop_assert!(wait <= policy.sustained.per());
                    honest(&object, now, 0, &policy, cost, wait)?;
                    let granule = per.div_ceil(64);
                    let earlier = now + wait.0 - granule;
                    prop_assert!(
                        earlier < now || !oracle.refusing(earlier, 0, &policy, cost).is_empty()
                    );
                }
                other => prop_assert!(false, "no cost here is above the quota: {other:?}"),
            }
        }
        Ok(())
    });
}
