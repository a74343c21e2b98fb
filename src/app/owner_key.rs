//! The key of what an owner keeps: made with the first of it, sealed by the keyring, kept in their object.

use super::keyring::{keyring, locked};
use super::port::Port;
use crate::base::digest::Bytes32;
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;

/// A key, and how an object keeps it.
pub struct OwnerKey {
    /// Sealed by the keyring.
    pub kept: String,
    /// The key.
    pub key: Secret<Bytes32>,
}

impl OwnerKey {
    /// The one that an object gave. `purpose` is what the keyring was told that it is for.
    ///
    /// # Errors
    /// `keyring_unavailable`, `integrity`
    pub async fn open<P: Port>(
        port: &P,
        purpose: &str,
        owner: &str,
        kept: String,
    ) -> Result<Self, Refusal> {
        let key = opened(port, purpose, owner, &kept).await?;
        Ok(Self { kept, key })
    }

    /// One for an owner who has none.
    ///
    /// # Errors
    /// `keyring_unavailable`
    pub async fn new<P: Port>(port: &P, purpose: &str, owner: &str) -> Result<Self, Refusal> {
        let key = Secret::new(port.random::<32>());
        let ring = keyring(port).await?;
        let sealed = ring.seal(purpose, owner, key.reveal(), &port.random());
        let kept = sealed.map_err(|fault| locked(&fault))?;
        Ok(Self { kept, key })
    }
}

/// A key that the keyring sealed.
///
/// # Errors
/// `keyring_unavailable`, `integrity`
pub async fn opened<P: Port>(
    port: &P,
    purpose: &str,
    owner: &str,
    kept: &str,
) -> Result<Secret<Bytes32>, Refusal> {
    let ring = keyring(port).await?;
    let opened = ring
        .open(purpose, owner, kept)
        .map_err(|fault| locked(&fault))?;
    let key = opened.reveal().as_slice().try_into();
    key.map(Secret::new)
        .map_err(|_| Refusal::new(Code::Integrity).cause("an owner's key has another length"))
}
