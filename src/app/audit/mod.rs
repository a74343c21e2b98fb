//! The audit log's stories: record, flush, sign, read, prove, verify, mirror, erase.

pub mod checkpoint;
mod event;
pub mod flush;
pub mod mirror;
pub mod proofs;
pub mod read;
pub mod record;
pub mod verify;

pub use event::{Event, Sealing, drain_of, erased, record, recorded, short, with_log};

use super::port::{Class, Port, PortFault, call};
use crate::base::digest::Bytes32;
use crate::base::secret::Secret;
use crate::domain::audit::log::{AuditLog, Command, Reply, Status};

/// Authenticated encryption of short texts.
pub trait Cipher {
    /// Seals a text under a key; it opens in the same context alone. `None` when that cannot be done.
    fn seal(&self, key: &Bytes32, context: &str, nonce: &[u8; 12], text: &[u8]) -> Option<String>;

    /// Opens a sealed text; `None` when it is not one of that key and context.
    fn open(&self, key: &Bytes32, context: &str, sealed: &str) -> Option<Vec<u8>>;
}

/// One tenant's log and what it takes to write and read it.
pub struct Audit<'a, C> {
    /// The tenant.
    pub tenant: &'a str,
    /// The log's name in checkpoints, for ever: neither spaces nor `+`. See [`origin`].
    pub origin: &'a str,
    /// Ed25519 seed that signs checkpoints.
    pub seed: &'a Secret<Bytes32>,
    /// Key that wraps the keys of subjects.
    pub seal: &'a Secret<Bytes32>,
    /// How texts are sealed.
    pub cipher: C,
}

/// The origin of a log that needs no other: `gatehouse/<tenant>`. One that begins with the host and path where its tiles
/// are served (`example.org/api/audit`) is what clients of tiled logs expect.
#[must_use]
pub fn origin(tenant: &str) -> String {
    ["gatehouse/", tenant].concat()
}

impl<C> Audit<'_, C> {
    /// Name of the log's object.
    #[must_use]
    pub fn object(&self) -> String {
        "audit".to_owned()
    }

    /// Key of a blob.
    #[must_use]
    pub fn blob(&self, path: &str) -> String {
        ["audit/", path].concat()
    }

    async fn ask<P: Port>(&self, port: &P, command: &Command) -> Result<Reply, PortFault> {
        call::<AuditLog>(port, Class::AuditLog, &self.object(), command).await
    }

    /// How the log is.
    ///
    /// # Errors
    /// The log did not answer.
    pub async fn status<P: Port>(&self, port: &P) -> Result<Status, PortFault> {
        match self.ask(port, &Command::Status).await? {
            Reply::Status(status) => Ok(status),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> PortFault {
    PortFault("the audit log gave another answer than was asked for".to_owned())
}
