//! What an operator changed while the house runs, as every request sees it.

use std::rc::Rc;

use super::known::Known;
use super::objects::{ask, told};
use super::port::{BEING_RESTORED, Class, Port};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::limits::rules::{Change, Command, Reply, Rules, Snapshot};

/// The object of a tenant's house: operators, rules, the list of API keys.
pub const HOUSE: &str = "house";

/// The rules, at most a second old. Most requests find them in the isolate's memory.
///
/// # Errors
/// `limiter_unavailable`: without them nobody knows who was locked out. `house_restoring` while a snapshot is put back.
pub async fn rules(port: &impl Port) -> Result<Rc<Snapshot>, Refusal> {
    let now = port.now();
    if let Some(fresh) = port.known(|known| known.rules(now)) {
        return Ok(fresh);
    }
    let last = port.known(|known| known.last_rules());
    let command = Command::Since(last.as_ref().map_or(0, |rules| rules.version));
    let reply = ask::<Rules>(port, Class::Directory, HOUSE, command)
        .await
        .map_err(|fault| {
            if fault.0.contains(BEING_RESTORED) {
                // What was known is of the house before.
                port.known(|known| *known = Known::default());
                return Refusal::new(Code::HouseRestoring).wait(Millis::from_secs(10));
            }
            unavailable(&fault.0)
        })?;
    let rules = match (reply, last) {
        (Reply::Snapshot(snapshot), _) => Rc::new(*snapshot),
        (Reply::Unchanged, Some(last)) => last,
        _ => Rc::new(Snapshot::default()),
    };
    port.known(|known| known.set_rules(now, Rc::clone(&rules)));
    Ok(rules)
}

/// The rules as they stand now, for a decision that outlives the second in which remembered ones may be old.
///
/// # Errors
/// As for [`rules`].
pub async fn newest(port: &impl Port) -> Result<Rc<Snapshot>, Refusal> {
    port.known(|known| known.forget_rules());
    rules(port).await
}

/// Changes the rules.
///
/// # Errors
/// `conflict` when another version stands than was expected; `invalid_parameter`; `limiter_unavailable`.
pub async fn change<P: Port>(
    port: &P,
    change: Change,
    expect: Option<u64>,
    event: Option<(String, String)>,
) -> Result<(u64, Option<Box<Change>>), Refusal> {
    let command = Command::Change { expect, change };
    let reply = told::<Rules>(port, Class::Directory, HOUSE, command, event).await;
    // Whoever changed them sees them changed.
    port.known(|known| known.forget_rules());
    match reply {
        Ok(Reply::Changed { version, undo }) => Ok((version, undo)),
        Ok(Reply::Same(version)) => Ok((version, None)),
        Ok(Reply::Conflict(version)) => Err(Refusal::new(Code::Conflict)
            .detail(format!("The rules are at version {version} by now."))),
        Ok(Reply::Invalid(reason)) => Err(Refusal::new(Code::InvalidParameter).detail(reason)),
        Ok(Reply::Full) => Err(Refusal::new(Code::Conflict)
            .detail("There are as many of these as there may be; remove one first.")),
        Ok(_) => Err(unavailable("the rules answered something else")),
        Err(fault) => Err(unavailable(&fault.0)),
    }
}

/// Tells every isolate that there is a newer keyring.
///
/// # Errors
/// As for [`change`].
pub async fn keyring_changed<P: Port>(port: &P, revision: u64) -> Result<(), Refusal> {
    change(port, Change::Keyring(revision), None, None)
        .await
        .map(|_| ())
}

fn unavailable(cause: &str) -> Refusal {
    Refusal::new(Code::LimiterUnavailable)
        .wait(Millis::from_secs(2))
        .cause(cause)
}
