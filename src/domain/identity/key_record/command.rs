//! What a record is asked, and what it answers.

use serde::{Deserialize, Serialize};

use super::noted::Note;
use super::settings::{KeySettings, View};
use crate::base::time::Millis;

/// What may be asked of a record. Every command may be repeated without changing more. Hashes are
/// [`ParsedKey::hash`](super::super::api_key::ParsedKey::hash) in base64url.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Makes the record: `Known`; `Exists` when that id has another secret already.
    #[serde(rename = "new")]
    Create(Box<NewRecord>),
    /// Does this secret open it? `Known` or `Unknown`.
    #[serde(rename = "auth")]
    Authenticate {
        /// Of what was presented.
        #[serde(rename = "h")]
        hash: String,
        /// Is an event offered with it? The reply is then [`Reply::Noted`].
        #[serde(rename = "r", default)]
        recorded: bool,
    },
    /// Spends the nonce of a request whose signature has been verified: `Known`, `Unknown`, `Replayed` or `Full`.
    #[serde(rename = "sign")]
    AuthenticateSigned {
        /// Which of [`KeySettings::public_keys`] verified it.
        #[serde(rename = "k")]
        kid: String,
        /// Of the signature.
        #[serde(rename = "n")]
        nonce: String,
        /// When the signature ends.
        #[serde(rename = "e")]
        expires: Millis,
        /// Random and made here for this request, the same when this command is repeated. A caller who could choose
        /// it could replay.
        #[serde(rename = "a")]
        attempt: String,
        /// As above.
        #[serde(rename = "r", default)]
        recorded: bool,
    },
    /// A signature in its name was refused before its nonce was looked at: `Noted` with `Unknown`.
    #[serde(rename = "unsigned")]
    RefuseSignature,
    /// Gives it a new secret: `Known`; `Conflict` when it is revoked; `Full` when
    /// [`MAX_PREVIOUS`](super::MAX_PREVIOUS) earlier ones are good still. The current one stays good for the overlap,
    /// those before it until their own deadlines; without an overlap all of them end at once.
    #[serde(rename = "rotate")]
    Rotate {
        /// Of the new secret.
        #[serde(rename = "h")]
        hash: String,
        /// At most [`MAX_OVERLAP`](super::MAX_OVERLAP).
        #[serde(rename = "o")]
        overlap: Millis,
    },
    /// Ends it and all its secrets: `Known`.
    #[serde(rename = "revoke")]
    Revoke,
    /// Replaces its settings: `Known`; `Conflict` when somebody else changed them since, or when it is revoked.
    #[serde(rename = "set")]
    Change {
        /// [`View::version`] that the settings were made from.
        #[serde(rename = "v")]
        version: u32,
        /// All of them.
        #[serde(rename = "s")]
        settings: Box<KeySettings>,
    },
    /// What is it? `Known`, also when it is revoked or over.
    #[serde(rename = "look")]
    Look,
}

/// A record to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRecord {
    /// The key's id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Id of the operator who made it.
    pub created_by: String,
    /// Of its secret.
    pub hash: String,
    /// What it may do.
    pub settings: KeySettings,
}

/// What a record answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The record, without its hashes.
    #[serde(rename = "ok")]
    Known(Box<View>),
    /// Wrong, over, revoked or never made: nothing tells which.
    #[serde(rename = "no")]
    Unknown,
    /// That nonce was spent.
    #[serde(rename = "replay")]
    Replayed,
    /// Too many nonces are remembered, or too many earlier secrets are good.
    #[serde(rename = "full")]
    Full,
    /// The id is taken.
    #[serde(rename = "taken")]
    Exists,
    /// Revoked, or changed by somebody else since.
    #[serde(rename = "conflict")]
    Conflict,
    /// Settings with [faults](KeySettings::faults), or a hash that is none.
    #[serde(rename = "bad")]
    Invalid,
    /// The reply to a check with which an event was offered, and what belongs on record of it.
    #[serde(rename = "noted")]
    Noted(Box<Reply>, Option<Note>),
}
