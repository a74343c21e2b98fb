//! From questions to passages that the caller may read at this moment.

use serde_json::{Map, Value, json};

use super::ingest::read;
use super::{OwnerKey, ask, attributes, key_of, not_found, owner_of_it, unexpected};
use crate::app::body::json_body;
use crate::app::documents::door::{self, Legible};
use crate::app::embed::embed;
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Port};
use crate::app::reply::Reply as Answer;
use crate::app::request::Head;
use crate::app::together::all;
use crate::base::digest::{base64url, hex};
use crate::base::errors::{Code, Refusal};
use crate::domain::answer::tokens::Kind;
use crate::domain::documents::scan::state::Reader;
use crate::domain::retrieval::chunk::Passage;
use crate::domain::retrieval::filter::Filter;
use crate::domain::retrieval::rerank::{self, Candidate, rerank};
use crate::domain::retrieval::store::command::{
    Command, File, Hit, Near, Page, Reply, Status, Term,
};
use crate::domain::retrieval::store::sealing::{At, hidden, term_key, vector_key};
use crate::domain::retrieval::terms::terms_of_question;
use crate::domain::retrieval::vector::{Unit, encode};
use crate::domain::retrieval::wire;

/// Results when none are asked for (as OpenAI has it).
const USUAL: usize = 10;

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Questions; several make one ranking.
    pub questions: Vec<String>,
    /// In files with such attributes alone.
    pub filter: Option<Filter>,
    /// At most so many passages.
    pub most: usize,
    /// The least score.
    pub threshold: f64,
    /// Are they looked at a second time, with their text?
    pub rerank: bool,
    /// What words count, and what embeddings do.
    pub weights: (f64, f64),
}

/// A passage that was found, and that may be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The document's id.
    pub file: String,
    /// Its name.
    pub filename: String,
    /// What its owner noted of it in this store.
    pub attributes: Map<String, Value>,
    /// From 0 to 1.
    pub score: f64,
    /// The cosine of its embedding to the question's, where there are both.
    pub cosine: Option<f64>,
    /// What it says.
    pub passage: Passage,
}

/// `POST /v1/vector_stores/{id}/search`
///
/// # Errors
/// 400, 403, 404, 503
pub async fn search<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    store: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, store)?;
    let fields = json_body(port, head, body).await?;
    let filter = fields.get("filters").filter(|given| !given.is_null());
    let (rerank, threshold) = wire::ranking(fields.get("ranking_options"))?;
    let wanted = Wanted {
        questions: wire::questions(fields.get("query"))?,
        filter: filter.map(Filter::read).transpose()?,
        most: wire::most(fields.get("max_num_results"), USUAL)?,
        threshold,
        rerank,
        weights: wire::weights(fields.get("ranking_options"))?,
    };
    let found = find(port, caller, &owner, store, &wanted).await?;
    let data = found.iter().map(|found| {
        json!({
            "file_id": found.file,
            "filename": found.filename,
            "score": found.score,
            "attributes": found.attributes,
            "content": [{"type": "text", "text": found.passage.text}],
            "heading": found.passage.heading,
            "anchor": found.passage.anchor,
        })
    });
    let told = json!({
        "object": "vector_store.search_results.page",
        "search_query": wanted.questions,
        "data": data.collect::<Vec<Value>>(),
        "has_more": false,
        "next_page": null,
    });
    Ok(Answer::json(200, told.to_string()))
}

/// The best passages of a store for the caller.
///
/// | # | step |
/// |---|---|
/// | 1 | a filter: which files pass |
/// | 2 | the object ranks by the digests of the questions' terms |
/// | 3 | each document is looked at again: what is gone, or may not be read any more, is left out, and not found again |
/// | 4 | the passages are opened, and ranked once more by their text |
///
/// # Errors
/// `vector_store_not_found`; `storage_unavailable`, `keyring_unavailable`, `integrity`.
pub async fn find<P: Port>(
    port: &P,
    caller: &Caller,
    owner: &str,
    store: &str,
    wanted: &Wanted,
) -> Result<Vec<Found>, Refusal> {
    let Some(key) = key_of(port, owner).await? else {
        return Err(not_found());
    };
    // 1
    let only = match &wanted.filter {
        None => None,
        Some(filter) => Some(passing(port, &key, owner, store, filter).await?),
    };
    // 2
    let terms = term_key(key.key.reveal());
    let questions = wanted.questions.iter().map(|question| {
        let counted = terms_of_question(question).into_iter();
        let term = |text: &str| hex(&hidden(&terms, text));
        let hidden = counted.map(|one| (term(&one.text), one.kind == Kind::Single));
        hidden.collect::<Vec<Term>>()
    });
    let command = Command::Search {
        store: store.to_owned(),
        questions: questions.collect(),
        near: near(port, caller, &key, wanted).await,
        only,
        limit: u32::try_from(rerank::MOST).unwrap_or(u32::MAX),
    };
    let (hits, files) = match ask(port, owner, &command).await? {
        Reply::Passages {
            hits,
            files,
            key: kept,
        } if kept == key.kept => (hits, files),
        // Everything was deleted and begun anew meanwhile.
        Reply::Passages { .. } => return Ok(Vec::new()),
        other => return Err(unexpected(other)),
    };
    // 3
    let documents = legible(port, caller, owner, &files).await?;
    // 4
    let mut found = Vec::with_capacity(hits.len());
    for hit in &hits {
        let known = documents.iter().find(|(file, _)| file.number == hit.number);
        let Some((file, document)) = known else {
            continue;
        };
        found.push(Found {
            file: file.told.id.clone(),
            filename: document.filename.clone(),
            attributes: attributes(port, &key, owner, store, file)?,
            score: hit.score.into(),
            cosine: hit.cosine.map(f64::from),
            passage: opened(port, &key, owner, hit)?,
        });
    }
    Ok(ranked(found, wanted))
}

/// The alias that makes embeddings, where the house has one that can.
pub(super) fn embedder<P: Port>(port: &P) -> Option<String> {
    let settings = port.settings();
    let name = settings.config.retrieval.embeddings.as_ref()?;
    let alias = settings.alias(name)?;
    (!alias.targets.is_empty()).then(|| name.clone())
}

/// The questions by their embeddings. Where none are made, words alone count.
async fn near<P: Port>(port: &P, caller: &Caller, key: &OwnerKey, wanted: &Wanted) -> Option<Near> {
    let alias = embedder(port).filter(|_| wanted.weights.1 > 0.0)?;
    let dimensions = port.settings().config.retrieval.dimensions;
    let texts: Vec<&str> = wanted.questions.iter().map(String::as_str).collect();
    if texts.iter().any(|text| text.is_empty()) {
        return None;
    }
    let made = embed(port, caller, &alias, &texts, Some(dimensions)).await?;
    let questions = made.vectors.iter().map(|vector| {
        let unit = Unit::of(vector)?;
        Some(base64url(&encode(&unit)))
    });
    Some(Near {
        key: base64url(vector_key(key.key.reveal()).reveal()),
        model: made.model,
        questions: questions.collect::<Option<_>>()?,
        weights: wanted.weights,
    })
}

/// The numbers of the files that pass a filter.
async fn passing<P: Port>(
    port: &P,
    key: &OwnerKey,
    owner: &str,
    store: &str,
    filter: &Filter,
) -> Result<Vec<u64>, Refusal> {
    let command = Command::Files {
        store: store.to_owned(),
        batch: None,
        status: Some(Status::Completed),
        page: Page {
            limit: u32::MAX,
            ..Page::default()
        },
    };
    let files = match ask(port, owner, &command).await? {
        Reply::Files { files, .. } => files,
        other => return Err(unexpected(other)),
    };
    let mut numbers = Vec::new();
    for file in files {
        if filter.passes(&attributes(port, key, owner, store, &file)?) {
            numbers.push(file.number);
        }
    }
    Ok(numbers)
}

/// The files whose documents may be read still, in the version that was read.
async fn legible<P: Port>(
    port: &P,
    caller: &Caller,
    owner: &str,
    files: &[File],
) -> Result<Vec<(File, Legible)>, Refusal> {
    let looks = files.iter().map(|file| look(port, caller, &file.told.id));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (file, look) in files.iter().zip(all(looks).await) {
        match look? {
            Some(document) if is_of(file, &document) => {
                good.push((file.clone(), document));
            }
            _ => bad.push(file.number),
        }
    }
    if !bad.is_empty() {
        // Should that fail, they are left out the next time too.
        let _ = ask(port, owner, &Command::Spoil { numbers: bad }).await;
    }
    Ok(good)
}

/// Was the file read of the document as it is now?
pub(super) const fn is_of(file: &File, document: &Legible) -> bool {
    file.told.version == document.version && file.told.epoch == document.epoch
}

/// A document that may be read, or nothing.
pub(super) async fn look<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
) -> Result<Option<Legible>, Refusal> {
    match door::look(port, caller, id, Reader::Model).await {
        Ok(document) => Ok(Some(document)),
        Err(refusal) if refusal.code == Code::DocumentNotFound => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

fn opened<P: Port>(port: &P, key: &OwnerKey, owner: &str, hit: &Hit) -> Result<Passage, Refusal> {
    let text = key.text(port, owner, At::Passage(hit.number, hit.place), &hit.sealed)?;
    Ok(read(&text))
}

/// Ranked as it is wanted, with scores from 0 to 1.
fn ranked(mut found: Vec<Found>, wanted: &Wanted) -> Vec<Found> {
    let best = found.iter().fold(0.0_f64, |best, one| best.max(one.score));
    if wanted.rerank {
        let question = wanted.questions.join(" ");
        let candidates: Vec<Candidate<'_>> = found
            .iter()
            .map(|one| Candidate {
                text: &one.passage.text,
                heading: &one.passage.heading,
                filename: &one.filename,
                bm25: one.score,
                vector: one.cosine,
            })
            .collect();
        let order = rerank(&question, &candidates);
        let mut slots: Vec<Option<Found>> = found.into_iter().map(Some).collect();
        found = order
            .into_iter()
            .filter_map(|ranked| {
                let one = slots.get_mut(ranked.place)?.take()?;
                Some(Found {
                    score: ranked.score,
                    ..one
                })
            })
            .collect();
    } else if found.iter().any(|one| one.cosine.is_some()) {
        // The order is the one of both; the score says how near it is.
        for one in &mut found {
            one.score = one.cosine.unwrap_or_default().clamp(0.0, 1.0);
        }
    } else if best > 0.0 {
        for one in &mut found {
            one.score /= best;
        }
    }
    found.retain(|one| one.score >= wanted.threshold);
    found.truncate(wanted.most);
    found
}
