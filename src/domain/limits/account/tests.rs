use std::collections::BTreeMap;

use super::alert::What;
use super::machine::{LONGEST, MAX_OPEN, SHORTEST, STILL};
use super::{Account, Alert, Back, Command, Limits, Rate, Reply, Take, Want, Watch};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, LimitName, Window};

mod isolate;

/// 2026-11-21T05:00:00Z, a full hour.
const START: u64 = 1_795_237_200_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;

const ONE: Want = Want {
    class: Class::Chat,
    requests: 1,
    tokens: 0,
    micros: 0,
    place: false,
};

fn window(requests: u32, per: u64) -> Option<Window> {
    Window::new(requests, Millis(per))
}

fn money(hour: u64) -> Limits {
    Limits {
        money: [Some(hour), None, None],
        ..Limits::default()
    }
}

fn dollars(micros: u64) -> Want {
    Want { micros, ..ONE }
}

#[derive(Default)]
struct Object {
    account: Account,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
}

impl Object {
    fn persist(&mut self, effects: Effects) {
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn ask(&mut self, at: u64, command: Command) -> Reply {
        let (reply, effects) = self.account.apply(Millis(START + at), command);
        self.persist(effects);
        reply
    }

    fn take(&mut self, at: u64, id: &str, want: Want, limits: Limits) -> Reply {
        self.ask(at, take(at, id, want, limits, 0))
    }

    fn taken(&mut self, at: u64, id: &str, want: Want, limits: Limits) -> bool {
        matches!(self.take(at, id, want, limits), Reply::Taken { .. })
    }

    fn settle(&mut self, at: u64, id: &str, tokens: u64, micros: u64) -> (bool, Vec<Alert>) {
        let id = id.to_owned();
        match self.ask(at, Command::Settle { id, tokens, micros }) {
            Reply::Done { known, alerts } => (known, alerts),
            reply => panic!("{reply:?}"),
        }
    }

    /// Spent and reserved in the hour, places, and open reservations.
    fn look(&mut self, at: u64) -> (u64, u64, u32, u32) {
        let class = Class::Chat;
        let limits = Limits::default();
        match self.ask(at, Command::Look { class, limits }) {
            Reply::Seen {
                spend,
                places,
                open,
                ..
            } => (spend[0].spent, spend[0].reserved, places, open),
            reply => panic!("{reply:?}"),
        }
    }

    fn wake(&mut self, at: u64) {
        let effects = self.account.wake(Millis(START + at));
        self.persist(effects);
    }

    fn restart(&mut self, at: u64) {
        let rows = self.rows.clone().into_iter().collect();
        self.account = Account::load(Millis(START + at), rows);
    }
}

fn take(at: u64, id: &str, want: Want, limits: Limits, ahead: u32) -> Command {
    take_with(at, id, want, limits, ahead, vec![])
}

fn take_with(
    at: u64,
    id: &str,
    want: Want,
    limits: Limits,
    ahead: u32,
    back: Vec<Back>,
) -> Command {
    Command::Take(Box::new(Take {
        id: id.to_owned(),
        want,
        limits,
        until: Millis(START + at + MINUTE),
        ahead,
        back,
    }))
}

fn refusal(reply: Reply) -> (u64, bool, Vec<LimitName>) {
    match reply {
        Reply::Refused {
            wait, forever, why, ..
        } => (wait.0, forever, why),
        reply => panic!("{reply:?}"),
    }
}

fn whats(alerts: &[Alert]) -> Vec<What> {
    alerts.iter().map(|alert| alert.what).collect()
}

// === Reservations ===

#[test]
fn all_windows_are_asked_before_any_is_spent() {
    let mut object = Object::default();
    let limits = Limits {
        burst: window(10, 10_000),
        sustained: window(10, 10_000),
        tokens: Rate::new(100, Millis(10_000)),
        places: Some(1),
        money: [Some(50), None, None],
        watch: None,
    };
    let want = Want {
        tokens: 60,
        micros: 30,
        place: true,
        ..ONE
    };
    assert!(object.taken(0, "a", want, limits));
    let before = object.rows.clone();
    let (wait, forever, mut why) = refusal(object.take(0, "b", want, limits));
    why.sort();
    let all = [
        LimitName::Tokens,
        LimitName::Concurrent,
        LimitName::HourBudget,
    ];
    // What is only reserved comes back soon: the tokens take longest.
    assert_eq!((wait, forever, why), (2000, false, all.to_vec()));
    assert_eq!(object.rows, before);
}

#[test]
fn more_than_a_whole_limit_is_refused_for_ever() {
    let mut object = Object::default();
    let (wait, forever, why) = refusal(object.take(0, "a", dollars(51), money(50)));
    assert_eq!((wait, forever, why), (0, true, vec![LimitName::HourBudget]));
    assert!(object.taken(0, "b", dollars(0), money(0)));
    let (_, forever, _) = refusal(object.take(0, "c", dollars(1), money(0)));
    assert!(forever);
}

#[test]
fn what_nobody_settles_stays_spent_and_frees_its_place() {
    let mut object = Object::default();
    let want = Want {
        place: true,
        ..dollars(40)
    };
    assert!(object.taken(0, "a", want, money(50)));
    assert_eq!(object.look(MINUTE - 1), (0, 40, 1, 1));
    assert_eq!(object.alarm, Some(Millis(START + MINUTE)));
    object.wake(MINUTE);
    assert_eq!(object.look(MINUTE), (40, 0, 0, 0));
    // A settlement that comes later changes nothing, whatever it says.
    assert!(!object.settle(MINUTE, "a", 0, 1).0);
    assert!(!object.settle(MINUTE, "a", 0, 99).0);
    assert_eq!(object.look(MINUTE), (40, 0, 0, 0));
}

#[test]
fn settling_refunds_the_window_in_which_it_was_reserved() {
    let mut object = Object::default();
    assert!(object.taken(HOUR - 10, "a", dollars(40), money(50)));
    assert!(object.taken(HOUR + 10, "b", dollars(50), money(50)));
    object.settle(HOUR + 20, "a", 0, 5);
    assert_eq!(object.look(HOUR + 20), (0, 50, 0, 1));
    assert!(!object.taken(HOUR + 20, "c", dollars(1), money(50)));
    assert!(object.settle(HOUR + 20, "b", 0, 20).0);
    assert!(!object.settle(HOUR + 20, "b", 0, 20).0);
    assert_eq!(object.look(HOUR + 20), (20, 0, 0, 0));
}

#[test]
fn more_than_was_reserved_is_booked_in_full_and_told() {
    let mut object = Object::default();
    let limits = Limits {
        tokens: Rate::new(100, Millis(1000)),
        ..money(1000)
    };
    let want = Want {
        tokens: 50,
        ..dollars(10)
    };
    assert!(object.taken(0, "a", want, limits));
    let (known, alerts) = object.settle(0, "a", 150, 30);
    assert_eq!((known, whats(&alerts)), (true, vec![What::Overrun]));
    assert_eq!((alerts[0].count, alerts[0].of), (30, 10));
    assert_eq!(object.look(0), (30, 0, 0, 0));
    // 150 of 100 tokens: one fits when 51 are back, at ten milliseconds each.
    let want = Want { tokens: 1, ..ONE };
    let (wait, _, why) = refusal(object.take(0, "b", want, limits));
    assert_eq!((wait, why), (510, vec![LimitName::Tokens]));
    // A count beyond all sense does not shut the account for ever.
    assert!(object.taken(510, "c", want, limits));
    object.settle(510, "c", u64::MAX, 0);
    let (wait, ..) = refusal(object.take(510, "d", want, limits));
    assert!(wait < 12_000, "{wait}");
}

#[test]
fn a_release_undoes_requests_too() {
    let mut object = Object::default();
    let limits = Limits {
        burst: window(2, 10_000),
        sustained: window(2, 10_000),
        ..Limits::default()
    };
    for n in 0..20 {
        assert!(object.taken(0, &n.to_string(), Want { requests: 2, ..ONE }, limits));
        object.restart(0);
        let id = n.to_string();
        object.ask(0, Command::Release { id: id.clone() });
        object.ask(0, Command::Release { id });
    }
    assert!(object.taken(0, "a", ONE, limits) && object.taken(0, "b", ONE, limits));
    assert!(!object.taken(0, "c", ONE, limits));
}

#[test]
fn requests_alone_leave_no_reservation_for_long() {
    let mut object = Object::default();
    let limits = Limits {
        burst: window(2, 10_000),
        ..Limits::default()
    };
    assert!(object.taken(0, "a", ONE, limits));
    assert_eq!(object.alarm, Some(Millis(START + SHORTEST.0)));
    assert_eq!(object.rows.len(), 2);
    object.wake(SHORTEST.0);
    object.wake(SHORTEST.0 + 1);
    assert!(object.rows.is_empty());
}

#[test]
fn beyond_ten_thousand_open_reservations_the_account_refuses_and_forgets_none() {
    let mut object = Object::default();
    for n in 0..MAX_OPEN {
        assert!(object.taken(0, &n.to_string(), dollars(1), money(1_000_000)));
    }
    let (wait, forever, why) = refusal(object.take(0, "x", dollars(1), money(1_000_000)));
    assert_eq!(
        (wait, forever, why),
        (1000, false, vec![LimitName::Overload])
    );
    assert!(object.taken(0, "17", dollars(1), money(1_000_000)));
    assert_eq!(object.look(0), (0, 10_000, 0, 10_000));
    object.settle(0, "17", 0, 1);
    assert!(object.taken(0, "x", dollars(1), money(1_000_000)));
}

// === Time and lost rows ===

#[test]
fn a_clock_that_trembles_at_midnight_opens_no_window_twice() {
    let mut object = Object::default();
    assert!(object.taken(HOUR - 1, "a", dollars(50), money(50)));
    assert!(object.taken(HOUR, "b", dollars(50), money(50)));
    let (wait, ..) = refusal(object.take(HOUR - 1, "c", dollars(1), money(50)));
    assert_eq!(wait, 1001, "b is only reserved");
    object.restart(HOUR - 1);
    assert!(!object.taken(HOUR - 1, "c", dollars(1), money(50)));
    assert!(!object.taken(HOUR, "c", dollars(1), money(50)));
}

#[test]
fn a_clock_that_goes_far_back_keeps_no_reservation_for_ever() {
    let mut object = Object::default();
    let year = 365 * 24 * HOUR;
    let want = Want {
        place: true,
        ..dollars(40)
    };
    assert!(object.taken(year, "a", want, money(50)));
    assert!(!object.taken(0, "b", dollars(11), money(50)));
    assert_eq!(object.alarm, Some(Millis(START + LONGEST.0)));
    object.restart(LONGEST.0);
    object.wake(LONGEST.0);
    assert_eq!(object.look(LONGEST.0).2, 0);
    // What was spent in a year's time counts until the next window is over, and no longer.
    assert!(object.taken(3 * HOUR + STILL.0, "c", dollars(50), money(50)));
}

#[test]
fn unreadable_rows_count_as_spent_from_then_on() {
    let mut object = Object::default();
    let limits = Limits {
        burst: window(4, 10_000),
        sustained: window(4, 10_000),
        tokens: Rate::new(100, Millis(10_000)),
        places: Some(1),
        ..money(50)
    };
    let want = Want {
        tokens: 10,
        place: true,
        ..dollars(10)
    };
    assert!(object.taken(0, "a", want, limits));
    for value in object.rows.values_mut() {
        *value = "{".to_owned();
    }
    object.restart(10);
    object.look(10);
    object.restart(20);
    let (wait, _, mut why) = refusal(object.take(20, "b", want, limits));
    why.sort();
    let all = [
        LimitName::Burst,
        LimitName::Sustained,
        LimitName::Tokens,
        LimitName::Concurrent,
        LimitName::HourBudget,
    ];
    assert_eq!((wait, why), (HOUR - 20, all.to_vec()));
    // Restarts do not begin the wait anew.
    object.restart(9000);
    let requests = Limits {
        burst: limits.burst,
        sustained: limits.sustained,
        ..Limits::default()
    };
    assert!(!object.taken(10_009, "c", ONE, requests));
    assert!(object.taken(10_010, "c", ONE, requests));
    object.wake(10 + LONGEST.0);
    assert!(object.taken(10 + LONGEST.0, "b", want, limits));
}

#[test]
fn an_idle_account_forgets_all_and_says_so() {
    let mut object = Object::default();
    let limits = Limits {
        sustained: window(4, 10_000),
        watch: Some(Watch {
            factor: 2,
            floor: 100,
            hold: Millis(1000),
        }),
        ..money(50)
    };
    assert!(object.taken(0, "a", dollars(50), limits));
    assert_eq!(object.rows.len(), 4);
    let mut wakes = 0;
    while let Some(alarm) = object.alarm.take() {
        wakes += 1;
        assert!(wakes < 6);
        object.restart(alarm.0 - START);
        object.wake(alarm.0 - START);
    }
    assert!(object.rows.is_empty());
}

// === Alerts and holds ===

#[test]
fn each_threshold_of_a_budget_is_told_once() {
    let mut object = Object::default();
    let mut told = vec![];
    for n in 0..10u64 {
        let at = HOUR / 2 + n;
        assert!(object.taken(at, &n.to_string(), dollars(10), money(100)));
        let (_, alerts) = object.settle(at, &n.to_string(), 0, 10);
        told.extend(alerts.iter().map(|alert| (n, alert.what)));
    }
    assert_eq!(told, [(4, What::Half), (7, What::Most), (9, What::All)]);
    let Reply::Refused { alerts, .. } = object.take(HOUR / 2, "x", dollars(1), money(100)) else {
        panic!()
    };
    assert_eq!(alerts, []);
}

#[test]
fn an_alert_whose_reply_was_lost_is_told_again_with_the_same_id() {
    let mut object = Object::default();
    assert!(object.taken(HOUR / 2, "a", dollars(60), money(100)));
    let (_, first) = object.settle(HOUR / 2, "a", 0, 60);
    object.restart(HOUR / 2);
    let (_, again) = object.settle(HOUR / 2, "a", 0, 60);
    assert_eq!((first.len(), &first), (1, &again));
    assert_eq!(first[0].id(), format!("half/hour-budget/{START}"));
    assert_eq!(
        first[0].reason(),
        "hour-budget: 50 % of the limit is spent (60 of 100 micro-dollars)"
    );
    object.take(HOUR / 2, "b", dollars(1), money(100));
    object.restart(HOUR / 2);
    assert_eq!(object.settle(HOUR / 2, "b", 0, 1).1, []);
}

#[test]
fn the_first_refusal_for_money_tells_that_the_budget_is_reached() {
    let mut object = Object::default();
    assert!(object.taken(HOUR / 2, "a", dollars(85), money(100)));
    object.settle(HOUR / 2, "a", 0, 85);
    for expected in [vec![What::All], vec![]] {
        let Reply::Refused { alerts, .. } = object.take(HOUR / 2, "b", dollars(50), money(100))
        else {
            panic!()
        };
        assert_eq!(whats(&alerts), expected);
    }
}

#[test]
fn what_is_only_reserved_refuses_for_a_moment_and_is_not_told_as_spent() {
    let mut object = Object::default();
    assert!(object.taken(HOUR / 2, "a", dollars(60), money(100)));
    let reply = object.take(HOUR / 2, "b", dollars(50), money(100));
    let Reply::Refused { wait, alerts, .. } = &reply else {
        panic!()
    };
    assert_eq!((*wait, whats(alerts)), (Millis(1000), vec![]));
    // The same call fits once the other one has ended.
    let (_, alerts) = object.settle(HOUR / 2 + 1, "a", 0, 40);
    assert_eq!(alerts, []);
    assert!(object.taken(HOUR / 2 + 1, "b", dollars(50), money(100)));
    // What is spent waits for the next window, and all of it is told when it is so.
    let (_, alerts) = object.settle(HOUR / 2 + 2, "b", 0, 60);
    assert!(whats(&alerts).contains(&What::All));
    let (wait, forever, _) = refusal(object.take(HOUR / 2 + 2, "c", dollars(1), money(100)));
    assert_eq!((wait, forever), (HOUR / 2 - 2, false));
    // The guess never reaches beyond the window.
    let mut object = Object::default();
    assert!(object.taken(HOUR - 10, "a", dollars(60), money(100)));
    let (wait, _, _) = refusal(object.take(HOUR - 10, "b", dollars(50), money(100)));
    assert_eq!(wait, 10);
}

#[test]
fn a_budget_that_ends_before_half_of_its_window_is_told_once() {
    let mut object = Object::default();
    for (n, (at, micros, expected)) in [
        // A fifth after one minute is steep, and too little to judge.
        (MINUTE, 20, vec![]),
        (2 * MINUTE, 10, vec![What::Slope]),
        (3 * MINUTE, 10, vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let id = n.to_string();
        assert!(object.taken(at, &id, dollars(micros), money(100)));
        assert_eq!(whats(&object.settle(at, &id, 0, micros).1), expected);
    }
    // 40 % after a quarter of the hour last until 37.5 minutes.
    let mut calm = Object::default();
    assert!(calm.taken(15 * MINUTE, "a", dollars(40), money(100)));
    assert_eq!(calm.settle(15 * MINUTE, "a", 0, 40).1, []);
    let mut steep = Object::default();
    assert!(steep.taken(11 * MINUTE, "a", dollars(40), money(100)));
    assert_eq!(
        whats(&steep.settle(11 * MINUTE, "a", 0, 40).1),
        [What::Slope]
    );
}

#[test]
fn a_sudden_rate_slows_the_account_down_and_a_pardon_ends_it() {
    let mut object = Object::default();
    let limits = Limits {
        burst: window(400, 60_000),
        watch: Some(Watch {
            factor: 10,
            floor: 20,
            hold: Millis(10 * MINUTE),
        }),
        ..Limits::default()
    };
    let mut told = vec![];
    let mut sent = 0;
    let mut burst = |object: &mut Object, at: u64, calls: u64| {
        for _ in 0..calls {
            sent += 1;
            match object.take(at, &sent.to_string(), ONE, limits) {
                Reply::Taken { alerts, .. } => told.extend(alerts),
                reply => panic!("{reply:?}"),
            }
        }
    };
    // 16 a minute for a while: the average comes near to 16, and ten times that is far.
    for minute in 0..60 {
        burst(&mut object, minute * MINUTE, 16);
    }
    burst(&mut object, 60 * MINUTE, 99);
    assert_eq!(object.look(60 * MINUTE).3, 99);
    burst(&mut object, 62 * MINUTE, 230);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].what, What::Sudden);
    assert_eq!(told[0].until, Some(Millis(START + 72 * MINUTE)));
    assert!(told[0].of > 150 && told[0].count == told[0].of, "{told:?}");
    let Reply::Taken { status, .. } = object.take(64 * MINUTE, "x", ONE, limits) else {
        panic!()
    };
    assert_eq!(status[0].quota, 100);
    let pardon = object.ask(64 * MINUTE, Command::Pardon);
    assert_eq!(
        pardon,
        Reply::Done {
            known: true,
            alerts: vec![]
        }
    );
    let Reply::Taken { status, .. } = object.take(64 * MINUTE, "y", ONE, limits) else {
        panic!()
    };
    assert_eq!(status[0].quota, 400);
}

#[test]
fn a_hold_blocks_until_it_ends_and_survives_a_restart() {
    let mut object = Object::default();
    let hold = |until: u64, slow| Command::Hold {
        until: Millis(START + until),
        slow,
        reason: "asked by hand".to_owned(),
    };
    object.ask(0, hold(5000, false));
    object.restart(1);
    let (wait, _, why) = refusal(object.take(1, "a", ONE, Limits::default()));
    assert_eq!((wait, why), (4999, vec![LimitName::Hold]));
    assert!(object.taken(5000, "a", ONE, Limits::default()));
    object.ask(5000, hold(9000, true));
    // Money is as before, and so are requests that nothing limits or watches.
    assert!(object.taken(6000, "b", dollars(50), money(50)));
    // Watched ones are a quarter of what is never sudden: 3 in a minute.
    let watched = Limits {
        watch: Some(Watch {
            factor: 10,
            floor: 12,
            hold: Millis(MINUTE),
        }),
        ..Limits::default()
    };
    let mut quiet = Object::default();
    quiet.ask(0, hold(30_000, true));
    for id in ["x", "y", "z"] {
        assert!(quiet.taken(0, id, ONE, watched));
    }
    let (wait, _, why) = refusal(quiet.take(0, "w", ONE, watched));
    assert_eq!((wait, why), (20_000, vec![LimitName::Burst]));
    assert!(quiet.taken(30_000, "w", ONE, watched));
    let limits = Limits {
        sustained: window(8, 60_000),
        ..Limits::default()
    };
    assert!(object.taken(6000, "c", ONE, limits) && object.taken(6000, "d", ONE, limits));
    let (wait, _, why) = refusal(object.take(6000, "e", ONE, limits));
    assert_eq!((wait, why), (3000, vec![LimitName::Sustained]));
    assert!(object.taken(9000, "e", ONE, limits));
}

#[test]
fn commands_and_replies_are_short_in_json() {
    let json = r#"{"take":{"i":"r1","w":{"c":"chat","r":1,"t":0,"m":5,"p":false},"l":{"m":[50,null,null]},"u":1795237260000,"a":0}}"#;
    let command = take(0, "r1", dollars(5), money(50), 0);
    assert_eq!(serde_json::to_string(&command).unwrap(), json);
    assert_eq!(serde_json::from_str::<Command>(json).unwrap(), command);
    let mut object = Object::default();
    for id in ["a", "a", "b", "c"] {
        let reply = object.take(0, id, dollars(40), money(50));
        let json = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&json).unwrap(), reply);
    }
    let rows: Vec<_> = object
        .rows
        .iter()
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    // Pinned, because changed forms would be read as lost.
    assert_eq!(
        rows,
        [
            r#"acct/r/a {"s":1795237200000,"u":1795237260000,"m":[40,[1,2,3]]}"#,
            r#"acct/t {"s":1795237200000,"t":{"m":0,"p":0,"o":0,"l":0},"m":[[{"n":1,"s":1795237200000,"u":40,"l":50,"a":0}],[{"n":2,"s":1795219200000,"u":40,"a":0}],[{"n":3,"s":1793491200000,"u":40,"a":0}]]}"#,
        ]
    );
}
