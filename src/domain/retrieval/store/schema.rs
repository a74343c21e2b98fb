//! Versions of the rows. A step brings them from one version to the next, in the transaction of whatever is asked first;
//! there is no way back.
//!
//! | version | what is new |
//! | --- | --- |
//! | 1 | stores, files, batches, passages, the index, embeddings |
//! | 2 | codes of embeddings; those that came before have none, and are all compared |

use crate::base::rows::{Rows, RowsFault};
use crate::domain::owned::opened::{self, Standing};

/// The version that this program writes.
pub const CURRENT: u32 = 2;

/// Brings the rows up to this version.
pub fn brought_up(rows: &mut impl Rows) -> Result<Standing, RowsFault> {
    // 1 → 2 changes nothing that is there.
    opened::brought_up(rows, CURRENT, |_, _| Ok(()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{CURRENT, Standing, brought_up};
    use crate::base::digest::{from_hex, hex};
    use crate::base::rows::{MemoryRows, RowMachine};
    use crate::base::time::Millis;
    use crate::domain::retrieval::store::command::{Command, Reply};
    use crate::domain::retrieval::store::machine::Stores;
    use crate::domain::retrieval::store::machine::tests::{Object, file, store};

    /// Rows as that version of this program wrote them; blocks, embeddings and codes in hex. A file here is never changed.
    const EARLIER: [(u32, &str); 2] = [
        (1, include_str!("schema/1.json")),
        (2, include_str!("schema/2.json")),
    ];

    fn is_binary(key: &str) -> bool {
        ["x/", "v/", "c/"].iter().any(|one| key.starts_with(one))
    }

    fn rows(text: &str) -> MemoryRows {
        let rows: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
        let bytes = |(key, value): (String, String)| {
            let block = from_hex(&value).filter(|_| is_binary(&key));
            (key, block.unwrap_or_else(|| value.into_bytes()))
        };
        MemoryRows(rows.into_iter().map(bytes).collect())
    }

    /// What the file of the version that is written now holds.
    fn written() -> BTreeMap<String, String> {
        let mut object = Object {
            now: Millis(1_000),
            ..Object::default()
        };
        object.make(1);
        object.add(1, 1, &[7, 8]);
        let number = object.begin(1, &[2], None)[0];
        object.put(number, &[7]);
        object.put_vectors(number);
        object.end(number, 1);
        object.now = Millis(2_000);
        object.make(2);
        object.begin(2, &[1], Some("vsfb_1"));
        let rows = object.rows.0.into_iter();
        rows.map(|(key, value)| {
            let text = if is_binary(&key) {
                hex(&value)
            } else {
                String::from_utf8(value).unwrap()
            };
            (key, text)
        })
        .collect()
    }

    #[test]
    fn the_rows_of_this_version_are_the_ones_of_its_file() {
        let (version, text) = EARLIER[EARLIER.len() - 1];
        assert_eq!(version, CURRENT);
        let kept: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
        let now = written();
        assert!(
            kept == now,
            "{}",
            serde_json::to_string_pretty(&now).unwrap()
        );
    }

    #[test]
    fn there_are_rows_of_every_version() {
        let versions: Vec<u32> = EARLIER.iter().map(|(version, _)| *version).collect();
        assert_eq!(versions, (1..=CURRENT).collect::<Vec<u32>>());
    }

    #[test]
    fn rows_of_every_version_are_read_and_written_on() {
        for (version, text) in EARLIER {
            let mut object = Object {
                rows: rows(text),
                now: Millis(3_000),
                alarm: None,
            };
            assert_eq!(
                object.find(1, 7),
                ["sealed-7", "sealed-7"],
                "version {version}"
            );
            assert_eq!(object.find(1, 8), ["sealed-8"]);
            assert_eq!(object.counts(1), [0, 2, 0, 0]);
            assert_eq!(object.counts(2), [1, 0, 0, 0]);
            object.add(1, 3, &[9]);
            assert_eq!(object.rows.0["schema"], CURRENT.to_string().into_bytes());
            assert_eq!(object.find(1, 9), ["sealed-9"]);
            let gone = Command::Drop {
                documents: vec![file(1)],
            };
            assert_eq!(object.ask(gone), Reply::Done);
            assert_eq!(object.find(1, 7), ["sealed-7"]);
            for n in [1, 2] {
                assert_eq!(object.ask(Command::Delete { id: store(n) }), Reply::Done);
            }
            assert!(object.rows.0.is_empty(), "version {version}");
        }
    }

    #[test]
    fn rows_of_a_newer_version_are_left_alone() {
        let mut newer = rows(EARLIER[0].1);
        newer.0.insert("schema".into(), b"999".to_vec());
        let before = newer.clone();
        let told = Stores
            .apply(&mut newer, Millis(1), Command::Forget)
            .unwrap();
        assert_eq!(told.0, Reply::Newer);
        assert!(Stores.wake(&mut newer, Millis(1)).unwrap().alarm.is_some());
        assert_eq!(newer, before);
        newer.0.insert("schema".into(), b"one".to_vec());
        assert!(brought_up(&mut newer).is_err());
        assert_eq!(brought_up(&mut MemoryRows::default()), Ok(Standing::Empty));
    }
}
