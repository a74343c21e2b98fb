//! Counts, holds, and what may be used a single time.

use super::{Object, START, policy, remaining, window};
use crate::base::machine::Machine;
use crate::base::time::Millis;
use crate::domain::limits::machine::{
    Alert, Command, Limiter, MAX_CLIENT_ROWS, MAX_ONCE, Once, PERIOD, Reason, Reply, Watch,
};
use crate::domain::limits::policy::{LimitName, Policy};
use crate::domain::settings::config::Abuse;

const HOLD: u64 = 900_000;

const WATCH: Watch = Watch {
    principals: 3,
    failures: 2,
    hold: Millis(HOLD),
};

/// Limits that nobody here reaches, but at a quarter.
fn wide() -> Policy {
    Policy {
        burst: window(400, 4000),
        sustained: window(400, 10_000),
        network_burst: Some(window(4000, 10_000)),
        network_sustained: None,
        ..policy()
    }
}

impl Object {
    fn fail(&mut self, at: u64, client: &str) -> Reply {
        self.command(
            at,
            Command::AuthFailed {
                client: client.to_owned(),
                watch: WATCH,
            },
        )
    }

    fn visit(
        &mut self,
        at: u64,
        client: &str,
        principal: &str,
        policy: Policy,
        cost: u32,
    ) -> Reply {
        self.command(
            at,
            Command::Admit {
                client: client.to_owned(),
                policy,
                cost,
                watch: Some((principal.to_owned(), WATCH)),
            },
        )
    }

    fn pardon(&mut self, at: u64, client: Option<&str>) -> bool {
        let client = client.map(str::to_owned);
        self.command(at, Command::Pardon { client }) == Reply::Pardoned(true)
    }

    fn once(&mut self, at: u64, id: &str, until: u64, by: &str) -> Once {
        let command = Command::Once {
            id: id.to_owned(),
            until: Millis(START + until),
            by: by.to_owned(),
        };
        match self.command(at, command) {
            Reply::Once(once) => once,
            other => panic!("{other:?}"),
        }
    }

    fn slow_down(&mut self, at: u64) {
        for n in 0..4 {
            self.visit(at, &format!("v{n}"), &format!("vis_{n}"), wide(), 1);
        }
    }
}

fn held(wait: u64, alert: Option<Alert>) -> Reply {
    Reply::Held {
        wait: Millis(wait),
        why: Reason::AuthFailures(2),
        alert,
    }
}

fn alert(why: Reason, network: bool, until: u64) -> Option<Alert> {
    Some(Alert {
        why,
        network,
        until: Millis(START + until),
    })
}

fn slowed(reply: &Reply) -> Option<(u64, Option<Reason>)> {
    match reply {
        Reply::Refused { wait, slowed, .. } => Some((wait.0, *slowed)),
        _ => None,
    }
}

#[test]
fn one_refused_credential_too_many_holds_the_client_off_and_nobody_else() {
    let mut object = Object::default();
    let noted = Reply::Noted { alert: None };
    assert_eq!(object.fail(0, "a"), noted);
    assert_eq!(object.fail(1000, "a"), noted);
    assert_eq!(object.fail(1000, "b"), noted);
    // Ten minutes after the first, it counts no longer.
    assert_eq!(object.fail(PERIOD.0, "a"), noted);
    let first = object.fail(PERIOD.0 + 1, "a");
    let until = PERIOD.0 + 1 + HOLD;
    let told = alert(Reason::AuthFailures(2), false, until);
    assert_eq!(first, held(HOLD, told));
    // The alert stands in one reply; while the client is held nothing is counted or written.
    let writes = object.writes;
    assert_eq!(object.fail(until - 9, "a"), held(9, None));
    assert_eq!(object.ask(until - 1, "a", wide(), 1), held(1, None));
    assert_eq!(object.ask(until - 1, "a", wide(), 0), held(1, None));
    assert_eq!(object.writes, writes);
    assert!(object.admitted(until - 1, "b", wide()));
    // The hold survives restarts, and so does the alert, which may not have been heard.
    object.restart(until - 1);
    assert_eq!(object.ask(until - 1, "a", wide(), 1), held(1, told));
    assert_eq!(object.ask(until - 1, "a", wide(), 1), held(1, None));
    assert!(object.admitted(until, "a", wide()));
    // The count begins anew.
    assert_eq!(object.fail(until, "a"), noted);
}

#[test]
fn counts_of_refused_credentials_survive_restarts() {
    let mut object = Object::default();
    for at in [0, 60_000] {
        object.fail(at, "a");
        object.restart(at + 30_000);
    }
    assert!(matches!(object.fail(90_000, "a"), Reply::Held { .. }));
}

#[test]
fn too_many_principals_slow_the_whole_network_down_and_say_so_once() {
    let mut object = Object::default();
    for n in [0, 1, 1, 2, 0] {
        let reply = object.visit(0, "a", &format!("vis_{n}"), wide(), 1);
        assert!(matches!(reply, Reply::Admitted { alert: None, .. }));
    }
    // A look counts nobody; the fourth principal is admitted, and from then on the limits count at a quarter.
    object.visit(0, "a", "vis_9", wide(), 0);
    let reply = object.visit(0, "b", "vis_3", wide(), 1);
    let told = alert(Reason::Principals(3), true, HOLD);
    assert!(matches!(reply, Reply::Admitted { alert, .. } if alert == told));
    let look = object.ask(1, "c", wide(), 0);
    let quarter = [(LimitName::Burst, 100), (LimitName::Sustained, 100)];
    assert_eq!(remaining(&look), quarter);
    object.restart(1);
    let again = object.ask(1, "c", wide(), 100);
    assert!(matches!(again, Reply::Admitted { alert, .. } if alert == told));
    let refused = object.ask(1, "c", wide(), 1);
    assert_eq!(
        slowed(&refused),
        Some((10_000, Some(Reason::Principals(3))))
    );
    assert_eq!(
        remaining(&object.ask(HOLD, "c", wide(), 0)).first(),
        Some(&(LimitName::Burst, 400))
    );
}

#[test]
fn a_principal_counts_for_ten_minutes_and_is_written_once_in_them() {
    let mut object = Object::default();
    for n in 0..3 {
        object.visit(n * 1000, "a", &format!("vis_{n}"), wide(), 1);
    }
    let kept = |object: &Object| {
        object
            .rows
            .keys()
            .filter(|key| key.starts_with("w "))
            .count()
    };
    assert_eq!(kept(&object), 3);
    // The first is forgotten when it counts no longer, so that a fourth fits.
    let reply = object.visit(PERIOD.0, "a", "vis_3", wide(), 1);
    assert!(matches!(reply, Reply::Admitted { alert: None, .. }));
    assert_eq!(kept(&object), 3);
    object.restart(PERIOD.0);
    let reply = object.visit(PERIOD.0, "a", "vis_0", wide(), 1);
    assert!(matches!(reply, Reply::Admitted { alert: Some(_), .. }));
    assert_eq!(kept(&object), 0);
    // No principal is stored by its name.
    assert!(object.rows.keys().all(|key| !key.contains("vis_")));
}

#[test]
fn whoever_the_full_limits_would_admit_waits_no_longer_than_the_slow_down() {
    let mut object = Object::default();
    object.slow_down(0);
    // 2 at once, 1 while slowed down; a cost of 2 fits only afterwards.
    let narrow = Policy {
        burst: window(2, 4000),
        sustained: window(2, 3_600_000),
        network_burst: None,
        ..wide()
    };
    let reply = object.ask(0, "x", narrow, 2);
    assert_eq!(slowed(&reply), Some((HOLD, Some(Reason::Principals(3)))));
    assert!(object.admitted(0, "x", narrow));
    assert_eq!(slowed(&object.ask(0, "x", narrow, 1)).unwrap().0, HOLD);
    assert!(matches!(
        object.ask(0, "x", narrow, 3),
        Reply::TooCostly { .. }
    ));
    // The first of the two in an hour leaves after the slow-down.
    assert!(!object.admitted(HOLD - 1, "x", narrow));
    assert!(object.admitted(HOLD, "x", narrow));
    assert_eq!(slowed(&object.ask(HOLD, "x", narrow, 1)).unwrap().1, None);
}

#[test]
fn a_pardon_lifts_a_hold_and_begins_its_count_anew() {
    let mut object = Object::default();
    for _ in 0..3 {
        object.fail(0, "a");
    }
    assert!(!object.pardon(0, Some("b")));
    assert!(object.pardon(0, Some("a")));
    assert!(!object.pardon(0, Some("a")));
    assert!(object.admitted(0, "a", wide()));
    assert_eq!(object.fail(0, "a"), Reply::Noted { alert: None });
    object.slow_down(0);
    assert!(object.rows.contains_key("h n"));
    assert!(object.pardon(0, None));
    assert_eq!(remaining(&object.ask(0, "c", wide(), 0))[0].1, 400);
    object.restart(0);
    assert_eq!(remaining(&object.ask(0, "c", wide(), 0))[0].1, 400);
}

#[test]
fn clients_beyond_the_cap_share_a_count_that_slows_the_network_and_blocks_nobody() {
    let mut object = Object::default();
    for n in 0..MAX_CLIENT_ROWS {
        object.fail(0, &n.to_string());
    }
    for client in ["x", "y"] {
        assert_eq!(object.fail(0, client), Reply::Noted { alert: None });
    }
    let told = alert(Reason::AuthFailures(2), true, HOLD);
    assert_eq!(object.fail(0, "z"), Reply::Noted { alert: told });
    assert_eq!(remaining(&object.ask(0, "z", wide(), 0))[0].1, 100);
    // Those with a count of their own keep it.
    object.fail(0, "7");
    assert!(matches!(object.fail(0, "7"), Reply::Held { .. }));
    let rows = object
        .rows
        .keys()
        .filter(|key| key.starts_with("f "))
        .count();
    assert!(rows <= MAX_CLIENT_ROWS + 1, "{rows}");
}

#[test]
fn an_id_is_fresh_once_and_for_its_user_again() {
    let mut object = Object::default();
    assert_eq!(object.once(0, "t1", 1000, "req_1"), Once::Fresh);
    assert_eq!(object.once(0, "t1", 1000, "req_1"), Once::Fresh);
    assert_eq!(object.once(0, "t1", 1000, "req_2"), Once::Seen);
    object.restart(999);
    assert_eq!(object.once(999, "t1", 1000, "req_2"), Once::Seen);
    assert_eq!(object.once(1000, "t1", 1000, "req_2"), Once::Seen);
    assert_eq!(object.once(0, &"x".repeat(257), 1000, "req_2"), Once::Seen);
    // Its row is gone with it.
    assert_eq!(object.alarm, Some(Millis(START + 1000)));
    object.wake(1000);
    assert!(object.rows.is_empty());
}

#[test]
fn beyond_the_bound_a_new_id_is_refused_and_no_old_one_forgotten() {
    let mut object = Object::default();
    for n in 0..MAX_ONCE {
        let until = if n == 0 { 1000 } else { 2000 };
        assert_eq!(object.once(0, &n.to_string(), until, "r"), Once::Fresh);
    }
    assert_eq!(object.once(999, "new", 2000, "r"), Once::Full);
    assert_eq!(object.once(999, "0", 1000, "other"), Once::Seen);
    assert_eq!(object.once(1000, "new", 2000, "r"), Once::Fresh);
    assert_eq!(object.once(1000, "newer", 2000, "r"), Once::Full);
    assert_eq!(object.rows.len(), MAX_ONCE);
    object.restart(1500);
    assert_eq!(object.once(1500, "newer", 2500, "r"), Once::Full);
    assert_eq!(object.once(2000, "newer", 2500, "r"), Once::Fresh);
    assert_eq!(object.rows.len(), 1);
}

#[test]
fn an_unreadable_id_counts_as_used_for_a_day_and_other_unreadable_rows_are_removed() {
    let mut object = Object::default();
    object.once(0, "t1", 1000, "r");
    object.fail(0, "a");
    object.slow_down(0);
    object.visit(0, "a", "vis_1", wide(), 0);
    object
        .rows
        .retain(|key, _| !key.starts_with('c') && !key.starts_with("n "));
    for value in object.rows.values_mut() {
        *value = "{".to_owned();
    }
    object.restart(0);
    assert_eq!(object.once(0, "t1", 5000, "r"), Once::Seen);
    let day = START + 86_400_000;
    let rows: Vec<_> = object.rows.clone().into_iter().collect();
    assert_eq!(rows, [("u t1".to_owned(), format!("[{day},\"\"]"))]);
    object.restart(9000);
    assert_eq!(object.once(86_400_000, "t1", 90_000_000, "r"), Once::Fresh);
}

#[test]
fn a_clock_that_goes_back_makes_no_hold_longer() {
    let mut object = Object::default();
    let alone = Policy {
        network_burst: None,
        ..wide()
    };
    let later = 31_536_000_000; // a year
    for _ in 0..3 {
        object.fail(later, "a");
    }
    object.slow_down(later);
    assert_eq!(object.ask(0, "a", alone, 1), held(HOLD, None));
    assert!(object.admitted(HOLD, "a", alone));
    let full = remaining(&object.ask(HOLD, "q", alone, 0));
    assert_eq!(
        full[0].1, 100,
        "the network's hold was not looked at before"
    );
    let full = remaining(&object.ask(2 * HOLD, "q", alone, 0));
    assert_eq!(full[0].1, 400);
}

#[test]
fn stored_holds_counts_and_ids_are_pinned() {
    let mut object = Object::default();
    object.once(0, "t1", 1000, "req_1");
    object.fail(0, "a");
    object.fail(5, "a");
    for _ in 0..3 {
        object.fail(0, "b");
    }
    object.visit(0, "x", "vis_0", wide(), 1);
    object.slow_down(0);
    object.visit(1, "x", "vis_7", wide(), 1);
    object.pardon(2, None);
    object.visit(2, "x", "vis_7", wide(), 1);
    let rows: Vec<String> = object
        .rows
        .iter()
        .filter(|(key, _)| !key.starts_with("c ") && !key.starts_with("n "))
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    assert_eq!(
        rows,
        [
            "f a [[1795237500000,1],[5,1]]",
            r#"h c b [1795238400000,900000,{"f":2}]"#,
            "u t1 [1795237501000,\"req_1\"]",
            "w 1a779d43b7a0a5f7 1795237500002",
        ]
    );
    let [hold] = ["h n"].map(|key| {
        object.slow_down(2);
        object.rows[key].clone()
    });
    assert_eq!(hold, r#"[1795238400002,900000,{"p":3}]"#);
}

#[test]
fn ten_thousand_networks_return_to_nothing() {
    let mut rows = 0;
    for n in 0..10_000u64 {
        let mut object = Object::default();
        object.visit(n, "a", "vis_1", policy(), 1);
        match n % 4 {
            0 => (0..3).for_each(|_| drop(object.fail(n, "a"))),
            1 => object.slow_down(n),
            2 => drop(object.once(n, "t", n + 5000, "r")),
            _ => {}
        }
        rows += object.rows.len();
        for _ in 0..9 {
            let Some(alarm) = object.alarm.take() else {
                break;
            };
            object.restart(alarm.0 - START);
            object.wake(alarm.0 - START);
        }
        assert!(object.rows.is_empty(), "{n}: {:?}", object.rows);
        assert_eq!(object.alarm, None);
    }
    assert!(rows > 30_000);
}

#[test]
fn the_configured_rules_are_bounded_and_can_be_turned_off() {
    let abuse = Abuse {
        principals_per_network: 5000,
        hold_seconds: 1,
        ..Abuse::default()
    };
    let watch = Watch::of(&abuse).unwrap();
    assert_eq!(
        (watch.principals, watch.failures, watch.hold),
        (1000, 20, Millis(1000))
    );
    let off = Abuse {
        enabled: false,
        ..abuse
    };
    assert_eq!(Watch::of(&off), None);
    // A count of 0 watches nothing.
    let mut limiter = Limiter::default();
    for _ in 0..50 {
        let command = Command::AuthFailed {
            client: "a".to_owned(),
            watch: Watch {
                failures: 0,
                ..WATCH
            },
        };
        let (reply, effects) = limiter.apply(Millis(START), command);
        assert_eq!(reply, Reply::Noted { alert: None });
        assert!(effects.writes.is_empty());
    }
    let said = Reason::AuthFailures(20).to_string();
    assert_eq!(said, "More than 20 refused credentials in ten minutes.");
    assert_eq!(Reason::Principals(1).rule(), "principals-per-network");
}
