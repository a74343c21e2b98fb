//! Conversations: create, list, describe, rename, delete, export.

use serde_json::{Map, Value, json};

use super::items::{opened, read_items, sealed_items};
use super::{OwnerKey, ask, digest_of, invalid, limits, not_found, open_key, tell, unexpected};
use crate::app::body::json_body;
use crate::app::documents::{owner_of, visitor};
use crate::app::gate::Caller;
use crate::app::listing;
use crate::app::port::{ByteSource, Port};
use crate::app::reply::Reply as Answer;
use crate::app::request::Head;
use crate::app::stored::keyed;
use crate::base::errors::Refusal;
use crate::base::ids::prefixed;
use crate::domain::memory::command::{Command, Conversation, Order, Reply};
use crate::domain::memory::sealing::At;
use crate::domain::memory::wire::{self, CONVERSATION_PREFIX, is_conversation_id};

/// Begins a conversation. Whoever is not known yet becomes a visitor.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site; body → items, metadata | 400, 403, 413, 415 |
/// | 2 | who: the cookie's visitor, or a new one | 503 |
/// | 3 | sealed and kept, where there is room | 403, 422, 503 |
/// | 4 | the answer, with a cookie for a new visitor | – |
///
/// # Errors
/// As the table says.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Answer<P>, Refusal> {
    // 1
    head.own_site()?;
    let fields = json_body(port, head, body).await?;
    let metadata = wire::metadata(fields.get("metadata"))?;
    let items = match fields.get("items") {
        None | Some(Value::Null) => Vec::new(),
        Some(items) => read_items(items)?,
    };
    let id = match &head.idempotency_key {
        Some(key) => {
            let object = keyed(port.settings(), caller, "/v1/conversations", key)?;
            id_of_key(&object)
        }
        None => prefixed(CONVERSATION_PREFIX, &port.random()),
    };

    // 2
    let (owner, cookie) = visitor(port, caller, head, port.now()).await?;

    // 3
    let command = |key: &OwnerKey| Command::Create {
        id: id.clone(),
        key: key.kept.clone(),
        metadata: sealed_metadata(port, key, &owner, &id, &metadata),
        items: sealed_items(port, key, &owner, &id, &items, &id),
        digest: digest_of(&fields),
        limits: limits(port.settings()),
    };
    let reply = tell(port, &owner, command).await?;

    // 4
    let told = described(port, &owner, reply).await?;
    let reply = Answer::json(200, told.to_string());
    Ok(reply.headers(cookie.map(|cookie| ("set-cookie", cookie))))
}

/// An id that is the same for the same key.
fn id_of_key(object: &str) -> String {
    let digest = crate::base::digest::sha256(object.as_bytes());
    let mut short = [0; crate::base::ids::ID_BYTES];
    for (to, from) in short.iter_mut().zip(digest) {
        *to = from;
    }
    prefixed(CONVERSATION_PREFIX, &short)
}

/// Lists the caller's conversations, the last used first.
///
/// # Errors
/// 403 when another site asks, 400 for a page that cannot be, 503 when the store does not answer.
pub async fn list<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Answer<P>, Refusal> {
    head.own_site()?;
    let limit = listing::length(head)?;
    let after = head.query_value("after");
    if after.as_deref().is_some_and(|id| !is_conversation_id(id)) {
        return Err(invalid("after", "must be the id of a conversation"));
    }
    let (data, more) = match owner_of(caller) {
        None => (Vec::new(), false),
        Some(owner) => page(port, &owner, after, limit).await?,
    };
    Ok(Answer::json(200, wire::list(data, more).to_string()))
}

async fn page<P: Port>(
    port: &P,
    owner: &str,
    after: Option<String>,
    limit: u32,
) -> Result<(Vec<Value>, bool), Refusal> {
    let (conversations, more, key) = match ask(port, owner, &Command::List { after, limit }).await?
    {
        Reply::Conversations {
            conversations,
            more,
            key,
        } => (conversations, more, key),
        Reply::NotFound => return Err(invalid("after", "must be the id of a conversation")),
        other => return Err(unexpected(other)),
    };
    let Some(key) = key else {
        return Ok((Vec::new(), false));
    };
    let key = open_key(port, owner, key).await?;
    let data: Result<Vec<Value>, Refusal> = conversations
        .iter()
        .map(|conversation| told(port, &key, owner, conversation))
        .collect();
    Ok((data?, more))
}

/// Describes a conversation.
///
/// # Errors
/// 403 when another site asks, 404 for everything that is not the caller's, 503.
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, id)?;
    let reply = ask(port, &owner, &Command::Get { id: id.to_owned() }).await?;
    let told = described(port, &owner, reply).await?;
    Ok(Answer::json(200, told.to_string()))
}

/// Replaces a conversation's metadata; its title is among them.
///
/// # Errors
/// 400, 403, 404, 503
pub async fn update<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, id)?;
    let fields = json_body(port, head, body).await?;
    let metadata = fields.get("metadata").ok_or_else(|| {
        Refusal::new(crate::base::errors::Code::MissingParameter).param("metadata")
    })?;
    let metadata = wire::metadata(Some(metadata))?;
    let command = |key: &OwnerKey| Command::Update {
        id: id.to_owned(),
        key: key.kept.clone(),
        metadata: sealed_metadata(port, key, &owner, id, &metadata),
        limits: limits(port.settings()),
    };
    let reply = tell(port, &owner, command).await?;
    let told = described(port, &owner, reply).await?;
    Ok(Answer::json(200, told.to_string()))
}

/// Deletes a conversation and its items.
///
/// # Errors
/// 403, 404, 503
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, id)?;
    match ask(port, &owner, &Command::Delete { id: id.to_owned() }).await? {
        Reply::Done => Ok(Answer::json(200, wire::deleted(id).to_string())),
        other => Err(unexpected(other)),
    }
}

/// A conversation with all of its items, to be taken elsewhere.
///
/// # Errors
/// 403, 404, 503
pub async fn export<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, id)?;
    let told = exported(port, &owner, id).await?;
    let name = format!("attachment; filename=\"{id}.json\"");
    Ok(Answer::json(200, told.to_string()).header("content-disposition", name))
}

async fn exported<P: Port>(port: &P, owner: &str, id: &str) -> Result<Value, Refusal> {
    let reply = ask(port, owner, &Command::Get { id: id.to_owned() }).await?;
    let mut told = described(port, owner, reply).await?;
    let command = Command::Items {
        id: id.to_owned(),
        after: None,
        limit: u32::MAX,
        order: Order::Ascending,
    };
    let (items, _) = opened(port, owner, id, ask(port, owner, &command).await?).await?;
    if let Some(told) = told.as_object_mut() {
        told.insert("items".into(), Value::Array(items));
    }
    Ok(told)
}

/// All conversations of an owner with their items.
pub(super) async fn all<P: Port>(port: &P, owner: &str) -> Result<Vec<Value>, Refusal> {
    let (listed, _) = page(port, owner, None, u32::MAX).await?;
    let mut all = Vec::with_capacity(listed.len());
    for one in listed {
        let id = one.get("id").and_then(Value::as_str).unwrap_or_default();
        match exported(port, owner, id).await {
            Ok(told) => all.push(told),
            // Deleted, or over, since it was listed.
            Err(refusal) if refusal.code == not_found().code => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(all)
}

/// Whose a conversation of that id would be.
pub(super) fn owner_of_it(caller: &Caller, head: &Head, id: &str) -> Result<String, Refusal> {
    head.own_site()?;
    let owner = owner_of(caller).filter(|_| is_conversation_id(id));
    owner
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(not_found)
}

fn sealed_metadata<P: Port>(
    port: &P,
    key: &OwnerKey,
    owner: &str,
    id: &str,
    metadata: &Map<String, Value>,
) -> Option<String> {
    let text = Value::Object(metadata.clone()).to_string();
    (!metadata.is_empty()).then(|| key.seal(port, owner, At::Metadata(id), &text))
}

/// The conversation of a reply, as it goes to the caller.
pub(super) async fn described<P: Port>(
    port: &P,
    owner: &str,
    reply: Reply,
) -> Result<Value, Refusal> {
    match reply {
        Reply::Conversation { conversation, key } => {
            let key = open_key(port, owner, key).await?;
            told(port, &key, owner, &conversation)
        }
        other => Err(unexpected(other)),
    }
}

fn told<P: Port>(
    port: &P,
    key: &OwnerKey,
    owner: &str,
    conversation: &Conversation,
) -> Result<Value, Refusal> {
    let metadata = match &conversation.metadata {
        None => json!({}),
        Some(sealed) => {
            let at = At::Metadata(&conversation.id);
            Value::Object(key.object(port, owner, at, sealed)?)
        }
    };
    Ok(wire::conversation(conversation, &metadata))
}
