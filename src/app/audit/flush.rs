//! Flushing: full tiles go from the object to blobs. A tile is the same each time, so that a crash between writing it
//! and saying so is harmless, and so are two that flush at once.

use super::{Audit, unexpected};
use crate::app::port::{Port, PortFault};
use crate::base::digest::from_base64url;
use crate::domain::audit::log::{Command, Reply};

/// Tiles of one visit: all that an object keeps (4,096 entries / 256).
const TILES_AT_ONCE: usize = 16;

/// Writes the full tiles that wait. Returns how many.
///
/// # Errors
/// A store failed; what was not flushed still waits.
pub async fn flush<P: Port, C>(port: &P, audit: &Audit<'_, C>) -> Result<usize, PortFault> {
    for done in 0..TILES_AT_ONCE {
        let due = match audit.ask(port, &Command::Due).await? {
            Reply::Due(Some(due)) => due,
            Reply::Due(None) => return Ok(done),
            _ => return Err(unexpected()),
        };
        for (path, text) in due.blobs {
            let bytes = from_base64url(&text).ok_or_else(unexpected)?;
            port.blob_put(&audit.blob(&path), bytes).await?;
        }
        audit.ask(port, &Command::Flushed(due.tile)).await?;
    }
    Ok(TILES_AT_ONCE)
}
