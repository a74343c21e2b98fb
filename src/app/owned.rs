//! What an owner keeps in an object of their own, sealed with a key of theirs: how the object is asked, and which key
//! counts.

use super::owner_key::OwnerKey;
use super::owners;
use super::port::{Class, Port, PortFault, call_rows, storage_refusal};
use crate::base::errors::{Code, Refusal};
use crate::base::rows::RowMachine;
use crate::domain::owned::Key;

/// How often a command is sent anew because another key counts: that takes a deletion of everything in between.
const TRIES: usize = 3;

/// A machine of which every owner has one.
pub trait Owned: RowMachine {
    /// Its objects.
    const CLASS: Class;
    /// What follows an owner's id in the name of the object.
    const SUFFIX: &'static str;
    /// What the keyring is told that an owner's key is for.
    const PURPOSE: &'static str;
    /// The directory of everybody who keeps something there.
    const OWNERS: &'static str;
    /// Asks which key counts.
    const KEY: Self::Command;

    /// What a reply says of the key that counts.
    fn said(reply: &Self::Reply) -> Said<'_>;
}

/// What a reply says of the key that counts.
pub enum Said<'r> {
    /// The one, where there is one.
    Key(Option<&'r Key>),
    /// Nothing was done: what came was sealed with another one than this.
    Other(&'r Key),
    /// Nothing can be said: the rows are of a newer version of this program.
    Newer,
    /// Nothing.
    Nothing,
}

/// The object of what an owner keeps.
#[must_use]
pub fn object_of<M: Owned>(owner: &str) -> String {
    [owner, M::SUFFIX].concat()
}

/// Asks what an owner keeps.
///
/// # Errors
/// `storage_unavailable`
pub async fn ask<M: Owned>(
    port: &impl Port,
    owner: &str,
    command: &M::Command,
) -> Result<M::Reply, Refusal> {
    let reply = call_rows::<M>(port, M::CLASS, &object_of::<M>(owner), command).await;
    let reply = reply.map_err(|fault| storage_refusal(&fault))?;
    if matches!(M::said(&reply), Said::Newer) {
        let newer = PortFault("the rows are of a newer version".to_owned());
        return Err(storage_refusal(&newer));
    }
    Ok(reply)
}

/// The key that counts, if there is one.
///
/// # Errors
/// `storage_unavailable`, `keyring_unavailable`, `integrity`
pub async fn key_of<M: Owned>(port: &impl Port, owner: &str) -> Result<Option<OwnerKey>, Refusal> {
    let reply = ask::<M>(port, owner, &M::KEY).await?;
    match M::said(&reply) {
        Said::Key(Some(kept)) => OwnerKey::open(port, M::PURPOSE, owner, kept.clone())
            .await
            .map(Some),
        Said::Key(None) => Ok(None),
        _ => Err(Refusal::new(Code::Internal).cause("an object did not tell its key")),
    }
}

/// Sends a command with sealed texts: with the key that counts, whichever that turns out to be.
///
/// # Errors
/// `storage_unavailable`, `keyring_unavailable`, `integrity`
pub async fn tell<M: Owned>(
    port: &impl Port,
    owner: &str,
    command: impl Fn(&OwnerKey) -> M::Command,
) -> Result<M::Reply, Refusal> {
    let mut key = match key_of::<M>(port, owner).await? {
        Some(key) => key,
        None => {
            owners::register(port, M::OWNERS, owner).await?;
            OwnerKey::new(port, M::PURPOSE, owner).await?
        }
    };
    // Another call may have been the first meanwhile, and everything may have been deleted in between.
    for _ in 0..TRIES {
        let reply = ask::<M>(port, owner, &command(&key)).await?;
        match M::said(&reply) {
            Said::Other(kept) => {
                key = OwnerKey::open(port, M::PURPOSE, owner, kept.clone()).await?;
            }
            _ => return Ok(reply),
        }
    }
    Err(Refusal::new(Code::StorageUnavailable).cause("an owner's key changed again and again"))
}
