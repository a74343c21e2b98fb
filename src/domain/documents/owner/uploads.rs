//! Uploads in parts (OpenAI's `/v1/uploads`): a row of the owner from its creation until it has become a document, or
//! its time is over.
//!
//! ```text
//! (nothing) ──Begin──▶ open ──Complete──▶ a document
//!                       └──Cancel, expiry──▶ removed
//! part: (nothing) ──BeginPart──▶ writing ──CommitPart──▶ stored
//!                                   └──AbortPart, its deadline──▶ removed
//! ```
//! What a part that goes leaves behind becomes a removed row of its own, so that its blobs are not forgotten. While a
//! part can still be writing, they are not deleted either: what is written after that would stay.

use serde::{Deserialize, Serialize};

use super::{Intent, OwnerDocuments, Purge, Row};
use crate::base::machine::Effects;
use crate::base::time::Millis;
use crate::domain::documents::manifest::{Document, Purpose, Segment, part_blob};

#[cfg(test)]
mod tests;

/// Most parts of an upload.
pub const MAX_PARTS: usize = 1000;

/// Most parts of an upload that are written at a time.
pub const MAX_PARTS_AT_ONCE: usize = 16;

/// How long after a part's deadline its last write may still arrive: 5 min × 60 s.
pub const LATE_WRITE: Millis = Millis::from_secs(300);

/// An upload that is not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploading {
    /// The document that it is to become; `reserved` are the bytes that it must come to, and when it is `abandoned` its
    /// time is over.
    pub intent: Intent,
    /// As in [`Document::filename`].
    pub filename: String,
    /// As in [`Document::purpose`].
    pub purpose: Purpose,
    /// The type that the caller named.
    pub declared: String,
    /// How long the caller wants the document kept at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Millis>,
    /// When it was created.
    pub created: Millis,
    /// The document's data key, wrapped: no part is written before it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// In order of arrival.
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `part_<32 hex digits>`
    pub id: String,
    /// Its place among the others, where the caller named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// When it began to arrive.
    pub created: Millis,
    /// How far it is.
    #[serde(flatten)]
    pub state: PartState,
}

/// How far a part is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum PartState {
    /// Its segments are being written.
    Writing {
        /// None is written after that.
        until: Millis,
        /// The most segments that it can come to.
        segments: usize,
    },
    /// All of it is durable.
    Stored(Stored),
}

/// What was stored of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, 64 hex digits.
    pub sha256: String,
    /// In order; each names its blob.
    pub segments: Vec<Segment>,
}

impl Part {
    /// What was stored; `None` while it is written.
    #[must_use]
    pub const fn stored(&self) -> Option<&Stored> {
        match &self.state {
            PartState::Stored(stored) => Some(stored),
            PartState::Writing { .. } => None,
        }
    }

    /// The names of its blobs; some may never have been written.
    fn blobs(&self) -> Vec<String> {
        let count = match &self.state {
            PartState::Writing { segments, .. } => *segments,
            PartState::Stored(stored) => stored.segments.len(),
        };
        (0..count)
            .map(|segment| part_blob(&self.id, segment))
            .collect()
    }

    /// From when on its blobs can be deleted for good.
    const fn settled(&self) -> Option<Millis> {
        match self.state {
            PartState::Writing { until, .. } => Some(until.plus(LATE_WRITE)),
            PartState::Stored(_) => None,
        }
    }
}

/// What may be asked about an upload. Every command may be repeated without changing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "upload", rename_all = "snake_case")]
pub enum Ask {
    /// Its data key was made; the one that came first counts.
    Key {
        /// The wrapped key.
        key: String,
    },
    /// All of it.
    Get,
    /// A part is about to be written.
    BeginPart {
        /// Which; it is [`PartState::Writing`].
        part: Part,
    },
    /// A part is durable.
    CommitPart {
        /// The part's id.
        part: String,
        /// Its place among the others, where the caller named it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u32>,
        /// What it came to.
        stored: Stored,
    },
    /// A part will not be stored; the writer writes no more of it.
    AbortPart {
        /// The part's id.
        part: String,
    },
    /// It is the document from now on, made of these parts in this order.
    Complete {
        /// Their ids.
        parts: Vec<String>,
        /// All of the document.
        document: Document,
    },
    /// It will not become a document.
    Cancel,
}

/// What an owner answers about an upload, beside `NotFound`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub enum Told {
    /// It stands so.
    Open {
        /// All of it.
        upload: Box<Uploading>,
        /// The owner's key, sealed by the keyring.
        owner_key: String,
    },
    /// It has become this document.
    Completed {
        /// Which.
        document: Box<Document>,
        /// Are there blobs to be deleted that it is not made of?
        left: Vec<Purge>,
    },
    /// The part is stored: this one, or an equal one that was there before.
    Stored {
        /// Which.
        part: Part,
        /// What is to be deleted in its favour.
        left: Vec<Purge>,
    },
    /// It cannot be.
    Refused {
        /// Why.
        why: Why,
        /// What is to be deleted.
        left: Vec<Purge>,
    },
    /// These are gone; their blobs and quota are still to be given back.
    Gone {
        /// What is to be deleted.
        left: Vec<Purge>,
    },
}

/// Why something cannot be done with an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// There are [`MAX_PARTS`].
    TooMany,
    /// [`MAX_PARTS_AT_ONCE`] are being written.
    AtOnce,
    /// Its parts would have more bytes than it was created with.
    TooLong,
    /// Its parts have fewer or more bytes than it was created with.
    Length,
    /// A part is named that is not there, or is not stored.
    Part,
    /// The numbers of the parts stand in another order.
    Order,
}

impl OwnerDocuments {
    /// Answers what is asked about the upload that is to become that document; `None` when there is none.
    pub(super) fn ask_upload(
        &mut self,
        now: Millis,
        id: &str,
        ask: Ask,
    ) -> (Option<Told>, Effects) {
        let row = self.rows.get(id).filter(|row| !row.is_over(now)).cloned();
        let told = match (row, ask) {
            (Some(Row::Open(upload)), ask) => return self.ask_open(now, *upload, ask),
            (Some(Row::Ready(document)), Ask::Get) if document.is_of_parts() => Told::Completed {
                document: Box::new(document),
                left: Vec::new(),
            },
            // The answer was lost: the same parts give it again.
            (Some(Row::Ready(document)), Ask::Complete { parts, .. })
                if made_of(&document, &parts) =>
            {
                Told::Completed {
                    document: Box::new(document),
                    left: Vec::new(),
                }
            }
            (Some(Row::Removed(purge)), Ask::Cancel) => Told::Gone {
                left: ready(now, vec![purge]),
            },
            _ => return (None, Effects::default()),
        };
        (Some(told), Effects::default())
    }

    fn ask_open(
        &mut self,
        now: Millis,
        mut upload: Uploading,
        ask: Ask,
    ) -> (Option<Told>, Effects) {
        match ask {
            Ask::Get => (Some(self.told(upload)), Effects::default()),
            Ask::Key { key } => {
                upload.key.get_or_insert(key);
                let effects = self.put_open(&upload);
                (Some(self.told(upload)), effects)
            }
            Ask::BeginPart { part } => self.begin_part(now, upload, part),
            Ask::CommitPart {
                part,
                number,
                stored,
            } => self.commit_part(upload, &part, number, stored),
            Ask::AbortPart { part } => {
                let writing = |known: &Part| known.id == part && known.stored().is_none();
                let Some(at) = upload.parts.iter().position(writing) else {
                    return (None, Effects::default());
                };
                let gone = upload.parts.remove(at);
                // Its writer says so itself: nothing of it is under way.
                let (left, effects) = self.give_up(&upload, vec![gone], false);
                (Some(Told::Gone { left }), effects)
            }
            Ask::Complete { parts, document } => self.complete(now, upload, &parts, document),
            Ask::Cancel => {
                let purge = purge_of(now, &upload);
                let effects = self.put(upload.intent.id, Row::Removed(purge.clone()));
                (
                    Some(Told::Gone {
                        left: ready(now, vec![purge]),
                    }),
                    effects,
                )
            }
        }
    }

    fn begin_part(
        &mut self,
        now: Millis,
        mut upload: Uploading,
        mut part: Part,
    ) -> (Option<Told>, Effects) {
        if upload.key.is_none() {
            return (None, Effects::default());
        }
        if upload.parts.iter().any(|known| known.id == part.id) {
            return (Some(self.told(upload)), Effects::default());
        }
        // Nothing may be written once the upload itself is swept.
        let last = Millis(upload.intent.abandoned.0.saturating_sub(LATE_WRITE.0));
        match &mut part.state {
            PartState::Writing { until, .. } if now < last => *until = last.min(*until),
            _ => return (None, Effects::default()),
        }
        // Whoever wrote these is lost.
        let late = |part: &Part| part.settled().is_some_and(|settled| settled <= now);
        let lost = upload.parts.extract_if(.., |part| late(part)).collect();
        let (left, effects) = self.give_up(&upload, lost, false);
        let writing = upload.parts.iter().filter(|part| part.stored().is_none());
        let why = if upload.parts.len() >= MAX_PARTS {
            Why::TooMany
        } else if writing.count() >= MAX_PARTS_AT_ONCE {
            Why::AtOnce
        } else {
            upload.parts.push(part);
            let effects = effects.then(self.put_open(&upload));
            return (Some(self.told(upload)), effects);
        };
        (Some(Told::Refused { why, left }), effects)
    }

    fn commit_part(
        &mut self,
        mut upload: Uploading,
        id: &str,
        number: Option<u32>,
        stored: Stored,
    ) -> (Option<Told>, Effects) {
        let Some(at) = upload.parts.iter().position(|part| part.id == id) else {
            return (None, Effects::default());
        };
        let mut part = upload.parts.remove(at);
        if let Some(known) = part.stored() {
            let told = (*known == stored).then(|| Told::Stored {
                part: part.clone(),
                left: Vec::new(),
            });
            return (told, Effects::default());
        }
        part.number = number;
        // The same content in the same place: its answer was lost, and it was sent again.
        let same = |other: &&Part| {
            other.number == part.number
                && other.stored().is_some_and(|known| {
                    known.bytes == stored.bytes && known.sha256 == stored.sha256
                })
        };
        if let Some(same) = upload.parts.iter().find(same).cloned() {
            let (left, effects) = self.give_up(&upload, vec![part], false);
            return (Some(Told::Stored { part: same, left }), effects);
        }
        let replaced = upload.parts.extract_if(.., |other| {
            other.number.is_some() && other.number == part.number && other.stored().is_some()
        });
        let replaced: Vec<Part> = replaced.collect();
        let others = upload.parts.iter().filter_map(Part::stored);
        let total = others.fold(stored.bytes, |sum, other| sum.saturating_add(other.bytes));
        if total > upload.intent.reserved {
            upload.parts.extend(replaced);
            let (left, effects) = self.give_up(&upload, vec![part], false);
            let why = Why::TooLong;
            return (Some(Told::Refused { why, left }), effects);
        }
        part.state = PartState::Stored(stored);
        upload
            .parts
            .insert(at.min(upload.parts.len()), part.clone());
        let (left, effects) = self.give_up(&upload, replaced, false);
        (Some(Told::Stored { part, left }), effects)
    }

    fn complete(
        &mut self,
        now: Millis,
        upload: Uploading,
        ids: &[String],
        document: Document,
    ) -> (Option<Told>, Effects) {
        let refused = |why| {
            let left = Vec::new();
            (Some(Told::Refused { why, left }), Effects::default())
        };
        let found = ids
            .iter()
            .map(|id| upload.parts.iter().find(|part| part.id == *id));
        let Some(parts) = found.collect::<Option<Vec<&Part>>>() else {
            return refused(Why::Part);
        };
        let Some(stored) = parts
            .iter()
            .map(|part| part.stored())
            .collect::<Option<Vec<_>>>()
        else {
            return refused(Why::Part);
        };
        let numbers: Vec<u32> = parts.iter().filter_map(|part| part.number).collect();
        if !numbers.is_sorted_by(|a, b| a < b) {
            return refused(Why::Order);
        }
        let bytes = stored
            .iter()
            .fold(0u64, |sum, part| sum.saturating_add(part.bytes));
        if bytes != upload.intent.reserved || document.bytes != bytes {
            return refused(Why::Length);
        }
        let segments = stored.iter().flat_map(|part| &part.segments);
        if document.id != upload.intent.id || !segments.eq(&document.segments) {
            return refused(Why::Part);
        }
        let unused = upload.parts.iter().filter(|part| !ids.contains(&part.id));
        let unused = unused.cloned().collect();
        let (left, effects) = self.give_up(&upload, unused, true);
        let effects = effects.then(self.put(upload.intent.id, Row::Ready(document.clone())));
        let told = Told::Completed {
            document: Box::new(document),
            left: ready(now, left),
        };
        (Some(told), effects)
    }

    fn told(&self, upload: Uploading) -> Told {
        Told::Open {
            upload: Box::new(upload),
            owner_key: self.owner_key.clone().unwrap_or_default(),
        }
    }

    fn put_open(&mut self, upload: &Uploading) -> Effects {
        self.put(
            upload.intent.id.clone(),
            Row::Open(Box::new(upload.clone())),
        )
    }

    /// Stores the upload without these parts, each of which becomes a removed row. `living` says that some may still be
    /// written.
    fn give_up(
        &mut self,
        upload: &Uploading,
        parts: Vec<Part>,
        living: bool,
    ) -> (Vec<Purge>, Effects) {
        let mut effects = self.put_open(upload);
        let mut left = Vec::new();
        for part in parts {
            let purge = Purge {
                id: [&upload.intent.id, "~", &part.id].concat(),
                owner: upload.intent.owner.clone(),
                network: upload.intent.network.clone(),
                segments: 0,
                charge: None,
                noted: Vec::new(),
                document: Some(upload.intent.id.clone()),
                blobs: part.blobs(),
                after: part.settled().filter(|_| living),
            };
            effects = effects.then(self.put(purge.id.clone(), Row::Removed(purge.clone())));
            left.push(purge);
        }
        (left, effects)
    }
}

/// Those that can be deleted by now.
fn ready(now: Millis, purges: Vec<Purge>) -> Vec<Purge> {
    let mut purges = purges;
    purges.retain(|purge| purge.after.is_none_or(|after| after <= now));
    purges
}

/// What is left of an upload that ends.
pub(super) fn purge_of(now: Millis, upload: &Uploading) -> Purge {
    let settled = upload.parts.iter().filter_map(Part::settled);
    Purge {
        id: upload.intent.id.clone(),
        owner: upload.intent.owner.clone(),
        network: upload.intent.network.clone(),
        segments: 0,
        charge: None,
        noted: Vec::new(),
        document: None,
        blobs: upload.parts.iter().flat_map(Part::blobs).collect(),
        after: settled.max().filter(|after| *after > now),
    }
}

/// Is the document made of these parts, in this order?
fn made_of(document: &Document, parts: &[String]) -> bool {
    let mut segments = document.segments.iter().peekable();
    let whole = parts.iter().all(|part| {
        let mut taken = 0usize;
        while segments
            .next_if(|segment| segment.blob.as_ref() == Some(&part_blob(part, taken)))
            .is_some()
        {
            taken = taken.saturating_add(1);
        }
        taken > 0
    });
    whole && segments.next().is_none()
}
