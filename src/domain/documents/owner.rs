//! What one principal owns: a row for each document, from the intent to store it until its last blob is gone.
//!
//! ```text
//! (nothing) ──Begin──▶ pending ──Commit──▶ ready ──Delete, expiry──▶ removed ──Purged──▶ (nothing)
//!                         └──────────Abort, one hour──────────────────▲
//! ```
//! A removed row is never shown; it stands until somebody has deleted its blobs and says so, so that none is forgotten.
//!
//! A new version of a document is begun and committed like a document, in a row beside it; at its commit the one before
//! becomes an earlier version, of which some are kept as long as the document is there.
//!
//! The names of its stored [`Answers`] are kept beside them.
//!
//! An upload may carry an `Idempotency-Key`: [`Keys`] are kept beside the documents, so that a document and what its key
//! stands for appear in one step.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::about::{Grantee, Right};
use super::access::{Access, Who, access, count_wrong};
use super::answers::{Answer, Answers};
use super::keys::{Finish, Keys, Standing};
use super::manifest::{Document, Purpose, blob_key, blob_name, slot, version_row};
use super::sealing::Place;
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

pub mod details;
pub mod rows;
pub mod uploads;
mod versions;

#[cfg(test)]
mod tests;

use uploads::{Ask, Told, Uploading};

/// What is known before the first byte of a document has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The document's id.
    pub id: String,
    /// The principal's id.
    pub owner: String,
    /// As in [`Document::network`].
    pub network: String,
    /// The most bytes that it can come to.
    pub reserved: u64,
    /// The most segments that can be written for it.
    pub segments: usize,
    /// From when on it counts as given up.
    pub abandoned: Millis,
    /// Which version it is to become: the one behind that which is there.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: u32,
    /// Tells a later version from another attempt to store it; empty for a first one, whose id is its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
}

const fn first() -> u32 {
    1
}
const fn is_first(version: &u32) -> bool {
    *version <= 1
}

impl Intent {
    /// Under which name it is noted and charged.
    #[must_use]
    pub fn slot(&self) -> String {
        slot(&self.id, self.version)
    }

    /// Where the version that it is to become has its place.
    #[must_use]
    pub fn place<'a>(&'a self, tenant: &'a str) -> Place<'a> {
        Place {
            tenant,
            owner: &self.owner,
            id: &self.id,
            version: self.version,
        }
    }
}

/// What one principal may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Documents.
    pub count: u32,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// What may be asked of an owner. Every command may be repeated without changing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// A document is about to be stored.
    Begin {
        /// Which.
        intent: Intent,
        /// What the owner may keep, this one included.
        limits: Limits,
        /// The digest of its idempotency key, which it is to have to itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The owner's key, sealed by the keyring, should they have none yet.
        owner_key: String,
        /// Who stores a new version of it, where that is not its owner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<Box<Who>>,
    },
    /// An upload in parts is about to begin.
    BeginUpload {
        /// All of it, without parts.
        upload: Box<Uploading>,
        /// What the owner may keep, this one included.
        limits: Limits,
        /// As for [`Command::Begin`].
        owner_key: String,
    },
    /// About an upload in parts.
    Upload {
        /// The id of the document that it is to become.
        id: String,
        /// What.
        ask: Ask,
    },
    /// An upload with a key is still coming.
    Renew {
        /// The document's id.
        id: String,
        /// The key's digest.
        key: String,
    },
    /// Every segment is durable: the document exists from now on.
    Commit {
        /// All of it.
        document: Document,
        /// What its key stands for from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finish: Option<Finish>,
        /// How many versions of it are kept, this one included.
        #[serde(default = "first")]
        keep: u32,
    },
    /// It will not be stored after all, whatever was reached. Once its key stands for its reply it is too late: another
    /// call may have given that reply already.
    Abort {
        /// The intent's slot.
        id: String,
        /// The intent's mark.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        mark: String,
    },
    /// One document.
    Get {
        /// The document's id.
        id: String,
        /// An earlier version of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// Who asks, where that is not its owner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<Box<Who>>,
    },
    /// All versions of a document, the newest first.
    Versions {
        /// The document's id.
        id: String,
        /// As for [`Command::Get`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<Box<Who>>,
    },
    /// About what else is known of a document.
    Details {
        /// The document's id.
        id: String,
        /// As for [`Command::Get`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<Box<Who>>,
        /// What.
        ask: details::Ask,
    },
    /// Some documents, by time of creation.
    List {
        /// Those that come after this id, which need not exist.
        after: Option<String>,
        /// At most so many.
        limit: u32,
        /// Which first.
        order: Order,
        /// Only those with this purpose.
        purpose: Option<Purpose>,
    },
    /// A document goes.
    Delete {
        /// The document's id.
        id: String,
    },
    /// Everything goes, what is still coming included, and the owner's key with it; but not what an operator holds.
    Forget,
    /// What is expired, abandoned or deleted and has blobs left?
    Sweep {
        /// At most so many.
        limit: u32,
    },
    /// The blobs of these are gone.
    Purged {
        /// The documents' ids.
        ids: Vec<String>,
    },
    /// Which blobs may these documents have, whatever their state?
    Blobs {
        /// The documents' ids.
        documents: Vec<String>,
    },
    /// The rows are of an earlier day. A document stays when each of its blobs is among these; otherwise it was deleted
    /// since, and becomes one of which only something is left to remove. So does an upload that was under way.
    Compare {
        /// Their keys, sorted.
        blobs: Vec<String>,
    },
    /// An answer is about to be stored elsewhere.
    NoteAnswer {
        /// Which.
        answer: Answer,
    },
    /// Which answers are stored?
    Answers,
    /// These answers are gone.
    ForgetAnswers {
        /// Their ids.
        ids: Vec<String>,
    },
}

/// What an owner answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// The document may be stored.
    Begun {
        /// The owner's key, sealed by the keyring: the one that came first counts.
        owner_key: String,
    },
    /// There is no room for one more.
    Full {
        /// Which limit.
        shortage: Shortage,
    },
    /// There is no such document for whoever asks, it is not complete, or it is gone. Or the key is another upload's.
    NotFound,
    /// They may read it, but not do that.
    Forbidden {
        /// What they may do.
        right: Right,
    },
    /// The link that was shown has a passphrase.
    Passphrase {
        /// The one that was given is not right.
        wrong: bool,
        /// Too many were wrong: for so long it opens to nobody.
        wait: Option<Millis>,
    },
    /// It is at another version, or the next one is being stored.
    Stale {
        /// The version that is there.
        version: u32,
    },
    /// It must stay, until then or until an operator says otherwise.
    Kept {
        /// When it may go.
        until: Option<Millis>,
    },
    /// Another upload has the key.
    Busy {
        /// For how long at most, when no more is heard of it.
        wait: Millis,
    },
    /// The key's upload was stored.
    Repeated {
        /// Digest of everything that its form said.
        fingerprint: String,
        /// Its reply's body.
        body: String,
    },
    /// The document.
    Found {
        /// All of it.
        document: Document,
        /// The owner's key, sealed by the keyring.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner_key: Option<String>,
        /// What they may do with it.
        right: Right,
    },
    /// What else is known of a document.
    Details {
        /// What.
        told: Box<details::Told>,
    },
    /// About an upload in parts.
    Upload {
        /// What.
        told: Told,
    },
    /// A page of a list.
    Page {
        /// In the order that was asked for.
        documents: Vec<Document>,
        /// Are there more after these?
        has_more: bool,
    },
    /// These are gone for the owner; their blobs and quota are still to be given back.
    Purge {
        /// Which.
        purges: Vec<Purge>,
        /// When there will be something to sweep again; `None` when nothing is left beside these.
        next_due: Option<Millis>,
    },
    /// These blobs belong to rows.
    Blobs {
        /// Their keys, sorted.
        keys: Vec<String>,
    },
    /// The rows agree with the blobs.
    Compared {
        /// Documents that are there.
        documents: u64,
        /// Documents that were deleted since.
        lost: u64,
        /// Those that are shared, and with whom.
        shared: Vec<(String, Vec<Grantee>)>,
    },
    /// These answers: all of them, or the one that has no place any more and is to be deleted.
    Answers {
        /// Which.
        answers: Vec<Answer>,
    },
}

/// Which limit of an owner is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// Number of documents.
    Count,
    /// Bytes of all documents.
    Bytes,
}

/// What is left to do for a document that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// The document's id.
    pub id: String,
    /// The principal's id.
    pub owner: String,
    /// As in [`Document::network`].
    pub network: String,
    /// Under which name it is charged, where that is not its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<String>,
    /// How many segments can have been written under the names of their places.
    pub segments: usize,
    /// The document whose blobs they are, where this is the row of a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The names of further blobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
    /// Not before that, since some may still be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Millis>,
    /// With whom it was shared: where that is noted elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noted: Vec<String>,
}

impl Purge {
    /// Under which name it is charged.
    #[must_use]
    pub fn charged(&self) -> &str {
        self.charge.as_deref().unwrap_or(&self.id)
    }

    /// The keys of its blobs; some may never have been written.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let document = self.document.as_ref().unwrap_or(&self.id);
        let places = (0..self.segments).map(blob_name);
        let names = places.chain(self.blobs.iter().cloned());
        names
            .map(|name| blob_key(&self.owner, document, &name))
            .collect()
    }
}

/// One owner: its rows by document id, which is also by time.
#[derive(Debug, Default)]
pub struct OwnerDocuments {
    rows: BTreeMap<String, Row>,
    keys: Keys,
    answers: Answers,
    /// Comments, by document and id.
    comments: details::Comments,
    /// The owner's key, sealed by the keyring: it goes with the last row.
    owner_key: Option<String>,
    /// Rows that this version cannot read: kept, so that a newer one still can.
    foreign_rows: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Row {
    Pending(Intent),
    Open(Box<Uploading>),
    Ready(Document),
    /// A version that is not the newest.
    Earlier(Document),
    Removed(Purge),
}

impl Row {
    /// When it is over by itself.
    fn due(&self) -> Option<Millis> {
        match self {
            Self::Pending(intent) => Some(intent.abandoned),
            Self::Open(upload) => Some(upload.intent.abandoned),
            Self::Ready(document) | Self::Earlier(document) => document.over(),
            Self::Removed(_) => None,
        }
    }

    /// When there is something to sweep of it.
    fn sweepable(&self) -> Option<Millis> {
        match self {
            Self::Removed(purge) => purge.after,
            other => other.due(),
        }
    }

    fn is_over(&self, now: Millis) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    fn purge(&self, now: Millis) -> Purge {
        match self {
            Self::Pending(intent) => versions::purge_of_intent(intent),
            Self::Open(upload) => uploads::purge_of(now, upload),
            Self::Ready(document) => versions::purge_of(document, true),
            Self::Earlier(document) => versions::purge_of(document, false),
            Self::Removed(purge) => purge.clone(),
        }
    }
}

const ROW_PREFIX: &str = "doc/";
const OWNER_KEY_ROW: &str = "owner-key";

impl Machine for OwnerDocuments {
    type Command = Command;
    type Reply = Reply;

    fn load(_now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut owner = Self::default();
        for (key, value) in rows {
            let id = key.strip_prefix(ROW_PREFIX);
            if key == OWNER_KEY_ROW {
                owner.owner_key = Some(value);
            } else if let (Some(id), Ok(row)) = (id, serde_json::from_str(&value)) {
                owner.rows.insert(id.to_owned(), row);
            } else if !owner.keys.load(&key, &value)
                && !owner.answers.load(&key, &value)
                && !details::load(&mut owner.comments, &key, &value)
            {
                owner.foreign_rows = true;
            }
        }
        owner
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        match command {
            Command::Begin {
                intent,
                limits,
                key,
                owner_key,
                who,
            } => match self.may_begin(now, &intent, who.as_deref()) {
                Ok(()) => self.begin(now, intent, limits, key, owner_key),
                Err(reply) => (*reply, Effects::default()),
            },
            Command::BeginUpload {
                upload,
                limits,
                owner_key,
            } => self.begin_upload(now, upload, limits, owner_key),
            Command::Upload { id, ask } => {
                let (told, effects) = self.ask_upload(now, &id, ask);
                let reply = told.map_or(Reply::NotFound, |told| Reply::Upload { told });
                (reply, effects)
            }
            Command::Renew { id, key } => self.renew(now, &id, &key),
            Command::Commit {
                document,
                finish,
                keep,
            } => self.commit(now, document, finish, keep),
            Command::Abort { id, mark } => self.abort(now, &id, &mark),
            Command::Delete { id } => self.delete(now, &id),
            Command::Forget => self.forget(now),
            Command::Get { id, version, who } => self.get(now, &id, version, who.as_deref()),
            Command::Versions { id, who } => self.versions(now, &id, who.as_deref()),
            Command::Details { id, who, ask } => self.details(now, &id, who.as_deref(), ask),
            Command::List {
                after,
                limit,
                order,
                purpose,
            } => (
                self.list(now, after.as_deref(), limit, order, purpose),
                Effects::default(),
            ),
            Command::Sweep { limit } => self.sweep(now, limit),
            Command::Purged { ids } => self.purged(&ids),
            Command::Blobs { documents } => {
                let keys = self.blobs(now, &documents);
                (Reply::Blobs { keys }, Effects::default())
            }
            Command::Compare { blobs } => self.compare(now, &blobs),
            Command::NoteAnswer { answer } => {
                let (surplus, writes) = self.answers.note(answer);
                let answers = surplus.into_iter().collect();
                let effects = Effects {
                    alarm: self.next_alarm(),
                    ..self.effects(writes)
                };
                (Reply::Answers { answers }, effects)
            }
            Command::Answers => {
                let answers = self.answers.all();
                (Reply::Answers { answers }, Effects::default())
            }
            Command::ForgetAnswers { ids } => {
                let writes = self.answers.forget(&ids);
                if writes.is_empty() {
                    return (Reply::Done, Effects::default());
                }
                (Reply::Done, self.effects(writes))
            }
        }
    }

    /// Marks what is over as removed, so that a clock that goes back cannot bring it back.
    fn wake(&mut self, now: Millis) -> Effects {
        let writes = self.remove_what_is_over(now);
        Effects {
            // The alarm that woke us is spent, even when it came too early.
            alarm: self.next_alarm(),
            ..self.effects(writes)
        }
    }
}

impl OwnerDocuments {
    fn begin(
        &mut self,
        now: Millis,
        intent: Intent,
        limits: Limits,
        key: Option<String>,
        owner_key: String,
    ) -> (Reply, Effects) {
        let standing = key.as_deref().map_or(Standing::Free, |key| {
            self.keys.standing(now, key, &intent.slot())
        });
        match standing {
            Standing::Free => {}
            Standing::Running(wait) => return (Reply::Busy { wait }, Effects::default()),
            Standing::Finished { fingerprint, body } => {
                return (Reply::Repeated { fingerprint, body }, Effects::default());
            }
        }
        let slot = intent.slot();
        match self.rows.get(&slot) {
            Some(Row::Pending(known)) if *known == intent => {
                let owner_key = self.owner_key.clone().unwrap_or_default();
                return (Reply::Begun { owner_key }, Effects::default());
            }
            Some(_) => return (Reply::NotFound, Effects::default()),
            None => {}
        }
        if let Some(shortage) =
            self.shortage(now, u32::from(intent.version <= 1), intent.reserved, limits)
        {
            return (Reply::Full { shortage }, Effects::default());
        }
        let claimed = key.and_then(|key| self.keys.claim(now, key, slot.clone(), intent.abandoned));
        let (owner_key, made) = self.owner_key(owner_key);
        let effects = self.put(slot, Row::Pending(intent));
        (Reply::Begun { owner_key }, effects.and(claimed).and(made))
    }

    fn begin_upload(
        &mut self,
        now: Millis,
        upload: Box<Uploading>,
        limits: Limits,
        owner_key: String,
    ) -> (Reply, Effects) {
        match self.rows.get(&upload.intent.id) {
            Some(Row::Open(known)) if *known == upload => {
                let owner_key = self.owner_key.clone().unwrap_or_default();
                return (Reply::Begun { owner_key }, Effects::default());
            }
            Some(_) => return (Reply::NotFound, Effects::default()),
            None => {}
        }
        if let Some(shortage) = self.shortage(now, 1, upload.intent.reserved, limits) {
            return (Reply::Full { shortage }, Effects::default());
        }
        let (owner_key, made) = self.owner_key(owner_key);
        let effects = self.put(upload.intent.id.clone(), Row::Open(upload));
        (Reply::Begun { owner_key }, effects.and(made))
    }

    /// What there is no room for, should so many documents more come with so many bytes: none for a new version.
    fn shortage(&self, now: Millis, more: u32, bytes: u64, limits: Limits) -> Option<Shortage> {
        let (mut count, mut bytes) = (more, bytes);
        for row in self.rows.values().filter(|row| !row.is_over(now)) {
            let (is_document, size) = match row {
                Row::Pending(intent) => (intent.version <= 1, intent.reserved),
                Row::Open(upload) => (true, upload.intent.reserved),
                Row::Ready(document) => (true, document.bytes),
                Row::Earlier(document) => (false, document.bytes),
                Row::Removed(_) => continue,
            };
            count = count.saturating_add(u32::from(is_document));
            bytes = bytes.saturating_add(size);
        }
        if count > limits.count && more > 0 {
            Some(Shortage::Count)
        } else if bytes > limits.bytes {
            Some(Shortage::Bytes)
        } else {
            None
        }
    }

    /// The owner's key: the one that they have, or this one from now on.
    fn owner_key(&mut self, first: String) -> (String, Option<Write>) {
        if let Some(known) = &self.owner_key {
            return (known.clone(), None);
        }
        let write = Write {
            key: OWNER_KEY_ROW.to_owned(),
            value: Some(first.clone()),
        };
        self.owner_key = Some(first.clone());
        (first, Some(write))
    }

    /// Whoever lost its key learns it here, and may stop.
    fn renew(&mut self, now: Millis, id: &str, key: &str) -> (Reply, Effects) {
        if !self.keys.holds(key, id) {
            return (Reply::NotFound, Effects::default());
        }
        let renewed = self.keys.renew(now, key);
        (Reply::Done, Effects::default().and(renewed))
    }

    fn commit(
        &mut self,
        now: Millis,
        document: Document,
        finish: Option<Finish>,
        keep: u32,
    ) -> (Reply, Effects) {
        let slot = document.slot();
        if let Some(Row::Ready(known)) = self.rows.get(&document.id)
            && known.is_stored_as(&document)
        {
            return (Reply::Done, Effects::default());
        }
        let holds_its_key = |finish: &Finish| self.keys.holds(&finish.key, &slot);
        match self.rows.get(&slot) {
            Some(Row::Pending(intent))
                if now < intent.abandoned
                    && document.id == intent.id
                    && document.version == intent.version
                    && document.bytes <= intent.reserved
                    && document.segments.len() <= intent.segments
                    && finish.as_ref().is_none_or(holds_its_key) => {}
            _ => return (Reply::NotFound, Effects::default()),
        }
        let (reply, effects) = if document.version > 1 {
            match self.follow(now, document, keep) {
                Some(done) => done,
                None => return (Reply::NotFound, Effects::default()),
            }
        } else {
            (Reply::Done, self.put(slot.clone(), Row::Ready(document)))
        };
        let finished = finish
            .map(|finish| self.keys.finish(now, slot, finish))
            .unwrap_or_default();
        (reply, effects.and(finished))
    }

    fn abort(&mut self, now: Millis, id: &str, mark: &str) -> (Reply, Effects) {
        if let Some(Row::Pending(intent)) = self.rows.get(id)
            && intent.mark != mark
        {
            return (Reply::NotFound, Effects::default());
        }
        if let Some(Standing::Finished { fingerprint, body }) = self.keys.finished(id) {
            return (Reply::Repeated { fingerprint, body }, Effects::default());
        }
        let freed = self.keys.free(id);
        let (reply, effects) = self.remove(now, id, |_| true);
        (reply, effects.and(freed))
    }

    /// The document as far as it is there for whoever asks; what is counted of a wrong passphrase is kept.
    fn reach(
        &mut self,
        now: Millis,
        id: &str,
        who: Option<&Who>,
        wanted: Right,
    ) -> Result<(Document, Right), Box<(Reply, Effects)>> {
        let told = |reply| Box::new((reply, Effects::default()));
        let found = match self.rows.get(id) {
            Some(row @ Row::Ready(document)) if !row.is_over(now) => document,
            _ => return Err(told(Reply::NotFound)),
        };
        let passphrase = |wrong, wait| Reply::Passphrase { wrong, wait };
        let right = match who.map(|who| access(now, found, who)) {
            None => Right::Own,
            Some(Access::May(right)) => right,
            Some(Access::Nothing) => return Err(told(Reply::NotFound)),
            Some(Access::Passphrase) => return Err(told(passphrase(false, None))),
            Some(Access::Locked { wait }) => {
                return Err(told(passphrase(true, Some(wait))));
            }
            Some(Access::Wrong { share }) => {
                let mut document = found.clone();
                for known in &mut document.about.shares {
                    if let (true, Grantee::Link(link)) = (known.id == share, &mut known.with) {
                        count_wrong(now, link);
                    }
                }
                let effects = self.put(id.to_owned(), Row::Ready(document));
                return Err(Box::new((passphrase(true, None), effects)));
            }
        };
        if right < wanted {
            return Err(told(Reply::Forbidden { right }));
        }
        Ok((found.clone(), right))
    }

    fn get(
        &mut self,
        now: Millis,
        id: &str,
        version: Option<u32>,
        who: Option<&Who>,
    ) -> (Reply, Effects) {
        let (document, right) = match self.reach(now, id, who, Right::View) {
            Ok(reached) => reached,
            Err(told) => return *told,
        };
        let owner_key = self.owner_key.clone();
        let found = |document| Reply::Found {
            document,
            owner_key,
            right,
        };
        let reply = match version {
            Some(version) if version != document.version => {
                match self.rows.get(&version_row(id, version)) {
                    Some(Row::Earlier(earlier)) if right >= Right::Edit => found(earlier.clone()),
                    _ => Reply::NotFound,
                }
            }
            _ => found(document),
        };
        (reply, Effects::default())
    }

    fn delete(&mut self, now: Millis, id: &str) -> (Reply, Effects) {
        if let Some(row @ Row::Ready(document)) = self.rows.get(id)
            && !row.is_over(now)
            && document.about.is_kept(now)
        {
            let until = document.about.keep_until;
            let until = until.filter(|_| document.about.hold.is_none());
            return (Reply::Kept { until }, Effects::default());
        }
        self.remove(now, id, |row| {
            matches!(row, Row::Ready(_)) && !row.is_over(now)
        })
    }

    fn list(
        &self,
        now: Millis,
        after: Option<&str>,
        limit: u32,
        order: Order,
        purpose: Option<Purpose>,
    ) -> Reply {
        let beyond = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows: Box<dyn Iterator<Item = &Row>> = match order {
            Order::Ascending => Box::new(
                self.rows
                    .range::<str, _>((beyond, Bound::Unbounded))
                    .map(|(_, row)| row),
            ),
            Order::Descending => Box::new(
                self.rows
                    .range::<str, _>((Bound::Unbounded, beyond))
                    .rev()
                    .map(|(_, row)| row),
            ),
        };
        let mut matching = rows.filter_map(|row| match row {
            Row::Ready(document)
                if !row.is_over(now) && purpose.is_none_or(|p| p == document.purpose) =>
            {
                Some(document)
            }
            _ => None,
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let documents = matching.by_ref().take(limit).cloned().collect();
        Reply::Page {
            documents,
            has_more: matching.next().is_some(),
        }
    }

    /// Removes a row, and with a document all its versions; removing it again gives the same answer as long as its blobs
    /// are there.
    fn remove(&mut self, now: Millis, id: &str, may: impl Fn(&Row) -> bool) -> (Reply, Effects) {
        let Some(row) = self.rows.get(id).filter(|row| may(row)) else {
            return (Reply::NotFound, Effects::default());
        };
        let mut purges = vec![row.purge(now)];
        let versions = self.versions_of(id);
        purges.extend(versions.filter_map(|(_, row)| match row {
            // Whoever stores it learns at its commit that there is no document any more.
            Row::Pending(_) => None,
            row => Some(row.purge(now)),
        }));
        let mut effects = Effects::default();
        for purge in &purges {
            let row = Row::Removed(purge.clone());
            effects = effects.then(self.put(purge.id.clone(), row));
        }
        let next_due = self.next_due();
        (Reply::Purge { purges, next_due }, effects)
    }

    fn forget(&mut self, now: Millis) -> (Reply, Effects) {
        let mut effects = Effects::default();
        let mut held = false;
        let ids: Vec<String> = self.rows.keys().cloned().collect();
        for id in ids {
            let Some(row) = self.rows.get(&id) else {
                continue;
            };
            if let Row::Ready(document) | Row::Earlier(document) = row
                && document.about.hold.is_some()
            {
                held = true;
                continue;
            }
            let mut purge = row.purge(now);
            if let Row::Pending(intent) = row {
                // Its writer learns it at the commit at the latest.
                purge.after = Some(intent.abandoned);
            }
            effects = effects.then(self.put(id, Row::Removed(purge)));
        }
        // What an operator holds must stay readable.
        let key = self.owner_key.take_if(|_| !held).map(|_| Write {
            key: OWNER_KEY_ROW.to_owned(),
            value: None,
        });
        let (reply, swept) = self.sweep(now, u32::MAX);
        (reply, effects.and(key).then(swept))
    }

    /// The keys of every blob that a row of these documents may have, sorted.
    fn blobs(&self, now: Millis, documents: &[String]) -> Vec<String> {
        let rows = self.rows.values().map(|row| row.purge(now));
        let meant = rows.filter(|purge| {
            let document = purge.document.as_ref().unwrap_or(&purge.id);
            documents.contains(document)
        });
        let mut keys: Vec<String> = meant.flat_map(|purge| purge.keys()).collect();
        keys.sort_unstable();
        keys
    }

    fn sweep(&mut self, now: Millis, limit: u32) -> (Reply, Effects) {
        let writes = self.remove_what_is_over(now);
        let mut removed = self.rows.values().filter_map(|row| match row {
            Row::Removed(purge) => purge
                .after
                .is_none_or(|after| after <= now)
                .then_some(purge),
            _ => None,
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let purges = removed.by_ref().take(limit).cloned().collect();
        let next_due = if removed.next().is_some() {
            Some(now)
        } else {
            self.next_due()
        };
        let effects = Effects {
            alarm: self.next_alarm().filter(|_| !writes.is_empty()),
            ..self.effects(writes)
        };
        (Reply::Purge { purges, next_due }, effects)
    }

    fn compare(&mut self, now: Millis, blobs: &[String]) -> (Reply, Effects) {
        let has = |blob: &str| {
            blobs
                .binary_search_by(|known| known.as_str().cmp(blob))
                .is_ok()
        };
        let (mut lost, mut documents) = (0_u64, 0_u64);
        let (mut shared, mut writes) = (Vec::new(), Vec::new());
        for (id, row) in &mut self.rows {
            if let Some((removed, is_lost)) = rows::compared(row, now, has) {
                lost = lost.saturating_add(u64::from(is_lost));
                writes.extend(row_write(id, &removed));
                *row = removed;
            } else if matches!(row, Row::Ready(_)) {
                documents = documents.saturating_add(1);
                shared.extend(rows::shared(row));
            }
        }
        let reply = Reply::Compared {
            documents,
            lost,
            shared,
        };
        let effects = Effects {
            // The rows came without one.
            alarm: self.next_alarm(),
            ..self.effects(writes)
        };
        (reply, effects)
    }

    fn purged(&mut self, ids: &[String]) -> (Reply, Effects) {
        let mut writes = Vec::new();
        for id in ids {
            if matches!(self.rows.get(id), Some(Row::Removed(_))) {
                self.rows.remove(id);
                writes.extend(self.forget_comments(id));
                writes.push(Write {
                    key: row_key(id),
                    value: None,
                });
            }
        }
        let effects = self.effects(writes);
        (Reply::Done, effects)
    }

    fn remove_what_is_over(&mut self, now: Millis) -> Vec<Write> {
        let mut forgotten = self.keys.expire(now);
        forgotten.extend(self.answers.expire(now));
        let over: Vec<String> = self
            .rows
            .iter()
            .filter(|(id, row)| row.is_over(now) || self.is_left_over(now, id, row))
            .map(|(id, _)| id.clone())
            .collect();
        let removed = over.iter().filter_map(|id| {
            let row = self.rows.get_mut(id)?;
            *row = Row::Removed(row.purge(now));
            row_write(id, row)
        });
        removed.chain(forgotten).collect()
    }

    /// When there will be something to sweep. A key needs no visit: it has neither blobs nor quota.
    fn next_due(&self) -> Option<Millis> {
        self.rows.values().filter_map(Row::sweepable).min()
    }

    fn next_alarm(&self) -> Option<Millis> {
        self.next_due()
            .into_iter()
            .chain(self.keys.next_due())
            .chain(self.answers.next_due())
            .min()
    }

    /// Without rows nothing is worth keeping, neither an alarm nor the owner's key.
    fn effects(&mut self, writes: Vec<Write>) -> Effects {
        let nothing_left = self.rows.is_empty()
            && self.keys.is_empty()
            && self.answers.is_empty()
            && self.comments.is_empty()
            && !self.foreign_rows;
        if nothing_left {
            self.owner_key = None;
        }
        Effects {
            writes: if nothing_left { Vec::new() } else { writes },
            delete_all: nothing_left,
            ..Effects::default()
        }
    }

    fn put(&mut self, id: String, row: Row) -> Effects {
        if self.rows.get(&id) == Some(&row) {
            return Effects::default();
        }
        let write = row_write(&id, &row);
        self.rows.insert(id, row);
        Effects {
            writes: write.into_iter().collect(),
            alarm: self.next_alarm(),
            delete_all: false,
        }
    }
}

fn row_key(id: &str) -> String {
    format!("{ROW_PREFIX}{id}")
}

fn row_write(id: &str, row: &Row) -> Option<Write> {
    Some(Write {
        key: row_key(id),
        value: Some(serde_json::to_string(row).ok()?),
    })
}
