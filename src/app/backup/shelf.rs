//! Which snapshots there are, and which of them go.

use super::keys;
use crate::app::port::{BlobPart, Blobs, Port, PortFault, Sealed, storage_refusal};
use crate::base::cobblestone::SALT_BYTES;
use crate::base::digest::{from_base64url, hex, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::backup::format::{FORMAT, Manifest, Pages};
use crate::domain::backup::sealing::{Keys, Part};
use crate::domain::backup::{KEPT_BY_PLATFORM, names};

/// A snapshot that can be read.
pub struct Opened {
    /// Its id.
    pub id: String,
    /// What it consists of.
    pub manifest: Manifest,
    pub(super) keys: Keys,
}

/// Ids of the snapshots, the oldest first.
///
/// # Errors
/// The bucket failed.
pub async fn ids<P: Port>(port: &P) -> Result<Vec<String>, PortFault> {
    let mut ids: Vec<String> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let (blobs, more) = port.blob_list(names::SNAPSHOTS, after.as_deref()).await?;
        let found = blobs.iter().filter_map(|blob| {
            let id = blob.strip_prefix(names::SNAPSHOTS)?;
            names::begun(id).map(|_| id.to_owned())
        });
        ids.extend(found);
        after = blobs.into_iter().next_back();
        if !more || after.is_none() {
            return Ok(ids);
        }
    }
}

/// Opens a snapshot's manifest.
///
/// # Errors
/// `not_found`; `integrity` where it was changed, is another's, or is sealed with another `MASTER_KEY`;
/// `storage_unavailable`.
pub async fn open<P: Port>(port: &P, id: &str) -> Result<Opened, Refusal> {
    let missing = || Refusal::new(Code::NotFound).detail("There is no snapshot of that id.");
    if names::begun(id).is_none() {
        return Err(missing());
    }
    let sealed = port.blob_get(&names::manifest(id)).await;
    let sealed = sealed.map_err(|fault| storage_refusal(&fault))?;
    let sealed = sealed.ok_or_else(missing)?;
    for keys in keys(port.settings()) {
        let Ok(plain) = keys.open((port.tenant(), id, Part::Manifest), &sealed) else {
            continue;
        };
        let manifest: Manifest =
            serde_json::from_slice(&plain).map_err(|error| damaged("manifest", &error))?;
        if manifest.format != FORMAT {
            return Err(damaged("manifest", &"it is of another version"));
        }
        return Ok(Opened {
            id: id.to_owned(),
            manifest,
            keys,
        });
    }
    Err(damaged(
        "manifest",
        &"it does not open: it was changed, or MASTER_KEY is another one",
    ))
}

impl Opened {
    /// The content of a piece.
    ///
    /// # Errors
    /// `integrity` where it is missing, was changed or cut off, or is another's; `storage_unavailable`.
    pub async fn piece<P: Port>(&self, port: &P, number: usize) -> Result<Pages, Refusal> {
        let what = format!("piece {number}");
        let piece = self.manifest.pieces.get(number);
        let piece = piece.ok_or_else(|| damaged(&what, &"there is no such one"))?;
        let salt: Option<[u8; SALT_BYTES]> =
            from_base64url(&piece.salt).and_then(|salt| salt.try_into().ok());
        let salt = salt.ok_or_else(|| damaged(&what, &"its salt has another length"))?;
        let place = (port.tenant(), self.id.as_str(), Part::Piece(number));
        let part = BlobPart {
            key: piece.blob.clone(),
            offset: 0,
            length: piece.bytes,
            sealed: Some(Sealed {
                key: self.keys.message(place, &salt),
                bytes: piece.bytes,
            }),
        };
        let plain = match port.blob_open(part).await {
            Ok(Blobs::Body(plain)) => plain,
            Ok(Blobs::Missing) => return Err(damaged(&what, &"it is missing")),
            Ok(Blobs::Forged) => return Err(damaged(&what, &"it was changed")),
            Err(fault) => return Err(storage_refusal(&fault)),
        };
        if hex(&sha256(&plain)) != piece.sha256 {
            return Err(damaged(&what, &"it is another one"));
        }
        let pages: Pages =
            serde_json::from_slice(&plain).map_err(|error| damaged(&what, &error))?;
        if pages.format != FORMAT {
            return Err(damaged(&what, &"it is of another version"));
        }
        Ok(pages)
    }
}

fn damaged(what: &str, why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Code::SnapshotDamaged)
        .detail(format!("The snapshot's {what} cannot be used: {why}."))
}

/// Removes what nobody needs any more, at most about 1,000 blobs of each kind at a time: all snapshots but the newest,
/// pieces that no manifest names, notes of erasures before the oldest snapshot that the platform has forgotten as well.
///
/// # Errors
/// The bucket failed; what is left goes the next time.
pub async fn prune<P: Port>(port: &P, keep: usize) -> Result<(), PortFault> {
    let ids = ids(port).await?;
    let (old, kept) = ids.split_at(ids.len().saturating_sub(keep.max(1)));
    let (Some(oldest), Some(newest)) = (kept.first(), kept.last()) else {
        return Ok(());
    };
    // A manifest goes before its pieces, so that no snapshot is offered of which something is gone.
    let manifests: Vec<String> = old.iter().map(|id| names::manifest(id)).collect();
    for some in manifests.chunks(1_000) {
        port.blob_delete(some).await?;
    }
    let (pieces, _) = port.blob_list(names::PIECES, None).await?;
    let is_left_over = |id: &str| !kept.iter().any(|kept| kept == id) && id < newest.as_str();
    let gone: Vec<String> = pieces
        .into_iter()
        .filter(|blob| names::snapshot_of_piece(blob).is_some_and(is_left_over))
        .collect();
    if !gone.is_empty() {
        port.blob_delete(&gone).await?;
    }
    let begun = names::begun(oldest).unwrap_or(Millis::ZERO);
    let begun = begun.min(port.now().since(KEPT_BY_PLATFORM));
    let (notes, _) = port.blob_list(names::ERASED, None).await?;
    let is_over = |at: Millis| at < begun;
    let over: Vec<String> = notes
        .into_iter()
        .filter(|blob| names::read_erased(blob).is_some_and(|(at, _)| is_over(at)))
        .collect();
    if !over.is_empty() {
        port.blob_delete(&over).await?;
    }
    Ok(())
}
