//! What is known of one API key, as one synchronous state machine.
//!
//! ```text
//! (nothing) ──Create──▶ live ──Revoke──▶ revoked, for ever
//!                       │  ▲
//!                       └──┘ Rotate: a new secret; each before it stays good until its own deadline
//! ```
//! Rows: `rec/key` the record with its hashes, `rec/used` when it was last used, `rec/noted` what is on record of its
//! use, `rec/n/<digest>` a nonce that was spent, `rec/floor` the latest deadline of a nonce that was forgotten. A revoked
//! record stays, so that its id never comes to life again.

mod command;
mod index;
mod noted;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::digest::{base64url, constant_time_eq, from_base64url, sha256};
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;
use noted::{NOTED_ROW, Noted};

pub use super::signature::Algorithm;
pub use command::{Command, NewRecord, Reply};
pub use index::{Entry, IndexCommand, IndexReply, KeyIndex, MAX_KEYS};
pub use noted::{DORMANT, Note, REFUSED_AGAIN, Why};
pub use settings::{KeySettings, Names, PublicKey, Scopes, Stores, View};

/// Nonces remembered at a time; beyond them signed requests are refused until one is over.
pub const MAX_NONCES: usize = 10_000;
/// How much longer than its signature a nonce is remembered: as far as clocks may differ, 5 min × 60 s.
pub const NONCE_SKEW: Millis = Millis::from_secs(300);
/// The longest overlap of two secrets: 30 d × 86,400 s.
pub const MAX_OVERLAP: Millis = Millis::from_secs(2_592_000);
/// Earlier secrets that are good beside the current one.
pub const MAX_PREVIOUS: usize = 3;
/// The last use is written at most this often.
const USED_GRAIN: u64 = 60_000; // ms
/// Nonces are forgotten on whole minutes, so that one alarm forgets many.
const NONCE_GRAIN: u64 = 60_000; // ms
/// Rows removed in one step.
const PRUNE: usize = 1000;
/// Compared when there is no hash, so that the work is the same. No hash is ever equal to it, since the last character
/// of 32 bytes in base64url cannot be `B`.
const NO_HASH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB";

const KEY_ROW: &str = "rec/key";
const USED_ROW: &str = "rec/used";
const FLOOR_ROW: &str = "rec/floor";
const NONCE_ROWS: &str = "rec/n/";

/// The record of one key. The default was never made.
#[derive(Clone, Debug, Default)]
pub struct KeyRecord {
    stored: Option<Stored>,
    /// There is a record and it cannot be read: nothing opens it and nothing is written over it.
    unreadable: bool,
    used: Option<Millis>,
    noted: Noted,
    /// By digest.
    nonces: BTreeMap<String, Nonce>,
    /// Signatures that ended before this may have been spent and forgotten.
    floor: Millis,
    /// The alarm asked for last.
    alarm: Option<Millis>,
}

/// The stored form, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "v1")]
    view: View,
    /// Of the current secret; empty when it is revoked.
    #[serde(rename = "h")]
    hash: String,
    /// Of earlier ones, oldest first. The last of their deadlines is [`View::overlap_until`].
    #[serde(rename = "q", default, skip_serializing_if = "Vec::is_empty")]
    previous: Vec<Previous>,
    /// Of the one before it, good until [`View::overlap_until`]: the form in which there could be only one. It is read
    /// and no longer written.
    #[serde(rename = "p", default, skip_serializing)]
    single: Option<String>,
}

/// An earlier secret's hash, and the first moment at which it no longer opens anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Previous(String, Millis);

/// Stored as `<deadline> <attempt>`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Nonce {
    /// Remembered until then.
    deadline: Millis,
    /// Digest of the attempt that spent it.
    attempt: String,
}

impl Machine for KeyRecord {
    type Command = Command;
    type Reply = Reply;

    fn load(now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut record = Self::default();
        let mut noted = None;
        for (key, value) in rows {
            match key.as_str() {
                KEY_ROW => {
                    let stored = serde_json::from_str(&value).ok();
                    record.stored = stored.map(Stored::current);
                    record.unreadable = record.stored.is_none();
                }
                USED_ROW => record.used = value.parse().ok().map(Millis),
                NOTED_ROW => noted = Noted::load(&value),
                // Unreadable: whatever was signed until now may have been spent.
                FLOOR_ROW => record.floor = value.parse().map_or(now, Millis),
                _ => {
                    if let Some(digest) = key.strip_prefix(NONCE_ROWS) {
                        record
                            .nonces
                            .insert(digest.to_owned(), Nonce::load(now, &value));
                    }
                }
            }
        }
        record.noted = noted.unwrap_or_else(|| record.noted_before());
        record
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let mut effects = Effects::default();
        let reply = match command {
            Command::Create(new) => self.create(now, *new, &mut effects),
            Command::Authenticate { hash, recorded } => {
                self.authenticate(now, &hash, recorded, &mut effects)
            }
            Command::AuthenticateSigned {
                kid,
                nonce,
                expires,
                attempt,
                recorded,
            } => {
                let signed = Signed {
                    kid: &kid,
                    nonce: &nonce,
                    expires,
                    attempt: &attempt,
                };
                self.spend(now, &signed, recorded, &mut effects)
            }
            Command::RefuseSignature => {
                let why = self.stored.is_some().then_some(Why::Signature);
                self.refuse(now, Reply::Unknown, why, true, &mut effects)
            }
            Command::Rotate { hash, overlap } => self.rotate(now, hash, overlap, &mut effects),
            Command::Revoke => self.revoke(now, &mut effects),
            Command::Change { version, settings } => self.change(version, *settings, &mut effects),
            Command::Look => self.view(),
        };
        self.ring(&mut effects);
        (reply, effects)
    }

    /// Forgets secrets and nonces that are over.
    fn wake(&mut self, now: Millis) -> Effects {
        let mut effects = Effects::default();
        if let Some(stored) = &mut self.stored
            && stored.forget(now)
        {
            effects.writes.push(stored.row());
        }
        self.prune(now, &mut effects);
        self.alarm = None;
        self.ring(&mut effects);
        effects
    }
}

impl KeyRecord {
    fn create(&mut self, now: Millis, new: NewRecord, effects: &mut Effects) -> Reply {
        if !is_hash(&new.hash) || !new.settings.faults().is_empty() {
            return Reply::Invalid;
        }
        if self.unreadable {
            return Reply::Exists;
        }
        if let Some(stored) = &self.stored {
            let same = stored.view.id == new.id && stored.hash == new.hash;
            return if same { self.view() } else { Reply::Exists };
        }
        let stored = Stored {
            view: View {
                id: new.id,
                tenant: new.tenant,
                created: now,
                created_by: new.created_by,
                settings: new.settings,
                version: 1,
                secret_since: now,
                overlap_until: None,
                revoked: None,
                last_used: None,
            },
            hash: new.hash,
            previous: Vec::new(),
            single: None,
        };
        effects.writes.push(stored.row());
        self.stored = Some(stored);
        self.view()
    }

    /// As many comparisons of equal length, whatever is stored.
    fn authenticate(
        &mut self,
        now: Millis,
        hash: &str,
        recorded: bool,
        effects: &mut Effects,
    ) -> Reply {
        let stored = self.stored.as_ref();
        let equal = |stored: Option<&str>| {
            let stored = stored.filter(|hash| !hash.is_empty());
            constant_time_eq(stored.unwrap_or(NO_HASH).as_bytes(), hash.as_bytes())
        };
        let current = equal(stored.map(|stored| stored.hash.as_str()));
        let (mut overlap, mut over) = (false, false);
        for place in 0..MAX_PREVIOUS {
            let previous = stored.and_then(|stored| stored.previous.get(place));
            let in_time = previous.is_some_and(|Previous(_, until)| now < *until);
            let same = equal(previous.map(|Previous(hash, _)| hash.as_str()));
            overlap |= same & in_time;
            over |= same & !in_time;
        }
        let Some(view) = stored.map(|stored| &stored.view) else {
            return self.refuse(now, Reply::Unknown, None, recorded, effects);
        };
        if (current | overlap) && view.is_live(now) && !view.settings.must_sign {
            return self.use_of(now, None, &digest_of(&[hash]), recorded, effects);
        }
        let why = if current | overlap {
            if view.is_live(now) {
                Why::MustSign
            } else {
                Why::Expired
            }
        } else if over || recorded && self.noted.was_secret(&digest_of(&[hash])) {
            if view.revoked.is_some() {
                Why::Revoked
            } else {
                Why::OldSecret
            }
        } else {
            Why::WrongSecret
        };
        self.refuse(now, Reply::Unknown, Some(why), recorded, effects)
    }

    fn spend(
        &mut self,
        now: Millis,
        signed: &Signed<'_>,
        recorded: bool,
        effects: &mut Effects,
    ) -> Reply {
        let Some(view) = self.stored.as_ref().map(|stored| &stored.view) else {
            return self.refuse(now, Reply::Unknown, None, recorded, effects);
        };
        let mut keys = view.settings.public_keys.iter();
        let public = keys.find(|key| key.kid == signed.kid);
        let deadline = round_up(signed.expires.plus(NONCE_SKEW));
        let why = if view.revoked.is_some() {
            Some(Why::Revoked)
        } else if !view.is_live(now) {
            Some(Why::Expired)
        // Not above the floor: it may have been spent before the clock went back.
        } else if deadline <= now || deadline <= self.floor {
            Some(Why::Signature)
        } else {
            None
        };
        let (Some(public), None) = (public, why) else {
            let why = why.unwrap_or(Why::Signature);
            return self.refuse(now, Reply::Unknown, Some(why), recorded, effects);
        };
        let used = public_digest(public);
        let digest = digest_of(&[signed.kid, signed.nonce]);
        let attempt = digest_of(&[signed.attempt]);
        if let Some(spent) = self.nonces.get(&digest) {
            // The same attempt again: it was stored, and its reply was lost.
            return if spent.attempt == attempt {
                noted(recorded, self.view(), None)
            } else {
                let why = Some(Why::Replayed);
                self.refuse(now, Reply::Replayed, why, recorded, effects)
            };
        }
        if self.nonces.len() >= MAX_NONCES {
            self.prune(now, effects);
        }
        if self.nonces.len() >= MAX_NONCES {
            return noted(recorded, Reply::Full, None);
        }
        effects.writes.push(Write {
            key: [NONCE_ROWS, &digest].concat(),
            value: Some(format!("{} {attempt}", deadline.0)),
        });
        self.nonces.insert(digest, Nonce { deadline, attempt });
        if self.alarm.is_some_and(|alarm| deadline < alarm) {
            self.alarm = None;
        }
        self.use_of(now, Some(signed.kid), &used, recorded, effects)
    }

    fn rotate(
        &mut self,
        now: Millis,
        hash: String,
        overlap: Millis,
        effects: &mut Effects,
    ) -> Reply {
        if !is_hash(&hash) {
            return Reply::Invalid;
        }
        let Some(stored) = &mut self.stored else {
            return Reply::Unknown;
        };
        if stored.view.revoked.is_some() || stored.previous.iter().any(|known| known.0 == hash) {
            return Reply::Conflict;
        }
        if stored.hash == hash {
            return self.view();
        }
        // Every secret keeps the deadline that was promised for it: whoever repeats a rotation whose answer was lost
        // does not end the one that is in use.
        let mut kept = stored.previous.clone();
        kept.retain(|Previous(_, until)| now < *until);
        if overlap == Millis::ZERO {
            kept.clear();
        } else if kept.len() >= MAX_PREVIOUS {
            return Reply::Full;
        } else {
            let until = now.plus(overlap.min(MAX_OVERLAP));
            kept.push(Previous(stored.hash.clone(), until));
        }
        let replaced = digest_of(&[&stored.hash]);
        self.noted.replaced(replaced, &mut effects.writes);
        stored.hash = hash;
        stored.keep(kept);
        stored.view.secret_since = now;
        effects.writes.push(stored.row());
        self.alarm = None;
        self.view()
    }

    fn revoke(&mut self, now: Millis, effects: &mut Effects) -> Reply {
        let Some(stored) = &mut self.stored else {
            return Reply::Unknown;
        };
        if stored.view.revoked.is_none() {
            stored.view.revoked = Some(now);
            let revoked = digest_of(&[&stored.hash]);
            self.noted.replaced(revoked, &mut effects.writes);
            stored.hash.clear();
            stored.keep(Vec::new());
            effects.writes.push(stored.row());
        }
        self.view()
    }

    fn change(&mut self, version: u32, settings: KeySettings, effects: &mut Effects) -> Reply {
        if !settings.faults().is_empty() {
            return Reply::Invalid;
        }
        let Some(stored) = &mut self.stored else {
            return Reply::Unknown;
        };
        let view = &mut stored.view;
        if view.revoked.is_some() {
            return Reply::Conflict;
        }
        if view.settings != settings {
            if view.version != version {
                return Reply::Conflict;
            }
            view.settings = settings;
            view.version = version.saturating_add(1);
            effects.writes.push(stored.row());
        }
        self.view()
    }

    fn view(&self) -> Reply {
        match &self.stored {
            Some(stored) => {
                let mut view = stored.view.clone();
                view.last_used = self.used;
                Reply::Known(Box::new(view))
            }
            None => Reply::Unknown,
        }
    }

    /// A use: what belongs on record of it. `used` is the digest of the secret or public key.
    fn use_of(
        &mut self,
        now: Millis,
        kid: Option<&str>,
        used: &str,
        recorded: bool,
        effects: &mut Effects,
    ) -> Reply {
        let last_used = self.used;
        self.touch(now, effects);
        let mut note = None;
        if recorded {
            let stored = self.stored.as_ref();
            let good = || stored.map(Stored::good).unwrap_or_default();
            let first = self.noted.is_first(used, good, &mut effects.writes);
            let dormant = last_used.is_some_and(|last| now.since(last) >= DORMANT);
            note = (first || dormant).then(|| Note::Use {
                first,
                kid: kid.map(str::to_owned),
                last_used,
            });
        }
        noted(recorded, self.view(), note)
    }

    /// A refusal: what belongs on record of it. `None` of a key that was never made.
    fn refuse(
        &mut self,
        now: Millis,
        reply: Reply,
        why: Option<Why>,
        recorded: bool,
        effects: &mut Effects,
    ) -> Reply {
        let why = why.filter(|_| recorded);
        let note = why.and_then(|why| self.noted.refused(now, why, &mut effects.writes));
        noted(recorded, reply, note)
    }

    /// What was seen of a key that was in use before that was kept.
    fn noted_before(&self) -> Noted {
        let (Some(stored), Some(used)) = (&self.stored, self.used) else {
            return Noted::default();
        };
        let mut seen = stored.good();
        if used < stored.view.secret_since {
            let current = digest_of(&[&stored.hash]);
            seen.retain(|digest| *digest != current);
        }
        Noted::of_before(seen)
    }

    /// Notes the time of the use.
    fn touch(&mut self, now: Millis, effects: &mut Effects) {
        if self
            .used
            .is_none_or(|used| used.0.abs_diff(now.0) >= USED_GRAIN)
        {
            self.used = Some(now);
            effects.writes.push(Write {
                key: USED_ROW.to_owned(),
                value: Some(now.0.to_string()),
            });
        }
    }

    /// Forgets nonces that are over, and remembers up to when.
    fn prune(&mut self, now: Millis, effects: &mut Effects) {
        let over: Vec<(String, Millis)> = self
            .nonces
            .iter()
            .filter(|(_, nonce)| nonce.deadline <= now)
            .map(|(digest, nonce)| (digest.clone(), nonce.deadline))
            .take(PRUNE)
            .collect();
        for (digest, deadline) in &over {
            self.floor = self.floor.max(*deadline);
            self.nonces.remove(digest);
            effects.writes.push(Write {
                key: [NONCE_ROWS, digest].concat(),
                value: None,
            });
        }
        if !over.is_empty() {
            effects.writes.push(Write {
                key: FLOOR_ROW.to_owned(),
                value: Some(self.floor.0.to_string()),
            });
        }
    }

    /// Asks for the alarm when it is not known to be set.
    fn ring(&mut self, effects: &mut Effects) {
        if self.alarm.is_none() {
            let previous = self.stored.iter().flat_map(|stored| &stored.previous);
            let previous = previous.map(|Previous(_, until)| *until);
            let nonces = self.nonces.values().map(|nonce| nonce.deadline);
            self.alarm = nonces.chain(previous).min();
            effects.alarm = self.alarm;
        }
    }
}

impl Stored {
    /// What was read, in the form that is written.
    fn current(mut self) -> Self {
        if let (Some(hash), Some(until)) = (self.single.take(), self.view.overlap_until) {
            self.previous.push(Previous(hash, until));
        }
        self
    }

    fn keep(&mut self, previous: Vec<Previous>) {
        self.view.overlap_until = previous.iter().map(|Previous(_, until)| *until).max();
        self.previous = previous;
    }

    /// Forgets secrets that are over. Was there one?
    fn forget(&mut self, now: Millis) -> bool {
        let mut kept = self.previous.clone();
        kept.retain(|Previous(_, until)| now < *until);
        let fewer = kept.len() < self.previous.len();
        if fewer {
            self.keep(kept);
        }
        fewer
    }

    /// Digests of the secrets and public keys that are good, or will be unless something changes.
    fn good(&self) -> Vec<String> {
        let secrets = self.previous.iter().map(|Previous(hash, _)| hash);
        let secrets = secrets.chain([&self.hash]).map(|hash| digest_of(&[hash]));
        let keys = self.view.settings.public_keys.iter().map(public_digest);
        secrets.chain(keys).collect()
    }

    fn row(&self) -> Write {
        Write {
            key: KEY_ROW.to_owned(),
            // Texts, numbers and maps of texts can always be written.
            value: Some(serde_json::to_string(self).unwrap_or_default()),
        }
    }
}

impl Nonce {
    /// One that cannot be read counts as spent by nobody that is known, for a day.
    fn load(now: Millis, value: &str) -> Self {
        let read = value
            .split_once(' ')
            .and_then(|(deadline, attempt)| Some((deadline.parse().ok()?, attempt)));
        match read {
            Some((deadline, attempt)) => Self {
                deadline: Millis(deadline),
                attempt: attempt.to_owned(),
            },
            None => Self {
                deadline: now.plus(Millis::from_secs(86_400)),
                attempt: String::new(),
            },
        }
    }
}

/// A verified signature.
struct Signed<'a> {
    kid: &'a str,
    nonce: &'a str,
    expires: Millis,
    attempt: &'a str,
}

/// The reply to a check, with the note where one was asked for.
fn noted(recorded: bool, reply: Reply, note: Option<Note>) -> Reply {
    if recorded {
        Reply::Noted(Box::new(reply), note)
    } else {
        reply
    }
}

fn public_digest(key: &PublicKey) -> String {
    digest_of(&[&key.kid, &key.key])
}

/// 32 bytes in base64url, in their one form.
fn is_hash(text: &str) -> bool {
    from_base64url(text).is_some_and(|bytes| bytes.len() == 32)
}

/// 128 bits of SHA-256 in base64url: short rows of one length whatever a caller sends.
fn digest_of(parts: &[&str]) -> String {
    let mut message = String::new();
    for part in parts {
        // With its length, so that two parts cannot be split elsewhere.
        message.push_str(&part.len().to_string());
        message.push(':');
        message.push_str(part);
    }
    let digest = sha256(message.as_bytes());
    base64url(digest.split_at(16).0)
}

fn round_up(time: Millis) -> Millis {
    Millis(time.0.div_ceil(NONCE_GRAIN).saturating_mul(NONCE_GRAIN))
}
