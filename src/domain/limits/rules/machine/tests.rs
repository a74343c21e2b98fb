use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Command, EPOCH_MARGIN, MAX_REVOKED, Reply, Rules};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::limits::access::{Access, Decision, DeniedBy};
use crate::domain::limits::network::Source;
use crate::domain::limits::rules::{Change, Level, MAX_ALERTS, Raise, Snapshot, State, Subject};
use crate::domain::settings::config::{Allowance, Limit, LimitClass};

const START: u64 = 1_795_237_500_000;
const HOUR: u64 = 3_600_000;

#[derive(Default)]
struct Object {
    rules: Rules,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
    writes: usize,
}

impl Object {
    fn persist(&mut self, effects: Effects) {
        assert!(!effects.delete_all);
        self.writes += effects.writes.len();
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn ask(&mut self, at: u64, command: Command) -> Reply {
        let (reply, effects) = self.rules.apply(Millis(START + at), command);
        self.persist(effects);
        reply
    }

    fn change(&mut self, at: u64, change: Change) -> Reply {
        self.ask(
            at,
            Command::Change {
                expect: None,
                change,
            },
        )
    }

    fn snapshot(&mut self) -> Snapshot {
        match self.ask(0, Command::Since(u64::MAX)) {
            Reply::Snapshot(snapshot) => *snapshot,
            other => panic!("{other:?}"),
        }
    }

    fn wake(&mut self, at: u64) {
        self.alarm = None;
        let effects = self.rules.wake(Millis(START + at));
        self.persist(effects);
    }

    fn restart(&mut self, at: u64) {
        self.rules = Rules::load(Millis(START + at), self.rows.clone().into_iter().collect());
    }
}

const SITE: &str = "pk_tst_0123456789ABCDEF";

fn parse(change: Value) -> Change {
    serde_json::from_value(change).unwrap()
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn block(until: u64) -> Value {
    json!({"what": {"cidr": "192.0.2.0/24"}, "until": START + until, "reason": "r", "by": "op_1"})
}

/// One change of each kind, with a change back to the default where there is one.
fn every_change() -> Vec<Value> {
    let limit = json!({"class": "chat", "burst": {"requests": 1, "seconds": 2}, "sustained": {"requests": 3, "seconds": 4}});
    vec![
        json!({"lists": {"deny": ["192.0.2.0/24"], "deny_asns": [64496]}}),
        json!({"lists": {"admin_allow": ["192.0.2.0/24"]}}),
        json!({"allowance": ["key/abc", {"concurrent": 2}]}),
        json!({"limit": ["limit/chat", limit]}),
        json!({"block": ["blk_1", block(HOUR)]}),
        json!({"revoke": ["vis_1", START + HOUR]}),
        json!({"site_key": [SITE, {"id": SITE, "n": "n", "o": ["https://example.org"], "on": true}]}),
        json!({"flag": ["dark", true]}),
    ]
}

#[test]
fn a_version_tells_whether_anything_changed_and_every_change_comes_back_with_its_undo() {
    let mut object = Object::default();
    assert!(matches!(object.ask(0, Command::Since(0)), Reply::Unchanged));
    let mut version = 0;
    for change in every_change() {
        let before = object.snapshot();
        let Reply::Changed { version: v, undo } = object.change(0, parse(change.clone())) else {
            panic!("{change}")
        };
        version += 1;
        assert_eq!(v, version);
        assert!(matches!(
            object.ask(0, Command::Since(version)),
            Reply::Unchanged
        ));
        assert!(matches!(
            object.ask(0, Command::Since(version - 1)),
            Reply::Snapshot(_)
        ));
        let after = object.snapshot();
        // Repeated, it changes nothing and writes nothing.
        let writes = object.writes;
        assert!(matches!(object.change(0, parse(change.clone())), Reply::Same(v) if v == version));
        assert_eq!(object.writes, writes);
        // Undone, all is as before but for the version; and the undo is undone by its own.
        let Reply::Changed { undo: redo, .. } = object.change(0, *undo.unwrap()) else {
            panic!("{change}")
        };
        version += 1;
        let expected = text(&Snapshot { version, ..before });
        assert_eq!(text(&object.snapshot()), expected);
        object.change(0, *redo.unwrap());
        version += 1;
        assert_eq!(
            text(&object.snapshot()),
            text(&Snapshot { version, ..after })
        );
        // What is stored is what is in memory.
        let memory = text(&object.snapshot());
        object.restart(0);
        assert_eq!(text(&object.snapshot()), memory);
    }
}

#[test]
fn the_stored_form_is_pinned_because_a_changed_one_would_lose_the_operators_rules() {
    let mut object = Object::default();
    for change in every_change() {
        object.change(0, parse(change));
    }
    object.change(0, parse(json!({"keyring": 7})));
    object.change(0, parse(json!({"revoke_all": START})));
    let rows: Vec<String> = object
        .rows
        .iter()
        .map(|(k, v)| format!("{k} {v}"))
        .collect();
    assert_eq!(
        rows,
        [
            r#"rules/admin ["192.0.2.0/24"]"#,
            r#"rules/b/blk_1 {"what":{"cidr":"192.0.2.0/24"},"until":1795241100000,"reason":"r","by":"op_1"}"#,
            "rules/f/dark true",
            "rules/head [10,1795237502000,7]",
            r#"rules/l/limit/chat {"class":"chat","countries":[],"burst":{"requests":1,"seconds":2},"sustained":{"requests":3,"seconds":4},"network_burst":null,"network_sustained":null}"#,
            r#"rules/lists {"allow":[],"deny":["192.0.2.0/24"],"allow_asns":[],"deny_asns":[64496],"allow_countries":[],"deny_countries":[]}"#,
            r#"rules/o/key/abc {"concurrent":2}"#,
            "rules/r/vis_1 1795241100000",
            r#"rules/s/pk_tst_0123456789ABCDEF {"id":"pk_tst_0123456789ABCDEF","n":"n","o":["https://example.org"],"on":true}"#,
        ]
    );
}

#[test]
fn a_change_of_rules_that_somebody_else_changed_is_a_conflict_unless_it_stands_already() {
    let mut object = Object::default();
    let flag = |on: bool| parse(json!({"flag": ["dark", on]}));
    let mut expecting = |expect, change| {
        object.ask(
            0,
            Command::Change {
                expect: Some(expect),
                change,
            },
        )
    };
    assert!(matches!(
        expecting(0, flag(true)),
        Reply::Changed { version: 1, .. }
    ));
    assert!(matches!(expecting(0, flag(false)), Reply::Conflict(1)));
    // The reply was lost and the change is repeated.
    assert!(matches!(expecting(0, flag(true)), Reply::Same(1)));
    assert!(matches!(
        expecting(1, flag(false)),
        Reply::Changed { version: 2, .. }
    ));
    assert!(!object.snapshot().is_on("dark"));
}

#[test]
fn what_cannot_be_is_refused_with_a_reason_and_changes_nothing() {
    let mut object = Object::default();
    let long = "x".repeat(1001);
    let limit = |class: &str, requests: u32| json!({"class": class, "burst": {"requests": requests, "seconds": 2}, "sustained": {"requests": 3, "seconds": 4}});
    for change in [
        json!({"lists": {"deny_asns": vec![1; 1001]}}),
        json!({"lists": {"admin_allow": vec!["192.0.2.1"; 1001]}}),
        json!({"allowance": ["key/", {"concurrent": 2}]}),
        json!({"allowance": ["nobody", {"concurrent": 2}]}),
        json!({"allowance": ["visitor", {"concurrent": 0}]}),
        json!({"limit": ["limit/chat", limit("read", 1)]}),
        json!({"limit": ["limit/chat", limit("chat", 0)]}),
        json!({"limit": ["limit/chat/ch", limit("chat", 1)]}),
        json!({"limit": ["chat", limit("chat", 1)]}),
        json!({"limit": ["limit/none", null]}),
        json!({"block": ["b", block(0)]}),
        json!({"block": ["", block(HOUR)]}),
        json!({"revoke": ["", START + HOUR]}),
        json!({"site_key": [SITE, {"id": SITE, "n": "n", "o": ["example.org"], "on": true}]}),
        json!({"flag": ["dark", 1]}),
        json!({"flag": ["dark", long]}),
    ] {
        let reply = object.change(0, parse(change.clone()));
        assert!(matches!(reply, Reply::Invalid(_)), "{change} {reply:?}");
    }
    assert_eq!((object.writes, object.snapshot().version), (0, 0));
    for n in 0..100 {
        object.change(0, parse(json!({"flag": [format!("f{n}"), true]})));
    }
    let one_more = object.change(0, parse(json!({"flag": ["one more", true]})));
    assert!(matches!(one_more, Reply::Full));
    let another_value = object.change(0, parse(json!({"flag": ["f1", false]})));
    assert!(matches!(another_value, Reply::Changed { .. }));
}

#[test]
fn blocks_hold_for_their_target_until_they_end_and_the_last_to_end_is_told() {
    let mut object = Object::default();
    let what = |what: Value, until: u64| json!({"what": what, "until": START + until, "reason": "r", "by": "op_1"});
    for (id, block) in [
        ("net", what(json!({"cidr": "192.0.2.0/24"}), 1000)),
        ("visitor", what(json!({"visitor": "vis_1"}), 2000)),
        ("key", what(json!({"key": "k1"}), 3000)),
    ] {
        object.change(0, parse(json!({"block": [id, block]})));
    }
    let rules = object.snapshot();
    let ends = |ip: &str, visitor, key, at: u64| {
        let source = Source::parse(Some(ip));
        let block = rules.block_for(&source, visitor, key, Millis(START + at));
        block.map(|block| block.until.0 - START)
    };
    assert_eq!(ends("192.0.2.9", None, None, 999), Some(1000));
    assert_eq!(ends("192.0.2.9", None, None, 1000), None);
    assert_eq!(ends("192.0.3.9", None, None, 0), None);
    assert_eq!(ends("192.0.2.9", Some("vis_1"), None, 0), Some(2000));
    assert_eq!(ends("192.0.3.9", Some("vis_2"), Some("k2"), 0), None);
    assert_eq!(ends("192.0.3.9", Some("k1"), Some("vis_1"), 0), None);
    assert_eq!(ends("", None, Some("k1"), 2999), Some(3000));
    // The alarm removes what is over, at most once a minute, and ends.
    assert_eq!(object.alarm, Some(Millis(START + 60_000)));
    object.wake(60_000);
    assert_eq!(object.alarm, None);
    assert_eq!(object.rows.keys().collect::<Vec<_>>(), ["rules/head"]);
}

#[test]
fn revoked_sessions_are_void_by_token_by_visitor_and_by_time() {
    let mut object = Object::default();
    object.change(0, parse(json!({"revoke": ["jti_1", START + HOUR]})));
    object.change(0, parse(json!({"revoke": ["vis_1", START + HOUR]})));
    let is_revoked = |object: &mut Object, token: &str, visitor: &str, at: u64| {
        object
            .snapshot()
            .is_revoked(token, visitor, Millis(START + at))
    };
    assert!(is_revoked(&mut object, "jti_1", "vis_9", 0));
    assert!(is_revoked(&mut object, "jti_9", "vis_1", 0));
    assert!(!is_revoked(&mut object, "jti_9", "vis_9", 0));
    // Over already: nothing to do.
    let late = object.change(HOUR, parse(json!({"revoke": ["jti_2", START + HOUR]})));
    assert!(matches!(late, Reply::Same(2)));
    let at = 5000;
    object.change(at, parse(json!({"revoke_all": START + at})));
    let margin = EPOCH_MARGIN.0;
    assert!(is_revoked(&mut object, "jti_9", "vis_9", at + margin));
    assert!(!is_revoked(&mut object, "jti_9", "vis_9", at + margin + 1));
    // An epoch neither goes back nor far ahead.
    let earlier = object.change(at, parse(json!({"revoke_all": START})));
    assert!(matches!(earlier, Reply::Same(_)));
    object.change(at, parse(json!({"revoke_all": u64::MAX})));
    assert!(!is_revoked(
        &mut object,
        "jti_9",
        "vis_9",
        at + 60_000 + margin + 1
    ));
}

#[test]
fn one_revocation_too_many_voids_every_session_rather_than_forgetting_one() {
    let mut object = Object::default();
    for n in 0..MAX_REVOKED {
        let until = START + if n < 10 { HOUR } else { 2 * HOUR };
        object.change(0, parse(json!({"revoke": [format!("jti_{n}"), until]})));
    }
    // First those that are over make room.
    object.change(HOUR, parse(json!({"revoke": ["x0", START + 2 * HOUR]})));
    let rules = object.snapshot();
    assert_eq!(
        (rules.revoked.len(), rules.epoch),
        (MAX_REVOKED - 9, Millis::ZERO)
    );
    assert_eq!(object.rows.len(), MAX_REVOKED - 9 + 1);
    for n in 1..=10 {
        object.change(
            HOUR,
            parse(json!({"revoke": [format!("x{n}"), START + 2 * HOUR]})),
        );
    }
    let rules = object.snapshot();
    assert_eq!(rules.revoked.keys().collect::<Vec<_>>(), ["x10"]);
    assert_eq!(rules.epoch, Millis(START + HOUR).plus(EPOCH_MARGIN));
    assert!(rules.is_revoked("jti_77", "-", Millis(START)));
    assert_eq!(object.rows.len(), 2);
    object.restart(HOUR);
    assert_eq!(text(&object.snapshot()), text(&rules));
}

#[test]
fn what_the_operator_set_stands_before_what_is_configured() {
    let mut object = Object::default();
    let limit = |requests: u32, countries: Value| json!({"class": "chat", "countries": countries, "burst": {"requests": requests, "seconds": 2}, "sustained": {"requests": 3, "seconds": 4}});
    let configured: Vec<Limit> =
        serde_json::from_value(json!([limit(1, json!(["CH", "DE"])), limit(2, json!([])),]))
            .unwrap();
    let chosen = |object: &mut Object, country: Option<&str>| {
        let rules = object.snapshot();
        let limit = rules.limit(LimitClass::Chat, country, &configured);
        limit.map(|limit| limit.burst.requests)
    };
    let all = |object: &mut Object| [None, Some("CH"), Some("FR")].map(|c| chosen(object, c));
    assert_eq!(all(&mut object), [Some(2), Some(1), Some(2)]);
    object.change(
        0,
        parse(json!({"limit": ["limit/chat", limit(3, json!([]))]})),
    );
    assert_eq!(all(&mut object), [Some(3), Some(1), Some(3)]);
    object.change(
        0,
        parse(json!({"limit": ["limit/chat/CH", limit(4, json!([]))]})),
    );
    object.change(
        0,
        parse(json!({"limit": ["limit/chat/FR", limit(5, json!([]))]})),
    );
    assert_eq!(all(&mut object), [Some(3), Some(4), Some(5)]);
    let rules = object.snapshot();
    assert!(rules.limit(LimitClass::Read, None, &configured).is_none());

    object.change(
        0,
        parse(json!({"allowance": ["tier/free", {"concurrent": 2}]})),
    );
    let rules = object.snapshot();
    let own = Allowance {
        concurrent: Some(9),
        ..Allowance::default()
    };
    assert_eq!(rules.allowance("tier/free", &own).concurrent, Some(2));
    assert_eq!(rules.allowance("tier/paid", &own).concurrent, Some(9));

    object.change(0, parse(json!({"lists": {"deny": ["192.0.2.7"]}})));
    let lists: Access = serde_json::from_value(json!({"allow": ["192.0.2.0/24"]})).unwrap();
    let source = Source::parse(Some("192.0.2.7"));
    let said = object.snapshot().access(&lists, &source, None, None);
    assert_eq!(said, Decision::Denied(DeniedBy::Address));

    let near = ["192.0.2.0/24".to_owned()];
    let far = ["198.51.100.0/24".to_owned()];
    let admin =
        |object: &mut Object, list: &[String]| object.snapshot().admin_allows(&source, list);
    assert!(admin(&mut object, &[]) && admin(&mut object, &near) && !admin(&mut object, &far));
    object.change(0, parse(json!({"lists": {"admin_allow": ["192.0.2.7"]}})));
    assert!(admin(&mut object, &far));
    object.change(0, parse(json!({"lists": {"admin_allow": ["192.0.2.8"]}})));
    // What is configured stays let in.
    assert!(admin(&mut object, &near) && !admin(&mut object, &far) && !admin(&mut object, &[]));
}

fn raise(kind: &str, name: &str, until: u64) -> Command {
    Command::Raise(Raise {
        kind: kind.to_owned(),
        subject: Subject {
            class: "Limiter".to_owned(),
            name: name.to_owned(),
            client: None,
        },
        reason: "because".to_owned(),
        level: Level::Warn,
        until: Millis(START + until),
    })
}

#[test]
fn an_alert_is_raised_once_for_a_hold_and_counted_up_while_it_lasts() {
    let mut object = Object::default();
    let raised = |object: &mut Object, at, kind, name, until| match object
        .ask(at, raise(kind, name, until))
    {
        Reply::Raised(id, new) => (id, new),
        other => panic!("{other:?}"),
    };
    assert_eq!(raised(&mut object, 0, "a", "x", 1000), (1, true));
    // Told twice: nothing is counted or written, even when the hold is over.
    let writes = object.writes;
    assert_eq!(raised(&mut object, 1500, "a", "x", 1000), (1, false));
    assert_eq!(object.writes, writes);
    assert_eq!(raised(&mut object, 999, "a", "x", 1999), (1, false));
    assert_eq!(raised(&mut object, 999, "a", "y", 1999), (2, true));
    assert_eq!(raised(&mut object, 999, "b", "x", 1999), (3, true));
    assert_eq!(raised(&mut object, 1999, "a", "x", 3000), (4, true));
    // An alert that was undone does not swallow the next one.
    let mark = |id, state| Command::Mark {
        id,
        state,
        by: "op_1".to_owned(),
    };
    assert!(matches!(
        object.ask(2000, mark(4, State::Undone)),
        Reply::Marked(State::Open)
    ));
    assert!(matches!(
        object.ask(2000, mark(9, State::Seen)),
        Reply::Unknown
    ));
    assert_eq!(raised(&mut object, 2000, "a", "x", 4000), (5, true));
    object.restart(2000);
    let list = |object: &mut Object, before, state, limit| {
        let command = Command::Alerts {
            before,
            state,
            limit,
        };
        match object.ask(0, command) {
            Reply::Alerts(alerts, more) => (
                alerts.iter().map(|a| (a.id, a.count)).collect::<Vec<_>>(),
                more,
            ),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        list(&mut object, None, None, 2),
        (vec![(5, 1), (4, 1)], true)
    );
    assert_eq!(
        list(&mut object, Some(4), None, 9),
        (vec![(3, 1), (2, 1), (1, 2)], false)
    );
    assert_eq!(
        list(&mut object, None, Some(State::Undone), 9),
        (vec![(4, 1)], false)
    );
    // Alerts are not rules.
    assert_eq!(object.snapshot().version, 0);
}

#[test]
fn the_newest_alerts_are_kept() {
    let mut object = Object::default();
    for n in 0..MAX_ALERTS + 5 {
        object.ask(0, raise("a", &n.to_string(), 1000));
    }
    assert_eq!(object.rows.len(), MAX_ALERTS);
    // In another order than that of the ids.
    let rows: Vec<_> = object.rows.clone().into_iter().rev().collect();
    object.rules = Rules::load(Millis(START), rows);
    let reply = object.ask(0, raise("b", "x", 1000));
    assert!(matches!(reply, Reply::Raised(id, true) if id == MAX_ALERTS as u64 + 6));
    assert!(!object.rows.contains_key("rules/a/00000000000000000006"));
    assert!(object.rows.contains_key("rules/a/00000000000000000007"));
}

#[test]
fn damaged_rows_are_named_and_what_was_void_stays_void() {
    let mut object = Object::default();
    for change in every_change() {
        object.change(0, parse(change));
    }
    for value in object.rows.values_mut() {
        *value = "{".to_owned();
    }
    object.restart(5000);
    let rules = object.snapshot();
    assert!(rules.version >= START, "a version that no isolate knows");
    assert!(
        rules.is_revoked("-", "-", Millis(START + 5000)),
        "the epoch is not known"
    );
    assert!(rules.is_revoked("-", "vis_1", Millis(u64::MAX)));
    assert_eq!(
        rules.damaged,
        [
            "rules/admin",
            "rules/b/blk_1",
            "rules/f/dark",
            "rules/l/limit/chat",
            "rules/lists",
            "rules/o/key/abc",
            "rules/s/pk_tst_0123456789ABCDEF"
        ]
    );
    // Loading again decides nothing anew, and a new value mends a row.
    object.restart(9000);
    assert_eq!(object.snapshot().epoch, rules.epoch);
    assert_eq!(object.snapshot().revoked, rules.revoked);
    object.change(9000, parse(json!({"flag": ["dark", true]})));
    assert_eq!(object.snapshot().damaged.len(), 6);
}
