//! Time-based one-time passwords (RFC 6238).
//!
//! Six digits of HMAC-SHA-1 over 30-second steps: what every authenticator app takes. Whoever accepts a code stores its
//! step and takes no step twice.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::base::digest::constant_time_eq;
use crate::base::time::Millis;

/// Length of a seed in bytes: 160 bits, the length of an HMAC-SHA-1 key (RFC 4226 §4, R6).
pub const SEED_BYTES: usize = 20;
/// Length of a step in seconds (RFC 6238 §4.1).
pub const STEP_SECONDS: u64 = 30;
/// Digits of a code.
pub const DIGITS: u32 = 6;

/// The step that a time lies in: whole periods since the Unix epoch.
#[must_use]
pub const fn step_at(now: Millis) -> u64 {
    now.secs() / STEP_SECONDS
}

/// The code of one step.
#[must_use]
pub fn code(seed: &[u8], step: u64) -> String {
    hotp::<Hmac<Sha1>>(seed, step, DIGITS)
}

/// The step whose code was given: the present one, the one before or the one after (RFC 6238 §5.2), the newest if
/// several match. The caller takes it only if it is above the last step taken.
///
/// Spaces in the code are ignored. The time taken does not tell which digit or step is wrong.
#[must_use]
pub fn matching_step(seed: &[u8], given: &str, now: Millis) -> Option<u64> {
    let given: Vec<u8> = given.bytes().filter(|byte| *byte != b' ').collect();
    let present = step_at(now);
    let steps = [
        present.checked_sub(1),
        Some(present),
        present.checked_add(1),
    ];
    steps.into_iter().flatten().fold(None, |found, step| {
        if constant_time_eq(code(seed, step).as_bytes(), &given) {
            Some(step)
        } else {
            found
        }
    })
}

/// RFC 4226 §5.3 over any hash. HMAC takes a key of any length; an empty text, which no code equals, stands for the
/// error that its type allows.
fn hotp<M: Mac + KeyInit>(seed: &[u8], counter: u64, digits: u32) -> String {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(seed) else {
        return String::new();
    };
    mac.update(&counter.to_be_bytes());
    let tag = mac.finalize().into_bytes();
    let offset = usize::from(tag.last().copied().unwrap_or(0) & 0xf);
    let number = tag
        .iter()
        .skip(offset)
        .take(4)
        .fold(0u32, |number, byte| (number << 8) | u32::from(*byte));
    let modulus = 10u32.saturating_pow(digits);
    let number = (number & 0x7fff_ffff).checked_rem(modulus).unwrap_or(0);
    format!("{number:0width$}", width = digits as usize)
}

/// The text that an authenticator app reads from a QR code (Google Authenticator's Key URI Format). It holds the seed:
/// shown once, never stored. `issuer` is the house, `account` the operator's name.
#[must_use]
pub fn uri(issuer: &str, account: &str, seed: &[u8]) -> String {
    let mut uri = String::from("otpauth://totp/");
    percent_encode(issuer, &mut uri);
    uri.push(':');
    percent_encode(account, &mut uri);
    uri.push_str("?secret=");
    uri.push_str(&base32(seed));
    uri.push_str("&issuer=");
    percent_encode(issuer, &mut uri);
    uri.push_str("&algorithm=SHA1&digits=6&period=30");
    uri
}

/// Everything but unreserved characters (RFC 3986 §2.3).
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&crate::base::digest::hex(&[byte]).to_ascii_uppercase());
        }
    }
}

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// base32 without padding (RFC 4648 §6).
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    bytes
        .chunks(5)
        .flat_map(|chunk| {
            // Five bytes are eight characters; of a shorter chunk, as many as carry its bits.
            let bits = (0..5).fold(0u64, |bits, i| {
                (bits << 8) | u64::from(chunk.get(i).copied().unwrap_or(0))
            });
            let characters = chunk.len().saturating_mul(8).div_ceil(5);
            [35u32, 30, 25, 20, 15, 10, 5, 0]
                .into_iter()
                .take(characters)
                .filter_map(move |shift| ALPHABET.get((bits >> shift & 31) as usize))
        })
        .map(|character| char::from(*character))
        .collect()
}

#[cfg(test)]
mod tests {
    use hmac::Hmac;
    use sha1::Sha1;
    use sha2::{Sha256, Sha512};

    use super::{SEED_BYTES, base32, code, hotp, matching_step, step_at, uri};
    use crate::base::time::Millis;

    fn seed(length: usize) -> Vec<u8> {
        b"1234567890".iter().copied().cycle().take(length).collect()
    }

    /// RFC 6238 Appendix B; its seeds are 20, 32 and 64 bytes long (erratum 2866).
    #[test]
    fn rfc_6238_appendix_b() {
        for (secs, sha1, sha256, sha512) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            let step = step_at(Millis::from_secs(secs));
            assert_eq!(hotp::<Hmac<Sha1>>(&seed(20), step, 8), sha1, "{secs}");
            assert_eq!(hotp::<Hmac<Sha256>>(&seed(32), step, 8), sha256, "{secs}");
            assert_eq!(hotp::<Hmac<Sha512>>(&seed(64), step, 8), sha512, "{secs}");
            assert_eq!(code(&seed(20), step), sha1[2..], "{secs}");
        }
    }

    /// RFC 4226 Appendix D.
    #[test]
    fn rfc_4226_appendix_d() {
        for (counter, expected) in [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(code(&seed(20), counter as u64), expected);
        }
    }

    #[test]
    fn a_code_counts_one_step_early_and_one_late() {
        let seed = seed(SEED_BYTES);
        let now = Millis::from_secs(1_111_111_111);
        let present = step_at(now);
        for distance in 0..=4 {
            let step = present - 2 + distance;
            let expected = (1..=3).contains(&distance).then_some(step);
            assert_eq!(matching_step(&seed, &code(&seed, step), now), expected);
        }
        assert_eq!(matching_step(&seed, "050 471", now), Some(present));
        for wrong in ["", "05047", "0504711", "05047x", "\u{0660}50471", "-50471"] {
            assert_eq!(matching_step(&seed, wrong, now), None, "{wrong}");
        }
        // The first step of all has none before it.
        assert_eq!(
            matching_step(&seed, "755224", Millis::ZERO),
            Some(0),
            "no step before the epoch"
        );
    }

    #[test]
    fn of_equal_codes_the_newest_step_counts() {
        // A used step must not hide an unused one with the same digits. Such neighbours are about one in a million.
        let (number, step) = (0u32..)
            .find_map(|number| {
                let seed = number.to_be_bytes();
                (1..2000)
                    .find(|step| code(&seed, *step) == code(&seed, step + 1))
                    .map(|step| (number, step))
            })
            .unwrap();
        let seed = number.to_be_bytes();
        let now = Millis::from_secs(step * 30);
        assert_eq!(
            matching_step(&seed, &code(&seed, step), now),
            Some(step + 1)
        );
    }

    /// RFC 4648 §10, without its padding.
    #[test]
    fn rfc_4648_base32() {
        for (text, expected) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_uri_names_house_and_account() {
        assert_eq!(
            uri("house.example", "Zo\u{eb} & co", b"12345678901234567890"),
            "otpauth://totp/house.example:Zo%C3%AB%20%26%20co?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=house.example&algorithm=SHA1&digits=6&period=30"
        );
    }
}
