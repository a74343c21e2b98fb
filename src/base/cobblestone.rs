//! Authenticated encryption of long messages that can be read from the middle: C2SP chunked encryption
//! (<https://c2sp.org/chunked-encryption>) as *Cobblestone-256*, that is HKDF-Expand with SHA-512 and AES-256-GCM.
//!
//! A message is `salt (24) ‖ commitment (32)`, then a ciphertext with its tag (16) for each chunk of 16 KiB. The last
//! chunk is always shorter, if need be empty: a message that was cut off at a chunk's border does not open. Key, nonce
//! and commitment are derived from the input key, the salt and a context that says what the message is and where it
//! belongs; so one input key is good for far more messages than a document has segments.
//!
//! This is the whole algorithm for messages in memory. Bulk data takes the platform's cipher, many times faster: it is
//! given [`MessageKey`] and seals and opens the same chunks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;

use super::aead::{Nonce, decrypt, encrypt};
use super::digest::{Bytes32, constant_time_eq};
use super::secret::Secret;

/// Plain bytes of every chunk but the last: 16 KiB.
pub const CHUNK_BYTES: u64 = 16_384;
/// Bytes of a chunk's tag.
pub const TAG_BYTES: u64 = 16;
/// A full chunk with its tag.
pub const SEALED_CHUNK_BYTES: u64 = CHUNK_BYTES + TAG_BYTES;
/// Random bytes at the start of a message; never twice with one key and context.
pub const SALT_BYTES: usize = 24;
/// Salt and commitment: what stands before the first chunk.
pub const HEADER_BYTES: usize = SALT_BYTES + 32;

const HEADER: u64 = HEADER_BYTES as u64;

/// The start of a message.
pub type Header = [u8; HEADER_BYTES];

/// Why a message does not open. No plaintext is given with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No message has that length: it was cut off, or something was added.
    Length,
    /// Sealed with another key, for another context, or the header was changed.
    WrongKey,
    /// A chunk was changed, or stands in another place.
    Forged,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Length => "no sealed message has this length",
            Self::WrongKey => "sealed with another key or for another place",
            Self::Forged => "a chunk was changed",
        })
    }
}

impl std::error::Error for Fault {}

/// What one message is sealed with.
pub struct MessageKey {
    key: Secret<Bytes32>,
    base: Nonce,
    header: Header,
}

impl MessageKey {
    /// The key of a new message.
    #[must_use]
    pub fn new(input: &Bytes32, context: &[u8], salt: &[u8; SALT_BYTES]) -> Self {
        let info = [LABEL, salt, context].concat();
        // 32 + 12 + 32 bytes are two blocks of SHA-512.
        let first = expand(input, &[], &info, 1);
        let second = expand(input, &first, &info, 2);
        let mut stream = first.into_iter().chain(second);
        let key: Bytes32 = core::array::from_fn(|_| stream.next().unwrap_or_default());
        let base: Nonce = core::array::from_fn(|_| stream.next().unwrap_or_default());
        let mut bytes = salt.iter().copied().chain(stream);
        Self {
            key: Secret::new(key),
            base,
            header: core::array::from_fn(|_| bytes.next().unwrap_or_default()),
        }
    }

    /// The key of a message that begins with this header.
    ///
    /// # Errors
    /// [`Fault::WrongKey`]: the commitment is another one.
    pub fn of_header(input: &Bytes32, context: &[u8], header: &Header) -> Result<Self, Fault> {
        let salt: [u8; SALT_BYTES] =
            core::array::from_fn(|at| header.get(at).copied().unwrap_or_default());
        let key = Self::new(input, context, &salt);
        if constant_time_eq(&key.header, header) {
            Ok(key)
        } else {
            Err(Fault::WrongKey)
        }
    }

    /// What stands before the first chunk.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The key of AES-256-GCM, for this message alone.
    #[must_use]
    pub const fn key(&self) -> &Secret<Bytes32> {
        &self.key
    }

    /// The nonce of chunk 0. Those of the others are this one XOR their number, big-endian.
    #[must_use]
    pub const fn base_nonce(&self) -> &Nonce {
        &self.base
    }

    fn nonce(&self, chunk: u64) -> Nonce {
        let mut nonce = self.base;
        let number = chunk.to_be_bytes();
        for (byte, part) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= part;
        }
        nonce
    }

    /// The whole message.
    #[must_use]
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = self.header.to_vec();
        let full = plain.chunks_exact(CHUNK_BYTES as usize);
        let last = full.remainder();
        for (number, chunk) in (0u64..).zip(full.chain([last])) {
            // A chunk is far below what the cipher takes.
            let chunk = encrypt(self.key.reveal(), &self.nonce(number), &[], chunk);
            sealed.extend(chunk.unwrap_or_default());
        }
        sealed
    }

    /// The bytes of some chunks, the first of which is number `first`; `last` says whether the last of them is the
    /// message's last.
    ///
    /// # Errors
    /// [`Fault::Length`], [`Fault::Forged`]
    pub fn open_chunks(&self, first: u64, sealed: &[u8], last: bool) -> Result<Vec<u8>, Fault> {
        let full = sealed.chunks_exact(SEALED_CHUNK_BYTES as usize);
        let rest = full.remainder();
        if last && rest.len() < TAG_BYTES as usize || !last && !rest.is_empty() {
            return Err(Fault::Length);
        }
        let mut plain = Vec::with_capacity(sealed.len());
        for (number, chunk) in (first..).zip(full.chain(last.then_some(rest))) {
            let chunk = decrypt(self.key.reveal(), &self.nonce(number), &[], chunk);
            plain.extend(chunk.ok_or(Fault::Forged)?);
        }
        Ok(plain)
    }
}

/// Opens a whole message.
///
/// # Errors
/// Every [`Fault`].
pub fn open(input: &Bytes32, context: &[u8], message: &[u8]) -> Result<Vec<u8>, Fault> {
    let (header, chunks) = message
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(Fault::Length)?;
    MessageKey::of_header(input, context, header)?.open_chunks(0, chunks, true)
}

/// The name of the algorithm, before salt and context.
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// One block of HKDF-Expand (RFC 5869 §2.3) with SHA-512.
fn expand(key: &Bytes32, before: &[u8], info: &[u8], number: u8) -> [u8; 64] {
    // Keys of every length are accepted; the other arm exists only because the type says so.
    match Hmac::<Sha512>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(before);
            mac.update(info);
            mac.update(&[number]);
            mac.finalize().into_bytes().into()
        }
        Err(_) => [0; 64],
    }
}

/// How long a message of so many bytes is once it is sealed.
#[must_use]
pub const fn sealed_bytes(plain: u64) -> u64 {
    let chunks = (plain / CHUNK_BYTES).saturating_add(1);
    HEADER
        .saturating_add(plain)
        .saturating_add(chunks.saturating_mul(TAG_BYTES))
}

/// Where in a sealed message a range of its plain bytes lies: whole chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First byte in the sealed message.
    pub offset: u64,
    /// Number of bytes there.
    pub length: u64,
    /// The number of the first chunk.
    pub chunk: u64,
    /// Plain bytes of the first chunk that are not asked for.
    pub skip: u64,
    /// Is the last chunk the message's last?
    pub last: bool,
}

/// The chunks that hold `length` bytes from `offset` of a message of `plain` bytes; with the last byte the last chunk
/// is always among them, so that nobody reads an end that is none.
#[must_use]
pub const fn window(plain: u64, offset: u64, length: u64) -> Window {
    let end = offset.saturating_add(length);
    let chunk = offset / CHUNK_BYTES;
    let before_last = plain.saturating_sub(plain % CHUNK_BYTES);
    let last = end > before_last || end >= plain;
    let from = HEADER.saturating_add(chunk.saturating_mul(SEALED_CHUNK_BYTES));
    let to = if last {
        sealed_bytes(plain)
    } else {
        HEADER.saturating_add(end.div_ceil(CHUNK_BYTES).saturating_mul(SEALED_CHUNK_BYTES))
    };
    Window {
        offset: from,
        length: to.saturating_sub(from),
        chunk,
        skip: offset % CHUNK_BYTES,
        last,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{CHUNK_BYTES, Fault, HEADER_BYTES, MessageKey, open, sealed_bytes, window};

    const KEY: [u8; 32] = [7; 32];

    fn message(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    fn key() -> MessageKey {
        MessageKey::new(&KEY, b"context", &[9; 24])
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_context_alone() {
        for length in [0, 1, 16_383, 16_384, 16_385, 32_768, 40_000] {
            let plain = message(length);
            let sealed = key().seal(&plain);
            assert_eq!(sealed.len() as u64, sealed_bytes(length as u64));
            assert_eq!(open(&KEY, b"context", &sealed), Ok(plain));
            assert_eq!(open(&KEY, b"contexu", &sealed), Err(Fault::WrongKey));
            assert_eq!(open(&[8; 32], b"context", &sealed), Err(Fault::WrongKey));
        }
    }

    #[test]
    fn nothing_that_was_cut_off_or_moved_opens() {
        let sealed = key().seal(&message(40_000));
        for length in 0..HEADER_BYTES {
            assert_eq!(
                open(&KEY, b"context", &sealed[..length]),
                Err(Fault::Length)
            );
        }
        // At each chunk's border, where the length alone would not tell.
        for chunk in 0..=2 {
            let cut = &sealed[..HEADER_BYTES + chunk * 16_400];
            assert_eq!(open(&KEY, b"context", cut), Err(Fault::Length));
        }
        let longer = [&sealed[..], &[0]].concat();
        assert_eq!(open(&KEY, b"context", &longer), Err(Fault::Forged));
        let (header, chunks) = sealed.split_at(HEADER_BYTES);
        let swapped = [
            header,
            &chunks[16_400..32_800],
            &chunks[..16_400],
            &chunks[32_800..],
        ];
        assert_eq!(
            open(&KEY, b"context", &swapped.concat()),
            Err(Fault::Forged)
        );
    }

    proptest! {
        #[test]
        fn a_flipped_bit_opens_nothing(length in 0usize..50_000, at in any::<u32>(), bit in 0u8..8) {
            let mut sealed = key().seal(&message(length));
            let at = at as usize % sealed.len();
            sealed[at] ^= 1 << bit;
            let fault = if at < HEADER_BYTES { Fault::WrongKey } else { Fault::Forged };
            prop_assert_eq!(open(&KEY, b"context", &sealed), Err(fault));
        }

        #[test]
        fn a_window_holds_the_range_and_no_chunk_too_many(
            length in 1u64..70_000, from in any::<u32>(), count in any::<u32>(),
        ) {
            let from = u64::from(from) % length;
            let count = 1 + u64::from(count) % (length - from);
            let plain = message(length as usize);
            let sealed = key().seal(&plain);
            let window = window(length, from, count);
            let part = &sealed[window.offset as usize..(window.offset + window.length) as usize];
            let opened = key().open_chunks(window.chunk, part, window.last).unwrap();
            let wanted = &plain[from as usize..(from + count) as usize];
            let skipped = &opened[window.skip as usize..];
            prop_assert_eq!(&skipped[..count as usize], wanted);
            let spare = opened.len() as u64 - window.skip - count;
            let least = if window.last { length - from - count } else { (CHUNK_BYTES - (from + count) % CHUNK_BYTES) % CHUNK_BYTES };
            prop_assert_eq!(spare, least);
        }
    }
}
