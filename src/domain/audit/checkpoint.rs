//! Checkpoints: a tree's size and root, signed (C2SP tlog-checkpoint, signed-note).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::tree::Hash;
use crate::base::digest::{Bytes32, hex, sha256};

/// Signature type of Ed25519 (C2SP signed-note).
const ED25519: u8 = 1;
/// Signature lines that are read of a note.
const MAX_SIGNATURES: usize = 16;
/// Longest note that is read, in bytes; ours have about 250.
pub const MAX_NOTE_BYTES: usize = 4096;

/// A tree head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

impl Checkpoint {
    /// What is signed: origin, size and root, each on a line.
    #[must_use]
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root.0);
        [
            &self.origin,
            "\n",
            &self.size.to_string(),
            "\n",
            &root,
            "\n",
        ]
        .concat()
    }

    /// The signed note.
    #[must_use]
    pub fn signed(&self, key: &Key, signature: &[u8]) -> String {
        let bytes = [&key.id(), signature].concat();
        let signature = STANDARD.encode(bytes);
        [
            &self.text(),
            "\n\u{2014} ",
            &key.name,
            " ",
            &signature,
            "\n",
        ]
        .concat()
    }
}

/// The public key that a log signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The log's origin: neither spaces nor `+`.
    pub name: String,
    /// Ed25519.
    pub public: Bytes32,
}

impl Key {
    /// The first four bytes of `SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)`.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let text = [self.name.as_bytes(), b"\n", &[ED25519], &self.public].concat();
        let [a, b, c, d, ..] = sha256(&text);
        [a, b, c, d]
    }

    /// The verifier key, as tools take it: `<name>+<id>+<type and key>`.
    #[must_use]
    pub fn vkey(&self) -> String {
        let key = STANDARD.encode([&[ED25519][..], &self.public].concat());
        [&self.name, "+", &hex(&self.id()), "+", &key].concat()
    }
}

/// A note that was read. Nothing is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The bytes that the signatures are over.
    pub text: String,
    signatures: Vec<(String, Vec<u8>)>,
}

impl Note {
    /// Reads a signed checkpoint; only the one way to write it is accepted. Extension lines are not: we sign none.
    #[must_use]
    pub fn parse(note: &str) -> Option<Self> {
        if note.len() > MAX_NOTE_BYTES {
            return None;
        }
        let (text, lines) = note.split_once("\n\n")?;
        let text = [text, "\n"].concat();
        let mut fields = text.lines();
        let checkpoint = Checkpoint {
            origin: fields
                .next()
                .filter(|origin| !origin.is_empty())?
                .to_owned(),
            size: fields.next()?.parse().ok()?,
            root: Hash(STANDARD.decode(fields.next()?).ok()?.try_into().ok()?),
        };
        if checkpoint.text() != text {
            return None;
        }
        let lines: Vec<&str> = lines.strip_suffix('\n')?.split('\n').collect();
        if lines.len() > MAX_SIGNATURES {
            return None;
        }
        let signatures = lines.into_iter().map(|line| {
            let (name, bytes) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            Some((name.to_owned(), STANDARD.decode(bytes).ok()?))
        });
        Some(Self {
            checkpoint,
            signatures: signatures.collect::<Option<_>>()?,
            text,
        })
    }

    /// The signature by that key, to be verified.
    #[must_use]
    pub fn signature(&self, key: &Key) -> Option<&[u8]> {
        let id = key.id();
        let ours = |(name, bytes): &&(String, Vec<u8>)| *name == key.name && bytes.starts_with(&id);
        let (_, bytes) = self.signatures.iter().find(ours)?;
        bytes.get(id.len()..)
    }
}
