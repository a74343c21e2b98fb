use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Audited, Command, Drain, MAX_PENDING, Pending, Reply, Told};
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

/// Keeps a set of names; refuses `no`, takes the event offered with `note`, and is empty again after `clear`.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, String>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer(Option<String>);

impl Told for Answer {
    fn refused(&self) -> Option<&str> {
        self.0.as_deref().filter(|word| *word != "note")
    }

    fn takes(&self, offered: &str) -> Option<String> {
        (self.0.as_deref() == Some("note")).then(|| [offered, " taken"].concat())
    }
}

impl Machine for Names {
    type Command = String;
    type Reply = Answer;

    fn load(_: Millis, rows: Vec<(String, String)>) -> Self {
        assert!(rows.iter().all(|(key, _)| key.starts_with("n/")));
        Self(rows.into_iter().collect())
    }

    fn apply(&mut self, _: Millis, name: String) -> (Answer, Effects) {
        let mut effects = Effects::default();
        match name.as_str() {
            "note" => return (Answer(Some("note".into())), effects),
            "no" => return (Answer(Some("forbidden".into())), effects),
            "read" => {}
            "clear" => {
                self.0.clear();
                effects.delete_all = true;
            }
            _ => {
                let key = format!("n/{name}");
                if self.0.insert(key.clone(), String::new()).is_none() {
                    effects.alarm = Some(Millis(77));
                    effects.writes.push(Write {
                        key,
                        value: Some(String::new()),
                    });
                }
            }
        }
        (Answer(None), effects)
    }

    fn wake(&mut self, _: Millis) -> Effects {
        let writes = core::mem::take(&mut self.0).into_keys();
        Effects {
            writes: writes.map(|key| Write { key, value: None }).collect(),
            alarm: Some(Millis(99)),
            delete_all: false,
        }
    }
}

/// The shell: rows, and a machine that is dropped when persisting fails.
#[derive(Default)]
struct Object {
    rows: BTreeMap<String, String>,
    machine: Option<Audited<Names>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fails {
    No,
    NotWritten,
    ButWritten,
}

impl Object {
    fn machine(&mut self) -> &mut Audited<Names> {
        let rows = &self.rows;
        self.machine
            .get_or_insert_with(|| Audited::load(Millis(0), rows.clone().into_iter().collect()))
    }

    fn apply(&mut self, command: Command<String>, fails: Fails) -> Option<Reply<Answer>> {
        let (reply, effects) = self.machine().apply(Millis(0), command);
        if fails != Fails::NotWritten {
            self.persist(effects);
        }
        if fails != Fails::No {
            self.machine = None;
            return None;
        }
        Some(reply)
    }

    fn persist(&mut self, effects: Effects) {
        if effects.delete_all {
            self.machine = None;
        }
        effects.keep_in(&mut self.rows, &mut None);
    }

    fn told(&mut self, name: &str, id: &str) -> Option<Reply<Answer>> {
        self.apply(told(name, id), Fails::No)
    }

    fn pending(&mut self) -> Vec<Pending> {
        match self.apply(Command::Out(Drain::Pending(u32::MAX)), Fails::No) {
            Some(Reply::Out(pending)) => pending,
            other => panic!("{other:?}"),
        }
    }

    fn pending_ids(&mut self) -> Vec<String> {
        self.pending().into_iter().map(|p| p.id).collect()
    }
}

fn told(name: &str, id: &str) -> Command<String> {
    Command::Do {
        event: Some(format!("{{\"put\":\"{name}\"}}")),
        event_id: id.into(),
        offer: None,
        command: name.into(),
    }
}

fn ack(ids: &[&str]) -> Command<String> {
    Command::Out(Drain::Ack(ids.iter().map(|id| (*id).into()).collect()))
}

#[test]
fn a_change_and_its_event_are_written_together() {
    let mut object = Object::default();
    let (_, effects) = object.machine().apply(Millis(0), told("a", "e1"));
    let keys: Vec<_> = effects.writes.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(keys, ["n/a", "out/e1"]);
    assert_eq!(effects.alarm, Some(Millis(77)), "alarms pass through");
}

#[test]
fn reads_and_repetitions_leave_no_event_and_refusals_do() {
    let mut object = Object::default();
    object.told("a", "e1");
    object.told("read", "e2");
    object.told("a", "e3");
    object.told("no", "e4");
    let pending = object.pending();
    let told: Vec<_> = pending
        .iter()
        .map(|p| (p.id.as_str(), p.refused.as_deref()))
        .collect();
    assert_eq!(told, [("e1", None), ("e4", Some("forbidden"))]);
    assert_eq!(pending[0].event, r#"{"put":"a"}"#);
}

#[test]
fn an_unrecorded_command_leaves_no_event() {
    let mut object = Object::default();
    let command = Command::Do {
        event: None,
        event_id: String::new(),
        offer: None,
        command: "a".into(),
    };
    object.apply(command, Fails::No);
    assert!(object.pending().is_empty());
    assert!(object.rows.contains_key("n/a"));
}

#[test]
fn whatever_fails_there_is_no_change_without_its_event() {
    for fails in [Fails::NotWritten, Fails::ButWritten] {
        let mut object = Object::default();
        object.apply(told("a", "e1"), fails);
        assert_eq!(
            object.rows.contains_key("n/a"),
            object.rows.contains_key("out/e1")
        );
        // The caller repeats what it does not know.
        object.told("a", "e1");
        assert_eq!(object.pending_ids(), ["e1"]);
        object.apply(ack(&["e1"]), fails);
        object.apply(ack(&["e1"]), Fails::No);
        assert!(object.pending().is_empty());
        assert_eq!(object.rows.keys().collect::<Vec<_>>(), ["n/a"]);
    }
}

#[test]
fn events_keep_their_order_over_an_eviction() {
    let mut object = Object::default();
    for (name, id) in [("c", "z"), ("b", "y")] {
        object.told(name, id);
    }
    object.machine = None;
    object.told("a", "x");
    assert_eq!(object.pending_ids(), ["z", "y", "x"]);
    object.apply(ack(&["y", "unknown"]), Fails::No);
    assert_eq!(object.pending_ids(), ["z", "x"]);
}

#[test]
fn removing_everything_spares_the_events_that_wait() {
    let mut object = Object::default();
    object.told("a", "e1");
    object.told("clear", "e2");
    assert_eq!(object.rows.keys().collect::<Vec<_>>(), ["out/e1", "out/e2"]);
    object.machine = None;
    assert_eq!(object.pending_ids(), ["e1", "e2"]);
    object.apply(ack(&["e1", "e2"]), Fails::No);
    assert!(object.rows.is_empty());
    // Without waiting events it is passed on.
    let silent = Command::Do {
        event: None,
        event_id: String::new(),
        offer: None,
        command: "clear".into(),
    };
    assert!(object.machine().apply(Millis(0), silent).1.delete_all);
}

#[test]
fn what_waking_removes_is_not_removed_again() {
    let mut object = Object::default();
    object.told("a", "e1");
    let effects = object.machine().wake(Millis(0));
    assert_eq!(effects.alarm, Some(Millis(99)));
    object.persist(effects);
    let (_, effects) = object.machine().apply(Millis(0), told("clear", "e2"));
    let keys: Vec<_> = effects.writes.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(keys, ["out/e2"]);
}

#[test]
fn a_full_outbox_refuses_changes_and_nothing_else() {
    let mut object = Object::default();
    for i in 0..MAX_PENDING {
        object.told("no", &format!("e{i}"));
    }
    assert_eq!(object.told("a", "one more"), Some(Reply::Full));
    assert!(!object.rows.contains_key("n/a"));
    // The repetition of a command that is on record goes on.
    assert_ne!(object.told("no", "e7"), Some(Reply::Full));
    object.apply(ack(&["e7"]), Fails::No);
    assert_ne!(object.told("a", "one more"), Some(Reply::Full));
    assert_eq!(object.machine().waiting(), MAX_PENDING);
}

#[test]
fn an_event_that_cannot_be_read_still_waits() {
    let mut object = Object::default();
    object.rows.insert("out/e1".into(), "not json".into());
    let pending = object.pending();
    assert_eq!(
        (pending[0].id.as_str(), pending[0].event.as_str()),
        ("e1", "not json")
    );
}

fn offer(name: &str, id: &str) -> Command<String> {
    Command::Do {
        event: None,
        event_id: id.into(),
        offer: Some("offered".into()),
        command: name.into(),
    }
}

#[test]
fn an_offered_event_is_kept_as_the_machine_takes_it_and_only_then() {
    let mut object = Object::default();
    // A change alone keeps none, nor does a refusal.
    for (name, id) in [("a", "e1"), ("no", "e2"), ("read", "e3")] {
        let reply = object.apply(offer(name, id), Fails::No);
        assert!(matches!(reply, Some(Reply::Done(_))), "{name}: {reply:?}");
    }
    assert!(object.pending().is_empty());
    let reply = object.apply(offer("note", "e4"), Fails::No);
    assert!(matches!(reply, Some(Reply::Waits(_))), "{reply:?}");
    let pending = object.pending();
    assert_eq!(pending.len(), 1);
    assert_eq!(
        (
            pending[0].id.as_str(),
            pending[0].event.as_str(),
            &pending[0].refused
        ),
        ("e4", "offered taken", &None)
    );
}

#[test]
fn an_offered_event_is_kept_once_whatever_fails() {
    for fails in [Fails::NotWritten, Fails::ButWritten] {
        let mut object = Object::default();
        object.apply(offer("note", "e1"), fails);
        object.apply(offer("note", "e1"), Fails::No);
        assert_eq!(object.pending_ids(), ["e1"]);
    }
}

#[test]
fn whoever_offers_events_is_told_of_those_that_wait_once_a_minute() {
    let mut object = Object::default();
    let mut at = |now: u64, command| {
        let (reply, effects) = object.machine().apply(Millis(now), command);
        object.persist(effects);
        matches!(reply, Reply::Waits(_))
    };
    assert!(!at(0, offer("read", "e0")));
    assert!(at(0, offer("note", "e1")));
    assert!(!at(59_999, offer("read", "e2")));
    assert!(!at(60_000, told("b", "e3")), "who offers none is not told");
    assert!(at(60_000, offer("read", "e4")));
    assert!(!at(60_001, offer("read", "e5")));
    // A new one is told of at once, and a clock that went back does not keep it.
    assert!(at(60_002, offer("note", "e6")));
    assert!(at(0, offer("read", "e7")));
    at(1, ack(&["e1", "e3", "e6"]));
    assert!(!at(90_000, offer("read", "e8")));
}
