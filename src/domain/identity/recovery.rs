//! Recovery codes of the second factor.
//!
//! Ten codes of 80 bits, each good once in place of a one-time password. Only their HMACs are kept; the operators'
//! machine strikes a used one out.

use super::totp::base32;
use crate::base::digest::{Bytes32, base64url, hmac_sha256};
use crate::base::secret::Secret;

/// Codes in a set.
pub const CODES: usize = 10;
/// Random bytes of one code: 80 bits, 16 characters of base32.
pub const CODE_BYTES: usize = 10;
/// Randomness of a whole set.
pub const SET_BYTES: usize = CODE_BYTES * CODES;
/// Characters of one code without its separators: 80 bits / 5.
const CODE_CHARACTERS: usize = 16;

/// The codes of [`SET_BYTES`] random bytes, as the operator sees them once: `ABCD-EFGH-IJKL-MNOP`.
#[must_use]
pub fn codes(random: &[u8]) -> Vec<String> {
    let codes = random.chunks_exact(CODE_BYTES).take(CODES);
    codes.map(|bytes| grouped(&base32(bytes))).collect()
}

fn grouped(code: &str) -> String {
    let mut text = String::with_capacity(CODE_CHARACTERS.saturating_add(3));
    for (i, character) in code.chars().enumerate() {
        if i > 0 && i % 4 == 0 {
            text.push('-');
        }
        text.push(character);
    }
    text
}

/// What is kept of a code: an HMAC that also binds it to its operator, in base64url. `None` when the text cannot be a
/// code. Case, spaces and hyphens do not count, and the digits that the alphabet lacks are read as the letters that
/// they look like.
#[must_use]
pub fn hash(key: &Secret<Bytes32>, operator: &str, code: &str) -> Option<String> {
    let mut bound = Vec::with_capacity(64);
    bound.extend_from_slice(b"recovery\0");
    bound.extend_from_slice(operator.as_bytes());
    bound.push(0);
    let before = bound.len();
    for byte in code.bytes() {
        match byte.to_ascii_uppercase() {
            b' ' | b'-' => {}
            b'0' => bound.push(b'O'),
            b'1' => bound.push(b'I'),
            b'8' => bound.push(b'B'),
            known @ (b'A'..=b'Z' | b'2'..=b'7') => bound.push(known),
            _ => return None,
        }
    }
    (bound.len().saturating_sub(before) == CODE_CHARACTERS)
        .then(|| base64url(&hmac_sha256(key.reveal(), &bound)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{CODE_BYTES, CODES, codes, hash};
    use crate::base::secret::Secret;

    fn random() -> [[u8; CODE_BYTES]; CODES] {
        core::array::from_fn(|i| core::array::from_fn(|j| (i * 31 + j * 7) as u8))
    }

    #[test]
    fn a_set_is_ten_codes_of_80_bits_in_groups() {
        let set = codes(random().as_flattened());
        assert_eq!(set.len(), 10);
        assert_eq!(set[0], "AADQ-4FI4-EMVD-COB7");
        for code in &set {
            assert_eq!(code.split('-').map(str::len).collect::<Vec<_>>(), [4; 4]);
        }
        // Every bit of the randomness is in the code.
        let mut seen = BTreeSet::from([set[0].clone()]);
        for byte in 0..CODE_BYTES {
            for bit in 0..8 {
                let mut changed = random();
                changed[0][byte] ^= 1 << bit;
                assert!(seen.insert(codes(changed.as_flattened())[0].clone()));
            }
        }
    }

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let key = Secret::new([3; 32]);
        let kept = hash(&key, "opr_1", "OIBA-4FI4-EMVD-COB7").unwrap();
        for typed in [
            "oiba4fi4emvdcob7",
            " oiba 4fi4 emvd cob7 ",
            "018A-4F14-EMVD-C0B7",
        ] {
            assert_eq!(hash(&key, "opr_1", typed).as_ref(), Some(&kept), "{typed}");
        }
        for other in [
            "",
            "OIBA-4FI4-EMVD-COB",
            "OIBA-4FI4-EMVD-COB77",
            "OIBA-4FI4-EMVD-CO_7",
        ] {
            assert_eq!(hash(&key, "opr_1", other), None, "{other}");
        }
    }

    #[test]
    fn what_is_kept_depends_on_key_operator_and_code() {
        let code = "OIBA-4FI4-EMVD-COB7";
        let kept = hash(&Secret::new([3; 32]), "opr_1", code).unwrap();
        assert_eq!(kept, "J3bNUbZCIol9jB_gdacrpTT6NrjpT4UOin2a0UGEfJE");
        assert_ne!(hash(&Secret::new([4; 32]), "opr_1", code).unwrap(), kept);
        assert_ne!(hash(&Secret::new([3; 32]), "opr_2", code).unwrap(), kept);
        let other = "OIBA-4FI4-EMVD-COBA";
        assert_ne!(hash(&Secret::new([3; 32]), "opr_1", other).unwrap(), kept);
    }
}
