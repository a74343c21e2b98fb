//! What the cron does for a tenant: documents that are due, key rotation, events that wait, the audit log, snapshots.

use super::admin::keys;
use super::alerts;
use super::audit::{self, checkpoint, flush, mirror, with_log};
use super::backup::snapshot;
use super::documents;
use super::keyring::{keyring, rotate, wrapper};
use super::objects::{KEYRING, KEYS, ask_keyring};
use super::port::{Class, Port, PortFault};
use super::rules::{HOUSE, newest};
use crate::base::errors::{Code, Refusal};
use crate::domain::audit::webhook::WebhookSecret;
use crate::domain::keyring::{Command, Reply, Warning, status};

/// Does what is due. What fails is told and does not keep the rest from being done.
pub async fn run<P: Port>(port: &P) -> Vec<String> {
    let mut faults = Vec::new();
    if let Err(refusal) = newest(port).await
        && refusal.code == Code::HouseRestoring
    {
        // What is not back yet must not be taken for gone.
        return faults;
    }
    match documents::sweep(port).await {
        Ok(swept) => faults.extend(swept.faults),
        Err(fault) => faults.push(fault.0),
    }
    match documents::orphans::sweep(port).await {
        Ok(0) => {}
        Ok(removed) => faults.push(format!("{removed} blobs that no row knew were removed")),
        Err(fault) => faults.push(fault.0),
    }
    if port.settings().master.is_none() || !is_used(port).await {
        return faults;
    }
    let mut note = |what: &str, refusal: &Refusal| {
        let cause = refusal
            .cause
            .as_deref()
            .unwrap_or(refusal.code.entry().code);
        faults.push([what, ": ", cause].concat());
    };
    let days = port.settings().config.keyring.rotate_days;
    if let Err(refusal) = rotate::run_due(port, days).await {
        note("keyring", &refusal);
    }
    if let Err(refusal) = warn(port, days).await {
        note("keyring", &refusal);
    }
    for (class, name) in [
        (Class::Directory, HOUSE),
        (Class::Directory, KEYS),
        (Class::Keyring, KEYRING),
    ] {
        if let Err(refusal) = audit::drain_of(port, class, name).await {
            note(name, &refusal);
        }
    }
    if let Err(refusal) = keys::deliver_waiting(port).await {
        note("events of keys", &refusal);
    }
    if let Err(refusal) = tend_log(port).await {
        note("audit log", &refusal);
    }
    if let Err(fault) = snapshot::run_due(port).await {
        faults.push(["snapshot: ", &fault.0].concat());
    }
    faults
}

/// A house without keys has neither operators nor anything to record.
async fn is_used<P: Port>(port: &P) -> bool {
    let reply = ask_keyring(port, Command::Load { known: u64::MAX }).await;
    !matches!(reply, Ok(Reply::Empty) | Err(_))
}

/// Full tiles to the store, a new checkpoint, and its copy outside.
async fn tend_log<P: Port>(port: &P) -> Result<(), Refusal> {
    with_log(port, async |log| {
        flush::flush(port, log).await?;
        if log.status(port).await?.size == 0 {
            return Ok(());
        }
        checkpoint::checkpoint(port, log, false).await?;
        let settings = port.settings();
        let Some(url) = &settings.config.audit.mirror_url else {
            return Ok(());
        };
        let secret = settings.secrets.audit_webhook.as_ref();
        let secret = secret
            .and_then(|secret| WebhookSecret::parse(secret.reveal()))
            .ok_or_else(|| {
                PortFault("mirror_url is set, and AUDIT_WEBHOOK_SECRET is no whsec_…".to_owned())
            })?;
        mirror::mirror(port, log, url, &secret).await.map(|_| ())
    })
    .await
}

/// Ages and unfinished work of the keyring reach the operators.
async fn warn<P: Port>(port: &P, days: u32) -> Result<(), Refusal> {
    let ring = keyring(port).await?;
    let Some(wrapper) = wrapper(port.settings()) else {
        return Ok(());
    };
    let told = status(&ring.ring, port.now(), days, &wrapper);
    for warning in told.into_iter().flat_map(|status| status.warnings) {
        let kind = match warning {
            Warning::RotationDue(_) => "rotation-due",
            Warning::DecryptOnlyTooOld(_) => "version-lingers",
            Warning::PendingTooLong(_) => "version-pending",
            Warning::RootChanged(_) => "root-changed",
            Warning::EmergencyUnfinished(_) => "emergency-unfinished",
        };
        alerts::of_house(port, kind, &super::admin::keyring::words(warning)).await;
    }
    Ok(())
}
