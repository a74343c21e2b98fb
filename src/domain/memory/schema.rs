//! Versions of the rows. A step brings them from one version to the next, in the transaction of whatever is asked first;
//! there is no way back.

use super::rows;
use crate::base::rows::{Rows, RowsFault};

/// The version that this program writes.
pub const CURRENT: u32 = 1;

/// How the rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There are none.
    Empty,
    /// They are of this version.
    Current,
    /// They are of a newer one.
    Newer,
}

/// Brings the rows up to this version.
pub fn brought_up(rows: &mut impl Rows) -> Result<Standing, RowsFault> {
    let Some(version) = rows::text(rows, rows::SCHEMA)? else {
        return Ok(Standing::Empty);
    };
    let version: u32 = version
        .parse()
        .map_err(|_| RowsFault("the schema's version cannot be read".to_owned()))?;
    if version > CURRENT {
        return Ok(Standing::Newer);
    }
    Ok(Standing::Current)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{CURRENT, Standing, brought_up};
    use crate::base::rows::MemoryRows;

    /// Rows as that version of this program wrote them. A file here is never changed.
    const EARLIER: [(u32, &str); 1] = [(1, include_str!("schema/1.json"))];

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
