//! The private half of recovery exports. The format is described in `gatehouse::domain::keyring::recovery`.

use std::fmt;

use gatehouse::base::aead::{self, AeadError};
use gatehouse::base::digest::{Bytes32, base64url, from_base64url};
use gatehouse::base::secret::Secret;
use gatehouse::base::time::Millis;
use gatehouse::domain::keyring::recovery::{
    FORMAT, Header, KEM, VERSION, context, recipient, sealing_key,
};
use serde_json::Value;
use x_wing::{Ciphertext, Decapsulate, DecapsulationKey, Decapsulator, KeyExport};

/// The first line of a private key file; the seed in base64url follows on the second.
pub const KEY_FILE_HEAD: &str = "gatehouse-recovery-key-v1";

/// Why an export cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file is not a private key.
    NotAKey,
    /// The file is not an export.
    NotAnExport,
    /// An export of a format that is not known here.
    Unsupported(String),
    /// Sealed to another public key: this one.
    OtherRecipient(String),
    /// It does not open.
    Sealed(AeadError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKey => f.write_str("this is not a private key file of keygen"),
            Self::NotAnExport => f.write_str("this is not a recovery export"),
            Self::Unsupported(what) => write!(f, "{what} is not known to this program"),
            Self::OtherRecipient(id) => {
                write!(f, "this export is sealed to another public key ({id})")
            }
            Self::Sealed(fault) => write!(f, "the export does not open: {fault}"),
        }
    }
}

impl std::error::Error for Fault {}

/// A private key, by its seed.
pub struct PrivateKey {
    seed: Secret<Bytes32>,
}

impl PrivateKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(seed: Secret<Bytes32>) -> Self {
        Self { seed }
    }

    /// Reads a private key file.
    ///
    /// # Errors
    /// [`Fault::NotAKey`]
    pub fn read(file: &str) -> Result<Self, Fault> {
        let mut lines = file.lines();
        if lines.next() != Some(KEY_FILE_HEAD) {
            return Err(Fault::NotAKey);
        }
        let seed = lines
            .next()
            .and_then(from_base64url)
            .ok_or(Fault::NotAKey)?;
        let seed = Bytes32::try_from(seed).map_err(|_| Fault::NotAKey)?;
        Ok(Self::new(Secret::new(seed)))
    }

    /// What stands in a private key file.
    #[must_use]
    pub fn file(&self) -> Secret<String> {
        let seed = base64url(self.seed.reveal());
        Secret::new(format!("{KEY_FILE_HEAD}\n{seed}\n"))
    }

    /// The public key for `[keyring] recovery_key`.
    #[must_use]
    pub fn public(&self) -> String {
        base64url(&self.public_bytes())
    }

    fn key(&self) -> DecapsulationKey {
        DecapsulationKey::from(*self.seed.reveal())
    }

    fn public_bytes(&self) -> Vec<u8> {
        self.key().encapsulation_key().to_bytes().to_vec()
    }

    /// Opens an export: JSON with the versions and the data keys.
    ///
    /// # Errors
    /// It is not an export, not for this key, or was changed.
    pub fn open(&self, export: &str) -> Result<Secret<String>, Fault> {
        let value: Value = serde_json::from_str(export).map_err(|_| Fault::NotAnExport)?;
        let text = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .ok_or(Fault::NotAnExport)
        };
        let number = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_u64)
                .ok_or(Fault::NotAnExport)
        };
        if text("format")? != FORMAT {
            return Err(Fault::NotAnExport);
        }
        if number("version")? != VERSION {
            return Err(Fault::Unsupported(format!(
                "version {}",
                number("version")?
            )));
        }
        if text("kem")? != KEM {
            return Err(Fault::Unsupported(text("kem")?.to_owned()));
        }
        let public = self.public_bytes();
        let header = Header {
            tenant: text("tenant")?,
            made: Millis(number("made")?),
            revision: number("revision")?,
            recipient: text("recipient")?,
        };
        if header.recipient != recipient(&public) {
            return Err(Fault::OtherRecipient(header.recipient.to_owned()));
        }
        let encapsulated = from_base64url(text("encapsulated")?).ok_or(Fault::NotAnExport)?;
        let ciphertext =
            Ciphertext::try_from(encapsulated.as_slice()).map_err(|_| Fault::NotAnExport)?;
        let shared = self.key().decapsulate(&ciphertext);
        let key = sealing_key(&public, &encapsulated, &shared.into());
        let plain =
            aead::open(key.reveal(), &context(&header), text("sealed")?).map_err(Fault::Sealed)?;
        let plain = String::from_utf8(plain.reveal().clone()).map_err(|_| Fault::NotAnExport)?;
        Ok(Secret::new(plain))
    }
}
