//! A call whose answer is passed on as it is: embeddings, moderations, images, audio. Retries, breakers, deadlines and
//! the books are the same as for a chat.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::{Wishes, cost_headers, deadlines, refused, retry};
use super::drive::Drive;
use super::gate::Caller;
use super::health::Health;
use super::job::{Job, Wants};
use super::port::Port;
use super::reply::{Outcome, Reply};
use crate::base::digest::{base64url, from_base64url};
use crate::base::errors::{Code, Refusal};
use crate::domain::llm::Protocol;
use crate::domain::llm::engine::{End, Plan};
use crate::domain::llm::message::Usage;
use crate::domain::llm::normal::event::Envelope;
use crate::domain::llm::plan::{Candidate, Payload, plan_raw};
use crate::domain::llm::stream::delivery::{Delivery, Options};
use crate::domain::settings::ActiveAlias;
use crate::domain::settings::config::Serves;

/// A call, and everything that it needs in another place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawCall {
    /// The alias.
    pub alias: String,
    /// What the alias must serve.
    pub serves: Serves,
    /// Path below the provider's base URL.
    pub path: String,
    /// What is sent.
    pub body: RawBody,
    /// Our count of the input.
    pub input_tokens: u64,
    /// Deadlines that the caller lowered.
    pub wishes: Wishes,
}

/// What is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawBody {
    /// A JSON object; the model's name is put in.
    Json(Map<String, Value>),
    /// A form, in base64url; the model's name is put in between two places.
    Form {
        /// Content type with its boundary.
        content_type: String,
        /// The bytes before and behind the model's name.
        around: (String, String),
    },
}

impl RawBody {
    /// A form whose model's name stands at `model`.
    #[must_use]
    pub fn form(content_type: &str, bytes: &[u8], model: core::ops::Range<usize>) -> Self {
        let before = bytes.get(..model.start).unwrap_or_default();
        let behind = bytes.get(model.end..).unwrap_or_default();
        Self::Form {
            content_type: content_type.to_owned(),
            around: (base64url(before), base64url(behind)),
        }
    }

    fn payload(&self, model: &str) -> Payload {
        match self {
            Self::Json(fields) => {
                let mut fields = fields.clone();
                fields.insert("model".into(), Value::from(model));
                Payload::Json(fields)
            }
            Self::Form {
                content_type,
                around: (before, behind),
            } => {
                let mut bytes = from_base64url(before).unwrap_or_default();
                bytes.extend_from_slice(model.as_bytes());
                bytes.extend(from_base64url(behind).unwrap_or_default());
                Payload::Bytes {
                    content_type: content_type.clone(),
                    bytes: bytes.into(),
                }
            }
        }
    }

    /// What makes two requests the same.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        match self {
            Self::Json(fields) => fields.clone(),
            // The boundary differs from one sending to the next and says nothing.
            Self::Form {
                content_type,
                around,
            } => {
                let boundary = content_type.split("boundary=").nth(1).unwrap_or_default();
                let plain = |text: &str| {
                    let bytes = from_base64url(text).unwrap_or_default();
                    String::from_utf8_lossy(&bytes).replace(boundary.trim_matches('"'), "")
                };
                let mut fields = Map::new();
                fields.insert("before".into(), plain(&around.0).into());
                fields.insert("behind".into(), plain(&around.1).into());
                fields
            }
        }
    }
}

/// Judges a body: content type and bytes; `None` when it is no answer of the endpoint.
pub type Read = fn(Option<&str>, &[u8]) -> Option<Usage>;

/// A raw answer.
pub struct Raw<P: Port> {
    /// The body.
    pub bytes: Vec<u8>,
    /// Its content type.
    pub content_type: Option<String>,
    /// Headers that tell who answered and what it took.
    pub headers: Vec<(&'static str, String)>,
    /// For the log.
    pub outcome: Outcome,
    /// `provider/model`.
    pub target: String,
    /// To be settled after the answer has gone.
    pub drive: Box<Drive<P>>,
}

/// Asks the chain of an alias.
///
/// # Errors
/// What the chain ended with.
pub async fn ask<P: Port>(
    port: &P,
    caller: &Caller,
    alias: &ActiveAlias,
    call: &RawCall,
) -> Result<Raw<P>, Refusal> {
    if alias.config.serves != call.serves {
        return Err(Refusal::new(Code::EndpointNotCarried).param("model"));
    }
    let candidates = plan_raw(port.settings(), alias, &call.path, |model| {
        call.body.payload(model)
    })?;
    let (wishes, read) = (&call.wishes, usage_of(call.serves));
    let settings = port.settings();
    let config = Some(&alias.config);
    let health = Health::consult(port, &candidates, config, caller).await;
    let plan = Plan {
        targets: health.targets(&candidates),
        retry: retry(settings, config),
        deadlines: deadlines(settings, config, wishes, false),
        rescue: false,
        hedge: false,
    };
    let job = Job {
        alias: alias.config.name.clone(),
        request_id: caller.request_id.clone(),
        schema: None,
        wants: Wants::Raw { read },
        candidates: candidates.into(),
        input_tokens: call.input_tokens,
        native: false,
        max_bytes: None,
        keep: false,
    };
    let mut drive = Box::new(Drive::begin(port, job, plan, health, nothing(port)));
    drive.until_over(None).await;
    if let Some(End::Failed {
        failure,
        target,
        wait,
    }) = drive.end().cloned()
    {
        let refusal = drive.refusal(failure, target, wait);
        return Err(refused(refusal, drive).await);
    }
    let answered = drive.target().and_then(|t| drive.job.candidates.get(t));
    let target = answered.map(Candidate::name).unwrap_or_default();
    let body = drive
        .whole()
        .ok_or_else(|| Refusal::new(Code::Internal).cause("no answer was committed"))?;
    let total = drive.total();
    let outcome = Outcome {
        alias: Some(alias.config.name.clone()),
        target: Some(target.clone()),
        tokens_in: Some(total.usage.input),
        tokens_out: Some(total.usage.output),
        tokens_estimated: total.usage.estimated,
        cost_micros: total.cost.map(|cost| cost.0),
        attempts: Some(total.attempts),
        ..Outcome::default()
    };
    let mut headers = vec![
        ("x-gatehouse-target", target.clone()),
        ("x-gatehouse-attempts", total.attempts.to_string()),
    ];
    headers.extend(cost_headers(&outcome));
    Ok(Raw {
        bytes: body.bytes.clone(),
        content_type: body.content_type.clone(),
        headers,
        outcome,
        target,
        drive,
    })
}

/// The reply to a raw answer.
pub fn reply<P: Port>(raw: Raw<P>) -> Reply<P> {
    let content_type = content_type(&raw);
    let mut reply = Reply::status(200)
        .header("content-type", content_type)
        .header("cache-control", "no-store")
        .headers(raw.headers)
        .bytes(raw.bytes);
    reply.outcome = raw.outcome.clone();
    let mut drive = raw.drive;
    reply.after = Some(Box::pin(async move {
        drive.settle().await;
        raw.outcome
    }));
    reply
}

/// The content type of a raw answer.
#[must_use]
pub fn content_type<P: Port>(raw: &Raw<P>) -> String {
    let fallback = || "application/octet-stream".to_owned();
    raw.content_type.clone().unwrap_or_else(fallback)
}

const fn usage_of(serves: Serves) -> Read {
    match serves {
        Serves::Embeddings => |_, bytes| embeddings_usage(bytes),
        Serves::Speech => |content_type, bytes| {
            let audio = content_type.is_some_and(|t| {
                t.starts_with("audio/") || t.starts_with("application/octet-stream")
            });
            (audio && !bytes.is_empty()).then(Usage::default)
        },
        Serves::Transcriptions => |content_type, bytes| {
            // Plain text, SRT and VTT are asked for by `response_format`.
            match content_type {
                Some(t) if t.starts_with("application/json") => json_usage(bytes),
                Some(t) if t.starts_with("text/html") => None,
                _ => (!bytes.is_empty()).then(Usage::default),
            }
        },
        _ => |_, bytes| json_usage(bytes),
    }
}

/// An object that is no error, and the usage that it may tell.
fn json_usage(bytes: &[u8]) -> Option<Usage> {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        error: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        usage: Option<Counts>,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Counts {
        input_tokens: u64,
        output_tokens: u64,
    }
    let body: Body = serde_json::from_slice(bytes).ok()?;
    let counts = body.usage.unwrap_or_default();
    body.error.is_none().then_some(Usage {
        input: counts.input_tokens,
        output: counts.output_tokens,
        ..Usage::default()
    })
}

/// What a list of embeddings took; `None` when the bytes are something else.
fn embeddings_usage(bytes: &[u8]) -> Option<Usage> {
    #[derive(serde::Deserialize)]
    struct List {
        data: Vec<serde::de::IgnoredAny>,
        #[serde(default)]
        usage: Option<ListUsage>,
    }
    #[derive(serde::Deserialize)]
    struct ListUsage {
        #[serde(default)]
        prompt_tokens: u64,
    }
    let list: List = serde_json::from_slice(bytes).ok()?;
    (!list.data.is_empty()).then(|| Usage {
        input: list.usage.map_or(0, |usage| usage.prompt_tokens),
        ..Usage::default()
    })
}

/// A raw answer is no stream of events: nothing is ever written through this.
fn nothing(port: &impl Port) -> Delivery {
    let options = Options {
        protocol: Protocol::Chat,
        hide_usage: false,
        numbered: false,
        keep: false,
    };
    let envelope = Envelope {
        id: String::new(),
        created: port.now(),
        estimated_input: 0,
        include_usage: false,
        builtin: false,
    };
    Delivery::new(options, envelope)
}
