//! Who keeps something: objects cannot be listed, so whoever is about to keep something for the first time is registered
//! before, where a snapshot finds them.

use super::objects::ask;
use super::port::{Class, Port, storage_refusal};
use crate::base::digest::hex;
use crate::base::errors::Refusal;
use crate::base::time::Millis;
use crate::domain::documents::directory::{Command, Directory};

/// Registers an owner in the directory of that name.
///
/// # Errors
/// `storage_unavailable`
pub async fn register<P: Port>(port: &P, directory: &str, owner: &str) -> Result<(), Refusal> {
    let command = Command::Register {
        owner: owner.to_owned(),
        due: Millis::ZERO,
        mark: hex(&port.random::<8>()),
    };
    tell(port, directory, command).await
}

/// Takes an owner out who keeps nothing any more.
///
/// # Errors
/// `storage_unavailable`
pub async fn leave<P: Port>(port: &P, directory: &str, owner: &str) -> Result<(), Refusal> {
    let owner = owner.to_owned();
    tell(port, directory, Command::Leave { owner }).await
}

async fn tell<P: Port>(port: &P, directory: &str, command: Command) -> Result<(), Refusal> {
    let told = ask::<Directory>(port, Class::Directory, directory, command).await;
    told.map(drop).map_err(|fault| storage_refusal(&fault))
}
