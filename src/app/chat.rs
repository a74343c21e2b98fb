//! A model call, from the body to the settled answer: chat completions and messages, streamed or not.

use super::body::json_body;
use super::call::Call;
use super::gate::{Caller, admit};
use super::kept::Slot;
use super::port::{ByteSource, Port};
use super::render::{Form, rendered};
use super::reply::{Outcome, Reply};
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::domain::answer::{self, Lang};
use crate::domain::cache::{self, Partition};
use crate::domain::llm::Protocol;
use crate::domain::llm::message::{Answer, Finish, Usage};
use crate::domain::llm::plan::{Answerer, find_alias, plan_chat};
use crate::domain::llm::render::BUILTIN_MARK;
use crate::domain::llm::request::{ChatRequest, chat_request};
use crate::domain::settings::Settings;
use crate::domain::settings::config::{CachePolicy, LimitClass};

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
    let fields = json_body(port, head, body).await?;
    // 2
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
                form: form_of(request),
                input_bytes: request.input_bytes,
                deadlines: settings.deadlines(plan.alias),
                slot: slot(settings, head, plan.alias.cache, request),
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

const fn form_of(request: &ChatRequest) -> Form {
    Form {
        protocol: request.protocol,
        stream: request.stream,
        include_usage: request.include_usage,
    }
}

/// Where the answer is kept, if alias, request and caller allow it. Visitors reach public aliases only, and those
/// share their answers.
fn slot(
    settings: &Settings,
    head: &Head,
    policy: CachePolicy,
    request: &ChatRequest,
) -> Option<Slot> {
    let secret = &settings.keys.as_ref()?.cache;
    if !cache::cacheable(policy, request) {
        return None;
    }
    Slot::new(settings, head, || {
        cache::key(
            secret,
            cache::chat_endpoint(request.protocol),
            &settings.digest,
            &request.alias,
            Partition::Shared,
            &request.body,
        )
    })
}

/// The built-in answerer: passages of the site's own pages.
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
    let mut reply = rendered(port, form_of(request), &answer, &pieces, true)
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
    if question.chars().any(char::is_alphabetic) || !head.prefers_chinese() {
        Lang::of(question)
    } else {
        Lang::Zh
    }
}
