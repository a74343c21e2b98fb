//! Comments beside a document: short texts of those who may comment on it, sealed like the document.

use serde_json::{Value, json};

use super::invalid;
use super::reach::{asked, entitled, who};
use super::sealing::Held;
use super::shares::details;
use crate::app::body::json_body;
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Port};
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::base::digest::{Bytes32, hex};
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::domain::documents::about::Right;
use crate::domain::documents::owner::Command;
use crate::domain::documents::owner::details::{Ask, Comment, Told};
use crate::domain::documents::sealing::{self, Beside};

/// Longest comment in bytes.
const MAX_COMMENT_BYTES: usize = 4_096;

/// Writes a comment.
///
/// # Errors
/// 400, 403 for who may only read, 404, 503.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let fields = json_body(port, head, body).await?;
    if let Some(name) = fields.keys().find(|name| *name != "text") {
        return Err(invalid(name, "Use text."));
    }
    let text = fields.get("text").and_then(Value::as_str).map(str::trim);
    let fits = |text: &&str| (1..=MAX_COMMENT_BYTES).contains(&text.len());
    let text = text.filter(fits).ok_or_else(|| {
        let detail = format!("Use a text of 1 to {MAX_COMMENT_BYTES} bytes.");
        invalid("text", &detail)
    })?;

    let held = entitled(port, caller, id, Right::Comment).await?;
    let comment_id = ["comment_", &hex(&port.random::<16>())].concat();
    let place = held.place(port);
    let key = key(port, &held).await?;
    let sealed = sealing::seal_beside(
        key.reveal(),
        &place,
        Beside::Comment(&comment_id),
        text.as_bytes(),
        &port.random(),
    );
    let sealed = sealed.map_err(|fault| Refusal::new(Code::Internal).cause(fault.to_string()))?;
    let comment = Comment {
        id: comment_id,
        by: who(caller, None).principal,
        created: port.now(),
        sealed,
        version: held.document.version,
    };
    let command = |who| Command::Details {
        id: id.to_owned(),
        who,
        ask: Ask::Comment {
            comment: comment.clone(),
        },
    };
    let (_, reply) = asked(port, caller, None, id, command).await?;
    match details(Ok(reply))? {
        Told::Document { .. } => {
            let told = shown(&comment, text, id);
            Ok(Reply::json(200, told.to_string()))
        }
        Told::TooMany => {
            Err(Refusal::new(Code::QuotaExceeded).detail("A document has 200 comments at most."))
        }
        _ => Err(Refusal::new(Code::Internal)),
    }
}

/// Lists the comments, the oldest first.
///
/// # Errors
/// 403, 404, 503.
pub async fn list<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let command = |who| Command::Details {
        id: id.to_owned(),
        who,
        ask: Ask::Comments,
    };
    let (owner, reply) = asked(port, caller, None, id, command).await?;
    let Told::Comments {
        comments,
        documents,
        owner_key,
    } = details(Ok(reply))?
    else {
        return Err(Refusal::new(Code::Internal));
    };
    let mut data = Vec::new();
    for document in documents {
        let held = Held {
            owner: owner.clone(),
            document,
            owner_key: owner_key.clone(),
            right: Right::View,
        };
        let place = held.place(port);
        let key = key(port, &held).await?;
        for comment in &comments {
            if comment.version != held.document.version {
                continue;
            }
            let what = Beside::Comment(&comment.id);
            let opened = sealing::open_beside(key.reveal(), &place, what, &comment.sealed);
            let opened = opened.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = opened.ok_or_else(|| {
                Refusal::new(Code::Integrity)
                    .cause(format!("{}: a comment was changed", comment.id))
            })?;
            data.push(shown(comment, &text, id));
        }
    }
    data.sort_by_key(|comment| {
        let created = comment.get("created_at").and_then(Value::as_u64);
        created.unwrap_or_default()
    });
    let told = json!({"object": "list", "data": data, "has_more": false});
    Ok(Reply::json(200, told.to_string()))
}

/// Removes a comment: the document's owner each, everybody else their own.
///
/// # Errors
/// 403, 404, 503.
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
    comment: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let command = |who| Command::Details {
        id: id.to_owned(),
        who,
        ask: Ask::RemoveComment {
            id: comment.to_owned(),
        },
    };
    let (_, reply) = asked(port, caller, None, id, command).await?;
    match details(Ok(reply))? {
        Told::Document { .. } => {
            let told = json!({"id": comment, "object": "file.comment.deleted", "deleted": true});
            Ok(Reply::json(200, told.to_string()))
        }
        _ => Err(Refusal::new(Code::NotFound).detail("There is no such comment of yours.")),
    }
}

/// The key of the version that a comment is written beside.
async fn key<P: Port>(port: &P, held: &Held) -> Result<Secret<Bytes32>, Refusal> {
    let key = held.data_key(port).await?;
    key.ok_or_else(|| {
        Refusal::new(Code::Conflict)
            .detail("This document was stored before documents were sealed.")
    })
}

fn shown(comment: &Comment, text: &str, document: &str) -> Value {
    json!({
        "id": comment.id,
        "object": "file.comment",
        "file_id": document,
        "created_at": comment.created.secs(),
        "by": comment.by,
        "version": comment.version,
        "text": text,
    })
}
