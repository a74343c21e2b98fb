//! Calls that run inside the object `Stream`: resumable streams, keyed calls, stored responses, and calls that several
//! callers share.
//!
//! This is the worker's side and the story that the object runs; the object's shell is in `edge`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::call::{Begun, Call, Wishes, refused};
use super::chat::{call_of, planned};
use super::drive::{Sink, Stopped};
use super::gate::Caller;
use super::kept::SlotKey;
use super::port::{Port, StoredReply};
use super::raw::{self, RawCall};
use super::render::stream_head;
use super::reply::{Body, Outcome, Reply};
use super::request::Head;
use crate::base::digest::{base64url, hex, hmac_sha256, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::cache::DEFAULT_TENANT;
use crate::domain::identity::Principal;
use crate::domain::llm::Protocol;
use crate::domain::llm::plan::{Answerer, find_alias};
use crate::domain::llm::request::{ChatRequest, chat_request};
use crate::domain::llm::stream::delivery::full_id;
use crate::domain::llm::stream::log;
use crate::domain::settings::Settings;
use crate::domain::settings::config::Alias;

/// What the object is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Run a call, or read what another one of the same request makes.
    Run(Box<Run>),
    /// The same for a call whose answer is passed on.
    RunRaw(Box<RunRaw>),
    /// Read an answer as a stream.
    Read {
        /// Who asks.
        owner: String,
        /// From behind the event of that number.
        after: Option<u64>,
    },
    /// Tell where an answer stands, and all of it that is there.
    Look {
        /// Who asks.
        owner: String,
    },
    /// Stop an answer.
    Cancel {
        /// Who asks.
        owner: String,
    },
    /// Forget an answer.
    Delete {
        /// Who asks.
        owner: String,
    },
}

/// A call and everything that it needs in another place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The caller's protocol.
    pub protocol: Protocol,
    /// The request.
    pub body: Map<String, Value>,
    /// What else is wanted.
    pub wishes: Wishes,
    /// What an alias that chooses is asked to prefer.
    pub prefer: Option<String>,
    /// For the cache's own limit.
    pub network: String,
    /// The same.
    pub client: String,
    /// The request that began it.
    pub request_id: String,
    /// Where the answer is kept, if it may be.
    pub slot: Option<SlotKey>,
    /// Who may read it.
    pub owner: String,
    /// Digest of the request.
    pub digest: String,
    /// How long it is kept.
    pub ttl: Millis,
    /// How long it may run unread.
    pub grace: Option<Millis>,
    /// Answer at once, without waiting for the end.
    pub background: bool,
    /// What to keep of the request.
    pub request: Option<String>,
    /// Behind which event to begin.
    pub after: Option<u64>,
}

/// A call whose answer is passed on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRaw {
    /// The call.
    pub call: RawCall,
    /// The request that began it.
    pub request_id: String,
    /// Who may read it.
    pub owner: String,
    /// Digest of the request.
    pub digest: String,
    /// How long it is kept.
    pub ttl: Millis,
}

/// What the object answers, beside a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The answer's head; its body is the stream, or follows.
    Head {
        /// Status and headers.
        head: log::Head,
        /// Did another call make it?
        attached: bool,
    },
    /// Where an answer stands.
    Standing(Box<Standing>),
    /// There is no such answer for this caller.
    NotFound,
    /// The key stands for another request.
    Conflict,
    /// It could not be made.
    Refused(Box<Refused>),
    /// Done.
    Done,
}

/// Where an answer stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Running, whole, …
    pub status: log::Status,
    /// When it began.
    pub created: Millis,
    /// What was kept of the request.
    pub request: Option<String>,
    /// Is the body a stream of events?
    pub stream: bool,
    /// What there is of the body.
    pub body: String,
}

/// A refusal on its way between objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    code: String,
    detail: Option<String>,
    param: Option<String>,
    wait: Option<Millis>,
    cause: Option<String>,
    attempts: Option<String>,
}

impl Refused {
    /// Of a refusal.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Self {
        let attempts = refusal
            .response_headers()
            .iter()
            .find(|(name, _)| *name == "x-gatehouse-attempts")
            .map(|(_, value)| value.clone());
        Self {
            code: refusal.code.entry().code.to_owned(),
            detail: refusal.detail.clone(),
            param: refusal.param.clone(),
            wait: refusal.wait,
            cause: refusal.cause.clone(),
            attempts,
        }
    }

    /// Back again.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        let mut refusal = Refusal::new(Code::from_name(&self.code).unwrap_or(Code::Internal));
        refusal.detail = self.detail;
        refusal.param = self.param;
        refusal.wait = self.wait;
        refusal.cause = self.cause;
        match self.attempts {
            Some(attempts) => refusal.headers([("x-gatehouse-attempts", attempts)]),
            None => refusal,
        }
    }
}

// === where a call runs ===

/// Why a call runs in an object, and in which.
pub struct Place {
    /// The object's name and the answer's id.
    pub id: String,
    /// Who may read it.
    pub owner: String,
    /// How long it is kept.
    pub ttl: Millis,
    /// How long it may run unread.
    pub grace: Option<Millis>,
    /// Number its events.
    pub numbered: bool,
    /// What to keep of the request.
    pub request: Option<String>,
    /// Answer at once.
    pub background: bool,
}

/// The part of the callers in which a key stands for one thing.
#[must_use]
pub fn partition(caller: &Caller) -> String {
    match &caller.principal {
        Principal::Visitor { id, .. } => format!("visitor/{id}"),
        Principal::Anonymous => format!("client/{}", caller.client),
    }
}

/// Who may read an answer: the visitor who asked. Without a cookie it is whoever has the id, which is 128 random bits: a
/// visitor's network may change in the middle of an answer.
#[must_use]
pub fn owner(caller: &Caller) -> String {
    match &caller.principal {
        Principal::Visitor { id, .. } => format!("visitor/{id}"),
        Principal::Anonymous => log::HOLDER.to_owned(),
    }
}

/// An object's name from what it stands for; nobody without the key can make it.
///
/// # Errors
/// `setup_required` without a `MASTER_KEY`.
pub fn object_id(settings: &Settings, purpose: &str, parts: &[&str]) -> Result<String, Refusal> {
    let keys = settings
        .keys
        .as_ref()
        .ok_or_else(|| Refusal::new(Code::SetupRequired).detail("MASTER_KEY is not set."))?;
    let text = json!([purpose, DEFAULT_TENANT, parts]).to_string();
    let mac = hmac_sha256(keys.cache.reveal(), text.as_bytes());
    Ok(base64url(mac.get(..16).unwrap_or_default()))
}

/// Digest of a request body. Objects are written with their keys in order, so that order does not matter.
#[must_use]
pub fn digest_of(body: &Map<String, Value>) -> String {
    let text = serde_json::to_string(body).unwrap_or_default();
    hex(&sha256(text.as_bytes()))
}

/// Longest `Idempotency-Key`, in characters (as Stripe's and most others').
const MAX_KEY_CHARS: usize = 255;

/// The object of a keyed call.
///
/// # Errors
/// `invalid_parameter` for a key that is empty, too long or not printable.
pub fn keyed(
    settings: &Settings,
    caller: &Caller,
    route: &str,
    key: &str,
) -> Result<String, Refusal> {
    let fine =
        (1..=MAX_KEY_CHARS).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !fine {
        return Err(Refusal::new(Code::InvalidParameter)
            .param("Idempotency-Key")
            .detail("The Idempotency-Key header must have 1 to 255 printable ASCII characters."));
    }
    object_id(
        settings,
        "idempotency/v1",
        &[&partition(caller), route, key],
    )
}

/// Decides whether a chat call runs in an object.
///
/// # Errors
/// A bad key.
pub fn place(
    settings: &Settings,
    caller: &Caller,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
    flight: Option<&str>,
    new_id: impl Fn() -> String,
) -> Result<Option<Place>, Refusal> {
    let streams = &settings.config.streams;
    let grace = Some(Millis::from_secs(streams.grace_seconds));
    let ttl = Millis::from_secs(streams.ttl_seconds);
    let resumable = request.stream && (alias.resumable || head.resumable);
    let flag = |name: &str| request.body.get(name).and_then(Value::as_bool);
    let stored = request.protocol == Protocol::Responses
        && alias.store_responses
        && flag("store") != Some(false);
    let background = stored && flag("background") == Some(true);
    let kept = stored.then(|| {
        let items = request.body.get("input").cloned().unwrap_or(Value::Null);
        items.to_string()
    });
    if let Some(key) = &head.idempotency_key {
        return Ok(Some(Place {
            id: keyed(settings, caller, request.protocol.endpoint(), key)?,
            owner: owner(caller),
            ttl: Millis::from_secs(streams.idempotency_ttl_seconds),
            // Whoever retries will be back; an answer that was paid for is finished.
            grace: None,
            numbered: request.stream || stored,
            request: kept,
            background,
        }));
    }
    if resumable || stored {
        return Ok(Some(Place {
            id: new_id(),
            owner: owner(caller),
            ttl,
            grace: if background { None } else { grace },
            numbered: true,
            request: kept,
            background,
        }));
    }
    let Some(key) = flight else { return Ok(None) };
    let form = format!(
        "{}/{}/{}",
        request.protocol.name(),
        request.stream,
        request.include_usage
    );
    Ok(Some(Place {
        id: object_id(settings, "flight/v1", &[key, &form])?,
        owner: log::FLIGHT.to_owned(),
        // The cache takes over from here.
        ttl: FLIGHT_TTL,
        grace: Some(FLIGHT_GRACE),
        numbered: false,
        request: None,
        background: false,
    }))
}

/// A shared call is forgotten as soon as the cache has its answer; a second bridges the write.
const FLIGHT_TTL: Millis = Millis::from_secs(1);

/// A shared call cannot be attached to by its id: when its last caller has gone, only an equal question in this very
/// moment could still want it.
const FLIGHT_GRACE: Millis = Millis::from_secs(1);

// === the worker's side ===

/// Runs a chat call in an object and makes the reply of it.
///
/// # Errors
/// What the object refuses.
pub async fn ask<P: Port>(
    call: &Call<P>,
    head: &Head,
    place: Place,
    body: &Map<String, Value>,
) -> Result<Reply<P>, Refusal> {
    let run = Run {
        protocol: call.form.protocol,
        body: body.clone(),
        wishes: Wishes {
            id: place.id.clone(),
            numbered: place.numbered,
            ..call.wishes.clone()
        },
        prefer: head.prefer.clone(),
        network: call.caller.network.clone(),
        client: call.caller.client.clone(),
        request_id: call.caller.request_id.clone(),
        slot: call.slot.as_ref().map(super::kept::Slot::key),
        owner: place.owner,
        digest: digest_of(body),
        ttl: place.ttl,
        grace: place.grace,
        background: place.background,
        request: place.request,
        after: None,
    };
    let background = run.background;
    let (told, stream) = tell(&call.port, &place.id, &Command::Run(Box::new(run))).await?;
    let mut reply = match told {
        Told::Head { head, attached } => {
            let mut reply = reply_of(call.form.stream, &head, stream);
            if attached {
                reply = reply.header("x-gatehouse-attached", "true");
            }
            reply
        }
        Told::Standing(standing) if background => {
            let body = standing_body(call.form.protocol, &place.id, &standing)?;
            Reply::json(200, body.to_string())
        }
        other => return Err(refusal_of(other)),
    };
    reply.outcome = Outcome {
        alias: Some(call.alias.clone()),
        stream: Some(call.form.stream),
        ..Outcome::default()
    };
    Ok(reply)
}

/// Runs a keyed call whose answer is passed on.
///
/// # Errors
/// What the object refuses.
pub async fn ask_raw<P: Port>(
    port: &P,
    caller: &Caller,
    key: &str,
    call: &RawCall,
) -> Result<Reply<P>, Refusal> {
    let settings = port.settings();
    let id = keyed(settings, caller, &call.path, key)?;
    let run = RunRaw {
        digest: digest_of(&call.body.fields()),
        call: call.clone(),
        request_id: caller.request_id.clone(),
        owner: owner(caller),
        ttl: Millis::from_secs(settings.config.streams.idempotency_ttl_seconds),
    };
    let (told, body) = tell(port, &id, &Command::RunRaw(Box::new(run))).await?;
    let mut reply = match told {
        Told::Head { head, attached } => {
            let mut reply = reply_of(false, &head, body);
            if attached {
                reply = reply.header("x-gatehouse-attached", "true");
            }
            reply
        }
        other => return Err(refusal_of(other)),
    };
    reply.outcome.alias = Some(call.alias.clone());
    Ok(reply)
}

/// Sends a command to the object of an answer.
async fn tell<P: Port>(
    port: &P,
    id: &str,
    command: &Command,
) -> Result<(Told, Option<P::Stream>), Refusal> {
    let text = serde_json::to_string(command)
        .map_err(|error| Refusal::new(Code::Internal).cause(error.to_string()))?;
    let StoredReply { told, stream } = port
        .stored(&format!("v1/{DEFAULT_TENANT}/{id}"), text)
        .await
        .map_err(|fault| super::port::storage_refusal(&fault))?;
    let told = serde_json::from_str(&told)
        .map_err(|error| Refusal::new(Code::Internal).cause(error.to_string()))?;
    Ok((told, stream))
}

fn refusal_of(told: Told) -> Refusal {
    match told {
        Told::Refused(refused) => refused.refusal(),
        Told::Conflict => Refusal::new(Code::IdempotencyConflict).param("Idempotency-Key"),
        Told::NotFound => Refusal::new(Code::ResponseNotFound),
        Told::Head { .. } | Told::Standing(_) | Told::Done => {
            Refusal::new(Code::Internal).cause("the object answered something else")
        }
    }
}

fn reply_of<P: Port>(stream: bool, head: &log::Head, body: Option<P::Stream>) -> Reply<P> {
    let mut reply = if stream {
        stream_head(Reply::status(head.status))
    } else {
        let kind = head.headers.iter().find(|(name, _)| name == "content-type");
        let kind = kind.map_or("application/json", |(_, kind)| kind.as_str());
        Reply::status(head.status)
            .header("content-type", kind)
            .header("cache-control", "no-store")
    };
    for (name, value) in &head.headers {
        if let Some(name) = OWN_HEADERS.into_iter().find(|own| own == name) {
            reply = reply.header(name, value.clone());
        }
    }
    if let Some(body) = body {
        reply.body = Body::Stream(body);
    }
    reply
}

/// Headers that belong to an answer itself and are kept with it.
const OWN_HEADERS: [&str; 10] = [
    "x-cache",
    "x-gatehouse-attempts",
    "x-gatehouse-target",
    "x-gatehouse-dropped",
    "x-gatehouse-choice",
    "x-gatehouse-saved",
    "x-gatehouse-response-id",
    "x-gatehouse-tokens-in",
    "x-gatehouse-tokens-out",
    "x-gatehouse-cost-usd",
];

/// `GET` of an answer: whole, or as a stream from behind an event.
///
/// # Errors
/// `response_not_found`.
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    protocol: Protocol,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    let bare = bare_id(protocol, id)?;
    let owner = owner(caller);
    if head.query_value("stream").as_deref() == Some("true") {
        let after = after(head)?;
        let (told, stream) = tell(port, bare, &Command::Read { owner, after }).await?;
        return match told {
            Told::Head { head, .. } => Ok(reply_of(true, &head, stream)),
            other => Err(refusal_of(other)),
        };
    }
    let (told, _) = tell(port, bare, &Command::Look { owner }).await?;
    match told {
        Told::Standing(standing) => {
            let body = standing_body(protocol, bare, &standing)?;
            Ok(Reply::json(200, body.to_string()))
        }
        other => Err(refusal_of(other)),
    }
}

/// Behind which event to begin: `starting_after`, or what a browser's event source sends by itself.
fn after(head: &Head) -> Result<Option<u64>, Refusal> {
    let given = head
        .query_value("starting_after")
        .or_else(|| head.last_event_id.clone())
        .filter(|text| !text.is_empty());
    given
        .map(|text| {
            text.parse().map_err(|_| {
                Refusal::new(Code::InvalidParameter)
                    .param("starting_after")
                    .detail("`starting_after` must be the number of an event.")
            })
        })
        .transpose()
}

/// Stops an answer, or forgets it.
///
/// # Errors
/// `response_not_found`.
pub async fn cancel<P: Port>(
    port: &P,
    caller: &Caller,
    protocol: Protocol,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    let bare = bare_id(protocol, id)?;
    let owner = owner(caller);
    match tell(port, bare, &Command::Cancel { owner }).await?.0 {
        Told::Standing(standing) => {
            let body = standing_body(protocol, bare, &standing)?;
            Ok(Reply::json(200, body.to_string()))
        }
        other => Err(refusal_of(other)),
    }
}

/// Forgets an answer.
///
/// # Errors
/// `response_not_found`.
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    protocol: Protocol,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    let bare = bare_id(protocol, id)?;
    let owner = owner(caller);
    match tell(port, bare, &Command::Delete { owner }).await?.0 {
        Told::Done => Ok(Reply::json(
            200,
            json!({"id": id, "object": "response", "deleted": true}).to_string(),
        )),
        other => Err(refusal_of(other)),
    }
}

/// Where an answer stands, and what was kept of its request.
///
/// # Errors
/// `response_not_found`.
pub async fn look<P: Port>(
    port: &P,
    caller: &Caller,
    protocol: Protocol,
    id: &str,
) -> Result<Box<Standing>, Refusal> {
    let bare = bare_id(protocol, id)?;
    let owner = owner(caller);
    match tell(port, bare, &Command::Look { owner }).await?.0 {
        Told::Standing(standing) => Ok(standing),
        other => Err(refusal_of(other)),
    }
}

/// The id without its dialect's prefix.
fn bare_id(protocol: Protocol, id: &str) -> Result<&str, Refusal> {
    let prefix = full_id(protocol, "");
    id.strip_prefix(prefix.as_str())
        .filter(|bare| {
            bare.len() == ID_CHARS
                && bare
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
        .ok_or_else(|| Refusal::new(Code::ResponseNotFound))
}

/// 128 bits in base64url: ⌈128 / 6⌉.
const ID_CHARS: usize = 22;

/// An answer that is stored, as one object of its dialect.
fn standing_body(protocol: Protocol, id: &str, standing: &Standing) -> Result<Value, Refusal> {
    super::standing::body(protocol, id, standing)
}

// === the object's side ===

/// What the object's shell does for a call that runs in it.
pub trait Stage {
    /// The answer begins.
    fn head(&self, head: log::Head);
    /// More of it.
    fn write(&self, bytes: Vec<u8>);
    /// Resolves when it is wanted no more.
    fn stopped(&self) -> Stopped;
}

/// How a call in an object ended.
pub enum Ended {
    /// Whole or not, as the outcome says.
    Over(Outcome),
    /// Nothing could be made.
    Refused(Refusal),
}

/// Runs a call in its object.
pub async fn perform<P: Port, S: Stage + Clone + 'static>(port: &P, run: Run, stage: S) -> Ended {
    let call = match prepare(port, &run) {
        Ok(call) => call,
        Err(refusal) => return Ended::Refused(refusal),
    };
    match call.begin(true, Some(stage.stopped())).await {
        Begun::Failed(refusal, drive) => Ended::Refused(refused(refusal, drive).await),
        Begun::Committed(mut drive) => {
            let owned = |headers: Vec<(&'static str, String)>| {
                headers
                    .into_iter()
                    .map(|(n, v)| (n.to_owned(), v))
                    .collect()
            };
            if !call.form.stream {
                return match call.whole_body(&mut drive) {
                    Ok((bytes, headers, outcome)) => {
                        stage.head(log::Head {
                            status: 200,
                            headers: owned(headers),
                        });
                        stage.write(bytes);
                        call.finish_whole(drive).await;
                        Ended::Over(outcome)
                    }
                    Err(refusal) => Ended::Refused(refusal),
                };
            }
            stage.head(log::Head {
                status: 200,
                headers: owned(call.headers(&drive)),
            });
            let writing = stage.clone();
            let sink = Sink::Record {
                write: Box::new(move |bytes| writing.write(bytes)),
                stopped: stage.stopped(),
            };
            Ended::Over(call.record(drive, sink).await)
        }
    }
}

/// Runs a call whose answer is passed on.
pub async fn perform_raw<P: Port, S: Stage>(port: &P, run: RunRaw, stage: &S) -> Ended {
    let caller = Caller {
        principal: Principal::Anonymous,
        network: String::new(),
        client: String::new(),
        request_id: run.request_id,
    };
    let asked = match find_alias(port.settings(), &run.call.alias) {
        Ok(alias) => raw::ask(port, &caller, alias, &run.call).await,
        Err(refusal) => Err(refusal),
    };
    match asked {
        Err(refusal) => Ended::Refused(refusal),
        Ok(raw) => {
            let kind = ("content-type".to_owned(), raw::content_type(&raw));
            let told = raw
                .headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.clone()));
            stage.head(log::Head {
                status: 200,
                headers: core::iter::once(kind).chain(told).collect(),
            });
            stage.write(raw.bytes);
            let mut drive = raw.drive;
            drive.settle().await;
            Ended::Over(raw.outcome)
        }
    }
}

/// The call as it was planned on the worker's side.
fn prepare<P: Port>(port: &P, run: &Run) -> Result<Call<P>, Refusal> {
    let request = chat_request(run.body.clone(), run.protocol)?;
    let settings = port.settings();
    let alias = find_alias(settings, &request.alias)?;
    let plan = planned(port, alias, &request, run.prefer.as_deref())?;
    let Answerer::Providers(candidates) = plan.answerer else {
        return Err(Refusal::new(Code::ProviderNotConfigured));
    };
    let caller = Caller {
        principal: Principal::Anonymous,
        network: run.network.clone(),
        client: run.client.clone(),
        request_id: run.request_id.clone(),
    };
    let mut call = call_of(port, &caller, alias, &request, candidates);
    call.choice = plan.choice;
    call.saved = plan.saved;
    call.wishes = run.wishes.clone();
    call.slot = run.slot.clone().map(super::kept::Slot::of);
    Ok(call)
}
