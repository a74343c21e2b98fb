//! An owner's memory against a naive one: lists that are gone through from the start for every question. Storage fails at
//! every write, the machine is lost between calls, and time passes.

use std::cell::Cell;

use gatehouse::base::rows::{MemoryRows, Row, RowMachine, Rows, RowsFault, Scan, Step};
use gatehouse::base::time::Millis;
use gatehouse::domain::memory::command::{
    Command, Full, Key, Limits, Mark, Memory as Fact, NewItem, Once, Order, Reply, Trim,
};
use gatehouse::domain::memory::machine::Memory;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases::check;

// === the naive memory ===

#[derive(Clone, Debug, PartialEq)]
struct Said {
    id: String,
    append: u64,
    bytes: u64,
    mark: Mark,
}

#[derive(Clone, Debug)]
struct Talk {
    id: String,
    metadata: u64,
    used: u64,
    expires: u64,
    items: Vec<Said>,
    appends: u64,
    done: Vec<String>,
}

impl Talk {
    fn bytes(&self) -> u64 {
        self.metadata + self.items.iter().map(|item| item.bytes).sum::<u64>()
    }
}

#[derive(Clone, Debug, Default)]
struct Naive {
    talks: Vec<Talk>,
    facts: Vec<(String, u64, u64)>,
}

/// May the list be cut there?
fn may_cut(items: &[Said], at: usize) -> bool {
    let (gone, left) = items.split_at(at);
    let (Some(last), Some(first)) = (gone.last(), left.first()) else {
        return false;
    };
    let torn = gone.iter().any(|one| {
        one.mark.joint.is_some() && left.iter().any(|other| other.mark.joint == one.mark.joint)
    });
    first.mark.asks && !torn && !(last.mark.asks && last.append == first.append)
}

impl Naive {
    fn bytes(&self) -> u64 {
        let talks: u64 = self.talks.iter().map(Talk::bytes).sum();
        talks + self.facts.iter().map(|(_, bytes, _)| bytes).sum::<u64>()
    }

    fn talk(&mut self, id: &str, now: u64) -> Option<&mut Talk> {
        self.talks
            .iter_mut()
            .find(|talk| talk.id == id && now < talk.expires)
    }

    /// What the conversation's items are once there is room.
    fn with(
        &self,
        talk: &Talk,
        new: &[NewItem],
        given: bool,
        limits: &Limits,
    ) -> Result<Vec<Said>, Reply> {
        let mut all = talk.items.clone();
        for item in new {
            if all.iter().any(|one| one.id == item.id) {
                return Err(Reply::Taken);
            }
            all.push(Said {
                id: item.id.clone(),
                append: talk.appends,
                bytes: item.sealed.len() as u64,
                mark: item.mark.clone(),
            });
        }
        // The talk itself counts with its metadata, whether it is among the others already or not.
        let others: u64 = self.bytes()
            - self
                .talks
                .iter()
                .find(|one| one.id == talk.id)
                .map_or(0, Talk::bytes);
        let over = |items: &[Said]| {
            let bytes = talk.metadata + items.iter().map(|item| item.bytes).sum::<u64>();
            if items.len() > limits.items as usize {
                Some(Full::Items)
            } else if bytes > limits.conversation_bytes {
                Some(Full::Bytes)
            } else if others + bytes > limits.owner_bytes {
                Some(Full::Owner)
            } else {
                None
            }
        };
        let Some(limit) = over(&all) else {
            return Ok(all);
        };
        if limits.trim == Trim::Refuse {
            return if given {
                Ok(all)
            } else {
                Err(Reply::Full { limit })
            };
        }
        (1..=talk.items.len())
            .filter(|at| may_cut(&all, *at))
            .map(|at| all[at..].to_vec())
            .find(|left| over(left).is_none())
            .ok_or(Reply::Full { limit })
    }

    fn expire(&mut self, now: u64) {
        self.talks.retain(|talk| now < talk.expires);
        self.facts.retain(|(_, _, expires)| now < *expires);
    }
}

// === storage that fails ===

/// Rows of which one write fails.
struct Failing<'r> {
    rows: &'r mut MemoryRows,
    left: Cell<Option<u32>>,
}

impl Failing<'_> {
    fn write(&self) -> Result<(), RowsFault> {
        match self.left.get() {
            Some(0) => Err(RowsFault("full".into())),
            left => {
                self.left.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}

impl Rows for Failing<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RowsFault> {
        self.rows.get(key)
    }
    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Row>, RowsFault> {
        self.rows.scan(scan)
    }
    fn put(&mut self, key: &str, value: &[u8]) -> Result<(), RowsFault> {
        self.write()?;
        self.rows.put(key, value)
    }
    fn remove(&mut self, key: &str) -> Result<(), RowsFault> {
        self.write()?;
        self.rows.remove(key)
    }
    fn remove_all(&mut self, prefix: &str) -> Result<(), RowsFault> {
        self.write()?;
        self.rows.remove_all(prefix)
    }
}

// === what happens ===

#[derive(Clone, Debug)]
enum Deed {
    Create {
        id: u8,
        metadata: usize,
    },
    Append {
        id: u8,
        once: Option<u8>,
        items: Vec<(u8, u8, usize)>,
        given: bool,
    },
    Update {
        id: u8,
        metadata: usize,
    },
    Delete {
        id: u8,
    },
    DeleteItem {
        id: u8,
        item: u8,
    },
    Remember {
        id: u8,
        ttl: u64,
    },
    Unremember {
        id: u8,
    },
    Pass {
        time: u64,
    },
    Forget,
}

fn deeds() -> impl Strategy<Value = Deed> {
    let item = (0u8..60, 0u8..6, 1usize..60);
    prop_oneof![
        2 => (0u8..5, 0usize..40).prop_map(|(id, metadata)| Deed::Create { id, metadata }),
        8 => (0u8..5, proptest::option::of(0u8..9), vec(item, 0..5), any::<bool>())
            .prop_map(|(id, once, items, given)| Deed::Append { id, once, items, given }),
        1 => (0u8..5, 0usize..80).prop_map(|(id, metadata)| Deed::Update { id, metadata }),
        1 => (0u8..5).prop_map(|id| Deed::Delete { id }),
        2 => (0u8..5, 0u8..60).prop_map(|(id, item)| Deed::DeleteItem { id, item }),
        1 => (0u8..5, 1u64..90).prop_map(|(id, ttl)| Deed::Remember { id, ttl }),
        1 => (0u8..5).prop_map(|id| Deed::Unremember { id }),
        2 => (0u64..60).prop_map(|time| Deed::Pass { time }),
        1 => (0u8..8).prop_map(|n| if n == 0 { Deed::Forget } else { Deed::Pass { time: 1 } }),
    ]
}

/// The deed as a command. Items are said to the model, by it, or one of two calls or their outputs.
fn command(deed: &Deed, now: u64, limits: Limits) -> Option<Command> {
    let key = Key("key".into());
    let text = |length: usize| (length > 0).then(|| "m".repeat(length));
    let id_of = |id: &u8| format!("c{id}");
    Some(match deed {
        Deed::Pass { .. } => return None,
        Deed::Forget => Command::Forget,
        Deed::Create { id, metadata } => Command::Create {
            id: id_of(id),
            key,
            metadata: text(*metadata),
            items: Vec::new(),
            digest: metadata.to_string(),
            limits,
        },
        Deed::Update { id, metadata } => Command::Update {
            id: id_of(id),
            key,
            metadata: text(*metadata),
            limits,
        },
        Deed::Append {
            id,
            once,
            items,
            given,
        } => Command::Append {
            id: id_of(id),
            key,
            once: once.map(|key| Once {
                key: key.to_string(),
                digest: String::new(),
            }),
            items: items
                .iter()
                .map(|(item, kind, bytes)| NewItem {
                    id: format!("i{item}"),
                    sealed: "s".repeat(*bytes),
                    mark: Mark {
                        asks: *kind < 3,
                        joint: (*kind > 3).then(|| kind.to_string()),
                    },
                })
                .collect(),
            given: *given,
            limits,
        },
        Deed::Delete { id } => Command::Delete { id: id_of(id) },
        Deed::DeleteItem { id, item } => Command::DeleteItem {
            id: id_of(id),
            item: format!("i{item}"),
        },
        Deed::Remember { id, ttl } => Command::Remember {
            key,
            memory: Fact {
                id: format!("m{id}"),
                created: Millis(now),
                expires: Millis(now + ttl),
                sealed: "f".repeat(10),
            },
            limits,
        },
        Deed::Unremember { id } => Command::Unremember {
            id: format!("m{id}"),
        },
    })
}

/// The same in the naive memory. `None` for a reply that is only looked at for not being a refusal.
fn naively(naive: &mut Naive, now: u64, command: &Command) -> Option<Reply> {
    let told = |reply| Some(reply);
    match command.clone() {
        Command::Forget => {
            *naive = Naive::default();
            None
        }
        Command::Create {
            id,
            metadata,
            digest,
            limits,
            ..
        } => {
            let done = format!("created {digest}");
            if let Some(talk) = naive.talk(&id, now) {
                return if talk.done.contains(&done) {
                    None
                } else {
                    told(Reply::Conflict)
                };
            }
            naive.expire(now);
            if naive.talks.len() >= limits.conversations as usize {
                let limit = Full::Conversations;
                return told(Reply::Full { limit });
            }
            let talk = Talk {
                id,
                metadata: metadata.map_or(0, |m| m.len() as u64),
                used: now,
                expires: now + limits.ttl.0,
                items: Vec::new(),
                appends: 0,
                done: vec![done],
            };
            let items = naive.with(&talk, &[], false, &limits);
            match items {
                Err(refused) => return told(refused),
                Ok(_) => naive.talks.push(Talk { appends: 1, ..talk }),
            }
            None
        }
        Command::Append {
            id,
            once,
            items,
            given,
            limits,
            ..
        } => {
            let Some(talk) = naive.talk(&id, now).cloned() else {
                return told(Reply::NotFound);
            };
            if once
                .as_ref()
                .is_some_and(|once| talk.done.contains(&once.key))
            {
                return told(Reply::Done);
            }
            let twice = items
                .iter()
                .enumerate()
                .any(|(at, item)| items[..at].iter().any(|one| one.id == item.id));
            if twice {
                return told(Reply::Taken);
            }
            let left = match naive.with(&talk, &items, given, &limits) {
                Ok(left) => left,
                Err(refused) => return told(refused),
            };
            let talk = naive.talk(&id, now).unwrap();
            talk.items = left;
            talk.appends += 1;
            talk.done.extend(once.map(|once| once.key));
            talk.used = talk.used.max(now);
            talk.expires = talk.used + limits.ttl.0;
            told(Reply::Done)
        }
        Command::Update {
            id,
            metadata,
            limits,
            ..
        } => {
            let all = naive.bytes();
            let Some(talk) = naive.talk(&id, now) else {
                return told(Reply::NotFound);
            };
            let new = metadata.map_or(0, |m| m.len() as u64);
            let (own, old) = (talk.bytes(), talk.metadata);
            if new > old && all - old + new > limits.owner_bytes {
                return told(Reply::Full { limit: Full::Owner });
            }
            if new > old && own - old + new > limits.conversation_bytes {
                return told(Reply::Full { limit: Full::Bytes });
            }
            talk.metadata = new;
            talk.used = talk.used.max(now);
            talk.expires = talk.used + limits.ttl.0;
            None
        }
        Command::Delete { id } => {
            if naive.talk(&id, now).is_none() {
                return told(Reply::NotFound);
            }
            naive.talks.retain(|talk| talk.id != id);
            told(Reply::Done)
        }
        Command::DeleteItem { id, item } => {
            let Some(talk) = naive.talk(&id, now) else {
                return told(Reply::NotFound);
            };
            let Some(at) = talk.items.iter().position(|one| one.id == item) else {
                return told(Reply::NoItem);
            };
            talk.items.remove(at);
            None
        }
        Command::Remember { memory, limits, .. } => {
            let lives = |(id, _, expires): &&(String, u64, u64)| *id == memory.id && now < *expires;
            if naive.facts.iter().find(lives).is_some() {
                return told(Reply::Done);
            }
            naive.expire(now);
            let bytes = memory.sealed.len() as u64;
            let limit = if naive.facts.len() >= limits.memories as usize {
                Full::Memories
            } else if naive.bytes() + bytes > limits.owner_bytes {
                Full::Owner
            } else {
                naive.facts.push((memory.id, bytes, memory.expires.0));
                return told(Reply::Done);
            };
            told(Reply::Full { limit })
        }
        Command::Unremember { id } => {
            let at = |(one, _, expires): &(String, u64, u64)| *one == id && now < *expires;
            match naive.facts.iter().position(at) {
                None => told(Reply::NotFound),
                Some(at) => {
                    naive.facts.remove(at);
                    told(Reply::Done)
                }
            }
        }
        other => panic!("{other:?}"),
    }
}

// === both ===

/// What both hold, as questions tell it.
fn same(rows: &MemoryRows, naive: &Naive, now: u64) -> Result<(), TestCaseError> {
    let ask = |command: Command| {
        let mut asked = rows.clone();
        let (reply, step) = Memory.apply(&mut asked, Millis(now), command).unwrap();
        assert_eq!((&asked, step), (rows, Step::default()), "a question wrote");
        reply
    };
    let mut talks: Vec<&Talk> = naive.talks.iter().filter(|t| now < t.expires).collect();
    talks.sort_by(|a, b| (b.used, &b.id).cmp(&(a.used, &a.id)));
    // In pages of two.
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        match ask(Command::List { after, limit: 2 }) {
            Reply::Conversations {
                conversations,
                more,
                ..
            } => {
                listed.extend(conversations);
                if !more {
                    break;
                }
                after = listed.last().map(|one| one.id.clone());
            }
            other => panic!("{other:?}"),
        }
    }
    prop_assert_eq!(listed.len(), talks.len());
    for (one, talk) in listed.iter().zip(&talks) {
        prop_assert_eq!(&one.id, &talk.id);
        prop_assert_eq!(one.items as usize, talk.items.len());
        prop_assert_eq!(one.bytes, talk.bytes());
        prop_assert_eq!((one.used.0, one.expires.0), (talk.used, talk.expires));
        for order in [Order::Ascending, Order::Descending] {
            let (mut got, mut after) = (Vec::new(), None);
            loop {
                match ask(Command::Items {
                    id: talk.id.clone(),
                    after,
                    limit: 3,
                    order,
                }) {
                    Reply::Items { items, more, .. } => {
                        got.extend(items);
                        if !more {
                            break;
                        }
                        after = got.last().map(|item| item.id.clone());
                    }
                    other => panic!("{other:?}"),
                }
            }
            if order == Order::Descending {
                got.reverse();
            }
            let got: Vec<Said> = got
                .into_iter()
                .map(|item| Said {
                    id: item.id,
                    append: item.append,
                    bytes: item.sealed.len() as u64,
                    mark: item.mark,
                })
                .collect();
            prop_assert_eq!(&got, &talk.items);
        }
    }
    let Reply::Memories { memories, .. } = ask(Command::Memories) else {
        panic!("memories");
    };
    let facts = naive.facts.iter().filter(|(_, _, expires)| now < *expires);
    prop_assert_eq!(memories.len(), facts.count());
    Ok(())
}

#[test]
fn a_memory_is_what_a_naive_one_is_and_a_write_that_fails_undoes_the_step() {
    let limits = (
        1u32..5,
        1u32..4,
        2u32..12,
        60u64..400,
        100u64..900,
        20u64..200,
        any::<bool>(),
    )
        .prop_map(
            |(conversations, memories, items, conversation_bytes, owner_bytes, ttl, oldest)| {
                Limits {
                    conversations,
                    memories,
                    items,
                    conversation_bytes,
                    owner_bytes,
                    ttl: Millis(ttl),
                    trim: if oldest { Trim::Oldest } else { Trim::Refuse },
                }
            },
        );
    let stories = (
        limits,
        vec((deeds(), proptest::option::weighted(0.3, 0u32..30)), 1..60),
    );
    check(3000, &stories, |(limits, story)| {
        let (mut rows, mut naive, mut now) = (MemoryRows::default(), Naive::default(), 1_000);
        let mut alarm: Option<Millis> = None;
        for (deed, fails) in story {
            let before = rows.clone();
            let mut failing = Failing {
                rows: &mut rows,
                left: Cell::new(fails),
            };
            let done = match (&deed, command(&deed, now, limits)) {
                (_, Some(command)) => {
                    let mut after = naive.clone();
                    let expected = naively(&mut after, now, &command);
                    match Memory.apply(&mut failing, Millis(now), command) {
                        Err(_) => None,
                        Ok((reply, step)) => {
                            naive = after;
                            match expected {
                                Some(expected) => prop_assert_eq!(reply, expected),
                                None => {
                                    let told = matches!(
                                        reply,
                                        Reply::Conversation { .. } | Reply::Forgotten { .. }
                                    );
                                    prop_assert!(told, "{:?}", reply);
                                }
                            }
                            Some(step)
                        }
                    }
                }
                (Deed::Pass { time }, None) => {
                    now += time;
                    if alarm.is_none_or(|at| Millis(now) < at) {
                        continue;
                    }
                    let step = Memory.wake(&mut failing, Millis(now));
                    if step.is_ok() {
                        alarm = None;
                        naive.expire(now);
                    }
                    step.ok()
                }
                (deed, None) => panic!("{deed:?}"),
            };
            match done {
                None => rows = before,
                Some(step) => {
                    if step.delete_all {
                        rows = MemoryRows::default();
                        alarm = None;
                    }
                    alarm = step.alarm.or(alarm);
                }
            }
            // Whatever there is goes by itself.
            prop_assert_eq!(rows.0.is_empty(), alarm.is_none());
            let due = |at: u64| alarm.is_some_and(|alarm| alarm.0 <= at);
            prop_assert!(naive.talks.iter().all(|talk| due(talk.expires)));
            prop_assert!(naive.facts.iter().all(|(_, _, expires)| due(*expires)));
            same(&rows, &naive, now)?;
        }
        Ok(())
    });
}
