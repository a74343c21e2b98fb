//! The keyring and providers' keys.

use serde_json::{Value, json};

use super::sign_in::required;
use super::{Context, Told};
use crate::app::audit::Event;
use crate::app::keyring::{change, keyring as opened, locked, reload, rotate as steps, wrapper};
use crate::app::objects::KEYRING;
use crate::app::port::{Class, Port};
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::keyring::recovery;
use crate::domain::keyring::{
    Command, KeyState, Reply, SESSION_OVERLAP, Warning, Wrapper, status as ring_status,
};
use crate::domain::llm::request::invalid;

/// The longest provider key that is stored, in characters.
const MAX_KEY: usize = 4096;

/// Key versions, states, ages, progress, warnings.
///
/// # Errors
/// `keyring_unavailable`
pub async fn status<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let ring = opened(cx.port).await?;
    let wrapper = wrapping(cx)?;
    let days = cx.port.settings().config.keyring.rotate_days;
    let status = ring_status(&ring.ring, cx.port.now(), days, &wrapper)
        .ok_or_else(|| Refusal::new(Code::KeyringUnavailable))?;
    let versions: Vec<Value> = status
        .versions
        .iter()
        .map(|(n, state, since, wraps)| {
            json!({
                "version": n,
                "state": state_name(*state),
                "in_state_seconds": since.secs(),
                "wraps": wraps,
            })
        })
        .collect();
    let warnings: Vec<String> = status
        .warnings
        .iter()
        .map(|warning| words(*warning))
        .collect();
    let sessions: Vec<Value> = ring
        .ring
        .data
        .iter()
        .map(|key| {
            json!({
                "purpose": key.purpose.name(),
                "id": key.id,
                "wrapped_under": key.version,
                "created_at": key.created.rfc3339(),
                "verifies_until": key.until.map(Millis::rfc3339),
            })
        })
        .collect();
    Ok(Told::Json(json!({
        "active": status.active,
        "age_seconds": status.age.secs(),
        "due_in_seconds": status.due_in.map(|due| due.secs()),
        "floor": ring.ring.floor,
        "revision": ring.ring.revision,
        "wrapped_by": if wrapper == Wrapper::Kms { "kms" } else { "master key" },
        "rewrapped": status.progress.0,
        "of": status.progress.1,
        "versions": versions,
        "data_keys": sessions,
        "warnings": warnings,
    })))
}

fn wrapping<P: Port>(cx: &Context<'_, P>) -> Result<Wrapper, Refusal> {
    wrapper(cx.port.settings()).ok_or_else(|| Refusal::new(Code::SetupRequired))
}

const fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::Pending => "pending",
        KeyState::Active => "active",
        KeyState::DecryptOnly => "decrypt-only",
        KeyState::Retired => "retired",
        KeyState::Destroyed => "destroyed",
    }
}

/// A warning in words.
#[must_use]
pub fn words(warning: Warning) -> String {
    match warning {
        Warning::RotationDue(age) => format!(
            "The active version is {} days old: rotate it.",
            age.secs() / 86_400
        ),
        Warning::DecryptOnlyTooOld(n) => {
            format!("Version {n} still wraps keys, long after it was superseded.")
        }
        Warning::PendingTooLong(n) => format!("Version {n} waits to be activated."),
        Warning::RootChanged(count) => format!(
            "{count} versions are wrapped by another master key or service: keep MASTER_KEY_PREVIOUS until they are wrapped anew."
        ),
        Warning::EmergencyUnfinished(count) => {
            format!("The emergency rotation is not finished: {count} keys are wrapped below it.")
        }
    }
}

/// Begins a rotation, or takes its next step.
///
/// # Errors
/// `keyring_unavailable`
pub async fn rotate<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let wrapper = wrapping(cx)?;
    let ring = reload(cx.port).await?;
    let event = cx.event(Deed::KeyringRotate).target("key version");
    let told = match ring.ring.pending() {
        None => {
            let n = ring.ring.next();
            let command = steps::begin(cx.port, &wrapper, n).await?;
            changed(cx, command, event.detail("begun", &n.to_string())).await?;
            json!({"step": "begun", "version": n, "next": "Call again in 5 s to activate it; the cron does so by itself."})
        }
        Some(pending) => {
            let n = pending.n;
            match changed(
                cx,
                Command::Activate { n },
                event.detail("activated", &n.to_string()),
            )
            .await?
            {
                Reply::Wait(wait) => {
                    return Err(Refusal::new(Code::Conflict)
                        .wait(wait)
                        .detail("Not every reader knows the new version yet."));
                }
                _ => {
                    let rewrapped = steps::rewrap_all(cx.port).await?;
                    json!({"step": "activated", "version": n, "rewrapped": rewrapped})
                }
            }
        }
    };
    Ok(Told::Json(told))
}

/// Replaces the key that signs sessions; the old one verifies for a while.
///
/// # Errors
/// `keyring_unavailable`
pub async fn session<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let ring = reload(cx.port).await?;
    let command = steps::session(cx.port, &ring, SESSION_OVERLAP)?;
    let event = cx.event(Deed::KeyringRotate).target("session key");
    changed(cx, command, event).await?;
    Ok(Told::Json(json!({"step": "session key replaced"})))
}

/// A key has leaked: a new version at once, the floor raised, sessions void.
///
/// # Errors
/// `keyring_unavailable`
pub async fn emergency<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let wrapper = wrapping(cx)?;
    let ring = reload(cx.port).await?;
    let n = ring
        .ring
        .pending()
        .map_or_else(|| ring.ring.next(), |pending| pending.n);
    let wrap = steps::new_wrap(cx.port, &wrapper, n).await?;
    let event = cx
        .event(Deed::KeyringRotate)
        .target("key version")
        .detail("emergency", &n.to_string());
    changed(cx, Command::Emergency { n, wrap }, event).await?;
    let rewrapped = steps::rewrap_all(cx.port).await?;
    let ring = reload(cx.port).await?;
    let command = steps::session(cx.port, &ring, Millis::ZERO)?;
    let event = cx
        .event(Deed::KeyringRotate)
        .target("session key")
        .detail("emergency", "all sessions are void");
    changed(cx, command, event).await?;
    Ok(Told::Json(json!({
        "version": n,
        "rewrapped": rewrapped,
        "sessions": "void",
        "next": "Replace MASTER_KEY as well if it may have leaked: set the old one as MASTER_KEY_PREVIOUS, the new one as MASTER_KEY, and rotate.",
    })))
}

/// Destroys a retired version's material.
///
/// # Errors
/// `conflict` while it wraps anything or is not retired.
pub async fn destroy<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let n = cx.id.parse().map_err(|_| Refusal::new(Code::NotFound))?;
    let event = cx
        .event(Deed::KeyringDestroy)
        .target("key version")
        .detail("version", &cx.id);
    changed(cx, Command::Destroy { n }, event).await?;
    Ok(Told::Json(json!({"version": n, "destroyed": true})))
}

/// Exports everything, sealed to the recovery key.
///
/// # Errors
/// `setup_required` without a recovery key.
pub async fn export<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let public = cx.port.settings().config.keyring.recovery_key.as_deref();
    let public = recovery::RecoveryKey::of_config(public).map_err(|fault| {
        Refusal::new(Code::SetupRequired)
            .detail("Make a recovery key with npm run recovery -- keygen, and set keyring.recovery_key.")
            .cause(fault.to_string())
    })?;
    let ring = reload(cx.port).await?;
    let event = cx.event(Deed::KeyringExport).target("keyring");
    crate::app::audit::recorded(cx.port, event).await?;
    let export = recovery::export(
        cx.port.tenant(),
        &ring,
        &public,
        cx.port.now(),
        &Secret::new(cx.port.random()),
        &cx.port.random(),
    )
    .map_err(|fault| Refusal::new(Code::KeyringUnavailable).cause(fault.to_string()))?;
    Ok(Told::File {
        content_type: "application/json",
        name: "gatehouse-recovery.json",
        bytes: export.into_bytes(),
        headers: Vec::new(),
    })
}

/// Which providers have a key, and from where.
///
/// # Errors
/// `keyring_unavailable`
pub async fn providers<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let ring = opened(cx.port).await?;
    let settings = cx.port.settings();
    let told: Vec<Value> = settings
        .provider_status
        .iter()
        .map(|(name, active, variables)| {
            let stored = ring.ring.providers.iter().find(|key| key.name == *name);
            let fault = ring.faults.iter().find(|(of, _)| of == name);
            json!({
                "name": name,
                "active": active,
                "secrets": variables,
                "stored": stored.is_some(),
                "stored_by": stored.map(|key| &key.by),
                "stored_at": stored.map(|key| key.at.rfc3339()),
                "fault": fault.map(|(_, fault)| fault.to_string()),
            })
        })
        .collect();
    Ok(Told::Json(json!({"providers": told})))
}

/// Stores a provider's key: `{key}`. It is never shown again.
///
/// # Errors
/// `not_found` for a provider that the configuration does not name.
pub async fn provider_set<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    known_provider(cx)?;
    let key = required(cx, "key")?;
    if key.len() > MAX_KEY || key.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(invalid("key", "must be 1 to 4096 visible ASCII characters"));
    }
    let key = Secret::new(key.to_owned());
    let ring = reload(cx.port).await?;
    let command = ring
        .put_provider(&cx.id, &key, cx.operator(), &cx.port.random())
        .map_err(|fault| locked(&fault))?;
    let event = cx
        .event(Deed::ProviderKeyStore)
        .target("provider")
        .detail("provider", &cx.id);
    changed(cx, command, event).await?;
    Ok(Told::Json(json!({"name": cx.id, "stored": true})))
}

/// Removes a stored provider's key.
///
/// # Errors
/// `not_found`
pub async fn provider_remove<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    known_provider(cx)?;
    let event = cx
        .event(Deed::ProviderKeyRemove)
        .target("provider")
        .detail("provider", &cx.id);
    let command = Command::RemoveProvider {
        name: cx.id.clone(),
    };
    changed(cx, command, event).await?;
    Ok(Told::Json(json!({"name": cx.id, "stored": false})))
}

fn known_provider<P: Port>(cx: &Context<'_, P>) -> Result<(), Refusal> {
    let providers = &cx.port.settings().config.providers;
    if providers.iter().any(|provider| provider.name == cx.id) {
        Ok(())
    } else {
        Err(Refusal::new(Code::NotFound))
    }
}

async fn changed<P: Port>(
    cx: &Context<'_, P>,
    command: Command,
    event: Event,
) -> Result<Reply, Refusal> {
    let reply = change(cx.port, command, Some(event.outbox())).await?;
    cx.deliver(Class::Keyring, KEYRING).await;
    match reply {
        Reply::Refused(why) => {
            Err(Refusal::new(Code::Conflict).detail(format!("The keyring refuses: {why:?}.")))
        }
        reply => Ok(reply),
    }
}
