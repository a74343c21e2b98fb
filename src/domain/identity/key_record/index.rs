//! The ids of a tenant's keys, so that they can be listed. Rows: `key/<id>`.
//!
//! Whoever is about to change a key puts it here first, and whoever is about to deliver an event of a key's use says so
//! here. The entry then tells that an event may wait in the key's own object, which nobody would find otherwise when its
//! delivery failed.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

/// Keys of one tenant, revoked ones included; beyond them no key can be made.
pub const MAX_KEYS: usize = 10_000;
/// Entries of one page.
const MAX_PAGE: usize = 200;
const ROWS: &str = "key/";

/// A key in the list. The truth is in its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key's id.
    pub id: String,
    /// Its name.
    #[serde(rename = "n")]
    pub name: String,
    /// When it was made.
    #[serde(rename = "c")]
    pub created: Millis,
    /// Id of the operator who made it.
    #[serde(rename = "b")]
    pub created_by: String,
    /// When it was revoked.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Millis>,
    /// When it was last put here or said to have one, as long as an event may wait in the key's object.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Millis>,
}

/// What may be asked of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexCommand {
    /// Notes a key, or what changed of it: `Noted`, or `Full`. A revocation once noted stays; [`Entry::waits`] is now.
    #[serde(rename = "put")]
    Put(Entry),
    /// An event waits in that key's object: `Noted`. A key that is not listed is not listed by it.
    #[serde(rename = "wait")]
    Wait {
        /// Its id.
        id: String,
    },
    /// Forgets a key that was never made after all: `Noted`.
    #[serde(rename = "drop")]
    Drop {
        /// Its id.
        id: String,
    },
    /// The newest keys, or those after a cursor: `Page`.
    #[serde(rename = "page")]
    Page {
        /// `next` of the page before.
        #[serde(rename = "a")]
        after: Option<String>,
        /// At most 200 are given.
        #[serde(rename = "n")]
        limit: usize,
    },
    /// Keys in whose objects events may wait, at most so many: `Waiting`.
    #[serde(rename = "waits")]
    Waiting(usize),
    /// Nothing waits in these objects any more, unless they were put again since (id, [`Entry::waits`]): `Noted`.
    #[serde(rename = "settled")]
    Settled(Vec<(String, Millis)>),
}

/// What the index answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexReply {
    /// Done.
    #[serde(rename = "ok")]
    Noted,
    /// There are [`MAX_KEYS`].
    #[serde(rename = "full")]
    Full,
    /// Newest first.
    #[serde(rename = "page")]
    Page {
        /// The keys.
        #[serde(rename = "e")]
        entries: Vec<Entry>,
        /// Cursor of the next page, if there is more.
        #[serde(rename = "n")]
        next: Option<String>,
    },
    /// (id, [`Entry::waits`]), those that wait for longest first.
    #[serde(rename = "waits")]
    Waiting(Vec<(String, Millis)>),
}

/// The index of one tenant.
#[derive(Clone, Debug, Default)]
pub struct KeyIndex {
    entries: BTreeMap<String, Entry>,
}

impl Machine for KeyIndex {
    type Command = IndexCommand;
    type Reply = IndexReply;

    /// A row that cannot be read is listed by its id alone, so that no key is hidden.
    fn load(_now: Millis, rows: Vec<(String, String)>) -> Self {
        let entry = |(key, value): (String, String)| {
            let id = key.strip_prefix(ROWS)?.to_owned();
            let entry = serde_json::from_str(&value).unwrap_or_else(|_| Entry {
                id: id.clone(),
                name: String::new(),
                created: Millis::ZERO,
                created_by: String::new(),
                revoked: None,
                waits: None,
            });
            Some((id, entry))
        };
        Self {
            entries: rows.into_iter().filter_map(entry).collect(),
        }
    }

    fn apply(&mut self, now: Millis, command: IndexCommand) -> (IndexReply, Effects) {
        let mut effects = Effects::default();
        let reply = match command {
            IndexCommand::Put(entry) => self.put(now, entry, &mut effects),
            IndexCommand::Wait { id } => {
                if let Some(entry) = self.entries.get_mut(&id)
                    && entry.waits.replace(now) != Some(now)
                {
                    effects.writes.push(row_of(entry));
                }
                IndexReply::Noted
            }
            IndexCommand::Drop { id } => {
                if self.entries.remove(&id).is_some() {
                    effects.writes.push(row(&id, None));
                }
                IndexReply::Noted
            }
            IndexCommand::Page { after, limit } => self.page(after.as_deref(), limit),
            IndexCommand::Waiting(limit) => {
                let all = self.entries.values();
                let mut waiting: Vec<(String, Millis)> = all
                    .filter_map(|entry| Some((entry.id.clone(), entry.waits?)))
                    .collect();
                waiting.sort_by_key(|(_, since)| *since);
                waiting.truncate(limit.min(MAX_PAGE));
                IndexReply::Waiting(waiting)
            }
            IndexCommand::Settled(settled) => {
                for (id, since) in settled {
                    if let Some(entry) = self.entries.get_mut(&id)
                        && entry.waits == Some(since)
                    {
                        entry.waits = None;
                        effects.writes.push(row_of(entry));
                    }
                }
                IndexReply::Noted
            }
        };
        (reply, effects)
    }

    fn wake(&mut self, _now: Millis) -> Effects {
        Effects::default()
    }
}

impl KeyIndex {
    fn put(&mut self, now: Millis, mut entry: Entry, effects: &mut Effects) -> IndexReply {
        entry.waits = Some(now);
        match self.entries.get(&entry.id) {
            Some(known) => {
                entry.revoked = known.revoked.or(entry.revoked);
                if *known == entry {
                    return IndexReply::Noted;
                }
            }
            None if self.entries.len() >= MAX_KEYS => return IndexReply::Full,
            None => {}
        }
        effects.writes.push(row_of(&entry));
        self.entries.insert(entry.id.clone(), entry);
        IndexReply::Noted
    }

    /// A cursor is the place of an entry, so that it holds when that entry is gone.
    fn page(&self, after: Option<&str>, limit: usize) -> IndexReply {
        let limit = limit.clamp(1, MAX_PAGE);
        let place = |entry: &&Entry| (Reverse(entry.created), entry.id.clone());
        let mut all: Vec<&Entry> = self.entries.values().collect();
        all.sort_by_cached_key(place);
        let after = after.and_then(|cursor| {
            let (created, id) = cursor.split_once('.')?;
            Some((Reverse(Millis(created.parse().ok()?)), id.to_owned()))
        });
        let mut rest = all
            .into_iter()
            .filter(|entry| after.as_ref().is_none_or(|after| place(entry) > *after));
        let entries: Vec<Entry> = rest.by_ref().take(limit).cloned().collect();
        let next = rest
            .next()
            .and(entries.last())
            .map(|last| format!("{}.{}", last.created.0, last.id));
        IndexReply::Page { entries, next }
    }
}

fn row_of(entry: &Entry) -> Write {
    let text = serde_json::to_string(entry).unwrap_or_default();
    row(&entry.id, Some(text))
}

fn row(id: &str, value: Option<String>) -> Write {
    Write {
        key: [ROWS, id].concat(),
        value,
    }
}
