use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Answer, Command, KEEP, Outcomes, Reply, TargetState};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::llm::engine::Fatal;
use crate::domain::llm::health::breaker::{BreakerPolicy, Fault, State, Verdict};
use crate::domain::llm::health::lanes::{PATIENCE, Priority, Turn};

const START: u64 = 1_795_237_500_000;

/// A target's state with its storage.
#[derive(Default)]
struct Object {
    state: TargetState,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
}

impl Object {
    fn persist(&mut self, effects: Effects) {
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn ask(&mut self, now: Millis, command: Command) -> Reply {
        // What the wire carries is what is meant.
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
        let (reply, effects) = self.state.apply(now, command);
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
        self.persist(effects);
        reply
    }

    fn restart(&mut self, now: Millis) {
        self.state = TargetState::load(now, self.rows.clone().into_iter().collect());
    }
}

fn report(at: Millis, good: &[u64], bad: usize, trial: Option<(String, Verdict)>) -> Command {
    let fault = Fault {
        wait: None,
        fatal: None,
    };
    Command::Report {
        outcomes: Outcomes {
            at,
            first_tokens: good.iter().map(|ms| Millis(*ms)).collect(),
            faults: vec![fault; bad],
        },
        trial,
        policy: BreakerPolicy::default(),
    }
}

fn acquire(id: &str, cap: u32, queue: u32, priority: Priority, ttl: u64) -> Command {
    Command::Acquire {
        lease: id.into(),
        cap,
        queue,
        priority,
        ttl: Millis(ttl),
    }
}

/// Who changes a stored form breaks every running object: rows of the old form must still be read.
#[test]
fn the_stored_rows_are_these() {
    let mut object = Object::default();
    let now = Millis(START);
    object.ask(now, report(now, &[10, 100, 100], 5, None));
    let at = now.plus(Millis(5_000));
    let policy = BreakerPolicy::default();
    let id = "call".to_owned();
    assert_eq!(
        object.ask(at, Command::Trial { id, policy }).answer,
        Answer::Trial(true)
    );
    for lease in ["a", "gone"] {
        object.ask(at, acquire(lease, 2, 1, Priority::Interactive, 60_000));
    }
    object.ask(at, acquire("b", 2, 1, Priority::Batch, 60_000));
    let later = at.plus(Millis(1_200));
    object.ask(
        later,
        Command::Release {
            lease: "gone".into(),
        },
    );
    let rows: Vec<_> = object
        .rows
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        rows,
        [
            (
                "breaker",
                r#"{"v1":{"c":5,"w":{"w":5000,"n":359047500,"p":[[3,5],[0,0],[0,0],[0,0],[0,0],[0,0]]},"o":{"u":1795237505000,"l":5000,"t":{"id":"call","began":1795237505000,"until":1795237535000}}},"at":1795237505000}"#
            ),
            ("latency", "[1,0,0,0,0,0,0,0,0,0,0,2]"),
            ("lease/a", r#"{"s":1795237505000,"u":1795237565000}"#),
            ("service", r#"{"m":1200,"a":1795237506200}"#),
            ("ticket/b", r#"{"p":"batch","n":0,"a":1795237505000}"#),
        ]
    );
}

#[test]
fn an_unreadable_row_counts_as_missing() {
    let rows = [
        "breaker", "latency", "lease/a", "ticket/a", "service", "else",
    ];
    let rows = rows.map(|key| (key.to_owned(), "{".to_owned())).to_vec();
    let mut state = TargetState::load(Millis(START), rows);
    let (reply, _) = state.apply(Millis(START), Command::Read);
    assert_eq!(reply.view.state, State::Closed);
    let ask = acquire("b", 1, 0, Priority::Batch, 1000);
    let (reply, _) = state.apply(Millis(START), ask);
    assert!(matches!(reply.answer, Answer::Turn(Turn::Granted { .. })));
}

#[test]
fn looking_stores_nothing_and_an_idle_object_deletes_itself() {
    let mut object = Object::default();
    let now = Millis(START);
    object.ask(now, Command::Read);
    object.ask(now, Command::Release { lease: "x".into() });
    assert_eq!((object.rows.len(), object.alarm), (0, None));
    object.ask(now, report(now, &[100], 0, None));
    assert_eq!(object.alarm, Some(now.plus(KEEP)));
    let later = now.plus(Millis(1000));
    object.ask(later, report(later, &[100], 0, None));
    let effects = object.state.wake(now.plus(KEEP));
    assert_eq!(effects.alarm, Some(later.plus(KEEP)), "used meanwhile");
    let effects = object.state.wake(later.plus(KEEP));
    assert!(effects.delete_all);
    object.persist(effects);
    assert!(object.rows.is_empty());
}

#[test]
fn a_report_from_a_clock_that_is_ahead_counts_as_now() {
    let mut object = Object::default();
    let now = Millis(START);
    let ahead = now.plus(Millis::from_secs(3600));
    let reply = object.ask(now, report(ahead, &[], 5, None));
    let until = now.plus(Millis::from_secs(5));
    assert_eq!(reply.view.state, State::Open { until, fatal: None });
}

/// Anything that isolates may ask, with ids that meet again.
#[derive(Clone, Debug)]
enum Step {
    Report {
        good: Vec<u64>,
        fault: Option<Fault>,
    },
    EndTrial {
        call: u8,
        verdict: Verdict,
    },
    Trial {
        call: u8,
    },
    Acquire {
        call: u8,
        cap: u32,
        queue: u32,
        batch: bool,
    },
    Release {
        call: u8,
    },
    Wake,
}

fn fault() -> impl Strategy<Value = Fault> {
    let wait = prop::option::weighted(0.3, prop_oneof![0u64..40_000, Just(u64::MAX)]);
    (wait, prop::bool::weighted(0.1)).prop_map(|(wait, fatal)| Fault {
        wait: wait.map(Millis),
        fatal: fatal.then_some(Fatal::Key),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        Just(Verdict::Success),
        fault().prop_map(Verdict::Failure),
        Just(Verdict::GivenBack)
    ];
    prop_oneof![
        2 => (prop::collection::vec(1u64..5000, 0..4), prop::option::of(fault()))
            .prop_map(|(good, fault)| Step::Report { good, fault }),
        2 => (prop::collection::vec(Just(1), 0..1), fault())
            .prop_map(|(good, fault)| Step::Report { good, fault: Some(fault) }),
        3 => (0u8..6, verdict).prop_map(|(call, verdict)| Step::EndTrial { call, verdict }),
        4 => (0u8..6).prop_map(|call| Step::Trial { call }),
        8 => (0u8..8, 1u32..3, 0u32..4, any::<bool>())
            .prop_map(|(call, cap, queue, batch)| Step::Acquire { call, cap, queue, batch }),
        3 => (0u8..8).prop_map(|call| Step::Release { call }),
        1 => Just(Step::Wake),
    ]
}

fn gap() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 4 => 1u64..900, 3 => 900u64..7_000, 1 => 7_000u64..70_000, 1 => Just(KEEP.0)]
}

const TTL: u64 = 20_000;

fn command(now: Millis, step: &Step) -> Option<Command> {
    Some(match step {
        Step::Report { good, fault } => {
            let mut command = report(now, good, 0, None);
            if let Command::Report { outcomes, .. } = &mut command {
                outcomes.faults.extend(*fault);
            }
            command
        }
        Step::EndTrial { call, verdict } => {
            report(now, &[], 0, Some((format!("t{call}"), *verdict)))
        }
        Step::Trial { call } => Command::Trial {
            id: format!("t{call}"),
            policy: BreakerPolicy::default(),
        },
        Step::Acquire {
            call,
            cap,
            queue,
            batch,
        } => {
            let priority = if *batch {
                Priority::Batch
            } else {
                Priority::Interactive
            };
            acquire(&format!("l{call}"), *cap, *queue, priority, TTL)
        }
        Step::Release { call } => Command::Release {
            lease: format!("l{call}"),
        },
        Step::Wake => return None,
    })
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    prop::collection::vec((gap(), step()), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_at_any_point_changes_nothing(steps in steps()) {
        let (mut one, mut other) = (Object::default(), Object::default());
        let mut now = Millis(START);
        for (gap, step) in steps {
            now = now.plus(Millis(gap));
            other.restart(now);
            match command(now, &step) {
                Some(command) => prop_assert_eq!(one.ask(now, command.clone()), other.ask(now, command)),
                None => {
                    let effects = one.state.wake(now);
                    one.persist(effects);
                    let effects = other.state.wake(now);
                    other.persist(effects);
                }
            }
            prop_assert_eq!(&one.rows, &other.rows);
            prop_assert!(one.rows.is_empty() || one.alarm.is_some(), "rows that nothing ever deletes");
        }
    }

    #[test]
    fn there_are_never_two_trials_and_none_while_it_is_open_or_closed(steps in steps()) {
        let mut object = Object::default();
        let mut now = Millis(START);
        // Holder and end of the lease.
        let mut out: Option<(u8, Millis)> = None;
        for (gap, step) in steps {
            now = now.plus(Millis(gap));
            out = out.filter(|(_, until)| now < *until);
            let Some(command) = command(now, &step) else { continue };
            let before = object.ask(now, Command::Read).view.state;
            let reply = object.ask(now, command);
            match step {
                Step::Trial { call } if reply.answer == Answer::Trial(true) => {
                    prop_assert!(out.is_none_or(|(holder, _)| holder == call), "two trials");
                    // A holder that asks again is told so even if a late failure lengthened the pause.
                    let half_open = matches!(before, State::HalfOpen { .. });
                    prop_assert!(half_open || out.is_some(), "{before:?}");
                    if out.is_none() {
                        out = Some((call, now.plus(Millis::from_secs(30))));
                    }
                }
                Step::Trial { call } => {
                    let free = matches!(
                        before,
                        State::HalfOpen {
                            trial_until: None,
                            ..
                        }
                    );
                    prop_assert!(!free, "refused for nothing: {call}");
                }
                Step::EndTrial { call, verdict } => {
                    let holds = out.is_some_and(|(holder, _)| holder == call);
                    if verdict == Verdict::Success {
                        prop_assert_eq!(reply.view.state, State::Closed);
                        out = None;
                    } else if holds {
                        out = None;
                        let failed = matches!(verdict, Verdict::Failure(_));
                        let open = matches!(reply.view.state, State::Open { .. });
                        prop_assert!(open || !failed);
                    } else {
                        prop_assert_eq!(reply.view.state, before);
                    }
                }
                _ => {}
            }
            if let State::Open { until, .. } = reply.view.state {
                prop_assert!(until <= now.plus(Millis::from_secs(30)), "a pause of more than 30 s");
            }
        }
    }

    /// Whatever happened before: once failures stop, the target is let through again within 30 s.
    #[test]
    fn recovery_takes_at_most_half_a_minute(steps in steps()) {
        let mut object = Object::default();
        let mut now = Millis(START);
        for (gap, step) in steps {
            now = now.plus(Millis(gap));
            if let Some(command) = command(now, &step) {
                object.ask(now, command);
            }
        }
        let healthy = now;
        now = now.plus(Millis::from_secs(30));
        let policy = BreakerPolicy::default();
        let reply = object.ask(now, Command::Trial { id: "new".into(), policy });
        let through = reply.answer == Answer::Trial(true) || reply.view.state == State::Closed;
        prop_assert!(through, "{:?} after {:?}", reply, now.since(healthy));
    }

    #[test]
    fn the_cap_and_the_order_of_the_queue_hold_and_everything_expires(
        steps in prop::collection::vec((gap(), 0u8..10, 0u8..4, any::<bool>()), 1..200),
        cap in 1u32..4,
        queue in 0u32..5,
    ) {
        let mut object = Object::default();
        let mut now = Millis(START);
        // The model: leases with their ends, and the line in its order, with when each asked last.
        let mut leases: BTreeMap<u8, Millis> = BTreeMap::new();
        let mut line: Vec<(Priority, u8, Millis)> = Vec::new();
        for (gap, call, kind, batch) in steps {
            now = now.plus(Millis(gap));
            leases.retain(|_, until| now < *until);
            line.retain(|(_, _, asked)| now < asked.plus(PATIENCE));
            let lease = format!("l{call}");
            if kind == 0 {
                object.ask(now, Command::Release { lease });
                leases.remove(&call);
                line.retain(|(_, id, _)| *id != call);
                continue;
            }
            let mut priority = if batch { Priority::Batch } else { Priority::Interactive };
            let place = line.iter().position(|(_, id, _)| *id == call);
            if let Some(place) = place {
                priority = line[place].0;
            }
            let ahead = place.unwrap_or_else(|| line.iter().filter(|(p, ..)| *p <= priority).count());
            let reply = object.ask(now, acquire(&lease, cap, queue, priority, TTL));
            let Answer::Turn(turn) = reply.answer else { panic!("{reply:?}") };
            let held = leases.contains_key(&call);
            let free = ahead + leases.len() < cap as usize;
            match turn {
                Turn::Granted { until } => {
                    prop_assert!(held || free, "granted beyond the cap or before others");
                    prop_assert_eq!(until, now.plus(Millis(TTL)));
                    leases.insert(call, until);
                    line.retain(|(_, id, _)| *id != call);
                    prop_assert!(leases.len() <= cap as usize);
                }
                Turn::Wait { retry_in } => {
                    prop_assert!(!held && !free, "waits for nothing");
                    prop_assert!(retry_in.plus(Millis(1000)) < PATIENCE);
                    match place {
                        Some(place) => line[place].2 = now,
                        None => {
                            if line.len() >= queue as usize {
                                let last = line.pop();
                                prop_assert!(last.is_some_and(|(p, ..)| p > priority), "the queue is too long");
                            }
                            let place = line.iter().filter(|(p, ..)| *p <= priority).count();
                            line.insert(place, (priority, call, now));
                        }
                    }
                    prop_assert!(line.len() <= queue as usize);
                }
                Turn::Shed { retry_after } => {
                    prop_assert!(!held && !free && place.is_none());
                    prop_assert!(line.len() >= queue as usize);
                    prop_assert!(line.last().is_none_or(|(p, ..)| *p <= priority), "a batch ticket stood there");
                    prop_assert!((1000..=60_000).contains(&retry_after.0));
                }
            }
        }
        // Left alone, everything expires: leases and tickets first, then the object.
        now = now.plus(Millis(TTL));
        for call in 0..cap {
            let fresh = acquire(&format!("fresh{call}"), cap, 0, Priority::Batch, TTL);
            let reply = object.ask(now, fresh);
            prop_assert!(matches!(reply.answer, Answer::Turn(Turn::Granted { .. })), "{:?}", reply);
        }
        for _ in 0..4 {
            let Some(alarm) = object.alarm else { break };
            now = now.max(alarm);
            object.restart(now);
            let effects = object.state.wake(now);
            object.persist(effects);
        }
        prop_assert!(object.rows.is_empty() && object.alarm.is_none());
    }
}
