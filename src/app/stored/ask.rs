//! The worker's side: asks the object of an answer, and makes a reply of what it tells.

use serde_json::json;

use super::command::own_header;
use super::command::{ChatWork, Command, Run, Standing, Told, Work};
use super::index;
use super::place::{Place, digest_of, keyed, owner};
use crate::app::call::{Call, Wishes};
use crate::app::gate::Caller;
use crate::app::kept::Slot;
use crate::app::port::{Port, StoredReply, storage_refusal};
use crate::app::raw::RawCall;
use crate::app::render::stream_head;
use crate::app::reply::{Body, Outcome, Reply};
use crate::app::request::Head;
use crate::app::standing;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::request::ChatRequest;
use crate::domain::llm::stream::delivery::full_id;
use crate::domain::llm::stream::log;

/// Runs a chat call in an object and makes the reply of it.
///
/// # Errors
/// What the object refuses.
pub async fn ask<P: Port>(
    call: &Call<P>,
    head: &Head,
    place: Place,
    request: &ChatRequest,
) -> Result<Reply<P>, Refusal> {
    let begin = log::Begin {
        owner: place.owner,
        digest: digest_of(&request.asked()),
        ttl: place.ttl,
        grace: place.grace,
        stream: call.form.stream,
        request: place.request,
        protocol: call.form.protocol,
        request_id: call.caller.request_id.clone(),
    };
    let work = Work::Chat(Box::new(ChatWork {
        protocol: call.form.protocol,
        body: request.body.clone(),
        wishes: Wishes {
            id: place.id.clone(),
            numbered: place.numbered,
            ..call.wishes.clone()
        },
        prefer: head.prefer.clone(),
        network: call.caller.network.clone(),
        client: call.caller.client.clone(),
        slot: call.slot.as_ref().map(Slot::key),
        look_up: place.look_up && call.slot.as_ref().is_some_and(Slot::reads),
        chinese: head.prefers_chinese(),
        previous: request.previous.clone(),
        belongs: request.belongs.clone(),
        memories: request.memories.clone(),
        passages: request.passages.clone(),
    }));
    let run = Run {
        tenant: call.port.tenant().to_owned(),
        payer: call.caller.payer.clone(),
        begin,
        background: place.background,
        work,
    };
    index::note(&call.port, &call.caller, &place.id, &run.begin).await?;
    let (told, stream) = tell(&call.port, &place.id, &Command::Run(Box::new(run))).await?;
    let mut reply = match told {
        Told::Standing(standing) if place.background => {
            let body = standing::body(call.form.protocol, &place.id, &standing)?;
            Reply::json(200, body.to_string())
        }
        told => made(call.form.stream, told, stream)?,
    };
    reply.outcome = Outcome {
        alias: Some(call.alias.clone()),
        stream: Some(call.form.stream),
        ..Outcome::default()
    };
    Ok(reply)
}

/// Runs a keyed call whose answer is passed on.
///
/// # Errors
/// What the object refuses.
pub async fn ask_raw<P: Port>(
    port: &P,
    caller: &Caller,
    key: &str,
    call: &RawCall,
) -> Result<Reply<P>, Refusal> {
    let settings = port.settings();
    let id = keyed(settings, caller, &call.path, key)?;
    let begin = log::Begin {
        owner: owner(caller),
        digest: digest_of(&call.fields()),
        ttl: Millis::from_secs(settings.config.streams.idempotency_ttl_seconds),
        // Whoever retries will be back.
        grace: None,
        stream: false,
        request: None,
        // An answer that is passed on has no dialect of ours.
        protocol: Protocol::Chat,
        request_id: caller.request_id.clone(),
    };
    let run = Run {
        tenant: port.tenant().to_owned(),
        payer: caller.payer.clone(),
        begin,
        background: false,
        work: Work::Raw(Box::new(call.clone())),
    };
    index::note(port, caller, &id, &run.begin).await?;
    let (told, body) = tell(port, &id, &Command::Run(Box::new(run))).await?;
    let mut reply = made(false, told, body)?;
    reply.outcome.alias = Some(call.alias.clone());
    Ok(reply)
}

/// Sends a command to the object of an answer.
pub(super) async fn tell<P: Port>(
    port: &P,
    id: &str,
    command: &Command,
) -> Result<(Told, Option<P::Stream>), Refusal> {
    let text = serde_json::to_string(command)
        .map_err(|error| Refusal::new(Code::Internal).cause(error.to_string()))?;
    let StoredReply { told, stream } = port
        .stored(id, text)
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    let told = serde_json::from_str(&told)
        .map_err(|error| Refusal::new(Code::Internal).cause(error.to_string()))?;
    Ok((told, stream))
}

fn refusal_of(told: Told) -> Refusal {
    match told {
        Told::Refused(refused) => refused.refusal(),
        Told::Conflict => Refusal::new(Code::IdempotencyConflict).param("Idempotency-Key"),
        Told::NotFound => Refusal::new(Code::ResponseNotFound),
        Told::Head { .. } | Told::Standing(_) | Told::Done => {
            Refusal::new(Code::Internal).cause("the object answered something else")
        }
    }
}

/// The reply with an answer that the object makes or has made.
fn made<P: Port>(stream: bool, told: Told, body: Option<P::Stream>) -> Result<Reply<P>, Refusal> {
    let Told::Head { head, attached } = told else {
        return Err(refusal_of(told));
    };
    let reply = reply_of(stream, &head, body);
    Ok(if attached {
        reply.header("x-gatehouse-attached", "true")
    } else {
        reply
    })
}

fn reply_of<P: Port>(stream: bool, head: &log::Head, body: Option<P::Stream>) -> Reply<P> {
    let mut reply = if stream {
        stream_head(Reply::status(head.status))
    } else {
        let kind = head.headers.iter().find(|(name, _)| name == "content-type");
        let kind = kind.map_or("application/json", |(_, kind)| kind.as_str());
        Reply::status(head.status)
            .header("content-type", kind)
            .header("cache-control", "no-store")
    };
    for (name, value) in &head.headers {
        if let Some(name) = own_header(name) {
            reply = reply.header(name, value.clone());
        }
    }
    if let Some(body) = body {
        reply.body = Body::Stream(body);
    }
    reply
}

/// `GET` of an answer: whole, or as a stream from behind an event.
///
/// # Errors
/// `response_not_found`.
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    protocol: Protocol,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    let bare = bare_id(protocol, id)?;
    let owner = owner(caller);
    if head.query_value("stream").as_deref() == Some("true") {
        let after = after(head)?;
        let (told, stream) = tell(
            port,
            bare,
            &Command::Read {
                owner,
                protocol,
                after,
            },
        )
        .await?;
        return match told {
            Told::Head { head, .. } => Ok(reply_of(true, &head, stream)),
            other => Err(refusal_of(other)),
        };
    }
    let (told, _) = tell(port, bare, &Command::Look { owner, protocol }).await?;
    match told {
        Told::Standing(standing) => {
            let body = standing::body(protocol, bare, &standing)?;
            Ok(Reply::json(200, body.to_string()))
        }
        other => Err(refusal_of(other)),
    }
}

/// Behind which event to begin: `starting_after`, or what a browser's event source sends by itself.
fn after(head: &Head) -> Result<Option<u64>, Refusal> {
    let given = head
        .query_value("starting_after")
        .or_else(|| head.last_event_id.clone())
        .filter(|text| !text.is_empty());
    given
        .map(|text| {
            text.parse().map_err(|_| {
                Refusal::new(Code::InvalidParameter)
                    .param("starting_after")
                    .detail("`starting_after` must be the number of an event.")
            })
        })
        .transpose()
}

/// Stops an answer, or forgets it.
///
/// # Errors
/// `response_not_found`.
pub async fn cancel<P: Port>(
    port: &P,
    caller: &Caller,
    protocol: Protocol,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    let bare = bare_id(protocol, id)?;
    let owner = owner(caller);
    match tell(port, bare, &Command::Cancel { owner, protocol })
        .await?
        .0
    {
        Told::Standing(standing) => {
            let body = standing::body(protocol, bare, &standing)?;
            Ok(Reply::json(200, body.to_string()))
        }
        other => Err(refusal_of(other)),
    }
}

/// Forgets an answer.
///
/// # Errors
/// `response_not_found`.
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    protocol: Protocol,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    let bare = bare_id(protocol, id)?;
    let owner = owner(caller);
    match tell(port, bare, &Command::Delete { owner, protocol })
        .await?
        .0
    {
        Told::Done => {
            index::deleted(port, caller, bare).await;
            Ok(Reply::json(
                200,
                match protocol {
                    Protocol::Chat => {
                        json!({"id": id, "object": "chat.completion.deleted", "deleted": true})
                    }
                    Protocol::Responses => json!({"id": id, "object": "response", "deleted": true}),
                    Protocol::Messages => json!({"id": id, "type": "message_deleted"}),
                }
                .to_string(),
            ))
        }
        other => Err(refusal_of(other)),
    }
}

/// Where an answer stands, and what was kept of its request.
///
/// # Errors
/// `response_not_found`.
pub async fn look<P: Port>(
    port: &P,
    caller: &Caller,
    protocol: Protocol,
    id: &str,
) -> Result<Box<Standing>, Refusal> {
    let bare = bare_id(protocol, id)?;
    let owner = owner(caller);
    match tell(port, bare, &Command::Look { owner, protocol })
        .await?
        .0
    {
        Told::Standing(standing) => Ok(standing),
        other => Err(refusal_of(other)),
    }
}

/// The id without its dialect's prefix.
fn bare_id(protocol: Protocol, id: &str) -> Result<&str, Refusal> {
    let prefix = full_id(protocol, "");
    id.strip_prefix(prefix.as_str())
        .filter(|bare| {
            bare.len() == ID_CHARS
                && bare
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
        .ok_or_else(|| Refusal::new(Code::ResponseNotFound))
}

/// 128 bits in base64url: ⌈128 / 6⌉.
const ID_CHARS: usize = 22;
