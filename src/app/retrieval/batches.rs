//! Files that are added together: begun at once, read behind the answer, given up together.

use serde_json::{Map, Value};

use super::ingest::ingest;
use super::{
    OwnerKey, ask, files, limits, not_found, owner_of_it, page_of, sealed_attributes, tell,
    unexpected,
};
use crate::app::body::json_body;
use crate::app::documents::door;
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Port};
use crate::app::reply::Reply as Answer;
use crate::app::request::Head;
use crate::app::together::all;
use crate::base::errors::{Code, Refusal};
use crate::base::ids::prefixed;
use crate::domain::documents::scan::state::Reader;
use crate::domain::llm::request::{invalid, missing};
use crate::domain::memory::wire::list as listed;
use crate::domain::retrieval::chunk::Chunking;
use crate::domain::retrieval::store::command::{Command, File, NewFile, Reply};
use crate::domain::retrieval::wire::{self, BATCH_PREFIX, is_batch_id};

/// Most files that are added together: each takes about eight calls, and one invocation may make 1,000.
const MOST_TOGETHER: usize = 100;

/// How soon a client should ask again whether files are done, in milliseconds: OpenAI's clients follow this header.
pub(super) const POLL: (&str, &str) = ("openai-poll-after-ms", "500");

/// A file that is to be added.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub id: String,
    pub chunking: Chunking,
    pub attributes: Map<String, Value>,
}

/// The files that a body names: as `file_ids` with the same for all, or each with its own.
pub(super) fn wanted(fields: &Map<String, Value>) -> Result<Vec<Wanted>, Refusal> {
    let list = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list.as_slice())),
        Some(_) => Err(invalid(name, "must be a list")),
    };
    let (ids, each) = (list("file_ids")?, list("files")?);
    if ids.is_some() && each.is_some() {
        return Err(invalid("files", "cannot be together with `file_ids`"));
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for id in ids.unwrap_or_default() {
        wanted.push(one(id.as_str(), fields, "file_ids")?);
    }
    for file in each.unwrap_or_default() {
        let Value::Object(file) = file else {
            return Err(invalid("files", "must be a list of objects"));
        };
        wanted.push(one(
            file.get("file_id").and_then(Value::as_str),
            file,
            "files",
        )?);
    }
    let mut ids: Vec<&str> = wanted.iter().map(|file| file.id.as_str()).collect();
    ids.sort_unstable();
    if wanted.len() > MOST_TOGETHER || ids.windows(2).any(|two| two.first() == two.last()) {
        let name = if each.is_some() { "files" } else { "file_ids" };
        return Err(invalid(name, "must be at most 100 different files"));
    }
    Ok(wanted)
}

/// A file, and what `fields` say of it.
pub(super) fn one(
    id: Option<&str>,
    fields: &Map<String, Value>,
    param: &str,
) -> Result<Wanted, Refusal> {
    Ok(Wanted {
        id: id
            .ok_or_else(|| invalid(param, "must be the id of a document"))?
            .to_owned(),
        chunking: wire::chunking(fields.get("chunking_strategy"))?,
        attributes: wire::attributes(fields.get("attributes"))?,
    })
}

/// Files with the versions and epochs that they have now.
///
/// # Errors
/// `document_not_found` for one that the caller may not read.
pub(super) async fn looked_at<P: Port>(
    port: &P,
    caller: &Caller,
    wanted: &[Wanted],
) -> Result<Vec<(Wanted, (u32, u64))>, Refusal> {
    let looks = wanted
        .iter()
        .map(|file| door::look(port, caller, &file.id, Reader::Model));
    let mut files = Vec::with_capacity(wanted.len());
    for (file, look) in wanted.iter().zip(all(looks).await) {
        let document = look?;
        files.push((file.clone(), (document.version, document.epoch)));
    }
    Ok(files)
}

/// Files on their way, from now on.
///
/// # Errors
/// `vector_store_not_found`, `retrieval_full`, 503
pub(super) async fn begun<P: Port>(
    port: &P,
    owner: &str,
    store: &str,
    files: &[(Wanted, (u32, u64))],
    batch: Option<&str>,
) -> Result<Vec<File>, Refusal> {
    let command = |key: &OwnerKey| Command::Begin {
        store: store.to_owned(),
        key: key.kept.clone(),
        files: files
            .iter()
            .map(|(file, (version, epoch))| {
                let place = (store, file.id.as_str());
                NewFile {
                    id: file.id.clone(),
                    version: *version,
                    epoch: *epoch,
                    chunking: (file.chunking.max_tokens, file.chunking.overlap_tokens),
                    sealed: sealed_attributes(port, key, owner, place, &file.attributes),
                }
            })
            .collect(),
        batch: batch.map(str::to_owned),
        limits: limits(port.settings()),
    };
    match tell(port, owner, command).await? {
        Reply::Files { files, .. } => Ok(files),
        other => Err(unexpected(other)),
    }
}

/// The same answer, and behind it the files are read, one after the other. What the platform cuts short is ended by the
/// object.
pub(super) fn finished_behind<P: Port>(
    port: &P,
    caller: &Caller,
    owner: &str,
    coming: Vec<File>,
    mut reply: Answer<P>,
) -> Answer<P> {
    if coming.is_empty() {
        return reply;
    }
    let (port, caller) = (port.clone(), caller.clone());
    let owner = owner.to_owned();
    let mut outcome = reply.outcome.clone();
    reply.after = Some(Box::pin(async move {
        for file in &coming {
            if let Err(refusal) = ingest(&port, &caller, &owner, file).await {
                outcome.cause = refusal.cause.or(Some(refusal.code.entry().code.to_owned()));
            }
        }
        outcome
    }));
    reply
}

/// Adds files together. They are read behind the answer.
///
/// # Errors
/// 400, 403, 404, 503
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    store: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, store)?;
    let fields = json_body(port, head, body).await?;
    let wanted = wanted(&fields)?;
    if wanted.is_empty() {
        return Err(missing("file_ids"));
    }
    exists(port, &owner, store).await?;
    let files = looked_at(port, caller, &wanted).await?;
    let id = prefixed(BATCH_PREFIX, &port.random());
    let coming = begun(port, &owner, store, &files, Some(&id)).await?;
    let told = told(port, &owner, store, &id, false).await?;
    let reply = Answer::json(200, told.to_string()).header(POLL.0, POLL.1.to_owned());
    Ok(finished_behind(port, caller, &owner, coming, reply))
}

/// Is that store there? Then its files are worth being looked at.
pub(super) async fn exists<P: Port>(port: &P, owner: &str, store: &str) -> Result<(), Refusal> {
    let id = store.to_owned();
    match ask(port, owner, &Command::Get { id }).await? {
        Reply::Stores { .. } => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// Describes a batch, or gives up what of it is on its way.
///
/// # Errors
/// 403, 404, 503
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    (store, id): (&str, &str),
    cancel: bool,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, store)?;
    if !is_batch_id(id) {
        return Err(not_found());
    }
    let told = told(port, &owner, store, id, cancel).await?;
    Ok(Answer::json(200, told.to_string()).header(POLL.0, POLL.1.to_owned()))
}

async fn told<P: Port>(
    port: &P,
    owner: &str,
    store: &str,
    id: &str,
    cancel: bool,
) -> Result<Value, Refusal> {
    let command = Command::Batch {
        store: store.to_owned(),
        batch: id.to_owned(),
        cancel,
    };
    match ask(port, owner, &command).await? {
        Reply::Batch { batch } => Ok(wire::batch(&batch, store)),
        other => Err(unexpected(other)),
    }
}

/// The files of a batch.
///
/// # Errors
/// 400, 403, 404, 503
pub async fn list<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    (store, id): (&str, &str),
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, store)?;
    if !is_batch_id(id) {
        return Err(not_found());
    }
    let (page, status) = (page_of(head)?, files::status_of(head)?);
    let batch = Some(id.to_owned());
    let (data, more) = files::page(port, &owner, store, batch, status, page).await?;
    Ok(Answer::json(200, listed(data, more).to_string()))
}

/// A document that does not exist for the caller is told as the parameter that names it.
pub(super) fn about_file(refusal: Refusal) -> Refusal {
    if refusal.code == Code::DocumentNotFound {
        refusal.param("file_id")
    } else {
        refusal
    }
}
