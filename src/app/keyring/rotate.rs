//! Rotation: what is due is done, by the cron or by an operator, a step at a time; every step can be repeated.

use super::{change, kms, locked, reload, roots, wrapper};
use crate::app::audit::Event;
use crate::app::port::Port;
use crate::base::digest::Bytes32;
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::audit::entry::Action;
use crate::domain::keyring::{
    Command, Item, Opened, Refusal as Why, Reply, SESSION_OVERLAP, Step, Wrap, Wrapper, due,
    rewrap_plan, rewrap_version, wrap_version,
};

/// Keys that one run wraps anew; the next run goes on.
const REWRAPS_AT_ONCE: usize = 100;

/// Does everything that is due. Returns how many steps were done.
///
/// # Errors
/// `keyring_unavailable`; what was done before stays done.
pub async fn run_due<P: Port>(port: &P, rotate_days: u32) -> Result<usize, Refusal> {
    let wrapper = wrapper(port.settings())
        .ok_or_else(|| Refusal::new(Code::SetupRequired).detail("MASTER_KEY is not set."))?;
    let mut done = 0_usize;
    // A step can make another one due: activation makes everything due to be wrapped anew.
    for _ in 0..3 {
        let ring = reload(port).await?;
        let steps = due(&ring.ring, port.now(), rotate_days, &wrapper);
        if steps.is_empty() {
            break;
        }
        for step in steps {
            done = done.saturating_add(perform(port, &ring, &wrapper, step).await?);
        }
    }
    Ok(done)
}

async fn perform<P: Port>(
    port: &P,
    ring: &Opened,
    wrapper: &Wrapper,
    step: Step,
) -> Result<usize, Refusal> {
    let event = |action| Event::new(port, action).target("key version");
    let (command, event) = match step {
        Step::Rewrap(items) => return rewrap(port, ring, wrapper, &items).await,
        Step::Begin(n) => (
            begin(port, wrapper, n).await?,
            event(Action::KeyringRotate).detail("begun", &n.to_string()),
        ),
        Step::Activate(n) => (
            Command::Activate { n },
            event(Action::KeyringRotate).detail("activated", &n.to_string()),
        ),
        Step::Retire(n) => (
            Command::Retire { n },
            event(Action::KeyringRotate).detail("retired", &n.to_string()),
        ),
        Step::Destroy(n) => (
            Command::Destroy { n },
            event(Action::KeyringDestroy).detail("destroyed", &n.to_string()),
        ),
        Step::RotateSession => (
            session(port, ring, SESSION_OVERLAP)?,
            event(Action::KeyringRotate).detail("replaced", "session key"),
        ),
        Step::VoidSessions => (
            session(port, ring, Millis::ZERO)?,
            event(Action::KeyringRotate).detail("emergency", "all sessions are void"),
        ),
    };
    match change(port, command, Some(event.outbox())).await? {
        Reply::Done { changed, .. } => Ok(usize::from(changed)),
        // Somebody else is at it, or it is not time yet: the next run sees how it stands.
        _ => Ok(0),
    }
}

/// The command that makes a new version known.
///
/// # Errors
/// `keyring_unavailable`
pub async fn begin<P: Port>(port: &P, wrapper: &Wrapper, n: u32) -> Result<Command, Refusal> {
    let wrap = new_wrap(port, wrapper, n).await?;
    Ok(Command::Begin { n, wrap })
}

/// A new version's key, wrapped.
///
/// # Errors
/// `keyring_unavailable`
pub async fn new_wrap<P: Port>(port: &P, wrapper: &Wrapper, n: u32) -> Result<Wrap, Refusal> {
    let key: Secret<Bytes32> = Secret::new(port.random());
    match wrapper {
        Wrapper::Kms => kms::wrap(port, n, key.reveal()).await,
        Wrapper::Local(_) => wrap_version(
            port.tenant(),
            n,
            key.reveal(),
            &roots(port.settings()),
            &port.random(),
        )
        .map_err(|fault| locked(&fault)),
    }
}

/// The command that replaces the key of session tokens.
///
/// # Errors
/// `keyring_unavailable`
pub fn session<P: Port>(port: &P, ring: &Opened, overlap: Millis) -> Result<Command, Refusal> {
    ring.rotate_session(&Secret::new(port.random()), overlap, &port.random())
        .map_err(|fault| locked(&fault))
}

/// Wraps anew what is not wrapped as it should be.
///
/// # Errors
/// `keyring_unavailable`; what was done before stays done.
pub async fn rewrap_all<P: Port>(port: &P) -> Result<usize, Refusal> {
    let Some(wrapper) = wrapper(port.settings()) else {
        return Ok(0);
    };
    let ring = reload(port).await?;
    let items = rewrap_plan(&ring.ring, &wrapper);
    rewrap(port, &ring, &wrapper, &items).await
}

async fn rewrap<P: Port>(
    port: &P,
    ring: &Opened,
    wrapper: &Wrapper,
    items: &[Item],
) -> Result<usize, Refusal> {
    let mut done = 0_usize;
    for item in items.iter().take(REWRAPS_AT_ONCE) {
        let command = match item {
            Item::Version(n) => match rewrapped(port, ring, wrapper, *n).await? {
                Some(command) => command,
                None => continue,
            },
            item => ring
                .rewrap(item, &port.random())
                .map_err(|fault| locked(&fault))?,
        };
        match change(port, command, None).await? {
            Reply::Done { changed, .. } => done = done.saturating_add(usize::from(changed)),
            // Another run was faster.
            Reply::Refused(Why::Stale | Why::Unknown) => {}
            other => {
                return Err(Refusal::new(Code::KeyringUnavailable).cause(format!("{other:?}")));
            }
        }
    }
    Ok(done)
}

/// A version under the present root or service.
async fn rewrapped<P: Port>(
    port: &P,
    ring: &Opened,
    wrapper: &Wrapper,
    n: u32,
) -> Result<Option<Command>, Refusal> {
    let Some(version) = ring.ring.version(n) else {
        return Ok(None);
    };
    if *wrapper == Wrapper::Kms {
        let Ok(key) = ring.version(n) else {
            return Ok(None);
        };
        let to = kms::wrap(port, n, key.reveal()).await?;
        return Ok(Some(Command::RewrappedVersion {
            n,
            from: version.wrap.text.clone(),
            to,
        }));
    }
    // What a service wraps was unwrapped when the keyring was opened.
    let from_kms: Vec<_> = ring
        .version(n)
        .ok()
        .map(|key| (n, key.clone()))
        .into_iter()
        .collect();
    let command = rewrap_version(
        port.tenant(),
        version,
        &roots(port.settings()),
        &from_kms,
        &port.random(),
    );
    // One that nothing opens any more stays as it is; the status tells of it.
    Ok(command.ok())
}
