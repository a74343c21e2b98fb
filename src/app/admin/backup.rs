//! Snapshots: which there are, one more, and the way back from one.

use serde_json::{Value, json};

use super::sign_in::{admin_token, is_claimed, optional, required, set_up, unknown};
use super::{Context, Told};
use crate::app::audit;
use crate::app::backup::restore::{Step, step as restore_step};
use crate::app::backup::rewind::{is_erased, rewind as rewind_owner};
use crate::app::backup::{shelf, snapshot};
use crate::app::port::Class;
use crate::app::port::{Port, PortFault, storage_refusal};
use crate::app::rules::HOUSE;
use crate::base::digest::{constant_time_eq, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::backup::{KEPT_BY_PLATFORM, names};
use crate::domain::identity::is_visitor_id;
use crate::domain::llm::request::{invalid, missing};

/// Most snapshots that are listed.
const LISTED: usize = 100;

fn failed(fault: PortFault) -> Refusal {
    storage_refusal(&fault)
}

/// Which snapshots there are, newest first.
///
/// # Errors
/// `storage_unavailable`
pub async fn list<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let ids = shelf::ids(cx.port).await.map_err(failed)?;
    let mut backups: Vec<Value> = Vec::new();
    for id in ids.into_iter().rev().take(LISTED) {
        let begun = names::begun(&id).unwrap_or_default().rfc3339();
        backups.push(match shelf::open(cx.port, &id).await {
            Ok(opened) => {
                let manifest = &opened.manifest;
                let sizes = manifest.pieces.iter().map(|piece| piece.bytes);
                json!({
                    "id": id,
                    "begun_at": begun,
                    "ended_at": manifest.ended.rfc3339(),
                    "objects": manifest.objects,
                    "rows": manifest.rows,
                    "bytes": sizes.fold(0_u64, u64::saturating_add),
                    "usable": true,
                })
            }
            Err(refusal) if refusal.code == Code::SnapshotDamaged => {
                json!({
                    "id": id,
                    "begun_at": begun,
                    "ended_at": null,
                    "objects": null,
                    "rows": null,
                    "bytes": null,
                    "usable": false,
                })
            }
            // Another run has removed it meanwhile.
            Err(refusal) if refusal.code == Code::NotFound => continue,
            Err(refusal) => return Err(refusal),
        });
    }
    let config = &cx.port.settings().config.backup;
    Ok(Told::Json(json!({
        "backups": backups,
        "every_hours": config.every_hours,
        "keep": config.keep,
    })))
}

/// Takes a snapshot, or the next part of the one under way: to be called until it is done.
///
/// # Errors
/// `storage_unavailable`: it can be repeated; `audit_unavailable`.
pub async fn take<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let event = cx.event(Deed::BackupTake).target("snapshot");
    audit::recorded(cx.port, event).await?;
    let taken = snapshot::step(cx.port).await.map_err(failed)?;
    Ok(Told::Json(json!({
        "snapshot": taken.id,
        "objects": taken.objects,
        "done": taken.done,
    })))
}

/// Puts a snapshot back: `{token, snapshot, discard}`, to be called until it is done. Which snapshot is never
/// guessed: the newest may be one of the house as it was after it was lost.
///
/// # Errors
/// `setup_required` without `ADMIN_TOKEN`; `invalid_credentials`; `missing_parameter` without a snapshot, which tells of
/// those that there are; `not_found`, `snapshot_damaged`; `conflict` for a house in use; `storage_unavailable`: it can be
/// repeated.
pub async fn restore<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let Some(token) = admin_token(cx) else {
        set_up(cx).await?;
        return Err(Refusal::new(Code::Conflict).detail("The house has an owner."));
    };
    // Digests have one length, so that the time tells nothing of the token's.
    let (token, given) = (sha256(token.as_bytes()), required(cx, "token")?);
    if !constant_time_eq(&sha256(given.as_bytes()), &token) {
        return Err(unknown(cx, Deed::HouseRestore).await);
    }
    let Some(id) = optional(cx, "snapshot")? else {
        return Err(offered(cx).await?);
    };
    let discard = match cx.fields.get("discard") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(discard)) => *discard,
        Some(_) => return Err(invalid("discard", "must be true or false")),
    };
    let taken = names::begun(id).unwrap_or_default();
    let event = cx
        .event(Deed::HouseRestore)
        .target("snapshot")
        .detail("snapshot", id)
        .detail("begun", &taken.rfc3339());
    let step = restore_step(
        cx.port,
        id,
        discard,
        async || is_claimed(cx).await,
        event.outbox(),
    )
    .await?;
    let mut told = json!({
        "done": false,
        "checked": null,
        "restored": null,
        "of": null,
        "snapshot": id,
        "begun_at": taken.rfc3339(),
        "age_seconds": cx.port.now().since(taken).secs(),
        "documents_gone": null,
    });
    let mut tell = |name: &str, value: Value| {
        if let Some(field) = told.get_mut(name) {
            *field = value;
        }
    };
    match step {
        Step::Checked(checked, of) => {
            tell("checked", checked.into());
            tell("of", of.into());
        }
        Step::Restored(restored, of) => {
            tell("restored", restored.into());
            tell("of", of.into());
        }
        Step::Done { lost } => {
            tell("done", true.into());
            tell("documents_gone", lost.into());
            cx.deliver(Class::Directory, HOUSE).await;
        }
    }
    Ok(Told::Json(told))
}

/// Takes what an owner keeps back to an earlier time: `{owner, to}`.
///
/// # Errors
/// `rewind_unavailable` where the platform keeps no earlier states: nothing was done. `invalid_parameter`, `not_found`;
/// `storage_unavailable`: it can be repeated; `audit_unavailable`.
pub async fn rewind<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let owner = required(cx, "owner")?;
    if !is_owner(owner) {
        return Err(invalid(
            "owner",
            "must be a visitor's id, or key_ and a key's id",
        ));
    }
    let to = Millis::from_rfc3339(required(cx, "to")?);
    let to = to.ok_or_else(|| invalid("to", "must be a time, as in 2026-11-22T10:00:00Z"))?;
    let now = cx.port.now();
    if to >= now || now.since(to) > KEPT_BY_PLATFORM {
        return Err(invalid("to", "must be within the last 30 days"));
    }
    // Nothing is written anew of whoever was erased, not even that somebody asked.
    if is_erased(cx.port, owner).await? {
        return Err(Refusal::new(Code::NotFound).detail("This owner was erased, and stays so."));
    }
    let kind = if is_visitor_id(owner) {
        "visitor"
    } else {
        "key"
    };
    let event = cx
        .event(Deed::OwnerRewind)
        .target(kind)
        .about(owner)
        .detail("to", &to.rfc3339());
    audit::recorded(cx.port, event).await?;
    let rewound = rewind_owner(cx.port, owner, to).await?;
    Ok(Told::Json(json!({
        "owner": owner,
        "to": to.rfc3339(),
        "documents": rewound.documents,
        "documents_gone": rewound.lost,
        "memory_kept": rewound.memory,
        "stores_kept": rewound.stores,
    })))
}

/// Is it the name of somebody who can keep something?
fn is_owner(owner: &str) -> bool {
    let key = owner.strip_prefix("key_").unwrap_or_default();
    is_visitor_id(owner)
        || ((1..=MAX_KEY_ID).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Longest id of a key that is taken for one.
const MAX_KEY_ID: usize = 64;

/// Tells which snapshots one may ask for, newest first.
async fn offered<P: Port>(cx: &Context<'_, P>) -> Result<Refusal, Refusal> {
    let ids = shelf::ids(cx.port).await.map_err(failed)?;
    let said: Vec<String> = ids
        .into_iter()
        .rev()
        .take(LISTED)
        .map(|id| {
            let begun = names::begun(&id).unwrap_or_default().rfc3339();
            [&id, " (begun ", &begun, ")"].concat()
        })
        .collect();
    let said = if said.is_empty() {
        "The bucket holds no snapshot of this house.".to_owned()
    } else {
        ["The bucket holds ", &said.join(", "), "."].concat()
    };
    Ok(missing("snapshot").detail(said))
}
