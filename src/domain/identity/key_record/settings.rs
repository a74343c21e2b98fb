//! What a key may do, and how it is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::digest::from_base64url;
use crate::base::time::Millis;
use crate::domain::identity::signature::Algorithm;
use crate::domain::settings::config::Allowance;

/// Characters of a name.
const MAX_NAME: usize = 100;
/// Tags of one key.
const MAX_TAGS: usize = 16;
/// Characters of a tag's name, and of an alias, an endpoint, a tier and a `kid`.
const MAX_WORD: usize = 64;
/// Characters of a tag's value.
const MAX_VALUE: usize = 256;
/// Names in one list.
const MAX_NAMES: usize = 64;
/// Public keys of one key.
const MAX_PUBLIC_KEYS: usize = 4;

/// What an operator sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeySettings {
    /// For people.
    pub name: String,
    /// What it may reach.
    pub scopes: Scopes,
    /// For reports.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Name of a `[[tier]]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// In place of the tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowance>,
    /// The first moment at which it no longer opens anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
    /// For signed requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<PublicKey>,
    /// Its secret alone opens nothing; requests must be signed.
    #[serde(default)]
    pub must_sign: bool,
}

/// What a key may reach. Each part has to be there: nothing is allowed because it was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes {
    /// Aliases of models.
    pub aliases: Names,
    /// Endpoints, by the route's name.
    pub endpoints: Names,
    /// Documents and stored answers.
    pub stores: Stores,
}

/// All names, or some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// Every one, also those to come.
    All,
    /// These; an empty list is none.
    Only(Vec<String>),
}

/// What may be done with documents and stored answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stores {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read, write and delete.
    Write,
}

impl Names {
    fn allow(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|allowed| allowed == name),
        }
    }

    fn fits(&self) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.len() <= MAX_NAMES && names.iter().all(|name| is_word(name)),
        }
    }
}

impl Scopes {
    /// May it call that alias?
    #[must_use]
    pub fn allows_alias(&self, alias: &str) -> bool {
        self.aliases.allow(alias)
    }

    /// May it call that endpoint?
    #[must_use]
    pub fn allows_endpoint(&self, endpoint: &str) -> bool {
        self.endpoints.allow(endpoint)
    }

    /// May it do that with documents and stored answers?
    #[must_use]
    pub fn allows_store(&self, needed: Stores) -> bool {
        needed <= self.stores
    }
}

/// A public key that a caller signs requests with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublicKey {
    /// `keyid` of the signature names it.
    pub kid: String,
    /// The only algorithm that it is used with.
    pub alg: Algorithm,
    /// In base64url: the 32 bytes of an Ed25519 key (RFC 8032 §5.1.5), or the 65 of an uncompressed point (SEC 1 §2.3.3).
    pub key: String,
}

impl PublicKey {
    fn fits(&self) -> bool {
        let bytes = from_base64url(&self.key).unwrap_or_default();
        let key = match self.alg {
            Algorithm::Ed25519 => bytes.len() == 32,
            Algorithm::EcdsaP256 => bytes.len() == 65 && bytes.first() == Some(&4),
        };
        key && is_word(&self.kid)
    }
}

impl KeySettings {
    /// What is wrong with them, as paths and reasons.
    #[must_use]
    pub fn faults(&self) -> Vec<(String, &'static str)> {
        let mut faults = Vec::new();
        let mut unless = |fine: bool, path: &str, reason: &'static str| {
            if !fine {
                faults.push((path.to_owned(), reason));
            }
        };
        let named = (1..=MAX_NAME).contains(&self.name.chars().count())
            && !self.name.chars().any(char::is_control);
        unless(named, "name", "needs 1 to 100 characters");
        const NAMES_RULE: &str = "must be all, or at most 64 names of 1 to 64 characters";
        unless(self.scopes.aliases.fits(), "scopes.aliases", NAMES_RULE);
        unless(self.scopes.endpoints.fits(), "scopes.endpoints", NAMES_RULE);
        let tag = |(name, value): (&String, &String)| {
            is_word(name) && value.len() <= MAX_VALUE && !value.chars().any(char::is_control)
        };
        unless(
            self.tags.len() <= MAX_TAGS && self.tags.iter().all(tag),
            "tags",
            "must be at most 16, each a name of 1 to 64 and a text of at most 256 characters",
        );
        unless(
            self.tier.as_deref().is_none_or(is_word),
            "tier",
            "must be the name of a tier",
        );
        let kids = |(i, key): (usize, &PublicKey)| {
            key.fits() && self.public_keys.iter().take(i).all(|k| k.kid != key.kid)
        };
        unless(
            self.public_keys.len() <= MAX_PUBLIC_KEYS
                && self.public_keys.iter().enumerate().all(kids),
            "public_keys",
            "must be at most 4 with different kid, each an Ed25519 key or an uncompressed P-256 point in base64url",
        );
        unless(
            !self.must_sign || !self.public_keys.is_empty(),
            "must_sign",
            "needs a public key",
        );
        for (path, reason) in self.allowance.iter().flat_map(Allowance::faults) {
            unless(false, &["allowance.", &path].concat(), reason);
        }
        faults
    }
}

/// 1 to 64 visible ASCII characters.
fn is_word(text: &str) -> bool {
    (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A record as it may be shown: nothing in it helps to guess the secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The key's id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// When it was made.
    pub created: Millis,
    /// Id of the operator who made it.
    pub created_by: String,
    /// What it may do.
    pub settings: KeySettings,
    /// Counts the changes of the settings, from 1.
    pub version: u32,
    /// When its current secret was made.
    pub secret_since: Millis,
    /// Until when a secret before that is good too: the last deadline of those that are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_until: Option<Millis>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Millis>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Millis>,
}

impl View {
    /// Neither revoked nor over?
    #[must_use]
    pub fn is_live(&self, now: Millis) -> bool {
        self.revoked.is_none() && self.settings.expires.is_none_or(|expires| now < expires)
    }
}
