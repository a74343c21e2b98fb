//! What is stored of a snapshot: manifest, pieces, and how far one is that is under way. All of it is sealed JSON.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;

/// Version of the formats. A change of one needs the next number, and a reader of this one.
pub const FORMAT: u32 = 1;

/// A row as an object keeps it: table, key, value. A value of bytes is in base64; which table has those is the object's
/// affair.
pub type Row = (String, String, String);

/// Some rows of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The object's class.
    pub class: String,
    /// Its name.
    pub object: String,
    /// Is it the object's first? What came of the object before is void: it changed while it was read.
    pub first: bool,
    /// Is it the object's last?
    pub last: bool,
    /// The rows.
    pub rows: Vec<Row>,
}

/// The content of a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// [`FORMAT`]
    pub format: u32,
    /// In the order in which they are put back.
    pub pages: Vec<Page>,
}

/// Where a piece lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its blob.
    pub blob: String,
    /// The salt of its key, in base64url.
    pub salt: String,
    /// Length of its content in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, 64 hex digits.
    pub sha256: String,
}

/// A snapshot that is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`]
    pub format: u32,
    /// When the first object was read.
    pub begun: Millis,
    /// When the last one was.
    pub ended: Millis,
    /// How many objects.
    pub objects: u64,
    /// How many rows.
    pub rows: u64,
    /// In order.
    pub pieces: Vec<Piece>,
}

/// A snapshot under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// [`FORMAT`]
    pub format: u32,
    /// Its id.
    pub id: String,
    /// Which kind of objects is being read.
    pub stage: usize,
    /// The last name of that kind that was read.
    pub after: String,
    /// Networks whose ledgers are to be read.
    pub networks: BTreeSet<String>,
    /// Key versions that opened when it began.
    pub versions: Vec<u32>,
    /// Objects so far.
    pub objects: u64,
    /// Rows so far.
    pub rows: u64,
    /// Pieces so far.
    pub pieces: Vec<Piece>,
}

impl Cursor {
    /// One that has read nothing.
    #[must_use]
    pub const fn new(id: String, versions: Vec<u32>) -> Self {
        Self {
            format: FORMAT,
            id,
            stage: 0,
            after: String::new(),
            networks: BTreeSet::new(),
            versions,
            objects: 0,
            rows: 0,
            pieces: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, FORMAT, Manifest, Page, Pages, Piece};
    use crate::base::time::Millis;

    fn piece() -> Piece {
        Piece {
            blob: "backup/pieces/snap_1/00000-00000000".into(),
            salt: "c2FsdA".into(),
            bytes: 9,
            sha256: "ab".into(),
        }
    }

    /// What breaks when this changes: every snapshot that was taken before.
    #[test]
    fn the_stored_forms_are_pinned() {
        let pages = Pages {
            format: FORMAT,
            pages: vec![Page {
                class: "owner".into(),
                object: "vis_1".into(),
                first: true,
                last: true,
                rows: vec![("rows".into(), "doc/a".into(), "{}".into())],
            }],
        };
        let manifest = Manifest {
            format: FORMAT,
            begun: Millis(1),
            ended: Millis(2),
            objects: 3,
            rows: 4,
            pieces: vec![piece()],
        };
        let mut cursor = Cursor::new("snap_1".into(), vec![1]);
        cursor.networks.insert("net".into());
        for (value, text) in [
            (
                serde_json::to_string(&pages),
                r#"{"format":1,"pages":[{"class":"owner","object":"vis_1","first":true,"last":true,"rows":[["rows","doc/a","{}"]]}]}"#,
            ),
            (
                serde_json::to_string(&manifest),
                r#"{"format":1,"begun":1,"ended":2,"objects":3,"rows":4,"pieces":[{"blob":"backup/pieces/snap_1/00000-00000000","salt":"c2FsdA","bytes":9,"sha256":"ab"}]}"#,
            ),
            (
                serde_json::to_string(&cursor),
                r#"{"format":1,"id":"snap_1","stage":0,"after":"","networks":["net"],"versions":[1],"objects":0,"rows":0,"pieces":[]}"#,
            ),
        ] {
            assert_eq!(value.unwrap(), text);
        }
        let read: Pages = serde_json::from_str(&serde_json::to_string(&pages).unwrap()).unwrap();
        assert_eq!(read, pages);
    }
}
