//! An owner's rows, opened for one step of their machine.
//!
//! | row | value |
//! | --- | --- |
//! | `schema` | version of the rows, decimal |
//! | `key` | the owner's key, sealed by the keyring |
//! | `total` | JSON: sums, and when the alarm is set for |
//!
//! The rest is the machine's own. Where nothing is kept any more, nothing is left, the key included.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Key;
use crate::base::rows::{Row, Rows, RowsFault, Scan, Step, parsed, read, text, write};
use crate::base::time::Millis;

/// Version of the rows.
pub const SCHEMA: &str = "schema";
/// The owner's key.
pub const KEY: &str = "key";
/// What there is altogether.
pub const TOTAL: &str = "total";

/// When rows of a newer version are looked at again: an hour × 3,600 s. The program that wrote them will be back.
const LOOK_AGAIN: Millis = Millis::from_secs(3_600);

/// What there is altogether.
pub trait Sums: Clone + Default + PartialEq + Serialize + DeserializeOwned {
    /// The version of the rows that this program writes.
    const VERSION: u32;

    /// Is nothing kept?
    fn is_empty(&self) -> bool;

    /// When the alarm is set for.
    fn alarm(&mut self) -> &mut Option<Millis>;
}

/// Rows, opened for one step.
pub struct Opened<'r, R: Rows, S: Sums> {
    /// The rows.
    pub rows: &'r mut R,
    /// When the step is taken.
    pub now: Millis,
    /// What there is altogether.
    pub total: S,
    /// Nothing is to be kept.
    pub emptied: bool,
    /// As it was read.
    before: S,
    /// The alarm rang, so that it is set again even if it is for the same time.
    woken: bool,
}

impl<'r, R: Rows, S: Sums> Opened<'r, R, S> {
    /// Opens rows.
    pub fn new(rows: &'r mut R, now: Millis) -> Result<Self, RowsFault> {
        let total: S = read(rows, TOTAL)?.unwrap_or_default();
        Ok(Self {
            rows,
            now,
            before: total.clone(),
            total,
            emptied: false,
            woken: false,
        })
    }

    /// Opens rows because the alarm rang.
    pub fn woken(rows: &'r mut R, now: Millis) -> Result<Self, RowsFault> {
        let mut opened = Self::new(rows, now)?;
        opened.woken = true;
        Ok(opened)
    }

    /// Writes the sums, and says what the shell is to do.
    pub fn close(mut self) -> Result<Step, RowsFault> {
        let had = self.before != S::default();
        if self.emptied || had && self.total.is_empty() {
            return Ok(Step {
                alarm: None,
                delete_all: true,
            });
        }
        if self.total != self.before {
            write(self.rows, TOTAL, &self.total)?;
        }
        let (alarm, before) = (*self.total.alarm(), *self.before.alarm());
        Ok(Step {
            alarm: alarm.filter(|_| self.woken || alarm != before),
            delete_all: false,
        })
    }

    /// The alarm may ring too early, and never too late.
    pub fn wake_by(&mut self, at: Millis) {
        let alarm = self.total.alarm();
        *alarm = Some(alarm.map_or(at, |alarm| alarm.min(at)));
    }

    /// Is something due by now?
    pub fn is_due(&mut self) -> bool {
        let now = self.now;
        self.total.alarm().is_some_and(|alarm| alarm <= now)
    }

    /// The key that counts.
    pub fn key(&self) -> Result<Option<Key>, RowsFault> {
        Ok(text(self.rows, KEY)?.map(Key))
    }

    /// The key of rows that there are.
    pub fn key_of_rows(&self) -> Result<Key, RowsFault> {
        let key = self.key()?;
        key.ok_or_else(|| RowsFault("there are rows without a key".to_owned()))
    }

    /// The key that counts where it is another than the one that something was sealed with.
    pub fn other_key(&self, key: &Key) -> Result<Option<Key>, RowsFault> {
        Ok(self.key()?.filter(|counts| counts != key))
    }

    /// The first rows of an owner who had none.
    pub fn begin_with(&mut self, key: &Key) -> Result<(), RowsFault> {
        if self.key()?.is_none() {
            self.rows.put(SCHEMA, S::VERSION.to_string().as_bytes())?;
            self.rows.put(KEY, key.0.as_bytes())?;
        }
        Ok(())
    }

    /// Every row whose key begins so, from JSON.
    pub fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, RowsFault> {
        let rows = self.scan(prefix)?.into_iter();
        rows.map(|(key, value)| parsed(&key, &value)).collect()
    }

    /// Every row whose key begins so.
    pub fn scan(&self, prefix: &str) -> Result<Vec<Row>, RowsFault> {
        self.rows.scan(Scan {
            prefix,
            limit: usize::MAX,
            ..Scan::default()
        })
    }
}

/// How rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There are none.
    Empty,
    /// They are of this program's version.
    Current,
    /// They are of a newer one.
    Newer,
}

/// Brings rows up to the version `current` by the steps from the version they have. There is no way back.
///
/// # Errors
/// Storage refused, or the version cannot be read.
pub fn brought_up<R: Rows>(
    rows: &mut R,
    current: u32,
    steps: impl FnOnce(&mut R, u32) -> Result<(), RowsFault>,
) -> Result<Standing, RowsFault> {
    let Some(version) = version(rows)? else {
        return Ok(Standing::Empty);
    };
    if version > current {
        return Ok(Standing::Newer);
    }
    if version < current {
        steps(rows, version)?;
        rows.put(SCHEMA, current.to_string().as_bytes())?;
    }
    Ok(Standing::Current)
}

/// The version of the rows; `None` where there are none.
pub fn version(rows: &impl Rows) -> Result<Option<u32>, RowsFault> {
    let version = text(rows, SCHEMA)?.map(|version| version.parse());
    version
        .transpose()
        .map_err(|_| RowsFault("the schema's version cannot be read".to_owned()))
}

/// What an alarm does with rows of a newer version: it leaves them alone and comes again.
pub fn look_again(now: Millis) -> Step {
    Step {
        alarm: Some(now.plus(LOOK_AGAIN)),
        delete_all: false,
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{Key, Opened, Sums, version};
    use crate::base::rows::{MemoryRows, Rows, Step};
    use crate::base::time::Millis;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Total {
        things: u32,
        alarm: Option<Millis>,
    }

    impl Sums for Total {
        const VERSION: u32 = 7;

        fn is_empty(&self) -> bool {
            self.things == 0
        }

        fn alarm(&mut self) -> &mut Option<Millis> {
            &mut self.alarm
        }
    }

    const NOW: Millis = Millis(1_000);

    fn open(rows: &mut MemoryRows) -> Opened<'_, MemoryRows, Total> {
        Opened::new(rows, NOW).unwrap()
    }

    #[test]
    fn whoever_only_asks_writes_nothing() {
        let mut rows = MemoryRows::default();
        let opened = open(&mut rows);
        assert_eq!(opened.key(), Ok(None));
        assert!(opened.key_of_rows().is_err());
        assert_eq!(opened.close(), Ok(Step::default()));
        assert_eq!(rows, MemoryRows::default());
        assert_eq!(version(&rows), Ok(None));
    }

    #[test]
    fn the_first_key_is_the_only_one() {
        let mut rows = MemoryRows::default();
        let (one, two) = (Key("one".into()), Key("two".into()));
        let mut opened = open(&mut rows);
        assert_eq!(opened.other_key(&one), Ok(None));
        opened.begin_with(&one).unwrap();
        opened.begin_with(&two).unwrap();
        assert_eq!(opened.key_of_rows(), Ok(one.clone()));
        assert_eq!(opened.other_key(&one), Ok(None));
        assert_eq!(opened.other_key(&two), Ok(Some(one)));
        assert_eq!(version(&rows), Ok(Some(7)));
        rows.put("schema", b"seven").unwrap();
        assert!(version(&rows).is_err());
    }

    #[test]
    fn the_alarm_is_told_once_and_again_when_it_rang() {
        let mut rows = MemoryRows::default();
        let mut opened = open(&mut rows);
        opened.total.things = 1;
        opened.wake_by(Millis(3_000));
        opened.wake_by(Millis(2_000));
        opened.wake_by(Millis(4_000));
        assert!(!opened.is_due());
        let alarm = |at| Step {
            alarm: Some(Millis(at)),
            delete_all: false,
        };
        assert_eq!(opened.close(), Ok(alarm(2_000)));
        // A sum that changes alone leaves it as it is set.
        let mut opened = open(&mut rows);
        opened.total.things = 2;
        assert_eq!(opened.close(), Ok(Step::default()));
        assert_eq!(open(&mut rows).total.things, 2);
        let mut woken: Opened<'_, _, Total> = Opened::woken(&mut rows, Millis(2_000)).unwrap();
        assert!(woken.is_due());
        assert_eq!(woken.close(), Ok(alarm(2_000)));
    }

    #[test]
    fn where_nothing_is_kept_nothing_is_left() {
        let everything = Ok(Step {
            alarm: None,
            delete_all: true,
        });
        let mut rows = MemoryRows::default();
        let mut opened = open(&mut rows);
        opened.total.things = 1;
        opened.wake_by(Millis(2_000));
        opened.close().unwrap();
        let mut opened = open(&mut rows);
        opened.total.things = 0;
        assert_eq!(opened.close(), everything);
        let mut opened = open(&mut rows);
        opened.emptied = true;
        assert_eq!(opened.close(), everything);
    }
}
