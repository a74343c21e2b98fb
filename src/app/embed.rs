//! Embeddings of texts for what compares them: asked of an alias of the house, paid by whoever causes them.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::attempt::bytes_to_tokens;
use super::call::Wishes;
use super::gate::Caller;
use super::port::Port;
use super::raw::{self, RawBody, RawCall};
use super::reply::Outcome;
use crate::domain::llm::raw::Asked;
use crate::domain::settings::config::Serves;

/// What a provider made of some texts.
pub struct Embedded {
    /// `provider/model`: embeddings of two models do not compare.
    pub model: String,
    /// One for each text.
    pub vectors: Vec<Vec<f32>>,
    /// What it took.
    pub spent: Outcome,
}

/// Embeds texts. `None` when no provider does: then nothing is compared.
pub async fn embed<P: Port>(
    port: &P,
    caller: &Caller,
    alias: &str,
    texts: &[&str],
    dimensions: Option<u32>,
) -> Option<Embedded> {
    let embedder = port.settings().alias(alias)?;
    let input = match texts {
        [one] => Value::from(*one),
        several => Value::from(several.to_vec()),
    };
    let mut body = Map::new();
    body.insert("input".into(), input);
    body.insert("encoding_format".into(), "float".into());
    if let Some(dimensions) = dimensions {
        body.insert("dimensions".into(), dimensions.into());
    }
    let bytes = texts.iter().map(|text| text.len() as u64);
    let call = RawCall {
        alias: alias.to_owned(),
        serves: Serves::Embeddings,
        path: "/embeddings".to_owned(),
        body: RawBody::Json(body),
        asked: Asked {
            tokens: bytes_to_tokens(bytes.fold(0, u64::saturating_add)),
            ..Asked::default()
        },
        wishes: Wishes::default(),
    };
    let raw = raw::ask(port, caller, embedder, &call).await.ok()?;
    let vectors = vectors(&raw.bytes);
    let (mut drive, spent, model) = (raw.drive, raw.outcome, raw.target);
    drive.settle().await;
    vectors
        .filter(|vectors| vectors.len() == texts.len())
        .map(|vectors| Embedded {
            model,
            vectors,
            spent,
        })
}

fn vectors(bytes: &[u8]) -> Option<Vec<Vec<f32>>> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        index: usize,
        embedding: Vec<f32>,
    }
    let mut list: List = serde_json::from_slice(bytes).ok()?;
    list.data.sort_by_key(|item| item.index);
    Some(list.data.into_iter().map(|item| item.embedding).collect())
}
