//! The rules of a tenant against a naive oracle: the list of all changes, read from the start for every question.
//!
//! A million steps; `GATEHOUSE_LONG=1` takes twenty times as many.

use std::collections::BTreeMap;

use fastrand::Rng;
use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::time::Millis;
use gatehouse::domain::limits::Source;
use gatehouse::domain::limits::rules::{
    Block, Change, Command, EPOCH_MARGIN, Reply, Rules, Snapshot, Target,
};
use gatehouse::domain::settings::config::Allowance;

/// 2026-11-21T05:05:00Z
const START: u64 = 1_795_237_500_000;
const SEEDS: u64 = 5000;
const STEPS: u64 = 200;

/// Everything that was changed, and when.
#[derive(Default)]
struct History(Vec<(u64, Change)>);

impl History {
    fn last<T>(&self, pick: impl Fn(&Change) -> Option<T>) -> Option<T> {
        self.0.iter().rev().find_map(|(_, change)| pick(change))
    }

    fn is_revoked(&self, now: u64, id: &str, issued: u64) -> bool {
        let own = self.last(|change| match change {
            Change::Revoke(one, until) if one == id => Some(until.map_or(0, |until| until.0)),
            _ => None,
        });
        let void = self.0.iter().any(|(at, change)| match change {
            Change::RevokeAll(asked) => issued <= asked.0.min(at + 60_000) + EPOCH_MARGIN.0,
            _ => false,
        });
        void || own.is_some_and(|until| until > now)
    }

    fn block_end(&self, now: u64, visitor: &str) -> Option<u64> {
        let ids = (0..4).map(|n| format!("b{n}"));
        ids.filter_map(|id| {
            self.last(|change| match change {
                Change::Block(one, block) if *one == id => Some(block.clone()),
                _ => None,
            })
            .flatten()
        })
        .filter(|block| block.until.0 > now)
        .filter(|block| block.what == Target::Visitor(visitor.to_owned()))
        .map(|block| block.until.0)
        .max()
    }

    fn concurrent(&self, scope: &str) -> Option<u32> {
        self.last(|change| match change {
            Change::Allowance(one, allowance) if one == scope => Some(allowance.clone()),
            _ => None,
        })
        .flatten()
        .and_then(|allowance| allowance.concurrent)
    }

    fn is_on(&self, flag: &str) -> bool {
        let value = self.last(|change| match change {
            Change::Flag(one, value) if one == flag => Some(value.clone()),
            _ => None,
        });
        value.flatten() == Some(true.into())
    }
}

fn change(random: &mut Rng, now: u64) -> Change {
    let until = now + random.u64(..200_000);
    let some = random.u64(..4) > 0;
    match random.u64(..20) {
        0..5 => {
            let block = Block {
                what: Target::Visitor(format!("v{}", random.u64(..3))),
                until: Millis(until + 1),
                reason: "r".to_owned(),
                by: "op_1".to_owned(),
            };
            Change::Block(format!("b{}", random.u64(..4)), some.then_some(block))
        }
        5..11 => Change::Revoke(
            format!("v{}", random.u64(..3)),
            some.then_some(Millis(until + 1)),
        ),
        11..15 => {
            let allowance = Allowance {
                concurrent: Some(1 + random.u32(..5)),
                ..Allowance::default()
            };
            Change::Allowance(
                format!("key/k{}", random.u64(..3)),
                some.then_some(allowance),
            )
        }
        15..18 => Change::Flag(
            format!("f{}", random.u64(..3)),
            some.then(|| (random.u64(..2) > 0).into()),
        ),
        18 if random.u64(..10) == 0 => Change::RevokeAll(Millis(now + random.u64(..100_000))),
        _ => Change::Keyring(random.u64(..30)),
    }
}

struct Object {
    rules: Rules,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
}

impl Object {
    fn persist(&mut self, effects: Effects) {
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn restart(&mut self, now: u64) {
        self.rules = Rules::load(Millis(now), self.rows.clone().into_iter().collect());
    }

    fn wake(&mut self, now: u64) {
        self.alarm = None;
        let effects = self.rules.wake(Millis(now));
        self.persist(effects);
    }

    /// What an isolate keeps, brought up to date as an isolate does it.
    fn refresh(&mut self, now: u64, kept: &mut Snapshot) {
        let (reply, effects) = self.rules.apply(Millis(now), Command::Since(kept.version));
        assert!(effects.writes.is_empty());
        match reply {
            Reply::Unchanged => {}
            Reply::Snapshot(snapshot) => *kept = *snapshot,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_rules_in_force_are_what_the_list_of_changes_says_whatever_fails() {
    let (mut lost, mut conflicts, mut repeated) = (0, 0, 0);
    for seed in 0..SEEDS * u64::from(crate::cases::times(20)) {
        let mut random = Rng::with_seed(seed);
        let mut history = History::default();
        let mut object = Object {
            rules: Rules::default(),
            rows: BTreeMap::new(),
            alarm: None,
        };
        // An isolate's copy is never loaded anew, so it may hold what expired long ago.
        let mut kept = Snapshot::default();
        let mut now = START;
        for n in 0..STEPS {
            now += [0, 1, random.u64(..1000), random.u64(..60_000)][random.usize(..4)];
            let place = format!("seed {seed} step {n}");
            let wanted = change(&mut random, now);
            let version = kept.version;
            let expect = match random.u64(..4) {
                0 => Some(version),
                1 => Some(version + 1 + random.u64(..3)),
                _ => None,
            };
            let asked = Command::Change {
                expect,
                change: wanted.clone(),
            };
            let (reply, effects) = object.rules.apply(Millis(now), asked.clone());
            let writes = effects.writes.len();
            let changed = matches!(reply, Reply::Changed { .. });
            assert_eq!(writes > 0, changed, "{place}: {reply:?}");
            match random.u64(..20) {
                0 if changed => {
                    // Failed and not written: nothing happened.
                    object.restart(now);
                    lost += 1;
                }
                1 if changed => {
                    // Failed and yet written: the caller repeats it, and finds it done whatever it expects.
                    object.persist(effects);
                    object.restart(now);
                    history.0.push((now, wanted));
                    let (reply, effects) = object.rules.apply(Millis(now), asked);
                    assert!(
                        matches!(reply, Reply::Same(v) if v == version + 1),
                        "{place}: {reply:?}"
                    );
                    assert!(effects.writes.is_empty());
                    repeated += 1;
                }
                fault => {
                    object.persist(effects);
                    match &reply {
                        Reply::Changed { version: v, .. } => {
                            assert_eq!(*v, version + 1, "{place}");
                            assert!(expect.is_none_or(|expect| expect == version), "{place}");
                            history.0.push((now, wanted));
                        }
                        Reply::Same(v) => assert_eq!(*v, version, "{place}"),
                        Reply::Conflict(v) => {
                            assert_eq!(*v, version, "{place}");
                            assert_ne!(expect, Some(version), "{place}");
                            conflicts += 1;
                        }
                        other => panic!("{place}: {other:?}"),
                    }
                    match fault {
                        2 => object.restart(now),
                        3 => object.wake(now),
                        _ => {}
                    }
                }
            }
            object.refresh(now, &mut kept);
            for who in ["v0", "v1", "v2"] {
                let issued = now - random.u64(..70_000);
                // An entry may outlive its time until it is swept; before that it must stand.
                let (said, must) = (
                    kept.is_revoked("-", who, Millis(issued)),
                    history.is_revoked(now, who, issued),
                );
                assert!(said || !must, "{place}: {who} must be void");
                if said && !must {
                    assert!(
                        kept.revoked[who].0 <= now,
                        "{place}: {who} must not be void"
                    );
                }
                let nobody = Source::parse(None);
                let block = kept.block_for(&nobody, Some(who), None, Millis(now));
                let end = block.map(|block| block.until.0);
                assert_eq!(end, history.block_end(now, who), "{place}");
            }
            for k in 0..3 {
                let scope = format!("key/k{k}");
                let own = Allowance::default();
                let said = kept.allowance(&scope, &own).concurrent;
                assert_eq!(said, history.concurrent(&scope), "{place}");
                let flag = format!("f{k}");
                assert_eq!(kept.is_on(&flag), history.is_on(&flag), "{place}");
            }
        }
        // Left alone, what has an end is gone.
        while let Some(alarm) = object.alarm {
            now = now.max(alarm.0);
            object.restart(now);
            object.wake(now);
        }
        let ends = |key: &&String| key.starts_with("rules/b/") || key.starts_with("rules/r/");
        assert_eq!(object.rows.keys().find(ends), None, "seed {seed}");
    }
    assert!(
        lost > 1000 && repeated > 1000 && conflicts > 1000,
        "{lost} {repeated} {conflicts}"
    );
}
