//! The keys of documents: made for a new one, opened for one that is read.

use crate::app::owner_key::{self, OwnerKey};
use crate::app::port::{BlobPart, Port, Sealed};
use crate::base::digest::Bytes32;
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::domain::documents::about::Right;
use crate::domain::documents::manifest::{Document, Piece, blob_key};
use crate::domain::documents::sealing::{self, OWNER_KEY, Place};

/// A document as its owner has it.
pub struct Held {
    /// Whose it is: who was asked for it, whatever the row says.
    pub owner: String,
    /// All that is known of it.
    pub document: Document,
    /// The owner's key, sealed by the keyring; `None` while they have only documents that are not sealed.
    pub owner_key: Option<String>,
    /// What whoever asked may do with it.
    pub right: Right,
}

impl Held {
    /// Where its version has its place.
    pub fn place<'a, P: Port>(&'a self, port: &'a P) -> Place<'a> {
        Place {
            tenant: port.tenant(),
            owner: &self.owner,
            id: &self.document.id,
            version: self.document.version,
        }
    }

    /// The data key of its version; `None` where it was stored before documents were sealed.
    ///
    /// # Errors
    /// `keyring_unavailable`; `integrity` when it does not open with the owner's key.
    pub async fn data_key<P: Port>(&self, port: &P) -> Result<Option<Secret<Bytes32>>, Refusal> {
        match (&self.document.key, &self.owner_key) {
            (None, _) => Ok(None),
            (Some(_), None) => {
                let cause = format!("{}: its owner has no key", self.document.id);
                Err(Refusal::new(Code::Integrity).cause(cause))
            }
            (Some(wrapped), Some(owner_key)) => {
                let key = open_data_key(port, &self.place(port), owner_key, wrapped).await;
                key.map(Some)
            }
        }
    }
}

/// What a new document is sealed with.
pub struct DataKey {
    /// As its row keeps it.
    pub wrapped: String,
    /// The key.
    pub key: Secret<Bytes32>,
}

/// A key for an owner who has none, sealed by the keyring.
///
/// # Errors
/// `keyring_unavailable`
pub async fn new_owner_key<P: Port>(port: &P, owner: &str) -> Result<String, Refusal> {
    let made = OwnerKey::new(port, OWNER_KEY, owner).await?;
    Ok(made.kept.0)
}

/// The key of a document that is about to be stored.
///
/// # Errors
/// `keyring_unavailable`
pub async fn new_data_key<P: Port>(
    port: &P,
    owner: &str,
    id: &str,
    version: u32,
    owner_key: &str,
) -> Result<DataKey, Refusal> {
    let place = Place {
        tenant: port.tenant(),
        owner,
        id,
        version,
    };
    let opened = open_owner_key(port, owner, owner_key).await?;
    let key = Secret::new(port.random());
    let wrapped = sealing::wrap(opened.reveal(), &place, key.reveal(), &port.random());
    let wrapped = wrapped.map_err(|fault| Refusal::new(Code::Internal).cause(fault.to_string()))?;
    Ok(DataKey { wrapped, key })
}

/// Where the pieces lie, and what opens them.
///
/// # Errors
/// `keyring_unavailable`; `integrity` when what the row says does not open with the owner's key.
pub async fn parts<P: Port>(
    port: &P,
    held: &Held,
    pieces: Vec<Piece>,
) -> Result<Vec<BlobPart>, Refusal> {
    let document = &held.document;
    let damaged = |cause: &dyn std::fmt::Display| {
        Refusal::new(Code::Integrity).cause(format!("{}: {cause}", document.id))
    };
    let place = held.place(port);
    let key = held.data_key(port).await?;
    let part = |piece: Piece| {
        let sealed = match &key {
            None => None,
            Some(key) => {
                let segment = document.segments.get(piece.segment);
                let segment = segment.ok_or_else(|| damaged(&"no such segment"))?;
                let header = segment.header.as_deref().unwrap_or_default();
                let name = document.blob(piece.segment);
                let key = sealing::segment(key.reveal(), &place, &name, header)
                    .map_err(|fault| damaged(&fault))?;
                Some(Sealed {
                    key,
                    bytes: segment.length,
                })
            }
        };
        Ok(BlobPart {
            key: blob_key(&held.owner, &document.id, &document.blob(piece.segment)),
            offset: piece.offset,
            length: piece.length,
            sealed,
        })
    };
    pieces.into_iter().map(part).collect()
}

/// The data key of a document.
///
/// # Errors
/// `keyring_unavailable`; `integrity` when it does not open with the owner's key.
pub async fn open_data_key<P: Port>(
    port: &P,
    place: &Place<'_>,
    owner_key: &str,
    wrapped: &str,
) -> Result<Secret<Bytes32>, Refusal> {
    let owner_key = open_owner_key(port, place.owner, owner_key).await?;
    sealing::unwrap(owner_key.reveal(), place, wrapped)
        .map_err(|fault| Refusal::new(Code::Integrity).cause(format!("{}: {fault}", place.id)))
}

async fn open_owner_key<P: Port>(
    port: &P,
    owner: &str,
    sealed: &str,
) -> Result<Secret<Bytes32>, Refusal> {
    owner_key::opened(port, OWNER_KEY, owner, sealed).await
}
