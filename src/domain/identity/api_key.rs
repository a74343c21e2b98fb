//! The form of an API key: `gh_<env>_<id>_<secret><crc>`.
//!
//! The same codec makes operator keys (`gho_`) and one-time invite codes (`ghi_`). The prefix and the checksum let
//! scanners find a leaked key and dismiss look-alikes offline; neither keeps anything secret. What is stored is
//! [`ParsedKey::hash`]: with 256 random bits behind it a keyed hash needs no stretching.

use std::fmt;

use crate::base::digest::{Bytes32, crc32, hmac_sha256};
use crate::base::secret::Secret;

/// Random bytes that a key is made from: 12 for the id, 32 for the secret.
pub const KEY_RANDOM_BYTES: usize = 44;
/// Characters of an id: 95 random bits, and 62¹⁶ > 2⁹⁵.
pub const ID_CHARS: usize = 16;
/// Characters of a secret: 256 random bits, and 62⁴³ > 2²⁵⁶.
pub const SECRET_CHARS: usize = 43;
/// Characters of a CRC-32, and 62⁶ > 2³².
const CRC_CHARS: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The API, for a machine.
    Api,
    /// The administration, with a second factor.
    Operator,
    /// One sign-up of an operator.
    Invite,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Api => "gh",
            Self::Operator => "gho",
            Self::Invite => "ghi",
        }
    }

    /// Keeps a hash of one kind from ever being that of another.
    const fn label(self) -> &'static str {
        match self {
            Self::Api => "gatehouse/v1/key/",
            Self::Operator => "gatehouse/v1/operator/",
            Self::Invite => "gatehouse/v1/invite/",
        }
    }
}

/// Where a key is meant to be used; for people, and for scanners that rank what they find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Env {
    /// A developer's machine.
    Development,
    /// The stage before production.
    Staging,
    /// Production.
    Production,
    /// Tests.
    Test,
}

impl Env {
    /// The part of the key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "dev",
            Self::Staging => "stg",
            Self::Production => "prd",
            Self::Test => "tst",
        }
    }

    /// From the part of the key.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "dev" => Self::Development,
            "stg" => Self::Staging,
            "prd" => Self::Production,
            "tst" => Self::Test,
            _ => return None,
        })
    }
}

/// A key whose form and checksum are right. Nothing is known yet of whether it was ever issued.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParsedKey<'a> {
    /// What it opens.
    pub kind: Kind,
    /// Where it is meant to be used.
    pub env: Env,
    /// [`ID_CHARS`] characters of base62; not secret.
    pub id: &'a str,
    /// [`SECRET_CHARS`] characters of base62.
    secret: &'a str,
}

impl fmt::Debug for ParsedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl ParsedKey<'_> {
    /// What is stored and compared: HMAC-SHA-256 under the pepper over kind, id and secret.
    #[must_use]
    pub fn hash(&self, pepper: &Secret<Bytes32>) -> Bytes32 {
        let label = self.kind.label();
        let mut message = String::with_capacity(96);
        for part in [label, self.id, "/", self.secret] {
            message.push_str(part);
        }
        hmac_sha256(pepper.reveal(), message.as_bytes())
    }

    /// As it may be shown again: `gh_prd_<id>_…`.
    #[must_use]
    pub fn redacted(&self) -> String {
        let mut text = head(self.kind, self.env, self.id);
        text.push('…');
        text
    }
}

/// A new key. Its text is shown once and kept nowhere.
pub struct NewKey {
    /// The whole key.
    pub text: Secret<String>,
    /// Its id.
    pub id: String,
}

/// Makes a key.
///
/// The random bytes are read as one number and written in base 62 (see [`base62`]): every number has a text of its own,
/// so each of the 2²⁵⁶ secrets is as likely as any other. No byte is reduced modulo 62.
#[must_use]
pub fn make(kind: Kind, env: Env, random: &[u8; KEY_RANDOM_BYTES]) -> NewKey {
    let (for_id, for_secret) = random.split_at(12);
    let id = make_id(for_id);
    let text = match for_secret.first_chunk() {
        Some(secret) => make_for(kind, env, &id, secret),
        None => Secret::default(),
    };
    NewKey { text, id }
}

/// Makes a key of an id that there is: the new text of a key whose secret is replaced.
#[must_use]
pub fn make_for(kind: Kind, env: Env, id: &str, random: &[u8; 32]) -> Secret<String> {
    let mut text = head(kind, env, id);
    text.push_str(&base62(random, SECRET_CHARS));
    let checksum = crc(&text);
    text.push_str(&checksum);
    Secret::new(text)
}

/// An id from 12 random bytes without their first bit: 95 bits fit into [`ID_CHARS`].
pub(super) fn make_id(random: &[u8]) -> String {
    let mut bytes = random.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first &= 0x7f;
    }
    base62(&bytes, ID_CHARS)
}

/// Reads a key. The checksum over all that stands before it is looked at first after the form, so that a mistyped or
/// made-up key costs no lookup.
#[must_use]
pub fn parse(text: &str) -> Option<ParsedKey<'_>> {
    let mut parts = text.split('_');
    let (prefix, env, id, tail) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let kind = [Kind::Api, Kind::Operator, Kind::Invite]
        .into_iter()
        .find(|kind| kind.prefix() == prefix)?;
    let env = Env::from_name(env)?;
    if !is_id(id) || !is_base62(tail, SECRET_CHARS.saturating_add(CRC_CHARS)) {
        return None;
    }
    let (secret, _) = tail.split_at_checked(SECRET_CHARS)?;
    let (covered, checksum) = text.split_at_checked(text.len().checked_sub(CRC_CHARS)?)?;
    (crc(covered) == checksum).then_some(ParsedKey {
        kind,
        env,
        id,
        secret,
    })
}

/// Has a text the form of an id?
#[must_use]
pub fn is_id(text: &str) -> bool {
    is_base62(text, ID_CHARS)
}

/// A key as it may be logged: `gh_prd_<id>_…`. Of anything that is not a whole key nothing is kept, since it may be
/// somebody's secret in another form.
#[must_use]
pub fn redacted(text: &str) -> String {
    parse(text).map_or_else(|| "…".to_owned(), |key| key.redacted())
}

/// What stands before the secret.
fn head(kind: Kind, env: Env, id: &str) -> String {
    let mut text = String::with_capacity(80);
    for part in [kind.prefix(), env.as_str(), id] {
        text.push_str(part);
        text.push('_');
    }
    text
}

fn crc(text: &str) -> String {
    base62(&crc32(text.as_bytes()).to_be_bytes(), CRC_CHARS)
}

fn is_base62(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A big-endian number in `length` digits of base 62, the highest first; digits that do not fit are lost, so callers
/// give as many as the number can need.
fn base62(number: &[u8], length: usize) -> String {
    let mut rest = number.to_vec();
    let mut digits: Vec<char> = (0..length)
        .map(|_| {
            // Long division: below 62 × 256, so that it fits.
            let remainder = rest.iter_mut().fold(0u16, |carry, byte| {
                let value = (carry << 8) | u16::from(*byte);
                *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
                value % 62
            });
            char::from(
                ALPHABET
                    .get(usize::from(remainder))
                    .copied()
                    .unwrap_or(b'0'),
            )
        })
        .collect();
    digits.reverse();
    digits.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{ALPHABET, Env, Kind, base62, crc, is_id, make, parse, redacted};
    use crate::base::digest::hex;
    use crate::base::secret::Secret;

    const KINDS: [Kind; 3] = [Kind::Api, Kind::Operator, Kind::Invite];

    #[test]
    fn numbers_in_base_62() {
        assert_eq!(base62(&[0], 3), "000");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
        assert_eq!(base62(&[0x0f, 0x03], 2), "zz");
        // 2^256 - 1 and 2^95 - 1: the largest still fit.
        assert_eq!(
            base62(&[0xff; 32], 43),
            "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"
        );
        assert_eq!(
            base62(&[[0x7f].as_slice(), &[0xff; 11]].concat(), 16),
            "pWE94k9hlxnYxoeV"
        );
    }

    #[test]
    fn the_checksum_is_crc_32() {
        // The check value of CRC-32/ISO-HDLC: "123456789" gives cbf43926.
        assert_eq!(crc("123456789"), base62(&[0xcb, 0xf4, 0x39, 0x26], 6));
    }

    #[test]
    fn the_form_and_the_hash_are_pinned() {
        let mut random = [7u8; 44];
        random[0] = 0xff;
        let key = make(Kind::Api, Env::Production, &random);
        assert_eq!(
            key.text.reveal(),
            "gh_prd_p7xPgxKTtsg9OeaV_1fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF10SgMpN"
        );
        let parsed = parse(key.text.reveal()).unwrap();
        assert_eq!(
            hex(&parsed.hash(&Secret::new([1; 32]))),
            "0cd51f9acd3a55bc061c6b40fa14b20a2cc0dc033c63ac657deeba275900ef29"
        );
    }

    #[test]
    fn a_key_of_each_kind_is_read_as_what_it_is() {
        for kind in KINDS {
            for env in ["dev", "stg", "prd", "tst"] {
                let env = Env::from_name(env).unwrap();
                let key = make(kind, env, &[0xff; 44]);
                let parsed = parse(key.text.reveal()).unwrap();
                assert_eq!((parsed.kind, parsed.env, parsed.id), (kind, env, &*key.id));
                assert!(is_id(&key.id));
            }
        }
        assert_eq!(make(Kind::Api, Env::Test, &[0; 44]).text.reveal().len(), 73);
    }

    #[test]
    fn the_same_secret_hashes_differently_for_each_kind_id_and_pepper() {
        let hash = |kind, random: &[u8; 44], pepper| {
            let key = make(kind, Env::Test, random);
            parse(key.text.reveal()).unwrap().hash(&Secret::new(pepper))
        };
        let mut other_id = [5; 44];
        other_id[3] = 6;
        let all = [
            hash(Kind::Api, &[5; 44], [1; 32]),
            hash(Kind::Operator, &[5; 44], [1; 32]),
            hash(Kind::Invite, &[5; 44], [1; 32]),
            hash(Kind::Api, &other_id, [1; 32]),
            hash(Kind::Api, &[5; 44], [2; 32]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
    }

    #[test]
    fn a_changed_character_is_noticed_offline() {
        for kind in KINDS {
            let text = make(kind, Env::Test, &[0xab; 44]).text.reveal().clone();
            for i in 0..text.len() {
                for other in ALPHABET.iter().chain(b"_-. ") {
                    let mut bytes = text.clone().into_bytes();
                    if bytes[i] == *other {
                        continue;
                    }
                    bytes[i] = *other;
                    let changed = String::from_utf8(bytes).unwrap();
                    assert_eq!(parse(&changed), None, "{changed}");
                }
            }
            assert_eq!(parse(&text[1..]), None);
            assert_eq!(parse(&text[..text.len() - 1]), None);
            assert_eq!(parse(&format!("{text}0")), None);
            assert_eq!(parse(&format!("{text}_")), None);
        }
    }

    #[test]
    fn a_redacted_key_keeps_its_id_and_nothing_of_its_secret() {
        let key = make(Kind::Operator, Env::Staging, &[0x5a; 44]);
        let text = key.text.reveal();
        let shown = format!("gho_stg_{}_…", key.id);
        assert_eq!(redacted(text), shown);
        assert_eq!(format!("{:?}", parse(text).unwrap()), shown);
        for other in ["", "sk-proj-abc", &text[..60], "gh_prd_"] {
            assert_eq!(redacted(other), "…", "{other}");
        }
    }
}
