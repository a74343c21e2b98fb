//! Which uses of a key, and which refusals of what was presented in its name, belong on record.
//!
//! Row: `rec/noted`, as JSON. It opens nothing: of a secret it holds a digest of its hash.

use serde::{Deserialize, Serialize};

use crate::base::machine::Write;
use crate::base::time::Millis;

/// A use after so long without one is on record: 30 d × 86,400 s. A key that something uses by itself is used at least
/// once a month; one that was forgotten, and is used again, is worth a look.
pub const DORMANT: Millis = Millis::from_secs(2_592_000);
/// One refusal of a kind is on record in this time, 60 min × 60 s; the next one tells how many were left out.
pub const REFUSED_AGAIN: Millis = Millis::from_secs(3_600);
/// How many were left out is written at most this often.
const COUNT_GRAIN: u64 = 60_000; // ms
/// Former secrets that are known as such; older ones are wrong like any other.
const MAX_FORMER: usize = 8;
pub(super) const NOTED_ROW: &str = "rec/noted";

/// What belongs on record of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// A use.
    #[serde(rename = "use")]
    Use {
        /// The first of this secret or public key? Else the first after [`DORMANT`].
        #[serde(rename = "f")]
        first: bool,
        /// Which public key it was signed with; `None`: the secret was shown.
        #[serde(rename = "k")]
        kid: Option<String>,
        /// The use of the key before it, to the minute.
        #[serde(rename = "l")]
        last_used: Option<Millis>,
    },
    /// A refusal.
    #[serde(rename = "no")]
    Refused {
        /// Why.
        #[serde(rename = "y")]
        why: Why,
        /// At least so many for the same reason since the one that is on record before it.
        #[serde(rename = "n")]
        left_out: u32,
    },
}

/// Why something that was presented in a key's name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No secret that the key is known to have had.
    WrongSecret,
    /// A secret before the current one, after its overlap.
    OldSecret,
    /// The key is revoked.
    Revoked,
    /// The key is over.
    Expired,
    /// The secret of a key that must sign.
    MustSign,
    /// A signature that does not verify, or is over.
    Signature,
    /// A signature whose nonce was spent.
    Replayed,
}

impl Why {
    /// As in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongSecret => "wrong_secret",
            Self::OldSecret => "old_secret",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::MustSign => "must_sign",
            Self::Signature => "signature",
            Self::Replayed => "replayed",
        }
    }

    /// Did whoever presented it hold a secret or private key of this key? Else anybody can have been it.
    #[must_use]
    pub const fn is_holder(self) -> bool {
        !matches!(self, Self::WrongSecret | Self::Signature)
    }
}

/// What was put on record before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Noted {
    known: Known,
    /// When a count was written last.
    counted: Option<Millis>,
}

/// The stored form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Stored {
    #[serde(rename = "v1")]
    V1(Known),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    /// Digests of secrets and public keys that were used.
    #[serde(rename = "s", default)]
    seen: Vec<String>,
    /// Digests of secrets that were replaced or revoked, oldest first.
    #[serde(rename = "f", default)]
    former: Vec<String>,
    /// Why, when it was last put on record, and how many were left out since.
    #[serde(rename = "r", default)]
    refused: Vec<(Why, Millis, u32)>,
}

impl Noted {
    /// Reads the row; `None` when it cannot be read.
    pub(super) fn load(text: &str) -> Option<Self> {
        let Stored::V1(known) = serde_json::from_str(text).ok()?;
        Some(Self {
            known,
            counted: None,
        })
    }

    /// Of a key that was in use before this was kept: these were seen.
    pub(super) fn of_before(seen: Vec<String>) -> Self {
        let known = Known {
            seen,
            ..Known::default()
        };
        Self {
            known,
            counted: None,
        }
    }

    /// A use of that secret or public key: is it the first? `good`: all that are good now.
    pub(super) fn is_first(
        &mut self,
        used: &str,
        good: impl FnOnce() -> Vec<String>,
        writes: &mut Vec<Write>,
    ) -> bool {
        if self.known.seen.iter().any(|seen| seen == used) {
            return false;
        }
        let good = good();
        self.known.seen.retain(|seen| good.contains(seen));
        self.known.seen.push(used.to_owned());
        writes.push(self.row());
        true
    }

    /// A secret is the current one no more.
    pub(super) fn replaced(&mut self, secret: String, writes: &mut Vec<Write>) {
        if self.known.former.len() >= MAX_FORMER {
            self.known.former.remove(0);
        }
        self.known.former.push(secret);
        writes.push(self.row());
    }

    /// Was that a secret of this key?
    pub(super) fn was_secret(&self, digest: &str) -> bool {
        self.known.former.iter().any(|former| former == digest)
    }

    /// Something was refused: what belongs on record of it. Who is refused cannot write more often than this.
    pub(super) fn refused(
        &mut self,
        now: Millis,
        why: Why,
        writes: &mut Vec<Write>,
    ) -> Option<Note> {
        let rows = &mut self.known.refused;
        let Some((_, at, left_out)) = rows.iter_mut().find(|(known, ..)| *known == why) else {
            rows.push((why, now, 0));
            writes.push(self.row());
            return Some(Note::Refused { why, left_out: 0 });
        };
        // A clock that was wrong for a while does not stop it.
        if now.0.abs_diff(at.0) >= REFUSED_AGAIN.0 {
            *at = now;
            let left_out = core::mem::take(left_out);
            writes.push(self.row());
            return Some(Note::Refused { why, left_out });
        }
        *left_out = left_out.saturating_add(1);
        if self
            .counted
            .is_none_or(|counted| now.0.abs_diff(counted.0) >= COUNT_GRAIN)
        {
            self.counted = Some(now);
            writes.push(self.row());
        }
        None
    }

    fn row(&self) -> Write {
        let row = Stored::V1(self.known.clone());
        Write {
            key: NOTED_ROW.to_owned(),
            // Texts and numbers can always be written.
            value: Some(serde_json::to_string(&row).unwrap_or_default()),
        }
    }
}
