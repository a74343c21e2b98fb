//! What is kept of operators, invites and sessions, and its stored form.
//!
//! Each is stored as a tuple whose first part may be shown to those who may see operators, and whose rest is not.

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
use crate::domain::identity::recovery::CODES;
use crate::domain::identity::roles::Role;

/// Longest name of an operator, in characters.
pub const MAX_NAME: usize = 80;
/// Longest label of a browser, in characters.
pub const MAX_AGENT: usize = 120;
/// Longest id or hash, in bytes.
pub const MAX_TOKEN: usize = 64;
/// Longest sealed seed, in bytes.
pub const MAX_SEED: usize = 512;

/// An operator, as others see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// `opr_…`
    #[serde(rename = "i")]
    pub id: String,
    /// What people call them.
    #[serde(rename = "n")]
    pub name: String,
    /// What they may do.
    #[serde(rename = "r")]
    pub role: Role,
    /// When they joined.
    #[serde(rename = "c")]
    pub created: Millis,
    /// Who invited them; `None` for whoever claimed the house.
    #[serde(rename = "b")]
    pub created_by: Option<String>,
    /// Kept, but may not sign in.
    #[serde(rename = "d")]
    pub disabled: bool,
    /// When they last gave a code that was good.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub signed_in: Option<Millis>,
}

/// What an operator signs in with. None of it is a secret by itself: hashes, and a text that the keyring sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factors {
    /// Hash of the operator key.
    #[serde(rename = "k")]
    pub key: String,
    /// Sealed seed of the one-time passwords.
    #[serde(rename = "s")]
    pub seed: String,
    /// The last step whose code was taken.
    #[serde(rename = "l")]
    pub last_step: u64,
    /// Hashes of the recovery codes that are left.
    #[serde(rename = "r")]
    pub recovery: Vec<String>,
}

impl Factors {
    pub(super) fn acceptable(&self) -> bool {
        is_token(&self.key) && is_seed(&self.seed) && are_codes(&self.recovery)
    }
}

/// Somebody who becomes an operator. `factors.last_step` is the step by which they showed that their authenticator works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// `opr_…`, made by the caller.
    #[serde(rename = "i")]
    pub id: String,
    /// 1 to 80 characters.
    #[serde(rename = "n")]
    pub name: String,
    /// What they will sign in with.
    #[serde(rename = "f")]
    pub factors: Factors,
}

impl Newcomer {
    pub(super) fn acceptable(&self) -> bool {
        is_token(&self.id)
            && (1..=MAX_NAME).contains(&self.name.chars().count())
            && self.factors.acceptable()
    }
}

/// Stored as (profile, factors).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Operator(pub Profile, pub Factors);

/// An invitation, as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteInfo {
    /// Made by the caller.
    #[serde(rename = "i")]
    pub id: String,
    /// What the newcomer will be.
    #[serde(rename = "r")]
    pub role: Role,
    /// The operator who invites.
    #[serde(rename = "b")]
    pub by: String,
    /// The code is void from then on.
    #[serde(rename = "e")]
    pub expires: Millis,
    /// The operator who came of it.
    #[serde(rename = "u")]
    pub used: Option<String>,
}

/// Stored as (info, hash of the code).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Invite(pub InviteInfo, pub String);

/// A session, as its operator and those above see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Names it in lists; not the token.
    #[serde(rename = "i")]
    pub id: String,
    /// Whose it is.
    #[serde(rename = "o")]
    pub operator: String,
    /// Signed in.
    #[serde(rename = "c")]
    pub created: Millis,
    /// Last use, up to a minute late.
    #[serde(rename = "s")]
    pub seen: Millis,
    /// Ends then at the latest.
    #[serde(rename = "u")]
    pub until: Millis,
    /// Dangerous actions are open until then.
    #[serde(rename = "f")]
    pub fresh_until: Millis,
    /// Hashed network address.
    #[serde(rename = "n")]
    pub network: String,
    /// Label of the browser.
    #[serde(rename = "a")]
    pub agent: String,
}

/// Stored as (info, the attempt that last confirmed it) under the hash of its token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session(pub SessionInfo, pub String);

pub(super) fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len())
}

pub(super) fn is_seed(text: &str) -> bool {
    (1..=MAX_SEED).contains(&text.len())
}

pub(super) fn are_codes(hashes: &[String]) -> bool {
    hashes.len() <= CODES && hashes.iter().all(|hash| is_token(hash))
}
