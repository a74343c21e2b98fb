//! The keyring.

use super::Time;
use crate::app::schema::objects;

objects! {
    /// A version of the key that wraps the others.
    KeyVersion {
        /// Number.
        version: u32,
        /// `pending`, `active`, `decrypt-only`, `retired` or `destroyed`.
        state: String,
        /// For how long.
        in_state_seconds: u64,
        /// How many keys it wraps.
        wraps: u32,
    }

    /// A key that does something.
    DataKey {
        /// What.
        purpose: String,
        /// Id.
        id: String,
        /// The version that wraps it.
        wrapped_under: u32,
        /// When it was made.
        created_at: Time,
        /// A replaced key verifies until then.
        verifies_until: Option<Time>,
    }

    /// The keyring.
    KeyringStatus {
        /// The active version.
        active: u32,
        /// Its age.
        age_seconds: u64,
        /// When it is to be replaced; null: never by itself.
        due_in_seconds: Option<u64>,
        /// Versions below are never used again.
        floor: u32,
        /// Grows with every change.
        revision: u64,
        /// `master key` or `kms`.
        wrapped_by: String,
        /// How many keys are wrapped as they should be …
        rewrapped: u64,
        /// … of how many.
        of: u64,
        /// Versions.
        versions: Vec<KeyVersion>,
        /// Keys that they wrap.
        data_keys: Vec<DataKey>,
        /// What should be done, in words.
        warnings: Vec<String>,
    }

    /// A step of a rotation.
    RotationStep {
        /// `begun` or `activated`.
        step: String,
        /// The new version.
        version: u32,
        /// What to do next.
        #[schemars(skip_serializing_if = "Option::is_none")]
        next: Option<String>,
        /// Keys that were wrapped anew.
        #[schemars(skip_serializing_if = "Option::is_none")]
        rewrapped: Option<u32>,
    }

    /// The key of sessions was replaced.
    SessionKeyStep {
        /// What was done.
        step: String,
    }

    /// The emergency rotation is done.
    EmergencyDone {
        /// The new version.
        version: u32,
        /// Keys that were wrapped anew.
        rewrapped: u32,
        /// `void`.
        sessions: String,
        /// What to do next.
        next: String,
    }

    /// A version's material is gone.
    VersionDestroyed {
        /// Number.
        version: u32,
        /// It is.
        destroyed: bool,
    }

    /// A provider of the configuration.
    Provider {
        /// Name.
        name: String,
        /// Has it what it needs?
        active: bool,
        /// Variables and secrets that would make it active.
        secrets: Vec<String>,
        /// Is a key stored?
        stored: bool,
        /// By which operator.
        stored_by: Option<String>,
        /// When.
        stored_at: Option<Time>,
        /// Why the stored key cannot be read.
        fault: Option<String>,
    }

    /// Providers.
    ProviderList {
        /// Providers.
        providers: Vec<Provider>,
    }

    /// A provider's key was stored or removed.
    ProviderKey {
        /// The provider's name.
        name: String,
        /// Is a key stored?
        stored: bool,
    }
}
