//! Scanning of documents: beside an upload where that can be, otherwise later, at the latest when somebody other than the
//! owner wants to read.
//!
//! What a scan found lies sealed beside the version. Who may read is decided by
//! [`State`](crate::domain::documents::scan::state::State), and asked in two places: where content is sent, and at the
//! door through which models and indexes read.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ask_owner;
use super::reach::{entitled, pointers, reach};
use super::sealing::{Held, parts};
use super::shares::details;
use crate::app::gate::Caller;
use crate::app::outward;
use crate::app::port::{Blobs, Port, storage_refusal};
use crate::app::reply::{After, Outcome, Reply};
use crate::app::request::Head;
use crate::base::digest::{Bytes32, hex};
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::documents::about::Right;
use crate::domain::documents::owner::Command;
use crate::domain::documents::owner::details::Ask;
use crate::domain::documents::pointers::{self, HELD_BACK, Pointer};
use crate::domain::documents::scan::external::{
    Answer, External, MAX_ANSWER, Subject, failed, read, request,
};
use crate::domain::documents::scan::state::{Reader, Scanned, State};
use crate::domain::documents::scan::{Claim, Policy, Report, Scanner};
use crate::domain::documents::sealing::{Beside, Place, open_beside, seal_beside};
use crate::domain::llm::upstream::UpstreamRequest;

// === before it is read ===

/// May that one read the document's content now? What waits for its scan is scanned first, unless its owner asks.
///
/// # Errors
/// `document_quarantined`; `scanner_unavailable` when it still waits; `storage_unavailable`, `keyring_unavailable`.
pub async fn may_read<P: Port>(port: &P, held: &Held, reader: Reader) -> Result<(), Refusal> {
    let mut state = held.document.about.state().clone();
    if state == State::Waiting && !state.may_read(reader) {
        state = scan(port, held).await?.state;
    }
    if state.may_read(reader) {
        return Ok(());
    }
    Err(match state {
        State::Waiting => Refusal::new(Code::ScannerUnavailable).wait(Millis::from_secs(10)),
        _ => {
            note(port, &held.owner, &held.document.id).await;
            Refusal::new(Code::DocumentQuarantined)
        }
    })
}

/// As whom somebody with that right reads.
pub const fn reader_of(right: Right) -> Reader {
    match right {
        Right::Own => Reader::Owner,
        _ => Reader::Other,
    }
}

// === the report ===

/// Tells what the scan of a document found, with places, to who may edit it. What waits is scanned.
///
/// # Errors
/// 403, 404, 503.
pub async fn report<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let version = super::versions::asked_for(head)?;
    let held = match version {
        None => entitled(port, caller, id, Right::Edit).await?,
        earlier => reach(port, caller, id, earlier).await?,
    };
    let scanned = match held.document.about.scan.as_deref() {
        Some(scanned) if scanned.state != State::Waiting => scanned.clone(),
        _ => scan(port, &held).await?,
    };
    let told = told(port, &held, &scanned).await?;
    Ok(Reply::json(200, told.to_string()))
}

/// A scan as it is told.
pub async fn told<P: Port>(port: &P, held: &Held, scanned: &Scanned) -> Result<Value, Refusal> {
    let report = match &scanned.report {
        None => None,
        Some(sealed) => Some(opened(port, held, sealed).await?),
    };
    let (why, by) = match &scanned.state {
        State::Quarantined { why } => (Some(why), None),
        State::Released { by } => (None, Some(by)),
        _ => (None, None),
    };
    Ok(json!({
        "object": "file.scan",
        "file_id": held.document.id,
        "version": held.document.version,
        "state": scanned.state.name(),
        "scanned_at": scanned.at.secs(),
        "held_back_for": why,
        "released_by": by,
        "findings": report.as_ref().map(|report| &report.findings),
        "further_findings": report.as_ref().map_or(0, |report| report.more),
    }))
}

async fn opened<P: Port>(port: &P, held: &Held, sealed: &str) -> Result<Report, Refusal> {
    let id = &held.document.id;
    let damaged = |cause: String| Refusal::new(Code::Integrity).cause(format!("{id}: {cause}"));
    let key = held.data_key(port).await?;
    let key = key.ok_or_else(|| damaged("a report without a key".to_owned()))?;
    let plain = open_beside(key.reveal(), &held.place(port), Beside::Report, sealed);
    let plain = plain.map_err(|fault| damaged(fault.to_string()))?;
    serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))
}

// === scanning ===

/// What scans a document while it is stored; `None` where a service outside is asked, which takes the whole of it.
pub fn beside<P: Port>(port: &P, claim: Claim) -> Option<Scanner> {
    let documents = &port.settings().config.documents;
    let policy: &Policy = &documents.scan;
    let is_alone = documents.scanner.url.is_none();
    is_alone.then(|| Scanner::new(policy.clone(), claim))
}

/// Work for after the answer: scans a document that waits. What fails here is done when somebody wants to read.
pub fn later<P: Port>(port: &P, held: Held) -> Option<After> {
    if *held.document.about.state() != State::Waiting {
        return None;
    }
    let port = port.clone();
    Some(Box::pin(async move {
        let cause = scan(&port, &held).await.err();
        Outcome {
            cause: cause.map(|refusal| format!("not scanned yet: {refusal:?}")),
            ..Outcome::default()
        }
    }))
}

/// Scans a document from its first byte to its last, a segment in memory at a time, and keeps what was found.
async fn scan<P: Port>(port: &P, held: &Held) -> Result<Scanned, Refusal> {
    let document = &held.document;
    let config = &port.settings().config.documents;
    let sends = config.scanner.url.is_some() && config.scanner.sends_content(document.bytes);
    let claim = Claim {
        // As what it was declared is not kept: its name tells.
        content_type: None,
        filename: document.filename.clone(),
    };
    let mut scanner = Scanner::new(config.scan.clone(), claim);
    let mut digest = Sha256::new();
    let mut content = Vec::new();
    let last = document.bytes.saturating_sub(1);
    for part in parts(port, held, document.pieces(0, last)).await? {
        let opened = port.blob_open(part).await;
        match opened.map_err(|fault| storage_refusal(&fault))? {
            Blobs::Body(bytes) => {
                scanner.push(&bytes);
                if config.scanner.url.is_some() {
                    digest.update(&bytes);
                }
                if sends {
                    content.extend_from_slice(&bytes);
                }
            }
            Blobs::Missing | Blobs::Forged => {
                let cause = format!("{}: a segment does not open", document.id);
                return Err(Refusal::new(Code::Integrity).cause(cause));
            }
        }
    }
    let report = scanner.finish();
    let sha256 = hex(&digest.finalize());
    let subject = Subject {
        sha256: &sha256,
        size: document.bytes,
        content_type: &document.content_type,
    };
    let token = port.settings().secrets.scanner_token.as_ref();
    let content = sends.then_some(content.as_slice());
    let answer = ask(port, &config.scanner, token, subject, content).await;
    let key = held.data_key(port).await?;
    let key = key.as_ref().map(Secret::reveal);
    let scanned = kept(port, key, &held.place(port), &report, answer.as_ref())?;
    if scanned.state == State::Waiting {
        return Ok(scanned);
    }
    keep(port, held, &scanned).await?;
    if scanned.state.is_held_back() {
        note(port, &held.owner, &document.id).await;
    }
    Ok(scanned)
}

/// What is kept of a scan.
///
/// # Errors
/// Never, for a report of bounded length.
pub fn kept<P: Port>(
    port: &P,
    key: Option<&Bytes32>,
    place: &Place<'_>,
    report: &Report,
    answer: Option<&Answer>,
) -> Result<Scanned, Refusal> {
    let unsealed = |cause: String| Refusal::new(Code::Internal).cause(cause);
    let sealed = match key.filter(|_| !report.findings.is_empty()) {
        None => None,
        Some(key) => {
            let text = serde_json::to_vec(report).map_err(|error| unsealed(error.to_string()))?;
            let sealed = seal_beside(key, place, Beside::Report, &text, &port.random());
            Some(sealed.map_err(|fault| unsealed(fault.to_string()))?)
        }
    };
    Ok(Scanned {
        state: State::after(report, answer),
        at: port.now(),
        report: sealed,
    })
}

async fn keep<P: Port>(port: &P, held: &Held, scanned: &Scanned) -> Result<(), Refusal> {
    let command = Command::Details {
        id: held.document.id.clone(),
        who: None,
        ask: Ask::Scanned {
            version: held.document.version,
            scanned: Box::new(scanned.clone()),
        },
    };
    details(ask_owner(port, &held.owner, &command).await).map(drop)
}

/// Notes a document where operators look for what is held back. Its row says that already, so that the note goes with it;
/// what fails here is done when somebody wants to read it.
pub async fn note<P: Port>(port: &P, owner: &str, id: &str) {
    let pointer = Pointer {
        document: id.to_owned(),
        owner: owner.to_owned(),
    };
    let _ = pointers(port, HELD_BACK, &pointers::Command::Put { pointer }).await;
}

// === the service outside ===

/// Asks the service about a document. `None` when there is none. `content` is all of the document, wherever
/// [`External::sends_content`] says that it is sent; without it the service is asked about the digest alone. One call, no
/// redirects, a bounded answer.
///
/// Never fails: what the service does not answer in time, or answers wrongly, is [`Answer::Unknown`], which holds the
/// document back where the settings say so.
pub async fn ask<P: Port>(
    port: &P,
    external: &External,
    token: Option<&Secret<String>>,
    subject: Subject<'_>,
    content: Option<&[u8]>,
) -> Option<Answer> {
    let url = external.url.as_ref()?;
    let content = content.filter(|content| {
        external.sends_content(subject.size) && u64::try_from(content.len()) == Ok(subject.size)
    });
    let body = request(subject, content);
    let key = token.map(|token| {
        (
            "authorization",
            Secret::new(format!("Bearer {}", token.reveal())),
        )
    });
    let upstream = UpstreamRequest {
        url: url.clone(),
        key,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.as_bytes(),
    };
    let patience = Millis::from_secs(external.timeout_seconds);
    let answer = outward::post(port, upstream, MAX_ANSWER as u64, patience).await;
    let answer = answer.and_then(|bytes| read(&bytes).map_err(|error| error.to_string()));
    Some(answer.unwrap_or_else(|why| failed(format!("scanner: {why}"), external.on_failure)))
}
