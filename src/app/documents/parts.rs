//! Uploads in parts: a document that is sent in several requests, at the same time and in any order, and goes on after
//! an interruption.

use serde_json::{Map, Value};

use super::scanner;
use super::sealing::{Held, new_data_key, new_owner_key, open_data_key, parts as blobs_of};
use super::upload::{hidden, no_room, reserve, settle, setup_required, undo, visitor};
use super::{ask_owner, invalid, owner_of, purge, register, unexpected};
use crate::app::body::json_body;
use crate::app::gate::Caller;
use crate::app::port::{Blobs, ByteSource, Hash, Port, storage_refusal};
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::base::digest::{hex, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::documents::about::{About, Provenance, Right, Way};
use crate::domain::documents::content_type::{SNIFF_BYTES, clean_filename};
use crate::domain::documents::form::{self, accepted, too_large};
use crate::domain::documents::manifest::{
    Document, Piece, Purpose, SEGMENT_BYTES, Segment, blob_key, document_id, document_of_upload,
    part_blob, part_id, segments_for, upload_id,
};
use crate::domain::documents::owner::uploads::{
    Ask, MAX_PARTS, MAX_PARTS_AT_ONCE, Part, PartState, Stored, Told, Uploading, Why,
};
use crate::domain::documents::owner::{self, Intent, Limits};
use crate::domain::documents::part::{MAX_PART_BYTES, PartForm};
use crate::domain::documents::retention::{Kind, Retention, retention};
use crate::domain::documents::sealing::{self, Place};
use crate::domain::documents::wire::{self, UploadHead, UploadState};
use crate::domain::settings::config::Documents;

/// No segment of a part is written later than this after its begin: 30 min × 60 s.
const PART_TIME: Millis = Millis::from_secs(1_800);

/// Begins an upload.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site; set-up and fields are right | 400, 403, 413, 415, 503 |
/// | 2 | who: the cookie's visitor, or a new one | – |
/// | 3 | the directory knows the owner, and the owner has room | 403, 503 |
/// | 4 | room of the network and the site | 403, 503 |
/// | 5 | the document's data key: from here on parts can come | 503 |
///
/// What fails after step 2 is undone, and what cannot be undone now is left to the sweep.
///
/// # Errors
/// As the table says.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Reply<P>, Refusal> {
    // 1
    head.own_site()?;
    let keys = port.settings().keys.as_ref().ok_or_else(setup_required)?;
    let policy = &port.settings().config.documents;
    let fields = json_body(port, head, body).await?;
    let wanted = wanted(&fields, policy)?;

    // 2
    let now = port.now();
    let (owner, cookie) = visitor(port, caller, head, now).await?;
    let upload = Uploading {
        intent: Intent {
            id: document_id(now, &port.random()),
            owner,
            network: hidden(&caller.network, keys),
            reserved: wanted.bytes,
            segments: 0,
            abandoned: now.plus(Millis::from_secs(policy.upload_ttl_seconds)),
            version: 1,
            mark: String::new(),
        },
        filename: wanted.filename,
        purpose: wanted.purpose,
        declared: wanted.declared,
        lifetime: wanted.lifetime,
        created: now,
        key: None,
        parts: Vec::new(),
    };

    // 3 to 5
    let intent = &upload.intent;
    if let Err(refusal) = open(port, &upload, policy).await {
        let _ = undo(port, intent).await;
        return Err(refusal);
    }
    let id = upload_id(&intent.id);
    let told = wire::upload(shown(&id, &upload), UploadState::Pending);
    let reply = Reply::json(200, told);
    Ok(reply.headers(cookie.map(|cookie| ("set-cookie", cookie))))
}

/// Steps 3 to 5 of [`create`].
async fn open<P: Port>(port: &P, upload: &Uploading, policy: &Documents) -> Result<(), Refusal> {
    let intent = &upload.intent;
    register(port, &intent.owner, intent.abandoned)
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    let begin = owner::Command::BeginUpload {
        upload: Box::new(upload.clone()),
        limits: Limits {
            count: policy.max_count,
            bytes: policy.max_visitor_bytes,
        },
        owner_key: new_owner_key(port, &intent.owner).await?,
    };
    let owner_key = match ask_owner(port, &intent.owner, &begin).await {
        Ok(owner::Reply::Begun { owner_key }) => owner_key,
        Ok(owner::Reply::Full { shortage }) => return Err(no_room(shortage, policy)),
        other => return Err(unexpected(other)),
    };
    reserve(port, intent, policy).await?;
    let key = new_data_key(port, &intent.owner, &intent.id, 1, &owner_key).await?;
    let ask = Ask::Key { key: key.wrapped };
    match told(port, &intent.owner, &intent.id, ask).await? {
        Told::Open { .. } => Ok(()),
        other => Err(odd(&other)),
    }
}

/// Takes one part in.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site; type and length are right | 400, 403, 413, 415 |
/// | 2 | the upload is open, and has room for a part | 400, 404, 429, 503 |
/// | 3 | the form is read, one segment in memory, each sealed and written when it is full | 400, 413, 503 |
/// | 4 | the part is there | 400, 404, 503 |
///
/// A refusal after step 2 removes what was written. A part that comes once more, because its answer was lost, is told
/// as the one that is there.
///
/// # Errors
/// As the table says.
pub async fn add<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    add_in_segments(port, caller, head, body, id, SEGMENT_BYTES).await
}

/// As [`add`], with segments of another length in bytes.
///
/// # Errors
/// As [`add`].
pub async fn add_in_segments<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
    segment_bytes: u64,
) -> Result<Reply<P>, Refusal> {
    // 1
    head.own_site()?;
    if head.content_encoding.is_some() {
        return Err(Refusal::new(Code::UnsupportedMediaType)
            .detail("Send the form without Content-Encoding."));
    }
    let (owner, document) = named(caller, id)?;
    let most = head.content_length.unwrap_or(MAX_PART_BYTES);
    let most = most.min(MAX_PART_BYTES);
    let form = PartForm::new(head.content_type.as_deref(), MAX_PART_BYTES, segment_bytes)?;

    // 2
    let now = port.now();
    let part = Part {
        id: part_id(&port.random()),
        number: None,
        created: now,
        state: PartState::Writing {
            until: now.plus(PART_TIME),
            segments: segments_for(most, segment_bytes),
        },
    };
    let ask = Ask::BeginPart { part: part.clone() };
    let (upload, owner_key) = match told(port, &owner, &document, ask).await? {
        Told::Open { upload, owner_key } => (upload, owner_key),
        Told::Refused { why, left } => {
            let _ = purge(port, &owner, &left).await;
            return Err(refused(why, 0));
        }
        other => return Err(odd(&other)),
    };

    // 3: the time for it may be shorter than was asked for.
    let begun = upload.parts.iter().find(|known| known.id == part.id);
    let writer = Writer {
        owner: &owner,
        upload: &upload,
        part: begun.unwrap_or(&part),
    };
    let written = match writer.write(port, &owner_key, form, body).await {
        Ok(written) => written,
        Err(refusal) => {
            give_up(port, &owner, &document, &part.id).await;
            return Err(refusal);
        }
    };

    // 4
    let ask = Ask::CommitPart {
        part: part.id.clone(),
        number: written.number,
        stored: written.stored,
    };
    match told(port, &owner, &document, ask).await {
        Ok(Told::Stored { part, left }) => {
            // What fails here is left to the sweep.
            let _ = purge(port, &owner, &left).await;
            Ok(Reply::json(200, wire::part(id, &part)))
        }
        Ok(Told::Refused { why, left }) => {
            let _ = purge(port, &owner, &left).await;
            Err(refused(why, upload.intent.reserved))
        }
        Ok(other) => Err(odd(&other)),
        Err(refusal) => {
            give_up(port, &owner, &document, &part.id).await;
            Err(refusal)
        }
    }
}

/// Tells how far an upload is.
///
/// # Errors
/// 403 when another site asks, 404 for everything that is not the caller's or is over, 503.
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let (owner, document) = named(caller, id)?;
    match told(port, &owner, &document, Ask::Get).await? {
        Told::Open { upload, .. } => {
            let told = wire::upload(shown(id, &upload), UploadState::Pending);
            Ok(Reply::json(200, told))
        }
        Told::Completed { document, .. } => Ok(completed(id, &document)),
        other => Err(odd(&other)),
    }
}

/// Lists the parts that are stored: what need not be sent again.
///
/// # Errors
/// As for [`get`].
pub async fn list<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let (owner, document) = named(caller, id)?;
    match told(port, &owner, &document, Ask::Get).await? {
        Told::Open { upload, .. } => Ok(Reply::json(200, wire::parts(id, &upload.parts))),
        Told::Completed { .. } => Ok(Reply::json(200, wire::parts(id, &[]))),
        other => Err(odd(&other)),
    }
}

/// Makes a document of the parts.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site; fields | 400, 403 |
/// | 2 | the upload; one that is complete is told again | 404, 503 |
/// | 3 | the parts are all there, in their order, and come to the length | 400 |
/// | 4 | the beginning is of an accepted type, and the checksum is right where one is given | 400, 415, 500, 503 |
/// | 5 | quotas settle | 503 |
/// | 6 | the document exists; what it is not made of goes | 400, 404, 503 |
///
/// # Errors
/// As the table says. The upload stays open after a refusal.
pub async fn complete<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    // 1
    head.own_site()?;
    let (owner, document) = named(caller, id)?;
    let fields = json_body(port, head, body).await?;
    let (ids, md5) = named_parts(&fields)?;

    // 2
    let (upload, owner_key) = match told(port, &owner, &document, Ask::Get).await? {
        Told::Open { upload, owner_key } => (upload, owner_key),
        Told::Completed { document: made, .. } => {
            let ask = Ask::Complete {
                parts: ids,
                document: *made,
            };
            return match told(port, &owner, &document, ask).await {
                Ok(Told::Completed { document, .. }) => Ok(completed(id, &document)),
                _ => Err(incomplete(
                    "The upload is complete, and was made of other parts.",
                )),
            };
        }
        other => return Err(odd(&other)),
    };

    // 3
    let parts = chosen(&upload, &ids)?;
    let policy = &port.settings().config.documents;
    let provenance = Provenance {
        by: Some(owner.clone()),
        origin: head.origin.clone(),
        way: Way::Parts,
        ..Provenance::default()
    };
    let kind = Kind {
        purpose: upload.purpose,
        owner: &owner,
        tier: caller.payer.tier.as_deref(),
    };
    let kept = retention(policy, kind);
    let made = document_of(&upload, &parts, provenance, kept, port.now());

    // 4
    let held = Held {
        owner: owner.clone(),
        document: made,
        owner_key: Some(owner_key),
        right: Right::Own,
    };
    let beginning = beginning(port, &held).await?;
    let declared = Some(upload.declared.as_str()).filter(|declared| !declared.is_empty());
    let served = accepted(&beginning, declared, &upload.filename, &policy.types)?;
    if let Some(expected) = md5 {
        checked(port, &held, &expected).await?;
    }
    let made = Document {
        content_type: served.to_owned(),
        ..held.document.clone()
    };

    // 5
    settle(port, &made).await?;

    // 6
    let ask = Ask::Complete {
        parts: ids,
        document: made,
    };
    match told(port, &owner, &document, ask).await? {
        Told::Completed { document, left } => {
            let _ = purge(port, &owner, &left).await;
            let reply = completed(id, &document);
            let made = Held {
                document: *document,
                ..held
            };
            Ok(Reply {
                after: scanner::later(port, made),
                ..reply
            })
        }
        Told::Refused { why, .. } => Err(refused(why, upload.intent.reserved)),
        other => Err(odd(&other)),
    }
}

/// Gives an upload up.
///
/// # Errors
/// As for [`get`]; 400 when it is complete.
pub async fn cancel<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let (owner, document) = named(caller, id)?;
    let upload = match told(port, &owner, &document, Ask::Get).await? {
        Told::Open { upload, .. } => upload,
        Told::Completed { .. } => {
            return Err(incomplete(
                "The upload is complete. Delete its file instead.",
            ));
        }
        other => return Err(odd(&other)),
    };
    // Should this stop half-way, the sweep goes on.
    register(port, &owner, port.now())
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    match told(port, &owner, &document, Ask::Cancel).await? {
        Told::Gone { left } => {
            let _ = purge(port, &owner, &left).await;
            let told = wire::upload(shown(id, &upload), UploadState::Cancelled);
            Ok(Reply::json(200, told))
        }
        other => Err(odd(&other)),
    }
}

// === what a request says ===

/// What an upload is to become.
struct Wanted {
    bytes: u64,
    filename: String,
    purpose: Purpose,
    declared: String,
    lifetime: Option<Millis>,
}

fn wanted(fields: &Map<String, Value>, policy: &Documents) -> Result<Wanted, Refusal> {
    let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let missing = |name: &str| Refusal::new(Code::MissingParameter).param(name);
    let text = |name: &str| match given(name) {
        None => Err(missing(name)),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(invalid(name, "It must be a text.")),
    };
    let known = ["bytes", "filename", "mime_type", "purpose", "expires_after"];
    if let Some(other) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Refusal::new(Code::UnsupportedParameter).param(other.clone()));
    }
    let bytes = given("bytes").ok_or_else(|| missing("bytes"))?;
    let bytes = bytes.as_u64().filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or_else(|| invalid("bytes", "Use the length of the file, at least 1."))?;
    if bytes > policy.max_bytes {
        return Err(too_large(policy.max_bytes));
    }
    Ok(Wanted {
        bytes,
        filename: clean_filename(text("filename")?),
        purpose: form::purpose(text("purpose")?)?,
        declared: text("mime_type")?.chars().take(MAX_TYPE_CHARS).collect(),
        lifetime: given("expires_after").map(lifetime).transpose()?,
    })
}

/// Longest content type that is kept.
const MAX_TYPE_CHARS: usize = 255;

fn lifetime(after: &Value) -> Result<Millis, Refusal> {
    if after.get("anchor").and_then(Value::as_str) != Some("created_at") {
        return Err(invalid(
            "expires_after.anchor",
            "Only created_at is an anchor.",
        ));
    }
    let seconds = after.get("seconds").and_then(Value::as_u64);
    form::lifetime(seconds, "expires_after.seconds")
}

/// The ids of the parts in their order, and the checksum.
fn named_parts(fields: &Map<String, Value>) -> Result<(Vec<String>, Option<String>), Refusal> {
    let ids = match fields.get("part_ids") {
        None | Some(Value::Null) => {
            return Err(Refusal::new(Code::MissingParameter).param("part_ids"));
        }
        Some(Value::Array(ids)) => ids
            .iter()
            .map(|id| id.as_str().map(str::to_owned))
            .collect(),
        Some(_) => None,
    };
    let ids: Vec<String> =
        ids.ok_or_else(|| invalid("part_ids", "Use a list of the parts' ids."))?;
    let md5 = match fields.get("md5") {
        None | Some(Value::Null) => None,
        Some(Value::String(digest)) if is_md5(digest) => Some(digest.to_ascii_lowercase()),
        Some(_) => return Err(invalid("md5", "Use 32 hex digits.")),
    };
    Ok((ids, md5))
}

fn is_md5(digest: &str) -> bool {
    digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The owner and the document of an upload that is the caller's, if there is one.
fn named(caller: &Caller, id: &str) -> Result<(String, String), Refusal> {
    let owner = owner_of(caller).ok_or_else(not_found)?.into_owned();
    Ok((owner, document_of_upload(id).ok_or_else(not_found)?))
}

// === parts ===

/// What writes a part.
struct Writer<'a> {
    owner: &'a str,
    upload: &'a Uploading,
    part: &'a Part,
}

/// What was written.
struct Written {
    stored: Stored,
    number: Option<u32>,
}

impl Writer<'_> {
    async fn write<P: Port, B: ByteSource>(
        &self,
        port: &P,
        owner_key: &str,
        mut form: PartForm,
        body: &mut B,
    ) -> Result<Written, Refusal> {
        let document = &self.upload.intent.id;
        let place = Place {
            tenant: port.tenant(),
            owner: self.owner,
            id: document,
            version: 1,
        };
        let wrapped = self.upload.key.as_deref().unwrap_or_default();
        let key = open_data_key(port, &place, owner_key, wrapped).await?;
        let PartState::Writing { until, .. } = self.part.state else {
            return Err(Refusal::new(Code::Internal));
        };
        let (hash, mut headers) = (port.hash(), Vec::new());
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|fault| Refusal::new(Code::IncompleteBody).cause(fault.0))?;
            let mut input = piece.as_slice();
            while let Some(segment) = form.push(&mut input)? {
                if port.now() >= until {
                    let late = Refusal::new(Code::IncompleteBody);
                    return Err(late.detail("The part took too long."));
                }
                let blob = part_blob(&self.part.id, headers.len());
                let with = sealing::new_segment(key.reveal(), &place, &blob, &port.random());
                let key = blob_key(self.owner, document, &blob);
                port.blob_seal(&key, &with, segment, Some(&hash))
                    .await
                    .map_err(|fault| storage_refusal(&fault))?;
                headers.push((blob, sealing::kept(&with)));
            }
        }
        let arrived = form.finish()?;
        let sha256 = hash
            .finish()
            .await
            .map_err(|fault| storage_refusal(&fault))?;
        let segments = arrived.cut.segments.iter().zip(headers);
        Ok(Written {
            stored: Stored {
                bytes: arrived.cut.bytes,
                sha256: hex(&sha256),
                segments: segments
                    .map(|(length, (blob, header))| Segment {
                        length: *length,
                        header: Some(header),
                        blob: Some(blob),
                    })
                    .collect(),
            },
            number: arrived.number,
        })
    }
}

/// Removes what was written of a part. What fails here is left to the sweep.
async fn give_up<P: Port>(port: &P, owner: &str, document: &str, part: &str) {
    let ask = Ask::AbortPart {
        part: part.to_owned(),
    };
    if let Ok(Told::Gone { left }) = told(port, owner, document, ask).await {
        let _ = purge(port, owner, &left).await;
    }
}

// === the document ===

/// The parts that were named, all of them stored.
fn chosen<'a>(upload: &'a Uploading, ids: &[String]) -> Result<Vec<&'a Stored>, Refusal> {
    let find = |id: &String| {
        let part = upload.parts.iter().find(|part| part.id == *id);
        part.and_then(Part::stored)
    };
    let found: Option<Vec<&Stored>> = ids.iter().map(find).collect();
    found.ok_or_else(|| refused(Why::Part, 0))
}

fn document_of(
    upload: &Uploading,
    parts: &[&Stored],
    provenance: Provenance,
    kept: Retention,
    now: Millis,
) -> Document {
    let digests: String = parts.iter().map(|part| part.sha256.as_str()).collect();
    let bytes = parts
        .iter()
        .fold(0u64, |sum, part| sum.saturating_add(part.bytes));
    Document {
        id: upload.intent.id.clone(),
        owner: upload.intent.owner.clone(),
        filename: upload.filename.clone(),
        purpose: upload.purpose,
        content_type: String::new(),
        bytes,
        sha256: hex(&sha256(digests.as_bytes())),
        segments: parts
            .iter()
            .flat_map(|part| part.segments.clone())
            .collect(),
        version: 1,
        created: now,
        expires: kept.expires(now, upload.lifetime),
        network: upload.intent.network.clone(),
        key: upload.key.clone(),
        about: Box::new(About {
            provenance,
            keep_until: kept.keep_until(now, None),
            ..About::default()
        }),
    }
}

/// The first bytes of a document, as many as it takes to judge it.
async fn beginning<P: Port>(port: &P, held: &Held) -> Result<Vec<u8>, Refusal> {
    let last = (SNIFF_BYTES as u64).saturating_sub(1);
    let mut head = Vec::new();
    let pieces: Vec<Piece> = held.document.pieces(0, last);
    for part in blobs_of(port, held, pieces).await? {
        match port.blob_open(part).await {
            Ok(Blobs::Body(bytes)) => head.extend(bytes),
            Ok(Blobs::Missing | Blobs::Forged) => return Err(damaged(held)),
            Err(fault) => return Err(storage_refusal(&fault)),
        }
    }
    Ok(head)
}

async fn checked<P: Port>(port: &P, held: &Held, expected: &str) -> Result<(), Refusal> {
    let all = held.document.pieces(0, held.document.bytes);
    let parts = blobs_of(port, held, all).await?;
    match port.blob_md5(parts).await {
        Ok(Blobs::Body(found)) if found == expected => Ok(()),
        Ok(Blobs::Body(found)) => Err(Refusal::new(Code::ChecksumMismatch)
            .param("md5")
            .detail(format!("What arrived has the MD5 {found}."))),
        Ok(Blobs::Missing | Blobs::Forged) => Err(damaged(held)),
        Err(fault) => Err(storage_refusal(&fault)),
    }
}

fn damaged(held: &Held) -> Refusal {
    Refusal::new(Code::Integrity).cause(format!("{}: a segment does not open", held.document.id))
}

// === answers ===

fn shown<'a>(id: &'a str, upload: &'a Uploading) -> UploadHead<'a> {
    UploadHead {
        id,
        bytes: upload.intent.reserved,
        created: upload.created,
        expires: upload.intent.abandoned,
        filename: &upload.filename,
        purpose: upload.purpose,
    }
}

fn completed<P: Port>(id: &str, document: &Document) -> Reply<P> {
    let head = UploadHead {
        id,
        bytes: document.bytes,
        created: document.created,
        expires: document.expires,
        filename: &document.filename,
        purpose: document.purpose,
    };
    Reply::json(200, wire::upload(head, UploadState::Completed(document)))
}

/// The same for what never was, what is over and what is somebody else's.
fn not_found() -> Refusal {
    Refusal::new(Code::UploadNotFound)
}

fn incomplete(detail: &str) -> Refusal {
    Refusal::new(Code::UploadIncomplete).detail(detail)
}

fn refused(why: Why, bytes: u64) -> Refusal {
    match why {
        Why::TooMany => invalid("data", &format!("An upload may have {MAX_PARTS} parts.")),
        Why::AtOnce => Refusal::new(Code::ConcurrencyLimited)
            .detail(format!(
                "At most {MAX_PARTS_AT_ONCE} parts are taken at a time."
            ))
            .wait(Millis::from_secs(1)),
        Why::TooLong => Refusal::new(Code::PayloadTooLarge)
            .param("data")
            .detail(format!("The upload was created with {bytes} bytes.")),
        Why::Length => incomplete(&format!(
            "The parts do not come to the {bytes} bytes that the upload was created with."
        ))
        .param("part_ids"),
        Why::Part => invalid("part_ids", "A part is named that is not stored."),
        Why::Order => invalid("part_ids", "The parts' numbers stand in another order."),
    }
}

fn odd(told: &Told) -> Refusal {
    let what = match told {
        Told::Open { .. } => "open",
        Told::Completed { .. } => "completed",
        Told::Stored { .. } => "stored",
        Told::Refused { .. } => "refused",
        Told::Gone { .. } => "gone",
    };
    Refusal::new(Code::Internal).cause(format!("the owner told of an upload: {what}"))
}

async fn told<P: Port>(port: &P, owner: &str, document: &str, ask: Ask) -> Result<Told, Refusal> {
    let command = owner::Command::Upload {
        id: document.to_owned(),
        ask,
    };
    match ask_owner(port, owner, &command).await {
        Ok(owner::Reply::Upload { told }) => Ok(told),
        Ok(owner::Reply::NotFound) => Err(not_found()),
        Ok(_) => Err(Refusal::new(Code::Internal).cause("the owner gave another answer")),
        Err(fault) => Err(storage_refusal(&fault)),
    }
}
