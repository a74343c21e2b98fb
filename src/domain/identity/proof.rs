//! A proof of work: the puzzle that a new session may have to solve.
//!
//! The challenge carries its own terms under a MAC, so that nothing is kept until it is solved; then its id is to be
//! remembered until [`Solved::expires`], since the MAC cannot tell a second use. It slows floods down and keeps nobody out.

use crate::base::digest::{
    Bytes32, base64url, constant_time_eq, from_base64url, hmac_sha256, sha256,
};
use crate::base::ids::{ID_BYTES, prefixed};
use crate::base::secret::Secret;
use crate::base::time::Millis;

/// How long a challenge may be worked on: 2 min × 60 s.
pub const CHALLENGE_TTL: Millis = Millis::from_secs(120);
/// The longest challenge and the longest nonce that are looked at, in characters.
const MAX_CHARS: usize = 160;

/// What a challenge holds for.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Signs.
    pub key: &'a Secret<Bytes32>,
    /// Whose visitor it makes.
    pub tenant: &'a str,
    /// The page that asked.
    pub origin: &'a str,
}

/// A solved challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solved {
    /// Its id, good for one session.
    pub id: String,
    /// From then on the id need not be remembered.
    pub expires: Millis,
}

/// Why a solution does not count: for the log of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not a challenge of ours, for this tenant and origin.
    Forged,
    /// Too late.
    Expired,
    /// The digest has too few zero bits.
    Unsolved,
}

/// Makes a challenge: `pow1.<id>.<bits>.<expiry in seconds>.<MAC>`.
///
/// The browser looks for a nonce so that SHA-256 of `<challenge>.<nonce>` starts with `bits` zero bits, which takes
/// about 2^`bits` hashes.
#[must_use]
pub fn challenge(terms: Terms<'_>, bits: u32, random: &[u8; ID_BYTES], now: Millis) -> String {
    let expires = now.plus(CHALLENGE_TTL).secs();
    let mut text = format!("pow1.{}.{bits}.{expires}", prefixed("pow", random));
    let mac = mac(terms, &text);
    text.push('.');
    text.push_str(&base64url(&mac));
    text
}

/// Judges a solution.
///
/// # Errors
/// The first [`Fault`].
pub fn check(terms: Terms<'_>, challenge: &str, nonce: &str, now: Millis) -> Result<Solved, Fault> {
    let fits = |text: &str| {
        (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    if !fits(challenge) || !fits(nonce) {
        return Err(Fault::Forged);
    }
    let (id, bits, expires) = signed_terms(terms, challenge).ok_or(Fault::Forged)?;
    // A clock that went back makes no challenge good for longer than one that was just made.
    if now >= expires || expires > now.plus(CHALLENGE_TTL) {
        return Err(Fault::Expired);
    }
    let mut text = challenge.to_owned();
    text.push('.');
    text.push_str(nonce);
    if leading_zero_bits(&sha256(text.as_bytes())) < bits {
        return Err(Fault::Unsolved);
    }
    Ok(Solved {
        id: id.to_owned(),
        expires,
    })
}

/// Id, bits and expiry of a challenge that carries our MAC.
fn signed_terms<'a>(terms: Terms<'_>, challenge: &'a str) -> Option<(&'a str, u32, Millis)> {
    let (signed, tag) = challenge.rsplit_once('.')?;
    if !constant_time_eq(&from_base64url(tag)?, &mac(terms, signed)) {
        return None;
    }
    let mut parts = signed.split('.');
    let ("pow1", id, bits, expires, None) = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next(),
    ) else {
        return None;
    };
    let expires = Millis::from_secs(expires.parse().ok()?);
    Some((id, bits.parse().ok()?, expires))
}

/// Neither a tenant's name nor an origin contains a line feed.
fn mac(terms: Terms<'_>, signed: &str) -> Bytes32 {
    let mut message = String::from("gatehouse/v1/proof");
    for part in [terms.tenant, terms.origin, signed] {
        message.push('\n');
        message.push_str(part);
    }
    hmac_sha256(terms.key.reveal(), message.as_bytes())
}

fn leading_zero_bits(digest: &Bytes32) -> u32 {
    let mut bits = 0u32;
    for byte in digest {
        bits = bits.saturating_add(byte.leading_zeros());
        if *byte != 0 {
            break;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::{CHALLENGE_TTL, Fault, Terms, challenge, check, leading_zero_bits};
    use crate::base::digest::sha256;
    use crate::base::secret::Secret;
    use crate::base::time::Millis;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn terms<'a>(key: &'a Secret<[u8; 32]>, tenant: &'a str, origin: &'a str) -> Terms<'a> {
        Terms {
            key,
            tenant,
            origin,
        }
    }

    /// The first number that solves it, or that does not.
    fn nonce(challenge: &str, bits: u32, solving: bool) -> String {
        (0u32..)
            .map(|n| n.to_string())
            .find(|n| {
                let digest = sha256(format!("{challenge}.{n}").as_bytes());
                (leading_zero_bits(&digest) >= bits) == solving
            })
            .unwrap()
    }

    #[test]
    fn zero_bits_are_counted_from_the_front() {
        let mut digest = [0u8; 32];
        assert_eq!(leading_zero_bits(&digest), 256);
        digest[2] = 0b0001_0000;
        digest[5] = 1;
        assert_eq!(leading_zero_bits(&digest), 19);
        digest[0] = 0xff;
        assert_eq!(leading_zero_bits(&digest), 0);
    }

    #[test]
    fn a_solution_counts_for_its_tenant_and_origin_until_it_expires() {
        let (own, other) = (Secret::new([3; 32]), Secret::new([4; 32]));
        let here = terms(&own, "acme", "https://a.example");
        let text = challenge(here, 8, &[1; 16], NOW);
        let found = nonce(&text, 8, true);
        let solved = check(here, &text, &found, NOW).unwrap();
        assert_eq!(solved.id, "pow_01010101010101010101010101010101");
        assert_eq!(solved.expires, NOW.plus(CHALLENGE_TTL));

        let missed = nonce(&text, 8, false);
        assert_eq!(check(here, &text, &missed, NOW), Err(Fault::Unsolved));
        for elsewhere in [
            terms(&other, "acme", "https://a.example"),
            terms(&own, "default", "https://a.example"),
            terms(&own, "acme", "https://b.example"),
        ] {
            assert_eq!(check(elsewhere, &text, &found, NOW), Err(Fault::Forged));
        }
        assert!(check(here, &text, &found, Millis(NOW.0 + 119_999)).is_ok());
        for when in [NOW.0 + 120_000, NOW.0 - 1000, 0, u64::MAX] {
            assert_eq!(
                check(here, &text, &found, Millis(when)),
                Err(Fault::Expired),
                "{when}"
            );
        }
    }

    #[test]
    fn a_challenge_cannot_be_made_easier() {
        let own = Secret::new([3; 32]);
        let here = terms(&own, "acme", "https://a.example");
        let text = challenge(here, 20, &[1; 16], NOW);
        for changed in [
            text.replace(".20.", ".0."),
            text.replace(".20.", ".+0."),
            text.replace("pow1.", "pow2."),
            text.replace("pow_01", "pow_02"),
            text.replace(".18", ".19"),
            format!("{text}."),
            format!("x{text}"),
            format!("{text}{}", "A".repeat(200)),
            String::new(),
        ] {
            assert_eq!(
                check(here, &changed, "1", NOW),
                Err(Fault::Forged),
                "{changed}"
            );
        }
        assert_eq!(check(here, &text, "", NOW), Err(Fault::Forged));
        assert_eq!(check(here, &text, "a b", NOW), Err(Fault::Forged));
        assert_eq!(
            check(here, &text, &"1".repeat(161), NOW),
            Err(Fault::Forged)
        );
    }

    #[test]
    fn every_changed_character_of_a_challenge_is_refused() {
        let own = Secret::new([3; 32]);
        let here = terms(&own, "acme", "https://a.example");
        let text = challenge(here, 0, &[1; 16], NOW);
        assert!(check(here, &text, "1", NOW).is_ok());
        for i in 0..text.len() {
            for other in ["0", "A", ".", "-"] {
                if &text[i..=i] == other {
                    continue;
                }
                let changed = format!("{}{other}{}", &text[..i], &text[i + 1..]);
                assert!(check(here, &changed, "1", NOW).is_err(), "{changed}");
            }
        }
    }
}
