//! How many bytes of documents a network or the whole site may keep: reservations that become holdings, and both fall
//! out by themselves when their time is over.
//!
//! One ledger is one object, so what is granted is exact under any number of parallel uploads.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

/// The name of the ledger of all documents of the site.
pub const SITE_LEDGER: &str = "docs-site";

/// The name of a network's ledger.
#[must_use]
pub fn network_ledger(network: &str) -> String {
    format!("docs-net-{network}")
}

/// The least that a document counts in a ledger: 64 KiB = 64 × 1024 bytes. It bounds the number of documents as well:
/// 500 MiB of a network are at most 8,000 of them, however small.
pub const MIN_CHARGE_BYTES: u64 = 65_536;

/// What content of that length counts.
#[must_use]
pub fn charge(bytes: u64) -> u64 {
    bytes.max(MIN_CHARGE_BYTES)
}

/// What may be asked of a ledger. Every command may be repeated without changing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Takes room, when `limit` bytes are not exceeded by it.
    Reserve {
        /// The document's id.
        id: String,
        /// How much.
        bytes: u64,
        /// What all entries together may be.
        limit: u64,
        /// When the reservation falls out.
        expires: Millis,
    },
    /// Turns a reservation into a holding of at most the same size.
    Settle {
        /// The document's id.
        id: String,
        /// How much it came to.
        bytes: u64,
        /// When the holding falls out.
        expires: Millis,
    },
    /// Gives room back.
    Release {
        /// The documents' ids; an unknown one is no error.
        ids: Vec<String>,
    },
}

/// What a ledger answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// There is not enough room.
    Full {
        /// Bytes that are taken.
        used: u64,
        /// Bytes that may be taken.
        limit: u64,
    },
    /// There is no such reservation (any more).
    Unknown,
}

/// One ledger: a row for each document that takes room.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
    by_expiry: BTreeSet<(Millis, String)>,
    used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    expires: Millis,
}

const ROW_PREFIX: &str = "entry/";

impl Machine for Ledger {
    type Command = Command;
    type Reply = Reply;

    fn load(_now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut ledger = Self::default();
        for (key, value) in rows {
            let id = key.strip_prefix(ROW_PREFIX);
            if let (Some(id), Ok(entry)) = (id, serde_json::from_str::<Entry>(&value)) {
                ledger.insert(id.to_owned(), entry);
            }
        }
        ledger
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let mut writes = self.expire(now);
        let reply = match command {
            Command::Reserve {
                id,
                bytes,
                limit,
                expires,
            } => self.reserve(id, Entry { bytes, expires }, limit, &mut writes),
            Command::Settle { id, bytes, expires } => self.settle(id, bytes, expires, &mut writes),
            Command::Release { ids } => {
                writes.extend(ids.iter().filter_map(|id| self.remove(id)));
                Reply::Done
            }
        };
        (reply, self.effects(writes))
    }

    fn wake(&mut self, now: Millis) -> Effects {
        let writes = self.expire(now);
        let effects = self.effects(writes);
        Effects {
            // The alarm that woke us is spent, even when it came too early.
            alarm: self.next_expiry(),
            ..effects
        }
    }
}

impl Ledger {
    fn reserve(&mut self, id: String, entry: Entry, limit: u64, writes: &mut Vec<Write>) -> Reply {
        if self.entries.contains_key(&id) {
            return Reply::Done;
        }
        if self.used.saturating_add(entry.bytes) > limit {
            return Reply::Full {
                used: self.used,
                limit,
            };
        }
        writes.extend(self.insert(id, entry));
        Reply::Done
    }

    fn settle(
        &mut self,
        id: String,
        bytes: u64,
        expires: Millis,
        writes: &mut Vec<Write>,
    ) -> Reply {
        let Some(reserved) = self.entries.get(&id).copied() else {
            return Reply::Unknown;
        };
        // Never more than was granted: the limit was checked for that much.
        let bytes = bytes.min(reserved.bytes);
        self.remove(&id);
        writes.extend(self.insert(id, Entry { bytes, expires }));
        Reply::Done
    }

    fn expire(&mut self, now: Millis) -> Vec<Write> {
        let mut writes = Vec::new();
        while let Some((_, id)) = self
            .by_expiry
            .first()
            .filter(|(expires, _)| *expires <= now)
            .cloned()
        {
            writes.extend(self.remove(&id));
        }
        writes
    }

    fn insert(&mut self, id: String, entry: Entry) -> Option<Write> {
        self.used = self.used.saturating_add(entry.bytes);
        self.by_expiry.insert((entry.expires, id.clone()));
        let write = Write {
            key: format!("{ROW_PREFIX}{id}"),
            value: Some(serde_json::to_string(&entry).ok()?),
        };
        self.entries.insert(id, entry);
        Some(write)
    }

    fn remove(&mut self, id: &str) -> Option<Write> {
        let entry = self.entries.remove(id)?;
        self.used = self.used.saturating_sub(entry.bytes);
        self.by_expiry.remove(&(entry.expires, id.to_owned()));
        Some(Write {
            key: format!("{ROW_PREFIX}{id}"),
            value: None,
        })
    }

    fn next_expiry(&self) -> Option<Millis> {
        self.by_expiry.first().map(|(expires, _)| *expires)
    }

    fn effects(&self, writes: Vec<Write>) -> Effects {
        if self.entries.is_empty() {
            return Effects {
                delete_all: !writes.is_empty(),
                ..Effects::default()
            };
        }
        Effects {
            alarm: self.next_expiry().filter(|_| !writes.is_empty()),
            writes,
            delete_all: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::{Command, Ledger, Reply};
    use crate::base::machine::{Effects, Machine};
    use crate::base::time::Millis;

    fn reserve(id: &str, bytes: u64, limit: u64, expires: u64) -> Command {
        Command::Reserve {
            id: id.into(),
            bytes,
            limit,
            expires: Millis(expires),
        }
    }

    fn settle(id: &str, bytes: u64, expires: u64) -> Command {
        Command::Settle {
            id: id.into(),
            bytes,
            expires: Millis(expires),
        }
    }

    fn release(id: &str) -> Command {
        Command::Release {
            ids: vec![id.into()],
        }
    }

    #[test]
    fn the_limit_is_exact_and_a_release_makes_room() {
        let mut ledger = Ledger::default();
        let mut ask = |command| ledger.apply(Millis(0), command).0;
        assert_eq!(ask(reserve("a", 60, 100, 50)), Reply::Done);
        assert_eq!(
            ask(reserve("b", 41, 100, 50)),
            Reply::Full {
                used: 60,
                limit: 100
            }
        );
        assert_eq!(ask(reserve("b", 40, 100, 50)), Reply::Done);
        assert_eq!(
            ask(reserve("c", 1, 100, 50)),
            Reply::Full {
                used: 100,
                limit: 100
            }
        );
        assert_eq!(ask(release("a")), Reply::Done);
        assert_eq!(ask(reserve("c", 60, 100, 50)), Reply::Done);
        assert_eq!(
            ask(reserve("huge", u64::MAX, 100, 50)),
            Reply::Full {
                used: 100,
                limit: 100
            }
        );
    }

    #[test]
    fn a_repeated_command_counts_once() {
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            assert_eq!(
                ledger.apply(Millis(0), reserve("a", 60, 100, 50)).0,
                Reply::Done
            );
        }
        for _ in 0..3 {
            assert_eq!(ledger.apply(Millis(0), settle("a", 10, 90)).0, Reply::Done);
        }
        assert_eq!(
            ledger.apply(Millis(0), reserve("b", 91, 100, 50)).0,
            Reply::Full {
                used: 10,
                limit: 100
            }
        );
        for _ in 0..3 {
            assert_eq!(ledger.apply(Millis(0), release("a")).0, Reply::Done);
        }
        assert_eq!(
            ledger.apply(Millis(0), reserve("b", 100, 100, 50)).0,
            Reply::Done
        );
    }

    #[test]
    fn a_settled_entry_never_grows() {
        let mut ledger = Ledger::default();
        ledger.apply(Millis(0), reserve("a", 60, 100, 50));
        ledger.apply(Millis(0), settle("a", 90, 90));
        assert_eq!(
            ledger.apply(Millis(0), reserve("b", 41, 100, 50)).0,
            Reply::Full {
                used: 60,
                limit: 100
            }
        );
    }

    #[test]
    fn entries_fall_out_at_their_time_and_not_before() {
        let mut ledger = Ledger::default();
        ledger.apply(Millis(0), reserve("a", 100, 100, 50));
        assert_eq!(
            ledger.apply(Millis(49), reserve("b", 1, 100, 99)).0,
            Reply::Full {
                used: 100,
                limit: 100
            }
        );
        assert_eq!(
            ledger.apply(Millis(50), settle("a", 1, 99)).0,
            Reply::Unknown
        );
        assert_eq!(
            ledger.apply(Millis(50), reserve("b", 100, 100, 99)).0,
            Reply::Done
        );
    }

    #[test]
    fn the_alarm_is_the_next_expiry_and_the_last_one_leaves_nothing() {
        let mut ledger = Ledger::default();
        assert_eq!(
            ledger.apply(Millis(0), reserve("a", 1, 9, 50)).1.alarm,
            Some(Millis(50))
        );
        assert_eq!(
            ledger.apply(Millis(0), reserve("b", 1, 9, 40)).1.alarm,
            Some(Millis(40))
        );
        let first = ledger.wake(Millis(40));
        assert_eq!(
            (first.alarm, first.writes.len(), first.delete_all),
            (Some(Millis(50)), 1, false)
        );
        let last = ledger.wake(Millis(50));
        assert_eq!((last.writes.len(), last.delete_all), (0, true));
        assert_eq!(ledger.wake(Millis(60)), Effects::default());
    }

    #[test]
    fn an_alarm_that_comes_too_early_is_set_again() {
        let mut ledger = Ledger::default();
        ledger.apply(Millis(0), reserve("a", 1, 9, 50));
        assert_eq!(ledger.wake(Millis(49)).alarm, Some(Millis(50)));
    }

    #[test]
    fn the_stored_form_is_pinned() {
        // A change here forgets who takes room: every quota would start empty.
        let rows = vec![("entry/file_1".into(), r#"{"bytes":70,"expires":50}"#.into())];
        let mut ledger = Ledger::load(Millis(0), rows);
        assert_eq!(
            ledger.apply(Millis(0), reserve("b", 31, 100, 50)).0,
            Reply::Full {
                used: 70,
                limit: 100
            }
        );
        let (_, effects) = ledger.apply(Millis(0), reserve("b", 30, 100, 60));
        assert_eq!(effects.writes[0].key, "entry/b");
        assert_eq!(
            effects.writes[0].value.as_deref(),
            Some(r#"{"bytes":30,"expires":60}"#)
        );
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let id = prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
        (id, 0u64..60, 0u64..40, any::<u8>()).prop_map(|(id, bytes, expires, kind)| {
            match kind % 4 {
                0 => release(id),
                1 => settle(id, bytes, expires),
                _ => reserve(id, bytes, 100, expires),
            }
        })
    }

    proptest! {
        #[test]
        fn never_over_the_limit_and_a_reload_changes_nothing(
            steps in proptest::collection::vec((any_command(), 0u64..3), 0..60),
        ) {
            let mut rows = BTreeMap::new();
            let mut ledger = Ledger::default();
            let mut now = Millis(0);
            for (command, passed) in steps {
                now = now.plus(Millis(passed));
                let mut reloaded = Ledger::load(now, rows.clone().into_iter().collect());
                let (reply, effects) = ledger.apply(now, command.clone());
                assert_eq!(reloaded.apply(now, command).0, reply);
                effects.clone().keep_in(&mut rows, &mut None);
                assert_eq!(ledger.used, ledger.entries.values().map(|entry| entry.bytes).sum::<u64>());
                assert!(ledger.used <= 100);
                assert_eq!(rows.len(), ledger.entries.len());
                assert_eq!(ledger.by_expiry.len(), ledger.entries.len());
            }
        }
    }
}
