//! A model call, from the body to the settled answer: chat completions and messages, streamed or not.

use serde_json::Value;

use super::gate::{self, Caller, admit};
use super::port::{BodyFault, ByteSource, FirstByte, Port, RelayEnd};
use super::refuse::prefers_chinese;
use super::reply::{After, Body, Outcome, Reply};
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::ids::prefixed;
use crate::base::json::{JsonFault, Limits, parse_object};
use crate::base::time::Millis;
use crate::domain::answer::{self, Lang};
use crate::domain::cache::{self, CallerWish, Entry, Kept, Partition};
use crate::domain::llm::Protocol;
use crate::domain::llm::message::{Answer, Finish, Usage};
use crate::domain::llm::observe::{Observation, Observer};
use crate::domain::llm::plan::{Answerer, find_alias, plan_chat};
use crate::domain::llm::read;
use crate::domain::llm::render::{self, BUILTIN_MARK, Envelope, error_event};
use crate::domain::llm::request::{ChatRequest, chat_request};
use crate::domain::llm::upstream::{self, UpstreamFault, UpstreamHead};
use crate::domain::settings::config::{Deadlines, LimitClass};
use crate::domain::settings::{ActiveProvider, Settings};

/// Largest whole answer of a provider, in bytes after decompression: 8 MiB.
pub const MAX_ANSWER_BYTES: u64 = 8_388_608;
/// As much of a provider's error body as is worth reading.
const MAX_ERROR_BYTES: u64 = 65_536;

/// Answers a chat call.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | read the body, capped | 400 cut, 413, 415 |
/// | 2 | bytes → typed request | 400 naming the field |
/// | 3 | alias → plan | 400, 403, 404, 503 |
/// | 4 | admit: rate | 429, 503 |
/// | 5 | cacheable? look up; a hit ends here | – |
/// | 6 | the built-in answerer, or the provider | 502, 503, 504 |
/// | 7 | the answer goes out; what is left is done after the last byte | in-band error |
///
/// # Errors
/// As the table says.
pub async fn chat<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    protocol: Protocol,
) -> Result<Reply<P>, Refusal> {
    // 1
    let bytes = json_body(port, head, body).await?;
    // 2
    let fields = parse_object(&bytes, Limits::default()).map_err(json_refusal)?;
    drop(bytes);
    let request = chat_request(fields, protocol)?;
    // 3 to 7
    answer_chat(port, caller, head, &request).await
}

/// Steps 3 to 7, shared with the plain form.
///
/// # Errors
/// As for [`chat`].
pub async fn answer_chat<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    request: &ChatRequest,
) -> Result<Reply<P>, Refusal> {
    // 3
    let settings = port.settings();
    let alias = find_alias(settings, &request.alias)?;
    let plan = plan_chat(settings, alias, request)?;
    // 4
    let limits = admit(port, caller, LimitClass::Chat).await?;
    let reply = match plan.answerer {
        Answerer::Builtin => builtin(port, head, request).await,
        Answerer::Provider {
            provider,
            model,
            body,
        } => {
            let target = format!("{}/{model}", provider.name);
            let call = Call {
                port: port.clone(),
                caller: caller.clone(),
                alias: plan.alias.name.clone(),
                target,
                model: model.to_owned(),
                protocol: request.protocol,
                stream: request.stream,
                include_usage: request.include_usage,
                input_bytes: request.input_bytes,
                deadlines: settings.deadlines(plan.alias),
                slot: CacheSlot::of(settings, head, plan.alias.cache, request),
                began: port.now(),
            };
            // 5
            match call.look_up().await {
                Some(hit) => Ok(hit),
                // 6 and 7
                None => call.ask(provider, &body).await,
            }
        }
    };
    Ok(reply?.headers(limits))
}

/// Reads a JSON request body.
///
/// # Errors
/// `unsupported_media_type`, `payload_too_large`, `incomplete_body`.
pub async fn json_body<P: Port, B: ByteSource>(
    port: &P,
    head: &Head,
    body: &mut B,
) -> Result<Vec<u8>, Refusal> {
    let media_type = head
        .content_type
        .as_deref()
        .and_then(|t| t.split(';').next())
        .map(str::trim);
    if !media_type.is_some_and(|t| t.eq_ignore_ascii_case("application/json")) {
        return Err(
            Refusal::new(Code::UnsupportedMediaType).detail("Send content-type: application/json.")
        );
    }
    read_body(port, head, body).await
}

/// Reads a body of at most `[server] max_body_bytes`, without content coding.
///
/// # Errors
/// `unsupported_media_type`, `payload_too_large`, `incomplete_body`.
pub async fn read_body<P: Port, B: ByteSource>(
    port: &P,
    head: &Head,
    body: &mut B,
) -> Result<Vec<u8>, Refusal> {
    let cap = port.settings().config.server.max_body_bytes;
    let too_large =
        || Refusal::new(Code::PayloadTooLarge).detail(format!("At most {cap} bytes are accepted."));
    if head
        .content_encoding
        .as_deref()
        .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(Refusal::new(Code::UnsupportedMediaType)
            .detail("Send the body without Content-Encoding."));
    }
    if head.content_length.is_some_and(|length| length > cap) {
        return Err(too_large());
    }
    body.whole(cap).await.map_err(|fault| match fault {
        BodyFault::TooLarge => too_large(),
        BodyFault::Cut => Refusal::new(Code::IncompleteBody),
    })
}

/// A body that is not strict JSON, as the caller sees it.
#[must_use]
pub fn json_refusal(fault: JsonFault) -> Refusal {
    let detail = fault.to_string();
    match fault {
        JsonFault::Encoding { .. } => Refusal::new(Code::InvalidEncoding).detail(detail),
        JsonFault::DuplicateKey { path } => {
            Refusal::new(Code::DuplicateKey).param(path).detail(detail)
        }
        _ => Refusal::new(Code::InvalidJson).detail(detail),
    }
}

// === the built-in answerer ===

/// Most characters of a question that the built-in answerer looks at is capped in `domain::answer`.
async fn builtin<P: Port>(
    port: &P,
    head: &Head,
    request: &ChatRequest,
) -> Result<Reply<P>, Refusal> {
    let index = port.site_index().await.map_err(|fault| {
        Refusal::new(Code::SetupRequired)
            .detail("The search index of the site is missing: build the site.")
            .cause(fault.0)
    })?;
    let question = request.question();
    let found = answer::answer(&index, &question, language_of(&question, head));
    let usage = Usage {
        input: answer::count_tokens_estimate(&question),
        cached: 0,
        output: answer::count_tokens_estimate(&found.markdown),
        estimated: false,
    };
    let pieces = answer::split_for_stream(&found.markdown);
    let answer = Answer {
        model: request.alias.clone(),
        text: found.markdown,
        finish: Finish::Stop,
        usage,
    };
    let mut reply = rendered(
        port,
        request.protocol,
        request.stream,
        request.include_usage,
        &answer,
        &pieces,
        true,
    )
    .header("x-gatehouse-answerer", BUILTIN_MARK)
    .header("x-cache", "bypass");
    reply.outcome = Outcome {
        alias: Some(request.alias.clone()),
        target: Some("builtin".to_owned()),
        cache: Some("bypass"),
        stream: Some(request.stream),
        tokens_in: Some(usage.input),
        tokens_out: Some(usage.output),
        ..Outcome::default()
    };
    Ok(reply)
}

/// The question's own language; for a question without letters, the caller's.
fn language_of(question: &str, head: &Head) -> Lang {
    if question.chars().any(char::is_alphabetic) || !prefers_chinese(head) {
        Lang::of(question)
    } else {
        Lang::Zh
    }
}

/// An answer in normal form as a reply.
fn rendered<P: Port>(
    port: &P,
    protocol: Protocol,
    stream: bool,
    include_usage: bool,
    answer: &Answer,
    pieces: &[String],
    builtin: bool,
) -> Reply<P> {
    let id = prefixed("gh", &port.random());
    let envelope = Envelope {
        id: &id,
        created: port.now(),
        builtin,
    };
    if stream {
        stream_head(Reply::status(200)).bytes(render::stream(
            protocol,
            answer,
            pieces,
            include_usage,
            envelope,
        ))
    } else {
        Reply::json(200, render::whole(protocol, answer, envelope))
    }
}

fn stream_head<P: Port>(reply: Reply<P>) -> Reply<P> {
    reply
        .header("content-type", "text/event-stream; charset=utf-8")
        .header("cache-control", "no-store, no-transform")
        .header("x-accel-buffering", "no")
}

// === a provider ===

/// Where an answer is kept, if it may be.
struct CacheSlot {
    key: String,
    read: bool,
    ttl: Millis,
    max_bytes: u64,
}

impl CacheSlot {
    fn of(
        settings: &Settings,
        head: &Head,
        policy: crate::domain::settings::config::CachePolicy,
        request: &ChatRequest,
    ) -> Option<Self> {
        let wish = CallerWish::read(head.cache_control.as_deref());
        let secret = &settings.keys.as_ref()?.cache;
        if wish == CallerWish::NoStore || !cache::cacheable(policy, request) {
            return None;
        }
        // Visitors reach public aliases only, and those share their answers.
        let key = cache::key(
            secret,
            cache::chat_endpoint(request.protocol),
            &settings.digest,
            &request.alias,
            Partition::Shared,
            &request.body,
        );
        Some(Self {
            key,
            read: wish == CallerWish::Any,
            ttl: Millis::from_secs(settings.config.cache.ttl_seconds),
            max_bytes: settings.config.cache.max_entry_bytes,
        })
    }
}

/// One call of a provider: all that outlives the request.
struct Call<P: Port> {
    port: P,
    caller: Caller,
    alias: String,
    target: String,
    model: String,
    protocol: Protocol,
    stream: bool,
    include_usage: bool,
    input_bytes: u64,
    deadlines: Deadlines,
    slot: Option<CacheSlot>,
    began: Millis,
}

impl<P: Port> Call<P> {
    /// A kept answer, first from the isolate, then from KV. A store that fails is a miss.
    async fn look_up(&self) -> Option<Reply<P>> {
        let slot = self.slot.as_ref().filter(|slot| slot.read)?;
        let now = self.port.now();
        let mut bytes = self.port.memory_get(&slot.key);
        let from_memory = bytes.is_some();
        if bytes.is_none() {
            bytes = self.port.cache_get(&slot.key).await.ok().flatten();
        }
        let bytes = bytes?;
        let entry = Entry::read(&bytes, now)?;
        if !from_memory {
            self.port.memory_put(&slot.key, &bytes, entry.expires);
        }
        let Kept::Answer(answer) = &entry.kept else {
            return None;
        };
        let pieces = answer::split_for_stream(&answer.text);
        let mut reply = rendered(
            &self.port,
            self.protocol,
            self.stream,
            self.include_usage,
            answer,
            &pieces,
            false,
        )
        .header("x-cache", "hit")
        .header("age", now.since(entry.stored).secs().to_string());
        reply.outcome = Outcome {
            target: Some(entry.target.clone()),
            tokens_in: Some(0),
            tokens_out: Some(0),
            ..self.outcome()
        };
        reply.outcome.cache = Some("hit");
        Some(reply)
    }

    /// Asks the provider.
    async fn ask(self, provider: &ActiveProvider, body: &[u8]) -> Result<Reply<P>, Refusal> {
        let request = upstream::request(
            provider,
            self.protocol,
            upstream::chat_path(self.protocol),
            body,
            self.stream,
        );
        let sent = self
            .port
            .send(request, Millis(self.deadlines.first_byte_ms))
            .await;
        let (head, body) = sent.map_err(|fault| refusal_of(&fault))?;
        if !(200..300).contains(&head.status) {
            return Err(failed(&self.port, provider, &head, body, self.deadlines).await);
        }
        let body = body.ok_or_else(|| Refusal::new(Code::UpstreamProtocol).cause("no body"))?;
        if self.stream {
            self.relay(&head, body).await
        } else {
            self.whole(body).await
        }
    }

    /// A whole answer: read, judged, sent as it came.
    async fn whole(self, body: P::Stream) -> Result<Reply<P>, Refusal> {
        let bytes = self
            .port
            .read(body, MAX_ANSWER_BYTES, self.left())
            .await
            .map_err(|fault| match fault {
                UpstreamFault::TimedOut => Refusal::new(Code::UpstreamDeadline),
                other => refusal_of(&other),
            })?;
        let read = read::whole(self.protocol, &bytes, self.input_bytes).map_err(|invalid| {
            Refusal::new(Code::UpstreamProtocol).cause(format!("{invalid:?}"))
        })?;
        let outcome = self.settled(read.usage);
        let mut reply = Reply::json(200, bytes).header("x-cache", self.cache_word());
        reply.outcome = outcome.clone();
        if let (Some(answer), Some(_)) = (read.plain, &self.slot) {
            reply.after = Some(Box::pin(async move {
                self.keep(answer).await;
                outcome
            }));
        }
        Ok(reply)
    }

    /// A streamed answer: passed through byte for byte, observed on the side.
    async fn relay(self, head: &UpstreamHead, body: P::Stream) -> Result<Reply<P>, Refusal> {
        let is_stream = head.content_type.as_deref().is_some_and(|t| {
            t.trim_start()
                .to_ascii_lowercase()
                .starts_with("text/event-stream")
        });
        if !is_stream {
            return Err(Refusal::new(Code::UpstreamProtocol).cause("not an event stream"));
        }
        let body = match self.port.first_byte(body, self.first_byte_left()).await {
            FirstByte::Began(body) => body,
            FirstByte::Empty => {
                return Err(Refusal::new(Code::UpstreamProtocol).cause("an empty stream"));
            }
            FirstByte::TimedOut => return Err(Refusal::new(Code::UpstreamTimeout)),
            FirstByte::Broken(cause) => {
                return Err(Refusal::new(Code::UpstreamDisconnected).cause(cause));
            }
        };
        let observer = Observer::new(self.protocol, self.slot.is_some(), self.input_bytes);
        let deadlines = Deadlines {
            total_ms: self.left().0,
            ..self.deadlines
        };
        let (protocol, request_id) = (self.protocol, self.caller.request_id.clone());
        let closing = Box::new(move |end: RelayEnd, seen: &Observation| {
            let code = failure(end, seen)?;
            // An error that came inside the stream has reached the client already.
            (!seen.failed).then(|| {
                error_event(
                    protocol,
                    &Refusal::new(code),
                    &request_id,
                    seen.inside_event,
                )
            })
        });
        let (stream, done) = self.port.relay(body, observer, deadlines, closing);
        let mut reply = stream_head(Reply::status(200)).header("x-cache", self.cache_word());
        reply.body = Body::Stream(stream);
        let after: After = Box::pin(async move {
            let (end, seen) = done.await;
            let mut outcome = self.settled(seen.usage);
            outcome.code = failure(end, &seen);
            outcome.cause = Some(cause(end, &seen).to_owned());
            if let (RelayEnd::Ended, Some(answer)) = (end, seen.answer) {
                self.keep(answer).await;
            }
            outcome
        });
        reply.after = Some(after);
        Ok(reply)
    }

    /// Keeps a whole, successful answer.
    async fn keep(&self, answer: Answer) {
        let Some(slot) = &self.slot else { return };
        let entry = Entry::new(
            self.port.now(),
            slot.ttl,
            self.target.clone(),
            Kept::Answer(answer),
        );
        let Some(bytes) = entry.to_bytes(slot.max_bytes) else {
            return;
        };
        if !gate::may_write_cache(&self.port, &self.caller).await {
            return;
        }
        self.port.memory_put(&slot.key, &bytes, entry.expires);
        // A cache that cannot be written costs the next caller time, nothing else.
        let _ = self.port.cache_put(&slot.key, bytes, slot.ttl.secs()).await;
    }

    /// What is left of the total deadline.
    fn left(&self) -> Millis {
        Millis(
            self.deadlines
                .total_ms
                .saturating_sub(self.spent().0)
                .max(1),
        )
    }

    /// What is left of the first-byte deadline.
    fn first_byte_left(&self) -> Millis {
        Millis(
            self.deadlines
                .first_byte_ms
                .saturating_sub(self.spent().0)
                .max(1),
        )
    }

    fn spent(&self) -> Millis {
        self.port.now().since(self.began)
    }

    const fn cache_word(&self) -> &'static str {
        if self.slot.is_some() {
            "miss"
        } else {
            "bypass"
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            alias: Some(self.alias.clone()),
            target: Some(self.target.clone()),
            cache: Some(self.cache_word()),
            stream: Some(self.stream),
            ..Outcome::default()
        }
    }

    fn settled(&self, usage: Usage) -> Outcome {
        Outcome {
            tokens_in: Some(usage.input),
            tokens_out: Some(usage.output),
            tokens_estimated: usage.estimated,
            cost_micros: self.port.settings().cost_micros(
                &self.model,
                usage.input,
                usage.cached,
                usage.output,
            ),
            ..self.outcome()
        }
    }
}

/// A fault on the way to or from a provider, as the caller sees it.
#[must_use]
pub fn refusal_of(fault: &UpstreamFault) -> Refusal {
    let (refusal, cause) = fault.refusal();
    refusal.cause(cause)
}

/// A provider's answer with an error status.
pub async fn failed<P: Port>(
    port: &P,
    provider: &ActiveProvider,
    head: &UpstreamHead,
    body: Option<P::Stream>,
    deadlines: Deadlines,
) -> Refusal {
    let bytes = match body {
        Some(body) => port
            .read(body, MAX_ERROR_BYTES, Millis(deadlines.idle_ms))
            .await
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let (refusal, cause) = upstream::refusal(head, &bytes, provider.key.as_ref(), port.now());
    refusal.cause(cause)
}

/// What a stream's end means: `None` for a whole answer, and for one that the client itself gave up.
const fn failure(end: RelayEnd, seen: &Observation) -> Option<Code> {
    if seen.failed {
        return Some(Code::UpstreamError);
    }
    if seen.malformed {
        return Some(Code::UpstreamProtocol);
    }
    if seen.ended {
        return None;
    }
    match end {
        RelayEnd::ClientGone => None,
        RelayEnd::Ended | RelayEnd::Broken => Some(Code::UpstreamDisconnected),
        RelayEnd::Stalled => Some(Code::UpstreamStalled),
        RelayEnd::Overran => Some(Code::UpstreamDeadline),
    }
}

const fn cause(end: RelayEnd, seen: &Observation) -> &'static str {
    match end {
        RelayEnd::ClientGone => "the client went away",
        RelayEnd::Ended if !seen.ended => "the stream ended without its end marker",
        RelayEnd::Broken => "the upstream connection broke",
        RelayEnd::Stalled => "nothing came for the idle deadline",
        RelayEnd::Overran => "the total deadline passed",
        RelayEnd::Ended => "",
    }
}

/// The text of a whole answer, also of one that the output ceiling cut.
#[must_use]
pub fn plain_text(protocol: Protocol, bytes: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(bytes).ok()?;
    match protocol {
        Protocol::OpenAi => Some(
            body.pointer("/choices/0/message/content")?
                .as_str()?
                .to_owned(),
        ),
        Protocol::Anthropic => {
            let blocks = body.get("content")?.as_array()?;
            Some(
                blocks
                    .iter()
                    .filter_map(|block| block.get("text")?.as_str())
                    .collect(),
            )
        }
    }
}
