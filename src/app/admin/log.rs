//! The audit log: reading, exporting, proving, verifying.

use serde_json::{Value, json};

use super::{Context, Told};
use crate::app::audit::checkpoint as signing;
use crate::app::audit::proofs::{self, Proof};
use crate::app::audit::read::{Format, Query, export as exported, read};
use crate::app::audit::verify::{Cursor, Verdict, verify as verified};
use crate::app::audit::{record, recorded, with_log};
use crate::app::port::Port;
use crate::base::digest::base64url;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::audit::checkpoint::{Key, MAX_NOTE_BYTES};
use crate::domain::audit::entry::Action as Deed;
use crate::domain::audit::export::{Filter, Row};
use crate::domain::llm::request::{invalid, missing};

/// Entries of one page.
const PAGE: usize = 100;
/// 24 h × 3600 s.
const DAY: Millis = Millis::from_secs(86_400);

/// Entries, newest first: `?before=`, `?since=`, `?until=`, `?action=`, `?actor=`, `?outcome=`, `?target=`, `?subject=`.
///
/// # Errors
/// `invalid_parameter`, `audit_unavailable`.
pub async fn entries<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let query = Query {
        filter: filter(cx)?,
        before: number(cx, "before")?,
        limit: PAGE,
    };
    // Whoever reads what others did is on record too, but not each page of it.
    if query.before.is_none() {
        record(cx.port, cx.event(Deed::AuditRead).target("audit log")).await;
    }
    let page = with_log(cx.port, async |audit| read(cx.port, audit, &query).await).await?;
    let rows: Vec<Value> = page.rows.iter().map(Row::json).collect();
    Ok(Told::Json(json!({"entries": rows, "next": page.next})))
}

/// Entries as JSON or CSV: `?format=csv` and the filters of the list.
///
/// # Errors
/// `invalid_parameter`, `audit_unavailable`.
pub async fn export<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let (format, content_type, name) = match cx.head.query_value("format").as_deref() {
        None | Some("" | "json") => (Format::Json, "application/json", "gatehouse-audit.json"),
        Some("csv") => (
            Format::Csv,
            "text/csv; charset=utf-8",
            "gatehouse-audit.csv",
        ),
        Some(_) => return Err(invalid("format", "must be json or csv")),
    };
    let (filter, before) = (filter(cx)?, number(cx, "before")?);
    recorded(cx.port, cx.event(Deed::AuditExport).target("audit log")).await?;
    let (text, next) = with_log(cx.port, async |audit| {
        exported(cx.port, audit, filter, before, format).await
    })
    .await?;
    let next = next.map(|next| ("x-gatehouse-next", next.to_string()));
    Ok(Told::File {
        content_type,
        name,
        bytes: text.into_bytes(),
        headers: next.into_iter().collect(),
    })
}

/// The newest signed checkpoint, to keep outside.
///
/// # Errors
/// `audit_unavailable`, also when the log does not match its own newest checkpoint.
pub async fn checkpoint<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let signed = with_log(cx.port, async |audit| {
        signing::checkpoint(cx.port, audit, true).await
    })
    .await?;
    Ok(Told::File {
        content_type: "text/plain; charset=utf-8",
        name: "checkpoint",
        bytes: signed.text.into_bytes(),
        headers: vec![("x-gatehouse-entries", signed.size.to_string())],
    })
}

/// The key that checkpoints are verified with, in the form of signed notes.
///
/// # Errors
/// `audit_unavailable`
pub async fn key<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let key = key_of(cx).await?;
    Ok(Told::Json(json!({"vkey": key.vkey(), "origin": key.name})))
}

async fn key_of<P: Port>(cx: &Context<'_, P>) -> Result<Key, Refusal> {
    with_log(cx.port, async |audit| signing::key(cx.port, audit).await).await
}

/// Proof that an entry is in the log: `?index=&size=`.
///
/// # Errors
/// `invalid_parameter`, `audit_unavailable`.
pub async fn inclusion<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let index = number(cx, "index")?.ok_or_else(|| missing("index"))?;
    let size = size(cx, "size").await?;
    let proof = with_log(cx.port, async |audit| {
        proofs::inclusion(cx.port, audit, index, size).await
    })
    .await?;
    let proof = proof.ok_or_else(|| {
        invalid(
            "index",
            "must lie below the size, and the size within the log",
        )
    })?;
    Ok(Told::Json(json!({
        "index": index,
        "size": size,
        "leaf_hash": base64url(&proof.from.0),
        "root": base64url(&proof.root.0),
        "proof": hashes(&proof),
    })))
}

/// Proof that the log only grew: `?from=&to=`.
///
/// # Errors
/// `invalid_parameter`, `audit_unavailable`.
pub async fn consistency<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let from = number(cx, "from")?.ok_or_else(|| missing("from"))?;
    let to = size(cx, "to").await?;
    let proof = with_log(cx.port, async |audit| {
        proofs::consistency(cx.port, audit, from, to).await
    })
    .await?;
    let proof = proof.ok_or_else(|| {
        invalid(
            "from",
            "must lie between 1 and the size, and the size within the log",
        )
    })?;
    Ok(Told::Json(json!({
        "from": from,
        "to": to,
        "old_root": base64url(&proof.from.0),
        "root": base64url(&proof.root.0),
        "proof": hashes(&proof),
    })))
}

fn hashes(proof: &Proof) -> Vec<String> {
    proof.hashes.iter().map(|hash| base64url(&hash.0)).collect()
}

/// A size that is given, or the present one.
async fn size<P: Port>(cx: &Context<'_, P>, name: &'static str) -> Result<u64, Refusal> {
    match number(cx, name)? {
        Some(size) => Ok(size),
        None => {
            let status = with_log(cx.port, async |audit| audit.status(cx.port).await).await?;
            Ok(status.size)
        }
    }
}

/// Holds the log against an older checkpoint: `{checkpoint, cursor?}`.
///
/// # Errors
/// `invalid_parameter`, `audit_unavailable`.
pub async fn verify<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let note = match cx.fields.get("checkpoint") {
        Some(Value::String(note)) if note.len() <= MAX_NOTE_BYTES => note.replace("\r\n", "\n"),
        Some(_) => return Err(invalid("checkpoint", "must be a signed checkpoint")),
        None => return Err(missing("checkpoint")),
    };
    // A text field of a form may have lost the last line's end.
    let note = if note.ends_with('\n') {
        note
    } else {
        note + "\n"
    };
    let cursor: Option<Cursor> = match cx.fields.get("cursor") {
        None | Some(Value::Null) => None,
        Some(cursor) => Some(
            serde_json::from_value(cursor.clone())
                .map_err(|_| invalid("cursor", "is not one that was given here"))?,
        ),
    };
    if cursor.is_none() {
        record(cx.port, cx.event(Deed::AuditVerify).target("audit log")).await;
    }
    let keys = [key_of(cx).await?];
    let verdict = with_log(cx.port, async |audit| {
        verified(cx.port, audit, &note, &keys, cursor.clone()).await
    })
    .await?;
    Ok(Told::Json(told(verdict)))
}

fn told(verdict: Verdict) -> Value {
    match verdict {
        Verdict::Consistent { checkpoint, size } => json!({
            "verdict": "consistent",
            "checkpoint": checkpoint,
            "size": size,
            "text": format!("The log begins with exactly the {checkpoint} entries of the checkpoint; {size} entries were read."),
        }),
        Verdict::More(cursor) => {
            json!({"verdict": "more", "cursor": cursor, "text": "There is more to read: ask again with the cursor."})
        }
        Verdict::NotACheckpoint => {
            json!({"verdict": "not a checkpoint", "text": "This is not a checkpoint of this log."})
        }
        Verdict::Forged => {
            json!({"verdict": "forged", "text": "The checkpoint has no valid signature of this log."})
        }
        Verdict::Truncated { size } => {
            json!({"verdict": "truncated", "size": size, "text": format!("The log has {size} entries, fewer than the checkpoint says: its end was cut off.")})
        }
        Verdict::Missing { path } => {
            json!({"verdict": "missing", "path": path, "text": "A tile of the log is missing or has not its length."})
        }
        Verdict::Changed { index } => {
            json!({"verdict": "changed", "index": index, "text": format!("Entry {index} is not the one that was recorded.")})
        }
        Verdict::Rewritten { size } => {
            json!({"verdict": "rewritten", "size": size, "text": format!("Something among the first {size} entries was rewritten after the checkpoint was made.")})
        }
        Verdict::WrongHead { size } => {
            json!({"verdict": "wrong head", "size": size, "text": "The log would sign a head that is not that of its entries."})
        }
    }
}

/// A tile or an entry bundle (C2SP tlog-tiles).
///
/// # Errors
/// `not_found`, `audit_unavailable`.
pub async fn tile<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let path = ["tile/", &cx.id].concat();
    let bytes = with_log(cx.port, async |audit| {
        proofs::tile(cx.port, audit, &path).await
    })
    .await?;
    Ok(Told::File {
        content_type: "application/octet-stream",
        name: "tile",
        bytes: bytes.ok_or_else(|| Refusal::new(Code::NotFound))?,
        headers: Vec::new(),
    })
}

fn filter<P: Port>(cx: &Context<'_, P>) -> Result<Filter, Refusal> {
    let text = |name: &str| cx.head.query_value(name).filter(|text| !text.is_empty());
    let time = |name: &'static str| match text(name) {
        None => Ok::<_, Refusal>(None),
        Some(text) => {
            let is_day = text.len() == 10;
            let whole = if is_day { text + "T00:00:00Z" } else { text };
            let at = Millis::from_rfc3339(&whole).ok_or_else(|| {
                invalid(name, "must be a day or a time such as 2026-11-21T05:00:00Z")
            })?;
            // A day begins with its first moment; until a day is with all of it.
            let whole_day = is_day && name == "until";
            Ok(Some(if whole_day { at.plus(DAY) } else { at }))
        }
    };
    Ok(Filter {
        since: time("since")?,
        until: time("until")?,
        action: text("action"),
        actor: text("actor"),
        outcome: text("outcome"),
        target: text("target"),
        subject: text("subject"),
    })
}

fn number<P: Port>(cx: &Context<'_, P>, name: &'static str) -> Result<Option<u64>, Refusal> {
    match cx.head.query_value(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| invalid(name, "must be a whole number")),
    }
}
