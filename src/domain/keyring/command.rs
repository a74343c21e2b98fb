//! What may be asked of a keyring, what it answers, and its bounds.

use serde::{Deserialize, Serialize};

use super::ring::{Item, Purpose, Ring, Wrap};
use super::state::KeyState;
use crate::base::time::Millis;

/// How long a new key is only known before it is used: 5 s. An isolate learns of a change from rules that are at most
/// 1 s old and then loads the keyring; the rest is room for a slow load and for clocks that differ.
pub const PROPAGATION: Millis = Millis::from_secs(5);
/// Versions whose material is kept; beyond it, `begin` is refused until one is destroyed.
pub const MAX_HELD: usize = 128;
/// Destroyed versions that are remembered; older ones are forgotten, and still told as destroyed by their number.
pub const MAX_TOMBSTONES: usize = 64;
/// Session keys that verify at a time; beyond it, a rotation is refused until one has run out.
pub const MAX_SESSION_KEYS: usize = 8;
/// Providers' keys; beyond it, storing another is refused.
pub const MAX_PROVIDERS: usize = 64;
/// The longest wrapped key, in bytes. A service's ciphertext of 32 bytes has a few hundred.
pub const MAX_WRAPPED_TEXT: usize = 4096;
/// The longest sealed provider key, in bytes.
pub const MAX_PROVIDER_TEXT: usize = 16_384;
/// The longest name of a provider, of an operator or of what wraps, in bytes.
pub(super) const MAX_NAME: usize = 256;

/// A new data key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// What it is for.
    pub purpose: Purpose,
    /// Its id.
    pub id: String,
    /// The key, wrapped under the active version.
    pub text: String,
}

/// What may be asked. Each may be repeated: what is already so is done, and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Everything, unless the caller has this revision (0: it has none).
    Load {
        /// The caller's revision.
        known: u64,
    },
    /// Makes the keyring: version 1 and the first data keys. The first one wins; whoever comes later gets the winner's.
    Init {
        /// Version 1.
        wrap: Wrap,
        /// At least one key for each purpose, wrapped under version 1.
        keys: Vec<NewKey>,
    },
    /// Makes a new version known.
    Begin {
        /// The next number.
        n: u32,
        /// Its key.
        wrap: Wrap,
    },
    /// Uses a pending version from now on; not before it was known for [`PROPAGATION`].
    Activate {
        /// Which.
        n: u32,
    },
    /// A key has leaked: uses a new version at once, and raises the floor to it as soon as nothing is wrapped below.
    /// Isolates that do not know it yet meet an unknown version and have to load again.
    Emergency {
        /// The next number, or the pending one.
        n: u32,
        /// Its key.
        wrap: Wrap,
    },
    /// A data key or a provider's key was wrapped anew.
    Rewrapped {
        /// Which.
        item: Item,
        /// Its text until now; anything else is refused as stale.
        from: String,
        /// The version of the new text; only the active one is taken.
        version: u32,
        /// The new text.
        to: String,
    },
    /// A version was wrapped anew, under another root.
    RewrappedVersion {
        /// Which.
        n: u32,
        /// Its text until now.
        from: String,
        /// The new wrap.
        to: Wrap,
    },
    /// Takes a version out of use; refused while it wraps anything.
    Retire {
        /// Which.
        n: u32,
    },
    /// Brings a retired version back for opening.
    Restore {
        /// Which.
        n: u32,
    },
    /// Removes a retired version's material for good.
    Destroy {
        /// Which.
        n: u32,
    },
    /// Refuses every version below this one; never lowered.
    RaiseFloor {
        /// The lowest version that is not refused.
        to: u32,
    },
    /// A new key for session tokens.
    RotateSession {
        /// The key.
        key: NewKey,
        /// The version that wraps it.
        version: u32,
        /// How long its predecessors still verify. Zero, in an emergency: they are removed and the new one signs now.
        overlap: Millis,
    },
    /// Stores a provider's key, in the place of an earlier one.
    PutProvider {
        /// The provider's name.
        name: String,
        /// The version that seals it.
        version: u32,
        /// The sealed key.
        text: String,
        /// Who stores it.
        by: String,
    },
    /// Forgets a provider's key.
    RemoveProvider {
        /// The provider's name.
        name: String,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// There is no keyring yet.
    Empty,
    /// The caller has the newest revision.
    Unchanged,
    /// Everything, wrapped.
    Loaded(Box<Ring>),
    /// It is so now.
    Done {
        /// The revision now.
        revision: u64,
        /// False when it was so before.
        changed: bool,
    },
    /// Not before so much time has passed.
    Wait(Millis),
    /// It cannot be.
    Refused(Refusal),
}

/// Why it cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// What is stored does not fit together. Nothing is changed, so that nothing is lost.
    Broken,
    /// There is no keyring yet.
    Empty,
    /// The next number is this one.
    NotNext(u32),
    /// This version is pending; activate or retire it first.
    Pending(u32),
    /// The number or id is taken by another key.
    Taken,
    /// There is nothing of this number, id or name.
    Unknown,
    /// The version's material is gone.
    Destroyed,
    /// A version in this state cannot do that.
    State(KeyState),
    /// It still wraps so many keys.
    InUse(u32),
    /// The text, or the active version, is another one by now: load again.
    Stale,
    /// Below the floor, which only rises, or above the active version.
    Floor(u32),
    /// There are as many as there may be.
    Full,
    /// Empty, too long, or not what the command needs.
    Invalid,
}
