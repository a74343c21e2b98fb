//! Authenticated encryption of short texts: AES-256-GCM (SP 800-38D) that also commits to its key.
//!
//! A sealed text is base64url of `version (1) ‖ commitment (32) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. GCM alone does
//! not commit to its key: whoever knows two keys can make one ciphertext that opens under both (Len, Grubbs and
//! Ristenpart, "Partitioning Oracle Attacks", 2021). So the key that encrypts and a commitment of 32 bytes are both
//! derived from the given key by HKDF, and the commitment is compared before anything is decrypted. It also tells a
//! wrong key from a text that was changed. All texts of one key bear the same commitment; that they share a key shows.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};

use super::digest::{
    Bytes32, DIGEST_BYTES, base64url, constant_time_eq, derive_key, from_base64url,
};
use super::secret::Secret;

/// Length of a nonce in bytes: 96 bits, drawn at random for each text. Good for 2^32 texts of one key
/// (SP 800-38D §8.3).
pub const NONCE_BYTES: usize = 12;

/// A nonce; never twice with one key.
pub type Nonce = [u8; NONCE_BYTES];

/// The longest text that is sealed, in bytes: 64 KiB. Beyond it, [`AeadError::TooLong`].
pub const MAX_PLAIN_BYTES: usize = 65_536;

/// The only format so far.
const VERSION: u8 = 1;
/// Length of the authentication tag in bytes (128 bits, the longest there is).
const TAG_BYTES: usize = 16;

/// Why a text cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AeadError {
    /// Over [`MAX_PLAIN_BYTES`].
    TooLong,
    /// Not base64url, or too short to be a sealed text.
    Malformed,
    /// A format that this program does not know.
    Version(u8),
    /// Another key sealed it.
    WrongKey,
    /// The key is right, but the text or its context was changed.
    Forged,
}

impl std::fmt::Display for AeadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the text is too long to be sealed",
            Self::Malformed => "not a sealed text",
            Self::Version(_) => "sealed in a format that is not known here",
            Self::WrongKey => "sealed with another key",
            Self::Forged => "changed since it was sealed, or sealed for another place",
        })
    }
}

impl std::error::Error for AeadError {}

/// AES-256-GCM itself: the ciphertext and after it the tag. `None` when the text is too long for the algorithm.
#[must_use]
pub fn encrypt(key: &Bytes32, nonce: &Nonce, context: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let payload = Payload {
        msg: plain,
        aad: context,
    };
    Aes256Gcm::new(&(*key).into())
        .encrypt(&(*nonce).into(), payload)
        .ok()
}

/// Undoes [`encrypt`]; `None`, and no plaintext, unless the tag is right.
#[must_use]
pub fn decrypt(key: &Bytes32, nonce: &Nonce, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let payload = Payload {
        msg: sealed,
        aad: context,
    };
    Aes256Gcm::new(&(*key).into())
        .decrypt(&(*nonce).into(), payload)
        .ok()
}

/// Seals a text so that it opens only with the same key and context.
///
/// # Errors
/// [`AeadError::TooLong`]
pub fn seal(
    key: &Bytes32,
    nonce: &Nonce,
    context: &[u8],
    plain: &[u8],
) -> Result<String, AeadError> {
    if plain.len() > MAX_PLAIN_BYTES {
        return Err(AeadError::TooLong);
    }
    let ciphertext =
        encrypt(&encryption_key(key), nonce, context, plain).ok_or(AeadError::TooLong)?;
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(&commitment(key));
    sealed.extend_from_slice(nonce);
    sealed.extend_from_slice(&ciphertext);
    Ok(base64url(&sealed))
}

/// Opens a sealed text.
///
/// # Errors
/// Every [`AeadError`] but `TooLong`, in the order of their checks.
pub fn open(key: &Bytes32, context: &[u8], text: &str) -> Result<Secret<Vec<u8>>, AeadError> {
    let bytes = from_base64url(text).ok_or(AeadError::Malformed)?;
    let (version, rest) = bytes.split_first().ok_or(AeadError::Malformed)?;
    if *version != VERSION {
        return Err(AeadError::Version(*version));
    }
    let (committed, rest) = rest
        .split_first_chunk::<DIGEST_BYTES>()
        .ok_or(AeadError::Malformed)?;
    let (nonce, ciphertext) = rest
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(AeadError::Malformed)?;
    if ciphertext.len() < TAG_BYTES {
        return Err(AeadError::Malformed);
    }
    if !constant_time_eq(committed, &commitment(key)) {
        return Err(AeadError::WrongKey);
    }
    decrypt(&encryption_key(key), nonce, context, ciphertext)
        .map(Secret::new)
        .ok_or(AeadError::Forged)
}

fn encryption_key(key: &Bytes32) -> Bytes32 {
    derive_key(key, "gatehouse/aead/v1/encrypt")
}

fn commitment(key: &Bytes32) -> Bytes32 {
    derive_key(key, "gatehouse/aead/v1/commit")
}

#[cfg(test)]
mod tests {
    use super::{AeadError, MAX_PLAIN_BYTES, commitment, encrypt, encryption_key, open, seal};
    use crate::base::digest::{base64url, from_base64url};

    const KEY: [u8; 32] = [7; 32];
    const NONCE: [u8; 12] = [9; 12];

    fn sealed() -> String {
        seal(&KEY, &NONCE, b"context", b"plain").unwrap()
    }

    fn error(key: &[u8; 32], context: &[u8], text: &str) -> Option<AeadError> {
        open(key, context, text).err()
    }

    #[test]
    fn opens_with_the_same_key_and_context_alone() {
        assert_eq!(
            open(&KEY, b"context", &sealed()).ok().unwrap().reveal(),
            b"plain"
        );
        assert_eq!(
            error(&[8; 32], b"context", &sealed()),
            Some(AeadError::WrongKey)
        );
        assert_eq!(error(&KEY, b"contexu", &sealed()), Some(AeadError::Forged));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let bytes = from_base64url(&sealed()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                0 => AeadError::Version(1 ^ (1 << bit)),
                1..33 => AeadError::WrongKey,
                _ => AeadError::Forged,
            };
            assert_eq!(
                error(&KEY, b"context", &base64url(&changed)),
                Some(expected),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn every_shortened_text_is_refused() {
        let bytes = from_base64url(&sealed()).unwrap();
        for length in 0..bytes.len() {
            let text = base64url(&bytes[..length]);
            let expected = if length < 61 {
                AeadError::Malformed
            } else {
                AeadError::Forged
            };
            assert_eq!(
                error(&KEY, b"context", &text),
                Some(expected),
                "length {length}"
            );
        }
        assert_eq!(
            error(&KEY, b"context", "not base64url!"),
            Some(AeadError::Malformed)
        );
    }

    #[test]
    fn a_ciphertext_under_a_second_key_is_refused_before_it_is_decrypted() {
        // A valid ciphertext of the second key behind the first one's commitment: GCM would take it, the commitment not.
        let other = [8; 32];
        let mut bytes = vec![1];
        bytes.extend_from_slice(&commitment(&KEY));
        bytes.extend_from_slice(&NONCE);
        bytes.extend(encrypt(&encryption_key(&other), &NONCE, b"context", b"plain").unwrap());
        assert_eq!(
            error(&other, b"context", &base64url(&bytes)),
            Some(AeadError::WrongKey)
        );
    }

    #[test]
    fn the_longest_text_is_sealed_and_a_longer_one_refused() {
        let longest = vec![0; MAX_PLAIN_BYTES];
        let text = seal(&KEY, &NONCE, b"", &longest).unwrap();
        assert_eq!(open(&KEY, b"", &text).ok().unwrap().reveal(), &longest);
        let longer = vec![0; MAX_PLAIN_BYTES + 1];
        assert_eq!(seal(&KEY, &NONCE, b"", &longer), Err(AeadError::TooLong));
    }
}
