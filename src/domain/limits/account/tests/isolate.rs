//! Leases, and what an isolate knows without asking.

use super::super::isolate::{Answer, Isolate, MAX_ACCOUNTS, MAX_IN_FLIGHT};
use super::super::machine::LEASE;
use super::super::{Back, Command, Limits, Rate, Reply, Want, Watch};
use super::{HOUR, MINUTE, ONE, Object, START, take, take_with, window};
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, LimitName};

fn hot() -> Limits {
    Limits {
        burst: window(80, 60_000),
        ..Limits::default()
    }
}

/// Does the isolate have to ask the account?
fn asks(isolate: &mut Isolate, now: Millis, account: &str, want: &Want, limits: &Limits) -> bool {
    let answer = isolate.ask(now, account, want, limits);
    matches!(answer, Answer::Ask { .. })
}

/// An account, and one isolate that asks it.
#[derive(Default)]
struct Home {
    object: Object,
    isolate: Isolate,
    admitted: u32,
    asked: u32,
}

impl Home {
    /// `width` requests side by side.
    fn wave(&mut self, at: u64, width: usize, limits: Limits) {
        self.wave_with(at, width, limits, |_, _| {});
    }

    /// The same, with `between` after each of them.
    fn wave_with(
        &mut self,
        at: u64,
        width: usize,
        limits: Limits,
        mut between: impl FnMut(&mut Self, usize),
    ) {
        let now = Millis(START + at);
        let answers: Vec<Answer> = (0..width)
            .map(|_| self.isolate.ask(now, "a", &ONE, &limits))
            .collect();
        for (n, answer) in answers.into_iter().enumerate() {
            match answer {
                Answer::Leased(status) => {
                    assert!(status.iter().all(|one| one.remaining < one.quota));
                    self.admitted += 1;
                }
                Answer::Ask { ahead, back } => {
                    self.asked += 1;
                    let id = self.asked.to_string();
                    let take = take_with(at, &id, ONE, limits, ahead, back);
                    let reply = self.object.ask(at, take);
                    self.admitted += u32::from(matches!(reply, Reply::Taken { .. }));
                    self.isolate
                        .heard(now, "a", &id, &ONE, &limits, Some(&reply));
                }
                Answer::Refused(_) | Answer::Shed => {}
            }
            between(self, n);
        }
    }
}

#[test]
fn a_lease_is_an_eighth_at_most_and_for_requests_alone() {
    let mut object = Object::default();
    let lease = |reply| match reply {
        Reply::Taken { lease, .. } => lease,
        reply => panic!("{reply:?}"),
    };
    let given = lease(object.ask(0, take(0, "a", ONE, hot(), 64)));
    assert_eq!(given, Some((10, Millis(START + LEASE.0))));
    // Said again, it is not given again.
    assert_eq!(lease(object.ask(0, take(0, "a", ONE, hot(), 64))), None);
    for (n, limits) in [
        Limits {
            places: Some(9),
            ..hot()
        },
        Limits {
            money: [None, None, Some(9)],
            ..hot()
        },
        Limits {
            tokens: Rate::new(9, Millis(9)),
            ..hot()
        },
        Limits {
            burst: window(80, 9000),
            ..Limits::default()
        },
    ]
    .into_iter()
    .enumerate()
    {
        let mut object = Object::default();
        let reply = object.ask(0, take(0, &n.to_string(), ONE, limits, 64));
        assert_eq!(lease(reply), None, "{limits:?}");
    }
}

#[test]
fn a_hot_account_is_asked_seldom_and_never_exceeded() {
    let limits = Limits {
        burst: window(4000, 60_000),
        ..Limits::default()
    };
    let mut home = Home::default();
    for n in 0..4000u64 {
        home.wave(n / 2, 1, limits);
    }
    assert!(home.asked < 200, "{}", home.asked);
    assert_eq!(home.admitted, 4000);
}

#[test]
fn questions_side_by_side_use_what_is_leased_and_reservations_leave_it_alone() {
    let limits = Limits {
        sustained: window(100, 3_600_000),
        ..Limits::default()
    };
    let budget = Limits {
        money: [Some(9_000_000), None, None],
        ..Limits::default()
    };
    let hold = Want {
        requests: 0,
        micros: 7,
        place: true,
        ..ONE
    };
    let mut home = Home::default();
    for round in 0..15u64 {
        let at = round * 20;
        home.wave_with(at, 10, limits, |home, n| {
            let now = Millis(START + at);
            let Answer::Ask { ahead: 0, .. } = home.isolate.ask(now, "a", &hold, &budget) else {
                panic!("a reservation is always asked for");
            };
            let id = format!("hold/{at}/{n}");
            let reply = home.object.ask(at, take(at, &id, hold, budget, 0));
            home.isolate
                .heard(now, "a", "x", &hold, &budget, Some(&reply));
        });
    }
    assert_eq!(home.admitted, 100);
    assert!(home.asked < 100, "{} of 150 were asked for", home.asked);
}

/// Waves of `width` questions side by side, one wave in each `every` milliseconds: how many are admitted, and how many of
/// them were asked for.
fn waves(limits: Limits, width: usize, every: u64, rounds: u64) -> (u32, u32) {
    let mut home = Home::default();
    for round in 0..rounds {
        home.wave(round * every, width, limits);
    }
    (home.admitted, home.asked)
}

#[test]
fn what_leases_leave_unused_comes_back_so_that_a_quota_can_be_used_up() {
    let hour = |requests| Limits {
        sustained: window(requests, HOUR),
        ..Limits::default()
    };
    let burst = |requests| Limits {
        burst: window(requests, HOUR),
        ..Limits::default()
    };
    for (limits, width, every, rounds) in [
        (hour(400), 10, 30, 60),
        (hour(400), 8, 1000, 80),
        (hour(400), 8, 2500, 80),
        (hour(1500), 20, 100, 90),
        (hour(300), 60, 10, 8),
        (hour(300), 1, 700, 400),
        (hour(100), 3, 5000, 60),
    ] {
        let (admitted, asked) = waves(limits, width, every, rounds);
        let quota = limits.sustained.unwrap().requests();
        assert_eq!(
            admitted, quota,
            "{limits:?} {width} in {every} ms, {asked} asked"
        );
    }
    // A burst refills meanwhile: at least the quota, at most what has come since.
    for (width, every, rounds) in [(10, 30, 60), (8, 1000, 80), (60, 10, 8)] {
        let (admitted, asked) = waves(burst(300), width, every, rounds);
        let most = 300 + u32::try_from(every * rounds / 12_000).unwrap();
        assert!(
            (300..=most).contains(&admitted),
            "{admitted} of {most}, {asked} asked"
        );
    }
}

#[test]
fn a_lease_that_is_over_is_taken_back_once() {
    let mut object = Object::default();
    let lease = |reply| match reply {
        Reply::Taken { lease, .. } => lease.map(|(n, _)| n),
        reply => panic!("{reply:?}"),
    };
    assert_eq!(lease(object.ask(0, take(0, "a", ONE, hot(), 64))), Some(10));
    let left = |object: &mut Object| match object.ask(
        2000,
        Command::Look {
            class: Class::Chat,
            limits: hot(),
        },
    ) {
        Reply::Seen { status, .. } => status[0].remaining,
        reply => panic!("{reply:?}"),
    };
    let back = |used, unused| {
        vec![Back {
            id: "a".into(),
            used,
            unused,
        }]
    };
    let before = left(&mut object);
    let none = Want { requests: 0, ..ONE };
    for (id, times) in [("b", 7), ("c", 7), ("d", 7)] {
        object.ask(2000, take_with(2000, id, none, hot(), 0, back(3, 7)));
        assert_eq!(left(&mut object), before + times, "{id}");
        object.restart(2000);
    }
    // More than was granted is not taken back.
    let mut object = Object::default();
    object.ask(0, take(0, "a", ONE, hot(), 64));
    object.ask(2000, take_with(2000, "b", none, hot(), 0, back(0, 9999)));
    assert_eq!(left(&mut object), 80);
}

#[test]
fn an_account_that_is_only_watched_is_asked_seldom_and_stores_no_reservation() {
    let limits = Limits {
        watch: Some(Watch {
            factor: 10,
            floor: 1000,
            hold: Millis(MINUTE),
        }),
        ..Limits::default()
    };
    let mut home = Home::default();
    for n in 0..900u64 {
        home.wave(n * 2, 1, limits);
    }
    assert_eq!(home.admitted, 900);
    assert!(home.asked < 60, "{}", home.asked);
    let rows = &home.object.rows;
    assert!(rows.keys().all(|key| key == "acct/w"), "{rows:?}");
}

#[test]
fn a_lease_ends_a_second_after_the_question_and_with_other_limits() {
    let mut isolate = Isolate::default();
    let at = |ms: u64| Millis(START + ms);
    let reply = Reply::Taken {
        status: vec![],
        lease: Some((3, at(99_999))),
        alerts: vec![],
    };
    let ask = Answer::Ask {
        ahead: 0,
        back: vec![],
    };
    assert_eq!(isolate.ask(at(0), "a", &ONE, &hot()), ask);
    isolate.heard(at(0), "a", "x", &ONE, &hot(), Some(&reply));
    let leased = Answer::Leased(vec![]);
    assert_eq!(isolate.ask(at(999), "a", &ONE, &hot()), leased);
    isolate.give_back(at(999), "a", &ONE, &hot());
    let three = Want { requests: 3, ..ONE };
    assert_eq!(isolate.ask(at(999), "a", &three, &hot()), leased);
    assert!(asks(&mut isolate, at(999), "a", &ONE, &hot()));
    isolate.heard(at(999), "a", "x", &ONE, &hot(), Some(&reply));
    let other = Limits {
        burst: window(9, 60_000),
        ..Limits::default()
    };
    assert!(asks(&mut isolate, at(999), "a", &ONE, &other));
    assert!(asks(&mut isolate, at(999), "a", &ONE, &hot()));
    isolate.heard(at(999), "a", "x", &ONE, &hot(), Some(&reply));
    assert!(asks(&mut isolate, at(1999), "a", &ONE, &hot()));
    assert!(asks(&mut isolate, at(500), "a", &ONE, &hot()));
}

#[test]
fn a_refusal_is_remembered_until_its_wait_has_passed_and_for_no_smaller_want() {
    let mut isolate = Isolate::default();
    let at = |ms: u64| Millis(START + ms);
    let refused = |why: LimitName, wait: u64| Reply::Refused {
        wait: Millis(wait),
        forever: false,
        why: vec![why],
        status: vec![],
        alerts: vec![],
    };
    let two = Want { requests: 2, ..ONE };
    let hear = |isolate: &mut Isolate, reply: &Reply| {
        assert!(asks(isolate, at(0), "a", &two, &hot()));
        isolate.heard(at(0), "a", "x", &two, &hot(), Some(reply));
    };
    hear(&mut isolate, &refused(LimitName::Burst, 5000));
    let answer = isolate.ask(at(4000), "a", &two, &hot());
    assert_eq!(answer, Answer::Refused(refused(LimitName::Burst, 1000)));
    assert!(asks(&mut isolate, at(4000), "a", &ONE, &hot()));
    let page = Want {
        class: Class::Page,
        ..two
    };
    assert!(asks(&mut isolate, at(4000), "a", &page, &hot()));
    assert!(asks(&mut isolate, at(4000), "b", &two, &hot()));
    assert!(asks(&mut isolate, at(5000), "a", &two, &hot()));
    // A settlement may bring money back at any time, and a place is free when it is.
    let mut isolate = Isolate::default();
    hear(&mut isolate, &refused(LimitName::MonthBudget, 5_000_000));
    assert!(matches!(
        isolate.ask(at(999), "a", &two, &hot()),
        Answer::Refused(_)
    ));
    assert!(asks(&mut isolate, at(1000), "a", &two, &hot()));
    let mut isolate = Isolate::default();
    hear(&mut isolate, &refused(LimitName::Concurrent, 1000));
    assert!(asks(&mut isolate, at(1), "a", &two, &hot()));
}

#[test]
fn one_account_that_does_not_answer_is_shed_and_others_are_not() {
    let mut isolate = Isolate::default();
    let now = Millis(START);
    for _ in 0..MAX_IN_FLIGHT {
        assert!(asks(&mut isolate, now, "a", &ONE, &hot()));
    }
    assert_eq!(isolate.ask(now, "a", &ONE, &hot()), Answer::Shed);
    for n in 0..3 * MAX_ACCOUNTS {
        let name = n.to_string();
        assert!(asks(&mut isolate, now, &name, &ONE, &hot()));
        isolate.heard(now, &name, "x", &ONE, &hot(), None);
    }
    assert_eq!(isolate.ask(now, "a", &ONE, &hot()), Answer::Shed);
    isolate.heard(now, "a", "x", &ONE, &hot(), None);
    assert!(asks(&mut isolate, now, "a", &ONE, &hot()));
}
