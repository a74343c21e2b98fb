use std::collections::BTreeMap;

use super::{Command, Limiter, MAX_CLIENT_ROWS, Reply};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, LimitName, Policy, Window};
use crate::domain::limits::row::SETTLE;

mod holds;

const START: u64 = 1_795_237_500_000;

fn window(requests: u32, per: u64) -> Window {
    Window::new(requests, Millis(per)).unwrap()
}

/// 4 at once, 6 in 10 s; the network 10 at once, 12 in 20 s.
fn policy() -> Policy {
    Policy {
        class: Class::Chat,
        burst: window(4, 4000),
        sustained: window(6, 10_000),
        network_burst: Some(window(10, 10_000)),
        network_sustained: Some(window(12, 20_000)),
    }
}

/// A limiter with its storage, and the time since [`START`] as the argument of everything.
#[derive(Default)]
struct Object {
    limiter: Limiter,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
    writes: usize,
}

impl Object {
    fn persist(&mut self, effects: Effects) {
        self.writes += effects.writes.len();
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn ask(&mut self, at: u64, client: &str, policy: Policy, cost: u32) -> Reply {
        self.command(
            at,
            Command::Admit {
                client: client.to_owned(),
                policy,
                cost,
                watch: None,
            },
        )
    }

    fn command(&mut self, at: u64, command: Command) -> Reply {
        let (reply, effects) = self.limiter.apply(Millis(START + at), command);
        self.persist(effects);
        reply
    }

    fn admitted(&mut self, at: u64, client: &str, policy: Policy) -> bool {
        matches!(self.ask(at, client, policy, 1), Reply::Admitted { .. })
    }

    fn wake(&mut self, at: u64) {
        let effects = self.limiter.wake(Millis(START + at));
        self.persist(effects);
    }

    fn restart(&mut self, at: u64) {
        self.limiter = Limiter::load(Millis(START + at), self.rows.clone().into_iter().collect());
    }
}

fn remaining(reply: &Reply) -> Vec<(LimitName, u32)> {
    let (Reply::Admitted { limits, .. } | Reply::Refused { limits, .. }) = reply else {
        return vec![];
    };
    limits
        .iter()
        .map(|limit| (limit.name, limit.remaining))
        .collect()
}

#[test]
fn all_windows_are_spent_together_and_a_refusal_spends_none() {
    let mut object = Object::default();
    let reply = object.ask(0, "a", policy(), 4);
    assert_eq!(
        remaining(&reply),
        [(LimitName::Burst, 0), (LimitName::Sustained, 2)]
    );
    let Reply::Refused { wait, violated, .. } = object.ask(0, "a", policy(), 1) else {
        panic!()
    };
    assert_eq!((wait, violated), (Millis(1000), vec![LimitName::Burst]));
    // Burst and sustained both refuse: the later of the two is the wait.
    let Reply::Refused {
        wait,
        violated,
        limits,
        ..
    } = object.ask(0, "a", policy(), 3)
    else {
        panic!()
    };
    assert_eq!(wait, Millis(10_000));
    assert_eq!(violated, [LimitName::Burst, LimitName::Sustained]);
    assert_eq!(limits.len(), 2);
    // The refusals took nothing from the network: 6 more fit.
    for _ in 0..3 {
        assert!(object.admitted(0, "b", policy()));
        assert!(object.admitted(0, "c", policy()));
    }
    let Reply::Refused {
        wait,
        violated,
        limits,
        ..
    } = object.ask(0, "d", policy(), 1)
    else {
        panic!()
    };
    assert_eq!(
        (wait, violated),
        (Millis(1000), vec![LimitName::NetworkBurst])
    );
    let network = limits.last().unwrap();
    assert_eq!(
        (network.remaining, network.more, network.full),
        (0, wait, wait)
    );
}

#[test]
fn an_admitted_caller_learns_nothing_about_the_network() {
    let mut object = Object::default();
    for n in 0..12u64 {
        let reply = object.ask(n * 1000, &n.to_string(), policy(), 1);
        assert_eq!(
            remaining(&reply),
            [(LimitName::Burst, 3), (LimitName::Sustained, 5)]
        );
    }
    let reply = object.ask(12_000, "x", policy(), 1);
    assert_eq!(
        remaining(&reply),
        [
            (LimitName::Burst, 4),
            (LimitName::Sustained, 6),
            (LimitName::NetworkSustained, 0)
        ]
    );
}

#[test]
fn a_cost_above_a_quota_is_never_admitted_and_a_cost_of_zero_only_looks() {
    let mut object = Object::default();
    let never = Reply::TooCostly {
        violated: vec![LimitName::Burst],
    };
    assert_eq!(object.ask(0, "a", policy(), 5), never);
    let full = [(LimitName::Burst, 4), (LimitName::Sustained, 6)];
    assert_eq!(remaining(&object.ask(0, "a", policy(), 0)), full);
    assert_eq!((object.writes, object.limiter.clients.len()), (0, 0));
}

#[test]
fn classes_and_clients_do_not_share_rows() {
    let mut object = Object::default();
    let alone = Policy {
        network_burst: None,
        network_sustained: None,
        ..policy()
    };
    for class in Class::ALL {
        for client in ["a", "b"] {
            for n in 0..5 {
                assert_eq!(object.admitted(0, client, Policy { class, ..alone }), n < 4);
            }
        }
    }
    let keys: Vec<&str> = object.rows.keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 12); // 6 classes × 2 clients
    assert_eq!(keys[0], "c cache_write a");
}

#[test]
fn stored_keys_are_pinned_because_changed_ones_would_refill_every_row() {
    let mut object = Object::default();
    object.ask(0, "2001:db8:1:2::", policy(), 1);
    let keys: Vec<&str> = object.rows.keys().map(String::as_str).collect();
    assert_eq!(keys, ["c chat 2001:db8:1:2::", "n chat"]);
}

#[test]
fn three_hundred_at_once_are_admitted_to_the_quota_with_few_writes() {
    let mut object = Object::default();
    let wide = Policy {
        burst: window(128, 60_000),
        sustained: window(200, 3_600_000),
        network_burst: Some(window(200, 60_000)),
        network_sustained: Some(window(2000, 3_600_000)),
        ..policy()
    };
    let admitted = (0..300).filter(|_| object.admitted(0, "a", wide)).count();
    assert_eq!(admitted, 128);
    assert!(object.writes <= 26, "{} writes", object.writes); // 13 slices for each of the two rows
}

#[test]
fn an_unreadable_row_is_stored_as_lost_before_the_first_reply() {
    let mut object = Object::default();
    object.ask(0, "a", policy(), 1);
    for value in object.rows.values_mut() {
        *value = "{".to_owned();
    }
    object.restart(1);
    let Reply::Refused { wait, violated, .. } = object.ask(1, "b", policy(), 1) else {
        panic!()
    };
    assert_eq!(wait, Millis(20_000));
    assert_eq!(
        violated,
        [LimitName::NetworkBurst, LimitName::NetworkSustained]
    );
    assert_eq!(
        object.rows["c chat a"],
        format!("{{\"lost\":{}}}", START + 1)
    );
    assert_eq!(object.rows["n chat"], format!("{{\"lost\":{}}}", START + 1));
    // Restarts do not begin the wait anew, and once it is over everything is full.
    object.restart(9000);
    assert!(!object.admitted(20_000, "b", policy()));
    assert!(object.admitted(20_001, "b", policy()));
}

#[test]
fn an_idle_object_settles_and_then_deletes_itself() {
    let mut object = Object::default();
    let wide = Policy {
        burst: window(64, 64_000),
        sustained: window(64, 100_000),
        ..policy()
    };
    for _ in 0..5 {
        assert!(object.admitted(0, "a", wide));
    }
    assert_eq!(object.alarm, Some(Millis(START + SETTLE.0)));
    object.wake(SETTLE.0);
    object.restart(SETTLE.0);
    let left = [(LimitName::Burst, 64), (LimitName::Sustained, 59)];
    assert_eq!(remaining(&object.ask(SETTLE.0, "a", wide, 0)), left);
    assert_eq!(object.alarm, Some(Millis(START + 100_000)));
    object.wake(100_000);
    assert_eq!(object.alarm, None);
    assert!(object.rows.is_empty());
    assert!(object.limiter.clients.is_empty() && object.limiter.networks.is_empty());
}

#[test]
fn an_object_that_forgot_its_memory_still_deletes_itself() {
    let mut object = Object::default();
    object.ask(0, "a", policy(), 4);
    for value in object.rows.values_mut() {
        *value = "?".to_owned();
    }
    let mut wakes = 0;
    while let Some(alarm) = object.alarm {
        wakes += 1;
        assert!(wakes < 5, "the alarm does not end");
        let at = alarm.0 - START;
        object.restart(at);
        object.wake(at);
    }
    assert!(object.rows.is_empty());
}

#[test]
fn a_reservation_left_by_a_restart_does_not_keep_the_object_for_ever() {
    let mut object = Object::default();
    let wide = Policy {
        burst: window(64, 64_000),
        sustained: window(64, 100_000),
        ..policy()
    };
    for _ in 0..5 {
        assert!(object.admitted(0, "a", wide));
    }
    let mut wakes = 0;
    while let Some(alarm) = object.alarm {
        wakes += 1;
        assert!(wakes < 6, "the alarm does not end");
        object.restart(alarm.0 - START);
        object.wake(alarm.0 - START);
    }
    assert!(object.rows.is_empty());
}

#[test]
fn the_alarm_is_not_moved_by_every_request() {
    let mut object = Object::default();
    let slow = Policy {
        sustained: window(100, 3_600_000),
        network_burst: None,
        network_sustained: None,
        ..policy()
    };
    object.ask(0, "a", slow, 1);
    let first = object.alarm.take();
    assert_eq!(first, Some(Millis(START + 3_600_000)));
    for n in 1..20 {
        assert!(object.admitted(n * 60_000, "a", slow));
    }
    assert_eq!(object.alarm, None);
    // A clock that was a year ahead when the alarm was set does not keep the object for a year.
    object.limiter.alarm = Some(Millis(START + 31_536_000_000));
    object.ask(1_300_000, "a", slow, 1);
    assert_eq!(object.alarm, Some(Millis(START + 1_300_000 + 3_600_000)));
}

#[test]
fn an_alarm_that_was_missed_is_asked_for_again() {
    let mut object = Object::default();
    assert!(object.admitted(0, "a", policy()));
    let missed = object.alarm.take().unwrap();
    let later = missed.0 - START + 1;
    assert!(object.admitted(later, "a", policy()));
    assert!(object.alarm > Some(missed));
}

#[test]
fn clients_beyond_the_cap_share_a_row_and_carry_it_with_them() {
    let mut object = Object::default();
    let slow = Policy {
        burst: window(4, 60_000),
        sustained: window(4, 60_000),
        network_burst: None,
        network_sustained: None,
        ..policy()
    };
    for n in 0..MAX_CLIENT_ROWS {
        // The last ones later, so that they are not all full at the same time.
        let at = if n < 10 { 0 } else { 30_000 };
        assert!(object.admitted(at, &format!("client {n}"), slow));
    }
    // Two newcomers share four requests, and the old ones keep what they had.
    let together = (0..8)
        .filter(|n| object.admitted(30_000, ["x", "y"][n % 2], slow))
        .count();
    assert_eq!(together, 4);
    assert_eq!(object.rows.len(), MAX_CLIENT_ROWS + 1);
    let old = (0..8)
        .filter(|_| object.admitted(30_000, "client 20", slow))
        .count();
    assert_eq!(old, 3);
    // When the first rows are full again there is room for x, but it does not start afresh.
    assert!(!object.admitted(61_000, "x", slow));
    assert!(object.rows.len() < MAX_CLIENT_ROWS);
    assert!(!object.rows.contains_key("c chat client 0"));
    assert!(object.admitted(90_000, "x", slow));
    assert!(object.rows.contains_key("c chat x"));
}

#[test]
fn a_setting_that_changes_applies_at_once() {
    let mut object = Object::default();
    let alone = Policy {
        network_burst: None,
        network_sustained: None,
        ..policy()
    };
    for n in 0..5 {
        assert_eq!(object.admitted(0, "a", alone), n < 4);
    }
    // 4 s of debt in a bucket of 8 per 8 s: half of it is spent; the log has seen 4 of 12.
    let wider = Policy {
        burst: window(8, 8000),
        sustained: window(12, 10_000),
        ..alone
    };
    let full = [(LimitName::Burst, 4), (LimitName::Sustained, 8)];
    assert_eq!(remaining(&object.ask(0, "a", wider, 0)), full);
    let narrower = Policy {
        burst: window(2, 4000),
        sustained: window(2, 10_000),
        ..alone
    };
    let Reply::Refused { wait, .. } = object.ask(0, "a", narrower, 1) else {
        panic!()
    };
    assert_eq!(wait, Millis(10_000));
}

#[test]
fn commands_and_replies_are_short_in_json() {
    let command = Command::Admit {
        client: "192.0.2.1".to_owned(),
        policy: policy(),
        cost: 1,
        watch: None,
    };
    let json = r#"{"admit":{"c":"192.0.2.1","p":{"c":"chat","b":[4,4000],"s":[6,10000],"nb":[10,10000],"ns":[12,20000]},"n":1}}"#;
    assert_eq!(serde_json::to_string(&command).unwrap(), json);
    assert_eq!(serde_json::from_str::<Command>(json).unwrap(), command);
    let mut object = Object::default();
    for cost in [4, 1, 99] {
        let reply = object.ask(0, "a", policy(), cost);
        let json = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&json).unwrap(), reply);
        assert!(json.len() < 200, "{json}");
    }
}

#[test]
fn a_clock_at_the_end_of_time_neither_panics_nor_grants() {
    let mut object = Object::default();
    let command = || Command::Admit {
        client: "a".to_owned(),
        policy: policy(),
        cost: 1,
        watch: None,
    };
    let mut admitted = 0;
    for _ in 0..9 {
        let (reply, effects) = object.limiter.apply(Millis(u64::MAX), command());
        object.persist(effects);
        admitted += u32::from(matches!(reply, Reply::Admitted { .. }));
    }
    assert_eq!(admitted, 4);
    let effects = object.limiter.wake(Millis(u64::MAX));
    assert!(!effects.delete_all);
}

#[test]
fn a_request_that_was_refused_elsewhere_changes_no_counter() {
    let slow = Policy {
        burst: window(4, 60_000),
        ..policy()
    };
    let refund = |at| Command::Refund {
        client: "a".into(),
        policy: slow,
        cost: 1,
        at,
    };
    let (mut object, mut spared) = (Object::default(), Object::default());
    let Reply::Admitted { at, .. } = object.ask(0, "a", slow, 1) else {
        panic!("refused");
    };
    // Others come between, and stay spent.
    for object in [&mut object, &mut spared] {
        object.ask(0, "a", slow, 1);
        object.ask(0, "b", slow, 1);
    }
    assert_eq!(object.command(0, refund(at)), Reply::Refunded);
    for (restart, client) in [(false, "a"), (false, "b"), (true, "a"), (true, "b")] {
        if restart {
            object.restart(0);
        }
        let told = remaining(&object.ask(0, client, slow, 0));
        assert_eq!(told, remaining(&spared.ask(0, client, slow, 0)), "{client}");
    }
    // What was repaid meanwhile is not given back: the later request stays whole.
    let Reply::Admitted { at, .. } = object.ask(100_000, "a", slow, 1) else {
        panic!("refused");
    };
    object.ask(130_000, "a", slow, 1);
    let before = remaining(&object.ask(130_000, "a", slow, 0));
    object.command(130_000, refund(at));
    let after = remaining(&object.ask(130_000, "a", slow, 0));
    assert_eq!(before[0], after[0]);
    // A client that is not known has nothing to take back.
    let rows = object.rows.clone();
    let unknown = Command::Refund {
        client: "c".into(),
        policy: Policy {
            class: Class::Upload,
            ..slow
        },
        cost: 1,
        at,
    };
    object.command(130_000, unknown);
    assert_eq!(object.rows, rows);
}
