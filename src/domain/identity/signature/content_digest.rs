//! `Content-Digest` (RFC 9530 §2): the sender's digest against the bytes that arrived.

use sha2::{Digest, Sha512};

use super::fields::{Bare, Member, dictionary};
use crate::base::digest::{constant_time_eq, sha256};

/// Does the field tell the truth about these bytes? At least one digest must be SHA-256 or SHA-512, and all of those
/// must match; other algorithms are passed over (§2: unknown ones are ignored, insecure ones must be).
#[must_use]
pub fn content_digest(field: &str, body: &[u8]) -> bool {
    let Some(digests) = dictionary(field) else {
        return false;
    };
    let mut known = false;
    for (algorithm, member) in digests {
        let Member::Item(Bare::Bytes(claimed), _) = member else {
            return false;
        };
        let same = match algorithm {
            "sha-256" => constant_time_eq(&claimed, &sha256(body)),
            "sha-512" => constant_time_eq(&claimed, &Sha512::digest(body)),
            _ => continue,
        };
        if !same {
            return false;
        }
        known = true;
    }
    known
}

#[cfg(test)]
mod tests {
    use super::content_digest;

    /// RFC 9530 Appendix B.1 (its example content ends with a line feed) and RFC 9421 Appendix B.2 (without one).
    const BODY: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHA_256: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const UNENDED: &[u8] = b"{\"hello\": \"world\"}";
    const SHA_512: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
    const EMPTY: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

    #[test]
    fn published_digests() {
        assert!(content_digest(SHA_256, BODY));
        assert!(content_digest(SHA_512, UNENDED));
        assert!(content_digest(EMPTY, b""));
    }

    #[test]
    fn every_known_digest_must_match_and_one_must_be_known() {
        let other = "md5=:AAAA:";
        assert!(content_digest(&format!("{other}, {SHA_256}"), BODY));
        assert!(!content_digest(&format!("{SHA_256}, {SHA_512}"), BODY));
        assert!(!content_digest(&format!("{SHA_512}, {SHA_256}"), BODY));
        for wrong in [
            "",
            other,
            "sha-256=::",
            "sha-256=RK",
            "sha-256",
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=",
            "SHA-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        ] {
            assert!(!content_digest(wrong, BODY), "{wrong}");
        }
        assert!(!content_digest(SHA_256, UNENDED));
        assert!(!content_digest(&format!("{SHA_256}, {SHA_256}"), BODY));
    }
}
