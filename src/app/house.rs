//! The house as it is now: settings with the providers' keys that operators stored.

use super::keyring::keyring;
use super::port::Port;
use super::rules::rules;
use crate::base::errors::{Code, Refusal};

/// The port with settings that know the providers' keys of the keyring, as new as the rules say. Mostly that is the port
/// itself: nobody stored a key, or the isolate has met it already.
///
/// # Errors
/// `limiter_unavailable`, `keyring_unavailable`: a provider without its key would be taken for one that is not there.
pub async fn current<P: Port>(port: &P) -> Result<P, Refusal> {
    let rules = rules(port).await?;
    if rules.keyring == port.settings().ring || port.settings().master.is_none() {
        return Ok(port.clone());
    }
    let ring = keyring(port).await?;
    port.with_provider_keys(ring.ring.revision.max(rules.keyring), &|name| {
        ring.provider(name).cloned()
    })
    .map_err(|fault| Refusal::new(Code::SetupRequired).cause(fault.0))
}
