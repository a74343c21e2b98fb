//! A model call, from the body to the settled answer: chat completions and messages, streamed or not.

use serde_json::Value;

use super::attempt::bytes_to_tokens;
use super::body::json_body;
use super::call::{Call, Wishes};
use super::gate::{Admission, Caller, admit_call, may_call};
use super::kept::Slot;
use super::memory::facts;
use super::port::{ByteSource, Port};
use super::render::{Form, Rendering, new_id, rendered};
use super::reply::{Outcome, Reply};
use super::request::Head;
use super::retrieval::context;
use super::similar;
use super::stored::{self, Place};
use crate::base::digest::{hex, sha256};
use crate::base::errors::{Code, Refusal};
use crate::domain::answer::{self, Lang};
use crate::domain::cache;
use crate::domain::llm::Protocol;
use crate::domain::llm::health::local::LocalGate;
use crate::domain::llm::message::{Answer, Finish, Usage};
use crate::domain::llm::normal::conversation::Format;
use crate::domain::llm::passages::Passages;
use crate::domain::llm::plan::{
    Answerer, Candidate, ChatPlan, Circumstances, find_alias, plan_chat,
};
use crate::domain::llm::render::BUILTIN_MARK;
use crate::domain::llm::request::{ChatRequest, chat_request};
use crate::domain::settings::config::{Alias, LastResort, LimitClass, Prefer};
use crate::domain::settings::{ActiveAlias, Settings};

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
    let mut fields = json_body(port, head, body).await?;
    let lookup = context::taken(&mut fields, protocol)?;
    // 2
    let mut request = chat_request(fields, protocol)?;
    request.lookup = lookup;
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
    may_call(port, caller, &alias.config)?;
    let remembering;
    let request = match memories(port, caller, head, &alias.config).await {
        None => request,
        memories => {
            remembering = request.clone().remembering(memories);
            &remembering
        }
    };
    let admit = || admit_call(port, caller, Some(&request.alias), LimitClass::Chat);
    let places = context::places(port, caller, head, &alias.config, request).await?;
    if places.is_empty() {
        let plan = planned(port, alias, request, head.prefer.as_deref())?;
        // 4
        let admission = admit().await?;
        return answered(port, caller, head, alias, request, (plan, admission)).await;
    }
    // A search costs more than a look at the plan: the limits come first. What stands in the documents now is part of the
    // request, so that no answer of the cache says what they said before.
    let admission = admit().await?;
    let found = match context::passages(port, &places, request).await {
        Ok(passages) => {
            let sources = passages.header();
            let quoting = request.clone().quoting(Some(passages));
            let plan = planned(port, alias, &quoting, head.prefer.as_deref());
            plan.map(|plan| (quoting, plan, sources))
        }
        Err(refusal) => Err(refusal),
    };
    let (quoting, plan, sources) = match found {
        Ok(found) => found,
        Err(refusal) => {
            return admission
                .over(port, caller, Err(refusal))
                .await
                .map(|(r, _)| r);
        }
    };
    let reply = answered(port, caller, head, alias, &quoting, (plan, admission)).await?;
    Ok(reply.header("x-gatehouse-sources", sources))
}

/// Steps 4 to 7 of a request that is whole.
async fn answered<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    alias: &ActiveAlias,
    request: &ChatRequest,
    (plan, admission): (ChatPlan<'_>, Admission),
) -> Result<Reply<P>, Refusal> {
    let settings = port.settings();
    let wishes = wishes(port, head);
    let place = stored::place(settings, caller, head, plan.alias, request, || {
        wishes.id.clone()
    })?;
    let reply = match plan.answerer {
        Answerer::Builtin if place.is_none() => {
            builtin(port, head.prefers_chinese(), request, &wishes).await
        }
        answerer => {
            let candidates = match answerer {
                Answerer::Providers(candidates) => candidates,
                Answerer::Builtin => Vec::new(),
            };
            let mut call = call_of(port, caller, alias, request, candidates);
            call.choice = plan.choice;
            call.saved = plan.saved;
            call.wishes = wishes;
            call.slot = slot(settings, caller, head, plan.alias, request);
            // 5
            match place {
                Some(place) => in_its_place(call, head, plan.alias, request, Some(place)).await,
                None => match call.look_up().await {
                    Some(hit) => Ok(hit),
                    None => similar_or_new(call, head, plan.alias, request).await,
                },
            }
        }
    };
    let (reply, limits) = admission.over(port, caller, reply).await?;
    Ok(reply.headers(limits))
}

/// What the caller wants remembered, where the alias uses it.
async fn memories<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    alias: &Alias,
) -> Option<String> {
    match alias.memories {
        true => facts::block(port, caller, head).await,
        false => None,
    }
}

/// The answer of a similar question, where the alias compares them; else a new one, which is noted for the next.
async fn similar_or_new<P: Port>(
    call: Call<P>,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
) -> Result<Reply<P>, Refusal> {
    let key = call
        .slot
        .as_ref()
        .filter(|slot| slot.reads())
        .map(Slot::key);
    let question = match &key {
        // A similar question finds other passages.
        Some(_) if request.passages.is_none() => {
            similar::question(&call.port, &call.caller, alias, request).await
        }
        Some(_) => None,
        None => None,
    };
    let (Some(question), Some(key)) = (question, key) else {
        // 6 and 7
        return from_providers(call, head, alias, request).await;
    };
    if let Some(hit) = question.look_up(&call).await {
        return Ok(hit);
    }
    let port = call.port.clone();
    let mut reply = from_providers(call, head, alias, request).await?;
    let before = reply.after.take();
    let known = reply.outcome.clone();
    reply.after = Some(Box::pin(async move {
        let mut outcome = match before {
            Some(before) => before.await,
            None => known,
        };
        question.book(&mut outcome);
        if outcome.code.is_none() {
            let ttl = port.settings().config.cache.ttl_seconds;
            question.remember(&port, &key.name, ttl).await;
        }
        outcome
    }));
    Ok(reply)
}

/// Asks the providers, here or in an object.
async fn from_providers<P: Port>(
    call: Call<P>,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
) -> Result<Reply<P>, Refusal> {
    let settings = call.port.settings();
    let flight = call
        .slot
        .as_ref()
        .filter(|slot| slot.reads())
        .map(Slot::key);
    let flight = flight.as_ref().map(|key| key.name.as_str());
    let place = stored::place_of_new(settings, &call.caller, head, alias, request, flight, || {
        call.wishes.id.clone()
    })?;
    in_its_place(call, head, alias, request, place).await
}

/// Makes the answer where it belongs; where nobody gives one, the alias's last resort.
async fn in_its_place<P: Port>(
    call: Call<P>,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
    place: Option<Place>,
) -> Result<Reply<P>, Refusal> {
    let port = call.port.clone();
    let stale = alias.last_resort.contains(&LastResort::Stale);
    let stale = if stale { Some(call.again()) } else { None };
    let asked = match place {
        Some(place) => stored::ask(&call, head, place, request).await,
        None => call.ask().await,
    };
    match asked {
        Err(refusal) if nobody_answered(refusal.code) => {
            last_resort(&port, head, alias, request, stale, refusal).await
        }
        other => other,
    }
}

/// Is it the providers that failed? What is wrong with the request stays wrong whoever answers.
const fn nobody_answered(code: Code) -> bool {
    matches!(
        code,
        Code::UpstreamUnreachable
            | Code::UpstreamError
            | Code::UpstreamAuth
            | Code::UpstreamRateLimited
            | Code::UpstreamTimeout
            | Code::UpstreamDeadline
            | Code::UpstreamDisconnected
            | Code::UpstreamProtocol
            | Code::UpstreamTooLarge
            | Code::UpstreamRedirect
            | Code::UpstreamBusy
            | Code::UpstreamNotFound
            | Code::UpstreamQuota
            | Code::UpstreamUnavailable
    )
}

/// An old answer, then the built-in answerer, as far as the alias allows; each is marked as what it is.
async fn last_resort<P: Port>(
    port: &P,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
    stale: Option<Call<P>>,
    refusal: Refusal,
) -> Result<Reply<P>, Refusal> {
    for resort in &alias.last_resort {
        let reply = match resort {
            LastResort::Stale => match &stale {
                Some(call) => call.look_up_stale().await,
                None => None,
            },
            LastResort::Builtin if request.wants_more_than_text() => None,
            LastResort::Builtin => {
                let wishes = wishes(port, head);
                builtin(port, head.prefers_chinese(), request, &wishes)
                    .await
                    .ok()
            }
        };
        if let Some(mut reply) = reply {
            // The operator must see why it came to this.
            let told = Outcome::of(&refusal);
            reply.outcome.code = told.code;
            reply.outcome.cause = told.cause;
            reply.outcome.attempts = told.attempts;
            reply.outcome.cost_micros = told.cost_micros;
            return Ok(reply.header("x-gatehouse-fallback", word_of(*resort)));
        }
    }
    Err(refusal)
}

const fn word_of(resort: LastResort) -> &'static str {
    match resort {
        LastResort::Stale => "stale",
        LastResort::Builtin => "builtin",
    }
}

/// The plan for a request under the present circumstances.
///
/// # Errors
/// As for [`plan_chat`]; `invalid_parameter` for a preference that is none.
pub fn planned<'s, P: Port>(
    port: &'s P,
    alias: &'s ActiveAlias,
    request: &ChatRequest,
    prefer: Option<&str>,
) -> Result<ChatPlan<'s>, Refusal> {
    let now = port.now();
    let prefer = prefer
        .map(|word| {
            Prefer::from_name(word).ok_or_else(|| {
                Refusal::new(Code::InvalidParameter)
                    .param("x-gatehouse-prefer")
                    .detail("The header x-gatehouse-prefer must be quality, latency or cost.")
            })
        })
        .transpose()?;
    let health = |name: &str| {
        port.view(name, |view| {
            (view.p95(), view.gate(now) != LocalGate::Closed)
        })
    };
    let circumstances = Circumstances {
        now,
        seed: u64::from_le_bytes(port.random()),
        prefer,
        health: &health,
    };
    plan_chat(port.settings(), alias, request, &circumstances)
}

/// A call of an alias's providers.
pub fn call_of<P: Port>(
    port: &P,
    caller: &Caller,
    alias: &ActiveAlias,
    request: &ChatRequest,
    candidates: Vec<Candidate>,
) -> Call<P> {
    Call {
        port: port.clone(),
        caller: caller.clone(),
        form: form_of(request),
        wishes: Wishes::default(),
        alias: alias.config.name.clone(),
        candidates: candidates.into(),
        choice: None,
        saved: None,
        input_tokens: bytes_to_tokens(request.input_bytes),
        schema: alias
            .config
            .validate_schema
            .then(|| schema_of(request))
            .flatten(),
        slot: None,
        echo: stored::echo_of(&alias.config, request),
        instructed: request.protocol == Protocol::Responses
            && request.system(alias.config.system.as_deref()).is_some(),
    }
}

/// The schema that a request asks its answer to follow. A stream is on its way before it could be judged.
fn schema_of(request: &ChatRequest) -> Option<Value> {
    if request.stream {
        return None;
    }
    match &request.conversation().ok()?.format {
        Format::Schema { schema, .. } => Some(schema.clone()),
        Format::Text | Format::JsonObject => None,
    }
}

fn wishes<P: Port>(port: &P, head: &Head) -> Wishes {
    Wishes {
        id: new_id(port),
        numbered: false,
        trailer: head.trailer,
        first_token_ms: head.first_token_ms,
        total_ms: head.total_ms,
    }
}

const fn form_of(request: &ChatRequest) -> Form {
    Form {
        protocol: request.protocol,
        stream: request.stream,
        include_usage: request.include_usage,
    }
}

/// Where the answer is kept, if alias, request and caller allow it. Callers of a public alias share its answers; of any
/// other, each key has its own.
fn slot(
    settings: &Settings,
    caller: &Caller,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
) -> Option<Slot> {
    let secret = &settings.keys.as_ref()?.cache;
    if request.is_private() || !cache::cacheable(alias.cache, request) {
        return None;
    }
    let stale = alias.last_resort.contains(&LastResort::Stale);
    Slot::new(settings, head, stale, || {
        // What is preferred decides who answers.
        let mut named = match &head.prefer {
            Some(prefer) => format!("{}\n{prefer}", request.alias),
            None => request.alias.clone(),
        };
        if let Some(passages) = &request.passages {
            let digest = sha256(passages.block().as_bytes());
            named = format!("{named}\npassages {}", hex(&digest));
        }
        cache::key(
            secret,
            cache::chat_endpoint(request.protocol),
            &settings.digest,
            &named,
            stored::shared_with(caller, alias),
            &request.body,
        )
    })
}

/// The built-in answerer: passages of the site's own pages.
///
/// # Errors
/// `setup_required` without the site's search index.
pub async fn builtin<P: Port>(
    port: &P,
    chinese: bool,
    request: &ChatRequest,
    wishes: &Wishes,
) -> Result<Reply<P>, Refusal> {
    let index = port.site_index().await.map_err(|fault| {
        Refusal::new(Code::SetupRequired)
            .detail("The search index of the site is missing: build the site.")
            .cause(fault.0)
    })?;
    let question = request.question();
    let lang = language_of(&question, chinese);
    let passages = request.passages.as_ref();
    let quoted = passages.and_then(|passages| of_documents(passages, &question, lang));
    let found = match quoted {
        Some(quoted) => quoted,
        None => answer::answer(&index, &question, lang),
    };
    let usage = Usage {
        input: answer::count_tokens_estimate(&question),
        cached: 0,
        output: answer::count_tokens_estimate(&found.markdown),
        estimated: false,
        ..Usage::default()
    };
    let pieces = answer::split_for_stream(&found.markdown);
    let answer = Answer {
        model: request.alias.clone(),
        text: found.markdown,
        finish: Finish::Stop,
        usage,
    };
    let alias = port.settings().alias(&request.alias);
    let echo = alias.and_then(|alias| stored::echo_of(&alias.config, request));
    let rendering = Rendering {
        form: form_of(request),
        wishes,
        echo,
        builtin: true,
    };
    let mut reply = rendered(port, rendering, &answer, &pieces)
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

/// An answer of what was found in documents, where one of the passages answers.
fn of_documents(passages: &Passages, question: &str, lang: Lang) -> Option<answer::Answer> {
    let found = passages.sources.iter().map(|source| {
        let place = [source.filename.as_str(), &source.heading, &source.anchor];
        let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
        answer::Passage {
            url: format!("/v1/files/{}/content", source.file),
            page: place.join(", "),
            heading: source.heading.clone(),
            text: source.text.clone(),
            lang: String::new(),
        }
    });
    answer::answer_of(found.collect(), question, lang)
}

/// The question's own language; for a question without letters, the caller's.
fn language_of(question: &str, chinese: bool) -> Lang {
    if question.chars().any(char::is_alphabetic) || !chinese {
        Lang::of(question)
    } else {
        Lang::Zh
    }
}
