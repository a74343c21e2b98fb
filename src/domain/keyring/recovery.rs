//! A recovery export: the keyring's keys, sealed to a public key whose private half the operator keeps offline.
//!
//! The public key is of X-Wing (draft-connolly-cfrg-xwing-kem), a hybrid of X25519 and ML-KEM-768: who recorded an
//! export needs both broken to read it. Neither implementation has been audited independently. The export is one JSON
//! object, all bytes in base64url:
//!
//! ```text
//! {"format":   "gatehouse-recovery",
//!  "version":  1,
//!  "kem":      "X-Wing",
//!  "tenant":   "default",
//!  "made":     1795237500000,            milliseconds since the Unix epoch
//!  "revision": 12,                       of the keyring
//!  "recipient": "…",                     first 32 hex digits of the SHA-256 of the public key
//!  "encapsulated": "…",                  1,120 bytes
//!  "sealed":   "…"}                      as `base::aead` seals it
//! ```
//!
//! `sealed` opens with HKDF-SHA-256(salt: SHA-256(public key ‖ encapsulated), input: the shared secret, info:
//! `gatehouse/recovery/v1`) in the context of [`context`], and holds
//!
//! ```text
//! {"versions": [{"n": 1, "state": "active", "key": "…"}],
//!  "data":     [{"purpose": "pepper", "id": "…", "key": "…"}]}
//! ```
//!
//! Retired versions wrap nothing and are left out, destroyed ones are gone. Providers' keys are left out as well: their
//! issuers have them.

use serde_json::{Value, json};
use x_wing::{
    CIPHERTEXT_SIZE, ENCAPSULATION_KEY_SIZE, ENCAPSULATION_RANDOMNESS_SIZE, EncapsulationKey,
};

use super::opened::{OpenError, Opened};
use crate::base::aead::{self, AeadError, Nonce};
use crate::base::digest::{Bytes32, base64url, from_base64url, hex, hkdf_sha256, sha256};
use crate::base::secret::Secret;
use crate::base::time::Millis;

/// What `format` says.
pub const FORMAT: &str = "gatehouse-recovery";
/// What `version` says.
pub const VERSION: u64 = 1;
/// What `kem` says.
pub const KEM: &str = "X-Wing";
/// Length of the randomness that one export takes, in bytes.
pub const RANDOMNESS_BYTES: usize = ENCAPSULATION_RANDOMNESS_SIZE;
/// Length of `encapsulated` in bytes.
pub const ENCAPSULATED_BYTES: usize = CIPHERTEXT_SIZE;
/// Length of a public key in bytes.
pub const PUBLIC_KEY_BYTES: usize = ENCAPSULATION_KEY_SIZE;

/// Why there is no export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// `recovery_key` is not set.
    NotConfigured,
    /// `recovery_key` is not a public key of X-Wing.
    NotAKey,
    /// A key cannot be had.
    Keyring(OpenError),
    /// There is too much to seal.
    Seal(AeadError),
}

impl std::fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotConfigured => f.write_str(
                "Recovery exports are off. Make a key pair offline with `cargo run -p gatehouse-recovery -- keygen \
                 --out recovery.key`, and set [keyring] recovery_key to the public key that it prints.",
            ),
            Self::NotAKey => f.write_str("[keyring] recovery_key is not an X-Wing public key in base64url"),
            Self::Keyring(fault) => fault.fmt(f),
            Self::Seal(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for RecoveryError {}

/// A public key to which exports are sealed.
pub struct RecoveryKey {
    bytes: Vec<u8>,
    key: EncapsulationKey,
}

impl RecoveryKey {
    /// Reads `[keyring] recovery_key`.
    ///
    /// # Errors
    /// It is not set, or not a public key of X-Wing.
    pub fn of_config(text: Option<&str>) -> Result<Self, RecoveryError> {
        let text = text.ok_or(RecoveryError::NotConfigured)?;
        let bytes = from_base64url(text.trim()).ok_or(RecoveryError::NotAKey)?;
        let key =
            EncapsulationKey::try_from(bytes.as_slice()).map_err(|_| RecoveryError::NotAKey)?;
        Ok(Self { bytes, key })
    }
}

/// The export of an unlocked keyring, as JSON. `randomness` is drawn for this one export.
///
/// # Errors
/// A key cannot be had.
pub fn export(
    tenant: &str,
    opened: &Opened,
    to: &RecoveryKey,
    now: Millis,
    randomness: &Secret<[u8; RANDOMNESS_BYTES]>,
    nonce: &Nonce,
) -> Result<String, RecoveryError> {
    let plain = contents(opened).map_err(RecoveryError::Keyring)?;
    let (encapsulated, shared) = to
        .key
        .encapsulate_deterministic(&(*randomness.reveal()).into());
    let key = sealing_key(&to.bytes, &encapsulated, &shared.into());
    let header = Header {
        tenant,
        made: now,
        revision: opened.ring.revision,
        recipient: &recipient(&to.bytes),
    };
    let bound = context(&header);
    let sealed = aead::seal(key.reveal(), nonce, &bound, plain.reveal().as_bytes())
        .map_err(RecoveryError::Seal)?;
    Ok(json!({
        "format": FORMAT,
        "version": VERSION,
        "kem": KEM,
        "tenant": header.tenant,
        "made": header.made.0,
        "revision": header.revision,
        "recipient": header.recipient,
        "encapsulated": base64url(&encapsulated),
        "sealed": sealed,
    })
    .to_string())
}

/// What an export says about itself in the open.
pub struct Header<'a> {
    /// Whose keyring it is.
    pub tenant: &'a str,
    /// When it was made.
    pub made: Millis,
    /// The keyring's revision.
    pub revision: u64,
    /// Which public key it is sealed to.
    pub recipient: &'a str,
}

/// The context in which `sealed` opens: what the export says in the open cannot be changed.
#[must_use]
pub fn context(header: &Header) -> Vec<u8> {
    json!([
        FORMAT,
        VERSION,
        KEM,
        header.tenant,
        header.made.0,
        header.revision,
        header.recipient
    ])
    .to_string()
    .into_bytes()
}

/// The public name of a public key: the first 32 hex digits of its SHA-256.
#[must_use]
pub fn recipient(public_key: &[u8]) -> String {
    let mut name = hex(&sha256(public_key));
    name.truncate(32);
    name
}

/// The key that seals, from a shared secret. It depends on the public key and on what was encapsulated, too.
#[must_use]
pub fn sealing_key(public_key: &[u8], encapsulated: &[u8], shared: &Bytes32) -> Secret<Bytes32> {
    let salt = sha256(&[public_key, encapsulated].concat());
    Secret::new(hkdf_sha256(&salt, shared, b"gatehouse/recovery/v1"))
}

fn contents(opened: &Opened) -> Result<Secret<String>, OpenError> {
    let mut versions: Vec<Value> = Vec::new();
    for version in opened
        .ring
        .versions
        .iter()
        .filter(|v| v.state.opens() && v.n >= opened.ring.floor)
    {
        let key = base64url(opened.version(version.n)?.reveal());
        versions.push(json!({"n": version.n, "state": version.state.name(), "key": key}));
    }
    let mut data: Vec<Value> = Vec::new();
    for key in &opened.ring.data {
        let plain = opened.plain(&key.id).ok_or(OpenError::Incomplete)?;
        let text = base64url(plain.reveal());
        data.push(json!({"purpose": key.purpose.name(), "id": key.id, "key": text}));
    }
    Ok(Secret::new(
        json!({"versions": versions, "data": data}).to_string(),
    ))
}
