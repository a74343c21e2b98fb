//! From a document to passages that are found.
//!
//! Nothing of a file is found before its last step, which the object takes at once. Each step may be repeated; one that
//! never comes is ended by the object's alarm.

use serde_json::{Value, json};

use super::search::{embedder, is_of};
use super::{OwnerKey, ask, key_of, limits, not_found, unexpected};
use crate::app::documents::door;
use crate::app::embed::embed;
use crate::app::gate::Caller;
use crate::app::port::Port;
use crate::base::digest::{Bytes32, base64url, hex};
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::documents::scan::state::Reader;
use crate::domain::retrieval::chunk::{Chunking, Passage, passages};
use crate::domain::retrieval::extract::{ExtractFault, extract};
use crate::domain::retrieval::format::format_of;
use crate::domain::retrieval::store::command::{Blame, Command, Failure, File, Reply};
use crate::domain::retrieval::store::index::Builder;
use crate::domain::retrieval::store::near::rows_of;
use crate::domain::retrieval::store::sealing::{At, Made, hidden, seal_made, term_key, vector_key};
use crate::domain::retrieval::terms::terms_of_passage;
use crate::domain::retrieval::vector::{Unit, encode};

/// Sealed bytes that go to the object at once: far below what one message carries (32 MiB), and no long pause for others.
const BYTES_AT_ONCE: usize = 1_048_576;

/// Texts that are embedded at once: far below what providers take (OpenAI: 2,048 texts and 300,000 tokens).
const EMBEDDED_AT_ONCE: usize = 64;

/// Embeddings that are coded together, and sent at once: of 1,536 numbers they come to 394 KB.
const CODED_AT_ONCE: usize = 256;

/// Waits before a step is tried again: storage that is away for a moment is back after that.
const TRY_AGAIN_AFTER: [Millis; 2] = [Millis(200), Millis(1000)];

/// A document as passages.
type Read = Result<Vec<Passage>, Failure>;

/// Reads a file that is on its way into a store.
///
/// # Errors
/// What is ours to know: the file is told to have failed, or will be by the object's alarm.
pub(super) async fn ingest<P: Port>(
    port: &P,
    caller: &Caller,
    owner: &str,
    file: &File,
) -> Result<(), Refusal> {
    let done = match document(port, caller, file).await {
        Ok(passages) => match embedded(port, caller, &passages).await {
            Ok(vectors) => put(port, owner, file, &passages, vectors).await,
            Err(failure) => Err(Stopped::By(failure)),
        },
        Err(failure) => Err(Stopped::By(failure)),
    };
    let (failure, cause) = match done {
        Ok(()) => return Ok(()),
        // It was taken out, begun anew, or given up meanwhile.
        Err(Stopped::Gone) => return Ok(()),
        Err(Stopped::By(failure)) => (failure, None),
        Err(Stopped::Refused(refusal)) => (of_refusal(&refusal), Some(refusal)),
    };
    let end = Command::End {
        number: file.number,
        length: 0,
        bytes: 0,
        model: None,
        failure: Some(failure),
    };
    let told = again(port, owner, &end).await;
    match cause {
        Some(refusal) => Err(refusal),
        None => told.map(drop),
    }
}

/// Why a file is not read to its end.
enum Stopped {
    By(Failure),
    Refused(Refusal),
    Gone,
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn document<P: Port>(port: &P, caller: &Caller, file: &File) -> Read {
    let most = port.settings().config.retrieval.max_document_bytes;
    let read = door::read(port, caller, &file.told.id, Reader::Model, most).await;
    let (document, bytes) = read.map_err(|refusal| match refusal.code {
        Code::PayloadTooLarge => failed(
            Blame::InvalidFile,
            &format!("It has more than {most} bytes, the most that is read here."),
        ),
        _ => of_refusal(&refusal),
    })?;
    if !is_of(file, &document) {
        let message = "It was replaced while it was read: add it again.";
        return Err(failed(Blame::InvalidFile, message));
    }
    let format = format_of(&document.content_type, &document.filename).ok_or_else(|| {
        let message = format!("Nothing is read of {} here.", document.content_type);
        failed(Blame::UnsupportedFile, &message)
    })?;
    let blocks = extract(format, &bytes).map_err(|fault| of_fault(&fault))?;
    let (max_tokens, overlap_tokens) = file.told.chunking;
    let chunking = Chunking {
        max_tokens,
        overlap_tokens,
    };
    Ok(passages(&blocks, chunking))
}

/// Embeddings of passages, encoded, and the model that made them; nothing where the house has none.
async fn embedded<P: Port>(
    port: &P,
    caller: &Caller,
    passages: &[Passage],
) -> Result<Option<(String, Vec<Vec<u8>>)>, Failure> {
    let Some(alias) = embedder(port) else {
        return Ok(None);
    };
    let dimensions = port.settings().config.retrieval.dimensions;
    let texts: Vec<String> = passages
        .iter()
        .map(|passage| [passage.heading.as_str(), "\n", &passage.text].concat())
        .collect();
    let again = || {
        let message = "Its embeddings could not be made just now: add it again.";
        failed(Blame::ServerError, message)
    };
    let mut model = None;
    let mut all = Vec::with_capacity(texts.len());
    for texts in texts.chunks(EMBEDDED_AT_ONCE) {
        let texts: Vec<&str> = texts.iter().map(|text| text.trim()).collect();
        let made = embed(port, caller, &alias, &texts, Some(dimensions)).await;
        let made = made.ok_or_else(again)?;
        // Another model may have answered meanwhile, and what two made cannot be compared.
        if *model.get_or_insert_with(|| made.model.clone()) != made.model {
            return Err(again());
        }
        for vector in &made.vectors {
            all.push(encode(&Unit::of(vector).ok_or_else(again)?));
        }
    }
    let same = all.windows(2).all(|two| match two {
        [one, other] => one.len() == other.len(),
        _ => true,
    });
    if !same {
        return Err(again());
    }
    Ok(model.map(|model| (model, all)))
}

/// Passages and index to the object, and at the end the word that all of it is there.
async fn put<P: Port>(
    port: &P,
    owner: &str,
    file: &File,
    passages: &[Passage],
    vectors: Option<(String, Vec<Vec<u8>>)>,
) -> Result<(), Stopped> {
    let key = key_of(port, owner).await?.ok_or(Stopped::Gone)?;
    let terms = term_key(key.key.reveal());
    let mut index = Builder::default();
    let mut bytes: u64 = 0;
    let mut at: u32 = 0;
    let mut waiting: Vec<String> = Vec::new();
    let mut size = 0;
    for passage in passages {
        let (counted, length) = terms_of_passage(passage);
        let digests = counted
            .iter()
            .map(|term| (hidden(&terms, &term.text), term.count));
        index.passage(digests, length);
        let place = at.saturating_add(u32::try_from(waiting.len()).unwrap_or(u32::MAX));
        let sealed = sealed(port, &key, owner, file.number, place, passage);
        size = sealed.len().saturating_add(size);
        waiting.push(sealed);
        if size >= BYTES_AT_ONCE {
            bytes = bytes.saturating_add(size as u64);
            sent(
                port,
                owner,
                file,
                at,
                core::mem::take(&mut waiting),
                Vec::new(),
            )
            .await?;
            at = place.saturating_add(1);
            size = 0;
        }
    }
    bytes = bytes.saturating_add(size as u64);
    let length = index.length();
    let mut blocks = Vec::new();
    for (first, block) in index.blocks() {
        size = size.saturating_add(block.len());
        bytes = bytes.saturating_add(block.len() as u64);
        blocks.push((hex(&first), base64url(&block)));
        if size >= BYTES_AT_ONCE {
            let passages = core::mem::take(&mut waiting);
            let blocks = core::mem::take(&mut blocks);
            sent(port, owner, file, at, passages, blocks).await?;
            size = 0;
        }
    }
    let mut model = None;
    if let Some((made_by, vectors)) = vectors {
        let key = vector_key(key.key.reveal());
        bytes = bytes.saturating_add(sent_vectors(port, owner, file, &key, &vectors).await?);
        model = Some(made_by);
    }
    if !(waiting.is_empty() && blocks.is_empty()) {
        sent(port, owner, file, at, waiting, blocks).await?;
    }
    let end = Command::End {
        number: file.number,
        length,
        bytes,
        model,
        failure: None,
    };
    match again(port, owner, &end).await? {
        Reply::Done => Ok(()),
        Reply::NotFound => Err(Stopped::Gone),
        other => Err(Stopped::Refused(unexpected(other))),
    }
}

async fn sent<P: Port>(
    port: &P,
    owner: &str,
    file: &File,
    at: u32,
    passages: Vec<String>,
    blocks: Vec<(String, String)>,
) -> Result<(), Stopped> {
    let command = Command::Put {
        number: file.number,
        at,
        passages,
        blocks,
        vectors: Vec::new(),
        codes: Vec::new(),
        limits: limits(port.settings()),
    };
    told(again(port, owner, &command).await?)
}

/// Embeddings and their codes to the object; gives how many bytes they are, sealed.
async fn sent_vectors<P: Port>(
    port: &P,
    owner: &str,
    file: &File,
    key: &Secret<Bytes32>,
    vectors: &[Vec<u8>],
) -> Result<u64, Stopped> {
    let mut bytes: u64 = 0;
    let firsts = (0_u32..).step_by(CODED_AT_ONCE);
    for (vectors, first) in vectors.chunks(CODED_AT_ONCE).zip(firsts) {
        let (mut embeddings, mut codes) = (Vec::new(), Vec::new());
        for (made, first, plain) in rows_of(first, vectors) {
            let sealed = seal_made(key, made, (file.number, first), &port.random(), &plain);
            bytes = bytes.saturating_add(sealed.len() as u64);
            let rows = match made {
                Made::Embeddings => &mut embeddings,
                Made::Codes => &mut codes,
            };
            rows.push((first, base64url(&sealed)));
        }
        let command = Command::Put {
            number: file.number,
            at: 0,
            passages: Vec::new(),
            blocks: Vec::new(),
            vectors: embeddings,
            codes,
            limits: limits(port.settings()),
        };
        told(again(port, owner, &command).await?)?;
    }
    Ok(bytes)
}

fn told(reply: Reply) -> Result<(), Stopped> {
    match reply {
        Reply::Done => Ok(()),
        Reply::NotFound => Err(Stopped::Gone),
        Reply::Full { .. } => Err(Stopped::By(failed(
            Blame::InvalidFile,
            "There is no room for its passages: as many are kept as one owner may have.",
        ))),
        other => Err(Stopped::Refused(unexpected(other))),
    }
}

/// Asks, and once or twice more where storage did not answer.
async fn again<P: Port>(port: &P, owner: &str, command: &Command) -> Result<Reply, Refusal> {
    for wait in TRY_AGAIN_AFTER {
        match ask(port, owner, command).await {
            Err(refusal) if refusal.code == Code::StorageUnavailable => port.sleep(wait).await,
            other => return other,
        }
    }
    ask(port, owner, command).await
}

// === a passage as it is sealed ===

fn sealed<P: Port>(
    port: &P,
    key: &OwnerKey,
    owner: &str,
    number: u64,
    place: u32,
    passage: &Passage,
) -> String {
    let text = json!([passage.heading, passage.anchor, passage.text]).to_string();
    key.seal(port, owner, At::Passage(number, place), &text)
}

/// A passage that was opened.
pub(super) fn read(text: &str) -> Passage {
    let parts: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let mut parts = parts.into_iter().map(|part| match part {
        Value::String(text) => text,
        _ => String::new(),
    });
    let mut next = || parts.next().unwrap_or_default();
    Passage {
        heading: next(),
        anchor: next(),
        text: next(),
    }
}

// === failures ===

fn failed(code: Blame, message: &str) -> Failure {
    Failure {
        code,
        message: message.to_owned(),
    }
}

fn of_refusal(refusal: &Refusal) -> Failure {
    if refusal.code == Code::DocumentNotFound || refusal.code == not_found().code {
        return failed(
            Blame::InvalidFile,
            "The document is gone, or may not be read any more.",
        );
    }
    let message = "It could not be read just now: add it again.";
    failed(Blame::ServerError, message)
}

fn of_fault(fault: &ExtractFault) -> Failure {
    let (code, message) = match fault {
        ExtractFault::NotUtf8 => (
            Blame::InvalidFile,
            "Its text is neither UTF-8 nor UTF-16.".to_owned(),
        ),
        ExtractFault::NoText => (Blame::InvalidFile, "There is no text in it.".to_owned()),
        ExtractFault::TooLong { limit } => (
            Blame::InvalidFile,
            format!("Its text is longer than is read here: {limit}."),
        ),
        ExtractFault::Encrypted => (Blame::InvalidFile, "It is encrypted.".to_owned()),
        ExtractFault::Malformed(what) => (
            Blame::InvalidFile,
            format!("It is not what its type says: {what}."),
        ),
    };
    Failure { code, message }
}
