//! The keyring unlocked in an isolate's memory. No type here can be printed or stored.

use super::command::{Command, NewKey};
use super::ring::{DataKey, Item, Provider, Purpose, Ring, Version};
use super::state::KeyState;
use super::wrap::{Roots, context, unwrap, unwrap_version, wrap_data, wrap_version};
use crate::base::aead::{self, AeadError, Nonce};
use crate::base::digest::Bytes32;
use crate::base::secret::Secret;
use crate::base::time::Millis;

/// Why a key cannot be had. Names versions, ids and secrets' names; never a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// `MASTER_KEY` is not set.
    NoMasterKey,
    /// Wrapped by a root that is neither that of `MASTER_KEY` nor that of `MASTER_KEY_PREVIOUS`; its id.
    RootMissing(String),
    /// The external service has not unwrapped this version.
    KmsMissing(u32),
    /// No such version in what was loaded: load again.
    UnknownVersion(u32),
    /// The version is below the floor.
    BelowFloor(u32),
    /// The version is retired.
    Retired(u32),
    /// The version's material is gone.
    Destroyed(u32),
    /// The keyring has no active version, or no key for this purpose.
    Incomplete,
    /// This key is no longer in the keyring: there is nothing to wrap anew.
    Gone,
    /// This does not open.
    Sealed(String, AeadError),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMasterKey => f.write_str("MASTER_KEY is not set"),
            Self::RootMissing(id) => write!(
                f,
                "the keys were wrapped with a master key (root {id}) that is neither MASTER_KEY nor MASTER_KEY_PREVIOUS"
            ),
            Self::KmsMissing(n) => write!(
                f,
                "the key management service has not unwrapped key version {n}"
            ),
            Self::UnknownVersion(n) => write!(f, "key version {n} is not known here yet"),
            Self::BelowFloor(n) => write!(f, "key version {n} is below the floor"),
            Self::Retired(n) => write!(f, "key version {n} is retired"),
            Self::Destroyed(n) => {
                write!(f, "key version {n} is destroyed; what it wrapped is lost")
            }
            Self::Incomplete => f.write_str("the keyring lacks a key"),
            Self::Gone => f.write_str("the key is no longer in the keyring"),
            Self::Sealed(what, fault) => write!(f, "{what}: {fault}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// A key of session tokens.
pub struct SessionKey {
    /// The token's `kid`.
    pub id: String,
    /// The HMAC key.
    pub key: Secret<Bytes32>,
}

/// A keyring, unlocked.
pub struct Opened {
    /// What was loaded; all wrapped.
    pub ring: Ring,
    /// Providers' keys that do not open, and why; the rest works without them.
    pub faults: Vec<(String, OpenError)>,
    tenant: String,
    versions: Vec<(u32, Result<Secret<Bytes32>, OpenError>)>,
    data: Vec<(String, Secret<Bytes32>)>,
    providers: Vec<(String, Secret<String>)>,
}

impl Opened {
    /// Unlocks what was loaded. `from_kms` has the keys of those versions that an external service wraps
    /// ([`super::kms::wanted`]), unwrapped by it.
    ///
    /// # Errors
    /// The first reason why the active version or a data key cannot be had.
    pub fn new(
        tenant: &str,
        ring: Ring,
        roots: &Roots,
        from_kms: &[(u32, Secret<Bytes32>)],
    ) -> Result<Self, OpenError> {
        let opening = ring
            .versions
            .iter()
            .filter(|v| v.state.opens() && v.n >= ring.floor);
        let versions = opening
            .map(|version| (version.n, unwrap_version(tenant, version, roots, from_kms)))
            .collect();
        let tenant = tenant.to_owned();
        let (faults, data, providers) = (Vec::new(), Vec::new(), Vec::new());
        let mut opened = Self {
            ring,
            faults,
            tenant,
            versions,
            data,
            providers,
        };
        opened.active()?;
        opened.data = opened
            .ring
            .data
            .iter()
            .map(|key| opened.unwrap_data(key).map(|plain| (key.id.clone(), plain)))
            .collect::<Result<_, _>>()?;
        for provider in &opened.ring.providers {
            match opened.open_provider(provider) {
                Ok(key) => opened.providers.push((provider.name.clone(), key)),
                Err(fault) => opened.faults.push((provider.name.clone(), fault)),
            }
        }
        Ok(opened)
    }

    /// The HMAC key under which API keys are stored.
    ///
    /// # Errors
    /// [`OpenError::Incomplete`]
    pub fn pepper(&self) -> Result<&Secret<Bytes32>, OpenError> {
        self.only(Purpose::Pepper)
    }

    /// The seed of the audit log's Ed25519 key.
    ///
    /// # Errors
    /// [`OpenError::Incomplete`]
    pub fn audit_seed(&self) -> Result<&Secret<Bytes32>, OpenError> {
        self.only(Purpose::Audit)
    }

    /// The key that signs session tokens now, and its `kid`.
    ///
    /// # Errors
    /// [`OpenError::Incomplete`]
    pub fn session_signer(&self, now: Millis) -> Result<SessionKey, OpenError> {
        let signer = self.ring.signer(now).ok_or(OpenError::Incomplete)?;
        let key = self.plain(&signer.id).ok_or(OpenError::Incomplete)?.clone();
        Ok(SessionKey {
            id: signer.id.clone(),
            key,
        })
    }

    /// The key that verifies tokens of this `kid`; `None` when it is unknown (load once more before refusing) or has
    /// run out.
    #[must_use]
    pub fn session_verifier(&self, kid: &str, now: Millis) -> Option<&Secret<Bytes32>> {
        let mut keys = self
            .ring
            .data
            .iter()
            .filter(|key| key.purpose == Purpose::Session);
        let key = keys.find(|key| key.id == kid)?;
        if key.until.is_some_and(|until| until <= now) {
            return None;
        }
        self.plain(kid)
    }

    /// The newest key that seals, as the root of keys for what is sealed elsewhere.
    ///
    /// # Errors
    /// [`OpenError::Incomplete`]
    pub fn seal_key(&self) -> Result<&Secret<Bytes32>, OpenError> {
        self.only(Purpose::Seal)
    }

    /// A provider's key that an operator stored.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<&Secret<String>> {
        let mut keys = self.providers.iter();
        keys.find(|(of, _)| of == name).map(|(_, key)| key)
    }

    /// Seals a small secret that is stored elsewhere. `context` says where; the text names its key.
    ///
    /// # Errors
    /// [`OpenError::Incomplete`], or the text is too long.
    pub fn seal(
        &self,
        purpose: &str,
        context: &str,
        plain: &[u8],
        nonce: &Nonce,
    ) -> Result<String, OpenError> {
        let key = self.newest(Purpose::Seal).ok_or(OpenError::Incomplete)?;
        let by = self.plain(&key.id).ok_or(OpenError::Incomplete)?;
        let bound = self.bound(purpose, context);
        let text = aead::seal(by.reveal(), nonce, &bound, plain)
            .map_err(|fault| sealed(purpose, fault))?;
        Ok([&key.id, ".", &text].concat())
    }

    /// Opens what [`Self::seal`] sealed.
    ///
    /// # Errors
    /// It does not open, or was sealed with a key that is not in the keyring.
    pub fn open(
        &self,
        purpose: &str,
        context: &str,
        text: &str,
    ) -> Result<Secret<Vec<u8>>, OpenError> {
        let (id, text) = text
            .split_once('.')
            .ok_or_else(|| sealed(purpose, AeadError::Malformed))?;
        let seals = |key: &&DataKey| key.purpose == Purpose::Seal && key.id == id;
        let known = self
            .ring
            .data
            .iter()
            .find(seals)
            .and_then(|key| self.plain(&key.id));
        let by = known.ok_or_else(|| sealed(purpose, AeadError::WrongKey))?;
        aead::open(by.reveal(), &self.bound(purpose, context), text)
            .map_err(|fault| sealed(purpose, fault))
    }

    /// The command that stores a provider's key.
    ///
    /// # Errors
    /// The active version cannot be had, or the key is too long.
    pub fn put_provider(
        &self,
        name: &str,
        key: &Secret<String>,
        by: &str,
        nonce: &Nonce,
    ) -> Result<Command, OpenError> {
        let (version, text) = self.seal_provider(name, key.reveal().as_bytes(), nonce)?;
        let (name, by) = (name.to_owned(), by.to_owned());
        Ok(Command::PutProvider {
            name,
            version,
            text,
            by,
        })
    }

    /// Opens a provider's stored key.
    ///
    /// # Errors
    /// Its version cannot be had, or it does not open.
    pub fn open_provider(&self, provider: &Provider) -> Result<Secret<String>, OpenError> {
        let what = || ["provider ", &provider.name].concat();
        let by = self.version(provider.version)?;
        let bound = context(&self.tenant, "provider", provider.version, &provider.name);
        let plain = aead::open(by.reveal(), &bound, &provider.text)
            .map_err(|fault| OpenError::Sealed(what(), fault))?;
        let text = String::from_utf8(plain.reveal().clone());
        text.map(Secret::new)
            .map_err(|_| OpenError::Sealed(what(), AeadError::Malformed))
    }

    /// The command that replaces the key of session tokens.
    ///
    /// # Errors
    /// The active version cannot be had.
    pub fn rotate_session(
        &self,
        key: &Secret<Bytes32>,
        overlap: Millis,
        nonce: &Nonce,
    ) -> Result<Command, OpenError> {
        let (version, by) = self.active()?;
        let key = wrap_data(
            &self.tenant,
            Purpose::Session,
            (version, by.reveal()),
            key.reveal(),
            nonce,
        );
        Ok(Command::RotateSession {
            key,
            version,
            overlap,
        })
    }

    /// The command that wraps an item anew under the active version. A version itself is wrapped anew by
    /// [`rewrap_version`] or by the external service.
    ///
    /// # Errors
    /// [`OpenError::Gone`] when it was removed meanwhile or has run out; else why it cannot be opened.
    pub fn rewrap(&self, item: &Item, nonce: &Nonce) -> Result<Command, OpenError> {
        let (from, version, to) = match item {
            Item::Version(n) => return Err(OpenError::UnknownVersion(*n)),
            Item::Data(id) => {
                let key = self
                    .ring
                    .data
                    .iter()
                    .find(|key| key.id == *id)
                    .ok_or(OpenError::Gone)?;
                let plain = self.plain(id).ok_or(OpenError::Gone)?;
                let (version, by) = self.active()?;
                let NewKey { text, .. } = wrap_data(
                    &self.tenant,
                    key.purpose,
                    (version, by.reveal()),
                    plain.reveal(),
                    nonce,
                );
                (key.text.clone(), version, text)
            }
            Item::Provider(name) => {
                let mut providers = self.ring.providers.iter();
                let provider = providers
                    .find(|key| key.name == *name)
                    .ok_or(OpenError::Gone)?;
                let plain = self.open_provider(provider)?;
                let (version, text) = self.seal_provider(name, plain.reveal().as_bytes(), nonce)?;
                (provider.text.clone(), version, text)
            }
        };
        Ok(Command::Rewrapped {
            item: item.clone(),
            from,
            version,
            to,
        })
    }

    /// The key of a version that is wrapped as it was when this was opened.
    #[must_use]
    pub fn unwrapped(&self, version: &Version) -> Option<&Secret<Bytes32>> {
        let known = self.ring.version(version.n)?;
        let same = !version.wrap.text.is_empty() && known.wrap == version.wrap;
        self.version(version.n).ok().filter(|_| same)
    }

    /// May this go on being used although a newer keyring cannot be opened at present? Not once a version that it uses
    /// lies below the newer one's floor, or is retired or destroyed.
    #[must_use]
    pub fn stands_beside(&self, newer: &Ring) -> bool {
        let active = self.ring.active().map(|version| version.n);
        let data = self.ring.data.iter().map(|key| key.version);
        let providers = self.ring.providers.iter().map(|key| key.version);
        let mut used = active.into_iter().chain(data).chain(providers);
        let opens = |n| {
            newer
                .version(n)
                .is_some_and(|version| version.state.opens())
        };
        used.all(|n| n >= newer.floor && opens(n))
    }

    /// A version's key: to have it wrapped by an external service, or for a recovery export.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn version(&self, n: u32) -> Result<&Secret<Bytes32>, OpenError> {
        let Some(version) = self.ring.version(n) else {
            // Numbers are given without a gap: a lower one that is missing was destroyed and forgotten.
            let destroyed = (1..self.ring.next()).contains(&n);
            return Err(if destroyed {
                OpenError::Destroyed(n)
            } else {
                OpenError::UnknownVersion(n)
            });
        };
        match version.state {
            KeyState::Destroyed => return Err(OpenError::Destroyed(n)),
            _ if n < self.ring.floor => return Err(OpenError::BelowFloor(n)),
            KeyState::Retired => return Err(OpenError::Retired(n)),
            KeyState::Pending | KeyState::Active | KeyState::DecryptOnly => {}
        }
        let mut versions = self.versions.iter();
        match versions.find(|(of, _)| *of == n) {
            Some((_, Ok(key))) => Ok(key),
            Some((_, Err(fault))) => Err(fault.clone()),
            None => Err(OpenError::UnknownVersion(n)),
        }
    }

    /// A data key by its id.
    #[must_use]
    pub(super) fn plain(&self, id: &str) -> Option<&Secret<Bytes32>> {
        let mut keys = self.data.iter();
        keys.find(|(of, _)| of == id).map(|(_, key)| key)
    }

    fn active(&self) -> Result<(u32, &Secret<Bytes32>), OpenError> {
        let n = self.ring.active().ok_or(OpenError::Incomplete)?.n;
        self.version(n).map(|key| (n, key))
    }

    fn newest(&self, purpose: Purpose) -> Option<&DataKey> {
        let keys = self.ring.data.iter().filter(|key| key.purpose == purpose);
        keys.max_by_key(|key| key.from)
    }

    fn only(&self, purpose: Purpose) -> Result<&Secret<Bytes32>, OpenError> {
        let key = self.newest(purpose).and_then(|key| self.plain(&key.id));
        key.ok_or(OpenError::Incomplete)
    }

    fn bound(&self, purpose: &str, place: &str) -> Vec<u8> {
        context(&self.tenant, &["seal ", purpose].concat(), 0, place)
    }

    fn unwrap_data(&self, key: &DataKey) -> Result<Secret<Bytes32>, OpenError> {
        let by = self.version(key.version)?;
        let bound = context(&self.tenant, key.purpose.name(), key.version, &key.id);
        unwrap(by.reveal(), &bound, &key.text).map_err(|fault| sealed(key.purpose.name(), fault))
    }

    fn seal_provider(
        &self,
        name: &str,
        plain: &[u8],
        nonce: &Nonce,
    ) -> Result<(u32, String), OpenError> {
        let (n, by) = self.active()?;
        let bound = context(&self.tenant, "provider", n, name);
        let text =
            aead::seal(by.reveal(), nonce, &bound, plain).map_err(|fault| sealed(name, fault))?;
        Ok((n, text))
    }
}

fn sealed(what: &str, fault: AeadError) -> OpenError {
    OpenError::Sealed(what.to_owned(), fault)
}

/// The command that wraps a version anew under the root of `MASTER_KEY`, whichever root wrapped it before; of a
/// version that an external service wraps, `from_kms` has the key.
///
/// # Errors
/// Why its key cannot be had.
pub fn rewrap_version(
    tenant: &str,
    version: &Version,
    roots: &Roots,
    from_kms: &[(u32, Secret<Bytes32>)],
    nonce: &Nonce,
) -> Result<Command, OpenError> {
    if version.state == KeyState::Destroyed {
        return Err(OpenError::Destroyed(version.n));
    }
    let key = unwrap_version(tenant, version, roots, from_kms)?;
    let to = wrap_version(tenant, version.n, key.reveal(), roots, nonce)?;
    Ok(Command::RewrappedVersion {
        n: version.n,
        from: version.wrap.text.clone(),
        to,
    })
}
