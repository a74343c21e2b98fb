//! Files of a store: add, list, describe, label, take out, and what was read of them.

use serde_json::{Value, json};

use super::batches::{POLL, about_file, begun, exists, looked_at, one};
use super::ingest::ingest;
use super::{
    OwnerKey, ask, attributes, not_found, open_key, owner_of_it, page_of, sealed_attributes, tell,
    unexpected,
};
use crate::app::body::json_body;
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Port};
use crate::app::reply::Reply as Answer;
use crate::app::request::Head;
use crate::base::errors::Refusal;
use crate::domain::documents::manifest::is_document_id;
use crate::domain::llm::request::{invalid, missing};
use crate::domain::memory::wire::list as listed;
use crate::domain::retrieval::store::command::{Command, Page, Reply, Status};
use crate::domain::retrieval::store::sealing::At;
use crate::domain::retrieval::wire;

/// Passages of a content that are fetched at once.
const PASSAGES_AT_ONCE: u32 = 1_000;

/// Adds a document to a store, and reads it: the answer says how that went.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | body → which document, how to cut it, attributes | 400, 403, 413, 415 |
/// | 2 | the store, and the document, which the caller must be allowed to read | 404, 503 |
/// | 3 | on its way, where there is room | 403, 503 |
/// | 4 | read, cut, sealed, and found from then on, all at once | – |
///
/// # Errors
/// As the table says. What goes wrong in step 4 stands on the file as its last error.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    store: &str,
) -> Result<Answer<P>, Refusal> {
    // 1
    let owner = owner_of_it(caller, head, store)?;
    let fields = json_body(port, head, body).await?;
    let id = fields.get("file_id").filter(|id| !id.is_null());
    let id = id.ok_or_else(|| missing("file_id"))?;
    let wanted = one(id.as_str(), &fields, "file_id")?;
    let id = wanted.id.clone();

    // 2
    exists(port, &owner, store).await?;
    let files = looked_at(port, caller, &[wanted])
        .await
        .map_err(about_file)?;

    // 3
    let coming = begun(port, &owner, store, &files, None).await?;

    // 4
    let mut cause = None;
    for file in &coming {
        if let Err(refusal) = ingest(port, caller, &owner, file).await {
            cause = refusal.cause;
        }
    }
    let mut reply = told(port, &owner, store, &id).await?;
    reply.outcome.cause = cause;
    Ok(reply)
}

async fn told<P: Port>(
    port: &P,
    owner: &str,
    store: &str,
    file: &str,
) -> Result<Answer<P>, Refusal> {
    let command = Command::File {
        store: store.to_owned(),
        file: file.to_owned(),
    };
    described(port, owner, store, ask(port, owner, &command).await?).await
}

async fn described<P: Port>(
    port: &P,
    owner: &str,
    store: &str,
    reply: Reply,
) -> Result<Answer<P>, Refusal> {
    let (files, _) = opened(port, owner, store, reply).await?;
    let file = files.into_iter().next().ok_or_else(not_found)?;
    Ok(Answer::json(200, file.to_string()).header(POLL.0, POLL.1.to_owned()))
}

/// The files of a reply, as they go to the caller.
async fn opened<P: Port>(
    port: &P,
    owner: &str,
    store: &str,
    reply: Reply,
) -> Result<(Vec<Value>, bool), Refusal> {
    match reply {
        Reply::Files { files, more, key } => {
            let key = open_key(port, owner, key).await?;
            let data = files.iter().map(|file| {
                let attributes = attributes(port, &key, owner, store, file)?;
                Ok(wire::file(file, store, &attributes))
            });
            Ok((data.collect::<Result<_, Refusal>>()?, more))
        }
        other => Err(unexpected(other)),
    }
}

/// Lists the files of a store.
///
/// # Errors
/// 400, 403, 404, 503
pub async fn list<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    store: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, store)?;
    let (page_of, status) = (page_of(head)?, status_of(head)?);
    let (data, more) = page(port, &owner, store, None, status, page_of).await?;
    Ok(Answer::json(200, listed(data, more).to_string()))
}

/// The status that the query's `filter` asks for.
pub(super) fn status_of(head: &Head) -> Result<Option<Status>, Refusal> {
    match head.query_value("filter").as_deref() {
        None => Ok(None),
        Some("in_progress") => Ok(Some(Status::InProgress)),
        Some("completed") => Ok(Some(Status::Completed)),
        Some("failed") => Ok(Some(Status::Failed)),
        Some("cancelled") => Ok(Some(Status::Cancelled)),
        Some(_) => {
            let rule = "must be in_progress, completed, failed or cancelled";
            Err(invalid("filter", rule))
        }
    }
}

/// Some files of a store.
pub(super) async fn page<P: Port>(
    port: &P,
    owner: &str,
    store: &str,
    batch: Option<String>,
    status: Option<Status>,
    page: Page,
) -> Result<(Vec<Value>, bool), Refusal> {
    let command = Command::Files {
        store: store.to_owned(),
        batch,
        status,
        page,
    };
    match ask(port, owner, &command).await? {
        Reply::NoFile => Err(invalid("after", "must be the id of a file of this list")),
        reply => opened(port, owner, store, reply).await,
    }
}

/// Describes a file of a store.
///
/// # Errors
/// 403, 404, 503
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    (store, file): (&str, &str),
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_file(caller, head, store, file)?;
    told(port, &owner, store, file).await
}

/// Replaces a file's attributes.
///
/// # Errors
/// 400, 403, 404, 503
pub async fn update<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    (store, file): (&str, &str),
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_file(caller, head, store, file)?;
    let fields = json_body(port, head, body).await?;
    let attributes = fields
        .get("attributes")
        .ok_or_else(|| missing("attributes"))?;
    let attributes = wire::attributes(Some(attributes))?;
    let command = |key: &OwnerKey| Command::Attributes {
        store: store.to_owned(),
        file: file.to_owned(),
        key: key.kept.clone(),
        sealed: sealed_attributes(port, key, &owner, (store, file), &attributes),
    };
    let reply = tell(port, &owner, command).await?;
    described(port, &owner, store, reply).await
}

/// Takes a file out of a store; the document stays.
///
/// # Errors
/// 403, 404, 503
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    (store, file): (&str, &str),
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_file(caller, head, store, file)?;
    let command = Command::Detach {
        store: store.to_owned(),
        file: file.to_owned(),
    };
    match ask(port, &owner, &command).await? {
        Reply::Done => {
            let told = wire::deleted(file, "vector_store.file");
            Ok(Answer::json(200, told.to_string()))
        }
        other => Err(unexpected(other)),
    }
}

/// The passages of a file, in order. As long as the caller may read the document itself.
///
/// # Errors
/// 403, 404, 503
pub async fn content<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    (store, file): (&str, &str),
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_file(caller, head, store, file)?;
    exists(port, &owner, store).await?;
    let document = super::search::look(port, caller, file).await?;
    let document = document.ok_or_else(not_found)?;
    let mut data: Vec<Value> = Vec::new();
    loop {
        let command = Command::Content {
            store: store.to_owned(),
            file: file.to_owned(),
            from: u32::try_from(data.len()).unwrap_or(u32::MAX),
            limit: PASSAGES_AT_ONCE,
        };
        let (hits, files, key) = match ask(port, &owner, &command).await? {
            Reply::Passages { hits, files, key } => (hits, files, key),
            other => return Err(unexpected(other)),
        };
        if !files
            .iter()
            .all(|file| super::search::is_of(file, &document))
        {
            return Err(not_found());
        }
        let key = open_key(port, &owner, key).await?;
        let more = hits.len() == PASSAGES_AT_ONCE as usize;
        for hit in hits {
            let place = At::Passage(hit.number, hit.place);
            let text = key.text(port, &owner, place, &hit.sealed)?;
            let passage = super::ingest::read(&text);
            data.push(json!({
                "type": "text", "text": passage.text, "heading": passage.heading, "anchor": passage.anchor,
            }));
        }
        if !more {
            break;
        }
    }
    let told = json!({
        "object": "vector_store.file_content.page", "data": data, "has_more": false, "next_page": null,
    });
    Ok(Answer::json(200, told.to_string()))
}

fn owner_of_file(caller: &Caller, head: &Head, store: &str, file: &str) -> Result<String, Refusal> {
    let owner = owner_of_it(caller, head, store)?;
    if is_document_id(file) {
        Ok(owner)
    } else {
        Err(not_found())
    }
}
