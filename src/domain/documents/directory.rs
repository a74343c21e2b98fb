//! Which owners there are and when each needs a visit: objects cannot be listed, so an owner is registered here before
//! its first write.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

/// The name of the directory of documents' owners.
pub const DOCUMENT_OWNERS: &str = "docs-owners";

/// The name of the directory of those who have conversations or memories.
pub const MEMORY_OWNERS: &str = "memory-owners";

/// The name of the directory of those who have vector stores.
pub const STORE_OWNERS: &str = "store-owners";

/// What may be asked of the directory. Every command may be repeated without changing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Something is about to be written for this owner.
    Register {
        /// The principal's id.
        owner: String,
        /// Visit it then, or earlier when that was planned already.
        due: Millis,
        /// Unique to this registration: a visit that began before it must not cancel it.
        mark: String,
    },
    /// Who needs a visit?
    Due {
        /// At most so many, the most urgent first.
        limit: u32,
    },
    /// A visit is over.
    Done {
        /// The principal's id.
        owner: String,
        /// The mark that [`Command::Due`] gave.
        mark: String,
        /// When to come again; `None` when the owner has nothing left.
        next_due: Option<Millis>,
    },
    /// Nothing is kept of this owner any more, and nothing will be.
    Leave {
        /// The principal's id.
        owner: String,
    },
}

/// What the directory answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// These need a visit.
    Due {
        /// The most urgent first.
        owners: Vec<Visit>,
    },
}

/// An owner that needs a visit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// The principal's id.
    pub owner: String,
    /// To be given back with [`Command::Done`].
    pub mark: String,
}

/// The directory: a row for each owner.
#[derive(Debug, Default)]
pub struct Directory {
    owners: BTreeMap<String, Entry>,
    by_due: BTreeSet<(Millis, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    due: Millis,
    mark: String,
}

const ROW_PREFIX: &str = "owner/";

/// When the owner of a row is to be visited, and its mark.
#[must_use]
pub fn read_row(value: &str) -> Option<(Millis, String)> {
    let entry: Entry = serde_json::from_str(value).ok()?;
    Some((entry.due, entry.mark))
}

/// A row as it is put back from a snapshot: everybody is visited soon. `None` for who is not to come back.
#[must_use]
pub fn restored(
    key: &str,
    value: String,
    now: Millis,
    is_erased: impl Fn(&str) -> bool,
) -> Option<String> {
    let Some(owner) = key.strip_prefix(ROW_PREFIX) else {
        return Some(value);
    };
    if is_erased(owner) {
        return None;
    }
    match serde_json::from_str::<Entry>(&value) {
        // Where nothing is due, nobody asks for it.
        Ok(entry) if entry.due > now => {
            let visited = Entry { due: now, ..entry };
            Some(serde_json::to_string(&visited).unwrap_or(value))
        }
        _ => Some(value),
    }
}

impl Machine for Directory {
    type Command = Command;
    type Reply = Reply;

    fn load(_now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut directory = Self::default();
        for (key, value) in rows {
            let owner = key.strip_prefix(ROW_PREFIX);
            if let (Some(owner), Ok(entry)) = (owner, serde_json::from_str::<Entry>(&value)) {
                directory.put(owner.to_owned(), entry);
            }
        }
        directory
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        match command {
            Command::Register { owner, due, mark } => {
                let due = self
                    .owners
                    .get(&owner)
                    .map_or(due, |entry| entry.due.min(due));
                (Reply::Done, self.put(owner, Entry { due, mark }))
            }
            Command::Due { limit } => (self.due(now, limit), Effects::default()),
            Command::Done {
                owner,
                mark,
                next_due,
            } => (Reply::Done, self.done(owner, &mark, next_due)),
            Command::Leave { owner } if self.owners.contains_key(&owner) => {
                (Reply::Done, self.remove(&owner))
            }
            Command::Leave { .. } => (Reply::Done, Effects::default()),
        }
    }

    /// Nothing is due by itself: visits are made by whoever asks.
    fn wake(&mut self, _now: Millis) -> Effects {
        Effects::default()
    }
}

impl Directory {
    fn due(&self, now: Millis, limit: u32) -> Reply {
        let owners = self
            .by_due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .filter_map(|(_, owner)| {
                let entry = self.owners.get(owner)?;
                Some(Visit {
                    owner: owner.clone(),
                    mark: entry.mark.clone(),
                })
            })
            .collect();
        Reply::Due { owners }
    }

    fn done(&mut self, owner: String, mark: &str, next_due: Option<Millis>) -> Effects {
        let Some(entry) = self.owners.get(&owner).cloned() else {
            return Effects::default();
        };
        let registered_meanwhile = entry.mark != mark;
        match next_due {
            Some(due) if registered_meanwhile => {
                let due = due.min(entry.due);
                self.put(owner, Entry { due, ..entry })
            }
            Some(due) => self.put(owner, Entry { due, ..entry }),
            None if registered_meanwhile => Effects::default(),
            None => self.remove(&owner),
        }
    }

    fn put(&mut self, owner: String, entry: Entry) -> Effects {
        let before = self.owners.insert(owner.clone(), entry.clone());
        if before.as_ref() == Some(&entry) {
            return Effects::default();
        }
        if let Some(before) = before {
            self.by_due.remove(&(before.due, owner.clone()));
        }
        self.by_due.insert((entry.due, owner.clone()));
        let writes = serde_json::to_string(&entry).ok().map(|value| Write {
            key: format!("{ROW_PREFIX}{owner}"),
            value: Some(value),
        });
        Effects {
            writes: writes.into_iter().collect(),
            ..Effects::default()
        }
    }

    fn remove(&mut self, owner: &str) -> Effects {
        if let Some(entry) = self.owners.remove(owner) {
            self.by_due.remove(&(entry.due, owner.to_owned()));
        }
        if self.owners.is_empty() {
            return Effects {
                delete_all: true,
                ..Effects::default()
            };
        }
        Effects {
            writes: vec![Write {
                key: format!("{ROW_PREFIX}{owner}"),
                value: None,
            }],
            ..Effects::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Directory, Reply, Visit};
    use crate::base::machine::{Effects, Machine};
    use crate::base::time::Millis;

    fn register(owner: &str, due: u64, mark: &str) -> Command {
        Command::Register {
            owner: owner.into(),
            due: Millis(due),
            mark: mark.into(),
        }
    }

    fn done(owner: &str, mark: &str, next_due: Option<u64>) -> Command {
        Command::Done {
            owner: owner.into(),
            mark: mark.into(),
            next_due: next_due.map(Millis),
        }
    }

    fn due(directory: &mut Directory, now: u64, limit: u32) -> Vec<(String, String)> {
        let (Reply::Due { owners }, effects) = directory.apply(Millis(now), Command::Due { limit })
        else {
            panic!("not a list");
        };
        assert_eq!(effects, Effects::default());
        owners
            .into_iter()
            .map(|Visit { owner, mark }| (owner, mark))
            .collect()
    }

    fn pair(owner: &str, mark: &str) -> (String, String) {
        (owner.into(), mark.into())
    }

    #[test]
    fn the_most_urgent_come_first_and_only_when_due() {
        let mut directory = Directory::default();
        for (owner, at) in [("a", 30), ("b", 10), ("c", 20)] {
            directory.apply(Millis(0), register(owner, at, "m"));
        }
        assert_eq!(due(&mut directory, 9, 10), []);
        assert_eq!(
            due(&mut directory, 20, 10),
            [pair("b", "m"), pair("c", "m")]
        );
        assert_eq!(due(&mut directory, 99, 2), [pair("b", "m"), pair("c", "m")]);
    }

    #[test]
    fn a_later_registration_never_delays_an_earlier_visit() {
        let mut directory = Directory::default();
        directory.apply(Millis(0), register("a", 10, "m1"));
        directory.apply(Millis(0), register("a", 90, "m2"));
        assert_eq!(due(&mut directory, 10, 10), [pair("a", "m2")]);
    }

    #[test]
    fn a_visit_does_not_cancel_what_was_registered_meanwhile() {
        let mut directory = Directory::default();
        directory.apply(Millis(0), register("a", 10, "m1"));
        assert_eq!(due(&mut directory, 10, 10), [pair("a", "m1")]);
        directory.apply(Millis(11), register("a", 50, "m2"));
        directory.apply(Millis(12), done("a", "m1", None));
        assert_eq!(due(&mut directory, 50, 10), [pair("a", "m2")]);
        directory.apply(Millis(12), done("a", "m1", Some(Millis(400).0)));
        assert_eq!(
            due(&mut directory, 50, 10),
            [pair("a", "m2")],
            "nor delay it"
        );
        directory.apply(Millis(51), done("a", "m2", Some(99)));
        assert_eq!(due(&mut directory, 98, 10), []);
        assert_eq!(due(&mut directory, 99, 10), [pair("a", "m2")]);
    }

    #[test]
    fn the_last_owner_leaves_nothing_behind() {
        let mut directory = Directory::default();
        directory.apply(Millis(0), register("a", 10, "m"));
        directory.apply(Millis(0), register("b", 10, "m"));
        let (_, first) = directory.apply(Millis(10), done("a", "m", None));
        assert_eq!((first.writes.len(), first.delete_all), (1, false));
        let (_, last) = directory.apply(Millis(10), done("b", "m", None));
        assert_eq!((last.writes.len(), last.delete_all), (0, true));
        assert_eq!(
            directory.apply(Millis(10), done("b", "m", None)).1,
            Effects::default()
        );
    }

    #[test]
    fn the_stored_form_is_pinned() {
        // A change here loses every owner: what they stored would never be removed.
        let rows = vec![(
            "owner/vis_1".to_owned(),
            r#"{"due":50,"mark":"m"}"#.to_owned(),
        )];
        let mut directory = Directory::load(Millis(0), rows.clone());
        assert_eq!(due(&mut directory, 50, 10), [pair("vis_1", "m")]);
        let (_, effects) = Directory::default().apply(Millis(0), register("vis_1", 50, "m"));
        assert_eq!(effects.writes[0].key, rows[0].0);
        assert_eq!(effects.writes[0].value.as_ref(), Some(&rows[0].1));
    }
}
