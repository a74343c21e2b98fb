//! Creating a document.

use super::{ask_owner, own_site, purge, register, shape};
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Class, Port, PortFault, call, storage_refusal};
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::base::digest::{hex, hmac_sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::documents::form::{FORM_OVERHEAD_BYTES, Form, Rules, Upload, too_large};
use crate::domain::documents::manifest::{
    Document, Purpose, SEGMENT_BYTES, document_id, segment_key, segments_for,
};
use crate::domain::documents::owner::{self, Intent, Limits, Shortage};
use crate::domain::documents::quota::{self, Ledger, SITE_LEDGER, charge, network_ledger};
use crate::domain::documents::wire::{self, Shape};
use crate::domain::identity::{Principal, RENEW_AFTER, new_visitor, set_cookie};
use crate::domain::settings::DerivedKeys;
use crate::domain::settings::config::Documents;
use crate::domain::settings::names::MASTER_KEY;

/// From when on an upload that was not completed counts as given up, after its begin: 60 min × 60 s.
const ABANDONED_AFTER: Millis = Millis::from_secs(3_600);

/// No segment is written later than this after the begin: 55 min × 60 s. The five minutes between are for the last
/// write to arrive, so that the sweep never removes segments before they are written.
const LAST_WRITE_AFTER: Millis = Millis::from_secs(3_300);

/// Stores a document.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site; set-up, type and length are right | 403, 413, 415, 503 |
/// | 2 | who: the cookie's visitor, or a new one | – |
/// | 3 | the directory knows the owner | 503 |
/// | 4 | room, from narrow to wide: owner (with the intent), network, site | 403, 503 |
/// | 5 | the form is read, one segment in memory, each written when it is full | 400, 413, 415, 503 |
/// | 6 | quotas settle at the true length | 503 |
/// | 7 | commit: the document exists | 503 |
/// | 8 | the answer, with a cookie for a new visitor | – |
///
/// A refusal after step 3 undoes what was done, and what cannot be undone now is left to the sweep.
///
/// # Errors
/// As the table says.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Reply<P>, Refusal> {
    create_in_segments(port, caller, head, body, SEGMENT_BYTES).await
}

/// As [`create`], with segments of another length in bytes.
///
/// # Errors
/// As [`create`].
pub async fn create_in_segments<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    segment_bytes: u64,
) -> Result<Reply<P>, Refusal> {
    // 1
    own_site(head)?;
    let keys = port.settings().keys.as_ref().ok_or_else(setup_required)?;
    let policy = &port.settings().config.documents;
    let reserved = declared_length(head, policy)?;
    let shape = shape(head);
    let rules = Rules {
        max_bytes: reserved,
        segment_bytes,
        types: policy.types.clone(),
        default_purpose: (shape == Shape::Anthropic).then_some(Purpose::UserData),
    };
    let form = Form::new(head.content_type.as_deref(), rules)?;

    // 2
    let now = port.now();
    let (owner, cookie) = visitor(port, caller, head, keys, now);
    let intent = Intent {
        id: document_id(now, &port.random()),
        owner,
        network: hidden(&caller.network, keys),
        reserved,
        segments: segments_for(reserved, segment_bytes),
        abandoned: now.plus(ABANDONED_AFTER),
    };

    // 3
    register(port, &intent.owner, intent.abandoned)
        .await
        .map_err(|fault| storage_refusal(&fault))?;

    // 4 to 7
    let stored = async {
        reserve(port, &intent, policy).await?;
        let upload = write(port, &intent, form, body, now.plus(LAST_WRITE_AFTER)).await?;
        let document = document(&intent, upload, now, Millis::from_secs(policy.ttl_seconds));
        settle(port, &document).await?;
        commit(port, &document).await?;
        Ok(document)
    };
    let document = match stored.await {
        Ok(document) => document,
        Err(refusal) => {
            undo(port, &intent).await;
            return Err(refusal);
        }
    };

    // 8
    let reply = Reply::json(200, wire::file(&document, shape));
    Ok(reply.headers(cookie.map(|cookie| ("set-cookie", cookie))))
}

// === 1 ===

fn setup_required() -> Refusal {
    Refusal::new(Code::SetupRequired).detail(format!(
        "The secret {MASTER_KEY} is missing or is not 32 bytes in base64url. Make one with \
         `openssl rand -base64 32 | tr '+/' '-_' | tr -d '='`."
    ))
}

/// The most that the file can come to: the whole body's length where it is known, and never more than the policy.
fn declared_length(head: &Head, policy: &Documents) -> Result<u64, Refusal> {
    if head.content_encoding.is_some() {
        return Err(Refusal::new(Code::UnsupportedMediaType)
            .detail("Send the form without Content-Encoding."));
    }
    match head.content_length {
        Some(length) if length > policy.max_bytes.saturating_add(FORM_OVERHEAD_BYTES) => {
            Err(too_large(policy.max_bytes))
        }
        Some(length) => Ok(length.min(policy.max_bytes)),
        None => Ok(policy.max_bytes),
    }
}

// === 2 ===

/// The visitor's id, and the cookie that makes or keeps it known.
fn visitor(
    port: &impl Port,
    caller: &Caller,
    head: &Head,
    keys: &DerivedKeys,
    now: Millis,
) -> (String, Option<String>) {
    let principal = match &caller.principal {
        Principal::Anonymous => new_visitor(&port.random(), now),
        known @ Principal::Visitor { .. } => known.clone(),
    };
    let Principal::Visitor { id, issued } = principal else {
        return (String::new(), None);
    };
    let fresh = caller.principal == Principal::Anonymous;
    let stale = now.since(issued) > RENEW_AFTER;
    let cookie = (fresh || stale).then(|| set_cookie(&id, now, &keys.cookie, head.https()));
    (id, cookie)
}

/// A network's name in stored rows: the first 128 bits of an HMAC, in 32 hex digits.
fn hidden(network: &str, keys: &DerivedKeys) -> String {
    let mac = hmac_sha256(
        keys.address.reveal(),
        format!("docs-net/{network}").as_bytes(),
    );
    hex(&mac).chars().take(32).collect()
}

// === 4 ===

async fn reserve(port: &impl Port, intent: &Intent, policy: &Documents) -> Result<(), Refusal> {
    let begin = owner::Command::Begin {
        intent: intent.clone(),
        limits: Limits {
            count: policy.max_count,
            bytes: policy.max_visitor_bytes,
        },
    };
    match ask_owner(port, &intent.owner, &begin).await {
        Ok(owner::Reply::Done) => {}
        Ok(owner::Reply::Full { shortage }) => return Err(no_room(shortage, policy)),
        other => return Err(super::unexpected(other)),
    }
    let network = network_ledger(&intent.network);
    for (ledger, limit, whose) in [
        (
            network.as_str(),
            policy.max_network_bytes,
            "from your network",
        ),
        (SITE_LEDGER, policy.max_site_bytes, "on this site"),
    ] {
        let command = quota::Command::Reserve {
            id: intent.id.clone(),
            bytes: charge(intent.reserved),
            limit,
            expires: intent.abandoned,
        };
        let full = || {
            Refusal::new(Code::QuotaExceeded)
                .detail(format!("All documents {whose} may have {limit} bytes together, and there is not enough left."))
        };
        match call::<Ledger>(port, Class::Ledger, ledger, &command).await {
            Ok(quota::Reply::Done) => {}
            Ok(quota::Reply::Full { .. } | quota::Reply::Unknown) => return Err(full()),
            Err(fault) => return Err(storage_refusal(&fault)),
        }
    }
    Ok(())
}

fn no_room(shortage: Shortage, policy: &Documents) -> Refusal {
    Refusal::new(Code::QuotaExceeded).detail(match shortage {
        Shortage::Count => format!("You may keep {} documents at a time.", policy.max_count),
        Shortage::Bytes => format!(
            "Your documents may have {} bytes together.",
            policy.max_visitor_bytes
        ),
    })
}

// === 5 ===

async fn write<B: ByteSource>(
    port: &impl Port,
    intent: &Intent,
    mut form: Form,
    body: &mut B,
    deadline: Millis,
) -> Result<Upload, Refusal> {
    let mut written = 0usize;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|fault| Refusal::new(Code::IncompleteBody).cause(fault.0))?;
        let mut input = piece.as_slice();
        while let Some(segment) = form.push(&mut input)? {
            if port.now() >= deadline {
                return Err(Refusal::new(Code::IncompleteBody).detail("The upload took too long."));
            }
            let key = segment_key(&intent.owner, &intent.id, written);
            port.blob_put(&key, segment)
                .await
                .map_err(|fault| storage_refusal(&fault))?;
            written = written.saturating_add(1);
        }
    }
    form.finish()
}

// === 6 and 7 ===

fn document(intent: &Intent, upload: Upload, created: Millis, ttl: Millis) -> Document {
    Document {
        id: intent.id.clone(),
        owner: intent.owner.clone(),
        filename: upload.filename,
        purpose: upload.purpose,
        content_type: upload.content_type,
        bytes: upload.bytes,
        sha256: upload.sha256,
        segments: upload.segments,
        version: 1,
        created,
        expires: created.plus(upload.lifetime.map_or(ttl, |wanted| wanted.min(ttl))),
        network: intent.network.clone(),
    }
}

async fn settle(port: &impl Port, document: &Document) -> Result<(), Refusal> {
    let command = quota::Command::Settle {
        id: document.id.clone(),
        bytes: charge(document.bytes),
        expires: document.expires,
    };
    for ledger in [network_ledger(&document.network).as_str(), SITE_LEDGER] {
        match call::<Ledger>(port, Class::Ledger, ledger, &command).await {
            Ok(quota::Reply::Done) => {}
            Ok(other) => return Err(lost(&format!("{ledger} answered {other:?}"))),
            Err(fault) => return Err(storage_refusal(&fault)),
        }
    }
    Ok(())
}

async fn commit(port: &impl Port, document: &Document) -> Result<(), Refusal> {
    let command = owner::Command::Commit {
        document: document.clone(),
    };
    match ask_owner(port, &document.owner, &command).await {
        Ok(owner::Reply::Done) => Ok(()),
        Ok(other) => Err(lost(&format!("the owner answered {other:?}"))),
        Err(fault) => Err(storage_refusal(&fault)),
    }
}

/// A reservation is gone that should have lasted longer than the upload.
fn lost(cause: &str) -> Refusal {
    storage_refusal(&PortFault(cause.to_owned()))
}

/// Takes back whatever was reached. The owner's row goes first: once it is removed no commit that is still under way can
/// bring the document back, and only then may its blobs and quota go. While the owner does not answer, nothing may.
async fn undo(port: &impl Port, intent: &Intent) {
    let command = owner::Command::Abort {
        id: intent.id.clone(),
    };
    // A document that the owner never heard of has neither blobs nor quota.
    if let Ok(owner::Reply::Purge { purges, .. }) = ask_owner(port, &intent.owner, &command).await {
        // What fails here is left to the sweep.
        let _ = purge(port, &intent.owner, &purges).await;
    }
}
