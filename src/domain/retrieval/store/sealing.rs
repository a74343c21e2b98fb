//! What an owner's stores are sealed with, and what hides their terms.
//!
//! ```text
//! keyring's seal key ─▶ owner's key ─▶ message key of each text
//!                                   ├▶ key of the terms
//!                                   └▶ key of the embeddings, which the object is given with each question
//! ```
//! Each text is bound to its place, so that a row that is moved elsewhere does not open. A term is kept as a digest under
//! a key of its own: whoever reads the rows cannot look for a word, and with the owner's key all of it is gone.

use std::borrow::Cow;

use super::index::{DIGEST_BYTES, Digest};
use crate::base::cobblestone::{Fault, MessageKey, SALT_BYTES, open as open_message};
use crate::base::digest::{Bytes32, derive_key, hmac_sha256};
use crate::base::secret::Secret;
use crate::domain::owned::sealing;

/// What the keyring is told that an owner's key is for.
pub const OWNER_KEY: &str = "stores-key";

/// Version of the sealed form, which every text is bound to.
const VERSION: &str = "1";

/// Where in an owner's stores.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// Name and metadata of a store.
    Store(&'a str),
    /// Attributes of a file: the store and the document.
    Attributes(&'a str, &'a str),
    /// A passage: the number of its file, and its place in it.
    Passage(u64, u32),
}

impl sealing::At for At<'_> {
    const FORMAT: &'static str = "gatehouse/stores";
    const VERSION: &'static str = VERSION;

    fn said(&self) -> [Cow<'_, str>; 3] {
        match *self {
            At::Store(id) => ["store", id, ""].map(Cow::Borrowed),
            At::Attributes(store, file) => ["attributes", store, file].map(Cow::Borrowed),
            At::Passage(of, at) => [
                Cow::Borrowed("passage"),
                Cow::Owned(of.to_string()),
                Cow::Owned(at.to_string()),
            ],
        }
    }
}

/// The key that an owner's terms are hidden with.
#[must_use]
pub fn term_key(owner: &Bytes32) -> Secret<Bytes32> {
    Secret::new(derive_key(owner, "gatehouse/stores/terms/1"))
}

/// The key that an owner's embeddings are sealed with.
#[must_use]
pub fn vector_key(owner: &Bytes32) -> Secret<Bytes32> {
    Secret::new(derive_key(owner, "gatehouse/stores/vectors/1"))
}

/// What lies in a row that is made of embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// The embeddings themselves.
    Embeddings,
    /// Their codes.
    Codes,
}

/// Where embeddings or their codes lie: the number of their file and the place of the first. Whose they are is in the key.
fn context(made: Made, number: u64, place: u32) -> Vec<u8> {
    let name = match made {
        Made::Embeddings => "vectors",
        Made::Codes => "codes",
    };
    format!("gatehouse/stores/{name} {VERSION} {number} {place}").into_bytes()
}

/// Seals embeddings or codes.
#[must_use]
pub fn seal_made(
    key: &Secret<Bytes32>,
    made: Made,
    (number, place): (u64, u32),
    salt: &[u8; SALT_BYTES],
    plain: &[u8],
) -> Vec<u8> {
    MessageKey::new(key.reveal(), &context(made, number, place), salt).seal(plain)
}

/// Opens embeddings or codes.
///
/// # Errors
/// As for [`sealing::open`].
pub fn open_made(
    key: &Secret<Bytes32>,
    made: Made,
    (number, place): (u64, u32),
    sealed: &[u8],
) -> Result<Vec<u8>, Fault> {
    open_message(key.reveal(), &context(made, number, place), sealed)
}

/// What a term is kept as.
#[must_use]
pub fn hidden(key: &Secret<Bytes32>, term: &str) -> Digest {
    let mac = hmac_sha256(key.reveal(), term.as_bytes());
    mac.first_chunk::<DIGEST_BYTES>()
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{At, Made, hidden, open_made, seal_made, term_key, vector_key};
    use crate::base::digest::hex;
    use crate::domain::owned::sealing::tests::opens_in_its_place_alone;
    use crate::domain::owned::sealing::{Place, seal};

    #[test]
    fn a_text_opens_in_its_place_alone() {
        let others = [
            At::Passage(7, 4),
            At::Passage(73, 3),
            At::Store("7"),
            At::Attributes("7", "3"),
        ];
        opens_in_its_place_alone(At::Passage(7, 3), &others);
    }

    #[test]
    fn embeddings_and_codes_open_as_what_they_are_in_their_place_alone() {
        let key = vector_key(&[1; 32]);
        for (made, other) in [
            (Made::Embeddings, Made::Codes),
            (Made::Codes, Made::Embeddings),
        ] {
            let sealed = seal_made(&key, made, (7, 3), &[3; 24], b"numbers");
            let open = |made, place| open_made(&key, made, place, &sealed).ok();
            assert_eq!(open(made, (7, 3)).as_deref(), Some(&b"numbers"[..]));
            assert_eq!(open(other, (7, 3)), None);
            assert_eq!(open(made, (73, 3)), None);
            assert_eq!(open(made, (7, 0)), None);
        }
    }

    #[test]
    fn the_sealed_form_and_the_hidden_terms_are_pinned() {
        // A change here makes every stored passage unreadable, or unfindable.
        let place = Place {
            tenant: "default",
            owner: "vis_1",
            at: At::Passage(7, 3),
        };
        let sealed = seal(&[1; 32], &place, &[3; 24], "Hi");
        assert_eq!(
            sealed,
            "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDaF7nAdsAv3s76WWIyrIArIZuRSXnbUw2t6sx2DX3gstd13TSM78eX5KOE4Nwkyb_dns"
        );
        let key = term_key(&[1; 32]);
        assert_eq!(hex(&hidden(&key, "cloud")), "026affdc0f121233");
        assert_ne!(hidden(&key, "cloud"), hidden(&key, "clouds"));
        assert_ne!(hidden(&key, "cloud"), hidden(&term_key(&[2; 32]), "cloud"));
    }
}
