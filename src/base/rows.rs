//! The contract between a machine whose rows are too many to keep in memory and the Durable Object shell that keeps them.
//!
//! SQLite answers an object synchronously, so that such a machine reads and writes as it goes and is still atomic: no
//! await can stand between its first read and its last write, and its shell runs each step in one transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::time::Millis;

/// Longest value of a row, in bytes: SQLite in an object takes 2 MB for a row, key and all; 1 MiB = 1024 × 1024 leaves room.
pub const MAX_VALUE_BYTES: usize = 1_048_576;

/// Storage refused. The step is undone, and the machine is made anew by the next call. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsFault(pub String);

/// Which rows, in the order of their keys' bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Those whose keys begin with it.
    pub prefix: &'a str,
    /// Those behind this key, in the order that is asked for; it need not exist.
    pub after: Option<&'a str>,
    /// Last first.
    pub descending: bool,
    /// At most so many.
    pub limit: usize,
}

/// A row: key and value.
pub type Row = (String, Vec<u8>);

/// The rows of one object.
pub trait Rows {
    /// The value of a row.
    ///
    /// # Errors
    /// Storage refused.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RowsFault>;

    /// Some rows.
    ///
    /// # Errors
    /// Storage refused.
    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Row>, RowsFault>;

    /// Writes a row, over the one that was there.
    ///
    /// # Errors
    /// Storage refused; a value is longer than [`MAX_VALUE_BYTES`].
    fn put(&mut self, key: &str, value: &[u8]) -> Result<(), RowsFault>;

    /// Removes a row, which need not exist.
    ///
    /// # Errors
    /// Storage refused.
    fn remove(&mut self, key: &str) -> Result<(), RowsFault>;

    /// Removes every row whose key begins so.
    ///
    /// # Errors
    /// Storage refused.
    fn remove_all(&mut self, prefix: &str) -> Result<(), RowsFault>;
}

/// What a step asks of its shell beside the rows that it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// When to call [`RowMachine::wake`] next; `None` leaves the alarm as it is.
    pub alarm: Option<Millis>,
    /// Nothing is worth keeping: remove every row and the alarm.
    pub delete_all: bool,
}

/// A synchronous state machine over rows. What it keeps in itself is only a memory of them: it can be lost at any time,
/// and is when storage refuses.
pub trait RowMachine: Default {
    /// What may be asked of it; limits and policies travel in the command, so a changed setting needs no restart.
    type Command: DeserializeOwned + Serialize;
    /// What it answers.
    type Reply: DeserializeOwned + Serialize;

    /// Applies a command. Whoever only asks must write nothing: names of objects can be guessed, and that must not make
    /// them.
    ///
    /// # Errors
    /// Storage refused: what was written is undone.
    fn apply(
        &mut self,
        rows: &mut impl Rows,
        now: Millis,
        command: Self::Command,
    ) -> Result<(Self::Reply, Step), RowsFault>;

    /// Called by the alarm: expires what is due and says when to wake next.
    ///
    /// # Errors
    /// Storage refused; the platform tries again.
    fn wake(&mut self, rows: &mut impl Rows, now: Millis) -> Result<Step, RowsFault>;
}

/// A row as text.
///
/// # Errors
/// Storage refused, or it is no text.
pub fn text(rows: &impl Rows, key: &str) -> Result<Option<String>, RowsFault> {
    let value = rows.get(key)?;
    value
        .map(|bytes| String::from_utf8(bytes).map_err(|_| unreadable(key)))
        .transpose()
}

/// A row as JSON.
///
/// # Errors
/// Storage refused, or it is something else.
pub fn read<T: DeserializeOwned>(rows: &impl Rows, key: &str) -> Result<Option<T>, RowsFault> {
    let value = rows.get(key)?;
    value.map(|bytes| parsed(key, &bytes)).transpose()
}

/// A row's value from JSON.
///
/// # Errors
/// It is something else.
pub fn parsed<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, RowsFault> {
    serde_json::from_slice(bytes).map_err(|_| unreadable(key))
}

/// Writes a row as JSON.
///
/// # Errors
/// Storage refused.
pub fn write(rows: &mut impl Rows, key: &str, value: &impl Serialize) -> Result<(), RowsFault> {
    let bytes = serde_json::to_vec(value).map_err(|error| RowsFault(error.to_string()))?;
    rows.put(key, &bytes)
}

/// A row that is not what it should be.
#[must_use]
pub fn unreadable(key: &str) -> RowsFault {
    RowsFault(format!("the row {key} cannot be read"))
}

/// Rows in memory, for simulations and tests; the shell keeps the same in storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRows(pub BTreeMap<String, Vec<u8>>);

impl Rows for MemoryRows {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RowsFault> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Row>, RowsFault> {
        // Sorts behind every key that begins so.
        let end = [scan.prefix, "\u{10FFFF}"].concat();
        let (from, to) = match scan.after {
            Some(after) if scan.descending => (Bound::Included(scan.prefix), after.min(&end)),
            Some(after) if after > scan.prefix => (Bound::Excluded(after), end.as_str()),
            _ => (Bound::Included(scan.prefix), end.as_str()),
        };
        let (Bound::Included(first) | Bound::Excluded(first)) = from else {
            return Ok(Vec::new());
        };
        if first >= to {
            return Ok(Vec::new());
        }
        let within = self.0.range::<str, _>((from, Bound::Excluded(to)));
        let owned = |(key, value): (&String, &Vec<u8>)| (key.clone(), value.clone());
        let found: Vec<Row> = if scan.descending {
            within.rev().take(scan.limit).map(owned).collect()
        } else {
            within.take(scan.limit).map(owned).collect()
        };
        Ok(found)
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Result<(), RowsFault> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(RowsFault(format!(
                "the row {key} has {} bytes",
                value.len()
            )));
        }
        self.0.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), RowsFault> {
        self.0.remove(key);
        Ok(())
    }

    fn remove_all(&mut self, prefix: &str) -> Result<(), RowsFault> {
        let end = [prefix, "\u{10FFFF}"].concat();
        let (from, to) = (Bound::Included(prefix), Bound::Excluded(end.as_str()));
        let within = self.0.range::<str, _>((from, to));
        let gone: Vec<String> = within.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.0.remove(&key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_VALUE_BYTES, MemoryRows, Rows, Scan};

    #[test]
    fn rows_are_scanned_by_prefix_behind_a_key_in_both_directions() {
        let mut rows = MemoryRows::default();
        for key in ["a/1", "a/2", "a/3", "ab", "b/1"] {
            rows.put(key, key.as_bytes()).unwrap();
        }
        let keys = |scan: Scan<'_>| -> Vec<String> {
            let found = rows.scan(scan).unwrap();
            found.into_iter().map(|(key, _)| key).collect()
        };
        let scan = Scan {
            prefix: "a/",
            limit: 9,
            ..Scan::default()
        };
        assert_eq!(keys(scan), ["a/1", "a/2", "a/3"]);
        let behind = Scan {
            after: Some("a/1x"),
            ..scan
        };
        assert_eq!(keys(behind), ["a/2", "a/3"]);
        assert_eq!(keys(Scan { limit: 1, ..behind }), ["a/2"]);
        let back = Scan {
            descending: true,
            ..behind
        };
        assert_eq!(keys(back), ["a/1"]);
        assert_eq!(
            keys(Scan {
                after: None,
                ..back
            }),
            ["a/3", "a/2", "a/1"]
        );
    }

    #[test]
    fn a_prefix_is_removed_whole_and_a_value_has_a_length() {
        let mut rows = MemoryRows::default();
        for key in ["a/1", "a/2", "ab"] {
            rows.put(key, b"v").unwrap();
        }
        rows.remove_all("a/").unwrap();
        assert_eq!(rows.get("a/1").unwrap(), None);
        assert_eq!(rows.get("ab").unwrap(), Some(b"v".to_vec()));
        assert!(rows.put("ab", &vec![0; MAX_VALUE_BYTES + 1]).is_err());
        assert_eq!(rows.get("ab").unwrap(), Some(b"v".to_vec()));
    }
}
