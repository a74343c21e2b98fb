//! Vector stores on the wire, as OpenAI's API has them.

use serde_json::{Map, Value, json};

use super::chunk::Chunking;
use super::store::command::{Batch, Blame, File, Status, Store};
use crate::base::errors::Refusal;
use crate::base::time::Millis;
use crate::domain::llm::request::{invalid, missing};

/// What ids begin with.
pub const STORE_PREFIX: &str = "vs";
/// The same of batches.
pub const BATCH_PREFIX: &str = "vsfb";

/// Most attributes of a file, their longest key and longest text in characters (OpenAI's API reference).
const MAX_ATTRIBUTES: usize = 16;
const MAX_KEY_CHARS: usize = 64;
const MAX_VALUE_CHARS: usize = 512;

/// Longest name and description of a store, in characters.
const MAX_NAME_CHARS: usize = 256;
const MAX_DESCRIPTION_CHARS: usize = 512;

const DAY: u64 = 86_400;

/// Could that be the id of a store?
#[must_use]
pub fn is_store_id(id: &str) -> bool {
    is_id(id, "vs_")
}

/// Could that be the id of a batch?
#[must_use]
pub fn is_batch_id(id: &str) -> bool {
    is_id(id, "vsfb_")
}

fn is_id(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

// === out ===

/// A store. `said` are its name and metadata, opened.
#[must_use]
pub fn store(store: &Store, said: &Map<String, Value>) -> Value {
    let waits = store.counts.first().is_some_and(|count| *count > 0);
    let after = store.limited.then(|| {
        let days = store.life.secs().div_ceil(DAY);
        json!({"anchor": "last_active_at", "days": days})
    });
    json!({
        "id": store.id,
        "object": "vector_store",
        "created_at": store.created.secs(),
        "name": said.get("name").cloned().unwrap_or_else(|| "".into()),
        "description": said.get("description"),
        "usage_bytes": store.bytes,
        "file_counts": counts(&store.counts),
        "status": if waits { "in_progress" } else { "completed" },
        "expires_after": after,
        "expires_at": store.expires().secs(),
        "last_active_at": store.used.secs(),
        "metadata": said.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

fn counts(counts: &[u32; 4]) -> Value {
    let [in_progress, completed, failed, cancelled] = *counts;
    let total = counts.iter().fold(0_u32, |sum, n| sum.saturating_add(*n));
    json!({
        "in_progress": in_progress, "completed": completed, "failed": failed, "cancelled": cancelled, "total": total,
    })
}

/// A file of a store.
#[must_use]
pub fn file(file: &File, store: &str, attributes: &Map<String, Value>) -> Value {
    let (most, overlap) = file.told.chunking;
    let error = file.failure.as_ref().map(|failure| {
        let code = match failure.code {
            Blame::ServerError => "server_error",
            Blame::UnsupportedFile => "unsupported_file",
            Blame::InvalidFile => "invalid_file",
        };
        json!({"code": code, "message": failure.message})
    });
    json!({
        "id": file.told.id,
        "object": "vector_store.file",
        "created_at": file.created.secs(),
        "vector_store_id": store,
        "status": status(file.status),
        "usage_bytes": file.bytes,
        "last_error": error,
        "attributes": attributes,
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": most, "chunk_overlap_tokens": overlap},
        },
        "gatehouse": {"version": file.told.version},
    })
}

const fn status(status: Status) -> &'static str {
    match status {
        Status::InProgress => "in_progress",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

/// A batch.
#[must_use]
pub fn batch(batch: &Batch, store: &str) -> Value {
    let status = match batch.counts {
        _ if batch.cancelled => "cancelled",
        [0, ..] => "completed",
        _ => "in_progress",
    };
    json!({
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": batch.created.secs(),
        "vector_store_id": store,
        "status": status,
        "file_counts": counts(&batch.counts),
    })
}

/// Something that is gone.
#[must_use]
pub fn deleted(id: &str, object: &str) -> Value {
    json!({"id": id, "object": format!("{object}.deleted"), "deleted": true})
}

// === in ===

/// Name, description and metadata of a store: as they are, and with what is said anew.
///
/// # Errors
/// `invalid_parameter`
pub fn said(
    given: &Map<String, Value>,
    mut before: Map<String, Value>,
) -> Result<Map<String, Value>, Refusal> {
    for (name, most) in [
        ("name", MAX_NAME_CHARS),
        ("description", MAX_DESCRIPTION_CHARS),
    ] {
        match given.get(name) {
            None => {}
            Some(Value::Null) => drop(before.shift_remove(name)),
            Some(Value::String(text)) if text.chars().count() <= most => {
                before.insert(name.into(), text.as_str().into());
            }
            Some(_) => {
                let rule = format!("must be a text of at most {most} characters");
                return Err(invalid(name, &rule));
            }
        }
    }
    if let Some(metadata) = given.get("metadata") {
        let metadata = crate::domain::memory::wire::metadata(Some(metadata))?;
        before.insert("metadata".into(), Value::Object(metadata));
    }
    Ok(before)
}

/// How long a store is kept without use; `None` where nothing is said of it, and within it where it is to be as long as
/// anything.
///
/// # Errors
/// `invalid_parameter`
pub fn expires_after(given: Option<&Value>) -> Result<Option<Option<Millis>>, Refusal> {
    let fields = match given {
        None => return Ok(None),
        Some(Value::Null) => return Ok(Some(None)),
        Some(fields) => fields,
    };
    if fields.get("anchor").and_then(Value::as_str) != Some("last_active_at") {
        return Err(invalid(
            "expires_after.anchor",
            "must be \"last_active_at\"",
        ));
    }
    let days = fields.get("days").and_then(Value::as_u64);
    let days = days.filter(|days| (1..=365).contains(days));
    let days =
        days.ok_or_else(|| invalid("expires_after.days", "must be a whole number from 1 to 365"))?;
    Ok(Some(Some(Millis::from_secs(days.saturating_mul(DAY)))))
}

/// How a file is cut.
///
/// # Errors
/// `invalid_parameter`
pub fn chunking(given: Option<&Value>) -> Result<Chunking, Refusal> {
    let fields = match given {
        None | Some(Value::Null) => return Ok(Chunking::DEFAULT),
        Some(fields) => fields,
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("auto") => return Ok(Chunking::DEFAULT),
        Some("static") => {}
        _ => return Err(invalid("chunking_strategy.type", "must be auto or static")),
    }
    let number = |name: &str| {
        let of = fields.get("static").and_then(|of| of.get(name));
        of.and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
    };
    let (most, overlap) = (
        number("max_chunk_size_tokens"),
        number("chunk_overlap_tokens"),
    );
    let chunking = most.zip(overlap).and_then(|(m, o)| Chunking::of(m, o));
    chunking.ok_or_else(|| {
        let rule = "must have max_chunk_size_tokens from 100 to 4096, and chunk_overlap_tokens of at most half of it";
        invalid("chunking_strategy.static", rule)
    })
}

/// Attributes of a file.
///
/// # Errors
/// `invalid_parameter`
pub fn attributes(given: Option<&Value>) -> Result<Map<String, Value>, Refusal> {
    let pairs = match given {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Object(pairs)) => pairs,
        Some(_) => return Err(invalid("attributes", "must be an object")),
    };
    let fine = |(key, value): (&String, &Value)| {
        key.chars().count() <= MAX_KEY_CHARS
            && match value {
                Value::String(text) => text.chars().count() <= MAX_VALUE_CHARS,
                Value::Number(_) | Value::Bool(_) => true,
                _ => false,
            }
    };
    if pairs.len() > MAX_ATTRIBUTES || !pairs.iter().all(fine) {
        let rule = "must be at most 16 pairs: keys of at most 64 characters, and texts of at most 512, numbers or booleans";
        return Err(invalid("attributes", rule));
    }
    Ok(pairs.clone())
}

/// The questions of a search.
///
/// # Errors
/// `missing_parameter`, `invalid_parameter`
pub fn questions(given: Option<&Value>) -> Result<Vec<String>, Refusal> {
    /// Several questions are one search each.
    const MOST: usize = 8;
    let texts: Vec<&Value> = match given {
        None | Some(Value::Null) => return Err(missing("query")),
        Some(Value::Array(texts)) => texts.iter().collect(),
        Some(text) => vec![text],
    };
    let questions = texts.into_iter().map(|text| {
        let text = text.as_str().map(str::trim).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    });
    let questions: Option<Vec<String>> = questions.collect();
    questions
        .filter(|all| (1..=MOST).contains(&all.len()))
        .ok_or_else(|| invalid("query", "must be a text, or a list of 1 to 8 texts"))
}

/// How a search is ranked: with a second look or not, and the least score.
///
/// # Errors
/// `invalid_parameter`
pub fn ranking(given: Option<&Value>) -> Result<(bool, f64), Refusal> {
    let options = match given {
        None | Some(Value::Null) => return Ok((true, 0.0)),
        Some(options) => options,
    };
    let rerank = match options.get("ranker").and_then(Value::as_str) {
        None | Some("auto" | "default-2024-11-15") => true,
        Some("none") => false,
        Some(_) => {
            let rule = "must be auto, none or default-2024-11-15";
            return Err(invalid("ranking_options.ranker", rule));
        }
    };
    let threshold = match options.get("score_threshold") {
        None | Some(Value::Null) => Some(0.0),
        Some(given) => given.as_f64().filter(|least| (0.0..=1.0).contains(least)),
    };
    let threshold = threshold.ok_or_else(|| {
        invalid(
            "ranking_options.score_threshold",
            "must be a number from 0 to 1",
        )
    })?;
    Ok((rerank, threshold))
}

/// What words count in a search, and what embeddings do.
///
/// # Errors
/// `invalid_parameter`
pub fn weights(given: Option<&Value>) -> Result<(f64, f64), Refusal> {
    let weights = given.and_then(|options| options.get("hybrid_search"));
    let Some(weights) = weights.filter(|weights| !weights.is_null()) else {
        return Ok((1.0, 1.0));
    };
    let weight = |name: &str| {
        let weight = weights.get(name).and_then(Value::as_f64);
        weight.filter(|weight| (0.0..=1_000.0).contains(weight))
    };
    weight("text_weight")
        .zip(weight("embedding_weight"))
        .filter(|(text, embedding)| text + embedding > 0.0)
        .ok_or_else(|| {
            let rule = "must have text_weight and embedding_weight, of which one is above 0";
            invalid("ranking_options.hybrid_search", rule)
        })
}

/// How many results at most.
///
/// # Errors
/// `invalid_parameter`
pub fn most(given: Option<&Value>, usual: usize) -> Result<usize, Refusal> {
    match given {
        None | Some(Value::Null) => Ok(usual),
        Some(given) => {
            let most = given.as_u64().filter(|most| (1..=50).contains(most));
            most.map(|most| most as usize)
                .ok_or_else(|| invalid("max_num_results", "must be a whole number from 1 to 50"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{attributes, chunking, expires_after, is_store_id, most, questions, ranking, said};
    use crate::base::time::Millis;
    use crate::domain::retrieval::chunk::Chunking;
    use serde_json::{Map, json};

    #[test]
    fn what_is_said_of_a_store_replaces_what_was() {
        let given = json!({"name": "Rain", "metadata": {"a": "b"}});
        let first = said(given.as_object().unwrap(), Map::new()).unwrap();
        let later = json!({"name": null, "description": "Wet"});
        let later = said(later.as_object().unwrap(), first).unwrap();
        assert_eq!(
            json!(later),
            json!({"metadata": {"a": "b"}, "description": "Wet"})
        );
        for bad in [
            json!({"name": 1}),
            json!({"name": "x".repeat(257)}),
            json!({"metadata": {"a": 1}}),
        ] {
            assert!(said(bad.as_object().unwrap(), Map::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_asked_is_read_or_named() {
        assert_eq!(expires_after(None), Ok(None));
        assert_eq!(expires_after(Some(&json!(null))), Ok(Some(None)));
        let week = json!({"anchor": "last_active_at", "days": 7});
        let millis = Millis::from_secs(7 * 86_400);
        assert_eq!(expires_after(Some(&week)), Ok(Some(Some(millis))));
        for bad in [
            json!({"days": 1}),
            json!({"anchor": "last_active_at", "days": 0}),
        ] {
            assert!(expires_after(Some(&bad)).is_err(), "{bad}");
        }
        assert_eq!(
            chunking(Some(&json!({"type": "auto"}))),
            Ok(Chunking::DEFAULT)
        );
        let size = |most: u32, overlap: u32| {
            let size = json!({"max_chunk_size_tokens": most, "chunk_overlap_tokens": overlap});
            chunking(Some(&json!({"type": "static", "static": size})))
        };
        assert_eq!(size(200, 50).unwrap().overlap_tokens, 50);
        assert!(size(99, 0).is_err() && size(200, 101).is_err());
        assert!(chunking(Some(&json!({"type": "other"}))).is_err());
        assert!(attributes(Some(&json!({"a": 1, "b": "x", "c": false}))).is_ok());
        for bad in [json!([]), json!({"a": null}), json!({"a": "x".repeat(513)})] {
            assert!(attributes(Some(&bad)).is_err(), "{bad}");
        }
        assert_eq!(questions(Some(&json!(" hi "))), Ok(vec!["hi".into()]));
        assert_eq!(questions(Some(&json!(["a", "b"]))).unwrap().len(), 2);
        for bad in [
            json!(null),
            json!(""),
            json!([]),
            json!([1]),
            json!(vec!["a"; 9]),
        ] {
            assert!(questions(Some(&bad)).is_err(), "{bad}");
        }
        let none = json!({"ranker": "none", "score_threshold": 0.5});
        assert_eq!(ranking(Some(&none)), Ok((false, 0.5)));
        assert!(ranking(Some(&json!({"score_threshold": 2}))).is_err());
        assert!(ranking(Some(&json!({"ranker": "best"}))).is_err());
        assert_eq!(
            (most(None, 10), most(Some(&json!(50)), 10)),
            (Ok(10), Ok(50))
        );
        assert!(most(Some(&json!(51)), 10).is_err() && most(Some(&json!(0)), 10).is_err());
    }

    #[test]
    fn ids_of_stores_have_one_form() {
        assert!(is_store_id(&format!("vs_{}", "0a".repeat(16))));
        for bad in ["", "vs_", "vs_1", "conv_00", &"a".repeat(35)] {
            assert!(!is_store_id(bad));
        }
    }
}
