//! The one door through which models and indexes read documents: what the caller may read, unless its scan holds it back.
//!
//! A denial looks like absence.

use super::not_found;
use super::reach::reach;
use super::scanner::may_read;
use super::sealing::{Held, parts};
use crate::app::gate::Caller;
use crate::app::port::{Blobs, Port, storage_refusal};
use crate::base::errors::{Code, Refusal};
use crate::domain::documents::manifest::Document;
use crate::domain::documents::scan::state::Reader;

/// A document that may be read.
pub struct Legible {
    /// Its id.
    pub id: String,
    /// The principal that owns it.
    pub owner: String,
    /// Its newest version, the one that is read.
    pub version: u32,
    /// As in [`About`](crate::domain::documents::about::About): what was derived from it under another number is stale.
    pub epoch: u64,
    /// Its name.
    pub filename: String,
    /// What it is served as.
    pub content_type: String,
    /// Length of its content.
    pub bytes: u64,
    /// As in [`Document`].
    pub sha256: String,
}

impl Legible {
    fn of(owner: &str, document: &Document) -> Self {
        Self {
            id: document.id.clone(),
            owner: owner.to_owned(),
            version: document.version,
            epoch: document.about.epoch,
            filename: document.filename.clone(),
            content_type: document.content_type.clone(),
            bytes: document.bytes,
            sha256: document.sha256.clone(),
        }
    }
}

/// Looks whether a document may be read.
///
/// # Errors
/// `document_not_found`; `storage_unavailable`, `scanner_unavailable`, `keyring_unavailable`.
pub async fn look<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
    reader: Reader,
) -> Result<Legible, Refusal> {
    let held = opened(port, caller, id, reader).await?;
    Ok(Legible::of(&held.owner, &held.document))
}

/// Reads a document whole.
///
/// # Errors
/// As for [`look`]; `payload_too_large` when it has more than `most` bytes; `integrity` when it is damaged.
pub async fn read<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
    reader: Reader,
    most: u64,
) -> Result<(Legible, Vec<u8>), Refusal> {
    let held = opened(port, caller, id, reader).await?;
    let document = &held.document;
    if document.bytes > most {
        return Err(Refusal::new(Code::PayloadTooLarge)
            .detail(format!("Documents of at most {most} bytes are read.")));
    }
    let mut content = Vec::new();
    let last = document.bytes.saturating_sub(1);
    for part in parts(port, &held, document.pieces(0, last)).await? {
        let opened = port.blob_open(part).await;
        match opened.map_err(|fault| storage_refusal(&fault))? {
            Blobs::Body(bytes) => content.extend_from_slice(&bytes),
            Blobs::Missing | Blobs::Forged => {
                // Deleted since it was looked up, or damaged: the owner knows.
                super::reach::again(port, caller, &held, Some(document.version)).await?;
                let cause = format!("{id}: a segment does not open");
                return Err(Refusal::new(Code::Integrity).cause(cause));
            }
        }
    }
    Ok((Legible::of(&held.owner, document), content))
}

async fn opened<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
    reader: Reader,
) -> Result<Held, Refusal> {
    let held = reach(port, caller, id, None).await?;
    match may_read(port, &held, reader).await {
        Ok(()) => Ok(held),
        Err(refusal) if refusal.code == Code::DocumentQuarantined => Err(not_found()),
        Err(refusal) => Err(refusal),
    }
}
