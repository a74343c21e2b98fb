//! Identifiers made from random bytes that the caller supplies.

use super::digest::hex;

/// Random bytes in an identifier: 128 bits, so that ids cannot be guessed and never collide in practice.
pub const ID_BYTES: usize = 16;

/// `<prefix>_<32 hex digits>`, e.g. `req_0f…`.
#[must_use]
pub fn prefixed(prefix: &str, random: &[u8; ID_BYTES]) -> String {
    format!("{prefix}_{}", hex(random))
}

/// A caller's own request id is kept when it is 1–128 characters of `[A-Za-z0-9._-]`; anything else is replaced.
#[must_use]
pub fn acceptable_request_id(given: &str) -> bool {
    (1..=128).contains(&given.len())
        && given
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
