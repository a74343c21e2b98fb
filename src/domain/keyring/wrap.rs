//! The root, contexts, wrapping and unwrapping.

use super::command::{Command, NewKey};
use super::opened::OpenError;
use super::ring::{Purpose, Version, Wrap};
use crate::base::aead::{AeadError, Nonce, open, seal};
use crate::base::digest::{Bytes32, derive_key, hex, hmac_sha256};
use crate::base::secret::Secret;

/// What `by` of a [`Wrap`] starts with when the root key of this program wrapped it.
const LOCAL: &str = "local:";
/// … and when an external key management service did.
pub(super) const KMS: &str = "kms:";

/// The keyring's root key, from the 32 bytes of `MASTER_KEY`. Nothing else is derived under this label.
#[must_use]
pub fn root_key(master: &Bytes32) -> Secret<Bytes32> {
    Secret::new(derive_key(master, "gatehouse/v1/keyring"))
}

/// A public name of a secret key: the first 16 hex digits of an HMAC by it. It tells keys apart and nothing else.
#[must_use]
pub fn key_id(key: &Bytes32) -> String {
    let mut id = hex(&hmac_sha256(key, b"gatehouse/v1/key-id"));
    id.truncate(16);
    id
}

/// The root of `MASTER_KEY` and, while it is being replaced, that of `MASTER_KEY_PREVIOUS`.
#[derive(Default)]
pub struct Roots {
    current: Option<Root>,
    previous: Option<Root>,
}

struct Root {
    /// First 8 hex digits of its [`key_id`].
    id: String,
    key: Secret<Bytes32>,
}

impl Root {
    fn of(master: &Bytes32) -> Self {
        let key = root_key(master);
        let mut id = key_id(key.reveal());
        id.truncate(8);
        Self { id, key }
    }
}

impl Roots {
    /// The roots of the two secrets, as far as they are set.
    #[must_use]
    pub fn new(current: Option<&Bytes32>, previous: Option<&Bytes32>) -> Self {
        Self {
            current: current.map(Root::of),
            previous: previous.map(Root::of),
        }
    }

    /// What wraps new versions when no external service does; `None` without a `MASTER_KEY`.
    #[must_use]
    pub fn wrapper(&self) -> Option<Wrapper> {
        self.current
            .as_ref()
            .map(|root| Wrapper::Local(root.id.clone()))
    }

    fn by_id(&self, id: &str) -> Option<&Root> {
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .find(|root| root.id == id)
    }
}

/// What should wrap the key versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrapper {
    /// The root key of this id.
    Local(String),
    /// The external service, whatever its key is called.
    Kms,
}

impl Wrapper {
    /// Did this wrap it?
    #[must_use]
    pub fn made(&self, wrap: &Wrap) -> bool {
        match self {
            Self::Local(id) => wrap.by.strip_prefix(LOCAL) == Some(id),
            Self::Kms => wrap.by.starts_with(KMS),
        }
    }
}

/// What a wrapped key is bound to. Each part is preceded by its length, so that no two contexts are the same bytes.
pub(super) fn context(tenant: &str, purpose: &str, version: u32, name: &str) -> Vec<u8> {
    let mut context = b"gatehouse/keyring/v1".to_vec();
    let version = version.to_string();
    for part in [tenant, purpose, &version, name] {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        context.extend_from_slice(&length.to_be_bytes());
        context.extend_from_slice(part.as_bytes());
    }
    context
}

/// Wraps a key under another.
#[must_use]
pub fn wrap(by: &Bytes32, context: &[u8], key: &Bytes32, nonce: &Nonce) -> String {
    // 32 bytes are never too long.
    seal(by, nonce, context, key).unwrap_or_default()
}

/// Undoes [`wrap`].
///
/// # Errors
/// As [`open`]; [`AeadError::Malformed`] also when it holds anything but 32 bytes.
pub fn unwrap(by: &Bytes32, context: &[u8], text: &str) -> Result<Secret<Bytes32>, AeadError> {
    let plain = open(by, context, text)?;
    let key: Bytes32 = plain
        .reveal()
        .as_slice()
        .try_into()
        .map_err(|_| AeadError::Malformed)?;
    Ok(Secret::new(key))
}

/// Wraps a version's key under the root of `MASTER_KEY`.
///
/// # Errors
/// [`OpenError::NoMasterKey`]
pub fn wrap_version(
    tenant: &str,
    n: u32,
    key: &Bytes32,
    roots: &Roots,
    nonce: &Nonce,
) -> Result<Wrap, OpenError> {
    let root = roots.current.as_ref().ok_or(OpenError::NoMasterKey)?;
    let text = wrap(
        root.key.reveal(),
        &context(tenant, "kek", n, ""),
        key,
        nonce,
    );
    Ok(Wrap {
        by: [LOCAL, &root.id].concat(),
        text,
    })
}

/// A version's key; `from_kms` has those that the external service has unwrapped.
pub(super) fn unwrap_version(
    tenant: &str,
    version: &Version,
    roots: &Roots,
    from_kms: &[(u32, Secret<Bytes32>)],
) -> Result<Secret<Bytes32>, OpenError> {
    let n = version.n;
    let Some(id) = version.wrap.by.strip_prefix(LOCAL) else {
        let there = from_kms.iter().find(|(of, _)| *of == n);
        return there
            .map(|(_, key)| key.clone())
            .ok_or(OpenError::KmsMissing(n));
    };
    if roots.current.is_none() {
        return Err(OpenError::NoMasterKey);
    }
    let root = roots
        .by_id(id)
        .ok_or_else(|| OpenError::RootMissing(id.to_owned()))?;
    unwrap(
        root.key.reveal(),
        &context(tenant, "kek", n, ""),
        &version.wrap.text,
    )
    .map_err(|fault| OpenError::Sealed(["version ", &n.to_string()].concat(), fault))
}

/// Wraps a data key under a version.
#[must_use]
pub fn wrap_data(
    tenant: &str,
    purpose: Purpose,
    (n, by): (u32, &Bytes32),
    key: &Bytes32,
    nonce: &Nonce,
) -> NewKey {
    let id = key_id(key);
    let text = wrap(by, &context(tenant, purpose.name(), n, &id), key, nonce);
    NewKey { purpose, id, text }
}

/// Randomness for a first keyring.
pub struct FirstKeys {
    /// The key of version 1.
    pub version: Secret<Bytes32>,
    /// Data keys, in the order of [`Purpose::ALL`], each with a nonce.
    pub data: [(Secret<Bytes32>, Nonce); 4],
}

/// The command that makes a keyring; version 1 is wrapped already, by the root or by an external service.
#[must_use]
pub fn first_ring(tenant: &str, wrap: Wrap, keys: &FirstKeys) -> Command {
    let by = (1, keys.version.reveal());
    let data = Purpose::ALL.into_iter().zip(&keys.data);
    let keys =
        data.map(|(purpose, (key, nonce))| wrap_data(tenant, purpose, by, key.reveal(), nonce));
    Command::Init {
        wrap,
        keys: keys.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::context;

    #[test]
    fn no_two_contexts_are_the_same_bytes() {
        assert_ne!(context("ab", "c", 1, ""), context("a", "bc", 1, ""));
        assert_ne!(context("a", "b", 1, "2"), context("a", "b", 12, ""));
        assert_ne!(context("a", "b", 1, ""), context("b", "b", 1, ""));
        assert_ne!(context("a", "b", 1, ""), context("a", "c", 1, ""));
    }
}
