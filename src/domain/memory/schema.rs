//! Versions of the rows. A step brings them from one version to the next, in the transaction of whatever is asked first;
//! there is no way back.
//!
//! | version | what is new |
//! | --- | --- |
//! | 1 | conversations and items |
//! | 2 | conversations by their last use; memories |

use super::rows::{self, CONVERSATIONS, Kept};
use crate::base::rows::{Rows, RowsFault, Scan};
use crate::domain::owned::opened::{self, Standing};

/// The version that this program writes.
pub const CURRENT: u32 = 2;

/// Brings the rows up to this version.
pub fn brought_up(rows: &mut impl Rows) -> Result<Standing, RowsFault> {
    opened::brought_up(rows, CURRENT, |rows, version| {
        if version < 2 {
            list_by_use(rows)?;
        }
        Ok(())
    })
}

/// 1 → 2: a row for each conversation that sorts by its last use.
fn list_by_use(rows: &mut impl Rows) -> Result<(), RowsFault> {
    let all = Scan {
        prefix: CONVERSATIONS,
        limit: usize::MAX,
        ..Scan::default()
    };
    for (key, value) in rows.scan(all)? {
        let kept: Kept = rows::parsed(&key, &value)?;
        let used = rows::used(kept.told.used, &kept.told.id);
        rows.put(&used, kept.told.expires.0.to_string().as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{CURRENT, Standing, brought_up};
    use crate::base::rows::{MemoryRows, RowMachine};
    use crate::base::time::Millis;
    use crate::domain::memory::command::{
        Command, Key, Limits, Mark, NewItem, Once, Order, Reply, Trim,
    };
    use crate::domain::memory::machine::Memory;

    /// Rows as that version of this program wrote them. A file here is never changed.
    const EARLIER: [(u32, &str); 2] = [
        (1, include_str!("schema/1.json")),
        (2, include_str!("schema/2.json")),
    ];

    fn rows(text: &str) -> MemoryRows {
        let rows: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
        MemoryRows(rows.into_iter().map(|(k, v)| (k, v.into_bytes())).collect())
    }

    #[test]
    fn there_are_rows_of_every_version() {
        let versions: Vec<u32> = EARLIER.iter().map(|(version, _)| *version).collect();
        assert_eq!(versions, (1..=CURRENT).collect::<Vec<u32>>());
    }

    #[test]
    fn rows_of_every_version_are_read_and_written_on() {
        let id = |n: u8| format!("conv_{}", format!("{n:02}").repeat(16));
        for (version, text) in EARLIER {
            let mut rows = rows(text);
            let mut ask = |command| Memory.apply(&mut rows, Millis(10_000), command).unwrap().0;
            let Reply::Conversations {
                conversations,
                more,
                key,
            } = ask(Command::List {
                after: None,
                limit: 9,
            })
            else {
                panic!("version {version}");
            };
            let listed: Vec<String> = conversations.iter().map(|one| one.id.clone()).collect();
            assert_eq!(listed, [id(1), id(3), id(2)], "version {version}");
            assert_eq!((more, key), (false, Some(Key("sealed-key".into()))));
            assert_eq!(conversations[0].metadata.as_deref(), Some("sealed-title-1"));
            assert_eq!(conversations[0].items, 3);
            let items = Command::Items {
                id: id(1),
                after: None,
                limit: 9,
                order: Order::Ascending,
            };
            let Reply::Items { items, .. } = ask(items) else {
                panic!("version {version}");
            };
            let contents: Vec<&str> = items.iter().map(|item| item.sealed.as_str()).collect();
            assert_eq!(contents, ["sealed-msg_1", "sealed-fc_1", "sealed-fco_1"]);
            assert_eq!(items[1].mark.joint, items[2].mark.joint);
            let Reply::Memories { memories, .. } = ask(Command::Memories) else {
                panic!("version {version}");
            };
            assert_eq!(memories.len(), usize::from(version > 1));
            // What was done once is not done again.
            let append = |key: &str| Command::Append {
                id: id(1),
                key: Key("sealed-key".into()),
                once: Some(Once {
                    key: key.into(),
                    digest: String::new(),
                }),
                items: vec![NewItem {
                    id: "msg_2".into(),
                    sealed: "sealed-msg_2".into(),
                    mark: Mark::default(),
                }],
                given: true,
                limits: Limits {
                    conversations: 9,
                    memories: 9,
                    items: 9,
                    conversation_bytes: 9999,
                    owner_bytes: 9999,
                    ttl: Millis(1_000_000),
                    trim: Trim::Oldest,
                },
            };
            assert_eq!(ask(append("resp_1")), Reply::Done);
            let Reply::Conversation { conversation, .. } = ask(Command::Get { id: id(1) }) else {
                panic!("version {version}");
            };
            assert_eq!((conversation.items, conversation.bytes), (3, 49));
            assert_eq!(ask(append("resp_2")), Reply::Done);
            // Nothing is left behind when all of it is over.
            let step = Memory.wake(&mut rows, Millis(9_000_000)).unwrap();
            assert!(step.delete_all, "version {version}");
            assert_eq!(rows.0["schema"], CURRENT.to_string().into_bytes());
            let left: Vec<&String> = rows.0.keys().filter(|key| key.contains('/')).collect();
            assert_eq!(left, [""; 0], "version {version}");
        }
    }

    #[test]
    fn rows_of_a_newer_version_are_left_alone() {
        let mut newer = rows(EARLIER[0].1);
        newer.0.insert("schema".into(), b"999".to_vec());
        let before = newer.clone();
        assert_eq!(brought_up(&mut newer), Ok(Standing::Newer));
        assert_eq!(newer, before);
        newer.0.insert("schema".into(), b"one".to_vec());
        assert!(brought_up(&mut newer).is_err());
        assert_eq!(brought_up(&mut MemoryRows::default()), Ok(Standing::Empty));
    }
}
