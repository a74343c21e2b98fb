//! Recording: what is personal is sealed, then everything is appended; events of other objects are brought here.

use std::collections::BTreeMap;

use super::{Audit, Cipher, unexpected};
use crate::app::port::{Port, PortFault};
use crate::base::digest::{Bytes32, base64url};
use crate::base::outbox::{Drain, Pending};
use crate::domain::audit::entry::{Actor, Commitment, Entry, Personal, salted};
use crate::domain::audit::log::{Command, Kept, MAX_SUBJECTS, Reply, Sealed, Subject, Why};

/// Entries of one call: with what is sealed some 100 KiB.
const BATCH: usize = 64;
/// Rounds of one drain: at most 20 × 64 = 1,280 events. The cron comes again.
const ROUNDS: usize = 20;
/// Of the subjects with a key, so many may be visitors (of [`MAX_SUBJECTS`] = 20,000): they must not keep an operator's
/// name out of the log by their number.
const MOST_VISITORS: u32 = 16_000;
/// Full tiles that wait in the object before whoever records flushes them: 4 × 256 entries.
const FLUSH_FROM: u64 = 1024;

/// A subject's key and its id.
type SubjectKey = (String, Bytes32);

/// Appends entries and erases subjects, in this order and in one transaction. Returns the indexes of the entries; one
/// that is there already keeps its index. A fault may come after it was done: it can be repeated.
///
/// # Errors
/// The log could not be reached, or has no place until tiles are flushed.
pub async fn append<P: Port>(
    port: &P,
    audit: &Audit<'_, impl Cipher>,
    entries: &[Entry],
    erase: &[String],
) -> Result<Vec<u64>, PortFault> {
    let mut indexes = Vec::with_capacity(entries.len());
    let last = entries.len().div_ceil(BATCH).max(1).saturating_sub(1);
    for at in 0..=last {
        let batch = entries.chunks(BATCH).nth(at).unwrap_or_default();
        let keys = subject_keys(port, audit, batch).await?;
        let kept = batch.iter().map(|entry| seal(port, audit, entry, &keys));
        let command = Command::Append {
            entries: kept.collect(),
            // With the last batch: nothing is erased whose record is not written.
            erase: if at == last {
                erase.to_vec()
            } else {
                Vec::new()
            },
        };
        let mut reply = audit.ask(port, &command).await?;
        if reply == Reply::Refused(Why::Full) {
            super::flush::flush(port, audit).await?;
            reply = audit.ask(port, &command).await?;
        }
        let Reply::Appended(appended, status) = reply else {
            return Err(PortFault(format!("the audit log refused: {reply:?}")));
        };
        indexes.extend(appended);
        let flushed = status.flushed.saturating_mul(256);
        if status.size.saturating_sub(flushed) >= FLUSH_FROM {
            // What is recorded is recorded; a fault here is met again by the cron.
            let _ = super::flush::flush(port, audit).await;
        }
    }
    Ok(indexes)
}

/// Erases a subject: what is personal in the entries about it cannot be read any more, anywhere. `entry` tells who did
/// it and must not name the subject outside of its own fields.
///
/// # Errors
/// As [`append`]. It can be repeated.
pub async fn erase<P: Port>(
    port: &P,
    audit: &Audit<'_, impl Cipher>,
    subject: &str,
    entry: &Entry,
) -> Result<(), PortFault> {
    let erase = [subject.to_owned()];
    append(port, audit, core::slice::from_ref(entry), &erase)
        .await
        .map(|_| ())
}

/// Appends the events that wait in another object's outbox, and acknowledges them there. Returns how many. Events are
/// appended before they are acknowledged, and known by their ids when that is repeated.
///
/// # Errors
/// The log or the object could not be reached.
pub async fn drain<P: Port>(
    port: &P,
    audit: &Audit<'_, impl Cipher>,
    outbox: impl AsyncFn(Drain) -> Result<Vec<Pending>, PortFault>,
) -> Result<usize, PortFault> {
    let mut drained = 0usize;
    for _ in 0..ROUNDS {
        let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
        let pending = outbox(Drain::Pending(limit)).await?;
        if pending.is_empty() {
            break;
        }
        let entries: Vec<Entry> = pending
            .iter()
            .map(|p| {
                let refused = p.refused.as_deref();
                Entry::of_event(&p.id, &p.event, refused, port.now(), audit.tenant)
            })
            .collect();
        append(port, audit, &entries, &[]).await?;
        drained = drained.saturating_add(pending.len());
        let short = pending.len() < BATCH;
        outbox(Drain::Ack(pending.into_iter().map(|p| p.id).collect())).await?;
        if short {
            break;
        }
    }
    Ok(drained)
}

/// The context of a subject's wrapped key.
pub(super) fn key_context(tenant: &str, kid: &str) -> String {
    ["audit/subject/", tenant, "/", kid].concat()
}

/// The context of sealed fields.
pub(super) fn part_context(tenant: &str, entry: &str, slot: &str) -> String {
    ["audit/entry/", tenant, "/", entry, "/", slot].concat()
}

/// The keys of everyone in these entries. Who has none gets one; who cannot get one is left out.
async fn subject_keys<P: Port>(
    port: &P,
    audit: &Audit<'_, impl Cipher>,
    entries: &[Entry],
) -> Result<BTreeMap<String, SubjectKey>, PortFault> {
    let mut new: BTreeMap<&str, (String, Bytes32, u32)> = BTreeMap::new();
    for entry in entries {
        for part in [&entry.who, &entry.what].into_iter().flatten() {
            let visitor = entry.actor == Actor::Visitor || part.subject.starts_with("vis_");
            let most = if visitor {
                MOST_VISITORS
            } else {
                u32::try_from(MAX_SUBJECTS).unwrap_or(u32::MAX)
            };
            new.entry(&part.subject)
                .or_insert_with(|| (base64url(&port.random::<16>()), port.random(), most));
        }
    }
    if new.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ask = new.iter().filter_map(|(subject, (kid, key, most))| {
        let context = key_context(audit.tenant, kid);
        let wrapped = audit
            .cipher
            .seal(audit.seal.reveal(), &context, &port.random(), key)?;
        Some(Subject {
            subject: (*subject).to_owned(),
            kid: kid.clone(),
            wrapped,
            most: *most,
        })
    });
    let ask: Vec<Subject> = ask.collect();
    let subjects: Vec<String> = ask.iter().map(|s| s.subject.clone()).collect();
    let Reply::Keys(keys) = audit.ask(port, &Command::Subjects(ask)).await? else {
        return Err(unexpected());
    };
    let known = subjects.into_iter().zip(keys).filter_map(|(subject, key)| {
        let (kid, wrapped) = key?;
        let key = unwrap(audit, &kid, &wrapped)?;
        Some((subject, (kid, key)))
    });
    Ok(known.collect())
}

/// A subject's key.
pub(super) fn unwrap(audit: &Audit<'_, impl Cipher>, kid: &str, wrapped: &str) -> Option<Bytes32> {
    let context = key_context(audit.tenant, kid);
    let key = audit.cipher.open(audit.seal.reveal(), &context, wrapped)?;
    key.try_into().ok()
}

/// The entry as the log keeps it. Without a key the commitment stands alone: the entry is recorded in any case.
fn seal<P: Port>(
    port: &P,
    audit: &Audit<'_, impl Cipher>,
    entry: &Entry,
    keys: &BTreeMap<String, SubjectKey>,
) -> Kept {
    let mut sealed = Vec::new();
    let mut part = |slot: &str, personal: &Option<Personal>| {
        let personal = personal.as_ref()?;
        let (salt, text): (Bytes32, String) = (port.random(), personal.text());
        if let Some((kid, key)) = keys.get(&personal.subject) {
            let context = part_context(audit.tenant, &entry.id, slot);
            let plain = salted(&salt, &text);
            let text = audit
                .cipher
                .seal(key, &context, &port.random(), plain.as_bytes());
            sealed.extend(text.map(|text| Sealed(slot.to_owned(), kid.clone(), text)));
        }
        Some(Commitment::to(&salt, &text))
    };
    let who = part("who", &entry.who);
    let what = part("what", &entry.what);
    let leaf = entry.leaf(who.as_ref(), what.as_ref());
    Kept(entry.id.clone(), leaf, sealed)
}
