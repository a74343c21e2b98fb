//! What a keyring stores. Every secret in it is wrapped, so that all of this may be logged, copied and cached.

use serde::{Deserialize, Serialize};

use super::state::{Event, KeyState};
use crate::base::time::Millis;

/// A wrapped key version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrap {
    /// What wrapped it: `local:` and the id of the root key, or `kms:` and the service's name of its key.
    pub by: String,
    /// The wrapped key: a sealed text, or the service's ciphertext. Empty once it is destroyed.
    pub text: String,
}

/// A key version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number, from 1.
    pub n: u32,
    /// What it may be used for.
    pub state: KeyState,
    /// Its key.
    pub wrap: Wrap,
    /// When it was made.
    pub created: Millis,
    /// When it became active.
    pub activated: Option<Millis>,
    /// When it entered its state.
    pub since: Millis,
}

impl Version {
    /// Moves on by the table of transitions; `false`, and nothing changed, when it has none for this.
    pub(super) fn step(&mut self, now: Millis, event: Event) -> bool {
        let Some(state) = self.state.after(event) else {
            return false;
        };
        self.state = state;
        self.since = now;
        if state == KeyState::Active {
            self.activated = Some(now);
        }
        if state == KeyState::Destroyed {
            self.wrap = Wrap::default();
        }
        true
    }
}

/// What a data key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// HMAC key under which API keys and operator keys are stored.
    Pepper,
    /// HMAC key of session tokens.
    Session,
    /// Ed25519 seed of the audit log's checkpoints.
    Audit,
    /// Seals second-factor seeds and other small secrets that are stored elsewhere.
    Seal,
}

impl Purpose {
    /// All of them; a keyring has at least one key for each.
    pub const ALL: [Self; 4] = [Self::Pepper, Self::Session, Self::Audit, Self::Seal];

    /// Its name in contexts and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pepper => "pepper",
            Self::Session => "session",
            Self::Audit => "audit",
            Self::Seal => "seal",
        }
    }
}

/// A data key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKey {
    /// What it is for.
    pub purpose: Purpose,
    /// Its id (`kid`), derived from the key.
    pub id: String,
    /// The version that wraps it.
    pub version: u32,
    /// The wrapped key.
    pub text: String,
    /// When it was made.
    pub created: Millis,
    /// A session key signs from here on; before, it only verifies.
    pub from: Millis,
    /// A session key that another one followed verifies until here.
    pub until: Option<Millis>,
}

/// A provider's key that an operator stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// The provider's name in gatehouse.toml.
    pub name: String,
    /// The version that seals it.
    pub version: u32,
    /// The sealed key.
    pub text: String,
    /// The operator who stored it.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// Something that can be wrapped anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// A key version, under the present root.
    Version(u32),
    /// A data key by its id, under the active version.
    Data(String),
    /// A provider's key by its name, under the active version.
    Provider(String),
}

/// A keyring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// Grows with every change; 0 before the first.
    pub revision: u64,
    /// Versions below this one are refused.
    pub floor: u32,
    /// After an emergency: the floor to raise to as soon as nothing is wrapped below it.
    pub raise_to: u32,
    /// By number.
    pub versions: Vec<Version>,
    /// By the time at which they were made.
    pub data: Vec<DataKey>,
    /// By name.
    pub providers: Vec<Provider>,
}

impl Ring {
    /// The version that seals; `None` before the keyring was made.
    #[must_use]
    pub fn active(&self) -> Option<&Version> {
        self.versions.iter().find(|v| v.state == KeyState::Active)
    }

    /// The version that waits to be active.
    #[must_use]
    pub fn pending(&self) -> Option<&Version> {
        self.versions.iter().find(|v| v.state == KeyState::Pending)
    }

    /// A version by number.
    #[must_use]
    pub fn version(&self, n: u32) -> Option<&Version> {
        self.versions.iter().find(|v| v.n == n)
    }

    /// The number of the next version.
    #[must_use]
    pub fn next(&self) -> u32 {
        let last = self.versions.iter().map(|v| v.n).max();
        last.unwrap_or(0).saturating_add(1)
    }

    /// How many keys the versions that fit are wrapping.
    #[must_use]
    pub fn wrapped_under(&self, fits: impl Fn(u32) -> bool) -> usize {
        let data = self.data.iter().map(|key| key.version);
        let providers = self.providers.iter().map(|key| key.version);
        data.chain(providers).filter(|n| fits(*n)).count()
    }

    /// The newest session key that signs at this time; should the clock stand before all of them, the oldest.
    #[must_use]
    pub fn signer(&self, now: Millis) -> Option<&DataKey> {
        let keys = || {
            self.data
                .iter()
                .filter(|key| key.purpose == Purpose::Session)
        };
        keys()
            .filter(|key| key.from <= now)
            .max_by_key(|key| key.from)
            .or_else(|| keys().min_by_key(|key| key.from))
    }

    /// Nothing yet, or one active version and at least one key for each purpose.
    pub(super) fn is_sound(&self) -> bool {
        let active = self.versions.iter().filter(|v| v.state == KeyState::Active);
        let has = |purpose| self.data.iter().any(|key| key.purpose == purpose);
        *self == Self::default()
            || (self.revision > 0 && active.count() == 1 && Purpose::ALL.into_iter().all(has))
    }
}
