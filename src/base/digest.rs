//! SHA-256, HMAC-SHA-256, HKDF-SHA-256 and CRC-32 for short messages, and their text forms.
//!
//! Under about 1 KiB these are faster in wasm than a round trip to the platform's cipher.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
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
    hmac(key, data)
}

/// HKDF-SHA-256 (RFC 5869), the first 32 bytes of its output.
#[must_use]
pub fn hkdf_sha256(salt: &[u8], input: &[u8], info: &[u8]) -> Bytes32 {
    let mut block = Vec::with_capacity(info.len().saturating_add(1));
    block.extend_from_slice(info);
    block.push(1);
    hmac(&hmac(salt, input), &block)
}

/// HKDF-SHA-256 with an empty salt: `label` names the derived key's purpose.
#[must_use]
pub fn derive_key(root: &Bytes32, label: &str) -> Bytes32 {
    hkdf_sha256(&[], root, label.as_bytes())
}

fn hmac(key: &[u8], data: &[u8]) -> Bytes32 {
    // Keys of every length are accepted; the other arm exists only because the type says so.
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(data);
            mac.finalize().into_bytes().into()
        }
        Err(_) => [0; DIGEST_BYTES],
    }
}

/// CRC-32 (ISO-HDLC, as in zlib). It finds a slip of the keyboard, not an attack.
#[must_use]
pub fn crc32(data: &[u8]) -> u32 {
    // Bit by bit: a table would add 17 KiB to the Worker for strings of some 60 bytes.
    const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
    CRC.checksum(data)
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

/// Undoes [`hex`]; `None` for anything else.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some((digit(high)? << 4) | digit(low)?);
    pairs
        .iter()
        .map(byte)
        .collect::<Option<Vec<u8>>>()
        .filter(|_| rest.is_empty())
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
        assert_eq!(
            hex(&derive_key(&root, "cookie")),
            "7f47d7c14c68389d68f64ab633e43a0ed399ae01b771d7cc5033c777610c6507"
        );
    }

    #[test]
    fn equality_needs_equal_length_and_bytes() {
        assert!(constant_time_eq(b"abc", b"abc"));
        assert!(!constant_time_eq(b"abc", b"abd"));
        assert!(!constant_time_eq(b"abc", b"ab"));
    }
}
