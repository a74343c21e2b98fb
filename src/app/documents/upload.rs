//! Creating a document.

use super::details::within;
use super::scanner;
use super::sealing::{DataKey, Held, new_data_key, new_owner_key};
use super::{ask_owner, owner_of_key, purge, register, shape, unexpected};
use crate::app::gate::{Caller, trusting};
use crate::app::keyring::keyring;
use crate::app::objects::ask;
use crate::app::port::{ByteSource, Class, Hash, Port, PortFault, storage_refusal};
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::app::stored::keyed;
use crate::app::together::all;
use crate::base::digest::{hex, hmac_sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::documents::about::{About, Provenance, Right};
use crate::domain::documents::access::Who;
use crate::domain::documents::form::{FORM_OVERHEAD_BYTES, Form, Rules, Upload, too_large};
use crate::domain::documents::keys::Finish;
use crate::domain::documents::manifest::{
    Document, Purpose, SEGMENT_BYTES, Segment, blob_key, document_id, segments_for, version_blob,
};
use crate::domain::documents::owner::{self, Intent, Limits, Shortage};
use crate::domain::documents::quota::{self, Ledger, SITE_LEDGER, charge, network_ledger};
use crate::domain::documents::retention::{Kind, Retention, retention};
use crate::domain::documents::scan::{Report, Scanner};
use crate::domain::documents::sealing;
use crate::domain::documents::wire::{self, Shape};
use crate::domain::identity::{Principal, RENEW_AFTER, new_visitor, visitor_cookie};
use crate::domain::settings::DerivedKeys;
use crate::domain::settings::config::Documents;
use crate::domain::settings::names::MASTER_KEY;

/// From when on an upload that was not completed counts as given up, after its begin: 60 min × 60 s.
const ABANDONED_AFTER: Millis = Millis::from_secs(3_600);

/// No segment is written later than this after the begin: 55 min × 60 s. The five minutes between are for the last
/// write to arrive, so that the sweep never removes segments before they are written.
const LAST_WRITE_AFTER: Millis = Millis::from_secs(3_300);

/// How long a call waits for another one with its key: 35 s, which outlasts the lease of one that was lost.
const WAIT_FOR_KEY: Millis = Millis::from_secs(35);

/// Between two looks at a key that is taken: 100 ms, doubled each time up to a second.
const FIRST_LOOK_AFTER: Millis = Millis(100);
const MOST_BETWEEN_LOOKS: Millis = Millis(1000);

/// An upload with a key tells that it is still coming when 10 s have passed since it last did: a third of the lease.
const RENEW_AFTER_PIECE: Millis = Millis::from_secs(10);

/// Most bytes in memory of an upload that is only compared with an earlier one: 64 KiB = 64 × 1024, so that a storm of
/// them has room in an isolate.
const REPEATED_SEGMENT_BYTES: u64 = 65_536;

/// A document whose next version is to be stored.
pub(super) struct Onto {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// The next version.
    pub version: u32,
    /// Who stores it, where that is not its owner.
    pub who: Option<Box<Who>>,
    /// What it is for.
    pub purpose: Purpose,
}

/// Stores a document.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site; set-up, key, type and length are right | 400, 403, 413, 415, 503 |
/// | 2 | who: the cookie's visitor, or a new one | – |
/// | 3 | the directory knows the owner | 503 |
/// | 4 | the owner has room for the intent, and its key is free; or its key stands for a reply already | 403, 409, 503 |
/// | 5 | room of the network and the site; the document's data key | 403, 503 |
/// | 6 | the form is read, one segment in memory, each sealed and written when it is full | 400, 409, 413, 415, 503 |
/// | 7 | quotas settle at the true length | 503 |
/// | 8 | commit: the document exists, and its key stands for the reply | 409, 503 |
/// | 9 | the answer, with a cookie for a new visitor | – |
///
/// A refusal after step 3 undoes what was done, frees the key, and what cannot be undone now is left to the sweep. When
/// the key stands for a reply, the form is read for what it says alone; if that is the same, the same reply is given,
/// otherwise 422.
///
/// A call whose key is taken waits before it reads its body: so it holds no memory, and can still store the document
/// itself when the other call fails.
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
    store(port, caller, head, body, segment_bytes, None).await
}

/// As [`create`]; with `onto` a new version of that document, which whoever may edit it stores in its owner's place.
pub(super) async fn store<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    segment_bytes: u64,
    onto: Option<Onto>,
) -> Result<Reply<P>, Refusal> {
    // 1
    head.own_site()?;
    let keys = port.settings().keys.as_ref().ok_or_else(setup_required)?;
    let policy = &port.settings().config.documents;
    let shape = shape(head);
    let key = match &onto {
        None => key(port, caller, head, shape)?,
        // The version that is expected is what makes it safe to send it again.
        Some(_) => None,
    };
    let reserved = declared_length(head, policy)?;
    let rules = Rules {
        max_bytes: reserved,
        segment_bytes,
        types: policy.types.clone(),
        default_purpose: match &onto {
            Some(onto) => Some(onto.purpose),
            None => (shape == Shape::Anthropic).then_some(Purpose::UserData),
        },
    };
    let content_type = head.content_type.as_deref();
    let form = Form::new(content_type, rules.clone())?;

    // 2
    let now = port.now();
    let (by, cookie) = visitor(port, caller, head, now).await?;
    let (id, owner, version, who) = match onto {
        None => (document_id(now, &port.random()), by.clone(), 1, None),
        Some(onto) => (onto.id, onto.owner, onto.version, onto.who),
    };
    let intent = Intent {
        id,
        owner,
        network: hidden(&caller.network, keys),
        reserved,
        segments: segments_for(reserved, segment_bytes),
        abandoned: now.plus(ABANDONED_AFTER),
        version,
        mark: match version {
            1 => String::new(),
            _ => hex(&port.random::<8>()),
        },
    };
    let provenance = Provenance {
        at: (version > 1).then_some(now),
        by: Some(by),
        origin: head.origin.clone(),
        ..Provenance::default()
    };

    // 3
    register(port, &intent.owner, intent.abandoned)
        .await
        .map_err(|fault| storage_refusal(&fault))?;

    // 4
    let begun = begin(port, &intent, key.as_deref(), who, policy).await;
    if let Ok(Begun::Repeated {
        fingerprint,
        body: told,
    }) = begun
    {
        let rules = Rules {
            segment_bytes: segment_bytes.min(REPEATED_SEGMENT_BYTES),
            ..rules
        };
        let form = Form::new(content_type, rules)?;
        compare(port, form, body, &fingerprint).await?;
        let reply = Reply::json(200, told).header("x-gatehouse-attached", "true");
        return Ok(reply.headers(cookie.map(|cookie| ("set-cookie", cookie))));
    }

    // 5 to 8
    let stored = async {
        let Begun::Noted { owner_key } = begun? else {
            return Err(Refusal::new(Code::Internal));
        };
        reserve(port, &intent, policy).await?;
        let data_key =
            new_data_key(port, &intent.owner, &intent.id, intent.version, &owner_key).await?;
        let under = key.as_deref();
        let written = write(port, &intent, &data_key, under, form, body, now).await?;
        let key = key.map(|key| (key, written.upload.fingerprint()));
        let kind = Kind {
            purpose: written.upload.purpose,
            owner: &intent.owner,
            tier: caller.payer.tier.as_deref(),
        };
        let kept = retention(policy, kind);
        within("details", written.upload.said.keep_until, now, kept.ttl)?;
        let document = document(port, &intent, written, data_key, provenance, now, kept)?;
        settle(port, &document).await?;
        let told = wire::file(&document, shape);
        let finish = key.map(|(key, fingerprint)| Finish {
            key,
            fingerprint,
            body: told.clone(),
            ttl: Millis::from_secs(port.settings().config.streams.idempotency_ttl_seconds),
        });
        let held = Held {
            owner: intent.owner.clone(),
            document: document.clone(),
            owner_key: Some(owner_key),
            right: Right::Own,
        };
        commit(port, document, finish, policy.max_versions).await?;
        if held.document.about.held_back {
            scanner::note(port, &held.owner, &held.document.id).await;
        }
        Ok((told, scanner::later(port, held)))
    };
    let (told, after) = match stored.await {
        Ok(stored) => stored,
        Err(refusal) => match undo(port, &intent).await {
            Some(told) => (told, None),
            None => return Err(refusal),
        },
    };

    // 9
    let mut reply = Reply::json(200, told);
    reply.after = after;
    Ok(reply.headers(cookie.map(|cookie| ("set-cookie", cookie))))
}

// === 1 ===

pub(super) fn setup_required() -> Refusal {
    Refusal::new(Code::SetupRequired).detail(format!(
        "The secret {MASTER_KEY} is missing or is not 32 bytes in base64url. Make one with \
         `openssl rand -base64 32 | tr '+/' '-_' | tr -d '='`."
    ))
}

/// The digest of the caller's key. A caller without a cookie becomes a new visitor with each upload, of whom no earlier
/// one can be known: there a key is checked and stands for nothing. The protocol is part of it, as it shapes the reply.
fn key(
    port: &impl Port,
    caller: &Caller,
    head: &Head,
    shape: Shape,
) -> Result<Option<String>, Refusal> {
    let Some(key) = head.idempotency_key.as_deref() else {
        return Ok(None);
    };
    let route = match shape {
        Shape::OpenAi => "/v1/files",
        Shape::Anthropic => "/v1/files anthropic",
    };
    let digest = keyed(port.settings(), caller, route, key)?;
    Ok((caller.principal != Principal::Anonymous).then_some(digest))
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

/// Whose the document will be, and the cookie that makes or keeps a visitor known.
pub(in crate::app) async fn visitor<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    now: Millis,
) -> Result<(String, Option<String>), Refusal> {
    let principal = match &caller.principal {
        Principal::Anonymous => new_visitor(&port.random(), now),
        known => known.clone(),
    };
    let (id, issued) = match principal {
        Principal::Visitor { id, issued, .. } => (id, issued),
        Principal::Key(view) => return Ok((owner_of_key(&view.id), None)),
        Principal::Anonymous => return Err(Refusal::new(Code::Internal)),
    };
    let fresh = caller.principal == Principal::Anonymous;
    let bearer = head.authorization.is_some() || head.api_key.is_some();
    let stale = !bearer && now.since(issued) > RENEW_AFTER;
    if !fresh && !stale {
        return Ok((id, None));
    }
    let ring = keyring(port).await?;
    let cookie = trusting(port, &ring, head, |trust| {
        visitor_cookie(&id, &port.random(), trust, now, head.https())
    });
    Ok((id, cookie))
}

/// A network's name in stored rows: the first 128 bits of an HMAC, in 32 hex digits.
pub(super) fn hidden(network: &str, keys: &DerivedKeys) -> String {
    let mac = hmac_sha256(
        keys.address.reveal(),
        format!("docs-net/{network}").as_bytes(),
    );
    hex(&mac).chars().take(32).collect()
}

// === 4 ===

/// What the owner says of an intent.
enum Begun {
    /// It is noted, and the key is its own.
    Noted { owner_key: String },
    /// The key stands for that reply to a form that said that.
    Repeated { fingerprint: String, body: String },
}

/// Notes the intent with its owner, once its key is free.
async fn begin(
    port: &impl Port,
    intent: &Intent,
    key: Option<&str>,
    who: Option<Box<Who>>,
    policy: &Documents,
) -> Result<Begun, Refusal> {
    let command = owner::Command::Begin {
        intent: intent.clone(),
        limits: Limits {
            count: policy.max_count,
            bytes: policy.max_visitor_bytes,
        },
        key: key.map(str::to_owned),
        owner_key: new_owner_key(port, &intent.owner).await?,
        who,
    };
    let until = port.now().plus(WAIT_FOR_KEY);
    let mut pause = FIRST_LOOK_AFTER;
    loop {
        match ask_owner(port, &intent.owner, &command).await {
            Ok(owner::Reply::Begun { owner_key }) => return Ok(Begun::Noted { owner_key }),
            Ok(owner::Reply::Repeated { fingerprint, body }) => {
                return Ok(Begun::Repeated { fingerprint, body });
            }
            Ok(owner::Reply::Full { shortage }) => return Err(no_room(shortage, policy)),
            Ok(owner::Reply::Busy { wait }) if port.now() >= until => {
                return Err(in_progress(wait));
            }
            Ok(owner::Reply::Busy { wait }) => {
                port.sleep(pause.min(wait)).await;
                pause = pause.plus(pause).min(MOST_BETWEEN_LOOKS);
            }
            other => return Err(unexpected(other)),
        }
    }
}

/// Another call has the key.
fn in_progress(wait: Millis) -> Refusal {
    Refusal::new(Code::IdempotencyInProgress)
        .param("Idempotency-Key")
        .wait(wait)
}

/// Reads a form that must say the same as the one with that fingerprint.
async fn compare<B: ByteSource>(
    port: &impl Port,
    mut form: Form,
    body: &mut B,
    fingerprint: &str,
) -> Result<(), Refusal> {
    let hash = port.hash();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(broken)?;
        let mut input = piece.as_slice();
        // Segments are for nobody else: the document is stored.
        while let Some(segment) = form.push(&mut input)? {
            hash.update(segment)
                .await
                .map_err(|fault| storage_refusal(&fault))?;
        }
    }
    let sha256 = hash
        .finish()
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    if form.finish(&sha256)?.fingerprint() == fingerprint {
        Ok(())
    } else {
        Err(Refusal::new(Code::IdempotencyConflict).param("Idempotency-Key"))
    }
}

// === 5 ===

pub(super) async fn reserve(
    port: &impl Port,
    intent: &Intent,
    policy: &Documents,
) -> Result<(), Refusal> {
    let network = network_ledger(&intent.network);
    // One after the other: a network that is full must not hold the site's room, however shortly.
    for (ledger, limit, whose) in [
        (
            network.as_str(),
            policy.max_network_bytes,
            "from your network",
        ),
        (SITE_LEDGER, policy.max_site_bytes, "on this site"),
    ] {
        let command = quota::Command::Reserve {
            id: intent.slot(),
            bytes: charge(intent.reserved),
            limit,
            expires: intent.abandoned,
        };
        let full = || {
            Refusal::new(Code::QuotaExceeded)
                .detail(format!("All documents {whose} may have {limit} bytes together, and there is not enough left."))
        };
        match ask::<Ledger>(port, Class::Ledger, ledger, command).await {
            Ok(quota::Reply::Done) => {}
            Ok(quota::Reply::Full { .. } | quota::Reply::Unknown) => return Err(full()),
            Err(fault) => return Err(storage_refusal(&fault)),
        }
    }
    Ok(())
}

pub(super) fn no_room(shortage: Shortage, policy: &Documents) -> Refusal {
    Refusal::new(Code::QuotaExceeded).detail(match shortage {
        Shortage::Count => format!("You may keep {} documents at a time.", policy.max_count),
        Shortage::Bytes => format!(
            "Your documents may have {} bytes together.",
            policy.max_visitor_bytes
        ),
    })
}

// === 6 ===

/// What was written.
struct Written {
    upload: Upload,
    /// Of its segments.
    headers: Vec<String>,
    /// What was found on the way; `None` where it is scanned later.
    report: Option<Report>,
}

/// Reads the form, scans and seals its segments and writes them. `begun` is when the upload began.
async fn write<B: ByteSource>(
    port: &impl Port,
    intent: &Intent,
    data_key: &DataKey,
    key: Option<&str>,
    mut form: Form,
    body: &mut B,
    begun: Millis,
) -> Result<Written, Refusal> {
    let deadline = begun.plus(LAST_WRITE_AFTER);
    let place = intent.place(port.tenant());
    let (hash, mut headers) = (port.hash(), Vec::new());
    let mut scan = None;
    let mut heard_of = port.now();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(broken)?;
        if let Some(key) = key
            && port.now().since(heard_of) >= RENEW_AFTER_PIECE
        {
            renew(port, intent, key).await?;
            heard_of = port.now();
        }
        let mut input = piece.as_slice();
        while let Some(segment) = form.push(&mut input)? {
            if port.now() >= deadline {
                return Err(Refusal::new(Code::IncompleteBody).detail("The upload took too long."));
            }
            if headers.is_empty() {
                scan = scanner::beside(port, form.claim());
            }
            if let Some(scan) = &mut scan {
                scan.push(&segment);
            }
            let number = headers.len();
            let key = data_key.key.reveal();
            let name = version_blob(intent.version, &intent.mark, number);
            let with = sealing::new_segment(key, &place, &name, &port.random());
            let key = blob_key(&intent.owner, &intent.id, &name);
            port.blob_seal(&key, &with, segment, Some(&hash))
                .await
                .map_err(|fault| storage_refusal(&fault))?;
            headers.push(sealing::kept(&with));
        }
    }
    let sha256 = hash
        .finish()
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    Ok(Written {
        upload: form.finish(&sha256)?,
        headers,
        report: scan.map(Scanner::finish),
    })
}

fn broken(fault: PortFault) -> Refusal {
    Refusal::new(Code::IncompleteBody).cause(fault.0)
}

/// Keeps the key. Whether it was kept is decided at the commit: an owner that does not answer now is no reason to stop.
async fn renew(port: &impl Port, intent: &Intent, key: &str) -> Result<(), Refusal> {
    let command = owner::Command::Renew {
        id: intent.id.clone(),
        key: key.to_owned(),
    };
    match ask_owner(port, &intent.owner, &command).await {
        Ok(owner::Reply::NotFound) => Err(in_progress(MOST_BETWEEN_LOOKS)),
        _ => Ok(()),
    }
}

// === 7 and 8 ===

fn document<P: Port>(
    port: &P,
    intent: &Intent,
    written: Written,
    data_key: DataKey,
    provenance: Provenance,
    created: Millis,
    kept: Retention,
) -> Result<Document, Refusal> {
    let Written {
        upload,
        headers,
        report,
    } = written;
    let place = intent.place(port.tenant());
    let scan = report
        .map(|report| scanner::kept(port, Some(data_key.key.reveal()), &place, &report, None))
        .transpose()?;
    let held_back = scan.as_ref().is_some_and(|scan| scan.state.is_held_back());
    let said = upload.said;
    let segments = upload.segments.into_iter().zip(headers).enumerate();
    let blob = |number| {
        let is_later = intent.version > 1;
        is_later.then(|| version_blob(intent.version, &intent.mark, number))
    };
    Ok(Document {
        id: intent.id.clone(),
        owner: intent.owner.clone(),
        filename: upload.filename,
        purpose: upload.purpose,
        content_type: upload.content_type,
        bytes: upload.bytes,
        sha256: upload.sha256,
        segments: segments
            .map(|(number, (length, header))| Segment {
                length,
                header: Some(header),
                blob: blob(number),
            })
            .collect(),
        version: intent.version,
        created,
        expires: kept.expires(created, upload.lifetime),
        network: intent.network.clone(),
        key: Some(data_key.wrapped),
        about: Box::new(About {
            tags: said.tags.unwrap_or_default(),
            provenance: Provenance {
                sources: said.sources,
                tool: said.tool,
                model: said.model,
                ..provenance
            },
            keep_until: kept.keep_until(created, said.keep_until),
            scan: scan.map(Box::new),
            held_back,
            ..About::default()
        }),
    })
}

pub(super) async fn settle(port: &impl Port, document: &Document) -> Result<(), Refusal> {
    let command = quota::Command::Settle {
        id: document.slot(),
        bytes: charge(document.bytes),
        expires: document.over().unwrap_or(document.expires),
    };
    let network = network_ledger(&document.network);
    let ledgers = [network.as_str(), SITE_LEDGER];
    let calls = ledgers.map(|ledger| ask::<Ledger>(port, Class::Ledger, ledger, command.clone()));
    for (ledger, reply) in ledgers.iter().zip(all(calls).await) {
        match reply {
            Ok(quota::Reply::Done) => {}
            Ok(other) => return Err(lost(&format!("{ledger} answered {other:?}"))),
            Err(fault) => return Err(storage_refusal(&fault)),
        }
    }
    Ok(())
}

async fn commit(
    port: &impl Port,
    document: Document,
    finish: Option<Finish>,
    keep: u32,
) -> Result<(), Refusal> {
    let (owner, has_key) = (document.owner.clone(), finish.is_some());
    let is_later = document.version > 1;
    let command = owner::Command::Commit {
        document,
        finish,
        keep,
    };
    let mut reply = ask_owner(port, &owner, &command).await;
    if reply.is_err() && is_later {
        // A new version that is committed cannot be taken back, since it took the place of another.
        reply = ask_owner(port, &owner, &command).await;
    }
    match reply {
        Ok(owner::Reply::Done) => Ok(()),
        Ok(owner::Reply::Purge { purges, .. }) => {
            // Earlier versions that are too many; what fails here is left to the sweep.
            let _ = purge(port, &owner, &purges).await;
            Ok(())
        }
        Ok(owner::Reply::NotFound) if has_key => Err(in_progress(MOST_BETWEEN_LOOKS)),
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
///
/// `Some` is the reply's body: the document was committed with its key, of which the answer was lost. That stands, since
/// another call may have given the reply already.
pub(super) async fn undo(port: &impl Port, intent: &Intent) -> Option<String> {
    let command = owner::Command::Abort {
        id: intent.slot(),
        mark: intent.mark.clone(),
    };
    match ask_owner(port, &intent.owner, &command).await {
        Ok(owner::Reply::Repeated { body, .. }) => Some(body),
        // A document that the owner never heard of has neither blobs nor quota.
        Ok(owner::Reply::Purge { purges, .. }) => {
            // What fails here is left to the sweep.
            let _ = purge(port, &intent.owner, &purges).await;
            None
        }
        _ => None,
    }
}
