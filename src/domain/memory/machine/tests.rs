//! Stories of the machine; `tests/models/memory.rs` holds it against a naive one.

use super::Memory;
use crate::base::rows::{MemoryRows, RowMachine, Step};
use crate::base::time::Millis;
use crate::domain::memory::command::{
    Command, Full, Key, Limits, Mark, Memory as Fact, NewItem, Once, Order, Reply, Trim,
};

const LIMITS: Limits = Limits {
    conversations: 3,
    memories: 2,
    items: 6,
    conversation_bytes: 1000,
    owner_bytes: 2000,
    ttl: Millis(1000),
    trim: Trim::Oldest,
};

/// A memory and its rows, at a time.
#[derive(Default)]
struct House {
    rows: MemoryRows,
    now: Millis,
    alarm: Option<Millis>,
    limits: Option<Limits>,
}

impl House {
    fn ask(&mut self, command: Command) -> Reply {
        // A machine of its own each time: nothing of it is in memory alone.
        let (reply, step) = Memory.apply(&mut self.rows, self.now, command).unwrap();
        self.keep(step);
        reply
    }

    fn keep(&mut self, step: Step) {
        if step.delete_all {
            self.rows = MemoryRows::default();
            self.alarm = None;
        }
        self.alarm = step.alarm.or(self.alarm);
    }

    fn pass(&mut self, to: u64) {
        self.now = Millis(to);
        if self.alarm.is_some_and(|at| at <= self.now) {
            self.alarm = None;
            let step = Memory.wake(&mut self.rows, self.now).unwrap();
            self.keep(step);
        }
    }

    fn limits(&self) -> Limits {
        self.limits.unwrap_or(LIMITS)
    }

    fn create(&mut self, id: &str) -> Reply {
        let limits = self.limits();
        self.ask(Command::Create {
            id: id.into(),
            key: key(),
            metadata: Some("title".into()),
            items: Vec::new(),
            digest: String::new(),
            limits,
        })
    }

    fn append(&mut self, id: &str, once: &str, items: Vec<NewItem>) -> Reply {
        let limits = self.limits();
        self.ask(Command::Append {
            id: id.into(),
            key: key(),
            once: Some(Once {
                key: once.into(),
                digest: String::new(),
            }),
            items,
            given: true,
            limits,
        })
    }

    fn ids(&mut self, id: &str) -> Vec<String> {
        let command = Command::Items {
            id: id.into(),
            after: None,
            limit: 100,
            order: Order::Ascending,
        };
        match self.ask(command) {
            Reply::Items { items, .. } => items.into_iter().map(|item| item.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn listed(&mut self) -> Vec<String> {
        let command = Command::List {
            after: None,
            limit: 100,
        };
        match self.ask(command) {
            Reply::Conversations { conversations, .. } => {
                conversations.into_iter().map(|one| one.id).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn key() -> Key {
    Key("key".into())
}

fn item(id: &str) -> NewItem {
    NewItem {
        id: id.into(),
        sealed: "x".repeat(10),
        mark: Mark {
            asks: id.starts_with('u'),
            joint: id.strip_prefix("call").map(|_| "call".into()),
        },
    }
}

fn items<const N: usize>(ids: [&str; N]) -> Vec<NewItem> {
    ids.into_iter().map(item).collect()
}

#[test]
fn whoever_only_asks_makes_no_rows() {
    let mut house = House::default();
    let get = Command::Get { id: "c".into() };
    let after = Command::List {
        after: Some("c".into()),
        limit: 1,
    };
    for (command, expected) in [
        (Command::Key, Reply::Key { key: None }),
        (get, Reply::NotFound),
        (after, Reply::NotFound),
        (Command::Delete { id: "c".into() }, Reply::NotFound),
    ] {
        assert_eq!(house.ask(command), expected);
    }
    assert_eq!(house.append("c", "r", items(["u1"])), Reply::NotFound);
    assert_eq!(house.listed(), [""; 0]);
    assert_eq!((house.rows.0.len(), house.alarm), (0, None));
}

#[test]
fn conversations_are_listed_by_last_use_and_go_when_it_is_long_ago() {
    let mut house = House::default();
    for (now, id) in [(0, "c1"), (1, "c2"), (2, "c3")] {
        house.now = Millis(now);
        assert!(matches!(house.create(id), Reply::Conversation { .. }));
    }
    assert_eq!(house.listed(), ["c3", "c2", "c1"]);
    let full = Reply::Full {
        limit: Full::Conversations,
    };
    assert_eq!(house.create("c4"), full);
    house.pass(500);
    assert_eq!(house.append("c1", "r", items(["u1", "a1"])), Reply::Done);
    assert_eq!(house.listed(), ["c1", "c3", "c2"]);
    // The alarm was set for what was oldest then.
    assert_eq!(house.alarm, Some(Millis(1000)));
    // Over, although nobody has removed it yet.
    house.now = Millis(1001);
    assert_eq!(house.listed(), ["c1", "c3"]);
    assert!(matches!(house.create("c4"), Reply::Conversation { .. }));
    house.pass(1002);
    assert_eq!(house.listed(), ["c4", "c1"]);
    house.pass(1500);
    assert_eq!(house.listed(), ["c4"]);
    assert_eq!(house.alarm, Some(Millis(2001)));
    house.pass(2001);
    assert_eq!((house.rows.0.len(), house.alarm), (0, None));
}

#[test]
fn the_first_key_counts_and_goes_with_the_last_row() {
    let mut house = House::default();
    house.create("c1");
    let other = |id: &str| Command::Create {
        id: id.into(),
        key: Key("other".into()),
        metadata: None,
        items: Vec::new(),
        digest: String::new(),
        limits: LIMITS,
    };
    assert_eq!(house.ask(other("c2")), Reply::Other { key: key() });
    assert_eq!(house.listed(), ["c1"]);
    assert_eq!(house.ask(Command::Delete { id: "c1".into() }), Reply::Done);
    assert_eq!(house.rows.0.len(), 0);
    assert!(matches!(house.ask(other("c2")), Reply::Conversation { .. }));
}

#[test]
fn an_append_is_done_once() {
    let mut house = House::default();
    house.create("c");
    assert_eq!(house.append("c", "r1", items(["u1", "a1"])), Reply::Done);
    let after = house.rows.clone();
    house.now = Millis(10);
    assert_eq!(house.append("c", "r1", items(["u1", "a1"])), Reply::Done);
    assert_eq!(house.rows, after);
    assert_eq!(house.append("c", "r2", items(["u2", "u1"])), Reply::Taken);
    assert_eq!(house.append("c", "r2", items(["u2", "u2"])), Reply::Taken);
    assert_eq!(house.rows, after);
}

#[test]
fn the_oldest_turns_make_room_and_a_call_goes_with_its_output() {
    let mut house = House::default();
    house.create("c");
    house.append("c", "r1", items(["u1", "call1"]));
    house.append("c", "r2", items(["call2", "a2"]));
    house.append("c", "r3", items(["u3", "a3"]));
    assert_eq!(house.append("c", "r4", items(["u4"])), Reply::Done);
    assert_eq!(house.ids("c"), ["u3", "a3", "u4"]);
    // More than there may be at all.
    let many = ["u5", "a5", "b5", "c5", "d5", "e5", "f5"];
    let full = |limit| Reply::Full { limit };
    assert_eq!(house.append("c", "r5", items(many)), full(Full::Items));
    assert_eq!(house.ids("c"), ["u3", "a3", "u4"]);
    let mut long = item("u6");
    long.sealed = "x".repeat(996);
    assert_eq!(
        house.append("c", "r6", vec![long.clone()]),
        full(Full::Bytes)
    );
    long.sealed = "x".repeat(980);
    assert_eq!(house.append("c", "r6", vec![long]), Reply::Done);
    assert_eq!(house.ids("c"), ["u4", "u6"]);
}

#[test]
fn a_full_conversation_can_refuse_but_not_an_answer_that_was_given() {
    let limits = Limits {
        trim: Trim::Refuse,
        ..LIMITS
    };
    let mut house = House {
        limits: Some(limits),
        ..House::default()
    };
    house.create("c");
    house.append("c", "r1", items(["u1", "a1", "u2", "a2"]));
    let append = Command::Append {
        id: "c".into(),
        key: key(),
        once: None,
        items: items(["u3", "a3", "b3"]),
        given: false,
        limits,
    };
    let full = Reply::Full { limit: Full::Items };
    assert_eq!(house.ask(append), full);
    assert_eq!(
        house.append("c", "r2", items(["u3", "a3", "b3"])),
        Reply::Done
    );
    assert_eq!(house.ids("c").len(), 7);
}

#[test]
fn memories_are_few_expire_and_can_be_deleted() {
    let mut house = House::default();
    let remember = |id: &str, expires| Command::Remember {
        key: key(),
        memory: Fact {
            id: id.into(),
            created: Millis(0),
            expires: Millis(expires),
            sealed: "sealed".into(),
        },
        limits: LIMITS,
    };
    let ids = |house: &mut House| match house.ask(Command::Memories) {
        Reply::Memories { memories, .. } => {
            let ids: Vec<String> = memories.into_iter().map(|memory| memory.id).collect();
            ids.join(" ")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(ids(&mut house), "");
    assert_eq!(house.ask(remember("m1", 100)), Reply::Done);
    assert_eq!(house.ask(remember("m2", 200)), Reply::Done);
    // Once more is no more.
    assert_eq!(house.ask(remember("m2", 300)), Reply::Done);
    let full = Reply::Full {
        limit: Full::Memories,
    };
    assert_eq!(house.ask(remember("m3", 100)), full);
    assert_eq!(ids(&mut house), "m2 m1");
    house.now = Millis(100);
    assert_eq!(ids(&mut house), "m2");
    assert_eq!(house.ask(remember("m3", 300)), Reply::Done);
    let delete = Command::Unremember { id: "m3".into() };
    assert_eq!(house.ask(delete.clone()), Reply::Done);
    assert_eq!(house.ask(delete), Reply::NotFound);
    house.pass(200);
    assert_eq!((house.rows.0.len(), house.alarm), (0, None));
}
