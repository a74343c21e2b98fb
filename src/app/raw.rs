//! A call whose answer is passed on as it is: embeddings, moderations, images, audio. Retries, breakers, deadlines and
//! the books are the same as for a chat.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::accounts::reserve;
use super::call::{SETTLE_WITHIN, Wishes, cost_headers, deadlines, refused, retry};
use super::drive::Drive;
use super::gate::Caller;
use super::health::Health;
use super::job::{Job, Wants};
use super::port::Port;
use super::reply::{Outcome, Reply};
use crate::base::digest::{base64url, from_base64url, hex, sha256};
use crate::base::errors::{Code, Refusal};
use crate::domain::llm::Protocol;
use crate::domain::llm::bound::{self, bound};
use crate::domain::llm::engine::{End, Plan};
use crate::domain::llm::normal::event::Envelope;
use crate::domain::llm::plan::{Candidate, Payload, plan_raw};
use crate::domain::llm::raw::Asked;
use crate::domain::llm::stream::delivery::{Delivery, Options};
use crate::domain::settings::ActiveAlias;
use crate::domain::settings::config::{LimitClass, Serves};

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
    /// How large it is.
    pub asked: Asked,
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

impl RawCall {
    /// What makes two requests the same.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = self.body.fields();
        fields.insert("model".into(), self.alias.as_str().into());
        fields
    }
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

    fn fields(&self) -> Map<String, Value> {
        match self {
            Self::Json(fields) => fields.clone(),
            // The boundary differs from one sending to the next and says nothing.
            Self::Form {
                content_type,
                around,
            } => {
                let boundary = content_type.split("boundary=").nth(1).unwrap_or_default();
                let boundary = boundary.trim_matches('"').as_bytes();
                let digest = |text: &str| {
                    let bytes = from_base64url(text).unwrap_or_default();
                    hex(&sha256(&without(&bytes, boundary)))
                };
                let mut fields = Map::new();
                fields.insert("before".into(), digest(&around.0).into());
                fields.insert("behind".into(), digest(&around.1).into());
                fields
            }
        }
    }
}

/// The bytes without any occurrence of some others.
fn without(bytes: &[u8], what: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut kept = Vec::with_capacity(bytes.len());
    while let Some(at) = find(rest, what) {
        let (before, from) = rest.split_at(at);
        kept.extend_from_slice(before);
        rest = from.get(what.len()..).unwrap_or_default();
    }
    kept.extend_from_slice(rest);
    kept
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    if what.is_empty() {
        return None;
    }
    bytes.windows(what.len()).position(|window| window == what)
}

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
    let wishes = &call.wishes;
    let settings = port.settings();
    let config = Some(&alias.config);
    let most = || {
        bound(
            &settings.config.prices,
            &candidates,
            bound::Call::Raw(call.serves, &call.asked),
            retry(settings, config).attempts,
            port.now(),
        )
    };
    let class = match call.serves {
        Serves::Embeddings => LimitClass::Embeddings,
        _ => LimitClass::Chat,
    };
    let total = deadlines(settings, config, wishes, false).total;
    let reserved = reserve(
        port,
        &caller.payer,
        &alias.config.name,
        class,
        most,
        total.plus(SETTLE_WITHIN),
    )
    .await?;
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
        wants: Wants::Raw {
            serves: call.serves,
            asked: call.asked,
        },
        candidates: candidates.into(),
        input_tokens: call.asked.tokens,
        native: false,
        max_bytes: None,
        keep: false,
    };
    let mut drive = Box::new(Drive::begin(
        port,
        job,
        plan,
        health,
        nothing(port),
        reserved,
    ));
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
    headers.extend(drive.limits());
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
