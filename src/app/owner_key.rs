//! The key of what an owner keeps: made with the first of it, sealed by the keyring, kept in their object.

use serde_json::{Map, Value};

use super::keyring::{keyring, locked};
use super::port::Port;
use crate::base::digest::Bytes32;
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::domain::owned::Key;
use crate::domain::owned::sealing::{self, At, Place};

/// A key, and how an object keeps it.
pub struct OwnerKey {
    /// Sealed by the keyring.
    pub kept: Key,
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
        kept: Key,
    ) -> Result<Self, Refusal> {
        let key = opened(port, purpose, owner, &kept.0).await?;
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
        let kept = Key(sealed.map_err(|fault| locked(&fault))?);
        Ok(Self { kept, key })
    }

    /// Seals a text for its place.
    pub fn seal<P: Port>(&self, port: &P, owner: &str, at: impl At, text: &str) -> String {
        let place = place(port, owner, at);
        sealing::seal(self.key.reveal(), &place, &port.random(), text)
    }

    /// Opens a text in its place.
    ///
    /// # Errors
    /// `integrity`
    pub fn text<P: Port>(
        &self,
        port: &P,
        owner: &str,
        at: impl At,
        sealed: &str,
    ) -> Result<String, Refusal> {
        sealing::open(self.key.reveal(), &place(port, owner, at), sealed)
            .map_err(|fault| damaged(at, &fault))
    }

    /// Opens a JSON object in its place.
    ///
    /// # Errors
    /// `integrity`
    pub fn object<P: Port>(
        &self,
        port: &P,
        owner: &str,
        at: impl At,
        sealed: &str,
    ) -> Result<Map<String, Value>, Refusal> {
        let text = self.text(port, owner, at, sealed)?;
        serde_json::from_str(&text).map_err(|error| damaged(at, &error))
    }
}

fn place<'a, P: Port, A: At>(port: &'a P, owner: &'a str, at: A) -> Place<'a, A> {
    Place {
        tenant: port.tenant(),
        owner,
        at,
    }
}

fn damaged(at: impl At, cause: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Code::Integrity).cause(format!("{at:?}: {cause}"))
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
