//! Who was erased: noted beside the snapshots as long as one is older, under a name that tells nobody who it was.

use std::collections::BTreeSet;

use super::keys;
use crate::app::port::{Port, PortFault};
use crate::base::time::Millis;
use crate::domain::backup::names;

/// A snapshot that begins within an hour (3,600 s) after an erasure may still hold what was begun in that very moment.
const MARGIN: Millis = Millis::from_secs(3_600);

/// Notes that an owner was erased.
///
/// # Errors
/// The bucket failed: the owner could come back.
pub async fn note<P: Port>(port: &P, owner: &str) -> Result<(), PortFault> {
    let keys = keys(port.settings());
    let Some(keys) = keys.first() else {
        return Ok(());
    };
    let digest = keys.erased(port.tenant(), owner);
    let name = names::erased(port.now().plus(MARGIN), &digest);
    port.blob_put(&name, Vec::new()).await
}

/// Those who were erased after a snapshot began.
pub struct Erased {
    digests: BTreeSet<String>,
}

impl Erased {
    /// Reads the notes.
    ///
    /// # Errors
    /// The bucket failed.
    pub async fn since<P: Port>(port: &P, begun: Millis) -> Result<Self, PortFault> {
        let mut digests = BTreeSet::new();
        let mut after = names::erased_from(begun);
        loop {
            let (blobs, more) = port.blob_list(names::ERASED, Some(&after)).await?;
            let read = blobs.iter().filter_map(|blob| names::read_erased(blob));
            digests.extend(read.map(|(_, digest)| digest.to_owned()));
            match blobs.into_iter().next_back() {
                Some(last) if more => after = last,
                _ => return Ok(Self { digests }),
            }
        }
    }

    /// Is this one among them? Notes of the time before a change of `MASTER_KEY` are found by the previous one.
    pub fn has<P: Port>(&self, port: &P, owner: &str) -> bool {
        !self.digests.is_empty()
            && keys(port.settings())
                .iter()
                .any(|keys| self.digests.contains(&keys.erased(port.tenant(), owner)))
    }
}
