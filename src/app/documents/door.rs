//! Reading documents for something else than their own addresses: for a model, or for what they are searched by.

use super::reach::{again, reach};
use super::sealing::{Held, parts};
use crate::app::gate::Caller;
use crate::app::port::{Blobs, Port, storage_refusal};
use crate::base::errors::{Code, Refusal};
use crate::domain::documents::scan::state::Reader;

/// A document that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legible {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// What was derived from it under another number is stale.
    pub epoch: u64,
    /// Its name.
    pub filename: String,
    /// Its type.
    pub content_type: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// Looks whether a document may be read.
///
/// # Errors
/// `document_not_found` for everything that the caller may not read; `storage_unavailable`.
pub async fn look<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
    _reader: Reader,
) -> Result<Legible, Refusal> {
    Ok(legible(&reach(port, caller, id, None).await?))
}

/// Reads a document whole.
///
/// # Errors
/// As for [`look`]; `payload_too_large` where it has more bytes than that; `integrity`.
pub async fn read<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
    _reader: Reader,
    most_bytes: u64,
) -> Result<(Legible, Vec<u8>), Refusal> {
    let held = reach(port, caller, id, None).await?;
    let legible = legible(&held);
    if legible.bytes > most_bytes {
        return Err(Refusal::new(Code::PayloadTooLarge)
            .detail(format!("At most {most_bytes} bytes are read.")));
    }
    let mut content = Vec::new();
    if legible.bytes > 0 {
        let pieces = held.document.pieces(0, legible.bytes.saturating_sub(1));
        for part in parts(port, &held, pieces).await? {
            match port.blob_open(part).await {
                Ok(Blobs::Body(bytes)) => content.extend_from_slice(&bytes),
                Ok(Blobs::Missing) => {
                    again(port, caller, &held, Some(held.document.version)).await?;
                    return Err(damaged(&held, "a segment is missing"));
                }
                Ok(Blobs::Forged) => return Err(damaged(&held, "a segment was changed")),
                Err(fault) => return Err(storage_refusal(&fault)),
            }
        }
    }
    Ok((legible, content))
}

fn damaged(held: &Held, what: &str) -> Refusal {
    Refusal::new(Code::Integrity).cause(format!("{}: {what}", held.document.id))
}

fn legible(held: &Held) -> Legible {
    let document = &held.document;
    Legible {
        id: document.id.clone(),
        version: document.version,
        epoch: 0,
        filename: document.filename.clone(),
        content_type: document.content_type.clone(),
        bytes: document.bytes,
        sha256: document.sha256.clone(),
    }
}
