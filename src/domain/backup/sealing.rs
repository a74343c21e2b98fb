//! What snapshots are sealed with: a key of their own, derived from `MASTER_KEY`, not from the keyring, which lies in a
//! snapshot itself.
//!
//! Everything is bound to its tenant, its snapshot and its place there, so that nothing can be put in another's place.

use crate::base::cobblestone::{Fault, MessageKey, SALT_BYTES, open};
use crate::base::digest::{Bytes32, derive_key, hex, hmac_sha256};
use crate::base::secret::Secret;

/// The keys of snapshots under a root.
pub struct Keys {
    seal: Secret<Bytes32>,
    name: Secret<Bytes32>,
}

/// What of a snapshot.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The manifest.
    Manifest,
    /// How far it is.
    Running,
    /// The piece of that number.
    Piece(usize),
}

impl Keys {
    /// Those of a root.
    #[must_use]
    pub fn of(root: &Bytes32) -> Self {
        Self {
            seal: Secret::new(derive_key(root, "gatehouse/v1/backup")),
            name: Secret::new(derive_key(root, "gatehouse/v1/backup-erased")),
        }
    }

    /// What seals and opens one part.
    #[must_use]
    pub fn message(&self, place: (&str, &str, Part), salt: &[u8; SALT_BYTES]) -> MessageKey {
        MessageKey::new(self.seal.reveal(), &context(place), salt)
    }

    /// Opens a part whole.
    ///
    /// # Errors
    /// Sealed with another key, for another place, or changed.
    pub fn open(&self, place: (&str, &str, Part), sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        open(self.seal.reveal(), &context(place), sealed)
    }

    /// Under which name it is noted that somebody was erased: it says nothing to who has not the key.
    #[must_use]
    pub fn erased(&self, tenant: &str, owner: &str) -> String {
        let said = [tenant, "\n", owner].concat();
        hex(&hmac_sha256(self.name.reveal(), said.as_bytes()))
    }
}

/// Tenant, snapshot, part.
fn context((tenant, snapshot, part): (&str, &str, Part)) -> Vec<u8> {
    let part = match part {
        Part::Manifest => "manifest".to_owned(),
        Part::Running => "running".to_owned(),
        Part::Piece(number) => format!("piece/{number}"),
    };
    ["gatehouse/backup/1\n", tenant, "\n", snapshot, "\n", &part]
        .concat()
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{Keys, Part};

    #[test]
    fn a_part_opens_in_its_own_place_with_its_own_root_alone() {
        let keys = Keys::of(&[1; 32]);
        let place = ("default", "snap_1", Part::Piece(1));
        let sealed = keys.message(place, &[2; 24]).seal(b"rows");
        assert_eq!(keys.open(place, &sealed).as_deref(), Ok(&b"rows"[..]));
        for other in [
            ("acme", "snap_1", Part::Piece(1)),
            ("default", "snap_2", Part::Piece(1)),
            ("default", "snap_1", Part::Piece(11)),
            ("default", "snap_1", Part::Manifest),
            ("default", "snap_1", Part::Running),
        ] {
            assert!(keys.open(other, &sealed).is_err(), "{other:?}");
        }
        assert!(Keys::of(&[2; 32]).open(place, &sealed).is_err());
    }

    /// What breaks when this changes: whoever was erased before would come back.
    #[test]
    fn the_name_of_an_erasure_is_pinned() {
        let keys = Keys::of(&[1; 32]);
        let name = keys.erased("default", "vis_1");
        assert_eq!(name.len(), 64);
        assert_ne!(name, keys.erased("acme", "vis_1"));
        assert_ne!(name, Keys::of(&[2; 32]).erased("default", "vis_1"));
        assert_eq!(
            name,
            "ab847e77f769fd1d61bab48ebd4a00a6adaba9e18661a6158fa7e3deec442725"
        );
    }
}
