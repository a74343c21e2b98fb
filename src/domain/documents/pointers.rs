//! Where documents are noted that somebody else owns: under a document's id whose it is, under a principal's id and a
//! role what is shared with them.
//!
//! They only say where to ask: what somebody may do is decided by the owner's row ([`super::access`]), so that a note that
//! was left behind gives nobody anything.

use serde::{Deserialize, Serialize};

use crate::base::rows::{RowMachine, Rows, RowsFault, Scan, Step};
use crate::base::time::Millis;

/// Most documents that are noted under one name; beyond it the oldest notes go. A row is below 200 bytes.
pub const MAX_NOTED: usize = 1_000;

/// The name under which a tenant's documents are noted of which a version was held back.
pub const HELD_BACK: &str = "held-back";

/// The name under which a tenant's documents are noted that an operator holds.
pub const HELD: &str = "held";

/// What is noted of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The document's id.
    pub document: String,
    /// Whose it is.
    pub owner: String,
}

/// What may be asked. Every command may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// A document is noted.
    Put {
        /// Which.
        pointer: Pointer,
    },
    /// It is noted no more.
    Remove {
        /// The documents' ids.
        documents: Vec<String>,
    },
    /// Where is that one?
    Get {
        /// The document's id.
        document: String,
    },
    /// Some of them, the newest documents first.
    List {
        /// Those behind this id.
        after: Option<String>,
        /// At most so many.
        limit: u32,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// These; none is no error.
    Found {
        /// In the order that was asked for.
        pointers: Vec<Pointer>,
    },
}

/// The notes under one name: a row for each document.
#[derive(Debug, Default)]
pub struct Pointers;

const PREFIX: &str = "doc/";

fn key(document: &str) -> String {
    [PREFIX, document].concat()
}

fn read(key: &str, value: &[u8]) -> Option<Pointer> {
    Some(Pointer {
        document: key.strip_prefix(PREFIX)?.to_owned(),
        owner: String::from_utf8(value.to_vec()).ok()?,
    })
}

impl RowMachine for Pointers {
    type Command = Command;
    type Reply = Reply;

    fn apply(
        &mut self,
        rows: &mut impl Rows,
        _now: Millis,
        command: Command,
    ) -> Result<(Reply, Step), RowsFault> {
        let found = |pointers| (Reply::Found { pointers }, Step::default());
        match command {
            Command::Put { pointer } => {
                rows.put(&key(&pointer.document), pointer.owner.as_bytes())?;
                let all = rows.scan(Scan {
                    prefix: PREFIX,
                    descending: true,
                    limit: MAX_NOTED.saturating_add(1),
                    ..Scan::default()
                })?;
                if let Some((oldest, _)) = all.get(MAX_NOTED) {
                    rows.remove(oldest)?;
                }
                Ok((Reply::Done, Step::default()))
            }
            Command::Remove { documents } => {
                for document in documents {
                    if rows.get(&key(&document))?.is_some() {
                        rows.remove(&key(&document))?;
                    }
                }
                let left = rows.scan(Scan {
                    limit: 1,
                    ..Scan::default()
                })?;
                let step = Step {
                    delete_all: left.is_empty(),
                    ..Step::default()
                };
                Ok((Reply::Done, step))
            }
            Command::Get { document } => {
                let key = key(&document);
                let value = rows.get(&key)?;
                let pointer = value.and_then(|value| read(&key, &value));
                Ok(found(pointer.into_iter().collect()))
            }
            Command::List { after, limit } => {
                let after = after.map(|after| key(&after));
                let page = rows.scan(Scan {
                    prefix: PREFIX,
                    after: after.as_deref(),
                    descending: true,
                    limit: usize::try_from(limit).unwrap_or(usize::MAX),
                })?;
                let pointers = page.iter().filter_map(|(key, value)| read(key, value));
                Ok(found(pointers.collect()))
            }
        }
    }

    fn wake(&mut self, _rows: &mut impl Rows, _now: Millis) -> Result<Step, RowsFault> {
        Ok(Step::default())
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, MAX_NOTED, Pointer, Pointers, Reply};
    use crate::base::rows::{MemoryRows, RowMachine, Step};
    use crate::base::time::Millis;

    fn pointer(document: &str) -> Pointer {
        Pointer {
            document: document.into(),
            owner: "vis_1".into(),
        }
    }

    fn ask(rows: &mut MemoryRows, command: Command) -> (Vec<String>, Step) {
        let (reply, step) = Pointers.apply(rows, Millis(0), command).unwrap();
        let documents = match reply {
            Reply::Done => Vec::new(),
            Reply::Found { pointers } => pointers.into_iter().map(|p| p.document).collect(),
        };
        (documents, step)
    }

    fn put(rows: &mut MemoryRows, document: &str) {
        let pointer = pointer(document);
        ask(rows, Command::Put { pointer });
    }

    #[test]
    fn what_is_noted_is_found_listed_and_forgotten() {
        let mut rows = MemoryRows::default();
        for document in ["file_1", "file_2", "file_3"] {
            put(&mut rows, document);
        }
        put(&mut rows, "file_2");
        let get = |document: &str| Command::Get {
            document: document.into(),
        };
        assert_eq!(ask(&mut rows, get("file_2")).0, ["file_2"]);
        assert!(ask(&mut rows, get("file_9")).0.is_empty());
        let list = |after: Option<&str>, limit| Command::List {
            after: after.map(str::to_owned),
            limit,
        };
        assert_eq!(ask(&mut rows, list(None, 2)).0, ["file_3", "file_2"]);
        assert_eq!(ask(&mut rows, list(Some("file_2"), 2)).0, ["file_1"]);
        let remove = |documents: &[&str]| Command::Remove {
            documents: documents.iter().map(|d| (*d).to_owned()).collect(),
        };
        let (_, step) = ask(&mut rows, remove(&["file_1", "file_9"]));
        assert!(!step.delete_all);
        let (_, step) = ask(&mut rows, remove(&["file_2", "file_3"]));
        assert!(step.delete_all && rows.0.is_empty());
    }

    #[test]
    fn whoever_only_asks_leaves_nothing() {
        let mut rows = MemoryRows::default();
        let document = "file_1".to_owned();
        ask(&mut rows, Command::Get { document });
        assert!(rows.0.is_empty());
    }

    #[test]
    fn the_oldest_notes_make_room() {
        let mut rows = MemoryRows::default();
        for number in 0..MAX_NOTED + 2 {
            put(&mut rows, &format!("file_{number:05}"));
        }
        assert_eq!(rows.0.len(), MAX_NOTED);
        assert!(rows.0.contains_key("doc/file_00002") && !rows.0.contains_key("doc/file_00001"));
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let mut rows = MemoryRows::default();
        put(&mut rows, "file_1");
        assert_eq!(rows.0["doc/file_1"], b"vis_1");
    }
}
