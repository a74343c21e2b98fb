//! How documents are sealed at rest.
//!
//! ```text
//! keyring's seal key ─▶ owner's key ─▶ data key of a document's version ─▶ message key of each segment
//! ```
//! The owner's key and the wrapped data keys lie in the owner's object, the segments in R2. Each step is bound to its
//! place: tenant, owner, document, version, blob. A document whose row is gone cannot be opened any more, whatever is
//! left of its blobs; with the owner's key all of their documents go.

use crate::base::aead::{self, AeadError, Nonce};
use crate::base::cobblestone::{Fault, HEADER_BYTES, MessageKey, SALT_BYTES};
use crate::base::digest::{Bytes32, base64url, from_base64url};
use crate::base::secret::Secret;

/// What the keyring is told that an owner's key is for.
pub const OWNER_KEY: &str = "owner-key";

/// A version of a document, and whose it is: what its keys are bound to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whose house.
    pub tenant: &'a str,
    /// The principal's id.
    pub owner: &'a str,
    /// The document's id.
    pub id: &'a str,
    /// Its version.
    pub version: u32,
}

impl Place<'_> {
    /// A context that no other place and no other use of a key has: a JSON list of texts can be read in one way only.
    fn context(&self, what: &str, blob: &str) -> Vec<u8> {
        let version = self.version.to_string();
        let said = [what, self.tenant, self.owner, self.id, &version, blob];
        serde_json::json!(said).to_string().into_bytes()
    }
}

/// Wraps a data key under its owner's.
///
/// # Errors
/// Never, for a key of this length.
pub fn wrap(
    owner_key: &Bytes32,
    place: &Place<'_>,
    data_key: &Bytes32,
    nonce: &Nonce,
) -> Result<String, AeadError> {
    let context = place.context("gatehouse/data-key", "");
    aead::seal(owner_key, nonce, &context, data_key)
}

/// Undoes [`wrap`].
///
/// # Errors
/// Another owner's key, another place, or the text was changed.
pub fn unwrap(
    owner_key: &Bytes32,
    place: &Place<'_>,
    wrapped: &str,
) -> Result<Secret<Bytes32>, AeadError> {
    let context = place.context("gatehouse/data-key", "");
    let plain = aead::open(owner_key, &context, wrapped)?;
    let key = plain.reveal().as_slice().try_into();
    key.map(Secret::new).map_err(|_| AeadError::Malformed)
}

/// The key of a new segment, which is to lie in that blob of the document.
#[must_use]
pub fn new_segment(
    data_key: &Bytes32,
    place: &Place<'_>,
    blob: &str,
    salt: &[u8; SALT_BYTES],
) -> MessageKey {
    MessageKey::new(data_key, &place.context("gatehouse/segment", blob), salt)
}

/// The key of a segment that was sealed with that header.
///
/// # Errors
/// [`Fault::WrongKey`]: the header is of another key or another place.
pub fn segment(
    data_key: &Bytes32,
    place: &Place<'_>,
    blob: &str,
    header: &str,
) -> Result<MessageKey, Fault> {
    let header: Option<[u8; HEADER_BYTES]> =
        from_base64url(header).and_then(|bytes| bytes.try_into().ok());
    let header = header.ok_or(Fault::WrongKey)?;
    MessageKey::of_header(data_key, &place.context("gatehouse/segment", blob), &header)
}

/// A short text that lies beside a version.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'a> {
    /// The comment of that id.
    Comment(&'a str),
    /// What its scan found.
    Report,
}

impl Beside<'_> {
    fn context(self, place: &Place<'_>) -> Vec<u8> {
        match self {
            Self::Comment(id) => place.context("gatehouse/comment", id),
            Self::Report => place.context("gatehouse/scan-report", ""),
        }
    }
}

/// Seals a text beside a version under that version's key.
///
/// # Errors
/// Never, for a text of this length.
pub fn seal_beside(
    data_key: &Bytes32,
    place: &Place<'_>,
    what: Beside<'_>,
    text: &[u8],
    nonce: &Nonce,
) -> Result<String, AeadError> {
    aead::seal(data_key, nonce, &what.context(place), text)
}

/// Undoes [`seal_beside`].
///
/// # Errors
/// Another key, another place, or the text was changed.
pub fn open_beside(
    data_key: &Bytes32,
    place: &Place<'_>,
    what: Beside<'_>,
    sealed: &str,
) -> Result<Vec<u8>, AeadError> {
    aead::open(data_key, &what.context(place), sealed).map(|plain| plain.reveal().clone())
}

/// A header as it is kept in a row.
#[must_use]
pub fn kept(key: &MessageKey) -> String {
    base64url(key.header())
}

#[cfg(test)]
mod tests {
    use super::{Place, kept, new_segment, segment, unwrap, wrap};
    use crate::base::aead::AeadError;
    use crate::base::cobblestone::{Fault, open};

    const PLACE: Place<'static> = Place {
        tenant: "default",
        owner: "vis_1",
        id: "file_1",
        version: 1,
    };

    /// Every place that differs in one thing.
    fn others() -> [Place<'static>; 4] {
        [
            Place {
                tenant: "acme",
                ..PLACE
            },
            Place {
                owner: "vis_2",
                ..PLACE
            },
            Place {
                id: "file_2",
                ..PLACE
            },
            Place {
                version: 2,
                ..PLACE
            },
        ]
    }

    #[test]
    fn a_data_key_opens_with_its_owners_key_in_its_place_alone() {
        let wrapped = wrap(&[1; 32], &PLACE, &[2; 32], &[3; 12]).unwrap();
        let opened = unwrap(&[1; 32], &PLACE, &wrapped).map(|key| *key.reveal());
        assert_eq!(opened, Ok([2; 32]));
        assert!(unwrap(&[9; 32], &PLACE, &wrapped).err() == Some(AeadError::WrongKey));
        for other in others() {
            assert!(unwrap(&[1; 32], &other, &wrapped).err() == Some(AeadError::Forged));
        }
    }

    #[test]
    fn a_segment_opens_in_its_place_alone() {
        let sealed = new_segment(&[2; 32], &PLACE, "00000", &[4; 24]);
        let header = kept(&sealed);
        let key =
            |place: &Place, blob| segment(&[2; 32], place, blob, &header).map(|key| *key.header());
        assert_eq!(key(&PLACE, "00000"), Ok(*sealed.header()));
        assert_eq!(key(&PLACE, "00001"), Err(Fault::WrongKey));
        for other in others() {
            assert_eq!(key(&other, "00000"), Err(Fault::WrongKey));
        }
        for bad in ["", "AAAA", &header[1..], "?"] {
            assert!(segment(&[2; 32], &PLACE, "00000", bad).is_err());
        }
    }

    #[test]
    fn the_sealed_form_is_pinned() {
        // A change here makes every stored document unreadable.
        let wrapped = wrap(&[1; 32], &PLACE, &[2; 32], &[3; 12]).unwrap();
        assert_eq!(
            wrapped,
            "AcVKgA-KF8TQBljjCr_lgFBDeuxVrCjDnojMf5ttSvVIAwMDAwMDAwMDAwMDL950EQhnlq_hwhZzsOr9U5OVMyYRAtaeOD1lMkuK7keXrd-DRIa1yAI2q3p-JyIJ"
        );
        let context = br#"["gatehouse/segment","default","vis_1","file_1","1","00000"]"#;
        let sealed = new_segment(&[2; 32], &PLACE, "00000", &[4; 24]).seal(b"text");
        assert_eq!(open(&[2; 32], context, &sealed), Ok(b"text".to_vec()));
    }
}
