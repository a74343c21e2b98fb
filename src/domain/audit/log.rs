//! The log's object: appends, keeps the right edge and what is not in a flushed tile yet, and never forgets what it
//! signed.
//!
//! Rows: `log/f` full tiles that are flushed; `log/t/<level>` hashes of the unfinished tile of a level above 0;
//! `log/e/<index>` an entry that is not flushed; `log/i/<tile>` ids of a flushed tile's entries; `log/c` the newest
//! checkpoint; `log/z` the sizes of the newest ones; `log/m` the last size that was mirrored; `log/s/<subject>` a
//! subject's key, wrapped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tiles::{
    Kind, TILE_ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile, bundle, hash_bytes, index_path,
};
use super::tree::{Edge, Hash, leaf_hash, root};
use crate::base::digest::base64url;
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

/// Entries that are not flushed: 16 tiles. Beyond it nothing is appended until some are.
pub const MAX_UNFLUSHED: usize = 4096; // 16 × 256
/// Entries of one command.
pub const MAX_BATCH: usize = 256;
/// Longest leaf, in bytes.
pub const MAX_LEAF: usize = 4096;
/// Longest id of an entry, in bytes.
pub const MAX_ID: usize = 128;
/// Most bytes of an entry's sealed parts.
pub const MAX_SEALED: usize = 8192;
/// An entry that is appended again is recognized among those that are not flushed and those of the last 40 flushed
/// tiles: at least 10,000 (40 × 256 = 10,240). An older one would stand twice.
pub const ID_TILES: u64 = 40;
/// Sizes of checkpoints that are remembered.
pub const MAX_SIZES: usize = 100;
/// Longest checkpoint, in bytes.
pub const MAX_CHECKPOINT: usize = 4096;
/// Subjects that have a key. Beyond it what is personal about a new one is not kept.
pub const MAX_SUBJECTS: usize = 20_000;

/// What may be asked of the log. Every command may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Appends entries that are not there yet, and erases subjects, in one transaction.
    #[serde(rename = "a")]
    Append {
        /// At most [`MAX_BATCH`].
        entries: Vec<Kept>,
        /// Subjects whose keys go.
        erase: Vec<String>,
    },
    /// How is it?
    #[serde(rename = "st")]
    Status,
    /// The keys of these subjects; who has none gets the one that comes along.
    #[serde(rename = "sk")]
    Subjects(Vec<Subject>),
    /// The wrapped keys with these ids.
    #[serde(rename = "k")]
    Keys(Vec<String>),
    /// Keeps a signed checkpoint.
    #[serde(rename = "cp")]
    StoreCheckpoint {
        /// Leaves.
        size: u64,
        /// Root of the tree.
        root: Hash,
        /// The signed note.
        text: String,
    },
    /// What is to be flushed next?
    #[serde(rename = "due")]
    Due,
    /// This full tile, and what goes with it, is stored.
    #[serde(rename = "fl")]
    Flushed(u64),
    /// The hashes of a tile that are not flushed.
    #[serde(rename = "t")]
    Tile(u8, u64),
    /// Entries that are not flushed, from the first index to before the second.
    #[serde(rename = "e")]
    Entries(u64, u64),
    /// The checkpoint of this size was mirrored.
    #[serde(rename = "m")]
    Mirrored(u64),
}

/// An entry as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept(
    /// Id.
    pub String,
    /// Leaf.
    pub String,
    /// What is personal, sealed.
    pub Vec<Sealed>,
);

/// Fields that are sealed under a subject's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(
    /// `who` or `what`.
    pub String,
    /// The key's id, which says nothing about its subject.
    pub String,
    /// The sealed text.
    pub String,
);

/// A subject's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Whose.
    #[serde(rename = "s")]
    pub subject: String,
    /// The key's id.
    #[serde(rename = "k")]
    pub kid: String,
    /// The key, wrapped.
    #[serde(rename = "w")]
    pub wrapped: String,
    /// A new key is kept only below so many: the last places are for those who matter most.
    #[serde(rename = "m")]
    pub most: u32,
}

/// What the log answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Indexes of the entries in their order; one that was there before has its old one.
    #[serde(rename = "a")]
    Appended(Vec<u64>, Status),
    /// How it is.
    #[serde(rename = "st")]
    Status(Status),
    /// The subjects' keys, (id, wrapped); `None` where there is no place for one more.
    #[serde(rename = "sk")]
    Keys(Vec<Option<(String, String)>>),
    /// The next full tile; `None` while there is none.
    #[serde(rename = "due")]
    Due(Option<Due>),
    /// Hashes in base64url. `None`: they are flushed, or not there.
    #[serde(rename = "t")]
    Hashes(Option<String>),
    /// Entries from the first index that is not flushed or asked for.
    #[serde(rename = "e")]
    Entries(u64, Vec<Kept>),
    /// Done.
    #[serde(rename = "ok")]
    Done,
    /// Not done.
    #[serde(rename = "no")]
    Refused(Why),
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// [`MAX_UNFLUSHED`] entries wait to be flushed.
    Full,
    /// An entry or a checkpoint is larger than any we make.
    TooLarge,
    /// The checkpoint is older than one that is kept.
    Stale,
    /// The checkpoint is not of this log.
    Inconsistent,
}

/// How the log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Full tiles that are flushed.
    pub flushed: u64,
    /// The newest checkpoint.
    pub checkpoint: Option<Signed>,
    /// The last size that was mirrored.
    pub mirrored: u64,
    /// Sizes of the newest checkpoints, the newest last.
    pub sizes: Vec<u64>,
    /// The rows do not match the newest checkpoint: somebody changed them. Nothing is signed any more.
    pub damaged: bool,
}

/// A checkpoint that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// The signed note.
    pub text: String,
    /// When it was kept.
    pub at: Millis,
}

/// A full tile and what is stored with it, as (path, bytes in base64url). It is the same each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The tile's index; for [`Command::Flushed`].
    pub tile: u64,
    /// What to store.
    pub blobs: Vec<(String, String)>,
}

/// The path of the sealed fields of a tile's entries: a JSON array of an array of [`Sealed`] for each.
#[must_use]
pub fn personal_path(tile: u64) -> String {
    ["personal/", &index_path(tile)].concat()
}

const FLUSHED: &str = "log/f";
const LEVEL: &str = "log/t/";
const ENTRY: &str = "log/e/";
const IDS: &str = "log/i/";
const CHECKPOINT: &str = "log/c";
const SIZES: &str = "log/z";
const MIRRORED: &str = "log/m";
const SUBJECT: &str = "log/s/";

/// The log.
#[derive(Debug, Default)]
pub struct AuditLog {
    /// Full tiles that are flushed.
    flushed: u64,
    /// Unfinished tiles of the levels above 0, as of `flushed`; the first is level 1.
    levels: Vec<Vec<Hash>>,
    /// What is not flushed.
    entries: Vec<Kept>,
    hashes: Vec<Hash>,
    /// Edges of the tree of flushed leaves, and of all.
    base: Edge,
    edge: Edge,
    /// Index of each entry that would be recognized.
    ids: BTreeMap<String, u64>,
    id_tiles: BTreeMap<u64, Vec<String>>,
    checkpoint: Option<Signed>,
    sizes: Vec<u64>,
    mirrored: u64,
    subjects: BTreeMap<String, (String, String)>,
    kids: BTreeMap<String, String>,
    damaged: bool,
}

impl Machine for AuditLog {
    type Command = Command;
    type Reply = Reply;

    fn load(_now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut log = Self::default();
        let mut entries: BTreeMap<u64, Kept> = BTreeMap::new();
        let mut levels: BTreeMap<u8, Vec<Hash>> = BTreeMap::new();
        for (key, value) in rows {
            log.load_row(&key, &value, &mut entries, &mut levels);
        }
        // A level without hashes has no row; the highest one has.
        let highest = levels.last_key_value().map_or(0, |(level, _)| *level);
        log.levels = (1..=highest)
            .map(|level| levels.remove(&level).unwrap_or_default())
            .collect();
        for (tile, ids) in &log.id_tiles {
            for (index, id) in (tile.saturating_mul(TILE_ENTRIES)..).zip(ids) {
                log.ids.insert(id.clone(), index);
            }
        }
        for (height, level) in (1..).zip(&log.levels).collect::<Vec<_>>().into_iter().rev() {
            for hash in level {
                log.base.push(TILE_HEIGHT.saturating_mul(height), *hash);
            }
        }
        log.edge = log.base.clone();
        for (index, entry) in entries {
            // After a gap nothing can be told apart from what was never there; the checkpoint shows it.
            if index == log.size() {
                log.push(entry);
            }
        }
        log.damaged = log.checkpoint.as_ref().is_some_and(|signed| {
            let known = signed.size >= log.first();
            known && log.root_at(signed.size) != Some(signed.root)
        });
        log
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let none = Effects::default();
        match command {
            Command::Append { entries, erase } => self.append(entries, &erase),
            Command::Status => (Reply::Status(self.status()), none),
            Command::Subjects(subjects) => self.keys_of(subjects),
            Command::Keys(kids) => {
                let key = |kid: String| Some((self.kids.get(&kid)?.clone(), kid));
                let keys = kids.into_iter().map(key);
                let keys = keys.map(|key| key.map(|(wrapped, kid)| (kid, wrapped)));
                (Reply::Keys(keys.collect()), none)
            }
            Command::StoreCheckpoint { size, root, text } => {
                let signed = Signed {
                    size,
                    root,
                    text,
                    at: now,
                };
                self.store(signed)
            }
            Command::Due => (Reply::Due(self.due()), none),
            Command::Flushed(tile) => (Reply::Done, self.flush(tile)),
            Command::Tile(level, index) => {
                let hashes = self.tile(level, index);
                let text = hashes.map(|hashes| base64url(&hash_bytes(&hashes)));
                (Reply::Hashes(text), none)
            }
            Command::Entries(from, to) => {
                let from = from.max(self.first());
                let skip = usize::try_from(from.saturating_sub(self.first())).unwrap_or(usize::MAX);
                let take = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
                let entries = self.entries.iter().skip(skip).take(take).cloned();
                (Reply::Entries(from, entries.collect()), none)
            }
            Command::Mirrored(size) => (Reply::Done, self.mirrored(size)),
        }
    }

    /// Nothing is due by itself: the cron asks.
    fn wake(&mut self, _now: Millis) -> Effects {
        Effects::default()
    }
}

impl AuditLog {
    fn load_row(
        &mut self,
        key: &str,
        value: &str,
        entries: &mut BTreeMap<u64, Kept>,
        levels: &mut BTreeMap<u8, Vec<Hash>>,
    ) {
        let numbered = |prefix| {
            let digits = key.strip_prefix(prefix)?;
            u64::from_str_radix(digits, 16).ok()
        };
        match key {
            FLUSHED => self.flushed = value.parse().unwrap_or(0),
            CHECKPOINT => self.checkpoint = serde_json::from_str(value).ok(),
            SIZES => self.sizes = serde_json::from_str(value).unwrap_or_default(),
            MIRRORED => self.mirrored = value.parse().unwrap_or(0),
            _ => {
                if let Some(index) = numbered(ENTRY) {
                    if let Ok(entry) = serde_json::from_str(value) {
                        entries.insert(index, entry);
                    }
                } else if let Some(tile) = numbered(IDS) {
                    let ids = serde_json::from_str(value).unwrap_or_default();
                    self.id_tiles.insert(tile, ids);
                } else if let Some(level) = numbered(LEVEL) {
                    if let (Ok(level), Ok(hashes)) =
                        (u8::try_from(level), serde_json::from_str(value))
                    {
                        levels.insert(level.min(8), hashes);
                    }
                } else if let Some(subject) = key.strip_prefix(SUBJECT)
                    && let Ok((kid, wrapped)) = serde_json::from_str::<(String, String)>(value)
                {
                    self.kids.insert(kid.clone(), wrapped.clone());
                    self.subjects.insert(subject.to_owned(), (kid, wrapped));
                }
            }
        }
    }

    /// Index of the first entry that is not flushed.
    const fn first(&self) -> u64 {
        self.flushed.saturating_mul(TILE_ENTRIES)
    }

    const fn size(&self) -> u64 {
        self.first().saturating_add(self.entries.len() as u64)
    }

    fn status(&self) -> Status {
        Status {
            size: self.size(),
            root: self.edge.root(),
            flushed: self.flushed,
            checkpoint: self.checkpoint.clone(),
            mirrored: self.mirrored,
            sizes: self.sizes.clone(),
            damaged: self.damaged,
        }
    }

    /// The root when the log had that size; `None` when it never had, or that is flushed.
    fn root_at(&self, size: u64) -> Option<Hash> {
        let count = usize::try_from(size.checked_sub(self.first())?).ok()?;
        let hashes = self.hashes.get(..count)?;
        let mut edge = self.base.clone();
        for hash in hashes {
            edge.push(0, *hash);
        }
        Some(edge.root())
    }

    // === appending ===

    fn push(&mut self, entry: Kept) {
        let hash = leaf_hash(entry.1.as_bytes());
        self.ids.insert(entry.0.clone(), self.size());
        self.hashes.push(hash);
        self.edge.push(0, hash);
        self.entries.push(entry);
    }

    fn append(&mut self, entries: Vec<Kept>, erase: &[String]) -> (Reply, Effects) {
        let no = |why| (Reply::Refused(why), Effects::default());
        if entries.len() > MAX_BATCH || entries.iter().any(is_too_large) {
            return no(Why::TooLarge);
        }
        let new = entries
            .iter()
            .filter(|entry| !self.ids.contains_key(&entry.0));
        if self.entries.len().saturating_add(new.count()) > MAX_UNFLUSHED {
            return no(Why::Full);
        }
        let mut effects = Effects::default();
        let mut indexes = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(index) = self.ids.get(&entry.0) {
                indexes.push(*index);
                continue;
            }
            let index = self.size();
            effects.writes.push(put(ENTRY, index, json(&entry)));
            indexes.push(index);
            self.push(entry);
        }
        for subject in erase {
            if let Some((kid, _)) = self.subjects.remove(subject) {
                self.kids.remove(&kid);
                effects.writes.push(Write {
                    key: [SUBJECT, subject].concat(),
                    value: None,
                });
            }
        }
        (Reply::Appended(indexes, self.status()), effects)
    }

    fn keys_of(&mut self, subjects: Vec<Subject>) -> (Reply, Effects) {
        let mut effects = Effects::default();
        let mut keys = Vec::with_capacity(subjects.len());
        for new in subjects {
            if let Some(key) = self.subjects.get(&new.subject) {
                keys.push(Some(key.clone()));
                continue;
            }
            let most = MAX_SUBJECTS.min(usize::try_from(new.most).unwrap_or(usize::MAX));
            let large = [&new.subject, &new.kid, &new.wrapped].map(String::len);
            if self.subjects.len() >= most || large.into_iter().any(|length| length > 512) {
                keys.push(None);
                continue;
            }
            let key = (new.kid, new.wrapped);
            effects.writes.push(Write {
                key: [SUBJECT, &new.subject].concat(),
                value: Some(json(&key)),
            });
            self.kids.insert(key.0.clone(), key.1.clone());
            self.subjects.insert(new.subject, key.clone());
            keys.push(Some(key));
        }
        (Reply::Keys(keys), effects)
    }

    // === checkpoints ===

    /// Keeps a checkpoint that is of this log and not smaller than the one before.
    fn store(&mut self, signed: Signed) -> (Reply, Effects) {
        let no = |why| (Reply::Refused(why), Effects::default());
        if signed.text.len() > MAX_CHECKPOINT {
            return no(Why::TooLarge);
        }
        let newest = self.checkpoint.as_ref().map_or(0, |newest| newest.size);
        if signed.size < newest || signed.size < self.first() {
            return no(Why::Stale);
        }
        if self.damaged || self.root_at(signed.size) != Some(signed.root) {
            return no(Why::Inconsistent);
        }
        let mut effects = Effects::default();
        if self
            .checkpoint
            .as_ref()
            .is_some_and(|newest| newest.text == signed.text)
        {
            return (Reply::Done, effects);
        }
        if self.sizes.last() != Some(&signed.size) {
            self.sizes.push(signed.size);
            let over = self.sizes.len().saturating_sub(MAX_SIZES);
            self.sizes.drain(..over);
        }
        effects.writes.push(set(CHECKPOINT, json(&signed)));
        effects.writes.push(set(SIZES, json(&self.sizes)));
        self.checkpoint = Some(signed);
        (Reply::Done, effects)
    }

    fn mirrored(&mut self, size: u64) -> Effects {
        let newest = self.checkpoint.as_ref().map_or(0, |newest| newest.size);
        let size = size.min(newest);
        let mut effects = Effects::default();
        if size > self.mirrored {
            self.mirrored = size;
            effects.writes.push(set(MIRRORED, size.to_string()));
        }
        effects
    }

    // === tiles ===

    /// The first full tile, its bundle, its sealed fields, and the tiles of higher levels that it completes.
    fn due(&self) -> Option<Due> {
        let hashes = self.hashes.get(..TILE_WIDTH)?;
        let entries = self.entries.get(..TILE_WIDTH)?;
        let tile = self.flushed;
        let leaves = entries.iter().map(|entry| entry.1.as_bytes());
        let personal: Vec<_> = entries.iter().map(|entry| &entry.2).collect();
        let mut blobs = vec![
            (personal_path(tile), base64url(json(&personal).as_bytes())),
            (
                Tile::full(Kind::Entries, tile).path(),
                base64url(&bundle(leaves)),
            ),
            (
                Tile::full(Kind::Hashes(0), tile).path(),
                base64url(&hash_bytes(hashes)),
            ),
        ];
        for (level, full) in advance(&mut self.levels.clone(), root(hashes)) {
            let index = tile.checked_shr(u32::from(level.saturating_mul(TILE_HEIGHT)));
            let path = Tile::full(Kind::Hashes(level), index.unwrap_or(0)).path();
            blobs.push((path, base64url(&hash_bytes(&full))));
        }
        Some(Due { tile, blobs })
    }

    /// Forgets the entries of the first full tile. One that was forgotten before, or that is not full, changes nothing.
    fn flush(&mut self, tile: u64) -> Effects {
        let mut effects = Effects::default();
        if tile != self.flushed || self.entries.len() < TILE_WIDTH {
            return effects;
        }
        let first = self.first();
        let rest = self.hashes.split_off(TILE_WIDTH);
        let hash = root(&core::mem::replace(&mut self.hashes, rest));
        let rest = self.entries.split_off(TILE_WIDTH);
        let gone = core::mem::replace(&mut self.entries, rest);
        let ids: Vec<String> = gone.into_iter().map(|entry| entry.0).collect();
        for (index, _) in (first..).zip(&ids) {
            effects.writes.push(drop_row(ENTRY, index));
        }
        let full = advance(&mut self.levels, hash).len();
        for (level, hashes) in (1..).zip(&self.levels).take(full.saturating_add(1)) {
            effects.writes.push(put(LEVEL, level, json(hashes)));
        }
        self.base.push(TILE_HEIGHT, hash);
        self.flushed = self.flushed.saturating_add(1);
        effects.writes.push(set(FLUSHED, self.flushed.to_string()));
        effects.writes.push(put(IDS, tile, json(&ids)));
        self.id_tiles.insert(tile, ids);
        while let Some(oldest) = self.id_tiles.first_key_value().map(|(tile, _)| *tile)
            && oldest.saturating_add(ID_TILES) <= tile
        {
            effects.writes.push(drop_row(IDS, oldest));
            for id in self.id_tiles.remove(&oldest).unwrap_or_default() {
                self.ids.remove(&id);
            }
        }
        effects
    }

    /// The hashes of a tile, as many as there are; `None` when it is flushed or empty.
    fn tile(&self, level: u8, index: u64) -> Option<Vec<Hash>> {
        let mut hashes = self.hashes.clone();
        let mut first = self.first();
        for (at, unfinished) in (1..=level).zip(
            self.levels
                .iter()
                .map(Vec::as_slice)
                .chain(core::iter::repeat(&[][..])),
        ) {
            let below = hashes.chunks_exact(TILE_WIDTH).map(root);
            hashes = unfinished.iter().copied().chain(below).collect();
            let flushed = self
                .flushed
                .checked_shr(u32::from(at.saturating_mul(TILE_HEIGHT)));
            first = flushed.unwrap_or(0).saturating_mul(TILE_ENTRIES);
        }
        let start = index.checked_mul(TILE_ENTRIES)?.checked_sub(first)?;
        let hashes = hashes.get(usize::try_from(start).ok()?..)?;
        let hashes = hashes.get(..TILE_WIDTH).unwrap_or(hashes);
        (!hashes.is_empty()).then(|| hashes.to_vec())
    }
}

/// Appends the root of a full tile to the levels above it. Returns the tiles that it completes, with their levels.
fn advance(levels: &mut Vec<Vec<Hash>>, mut hash: Hash) -> Vec<(u8, Vec<Hash>)> {
    let mut full = Vec::new();
    for level in 1..=8u8 {
        let at = usize::from(level).saturating_sub(1);
        if levels.len() <= at {
            levels.push(Vec::new());
        }
        let Some(hashes) = levels.get_mut(at) else {
            break;
        };
        hashes.push(hash);
        if hashes.len() < TILE_WIDTH {
            break;
        }
        let done = core::mem::take(hashes);
        hash = root(&done);
        full.push((level, done));
    }
    full
}

fn is_too_large(entry: &Kept) -> bool {
    let sealed = entry.2.iter().map(|part| {
        let lengths = [&part.0, &part.1, &part.2].map(String::len);
        lengths.into_iter().fold(0usize, usize::saturating_add)
    });
    entry.0.is_empty()
        || entry.0.len() > MAX_ID
        || entry.1.len() > MAX_LEAF
        || sealed.fold(0usize, usize::saturating_add) > MAX_SEALED
}

/// What has text keys only can always be written.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn set(key: &str, value: String) -> Write {
    Write {
        key: key.to_owned(),
        value: Some(value),
    }
}

fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:016x}")
}

fn put(prefix: &str, number: u64, value: String) -> Write {
    set(&numbered(prefix, number), value)
}

fn drop_row(prefix: &str, number: u64) -> Write {
    Write {
        key: numbered(prefix, number),
        value: None,
    }
}
