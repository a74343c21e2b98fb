//! Stores: create, list, describe, change, delete.

use serde_json::{Map, Value};

use super::batches::{begun, finished_behind, looked_at};
use super::{OwnerKey, ask, limits, not_found, open_key, owner_of_it, page_of, tell, unexpected};
use crate::app::body::json_body;
use crate::app::documents::{owner_of, visitor};
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Port};
use crate::app::reply::Reply as Answer;
use crate::app::request::Head;
use crate::base::errors::Refusal;
use crate::base::ids::prefixed;
use crate::domain::llm::request::invalid;
use crate::domain::memory::wire::list as listed;
use crate::domain::retrieval::store::command::{Command, Page, Reply, Store};
use crate::domain::retrieval::store::sealing::At;
use crate::domain::retrieval::wire::{self, STORE_PREFIX, is_store_id};

/// Makes a store. Whoever is not known yet becomes a visitor.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site; body → what is said, files | 400, 403, 413, 415 |
/// | 2 | who: the cookie's visitor, or a new one | 503 |
/// | 3 | the files, which the caller must be allowed to read | 404, 503 |
/// | 4 | sealed and kept, where there is room | 403, 503 |
/// | 5 | the answer; behind it the files are read | – |
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
    let said = wire::said(&fields, Map::new())?;
    let life = wire::expires_after(fields.get("expires_after"))?.flatten();
    let wanted = super::batches::wanted(&fields)?;
    let id = prefixed(STORE_PREFIX, &port.random());

    // 2
    let (owner, cookie) = visitor(port, caller, head, port.now()).await?;

    // 3
    let files = looked_at(port, caller, &wanted).await?;

    // 4
    let text = Value::Object(said.clone()).to_string();
    let command = |key: &OwnerKey| Command::Create {
        id: id.clone(),
        key: key.kept.clone(),
        sealed: key.seal(port, &owner, At::Store(&id), &text),
        life,
        limits: limits(port.settings()),
    };
    let mut store = one(tell(port, &owner, command).await?)?;
    let mut coming = Vec::new();
    if !files.is_empty() {
        coming = begun(port, &owner, &id, &files, None).await?;
        store = one(ask(port, &owner, &Command::Get { id }).await?)?;
    }

    // 5
    let reply = Answer::json(200, wire::store(&store, &said).to_string());
    let reply = reply.headers(cookie.map(|cookie| ("set-cookie", cookie)));
    Ok(finished_behind(port, caller, &owner, coming, reply))
}

/// Lists the caller's stores.
///
/// # Errors
/// 403 when another site asks, 400 for a page that cannot be, 503 when the store does not answer.
pub async fn list<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Answer<P>, Refusal> {
    head.own_site()?;
    let wanted = page_of(head)?;
    for (name, id) in [("after", &wanted.after), ("before", &wanted.before)] {
        if id.as_deref().is_some_and(|id| !is_store_id(id)) {
            return Err(invalid(name, "must be the id of a vector store"));
        }
    }
    let (data, more) = match owner_of(caller) {
        None => (Vec::new(), false),
        Some(owner) => page(port, &owner, wanted).await?,
    };
    Ok(Answer::json(200, listed(data, more).to_string()))
}

/// Some stores of an owner.
pub(super) async fn page<P: Port>(
    port: &P,
    owner: &str,
    page: Page,
) -> Result<(Vec<Value>, bool), Refusal> {
    let (stores, more, key) = match ask(port, owner, &Command::List { page }).await? {
        Reply::Stores { stores, more, key } => (stores, more, key),
        Reply::NotFound => return Err(invalid("after", "must be the id of a vector store")),
        other => return Err(unexpected(other)),
    };
    let Some(key) = key else {
        return Ok((Vec::new(), false));
    };
    let key = open_key(port, owner, key).await?;
    let data = stores.iter().map(|store| {
        let said = key.object(port, owner, At::Store(&store.id), &store.sealed)?;
        Ok(wire::store(store, &said))
    });
    Ok((data.collect::<Result<_, Refusal>>()?, more))
}

/// Describes a store.
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
    let (store, said) = found(port, &owner, id).await?;
    Ok(Answer::json(200, wire::store(&store, &said).to_string()))
}

/// Changes name, metadata, or how long a store is kept.
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
    let expires = wire::expires_after(fields.get("expires_after"))?;
    let (store, said) = found(port, &owner, id).await?;
    let said = wire::said(&fields, said)?;
    let life = expires.unwrap_or_else(|| store.limited.then_some(store.life));
    let text = Value::Object(said.clone()).to_string();
    let command = |key: &OwnerKey| Command::Update {
        id: id.to_owned(),
        key: key.kept.clone(),
        sealed: key.seal(port, &owner, At::Store(id), &text),
        life,
        limits: limits(port.settings()),
    };
    let store = one(tell(port, &owner, command).await?)?;
    Ok(Answer::json(200, wire::store(&store, &said).to_string()))
}

/// Deletes a store and what is in it; the documents stay.
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
        Reply::Done => Ok(Answer::json(
            200,
            wire::deleted(id, "vector_store").to_string(),
        )),
        other => Err(unexpected(other)),
    }
}

async fn found<P: Port>(
    port: &P,
    owner: &str,
    id: &str,
) -> Result<(Store, Map<String, Value>), Refusal> {
    match ask(port, owner, &Command::Get { id: id.to_owned() }).await? {
        Reply::Stores {
            stores,
            key: Some(key),
            ..
        } => {
            let store = stores.into_iter().next().ok_or_else(not_found)?;
            let key = open_key(port, owner, key).await?;
            let said = key.object(port, owner, At::Store(id), &store.sealed)?;
            Ok((store, said))
        }
        other => Err(unexpected(other)),
    }
}

fn one(reply: Reply) -> Result<Store, Refusal> {
    match reply {
        Reply::Stores { stores, .. } => stores.into_iter().next().ok_or_else(not_found),
        other => Err(unexpected(other)),
    }
}
