//! The keyring, as the stories use it: loaded once for each isolate, and again when the rules tell of a newer one.

pub mod kms;
pub mod rotate;

use std::rc::Rc;

use super::objects::{ask_keyring, tell_keyring};
use super::port::Port;
use super::rules::rules;
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::keyring::{
    Command, FirstKeys, OpenError, Opened, Reply, Ring, Roots, Wrapper, first_ring, wrap_version,
};
use crate::domain::settings::Settings;

/// The roots of this deployment.
#[must_use]
pub fn roots(settings: &Settings) -> Roots {
    Roots::new(
        settings.master.as_ref().map(Secret::reveal),
        settings.master_previous.as_ref().map(Secret::reveal),
    )
}

/// What should wrap the key versions; `None` without a `MASTER_KEY`.
#[must_use]
pub fn wrapper(settings: &Settings) -> Option<Wrapper> {
    if settings.config.keyring.kms_url.is_some() {
        return Some(Wrapper::Kms);
    }
    roots(settings).wrapper()
}

/// The unlocked keyring. The first request of a tenant makes it.
///
/// # Errors
/// `setup_required` without a `MASTER_KEY`; `keyring_unavailable` when it cannot be read or opened.
pub async fn keyring<P: Port>(port: &P) -> Result<Rc<Opened>, Refusal> {
    let wanted = rules(port).await?.keyring;
    let now = port.now();
    let (last, kept) = port.known(|known| (known.ring.clone(), known.ring_kept));
    let spared = kept.is_some_and(|(revision, until)| revision >= wanted && now < until);
    if let Some(ring) = last
        && (ring.ring.revision >= wanted || spared)
    {
        return Ok(ring);
    }
    match renewed(port).await {
        Ok(ring) => Ok(ring),
        // What was opened before is still good for what it does.
        Err((refusal, newer)) => {
            let last = port.known(|known| known.ring.clone());
            let (Some(newer), Some(last)) = (newer, last) else {
                return Err(refusal);
            };
            if !last.stands_beside(&newer) {
                return Err(refusal);
            }
            let kept = (newer.revision, port.now().plus(OPEN_AGAIN));
            port.known(|known| known.ring_kept = Some(kept));
            Ok(last)
        }
    }
}

/// How long the last keyring is used before the newer one is tried again, when that could not be opened.
const OPEN_AGAIN: Millis = Millis::from_secs(5);

/// The keyring as it is now.
///
/// # Errors
/// As for [`keyring`].
pub async fn reload<P: Port>(port: &P) -> Result<Rc<Opened>, Refusal> {
    renewed(port).await.map_err(|(refusal, _)| refusal)
}

/// The same; beside the refusal the keyring that could not be opened.
async fn renewed<P: Port>(port: &P) -> Result<Rc<Opened>, (Refusal, Option<Box<Ring>>)> {
    if wrapper(port.settings()).is_none() {
        let refusal = Refusal::new(Code::SetupRequired).detail("MASTER_KEY is not set.");
        return Err((refusal, None));
    }
    let last = port.known(|known| known.ring.clone());
    let known = last.as_ref().map_or(0, |ring| ring.ring.revision);
    let ring = match load(port, known).await.map_err(|refusal| (refusal, None))? {
        Some(ring) => ring,
        None => match last {
            Some(last) => return Ok(last),
            None => return Err((unavailable("the keyring gave nothing"), None)),
        },
    };
    let opened = match open(port, ring.clone(), last.as_deref()).await {
        Ok(opened) => Rc::new(opened),
        Err(refusal) => return Err((refusal, Some(Box::new(ring)))),
    };
    port.known(|known| known.ring = Some(Rc::clone(&opened)));
    Ok(opened)
}

/// Everything, wrapped; `None` when the caller has the newest.
async fn load<P: Port>(port: &P, known: u64) -> Result<Option<Ring>, Refusal> {
    let reply = ask_keyring(port, Command::Load { known }).await;
    let reply = match reply.map_err(|fault| unavailable(&fault.0))? {
        Reply::Empty => {
            let first = first(port).await?;
            let made = ask_keyring(port, first).await;
            made.map_err(|fault| unavailable(&fault.0))?
        }
        reply => reply,
    };
    match reply {
        Reply::Loaded(ring) => Ok(Some(*ring)),
        Reply::Unchanged => Ok(None),
        other => Err(unavailable(&format!("{other:?}"))),
    }
}

/// A new tenant's keys. Should another request be first, its keys count.
async fn first<P: Port>(port: &P) -> Result<Command, Refusal> {
    let keys = FirstKeys {
        version: Secret::new(port.random()),
        data: core::array::from_fn(|_| (Secret::new(port.random()), port.random())),
    };
    let wrap = match wrapper(port.settings()) {
        Some(Wrapper::Kms) => kms::wrap(port, 1, keys.version.reveal()).await?,
        _ => wrap_version(
            port.tenant(),
            1,
            keys.version.reveal(),
            &roots(port.settings()),
            &port.random(),
        )
        .map_err(|fault| locked(&fault))?,
    };
    Ok(first_ring(port.tenant(), wrap, &keys))
}

async fn open<P: Port>(port: &P, ring: Ring, last: Option<&Opened>) -> Result<Opened, Refusal> {
    let from_kms = kms::unwrap(port, &ring, last).await?;
    Opened::new(port.tenant(), ring, &roots(port.settings()), &from_kms)
        .map_err(|fault| locked(&fault))
}

/// Sends a change; the others learn of it by the rules.
///
/// # Errors
/// The object could not be reached.
pub async fn change<P: Port>(
    port: &P,
    command: Command,
    event: Option<(String, String)>,
) -> Result<Reply, Refusal> {
    let reply = tell_keyring(port, command, event).await;
    let reply = reply.map_err(|fault| unavailable(&fault.0))?;
    if let Reply::Done {
        revision,
        changed: true,
    } = reply
    {
        super::rules::keyring_changed(port, revision).await?;
    }
    Ok(reply)
}

/// The keys cannot be opened: the operator has to act.
#[must_use]
pub fn locked(fault: &OpenError) -> Refusal {
    unavailable(&fault.to_string())
}

fn unavailable(cause: &str) -> Refusal {
    Refusal::new(Code::KeyringUnavailable)
        .wait(Millis::from_secs(2))
        .cause(cause)
}
