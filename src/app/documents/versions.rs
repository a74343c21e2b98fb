//! Versions of a document: a new one takes its place, earlier ones stay for those who may edit it.

use serde_json::json;

use super::reach::{asked, entitled, who};
use super::upload::{Onto, store};
use super::{invalid, owner_of, purge, shape, unexpected};
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Port};
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::domain::documents::about::Right;
use crate::domain::documents::manifest::SEGMENT_BYTES;
use crate::domain::documents::owner::details::Ask;
use crate::domain::documents::owner::{self, Command};
use crate::domain::documents::range;
use crate::domain::documents::wire;

/// Stores new content for a document, from a form as for a new one. With `If-Match` only over that content.
///
/// # Errors
/// As for a new document; 403 for who may not edit it, 404, 409 when somebody else is faster, 412.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    create_in_segments(port, caller, head, body, id, SEGMENT_BYTES).await
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
    id: &str,
    segment_bytes: u64,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let held = entitled(port, caller, id, Right::Edit).await?;
    let etag = range::etag(&held.document.sha256);
    if let Some(expected) = head.if_match.as_deref()
        && !range::names(expected, &etag)
    {
        return Err(Refusal::new(Code::PreconditionFailed));
    }
    let is_own = owner_of(caller).as_deref() == Some(&held.owner);
    let onto = Onto {
        id: held.document.id.clone(),
        owner: held.owner,
        version: held.document.version.saturating_add(1),
        who: (!is_own).then(|| Box::new(who(caller, None))),
        purpose: held.document.purpose,
    };
    store(port, caller, head, body, segment_bytes, Some(onto)).await
}

/// Lists the versions that are kept, the newest first.
///
/// # Errors
/// 403 for who may not edit it, 404, 503.
pub async fn list<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let command = |who| Command::Versions {
        id: id.to_owned(),
        who,
    };
    match asked(port, caller, None, id, command).await? {
        (_, owner::Reply::Page { documents, .. }) => {
            let data: Vec<_> = documents.iter().map(wire::version).collect();
            let told = json!({"object": "list", "data": data, "has_more": false});
            Ok(Reply::json(200, told.to_string()))
        }
        (_, other) => Err(unexpected(Ok(other))),
    }
}

/// Deletes an earlier version.
///
/// # Errors
/// 403 for everybody but its owner, 404, 409 for what must stay, 503.
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
    version: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let number = number(version)?;
    let command = |who| Command::Details {
        id: id.to_owned(),
        who,
        ask: Ask::RemoveVersion { version: number },
    };
    match asked(port, caller, None, id, command).await? {
        (owner, owner::Reply::Purge { purges, .. }) => {
            let mut reply = Reply::json(200, wire::deleted(id, shape(head)));
            if let Err(fault) = purge(port, &owner, &purges).await {
                reply.outcome.cause = Some(format!("left to the sweep: {}", fault.0));
            }
            Ok(reply)
        }
        (_, other) => Err(unexpected(Ok(other))),
    }
}

/// The version that the query asks for.
pub(super) fn asked_for(head: &Head) -> Result<Option<u32>, Refusal> {
    head.query_value("version")
        .map(|text| number(&text))
        .transpose()
}

fn number(text: &str) -> Result<u32, Refusal> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| invalid("version", "Use a number from 1 on."))
}
