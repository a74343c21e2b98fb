//! A document: a manifest of segments, the keys under which they lie, and how a range of bytes maps to them.

use serde::{Deserialize, Serialize};

use super::about::About;
use crate::base::digest::hex;
use crate::base::time::Millis;

/// Longest segment: 8 MiB = 8 × 1024 × 1024 bytes. One is in memory at a time, which an isolate of 128 MB can afford
/// for several uploads at once.
pub const SEGMENT_BYTES: u64 = 8_388_608;

/// Random bytes of a document's id beside the time: 80 bits, so that ids cannot be guessed.
pub const ID_RANDOM_BYTES: usize = 10;

/// What the caller says a document is for (OpenAI's words). Kept and listed; nothing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Anything; the default where a dialect has no purposes.
    #[default]
    UserData,
    /// For assistants.
    Assistants,
    /// Images.
    Vision,
    /// Batch input.
    Batch,
    /// Training data.
    #[serde(rename = "fine-tune")]
    FineTune,
    /// Evaluation data.
    Evals,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 6] = [
        Self::UserData,
        Self::Assistants,
        Self::Vision,
        Self::Batch,
        Self::FineTune,
        Self::Evals,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserData => "user_data",
            Self::Assistants => "assistants",
            Self::Vision => "vision",
            Self::Batch => "batch",
            Self::FineTune => "fine-tune",
            Self::Evals => "evals",
        }
    }

    /// The purpose of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == name)
    }
}

/// A run of bytes of a document, stored as one blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// In bytes, at least 1.
    pub length: u64,
    /// The header of the sealed blob in base64url: it tells this one from every other. `None` in documents that were
    /// stored before documents were sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The blob's name within the document, where it is not that of its place ([`blob_name`]): that of a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
}

/// A document that is complete: every segment was durable before this was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// `file_<32 hex digits>`; see [`document_id`].
    pub id: String,
    /// The id of the principal that owns it.
    pub owner: String,
    /// A name for people, cleaned.
    pub filename: String,
    /// What the caller says it is for.
    pub purpose: Purpose,
    /// What it is served as: one of the safe types, never an active one.
    pub content_type: String,
    /// Length of the content.
    pub bytes: u64,
    /// SHA-256 of the content, 64 hex digits; of a document in parts that of the parts' digests, one after the other.
    pub sha256: String,
    /// In order; their lengths add up to `bytes`.
    pub segments: Vec<Segment>,
    /// 1 for a new document; each replacement of its content adds one.
    pub version: u32,
    /// When it was made.
    pub created: Millis,
    /// From when on it is gone.
    pub expires: Millis,
    /// The network whose quota it takes from, as the name of its ledger has it.
    pub network: String,
    /// The data key of this version, wrapped under the owner's ([`super::sealing`]). `None` in documents that were
    /// stored before documents were sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "About::is_empty")]
    pub about: Box<About>,
}

/// Part of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which segment, from 0.
    pub segment: usize,
    /// First byte within it.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub length: u64,
}

impl Document {
    /// Was it uploaded in parts?
    #[must_use]
    pub fn is_of_parts(&self) -> bool {
        let own = |blob: &String| !blob.starts_with(VERSION_MARK);
        let mut named = self.segments.iter().filter_map(|s| s.blob.as_ref());
        named.any(own)
    }

    /// Under which name its bytes are charged.
    #[must_use]
    pub fn slot(&self) -> String {
        slot(&self.id, self.version)
    }

    /// When it is gone by itself; `None` while it is held.
    #[must_use]
    pub fn over(&self) -> Option<Millis> {
        if self.about.hold.is_some() {
            return None;
        }
        Some(self.about.keep_until.unwrap_or_default().max(self.expires))
    }

    /// Is that the same version with the same content?
    #[must_use]
    pub fn is_stored_as(&self, other: &Self) -> bool {
        (&self.id, self.version, &self.sha256, &self.key)
            == (&other.id, other.version, &other.sha256, &other.key)
            && self.segments == other.segments
    }

    /// The name of a segment's blob.
    #[must_use]
    pub fn blob(&self, segment: usize) -> String {
        let named = self
            .segments
            .get(segment)
            .and_then(|segment| segment.blob.clone());
        named.unwrap_or_else(|| blob_name(segment))
    }

    /// The pieces that make up the bytes from `first` to `last`, both included, in order. What lies past the end is
    /// left out.
    #[must_use]
    pub fn pieces(&self, first: u64, last: u64) -> Vec<Piece> {
        let end = last.saturating_add(1);
        let mut start_of_segment = 0u64;
        let mut pieces = Vec::new();
        for (segment, Segment { length, .. }) in self.segments.iter().enumerate() {
            let end_of_segment = start_of_segment.saturating_add(*length);
            let from = first.max(start_of_segment);
            let to = end.min(end_of_segment);
            if from < to {
                pieces.push(Piece {
                    segment,
                    offset: from.saturating_sub(start_of_segment),
                    length: to.saturating_sub(from),
                });
            }
            start_of_segment = end_of_segment;
        }
        pieces
    }
}

/// `file_<12 hex digits of the time><20 random hex digits>`. Time first, so that ids sort by creation and a list can go
/// on after a document that was deleted meanwhile.
#[must_use]
pub fn document_id(now: Millis, random: &[u8; ID_RANDOM_BYTES]) -> String {
    let time = now.0.to_be_bytes();
    let (_, low) = time.split_at(2); // 48 bits of milliseconds last until the year 10889
    format!("file_{}{}", hex(low), hex(random))
}

/// Could this be an id that [`document_id`] made?
#[must_use]
pub fn is_document_id(id: &str) -> bool {
    id.strip_prefix("file_").is_some_and(is_digits)
}

/// The id of the upload that is to become that document.
#[must_use]
pub fn upload_id(document: &str) -> String {
    let digits = document.strip_prefix("file_").unwrap_or(document);
    ["upload_", digits].concat()
}

/// The document that an upload is to become; `None` for what is no upload's id.
#[must_use]
pub fn document_of_upload(id: &str) -> Option<String> {
    let digits = id
        .strip_prefix("upload_")
        .filter(|digits| is_digits(digits))?;
    Some(["file_", digits].concat())
}

/// `part_<32 random hex digits>`
#[must_use]
pub fn part_id(random: &[u8; 16]) -> String {
    ["part_", &hex(random)].concat()
}

fn is_digits(digits: &str) -> bool {
    digits.len() == 32
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The name of a segment's blob within its document.
#[must_use]
pub fn blob_name(segment: usize) -> String {
    format!("{segment:05}")
}

/// In front of the names of the blobs of a later version. A part's begin with a hex digit.
const VERSION_MARK: char = 'v';

/// The name of a segment's blob of that version: the first one's are those of their places. `mark` tells it from that of
/// another attempt to store the same version, which may still be writing.
#[must_use]
pub fn version_blob(version: u32, mark: &str, segment: usize) -> String {
    if version <= 1 {
        blob_name(segment)
    } else {
        format!("{VERSION_MARK}{version}-{mark}-{segment:05}")
    }
}

/// Where a version is noted beside its document: while it is stored, and when there is a later one.
#[must_use]
pub fn version_row(id: &str, version: u32) -> String {
    format!("{id}@{version:05}")
}

/// Under which name a version is stored and charged: the first one's is the document's id.
#[must_use]
pub fn slot(id: &str, version: u32) -> String {
    if version <= 1 {
        id.to_owned()
    } else {
        version_row(id, version)
    }
}

/// The name of the blob of a part's segment within the document that the part is to belong to.
#[must_use]
pub fn part_blob(part: &str, segment: usize) -> String {
    let digits = part.strip_prefix("part_").unwrap_or(part);
    format!("{digits}-{segment:05}")
}

/// The key of a blob.
#[must_use]
pub fn blob_key(owner: &str, id: &str, name: &str) -> String {
    format!("docs/{owner}/{id}/{name}")
}

/// How many segments content of at most `bytes` can have.
#[must_use]
pub fn segments_for(bytes: u64, segment_bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(segment_bytes.max(1))).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{
        Document, Piece, Purpose, Segment, blob_key, blob_name, document_id, document_of_upload,
        is_document_id, part_blob, part_id, segments_for, slot, upload_id, version_blob,
        version_row,
    };
    use crate::base::time::Millis;

    pub(crate) fn document(id: &str, lengths: &[u64]) -> Document {
        Document {
            id: id.into(),
            owner: "vis_1".into(),
            filename: "a.txt".into(),
            purpose: Purpose::UserData,
            content_type: "text/plain; charset=utf-8".into(),
            bytes: lengths.iter().sum(),
            sha256: "00".repeat(32),
            segments: lengths
                .iter()
                .map(|length| Segment {
                    length: *length,
                    header: None,
                    blob: None,
                })
                .collect(),
            version: 1,
            created: Millis(1_000),
            expires: Millis(9_000),
            network: "n1".into(),
            key: None,
            about: Box::default(),
        }
    }

    #[test]
    fn the_stored_form_is_pinned() {
        // A change here makes every stored document unreadable: its owner would find an empty list and its blobs
        // would never be removed.
        let stored = r#"{"id":"file_1","owner":"vis_1","filename":"a.txt","purpose":"fine-tune","content_type":"text/plain; charset=utf-8","bytes":9,"sha256":"0000000000000000000000000000000000000000000000000000000000000000","segments":[{"length":4},{"length":5}],"version":1,"created":1000,"expires":9000,"network":"n1"}"#;
        let mut expected = document("file_1", &[4, 5]);
        expected.purpose = Purpose::FineTune;
        assert_eq!(serde_json::from_str::<Document>(stored).unwrap(), expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), stored);
        // Since documents are sealed:
        let sealed = stored
            .replace(r#"{"length":4}"#, r#"{"length":4,"header":"h","blob":"b"}"#)
            .replace(r#""network":"n1""#, r#""network":"n1","key":"k""#);
        expected.segments[0].header = Some("h".into());
        expected.segments[0].blob = Some("b".into());
        expected.key = Some("k".into());
        assert_eq!(serde_json::from_str::<Document>(&sealed).unwrap(), expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), sealed);
        // Since more is known of them:
        let known = sealed.replace(r#""key":"k""#, r#""key":"k","about":{"epoch":3}"#);
        expected.about.epoch = 3;
        assert_eq!(serde_json::from_str::<Document>(&known).unwrap(), expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), known);
    }

    #[test]
    fn a_version_has_blobs_and_a_slot_of_its_own() {
        assert_eq!(version_blob(1, "", 2), "00002");
        assert_eq!(version_blob(2, "0a", 2), "v2-0a-00002");
        assert_eq!(slot("file_1", 1), "file_1");
        assert_eq!(slot("file_1", 2), "file_1@00002");
        assert_eq!(version_row("file_1", 1), "file_1@00001");
        let mut document = document("file_1", &[1]);
        for (blob, of_parts) in [
            (None, false),
            (Some("v2-0a-00000"), false),
            (Some("0a-00000"), true),
        ] {
            document.segments[0].blob = blob.map(str::to_owned);
            assert_eq!(document.is_of_parts(), of_parts);
        }
    }

    #[test]
    fn keys_are_pinned() {
        // A change here orphans every stored segment.
        let key = |name: &str| blob_key("vis_1", "file_2", name);
        assert_eq!(key(&blob_name(3)), "docs/vis_1/file_2/00003");
        assert_eq!(key(&part_blob("part_0a", 3)), "docs/vis_1/file_2/0a-00003");
    }

    #[test]
    fn purposes_have_one_word_each() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::from_name(purpose.as_str()), Some(purpose));
            let json = format!("\"{}\"", purpose.as_str());
            assert_eq!(serde_json::to_string(&purpose).unwrap(), json);
        }
        assert_eq!(Purpose::from_name("other"), None);
    }

    #[test]
    fn ids_sort_by_time_and_are_recognised() {
        let older = document_id(Millis(0x0123_4567_89ab), &[0xff; 10]);
        let newer = document_id(Millis(0x0123_4567_89ac), &[0; 10]);
        assert_eq!(older, format!("file_0123456789ab{}", "ff".repeat(10)));
        assert!(older < newer);
        assert!(is_document_id(&older) && is_document_id(&newer));
        for bad in [
            "",
            "file_",
            "file_1",
            &older[1..],
            &format!("{older}0"),
            &older.replace('f', "F"),
        ] {
            assert!(!is_document_id(bad), "{bad}");
        }
        let upload = upload_id(&older);
        assert_eq!(upload, older.replace("file_", "upload_"));
        assert_eq!(document_of_upload(&upload), Some(older.clone()));
        for bad in ["", "upload_", &older, &upload[1..], &format!("{upload}/")] {
            assert_eq!(document_of_upload(bad), None, "{bad}");
        }
        assert_eq!(part_id(&[0xab; 16]), format!("part_{}", "ab".repeat(16)));
    }

    #[test]
    fn every_range_maps_to_exactly_its_bytes() {
        for lengths in [&[1][..], &[3, 3, 1], &[4, 4, 4], &[1, 1, 1, 1]] {
            let document = document("file_1", lengths);
            let positions: Vec<(usize, u64)> = lengths
                .iter()
                .enumerate()
                .flat_map(|(segment, length)| (0..*length).map(move |offset| (segment, offset)))
                .collect();
            for first in 0..positions.len() {
                for last in first..positions.len() + 2 {
                    let pieces = document.pieces(first as u64, last as u64);
                    let found: Vec<(usize, u64)> = pieces
                        .iter()
                        .flat_map(|p| (p.offset..p.offset + p.length).map(|at| (p.segment, at)))
                        .collect();
                    assert_eq!(found, positions[first..positions.len().min(last + 1)]);
                }
            }
            assert_eq!(document.pieces(positions.len() as u64, u64::MAX), []);
        }
        let whole = document("file_1", &[8, 2]).pieces(0, 9);
        let expected = [
            Piece {
                segment: 0,
                offset: 0,
                length: 8,
            },
            Piece {
                segment: 1,
                offset: 0,
                length: 2,
            },
        ];
        assert_eq!(whole, expected);
    }

    #[test]
    fn segments_are_counted_to_the_last_partial_one() {
        for (bytes, expected) in [(0, 0), (1, 1), (8, 1), (9, 2), (16, 2), (17, 3)] {
            assert_eq!(segments_for(bytes, 8), expected, "{bytes}");
        }
    }
}
