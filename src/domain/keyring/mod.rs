//! Key versions, their rotation, and what they wrap.
//!
//! Three layers. The *root* comes from the secret `MASTER_KEY` (or is an external key management service). It wraps
//! *key versions* (key encryption keys), of which exactly one is active. The active one wraps *data keys*, which live
//! long and do the work: the pepper of API keys, the keys of session tokens, the seed of the audit log's signature, the
//! key that seals what else is secret. Providers' keys that an operator stored are wrapped by a version as well. Nothing
//! outside the keyring is sealed under a key version, so the keyring alone can tell when one is no longer needed.
//!
//! 1. `state`: the states of a version and the table of their transitions.
//! 2. `ring`: what is stored; all of it wrapped.
//! 3. `command`, `change`, `machine`: what may be asked, what it changes, and how that is stored.
//! 4. `wrap`: the root, contexts, wrapping and unwrapping.
//! 5. `opened`: the keyring unlocked in memory.
//! 6. `status`: ages, progress, warnings, and what the schedule asks for.
//! 7. `kms`: requests to and answers of an external key management service.
//! 8. `recovery`: an export sealed to the operator's own public key.

mod change;
mod command;
pub mod kms;
mod machine;
mod opened;
pub mod recovery;
mod ring;
mod state;
mod status;
mod wrap;

pub use command::{
    Command, MAX_HELD, MAX_PROVIDER_TEXT, MAX_PROVIDERS, MAX_SESSION_KEYS, MAX_TOMBSTONES,
    MAX_WRAPPED_TEXT, NewKey, PROPAGATION, Refusal, Reply,
};
pub use machine::Keyring;
pub use opened::{OpenError, Opened, SessionKey, rewrap_version};
pub use ring::{DataKey, Item, Provider, Purpose, Ring, Version, Wrap};
pub use state::{Event, KeyState, TRANSITIONS};
pub use status::{
    DECRYPT_ONLY_ALERT, DESTROY_AFTER, PENDING_ALERT, RETIRE_AFTER, SESSION_OVERLAP, Status, Step,
    Warning, due, rewrap_plan, status,
};
pub use wrap::{
    FirstKeys, Roots, Wrapper, first_ring, key_id, root_key, unwrap, wrap, wrap_data, wrap_version,
};
